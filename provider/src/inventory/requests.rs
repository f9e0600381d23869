//! What a pod takes from its node, as the scheduler counts it.
//!
//! Containers and sidecars run together, so their requests add up; an init container runs beside the sidecars started
//! before it and nothing else, so the dearest moment of the start counts when it is above the steady state. Overhead of the
//! runtime class comes on top, and a request set for the whole pod replaces the sum over its containers. While a resize is
//! under way the larger of old and new counts.

use serde::Serialize;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Node, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

use super::podresources::VENDOR;
use super::quantity::{Rounding, units};
use crate::leases::names::lease_of;

/// The resource name under which a device plugin offers whole NVIDIA GPUs.
pub const GPU_RESOURCE: &str = "nvidia.com/gpu";

/// An amount of everything that we count on a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of node-local storage.
    pub ephemeral_bytes: u64,
    /// Pods.
    pub pods: u64,
    /// GPUs and slices of them, by the resource name under which they are handed out; what is not there is none.
    pub gpus: BTreeMap<String, u64>,
}

/// Whether a node's kubelet has GPUs to give.
pub(super) fn gives_gpus(node: &Node) -> bool {
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    allocatable.is_some_and(|list| !Resources::read(list, Rounding::Down, 0).gpus.is_empty())
}

impl Resources {
    /// Reads a Kubernetes resource list. A quantity that cannot be read, or is beyond 64 bits, counts as `unreadable`.
    pub(super) fn read(list: &BTreeMap<String, Quantity>, rounding: Rounding, unreadable: u64) -> Self {
        let count =
            |quantity: &Quantity, per_one| units(&quantity.0, per_one, rounding).unwrap_or(unreadable);
        let read = |name: &str, per_one| list.get(name).map_or(0, |quantity| count(quantity, per_one));
        let gpus = list.iter().filter(|(name, _)| name.starts_with(VENDOR));
        Self {
            cpu_milli: read("cpu", 1000),
            memory_bytes: read("memory", 1),
            ephemeral_bytes: read("ephemeral-storage", 1),
            pods: read("pods", 1),
            gpus: gpus
                .map(|(name, quantity)| (name.clone(), count(quantity, 1)))
                .filter(|(_, n)| *n > 0)
                .collect(),
        }
    }

    /// How many GPUs or slices there are under a resource name.
    #[must_use]
    pub fn gpus(&self, resource: &str) -> u64 {
        self.gpus.get(resource).copied().unwrap_or(0)
    }

    /// Adds another; stops at the largest number rather than wrap.
    pub fn add(&mut self, other: &Self) {
        self.merge(other, u64::saturating_add);
    }

    /// Takes another away; stops at nothing rather than wrap.
    pub fn subtract(&mut self, other: &Self) {
        self.merge(other, u64::saturating_sub);
    }

    /// Keeps the larger of each.
    pub fn raise_to(&mut self, other: &Self) {
        self.merge(other, u64::max);
    }

    fn merge(&mut self, other: &Self, combine: impl Fn(u64, u64) -> u64) {
        let Self { cpu_milli, memory_bytes, ephemeral_bytes, pods, gpus } = other;
        self.cpu_milli = combine(self.cpu_milli, *cpu_milli);
        self.memory_bytes = combine(self.memory_bytes, *memory_bytes);
        self.ephemeral_bytes = combine(self.ephemeral_bytes, *ephemeral_bytes);
        self.pods = combine(self.pods, *pods);
        for (name, count) in gpus {
            let mine = self.gpus.entry(name.clone()).or_default();
            *mine = combine(*mine, *count);
        }
    }
}

/// Whether the pod has ended for good: it keeps its name but no resources.
pub fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// What the pod takes while it is on its node. A request that cannot be read takes everything.
pub fn effective_requests(pod: &Pod) -> Resources {
    let Some(spec) = &pod.spec else { return Resources { pods: 1, ..Resources::default() } };

    let mut total = Resources::default();
    for container in &spec.containers {
        total.add(&container_requests(pod, container));
    }
    let mut sidecars = Resources::default();
    let mut start = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        let mut beside = container_requests(pod, container);
        beside.add(&sidecars);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = beside.clone();
        }
        start.raise_to(&beside);
    }
    total.add(&sidecars);
    total.raise_to(&start);

    if let Some(list) = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()) {
        let whole = taken(list);
        if list.contains_key("cpu") {
            total.cpu_milli = whole.cpu_milli;
        }
        if list.contains_key("memory") {
            total.memory_bytes = whole.memory_bytes;
        }
    }
    if let Some(overhead) = &spec.overhead {
        total.add(&taken(overhead));
    }
    total.pods = 1;
    total
}

fn container_requests(pod: &Pod, container: &Container) -> Resources {
    let mut asked = container.resources.as_ref().map(requests_or_limits).unwrap_or_default();
    let status = pod.status.as_ref();
    let statuses = status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten();
    let init = status.and_then(|status| status.init_container_statuses.as_ref()).into_iter().flatten();
    if let Some(status) = statuses.chain(init).find(|status| status.name == container.name) {
        let in_force = status.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        for list in status.allocated_resources.iter().chain(in_force) {
            asked.raise_to(&taken(list));
        }
    }
    asked
}

/// The API server fills a missing request in from the limit; one that was read before that counts the same.
fn requests_or_limits(resources: &ResourceRequirements) -> Resources {
    let mut list = resources.limits.clone().unwrap_or_default();
    list.extend(resources.requests.clone().unwrap_or_default());
    taken(&list)
}

fn taken(list: &BTreeMap<String, Quantity>) -> Resources {
    Resources::read(list, Rounding::Up, u64::MAX)
}

/// Names a pod for a sentence: namespace and name.
pub fn pod_name(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}

/// A pod that takes something from a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The node that it is bound to.
    pub node: String,
    /// The short name of the lease that it belongs to; `None` for everybody else's.
    pub lease: Option<String>,
    /// What it takes there.
    pub takes: Resources,
}

impl Tenant {
    /// What is counted of a pod; `None` when it is bound to no node or has ended. One that is being deleted takes what it took
    /// until it is gone.
    #[must_use]
    pub fn of(pod: &Pod) -> Option<Self> {
        let node = pod.spec.as_ref()?.node_name.clone()?;
        (!has_ended(pod)).then(|| Self {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            node,
            lease: lease_of(pod).map(str::to_owned),
            takes: effective_requests(pod),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn requests(cpu: &str, memory: &str) -> Value {
        json!({"requests": {"cpu": cpu, "memory": memory}})
    }

    fn pod(spec: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).expect("a pod")
    }

    fn container(name: &str, cpu: &str, memory: &str) -> Value {
        json!({"name": name, "resources": requests(cpu, memory)})
    }

    fn sidecar(name: &str, cpu: &str, memory: &str) -> Value {
        json!({"name": name, "restartPolicy": "Always", "resources": requests(cpu, memory)})
    }

    #[test]
    fn a_pod_takes_what_the_scheduler_counts() {
        let table = [
            ("no containers", json!({"containers": []}), 0, 0),
            (
                "two containers add up",
                json!({"containers": [container("a", "1", "100"), container("b", "500m", "50")]}),
                1500,
                150,
            ),
            (
                "an init container above the rest counts alone",
                json!({"containers": [container("a", "100m", "10")], "initContainers": [container("i", "1", "5")]}),
                1000,
                10,
            ),
            (
                "init containers do not add up",
                json!({"containers": [container("a", "1", "10")],
                       "initContainers": [container("i", "900m", "9"), container("j", "800m", "80")]}),
                1000,
                80,
            ),
            (
                "a sidecar adds to the containers",
                json!({"containers": [container("a", "1", "10")], "initContainers": [sidecar("s", "200m", "5")]}),
                1200,
                15,
            ),
            (
                "an init container runs beside the sidecars started before it",
                json!({"containers": [container("a", "100m", "1")],
                       "initContainers": [sidecar("s", "200m", "5"), container("i", "1", "10"), sidecar("t", "300m", "5")]}),
                1200,
                15,
            ),
            (
                "overhead comes on top",
                json!({"containers": [container("a", "1", "10")], "overhead": {"cpu": "250m", "memory": "7"}}),
                1250,
                17,
            ),
            (
                "a request for the whole pod replaces the sum",
                json!({"containers": [container("a", "1", "10")], "resources": {"requests": {"cpu": "3"}}}),
                3000,
                10,
            ),
            (
                "a limit stands for a missing request",
                json!({"containers": [{"name": "a", "resources": {"limits": {"cpu": "2", "memory": "20"}}}]}),
                2000,
                20,
            ),
            ("parts of a unit are rounded up", json!({"containers": [container("a", "1u", "1m")]}), 1, 1),
            (
                "what cannot be read takes everything",
                json!({"containers": [container("a", "lots", "1")]}),
                u64::MAX,
                1,
            ),
        ];
        for (case, spec, cpu_milli, memory_bytes) in table {
            let got = effective_requests(&pod(&spec));
            assert_eq!((got.cpu_milli, got.memory_bytes), (cpu_milli, memory_bytes), "{case}");
        }
    }

    #[test]
    fn while_a_resize_is_under_way_the_larger_counts() {
        let mut pod = pod(&json!({"containers": [container("a", "1", "10")]}));
        pod.status = serde_json::from_value(json!({"containerStatuses": [{
            "name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "allocatedResources": {"cpu": "2"}, "resources": {"requests": {"cpu": "500m", "memory": "30"}},
        }]}))
        .expect("a status");
        let got = effective_requests(&pod);
        assert_eq!((got.cpu_milli, got.memory_bytes), (2000, 30));
    }

    #[test]
    fn gpus_are_counted_from_limits_as_well() {
        let pod = pod(&json!({"containers": [{"name": "a", "resources": {"limits": {GPU_RESOURCE: "2"}}}]}));
        assert_eq!(effective_requests(&pod).gpus(GPU_RESOURCE), 2);
    }
}
