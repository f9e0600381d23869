//! What Prometheus is told: things are done, and `/metrics` is read.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use manifests::order::Address;
use provider::bidder::cluster::ClusterCapacity;
use provider::freshness::Freshness;
use provider::gateway::ops::{self, Ops};
use provider::inventory::Inventory;
use provider::leases::workloads::Workloads;
use provider::metrics::Metrics;
use serde_json::json;
use tower::ServiceExt as _;

use crate::apiserver::Apiserver;
use crate::leader;
use crate::leases::{House, RECORD, becomes, node, record};
use crate::stage::{PROVIDER, document, parsed, sold};
use crate::wait::until;
use provider::store::Health;

const TENANT: Address = Address([0xaa; 20]);

/// A scrape of a daemon that has this inventory.
async fn scrape(house: &House, inventory: &Inventory, workloads: &Workloads, metrics: &Metrics) -> String {
    let ops = Ops {
        store: house.stage.store.clone(),
        metrics: metrics.clone(),
        cluster: ClusterCapacity {
            provider: PROVIDER,
            inventory: inventory.clone(),
            clock: house.clock.clone(),
        },
        workloads: workloads.clone(),
        clock: house.clock.clone(),
        freshness: Freshness::default(),
        leader: leader::alone().await,
        endpoints: Box::new(Vec::new),
    };
    let request = Request::get("/metrics").body(Body::empty()).expect("a request");
    let answer = ops::router(Arc::new(ops)).oneshot(request).await.expect("infallible");
    assert_eq!(answer.status(), StatusCode::OK);
    let body = to_bytes(answer.into_body(), 1 << 20).await.expect("read");
    String::from_utf8(body.to_vec()).expect("text")
}

/// All of these lines are told.
fn tells(told: &str, lines: &[&str]) {
    for line in lines {
        assert!(told.lines().any(|told| told == *line), "{line} is not in:\n{told}");
    }
}

#[tokio::test]
async fn what_the_cluster_has_is_told_by_who_has_it_and_nothing_of_a_cluster_that_is_not_seen() {
    let mut house = House::new().await;
    house.api.put(RECORD, record(&json!([]), 1000));
    house.api.change("/api/v1/nodes/node-a", json!({"status": {"capacity": {"cpu": "5", "memory": "9Gi"}}}));
    let mut other = node();
    other["spec"]["unschedulable"] = json!(true);
    house.api.put("/api/v1/nodes/node-b", other);
    let mut lost = node();
    lost["status"]["conditions"] = json!([]);
    house.api.put("/api/v1/nodes/node-c", lost);
    let (manifest, spec) = parsed(&document(1, 1, ""));
    let runs = house.stage.lease(TENANT, 1, &manifest, &spec).await;
    house.stage.lease(TENANT, 2, &manifest, &spec).await;
    house.stage.send(runs, &manifest).await;
    house.turn().await;
    house.run_pod(runs, "web-1", true);
    becomes(&mut house, runs, Health::Healthy).await;

    let metrics = Metrics::new().expect("distinct names");
    let (inventory, workloads) = (house.inventory.clone(), house.reconcile.workloads.clone());
    until("the record and the nodes are seen", async || {
        let told = scrape(&house, &inventory, &workloads, &metrics).await;
        told.contains("berth_gpu_devices{") && told.contains("berth_inventory_nodes{state=\"unknown\"} 1")
    })
    .await;
    let told = scrape(&house, &inventory, &workloads, &metrics).await;
    tells(
        &told,
        &[
            r#"berth_inventory_nodes{state="ready"} 1"#,
            r#"berth_inventory_nodes{state="cordoned"} 1"#,
            r#"berth_inventory_nodes{state="excluded"} 0"#,
            r#"berth_inventory_capacity{resource="cpu",unit="cores"} 5"#,
            r#"berth_inventory_allocatable{resource="cpu",unit="cores"} 4"#,
            r#"berth_inventory_requested{resource="cpu",unit="cores"} 0.5"#,
            r#"berth_inventory_reserved{resource="cpu",unit="cores"} 0.5"#,
            r#"berth_inventory_free{resource="cpu",unit="cores"} 3"#,
            r#"berth_inventory_largest_free{resource="memory",unit="bytes"} 7516192768"#,
            r#"berth_inventory_free{resource="storage_default",unit="bytes"} 1099511627776"#,
            r#"berth_gpu_devices{interface="sxm",model="h100",ram="80Gi",state="leased",vendor="nvidia"} 1"#,
            r#"berth_gpu_devices{interface="sxm",model="h100",ram="80Gi",state="reserved",vendor="nvidia"} 1"#,
            r#"berth_gpu_devices{interface="sxm",model="h100",ram="80Gi",state="free",vendor="nvidia"} 2"#,
            r#"berth_gpu_max_free_per_node{interface="sxm",model="h100",ram="80Gi",vendor="nvidia"} 2"#,
            r#"berth_ip_pool{state="free"} 0"#,
            "berth_inventory_age_seconds 0",
        ],
    );

    let (unseen, _never_kept) = Inventory::start(&house.api.client(), &sold(), || {});
    let told = scrape(&house, &unseen, &workloads, &metrics).await;
    for name in ["berth_inventory_nodes", "berth_inventory_free", "berth_gpu_devices", "berth_ip_pool"] {
        assert!(!told.contains(&format!("{name}{{")), "{name} is old");
    }
    tells(&told, &["berth_inventory_age_seconds 0"]);
}

#[tokio::test]
async fn requests_to_the_api_server_are_counted_and_so_are_watches_that_are_begun_again() {
    let (house, api, metrics) =
        (House::new().await, Apiserver::default(), Metrics::new().expect("distinct names"));
    let client = api.client_heard(Arc::new(metrics.clone()));
    api.refuse("GET /api/v1/nodes", StatusCode::FORBIDDEN, "not yours");
    let (inventory, keep) = Inventory::start(&client, &sold(), || {});
    let keeps = tokio::spawn(keep);
    let (workloads, _keep) = Workloads::start(&client, || {});
    until("the list of nodes is refused", async || {
        let told = scrape(&house, &inventory, &workloads, &metrics).await;
        let restarts = told.lines().find_map(|line| {
            line.strip_prefix(r#"berth_kube_watch_restarts_total{resource="nodes"} "#)?.parse::<u64>().ok()
        });
        restarts.is_some_and(|restarts| restarts > 0)
            && told.contains(r#"berth_kube_requests_total{code="200",resource="pods",verb="watch"} 1"#)
    })
    .await;
    keeps.abort();
    let told = scrape(&house, &inventory, &workloads, &metrics).await;
    tells(
        &told,
        &[
            r#"berth_kube_requests_total{code="200",resource="pods",verb="list"} 1"#,
            r#"berth_kube_watch_restarts_total{resource="pods"} 0"#,
        ],
    );
    assert!(
        told.contains(r#"berth_kube_requests_total{code="403",resource="nodes",verb="list"} "#),
        "{told}"
    );
    assert!(told.contains(r#"berth_kube_request_duration_seconds_count{verb="watch"} "#), "{told}");
}
