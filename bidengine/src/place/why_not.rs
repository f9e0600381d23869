//! The first thing that a replica lacks, and by how much.

use manifests::decision::{Reason, Takes};

use super::Unit;
use super::room::{Room, Slot};

/// The first thing that no node has enough of for one replica; when each is there, that they are not there together.
pub(super) fn why_not(unit: &Unit<'_>, room: &Room<'_>, placed: u32) -> Reason {
    let demand = unit.demand;
    let fragmented = Reason::NodeFragmentation { unit: demand.unit, placed, wanted: demand.count };
    if placed > 0 {
        let (unit_id, need, have) = (demand.unit, demand.count, placed);
        return match unit.apart {
            true => Reason::NodeSpread { unit: unit_id, need, have },
            false if unit.is_whole() => Reason::NodeVolumes { unit: unit_id, need, have },
            false => fragmented,
        };
    }
    let need = unit.need(None);
    let mut nodes: Vec<usize> =
        (0..room.slots.len()).filter(|slot| room.slots[*slot].is_for(&need)).collect();
    if let (true, false, Some(arch)) = (nodes.is_empty(), room.slots.is_empty(), need.arch) {
        return Reason::Unsupported { what: format!("a processor of architecture {arch}") };
    }
    if demand.gpus > 0 {
        let free = most_gpus(unit, room);
        let have = nodes.iter().map(|slot| free[*slot]).max().unwrap_or(0);
        if have < demand.gpus {
            return Reason::ResourcesGpuCount { need: demand.gpus, have };
        }
        nodes.retain(|slot| free[*slot] >= demand.gpus);
    }
    let most = |of: fn(&Slot<'_>) -> u64| nodes.iter().map(|slot| of(&room.slots[*slot])).max().unwrap_or(0);
    let Takes { cpu_milli, memory_bytes, ephemeral_bytes, gpu: _, volumes } = &unit.takes;
    let (cpu, memory) = (most(|slot| slot.cpu_milli), most(|slot| slot.memory_bytes));
    let (ephemeral, pods) = (most(|slot| slot.ephemeral_bytes), most(|slot| slot.pods));
    if cpu < *cpu_milli {
        return Reason::ResourcesCpu { need: *cpu_milli, have: cpu };
    }
    if memory < *memory_bytes {
        return Reason::ResourcesMemory { need: *memory_bytes, have: memory };
    }
    if ephemeral < *ephemeral_bytes {
        return Reason::ResourcesStorage { need: *ephemeral_bytes, have: ephemeral };
    }
    if pods < 1 {
        return Reason::ResourcesPods { need: 1, have: pods };
    }
    let places = room.places();
    for (class, bytes) in volumes {
        let left = |slot: &usize| places.of_class(room.slots[*slot].node, class).unwrap_or(u64::MAX);
        let have = nodes.iter().map(left).max().unwrap_or(0);
        if have < *bytes {
            return Reason::ResourcesVolume { class: class.clone(), need: *bytes, have };
        }
    }
    let besides = |of: fn(&Slot<'_>) -> u64, kept: fn((u64, u64)) -> u64| {
        let slots = nodes.iter().map(|slot| &room.slots[*slot]);
        slots.map(move |slot| (of(slot), kept(room.kept(slot, demand.gpus)))).collect::<Vec<_>>()
    };
    reserved("cpu", *cpu_milli, &besides(|slot| slot.cpu_milli, |kept| kept.0))
        .or_else(|| reserved("memory", *memory_bytes, &besides(|slot| slot.memory_bytes, |kept| kept.1)))
        .unwrap_or(fragmented)
}

/// That no node has enough besides what it keeps for its GPUs, given what each has and keeps.
fn reserved(what: &str, need: u64, nodes: &[(u64, u64)]) -> Option<Reason> {
    let left = nodes.iter().map(|(free, kept)| (free.saturating_sub(*kept), *kept.min(free)));
    let (have, kept) = left.max()?;
    (have < need).then(|| Reason::ReservedForGpus { what: what.to_owned(), need, have, kept })
}

/// The most GPUs that each node has free in one of the pools that would do.
fn most_gpus(unit: &Unit<'_>, room: &Room<'_>) -> Vec<u64> {
    let mut most = vec![0; room.slots.len()];
    for pool in unit.offers.iter().filter_map(|offer| offer.pool) {
        for holder in &room.pools[pool].holders {
            most[holder.slot] = holder.free.max(most[holder.slot]);
        }
    }
    most
}
