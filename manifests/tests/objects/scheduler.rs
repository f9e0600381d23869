//! Wherever the cluster's scheduler has a choice it may choose badly: it does not know what was promised to others. So whatever
//! it chooses, each node must end up with the replicas that were placed on it.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use manifests::decision::{Placement, Replica, Takes};
use manifests::extension::{Extension, Strategy};
use manifests::manifest::{Group, Service};
use manifests::objects::{LeaseContext, render};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

use crate::golden;
use crate::stage::{self, settings};

const NODES: [&str; 4] = ["node-a", "node-b", "node-c", "node-d"];

/// The Deployments of a lease.
fn deployments(group: &Group, lease: &LeaseContext) -> Vec<Deployment> {
    let objects = render(group, lease, &settings()).expect("is placed");
    let deployments = objects.items.into_iter().filter(|item| item.kind == "Deployment");
    deployments.map(|item| serde_json::from_value(item.body).expect("is one")).collect()
}

/// The nodes that the scheduler may choose for a pod, with how many pods of the service are on each; `gone` does not exist.
fn allowed(pod: &PodSpec, there: &BTreeMap<&'static str, u32>, gone: Option<&str>) -> Vec<&'static str> {
    let required = pod.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        required.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let terms = &required.expect("names its nodes").node_selector_terms;
    let names = |node: &str| {
        let fields = terms.iter().flat_map(|term| term.match_fields.iter().flatten());
        fields.flat_map(|field| field.values.iter().flatten()).any(|name| name == node)
    };
    let eligible: Vec<&str> = NODES.into_iter().filter(|node| gone != Some(node) && names(node)).collect();
    let count = |node: &str| i64::from(there.get(node).copied().unwrap_or(0));
    let fits = |node: &&str| {
        pod.topology_spread_constraints.iter().flatten().all(|constraint| {
            assert_eq!(constraint.when_unsatisfiable, "DoNotSchedule", "a wish binds nobody");
            let domains = i32::try_from(eligible.len()).expect("are few");
            let least = match constraint.min_domains {
                Some(least) if domains < least => 0,
                _ => eligible.iter().map(|node| count(node)).min().unwrap_or(0),
            };
            count(node) + 1 - least <= i64::from(constraint.max_skew)
        })
    };
    eligible.iter().copied().filter(fits).collect()
}

/// Two services of a unit with so many replicas, and nodes for all of them.
fn lease(counts: [u32; 2], nodes: &[&str]) -> (Group, LeaseContext) {
    let path = golden::folder().join("web.sdl.yaml");
    let mut group = golden::manifest(&path).0.remove(0);
    let web = group.services.remove(0);
    let service = |(name, count): (&str, u32)| Service {
        name: name.to_owned(),
        count,
        expose: Vec::new(),
        ..web.clone()
    };
    group.services = ["web", "worker"].into_iter().zip(counts).map(service).collect();
    let replica =
        |node: &&str| Replica { unit: web.resources.id, node: (*node).to_owned(), takes: Takes::default() };
    let placement = Placement { replicas: nodes.iter().map(replica).collect(), ..Placement::default() };
    let lease = LeaseContext { placement, ..stage::lease(stage::LEASE, &group) };
    (group, lease)
}

fn counted(nodes: &[&'static str]) -> BTreeMap<&'static str, u32> {
    let mut counted = BTreeMap::new();
    for node in nodes {
        *counted.entry(*node).or_default() += 1;
    }
    counted
}

/// Pods on each node, by service.
type There = BTreeMap<String, BTreeMap<&'static str, u32>>;

/// Has the scheduler place all pods, any first, each on any node that it may. With a node that is gone some pods wait.
fn scheduled(deployments: &[Deployment], choices: &[Index], gone: Option<&str>) -> There {
    let mut there = There::new();
    let mut waiting: Vec<(&String, &PodSpec)> = Vec::new();
    for deployment in deployments {
        let spec = deployment.spec.as_ref().expect("has one");
        let service = &deployment.metadata.labels.as_ref().expect("has labels")["berth.dev/service"];
        let pod = spec.template.spec.as_ref().expect("has pods");
        let replicas = usize::try_from(spec.replicas.expect("is told")).expect("is not negative");
        waiting.extend(std::iter::repeat_n((service, pod), replicas));
    }
    let mut choices = choices.iter();
    let mut choose = |among: usize| choices.next().map_or(0, |choice| choice.index(among));
    let mut given_up = Vec::new();
    while !waiting.is_empty() {
        let (service, pod) = waiting.swap_remove(choose(waiting.len()));
        let counts = there.entry(service.clone()).or_default();
        let nodes = allowed(pod, counts, gone);
        if nodes.is_empty() {
            given_up.push(service);
            continue;
        }
        *counts.entry(nodes[choose(nodes.len())]).or_default() += 1;
    }
    assert!(gone.is_some() || given_up.is_empty(), "pods of {given_up:?} wait for ever");
    there
}

/// All pods on each node.
fn together(there: &There) -> BTreeMap<&'static str, u32> {
    let mut all = BTreeMap::new();
    for (node, count) in there.values().flatten() {
        *all.entry(*node).or_default() += count;
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_scheduler_chooses_each_node_gets_what_was_placed_there(
        nodes in prop::collection::vec(prop::sample::select(&NODES[..]), 2..12),
        split in any::<Index>(),
        choices in prop::collection::vec(any::<Index>(), 24),
    ) {
        let first = 1 + split.index(nodes.len() - 1);
        let counts = [first, nodes.len() - first].map(|count| u32::try_from(count).expect("are few"));
        let (group, lease) = lease(counts, &nodes);
        let there = scheduled(&deployments(&group, &lease), &choices, None);
        prop_assert_eq!(together(&there), counted(&nodes));
        for (service, count) in ["web", "worker"].into_iter().zip(counts) {
            prop_assert_eq!(there[service].values().sum::<u32>(), count, "{}", service);
        }
    }

    #[test]
    fn no_node_gets_more_than_was_placed_there_when_another_is_gone(
        nodes in prop::collection::vec(prop::sample::select(&NODES[..]), 2..12),
        gone in prop::sample::select(&NODES[..]),
        choices in prop::collection::vec(any::<Index>(), 24),
    ) {
        let counts = [u32::try_from(nodes.len() - 1).expect("are few"), 1];
        let (group, lease) = lease(counts, &nodes);
        let (there, placed) = (scheduled(&deployments(&group, &lease), &choices, Some(gone)), counted(&nodes));
        for (node, count) in together(&there) {
            prop_assert!(count <= placed[node], "{} has {} of {:?}", node, count, placed);
        }
    }
}

#[test]
fn a_service_with_different_numbers_on_its_nodes_has_a_deployment_for_each_number() {
    let (group, lease) = lease([5, 0], &["node-a", "node-a", "node-b", "node-b", "node-c"]);
    let told = |deployment: &Deployment| {
        (
            deployment.metadata.name.clone().unwrap_or_default(),
            deployment.spec.as_ref().and_then(|spec| spec.replicas),
        )
    };
    let deployments: Vec<_> = deployments(&group, &lease).iter().map(told).collect();
    let expected = [("web", 4), ("web-by-1", 1), ("worker", 0)];
    assert_eq!(deployments, expected.map(|(name, count)| (name.to_owned(), Some(count))));
}

#[test]
fn services_that_share_a_unit_get_its_replicas_by_turns() {
    let (group, lease) = lease([2, 2], &["node-a", "node-a", "node-b", "node-b"]);
    let there = scheduled(&deployments(&group, &lease), &[], None);
    let one_on_each = BTreeMap::from([("node-a", 1), ("node-b", 1)]);
    assert_eq!(
        there,
        There::from([("web".to_owned(), one_on_each.clone()), ("worker".to_owned(), one_on_each)])
    );
}

/// The Deployments' types of update with how many replicas they may add and miss, and what the tenant is told.
fn updates(strategy: Option<serde_json::Value>, nodes: &[&str]) -> (Vec<(String, i32, i32)>, Vec<String>) {
    let (mut group, lease) = lease([u32::try_from(nodes.len()).expect("few"), 0], nodes);
    let strategy: Option<Strategy> = strategy.map(|strategy| serde_json::from_value(strategy).expect("one"));
    group.services.truncate(1);
    group.services[0].x_berth = Some(Extension { strategy, ..Extension::default() });
    let rendered = render(&group, &lease, &settings()).expect("is placed");
    let told = |deployment: Deployment| {
        let strategy = deployment.spec.and_then(|spec| spec.strategy).expect("says how");
        let number = |number: Option<IntOrString>| match number {
            Some(IntOrString::Int(number)) => number,
            other => panic!("{other:?}"),
        };
        let numbers = strategy
            .rolling_update
            .map_or((0, 0), |rolling| (number(rolling.max_surge), number(rolling.max_unavailable)));
        (strategy.type_.expect("a type"), numbers.0, numbers.1)
    };
    (deployments(&group, &lease).into_iter().map(told).collect(), rendered.notes)
}

#[test]
fn an_update_adds_no_replica_and_divides_what_may_be_missing() {
    let rolling = |surge: u32, missing: u32| {
        Some(json!({"type": "RollingUpdate", "maxSurge": surge, "maxUnavailable": missing}))
    };
    let (even, uneven) = (["node-a", "node-b"], ["node-a", "node-a", "node-b", "node-b", "node-c"]);
    for (strategy, nodes, missing, told) in [
        (None, &even[..], vec![1], None),
        (None, &uneven[..], vec![1, 1], None),
        (rolling(0, 2), &even, vec![2], None),
        (rolling(1, 0), &even, vec![1], Some("up to 1 may be missing")),
        (rolling(1, 2), &even, vec![2], Some("up to 2 may be missing")),
        (rolling(0, 5), &uneven, vec![3, 2], None),
        (rolling(0, 1), &uneven, vec![1, 1], Some("up to 2 may be missing")),
        (rolling(1, 0), &uneven, vec![1, 1], Some("up to 2 may be missing")),
    ] {
        let (updates, notes) = updates(strategy.clone(), nodes);
        let expected: Vec<_> =
            missing.iter().map(|missing| ("RollingUpdate".to_owned(), 0, *missing)).collect();
        assert_eq!(updates, expected, "{strategy:?} on {nodes:?}");
        assert_eq!(notes.len(), usize::from(told.is_some()), "{strategy:?} on {nodes:?}: {notes:?}");
        assert!(
            told.is_none_or(|told| notes[0].starts_with("web: ") && notes[0].contains(told)),
            "{notes:?}"
        );
    }
    let recreate = Some(json!({"type": "Recreate"}));
    let (all_at_once, notes) = updates(recreate.clone(), &even);
    assert_eq!((all_at_once.len(), notes.len()), (1, 0));
    let (by_number, notes) = updates(recreate, &uneven);
    assert!(by_number.iter().all(|update| update.0 == "Recreate") && by_number.len() == 2);
    assert!(notes[0].contains("2 different numbers of its replicas"), "{notes:?}");
}
