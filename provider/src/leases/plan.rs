//! What is to be done for each lease and each namespace, decided from what the chain says and what the cluster shows.
//!
//! A namespace is deleted only on proof: its lease is one of ours and the chain closed it, deep enough below the head, or we
//! saw a reorganisation take the lease away and nothing brought it back. A namespace whose lease we do not know is held and
//! reported, whatever the reason.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::{LeaseRow, LeaseState};

/// How deep a fact must lie below the head before it is acted on, in blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depths {
    /// Blocks above a lease before its workload starts.
    pub start: u64,
    /// Blocks above a lease's end before its workload is deleted.
    pub teardown: u64,
    /// Blocks that the workload of a lease is kept after a reorganisation took the lease away.
    pub orphan: u64,
}

/// What is to be done for one lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is not deep enough yet.
    Wait,
    /// The cluster should hold its objects.
    Run,
    /// The cluster should hold nothing of it.
    Remove,
}

/// What is to be done for a lease with the head at this height.
pub fn step(row: &LeaseRow, head: u64, depths: Depths) -> Step {
    let deep = |block: u64, depth: u64| block.checked_add(depth).is_some_and(|at| head >= at);
    match row.state {
        LeaseState::Active | LeaseState::Reclaiming { .. } if deep(row.created_block, depths.start) => {
            Step::Run
        }
        LeaseState::Closed { block, .. } if deep(block, depths.teardown) => Step::Remove,
        _ => Step::Wait,
    }
}

/// Whether a lease that was taken away when `since` was followed will not come back.
pub fn is_given_up(since: u64, head: u64, depths: Depths) -> bool {
    since.checked_add(depths.orphan).is_some_and(|at| head >= at)
}

/// What is to be done with the namespaces that carry a lease's label, given by short name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Namespaces {
    /// To be deleted: the chain closed the lease, or took it back.
    pub delete: BTreeSet<String>,
    /// Of leases that we do not know: held.
    pub held: BTreeSet<String>,
}

/// Sorts the namespaces that the cluster shows. `leases` are all that this provider ever won; `orphans` those that a
/// reorganisation took away, with the height that was followed then.
pub fn namespaces<'a>(
    seen: impl IntoIterator<Item = &'a str>,
    leases: &BTreeMap<String, LeaseRow>,
    orphans: &BTreeMap<String, u64>,
    head: u64,
    depths: Depths,
) -> Namespaces {
    let mut plan = Namespaces::default();
    for name in seen {
        match leases.get(name).map(|row| step(row, head, depths)) {
            Some(Step::Remove) => plan.delete.insert(name.to_owned()),
            Some(Step::Run | Step::Wait) => false,
            None if orphans.contains_key(name) => {
                is_given_up(orphans[name], head, depths) && plan.delete.insert(name.to_owned())
            }
            None => plan.held.insert(name.to_owned()),
        };
    }
    plan
}

#[cfg(test)]
mod tests {
    use manifests::money::{Amount, Rate};
    use manifests::order::{Address, CloseReason, Lease, LeaseId};

    use super::*;

    const DEPTHS: Depths = Depths { start: 1, teardown: 2, orphan: 20 };

    fn row(state: LeaseState) -> LeaseRow {
        let id = LeaseId { tenant: Address([1; 20]), dseq: 1, gseq: 1, oseq: 1 };
        let lease = Lease {
            id,
            provider: Address([2; 20]),
            rate: Rate::ZERO,
            started_at: 0,
            fee_bps: 0,
            funded_until: 0,
        };
        let (paid_net, paid_fee) = (Amount::ZERO, Amount::ZERO);
        LeaseRow { lease, state, created_block: 100, paid_until: 0, paid_net, paid_fee }
    }

    fn closed(block: u64) -> LeaseRow {
        row(LeaseState::Closed { reason: CloseReason::TENANT, ended_at: 0, block })
    }

    #[test]
    fn a_lease_starts_and_ends_when_the_chain_is_sure() {
        for (row, head, expected) in [
            (row(LeaseState::Active), 100, Step::Wait),
            (row(LeaseState::Active), 101, Step::Run),
            (row(LeaseState::Reclaiming { deadline: 1 }), 101, Step::Run),
            (closed(200), 201, Step::Wait),
            (closed(200), 202, Step::Remove),
            (closed(200), 150, Step::Wait),
            (closed(u64::MAX), u64::MAX, Step::Wait),
        ] {
            assert_eq!(step(&row, head, DEPTHS), expected, "{row:?} at {head}");
        }
    }

    #[test]
    fn only_a_closed_lease_of_ours_loses_its_namespace() {
        let leases = BTreeMap::from([
            ("live".to_owned(), row(LeaseState::Active)),
            ("fresh".to_owned(), closed(299)),
            ("closed".to_owned(), closed(200)),
        ]);
        let plan =
            namespaces(["live", "fresh", "closed", "stranger"], &leases, &BTreeMap::new(), 300, DEPTHS);
        assert_eq!(plan.delete, BTreeSet::from(["closed".to_owned()]));
        assert_eq!(plan.held, BTreeSet::from(["stranger".to_owned()]));
        let none = BTreeMap::new();
        let without = namespaces(["live", "closed"], &BTreeMap::new(), &none, 300, DEPTHS);
        assert!(without.delete.is_empty(), "an empty list of leases deletes nothing");
    }

    #[test]
    fn a_lease_that_a_reorg_took_away_keeps_its_namespace_for_a_while() {
        let leases = BTreeMap::from([("back".to_owned(), row(LeaseState::Active))]);
        let orphans = BTreeMap::from([("gone".to_owned(), 300), ("back".to_owned(), 300)]);
        for (head, deleted) in [(319, vec![]), (320, vec!["gone".to_owned()])] {
            let plan = namespaces(["gone", "back", "stranger"], &leases, &orphans, head, DEPTHS);
            assert_eq!(plan.delete, deleted.into_iter().collect());
            assert_eq!(plan.held, BTreeSet::from(["stranger".to_owned()]));
        }
    }
}
