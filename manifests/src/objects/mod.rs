//! What a lease is in Kubernetes: `render` turns a group of a manifest into objects, in the order in which to apply them.
//!
//! Pure: the same group, lease and settings give the same bytes. Every object lives in the lease's own namespace and carries
//! its label ([`labels::LEASE`]), so that what belongs to a lease can be found and removed without a list. Fields that
//! matter for safety are written out even where they equal the default. What cannot be rendered yet is refused as a whole.
//!
//! Every container is told about its lease by variables, over which its own win:
//!
//! - `BERTH_LEASE`: the lease's id, `tenant/dseq/gseq/oseq`
//! - `BERTH_PROVIDER`: the provider's address
//! - `BERTH_SERVICE`: the service's name
//! - `BERTH_HOST`: the generated host name, if it is served over HTTP
//!
//! Of a variable that is repeated the last value counts. Variables by which a container would choose GPUs for itself
//! (`NVIDIA_VISIBLE_DEVICES` and the like) are the provider's.
//!
//! Three settings of the language's `http_options` have no counterpart in an HTTPRoute and do not limit anything: the size of
//! bodies, retries at other replicas, and the proxy's buffer.

pub mod labels;

mod cidr;
mod http_route;
mod namespace;
mod network_policy;
mod registry_secret;
mod service;
mod storage;
mod workload;

use std::collections::BTreeSet;
use std::fmt;

use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::decision::Placement;
use crate::manifest::{Group, Service};
use crate::order::{Address, LeaseId};

pub use cidr::{Cidr, CidrError};
pub use workload::GPU_RESOURCE;

/// The lease that a group runs for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseContext {
    /// Its name.
    pub id: LeaseId,
    /// Who runs it.
    pub provider: Address,
    /// The nodes that its replicas were promised.
    pub placement: Placement,
}

impl LeaseContext {
    /// 16 characters that stand for the lease in labels and names.
    #[must_use]
    pub fn short_id(&self) -> String {
        short_hash(&[&self.id.to_word().0, &self.provider.0])
    }

    /// The namespace that holds everything of the lease.
    #[must_use]
    pub fn namespace(&self) -> String {
        format!("berth-{}", self.short_id())
    }
}

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
    /// DNS servers besides the pods of `kube-system`.
    pub dns_servers: Vec<Cidr>,
    /// Networks that tenants must not reach, besides the private and special ones that nobody may: public addresses of
    /// nodes and of the API server.
    pub closed_networks: Vec<Cidr>,
    /// Nodes whose runtime gives a pod a user namespace of its own. Pods without GPU that are placed on these only get one.
    pub user_namespace_nodes: BTreeSet<String>,
    /// The runtime class of pods with GPUs, where the vendor's runtime is not the default.
    pub gpu_runtime_class: Option<String>,
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

/// The objects of a lease.
#[derive(Debug, Clone, PartialEq)]
pub struct Objects {
    /// In the order in which to apply them: what limits comes before what runs.
    pub items: Vec<Object>,
    /// The names under which services are served over HTTP, generated ones first.
    pub hosts: Vec<ServedHost>,
}

/// A name under which a service answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedHost {
    /// The service.
    pub service: String,
    /// The host name.
    pub host: String,
}

/// One object as it is sent to the API server. Debug does not show the body, which holds the tenant's secrets.
#[derive(Clone, PartialEq)]
pub struct Object {
    /// Such as `apps/v1`.
    pub api_version: String,
    /// Such as `Deployment`.
    pub kind: String,
    /// The kind in URLs, such as `deployments`.
    pub plural: String,
    /// `None` for the namespace itself.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The whole object, `apiVersion` and `kind` included.
    pub body: Value,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

impl Object {
    fn new<K: k8s_openapi::Resource + Metadata<Ty = ObjectMeta> + Serialize>(object: &K) -> Self {
        let metadata = object.metadata();
        Self {
            api_version: K::API_VERSION.to_owned(),
            kind: K::KIND.to_owned(),
            plural: K::URL_PATH_SEGMENT.to_owned(),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone().unwrap_or_default(),
            body: serde_json::to_value(object).expect("objects of the Kubernetes API are JSON"),
        }
    }
}

/// Why a group cannot be rendered. Nothing of it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The service wants what leases cannot have yet, or what Kubernetes cannot express.
    #[error("service {service} cannot run here: {what}")]
    Unsupported {
        /// Which service.
        service: String,
        /// What it wants, and what to do about it.
        what: String,
    },
    /// The lease's placement has no node for the service.
    #[error("service {service} has no node in the placement of its lease")]
    NotPlaced {
        /// Which service.
        service: String,
    },
}

/// Renders a group for a lease.
///
/// # Errors
/// [`RenderError`] when some service cannot be rendered faithfully.
pub fn render(group: &Group, lease: &LeaseContext, settings: &Settings) -> Result<Objects, RenderError> {
    let frame = Frame { lease, settings, short_id: lease.short_id(), namespace: lease.namespace() };
    for service in &group.services {
        refuse_unsupported(service)?;
    }
    let volumes = group.services.iter().map(storage::volumes).collect::<Result<Vec<_>, _>>()?;
    let routes = group
        .services
        .iter()
        .map(|service| http_route::routes(&frame, service))
        .collect::<Result<Vec<_>, _>>()?;

    let mut items = vec![
        Object::new(&namespace::namespace(&frame)),
        Object::new(&namespace::quota(&frame, group, &volumes)),
    ];
    items.extend(network_policy::policies(&frame, group)?.iter().map(Object::new));
    items.extend(
        group
            .services
            .iter()
            .filter_map(|service| registry_secret::secret(&frame, service))
            .map(|secret| Object::new(&secret)),
    );
    for service in &group.services {
        items.extend(service::services(&frame, service)?.iter().map(Object::new));
    }
    for ((service, volumes), routes) in group.services.iter().zip(volumes).zip(&routes) {
        let host = routes.first().map(|route| route.generated.as_str());
        items.push(Object::new(&workload::deployment(&frame, service, volumes, host)?));
    }
    let mut hosts = Vec::new();
    for (service, routes) in group.services.iter().zip(&routes) {
        for route in routes {
            items.push(route.object(&frame));
            let served = |host: &str| ServedHost { service: service.name.clone(), host: host.to_owned() };
            hosts.extend(route.hosts().map(served));
        }
    }
    refuse_shared_names(&items)?;
    Ok(Objects { items, hosts })
}

fn refuse_unsupported(service: &Service) -> Result<(), RenderError> {
    // A pod's container, a Service and a label's value carry the name.
    const LONGEST_NAME: usize = 63;
    let refuse = |what: &str| Err(unsupported(service, what));
    if service.name.len() > LONGEST_NAME {
        return refuse("its name is longer than 63 characters");
    }
    if service.expose.iter().any(|expose| !expose.ip.is_empty()) {
        return refuse("leased IP addresses are not offered yet");
    }
    let Some(params) = &service.params else { return Ok(()) };
    if params.tee.is_some() {
        return refuse("trusted execution environments are not offered yet");
    }
    if params.permissions.as_ref().is_some_and(|permissions| !permissions.read.is_empty()) {
        return refuse("permissions on the cluster are not offered yet");
    }
    Ok(())
}

fn unsupported(service: &Service, what: impl Into<String>) -> RenderError {
    RenderError::Unsupported { service: service.name.clone(), what: what.into() }
}

/// A name that we derive from a service's may be the name of another one: `web-ports` beside `web`.
fn refuse_shared_names(items: &[Object]) -> Result<(), RenderError> {
    let mut seen = BTreeSet::new();
    for item in items {
        if !seen.insert((item.kind.as_str(), item.name.as_str())) {
            let what =
                format!("two objects of kind {} would have its name: rename one of the services", item.kind);
            return Err(RenderError::Unsupported { service: item.name.clone(), what });
        }
    }
    Ok(())
}

/// What all objects of one lease have in common.
struct Frame<'a> {
    lease: &'a LeaseContext,
    settings: &'a Settings,
    short_id: String,
    namespace: String,
}

impl Frame<'_> {
    /// Metadata of an object of the whole lease.
    fn metadata(&self, name: impl Into<String>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.into()),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels::of_lease(&self.short_id)),
            annotations: Some(labels::annotations(self.lease)),
            ..ObjectMeta::default()
        }
    }

    /// Metadata of an object of one service.
    fn metadata_of(&self, service: &Service, name: impl Into<String>) -> ObjectMeta {
        ObjectMeta { labels: Some(labels::of_service(&self.short_id, &service.name)), ..self.metadata(name) }
    }
}

/// 16 characters of `a-z2-7`: the first 80 bits of a SHA-256, too many for anybody to find a second text for a given one.
fn short_hash(parts: &[&[u8]]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut hash = Sha256::new();
    for part in parts {
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let bits = digest[..10].iter().fold(0u128, |bits, byte| (bits << 8) | u128::from(*byte));
    (0..16).rev().map(|place| char::from(ALPHABET[((bits >> (5 * place)) & 31) as usize])).collect()
}
