//! GPUs on a real kubelet: nobody shares one, a sick one is not sold, and a node without a driver still sells the rest.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::access::Access;
use e2e::addresses::NODE_NAME;
use e2e::process::Process;
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

    fn change(&mut self, change: impl FnOnce(&mut Script)) -> Result<()> {
        change(&mut self.script);
        self.script.write(&self.access.gpu_script).context("failed to write the machine's script")
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
        command
            .arg("--nvml")
            .arg(fake_nvml::built_library()?)
            .env("FAKE_NVML_SCRIPT", &self.access.gpu_script);
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
