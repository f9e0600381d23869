//! One look at the cluster: what of it belongs to which lease, and what its tenant is shown.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use manifests::manifest::Group;
use manifests::objects::ServedHost;
use market::api::{PortStatus, ServiceStatus};

use super::health::{Service, Verdict, is_ready, judge, node, pod_status, ready_replicas};
use super::pods::Source;
use super::workloads::{Seen, Workloads};
use crate::inventory::Inventory;
use crate::inventory::watch::Blind;

/// The cluster at one moment, by the short names of leases.
#[derive(Debug, Default)]
pub(super) struct Sight {
    pods: BTreeMap<String, Vec<Source>>,
    workloads: BTreeMap<String, Seen>,
    lost_nodes: BTreeSet<String>,
    /// The devices of each pod, by its UID.
    gpus: BTreeMap<String, Vec<String>>,
}

impl Sight {
    /// Looks at everything, or at nothing.
    ///
    /// # Errors
    /// [`Blind`] when some part of the cluster cannot be seen.
    pub(super) fn take(inventory: &Inventory, workloads: &Workloads, now: u64) -> Result<Self, Blind> {
        let pods = inventory.pods_by_lease()?;
        Ok(Self {
            lost_nodes: lost(&inventory.answering()?, pods.values().flatten().map(|source| &*source.pod)),
            pods,
            workloads: workloads.seen()?,
            gpus: inventory.holdings(now)?.by_pod(),
        })
    }

    /// Whether something that runs a service of the group is not there.
    pub(super) fn lacks(&self, short_name: &str, group: &Group) -> bool {
        let seen = self.workloads.get(short_name);
        group.services.iter().any(|service| seen.is_none_or(|seen| seen.rollout(service).is_none()))
    }

    /// The services of a group as the cluster shows them. `port_host` is where ports on the nodes are reached.
    pub(super) fn services(
        &self,
        short_name: &str,
        group: &Group,
        hosts: &[ServedHost],
        port_host: &str,
    ) -> (Verdict, Vec<ServiceStatus>) {
        let nothing = Seen::default();
        let seen = self.workloads.get(short_name).unwrap_or(&nothing);
        let pods: Vec<(Vec<&Pod>, Vec<&Pod>)> =
            group.services.iter().map(|service| self.pods(short_name, &service.name)).collect();

        let mut views = Vec::new();
        let mut statuses = Vec::new();
        for (service, (all, staying)) in group.services.iter().zip(&pods) {
            let rollout = seen.rollout(service);
            let view = Service {
                name: &service.name,
                wanted: service.count,
                rolled_out: rollout.and_then(|rollout| rollout.done),
                complaint: rollout.and_then(|rollout| rollout.complaint),
                pods: staying,
            };
            let ports = seen.ports.get(&service.name).into_iter().flatten();
            let hosts = hosts.iter().filter(|served| served.service == service.name);
            statuses.push(ServiceStatus {
                name: service.name.clone(),
                ready: ready_replicas(&view, &self.lost_nodes),
                wanted: service.count,
                pods: all.iter().map(|pod| pod_status(pod, &self.gpus)).collect(),
                urls: hosts.map(|served| format!("http://{}", served.host)).collect(),
                ports: ports.map(|port| PortStatus { host: port_host.to_owned(), ..port.clone() }).collect(),
            });
            views.push(view);
        }
        (judge(&views, &self.lost_nodes), statuses)
    }

    /// The pods of all leases.
    pub(super) fn all_pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values().flatten().map(|source| &*source.pod)
    }

    /// All pods of a service, and those of them that are not ending.
    fn pods(&self, short_name: &str, service: &str) -> (Vec<&Pod>, Vec<&Pod>) {
        let sources =
            self.pods.get(short_name).into_iter().flatten().filter(|source| source.service == service);
        let all: Vec<&Pod> = sources.map(|source| &*source.pod).collect();
        let staying = all.iter().copied().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
        (all, staying)
    }
}

/// The nodes that do not answer, and those that are gone: nobody knows them, and a pod on one is not ready. On a node that was
/// only taken out of what is sold, pods go on being ready.
fn lost<'a>(answering: &BTreeMap<String, bool>, pods: impl Iterator<Item = &'a Pod>) -> BTreeSet<String> {
    let silent = answering.iter().filter(|(_, answers)| !**answers).map(|(name, _)| name.clone());
    let gone = pods.filter(|pod| !is_ready(pod)).map(node);
    let gone = gone.filter(|name| !name.is_empty() && !answering.contains_key(*name)).map(str::to_owned);
    silent.chain(gone).collect()
}
