//! The nodes that a service's replicas were promised, and what pods say so that they get there and nowhere else.
//!
//! A workload's pods are all alike: the scheduler can be told the nodes of all of them, not the node of each. It knows nothing
//! of what is promised to others and not taken yet, so wherever it has a choice it may put a pod into room that is another's.
//! It has none where each of `n` nodes is to have the same number `k` of `n · k` pods and their counts may differ by one at
//! most: a node with `k + 1` would mean `k` or more on every other, which is more pods than there are. So a service whose nodes
//! have different numbers of its replicas is run by several workloads, one for each number, and no two of them share a node.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::decision::{GpuTake, Placement, Replica};
use crate::gpu::{Gpu, NODE_LABEL};
use crate::manifest::{Group, Service};
use crate::objects::amounts::GPU_RESOURCE;
use crate::objects::{Frame, RenderError, labels, unsupported};

/// The nodes of a service.
#[derive(Debug)]
pub(super) struct Nodes<'a> {
    /// By name.
    by_name: BTreeMap<&'a str, Seats<'a>>,
    /// The resource by which they hand out GPUs.
    pub(super) gpu_resource: String,
}

/// What a service was promised on one node.
#[derive(Debug, Clone, Copy)]
struct Seats<'a> {
    replicas: u32,
    /// The GPUs of each replica.
    gpus: Option<&'a GpuTake>,
}

/// Nodes of a service that were promised the same number of its replicas each.
#[derive(Debug)]
pub(super) struct Share<'a> {
    /// How many replicas each of them has.
    pub(super) each: u32,
    by_name: BTreeMap<&'a str, Option<&'a GpuTake>>,
}

/// The replicas of each service of a group. Services that share a resource unit get its replicas by turns, in the order in which
/// both are written.
pub(super) fn deal<'a>(group: &Group, placement: &'a Placement) -> Vec<Vec<&'a Replica>> {
    let mut hands: Vec<Vec<&Replica>> = group.services.iter().map(|_| Vec::new()).collect();
    let mut turns: BTreeMap<u32, VecDeque<usize>> = BTreeMap::new();
    for (index, service) in group.services.iter().enumerate().filter(|(_, service)| service.count > 0) {
        turns.entry(service.resources.id).or_default().push_back(index);
    }
    for replica in &placement.replicas {
        let Some(turns) = turns.get_mut(&replica.unit) else { continue };
        let Some(index) = turns.pop_front() else { continue };
        hands[index].push(replica);
        if hands[index].len() < usize::try_from(group.services[index].count).unwrap_or(usize::MAX) {
            turns.push_back(index);
        }
    }
    hands
}

/// The nodes of a service whose replicas these are.
pub(super) fn nodes<'a>(service: &Service, replicas: &[&'a Replica]) -> Result<Nodes<'a>, RenderError> {
    let wants_gpus = service.resources.gpu.units.0 > 0;
    if u32::try_from(replicas.len()) != Ok(service.count) {
        return Err(RenderError::NotPlaced { service: service.name.clone() });
    }
    let mut by_name: BTreeMap<&str, Seats<'_>> = BTreeMap::new();
    for replica in replicas {
        let gpus = replica.takes.gpu.as_ref().filter(|_| wants_gpus);
        by_name.entry(&replica.node).or_insert(Seats { replicas: 0, gpus }).replicas += 1;
    }
    let mut gpu_resource = None;
    for (node, seats) in by_name.iter().filter(|_| wants_gpus) {
        let resource = seats.gpus.and_then(resource_of);
        let resource = resource
            .ok_or_else(|| RenderError::NoGpu { service: service.name.clone(), node: (*node).to_owned() })?;
        if *gpu_resource.get_or_insert_with(|| resource.clone()) != resource {
            let what = "its replicas were promised GPUs that are handed out under several names";
            return Err(unsupported(service, what));
        }
    }
    Ok(Nodes { by_name, gpu_resource: gpu_resource.unwrap_or_else(|| GPU_RESOURCE.to_owned()) })
}

/// The resource by which pods ask for what was promised; `None` when that is no pool.
fn resource_of(take: &GpuTake) -> Option<String> {
    let gpu: Gpu = take.pool.parse().ok()?;
    let implied =
        || gpu.mig_profile().map_or(GPU_RESOURCE.to_owned(), |profile| format!("nvidia.com/mig-{profile}"));
    Some(take.resource.clone().unwrap_or_else(implied))
}

impl<'a> Nodes<'a> {
    /// Whether every one of them gives pods user namespaces of their own.
    pub(super) fn give_user_namespaces(&self, frame: &Frame<'_>) -> bool {
        self.by_name.keys().all(|node| frame.settings.user_namespace_nodes.contains(*node))
    }

    /// The pool of GPUs that the replicas have, `None` without GPUs.
    pub(super) fn pool(&self) -> Option<&str> {
        self.by_name.values().find_map(|seats| seats.gpus).map(|take| take.pool.as_str())
    }

    /// The nodes by how many replicas they have: first those that have the most of them together. One share at least, which
    /// has no node where there are no replicas.
    pub(super) fn shares(&self) -> Vec<Share<'a>> {
        let mut by_number: BTreeMap<u32, Share<'a>> = BTreeMap::new();
        for (name, Seats { replicas: each, gpus }) in &self.by_name {
            let share =
                by_number.entry(*each).or_insert_with(|| Share { each: *each, by_name: BTreeMap::new() });
            share.by_name.insert(name, *gpus);
        }
        if by_number.is_empty() {
            return vec![Share { each: 0, by_name: BTreeMap::new() }];
        }
        let mut shares: Vec<Share<'a>> = by_number.into_values().collect();
        shares.sort_by_key(|share| Reverse((share.replicas(), share.each)));
        shares
    }
}

impl Share<'_> {
    /// How many replicas all of its nodes have together.
    pub(super) fn replicas(&self) -> u32 {
        self.each.saturating_mul(self.nodes())
    }

    fn nodes(&self) -> u32 {
        u32::try_from(self.by_name.len()).unwrap_or(u32::MAX)
    }

    /// Requires one of the nodes, with the GPUs that were promised there: those that have a resource name of their own are
    /// asked for by it, the others by the node's label, which tells of its only pool. The API takes one name a term, and terms
    /// are alternatives.
    pub(super) fn affinity(&self) -> Option<Affinity> {
        let one_of = |key: &str, value: &str| {
            vec![NodeSelectorRequirement {
                key: key.to_owned(),
                operator: "In".to_owned(),
                values: Some(vec![value.to_owned()]),
            }]
        };
        let terms: Vec<NodeSelectorTerm> = self
            .by_name
            .iter()
            .map(|(node, take)| NodeSelectorTerm {
                match_fields: Some(one_of("metadata.name", node)),
                match_expressions: take
                    .filter(|take| take.resource.is_none())
                    .map(|take| one_of(NODE_LABEL, &take.pool)),
            })
            .collect();
        (!terms.is_empty()).then(|| Affinity {
            node_affinity: Some(NodeAffinity {
                required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                    node_selector_terms: terms,
                }),
                ..NodeAffinity::default()
            }),
            ..Affinity::default()
        })
    }

    /// Puts the same number of replicas on each of the nodes. Affinity alone would let the scheduler fill a node whose room
    /// another lease was promised; where one of them is gone, so would the others' equality: without it there is no more than one
    /// replica a node to be added.
    pub(super) fn spread(
        &self,
        frame: &Frame<'_>,
        service: &Service,
    ) -> Option<Vec<TopologySpreadConstraint>> {
        (self.nodes() > 1).then(|| {
            vec![TopologySpreadConstraint {
                label_selector: Some(LabelSelector {
                    match_labels: Some(labels::selector(&frame.short_id, &service.name)),
                    ..LabelSelector::default()
                }),
                max_skew: 1,
                min_domains: i32::try_from(self.nodes()).ok(),
                topology_key: "kubernetes.io/hostname".to_owned(),
                when_unsatisfiable: "DoNotSchedule".to_owned(),
                ..TopologySpreadConstraint::default()
            }]
        })
    }
}
