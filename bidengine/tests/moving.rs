//! Nodes are lost, and only what ran there moves.

#[path = "support/unit.rs"]
mod unit;

use std::collections::{BTreeMap, BTreeSet};

use bidengine::{Capacity, Node, Tariff, move_off, place};
use manifests::decision::{Placement, Reason};
use manifests::group::{OrderSpec, Requirements};
use manifests::resources::Attribute;
use unit::{Unit, spec};

const GIB: u64 = 1 << 30;

fn node(cpu_milli: u64, gpus: &[(&str, u64)]) -> Node {
    Node {
        schedulable: true,
        cpu_milli,
        memory_bytes: 64 * GIB,
        ephemeral_bytes: 64 * GIB,
        gpus: gpus.iter().map(|(pool, count)| (pool.parse().expect("a label"), *count)).collect(),
        ..Node::default()
    }
}

fn cluster(nodes: &[(&str, Node)]) -> Capacity {
    let nodes = nodes.iter().map(|(name, node)| ((*name).to_owned(), node.clone())).collect();
    Capacity { nodes, ..Capacity::default() }
}

fn tariff() -> Tariff {
    serde_yaml::from_str(
        "{cpuThread: '1', memoryGiB: '1', ephemeralGiB: '1', endpoint: '1', storageGiB: {beta2: '1'},
          gpu: [{model: h100, monthly: '100'}, {model: a100, monthly: '50'}]}",
    )
    .expect("is a tariff")
}

fn order(units: &[Unit]) -> OrderSpec {
    spec(Requirements::default(), units)
}

fn moved(
    spec: &OrderSpec,
    before: &Placement,
    lost: &[&str],
    capacity: &Capacity,
) -> Result<Placement, Reason> {
    let lost: BTreeSet<String> = lost.iter().map(|name| (*name).to_owned()).collect();
    move_off(spec, before, &lost, capacity, &tariff())
}

fn nodes(placement: &Placement) -> Vec<&str> {
    placement.replicas.iter().map(|replica| replica.node.as_str()).collect()
}

fn gpus(count: u32, models: &[&str]) -> Vec<Unit> {
    let models = models.iter().map(|model| (*model).to_owned()).collect();
    vec![Unit { count, gpus: 4, models, ..Unit::default() }]
}

#[test]
fn replicas_on_other_nodes_stay_exactly_as_they_are() {
    let order = order(&[Unit { count: 3, cpu_milli: 1000, ports: 1, ..Unit::default() }]);
    let full = cluster(&[("a", node(1000, &[])), ("b", node(1000, &[])), ("c", node(1000, &[]))]);
    let mut before = place(&order, &full, &tariff()).expect("fits");
    assert_eq!(nodes(&before), ["a", "b", "c"]);
    // What stands was placed when more was sold than was kept free.
    before.replicas[0].takes.cpu_milli = 700;
    let now = cluster(&[("a", node(5000, &[])), ("b", node(9000, &[])), ("d", node(9000, &[]))]);
    let after = moved(&order, &before, &["b"], &now).expect("fits");
    assert_eq!(
        nodes(&after),
        ["a", "d", "c"],
        "a node each, as before, and not the lost one although it has room"
    );
    assert_eq!(after.replicas[0], before.replicas[0]);
    assert_eq!(after.node_ports, before.node_ports);
    assert_eq!(moved(&order, &before, &[], &now), Ok(before), "nothing was lost");
}

#[test]
fn replicas_of_a_unit_keep_one_pool_while_one_of_them_stands() {
    let order = order(&gpus(2, &["h100", "a100"]));
    let full =
        cluster(&[("a", node(9000, &[("a100-80Gi-sxm", 4)])), ("b", node(9000, &[("a100-80Gi-sxm", 4)]))]);
    let before = place(&order, &full, &tariff()).expect("fits");
    let mut now = cluster(&[("c", node(9000, &[("h100-80Gi-sxm", 8)]))]);
    let reason = moved(&order, &before, &["b"], &now).expect_err("has no such GPU");
    assert_eq!(
        reason.to_string(),
        "a GPU of model a100-80Gi-sxm, 4 on a node, as the replica on node a has is needed; the nodes have h100-80Gi-sxm"
    );
    // Dearer than the other, but the same.
    now.nodes.insert("d".to_owned(), node(9000, &[("a100-80Gi-sxm", 4)]));
    assert_eq!(nodes(&moved(&order, &before, &["b"], &now).expect("fits")), ["a", "d"]);
}

#[test]
fn a_unit_that_lost_all_its_nodes_gets_its_pool_again_or_else_the_cheapest_that_matches() {
    let order = order(&gpus(1, &["h100", "a100"]));
    let full = cluster(&[("a", node(9000, &[("h100-80Gi-sxm", 4)]))]);
    let before = place(&order, &full, &tariff()).expect("fits");
    let mut now =
        cluster(&[("b", node(9000, &[("a100-80Gi-sxm", 4)])), ("c", node(9000, &[("h100-80Gi-sxm", 4)]))]);
    assert_eq!(nodes(&moved(&order, &before, &["a"], &now).expect("fits")), ["c"]);
    now.nodes.remove("c");
    let after = moved(&order, &before, &["a"], &now).expect("fits");
    assert_eq!(after.replicas[0].takes.gpu.as_ref().expect("GPUs").pool, "a100-80Gi-sxm");
    now.nodes.remove("b");
    assert_eq!(moved(&order, &before, &["a"], &now).expect_err("is empty").code(), "resources_gpu_model");
}

#[test]
fn a_replica_moves_only_to_where_its_volume_is_reached() {
    let order = order(&[Unit { persistent: Some("beta2".to_owned()), ..Unit::default() }]);
    let in_rack = |rack: &str| Node {
        segments: BTreeMap::from([("beta2".to_owned(), rack.to_owned())]),
        ..node(9000, &[])
    };
    let mut capacity = cluster(&[("a", Node { cpu_milli: 1000, ..in_rack("r1") }), ("b", in_rack("r2"))]);
    capacity.storage.insert("beta2".to_owned(), GIB);
    capacity.segments = BTreeMap::from([("r1".to_owned(), GIB), ("r2".to_owned(), GIB)]);
    let before = place(&order, &capacity, &tariff()).expect("fits");
    assert_eq!(nodes(&before), ["a"]);
    assert_eq!(capacity.take(&before), Ok(()));
    let reason = moved(&order, &before, &["a"], &capacity).expect_err("is in another rack");
    assert_eq!(reason.code(), "unsupported");
    assert!(reason.to_string().contains("a volume of class beta2 away from where node a has it"), "{reason}");
    // Its volume is there already: the rack has no room for another one, nor is more of the class sold.
    capacity.nodes.insert("c".to_owned(), in_rack("r1"));
    let after = moved(&order, &before, &["a"], &capacity).expect("fits");
    assert_eq!(nodes(&after), ["c"]);
    assert_eq!(after.replicas[0].takes, before.replicas[0].takes);
}

#[test]
fn each_replica_still_has_a_node_of_its_own_where_that_was_asked() {
    let spread =
        Requirements { attributes: Some(vec![Attribute::new("spread", "node")]), ..Requirements::default() };
    let order = spec(spread, &[Unit { count: 2, ..Unit::default() }]);
    let full = cluster(&[("a", node(9000, &[])), ("b", node(9000, &[]))]);
    let before = place(&order, &full, &tariff()).expect("fits");
    let reason = moved(&order, &before, &["b"], &cluster(&[("a", node(9000, &[]))]));
    assert_eq!(reason, Err(Reason::NodeSpread { unit: 1, need: 2, have: 1 }));
}

#[test]
fn what_finds_no_node_is_told_by_what_it_lacks() {
    let order = order(&[Unit { cpu_milli: 4000, ..Unit::default() }]);
    let before = place(&order, &cluster(&[("a", node(4000, &[]))]), &tariff()).expect("fits");
    let reason = moved(&order, &before, &["a"], &cluster(&[("b", node(3999, &[]))]));
    assert_eq!(reason, Err(Reason::ResourcesCpu { need: 4000, have: 3999 }));
}

#[test]
fn replicas_with_volumes_keep_a_node_each_and_are_never_put_together() {
    let order = order(&[Unit { count: 3, persistent: Some("beta2".to_owned()), ..Unit::default() }]);
    let small = || node(1000, &[]);
    let mut capacity = cluster(&[("a", small()), ("b", small()), ("c", small())]);
    capacity.storage.insert("beta2".to_owned(), 3 * GIB);
    let before = place(&order, &capacity, &tariff()).expect("fits");
    assert_eq!(nodes(&before), ["a", "b", "c"]);
    let two = cluster(&[("a", node(9000, &[])), ("b", small())]);
    assert_eq!(
        moved(&order, &before, &["c"], &two),
        Err(Reason::NodeVolumes { unit: 1, need: 3, have: 2 }),
        "no StatefulSet has two replicas on one node and one on another for certain"
    );
    let three = cluster(&[("a", node(9000, &[])), ("b", small()), ("d", small())]);
    assert_eq!(nodes(&moved(&order, &before, &["c"], &three).expect("fits")), ["a", "b", "d"]);
}
