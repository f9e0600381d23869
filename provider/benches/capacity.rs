//! How long the daemon takes from an event of a pod to what is free after it: 1,000 nodes of eight GPUs, 10,000 pods, a record
//! of each node's agent, and one pod that is another one each time. Writes one line of JSON with the median and the worst in
//! microseconds: `cargo bench -p provider --bench capacity`.

use std::convert::Infallible;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use axum::body::{Body, Bytes};
use futures::StreamExt as _;
use hyper::{Request, Response};
use kube::Client;
use manifests::decision::{GpuTake, Placement, Replica, Takes};
use manifests::objects::labels;
use provider::inventory::nodes::Promise;
use provider::inventory::{Inventory, Settings};
use provider::task::Nudge;
use serde_json::{Value, json};
use tokio::sync::mpsc;

const NODES: usize = 1_000;
const PODS: usize = 10_000;
const PROMISES: usize = 1_000;
const ROUNDS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<()> {
    let cluster = Cluster::new();
    let changed = Nudge::default();
    let heard = changed.clone();
    let (inventory, keep) = Inventory::start(&cluster.client(), &Settings::default(), move || heard.nudge());
    let kept = tokio::spawn(keep);
    let promises: Vec<Promise> = (0..PROMISES).map(promise).collect();
    let end = Instant::now() + PATIENCE;
    while inventory.view(0).is_err() || !cluster.is_watched() {
        ensure!(Instant::now() < end, "the watches do not catch up");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let first = Instant::now();
    let mut before = inventory.capacity(&promises, 0);
    let first = first.elapsed();
    ensure!(before.problem.is_none() && before.nodes.len() == NODES, "the cluster is not seen whole");

    let (mut took, mut computed) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let pod = (round * 7) % PODS;
        let node = format!("n{:04}", pod % NODES);
        let started = Instant::now();
        cluster.change(pod, "3");
        // A nudge may be one of the watches' beginning.
        before = loop {
            tokio::time::timeout(PATIENCE, changed.wait()).await.context("the event is not heard of")?;
            let asked = Instant::now();
            let after = inventory.capacity(&promises, 0);
            if after.nodes[&node] != before.nodes[&node] {
                took.push(started.elapsed());
                computed.push(asked.elapsed());
                break after;
            }
        };
    }
    kept.abort();
    took.sort();
    computed.sort();
    let micros = |time: &Duration| time.as_micros();
    let told = json!({
        "nodes": NODES, "pods": PODS, "promises": PROMISES, "first_us": micros(&first),
        "median_us": micros(&took[ROUNDS / 2]), "p99_us": micros(&took[ROUNDS * 99 / 100]),
        "worst_us": micros(&took[ROUNDS - 1]), "of_which_computing_us": micros(&computed[ROUNDS / 2]),
    });
    writeln!(std::io::stdout(), "{told}")?;
    Ok(())
}

fn promise(number: usize) -> Promise {
    let gpu = GpuTake { pool: "h100-80Gi-sxm".to_owned(), count: 1, resource: None };
    let takes = Takes { cpu_milli: 500, memory_bytes: 1 << 30, gpu: Some(gpu), ..Takes::default() };
    let replica = Replica { unit: 1, node: format!("n{:04}", number % NODES), takes };
    Promise {
        lease: format!("lease{number}"),
        placement: Placement { replicas: vec![replica], ..Placement::default() },
    }
}

/// What an API server with such a cluster answers.
#[derive(Clone)]
struct Cluster {
    events: Arc<Mutex<Vec<mpsc::UnboundedSender<Value>>>>,
    version: Arc<Mutex<u64>>,
}

impl Cluster {
    fn new() -> Self {
        Self { events: Arc::default(), version: Arc::new(Mutex::new(1)) }
    }

    fn client(&self) -> Client {
        let cluster = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let answer = cluster.answer(request.uri());
            async move { Ok::<_, Infallible>(answer) }
        });
        Client::new(service, "default")
    }

    /// Whether somebody would hear of a change.
    fn is_watched(&self) -> bool {
        !self.events.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Gives a pod another request, as if it had been resized.
    fn change(&self, pod: usize, cpu: &str) {
        let mut version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        *version += 1;
        let mut object = the_pod(pod, cpu);
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let event = json!({"type": "MODIFIED", "object": object});
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().for_each(|watch| drop(watch.send(event.clone())));
    }

    fn answer(&self, uri: &hyper::Uri) -> Response<Body> {
        let kind = uri.path().rsplit('/').next().unwrap_or_default();
        if uri.query().is_some_and(|query| query.contains("watch=true")) {
            let (send, events) = mpsc::unbounded_channel::<Value>();
            let mut watches = self.events.lock().unwrap_or_else(PoisonError::into_inner);
            if kind == "pods" {
                watches.push(send);
            } else {
                // A watch that ends would be started again and again.
                std::mem::forget(send);
            }
            let lines = futures::stream::unfold(events, |mut events| async {
                events.recv().await.map(|event| (event, events))
            });
            let lines = lines.map(|event| Ok::<_, Infallible>(Bytes::from(format!("{event}\n"))));
            return Response::new(Body::from_stream(lines));
        }
        let items: Vec<Value> = match kind {
            "nodes" => (0..NODES).map(the_node).collect(),
            "pods" => (0..PODS).map(|pod| the_pod(pod, "1")).collect(),
            "configmaps" => (0..NODES).map(the_record).collect(),
            _ => Vec::new(),
        };
        let list =
            json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items});
        Response::new(Body::from(list.to_string()))
    }
}

fn the_node(number: usize) -> Value {
    json!({
        "metadata": {"name": format!("n{number:04}"), "uid": format!("node-{number}"), "labels": {"zone": "a"}},
        "spec": {},
        "status": {
            "allocatable": {
                "cpu": "128", "memory": "1024Gi", "ephemeral-storage": "1000Gi", "pods": "110", "nvidia.com/gpu": "8",
            },
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

/// Every second pod belongs to a lease, and every fourth has a GPU.
fn the_pod(number: usize, cpu: &str) -> Value {
    let lease = number.is_multiple_of(2).then(|| json!({labels::LEASE: format!("lease{}", number / 2)}));
    let gpus = if number.is_multiple_of(4) { "1" } else { "0" };
    json!({
        "metadata": {
            "name": format!("p{number}"), "namespace": format!("ns{}", number / 2), "uid": format!("pod-{number}"),
            "labels": lease.unwrap_or_else(|| json!({})),
        },
        "spec": {"nodeName": format!("n{:04}", number % NODES), "containers": [{"name": "main", "resources": {
            "requests": {"cpu": cpu, "memory": "4Gi", "ephemeral-storage": "1Gi"}, "limits": {"nvidia.com/gpu": gpus},
        }}]},
        "status": {"phase": "Running"},
    })
}

fn the_record(number: usize) -> Value {
    let node = format!("n{number:04}");
    let uuid = |gpu: usize| format!("GPU-{number}-{gpu}");
    let devices: Vec<Value> = (0..8)
        .map(|gpu| {
            json!({
                "uuid": uuid(gpu), "gpu": "h100-80Gi-sxm", "name": "NVIDIA H100 80GB HBM3", "memory_mib": 81_559,
                "pci": "10de:2330", "subsystem": "10de:16c1", "bus": "", "minor": gpu, "mig": false,
                "health": {"state": "healthy"},
            })
        })
        .collect();
    let uuids: Vec<String> = (0..8).map(uuid).collect();
    let held: Vec<Value> = (0..PODS)
        .filter(|pod| pod % NODES == number && pod % 4 == 0)
        .enumerate()
        .take(8)
        .map(|(at, pod)| {
            json!({
                "namespace": format!("ns{}", pod / 2), "pod": format!("p{pod}"), "container": "main",
                "resource": "nvidia.com/gpu", "uuids": [uuid(at)],
            })
        })
        .collect();
    let record = json!({
        "version": 1, "node": node, "observed_at": 0, "period_s": 10, "devices": devices, "allocations": held,
        "driver": {"state": "loaded", "version": "570", "cuda": "12.8"}, "problems": [],
        "topology": {"islands": [uuids], "pcie": []},
        "announced": [{"resource": "nvidia.com/gpu", "uuids": uuids, "shared": false}],
    });
    json!({
        "metadata": {"name": format!("berth-node-{node}"), "namespace": "berth", "uid": format!("record-{number}")},
        "data": {"record.json": record.to_string()},
    })
}
