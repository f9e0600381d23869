//! Which intents go now, and which of them together.

use std::collections::BTreeMap;

use market::call::Call;
use market::sender::MOST_AT_ONCE;

use crate::store::{IntentKind, IntentRow};

/// How many transactions of one kind are on their way at once. Each kind has its own, so that none waits for another.
const AT_ONCE: usize = 32;

/// Intents that are said together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) kind: IntentKind,
    pub(super) rows: Vec<IntentRow>,
}

/// Groups in the order in which they go, the most urgent first; `under_way` transactions take places. What was begun is seen
/// through with those it was begun with, whether there is a place or not.
pub(super) fn plan(ready: Vec<IntentRow>, under_way: &BTreeMap<IntentKind, usize>) -> Vec<Group> {
    let mut begun: BTreeMap<u64, Group> = BTreeMap::new();
    let mut fresh = [IntentKind::Close, IntentKind::Withdraw, IntentKind::TakeBack, IntentKind::Bid]
        .map(|kind| (kind, Vec::new()));
    for row in ready {
        let kind = row.intent.kind;
        match row.begun {
            Some(nonce) => {
                begun.entry(nonce).or_insert_with(|| Group { kind, rows: Vec::new() }).rows.push(row);
            }
            None => {
                for (_, rows) in fresh.iter_mut().filter(|(of, _)| *of == kind) {
                    rows.push(row.clone());
                }
            }
        }
    }
    let mut groups: Vec<Group> = begun.into_values().collect();
    for (kind, rows) in fresh {
        let taken = under_way.get(&kind).copied().unwrap_or(0);
        let places = AT_ONCE.saturating_sub(taken);
        groups.extend(together(kind, rows).into_iter().take(places));
    }
    groups
}

/// Neighbours that one transaction can say.
fn together(kind: IntentKind, rows: Vec<IntentRow>) -> Vec<Group> {
    let mut groups: Vec<(usize, Group)> = Vec::new();
    for row in rows {
        let weight = weight(&row);
        match groups.last_mut() {
            Some((total, group)) if *total + weight <= MOST_AT_ONCE && is_new(group, &row) => {
                *total += weight;
                group.rows.push(row);
            }
            _ => groups.push((weight, Group { kind, rows: vec![row] })),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// How much of what one call takes it takes: what goes alone takes all.
fn weight(row: &IntentRow) -> usize {
    match &row.intent.call {
        Call::PlaceBid { .. } => 1,
        Call::Withdraw { leases } => leases.len().max(1),
        _ => MOST_AT_ONCE,
    }
}

/// Two bids for one order never share a transaction: which of them was refused could not be told.
fn is_new(group: &Group, row: &IntentRow) -> bool {
    row.intent.order.is_none() || group.rows.iter().all(|other| other.intent.order != row.intent.order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{IntentState, NewIntent};
    use manifests::money::Rate;
    use manifests::order::{Address, CloseReason, Hash, OrderId};

    fn order(dseq: u64) -> OrderId {
        OrderId { tenant: Address([1; 20]), dseq, gseq: 1, oseq: 1 }
    }

    fn row(kind: IntentKind, id: &str, dseq: u64, call: Call, begun: Option<u64>) -> IntentRow {
        let order = (kind != IntentKind::Withdraw).then(|| order(dseq));
        let intent = NewIntent { id: id.to_owned(), kind, order, call, deadline: None };
        IntentRow {
            intent,
            state: IntentState::Pending,
            tries: 0,
            problem: None,
            not_before: 0,
            begun,
            created_at: 0,
            updated_at: 0,
        }
    }

    fn bid(dseq: u64, begun: Option<u64>) -> IntentRow {
        let (provider, spec_hash) = (Address([3; 20]), Hash([2; 32]));
        let rate = Rate::new(5).expect("small");
        let call = Call::PlaceBid {
            order: order(dseq),
            provider,
            spec_hash,
            rate,
            expires_at: 9,
            reclaim: 0,
            min_bill: 0,
        };
        row(IntentKind::Bid, &format!("bid {dseq}"), dseq, call, begun)
    }

    fn withdraw(leases: u64) -> IntentRow {
        let call = Call::Withdraw { leases: (0..leases).map(order).collect() };
        row(IntentKind::Withdraw, &format!("withdraw {leases}"), 0, call, None)
    }

    fn close(dseq: u64) -> IntentRow {
        let call = Call::CloseLease { lease: order(dseq), reason: CloseReason::PROVIDER };
        row(IntentKind::Close, &format!("close {dseq}"), dseq, call, None)
    }

    fn told(ready: Vec<IntentRow>, under_way: &[(IntentKind, usize)]) -> Vec<Vec<String>> {
        let groups = plan(ready, &under_way.iter().copied().collect());
        groups.into_iter().map(|group| group.rows.into_iter().map(|row| row.intent.id).collect()).collect()
    }

    #[test]
    fn bids_that_are_there_together_share_a_transaction_and_closes_go_before_them() {
        let ready = vec![bid(1, None), bid(2, None), close(3), bid(4, None), close(5)];
        let groups: [&[&str]; 3] = [&["close 3"], &["close 5"], &["bid 1", "bid 2", "bid 4"]];
        assert_eq!(told(ready, &[]), groups);
        assert_eq!(told(vec![bid(1, None)], &[]), [["bid 1"]]);
        let many: Vec<IntentRow> = (0..250).map(|dseq| bid(dseq, None)).collect();
        let sizes: Vec<usize> = told(many, &[]).iter().map(Vec::len).collect();
        assert_eq!(sizes, [100, 100, 50]);
        assert_eq!(told(vec![bid(1, None), bid(1, None)], &[]).len(), 2, "two for one order");
    }

    #[test]
    fn withdrawals_share_a_transaction_up_to_a_hundred_leases() {
        let ready = vec![withdraw(60), withdraw(40), withdraw(1)];
        assert_eq!(told(ready, &[]).iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn a_crowd_of_bids_takes_no_place_of_a_close_and_what_was_begun_needs_none() {
        let full = [(IntentKind::Bid, AT_ONCE)];
        let ready = vec![bid(1, None), bid(2, Some(7)), bid(3, Some(7)), bid(4, Some(8)), close(5)];
        let groups: [&[&str]; 3] = [&["bid 2", "bid 3"], &["bid 4"], &["close 5"]];
        assert_eq!(told(ready, &full), groups);
    }
}
