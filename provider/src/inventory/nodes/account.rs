//! One node's account: what it has, who takes what of it, and who was promised what.

use std::collections::BTreeMap;

use kube::ResourceExt;
use serde::Serialize;

use super::obstacles::obstacles;
use super::taken::Taken;
use super::{ByLease, Promise, View, allocatable, by_lease, held_by_leases, replicas};
use crate::inventory::requests::Resources;

/// Where what a node has goes. What is left is what it has, minus the others', minus what each lease holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Account {
    /// What keeps tenants' pods away from it, a sentence each.
    pub obstacles: Vec<String>,
    /// What it has for pods.
    pub has: Resources,
    /// What pods take that are no lease's.
    pub others: Resources,
    /// What leases run and were promised, by short name.
    pub leases: BTreeMap<String, OfLease>,
}

/// A lease on a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct OfLease {
    /// What its pods take.
    pub runs: Resources,
    /// What it was promised.
    pub promised: Resources,
    /// The larger of both, which is not for sale.
    pub holds: Resources,
}

/// The account of a node; `None` if no such node is sold.
#[must_use]
pub fn account(view: &View, promises: &[Promise], name: &str) -> Option<Account> {
    let node = view.nodes.iter().find(|node| node.name_any() == name)?;
    let nothing = Taken::default();
    let taken = view.taken.get(name).map_or(&nothing, |taken| taken);
    let pools = view.pools.get(name).map(|pools| &**pools).unwrap_or_default();
    let promised = by_lease(pools, &replicas(promises).remove(name).unwrap_or_default());
    let leases = held_by_leases(taken, &promised)
        .into_iter()
        .map(|(lease, holds)| (lease.to_owned(), of_lease(lease, holds, taken, &promised)));
    Some(Account {
        obstacles: obstacles(node).map(|obstacle| obstacle.to_string()).collect(),
        has: allocatable(node),
        leases: leases.collect(),
        others: taken.others.clone(),
    })
}

fn of_lease(lease: &str, holds: Resources, taken: &Taken, promised: &ByLease<'_>) -> OfLease {
    let runs = taken.leases.get(lease).cloned().unwrap_or_default();
    let promised = promised.get(lease).map(|promised| promised.all.clone()).unwrap_or_default();
    OfLease { runs, promised, holds }
}
