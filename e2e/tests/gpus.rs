//! GPUs on a real kubelet: nobody shares one, a sick one is not sold, and a node without a driver still sells the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::access::Access;
use e2e::addresses::NODE_NAME;
use e2e::process::Process;
use e2e::story::provider::Provider;
use e2e::story::tenant::{NO_BIDS, Tenant};
use e2e::story::world::World;
use e2e::wait::until;
use e2e::{kubectl, workspace};
use fake_nvml::{Health, Script};
use provider::inventory::gpus::Driver;
use provider::inventory::record::{LABEL, LABEL_VALUE, NodeRecord};
use serde_json::Value;
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(60);

/// The bench's machine, whose agent and device plugin read one script. It is put right again when a story ends, also badly.
struct Machine {
    access: Access,
    script: Script,
}

impl Machine {
    fn of_the_bench() -> Result<Self> {
        let mut machine = Self { access: Access::here()?, script: Script::four_h100() };
        machine.change(|_| {})?;
        Ok(machine)
    }

    fn gpu_script(&self) -> Result<&Path> {
        self.access.gpu_script.as_deref().context("the machine is not the bench's own")
    }

    fn change(&mut self, change: impl FnOnce(&mut Script)) -> Result<()> {
        change(&mut self.script);
        self.script.write(self.gpu_script()?).context("failed to write the machine's script")
    }

    fn repair(&mut self) -> Result<()> {
        self.change(|script| *script = Script::four_h100())
    }

    fn lose(&mut self, uuid: &str) -> Result<()> {
        self.change(|script| {
            for device in script.devices.iter_mut().filter(|device| device.uuid == uuid) {
                device.health = Health::Lost;
            }
        })
    }

    /// An agent that publishes to this namespace every second.
    fn agent(&self, namespace: &str) -> Result<Process> {
        let mut command = Command::new(workspace::binaries()?.join("berth-provider"));
        command.args(["agent", "--node", NODE_NAME, "--period", "1", "--namespace", namespace]);
        command.arg("--nvml").arg(fake_nvml::built_library()?).env("FAKE_NVML_SCRIPT", self.gpu_script()?);
        Process::start(&format!("agent-{namespace}"), &mut command, &self.access.folder.join("logs"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Err(error) = self.repair() {
            eprintln!("the machine could not be put right again: {error:#}");
        }
    }
}

/// Waits until the record that an agent publishes in a namespace is like this.
async fn record(
    agent: &mut Process,
    namespace: &str,
    what: &str,
    holds: impl Fn(&NodeRecord) -> bool,
) -> Result<NodeRecord> {
    let selector = format!("{LABEL}={LABEL_VALUE}");
    until(&format!("the node's record to show {what}"), PATIENCE, async || {
        agent.still_runs()?;
        let get =
            ["get", "configmaps", "--namespace", namespace, "--selector", &selector, "--output", "json"];
        let maps: Value = serde_json::from_str(&kubectl::run(&get).await?)?;
        let map = maps["items"].get(0).context("there is no record yet")?;
        let record = NodeRecord::from_config_map(&serde_json::from_value(map.clone())?)?;
        ensure!(holds(&record), "it shows {record:?}");
        Ok(record)
    })
    .await
}

fn healthy(record: &NodeRecord) -> usize {
    record.devices.iter().filter(|device| device.is_offered()).count()
}

/// Which devices each pod holds, as the record tells.
fn held(record: &NodeRecord, namespace: &str) -> BTreeMap<String, Vec<String>> {
    let ours = record.allocations.iter().flatten().filter(|held| held.namespace == namespace);
    ours.map(|held| (held.pod.clone(), held.uuids.clone())).collect()
}

/// Waits until the kubelet offers so many GPUs to the scheduler.
async fn allocatable(gpus: &str) -> Result<()> {
    let path = r"jsonpath={.status.allocatable.nvidia\.com/gpu}";
    until(&format!("the kubelet to offer {gpus} GPUs"), PATIENCE, async || {
        let offered = kubectl::run(&["get", "node", NODE_NAME, "--output", path]).await?;
        ensure!(offered == gpus, "it offers {offered}");
        Ok(())
    })
    .await
}

fn pod(namespace: &str, name: &str, gpus: u32) -> String {
    // Even a limit of none is refused by a kubelet that has no healthy device.
    let limits = if gpus == 0 { String::new() } else { format!("nvidia.com/gpu: {gpus}") };
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: {name}, namespace: {namespace} }}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: berthdemo/gpu-report:1.0
      resources: {{ limits: {{ {limits} }} }}
---
"#
    )
}

async fn ready(namespace: &str, pods: &[&str]) -> Result<()> {
    let mut wait = vec!["wait", "--for=condition=Ready", "--timeout=60s", "--namespace", namespace, "pods"];
    wait.extend(pods);
    kubectl::run(&wait).await.map(drop)
}

/// The devices of which the container itself was told.
async fn told(namespace: &str, pod: &str) -> Result<Vec<String>> {
    let log = kubectl::run(&["logs", "--namespace", namespace, pod]).await?;
    let line = log.lines().find_map(|line| line.split_once("NVIDIA_VISIBLE_DEVICES="));
    let (_, uuids) = line.with_context(|| format!("the container does not tell its GPUs:\n{log}"))?;
    let mut uuids: Vec<String> = uuids.trim().split(',').map(str::to_owned).collect();
    uuids.sort();
    Ok(uuids)
}

/// A provider that sells the machine.
struct Hall {
    machine: Machine,
    world: World,
    provider: Provider,
    daemon: Process,
    agent: Process,
}

impl Hall {
    async fn open(name: &str) -> Result<Self> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let machine = Machine::of_the_bench()?;
        let world = World::open(name).await?;
        let provider = world.provider().await?;
        let agent = machine.agent(&provider.namespace)?;
        let daemon = provider.run().await?;
        let mut hall = Self { machine, world, provider, daemon, agent };
        hall.record("four GPUs", |record| healthy(record) == 4).await?;
        Ok(hall)
    }

    async fn record(&mut self, what: &str, holds: impl Fn(&NodeRecord) -> bool) -> Result<NodeRecord> {
        self.daemon.still_runs()?;
        record(&mut self.agent, &self.provider.namespace, what, holds).await
    }

    /// The demo's document with another number of GPUs.
    fn document(&self, gpus: u32) -> Result<PathBuf> {
        let demo = workspace::root().join("e2e/documents/gpu.yaml");
        let text = fs::read_to_string(&demo).with_context(|| format!("failed to read {}", demo.display()))?;
        let (one, wanted) = ("gpu:\n          units: 1\n", format!("gpu:\n          units: {gpus}\n"));
        ensure!(text.contains(one), "the demo's document asks for its GPU in other words");
        // As many GPUs cost as much more.
        let text = text.replace(one, &wanted).replace("amount: 10000\n", "amount: 100000\n");
        let path = self.world.folder.join(format!("{gpus}-gpus.yaml"));
        fs::write(&path, text).context("failed to write the document")?;
        Ok(path)
    }

    async fn up(&self, tenant: &Tenant, name: &str, gpus: u32) -> Result<()> {
        tenant.up(&self.document(gpus)?, name, &["--deposit", "50"]).await?.well().map(drop)
    }

    /// How many GPUs the provider has free on one node: it says so when it declines an order for more than there can be.
    async fn free(&self, tenant: &Tenant) -> Result<u64> {
        let document = self.document(9)?;
        let said = tenant.up(&document, "too-large", &["--deposit", "50", "--wait", "5s"]).await?;
        ensure!(said.code == NO_BIDS, "berth ended with {}, not {NO_BIDS}:\n{}", said.code, said.telling);
        let told = said.telling.split_once("the most free on one node is ");
        let (_, rest) = told
            .with_context(|| format!("the tenant is not told how many GPUs are free:\n{}", said.telling))?;
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        number.parse().with_context(|| format!("no number: {rest}"))
    }

    async fn close(mut self) -> Result<()> {
        self.machine.repair()?;
        self.daemon.kill().await?;
        self.agent.kill().await
    }
}

/// The GPUs that the status of a lease shows, once they are so many and like this.
async fn shown(
    tenant: &Tenant,
    name: &str,
    count: usize,
    holds: impl Fn(&BTreeSet<String>) -> bool,
) -> Result<BTreeSet<String>> {
    until(&format!("the status of {name} to show {count} GPUs"), PATIENCE, async || {
        let status = tenant.status(name).await?;
        let pods = status.services.iter().flat_map(|service| &service.pods);
        let gpus: Vec<String> = pods.flat_map(|pod| pod.gpus.clone()).collect();
        let set: BTreeSet<String> = gpus.iter().cloned().collect();
        ensure!(gpus.len() == count && set.len() == count && holds(&set), "it shows {gpus:?}");
        Ok(set)
    })
    .await
}

/// The GPUs of which a lease's container was told, from its log.
async fn logged(tenant: &Tenant, name: &str) -> Result<BTreeSet<String>> {
    let log = tenant.berth(&["logs", name]).await?.well()?;
    let line = log.lines().rev().find_map(|line| line.split_once("NVIDIA_VISIBLE_DEVICES="));
    let (_, uuids) = line.with_context(|| format!("the container does not tell its GPUs:\n{log}"))?;
    Ok(uuids.trim().split(',').map(str::to_owned).collect())
}

#[tokio::test]
#[ignore = "runs on the bench: cargo e2e test gpus"]
async fn two_leases_never_hold_one_gpu_and_the_new_gpu_of_a_recreated_pod_is_adopted() {
    let mut hall = Hall::open("gpus-held").await.unwrap();
    let (alice, bob, carol) =
        tokio::try_join!(hall.world.tenant(0), hall.world.tenant(1), hall.world.tenant(2)).unwrap();
    tokio::try_join!(hall.up(&alice, "two", 2), hall.up(&bob, "one", 1)).unwrap();
    let of_alice = shown(&alice, "two", 2, |_| true).await.unwrap();
    let of_bob = shown(&bob, "one", 1, |_| true).await.unwrap();
    assert!(of_alice.is_disjoint(&of_bob), "{of_alice:?} and {of_bob:?}");
    assert_eq!(logged(&alice, "two").await.unwrap(), of_alice);
    assert_eq!(logged(&bob, "one").await.unwrap(), of_bob);
    assert_eq!(hall.free(&carol).await.unwrap(), 1);

    let ill = of_bob.first().unwrap().clone();
    hall.machine.lose(&ill).unwrap();
    hall.record("three GPUs", |record| healthy(record) == 3).await.unwrap();
    let pod = bob.status("one").await.unwrap().services[0].pods[0].name.clone();
    let field = format!("metadata.name={pod}");
    kubectl::run(&["delete", "pods", "--all-namespaces", "--field-selector", &field]).await.unwrap();
    let now_of_bob = shown(&bob, "one", 1, |gpus| !gpus.contains(&ill)).await.unwrap();
    assert!(of_alice.is_disjoint(&now_of_bob), "{of_alice:?} and {now_of_bob:?}");
    assert_eq!(logged(&bob, "one").await.unwrap(), now_of_bob);

    for (tenant, name) in [(&alice, "two"), (&bob, "one")] {
        tenant.berth(&["down", name]).await.unwrap().well().unwrap();
    }
    hall.close().await.unwrap();
}

#[tokio::test]
#[ignore = "runs on the bench: cargo e2e test gpus"]
async fn a_sick_gpu_is_not_sold_and_a_node_without_driver_still_sells_its_processors() {
    let mut hall = Hall::open("gpus-sick").await.unwrap();
    let (alice, carol) = tokio::try_join!(hall.world.tenant(0), hall.world.tenant(1)).unwrap();
    assert_eq!(hall.free(&carol).await.unwrap(), 4);

    let ill: Vec<String> =
        hall.machine.script.devices[..2].iter().map(|device| device.uuid.clone()).collect();
    ill.iter().for_each(|uuid| hall.machine.lose(uuid).unwrap());
    hall.record("two GPUs", |record| healthy(record) == 2).await.unwrap();
    assert_eq!(hall.free(&carol).await.unwrap(), 2);
    hall.machine.repair().unwrap();
    hall.record("four GPUs again", |record| healthy(record) == 4).await.unwrap();
    allocatable("4").await.unwrap();
    assert_eq!(hall.free(&carol).await.unwrap(), 4);

    hall.machine.change(|script| script.init = 9).unwrap();
    hall.record("no driver", |record| matches!(record.driver, Driver::Absent { .. })).await.unwrap();
    assert_eq!(hall.free(&carol).await.unwrap(), 0);
    let web = workspace::root().join("e2e/documents/web.yaml");
    alice.up(&web, "web", &["--deposit", "5"]).await.unwrap().well().unwrap();
    alice.berth(&["down", "web"]).await.unwrap().well().unwrap();
    hall.close().await.unwrap();
}

#[tokio::test]
#[ignore = "runs on the bench: cargo e2e test gpus"]
async fn the_record_of_a_node_follows_its_kubelet_and_its_driver() {
    let namespace = "node-record";
    let mut machine = Machine::of_the_bench().unwrap();
    kubectl::apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}"))
        .await
        .unwrap();
    let mut agent = machine.agent(namespace).unwrap();
    let first = record(&mut agent, namespace, "four GPUs", |record| healthy(record) == 4).await.unwrap();
    assert!(first.devices.iter().all(|device| device.gpu.to_string() == "h100-80Gi-sxm"), "{first:?}");
    assert_eq!(first.problems, [""; 0]);
    allocatable("4").await.unwrap();

    // Two pods get devices from the kubelet; the record and the containers tell of the same ones.
    kubectl::apply(&(pod(namespace, "two", 2) + &pod(namespace, "one", 1))).await.unwrap();
    ready(namespace, &["one", "two"]).await.unwrap();
    let given = record(&mut agent, namespace, "both pods", |record| held(record, namespace).len() == 2)
        .await
        .unwrap();
    let given = held(&given, namespace);
    assert_eq!((given["two"].len(), given["one"].len()), (2, 1));
    assert!(!given["two"].contains(&given["one"][0]), "{given:?}");
    assert_eq!(told(namespace, "two").await.unwrap(), given["two"]);
    assert_eq!(told(namespace, "one").await.unwrap(), given["one"]);

    // One falls ill: neither sold nor given away again; a pod made anew gets another, and the record follows.
    let ill = given["one"][0].clone();
    machine.lose(&ill).unwrap();
    record(&mut agent, namespace, "three GPUs", |record| healthy(record) == 3).await.unwrap();
    allocatable("3").await.unwrap();
    kubectl::run(&["delete", "pod", "one", "--namespace", namespace]).await.unwrap();
    kubectl::apply(&pod(namespace, "one", 1)).await.unwrap();
    ready(namespace, &["one"]).await.unwrap();
    let moved =
        |record: &NodeRecord| held(record, namespace).get("one").is_some_and(|gpus| *gpus != [ill.clone()]);
    let given = held(&record(&mut agent, namespace, "the new GPU", moved).await.unwrap(), namespace);
    assert!(!given["two"].contains(&given["one"][0]), "{given:?}");
    assert_eq!(told(namespace, "one").await.unwrap(), given["one"]);

    // The driver goes: the node says so, offers no GPU, and runs pods without one all the same.
    machine.change(|script| script.init = 9).unwrap();
    let gone = |record: &NodeRecord| matches!(&record.driver, Driver::Absent { .. }) && healthy(record) == 0;
    record(&mut agent, namespace, "no driver", gone).await.unwrap();
    allocatable("0").await.unwrap();
    kubectl::apply(&pod(namespace, "none", 0)).await.unwrap();
    ready(namespace, &["none"]).await.unwrap();

    machine.repair().unwrap();
    record(&mut agent, namespace, "four GPUs again", |record| healthy(record) == 4).await.unwrap();
    kubectl::run(&["delete", "namespace", namespace]).await.unwrap();
    allocatable("4").await.unwrap();
    agent.kill().await.unwrap();
}
