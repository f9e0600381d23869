//! New places for replicas that cannot be where they were promised: which are due, and where they go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bidengine::{Capacity, Tariff};
use manifests::decision::Placement;
use manifests::group::OrderSpec;
use manifests::order::{Order, OrderId};

use crate::leases::places::{Trouble, Troubles};
use crate::store::ReservationRow;

/// Remembers since when promises are troubled, and what was told of it. Losing it only delays a move and tells twice.
#[derive(Debug, Default)]
pub(super) struct Watch {
    since: BTreeMap<(OrderId, String), u64>,
    told: BTreeMap<OrderId, String>,
    /// Orders whose bid stands again without room.
    crowded: BTreeSet<OrderId>,
}

impl Watch {
    /// The orders of which a node is troubled for `grace` at `now` (unix seconds), with all their troubled nodes.
    pub(super) fn due(
        &mut self,
        troubles: &Troubles,
        now: u64,
        grace: Duration,
    ) -> BTreeMap<OrderId, BTreeMap<String, Trouble>> {
        let is_there = |order: &OrderId, node: &String| {
            troubles.get(order).is_some_and(|troubled| troubled.contains_key(node))
        };
        self.since.retain(|(order, node), _| is_there(order, node));
        self.told.retain(|order, _| troubles.contains_key(order));
        let mut due = BTreeMap::new();
        for (order, troubled) in troubles {
            for (node, trouble) in troubled {
                let since = *self.since.entry((*order, node.clone())).or_insert(now);
                if *trouble == Trouble::Drained || now.saturating_sub(since) >= grace.as_secs() {
                    due.insert(*order, troubled.clone());
                }
            }
        }
        due
    }

    /// Forgets an order that has new places: what troubles it there is new.
    pub(super) fn moved(&mut self, order: OrderId) {
        self.since.retain(|(other, _), _| *other != order);
        self.told.remove(&order);
    }

    /// Notes which orders' bids stand again without room; gives those that did not before.
    pub(super) fn crowded(&mut self, orders: BTreeSet<OrderId>) -> BTreeSet<OrderId> {
        let new = orders.difference(&self.crowded).copied().collect();
        self.crowded = orders;
        new
    }

    /// Whether this is news of the order.
    pub(super) fn is_news(&mut self, order: OrderId, words: &str) -> bool {
        self.told.insert(order, words.to_owned()).is_none_or(|before| before != words)
    }
}

/// Adds the nodes that the operator has emptied to what troubles promises.
pub(super) fn drain(troubles: &mut Troubles, drained: &BTreeSet<String>, promised: &[ReservationRow]) {
    for row in promised {
        let nodes = row.placement.replicas.iter().map(|replica| &replica.node);
        for node in nodes.filter(|node| drained.contains(*node)) {
            troubles.entry(row.order).or_default().insert(node.clone(), Trouble::Drained);
        }
    }
}

/// The places of an order whose replicas on `lost` nodes go elsewhere, or why they cannot. `capacity` is what is free with the
/// order's other replicas taken off.
pub(super) fn new_places(
    order: &Order,
    before: &Placement,
    lost: &BTreeSet<String>,
    capacity: &Capacity,
    tariff: &Tariff,
) -> Result<Placement, String> {
    let spec = OrderSpec::from_bytes(&order.spec).map_err(|error| error.to_string())?;
    bidengine::move_off(&spec, before, lost, capacity, tariff).map_err(|reason| reason.to_string())
}

/// Places for the whole of an order, or why there are none.
pub(super) fn anywhere(order: &Order, capacity: &Capacity, tariff: &Tariff) -> Result<Placement, String> {
    let spec = OrderSpec::from_bytes(&order.spec).map_err(|error| error.to_string())?;
    bidengine::place(&spec, capacity, tariff).map_err(|reason| reason.to_string())
}

#[cfg(test)]
mod tests {
    use manifests::decision::{Replica, Takes};
    use manifests::order::{Address, Hash};

    use super::*;
    use crate::store::ReservationState;

    fn order(dseq: u64) -> OrderId {
        OrderId { tenant: Address([1; 20]), dseq, gseq: 1, oseq: 1 }
    }

    fn lost(nodes: &[&str]) -> Troubles {
        let troubled = nodes.iter().map(|node| ((*node).to_owned(), Trouble::Lost)).collect();
        BTreeMap::from([(order(1), troubled)])
    }

    #[test]
    fn a_node_is_given_its_grace_and_one_that_comes_back_begins_anew() {
        let (mut watch, grace) = (Watch::default(), Duration::from_secs(120));
        assert!(watch.due(&lost(&["a"]), 1000, grace).is_empty());
        assert!(watch.due(&lost(&["a"]), 1119, grace).is_empty());
        assert_eq!(
            watch.due(&lost(&["a", "b"]), 1120, grace),
            lost(&["a", "b"]),
            "all that is troubled then"
        );
        assert!(watch.due(&Troubles::new(), 1121, grace).is_empty());
        assert!(watch.due(&lost(&["a"]), 1122, grace).is_empty(), "it was back");
        watch.due(&lost(&["a"]), 1300, grace);
        watch.moved(order(1));
        assert!(watch.due(&lost(&["a"]), 1301, grace).is_empty(), "the place is new");
    }

    #[test]
    fn a_drained_node_is_left_without_grace() {
        let row = ReservationRow {
            order: order(1),
            spec_hash: Hash::default(),
            state: ReservationState::Leased,
            placement: Placement { replicas: vec![replica("a"), replica("b")], ..Placement::default() },
            released_because: None,
            updated_at: 0,
        };
        let mut troubles = Troubles::new();
        drain(&mut troubles, &BTreeSet::from(["b".to_owned(), "c".to_owned()]), &[row]);
        let expected = Troubles::from([(order(1), BTreeMap::from([("b".to_owned(), Trouble::Drained)]))]);
        assert_eq!(troubles, expected);
        assert_eq!(Watch::default().due(&troubles, 1000, Duration::from_secs(120)), expected);
    }

    fn replica(node: &str) -> Replica {
        Replica { unit: 1, node: node.to_owned(), takes: Takes::default() }
    }

    #[test]
    fn what_cannot_be_moved_is_told_once_for_each_reason() {
        let mut watch = Watch::default();
        assert!(watch.is_news(order(1), "no room"));
        assert!(!watch.is_news(order(1), "no room"));
        assert!(watch.is_news(order(1), "no GPU"));
        watch.due(&Troubles::new(), 1, Duration::ZERO);
        assert!(watch.is_news(order(1), "no GPU"), "it was well in between");
    }
}
