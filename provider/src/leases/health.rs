//! How a lease's workload does: healthy, unhealthy or unknown, and why.
//!
//! Unhealthy is said only of what the tenant answers for: containers that end, images that cannot be had. Whatever is ours –
//! a node that is gone, a pod that finds no place, a cluster that does not answer, a start that is under way – is unknown,
//! because nothing may be held against a tenant that the tenant did not do.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use kube::ResourceExt;
use market::api::{LastExit, PodStatus};

use crate::store::Health;

/// One service of a lease as the manifest has it and as the cluster shows it.
#[derive(Debug, Clone, Copy)]
pub struct Service<'a> {
    /// Its name in the manifest.
    pub name: &'a str,
    /// Replicas that should be.
    pub wanted: u32,
    /// Whether its controller has rolled the latest objects out to every replica; `None` when the cluster has not told yet.
    pub rolled_out: Option<bool>,
    /// What its controller complains about, such as a quota.
    pub complaint: Option<&'a str>,
    /// Its pods, those that are ending left out.
    pub pods: &'a [&'a Pod],
}

/// What is made of all services together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The health.
    pub health: Health,
    /// The first thing that keeps it from being healthy, as a sentence.
    pub why: Option<String>,
}

/// Judges a lease by its services. `lost_nodes` are those that are not ready or gone.
pub fn judge(services: &[Service<'_>], lost_nodes: &BTreeSet<String>) -> Verdict {
    let mut unknown = None;
    for service in services {
        match judge_service(service, lost_nodes) {
            None => {}
            Some((Health::Unhealthy, why)) => return Verdict { health: Health::Unhealthy, why: Some(why) },
            Some((_, why)) => unknown = unknown.or(Some(why)),
        }
    }
    let health = if unknown.is_some() { Health::Unknown } else { Health::Healthy };
    Verdict { health, why: unknown }
}

fn judge_service(service: &Service<'_>, lost_nodes: &BTreeSet<String>) -> Option<(Health, String)> {
    let ready = ready_replicas(service, lost_nodes);
    if ready >= service.wanted && service.rolled_out == Some(true) {
        return None;
    }
    let say = |health, what: &str| {
        Some((health, format!("{}: {ready} of {} replicas are ready: {what}", service.name, service.wanted)))
    };
    for pod in service.pods {
        if let Some(fault) = tenants_fault(pod).filter(|_| !is_lost(pod, lost_nodes)) {
            return say(Health::Unhealthy, &fault);
        }
    }
    if let Some(pod) = service.pods.iter().find(|pod| is_lost(pod, lost_nodes)) {
        return say(Health::Unknown, &format!("node {} does not answer", node(pod)));
    }
    if let Some(why) = service.pods.iter().find_map(|pod| unplaced(pod)) {
        return say(Health::Unknown, &format!("no place was found for a pod: {why}"));
    }
    if let Some(complaint) = service.complaint {
        return say(Health::Unknown, complaint);
    }
    say(Health::Unknown, if ready >= service.wanted { "an update is rolled out" } else { "starting" })
}

/// Replicas that are ready on nodes that answer.
pub fn ready_replicas(service: &Service<'_>, lost_nodes: &BTreeSet<String>) -> u32 {
    let ready = service.pods.iter().filter(|pod| is_ready(pod) && !is_lost(pod, lost_nodes)).count();
    u32::try_from(ready).unwrap_or(u32::MAX)
}

/// A pod as the tenant is shown it. `gpus` are the devices by pod UID.
pub fn pod_status(pod: &Pod, gpus: &BTreeMap<String, Vec<String>>) -> PodStatus {
    let container = main_container(pod);
    let last =
        container.and_then(|status| status.last_state.as_ref()).and_then(|state| state.terminated.as_ref());
    PodStatus {
        name: pod.name_any(),
        ready: is_ready(pod),
        state: state_word(pod),
        restarts: container.map_or(0, |status| u32::try_from(status.restart_count).unwrap_or(0)),
        last_exit: last.map(|ended| LastExit {
            code: ended.exit_code,
            reason: ended.reason.clone().unwrap_or_default(),
            at: ended
                .finished_at
                .as_ref()
                .and_then(|time| u64::try_from(time.0.as_second()).ok())
                .unwrap_or_default(),
        }),
        gpus: pod.uid().and_then(|uid| gpus.get(&uid).cloned()).unwrap_or_default(),
    }
}

fn state_word(pod: &Pod) -> String {
    if pod.metadata.deletion_timestamp.is_some() {
        return "ending".to_owned();
    }
    let state = main_container(pod).and_then(|status| status.state.as_ref());
    if let Some(state) = state {
        if state.running.is_some() {
            return "running".to_owned();
        }
        let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
        let ended =
            state.terminated.as_ref().map(|ended| ended.reason.clone().unwrap_or_else(|| "Error".to_owned()));
        if let Some(word) = waiting.or(ended) {
            return word;
        }
    }
    let status = pod.status.as_ref();
    status
        .and_then(|status| status.reason.clone())
        .or_else(|| unplaced(pod).map(|_| "Unschedulable".to_owned()))
        .or_else(|| status.and_then(|status| status.phase.clone()))
        .unwrap_or_else(|| "Pending".to_owned())
}

/// What is wrong with a pod that its image or its command answers for.
fn tenants_fault(pod: &Pod) -> Option<String> {
    let status = main_container(pod)?;
    let state = status.state.as_ref()?;
    if let Some(reason) = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref()) {
        return match reason {
            "CrashLoopBackOff" => Some(format!("its container keeps ending{}", last_exit(status))),
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
                Some(format!("its image cannot be pulled ({reason})"))
            }
            "RunContainerError" | "CreateContainerError" => {
                Some(format!("its container cannot be started ({reason}{})", last_exit(status)))
            }
            _ => None,
        };
    }
    state.terminated.as_ref().map(|ended| {
        format!(
            "its container ended with code {} ({})",
            ended.exit_code,
            ended.reason.as_deref().unwrap_or("no reason told")
        )
    })
}

fn last_exit(status: &ContainerStatus) -> String {
    status
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref())
        .map(|ended| {
            format!(
                ", last with code {} ({})",
                ended.exit_code,
                ended.reason.as_deref().unwrap_or("no reason told")
            )
        })
        .unwrap_or_default()
}

/// Why the scheduler finds no node for the pod.
pub(super) fn unplaced(pod: &Pod) -> Option<String> {
    condition(pod, "PodScheduled")
        .filter(|condition| condition.status == "False")
        .map(|condition| condition.message.clone())
        .map(|message| message.unwrap_or_else(|| "the scheduler does not say why".to_owned()))
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

pub(super) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

fn is_lost(pod: &Pod, lost_nodes: &BTreeSet<String>) -> bool {
    lost_nodes.contains(node(pod))
}

pub(super) fn node(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// The tenant's container; ours have only this one.
fn main_container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(ready: &str, state: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web-1", "uid": "u1"},
            "spec": {"nodeName": "n1", "containers": []},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": ready}],
                "containerStatuses": [{
                    "name": "web", "image": "", "imageID": "", "ready": ready == "True", "restartCount": 3, "state": state,
                    "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-02T03:04:05Z"}},
                }],
            },
        }))
        .expect("a pod")
    }

    fn verdict(rolled_out: Option<bool>, complaint: Option<&str>, pods: &[&Pod], lost: &[&str]) -> Verdict {
        let lost = lost.iter().map(|&name| name.to_owned()).collect();
        judge(&[Service { name: "web", wanted: 1, rolled_out, complaint, pods }], &lost)
    }

    #[test]
    fn health_says_what_is_the_tenants_and_leaves_the_rest_open() {
        let running = pod("True", &json!({"running": {}}));
        let crashing = pod("False", &json!({"waiting": {"reason": "CrashLoopBackOff"}}));
        let missing_image = pod("False", &json!({"waiting": {"reason": "ImagePullBackOff"}}));
        let ended = pod("False", &json!({"terminated": {"exitCode": 1, "reason": "Error"}}));
        let creating = pod("False", &json!({"waiting": {"reason": "ContainerCreating"}}));
        let unplaced: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web-1"},
            "status": {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]},
        }))
        .expect("a pod");

        let table: [(&str, Verdict, Health, &str); 9] = [
            ("ready", verdict(Some(true), None, &[&running], &[]), Health::Healthy, ""),
            ("crashing", verdict(Some(true), None, &[&crashing], &[]), Health::Unhealthy, "OOMKilled"),
            (
                "no image",
                verdict(Some(true), None, &[&missing_image], &[]),
                Health::Unhealthy,
                "ImagePullBackOff",
            ),
            ("ended", verdict(Some(true), None, &[&ended], &[]), Health::Unhealthy, "code 1"),
            ("starting", verdict(Some(true), None, &[&creating], &[]), Health::Unknown, "starting"),
            ("no place", verdict(Some(true), None, &[&unplaced], &[]), Health::Unknown, "0/1 nodes"),
            (
                "node lost",
                verdict(Some(true), None, &[&running], &["n1"]),
                Health::Unknown,
                "n1 does not answer",
            ),
            ("crashed with its node", verdict(Some(true), None, &[&ended], &["n1"]), Health::Unknown, "n1"),
            (
                "quota",
                verdict(Some(true), Some("quota is used up"), &[], &[]),
                Health::Unknown,
                "quota is used up",
            ),
        ];
        for (case, verdict, health, why) in table {
            assert_eq!(verdict.health, health, "{case}: {verdict:?}");
            assert!(verdict.why.unwrap_or_default().contains(why), "{case}");
        }
    }

    #[test]
    fn old_pods_do_not_make_an_update_healthy() {
        let running = pod("True", &json!({"running": {}}));
        assert_eq!(verdict(Some(false), None, &[&running], &[]).health, Health::Unknown);
        assert_eq!(verdict(None, None, &[&running], &[]).health, Health::Unknown);
    }

    #[test]
    fn a_service_without_replicas_is_well() {
        let service = Service { name: "web", wanted: 0, rolled_out: Some(true), complaint: None, pods: &[] };
        assert_eq!(judge(&[service], &BTreeSet::new()).health, Health::Healthy);
    }

    #[test]
    fn the_tenant_sees_restarts_the_last_end_and_the_devices() {
        let gpus = BTreeMap::from([("u1".to_owned(), vec!["GPU-a".to_owned()])]);
        let status = pod_status(&pod("False", &json!({"waiting": {"reason": "CrashLoopBackOff"}})), &gpus);
        assert_eq!((status.state.as_str(), status.restarts, status.ready), ("CrashLoopBackOff", 3, false));
        let last = status.last_exit.expect("told");
        assert_eq!((last.code, last.reason.as_str(), last.at), (137, "OOMKilled", 1_767_323_045));
        assert_eq!(status.gpus, ["GPU-a"]);
    }
}
