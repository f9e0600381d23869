//! What a lease is in Kubernetes: `render` turns a group of a manifest into objects, in the order in which to apply them.
//!
//! Pure: the same group, lease and settings give the same bytes. Every object lives in the lease's own namespace and carries
//! its label ([`labels::LEASE`]), so that what belongs to a lease can be found and removed without a list. Fields that
//! matter for safety are written out even where they equal the default. What cannot be rendered yet is refused as a whole.
//!
//! A service is a Deployment, or a StatefulSet where its replicas have persistent volumes. Pods say which nodes they were
//! promised so that the scheduler is left no choice: either one node, or several that get the same number of them each. Where the
//! nodes of a service have different numbers of its replicas, there is a Deployment for each number, the largest under the
//! service's own name and the others as `<service>-by-<number>`; each is updated by itself. An update never adds a replica above the count.
//!
//! Every container is told about its lease by variables, over which its own win:
//!
//! - `BERTH_LEASE`: the lease's id, `tenant/dseq/gseq/oseq`; `BERTH_PROVIDER`: the provider's address
//! - `BERTH_SERVICE`: the service's name; `BERTH_REPLICAS`: how many replicas were bought; `BERTH_POD`: this one's name;
//!   `BERTH_REPLICA`: its number from 0, where replicas have one: with persistent volumes, and where there is only one
//! - `BERTH_HOST`, `BERTH_HOSTS`: the generated host name, and all names separated by spaces, if it is served over HTTP
//! - `BERTH_PORT_HOST`, `BERTH_NODE_PORT_<port>_<TCP|UDP>`: where a port is reached from outside that is global and not HTTP
//! - `BERTH_IP`, `BERTH_IP_<ENDPOINT>`: the first leased address, and each by the endpoint's name in capitals
//! - `BERTH_GPU_MODEL`: the model of its GPUs with memory and interface, such as `h100-80Gi-sxm`
//! - `AKASH_GROUP_SEQUENCE`, `AKASH_DEPLOYMENT_SEQUENCE`, `AKASH_ORDER_SEQUENCE`, `AKASH_OWNER`, `AKASH_PROVIDER` and
//!   `AKASH_CLUSTER_PUBLIC_HOSTNAME`: the same under the names that existing images look for
//!
//! Ports of nodes and leased addresses are the cluster's to give, so a workload that is told of them waits until its Services
//! have them ([`Object::waits`]). Of a variable that is repeated the last value counts, and `$(NAME)` in a value is the value
//! of a variable before it. Variables by which a container would choose GPUs for itself (`NVIDIA_VISIBLE_DEVICES` and the
//! like) are the provider's.
//!
//! Three settings of the language's `http_options` have no counterpart in an HTTPRoute and do not limit anything: the size of
//! bodies, retries at other replicas, and the proxy's buffer.

pub mod labels;

mod account;
mod amounts;
mod cidr;
mod environment;
mod expand;
mod growth;
mod http_route;
mod lease;
mod namespace;
mod network_policy;
mod placement;
mod pod;
mod probe;
mod quota;
mod registry_secret;
mod service;
mod settings;
mod storage;
mod workload;

use std::collections::BTreeSet;
use std::fmt;

use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::decision::Replica;
use crate::manifest::{Group, Service};

pub use account::PROVIDER_BINDING;
pub use amounts::GPU_RESOURCE;
pub use cidr::{Cidr, CidrError};
pub use growth::{VolumeError, VolumeProblem, volumes_may_become};
pub use lease::{Given, LeaseContext, SecretValue};
pub use settings::{AddressPool, GatewayRef, Overcommit, ProviderAccess, Settings, StorageClass};

/// The objects of a lease.
#[derive(Debug, Clone, PartialEq)]
pub struct Objects {
    /// In the order in which to apply them: what limits comes before what runs.
    pub items: Vec<Object>,
    /// The names under which services are served over HTTP, generated ones first.
    pub hosts: Vec<ServedHost>,
    /// The secrets that the manifest names and whose values are not there. The workloads that want them wait.
    pub missing_secrets: BTreeSet<String>,
    /// What is done otherwise than the manifest says, in sentences for the tenant that begin with the service's name.
    pub notes: Vec<String>,
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
    /// Whether something in it is still to be given, by the cluster ([`Given`]) or by the tenant (secrets): it is not to be
    /// applied before the rest has been, and the group has been rendered again with what came of that.
    pub waits: bool,
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
            waits: false,
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
    /// The lease's placement has not as many nodes for the service as it has replicas.
    #[error("service {service} has no node in the placement of its lease for each of its replicas")]
    NotPlaced {
        /// Which service.
        service: String,
    },
    /// The lease's placement has no GPUs for the service on a node.
    #[error("service {service} has no GPUs on node {node} in the placement of its lease")]
    NoGpu {
        /// Which service.
        service: String,
        /// Which node.
        node: String,
    },
}

/// Renders a group for a lease.
///
/// # Errors
/// [`RenderError`] when some service cannot be rendered faithfully.
pub fn render(group: &Group, lease: &LeaseContext, settings: &Settings) -> Result<Objects, RenderError> {
    let frame = Frame::of(lease, settings);
    for service in &group.services {
        refuse_unsupported(service)?;
    }
    let hands = placement::deal(group, &lease.placement);
    let parts =
        group.services.iter().zip(&hands).map(|(service, replicas)| Part::of(&frame, service, replicas));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;

    let mut items = vec![Object::new(&namespace::namespace(&frame))];
    items.extend(account::provider(&frame).as_ref().map(Object::new));
    items.push(Object::new(&quota::quota(&frame, &parts)));
    items.push(Object::new(&quota::limit_range(&frame, &parts)));
    items.extend(network_policy::policies(&frame, group)?.iter().map(Object::new));
    items.push(Object::new(&account::nobody(&frame)));
    for service in &group.services {
        items.extend(account::of(&frame, service)?);
    }
    items.extend(
        group
            .services
            .iter()
            .filter_map(|service| registry_secret::secret(&frame, service))
            .map(|secret| Object::new(&secret)),
    );
    items.extend(environment::secrets(&frame, group).iter().map(Object::new));
    let environments: Vec<_> = parts.iter().map(|part| environment::environments(&frame, part)).collect();
    items.extend(environments.iter().flat_map(environment::Environments::secrets).map(Object::new));
    for service in &group.services {
        items.extend(service::services(&frame, group, service)?.iter().map(Object::new));
    }
    for (part, environments) in parts.iter().zip(&environments) {
        items.extend(workload::objects(&frame, part, environments)?);
    }
    let mut hosts = Vec::new();
    for part in &parts {
        for route in &part.routes {
            items.push(route.object(&frame));
            let served =
                |host: &str| ServedHost { service: part.service.name.clone(), host: host.to_owned() };
            hosts.extend(route.hosts().map(served));
        }
    }
    refuse_shared_names(&items)?;
    let missing = |name: &&str| !lease.secrets.contains_key(*name);
    let missing_secrets =
        environment::secret_names(group).into_iter().filter(missing).map(str::to_owned).collect();
    let notes = parts.iter().flat_map(workload::notes).collect();
    Ok(Objects { items, hosts, missing_secrets, notes })
}

/// One service of the group, with what several of its objects are made of.
struct Part<'a> {
    service: &'a Service,
    volumes: storage::Volumes,
    nodes: placement::Nodes<'a>,
    replica: amounts::Replica,
    routes: Vec<http_route::Route>,
}

impl<'a> Part<'a> {
    fn of(frame: &Frame<'a>, service: &'a Service, replicas: &[&'a Replica]) -> Result<Self, RenderError> {
        let volumes = storage::volumes(frame, service)?;
        let nodes = placement::nodes(service, replicas)?;
        let overcommit = frame.settings.overcommit;
        let replica = amounts::of_replica(service, &volumes, &nodes.gpu_resource, overcommit);
        let routes = http_route::routes(frame, service)?;
        Ok(Self { service, volumes, nodes, replica, routes })
    }

    /// Whether its replicas keep something when they are replaced.
    fn is_stateful(&self) -> bool {
        !self.volumes.claims.is_empty()
    }
}

fn refuse_unsupported(service: &Service) -> Result<(), RenderError> {
    // A pod's container, a Service and a label's value carry the name.
    const LONGEST_NAME: usize = 63;
    let refuse = |what: &str| Err(unsupported(service, what));
    if service.name.len() > LONGEST_NAME {
        return refuse("its name is longer than 63 characters");
    }
    if service.params.as_ref().is_some_and(|params| params.tee.is_some()) {
        return refuse("trusted execution environments are not offered yet");
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
    labels: labels::Map,
    annotations: labels::Map,
}

impl<'a> Frame<'a> {
    fn of(lease: &'a LeaseContext, settings: &'a Settings) -> Self {
        let short_id = lease.short_id();
        Self {
            lease,
            settings,
            namespace: lease.namespace(),
            labels: labels::of_lease(&short_id),
            annotations: labels::annotations(lease),
            short_id,
        }
    }

    /// Metadata of an object of the whole lease.
    fn metadata(&self, name: impl Into<String>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.into()),
            namespace: Some(self.namespace.clone()),
            labels: Some(self.labels.clone()),
            annotations: Some(self.annotations.clone()),
            ..ObjectMeta::default()
        }
    }

    /// Metadata of an object of one service.
    fn metadata_of(&self, service: &Service, name: impl Into<String>) -> ObjectMeta {
        let mut metadata = self.metadata(name);
        let labels = metadata.labels.get_or_insert_default();
        labels.insert(labels::SERVICE.to_owned(), service.name.clone());
        metadata
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
