//! Finds other nodes for the replicas of a placement whose nodes are lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use manifests::decision::{Placement, Reason, Replica, Takes};
use manifests::gpu::Gpu;
use manifests::group::OrderSpec;

use super::choices::{Offer, names, offers};
use super::room::{Pool, Room};
use super::{Unit, is_spread, largest_first, place_units};
use crate::capacity::{Capacity, Node};
use crate::demand::{Demand, demands};
use crate::tariff::{Reserve, Tariff, Usage};

/// The placement after nodes were lost: replicas on other nodes stay as they are, those on lost ones, and those that have none,
/// are placed anew.
///
/// Replicas of a unit keep one pool. While one of them stands, the others get GPUs of its pool; when all were lost, of the pool
/// that they had or else of the cheapest priced one that matches. What belongs to no node is kept: addresses, ports, and
/// volumes, which stay where they were made, so that a replica only moves to nodes that reach the same place.
///
/// `capacity` is what is free beside the replicas that stay and what is kept. Lost nodes are not used, whatever it says of
/// them, but it should still hold them as long as they are known: where their volumes are made stands there.
///
/// Replicas with persistent volumes that had a node each find no place where only nodes of theirs have room
/// ([`Reason::NodeVolumes`]): their one workload goes by their numbers, cannot be split, and cannot say which node is to have two.
/// Moving those that run well together would end what is no trouble; they wait for another node.
///
/// # Errors
/// The first reason why a replica found no node.
pub fn move_off(
    spec: &OrderSpec,
    before: &Placement,
    lost: &BTreeSet<String>,
    capacity: &Capacity,
    tariff: &Tariff,
) -> Result<Placement, Reason> {
    let demands = demands(spec).map_err(|problem| Reason::SpecInvalid { problem })?;
    let demands: Vec<&Demand> = demands.iter().filter(|demand| demand.count > 0).collect();
    let apart = is_spread(&spec.requirements);
    // What is promised is kept, whatever GPUs could use.
    let room = Room::new(capacity, lost, Reserve::default());
    let usage = room.usage();
    let mut units: Vec<Unit<'_>> = Vec::new();
    for demand in largest_first(&demands) {
        let of_unit = before.replicas.iter().filter(|replica| replica.unit == demand.unit);
        let (moves, stays): (Vec<&Replica>, Vec<&Replica>) =
            of_unit.partition(|replica| lost.contains(&replica.node));
        let wanted = usize::try_from(demand.count).unwrap_or(usize::MAX);
        if stays.len() >= wanted {
            continue;
        }
        let mut standing: BTreeMap<&str, u32> = BTreeMap::new();
        for replica in &stays {
            *standing.entry(replica.node.as_str()).or_default() += 1;
        }
        units.push(Unit {
            demand,
            takes: Takes { volumes: BTreeMap::new(), ..demand.takes(room.capacity.overcommit) },
            offers: offers_to_the_moved(demand, &stays, &moves, &room, &usage, tariff)?,
            standing,
            homes: homes(&moves, &room, capacity)?,
            apart,
        });
    }
    let replicas = in_their_stead(before, lost, place_units(&units, room)?);
    Ok(Placement { replicas, ..before.clone() })
}

/// The replicas with each that found a node where one of its unit stood that lost it, so that services that share a unit keep
/// the replicas that stay.
fn in_their_stead(before: &Placement, lost: &BTreeSet<String>, moved: Vec<Replica>) -> Vec<Replica> {
    let mut moved: VecDeque<Replica> = moved.into();
    let mut replicas: Vec<Replica> = Vec::new();
    for replica in &before.replicas {
        if !lost.contains(&replica.node) {
            replicas.push(replica.clone());
        } else if let Some(at) = moved.iter().position(|moved| moved.unit == replica.unit) {
            replicas.extend(moved.remove(at));
        }
    }
    replicas.extend(moved);
    replicas.sort_by_key(|replica| replica.unit);
    replicas
}

/// The pools for replicas that move: that of those that stay, or what they had before, then what is cheapest.
fn offers_to_the_moved(
    demand: &Demand,
    stays: &[&Replica],
    moves: &[&Replica],
    room: &Room<'_>,
    usage: &Usage<'_>,
    tariff: &Tariff,
) -> Result<Vec<Offer>, Reason> {
    if demand.gpus == 0 {
        return Ok(vec![Offer { pool: None, cost: 0 }]);
    }
    let had = stays.iter().chain(moves).find_map(|replica| replica.takes.gpu.as_ref());
    let same = had.and_then(|had| {
        let gpu: Gpu = had.pool.parse().ok()?;
        room.pools.iter().position(|pool| pool.is_of(&gpu, had.resource.as_deref()))
    });
    let same = same.map(|pool| Offer { pool: Some(pool), cost: 0 });
    if let (Some(first), Some(had)) = (stays.first(), had) {
        let holds = |pool: &Pool<'_>| pool.holders.iter().any(|holder| holder.free >= demand.gpus);
        return match same.filter(|same| same.pool.is_some_and(|at| holds(&room.pools[at]))) {
            Some(same) => Ok(vec![same]),
            None => Err(Reason::ResourcesGpuModel {
                need: format!(
                    "{}, {} on a node, as the replica on node {} has",
                    had.pool, demand.gpus, first.node
                ),
                have: names(room, |at| holds(&room.pools[at])),
            }),
        };
    }
    let others = match offers(demand, room, usage, tariff) {
        Ok(offers) => offers,
        Err(_) if same.is_some() => Vec::new(),
        Err(reason) => return Err(reason),
    };
    // Dearer than the same one, whatever it costs.
    let others = others.into_iter().filter(|other| same.is_none_or(|same| same.pool != other.pool));
    let others = others.map(|Offer { pool, cost }| Offer { pool, cost: cost.saturating_add(1) });
    Ok(same.into_iter().chain(others).collect())
}

/// Where the volumes of replicas that move were made, by class; `None` if they are reached from anywhere.
fn homes<'c>(
    moves: &[&'c Replica],
    room: &Room<'_>,
    capacity: &'c Capacity,
) -> Result<BTreeMap<&'c str, Option<&'c str>>, Reason> {
    let mut homes: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for Replica { unit: _, node: name, takes } in moves {
        let node = capacity.nodes.get(name);
        for class in takes.volumes.keys() {
            let place = node.and_then(|node| node.segments.get(class)).map(String::as_str);
            let reaches = |node: &Node| node.segments.get(class).map(String::as_str) == place;
            let is_only = *homes.entry(class).or_insert(place) == place;
            if !is_only || !room.slots.iter().any(|slot| reaches(slot.node)) {
                let what = format!("moving a volume of class {class} away from where node {name} has it");
                return Err(Reason::Unsupported { what });
            }
        }
    }
    Ok(homes)
}
