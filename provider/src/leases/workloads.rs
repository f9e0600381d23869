//! What runs for leases, as the cluster shows it: the namespaces, Deployments and Services that carry a lease's label.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use futures::future::join3;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::{Api, Client, ResourceExt};
use manifests::manifest::Proto;
use manifests::objects::{Given, labels};
use market::api::PortStatus;

use super::names::{lease_of, service_of};
use crate::inventory::watch::{Blind, PATIENCE, Watch, Watched};

/// The objects of all leases, as they were last heard of. Clones share them.
#[derive(Debug, Clone)]
pub struct Workloads {
    namespaces: Watched<Namespace>,
    deployments: Watched<Deployment>,
    services: Watched<Service>,
}

/// What is seen of one lease.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Its Deployments by service.
    pub deployments: BTreeMap<String, Arc<Deployment>>,
    /// Its ports on the nodes by service; the host is left to the caller.
    pub ports: BTreeMap<String, Vec<PortStatus>>,
    /// Its leased addresses by the number of their endpoint.
    pub addresses: BTreeMap<u32, IpAddr>,
}

impl Seen {
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
        let services = Watch { api: Api::all(client.clone()), labels, trim: |_| {}, patience: PATIENCE };
        let (namespaces, keep_namespaces) = namespaces.start(changed.clone());
        let (deployments, keep_deployments) = deployments.start(changed.clone());
        let (services, keep_services) = services.start(changed);
        let task = async {
            join3(keep_namespaces, keep_deployments, keep_services).await;
        };
        (Self { namespaces, deployments, services }, task)
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
                seen.deployments.insert(service.to_owned(), Arc::clone(&deployment));
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

/// Whether every replica runs the latest objects; `None` until the controller has looked at them.
pub fn rolled_out(deployment: &Deployment) -> Option<bool> {
    let status = deployment.status.as_ref()?;
    if status.observed_generation < deployment.metadata.generation {
        return None;
    }
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let (all, updated) = (status.replicas.unwrap_or(0), status.updated_replicas.unwrap_or(0));
    Some(updated >= wanted && all == updated)
}

/// What the controller complains about.
pub fn complaint(deployment: &Deployment) -> Option<&str> {
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

#[cfg(test)]
mod tests {
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
