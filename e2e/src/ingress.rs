//! The way in from the LAN: Contour reads Gateway API objects and steers Envoy, which listens on the node.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::addresses::NODE;
use crate::parts::Parts;
use crate::process::Process;
use crate::wait;

/// The namespace of the gateway that tenants' routes attach to.
pub const GATEWAY_NAMESPACE: &str = "berth-system";
/// The name of that gateway.
pub const GATEWAY: &str = "berth";

const CONTOUR_PORT: u16 = 8001;
const STATISTICS_PORT: u16 = 8002;
/// Inside a bench `/run` is the bench's own.
const ADMIN_SOCKET: &str = "/run/envoy.sock";

/// How pages of tenants are reached from outside a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayIn {
    /// The namespace of the Gateway that tenants' routes attach to.
    pub namespace: String,
    /// The name of that Gateway.
    pub name: String,
    /// Host and port at which the Gateway's proxies answer.
    pub address: String,
    /// The networks from which the proxies reach pods; none if they are pods themselves, in the Gateway's namespace.
    pub sources: Vec<String>,
}

impl WayIn {
    /// The bench's own.
    pub(crate) fn of_the_bench() -> Self {
        Self {
            namespace: GATEWAY_NAMESPACE.to_owned(),
            name: GATEWAY.to_owned(),
            address: NODE.to_owned(),
            sources: vec![format!("{NODE}/32")],
        }
    }
}

/// The definitions of the objects that Contour reads.
pub(crate) fn definitions(parts: &Parts) -> [PathBuf; 2] {
    ["gateway-crds.yaml", "contour-crds.yaml"]
        .map(|file| parts.tools.folder("contour").join("manifests").join(file))
}

/// The gateway, once its kind is defined.
pub(crate) fn objects() -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": GATEWAY_NAMESPACE}}),
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": {"name": "contour"},
            "spec": {"controllerName": "projectcontour.io/gateway-controller"},
        }),
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": GATEWAY, "namespace": GATEWAY_NAMESPACE},
            "spec": {
                "gatewayClassName": "contour",
                "listeners": [{
                    "name": "http",
                    "protocol": "HTTP",
                    "port": 80,
                    "allowedRoutes": {"namespaces": {"from": "All"}},
                }],
            },
        }),
    ]
}

/// Starts Contour and Envoy; the gateway's kind must be defined.
pub(crate) async fn start(parts: &Parts, kubeconfig: &Path) -> Result<[Process; 2]> {
    let config = json!({"gateway": {"gatewayRef": {"name": GATEWAY, "namespace": GATEWAY_NAMESPACE}}});
    let config = parts.write("contour.json", config.to_string())?;
    let mut contour = parts.command("contour", "contour");
    contour
        .args(["serve", "--insecure", "--disable-leader-election"])
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .arg("--config-path")
        .arg(config)
        .args(["--xds-address", "127.0.0.1", "--xds-port", &CONTOUR_PORT.to_string()])
        .args(["--stats-address", "127.0.0.1", "--stats-port", &STATISTICS_PORT.to_string()])
        .args(["--health-address", "127.0.0.1", "--health-port", "8003"])
        .args(["--debug-http-address", "127.0.0.1", "--debug-http-port", "8004"])
        .args(["--ingress-status-address", NODE]);
    let contour = parts.start("contour", &mut contour)?;

    let bootstrap = parts.folder.join("envoy.json");
    let mut write_bootstrap = parts.command("contour", "contour");
    write_bootstrap
        .args(["bootstrap", "--admin-address", ADMIN_SOCKET])
        .args(["--xds-address", "127.0.0.1", "--xds-port", &CONTOUR_PORT.to_string()])
        .arg(&bootstrap);
    let output = write_bootstrap.output().await.context("failed to start contour")?;
    ensure!(
        output.status.success(),
        "contour wrote no start-up file for Envoy: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let mut envoy = parts.command("envoy", "envoy");
    envoy.arg("--config-path").arg(bootstrap);
    // Hot restart shares memory under a name that all benches of the machine would share.
    envoy.args(["--service-cluster", "bench", "--service-node", "node0"]);
    envoy.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]);
    let envoy = parts.start("envoy", &mut envoy)?;
    Ok([contour, envoy])
}

/// Waits until Envoy follows Contour. Envoy opens the gateway's own port with the first route.
pub(crate) async fn wait_until_steered(processes: &mut [Process]) -> Result<()> {
    wait::until("Envoy to follow Contour", Duration::from_secs(60), async || {
        for process in processes.iter_mut() {
            process.still_runs()?;
        }
        // Envoy listens there when Contour has told it to.
        match tokio::net::TcpStream::connect(("127.0.0.1", STATISTICS_PORT)).await {
            Ok(_) => Ok(()),
            Err(error) => bail!("{error}"),
        }
    })
    .await
}
