//! The connection to the cluster.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::node::v1::RuntimeClass;
pub use kube::Client;
use kube::api::{ObjectMeta, PostParams};
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Config};

use super::calls::{self, Observe};

/// How long the API server may take to say its version.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Connects to the cluster that the file names; without one, to the one that this pod runs in or that `KUBECONFIG` names.
/// Also gives the version that its API server says it has.
///
/// # Errors
/// When there is no such file, or the API server does not answer or refuses us.
pub async fn connect(kubeconfig: Option<&Path>) -> anyhow::Result<(Client, String)> {
    let config = configuration(kubeconfig).await?;
    let server = config.cluster_url.clone();
    let client = Client::try_from(config).with_context(|| format!("failed to use the cluster {server}"))?;
    checked(client, &server.to_string()).await
}

/// As [`connect`], with somebody who hears of every request.
///
/// # Errors
/// As [`connect`].
pub async fn connect_heard(
    kubeconfig: Option<&Path>,
    observe: Arc<dyn Observe>,
) -> anyhow::Result<(Client, String)> {
    let config = configuration(kubeconfig).await?;
    let server = config.cluster_url.clone();
    let builder =
        ClientBuilder::try_from(config).with_context(|| format!("failed to use the cluster {server}"))?;
    checked(builder.with_layer(&calls::layer(observe)).build(), &server.to_string()).await
}

async fn configuration(kubeconfig: Option<&Path>) -> anyhow::Result<Config> {
    Ok(match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).with_context(|| {
                format!("failed to read the kubeconfig {}: correct cluster.kubeconfig", path.display())
            })?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("the kubeconfig {} names no usable cluster", path.display()))?
        }
        // Its own words are about both ways at once and run over several lines.
        None => Config::infer().await.map_err(|_| {
            anyhow!(
                "there is neither a service account nor a usable kubeconfig: run in a pod, set KUBECONFIG, or set \
                 cluster.kubeconfig"
            )
        })?,
    })
}

/// A client whose API server answers.
async fn checked(client: Client, server: &str) -> anyhow::Result<(Client, String)> {
    let version = tokio::time::timeout(PATIENCE, client.apiserver_version())
        .await
        .with_context(|| format!("the API server {server} did not answer within {} s", PATIENCE.as_secs()))?
        .map_err(|error| {
            let words = words(&error);
            anyhow!("the API server {server} does not let us in: check the kubeconfig, or that it is reachable: {words}")
        })?;
    Ok((client, version.git_version))
}

/// What the API server said, or the cause behind the layers of the client, which repeat it.
#[must_use]
pub fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({} {})", status.message, status.code, status.reason),
        // Its causes no longer name the places that were tried.
        kube::Error::InferConfig(error) => error.to_string(),
        error => {
            let mut cause: &dyn std::error::Error = error;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            cause.to_string()
        }
    }
}

/// Lets a node take new pods, or none (`kubectl cordon`); what runs there goes on.
///
/// # Errors
/// The cluster refuses, or has no such node.
pub async fn set_schedulable(client: &Client, node: &str, schedulable: bool) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let change = async { if schedulable { nodes.uncordon(node).await } else { nodes.cordon(node).await } };
    let changed =
        tokio::time::timeout(PATIENCE, change).await.context("the API server did not answer in time")?;
    let verb = if schedulable { "uncordon" } else { "cordon" };
    changed.map_err(|error| anyhow!(words(&error))).with_context(|| {
        format!("failed to {verb} node {node}: `berth-provider inventory` lists the nodes")
    })?;
    Ok(())
}

/// What time it is for the API server, in unix seconds. It is asked to make a Lease and to forget it (a dry run), and stamps it.
///
/// # Errors
/// When the API server does not answer, or does not let us make one in this namespace.
pub async fn server_time(client: &Client, namespace: &str) -> anyhow::Result<i64> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let metadata = ObjectMeta { generate_name: Some("berth-clock-".to_owned()), ..ObjectMeta::default() };
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let lease = Lease { metadata, spec: None };
    let made = tokio::time::timeout(PATIENCE, leases.create(&params, &lease))
        .await
        .context("the API server did not answer in time")?;
    let made = made.map_err(|error| anyhow!("the API server does not tell its time: {}", words(&error)))?;
    let stamp = made.metadata.creation_timestamp.context("the API server does not stamp what it makes")?;
    Ok(stamp.0.as_second())
}

/// Whether the cluster has a RuntimeClass of this name.
///
/// # Errors
/// When the API server does not answer, or does not let us look.
pub async fn has_runtime_class(client: &Client, name: &str) -> anyhow::Result<bool> {
    let classes: Api<RuntimeClass> = Api::all(client.clone());
    let found = tokio::time::timeout(PATIENCE, classes.get_opt(name))
        .await
        .context("the API server did not answer in time")?;
    let found = found.map_err(|error| {
        anyhow!("the API server does not say whether there is a RuntimeClass {name}: {}", words(&error))
    })?;
    Ok(found.is_some())
}
