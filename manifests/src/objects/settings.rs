//! What the provider's cluster is like and what its operator offers there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::objects::Cidr;

/// What the provider's cluster is like, the same for all leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Services are reached under names below it; its wildcard leads to the Gateway. Tenants cannot claim names below it.
    pub ingress_domain: String,
    /// The Gateway that routes are attached to.
    pub gateway: GatewayRef,
    /// Networks, besides the pods of the Gateway's namespace, from which the Gateway's proxies reach pods: the nodes, when
    /// the proxies run in the host's network.
    pub gateway_sources: Vec<Cidr>,
    /// The name or address under which ports of the nodes are reached from outside.
    pub port_host: String,
    /// DNS servers besides the pods of `kube-system`.
    pub dns_servers: Vec<Cidr>,
    /// Networks that tenants must not reach, besides the private and special ones that nobody may: public addresses of the
    /// nodes and of whatever else is the provider's.
    pub closed_networks: Vec<Cidr>,
    /// Where the API server answers, as pods' connections arrive there. Nobody may reach it but the services that ask for
    /// permissions, which are refused when this is empty.
    pub api_servers: Vec<SocketAddr>,
    /// Nodes whose runtime gives a pod a user namespace of its own. Pods without GPU that are placed on these only get one.
    pub user_namespace_nodes: BTreeSet<String>,
    /// The runtime class of pods with GPUs, where the vendor's runtime is not the default.
    pub gpu_runtime_class: Option<String>,
    /// The runtime class of pods without GPUs, such as one of a sandbox; `None` for the nodes' default.
    pub runtime_class: Option<String>,
    /// The classes of persistent volumes that are offered, by the document's word for them: `default`, `beta1` to `beta3`.
    pub storage_classes: BTreeMap<String, StorageClass>,
    /// Where leased addresses come from; without it they are refused.
    pub address_pool: Option<AddressPool>,
    /// How much more is sold than is kept free.
    pub overcommit: Overcommit,
    /// Who is given the right to work in the lease's namespace, where whoever applies the objects has it not already.
    pub provider_access: Option<ProviderAccess>,
}

impl Settings {
    /// A cluster that is reached this way and of which nothing else is known: it closes no network of its own and offers nothing
    /// beyond containers.
    #[must_use]
    pub fn of(ingress_domain: impl Into<String>, gateway: GatewayRef, port_host: impl Into<String>) -> Self {
        Self {
            ingress_domain: ingress_domain.into(),
            gateway,
            gateway_sources: Vec::new(),
            port_host: port_host.into(),
            dns_servers: Vec::new(),
            closed_networks: Vec::new(),
            api_servers: Vec::new(),
            user_namespace_nodes: BTreeSet::new(),
            gpu_runtime_class: None,
            runtime_class: None,
            storage_classes: BTreeMap::new(),
            address_pool: None,
            overcommit: Overcommit::default(),
            provider_access: None,
        }
    }
}

/// A service account and the role that it gets in the namespace of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderAccess {
    /// The ClusterRole.
    pub cluster_role: String,
    /// The account.
    pub account: String,
    /// The account's namespace.
    pub namespace: String,
}

/// A Gateway of the Gateway API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayRef {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The listener to attach to; `None` for every listener that admits the route.
    pub section: Option<String>,
}

/// A StorageClass of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageClass {
    /// Its name there.
    pub name: String,
    /// Whether its file systems take id-mapped mounts. Pods with a volume that does not keep the node's user namespace.
    pub id_mapped: bool,
    /// Whether its volumes can become larger, as the class itself says (`allowVolumeExpansion`).
    pub expandable: bool,
}

/// What makes Services of type LoadBalancer get an address for a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressPool {
    /// Which implementation gives the address; `None` for the cluster's default.
    pub load_balancer_class: Option<String>,
    /// Annotations that every such Service carries, such as the name of the pool.
    pub annotations: BTreeMap<String, String>,
    /// The annotation whose equal value lets Services share an address, such as `metallb.io/allow-shared-ip` or
    /// `lbipam.cilium.io/sharing-key`. Without it, services that want one address together are refused.
    pub sharing_annotation: Option<String>,
}

/// How much more is sold than is kept free, in percent: requests are the limits divided by `1 + percent/100`, rounded up.
/// GPUs, volumes in memory and persistent volumes are never sold twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Overcommit {
    /// Of processors.
    pub cpu_percent: u32,
    /// Of memory.
    pub memory_percent: u32,
    /// Of node-local storage.
    pub ephemeral_percent: u32,
}

impl Overcommit {
    /// What is kept free of processor time that is sold, in the same unit.
    #[must_use]
    pub fn kept_cpu_up(self, sold: u64) -> u64 {
        kept_up(sold, self.cpu_percent)
    }

    /// What is kept free of memory that is sold.
    #[must_use]
    pub fn kept_memory_up(self, sold: u64) -> u64 {
        kept_up(sold, self.memory_percent)
    }

    /// What is kept free of node-local storage that is sold.
    #[must_use]
    pub fn kept_ephemeral_up(self, sold: u64) -> u64 {
        kept_up(sold, self.ephemeral_percent)
    }
}

/// The amount divided by `1 + percent/100`, rounded up.
fn kept_up(sold: u64, percent: u32) -> u64 {
    let kept = (u128::from(sold) * 100).div_ceil(100 + u128::from(percent));
    u64::try_from(kept).expect("it is at most what is sold")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_free_is_what_is_sold_divided_exactly_and_rounded_up() {
        for (sold, percent, kept) in [
            (1500, 0, 1500),
            (1500, 50, 1000),
            (1000, 50, 667),
            (1, 400, 1),
            (0, 50, 0),
            (3, 200, 1),
            (u64::MAX, 0, u64::MAX),
            (u64::MAX, u32::MAX, 429_496_719_701),
        ] {
            assert_eq!(kept_up(sold, percent), kept, "{sold} at {percent} %");
        }
    }
}
