//! What runs for leases, as the cluster shows it: the namespaces, Deployments, StatefulSets and Services that carry a lease's
//! label.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use futures::future::join4;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::{Api, Client, ResourceExt};
use manifests::manifest::{self, Proto};
use manifests::objects::{Given, labels};
use manifests::resources::Volume;
use market::api::PortStatus;

use super::names::{lease_of, service_of};
use crate::inventory::watch::{Blind, PATIENCE, Pulse, Watch, Watched};

/// The objects of all leases, as they were last heard of. Clones share them.
#[derive(Debug, Clone)]
pub struct Workloads {
    namespaces: Watched<Namespace>,
    deployments: Watched<Deployment>,
    sets: Watched<StatefulSet>,
    services: Watched<Service>,
}

/// What is seen of one lease.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Its Deployments by service: one for each number of replicas that a node has of it.
    pub deployments: BTreeMap<String, Vec<Arc<Deployment>>>,
    /// Its StatefulSets by service.
    pub sets: BTreeMap<String, Arc<StatefulSet>>,
    /// Its ports on the nodes by service; the host is left to the caller.
    pub ports: BTreeMap<String, Vec<PortStatus>>,
    /// Its leased addresses by the number of their endpoint.
    pub addresses: BTreeMap<u32, IpAddr>,
}

/// What the controller of a service's replicas says of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rollout<'a> {
    /// Whether every replica runs the latest objects; `None` until the controller has looked at them.
    pub done: Option<bool>,
    /// What the controller complains about.
    pub complaint: Option<&'a str>,
}

impl Seen {
    /// What runs a service, once there is enough of it for all replicas: a StatefulSet where these have persistent volumes.
    pub fn rollout(&self, service: &manifest::Service) -> Option<Rollout<'_>> {
        if service.resources.storage.iter().any(Volume::persistent) {
            let set = self.sets.get(&service.name)?;
            // A StatefulSet complains by events only.
            return Some(Rollout { done: set_rolled_out(set), complaint: None });
        }
        let deployments = self.deployments.get(&service.name)?;
        let wanted: u64 = deployments.iter().map(|deployment| u64::from(wanted(deployment))).sum();
        (wanted >= u64::from(service.count)).then(|| Rollout {
            done: deployments.iter().map(|deployment| rolled_out(deployment)).min().flatten(),
            complaint: deployments.iter().find_map(|deployment| complaint(deployment)),
        })
    }

    /// What containers are told of it.
    pub fn given(&self) -> Given {
        let protocol = |port: &PortStatus| if port.protocol == "UDP" { Proto::Udp } else { Proto::Tcp };
        let ports =
            self.ports.iter().flat_map(|(service, ports)| ports.iter().map(move |port| (service, port)));
        Given {
            node_ports: ports
                .map(|(service, port)| ((service.clone(), port.port, protocol(port)), port.external_port))
                .collect(),
            addresses: self.addresses.clone(),
        }
    }
}

impl Workloads {
    /// The objects, and the task that keeps them; it calls `changed` after every change and does not end by itself.
    pub fn start(
        client: &Client,
        changed: impl Fn() + Clone + Send + Sync + 'static,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let labels = Some(labels::LEASE.to_owned());
        let namespaces =
            Watch { api: Api::all(client.clone()), labels: labels.clone(), trim: |_| {}, patience: PATIENCE };
        let deployments = Watch {
            api: Api::all(client.clone()),
            labels: labels.clone(),
            trim: trim_deployment,
            patience: PATIENCE,
        };
        let sets = Watch {
            api: Api::all(client.clone()),
            labels: labels.clone(),
            trim: trim_set,
            patience: PATIENCE,
        };
        let services = Watch { api: Api::all(client.clone()), labels, trim: |_| {}, patience: PATIENCE };
        let (namespaces, keep_namespaces) = namespaces.start(changed.clone());
        let (deployments, keep_deployments) = deployments.start(changed.clone());
        let (sets, keep_sets) = sets.start(changed.clone());
        let (services, keep_services) = services.start(changed);
        let task = async {
            join4(keep_namespaces, keep_deployments, keep_sets, keep_services).await;
        };
        (Self { namespaces, deployments, sets, services }, task)
    }

    /// How the watches do that they are kept by.
    #[must_use]
    pub fn pulses(&self) -> Vec<Pulse> {
        let Self { namespaces, deployments, sets, services } = self;
        vec![namespaces.pulse(), deployments.pulse(), sets.pulse(), services.pulse()]
    }

    /// The namespaces of leases, by the lease's short name.
    ///
    /// # Errors
    /// [`Blind`] when they cannot be seen.
    pub fn namespaces(&self) -> Result<BTreeMap<String, Arc<Namespace>>, Blind> {
        let namespaces = self.namespaces.all()?.into_iter();
        Ok(namespaces.filter_map(|namespace| Some((lease_of(&*namespace)?.to_owned(), namespace))).collect())
    }

    /// What runs, by the lease's short name.
    ///
    /// # Errors
    /// [`Blind`] when it cannot be seen.
    pub fn seen(&self) -> Result<BTreeMap<String, Seen>, Blind> {
        let mut leases: BTreeMap<String, Seen> = BTreeMap::new();
        for deployment in self.deployments.all()? {
            if let (Some(lease), Some(service)) = (lease_of(&*deployment), service_of(&*deployment)) {
                let seen = leases.entry(lease.to_owned()).or_default();
                seen.deployments.entry(service.to_owned()).or_default().push(Arc::clone(&deployment));
            }
        }
        for set in self.sets.all()? {
            if let (Some(lease), Some(service)) = (lease_of(&*set), service_of(&*set)) {
                let seen = leases.entry(lease.to_owned()).or_default();
                seen.sets.insert(service.to_owned(), Arc::clone(&set));
            }
        }
        for object in self.services.all()? {
            if let (Some(lease), Some(service)) = (lease_of(&*object), service_of(&*object)) {
                let seen = leases.entry(lease.to_owned()).or_default();
                seen.addresses.extend(leased_address(&object));
                let ports = seen.ports.entry(service.to_owned()).or_default();
                ports.extend(node_ports(&object));
                ports.sort_by_key(|port| (port.port, port.protocol.clone()));
            }
        }
        Ok(leases)
    }
}

/// Replicas that a Deployment is to have.
fn wanted(deployment: &Deployment) -> u32 {
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    u32::try_from(replicas.unwrap_or(1)).unwrap_or(0)
}

fn rolled_out(deployment: &Deployment) -> Option<bool> {
    let status = deployment.status.as_ref()?;
    if status.observed_generation < deployment.metadata.generation {
        return None;
    }
    let wanted = i64::from(wanted(deployment));
    let count = |count: Option<i32>| i64::from(count.unwrap_or(0));
    let (all, updated) = (count(status.replicas), count(status.updated_replicas));
    Some(updated >= wanted && all == updated)
}

/// The same of a StatefulSet. One that is going is about to be made anew.
fn set_rolled_out(set: &StatefulSet) -> Option<bool> {
    let status = set.status.as_ref()?;
    if status.observed_generation < set.metadata.generation || set.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let updated = status.updated_replicas.unwrap_or(0);
    Some(updated >= wanted && status.replicas == updated)
}

fn complaint(deployment: &Deployment) -> Option<&str> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| match condition.type_.as_str() {
            "ReplicaFailure" => condition.status == "True",
            "Progressing" => condition.status == "False",
            _ => false,
        })
        .and_then(|condition| condition.message.as_deref())
}

/// The address that a Service was given for an endpoint.
fn leased_address(service: &Service) -> Option<(u32, IpAddr)> {
    let endpoint = service.annotations().get(labels::ENDPOINT)?.parse().ok()?;
    let given = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?;
    let address = given.iter().find_map(|ingress| ingress.ip.as_ref()?.parse().ok())?;
    Some((endpoint, address))
}

fn node_ports(service: &Service) -> Vec<PortStatus> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports
        .filter_map(|port| {
            Some(PortStatus {
                port: u16::try_from(port.port).ok()?,
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                host: String::new(),
                external_port: u16::try_from(port.node_port?).ok()?,
            })
        })
        .collect()
}

/// Drops what nobody reads of a Deployment, among it the tenant's secrets.
fn trim_deployment(deployment: &mut Deployment) {
    if let Some(spec) = &mut deployment.spec {
        spec.template.spec = None;
    }
}

/// The same of a StatefulSet.
fn trim_set(set: &mut StatefulSet) {
    if let Some(spec) = &mut set.spec {
        spec.template.spec = None;
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;

    fn deployment(generation: i64, status: &Value) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "generation": generation},
            "spec": {"replicas": 2, "selector": {}, "template": {"spec": {"containers": [
                {"name": "web", "env": [{"name": "P", "value": "hunter2"}]},
            ]}}},
            "status": status,
        }))
        .expect("a deployment")
    }

    #[test]
    fn an_update_is_rolled_out_when_no_old_replica_is_left() {
        for (generation, status, expected) in [
            (1, json!({}), None),
            (2, json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2}), None),
            (2, json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2}), Some(true)),
            (2, json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2}), Some(false)),
            (2, json!({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1}), Some(false)),
        ] {
            assert_eq!(rolled_out(&deployment(generation, &status)), expected, "{status}");
        }
    }

    #[test]
    fn a_service_is_rolled_out_when_all_that_runs_it_is() {
        let manifest: manifest::Service = serde_json::from_value(json!({
            "name": "web", "image": "web", "command": null, "args": null, "env": null, "count": 4, "expose": [],
            "resources": {
                "id": 1, "cpu": {"units": {"val": "10"}}, "memory": {"size": {"val": "1"}}, "storage": [],
                "gpu": {"units": {"val": "0"}}, "endpoints": [],
            },
        }))
        .expect("a service");
        let seen = |deployments: &[Value]| Seen {
            deployments: BTreeMap::from([(
                "web".to_owned(),
                deployments.iter().map(|status| Arc::new(deployment(2, status))).collect(),
            )]),
            ..Seen::default()
        };
        let status =
            |updated: u32| json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": updated});
        let not_looked = json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2});
        let done = |deployments: &[Value]| seen(deployments).rollout(&manifest).map(|rollout| rollout.done);
        assert_eq!(done(&[status(2), status(2)]), Some(Some(true)));
        assert_eq!(done(&[status(2), status(1)]), Some(Some(false)));
        assert_eq!(done(&[status(2), not_looked]), Some(None));
        assert_eq!(done(&[status(2)]), None, "the other half is not there");
    }

    #[test]
    fn an_update_of_a_stateful_set_is_rolled_out_when_no_old_replica_is_left() {
        let set = |generation: i64, replicas: i32, updated: i32| -> StatefulSet {
            serde_json::from_value(json!({
                "metadata": {"name": "db", "generation": generation},
                "spec": {"replicas": 2, "selector": {}, "template": {"spec": {"containers": [
                    {"name": "db", "env": [{"name": "P", "value": "hunter2"}]},
                ]}}},
                "status": {"observedGeneration": 2, "replicas": replicas, "updatedReplicas": updated},
            }))
            .expect("a set")
        };
        for (generation, replicas, updated, expected) in [
            (3, 2, 2, None),
            (2, 2, 2, Some(true)),
            (2, 2, 1, Some(false)),
            (2, 1, 1, Some(false)),
            (2, 0, 0, Some(false)),
        ] {
            let set = set(generation, replicas, updated);
            assert_eq!(set_rolled_out(&set), expected, "{updated} of {replicas} in generation {generation}");
        }
        let mut going = set(2, 2, 2);
        trim_set(&mut going);
        assert!(!serde_json::to_string(&going).expect("json").contains("hunter2"));
        going.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        assert_eq!(set_rolled_out(&going), None);
    }

    #[test]
    fn a_trimmed_deployment_holds_no_secret() {
        let mut deployment = deployment(1, &json!({}));
        trim_deployment(&mut deployment);
        assert!(!serde_json::to_string(&deployment).expect("json").contains("hunter2"));
    }

    #[test]
    fn a_quota_that_keeps_pods_away_is_a_complaint() {
        let status = json!({"conditions": [
            {"type": "Available", "status": "False", "message": "no"},
            {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"},
        ]});
        assert_eq!(complaint(&deployment(1, &status)), Some("exceeded quota"));
    }
}
