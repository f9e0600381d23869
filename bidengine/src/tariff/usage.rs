//! How much of a resource is used: what curves and rules look at.

use manifests::gpu::Gpu;

use super::factor::Share;
use crate::capacity::Capacity;

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

/// What is free on all nodes that take pods together, beside what there is: summed up once for a decision, however many curves
/// and rules look at it. Sums end at the largest number.
#[derive(Debug, Clone)]
pub(crate) struct Usage<'a> {
    pub(crate) capacity: &'a Capacity,
    pub(crate) cpu_milli: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) ephemeral_bytes: u64,
    /// Free devices. A model that pods ask for by several names is there several times.
    pub(crate) gpus: Vec<(&'a Gpu, u64)>,
}

impl Usage<'_> {
    /// The share of a resource that is used, rounded down.
    pub(super) fn of(&self, resource: Resource<'_>) -> Share {
        let total = &self.capacity.total;
        let (free, total) = match resource {
            Resource::Cpu => (self.cpu_milli, total.cpu_milli),
            Resource::Memory => (self.memory_bytes, total.memory_bytes),
            Resource::Ephemeral => (self.ephemeral_bytes, total.ephemeral_bytes),
            Resource::Storage(class) => {
                let bytes = |of: Option<&u64>| of.copied().unwrap_or(0);
                (bytes(self.capacity.storage.get(class)), bytes(total.storage.get(class)))
            }
            Resource::Gpu(pool) => {
                (self.free_gpus(|gpu| gpu == pool), total.gpus.get(pool).copied().unwrap_or(0))
            }
            Resource::Gpus => (
                self.free_gpus(|_| true),
                total.gpus.values().fold(0, |sum: u64, count| sum.saturating_add(*count)),
            ),
        };
        Share::used(free, total)
    }

    /// How many of the GPUs that are meant are free.
    pub(super) fn free_gpus(&self, meant: impl Fn(&Gpu) -> bool) -> u64 {
        let meant = self.gpus.iter().filter(|(gpu, _)| meant(gpu));
        meant.fold(0, |sum, (_, free)| sum.saturating_add(*free))
    }
}
