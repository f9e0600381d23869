//! How long the daemon takes from what its watches hold to what is free: 1,000 nodes of eight GPUs, 10,000 pods, a record of
//! each node's agent, and one pod that is another one each time. Writes one line of JSON with the median and the worst in
//! microseconds: `cargo bench -p provider --bench capacity`.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use axum::body::{Body, Bytes};
use futures::StreamExt as _;
use hyper::{Request, Response};
use kube::Client;
use manifests::decision::{GpuTake, Placement, Replica, Takes};
use manifests::objects::labels;
use provider::inventory::nodes::Promise;
use provider::inventory::{Inventory, Settings};
use serde_json::{Value, json};
use tokio::sync::mpsc;

const NODES: usize = 1_000;
const PODS: usize = 10_000;
const PROMISES: usize = 1_000;
const ROUNDS: usize = 200;

#[tokio::main]
async fn main() -> Result<()> {
    let cluster = Cluster::new();
    let (inventory, keep) = Inventory::start(&cluster.client(), &Settings::default(), || {});
    let kept = tokio::spawn(keep);
    let end = Instant::now() + Duration::from_secs(60);
    while inventory.view(0).is_err() {
        ensure!(Instant::now() < end, "the watches do not catch up");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let promises: Vec<Promise> = (0..PROMISES).map(promise).collect();
    let first = Instant::now();
    let capacity = inventory.capacity(&promises, 0);
    let first = first.elapsed();
    ensure!(capacity.problem.is_none() && capacity.nodes.len() == NODES);

    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let before = inventory.capacity(&promises, 0);
        let at = (round * 7) % PODS;
        cluster.change(at, "3");
        let node = format!("n{:04}", at % NODES);
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let started = Instant::now();
            let after = inventory.capacity(&promises, 0);
            let elapsed = started.elapsed();
            if after.nodes[&node] != before.nodes[&node] {
                took.push(elapsed);
                break;
            }
            ensure!(Instant::now() < end, "the event of pod {at} is not seen");
            tokio::task::yield_now().await;
        }
    }
    kept.abort();
    took.sort();
    let micros = |time: Duration| time.as_micros();
    let median = took[took.len() / 2];
    println!(
        "{}",
        json!({
            "nodes": NODES, "pods": PODS, "promises": PROMISES, "first_us": micros(first), "median_us": micros(median),
            "p99_us": micros(took[took.len() * 99 / 100]), "worst_us": micros(*took.last().unwrap_or(&median)),
        })
    );
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
    let lease = (number % 2 == 0).then(|| json!({labels::LEASE: format!("lease{}", number / 2)}));
    let gpus = if number % 4 == 0 { "1" } else { "0" };
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
