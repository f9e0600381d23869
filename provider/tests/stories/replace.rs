//! New places for what was promised on a node that is lost.

use std::time::Duration;

use crate::bidder::{Bench, wants_gpus};
use crate::support::*;
use bidengine::Capacity;
use manifests::order::Fact;
use provider::pricing::Terms;
use provider::store::{IntentKind, ReservationState};
use provider::task::Turn as _;

/// Nodes of four H100 each.
fn nodes(names: &[&str]) -> Capacity {
    let node = one_node(4).nodes.remove("n1").expect("one node");
    let nodes = names.iter().map(|&name| (name.to_owned(), node.clone())).collect();
    Capacity { nodes, ..Capacity::default() }
}

async fn bench(names: &[&str]) -> Bench {
    let bench = Bench::new(0).await;
    bench.cluster.has(Some(nodes(names)));
    bench
}

async fn places(bench: &Bench, dseq: u64) -> Vec<String> {
    let reservation = bench.reservation(dseq).await;
    reservation.placement.replicas.into_iter().map(|replica| replica.node).collect()
}

async fn after_seconds(bench: &mut Bench, seconds: u64) {
    bench.clock.set(bench.clock.now() + seconds);
    bench.settle().await;
}

#[tokio::test]
async fn a_lease_on_a_lost_node_gets_a_stored_new_place_after_the_grace() {
    let mut bench = bench(&["n1", "n2"]).await;
    bench.after(vec![wants_gpus(1, 2)]).await;
    bench.after(vec![bid_of(US, 1), won_by(US, 1)]).await;
    assert_eq!(places(&bench, 1).await, ["n1"]);
    bench.cluster.loses(&["n1"]);
    after_seconds(&mut bench, 119).await;
    after_seconds(&mut bench, 119).await;
    assert_eq!(places(&bench, 1).await, ["n1"], "nodes restart");
    let woken = tokio::time::timeout(Duration::from_millis(20), bench.leases.wait()).await;
    assert!(woken.is_err(), "nothing is to be run elsewhere yet");
    after_seconds(&mut bench, 1).await;
    assert_eq!(places(&bench, 1).await, ["n2"]);
    assert_eq!(bench.reservation(1).await.state, ReservationState::Leased);
    let woken = tokio::time::timeout(Duration::from_secs(5), bench.leases.wait()).await;
    assert!(woken.is_ok(), "whoever runs leases is told");
    bench.restart();
    bench.cluster.loses(&[]);
    after_seconds(&mut bench, 600).await;
    assert_eq!(places(&bench, 1).await, ["n2"], "it stays there when the node is back");
}

#[tokio::test]
async fn a_drained_node_is_left_at_once_and_an_undrained_one_is_not() {
    let mut bench = bench(&["n1", "n2"]).await;
    bench.after(vec![posted(1)]).await;
    bench.after(vec![bid_of(US, 1), won_by(US, 1)]).await;
    let before = places(&bench, 1).await;
    let elsewhere = if before == ["n1"] { "n2" } else { "n1" };
    bench.store.drain(&before[0], GENESIS).await.expect("stored");
    bench.settle().await;
    assert_eq!(places(&bench, 1).await, [elsewhere]);

    bench.store.undrain(&before[0]).await.expect("stored");
    bench.settle().await;
    assert_eq!(places(&bench, 1).await, [elsewhere], "it runs well where it is");
}

#[tokio::test]
async fn a_node_that_is_back_within_the_grace_keeps_what_it_was_promised() {
    let mut bench = bench(&["n1", "n2"]).await;
    bench.after(vec![wants_gpus(1, 2)]).await;
    for _ in 0..3 {
        bench.cluster.loses(&["n1"]);
        after_seconds(&mut bench, 100).await;
        bench.cluster.loses(&[]);
        after_seconds(&mut bench, 100).await;
    }
    assert_eq!(places(&bench, 1).await, ["n1"]);
}

#[tokio::test]
async fn a_held_bid_moves_as_a_lease_does() {
    let mut bench = bench(&["n1", "n2"]).await;
    bench.after(vec![wants_gpus(1, 2)]).await;
    bench.cluster.loses(&["n1"]);
    bench.settle().await;
    after_seconds(&mut bench, 120).await;
    assert_eq!(places(&bench, 1).await, ["n2"]);
    assert_eq!(bench.reservation(1).await.state, ReservationState::Held);
    assert_eq!(bench.bids().await.len(), 1, "the bid says nothing of nodes");
}

#[tokio::test]
async fn what_fits_nowhere_keeps_its_place_and_is_moved_once_there_is_room() {
    let mut bench = bench(&["n1", "n2"]).await;
    bench.after(vec![wants_gpus(1, 3), wants_gpus(2, 3)]).await;
    bench.after(vec![bid_of(US, 1), won_by(US, 1), bid_of(US, 2), won_by(US, 2)]).await;
    let before = (places(&bench, 1).await, places(&bench, 2).await);
    assert_ne!(before.0, before.1);
    let lost = before.0[0].clone();
    bench.cluster.loses(&[&lost]);
    bench.settle().await;
    after_seconds(&mut bench, 120).await;
    assert_eq!((places(&bench, 1).await, places(&bench, 2).await), before, "never more than there is");
    assert_eq!(bench.reservation(1).await.state, ReservationState::Leased, "nothing is given up for it");
    assert_eq!(bench.metric("berth_reservations_without_place").await, "1");
    let report = bench.bidder.turn().await.expect("a turn");
    assert_eq!(report.changed, 0);
    let mut wider = nodes(&["n1", "n2", "n3"]);
    wider.nodes.get_mut("n3").expect("there").cpu_milli = 1000;
    bench.cluster.has(Some(wider));
    bench.settle().await;
    assert_eq!(places(&bench, 1).await, ["n3"]);
    assert_eq!(bench.metric("berth_reservations_without_place").await, "0");
    assert_eq!(bench.metric("berth_reservations_moved_total").await, "1");
}

#[tokio::test]
async fn nothing_is_moved_while_the_cluster_is_unknown() {
    let mut bench = bench(&["n1", "n2"]).await;
    bench.after(vec![wants_gpus(1, 2)]).await;
    bench.cluster.loses(&["n1"]);
    bench.settle().await;
    bench.cluster.has(None);
    after_seconds(&mut bench, 600).await;
    assert_eq!(places(&bench, 1).await, ["n1"]);
    bench.cluster.has(Some(nodes(&["n1", "n2"])));
    bench.settle().await;
    assert_eq!(places(&bench, 1).await, ["n2"]);
}

#[tokio::test]
async fn of_two_on_a_lost_node_the_one_that_fits_moves() {
    let mut bench = bench(&["n1", "n2"]).await;
    bench.after(vec![wants_gpus(1, 2), wants_gpus(2, 2)]).await;
    bench.after(vec![wants_gpus(3, 2)]).await;
    assert_eq!(
        [places(&bench, 1).await, places(&bench, 2).await, places(&bench, 3).await].concat(),
        ["n1", "n1", "n2"]
    );
    bench.cluster.loses(&["n1"]);
    bench.settle().await;
    after_seconds(&mut bench, 120).await;
    let mut now = [places(&bench, 1).await, places(&bench, 2).await].concat();
    now.sort_unstable();
    assert_eq!(now, ["n1", "n2"]);
}

#[tokio::test]
async fn replicas_with_volumes_of_a_lost_node_wait_for_one_that_has_none_of_them() {
    let mut bench = bench(&["n1", "n2", "n3"]).await;
    let terms = bench.pricing.terms();
    let mut table = serde_json::to_value(&terms.tariff).expect("JSON");
    table["storageGiB"] = serde_json::json!({"beta2": "0.1"});
    let table = serde_json::from_value(table).expect("a tariff");
    bench.pricing.change(Terms::new(table, terms.policy.clone()), None);
    let classes = |mut capacity: Capacity| {
        capacity.storage.insert("beta2".to_owned(), 100 << 30);
        capacity
    };
    bench.cluster.has(Some(classes(nodes(&["n1", "n2", "n3"]))));
    let volume = serde_json::json!({
        "name": "data", "size": {"val": "1073741824"},
        "attributes": [{"key": "class", "value": "beta2"}, {"key": "persistent", "value": "true"}],
    });
    let mut wanted: serde_json::Value = serde_json::from_slice(&spec(2000, 0)).expect("JSON");
    wanted["resources"][0]["count"] = 3.into();
    wanted["resources"][0]["resource"]["storage"].as_array_mut().expect("a list").push(volume);
    bench.after(vec![Fact::OrderCreated(order(1, serde_json::to_vec(&wanted).expect("JSON")))]).await;
    bench.after(vec![bid_of(US, 1), won_by(US, 1)]).await;
    assert_eq!(places(&bench, 1).await, ["n1", "n2", "n3"], "no node has room for all three");

    // Two of three nodes have room for the third, and no workload can be told to put it there and nowhere else.
    bench.cluster.loses(&["n3"]);
    bench.settle().await;
    after_seconds(&mut bench, 120).await;
    assert_eq!(places(&bench, 1).await, ["n1", "n2", "n3"]);
    assert_eq!(bench.metric("berth_reservations_without_place").await, "1");
    let close = bench.store.intents_of(Some(id(1)), IntentKind::Close).await.expect("read");
    assert_eq!(close.count, 0, "two of its replicas run: nothing is given up for the third");
    bench.cluster.has(Some(classes(nodes(&["n1", "n2", "n3", "n4"]))));
    bench.settle().await;
    assert_eq!(places(&bench, 1).await, ["n1", "n2", "n4"]);
}
