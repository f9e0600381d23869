//! What is free now: nodes with processor, memory, node-local storage and GPUs, minus what is promised.
//!
//! Amounts are unsigned and never wrap: a promise larger than what is left either is refused ([`Capacity::take`]) or leaves
//! nothing ([`Capacity::take_saturating`]), so that sources that contradict each other make capacity smaller, never larger.

use std::collections::BTreeMap;

use manifests::decision::{Placement, Takes};
use manifests::gpu::Gpu;
use manifests::objects;
use serde::{Deserialize, Serialize};

/// What a cluster has left for new orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Capacity {
    /// The nodes by name.
    pub nodes: BTreeMap<String, Node>,
    /// What there is in all, free or not.
    #[serde(default)]
    pub total: Totals,
    /// Bytes of persistent volumes that are left to sell, by each class that is offered.
    #[serde(default)]
    pub storage: BTreeMap<String, u64>,
    /// Bytes that are left where volumes are made, by the place's name, of the classes whose driver tells. What a class has
    /// left to sell is the less of this and `storage`.
    #[serde(default)]
    pub segments: BTreeMap<String, u64>,
    /// Addresses that are left to lease.
    #[serde(default)]
    pub leased_ips: u64,
    /// Ports of the nodes' addresses that are left.
    #[serde(default = "unbounded")]
    pub node_ports: u64,
    /// How much more is sold than is kept free.
    #[serde(default)]
    pub overcommit: objects::Overcommit,
    /// Why nothing can be promised at the moment, such as a watch that has not caught up; `None` when the rest is sound.
    #[serde(default)]
    pub problem: Option<String>,
}

impl Default for Capacity {
    /// A cluster without nodes, whose ports nobody counts.
    fn default() -> Self {
        Self {
            nodes: BTreeMap::new(),
            total: Totals::default(),
            storage: BTreeMap::new(),
            segments: BTreeMap::new(),
            leased_ips: 0,
            node_ports: unbounded(),
            overcommit: objects::Overcommit::default(),
            problem: None,
        }
    }
}

impl Default for Node {
    /// A node that takes no pods and has nothing.
    fn default() -> Self {
        Self {
            schedulable: false,
            user_namespaces: false,
            arch: amd64(),
            cpu_milli: 0,
            memory_bytes: 0,
            ephemeral_bytes: 0,
            pods: unbounded(),
            segments: BTreeMap::new(),
            gpus: BTreeMap::new(),
            islands: BTreeMap::new(),
            gpu_resources: BTreeMap::new(),
        }
    }
}

/// What a cluster has in all: its nodes that take pods, and what belongs to no node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Totals {
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of node-local storage.
    pub ephemeral_bytes: u64,
    /// Healthy GPUs, by pool.
    pub gpus: BTreeMap<Gpu, u64>,
    /// Bytes of persistent volumes that are sold, by class.
    pub storage: BTreeMap<String, u64>,
}

/// What one node has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Node {
    /// Whether it takes new pods: ready, not cordoned, without a taint that keeps tenants away.
    pub schedulable: bool,
    /// Whether its runtime can give a pod a user namespace of its own.
    #[serde(default)]
    pub user_namespaces: bool,
    /// Processor architecture as Kubernetes names it: `amd64`, `arm64`.
    #[serde(default = "amd64")]
    pub arch: String,
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of node-local storage.
    pub ephemeral_bytes: u64,
    /// How many more pods the kubelet takes.
    #[serde(default = "unbounded")]
    pub pods: u64,
    /// Where volumes for this node are made, by class: a name in [`Capacity::segments`]. A class that is not there is made
    /// anywhere.
    #[serde(default)]
    pub segments: BTreeMap<String, String>,
    /// Healthy GPUs that nobody holds, by pool.
    #[serde(default)]
    pub gpus: BTreeMap<Gpu, u64>,
    /// How the free GPUs of a pool lie in islands: groups that NVLink ties together. A pool that is not there is one island.
    #[serde(default)]
    pub islands: BTreeMap<Gpu, Vec<u64>>,
    /// The extended resource by which pods ask for a pool, where it is not the one that the pool's name implies.
    #[serde(default)]
    pub gpu_resources: BTreeMap<Gpu, String>,
}

fn amd64() -> String {
    "amd64".to_owned()
}

/// What is not told is not bound.
fn unbounded() -> u64 {
    u64::MAX
}

/// A promise is larger than what is left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} has {have} of {what} left, {need} are taken", .node.as_ref().map_or("the cluster".to_owned(), |node| format!("node {node}")))]
pub struct Overcommit {
    /// Where; `None` for what belongs to no node.
    pub node: Option<String>,
    /// Of what: `cpu_milli`, `memory_bytes`, `ephemeral_bytes`, a GPU pool, a storage class or `leased_ips`.
    pub what: String,
    /// How much was to be taken.
    pub need: u64,
    /// How much was left.
    pub have: u64,
}

impl Capacity {
    /// Takes a whole placement; on an error nothing is taken.
    ///
    /// # Errors
    /// [`Overcommit`] names the first thing of which less is left than taken. A node that is not there has nothing left.
    pub fn take(&mut self, placement: &Placement) -> Result<(), Overcommit> {
        let mut left = self.clone();
        for replica in &placement.replicas {
            left.take_replica(&replica.node, &replica.takes)?;
        }
        let short = |what: &str, need, have| Overcommit { node: None, what: what.to_owned(), need, have };
        for (class, bytes) in placement.volumes() {
            let mut none = 0;
            let have = left.storage.get_mut(class).unwrap_or(&mut none);
            *have = have.checked_sub(bytes).ok_or_else(|| short(class, bytes, *have))?;
        }
        let (need, have) = (placement.leased_ips, left.leased_ips);
        left.leased_ips = have.checked_sub(need).ok_or_else(|| short("leased_ips", need, have))?;
        *self = left;
        Ok(())
    }

    fn take_replica(&mut self, name: &str, takes: &Takes) -> Result<(), Overcommit> {
        let short = |what: &str, need, have| Overcommit {
            node: Some(name.to_owned()),
            what: what.to_owned(),
            need,
            have,
        };
        let Takes { cpu_milli, memory_bytes, ephemeral_bytes, gpu, volumes: _ } = takes;
        let node = self.nodes.get_mut(name).ok_or_else(|| short("cpu_milli", *cpu_milli, 0))?;
        for (what, left, need) in [
            ("cpu_milli", &mut node.cpu_milli, *cpu_milli),
            ("memory_bytes", &mut node.memory_bytes, *memory_bytes),
            ("ephemeral_bytes", &mut node.ephemeral_bytes, *ephemeral_bytes),
        ] {
            *left = left.checked_sub(need).ok_or_else(|| short(what, need, *left))?;
        }
        if let Some(gpu) = gpu {
            let mut none = 0;
            let left =
                gpu.pool.parse().ok().and_then(|pool: Gpu| node.gpus.get_mut(&pool)).unwrap_or(&mut none);
            *left = left.checked_sub(gpu.count).ok_or_else(|| short(&gpu.pool, gpu.count, *left))?;
        }
        Ok(())
    }

    /// Takes a placement as far as there is something to take; nothing goes below zero.
    pub fn take_saturating(&mut self, placement: &Placement) {
        for (class, bytes) in placement.volumes() {
            if let Some(left) = self.storage.get_mut(class) {
                *left = left.saturating_sub(bytes);
            }
        }
        self.leased_ips = self.leased_ips.saturating_sub(placement.leased_ips);
        for replica in &placement.replicas {
            let Some(node) = self.nodes.get_mut(&replica.node) else { continue };
            let Takes { cpu_milli, memory_bytes, ephemeral_bytes, gpu, volumes: _ } = &replica.takes;
            node.cpu_milli = node.cpu_milli.saturating_sub(*cpu_milli);
            node.memory_bytes = node.memory_bytes.saturating_sub(*memory_bytes);
            node.ephemeral_bytes = node.ephemeral_bytes.saturating_sub(*ephemeral_bytes);
            let Some(gpu) = gpu else { continue };
            if let Some(left) = gpu.pool.parse().ok().and_then(|pool: Gpu| node.gpus.get_mut(&pool)) {
                *left = left.saturating_sub(gpu.count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use manifests::decision::{GpuTake, Replica};

    use super::*;

    fn capacity() -> Capacity {
        let gpus = BTreeMap::from([("l4-24Gi-pcie".parse().expect("a label"), 2)]);
        let node = Node {
            schedulable: true,
            cpu_milli: 1000,
            memory_bytes: 1 << 30,
            ephemeral_bytes: 1 << 30,
            gpus,
            ..Node::default()
        };
        Capacity { nodes: BTreeMap::from([("a".to_owned(), node)]), ..Capacity::default() }
    }

    fn placement(node: &str, cpu_milli: u64, gpu: Option<(&str, u64)>) -> Placement {
        let gpu = gpu.map(|(pool, count)| GpuTake { pool: pool.to_owned(), count });
        let takes = Takes { cpu_milli, memory_bytes: 1, ephemeral_bytes: 1, gpu, ..Takes::default() };
        Placement {
            replicas: vec![Replica { unit: 1, node: node.to_owned(), takes }],
            ..Placement::default()
        }
    }

    #[test]
    fn taking_more_than_is_left_is_refused_by_name_and_takes_nothing() {
        for (placement, sentence) in [
            (placement("a", 1001, None), "node a has 1000 of cpu_milli left, 1001 are taken"),
            (placement("b", 1, None), "node b has 0 of cpu_milli left, 1 are taken"),
            (placement("a", 1, Some(("l4-24Gi-pcie", 3))), "node a has 2 of l4-24Gi-pcie left, 3 are taken"),
            (placement("a", 1, Some(("t4-16Gi-pcie", 1))), "node a has 0 of t4-16Gi-pcie left, 1 are taken"),
        ] {
            let mut left = capacity();
            assert_eq!(left.take(&placement).expect_err("is too much").to_string(), sentence);
            assert_eq!(left, capacity());
        }
    }

    #[test]
    fn sources_that_contradict_each_other_leave_nothing() {
        let mut left = capacity();
        left.take_saturating(&placement("a", 5000, Some(("l4-24Gi-pcie", 9))));
        left.take_saturating(&placement("gone", 1, Some(("no label", 1))));
        let node = &left.nodes["a"];
        assert_eq!((node.cpu_milli, node.gpus.values().sum::<u64>()), (0, 0));
    }
}
