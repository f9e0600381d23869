//! A lease, a provider and its cluster that stand for any: what is rendered has to run somewhere.

use std::collections::BTreeSet;

use clap::Args;
use manifests::decision::{Placement, Replica, Takes};
use manifests::manifest::Group;
use manifests::objects::{GatewayRef, LeaseContext, Settings};
use manifests::order::{Address, LeaseId};

const TENANT: Address = Address([0x11; 20]);
const PROVIDER: Address = Address([0x22; 20]);
const NODE: &str = "node-1";

/// What a provider's cluster is like, as far as a reader may want to change it.
#[derive(Debug, Args)]
pub(super) struct Cluster {
    /// Domain of the example provider, below which services get their host names.
    #[arg(long, value_name = "DOMAIN", default_value = "apps.provider.example")]
    ingress_domain: String,
}

impl Cluster {
    pub(super) fn settings(&self) -> Settings {
        Settings {
            ingress_domain: self.ingress_domain.clone(),
            gateway: GatewayRef {
                name: "berth".to_owned(),
                namespace: "berth-gateway".to_owned(),
                section: None,
            },
            gateway_sources: Vec::new(),
            dns_servers: Vec::new(),
            closed_networks: Vec::new(),
            user_namespace_nodes: BTreeSet::from([NODE.to_owned()]),
            gpu_runtime_class: Some("nvidia".to_owned()),
        }
    }
}

/// The example, in words.
pub(super) fn stated() -> String {
    format!(
        "# An example: tenant {TENANT}, provider {PROVIDER}, every replica on {NODE}.\n\
         # A provider renders for its own lease, nodes, domain and networks."
    )
}

/// The lease of the deployment's first account for the group with this number.
pub(super) fn lease(group: &Group, gseq: u16) -> LeaseContext {
    let replicas = group.services.iter().flat_map(|service| {
        // The nodes of a unit count, not how many replicas each has.
        [Replica { unit: service.resources.id, node: NODE.to_owned(), takes: Takes::default() }]
    });
    LeaseContext {
        id: LeaseId { tenant: TENANT, dseq: 1, gseq, oseq: 1 },
        provider: PROVIDER,
        placement: Placement { replicas: replicas.collect() },
    }
}
