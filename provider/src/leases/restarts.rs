//! How often what leases run ended and was begun again, and why.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// Why something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It took more memory than it may.
    Oom,
    /// It ended with an error.
    Error,
    /// It ended without one.
    Ended,
    /// Its node had to make room.
    Evicted,
}

impl Cause {
    /// The word in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Oom => "oom",
            Self::Error => "error",
            Self::Ended => "ended",
            Self::Evicted => "evicted",
        }
    }

    fn of(status: &ContainerStatus) -> Self {
        let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        match last {
            Some(last) if last.reason.as_deref() == Some("OOMKilled") => Self::Oom,
            Some(last) if last.exit_code == 0 => Self::Ended,
            _ => Self::Error,
        }
    }
}

/// How often pods were begun again when they were last looked at. What had happened before the first look is not counted.
#[derive(Debug, Default)]
pub(super) struct Restarts(Option<HashMap<String, Seen>>);

#[derive(Debug, Default)]
struct Seen {
    containers: HashMap<String, u64>,
    is_evicted: bool,
}

impl Restarts {
    /// Looks at all pods, and gives what happened since the last look.
    pub(super) fn note<'a>(&mut self, pods: impl Iterator<Item = &'a Pod>) -> BTreeMap<Cause, u64> {
        let mut happened = BTreeMap::new();
        let before = self.0.take();
        let mut now = HashMap::new();
        for pod in pods {
            let Some(uid) = pod.metadata.uid.clone() else { continue };
            let seen = before.as_ref().and_then(|before| before.get(&uid));
            let looked = look(pod);
            for (status, times) in containers(pod) {
                let known = seen.and_then(|seen| seen.containers.get(&status.name)).copied().unwrap_or(0);
                if times > known {
                    *happened.entry(Cause::of(status)).or_default() += times - known;
                }
            }
            if looked.is_evicted && !seen.is_some_and(|seen| seen.is_evicted) {
                *happened.entry(Cause::Evicted).or_default() += 1;
            }
            now.insert(uid, looked);
        }
        self.0 = Some(now);
        if before.is_some() { happened } else { BTreeMap::new() }
    }
}

fn containers(pod: &Pod) -> impl Iterator<Item = (&ContainerStatus, u64)> {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|status| (status, u64::try_from(status.restart_count).unwrap_or(0)))
}

fn look(pod: &Pod) -> Seen {
    let reason = pod.status.as_ref().and_then(|status| status.reason.as_deref());
    Seen {
        containers: containers(pod).map(|(status, times)| (status.name.clone(), times)).collect(),
        is_evicted: reason == Some("Evicted"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(uid: &str, restarts: u32, last: &str, code: i32) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": uid, "uid": uid},
            "status": {"containerStatuses": [{
                "name": "web", "image": "", "imageID": "", "ready": true, "restartCount": restarts,
                "lastState": {"terminated": {"exitCode": code, "reason": last}},
            }]},
        }))
        .expect("a pod")
    }

    #[test]
    fn what_happens_after_the_first_look_is_counted_once_by_its_cause() {
        let mut restarts = Restarts::default();
        assert_eq!(restarts.note([pod("a", 7, "Error", 1)].iter()), BTreeMap::new(), "before our time");
        let pods = [pod("a", 9, "OOMKilled", 137), pod("b", 1, "Error", 1), pod("c", 0, "", 0)];
        assert_eq!(restarts.note(pods.iter()), BTreeMap::from([(Cause::Oom, 2), (Cause::Error, 1)]));
        assert_eq!(restarts.note(pods.iter()), BTreeMap::new());
        let mut evicted = pod("c", 1, "Completed", 0);
        evicted.status.as_mut().expect("a status").reason = Some("Evicted".to_owned());
        let pods = [evicted];
        assert_eq!(restarts.note(pods.iter()), BTreeMap::from([(Cause::Ended, 1), (Cause::Evicted, 1)]));
        assert_eq!(restarts.note(pods.iter()), BTreeMap::new());
    }
}
