//! The cluster's control plane: etcd, the API server, the controllers and the scheduler.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use kube::Client;
use kube::api::GetParams;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::addresses::{API_SERVER_PORT, KUBERNETES_SERVICE, NODE, NODE_NAME, PODS, SERVICES};
use crate::certificates::Authority;
use crate::parts::Parts;
use crate::process::Process;
use crate::wait;

const ETCD: &str = "http://127.0.0.1:2379";

/// A control plane that answers.
pub(crate) struct ControlPlane {
    /// Its processes.
    pub processes: Vec<Process>,
    /// Reaches it as its master.
    pub client: Client,
    /// The kubeconfig of its master.
    pub kubeconfig: PathBuf,
}

/// Starts the control plane and waits until the API server says that it is ready.
pub(crate) async fn start(parts: &Parts, authority: &Authority) -> Result<ControlPlane> {
    let kubeconfig = authority.kubeconfig("admin", "admin", &["system:masters"])?;
    let (token_key, token_public) = authority.token_keys()?;
    let mut etcd = start_etcd(parts)?;
    let mut api_server = start_api_server(parts, authority, &token_key, &token_public)?;

    let client = client(&kubeconfig).await?;
    wait::until("the API server to be ready", Duration::from_secs(60), async || {
        etcd.still_runs()?;
        api_server.still_runs()?;
        is_ready(&client).await
    })
    .await?;

    let controllers = start_controllers(parts, authority, &token_key)?;
    let scheduler = start_scheduler(parts, authority)?;
    Ok(ControlPlane { processes: vec![etcd, api_server, controllers, scheduler], client, kubeconfig })
}

/// A client of the cluster that a kubeconfig names.
///
/// # Errors
/// When the kubeconfig cannot be read or its certificates cannot be used.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    let read = Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("failed to read the kubeconfig {}", kubeconfig.display()))?;
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("failed to use the kubeconfig {}", kubeconfig.display()))?;
    Client::try_from(config).context("failed to make a client of the cluster")
}

async fn is_ready(client: &Client) -> Result<()> {
    let request =
        kube::core::Request::new("").get("readyz", &GetParams::default()).context("no such path")?;
    client.request_text(request).await.context("the API server does not say that it is ready")?;
    Ok(())
}

fn start_etcd(parts: &Parts) -> Result<Process> {
    let mut etcd = parts.command("etcd", "server");
    etcd.arg("--data-dir").arg(parts.folder("etcd")?).args([
        "--listen-client-urls",
        ETCD,
        "--advertise-client-urls",
        ETCD,
        "--listen-peer-urls",
        "http://127.0.0.1:2380",
        // A bench's data ends with the bench.
        "--unsafe-no-fsync",
        "--log-level",
        "warn",
    ]);
    parts.start("etcd", &mut etcd)
}

fn start_api_server(
    parts: &Parts,
    authority: &Authority,
    token_key: &Path,
    token_public: &Path,
) -> Result<Process> {
    let names = [
        NODE,
        KUBERNETES_SERVICE,
        "127.0.0.1",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let server = authority.server("api-server", &names)?;
    let to_kubelet = authority.client("api-server-to-kubelet", "api-server", &["system:masters"])?;
    let mut api_server = parts.command("kubernetes", "kube-apiserver");
    api_server
        .arg(format!("--etcd-servers={ETCD}"))
        .arg(format!("--bind-address={NODE}"))
        .arg(format!("--advertise-address={NODE}"))
        .arg(format!("--secure-port={API_SERVER_PORT}"))
        .arg(flag("--tls-cert-file", &server.certificate))
        .arg(flag("--tls-private-key-file", &server.key))
        .arg(flag("--client-ca-file", &authority.certificate()))
        .arg(flag("--cert-dir", &parts.folder("api-server")?))
        .arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local")
        .arg(flag("--service-account-key-file", token_public))
        .arg(flag("--service-account-signing-key-file", token_key))
        .arg(format!("--service-cluster-ip-range={SERVICES}"))
        .args(["--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"])
        .arg(flag("--kubelet-certificate-authority", &authority.certificate()))
        .arg(flag("--kubelet-client-certificate", &to_kubelet.certificate))
        .arg(flag("--kubelet-client-key", &to_kubelet.key))
        .args([
            "--kubelet-preferred-address-types=InternalIP",
            "--allow-privileged=true",
            "--profiling=false",
        ]);
    parts.start("kube-apiserver", &mut api_server)
}

fn start_controllers(parts: &Parts, authority: &Authority, token_key: &Path) -> Result<Process> {
    let kubeconfig = authority.kubeconfig(
        "kube-controller-manager",
        "system:kube-controller-manager",
        &["system:masters"],
    )?;
    let mut controllers = parts.command("kubernetes", "kube-controller-manager");
    controllers
        .arg(flag("--kubeconfig", &kubeconfig))
        .arg(flag("--root-ca-file", &authority.certificate()))
        .arg(flag("--service-account-private-key-file", token_key))
        .arg(flag("--cert-dir", &parts.folder("kube-controller-manager")?))
        .arg(format!("--cluster-cidr={PODS}"))
        .arg(format!("--service-cluster-ip-range={SERVICES}"))
        .args([
            "--use-service-account-credentials=true",
            "--allocate-node-cidrs=true",
            "--leader-elect=false",
        ])
        .args(["--bind-address=127.0.0.1", "--profiling=false"]);
    parts.start("kube-controller-manager", &mut controllers)
}

fn start_scheduler(parts: &Parts, authority: &Authority) -> Result<Process> {
    let kubeconfig = authority.kubeconfig("kube-scheduler", "system:kube-scheduler", &["system:masters"])?;
    let mut scheduler = parts.command("kubernetes", "kube-scheduler");
    scheduler
        .arg(flag("--kubeconfig", &kubeconfig))
        .arg(flag("--cert-dir", &parts.folder("kube-scheduler")?))
        .args(["--leader-elect=false", "--bind-address=127.0.0.1", "--profiling=false"]);
    parts.start("kube-scheduler", &mut scheduler)
}

/// Starts the proxy that serves the cluster's Services on the node.
pub(crate) fn start_proxy(parts: &Parts, authority: &Authority) -> Result<Process> {
    let kubeconfig = authority.kubeconfig("kube-proxy", "system:kube-proxy", &[])?;
    let mut proxy = parts.command("kubernetes", "kube-proxy");
    proxy
        .arg(flag("--kubeconfig", &kubeconfig))
        .arg(format!("--hostname-override={NODE_NAME}"))
        .arg(format!("--cluster-cidr={PODS}"))
        .args(["--proxy-mode=nftables", "--oom-score-adj=0"])
        .args(["--metrics-bind-address=127.0.0.1:10249", "--healthz-bind-address=127.0.0.1:10256"])
        // Settings of connection tracking belong to the whole machine: leave them as they are.
        .args(["--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0"])
        .arg("--conntrack-tcp-timeout-close-wait=0");
    parts.start("kube-proxy", &mut proxy)
}

fn flag(name: &str, value: &Path) -> std::ffi::OsString {
    let mut flag = std::ffi::OsString::from(name);
    flag.push("=");
    flag.push(value);
    flag
}
