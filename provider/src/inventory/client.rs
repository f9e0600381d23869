//! The connection to the cluster.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// How long the API server may take to say its version.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects to the cluster that the file names; without one, to the one that this pod runs in or that `KUBECONFIG` names.
/// Also gives the version that its API server says it has.
///
/// # Errors
/// When there is no such file, or the API server does not answer or refuses us.
pub async fn connect(kubeconfig: Option<&Path>) -> anyhow::Result<(Client, String)> {
    let config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).with_context(|| {
                format!("failed to read the kubeconfig {}: correct cluster.kubeconfig", path.display())
            })?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("the kubeconfig {} names no usable cluster", path.display()))?
        }
        None => Config::infer()
            .await
            .context("failed to find the cluster: run in a pod, set KUBECONFIG, or set cluster.kubeconfig")?,
    };
    let server = config.cluster_url.clone();
    let client = Client::try_from(config).with_context(|| format!("failed to use the cluster {server}"))?;
    let version = tokio::time::timeout(PATIENCE, client.apiserver_version())
        .await
        .with_context(|| format!("the API server {server} did not answer within {} s", PATIENCE.as_secs()))?
        .with_context(|| {
            format!(
                "the API server {server} does not let us in: check the kubeconfig, or that it is reachable"
            )
        })?;
    Ok((client, version.git_version))
}
