//! A provider that offers everything, and leases of it: what the tests render for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use manifests::decision::{GpuTake, Placement, Replica, Takes};
use manifests::gpu::Gpu;
use manifests::manifest::{Group, Service};
use manifests::objects::{AddressPool, GatewayRef, Given, LeaseContext, SecretValue, Settings, StorageClass};
use manifests::order::{Address, LeaseId};
use manifests::resources::Volume;

/// The lease that most tests are about.
pub(crate) const LEASE: LeaseId = LeaseId { tenant: Address([0xab; 20]), dseq: 1201, gseq: 1, oseq: 1 };
/// Whose lease it is.
pub(crate) const PROVIDER: Address = Address([0xcd; 20]);
/// Where most replicas go.
const NODES: [&str; 2] = ["node-a", "node-b"];
/// What a service gets that takes any GPU.
const ANY_GPU: &str = "h100-80Gi-sxm";

/// The cluster.
pub(crate) fn settings() -> Settings {
    let network = |text: &str| text.parse().expect("a network");
    let class = |word: &str, name: &str, id_mapped| {
        (word.to_owned(), StorageClass { name: name.to_owned(), id_mapped, expandable: true })
    };
    let gateway = GatewayRef {
        name: "berth".to_owned(),
        namespace: "berth-gateway".to_owned(),
        section: Some("http".to_owned()),
    };
    Settings {
        gateway_sources: vec![network("192.0.2.1/32")],
        dns_servers: vec![network("192.0.2.1/32")],
        closed_networks: vec![network("198.51.100.0/24"), network("2001:db8::/32")],
        api_servers: vec![SocketAddr::from(([203, 0, 113, 1], 6443))],
        user_namespace_nodes: BTreeSet::from(NODES.map(str::to_owned)),
        gpu_runtime_class: Some("nvidia".to_owned()),
        storage_classes: BTreeMap::from([
            class("default", "plain", false),
            class("beta1", "plain", false),
            class("beta2", "plain", false),
            class("beta3", "fast", true),
        ]),
        address_pool: Some(AddressPool {
            load_balancer_class: None,
            annotations: BTreeMap::from([("metallb.io/address-pool".to_owned(), "tenants".to_owned())]),
            sharing_annotation: Some("metallb.io/allow-shared-ip".to_owned()),
        }),
        ..Settings::of("apps.provider.example", gateway, "provider.example")
    }
}

/// A lease of a group: replicas in turn on the nodes, with everything given that it may be told of.
pub(crate) fn lease(id: LeaseId, group: &Group) -> LeaseContext {
    let mut secrets = BTreeMap::new();
    for extension in group.services.iter().filter_map(|service| service.x_berth.as_ref()) {
        for name in extension.secret_names() {
            secrets.insert(name.to_owned(), SecretValue(format!("the value of {name}").into_bytes()));
        }
    }
    LeaseContext {
        placement: Placement {
            replicas: group.services.iter().flat_map(replicas).collect(),
            ..Placement::default()
        },
        given: given(group),
        secrets,
        ..LeaseContext::unplaced(id, PROVIDER)
    }
}

/// More than any provider places for one order.
const MOST_REPLICAS: u32 = 1001;

/// Those with persistent volumes each on a node of its own, others by turns on two.
fn replicas(service: &Service) -> impl Iterator<Item = Replica> {
    let nodes = match service.resources.storage.iter().any(Volume::persistent) {
        true => ["node-a", "node-b", "node-c", "node-d"].as_slice(),
        false => &NODES,
    };
    let count = usize::try_from(service.count.min(MOST_REPLICAS)).expect("is small");
    nodes.iter().cycle().take(count).map(|node| Replica {
        unit: service.resources.id,
        node: (*node).to_owned(),
        takes: Takes { gpu: gpus(service), ..Takes::default() },
    })
}

/// GPUs of the first model that will do, with what the document leaves open filled in.
fn gpus(service: &Service) -> Option<GpuTake> {
    let gpu = &service.resources.gpu;
    let wanted = gpu.attributes.first()?.key.strip_prefix("vendor/nvidia/model/")?;
    let (wanted, interface) = wanted.split_once("/interface/").unwrap_or((wanted, "pcie"));
    let (model, ram) = wanted.split_once("/ram/").unwrap_or((wanted, "80Gi"));
    let pool: Option<Gpu> = format!("{model}-{ram}-{interface}").parse().ok();
    let pool = pool.map_or_else(|| ANY_GPU.to_owned(), |gpu| gpu.to_string());
    Some(GpuTake { pool, count: gpu.units.0, resource: None })
}

/// What the cluster gives once the Services are there.
pub(crate) fn given(group: &Group) -> Given {
    let mut given = Given::default();
    for service in &group.services {
        for expose in service.expose.iter().filter(|expose| expose.global) {
            let visible = u16::try_from(expose.visible_port()).unwrap_or_default();
            let port = 30_000 + visible % 2_768;
            given.node_ports.insert((service.name.clone(), visible, expose.proto), port);
            if let Some((number, _)) = expose.endpoint() {
                let last = u8::try_from(number).unwrap_or_default();
                given.addresses.insert(number, IpAddr::from([203, 0, 113, last]));
            }
        }
    }
    given
}
