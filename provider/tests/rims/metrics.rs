//! What Prometheus is told: things are done, and `/metrics` is read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use manifests::order::Address;
use provider::bidder::cluster::ClusterCapacity;
use provider::clock::Clock;
use provider::freshness::Freshness;
use provider::gateway::ops::{self, Ops};
use provider::gateway::server::{Limits, bind, serve};
use provider::gateway::streams::Streams;
use provider::inventory::Inventory;
use provider::leases::workloads::Workloads;
use provider::lifecycle::Lifecycle;
use provider::metrics::Metrics;
use provider::task::{Nudge, Report, Turn, repeat};
use provider::wildcard::Wildcard;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::json;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;
use url::Url;

use crate::apiserver::Apiserver;
use crate::leader;
use crate::leases::{House, RECORD, becomes, gone, node, record};
use crate::lint::lint;
use crate::stage::{PROVIDER, document, named, parsed, sold};
use crate::wait::until;
use provider::store::{Health, LeaseStatus, Store};

const TENANT: Address = Address([0xaa; 20]);

/// A scrape of a daemon that has this inventory.
async fn scrape(house: &House, inventory: &Inventory, workloads: &Workloads, metrics: &Metrics) -> String {
    let (store, clock) = (house.stage.store.clone(), house.clock.clone());
    scrape_of(store, clock, inventory, workloads, &Streams::default(), metrics).await
}

/// A scrape of a daemon that is made of these parts.
pub(crate) async fn scrape_of(
    store: Store,
    clock: Clock,
    inventory: &Inventory,
    workloads: &Workloads,
    streams: &Streams,
    metrics: &Metrics,
) -> String {
    let ops = Ops {
        store,
        metrics: metrics.clone(),
        cluster: ClusterCapacity { provider: PROVIDER, inventory: inventory.clone(), clock: clock.clone() },
        workloads: workloads.clone(),
        clock,
        freshness: Freshness::default(),
        streams: streams.clone(),
        leader: leader::alone().await,
        endpoints: Box::new(Vec::new),
    };
    let request = Request::get("/metrics").body(Body::empty()).expect("a request");
    let answer = ops::router(Arc::new(ops)).oneshot(request).await.expect("infallible");
    assert_eq!(answer.status(), StatusCode::OK);
    let body = to_bytes(answer.into_body(), 1 << 20).await.expect("read");
    String::from_utf8(body.to_vec()).expect("text")
}

/// All of these lines are told, and nothing that breaks a rule.
pub(crate) fn tells(told: &str, lines: &[&str]) {
    lint(told);
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
            &format!("berth_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")),
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

#[tokio::test]
async fn what_leases_run_is_told_when_it_is_missing_begun_again_left_behind_and_taken_away() {
    let (mut house, metrics) = (House::new().await, Metrics::new().expect("distinct names"));
    house.reconcile.observe = Arc::new(metrics.clone());
    let (manifest, spec) = parsed(&document(1, 0, ""));
    let id = house.stage.lease(TENANT, 1, &manifest, &spec).await;
    house.stage.send(id, &manifest).await;
    house.turn().await;
    house.run_pod(id, "web-1", true);
    becomes(&mut house, id, Health::Healthy).await;
    let told = metrics.render(&house.stage.store, PROVIDER).await.expect("rendered");
    let healthy = [
        r#"berth_workload_health{state="healthy"} 1"#,
        r#"berth_drift_objects{direction="missing",kind="workload"} 0"#,
        r#"berth_drift_objects{direction="orphan",kind="namespace"} 0"#,
        r#"berth_hostnames{state="served"} 1"#,
        r#"berth_hostnames{state="waiting"} 0"#,
        "berth_apply_failures_total 0",
        "berth_hold_mode 0",
    ];
    tells(&told, &healthy);

    // Its container runs out of memory twice; its Deployment is taken away, and the API server takes no other; and somebody
    // leaves a namespace with our label.
    let namespace = named(id).namespace();
    let pod = format!("/api/v1/namespaces/{namespace}/pods/web-1");
    let mut status = house.api.get(&pod).expect("there")["status"]["containerStatuses"].clone();
    status[0]["restartCount"] = json!(2);
    status[0]["lastState"] = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
    house.api.change(&pod, json!({"status": {"containerStatuses": status}}));
    house.api.refuse("PATCH", StatusCode::FORBIDDEN, "not yours");
    house.api.delete(&format!("/apis/apps/v1/namespaces/{namespace}/deployments/web"));
    let stray = json!({"metadata": {
        "labels": {"berth.dev/lease": "stray"}, "annotations": {"berth.dev/provider": PROVIDER.to_string()},
    }});
    house.api.put("/api/v1/namespaces/berth-stray", stray);
    let held = json!([{
        "namespace": namespace, "pod": "web-1", "container": "web", "resource": "nvidia.com/gpu", "uuids": ["GPU-9"],
    }]);
    house.api.put(RECORD, record(&held, 1000));
    let ill = [
        r#"berth_drift_objects{direction="missing",kind="workload"} 1"#,
        r#"berth_drift_objects{direction="orphan",kind="namespace"} 1"#,
        r#"berth_workload_restarts_total{reason="oom"} 2"#,
        r#"berth_inventory_invariant_violations_total{kind="gpu_unknown"} 1"#,
        "berth_orphaned_namespaces 1",
        "berth_hold_mode 1",
    ];
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        house.turn().await;
        let told = metrics.render(&house.stage.store, PROVIDER).await.expect("rendered");
        if ill.iter().all(|line| told.lines().any(|told| told == *line)) {
            break;
        }
        assert!(Instant::now() < deadline, "{ill:?} are not in:\n{told}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    house.api.refuse_nothing();
    house.clock.set(1_800_000_600);
    house.stage.close(id, 3).await;
    gone(&mut house, id).await;
    let told = metrics.render(&house.stage.store, PROVIDER).await.expect("rendered");
    let removed = [
        r#"berth_gc_deleted_total{kind="Namespace"} 1"#,
        "berth_teardown_duration_seconds_count 1",
        "berth_teardown_duration_seconds_sum 100",
        r#"berth_leases{state="closed"} 1"#,
        r#"berth_hostnames{state="served"} 0"#,
    ];
    tells(&told, &removed);
}

/// A loop that fails once.
struct Clumsy(bool);

impl Turn for Clumsy {
    const NAME: &'static str = "clumsy";

    async fn turn(&mut self) -> anyhow::Result<Report> {
        ensure!(std::mem::replace(&mut self.0, true), "once");
        Ok(Report::default())
    }
}

#[tokio::test]
async fn turns_of_loops_are_counted_by_how_they_went_and_so_are_nonces_that_were_lost() {
    let (house, metrics, lifecycle) =
        (House::new().await, Metrics::new().expect("distinct names"), Lifecycle::new());
    let (nudge, told) = (Nudge::default(), metrics.clone());
    nudge.nudge();
    let turns = repeat(Clumsy(false), Duration::from_secs(3600), nudge, lifecycle.stop(), move |outcome| {
        told.turn(outcome);
    });
    let turns = tokio::spawn(turns);
    market::observe::Observe::resynced(&metrics, market::observe::Resync::Lost);
    let lines = [
        r#"berth_reconcile_runs_total{controller="clumsy",result="error"} 1"#,
        r#"berth_reconcile_runs_total{controller="clumsy",result="ok"} 1"#,
        r#"berth_reconcile_duration_seconds_count{controller="clumsy"} 2"#,
        r#"berth_tx_sequence_resyncs_total{reason="lost"} 1"#,
    ];
    until("it has turned twice", async || {
        let told = metrics.render(&house.stage.store, PROVIDER).await.expect("rendered");
        lines.iter().all(|line| told.lines().any(|told| told == *line))
            && told.contains(r#"berth_reconcile_last_success_timestamp_seconds{controller="clumsy"} "#)
    })
    .await;
    turns.abort();
}

/// The series of a scrape, without their values.
fn series(scrape: &str) -> BTreeSet<&str> {
    let lines = scrape.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ').map(|(series, _)| series)).collect()
}

#[expect(clippy::print_stdout, reason = "how long it takes is for whoever runs it by hand")]
fn say(text: &str) {
    println!("{text}");
}

#[tokio::test]
async fn a_scrape_has_no_more_series_for_many_leases_than_for_one() {
    let (house, metrics) = (House::new().await, Metrics::new().expect("distinct names"));
    let (inventory, workloads) = (house.inventory.clone(), house.reconcile.workloads.clone());
    let (manifest, spec) = parsed(&document(1, 1, ""));
    let mut scrapes = Vec::new();
    for (count, leases) in [(1, 1..=1), (100, 2..=100)] {
        for dseq in leases {
            let id = house.stage.lease(TENANT, dseq, &manifest, &spec).await;
            house.stage.send(id, &manifest).await;
            let status = LeaseStatus {
                lease: id,
                health: Health::Healthy,
                since: 1,
                applied_revision: Some(1),
                torn_down_at: None,
                body: "{}".to_owned(),
                updated_at: 1,
            };
            house.stage.store.put_lease_status(&status).await.expect("stored");
        }
        scrape(&house, &inventory, &workloads, &metrics).await;
        let began = Instant::now();
        let told = scrape(&house, &inventory, &workloads, &metrics).await;
        say(&format!("a scrape with {count} leases took {:?} and has {} bytes", began.elapsed(), told.len()));
        tells(&told, &[&format!("berth_workload_health{{state=\"healthy\"}} {count}")]);
        scrapes.push(told);
    }
    let (one, all) = (series(&scrapes[0]), series(&scrapes[1]));
    assert_eq!(one, all, "{:?}", all.symmetric_difference(&one));
}

#[tokio::test]
async fn the_end_of_the_wildcards_certificate_is_told_and_nothing_of_one_that_is_not_reached() {
    let (house, metrics, lifecycle) =
        (House::new().await, Metrics::new().expect("distinct names"), Lifecycle::new());
    let mut params = CertificateParams::new(vec!["*.apps.provider.test".to_owned()]).expect("a name");
    params.not_after = rcgen::date_time_ymd(2030, 1, 2);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("signed").der().clone();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    market::tls::install_provider();
    let tls = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    let tls = TlsAcceptor::from(Arc::new(tls.expect("a configuration")));
    let listener = bind("127.0.0.1:0".parse().expect("an address"), "test").await.expect("bound");
    let url: Url = format!("https://{}/", listener.local_addr().expect("bound")).parse().expect("a URL");
    let served = tokio::spawn(serve(listener, Some(tls), Router::new(), Limits::default(), lifecycle.stop()));

    let mut wildcard = Wildcard::new(url, metrics.clone()).expect("a client");
    wildcard.turn().await.expect("a turn");
    let told = metrics.render(&house.stage.store, PROVIDER).await.expect("rendered");
    tells(&told, &[r#"berth_tls_cert_expiry_timestamp_seconds{name="wildcard"} 1893542400"#]);
    served.abort();
    served.await.expect_err("aborted");
    let nobody = "https://127.0.0.1:1/".parse().expect("a URL");
    Wildcard::new(nobody, metrics.clone()).expect("a client").turn().await.expect("no fault of ours");
    let told = metrics.render(&house.stage.store, PROVIDER).await.expect("rendered");
    assert!(!told.contains("berth_tls_cert_expiry_timestamp_seconds{"), "{told}");
}
