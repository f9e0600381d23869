//! A lease, a provider and its cluster that stand for any: what is rendered has to run somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use clap::Args;
use manifests::decision::{GpuTake, Placement, Replica, Takes};
use manifests::gpu::Gpu;
use manifests::manifest::{Group, Service};
use manifests::objects::{AddressPool, GatewayRef, Given, LeaseContext, Settings, StorageClass};
use manifests::order::{Address, LeaseId};

const TENANT: Address = Address([0x11; 20]);
const PROVIDER: Address = Address([0x22; 20]);
const NODE: &str = "node-1";
/// What a service gets that takes any model.
const ANY_GPU: &str = "h100-80Gi-sxm";
/// Where the example's API server answers: an address of the block that is kept for documentation.
const API_SERVER: ([u8; 4], u16) = ([192, 0, 2, 1], 6443);

/// What a provider's cluster is like, as far as a reader may want to change it.
#[derive(Debug, Args)]
pub(super) struct Cluster {
    /// Domain of the example provider, below which services get their host names.
    #[arg(long, value_name = "DOMAIN", default_value = "apps.provider.example")]
    ingress_domain: String,
}

impl Cluster {
    /// A cluster that offers everything there is.
    pub(super) fn settings(&self) -> Settings {
        let class = |word: &str| {
            let name = format!("berth-{word}");
            (word.to_owned(), StorageClass { name, id_mapped: true, expandable: true })
        };
        let gateway =
            GatewayRef { name: "berth".to_owned(), namespace: "berth-gateway".to_owned(), section: None };
        Settings {
            api_servers: vec![SocketAddr::from(API_SERVER)],
            user_namespace_nodes: BTreeSet::from([NODE.to_owned()]),
            gpu_runtime_class: Some("nvidia".to_owned()),
            storage_classes: BTreeMap::from(["default", "beta1", "beta2", "beta3"].map(class)),
            address_pool: Some(AddressPool {
                load_balancer_class: None,
                annotations: BTreeMap::new(),
                sharing_annotation: Some("metallb.io/allow-shared-ip".to_owned()),
            }),
            ..Settings::of(self.ingress_domain.as_str(), gateway, "ports.provider.example")
        }
    }
}

/// The example, in words.
pub(super) fn stated() -> String {
    format!(
        "# An example: tenant {TENANT}, provider {PROVIDER}, every replica on {NODE},\n\
         # which offers every class of storage, leased addresses and the first GPU model that a service names.\n\
         # A provider renders for its own lease, nodes, domain, classes and networks."
    )
}

/// More than any provider places for one order.
const MOST_REPLICAS: usize = 1001;

/// The lease of the tenant's first account for the group with this number.
pub(super) fn lease(group: &Group, gseq: u16) -> LeaseContext {
    let replicas = |service: &Service| {
        let takes = Takes { gpu: gpus(service), ..Takes::default() };
        let replica = Replica { unit: service.resources.id, node: NODE.to_owned(), takes };
        let count = usize::try_from(service.count).unwrap_or(usize::MAX);
        std::iter::repeat_n(replica, count.min(MOST_REPLICAS))
    };
    LeaseContext {
        id: LeaseId { tenant: TENANT, dseq: 1, gseq, oseq: 1 },
        provider: PROVIDER,
        placement: Placement {
            replicas: group.services.iter().flat_map(replicas).collect(),
            ..Placement::default()
        },
        left_behind: 0,
        given: Given::default(),
        secrets: BTreeMap::new(),
    }
}

/// GPUs of the first model that will do, with what the document leaves open filled in.
fn gpus(service: &Service) -> Option<GpuTake> {
    let gpu = &service.resources.gpu;
    let wanted = gpu.attributes.first()?.key.strip_prefix("vendor/nvidia/model/")?;
    let (wanted, interface) = wanted.split_once("/interface/").unwrap_or((wanted, "pcie"));
    let (model, ram) = wanted.split_once("/ram/").unwrap_or((wanted, "80Gi"));
    let pool: Option<Gpu> = format!("{model}-{ram}-{interface}").parse().ok();
    let pool = pool.filter(|_| model != "*").map_or_else(|| ANY_GPU.to_owned(), |gpu| gpu.to_string());
    Some(GpuTake { pool, count: gpu.units.0, resource: None })
}
