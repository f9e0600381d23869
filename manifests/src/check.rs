//! Whether a manifest asks for exactly what was ordered: no more, and no less.
//!
//! The digest proves that the tenant committed to a manifest, not that the manifest is what was priced. A provider holds
//! both to each other at the first send and at every update, before anything is applied.

use std::fmt;

use crate::group::{OrderSpec, SpecUnit};
use crate::manifest::{Expose, Group, Manifest, Service};
use crate::resources::{Endpoint, EndpointKind, Resources};

/// Where a manifest and an order's spec part ways.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {difference}")]
pub struct Mismatch {
    /// Group, service and unit.
    pub place: Place,
    /// What differs there.
    pub difference: Difference,
}

/// Where a [`Mismatch`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the group.
    pub group: String,
    /// Name of the service, if one is to blame.
    pub service: Option<String>,
    /// Number of the resource unit in its group, if one is to blame.
    pub unit: Option<u32>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group \"{}\"", self.group)?;
        if let Some(service) = &self.service {
            write!(f, ", service \"{service}\"")?;
        }
        if let Some(unit) = self.unit {
            write!(f, ", unit {unit}")?;
        }
        Ok(())
    }
}

/// What differs between a manifest and an order's spec.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// Another number of groups than orders.
    #[error("the manifest has {manifest} groups where {ordered} were ordered")]
    Groups {
        /// Groups of the manifest.
        manifest: usize,
        /// Orders.
        ordered: usize,
    },
    /// A group that was not ordered, or an order that has no group.
    #[error("no order has this group; send the manifest that belongs to the deployment")]
    GroupNotOrdered,
    /// A unit that the order does not have.
    #[error("the order has no such unit; send the manifest that belongs to the deployment")]
    UnitNotOrdered,
    /// Another amount of a resource.
    #[error("the manifest asks for {manifest} of {resource}, ordered were {ordered}")]
    Amount {
        /// `cpu`, `gpu`, `memory`, `volumes` or `storage <name>`.
        resource: String,
        /// What the manifest asks for, in the smallest unit.
        manifest: u64,
        /// What was ordered.
        ordered: u64,
    },
    /// The same amount of something else: another model, class, name or architecture.
    #[error("the manifest asks for another kind of {resource} than was ordered")]
    Kind {
        /// `cpu`, `gpu` or `storage <name>`.
        resource: String,
    },
    /// More replicas than are left of the unit.
    #[error("the manifest asks for {manifest} replicas where {left} are left of those ordered")]
    CountAbove {
        /// Replicas of the service.
        manifest: u32,
        /// Replicas of the unit that no service before has taken.
        left: u32,
    },
    /// Fewer replicas than were ordered.
    #[error("{left} of the replicas ordered are used by no service")]
    CountBelow {
        /// Replicas that no service has taken.
        left: u32,
    },
    /// More entrances from outside than were ordered.
    #[error("port {port} needs {kind}, and no more of them were ordered")]
    EndpointsAbove {
        /// Container port of the entry.
        port: u32,
        /// Words for the sort of entrance.
        kind: &'static str,
    },
    /// Fewer entrances from outside than were ordered.
    #[error("{left} of the endpoints ordered are used by no service")]
    EndpointsBelow {
        /// Endpoints that no service has taken.
        left: usize,
    },
}

/// Holds a whole manifest to the specs that its orders were posted with.
///
/// # Errors
/// The first difference, groups in the manifest's order.
pub fn check_all(manifest: &Manifest, specs: &[OrderSpec]) -> Result<(), Mismatch> {
    let of_group = |name: &str, difference| {
        let place = Place { group: name.to_owned(), service: None, unit: None };
        Err(Mismatch { place, difference })
    };
    if manifest.0.len() != specs.len() {
        let name = specs.iter().map(|spec| &spec.name).find(|name| manifest.group(name).is_none());
        let name = name.or(manifest.0.first().map(|group| &group.name)).map_or("", String::as_str);
        return of_group(name, Difference::Groups { manifest: manifest.0.len(), ordered: specs.len() });
    }
    for (index, group) in manifest.0.iter().enumerate() {
        let repeated = manifest.0[..index].iter().any(|before| before.name == group.name);
        match specs.iter().find(|spec| spec.name == group.name) {
            Some(spec) if !repeated => check(group, spec)?,
            _ => return of_group(&group.name, Difference::GroupNotOrdered),
        }
    }
    Ok(())
}

/// Holds one group of a manifest to the spec that its order was posted with.
///
/// # Errors
/// The first difference, services in the manifest's order, what is left over at the end.
pub fn check(group: &Group, spec: &OrderSpec) -> Result<(), Mismatch> {
    let place = |service: Option<&Service>, unit: Option<u32>| Place {
        group: group.name.clone(),
        service: service.map(|service| service.name.clone()),
        unit,
    };
    if group.name != spec.name {
        return Err(Mismatch { place: place(None, None), difference: Difference::GroupNotOrdered });
    }
    let mut left: Vec<Left<'_>> = spec.resources.iter().map(Left::new).collect();
    for service in &group.services {
        let id = service.resources.id;
        let blame = |difference| Mismatch { place: place(Some(service), Some(id)), difference };
        let unit = left.iter_mut().find(|left| left.unit.resource.id == id);
        unit.ok_or(Difference::UnitNotOrdered).and_then(|unit| unit.take(service)).map_err(blame)?;
    }
    for left in left {
        let blame = |difference| Mismatch { place: place(None, Some(left.unit.resource.id)), difference };
        if left.count > 0 {
            return Err(blame(Difference::CountBelow { left: left.count }));
        }
        if !left.endpoints.is_empty() {
            return Err(blame(Difference::EndpointsBelow { left: left.endpoints.len() }));
        }
    }
    Ok(())
}

/// What no service has taken yet of a unit.
struct Left<'s> {
    unit: &'s SpecUnit,
    count: u32,
    endpoints: Vec<Endpoint>,
}

impl<'s> Left<'s> {
    fn new(unit: &'s SpecUnit) -> Self {
        Left { unit, count: unit.count, endpoints: unit.resource.endpoints.clone() }
    }

    fn take(&mut self, service: &Service) -> Result<(), Difference> {
        let above = Difference::CountAbove { manifest: service.count, left: self.count };
        self.count = self.count.checked_sub(service.count).ok_or(above)?;
        compare(&service.resources, &self.unit.resource)?;
        for entry in service.expose.iter().filter(|entry| entry.global) {
            if entry.is_shared_http() {
                self.take_endpoint(entry, EndpointKind::SharedHttp)?;
            } else {
                self.take_endpoint(entry, EndpointKind::RandomPort)?;
            }
            if !entry.ip.is_empty() {
                self.take_endpoint(entry, EndpointKind::LeasedIp)?;
            }
        }
        Ok(())
    }

    fn take_endpoint(&mut self, entry: &Expose, kind: EndpointKind) -> Result<(), Difference> {
        let fits = |endpoint: &Endpoint| {
            let number = if kind == EndpointKind::LeasedIp { entry.endpoint_sequence_number } else { 0 };
            endpoint.kind == kind && endpoint.sequence_number == number
        };
        let Some(index) = self.endpoints.iter().position(fits) else {
            let kind = match kind {
                EndpointKind::SharedHttp => "a place at the shared HTTP entrance",
                EndpointKind::RandomPort => "a port of its own",
                EndpointKind::LeasedIp => "a leased IP of its number",
            };
            return Err(Difference::EndpointsAbove { port: entry.port, kind });
        };
        self.endpoints.swap_remove(index);
        Ok(())
    }
}

/// Everything but id and endpoints, which are checked apart.
fn compare(manifest: &Resources, ordered: &Resources) -> Result<(), Difference> {
    let Resources { id: _, cpu, memory, storage, gpu, endpoints: _ } = manifest;
    let amount = |resource: &str, manifest: u64, ordered: u64| {
        let differs = Difference::Amount { resource: resource.to_owned(), manifest, ordered };
        if manifest == ordered { Ok(()) } else { Err(differs) }
    };
    let kind = |resource: &str, same: bool| {
        if same { Ok(()) } else { Err(Difference::Kind { resource: resource.to_owned() }) }
    };
    amount("cpu", cpu.units.0, ordered.cpu.units.0)?;
    kind("cpu", cpu.attributes == ordered.cpu.attributes)?;
    amount("gpu", gpu.units.0, ordered.gpu.units.0)?;
    kind("gpu", gpu.attributes == ordered.gpu.attributes)?;
    amount("memory", memory.size.0, ordered.memory.size.0)?;
    amount("volumes", storage.len() as u64, ordered.storage.len() as u64)?;
    for (volume, ordered) in storage.iter().zip(&ordered.storage) {
        let name = format!("storage \"{}\"", volume.name);
        kind(&name, volume.name == ordered.name && volume.attributes == ordered.attributes)?;
        amount(&name, volume.size.0, ordered.size.0)?;
    }
    Ok(())
}
