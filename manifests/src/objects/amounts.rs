//! What one replica takes, by the names of Kubernetes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::manifest::Service;
use crate::objects::Overcommit;
use crate::objects::storage::Volumes;

/// The resource by which Kubernetes hands out whole GPUs.
pub const GPU_RESOURCE: &str = "nvidia.com/gpu";

/// What a container may write to its node when its document buys no node-local storage: logs and a little of its own. With no
/// limit it could fill the node.
const LEAST_EPHEMERAL_BYTES: u64 = 128 << 20;

/// Amounts by resource: `cpu` in thousandths of a core, the rest in bytes or pieces.
pub(super) type Amounts = BTreeMap<String, u64>;

/// Requests and limits of one replica. Whole GPUs are always told, so that a quota says zero too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replica {
    pub(super) requests: Amounts,
    pub(super) limits: Amounts,
}

/// What a replica of a service takes. `gpu_resource` is the name by which the nodes of its placement hand GPUs out.
pub(super) fn of_replica(
    service: &Service,
    volumes: &Volumes,
    gpu_resource: &str,
    overcommit: Overcommit,
) -> Replica {
    let resources = &service.resources;
    let ephemeral = match volumes.ephemeral_bytes {
        0 => LEAST_EPHEMERAL_BYTES,
        bytes => bytes,
    };
    let (cpu, memory) = (resources.cpu.units.0, resources.memory.size.0);
    // Of each resource what is sold, what of that is kept free, and what comes on top that is never sold twice.
    let sold = [
        ("cpu", cpu, overcommit.kept_cpu_up(cpu), 0),
        ("memory", memory, overcommit.kept_memory_up(memory), volumes.ram_bytes),
        ("ephemeral-storage", ephemeral, overcommit.kept_ephemeral_up(ephemeral), 0),
    ];
    let mut replica = Replica { requests: Amounts::new(), limits: Amounts::new() };
    for (resource, sold, kept, own) in sold {
        replica.requests.insert(resource.to_owned(), kept.saturating_add(own));
        replica.limits.insert(resource.to_owned(), sold.saturating_add(own));
    }
    for amounts in [&mut replica.requests, &mut replica.limits] {
        amounts.insert(GPU_RESOURCE.to_owned(), 0);
        amounts.insert(gpu_resource.to_owned(), resources.gpu.units.0);
    }
    replica
}

/// An amount as the API writes it.
pub(super) fn quantity(resource: &str, amount: u64) -> Quantity {
    Quantity(if resource == "cpu" { format!("{amount}m") } else { amount.to_string() })
}

/// What is not zero, as a container says it.
pub(super) fn quantities(amounts: &Amounts) -> BTreeMap<String, Quantity> {
    amounts
        .iter()
        .filter(|(_, amount)| **amount > 0)
        .map(|(resource, amount)| (resource.clone(), quantity(resource, *amount)))
        .collect()
}
