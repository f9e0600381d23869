//! What is left on the nodes while a group is being placed.
//!
//! One pass over the capacity copies the few numbers that change into rows that lie side by side, and gathers for each pool the
//! nodes that have it, so that looking for a node neither follows a map nor compares a name.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use manifests::decision::Takes;
use manifests::gpu::Gpu;

use crate::capacity::{Capacity, Node};
use crate::islands::{self, Taken};
use crate::tariff::{Reserve, Usage};

/// The nodes that take pods, and what is left on them.
#[derive(Clone)]
pub(crate) struct Room<'a> {
    pub(super) capacity: &'a Capacity,
    pub(super) slots: Vec<Slot<'a>>,
    pub(super) pools: Vec<Pool<'a>>,
    /// How free GPUs lie where some were taken, by pool and holder; elsewhere the node tells.
    islands: BTreeMap<(usize, usize), Vec<u64>>,
    places: Places<'a>,
    /// What replicas without GPUs leave alone.
    reserve: Reserve,
}

/// What is left on one node.
#[derive(Clone, Copy)]
pub(super) struct Slot<'a> {
    pub(super) name: &'a str,
    pub(super) node: &'a Node,
    pub(super) cpu_milli: u64,
    pub(super) memory_bytes: u64,
    pub(super) ephemeral_bytes: u64,
    pub(super) pods: u64,
    /// GPUs of any pool.
    pub(super) gpus: u64,
}

/// GPUs of one model that pods ask for by one name.
#[derive(Clone)]
pub(super) struct Pool<'a> {
    pub(super) gpu: &'a Gpu,
    /// The name, where the model does not imply it.
    pub(super) resource: Option<&'a str>,
    pub(super) holders: Vec<Holder>,
}

impl Pool<'_> {
    pub(super) fn is_of(&self, gpu: &Gpu, resource: Option<&str>) -> bool {
        // Numbers tell most pools apart without a look at the names.
        self.gpu.ram_gib() == gpu.ram_gib() && self.gpu == gpu && self.resource == resource
    }
}

/// A node that has GPUs of a pool.
#[derive(Clone, Copy)]
pub(super) struct Holder {
    pub(super) slot: usize,
    /// How many of them are free.
    pub(super) free: u64,
}

/// A node on which replicas of a unit could run, and how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seat {
    pub(super) slot: usize,
    /// Which of the pool's holders it is; `None` without GPUs.
    pub(super) holder: Option<usize>,
    pub(super) fit: u32,
}

/// What a replica needs of a node.
pub(super) struct Need<'d> {
    pub(super) takes: &'d Takes,
    pub(super) arch: Option<&'d str>,
    /// Where volumes are that it has to reach, by class.
    pub(super) homes: &'d BTreeMap<&'d str, Option<&'d str>>,
    pub(super) gpus: u64,
    /// The pool, by its place in [`Room::pools`].
    pub(super) pool: Option<usize>,
}

/// What is lost by taking something from a node, the worst first. Less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Loss {
    /// Replicas whose GPUs come from several islands.
    pub(super) torn: u64,
    /// GPUs that are left in the islands that are broken up, summed over the replicas; without GPUs, those of the node, whose
    /// processors are taken.
    pub(super) beside: u64,
    /// GPUs that are left on the node.
    gpus: u64,
    /// Processor and memory that are left, in sixteenths of a core and of 4 GiB a core, so that neither outweighs the other
    /// on ordinary nodes.
    rest: u64,
}

impl<'a> Room<'a> {
    /// What a cluster has on the nodes that take pods.
    pub(crate) fn whole(capacity: &'a Capacity, reserve: Reserve) -> Self {
        Self::new(capacity, &BTreeSet::new(), reserve)
    }

    /// What a cluster has on the nodes that take pods, but for the nodes that are named.
    pub(super) fn new(capacity: &'a Capacity, but: &BTreeSet<String>, reserve: Reserve) -> Self {
        let mut slots = Vec::with_capacity(capacity.nodes.len());
        let mut pools: Vec<Pool<'a>> = Vec::new();
        for (name, node) in &capacity.nodes {
            if !node.schedulable || but.contains(name) {
                continue;
            }
            let mut gpus = 0u64;
            for (gpu, free) in &node.gpus {
                gpus = gpus.saturating_add(*free);
                let holder = Holder { slot: slots.len(), free: *free };
                let resource = node.gpu_resources.get(gpu).map(String::as_str);
                match pools.iter_mut().find(|pool| pool.is_of(gpu, resource)) {
                    Some(pool) => pool.holders.push(holder),
                    None => pools.push(Pool { gpu, resource, holders: vec![holder] }),
                }
            }
            slots.push(Slot {
                name,
                node,
                cpu_milli: node.cpu_milli,
                memory_bytes: node.memory_bytes,
                ephemeral_bytes: node.ephemeral_bytes,
                pods: node.pods,
                gpus,
            });
        }
        let places = Places { free: &capacity.segments, taken: BTreeMap::new() };
        Self { capacity, slots, pools, islands: BTreeMap::new(), places, reserve }
    }

    /// How much of it is free.
    pub(crate) fn usage(&self) -> Usage<'a> {
        let sum = |of: fn(&Slot<'_>) -> u64| self.slots.iter().map(of).fold(0, u64::saturating_add);
        let devices =
            |pool: &Pool<'_>| pool.holders.iter().map(|holder| holder.free).fold(0, u64::saturating_add);
        Usage {
            capacity: self.capacity,
            cpu_milli: sum(|slot| slot.cpu_milli),
            memory_bytes: sum(|slot| slot.memory_bytes),
            ephemeral_bytes: sum(|slot| slot.ephemeral_bytes),
            gpus: self.pools.iter().map(|pool| (pool.gpu, devices(pool))).collect(),
        }
    }

    /// How the free GPUs of a holder lie.
    fn islands(&self, pool: usize, holder: usize) -> Cow<'_, [u64]> {
        if let Some(islands) = self.islands.get(&(pool, holder)) {
            return Cow::Borrowed(islands);
        }
        let Pool { gpu, resource: _, holders } = &self.pools[pool];
        let Holder { slot, free } = &holders[holder];
        islands::of(self.slots[*slot].node, gpu, free)
    }

    /// The nodes that hold at least one replica; `most` is how many are of interest.
    pub(super) fn seats(&self, need: &Need<'_>, most: u32) -> Vec<Seat> {
        let seat = |slot: usize, holder: Option<usize>, gpus: u64| {
            let fit = self.fit(&self.slots[slot], gpus, need, most);
            (fit > 0).then_some(Seat { slot, holder, fit })
        };
        match need.pool {
            None => (0..self.slots.len()).filter_map(|slot| seat(slot, None, 0)).collect(),
            Some(pool) => {
                let holders = self.pools[pool].holders.iter().enumerate();
                holders.filter_map(|(at, holder)| seat(holder.slot, Some(at), holder.free)).collect()
            }
        }
    }

    /// How many replicas, up to `most`, the node holds that has so many GPUs of the pool.
    fn fit(&self, slot: &Slot<'_>, gpus: u64, need: &Need<'_>, most: u32) -> u32 {
        let Takes { cpu_milli, memory_bytes, ephemeral_bytes, gpu: _, volumes } = need.takes;
        let (kept_cpu, kept_memory) = self.kept(slot, need.gpus);
        let free_cpu = slot.cpu_milli.saturating_sub(kept_cpu);
        let free_memory = slot.memory_bytes.saturating_sub(kept_memory);
        let holds_one = gpus >= need.gpus
            && free_cpu >= *cpu_milli
            && free_memory >= *memory_bytes
            && slot.ephemeral_bytes >= *ephemeral_bytes
            && slot.pods >= 1
            && slot.is_for(need);
        if !holds_one {
            return 0;
        }
        let mut fit = u64::from(most);
        if most > 1 {
            let times = |left: u64, need: u64| left.checked_div(need).unwrap_or(u64::MAX);
            fit = fit
                .min(times(gpus, need.gpus))
                .min(times(free_cpu, *cpu_milli))
                .min(times(free_memory, *memory_bytes))
                .min(times(slot.ephemeral_bytes, *ephemeral_bytes))
                .min(slot.pods);
        }
        if !volumes.is_empty() {
            fit = fit.min(self.places.fit(slot.node, volumes));
        }
        u32::try_from(fit).unwrap_or(u32::MAX)
    }

    /// Processor time and memory that a replica with so many GPUs leaves alone for those that are free beside it.
    pub(super) fn kept(&self, slot: &Slot<'_>, gpus: u64) -> (u64, u64) {
        if gpus > 0 { (0, 0) } else { self.reserve.kept_up(slot.gpus) }
    }

    /// What is lost when so many replicas go to the node.
    pub(super) fn loss(&self, need: &Need<'_>, seat: Seat, times: u32) -> Loss {
        const CPU_STEP: u64 = 1000 / 16;
        const MEMORY_STEP: u64 = (4 << 30) / 16;
        let slot = &self.slots[seat.slot];
        let left = |left: u64, each: u64| left.saturating_sub(each.saturating_mul(u64::from(times)));
        let cpu = left(slot.cpu_milli, need.takes.cpu_milli) / CPU_STEP;
        let memory = left(slot.memory_bytes, need.takes.memory_bytes) / MEMORY_STEP;
        let rest = cpu.saturating_add(memory);
        let (Some(pool), Some(holder)) = (need.pool, seat.holder) else {
            return Loss { torn: 0, beside: slot.gpus, gpus: slot.gpus, rest };
        };
        let mut loss = Loss { torn: 0, beside: 0, gpus: left(slot.gpus, need.gpus), rest };
        let mut take = |islands: &mut [u64]| {
            for _ in 0..times {
                let Taken { torn, beside } = islands::take(islands, need.gpus);
                loss.torn += u64::from(torn);
                loss.beside = loss.beside.saturating_add(beside);
            }
        };
        match self.islands(pool, holder).as_ref() {
            // Most nodes are one island.
            [all] => take(&mut [*all]),
            several => take(&mut several.to_vec()),
        }
        loss
    }

    /// Puts so many replicas on the node.
    pub(super) fn take(&mut self, need: &Need<'_>, seat: Seat, times: u32) {
        let slot = &mut self.slots[seat.slot];
        let take = |left: &mut u64, each: u64| {
            *left = left.saturating_sub(each.saturating_mul(u64::from(times)));
        };
        let Takes { cpu_milli, memory_bytes, ephemeral_bytes, gpu: _, volumes } = need.takes;
        take(&mut slot.cpu_milli, *cpu_milli);
        take(&mut slot.memory_bytes, *memory_bytes);
        take(&mut slot.ephemeral_bytes, *ephemeral_bytes);
        take(&mut slot.pods, 1);
        take(&mut slot.gpus, need.gpus);
        if !volumes.is_empty() {
            self.places.take(slot.node, volumes, times);
        }
        if let (Some(pool), Some(holder)) = (need.pool, seat.holder) {
            let mut islands = self.islands(pool, holder).into_owned();
            for _ in 0..times {
                islands::take(&mut islands, need.gpus);
            }
            self.islands.insert((pool, holder), islands);
            take(&mut self.pools[pool].holders[holder].free, need.gpus);
        }
    }

    /// What is left in the places where volumes are made, to try something out.
    pub(super) fn places(&self) -> Places<'a> {
        self.places.clone()
    }
}

impl Slot<'_> {
    /// Whether it could take a replica if it were empty.
    pub(super) fn is_for(&self, need: &Need<'_>) -> bool {
        let reaches = |(class, place): (&&str, &Option<&str>)| {
            self.node.segments.get(*class).map(String::as_str) == *place
        };
        need.arch.is_none_or(|arch| *arch == self.node.arch) && need.homes.iter().all(reaches)
    }
}

/// What is left in each place where volumes are made.
#[derive(Clone)]
pub(super) struct Places<'a> {
    free: &'a BTreeMap<String, u64>,
    /// Only what was taken from is written down.
    taken: BTreeMap<&'a str, u64>,
}

impl<'a> Places<'a> {
    /// How many replicas with these volumes the places of a node hold. A place that nobody knows holds nothing.
    pub(super) fn fit(&self, node: &Node, volumes: &BTreeMap<String, u64>) -> u64 {
        let mut fit = u64::MAX;
        for (place, each) in needed_of(node, volumes) {
            fit = fit.min(self.left(place).checked_div(each).unwrap_or(u64::MAX));
        }
        fit
    }

    /// Takes the volumes of so many replicas from the places of a node.
    pub(super) fn take(&mut self, node: &'a Node, volumes: &BTreeMap<String, u64>, times: u32) {
        for (place, each) in needed_of(node, volumes) {
            let taken = self.taken.entry(place).or_default();
            *taken = taken.saturating_add(each.saturating_mul(u64::from(times)));
        }
    }

    /// Bytes that are left in the place where volumes of the class are made for a node; `None` if they are made anywhere.
    pub(super) fn of_class(&self, node: &Node, class: &str) -> Option<u64> {
        node.segments.get(class).map(|place| self.left(place))
    }

    fn left(&self, place: &str) -> u64 {
        let taken = self.taken.get(place).copied().unwrap_or(0);
        self.free.get(place).copied().unwrap_or(0).saturating_sub(taken)
    }
}

/// Bytes that one replica needs of each place of a node: several classes may be made in one.
fn needed_of<'n>(node: &'n Node, volumes: &BTreeMap<String, u64>) -> BTreeMap<&'n str, u64> {
    let mut needed: BTreeMap<&str, u64> = BTreeMap::new();
    for (class, bytes) in volumes {
        if let Some(place) = node.segments.get(class) {
            let sum = needed.entry(place).or_default();
            *sum = sum.saturating_add(*bytes);
        }
    }
    needed
}
