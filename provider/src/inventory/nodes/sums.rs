//! What the nodes have and who has it, summed up over all of them for whoever watches the cluster as a whole.

use std::collections::BTreeMap;

use bidengine::Capacity;
use k8s_openapi::api::core::v1 as core;
use kube::ResourceExt;
use manifests::gpu::Gpu;

use super::obstacles::{Obstacle, obstacles};
use super::taken::Taken;
use super::{Promise, View, allocatable, by_lease, held_by_leases, replicas};
use crate::inventory::gpus::Health;
use crate::inventory::quantity::Rounding;
use crate::inventory::record::NodeRecord;
use crate::inventory::requests::Resources;

/// The cluster as a whole. What nodes have counts where they take tenants' pods; `capacity` counts on every node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sums {
    /// How many nodes there are in each state.
    pub nodes: BTreeMap<NodeState, u64>,
    /// What the machines have.
    pub capacity: Resources,
    /// What of it their kubelets give to pods.
    pub allocatable: Resources,
    /// What pods ask for, leases' and others'.
    pub requested: Resources,
    /// What is promised to leases beyond what their pods ask for.
    pub reserved: Resources,
    /// What is left to sell.
    pub free: Resources,
    /// The most of each that one node has left to sell.
    pub largest_free: Resources,
    /// GPUs and slices of them, by what becomes of them.
    pub gpus: BTreeMap<(Gpu, GpuState), u64>,
    /// The most GPUs of a model that one node has left to sell.
    pub largest_free_gpus: BTreeMap<Gpu, u64>,
}

/// Whether a node takes tenants' pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeState {
    /// It does.
    Ready,
    /// An operator cordoned it.
    Cordoned,
    /// It has a taint that keeps tenants away, or is being deleted.
    Excluded,
    /// Its kubelet does not report well.
    Unknown,
}

impl NodeState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ready, Self::Cordoned, Self::Excluded, Self::Unknown];

    /// The word in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Cordoned => "cordoned",
            Self::Excluded => "excluded",
            Self::Unknown => "unknown",
        }
    }

    fn of(node: &core::Node) -> Self {
        // Of several obstacles the one that nobody wanted weighs most.
        let state = |obstacle| match obstacle {
            Obstacle::NotReady => Self::Unknown,
            Obstacle::Cordoned => Self::Cordoned,
            Obstacle::Tainted(_) | Obstacle::Leaving => Self::Excluded,
        };
        let states: Vec<Self> = obstacles(node).map(state).collect();
        let has = |state: &Self| states.contains(state);
        [Self::Unknown, Self::Cordoned, Self::Excluded].into_iter().find(has).unwrap_or(Self::Ready)
    }
}

/// What becomes of a GPU, or of a slice of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GpuState {
    /// Left to sell.
    Free,
    /// A pod has it.
    Leased,
    /// Promised to a lease that has no pod for it yet.
    Reserved,
    /// Not well.
    Unhealthy,
    /// Nobody has it, and its model has no name.
    Unmapped,
    /// Well, and not for sale: its node takes no tenants, or its kubelet does not give it out.
    Unsold,
}

impl GpuState {
    /// The word in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Leased => "leased",
            Self::Reserved => "reserved",
            Self::Unhealthy => "unhealthy",
            Self::Unmapped => "unmapped",
            Self::Unsold => "unsold",
        }
    }
}

/// Sums the cluster up. `capacity` is what is free of this view beside these promises.
#[must_use]
pub fn sums(view: &View, capacity: &Capacity, promises: &[Promise]) -> Sums {
    let mut sums = Sums::default();
    let promised = replicas(promises);
    let nothing = Taken::default();
    for node in &view.nodes {
        let name = node.name_any();
        let state = NodeState::of(node);
        *sums.nodes.entry(state).or_default() += 1;
        let machine = node.status.as_ref().and_then(|status| status.capacity.as_ref());
        sums.capacity.add(&machine.map(|list| Resources::read(list, Rounding::Down, 0)).unwrap_or_default());

        let taken = view.taken.get(&name).map_or(&nothing, |taken| taken);
        let pools = view.pools.get(&name).map(|pools| &**pools).unwrap_or_default();
        let promised = promised.get(name.as_str()).map(Vec::as_slice).unwrap_or_default();
        let mut runs = taken.others.clone();
        taken.leases.values().for_each(|lease| runs.add(lease));
        let mut reserved = taken.others.clone();
        held_by_leases(taken, &by_lease(pools, promised)).values().for_each(|lease| reserved.add(lease));
        reserved.subtract(&runs);

        let left = capacity.nodes.get(&name).filter(|_| state == NodeState::Ready);
        if let Some(record) = view.records.get(&name) {
            let mut well = count_devices(&mut sums, record);
            for pool in pools {
                let there = well.entry(pool.gpu.clone()).or_default();
                let mut take = |state, wanted: u64| {
                    let taken = wanted.min(*there);
                    *there -= taken;
                    sums.add_gpus(&pool.gpu, state, taken);
                };
                take(GpuState::Leased, runs.gpus(&pool.resource));
                take(GpuState::Reserved, reserved.gpus(&pool.resource));
                let free = left.and_then(|left| left.gpus.get(&pool.gpu)).copied().unwrap_or(0);
                take(if pool.gpu.is_unknown() { GpuState::Unmapped } else { GpuState::Free }, free);
            }
            for (gpu, rest) in well {
                let state = if gpu.is_unknown() { GpuState::Unmapped } else { GpuState::Unsold };
                sums.add_gpus(&gpu, state, rest);
            }
        }
        let Some(left) = left else { continue };
        sums.allocatable.add(&allocatable(node));
        sums.requested.add(&runs);
        sums.reserved.add(&reserved);
        let free = Resources {
            cpu_milli: left.cpu_milli,
            memory_bytes: left.memory_bytes,
            ephemeral_bytes: left.ephemeral_bytes,
            pods: left.pods,
            gpus: BTreeMap::new(),
        };
        sums.free.add(&free);
        sums.largest_free.raise_to(&free);
        for (gpu, free) in &left.gpus {
            let most = sums.largest_free_gpus.entry(gpu.clone()).or_default();
            *most = (*most).max(*free);
        }
    }
    sums
}

/// Counts the devices of a node that are not well, and gives how many of each model are.
fn count_devices(sums: &mut Sums, record: &NodeRecord) -> BTreeMap<Gpu, u64> {
    let mut well: BTreeMap<Gpu, u64> = BTreeMap::new();
    for device in &record.devices {
        let slices = device.slices.iter().filter_map(|slice| slice.gpu.as_ref());
        let units: Vec<&Gpu> = if device.mig { slices.collect() } else { vec![&device.gpu] };
        for gpu in units {
            if device.health == Health::Healthy {
                *well.entry(gpu.clone()).or_default() += 1;
            } else {
                sums.add_gpus(gpu, GpuState::Unhealthy, 1);
            }
        }
    }
    well
}

impl Sums {
    fn add_gpus(&mut self, gpu: &Gpu, state: GpuState, count: u64) {
        // A state in which there is none is told too, so that a graph of it ends at nothing instead of breaking off.
        *self.gpus.entry((gpu.clone(), state)).or_default() += count;
    }
}
