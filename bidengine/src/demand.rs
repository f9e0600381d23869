//! What an order's spec asks for, unit by unit, in the amounts that nodes have and tariffs price.
//!
//! The bytes of a spec come from a stranger: everything is bounded here by the limits of the language before anything is
//! added up or walked through.

use std::collections::{BTreeMap, BTreeSet};

use manifests::decision::Takes;
use manifests::gpu::GpuRequest;
use manifests::group::{OrderSpec, SpecUnit};
use manifests::objects::Overcommit;
use manifests::resources::EndpointKind;

/// A resource unit in amounts.
#[derive(Debug, Clone)]
pub(crate) struct Demand {
    pub(crate) unit: u32,
    pub(crate) count: u32,
    pub(crate) cpu_milli: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) ram_volume_bytes: u64,
    pub(crate) ephemeral_bytes: u64,
    /// Persistent volumes: class and bytes.
    pub(crate) persistent: Vec<(String, u64)>,
    pub(crate) gpus: u64,
    /// The models that would do; present when `gpus` is not zero.
    pub(crate) gpu: Option<GpuRequest>,
    /// Architecture, when one is asked for.
    pub(crate) arch: Option<String>,
    /// Host names and ports at the shared entrances.
    pub(crate) endpoints: u64,
    /// Those of them that are a port of the nodes' addresses. All replicas answer there.
    pub(crate) node_ports: u64,
    /// The numbers of the endpoints whose addresses are leased; services may share one.
    pub(crate) leased_endpoints: BTreeSet<u32>,
}

impl Demand {
    /// What one replica takes, GPUs aside. Volumes in memory are never sold twice.
    pub(crate) fn takes(&self, overcommit: Overcommit) -> Takes {
        let memory_bytes = overcommit.kept_memory_up(self.memory_bytes);
        let mut volumes: BTreeMap<String, u64> = BTreeMap::new();
        for (class, bytes) in &self.persistent {
            let sum = volumes.entry(class.clone()).or_default();
            *sum = sum.saturating_add(*bytes);
        }
        Takes {
            cpu_milli: overcommit.kept_cpu_up(self.cpu_milli),
            memory_bytes: memory_bytes.saturating_add(self.ram_volume_bytes),
            ephemeral_bytes: overcommit.kept_ephemeral_up(self.ephemeral_bytes),
            gpu: None,
            volumes,
        }
    }
}

/// The most of each that the language lets one replica have.
const MAX_CPU_MILLI: u64 = 384_000;
const MAX_GPUS: u64 = 24;
const MAX_MEMORY: u64 = 2 << 40;
const MAX_VOLUME: u64 = 32 << 40;
const MAX_VOLUMES: usize = 64;
const MIN_CPU_MILLI: u64 = 10;
/// The most replicas of a group. The language knows no bound; a cluster does, and so does the work that an order may cause.
const MAX_REPLICAS: u64 = 1000;
const MAX_TOTAL_CPU_MILLI: u64 = 19_200_000;

/// Reads a spec into amounts.
///
/// # Errors
/// A sentence that says what makes the spec unusable.
pub(crate) fn demands(spec: &OrderSpec) -> Result<Vec<Demand>, String> {
    let demands: Vec<Demand> = spec.resources.iter().map(demand).collect::<Result<_, _>>()?;
    for (index, unit) in demands.iter().enumerate() {
        if demands[..index].iter().any(|earlier| earlier.unit == unit.unit) {
            return Err(format!("resource unit {} stands there twice", unit.unit));
        }
    }
    let replicas: u64 = demands.iter().map(|unit| u64::from(unit.count)).sum();
    if replicas > MAX_REPLICAS {
        return Err(format!(
            "it asks for {replicas} replicas, at most {MAX_REPLICAS} can be had in one group"
        ));
    }
    let total: u64 = demands.iter().map(|unit| unit.cpu_milli * u64::from(unit.count)).sum();
    match total {
        0 => Err("it asks for no replica at all".to_owned()),
        1..=MAX_TOTAL_CPU_MILLI => Ok(demands),
        _ => Err(format!(
            "it asks for {total} thousandths of a core in all, at most {MAX_TOTAL_CPU_MILLI} can be had"
        )),
    }
}

fn demand(unit: &SpecUnit) -> Result<Demand, String> {
    let resources = &unit.resource;
    let id = resources.id;
    let bounded = |what: &str, value: u64, least: u64, most: u64| {
        if (least..=most).contains(&value) {
            Ok(value)
        } else {
            Err(format!("unit {id} asks for {value} of {what}, which has to be from {least} to {most}"))
        }
    };
    if resources.storage.len() > MAX_VOLUMES {
        return Err(format!("unit {id} has more than {MAX_VOLUMES} volumes"));
    }
    let mut ephemeral_bytes = 0;
    let mut ram_volume_bytes = 0;
    let mut persistent = Vec::new();
    for volume in &resources.storage {
        let bytes = bounded("storage", volume.size.0, 1, MAX_VOLUME)?;
        match volume.class() {
            _ if volume.persistent() => {
                persistent.push((volume.claimed_class().to_owned(), bytes));
            }
            Some("ram") => ram_volume_bytes += bytes,
            _ => ephemeral_bytes += bytes,
        }
    }
    let gpus = bounded("gpu", resources.gpu.units.0, 0, MAX_GPUS)?;
    let gpu = match gpus {
        0 => None,
        _ => Some(GpuRequest::from_attributes(&resources.gpu.attributes).map_err(|error| error.to_string())?),
    };
    let mut arch = None;
    for attribute in &resources.cpu.attributes {
        match attribute.key.as_str() {
            "arch" => arch = Some(attribute.value.clone()),
            key => return Err(format!("unit {id} has the unknown cpu attribute {key}")),
        }
    }
    let of_kind =
        |kind: EndpointKind| resources.endpoints.iter().filter(move |endpoint| endpoint.kind == kind);
    let leased_ips = of_kind(EndpointKind::LeasedIp).count();
    Ok(Demand {
        unit: id,
        count: unit.count,
        cpu_milli: bounded("cpu_milli", resources.cpu.units.0, MIN_CPU_MILLI, MAX_CPU_MILLI)?,
        memory_bytes: bounded("memory", resources.memory.size.0, 1, MAX_MEMORY)?,
        ram_volume_bytes,
        ephemeral_bytes,
        persistent,
        gpus,
        gpu,
        arch,
        endpoints: whole(resources.endpoints.len() - leased_ips),
        node_ports: whole(of_kind(EndpointKind::RandomPort).count()),
        leased_endpoints: of_kind(EndpointKind::LeasedIp).map(|endpoint| endpoint.sequence_number).collect(),
    })
}

fn whole(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
