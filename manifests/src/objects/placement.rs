//! The nodes that a service's replicas were promised, and what pods say so that they get there and nowhere else.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::decision::GpuTake;
use crate::gpu::{Gpu, NODE_LABEL};
use crate::manifest::Service;
use crate::objects::amounts::GPU_RESOURCE;
use crate::objects::{Frame, RenderError, labels, unsupported};

/// The nodes of a service.
#[derive(Debug)]
pub(super) struct Nodes<'a> {
    /// By name, each with the GPUs there that were promised.
    by_name: BTreeMap<&'a str, Option<&'a GpuTake>>,
    /// The resource by which they hand out GPUs.
    pub(super) gpu_resource: String,
}

/// The nodes that the placement has for a service.
pub(super) fn nodes<'a>(frame: &Frame<'a>, service: &Service) -> Result<Nodes<'a>, RenderError> {
    let wants_gpus = service.resources.gpu.units.0 > 0;
    let mut by_name = BTreeMap::new();
    for replica in &frame.lease.placement.replicas {
        if replica.unit == service.resources.id {
            by_name.insert(replica.node.as_str(), replica.takes.gpu.as_ref().filter(|_| wants_gpus));
        }
    }
    if by_name.is_empty() && service.count > 0 {
        return Err(RenderError::NotPlaced { service: service.name.clone() });
    }
    let mut gpu_resource = None;
    for (node, take) in by_name.iter().filter(|_| wants_gpus) {
        let resource = take.and_then(resource_of);
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

impl Nodes<'_> {
    /// Whether every one of them gives pods user namespaces of their own.
    pub(super) fn give_user_namespaces(&self, frame: &Frame<'_>) -> bool {
        self.by_name.keys().all(|node| frame.settings.user_namespace_nodes.contains(*node))
    }

    /// The pool of GPUs that the replicas have, `None` without GPUs.
    pub(super) fn pool(&self) -> Option<&str> {
        self.by_name.values().copied().flatten().next().map(|take| take.pool.as_str())
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
}

/// Spreads replicas over the nodes of their placement. The same number on each of several is binding: affinity alone would let
/// the scheduler fill a node whose room another order was promised.
pub(super) fn spread(frame: &Frame<'_>, service: &Service) -> Option<Vec<TopologySpreadConstraint>> {
    (service.count > 1).then(|| {
        let when_unsatisfiable = if is_even(frame, service) { "DoNotSchedule" } else { "ScheduleAnyway" };
        vec![TopologySpreadConstraint {
            label_selector: Some(LabelSelector {
                match_labels: Some(labels::selector(&frame.short_id, &service.name)),
                ..LabelSelector::default()
            }),
            max_skew: 1,
            topology_key: "kubernetes.io/hostname".to_owned(),
            when_unsatisfiable: when_unsatisfiable.to_owned(),
            ..TopologySpreadConstraint::default()
        }]
    })
}

/// Whether each of several nodes was promised the same number of replicas, all of this service: of a unit that services share
/// nobody knows whose replicas go where.
fn is_even(frame: &Frame<'_>, service: &Service) -> bool {
    let nodes = frame.lease.placement.nodes_of(service.resources.id);
    let mut counts = nodes.values();
    let Some(first) = counts.next() else { return false };
    nodes.len() > 1 && counts.all(|count| count == first) && nodes.values().sum::<u32>() == service.count
}
