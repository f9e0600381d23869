//! What is compared with: each replica on the first node that has room, by a plain scan. The first node that fits decides the
//! model of its unit; nothing is tried twice.

use std::collections::BTreeMap;

use bidengine::{Capacity, Node, Tariff};
use manifests::decision::{GpuTake, Placement, Replica, Takes};
use manifests::gpu::{Gpu, GpuRequest};

use crate::unit::Unit;

const GIB: u64 = 1 << 30;

/// A unit as the scan needs it, made before the clock runs.
pub(crate) struct Wanted {
    id: u32,
    count: u32,
    takes: Takes,
    gpus: u64,
    models: Option<GpuRequest>,
    node_ports: u64,
    leased_ips: u64,
}

pub(crate) fn wanted(units: &[Unit]) -> Vec<Wanted> {
    (1..).zip(units).map(|(id, unit)| one(id, unit)).collect()
}

fn one(id: u32, unit: &Unit) -> Wanted {
    let keys: Vec<String> = unit.models.iter().map(|model| format!("vendor/nvidia/model/{model}")).collect();
    Wanted {
        id,
        count: unit.count,
        takes: Takes {
            cpu_milli: unit.cpu_milli,
            memory_bytes: unit.memory_gib * GIB,
            ephemeral_bytes: unit.ephemeral_gib * GIB,
            gpu: None,
            volumes: unit.persistent.iter().map(|class| (class.clone(), GIB)).collect(),
        },
        gpus: unit.gpus,
        models: GpuRequest::from_keys(keys.iter().map(String::as_str)).ok(),
        node_ports: unit.ports.try_into().unwrap_or(u64::MAX),
        leased_ips: unit.ips.min(1).try_into().unwrap_or(u64::MAX),
    }
}

/// Where the replicas would run, if first fit finds it.
pub(crate) fn first_fit(units: &[Wanted], capacity: &Capacity, tariff: &Tariff) -> Option<Placement> {
    // Only nodes that were taken from are copied.
    let mut touched: BTreeMap<&str, Node> = BTreeMap::new();
    let mut segments: BTreeMap<&str, u64> = BTreeMap::new();
    let mut placement = Placement {
        leased_ips: units.iter().map(|unit| unit.leased_ips).max().unwrap_or(0),
        node_ports: units.iter().map(|unit| unit.node_ports).sum(),
        ..Placement::default()
    };
    if placement.leased_ips > capacity.leased_ips || placement.node_ports > capacity.node_ports {
        return None;
    }
    for unit in units {
        let mut model: Option<Gpu> = None;
        for _ in 0..unit.count {
            let (name, node, pool) = capacity.nodes.iter().find_map(|(name, node)| {
                let node = touched.get(name.as_str()).unwrap_or(node);
                let has_volumes = unit.takes.volumes.iter().all(|(class, bytes)| {
                    let Some(place) = node.segments.get(class) else { return true };
                    let left = segments.get(place.as_str()).or_else(|| capacity.segments.get(place));
                    left.is_some_and(|left| left >= bytes)
                });
                let fits = node.schedulable
                    && node.cpu_milli >= unit.takes.cpu_milli
                    && node.memory_bytes >= unit.takes.memory_bytes
                    && node.ephemeral_bytes >= unit.takes.ephemeral_bytes
                    && node.pods > 0
                    && has_volumes;
                let pool = match &unit.models {
                    None => Some(None),
                    Some(request) => node
                        .gpus
                        .iter()
                        .find(|(gpu, free)| {
                            **free >= unit.gpus
                                && model.as_ref().is_none_or(|model| model == *gpu)
                                && request.matches(gpu)
                                && tariff.gpu_price(gpu).is_some()
                        })
                        .map(|(gpu, _)| Some(gpu.clone())),
                };
                fits.then_some(())?;
                Some((name, node.clone(), pool?))
            })?;
            let mut takes = unit.takes.clone();
            let mut node = node;
            node.cpu_milli -= takes.cpu_milli;
            node.memory_bytes -= takes.memory_bytes;
            node.ephemeral_bytes -= takes.ephemeral_bytes;
            node.pods -= 1;
            if let Some(pool) = pool {
                *node.gpus.get_mut(&pool)? -= unit.gpus;
                takes.gpu = Some(GpuTake { pool: pool.to_string(), count: unit.gpus, resource: None });
                model = Some(pool);
            }
            for (class, bytes) in &takes.volumes {
                let Some((place, left)) = capacity.nodes[name]
                    .segments
                    .get(class)
                    .and_then(|place| capacity.segments.get_key_value(place))
                else {
                    continue;
                };
                *segments.entry(place).or_insert(*left) -= bytes;
            }
            touched.insert(name, node);
            placement.replicas.push(Replica { unit: unit.id, node: name.clone(), takes });
        }
    }
    Some(placement)
}
