//! What keeps tenants' pods off a node.

use std::fmt;

use k8s_openapi::api::core::v1::{Node, Taint};

use super::is_ready;
use crate::inventory::requests::GPU_RESOURCE;

/// One reason why a node takes no pods of tenants.
#[derive(Debug, Clone, PartialEq)]
pub enum Obstacle<'a> {
    /// Its kubelet does not report well.
    NotReady,
    /// An operator cordoned it.
    Cordoned,
    /// It has a taint that ordinary pods do not tolerate.
    Tainted(&'a Taint),
    /// It is being deleted.
    Leaving,
}

impl fmt::Display for Obstacle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReady => f.write_str("it is not ready"),
            Self::Cordoned => f.write_str("it is cordoned: `berth-provider uncordon` sells it again"),
            Self::Tainted(Taint { key, effect, .. }) => {
                write!(f, "it has the taint {key}:{effect}, which tenants' pods do not tolerate")
            }
            Self::Leaving => f.write_str("it is being deleted"),
        }
    }
}

/// Everything that keeps tenants' pods off a node. The taint that GPU operators put on GPU nodes does not: GPU pods tolerate it.
pub fn obstacles(node: &Node) -> impl Iterator<Item = Obstacle<'_>> {
    let spec = node.spec.as_ref();
    let not_ready = (!is_ready(node)).then_some(Obstacle::NotReady);
    let cordoned = spec.and_then(|spec| spec.unschedulable).unwrap_or(false).then_some(Obstacle::Cordoned);
    let leaving = node.metadata.deletion_timestamp.is_some().then_some(Obstacle::Leaving);
    let taints = spec.and_then(|spec| spec.taints.as_ref()).into_iter().flatten().filter(|taint| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute") && taint.key != GPU_RESOURCE
    });
    not_ready.into_iter().chain(cordoned).chain(leaving).chain(taints.map(Obstacle::Tainted))
}
