//! Leases on a small API server: what is applied, what is shown, and above all what is never deleted.

use std::sync::Arc;
use std::sync::Mutex;

use crate::apiserver::Apiserver;
use crate::stage::{
    API_SERVERS, NODE, POOL, PROVIDER, Stage, answers_at, cluster, document, document_with_volume, named,
    parsed, sold, storage_class, storage_class_path,
};
use crate::wait::until;
use axum::http::StatusCode;
use manifests::objects::{ProviderAccess, SecretValue, Settings};
use manifests::order::{Address, Fact, LeaseId};
use provider::clock::Clock;
use provider::inventory::{Inventory, Promise};
use provider::leases::apply::Applier;
use provider::leases::cluster::Cluster;
use provider::leases::plan::Depths;
use provider::leases::reconcile::{Memory, Observe, Reconcile};
use provider::leases::restarts::Cause;
use provider::leases::status::Shown;
use provider::leases::workloads::Workloads;
use provider::store::{Health, LeaseStatus};
use provider::task::{Nudge, Turn};
use serde_json::{Value, json};

const TENANT: Address = Address([0xaa; 20]);

#[derive(Default)]
struct Heard {
    incidents: Mutex<Vec<String>>,
    held: Mutex<usize>,
}

impl Observe for Heard {
    fn incident(&self, code: &str) {
        self.incidents.lock().expect("whole").push(code.to_owned());
    }

    fn held_namespaces(&self, count: usize) {
        *self.held.lock().expect("whole") = count;
    }

    fn apply_failed(&self) {}

    fn missing_workloads(&self, _: usize) {}

    fn deleted(&self, _: &str) {}

    fn torn_down(&self, _: std::time::Duration) {}

    fn began_again(&self, _: Cause, _: u64) {}

    fn hosts(&self, _: usize, _: usize) {}
}

pub(crate) struct House {
    pub(crate) stage: Stage,
    pub(crate) api: Apiserver,
    pub(crate) reconcile: Reconcile,
    pub(crate) inventory: Inventory,
    heard: Arc<Heard>,
    pub(crate) clock: Clock,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::furnished(Stage::new().await).await
    }

    /// A daemon on this store, in a cluster of one node.
    pub(crate) async fn furnished(stage: Stage) -> Self {
        let api = Apiserver::default();
        api.put("/api/v1/nodes/node-a", node());
        api.put(API_SERVERS, answers_at(&["203.0.113.1"]));
        api.put(&storage_class_path("fast"), storage_class(true));
        Self::on(stage, api).await
    }

    /// A daemon that has just started, on what is there.
    async fn on(stage: Stage, api: Apiserver) -> Self {
        let client = api.client();
        let (inventory, keep_inventory) = Inventory::start(&client, &sold(), || {});
        let (workloads, keep_workloads) = Workloads::start(&client, || {});
        tokio::spawn(keep_inventory);
        tokio::spawn(keep_workloads);
        let heard = Arc::new(Heard::default());
        let clock = Clock::manual(1_000);
        let reconcile = Reconcile {
            store: stage.store.clone(),
            clock: clock.clone(),
            provider: PROVIDER,
            inventory: inventory.clone(),
            workloads: workloads.clone(),
            applier: Applier::new(client),
            cluster: Cluster::new(cluster(), inventory.clone()),
            port_host: "provider.test".to_owned(),
            depths: Depths { start: 1, teardown: 2, orphan: 20 },
            freed: Nudge::default(),
            observe: heard.clone(),
            memory: Memory::default(),
        };
        let house = Self { stage, api, reconcile, inventory, heard, clock };
        until("the cluster has been read", async || {
            workloads.namespaces().is_ok() && workloads.seen().is_ok() && house.inventory.view(0).is_ok()
        })
        .await;
        house
    }

    pub(crate) async fn turn(&mut self) -> u64 {
        self.reconcile.turn().await.expect("a turn").changed
    }

    pub(crate) async fn status(&self, id: LeaseId) -> (LeaseStatus, Shown) {
        let status = self.stage.store.lease_status(id).await.expect("read").expect("looked at");
        let shown = Shown::read(&status.body).expect("ours");
        (status, shown)
    }

    /// A running pod of the lease, as the cluster's own controllers would make it.
    pub(crate) fn run_pod(&self, id: LeaseId, name: &str, ready: bool) {
        let (short, namespace) = (named(id).short_id(), named(id).namespace());
        let of_kind = |plural: &str| format!("/apis/apps/v1/namespaces/{namespace}/{plural}/web");
        let controllers = ["deployments", "statefulsets"].map(of_kind);
        let found = controllers.iter().find_map(|path| Some((path, self.api.get(path)?)));
        let (controller, applied) = found.expect("applied");
        let resources = &applied["spec"]["template"]["spec"]["containers"][0]["resources"];
        self.api.put(
            &format!("/api/v1/namespaces/{namespace}/pods/{name}"),
            json!({
                "metadata": {
                    "namespace": namespace, "labels": {"berth.dev/lease": short, "berth.dev/service": "web"},
                },
                "spec": {"nodeName": NODE, "containers": [{
                    "name": "web", "resources": resources,
                }]},
                "status": {
                    "phase": "Running",
                    "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
                    "containerStatuses": [{
                        "name": "web", "image": "", "imageID": "", "ready": ready, "restartCount": 0, "state": {"running": {}},
                    }],
                },
            }),
        );
        let generation = &applied["metadata"]["generation"];
        self.api.change(
            controller,
            json!({"status": {"observedGeneration": generation, "replicas": 1, "updatedReplicas": 1}}),
        );
    }
}

pub(crate) fn node() -> Value {
    json!({
        "metadata": {"labels": {}},
        "spec": {},
        "status": {
            "allocatable": {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "100Gi", "pods": "110", "nvidia.com/gpu": "4"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

pub(crate) fn record(allocations: &Value, observed_at: u64) -> Value {
    let device = |uuid: &str| {
        json!({
            "uuid": uuid, "gpu": POOL, "name": "", "memory_mib": 0, "pci": "", "bus": "", "minor": null, "mig": false,
            "health": {"state": "healthy"},
        })
    };
    let record = json!({
        "version": 1, "node": NODE, "observed_at": observed_at, "period_s": 10,
        "devices": [device("GPU-1"), device("GPU-2"), device("GPU-3"), device("GPU-4")],
        "driver": {"state": "absent", "reason": ""}, "allocations": allocations, "problems": [],
    });
    json!({"metadata": {"namespace": "berth", "labels": {"berth.dev/record": "node"}}, "data": {"record.json": record.to_string()}})
}

pub(crate) const RECORD: &str = "/api/v1/namespaces/berth/configmaps/berth-node-node-a";

#[tokio::test]
async fn a_lease_is_applied_with_its_limits_before_what_runs_and_a_second_turn_changes_nothing() {
    let mut house = House::new().await;
    let (manifest, spec) = parsed(&document(1, 0, ""));
    let id = house.stage.lease(TENANT, 1, &manifest, &spec).await;
    house.turn().await;
    assert_eq!(house.api.take_changes(), [""; 0], "nothing runs before the manifest comes");

    house.stage.send(id, &manifest).await;
    assert!(house.turn().await > 0);
    let changes = house.api.take_changes();
    let place = |part: &str| {
        changes
            .iter()
            .position(|change| change.contains(part))
            .unwrap_or_else(|| panic!("no {part} in {changes:?}"))
    };
    assert_eq!(place("PATCH /api/v1/namespaces/berth-"), 0);
    assert!(place("/resourcequotas/") < place("/deployments/"), "{changes:?}");
    assert!(place("/networkpolicies/") < place("/deployments/"), "{changes:?}");
    assert!(changes.iter().all(|change| change.starts_with("PATCH ")), "{changes:?}");
    assert_eq!(house.status(id).await.0.applied_revision, Some(1));

    assert_eq!(house.turn().await, 0);
    assert_eq!(house.api.take_changes(), [""; 0]);
}

#[tokio::test]
async fn a_right_that_was_just_given_is_waited_for_and_one_that_never_comes_is_not_waited_for_long() {
    const FORBIDDEN: &str =
        "resourcequotas is forbidden: User \"berth\" cannot patch resource \"resourcequotas\"";
    let mut house = House::new().await;
    let access = ProviderAccess {
        cluster_role: "leases".to_owned(),
        account: "berth".to_owned(),
        namespace: "home".to_owned(),
    };
    let settings = Settings { provider_access: Some(access), ..cluster() };
    house.reconcile.cluster = Cluster::new(settings, house.inventory.clone());
    let (manifest, spec) = parsed(&document(1, 0, ""));
    let id = house.stage.lease(TENANT, 1, &manifest, &spec).await;
    house.stage.send(id, &manifest).await;
    house.api.refuse("/resourcequotas/", StatusCode::FORBIDDEN, FORBIDDEN);
    let api = house.api.clone();
    let noted = async {
        let mut seen = Vec::new();
        until("it is tried again", || {
            seen.extend(api.take_changes());
            let tries = seen.iter().filter(|change| change.contains("/resourcequotas/")).count();
            std::future::ready(tries >= 2)
        })
        .await;
        api.refuse_nothing();
        seen
    };
    let (changed, seen) = tokio::join!(house.turn(), noted);
    assert!(seen[0].contains("/namespaces/") && seen[1].contains("/rolebindings/lease.provider"), "{seen:?}");
    assert!(changed > 0);
    assert_eq!(house.status(id).await.0.applied_revision, Some(1));

    let other = house.stage.lease(TENANT, 2, &manifest, &spec).await;
    house.stage.send(other, &manifest).await;
    house.api.refuse("/resourcequotas/", StatusCode::FORBIDDEN, FORBIDDEN);
    let turn = tokio::time::timeout(std::time::Duration::from_secs(20), house.reconcile.turn()).await;
    turn.expect("it gives up").expect("a turn");
    assert_eq!(house.status(other).await.0.applied_revision, None);
}

#[tokio::test]
async fn a_lease_is_ready_when_its_pods_are_and_tells_how_it_is_reached() {
    let mut house = House::new().await;
    let (manifest, spec) = parsed(&document(1, 0, ""));
    let id = house.stage.lease(TENANT, 1, &manifest, &spec).await;
    house.stage.send(id, &manifest).await;
    house.turn().await;
    let (status, shown) = house.status(id).await;
    assert_eq!((status.health, shown.state), (Health::Unknown, market::api::LeaseState::Starting));

    house.run_pod(id, "web-1", true);
    becomes(&mut house, id, Health::Healthy).await;
    let (_, shown) = house.status(id).await;
    assert_eq!(shown.state, market::api::LeaseState::Ready);
    let web = &shown.services[0];
    assert_eq!((web.ready, web.wanted, web.pods[0].state.as_str()), (1, 1, "running"));
    assert!(
        web.urls[0].starts_with("http://") && web.urls[0].ends_with(".apps.provider.test"),
        "{:?}",
        web.urls
    );

    house.run_pod(id, "web-1", false);
    becomes(&mut house, id, Health::Unknown).await;
    assert_eq!(house.status(id).await.1.state, market::api::LeaseState::Degraded);
}

/// Takes turns until the lease is seen to be of this health.
pub(crate) async fn becomes(house: &mut House, id: LeaseId, health: Health) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        house.turn().await;
        let (status, shown) = house.status(id).await;
        if status.health == health {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "waited for {health:?}, it is {status:?} {shown:?}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_closed_lease_is_removed_when_the_chain_is_sure_and_only_then_is_it_noted_as_gone() {
    let mut house = House::new().await;
    let (manifest, spec) = parsed(&document(1, 0, ""));
    let id = house.stage.lease(TENANT, 1, &manifest, &spec).await;
    let other = house.stage.lease(TENANT, 2, &manifest, &spec).await;
    for id in [id, other] {
        house.stage.send(id, &manifest).await;
    }
    house.turn().await;
    house.api.take_changes();

    house.stage.close(id, 1).await;
    house.turn().await;
    assert_eq!(house.api.take_changes(), [""; 0], "one block above its end is not deep enough");

    house.stage.mine(1, vec![]).await;
    gone(&mut house, id).await;
    let namespace = named(id).namespace();
    assert_eq!(house.api.take_changes(), [format!("DELETE /api/v1/namespaces/{namespace}")]);
    assert!(house.stage.store.manifest(id).await.expect("read").is_none());
    let left = named(other).namespace();
    assert!(house.api.get(&format!("/apis/apps/v1/namespaces/{left}/deployments/web")).is_some());
    house.turn().await;
    assert_eq!(house.api.take_changes(), [""; 0]);
}

#[tokio::test]
async fn reorg_that_removes_a_won_lease_tears_its_workload_down_after_a_grace() {
    let mut house = House::new().await;
    let (manifest, spec) = parsed(&document(1, 0, ""));
    let stays = house.stage.lease(TENANT, 1, &manifest, &spec).await;
    let id = house.stage.lease(TENANT, 2, &manifest, &spec).await;
    for id in [stays, id] {
        house.stage.send(id, &manifest).await;
    }
    house.turn().await;
    house.api.take_changes();

    // The lease's own block and the one above it.
    house.stage.reorganise(2).await;
    assert!(house.stage.store.lease(id).await.expect("read").is_none());
    house.stage.mine(18, vec![]).await;
    house.turn().await;
    assert_eq!(house.api.take_changes(), [""; 0], "its transaction may be mined again");
    assert_eq!(*house.heard.held.lock().expect("whole"), 0, "it is known whose it is");

    house.stage.mine(18, vec![]).await;
    gone(&mut house, id).await;
    assert_eq!(house.api.take_changes(), [format!("DELETE /api/v1/namespaces/{}", named(id).namespace())]);
    assert!(house.stage.store.manifest(id).await.expect("read").is_none());
    assert!(house.stage.store.orphaned_leases().await.expect("read").is_empty());
    house.turn().await;
    assert_eq!(house.api.take_changes(), [""; 0]);
}

#[tokio::test]
async fn a_lease_that_comes_back_after_a_reorg_keeps_its_workload() {
    let mut house = House::new().await;
    let (manifest, spec) = parsed(&document(1, 0, ""));
    let id = house.stage.lease(TENANT, 1, &manifest, &spec).await;
    let lease = house.stage.store.lease(id).await.expect("read").expect("won").lease;
    house.stage.send(id, &manifest).await;
    house.turn().await;
    house.api.take_changes();
    house.stage.reorganise(2).await;
    house.stage.mine(5, vec![]).await;
    house.turn().await;
    house.stage.mine(50, vec![Fact::LeaseCreated(lease)]).await;
    house.turn().await;
    let changes = house.api.take_changes();
    assert!(changes.iter().all(|change| change.starts_with("PATCH")), "{changes:?}");
    assert!(house.stage.store.manifest(id).await.expect("read").is_some());
}

/// Takes turns until the lease is noted as torn down.
pub(crate) async fn gone(house: &mut House, id: LeaseId) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        house.turn().await;
        let status = house.stage.store.lease_status(id).await.expect("read");
        if status.is_some_and(|status| status.torn_down_at.is_some()) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "waited in vain for the teardown of {id}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_lease_that_ended_before_its_manifest_came_is_noted_as_gone_without_a_touch() {
    let mut house = House::new().await;
    let (manifest, spec) = parsed(&document(1, 0, ""));
    let id = house.stage.lease(TENANT, 1, &manifest, &spec).await;
    house.stage.close(id, 5).await;
    gone(&mut house, id).await;
    assert_eq!(house.api.take_changes(), [""; 0]);
}

#[tokio::test]
async fn a_lease_whose_place_may_be_anothers_is_not_started() {
    let mut house = House::new().await;
    let (manifest, spec) = parsed(&document(1, 0, ""));
    let id = house.stage.lease(TENANT, 1, &manifest, &spec).await;
    house.stage.send(id, &manifest).await;
    house.stage.mine(1, vec![]).await;
    let store = &house.stage.store;
    store.release_reservation(id, "a reorganisation took the order away", false, 3).await.expect("freed");
    house.turn().await;
    let (status, shown) = house.status(id).await;
    assert_eq!((status.health, status.applied_revision), (Health::Unknown, None));
    assert!(shown.why.expect("told").contains("nothing is reserved for it at the moment"));
    assert_eq!(house.api.take_changes(), [""; 0]);
}

#[tokio::test]
async fn a_tenant_is_told_that_an_update_adds_no_replica() {
    let mut house = House::new().await;
    let surge = "    x-berth: {strategy: {type: RollingUpdate, maxSurge: 1}}";
    let (manifest, spec) = parsed(&document(2, 0, surge));
    let id = house.stage.lease(TENANT, 1, &manifest, &spec).await;
    house.stage.send(id, &manifest).await;
    house.turn().await;
    let notes = house.status(id).await.1.notes;
    assert!(notes.iter().any(|note| note.starts_with("web: an update adds no replica")), "{notes:?}");
}

#[tokio::test]
async fn what_somebody_else_deleted_comes_back() {
    let mut house = House::new().await;
    let (manifest, spec) = parsed(&document(1, 0, ""));
    let id = house.stage.lease(TENANT, 1, &manifest, &spec).await;
    house.stage.send(id, &manifest).await;
    house.turn().await;
    let deployment = format!("/apis/apps/v1/namespaces/{}/deployments/web", named(id).namespace());
    house.api.delete(&deployment);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while house.api.get(&deployment).is_none() {
        assert!(std::time::Instant::now() < deadline, "waited in vain for {deployment}");
        house.turn().await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_blind_cluster_and_an_unknown_chain_delete_nothing() {
    let mut house = House::new().await;
    let (manifest, spec) = parsed(&document(1, 0, ""));
    let id = house.stage.lease(TENANT, 1, &manifest, &spec).await;
    house.stage.send(id, &manifest).await;
    house.turn().await;
    house.stage.close(id, 5).await;
    house.api.take_changes();

    // A daemon that starts while the API server refuses every list.
    house.api.refuse("GET ", StatusCode::SERVICE_UNAVAILABLE, "etcd is away");
    let client = house.api.client();
    let (workloads, keep) = Workloads::start(&client, || {});
    tokio::spawn(keep);
    let (inventory, keep) = Inventory::start(&client, &sold(), || {});
    tokio::spawn(keep);
    let told =
        || inventory.capacity(&[], 1_000).problem.is_some_and(|problem| problem.contains("etcd is away"));
    until("the inventory hears the refusals", async || told()).await;
    assert!(inventory.capacity(&[], 1_000).nodes.is_empty());
    let view = async || inventory.pods_by_lease().is_err_and(|blind| !blind.is_starting());
    until("pods cannot be seen either", view).await;
    (house.reconcile.workloads, house.reconcile.inventory) = (workloads, inventory);
    until("the refusals are heard", async || {
        let blind = house.reconcile.workloads.namespaces().err();
        blind.is_some_and(|blind| !blind.is_starting())
            && house.reconcile.workloads.seen().is_err_and(|blind| !blind.is_starting())
    })
    .await;
    let problem = house.reconcile.turn().await.expect_err("it cannot see");
    assert!(problem.to_string().contains("has not been read"), "{problem:#}");
    assert_eq!(house.api.take_changes(), [""; 0]);

    // A database that has followed nothing, beside a cluster that runs leases.
    house.api.refuse_nothing();
    let mut empty = House::on(Stage::new().await, house.api.clone()).await;
    empty.turn().await;
    assert_eq!(house.api.take_changes(), [""; 0]);
    assert!(house.api.get(&format!("/api/v1/namespaces/{}", named(id).namespace())).is_some());
    assert_eq!(*empty.heard.held.lock().expect("whole"), 1, "the lease that is not known is reported");
}

#[tokio::test]
async fn a_namespace_that_is_not_ours_is_neither_changed_nor_deleted() {
    let mut house = House::new().await;
    let (manifest, spec) = parsed(&document(1, 0, ""));
    let id = house.stage.lease(TENANT, 1, &manifest, &spec).await;
    let namespace = format!("/api/v1/namespaces/{}", named(id).namespace());
    house.api.put(&namespace, json!({"metadata": {"labels": {"team": "payroll"}}}));
    house.stage.send(id, &manifest).await;
    house.turn().await;
    let (status, shown) = house.status(id).await;
    assert_eq!((status.health, status.applied_revision), (Health::Unknown, None));
    assert!(
        shown.why.as_deref().unwrap_or_default().contains("does not carry the lease's label"),
        "{shown:?}"
    );

    house.stage.close(id, 5).await;
    gone(&mut house, id).await;
    assert_eq!(house.api.take_changes(), [""; 0]);
    assert!(house.api.get(&namespace).is_some());
}

#[tokio::test]
async fn an_update_takes_away_what_the_older_manifest_left_and_nothing_without_our_label() {
    let mut house = House::new().await;
    let login = "    credentials: {host: registry.test, username: someone, password: canary-registry}\n";
    let (with_login, spec) = parsed(&document(1, 0, login).replace("\"2.0\"", "\"2.1\""));
    let id = house.stage.lease(TENANT, 1, &with_login, &spec).await;
    house.stage.send(id, &with_login).await;
    house.turn().await;
    let namespace = named(id).namespace();
    let secret = format!("/api/v1/namespaces/{namespace}/secrets/web.registry");
    assert!(house.api.get(&secret).is_some(), "{:?}", house.api.paths());
    let strange = format!("/api/v1/namespaces/{namespace}/secrets/somebody-elses");
    house.api.put(&strange, json!({"metadata": {"namespace": namespace}}));
    house.api.take_changes();

    let (without, _) = parsed(&document(1, 0, ""));
    house.stage.commit(id, &without).await;
    house.stage.send(id, &without).await;
    house.turn().await;
    assert!(house.api.get(&secret).is_none() && house.api.get(&strange).is_some());
    let deleted: Vec<_> =
        house.api.take_changes().into_iter().filter(|change| change.starts_with("DELETE")).collect();
    assert_eq!(deleted, [format!("DELETE {secret}")]);
    assert_eq!(house.status(id).await.0.applied_revision, Some(2));
}

#[tokio::test]
async fn a_refused_update_keeps_what_runs_and_tells_no_secret() {
    let mut house = House::new().await;
    let (manifest, spec) = parsed(&document(1, 0, ""));
    let id = house.stage.lease(TENANT, 1, &manifest, &spec).await;
    house.stage.send(id, &manifest).await;
    house.turn().await;
    let (changed, _) = parsed(&document(1, 0, "    args: [\"serve\"]\n"));
    house.stage.commit(id, &changed).await;
    house.stage.send(id, &changed).await;
    house.api.take_changes();
    let message = "env[0]: Invalid value: \"canary-hunter2\": no";
    house.api.refuse("/deployments/", StatusCode::UNPROCESSABLE_ENTITY, message);
    house.turn().await;
    let (status, shown) = house.status(id).await;
    assert_eq!((status.health, status.applied_revision), (Health::Unknown, Some(1)));
    let why = shown.why.clone().unwrap_or_default();
    assert!(why.contains("failed to apply Deployment") && why.contains("***"), "{why}");
    assert!(!status.body.contains("hunter2"), "{}", status.body);
    assert!(house.api.take_changes().iter().all(|change| !change.starts_with("DELETE")));

    house.api.refuse_nothing();
    house.turn().await;
    assert_eq!(house.status(id).await.0.applied_revision, Some(2));
}

#[tokio::test]
async fn a_workload_waits_for_the_secrets_that_its_manifest_names_and_follows_their_changes() {
    let mut house = House::new().await;
    let secret = "    x-berth: {secretRef: {DB_PASSWORD: db-password}}\n";
    let (manifest, spec) = parsed(&document(1, 0, secret));
    let id = house.stage.lease(TENANT, 1, &manifest, &spec).await;
    house.stage.send(id, &manifest).await;
    house.turn().await;
    let deployment = format!("/apis/apps/v1/namespaces/{}/deployments/web", named(id).namespace());
    assert_eq!(house.api.get(&deployment), None);
    let why = house.status(id).await.1.why.unwrap_or_default();
    assert!(why.contains("waits for") && why.contains("db-password"), "{why}");

    let give = async |house: &House, value: &str| {
        let given = [("db-password".to_owned(), SecretValue(value.as_bytes().to_vec()))].into();
        house.stage.store.put_secrets(id, &given, 6).await.expect("stored");
    };
    give(&house, "canary-sesame").await;
    house.turn().await;
    let first = house.api.get(&deployment).expect("applied");
    assert!(!first.to_string().contains("sesame"), "{first}");
    let secrets = format!("/api/v1/namespaces/{}/secrets/lease.secrets", named(id).namespace());
    assert!(house.api.get(&secrets).is_some());
    let status = house.status(id).await.0;
    assert!(!status.body.contains("sesame") && !status.body.contains("waits for"), "{}", status.body);

    house.api.take_changes();
    give(&house, "canary-simsim").await;
    house.turn().await;
    let template = |object: &Value| object["spec"]["template"].clone();
    assert_ne!(template(&house.api.get(&deployment).expect("applied")), template(&first), "pods start again");
}

#[tokio::test]
async fn devices_are_adopted_and_a_device_under_two_leases_is_an_incident() {
    let mut house = House::new().await;
    let (manifest, spec) = parsed(&document(1, 1, ""));
    let first = house.stage.lease(TENANT, 1, &manifest, &spec).await;
    let second = house.stage.lease(TENANT, 2, &manifest, &spec).await;
    for id in [first, second] {
        house.stage.send(id, &manifest).await;
    }
    house.turn().await;
    for id in [first, second] {
        house.run_pod(id, "web-1", true);
    }
    let held = |uuids: [&str; 2]| {
        let of = |id: LeaseId, uuid: &str| {
            json!({
                "namespace": named(id).namespace(), "pod": "web-1", "container": "web", "resource": "nvidia.com/gpu",
                "uuids": [uuid],
            })
        };
        record(&json!([of(first, uuids[0]), of(second, uuids[1])]), 1_000)
    };
    house.api.put(RECORD, held(["GPU-1", "GPU-2"]));
    holds(&mut house, first, &["GPU-1"]).await;
    holds(&mut house, second, &["GPU-2"]).await;
    assert!(house.heard.incidents.lock().expect("whole").is_empty());
    assert_eq!(house.status(first).await.1.services[0].pods[0].gpus, ["GPU-1"]);

    house.api.put(RECORD, held(["GPU-1", "GPU-1"]));
    holds(&mut house, second, &["GPU-1"]).await;
    house.turn().await;
    assert_eq!(*house.heard.incidents.lock().expect("whole"), ["gpu_shared"], "told once");

    // An agent that has fallen silent ends nothing.
    house.clock.set(2_000);
    house.turn().await;
    holds(&mut house, first, &["GPU-1"]).await;
}

/// Takes turns until the store says that the lease holds these devices.
async fn holds(house: &mut House, id: LeaseId, uuids: &[&str]) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        house.turn().await;
        let rows = house.stage.store.gpus_of(id).await.expect("read");
        let held: Vec<_> =
            rows.iter().filter(|row| row.until.is_none()).map(|row| row.uuid.as_str()).collect();
        if held == uuids {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "waited for {uuids:?}, it holds {held:?}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn capacity_follows_the_cluster() {
    let mut house = House::new().await;
    house.api.put(RECORD, record(&json!([]), 1_000));
    let free = |house: &House, promises: &[Promise], now| {
        let capacity = house.inventory.capacity(promises, now);
        let node = &capacity.nodes[NODE];
        (node.cpu_milli, node.gpus.values().copied().next())
    };
    until("the record is read", async || free(&house, &[], 1_000).1.is_some()).await;
    assert_eq!(free(&house, &[], 1_000), (4_000, Some(4)));
    assert_eq!(free(&house, &[], 1_091), (4_000, None), "a stale record sells no GPU");

    let (manifest, spec) = parsed(&document(1, 1, ""));
    let id = house.stage.lease(TENANT, 1, &manifest, &spec).await;
    let reservation = house.stage.store.reservation(id).await.expect("read").expect("held");
    let promise = Promise { lease: named(id).short_id(), placement: reservation.placement };
    assert_eq!(free(&house, std::slice::from_ref(&promise), 1_000), (3_500, Some(3)));

    house.stage.send(id, &manifest).await;
    house.turn().await;
    house.run_pod(id, "web-1", true);
    until("the pod is seen", async || house.inventory.pods_by_lease().is_ok_and(|pods| !pods.is_empty()))
        .await;
    assert_eq!(free(&house, &[promise], 1_000), (3_500, Some(3)), "the pod counts instead of its promise");
    assert_eq!(free(&house, &[], 1_000).0, 3_500, "what runs counts without a promise too");
}

fn set_of(id: LeaseId) -> String {
    format!("/apis/apps/v1/namespaces/{}/statefulsets/web", named(id).namespace())
}

fn claim_of(id: LeaseId) -> String {
    format!("/api/v1/namespaces/{}/persistentvolumeclaims/volume-data-web-0", named(id).namespace())
}

/// A lease whose service keeps a volume of one GiB, bound as the cluster would bind it, and its pod.
async fn with_volume(house: &mut House) -> LeaseId {
    let (manifest, spec) = parsed(&document_with_volume("1Gi", ""));
    let id = house.stage.lease(TENANT, 1, &manifest, &spec).await;
    house.stage.send(id, &manifest).await;
    house.turn().await;
    house.api.change(&claim_of(id), json!({"status": {"phase": "Bound"}}));
    house.run_pod(id, "web-0", true);
    becomes(house, id, Health::Healthy).await;
    house.api.take_changes();
    id
}

/// The tenant commits to another size of the volume, and sends it.
async fn resize(house: &House, id: LeaseId, size: &str) {
    let (manifest, _) = parsed(&document_with_volume(size, ""));
    house.stage.commit(id, &manifest).await;
    house.stage.send(id, &manifest).await;
}

#[tokio::test]
async fn a_service_with_a_volume_is_judged_like_any_other_and_comes_back_when_deleted() {
    let mut house = House::new().await;
    let id = with_volume(&mut house).await;
    let shown = house.status(id).await.1;
    let web = &shown.services[0];
    assert_eq!((web.ready, web.wanted, web.pods[0].name.as_str()), (1, 1, "web-0"));

    house.run_pod(id, "web-0", false);
    becomes(&mut house, id, Health::Unknown).await;
    assert_eq!(house.status(id).await.1.state, market::api::LeaseState::Degraded);

    house.api.delete(&set_of(id));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while house.api.get(&set_of(id)).is_none() {
        assert!(std::time::Instant::now() < deadline, "waited in vain for the StatefulSet");
        house.turn().await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_volume_grows_with_its_claim_first_and_its_pods_kept_and_goes_on_after_any_stop() {
    let mut house = House::new().await;
    let id = with_volume(&mut house).await;
    let uid = |house: &House| house.api.get(&set_of(id)).expect("there")["metadata"]["uid"].clone();
    let before = uid(&house);
    resize(&house, id, "2Gi").await;

    // The daemon gets as far as the claim, and no further.
    house.api.refuse("DELETE ", StatusCode::SERVICE_UNAVAILABLE, "etcd is away");
    house.turn().await;
    let claimed = |house: &House| {
        house.api.get(&claim_of(id)).expect("there")["spec"]["resources"]["requests"]["storage"].clone()
    };
    assert_eq!(claimed(&house), json!("2147483648"));
    assert_eq!(uid(&house), before);
    assert_eq!(house.status(id).await.0.applied_revision, Some(1));

    // The next one as far as the StatefulSet that is taken away.
    let set = set_of(id);
    house.api.refuse(&format!("PATCH {set}"), StatusCode::SERVICE_UNAVAILABLE, "etcd is away");
    house.turn().await;
    assert_eq!(house.api.get(&set), None);
    assert!(house.api.paths().iter().any(|path| path.ends_with("/pods/web-0")), "its pod is kept");

    house.api.refuse_nothing();
    house.turn().await;
    assert_ne!(uid(&house), before);
    assert_eq!(house.status(id).await.0.applied_revision, Some(2));
    let changes = house.api.take_changes();
    let touched = |change: &str| changes.iter().position(|made| made == change);
    let (grown, gone) =
        (touched(&format!("PATCH {}", claim_of(id))), touched(&format!("DELETE {set} Orphan")));
    assert!(grown.is_some() && grown < gone, "{changes:?}");

    house.turn().await;
    assert_eq!(house.api.take_changes(), [""; 0], "it has settled");
}

#[tokio::test]
async fn a_volume_that_cannot_become_what_is_wanted_changes_nothing() {
    let mut house = House::new().await;
    let id = with_volume(&mut house).await;
    resize(&house, id, "512Mi").await;
    house.turn().await;
    let why = house.status(id).await.1.why.unwrap_or_default();
    assert!(why.contains("volume-data-web-0") && why.contains("cannot become smaller"), "{why}");
    assert_eq!(house.api.take_changes(), [""; 0]);
}

#[tokio::test]
async fn claims_that_a_quota_keeps_out_get_in_once_what_is_dropped_is_gone() {
    let mut house = House::new().await;
    let id = with_volume(&mut house).await;
    let renamed = document_with_volume("1Gi", "").replace("web", "kept");
    let (manifest, _) = parsed(&renamed);
    house.stage.commit(id, &manifest).await;
    house.stage.send(id, &manifest).await;
    let kept = "/persistentvolumeclaims/volume-data-kept-0";
    house.api.refuse(kept, StatusCode::FORBIDDEN, "exceeded quota: lease, requested: requests.storage=1Gi");
    house.turn().await;
    assert_eq!(house.api.get(&claim_of(id)), None, "what nobody wants any more makes room");
    house.api.refuse_nothing();
    house.turn().await;
    assert!(house.api.paths().iter().any(|path| path.ends_with(kept)));
}

#[tokio::test]
async fn what_is_offered_of_storage_follows_the_cluster_and_what_is_promised() {
    let mut house = House::new().await;
    let storage = |house: &House, promises: &[Promise]| {
        house.inventory.capacity(promises, 1_000).storage.get("default").copied()
    };
    assert_eq!(storage(&house, &[]), Some(1 << 40));
    let takes = manifests::decision::Takes {
        volumes: [("default".to_owned(), 1 << 30)].into(),
        ..Default::default()
    };
    let replica = manifests::decision::Replica { unit: 1, node: "a node that is gone".to_owned(), takes };
    let placement = manifests::decision::Placement { replicas: vec![replica; 2], ..Default::default() };
    let promise = Promise { lease: "x".to_owned(), placement };
    assert_eq!(storage(&house, &[promise]), Some((1 << 40) - (2 << 30)));

    // A class that the cluster loses is not offered, and a lease that has such volumes is told so.
    let id = with_volume(&mut house).await;
    house.api.delete(&storage_class_path("fast"));
    until("the class is gone", async || storage(&house, &[]).is_none()).await;
    house.turn().await;
    let (status, shown) = house.status(id).await;
    assert_eq!(status.health, Health::Unknown);
    assert!(shown.why.unwrap_or_default().contains("persistent volumes of class default are not offered"));
    assert!(house.api.take_changes().is_empty());
}

#[tokio::test]
async fn tenants_are_kept_away_from_the_api_server_wherever_it_moves() {
    let mut house = House::new().await;
    let (manifest, spec) = parsed(&document(1, 0, ""));
    let id = house.stage.lease(TENANT, 1, &manifest, &spec).await;
    house.stage.send(id, &manifest).await;
    house.turn().await;
    let closed = |house: &House, address: &str| {
        let policies = house.api.paths().into_iter().filter(|path| path.contains("/networkpolicies/"));
        let texts: Vec<String> =
            policies.map(|path| house.api.get(&path).expect("there").to_string()).collect();
        texts.iter().any(|text| text.contains(&format!("{address}/32")))
    };
    assert!(closed(&house, "203.0.113.1") && !closed(&house, "203.0.113.2"));

    house.api.put(API_SERVERS, answers_at(&["203.0.113.2"]));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !closed(&house, "203.0.113.2") {
        assert!(std::time::Instant::now() < deadline, "its new address is not closed");
        house.turn().await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(!closed(&house, "203.0.113.1"));

    // An API server that says no address changes nothing of what is closed.
    house.api.put(API_SERVERS, answers_at(&[]));
    until("no address is told", async || {
        house.inventory.api_servers().is_ok_and(|servers| servers.is_empty())
    })
    .await;
    house.api.take_changes();
    house.turn().await;
    assert_eq!(house.api.take_changes(), [""; 0]);
    assert!(house.status(id).await.1.why.unwrap_or_default().contains("has no endpoint"));
}
