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
    // Of each resource what is sold, what of it may be sold again, and by how many percent.
    let sold = [
        ("cpu", resources.cpu.units.0, overcommit.cpu_percent, 0),
        ("memory", resources.memory.size.0, overcommit.memory_percent, volumes.ram_bytes),
        ("ephemeral-storage", ephemeral, overcommit.ephemeral_percent, 0),
    ];
    let mut replica = Replica { requests: Amounts::new(), limits: Amounts::new() };
    for (resource, shared, percent, own) in sold {
        replica.requests.insert(resource.to_owned(), kept_free(shared, percent).saturating_add(own));
        replica.limits.insert(resource.to_owned(), shared.saturating_add(own));
    }
    for amounts in [&mut replica.requests, &mut replica.limits] {
        amounts.insert(GPU_RESOURCE.to_owned(), 0);
        amounts.insert(gpu_resource.to_owned(), resources.gpu.units.0);
    }
    replica
}

/// What is kept free of an amount that is sold with this overcommitment, rounded up.
fn kept_free(limit: u64, percent: u32) -> u64 {
    let kept = (u128::from(limit) * 100).div_ceil(100 + u128::from(percent));
    u64::try_from(kept).expect("it is at most the limit")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_free_is_the_limit_divided_exactly_and_rounded_up() {
        for (limit, percent, kept) in [
            (1500, 0, 1500),
            (1500, 50, 1000),
            (1000, 50, 667),
            (1, 400, 1),
            (0, 50, 0),
            (3, 200, 1),
            (u64::MAX, 0, u64::MAX),
            (u64::MAX, u32::MAX, 429_496_719_701),
        ] {
            assert_eq!(kept_free(limit, percent), kept, "{limit} at {percent} %");
        }
    }
}
