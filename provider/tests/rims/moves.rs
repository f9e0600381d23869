//! A node is lost under a lease: the bidder stores new places, the leases' loop renders them, and nobody is blamed meanwhile.

use std::time::Duration;

use crate::leases::{House, becomes, node};
use crate::stage::{NODE, PROVIDER, document, named, parsed};
use crate::support::bidder_settings;
use crate::wait::until;
use manifests::order::{Address, LeaseId};
use provider::bidder::cluster::ClusterCapacity;
use provider::bidder::{Bidder, Settings, Wakes};
use provider::metrics::Metrics;
use provider::store::Health;
use provider::task::Turn as _;
use serde_json::{Value, json};

const TENANT: Address = Address([0xaa; 20]);
const OTHER: &str = "/api/v1/nodes/node-b";

struct Moves {
    house: House,
    bidder: Bidder<ClusterCapacity>,
    id: LeaseId,
}

impl Moves {
    /// A lease on the first of two nodes, whose only pod is ready there.
    async fn new() -> Self {
        let mut house = House::new().await;
        house.api.put(OTHER, node());
        let (manifest, spec) = parsed(&document(1, 0, ""));
        let id = house.stage.lease(TENANT, 1, &manifest, &spec).await;
        house.stage.send(id, &manifest).await;
        house.turn().await;
        house.run_pod(id, "web-1", true);
        becomes(&mut house, id, Health::Healthy).await;
        let source = ClusterCapacity {
            provider: PROVIDER,
            inventory: house.inventory.clone(),
            clock: house.clock.clone(),
        };
        let settings = Settings { provider: PROVIDER, ..bidder_settings() };
        let (store, clock) = (house.stage.store.clone(), house.clock.clone());
        let metrics = Metrics::new().expect("distinct names");
        let bidder = Bidder::new(store, source, settings, clock, Wakes::default(), metrics);
        Self { house, bidder, id }
    }

    /// The nodes that the Deployment's pods have to run on.
    fn rendered(&self) -> Vec<String> {
        let namespace = named(self.id).namespace();
        let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/web");
        let deployment = self.house.api.get(&path).expect("applied");
        let terms = deployment.pointer(
            "/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms",
        );
        let terms = terms.and_then(Value::as_array).expect("terms");
        let name = |term: &Value| term["matchFields"][0]["values"][0].as_str().expect("a name").to_owned();
        terms.iter().map(name).collect()
    }

    fn pod(&self, name: &str) -> String {
        format!("/api/v1/namespaces/{}/pods/{name}", named(self.id).namespace())
    }

    /// The pod is as its container had kept ending when the node was last heard of.
    fn crashes(&self, name: &str) {
        let state = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let containers = json!([{"name": "web", "image": "", "imageID": "", "ready": false, "restartCount": 3, "state": state}]);
        let conditions = json!([{"type": "Ready", "status": "False"}]);
        self.house.api.change(
            &self.pod(name),
            json!({"status": {"conditions": conditions, "containerStatuses": containers}}),
        );
    }

    async fn troubled_for(&mut self, seconds: u64) {
        self.house.clock.set(self.house.clock.now() + seconds);
        self.bidder.turn().await.expect("a turn");
        self.house.turn().await;
    }

    async fn until_seen(&self, what: &str, answering: &[(&str, bool)]) {
        let wanted = answering.iter().map(|(name, answers)| ((*name).to_owned(), *answers)).collect();
        until(what, async || self.house.inventory.answering().as_ref() == Ok(&wanted)).await;
    }
}

fn silent() -> Value {
    json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}})
}

#[tokio::test]
async fn a_silent_nodes_lease_is_rendered_for_another_node_after_the_grace_and_is_never_called_unhealthy() {
    let mut moves = Moves::new().await;
    assert_eq!(moves.rendered(), [NODE]);
    moves.crashes("web-1");
    moves.house.api.change("/api/v1/nodes/node-a", silent());
    moves.until_seen("the node is silent", &[(NODE, false), ("node-b", true)]).await;
    moves.troubled_for(0).await;
    becomes(&mut moves.house, moves.id, Health::Unknown).await;
    moves.troubled_for(119).await;
    assert_eq!(moves.rendered(), [NODE], "it may only restart");
    moves.troubled_for(1).await;
    assert_eq!(moves.rendered(), ["node-b"]);
    assert_eq!(
        moves.house.status(moves.id).await.0.health,
        Health::Unknown,
        "ours is not held against the tenant"
    );
}

#[tokio::test]
async fn a_node_that_is_gone_is_lost_too() {
    let mut moves = Moves::new().await;
    moves.house.api.delete("/api/v1/nodes/node-a");
    moves.until_seen("the node is gone", &[("node-b", true)]).await;
    moves.troubled_for(0).await;
    moves.troubled_for(120).await;
    assert_eq!(moves.rendered(), [NODE], "its pod is ready: it was only taken out of what is sold");
    moves.crashes("web-1");
    let inventory = moves.house.inventory.clone();
    until("the pod is seen", async || {
        let pods = inventory.pods_by_lease().expect("seen");
        format!("{pods:?}").contains("CrashLoopBackOff")
    })
    .await;
    moves.troubled_for(0).await;
    assert_eq!(moves.house.status(moves.id).await.0.health, Health::Unknown, "nobody knows how it is there");
    moves.troubled_for(120).await;
    assert_eq!(moves.rendered(), ["node-b"]);
}

#[tokio::test]
async fn a_cordoned_node_keeps_its_lease_and_a_pod_without_room_moves_it() {
    let mut moves = Moves::new().await;
    moves.house.api.change("/api/v1/nodes/node-a", json!({"spec": {"unschedulable": true}}));
    moves.troubled_for(0).await;
    moves.troubled_for(Duration::from_secs(600).as_secs()).await;
    assert_eq!(moves.rendered(), [NODE], "what runs there goes on");
    // Drained: the pod is evicted, and the one in its place finds no room.
    moves.house.api.delete(&moves.pod("web-1"));
    let message = "0/2 nodes are available";
    let homeless = json!({
        "metadata": {
            "namespace": named(moves.id).namespace(),
            "labels": {"berth.dev/lease": named(moves.id).short_id(), "berth.dev/service": "web"},
        },
        "spec": {"containers": [{"name": "web"}]},
        "status": {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message},
        ]},
    });
    moves.house.api.put(&moves.pod("web-2"), homeless);
    let inventory = moves.house.inventory.clone();
    until("the pod is seen", async || {
        let pods = inventory.pods_by_lease().expect("seen");
        let shown = format!("{pods:?}");
        shown.contains(message) && !shown.contains("web-1")
    })
    .await;
    moves.troubled_for(0).await;
    moves.troubled_for(119).await;
    assert_eq!(moves.rendered(), [NODE]);
    let (status, shown) = moves.house.status(moves.id).await;
    assert_eq!(status.health, Health::Unknown, "{shown:?}");
    moves.troubled_for(1).await;
    assert_eq!(moves.rendered(), ["node-b"]);
}
