//! How much of a resource is used: what curves and rules look at.

use std::collections::BTreeMap;

use manifests::gpu::Gpu;

use super::factor::Share;
use crate::capacity::{Capacity, Node};

/// What can be used up.
#[derive(Debug, Clone, Copy)]
pub(super) enum Resource<'a> {
    Cpu,
    Memory,
    Ephemeral,
    Storage(&'a str),
    /// The devices of one pool.
    Gpu(&'a Gpu),
    /// The devices of all pools.
    Gpus,
}

/// The share of a resource that is used on all nodes that take pods, rounded down.
pub(super) fn used(resource: Resource<'_>, capacity: &Capacity) -> Share {
    let total = &capacity.total;
    let nodes = || capacity.nodes.values().filter(|node| node.schedulable);
    let free = |of: fn(&Node) -> u64| nodes().map(of).fold(0, u64::saturating_add);
    let (free, total) = match resource {
        Resource::Cpu => (free(|node| node.cpu_milli), total.cpu_milli),
        Resource::Memory => (free(|node| node.memory_bytes), total.memory_bytes),
        Resource::Ephemeral => (free(|node| node.ephemeral_bytes), total.ephemeral_bytes),
        Resource::Storage(class) => {
            let of = |classes: &BTreeMap<String, u64>| classes.get(class).copied().unwrap_or(0);
            (of(&capacity.storage), of(&total.storage))
        }
        Resource::Gpu(pool) => {
            let of = |pools: &BTreeMap<Gpu, u64>| pools.get(pool).copied().unwrap_or(0);
            (nodes().map(|node| of(&node.gpus)).fold(0, u64::saturating_add), of(&total.gpus))
        }
        Resource::Gpus => {
            let total = total.gpus.values().fold(0, |sum: u64, count| sum.saturating_add(*count));
            (free_gpus(capacity), total)
        }
    };
    Share::used(free, total)
}

/// How many GPUs are free on all nodes that take pods.
pub(super) fn free_gpus(capacity: &Capacity) -> u64 {
    let nodes = capacity.nodes.values().filter(|node| node.schedulable);
    nodes.flat_map(|node| node.gpus.values()).fold(0, |sum, count| sum.saturating_add(*count))
}
