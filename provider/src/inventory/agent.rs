//! The process that runs on each GPU node: it looks at the GPUs and at who holds them, and publishes both as the node's record.
//!
//! It decides nothing and changes nothing else: prices, capacity and labels are the daemon's. What changes with every look, such
//! as a temperature, is not in the record, which is published when it says something new, and now and then as a sign of life; it
//! is in the agent's metrics.

mod metrics;

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::metrics::Metrics;
use super::client;
use super::gpus::{Driver, Health, Probe, Watch};
use super::record::NodeRecord;
use super::{podresources, sysfs};
use crate::clock::Clock;
use crate::gateway::ops::agent_router;
use crate::gateway::server::{Limits, bind, serve};
use crate::lifecycle::{Lifecycle, Stop};

/// What the agent of a node is told when it starts.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The name of the node that the agent runs on
    #[arg(long, env = "BERTH_NODE", value_name = "NAME")]
    pub node: String,
    /// The namespace of the provider, in which the node's record is published
    #[arg(long, env = "BERTH_NAMESPACE", value_name = "NAMESPACE", default_value = "berth")]
    pub namespace: String,
    /// Seconds from one look at the GPUs to the next
    #[arg(long, env = "BERTH_AGENT_PERIOD", value_name = "SECONDS", default_value = "10")]
    pub period: NonZeroU64,
    /// Path of libnvidia-ml.so.1, where the loader does not find it by itself
    #[arg(long, env = "BERTH_NVML", value_name = "FILE")]
    pub nvml: Option<PathBuf>,
    /// The kubelet's pod-resources socket
    #[arg(long, env = "BERTH_POD_RESOURCES", value_name = "SOCKET", default_value = podresources::SOCKET)]
    pub pod_resources: PathBuf,
    /// The kernel's tree, in which cards are found that NVML does not speak for
    #[arg(long, env = "BERTH_SYSFS", value_name = "FOLDER", default_value = sysfs::ROOT)]
    pub sysfs: PathBuf,
    /// Address and port of /metrics for Prometheus, such as 0.0.0.0:9091; without it there are none
    #[arg(long, env = "BERTH_AGENT_METRICS", value_name = "ADDRESS")]
    pub metrics: Option<SocketAddr>,
}

/// The field manager of what the agent writes.
const FIELD_MANAGER: &str = "berth-agent";

/// NVML is opened again after so many periods without trouble.
const REOPEN_PERIODS: u32 = 6;

/// A look that is older than so many periods, and than this many seconds, means that NVML hangs.
const HANGING: (u64, u64) = (3, 30);

/// A record that says nothing new is published this often before it would go stale.
const SIGNS_OF_LIFE: u64 = 3;

/// Longest wait for the API server.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

/// Publishes this node's record until the process is asked to stop. What fails is told in the log and in the record, and
/// tried again a period later.
///
/// # Errors
/// There is no cluster to publish to: neither a kubeconfig nor a service account. Or metrics cannot be served where they are
/// wanted. Or the thread that watches NVML cannot be started.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let found = kube::Client::try_default().await.map_err(|error| anyhow!(client::words(&error)));
    let client = found.context("failed to find the cluster: run the agent in a pod, or set KUBECONFIG")?;
    let (lifecycle, seen) = (Lifecycle::new(), Metrics::default());
    let stop = lifecycle.stop();
    if let Some(address) = args.metrics {
        let listener = bind(address, "metrics of --metrics").await?;
        let looks = seen.clone();
        let router = agent_router(move || looks.render());
        lifecycle.spawn("the metrics", serve(listener, None, router, Limits::default(), stop.clone()));
    }
    lifecycle.spawn("the agent", watch_node(client, args, Clock::default(), seen, stop));
    lifecycle.run().await
}

/// The agent itself, with the cluster and the time given.
async fn watch_node(
    client: kube::Client,
    args: Args,
    clock: Clock,
    metrics: Metrics,
    stop: Stop,
) -> anyhow::Result<()> {
    let until = CancellationToken::new();
    // However this function ends, the thread ends with it.
    let _stop_on_return = until.clone().drop_guard();
    let probes = watch_gpus(&args, &clock, until)?;
    tokio::select! {
        () = stop.taking() => Ok(()),
        ended = publish(client, &args, &clock, &metrics, probes) => ended,
    }
}

/// A look at the GPUs with its time; `None` until the first.
type Seen = Option<(u64, Probe)>;

/// Watches on a thread of its own: a call into a driver in trouble may never return, and must not keep the rest from running
/// or the process from ending.
fn watch_gpus(args: &Args, clock: &Clock, stop: CancellationToken) -> anyhow::Result<watch::Receiver<Seen>> {
    let period = Duration::from_secs(args.period.get());
    let gpus = Watch { library: args.nvml.clone(), period, reopen: period * REOPEN_PERIODS };
    let clock = clock.clone();
    let (send, receive) = watch::channel(None);
    std::thread::Builder::new()
        .name("nvml".to_owned())
        .spawn(move || gpus.run(&stop, |probe| drop(send.send_replace(Some((clock.now(), probe))))))
        .context("failed to start the thread that watches NVML")?;
    Ok(receive)
}

/// Publishes what is new of the GPUs and of who holds them. While NVML does not answer, the holders are still published, with
/// the last look, its age, and that it is not known how the GPUs are doing.
async fn publish(
    client: kube::Client,
    args: &Args,
    clock: &Clock,
    metrics: &Metrics,
    mut probes: watch::Receiver<Seen>,
) -> anyhow::Result<()> {
    let records: Api<ConfigMap> = Api::namespaced(client, &args.namespace);
    let period = args.period.get();
    let patience = Duration::from_secs(period) * 2;
    let mut before: Option<NodeRecord> = None;
    let mut published: Option<(u64, NodeRecord)> = None;
    let mut failure: Option<String> = None;
    loop {
        if let Ok(changed) = timeout(patience, probes.changed()).await {
            changed.context("the thread that watches NVML ended")?;
        }
        let Some((at, probe)) = probes.borrow_and_update().clone() else { continue };
        let told = podresources::ask(&args.pod_resources).await;
        let mut record = NodeRecord::new(&args.node, at, period, &probe, told, sysfs::cards(&args.sysfs));
        let now = clock.now();
        if now.saturating_sub(at) > period.saturating_mul(HANGING.0).max(HANGING.1) {
            record = record.unknown("NVML does not answer");
        }
        tell_changes(before.as_ref(), &record);
        metrics.set(record.clone(), probe.readings);
        let is_due = published.as_ref().is_none_or(|(when, last)| {
            let quiet = now.saturating_sub(*when) < NodeRecord::patience(period) / SIGNS_OF_LIFE;
            !quiet || !record.says_the_same(last)
        });
        if is_due {
            let now_failing =
                apply(&records, &args.namespace, &record).await.err().map(|error| format!("{error:#}"));
            match (&failure, &now_failing) {
                (Some(_), None) => info!(node = record.node, "the node's record is published again"),
                (before, Some(now)) if before.as_ref() != Some(now) => warn!(node = record.node, "{now}"),
                _ => {}
            }
            if now_failing.is_none() {
                published = Some((now, record.clone()));
            }
            failure = now_failing;
        }
        // Who held what when the kubelet last answered: a change is told against that.
        let known = record.allocations.clone().or_else(|| before.and_then(|before| before.allocations));
        before = Some(NodeRecord { allocations: known, ..record });
    }
}

async fn apply(records: &Api<ConfigMap>, namespace: &str, record: &NodeRecord) -> anyhow::Result<()> {
    let map = record.to_config_map(namespace)?;
    let name = NodeRecord::name(&record.node);
    let failed = || format!("failed to publish the record {name} in namespace {namespace}");
    let (parameters, patch) = (PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(&map));
    let applied = timeout(PUBLISH_TIMEOUT, records.patch(&name, &parameters, &patch)).await;
    let applied = applied.with_context(|| format!("{}: no answer from the API server", failed()))?;
    applied.map(drop).map_err(|error| anyhow!(client::words(&error))).with_context(failed)
}

/// Logs what is new since the last record: each event once.
fn tell_changes(before: Option<&NodeRecord>, record: &NodeRecord) {
    let node = record.node.as_str();
    if before.map(|before| &before.driver) != Some(&record.driver) {
        match &record.driver {
            Driver::Loaded { version, cuda } => {
                let (version, cuda) = (version.as_deref().unwrap_or("?"), cuda.as_deref().unwrap_or("?"));
                info!(node, version, cuda, gpus = record.devices.len(), "the NVIDIA driver answers");
            }
            Driver::Absent { reason } => {
                info!(node, reason, "there is no NVIDIA driver to ask: the node offers no GPU");
            }
        }
    }
    for device in &record.devices {
        let was = before.and_then(|before| before.devices.iter().find(|known| known.uuid == device.uuid));
        if was.map(|was| &was.health) == Some(&device.health) {
            continue;
        }
        let (uuid, gpu) = (device.uuid.as_str(), &device.gpu);
        match &device.health {
            Health::Healthy => {
                info!(node, uuid, %gpu, "a GPU is healthy");
            }
            Health::Unhealthy { reason } => {
                warn!(node, uuid, %gpu, reason, "a GPU is unhealthy and no longer offered");
            }
            Health::Unknown { reason } => {
                warn!(node, uuid, %gpu, reason, "it is not known how a GPU is doing");
            }
        }
    }
    for problem in &record.problems {
        if !before.is_some_and(|before| before.problems.contains(problem)) {
            warn!(node, "{problem}");
        }
    }
    let Some(have) = &record.allocations else { return };
    let had = before.and_then(|before| before.allocations.as_deref()).unwrap_or_default();
    for held in have.iter().filter(|held| !had.contains(held)) {
        info!(node, namespace = held.namespace, pod = held.pod, uuids = ?held.uuids, "a container holds GPUs");
    }
    for held in had.iter().filter(|held| !have.contains(held)) {
        info!(node, namespace = held.namespace, pod = held.pod, uuids = ?held.uuids, "a container gave GPUs back");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::podresources::tests::{devices, pod, serve};
    use crate::inventory::sysfs::tests::put;
    use fake_nvml::{SCRIPT_NAME, Script};
    use hyper::{Request, Response};
    use kube::client::Body;
    use std::convert::Infallible;
    use std::path::Path;
    use tokio::sync::mpsc;
    use tokio::task::JoinHandle;

    /// A node with four GPUs, its agent, and the API server to which the agent publishes.
    struct Node {
        folder: tempfile::TempDir,
        script: Script,
        refuses: watch::Sender<bool>,
        refused: watch::Receiver<bool>,
        applied: mpsc::UnboundedReceiver<(String, NodeRecord)>,
        clock: Clock,
        metrics: Metrics,
        lifecycle: Lifecycle,
        agent: JoinHandle<anyhow::Result<()>>,
    }

    impl Node {
        fn start() -> Self {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let script = Script::four_h100();
            let library =
                fake_nvml::install(folder.path(), &script).expect("the library was built with this test");
            let (refuses, refuse) = watch::channel(false);
            let (has_refused, refused) = watch::channel(false);
            let (client, applied) = api_server(refuse, has_refused);
            let args = Args {
                node: "node-a".to_owned(),
                namespace: "berth".to_owned(),
                period: NonZeroU64::MIN,
                nvml: Some(library),
                pod_resources: kubelet(folder.path()),
                sysfs: folder.path().to_owned(),
                metrics: None,
            };
            put(folder.path(), "0000:61:00.0", "0302", "10de:2330", Some("nvidia"));
            put(folder.path(), "0000:ca:00.0", "1200", "1002:74a1", None);
            let clock = Clock::manual(1_000);
            let lifecycle = Lifecycle::new();
            let metrics = Metrics::default();
            let agent =
                tokio::spawn(watch_node(client, args, clock.clone(), metrics.clone(), lifecycle.stop()));
            Self { metrics, folder, script, refuses, refused, applied, clock, lifecycle, agent }
        }

        fn change(&mut self, change: impl FnOnce(&mut Script)) {
            change(&mut self.script);
            self.script.write(&self.folder.path().join(SCRIPT_NAME)).expect("the folder is ours");
        }

        /// The next record for which this holds, and where it was put.
        async fn until(&mut self, holds: impl Fn(&NodeRecord) -> bool) -> (String, NodeRecord) {
            let found = async {
                loop {
                    let (place, record) = self.applied.recv().await.expect("the agent runs");
                    if holds(&record) {
                        return (place, record);
                    }
                }
            };
            timeout(Duration::from_secs(20), found)
                .await
                .expect("such a record is published within some periods")
        }

        async fn stop(self) {
            self.lifecycle.begin_stop();
            let ended = timeout(Duration::from_secs(5), self.agent)
                .await
                .expect("the agent stops when it is asked to");
            ended.expect("no panic").expect("no error");
        }
    }

    fn kubelet(folder: &Path) -> PathBuf {
        folder.join("kubelet.sock")
    }

    /// Takes what is applied, or refuses everything while it is told to.
    fn api_server(
        refuse: watch::Receiver<bool>,
        has_refused: watch::Sender<bool>,
    ) -> (kube::Client, mpsc::UnboundedReceiver<(String, NodeRecord)>) {
        let (send, applied) = mpsc::unbounded_channel();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (send, has_refused, refuse) = (send.clone(), has_refused.clone(), *refuse.borrow());
            async move {
                let place = format!("{} {}", request.method(), request.uri());
                let body = request.into_body().collect_bytes().await.expect("a body in memory");
                if refuse {
                    has_refused.send_replace(true);
                    let refusal = Response::builder().status(403).body(Body::empty()).expect("a response");
                    return Ok::<_, Infallible>(refusal);
                }
                let map: ConfigMap = serde_json::from_slice(&body).expect("a ConfigMap");
                let record = NodeRecord::from_config_map(&map).expect("a record");
                send.send((place, record)).ok();
                Ok(Response::new(Body::from(body)))
            }
        });
        (kube::Client::new(service, "berth"), applied)
    }

    #[tokio::test]
    async fn node_is_published_with_its_gpus_and_who_holds_them() {
        let mut node = Node::start();
        let (place, record) = node.until(|_| true).await;
        assert!(place.starts_with("PATCH /api/v1/namespaces/berth/configmaps/berth-node-node-a?"), "{place}");
        assert!(place.contains("fieldManager=berth-agent") && place.contains("force=true"), "{place}");
        assert_eq!((record.node.as_str(), record.observed_at, record.period_s), ("node-a", 1_000, 1));
        let gpus: Vec<String> = record.devices.iter().map(|device| device.gpu.to_string()).collect();
        assert_eq!(gpus, ["h100-80Gi-sxm"; 4]);
        assert_eq!(record.allocations, None, "no kubelet runs yet");
        assert!(record.problems[0].contains("kubelet.sock"), "{:?}", record.problems);

        let uuid = record.devices[1].uuid.clone();
        let held = [devices("nvidia.com/gpu", &[&uuid])];
        let announced: Vec<&str> = record.devices.iter().map(|device| device.uuid.as_str()).collect();
        let announced = vec![devices("nvidia.com/gpu", &announced)];
        let train = vec![pod("train", &[("main", &held)])];
        let kubelet = serve(&kubelet(node.folder.path()), train, Some(announced));
        node.clock.set(1_010);
        let (_, record) =
            node.until(|record| record.allocations.is_some() && record.observed_at == 1_010).await;
        let allocations = record.allocations.unwrap_or_default();
        assert_eq!((allocations.len(), allocations[0].pod.as_str()), (1, "train"));
        assert_eq!(allocations[0].uuids, [uuid]);
        assert!(record.problems.is_empty());
        let announced = record.announced.unwrap_or_default();
        assert_eq!((announced.len(), announced[0].uuids.len()), (1, 4));
        let cards: Vec<(&str, &str)> =
            record.cards.iter().map(|card| (card.pci.as_str(), card.driver.as_str())).collect();
        assert_eq!(cards, [("1002:74a1", "missing")], "beside what NVML speaks for");
        assert_eq!(record.devices[2].numa_node, Some(1));
        let text = node.metrics.render().expect("plain numbers");
        let served = text.lines().find(|line| line.starts_with("berth_gpu_power_watts{lease=\"tenant\""));
        assert!(served.is_some_and(|line| line.ends_with(" 71")), "{text}");
        kubelet.abort();
        node.stop().await;
    }

    #[tokio::test]
    async fn what_changes_with_every_look_is_measured_and_not_published() {
        let mut node = Node::start();
        node.until(|_| true).await;
        node.change(|script| {
            script.devices[0].temperature_c = 84;
            script.devices[0].memory_used_mib = 70_000;
        });
        let measured = async {
            loop {
                let text = node.metrics.render().expect("plain numbers");
                if text.lines().any(|line| line.starts_with("berth_gpu_temperature") && line.ends_with(" 84"))
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(20), measured).await.expect("the next looks see it");
        assert!(node.applied.try_recv().is_err(), "the record says what it said");
        node.clock.set(1_010);
        let (_, record) = node.until(|_| true).await;
        assert_eq!(record.observed_at, 1_010, "a sign of life, a third of the way to being stale");
        node.stop().await;
    }

    #[tokio::test]
    async fn gpu_that_falls_ill_is_published_as_such() {
        let mut node = Node::start();
        node.until(|record| record.devices.iter().all(|device| device.is_offered())).await;
        node.change(|script| script.devices[2].health = fake_nvml::Health::Lost);
        let (_, record) = node.until(|record| !record.devices[2].is_offered()).await;
        assert!(matches!(record.devices[2].health, Health::Unhealthy { .. }), "{record:?}");
        assert_eq!(record.devices.iter().filter(|device| device.is_offered()).count(), 3);
        node.stop().await;
    }

    #[tokio::test]
    async fn node_without_driver_is_published_with_the_reason() {
        let mut node = Node::start();
        node.change(|script| script.init = 9);
        let (_, record) = node.until(|record| matches!(record.driver, Driver::Absent { .. })).await;
        assert!(!record.devices.iter().any(|device| device.is_offered()));
        node.stop().await;
    }

    #[tokio::test]
    async fn refusal_of_the_api_server_is_outlived() {
        let mut node = Node::start();
        node.until(|_| true).await;
        node.refuses.send_replace(true);
        node.change(|script| script.devices[0].health = fake_nvml::Health::Lost);
        let refused = timeout(Duration::from_secs(20), node.refused.wait_for(|&refused| refused)).await;
        refused.expect("the agent publishes").expect("the server runs");
        node.clock.set(2_000);
        node.refuses.send_replace(false);
        let (_, record) = node.until(|record| record.observed_at == 2_000).await;
        assert!(!record.devices[0].is_offered());
        node.stop().await;
    }
}
