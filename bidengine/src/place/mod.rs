//! Fits every replica of a group onto nodes, or says the first thing that does not fit.
//!
//! # The rule
//!
//! 1. *The cheapest pool.* All replicas of a unit get GPUs of one model that pods ask for by one name; of the models that would
//!    do, the group gets the cheapest ones that fit.
//! 2. *Big holes stay whole.* A replica's GPUs come from one NVLink island, unless no node has one that holds them; of the
//!    islands that do, from the one in which the fewest are left beside it. So a machine of eight that is wholly free is broken
//!    last. Replicas without GPUs stay off nodes that have GPUs to sell while others have room.
//! 3. *Few nodes, well filled.* All replicas go to one node, or the same number to each of several, or to each of several nodes
//!    all that it holds, whichever loses the least by 2; of equals, to the fewest nodes. Where nothing of this fits they go one by
//!    one. Whatever the numbers are, the cluster's scheduler is left no choice: replicas on nodes that have the same number of
//!    them are a workload of their own ([`manifests::objects`]). Replicas with persistent volumes cannot be divided into
//!    workloads, nor can placement know which services they belong to: they go all to one node, or each to its own, and in these
//!    two cases any of them are the same number on each of their nodes.
//! 4. *A node each, where asked.* With the attribute `spread: node` in its placement a group gets every replica of a unit on a
//!    node of its own, or no bid.
//! 5. *Large units first*, by GPUs, then processor and memory. Ties go to the node that is left with the fewest GPUs, then with
//!    the least processor and memory, then to the first name: the same inputs give the same nodes.
//!
//! For a group of one unit whose volumes are made in places of one class at most, the search is exact: if a pool has room for
//! all replicas as 3 and 4 want them, they are placed, so more capacity never turns a placement into a refusal, nor makes it dearer. (A tariff that
//! reserves processors for GPUs is another matter: more GPUs are more to keep.) Several units are packed greedily, in two ways;
//! like any packing that does not try everything, it may refuse what a cleverer one would fit, and more capacity may lead it to
//! a worse choice: among 7,800 random groups of two or three units that fitted a small cluster, none was refused by a larger
//! one. Orders come from strangers: how many choices of pools are tried is bounded, by [`MOST_CHOICES`] and [`MOST_STEPS`];
//! what is left out are the dearest pools of the smallest units.

mod choices;
mod move_off;
mod room;
mod unit;
mod why_not;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use manifests::decision::{GpuTake, Placement, Reason, Replica, Takes};
use manifests::group::{OrderSpec, Requirements};
use manifests::resources::Attribute;

pub use self::move_off::move_off;

use self::choices::{Offer, cheapest_first, offers};
pub(crate) use self::room::Room;

use self::room::Need;
use self::unit::{Ask, one_by_one, tidily_if_possible};
use self::why_not::why_not;
use crate::capacity::Capacity;
use crate::demand::{Demand, demands};
use crate::tariff::{Tariff, Usage};

/// The placement attribute by which a tenant asks for a node each; its value is [`SPREAD_OVER_NODES`].
const SPREAD: &str = "spread";
const SPREAD_OVER_NODES: &str = "node";

/// How many choices of pools are tried for one group, and how many times a node is looked at in all.
const MOST_CHOICES: usize = 1024;
const MOST_STEPS: u64 = 2_000_000;

/// Where the replicas of a spec would run. A GPU model without a price is not offered.
///
/// Replicas of a unit share nodes where that leaves the most for others. A group that has `spread: node` among the attributes
/// of its placement gets each replica of a unit on a node of its own instead.
///
/// # Errors
/// The first reason why not, with what was needed and what was there.
pub fn place(spec: &OrderSpec, capacity: &Capacity, tariff: &Tariff) -> Result<Placement, Reason> {
    let demands = demands(spec).map_err(|problem| Reason::SpecInvalid { problem })?;
    let room = Room::whole(capacity, tariff.reserve());
    let usage = room.usage();
    place_all(&demands, is_spread(&spec.requirements), room, &usage, tariff)
}

/// Whether a group asks for a node for each replica.
pub(crate) fn is_spread(requirements: &Requirements) -> bool {
    requirements.attributes.iter().flatten().any(asks_to_spread)
}

/// Whether an attribute is one that placement follows.
pub(crate) fn asks_to_spread(Attribute { key, value }: &Attribute) -> bool {
    key == SPREAD && value == SPREAD_OVER_NODES
}

/// Where these would run in the room; `usage` is how much of it is used, which makes pools dearer or cheaper.
pub(crate) fn place_all(
    demands: &[Demand],
    apart: bool,
    room: Room<'_>,
    usage: &Usage<'_>,
    tariff: &Tariff,
) -> Result<Placement, Reason> {
    let demands: Vec<&Demand> = demands.iter().filter(|demand| demand.count > 0).collect();
    let (leased_ips, node_ports) = of_the_cluster(&demands, room.capacity)?;
    let unit = |demand| -> Result<Unit<'_>, Reason> {
        Ok(Unit {
            demand,
            takes: demand.takes(room.capacity.overcommit),
            offers: offers(demand, &room, usage, tariff)?,
            standing: BTreeMap::new(),
            homes: BTreeMap::new(),
            apart,
        })
    };
    let mut units: Vec<Unit<'_>> = Vec::with_capacity(demands.len());
    for demand in largest_first(&demands) {
        units.push(unit(demand)?);
    }
    let mut replicas = place_units(&units, room)?;
    replicas.sort_by_key(|replica| replica.unit);
    Ok(Placement { replicas, leased_ips, node_ports })
}

fn largest_first<'d>(demands: &[&'d Demand]) -> Vec<&'d Demand> {
    let mut sorted = demands.to_vec();
    sorted.sort_by_key(|demand| (Reverse((demand.gpus, demand.cpu_milli, demand.memory_bytes)), demand.unit));
    sorted
}

/// What a group takes that belongs to no node, addresses and ports, once all of it is there.
fn of_the_cluster(demands: &[&Demand], capacity: &Capacity) -> Result<(u64, u64), Reason> {
    has_volumes(demands, capacity)?;
    // Services that name one endpoint share its address.
    let endpoints: BTreeSet<u32> =
        demands.iter().flat_map(|demand| &demand.leased_endpoints).copied().collect();
    let leased_ips = u64::try_from(endpoints.len()).unwrap_or(u64::MAX);
    if leased_ips > capacity.leased_ips {
        return Err(Reason::IpUnavailable);
    }
    let node_ports = demands.iter().fold(0u64, |sum, demand| sum.saturating_add(demand.node_ports));
    if node_ports > capacity.node_ports {
        return Err(Reason::Ports { need: node_ports, have: capacity.node_ports });
    }
    Ok((leased_ips, node_ports))
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

/// A unit with everything that decides where it can go.
struct Unit<'d> {
    demand: &'d Demand,
    /// What a node must have for one replica, GPUs aside.
    takes: Takes,
    /// The pools that would do, the best first.
    offers: Vec<Offer>,
    /// Replicas that stay where they are, by node.
    standing: BTreeMap<&'d str, u32>,
    /// Where volumes are that are there already, by class; `None` if they are reached from anywhere.
    homes: BTreeMap<&'d str, Option<&'d str>>,
    apart: bool,
}

impl Unit<'_> {
    fn ask(&self, pool: Option<usize>) -> Ask<'_> {
        Ask {
            need: self.need(pool),
            count: self.demand.count,
            standing: self.standing.clone(),
            apart: self.apart,
            whole: self.is_whole(),
        }
    }

    /// Whether its replicas go all to one node or each to its own.
    fn is_whole(&self) -> bool {
        !self.demand.persistent.is_empty()
    }

    fn need(&self, pool: Option<usize>) -> Need<'_> {
        Need {
            takes: &self.takes,
            arch: self.demand.arch.as_deref(),
            homes: &self.homes,
            gpus: self.demand.gpus,
            pool,
        }
    }
}

/// How far an attempt got: which unit found no node, and for which replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Got {
    unit: usize,
    placed: u32,
}

/// The end of an attempt, and what was left then.
struct Stuck<'a> {
    got: Got,
    room: Room<'a>,
}

/// Places what has no node yet, with the first choice of pools that fits.
fn place_units(units: &[Unit<'_>], room: Room<'_>) -> Result<Vec<Replica>, Reason> {
    let replicas: u64 = units.iter().map(|unit| u64::from(unit.demand.count)).sum();
    let steps = replicas.saturating_mul(u64::try_from(room.slots.len()).unwrap_or(u64::MAX)).max(1);
    let most = usize::try_from(MOST_STEPS / steps).unwrap_or(MOST_CHOICES).clamp(1, MOST_CHOICES);
    let offers: Vec<&[Offer]> = units.iter().map(|unit| unit.offers.as_slice()).collect();
    // What packing each unit well leaves no room for, packing all of them tightly may.
    let ways: &[bool] = if units.len() > 1 { &[true, false] } else { &[true] };
    let choices = cheapest_first(&offers, most);
    let attempts = choices.iter().flat_map(|pools| ways.iter().map(move |tidily| (pools, *tidily)));
    let mut attempts = attempts.peekable();
    let mut furthest: Option<Stuck<'_>> = None;
    let mut untouched = Some(room);
    while let Some((pools, tidily)) = attempts.next() {
        // The last attempt needs no copy, and mostly there is one attempt.
        let room = if attempts.peek().is_some() { untouched.clone() } else { untouched.take() };
        let mut room = room.expect("it is taken by the last attempt");
        match attempt(units, pools, tidily, &mut room) {
            Ok(replicas) => return Ok(replicas),
            Err(got) if furthest.as_ref().is_none_or(|before| before.got < got) => {
                furthest = Some(Stuck { got, room });
            }
            Err(_) => {}
        }
    }
    let Stuck { got, room } =
        furthest.expect("there is a choice of pools, if only of none for units without GPUs");
    Err(why_not(&units[got.unit], &room, got.placed))
}

fn attempt(
    units: &[Unit<'_>],
    pools: &[Option<usize>],
    tidily: bool,
    room: &mut Room<'_>,
) -> Result<Vec<Replica>, Got> {
    let mut replicas = Vec::new();
    for (index, (unit, pool)) in units.iter().zip(pools).enumerate() {
        let ask = unit.ask(*pool);
        let chosen = match tidily || unit.apart || unit.is_whole() {
            true => tidily_if_possible(&ask, room),
            false => one_by_one(&ask, room),
        };
        let chosen = chosen.map_err(|placed| Got { unit: index, placed })?;
        let mut takes = unit.demand.takes(room.capacity.overcommit);
        takes.gpu = pool.map(|pool| GpuTake {
            pool: room.pools[pool].gpu.to_string(),
            count: unit.demand.gpus,
            resource: room.pools[pool].resource.map(str::to_owned),
        });
        for (seat, times) in chosen {
            let node = room.slots[seat.slot].name;
            let replica = || Replica { unit: unit.demand.unit, node: node.to_owned(), takes: takes.clone() };
            replicas.extend((0..times).map(|_| replica()));
        }
    }
    Ok(replicas)
}
