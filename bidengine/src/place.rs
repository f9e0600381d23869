//! Fits every replica of a group onto nodes, or says the first thing that does not fit.
//!
//! Best fit, large replicas first: a replica goes where the least is left over, so that big holes stay whole; GPUs are
//! taken from the node with the fewest that still suffice, and replicas without GPUs stay off nodes that have GPUs to sell.
//! All replicas of a unit get the same GPU model; of the models that would do, the group gets the cheapest ones that fit.
//! Ties go to the first name, so the same inputs give the same nodes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use manifests::decision::{GpuTake, Placement, Reason, Replica, Takes};
use manifests::gpu::Gpu;
use manifests::group::OrderSpec;
use manifests::objects::Overcommit;

use crate::capacity::{Capacity, Node};
use crate::demand::{Demand, demands};
use crate::tariff::Tariff;

/// Where the replicas of a spec would run. A GPU model without a price is not offered.
///
/// # Errors
/// The first reason why not, with what was needed and what was there.
pub fn place(spec: &OrderSpec, capacity: &Capacity, tariff: &Tariff) -> Result<Placement, Reason> {
    let demands = demands(spec).map_err(|problem| Reason::SpecInvalid { problem })?;
    place_all(&demands, capacity, tariff)
}

pub(crate) fn place_all(
    demands: &[Demand],
    capacity: &Capacity,
    tariff: &Tariff,
) -> Result<Placement, Reason> {
    let room = Room::new(capacity);
    let mut demands: Vec<&Demand> = demands.iter().filter(|demand| demand.count > 0).collect();
    has_volumes(&demands, capacity)?;
    if leased_ips(&demands) > capacity.leased_ips {
        return Err(Reason::IpUnavailable);
    }
    demands
        .sort_by_key(|demand| (Reverse((demand.gpus, demand.cpu_milli, demand.memory_bytes)), demand.unit));
    let offers: Vec<Vec<Offer<'_>>> = demands
        .iter()
        .map(|demand| offered_pools(demand, &room, capacity, tariff))
        .collect::<Result<_, _>>()?;

    // Orders come from strangers: what one of them may cost to look at is bounded.
    let replicas: u64 = demands.iter().map(|demand| u64::from(demand.count)).sum();
    let steps = replicas.saturating_mul(u64::try_from(room.nodes.len()).unwrap_or(u64::MAX)).max(1);
    let choices = usize::try_from(MOST_STEPS / steps).unwrap_or(MOST_CHOICES).clamp(1, MOST_CHOICES);

    let mut furthest: Option<Stuck<'_>> = None;
    for pools in cheapest_first(&offers, choices) {
        match place_units(&demands, &pools, room.clone()) {
            Ok(mut replicas) => {
                replicas.sort_by_key(|replica| replica.unit);
                return Ok(Placement { replicas, leased_ips: leased_ips(&demands) });
            }
            Err(stuck) if furthest.as_ref().is_none_or(|before| before.progress() < stuck.progress()) => {
                furthest = Some(stuck);
            }
            Err(_) => {}
        }
    }
    let stuck = furthest.expect("there is a choice of pools, if only of none for units without GPUs");
    Err(why_not(demands[stuck.index], &stuck.room, tariff, stuck.placed))
}

/// Whether every class of volumes is offered and has room for all of them together.
fn has_volumes(demands: &[&Demand], capacity: &Capacity) -> Result<(), Reason> {
    let mut needed: BTreeMap<&str, u64> = BTreeMap::new();
    for demand in demands {
        for (class, bytes) in &demand.persistent {
            let sum = needed.entry(class).or_default();
            *sum = sum.saturating_add(bytes.saturating_mul(u64::from(demand.count)));
        }
    }
    for (class, need) in needed {
        match capacity.storage.get(class) {
            None => {
                let offered: Vec<&str> = capacity.storage.keys().map(String::as_str).collect();
                let have = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
                return Err(Reason::ResourcesStorageClass { need: class.to_owned(), have });
            }
            Some(have) if *have < need => {
                return Err(Reason::ResourcesVolume { class: class.to_owned(), need, have: *have });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// How many addresses a group leases: services that name one endpoint share it.
fn leased_ips(demands: &[&Demand]) -> u64 {
    let endpoints: BTreeSet<u32> =
        demands.iter().flat_map(|demand| &demand.leased_endpoints).copied().collect();
    u64::try_from(endpoints.len()).unwrap_or(u64::MAX)
}

/// A pool that a unit could take its GPUs from, and what all of them would cost there; no pool for a unit without GPUs.
#[derive(Clone, Copy)]
struct Offer<'a> {
    pool: Option<&'a Gpu>,
    cost: u128,
}

/// The pools for a unit, cheapest first.
fn offered_pools<'a>(
    demand: &Demand,
    room: &Room<'a>,
    capacity: &Capacity,
    tariff: &Tariff,
) -> Result<Vec<Offer<'a>>, Reason> {
    let Some(request) = &demand.gpu else { return Ok(vec![Offer { pool: None, cost: 0 }]) };
    let there: BTreeSet<&Gpu> = room.nodes.iter().flat_map(|slot| slot.node.gpus.keys()).collect();
    let matching: Vec<&Gpu> = there.iter().copied().filter(|gpu| request.matches(gpu)).collect();
    let Some(first) = matching.first() else {
        let have: Vec<String> = there.iter().map(ToString::to_string).collect();
        let have = if have.is_empty() { "none".to_owned() } else { have.join(", ") };
        return Err(Reason::ResourcesGpuModel { need: request.to_string(), have });
    };
    let devices = u128::from(demand.gpus) * u128::from(demand.count);
    let offer = |pool: &'a Gpu| {
        let rate = tariff.gpu_rate(pool, devices, capacity)?;
        Some(Offer { pool: Some(pool), cost: rate.scaled() })
    };
    let mut offers: Vec<Offer<'a>> = matching.iter().copied().filter_map(offer).collect();
    if offers.is_empty() {
        return Err(Reason::PriceGpuMissing { pool: first.to_string() });
    }
    offers.sort_by_key(|offer| (offer.cost, offer.pool));
    Ok(offers)
}

/// How many choices of pools are tried for one group, and how many times a node is looked at in all.
const MOST_CHOICES: usize = 1024;
const MOST_STEPS: u64 = 2_000_000;

/// Every choice of one pool a unit, from the cheapest to the dearest. Where there would be more than `most`, the dearest
/// pools of the last units are left out.
fn cheapest_first<'a>(offers: &[Vec<Offer<'a>>], most: usize) -> Vec<Vec<Option<&'a Gpu>>> {
    let mut choices: Vec<(u128, Vec<Option<&'a Gpu>>)> = vec![(0, Vec::new())];
    for unit in offers {
        let affordable = (most / choices.len()).max(1);
        let more = choices.iter().flat_map(|(cost, pools)| {
            unit.iter().take(affordable).map(|offer| {
                let mut pools = pools.clone();
                pools.push(offer.pool);
                (cost.saturating_add(offer.cost), pools)
            })
        });
        choices = more.collect();
    }
    choices.sort();
    choices.into_iter().map(|(_, pools)| pools).collect()
}

/// How far a choice of pools got: which unit found no node for which replica, and what was left then.
struct Stuck<'a> {
    index: usize,
    placed: u32,
    room: Room<'a>,
}

impl Stuck<'_> {
    fn progress(&self) -> (usize, u32) {
        (self.index, self.placed)
    }
}

fn place_units<'a>(
    demands: &[&Demand],
    pools: &[Option<&'a Gpu>],
    mut room: Room<'a>,
) -> Result<Vec<Replica>, Stuck<'a>> {
    let mut replicas = Vec::new();
    for (index, (demand, pool)) in demands.iter().zip(pools).enumerate() {
        match place_replicas(demand, *pool, &mut room) {
            Ok(placed) => replicas.extend(placed),
            Err(placed) => return Err(Stuck { index, placed, room }),
        }
    }
    Ok(replicas)
}

/// Places the replicas one by one; on failure says how many found a node.
fn place_replicas<'a>(
    demand: &Demand,
    pool: Option<&'a Gpu>,
    room: &mut Room<'a>,
) -> Result<Vec<Replica>, u32> {
    let mut takes = demand.takes(room.overcommit);
    takes.gpu = pool.map(|pool| GpuTake { pool: pool.to_string(), count: demand.gpus });
    let mut replicas = Vec::new();
    for placed in 0..demand.count {
        let best = room
            .nodes
            .iter_mut()
            .filter(|slot| slot.fits(demand, &takes, pool))
            .min_by_key(|slot| slot.leftover(&takes, pool))
            .ok_or(placed)?;
        best.take(&takes, pool);
        replicas.push(Replica { unit: demand.unit, node: best.name.to_owned(), takes: takes.clone() });
    }
    Ok(replicas)
}

/// The first thing that no node has enough of for one replica; when each is there, that they are not there together.
fn why_not(demand: &Demand, room: &Room<'_>, tariff: &Tariff, placed: u32) -> Reason {
    let fragmented = Reason::NodeFragmentation { unit: demand.unit, placed, wanted: demand.count };
    if placed > 0 {
        return fragmented;
    }
    let mut nodes: Vec<&Slot<'_>> = room.nodes.iter().filter(|slot| slot.takes_pods(demand)).collect();
    if let (true, false, Some(arch)) = (nodes.is_empty(), room.nodes.is_empty(), &demand.arch) {
        return Reason::Unsupported { what: format!("a processor of architecture {arch}") };
    }
    if let Some(request) = &demand.gpu {
        let most_gpus = |slot: &Slot<'_>| {
            let offered =
                slot.node.gpus.keys().filter(|gpu| request.matches(gpu) && tariff.gpu_price(gpu).is_some());
            offered.map(|gpu| slot.free_gpus(gpu)).max().unwrap_or(0)
        };
        let have = nodes.iter().map(|slot| most_gpus(slot)).max().unwrap_or(0);
        if have < demand.gpus {
            return Reason::ResourcesGpuCount { need: demand.gpus, have };
        }
        nodes.retain(|slot| most_gpus(slot) >= demand.gpus);
    }
    let Takes { cpu_milli, memory_bytes, ephemeral_bytes, gpu: _, volumes: _ } =
        demand.takes(room.overcommit);
    let most_cpu = nodes.iter().map(|slot| slot.free_cpu()).max().unwrap_or(0);
    let most_memory = nodes.iter().map(|slot| slot.free_memory()).max().unwrap_or(0);
    let most_ephemeral = nodes.iter().map(|slot| slot.free_ephemeral()).max().unwrap_or(0);
    match (most_cpu, most_memory, most_ephemeral) {
        (have, _, _) if have < cpu_milli => Reason::ResourcesCpu { need: cpu_milli, have },
        (_, have, _) if have < memory_bytes => Reason::ResourcesMemory { need: memory_bytes, have },
        (_, _, have) if have < ephemeral_bytes => Reason::ResourcesStorage { need: ephemeral_bytes, have },
        _ => fragmented,
    }
}

/// What is left on the nodes while a group is being placed.
#[derive(Clone)]
struct Room<'a> {
    nodes: Vec<Slot<'a>>,
    overcommit: Overcommit,
}

/// One node and what this group already takes there.
#[derive(Clone)]
struct Slot<'a> {
    name: &'a str,
    node: &'a Node,
    cpu_milli: u64,
    memory_bytes: u64,
    ephemeral_bytes: u64,
    gpus: BTreeMap<&'a Gpu, u64>,
}

impl<'a> Room<'a> {
    fn new(capacity: &'a Capacity) -> Self {
        let slot = |(name, node): (&'a String, &'a Node)| Slot {
            name,
            node,
            cpu_milli: 0,
            memory_bytes: 0,
            ephemeral_bytes: 0,
            gpus: BTreeMap::new(),
        };
        let nodes = capacity.nodes.iter().filter(|(_, node)| node.schedulable).map(slot).collect();
        Self { nodes, overcommit: capacity.overcommit }
    }
}

impl<'a> Slot<'a> {
    fn free_cpu(&self) -> u64 {
        self.node.cpu_milli.saturating_sub(self.cpu_milli)
    }

    fn free_memory(&self) -> u64 {
        self.node.memory_bytes.saturating_sub(self.memory_bytes)
    }

    fn free_ephemeral(&self) -> u64 {
        self.node.ephemeral_bytes.saturating_sub(self.ephemeral_bytes)
    }

    fn free_gpus(&self, pool: &Gpu) -> u64 {
        let free = self.node.gpus.get(pool).copied().unwrap_or(0);
        free.saturating_sub(self.gpus.get(pool).copied().unwrap_or(0))
    }

    fn takes_pods(&self, demand: &Demand) -> bool {
        demand.arch.as_ref().is_none_or(|arch| *arch == self.node.arch)
    }

    fn fits(&self, demand: &Demand, takes: &Takes, pool: Option<&Gpu>) -> bool {
        self.takes_pods(demand)
            && self.free_cpu() >= takes.cpu_milli
            && self.free_memory() >= takes.memory_bytes
            && self.free_ephemeral() >= takes.ephemeral_bytes
            && pool.is_none_or(|pool| self.free_gpus(pool) >= demand.gpus)
    }

    /// How much would be left over, the scarcest first: GPUs, then processor and memory in sixteenths of a core and of
    /// 4 GiB a core, so that neither outweighs the other on ordinary nodes.
    fn leftover(&self, takes: &Takes, pool: Option<&Gpu>) -> (u64, u64) {
        const CPU_STEP: u64 = 1000 / 16;
        const MEMORY_STEP: u64 = (4 << 30) / 16;
        let gpus = match pool {
            Some(pool) => self.free_gpus(pool),
            None => self.node.gpus.keys().map(|gpu| self.free_gpus(gpu)).fold(0, u64::saturating_add),
        };
        let cpu = self.free_cpu().saturating_sub(takes.cpu_milli) / CPU_STEP;
        let memory = self.free_memory().saturating_sub(takes.memory_bytes) / MEMORY_STEP;
        (gpus, cpu.saturating_add(memory))
    }

    fn take(&mut self, takes: &Takes, pool: Option<&'a Gpu>) {
        self.cpu_milli = self.cpu_milli.saturating_add(takes.cpu_milli);
        self.memory_bytes = self.memory_bytes.saturating_add(takes.memory_bytes);
        self.ephemeral_bytes = self.ephemeral_bytes.saturating_add(takes.ephemeral_bytes);
        if let (Some(pool), Some(gpu)) = (pool, &takes.gpu) {
            let taken = self.gpus.entry(pool).or_default();
            *taken = taken.saturating_add(gpu.count);
        }
    }
}
