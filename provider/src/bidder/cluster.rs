//! The cluster as the bidder sees it: what is free beside what is promised, and what keeps promises from being kept.

use bidengine::Capacity;
use manifests::order::Address;
use tracing::debug;

use super::CapacitySource;
use crate::clock::Clock;
use crate::inventory::watch::Blind;
use crate::inventory::{Inventory, Promise, Snapshot};
use crate::leases::names::short_name;
use crate::leases::places::{Troubles, troubles};
use crate::store::{ReservationRow, ReservationState};

/// What a cluster has free for a provider's orders, and how its leases' places do.
#[derive(Debug, Clone)]
pub struct ClusterCapacity {
    /// Whose promises they are.
    pub provider: Address,
    /// The cluster.
    pub inventory: Inventory,
    /// Tells how old the agents' records are.
    pub clock: Clock,
}

impl ClusterCapacity {
    /// What is promised, by the names that the leases' pods carry.
    pub(crate) fn promises(&self, promised: &[ReservationRow]) -> Vec<Promise> {
        let promise = |row: &ReservationRow| Promise {
            lease: short_name(row.order, self.provider),
            placement: row.placement.clone(),
        };
        promised.iter().map(promise).collect()
    }

    /// The cluster as a whole, with what is promised.
    pub(crate) fn snapshot(&self, promised: &[ReservationRow]) -> Result<Snapshot, Blind> {
        self.inventory.snapshot(&self.promises(promised), self.clock.now())
    }
}

impl CapacitySource for ClusterCapacity {
    fn free(&self, promised: &[ReservationRow]) -> Option<Capacity> {
        let capacity = self.inventory.capacity(&self.promises(promised), self.clock.now());
        if let Some(problem) = &capacity.problem {
            debug!(problem, "nothing is promised while the cluster cannot be seen");
            return None;
        }
        Some(capacity)
    }

    fn troubles(&self, promised: &[ReservationRow]) -> Option<Troubles> {
        let answers = self.inventory.answering().ok()?;
        let pods = self.inventory.pods_by_lease().ok()?;
        let mut found = Troubles::new();
        for row in promised.iter().filter(|row| row.state != ReservationState::Released) {
            let pods = pods.get(&short_name(row.order, self.provider));
            let pods: Vec<_> = pods.into_iter().flatten().map(|source| &*source.pod).collect();
            let troubled = troubles(&row.placement, &answers, &pods);
            if !troubled.is_empty() {
                found.insert(row.order, troubled);
            }
        }
        Some(found)
    }
}
