//! Which devices the pods of leases hold, from the kubelets' own words: the join between a lease and a GPU.
//!
//! A device plugin chooses; we take note. A node whose kubelet could not be asked, or whose record is old, is unknown: what
//! its pods hold is left as it was last known, never ended on a guess.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::podresources::Allocation;
use super::record::NodeRecord;
use super::requests::{effective_requests, has_ended};
use crate::leases::names::lease_of;

/// One device in one container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// The node's name.
    pub node: String,
    /// The pod's UID.
    pub pod: String,
    /// The container in the pod.
    pub container: String,
    /// The device.
    pub uuid: String,
}

/// Something about GPUs that must not be, in words for the operator.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Incident {
    /// Two leases were given one device.
    #[error(
        "the device {uuid} on node {node} is held by leases {first} and {second} at once: drain the node and look at its device plugin"
    )]
    Shared {
        /// Where.
        node: String,
        /// Which.
        uuid: String,
        /// Short name of one.
        first: String,
        /// Short name of the other.
        second: String,
    },
    /// A lease was given a device of another model than it pays for.
    #[error(
        "lease {lease} holds the device {uuid} on node {node}, which is a {is} and not of the reserved pool {reserved}"
    )]
    WrongModel {
        /// Its short name.
        lease: String,
        /// Where.
        node: String,
        /// Which.
        uuid: String,
        /// What it is.
        is: String,
        /// What was reserved.
        reserved: String,
    },
    /// A lease was given a device that the node's agent does not know.
    #[error("lease {lease} holds the device {uuid} on node {node}, which the node's agent does not see")]
    Unknown {
        /// Its short name.
        lease: String,
        /// Where.
        node: String,
        /// Which.
        uuid: String,
    },
}

impl Incident {
    /// Its stable code, for metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Shared { .. } => "gpu_shared",
            Self::WrongModel { .. } => "gpu_wrong_model",
            Self::Unknown { .. } => "gpu_unknown",
        }
    }
}

/// What all leases hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holdings {
    /// The devices of each lease, by short name, that has pods where everything is known; those without a device too.
    pub known: BTreeMap<String, BTreeSet<Held>>,
    /// Short names of leases with a pod on a node of which nothing is known at the moment.
    pub unknown: BTreeSet<String>,
    /// The model of each device that an agent sees, by node and UUID.
    models: BTreeMap<(String, String), String>,
}

impl Holdings {
    /// Joins the kubelets' words with the pods.
    pub fn join(records: &BTreeMap<String, Arc<NodeRecord>>, pods: &[Arc<Pod>]) -> Self {
        let mut holdings = Self::default();
        let mut allocations: BTreeMap<_, Vec<&Allocation>> = BTreeMap::new();
        for (node, record) in records {
            for device in &record.devices {
                holdings.models.insert((node.clone(), device.uuid.clone()), device.gpu.to_string());
                for slice in &device.slices {
                    // A slice of which nothing is known is nobody's reserved pool.
                    let gpu = slice.gpu.as_ref().map_or_else(|| slice.profile.clone(), ToString::to_string);
                    holdings.models.insert((node.clone(), slice.uuid.clone()), gpu);
                }
            }
            for held in record.allocations.iter().flatten() {
                let key = (node.as_str(), held.namespace.as_str(), held.pod.as_str());
                allocations.entry(key).or_default().push(held);
            }
        }
        for pod in pods.iter().filter(|pod| !has_ended(pod)) {
            let Some(lease) = lease_of(&**pod) else { continue };
            let lease = lease.to_owned();
            let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) else { continue };
            let wants_gpus = !effective_requests(pod).gpus.is_empty();
            let is_known = records.get(node).is_some_and(|record| record.allocations.is_some());
            if wants_gpus && !is_known {
                holdings.unknown.insert(lease);
                continue;
            }
            let held = holdings.known.entry(lease).or_default();
            let (namespace, name, uid) = (pod.namespace().unwrap_or_default(), pod.name_any(), pod.uid());
            for given in allocations.get(&(node, namespace.as_str(), name.as_str())).into_iter().flatten() {
                held.extend(given.uuids.iter().map(|uuid| Held {
                    node: node.to_owned(),
                    pod: uid.clone().unwrap_or_default(),
                    container: given.container.clone(),
                    uuid: uuid.clone(),
                }));
            }
        }
        for lease in &holdings.unknown {
            holdings.known.remove(lease);
        }
        holdings
    }

    /// What must not be. `reserved` gives the pools of a lease on a node; none where that is not known.
    pub fn incidents(&self, reserved: impl Fn(&str, &str) -> BTreeSet<String>) -> BTreeSet<Incident> {
        let mut incidents = BTreeSet::new();
        let mut holders: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        for (lease, held) in &self.known {
            for Held { node, uuid, .. } in held {
                let first = *holders.entry((node, uuid)).or_insert(lease);
                let (node, uuid) = (node.clone(), uuid.clone());
                let lease = lease.clone();
                if first != lease {
                    incidents.insert(Incident::Shared { node, uuid, first: first.to_owned(), second: lease });
                    continue;
                }
                match self.models.get(&(node.clone(), uuid.clone())) {
                    None => {
                        incidents.insert(Incident::Unknown { lease, node, uuid });
                    }
                    Some(is) => {
                        let reserved = reserved(&lease, &node);
                        if !reserved.is_empty() && !reserved.contains(is) {
                            let reserved = Vec::from_iter(reserved).join(" or ");
                            let is = is.clone();
                            incidents.insert(Incident::WrongModel { lease, node, uuid, is, reserved });
                        }
                    }
                }
            }
        }
        incidents
    }

    /// The devices of each pod, by its UID.
    #[must_use]
    pub fn by_pod(&self) -> BTreeMap<String, Vec<String>> {
        let mut pods: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for held in self.known.values().flatten() {
            pods.entry(held.pod.clone()).or_default().push(held.uuid.clone());
        }
        pods
    }
}

#[cfg(test)]
mod tests {
    use manifests::objects::labels;
    use serde_json::json;

    use super::*;
    use crate::inventory::requests::GPU_RESOURCE;

    fn pod(name: &str, lease: &str, node: &str) -> Arc<Pod> {
        let pod = json!({
            "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "labels": {labels::LEASE: lease}},
            "spec": {"nodeName": node, "containers": [{"name": "c", "resources": {"limits": {GPU_RESOURCE: "1"}}}]},
        });
        Arc::new(serde_json::from_value(pod).expect("a pod"))
    }

    fn record(holders: &[(&str, &str)], models: &[(&str, &str)]) -> BTreeMap<String, Arc<NodeRecord>> {
        let allocations: Vec<_> = holders
            .iter()
            .map(|(pod, uuid)| {
                json!({"namespace": "ns", "pod": pod, "container": "c", "resource": GPU_RESOURCE, "uuids": [uuid]})
            })
            .collect();
        let devices: Vec<_> = models
            .iter()
            .map(|(uuid, gpu)| {
                json!({
                    "uuid": uuid, "gpu": gpu, "name": "", "memory_mib": 0, "pci": "", "bus": "", "minor": null, "mig": false,
                    "health": {"state": "healthy"},
                })
            })
            .collect();
        let record = json!({
            "version": 1, "node": "n1", "observed_at": 0, "period_s": 10, "devices": devices, "allocations": allocations,
            "driver": {"state": "absent", "reason": ""}, "problems": [],
        });
        BTreeMap::from([("n1".to_owned(), Arc::new(serde_json::from_value(record).expect("a record")))])
    }

    const H100: &str = "h100-80Gi-sxm";

    #[test]
    fn a_lease_holds_what_the_kubelet_gave_to_its_pods() {
        let records = record(&[("a", "GPU-1"), ("stranger", "GPU-2")], &[("GPU-1", H100), ("GPU-2", H100)]);
        let holdings = Holdings::join(&records, &[pod("a", "l1", "n1"), pod("b", "l2", "n1")]);
        let uuids: Vec<_> = holdings.known["l1"].iter().map(|held| held.uuid.as_str()).collect();
        assert_eq!(uuids, ["GPU-1"]);
        assert!(holdings.known["l2"].is_empty(), "not given yet");
        assert_eq!(holdings.by_pod()["uid-a"], ["GPU-1"]);
        assert!(holdings.incidents(|_, _| BTreeSet::from([H100.to_owned()])).is_empty());
    }

    #[test]
    fn a_pod_that_ended_holds_nothing_and_makes_nothing_unknown() {
        let ended = |name: &str, node: &str, phase: &str| {
            let mut pod = pod(name, "l1", node);
            Arc::make_mut(&mut pod).status =
                serde_json::from_value(json!({"phase": phase})).expect("a status");
            pod
        };
        let records =
            record(&[("a", "GPU-1"), ("b", "GPU-1"), ("c", "GPU-2")], &[("GPU-1", H100), ("GPU-2", H100)]);
        let pods = [
            ended("a", "n1", "Succeeded"),
            ended("c", "n1", "Failed"),
            ended("d", "unheard", "Failed"),
            pod("b", "l2", "n1"),
        ];
        let holdings = Holdings::join(&records, &pods);
        assert!(!holdings.known.contains_key("l1") && holdings.unknown.is_empty(), "{holdings:?}");
        assert_eq!(holdings.by_pod(), BTreeMap::from([("uid-b".to_owned(), vec!["GPU-1".to_owned()])]));
        assert!(holdings.incidents(|_, _| BTreeSet::new()).is_empty(), "the next pod may have its device");
    }

    #[test]
    fn a_node_that_is_not_heard_of_ends_nothing() {
        let mut records = record(&[], &[]);
        let pods = [pod("a", "l1", "n1"), pod("b", "l2", "n2")];
        assert_eq!(Holdings::join(&records, &pods).unknown, BTreeSet::from(["l2".to_owned()]));
        Arc::make_mut(records.get_mut("n1").expect("there")).allocations = None;
        let holdings = Holdings::join(&records, &pods);
        assert_eq!(holdings.unknown, BTreeSet::from(["l1".to_owned(), "l2".to_owned()]));
        assert!(holdings.known.is_empty());
    }

    #[test]
    fn a_shared_device_a_wrong_model_and_an_unknown_device_are_incidents() {
        let pods = [pod("a", "l1", "n1"), pod("b", "l2", "n1")];
        let codes = |records: &BTreeMap<String, Arc<NodeRecord>>| {
            let incidents =
                Holdings::join(records, &pods).incidents(|_, _| BTreeSet::from([H100.to_owned()]));
            incidents.iter().map(Incident::code).collect::<Vec<_>>()
        };
        assert_eq!(codes(&record(&[("a", "GPU-1"), ("b", "GPU-1")], &[("GPU-1", H100)])), ["gpu_shared"]);
        assert_eq!(codes(&record(&[("a", "GPU-1")], &[("GPU-1", "a100-80Gi-sxm")])), ["gpu_wrong_model"]);
        assert_eq!(codes(&record(&[("a", "GPU-1")], &[])), ["gpu_unknown"]);
    }

    #[test]
    fn slices_are_held_like_devices() {
        let small = "h100.mig-1g.10gb-10Gi-sxm";
        let mut records = record(&[("a", "MIG-1"), ("b", "MIG-2")], &[("GPU-1", H100)]);
        let slices = [("MIG-1", small), ("MIG-2", "h100.mig-3g.40gb-40Gi-sxm")]
            .map(|(uuid, gpu)| json!({"uuid": uuid, "gpu": gpu, "profile": "", "memory_mib": 1}));
        let device = &mut Arc::make_mut(records.get_mut("n1").expect("there")).devices[0];
        device.slices = serde_json::from_value(json!(slices)).expect("slices");
        let holdings = Holdings::join(&records, &[pod("a", "l1", "n1"), pod("b", "l2", "n1")]);
        let incidents = holdings.incidents(|_, _| BTreeSet::from([small.to_owned(), H100.to_owned()]));
        let told: Vec<String> = incidents.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 1, "either pool of a lease will do: {told:?}");
        assert!(
            told[0].contains("lease l2 holds the device MIG-2") && told[0].contains("a h100.mig-3g.40gb")
        );
    }
}
