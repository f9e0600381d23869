//! What `x-berth` adds to services and orders, in sentences.

use std::time::Duration;

use manifests::extension::{Action, Probe, Scheme, Strategy};
use manifests::manifest::Service;
use manifests::terms::{Award, Terms};

use super::amounts::bytes;

/// What is wanted of an order beside its spec.
pub(super) fn terms(terms: &Terms) -> Vec<String> {
    let Terms { award, deadline, min_reclaim, regions, max_latency } = terms;
    let mut told = vec![match (award, deadline) {
        (Award::Lowest, Some(deadline)) => format!("the lowest bid wins after {}", time(*deadline)),
        (Award::Lowest, None) => "the lowest bid wins".to_owned(),
        (Award::Manual, Some(deadline)) => {
            format!("bids are taken for {}, and the tenant chooses", time(*deadline))
        }
        (Award::Manual, None) => "the tenant chooses among the bids".to_owned(),
    }];
    told.push(match min_reclaim {
        Some(notice) => format!("the provider must promise {} of notice before it leaves", time(*notice)),
        None => "the provider may leave without notice".to_owned(),
    });
    if !regions.is_empty() {
        told.push(format!("regions that are wished for, best first: {}", regions.join(", ")));
    }
    if let Some(latency) = max_latency {
        told.push(format!("a round trip of {} at most is wished for", time(*latency)));
    }
    told
}

/// What a service asks for beyond the common language.
pub(super) fn of_service(service: &Service) -> Vec<String> {
    let Some(extension) = &service.x_berth else { return Vec::new() };
    let mut told: Vec<String> =
        extension.probes.all().map(|(name, probe)| format!("{name}: {}", asked(probe))).collect();
    match extension.strategy {
        Some(Strategy::Recreate) => told.push("updates stop all replicas before new ones start".to_owned()),
        Some(Strategy::RollingUpdate { max_surge: _, max_unavailable }) => told.push(format!(
            "updates go one after the other, with no replica above its count and up to {} missing",
            max_unavailable.get().max(1)
        )),
        None => {}
    }
    if let Some(grace) = extension.termination_grace_period_seconds {
        told.push(format!("a replica has {}s to end", grace.get()));
    }
    if let Some(size) = extension.tmp_size {
        told.push(format!("/tmp holds {} and is empty at every start", bytes(size.0)));
    }
    for init in &extension.init_containers {
        told.push(format!("{} of image {} runs to its end first", init.name, init.image));
    }
    if extension.allow_gpu_sharing {
        told.push("its GPUs may be shared with others".to_owned());
    }
    let secrets = extension.secret_names();
    if !secrets.is_empty() {
        told.push(format!(
            "it waits for secrets that the tenant gives to the provider: {}",
            secrets.join(", ")
        ));
    }
    told
}

/// What a probe asks, and how often. Not the command: its arguments may be secret.
fn asked(probe: &Probe) -> String {
    let what = match &probe.action {
        Action::HttpGet(get) => {
            let scheme = if get.scheme == Scheme::Https { "HTTPS" } else { "HTTP" };
            format!("GET {} over {scheme} at port {}", get.path, get.port.get())
        }
        Action::TcpSocket(socket) => format!("a connection to port {}", socket.port.get()),
        Action::Exec(_) => "a command in the container".to_owned(),
    };
    let Probe { initial_delay_seconds, period_seconds, failure_threshold, .. } = probe;
    let (delay, period, failures) =
        (initial_delay_seconds.get(), period_seconds.get(), failure_threshold.get());
    format!("{what}, every {period}s from {delay}s on, fails after {failures} in a row")
}

/// A span of time in its largest whole unit.
fn time(span: Duration) -> String {
    let millis = span.as_millis();
    let units = [(3_600_000, "h"), (60_000, "m"), (1000, "s")];
    match units.into_iter().find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_their_largest_whole_unit() {
        let told = [50, 1000, 90_000, 600_000, 86_400_000].map(|millis| time(Duration::from_millis(millis)));
        assert_eq!(told, ["50ms", "1s", "90s", "10m", "24h"]);
    }
}
