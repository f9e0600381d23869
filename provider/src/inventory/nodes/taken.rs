//! What the pods of one node take from it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::inventory::requests::{Resources, Tenant, has_ended};

/// What a node's pods take, by whose they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taken {
    /// What pods take that are no lease's.
    pub(super) others: Resources,
    /// What the pods of each lease take, by its short name.
    pub(super) leases: BTreeMap<String, Resources>,
    /// The pods that have GPUs.
    pub(super) with_gpus: Vec<Tenant>,
    /// Namespace and name of pods that have ended and are still there.
    ended: BTreeSet<(String, String)>,
}

impl Taken {
    /// Counts the pods of a node.
    pub fn of<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Self {
        let mut taken = Self::default();
        for pod in pods {
            match Tenant::of(pod) {
                Some(tenant) => taken.add(tenant),
                None if has_ended(pod) => {
                    taken.ended.insert((pod.namespace().unwrap_or_default(), pod.name_any()));
                }
                None => {}
            }
        }
        taken
    }

    fn add(&mut self, tenant: Tenant) {
        let held = match &tenant.lease {
            Some(lease) => self.leases.entry(lease.clone()).or_default(),
            None => &mut self.others,
        };
        held.add(&tenant.takes);
        if !tenant.takes.gpus.is_empty() {
            self.with_gpus.push(tenant);
        }
    }

    /// Whether a pod has ended although it is still there.
    pub(super) fn has_ended(&self, namespace: &str, name: &str) -> bool {
        self.ended.iter().any(|(of, ended)| (of.as_str(), ended.as_str()) == (namespace, name))
    }
}
