//! What the cluster has: nodes and GPUs, minus what runs, minus what is promised.
//!
//! Watches (nodes, pods and Services of all namespaces, the records of the nodes' agents, storage classes and how much they have
//! left, and where the API server answers) keep it in memory. An answer is computed from them each time; of a node on which
//! nothing has changed it is what was computed from the very same objects before, so there is nothing to drift. Until all have been
//! read, and whenever one has been silent for too long, the answer is that nothing is known, and nothing is sold.

pub mod agent;
mod api_servers;
pub mod calls;
pub mod client;
pub mod gpus;
mod holdings;
mod islands;
mod memo;
pub mod naming;
pub mod node_labels;
pub mod nodes;
pub mod offers;
pub mod podresources;
pub mod ports;
pub(crate) mod quantity;
pub mod record;
pub mod requests;
pub mod rights;
pub mod segments;
pub mod storage;
pub mod sysfs;
pub mod watch;
pub mod way_in;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bidengine::Capacity;
use futures::future::{join3, join5};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::storage::v1::{CSIStorageCapacity, StorageClass};
use kube::{Api, Client, ResourceExt};
use manifests::objects::Overcommit;

pub use self::holdings::{Holdings, Incident};
use self::memo::Memo;
use self::naming::Naming;
pub use self::nodes::Promise;
use self::nodes::ledger::Ledger;
pub use self::nodes::sums::{GpuState, NodeState, Sums, sums};
use self::nodes::taken::Taken;
use self::nodes::{View, has_user_namespaces, is_ready, trim_node, trim_pod};
use self::offers::{Offers, Records, offers};
use self::ports::{PortRange, Ports};
use self::segments::Segments;
use self::storage::{Classes, Sold, classes};
use self::watch::{Blind, PATIENCE, Pulse, Watch, Watched};
use crate::leases::names::{lease_of, service_of};
use crate::leases::pods::Source;

/// Which part of the cluster is sold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// The namespace in which the agents publish their records.
    pub namespace: String,
    /// Label selector of the nodes that are sold; empty for all.
    pub node_selector: String,
    /// Persistent volumes, by the document's word for their class.
    pub storage: BTreeMap<String, Sold>,
    /// How many addresses are leased in all.
    pub leased_ips: u64,
    /// The ports that the cluster gives to Services.
    pub node_ports: PortRange,
    /// What the operator calls cards.
    pub gpus: Naming,
    /// How much more is sold than is kept free.
    pub overcommit: Overcommit,
}

/// The cluster as it was last heard of. Clones share it.
#[derive(Debug, Clone)]
pub struct Inventory {
    nodes: Watched<Node>,
    pods: Watched<Pod>,
    records: Watched<ConfigMap>,
    classes: Watched<StorageClass>,
    places: Watched<CSIStorageCapacity>,
    services: Watched<Service>,
    api_servers: Watched<EndpointSlice>,
    settings: Arc<Settings>,
    taken: Memo<[Arc<Pod>], Arc<Taken>>,
    read: Records,
    ledger: Ledger,
}

/// The cluster at one moment, as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What its nodes have, summed up.
    pub sums: Sums,
    /// What is free of it.
    pub capacity: Capacity,
    /// How many addresses are leased in all.
    pub leased_ips: u64,
}

/// The node that a pod is bound to; nothing for one that waits.
fn node_of(pod: &Pod) -> String {
    pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default()
}

/// Drops what nobody reads of a Service, which is all but its ports and whose it is.
fn trim_service(service: &mut Service) {
    service.annotations_mut().clear();
    service.status = None;
}

impl Inventory {
    /// The inventory, and the task that keeps it; the task calls `changed` whenever something that counts has changed, and
    /// does not end by itself.
    pub fn start(
        client: &Client,
        settings: &Settings,
        changed: impl Fn() + Clone + Send + Sync + 'static,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let selector = Some(settings.node_selector.clone()).filter(|selector| !selector.is_empty());
        let nodes =
            Watch { api: Api::all(client.clone()), labels: selector, trim: trim_node, patience: PATIENCE };
        let pods = Watch { api: Api::all(client.clone()), labels: None, trim: trim_pod, patience: PATIENCE };
        let records = Watch {
            api: Api::namespaced(client.clone(), &settings.namespace),
            labels: Some(format!("{}={}", record::LABEL, record::LABEL_VALUE)),
            trim: |_: &mut ConfigMap| {},
            patience: PATIENCE,
        };
        let (nodes, keep_nodes) = nodes.start(changed.clone());
        let (pods, keep_pods) = pods.start_in_groups(node_of, changed.clone());
        let classes = Watch { api: Api::all(client.clone()), labels: None, trim: |_| {}, patience: PATIENCE };
        let api_servers = Watch {
            api: Api::namespaced(client.clone(), api_servers::NAMESPACE),
            labels: Some(api_servers::SELECTOR.to_owned()),
            trim: |_| {},
            patience: PATIENCE,
        };
        let (records, keep_records) = records.start(changed.clone());
        let (classes, keep_classes) = classes.start(changed.clone());
        let places = Watch { api: Api::all(client.clone()), labels: None, trim: |_| {}, patience: PATIENCE };
        let (places, keep_places) = places.start(changed.clone());
        let services =
            Watch { api: Api::all(client.clone()), labels: None, trim: trim_service, patience: PATIENCE };
        let (services, keep_services) = services.start(changed.clone());
        let (api_servers, keep_api_servers) = api_servers.start(changed);
        let task = async {
            let storage = join3(keep_classes, keep_places, keep_services);
            join5(keep_nodes, keep_pods, keep_records, storage, keep_api_servers).await;
        };
        let inventory = Self {
            nodes,
            pods,
            records,
            classes,
            places,
            services,
            api_servers,
            settings: Arc::new(settings.clone()),
            taken: Memo::default(),
            read: Records::default(),
            ledger: Ledger::default(),
        };
        (inventory, task)
    }

    /// What is free for new orders at `now` unix seconds, beside what is promised. When the cluster cannot be seen, nothing
    /// is, and the capacity says why.
    #[must_use]
    pub fn capacity(&self, promises: &[Promise], now: u64) -> Capacity {
        match self.view(now) {
            Ok(view) => self.ledger.free(&view, promises),
            Err(blind) => Capacity { problem: Some(blind.to_string()), ..Capacity::default() },
        }
    }

    /// The cluster as a whole at `now` unix seconds, with what is promised.
    ///
    /// # Errors
    /// [`Blind`] when it cannot be seen.
    pub fn snapshot(&self, promises: &[Promise], now: u64) -> Result<Snapshot, Blind> {
        let view = self.view(now)?;
        let capacity = self.ledger.free(&view, promises);
        Ok(Snapshot { sums: sums(&view, &capacity, promises), capacity, leased_ips: view.leased_ips })
    }

    /// How the watches do that it is kept by.
    #[must_use]
    pub fn pulses(&self) -> Vec<Pulse> {
        let Self { nodes, pods, records, classes, places, services, api_servers, .. } = self;
        vec![
            nodes.pulse(),
            pods.pulse(),
            records.pulse(),
            classes.pulse(),
            places.pulse(),
            services.pulse(),
            api_servers.pulse(),
        ]
    }

    /// What the agents say, with the reasons for which GPUs are not sold.
    ///
    /// # Errors
    /// [`Blind`] when the records cannot be seen.
    pub fn offers(&self, now: u64) -> Result<Offers, Blind> {
        Ok(offers(&self.read, &self.records.all()?, &self.settings.gpus, now))
    }

    /// What was read of nodes, pods and GPUs, all of it or nothing.
    ///
    /// # Errors
    /// [`Blind`] when one of them cannot be seen.
    pub fn view(&self, now: u64) -> Result<View, Blind> {
        // Who cannot tell where the API server is cannot keep tenants away from it.
        self.api_servers.all()?;
        let offered = self.storage_classes()?.offered;
        let storage = self.settings.storage.iter().filter(|(word, _)| offered.contains_key(*word));
        let pods = self.pods.groups()?;
        let taken = self.taken.read(pods.iter().map(|(_, pods)| pods), |pods| {
            Arc::new(Taken::of(pods.iter().map(|pod| &**pod)))
        });
        let Offers { pools, fresh: records, findings: _ } = self.offers(now)?;
        Ok(View {
            nodes: self.nodes.all()?,
            taken: pods.into_iter().map(|(node, _)| node).zip(taken).collect(),
            pools,
            records,
            storage: storage.map(|(word, sold)| (word.clone(), sold.limit_bytes)).collect(),
            segments: Segments::of(&self.settings.storage, &self.places.all()?),
            leased_ips: self.settings.leased_ips,
            ports: Ports::of(&self.settings.node_ports, &self.services.all()?),
            overcommit: self.settings.overcommit,
        })
    }

    /// The classes of persistent volumes that are on offer.
    ///
    /// # Errors
    /// [`Blind`] when the cluster's classes cannot be seen.
    pub fn storage_classes(&self) -> Result<Classes, Blind> {
        Ok(classes(&self.settings.storage, &self.classes.all()?))
    }

    /// The nodes that have GPUs to give and no agent that tells of them.
    ///
    /// # Errors
    /// [`Blind`] when nodes or records cannot be seen.
    pub fn without_agent(&self, now: u64) -> Result<Vec<String>, Blind> {
        let told = self.offers(now)?.fresh;
        let nodes = self.nodes.all()?;
        let gives_gpus = |node: &&Arc<Node>| requests::gives_gpus(node);
        let blind = nodes.iter().filter(gives_gpus).filter_map(|node| node.metadata.name.clone());
        Ok(blind.filter(|name| !told.contains_key(name)).collect())
    }

    /// Where the API server answers, as its own endpoints say.
    ///
    /// # Errors
    /// [`Blind`] when they cannot be seen.
    pub fn api_servers(&self) -> Result<BTreeSet<SocketAddr>, Blind> {
        let slices = self.api_servers.all()?;
        Ok(slices.iter().flat_map(|slice| api_servers::addresses(slice)).collect())
    }

    /// Which devices the leases' pods hold.
    ///
    /// # Errors
    /// [`Blind`] when pods or records cannot be seen.
    pub fn holdings(&self, now: u64) -> Result<Holdings, Blind> {
        Ok(Holdings::join(&self.offers(now)?.fresh, &self.pods.all()?))
    }

    /// The pods of each lease, by the lease's short name.
    ///
    /// # Errors
    /// [`Blind`] when pods cannot be seen.
    pub fn pods_by_lease(&self) -> Result<BTreeMap<String, Vec<Source>>, Blind> {
        let mut leases: BTreeMap<String, Vec<Source>> = BTreeMap::new();
        for pod in self.pods.all()? {
            if let (Some(lease), Some(service)) = (lease_of(&*pod), service_of(&*pod)) {
                let (lease, service) = (lease.to_owned(), service.to_owned());
                leases.entry(lease).or_default().push(Source { service, pod });
            }
        }
        for pods in leases.values_mut() {
            pods.sort_by_key(|source| (source.service.clone(), source.pod.name_any()));
        }
        Ok(leases)
    }

    /// The nodes whose runtime can give a pod a user namespace of its own.
    ///
    /// # Errors
    /// [`Blind`] when nodes cannot be seen.
    pub fn user_namespace_nodes(&self) -> Result<BTreeSet<String>, Blind> {
        let nodes: Vec<Arc<Node>> = self.nodes.all()?;
        Ok(nodes.iter().filter(|node| has_user_namespaces(node)).map(|node| node.name_any()).collect())
    }

    /// The addresses of all nodes that are known.
    ///
    /// # Errors
    /// [`Blind`] when nodes cannot be seen.
    pub fn node_addresses(&self) -> Result<BTreeSet<IpAddr>, Blind> {
        let nodes: Vec<Arc<Node>> = self.nodes.all()?;
        let told = nodes.iter().filter_map(|node| node.status.as_ref()?.addresses.as_ref()).flatten();
        // Names are among them.
        Ok(told.filter_map(|address| address.address.parse().ok()).collect())
    }

    /// The nodes that are known, each with whether it reports well. Nodes outside the selection are not among them.
    ///
    /// # Errors
    /// [`Blind`] when nodes cannot be seen.
    pub fn answering(&self) -> Result<BTreeMap<String, bool>, Blind> {
        Ok(self.nodes.all()?.iter().map(|node| (node.name_any(), is_ready(node))).collect())
    }
}
