//! Machines that only the API server knows, with room for many leases: enough to be bid for, none to run anything.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::access::Access;
use crate::cluster;

const MACHINES: usize = 4;
/// Between two signs of life, of which the cluster misses none for this long.
const BEAT: Duration = Duration::from_secs(5);

/// The machines, alive as long as this value.
pub(super) struct Hall {
    nodes: Api<Node>,
    beating: JoinHandle<()>,
}

impl Hall {
    pub(super) async fn build(access: &Access) -> Result<Self> {
        let client = cluster::client(&access.kubeconfig).await?;
        let nodes: Api<Node> = Api::all(client.clone());
        for name in names() {
            let made = nodes.create(&PostParams::default(), &machine(&name)?).await;
            made.with_context(|| format!("failed to make the machine {name}"))?;
        }
        beat(&client).await?;
        let beating = tokio::spawn(async move {
            // Who misses a beat is missed by the measuring, which waits for bids.
            while beat(&client).await.is_ok() {
                tokio::time::sleep(BEAT).await;
            }
        });
        Ok(Self { nodes, beating })
    }

    pub(super) async fn clear(self) -> Result<()> {
        for name in names() {
            self.nodes.delete(&name, &DeleteParams::default()).await.context("failed to delete a machine")?;
        }
        Ok(())
    }
}

impl Drop for Hall {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

fn names() -> impl Iterator<Item = String> {
    (0..MACHINES).map(|number| format!("hall-{number}"))
}

fn machine(name: &str) -> Result<Node> {
    let has = json!({"cpu": "64", "memory": "512Gi", "ephemeral-storage": "2Ti", "pods": "110"});
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        "status": {
            "allocatable": has, "capacity": has,
            "conditions": [{"type": "Ready", "status": "True", "reason": "Measured", "message": ""}],
            "runtimeHandlers": [{"name": "", "features": {"userNamespaces": true}}],
        },
    }))?)
}

/// What a kubelet does to say that it lives.
async fn beat(client: &Client) -> Result<()> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    for name in names() {
        let spec = LeaseSpec {
            holder_identity: Some(name.clone()),
            lease_duration_seconds: Some(40),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        };
        let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(spec) };
        let parameters = PatchParams::apply("berth-measure").force();
        leases.patch(&name, &parameters, &Patch::Apply(&lease)).await?;
    }
    Ok(())
}
