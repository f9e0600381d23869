//! Machines that the API server knows and nobody has.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::access::Access;
use e2e::cache::Cache;
use e2e::process::Process;
use e2e::tools::{Purpose, Tools};
use e2e::wait::until;
use e2e::{cluster, kubectl};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::PostParams;
use kube::{Api, Client};
use provider::inventory::record::NodeRecord;
use serde_json::json;
use tokio::process::Command;

/// How long the cluster may take for one step.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);
/// How much is asked of the API server at once.
pub(crate) const AT_ONCE: usize = 8;
/// Selects the machines.
pub(crate) const SELECTOR: &str = "berth.dev/e2e=simulated";
/// What their GPUs are.
pub(crate) const POOL: &str = "h100-80Gi-sxm";
/// What those have that have any.
pub(crate) const GPUS: u64 = 8;
/// Thousandths of a core of each.
pub(crate) const CPU_MILLI: u64 = 64_000;

/// The annotation by which kwok knows which machines are its own: the rack.
const RACK: &str = "kwok.x-k8s.io/node";
/// Where the first kwok is asked how it does.
const FIRST_PORT: u16 = 10_260;

/// A machine of the hall.
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) gpus: u64,
    /// Machines of a rack are lost together.
    pub(crate) rack: usize,
}

/// Machines with GPUs and plain ones, by turns in so many racks.
pub(crate) fn machines(with_gpus: usize, plain: usize, racks: usize) -> Vec<Machine> {
    let machine = |kind: &str, number: usize, gpus: u64| Machine {
        name: format!("{kind}-{number:03}"),
        gpus,
        rack: number % racks,
    };
    let gpu = (0..with_gpus).map(|number| machine("gpu", number, GPUS));
    gpu.chain((0..plain).map(|number| machine("plain", number, 0))).collect()
}

/// Machines that are kept ready by kwok, one process a rack.
pub(crate) struct Hall {
    pub(crate) client: Client,
    namespace: String,
    racks: Vec<Process>,
}

impl Hall {
    /// Has these machines ready, with what their agents would say in `namespace`.
    pub(crate) async fn build(machines: &[Machine], namespace: &str) -> Result<Self> {
        let access = Access::here()?;
        let client = cluster::client(&access.kubeconfig).await?;
        let tools =
            Tools::installed(&Cache::open()?, Purpose::Everything)?.context("kwok is not installed")?;
        let racks = machines.iter().map(|machine| machine.rack + 1).max().unwrap_or(0);
        let racks = (0..racks).map(|rack| kwok(&tools, &access, rack)).collect::<Result<Vec<_>>>()?;
        kubectl::apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}"))
            .await?;
        let nodes: Api<Node> = Api::all(client.clone());
        let records: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        futures::stream::iter(machines)
            .map(|machine| {
                let (nodes, records) = (&nodes, &records);
                async move {
                    nodes.create(&PostParams::default(), &node(machine)?).await?;
                    if machine.gpus > 0 {
                        records.create(&PostParams::default(), &record(machine, namespace)?).await?;
                    }
                    anyhow::Ok(())
                }
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await
            .context("failed to make the machines")?;
        Ok(Self { client, namespace: namespace.to_owned(), racks })
    }

    /// A rack without power: nobody hears of its machines any more.
    pub(crate) async fn lose(&mut self, rack: usize) -> Result<()> {
        self.racks[rack].kill().await
    }

    /// Takes everything away again.
    pub(crate) async fn clear(&self) -> Result<()> {
        kubectl::run(&["delete", "namespaces", "--selector", "berth.dev/lease", "--wait=false"]).await?;
        kubectl::run(&["delete", "namespace", &self.namespace, "--wait=false"]).await?;
        // Nobody ends the pods of machines that are lost.
        kubectl::run(&[
            "delete",
            "pods",
            "--all-namespaces",
            "--selector",
            "berth.dev/lease",
            "--force",
            "--grace-period=0",
            "--wait=false",
        ])
        .await?;
        until("the leases' namespaces to be gone", PATIENCE, async || {
            let left =
                kubectl::run(&["get", "namespaces", "--selector", "berth.dev/lease", "--output", "name"])
                    .await?;
            ensure!(left.trim().is_empty(), "{} are left", left.lines().count());
            Ok(())
        })
        .await?;
        kubectl::run(&["delete", "nodes", "--selector", SELECTOR]).await.map(drop)
    }
}

fn kwok(tools: &Tools, access: &Access, rack: usize) -> Result<Process> {
    let mut kwok = Command::new(tools.program("kwok", "kwok"));
    kwok.arg("--kubeconfig").arg(&access.kubeconfig);
    let stages = tools.folder("kwok").join("manifests");
    for stage in ["node-initialize.yaml", "pod-ready.yaml", "pod-complete.yaml", "pod-delete.yaml"] {
        kwok.arg("--config").arg(Path::new(&stages).join(stage));
    }
    let port = FIRST_PORT + u16::try_from(rack).context("there are not so many racks")?;
    kwok.arg("--manage-all-nodes=false")
        .arg(format!("--manage-nodes-with-annotation-selector={RACK}=rack-{rack}"))
        .arg("--node-lease-duration-seconds=40")
        .arg(format!("--server-address=127.0.0.1:{port}"));
    Process::start(&format!("kwok-{rack}"), &mut kwok, &access.folder.join("logs"))
}

fn node(Machine { name, gpus, rack }: &Machine) -> Result<Node> {
    let (key, value) = SELECTOR.split_once('=').context("a selector")?;
    let mut labels = json!({key: value, "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"});
    let cpu = format!("{CPU_MILLI}m");
    let mut has = json!({"cpu": cpu, "memory": "512Gi", "ephemeral-storage": "2Ti", "pods": "110"});
    if *gpus > 0 {
        labels[manifests::gpu::NODE_LABEL] = json!(POOL);
        has["nvidia.com/gpu"] = json!(gpus.to_string());
    }
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name, "labels": labels, "annotations": {RACK: format!("rack-{rack}")}},
        "status": {"allocatable": has, "capacity": has},
    }))?)
}

/// What the machine's agent would say.
fn record(Machine { name, gpus, .. }: &Machine, namespace: &str) -> Result<ConfigMap> {
    let device = |number: u64| {
        json!({
            "uuid": format!("GPU-{name}-{number}"), "gpu": POOL, "name": "NVIDIA H100 80GB HBM3", "memory_mib": 81559,
            "pci": "10de:2330", "bus": format!("0000:{number:02x}:00.0"), "minor": number, "mig": false,
            "health": {"state": "healthy"},
        })
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let devices: Vec<_> = (0..*gpus).map(device).collect();
    let record = json!({
        "version": 1, "node": name, "observed_at": now, "period_s": 600, "devices": devices,
        "driver": {"state": "loaded", "version": "570.133.20", "cuda": "12.8"}, "allocations": null, "problems": [],
    });
    let record: NodeRecord = serde_json::from_value(record)?;
    Ok(record.to_config_map(namespace)?)
}
