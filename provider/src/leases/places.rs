//! What keeps replicas from running where they were promised: a node that does not answer, or a scheduler that finds no room
//! there.
//!
//! A node that is cordoned is not lost: what runs there goes on, and what is evicted shows as a pod without a place. One that the
//! operator drains through us is left at once.
//! A node that the selection does not show any more is taken for lost only if no pod of the lease is ready on it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use manifests::decision::Placement;
use manifests::order::OrderId;

use super::health::{condition, is_ready, node, unplaced};
use crate::inventory::requests::has_ended;

/// Why nothing more runs on a node that was promised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The node is gone or does not answer.
    Lost,
    /// The scheduler finds no room for a pod, and this node runs fewer than were promised on it.
    NoRoom(String),
    /// The operator has it emptied.
    Drained,
}

/// The troubled nodes of each order whose promise is troubled at the moment.
pub type Troubles = BTreeMap<OrderId, BTreeMap<String, Trouble>>;

/// The troubled nodes of one placement. `answers` are the nodes that are known and whether each answers; `pods` are the lease's.
pub fn troubles(
    placement: &Placement,
    answers: &BTreeMap<String, bool>,
    pods: &[&Pod],
) -> BTreeMap<String, Trouble> {
    let staying: Vec<&Pod> = pods
        .iter()
        .copied()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none() && !has_ended(pod))
        .collect();
    let no_room = staying.iter().find_map(|pod| {
        let is_unschedulable = condition(pod, "PodScheduled")
            .is_some_and(|condition| condition.reason.as_deref() == Some("Unschedulable"));
        unplaced(pod).filter(|_| is_unschedulable)
    });
    let mut promised: BTreeMap<&str, usize> = BTreeMap::new();
    for replica in &placement.replicas {
        *promised.entry(&replica.node).or_default() += 1;
    }
    let mut troubles = BTreeMap::new();
    for (name, count) in promised {
        let here = || staying.iter().filter(|pod| node(pod) == name);
        let answers = answers.get(name).copied().unwrap_or(false);
        let trouble = if !answers && !here().any(|pod| is_ready(pod)) {
            Some(Trouble::Lost)
        } else {
            no_room.clone().filter(|_| here().count() < count).map(Trouble::NoRoom)
        };
        troubles.extend(trouble.map(|trouble| (name.to_owned(), trouble)));
    }
    troubles
}

#[cfg(test)]
mod tests {
    use manifests::decision::{Replica, Takes};
    use serde_json::{Value, json};

    use super::*;

    fn placed(nodes: &[&str]) -> Placement {
        let replica = |node: &&str| Replica { unit: 1, node: (*node).to_owned(), takes: Takes::default() };
        Placement { replicas: nodes.iter().map(replica).collect(), ..Placement::default() }
    }

    fn pod(node: Option<&str>, condition: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web-1"},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": "Running", "conditions": [condition]},
        }))
        .expect("a pod")
    }

    fn running(node: &str) -> Pod {
        pod(Some(node), &json!({"type": "Ready", "status": "True"}))
    }

    fn homeless(reason: &str) -> Pod {
        let condition =
            json!({"type": "PodScheduled", "status": "False", "reason": reason, "message": "0/3 nodes"});
        pod(None, &condition)
    }

    fn told(nodes: &[&str], answering: &[(&str, bool)], pods: &[Pod]) -> BTreeMap<String, Trouble> {
        let answers = answering.iter().map(|(name, answers)| ((*name).to_owned(), *answers)).collect();
        troubles(&placed(nodes), &answers, &pods.iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_node_that_is_gone_or_silent_is_lost_and_one_that_answers_is_not() {
        let lost = |name: &str| BTreeMap::from([(name.to_owned(), Trouble::Lost)]);
        assert_eq!(told(&["a", "b"], &[("a", true)], &[]), lost("b"));
        assert_eq!(told(&["a", "b"], &[("a", true), ("b", false)], &[running("a")]), lost("b"));
        assert!(told(&["a"], &[("a", true)], &[]).is_empty());
        assert!(told(&["a"], &[], &[running("a")]).is_empty(), "it is sold no more, and runs what it runs");
    }

    #[test]
    fn a_pod_without_room_troubles_the_nodes_that_run_fewer_than_promised() {
        let answering = [("a", true), ("b", true)];
        let no_room = BTreeMap::from([("b".to_owned(), Trouble::NoRoom("0/3 nodes".to_owned()))]);
        assert_eq!(told(&["a", "b"], &answering, &[running("a"), homeless("Unschedulable")]), no_room);
        let surge = [running("a"), running("b"), homeless("Unschedulable")];
        assert!(
            told(&["a", "b"], &answering, &surge).is_empty(),
            "an update that waits for room loses nothing"
        );
        let gated = [running("a"), homeless("SchedulingGated")];
        assert!(told(&["a", "b"], &answering, &gated).is_empty());
        assert!(told(&["a", "b"], &answering, &[running("a")]).is_empty(), "its pod was not made yet");
    }
}
