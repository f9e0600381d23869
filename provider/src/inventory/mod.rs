//! What the cluster has: nodes and GPUs, minus what runs, minus what is promised.
//!
//! Three watches (nodes, pods of all namespaces, and the records of the nodes' agents) keep it in memory; an answer is
//! computed from them each time, so there is nothing to drift. Until all three have been read, and whenever one has been
//! silent for too long, the answer is that nothing is known, and nothing is sold.

pub mod agent;
pub mod client;
pub mod gpus;
mod holdings;
pub mod node_labels;
pub mod nodes;
pub mod offers;
pub mod podresources;
pub(crate) mod quantity;
pub mod record;
pub mod requests;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use bidengine::Capacity;
use futures::future::join3;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::{Api, Client, ResourceExt};

pub use self::holdings::{Holdings, Incident};
pub use self::nodes::Promise;
use self::nodes::{View, free, has_user_namespaces, is_ready, trim_node, trim_pod};
use self::offers::{Offers, offers};
use self::watch::{Blind, PATIENCE, Watch, Watched};
use crate::leases::names::{lease_of, service_of};
use crate::leases::pods::Source;

/// Which part of the cluster is sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The namespace in which the agents publish their records.
    pub namespace: String,
    /// Label selector of the nodes that are sold; empty for all.
    pub node_selector: String,
}

/// The cluster as it was last heard of. Clones share it.
#[derive(Debug, Clone)]
pub struct Inventory {
    nodes: Watched<Node>,
    pods: Watched<Pod>,
    records: Watched<ConfigMap>,
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
        let (pods, keep_pods) = pods.start(changed.clone());
        let (records, keep_records) = records.start(changed);
        let task = async {
            join3(keep_nodes, keep_pods, keep_records).await;
        };
        (Self { nodes, pods, records }, task)
    }

    /// What is free for new orders at `now` unix seconds, beside what is promised. When the cluster cannot be seen, nothing
    /// is, and the capacity says why.
    #[must_use]
    pub fn capacity(&self, promises: &[Promise], now: u64) -> Capacity {
        match self.view(now) {
            Ok(view) => free(&view, promises),
            Err(blind) => Capacity { problem: Some(blind.to_string()), ..Capacity::default() },
        }
    }

    /// What the agents say, with the reasons for which GPUs are not sold.
    ///
    /// # Errors
    /// [`Blind`] when the records cannot be seen.
    pub fn offers(&self, now: u64) -> Result<Offers, Blind> {
        let records = self.records.all()?;
        Ok(offers(records.iter().map(AsRef::as_ref), now))
    }

    /// What was read of nodes, pods and GPUs, all of it or nothing.
    ///
    /// # Errors
    /// [`Blind`] when one of them cannot be seen.
    pub fn view(&self, now: u64) -> Result<View, Blind> {
        Ok(View { nodes: self.nodes.all()?, pods: self.pods.all()?, pools: self.offers(now)?.pools })
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

    /// The nodes that do not report well. Nodes outside the selection are not among them.
    ///
    /// # Errors
    /// [`Blind`] when nodes cannot be seen.
    pub fn lost_nodes(&self) -> Result<BTreeSet<String>, Blind> {
        let nodes: Vec<Arc<Node>> = self.nodes.all()?;
        Ok(nodes.iter().filter(|node| !is_ready(node)).map(|node| node.name_any()).collect())
    }
}
