//! Events of one subject → its rows. Pure: the same events in the same order always give the same rows, so that a reorg is
//! nothing but folding what is left.

use manifests::money::Amount;
use manifests::order::{AccountId, Address, Fact, Lease, LogRef, OrderId};

use super::accounts::{AccountRow, ProviderRow};
use super::leases::{LeaseRow, LeaseState};
use super::rows::{BidRow, BidState, OrderRow, OrderState};

/// Whose rows a fact changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// An order, its bids and its lease.
    Order(OrderId),
    /// An escrow account.
    Account(AccountId),
    /// A provider.
    Provider(Address),
}

impl Subject {
    pub(super) fn of(fact: &Fact) -> Self {
        match fact {
            Fact::DeploymentCreated { account, .. }
            | Fact::ManifestChanged { account, .. }
            | Fact::FundsChanged { account, .. } => Self::Account(*account),
            Fact::OrderCreated(order) => Self::Order(order.id),
            Fact::OrderClosed { order, .. } | Fact::BidWithdrawn { order, .. } => Self::Order(*order),
            Fact::BidPlaced(bid) => Self::Order(bid.order),
            Fact::LeaseCreated(lease) => Self::Order(lease.id),
            Fact::ReclaimStarted { lease, .. }
            | Fact::LeaseClosed { lease, .. }
            | Fact::Withdrawn { lease, .. } => Self::Order(*lease),
            Fact::ProviderChanged { provider, .. } => Self::Provider(*provider),
        }
    }

    /// As the column holds it.
    pub(super) fn key(self) -> String {
        match self {
            Self::Order(id) => format!("order {id}"),
            Self::Account(id) => format!("account {id}"),
            Self::Provider(address) => format!("provider {address}"),
        }
    }

    pub(super) fn parse(key: &str) -> Option<Self> {
        match key.split_once(' ')? {
            ("order", id) => id.parse().ok().map(Self::Order),
            ("account", id) => {
                let (tenant, dseq) = id.split_once('/')?;
                let (tenant, dseq) = (tenant.parse().ok()?, dseq.parse().ok()?);
                Some(Self::Account(AccountId { tenant, dseq }))
            }
            ("provider", address) => address.parse().ok().map(Self::Provider),
            _ => None,
        }
    }
}

/// What the events of an order come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct OrderFold {
    pub(super) order: Option<OrderRow>,
    pub(super) bids: Vec<BidRow>,
    pub(super) lease: Option<LeaseRow>,
}

pub(super) fn order(events: &[(LogRef, Fact)]) -> OrderFold {
    let mut fold = OrderFold::default();
    for (at, fact) in events {
        match fact {
            Fact::OrderCreated(order) => {
                let row = OrderRow { order: order.clone(), state: OrderState::Open, created_block: at.block };
                fold.order = Some(row);
            }
            Fact::OrderClosed { reason, .. } => fold.close_order(OrderState::Closed(*reason)),
            Fact::BidPlaced(bid) => {
                fold.bids.retain(|row| row.bid.provider != bid.provider);
                fold.bids.push(BidRow { bid: *bid, state: BidState::Open, block: at.block });
            }
            Fact::BidWithdrawn { provider, .. } => fold.mark_bid(*provider, BidState::Withdrawn),
            Fact::LeaseCreated(lease) => {
                fold.close_order(OrderState::Matched);
                fold.mark_bid(lease.provider, BidState::Won);
                fold.lease = Some(new_lease(*lease, at.block));
            }
            Fact::ReclaimStarted { deadline, .. } => {
                if let Some(lease) = &mut fold.lease {
                    lease.state = LeaseState::Reclaiming { deadline: *deadline };
                }
            }
            Fact::LeaseClosed { reason, ended_at, penalty, .. } => {
                if let Some(lease) = &mut fold.lease {
                    if reason.is_tenants() {
                        // The seconds that were missing to the minimum bill: the contract pays them by setting back the second
                        // up to which the lease was paid.
                        let missing = lease.lease.rate.seconds_for(*penalty).unwrap_or(0);
                        lease.paid_until = lease.paid_until.saturating_sub(missing);
                    }
                    lease.state =
                        LeaseState::Closed { reason: *reason, ended_at: *ended_at, block: at.block };
                }
            }
            Fact::Withdrawn { net, fee, up_to, .. } => {
                if let Some(lease) = &mut fold.lease {
                    lease.paid_net = sum(lease.paid_net, *net);
                    lease.paid_fee = sum(lease.paid_fee, *fee);
                    lease.paid_until = *up_to;
                }
            }
            Fact::DeploymentCreated { .. }
            | Fact::ManifestChanged { .. }
            | Fact::FundsChanged { .. }
            | Fact::ProviderChanged { .. } => {}
        }
    }
    fold
}

impl OrderFold {
    fn close_order(&mut self, state: OrderState) {
        if let Some(order) = &mut self.order {
            order.state = state;
        }
    }

    fn mark_bid(&mut self, provider: Address, state: BidState) {
        for row in self.bids.iter_mut().filter(|row| row.bid.provider == provider) {
            row.state = state;
        }
    }
}

fn new_lease(lease: Lease, block: u64) -> LeaseRow {
    LeaseRow {
        lease,
        state: LeaseState::Active,
        created_block: block,
        paid_until: lease.started_at,
        paid_net: Amount::ZERO,
        paid_fee: Amount::ZERO,
    }
}

/// Sums of what one token has ever moved stay far below 128 bits; the largest number would say that something is wrong.
fn sum(one: Amount, other: Amount) -> Amount {
    one.checked_add(other).unwrap_or(Amount(u128::MAX))
}

pub(super) fn account(id: AccountId, events: &[(LogRef, Fact)]) -> Option<AccountRow> {
    let mut row: Option<AccountRow> = None;
    for (_, fact) in events {
        match (fact, &mut row) {
            (Fact::DeploymentCreated { manifest_hash, .. }, row) => {
                *row = Some(AccountRow {
                    id,
                    manifest_hash: *manifest_hash,
                    deposited: Amount::ZERO,
                    refunded: Amount::ZERO,
                    funded_until: 0,
                });
            }
            (Fact::ManifestChanged { manifest_hash, .. }, Some(row)) => row.manifest_hash = *manifest_hash,
            (Fact::FundsChanged { delta, funded_until, .. }, Some(row)) => {
                let moved = Amount(delta.unsigned_abs());
                let side = if *delta >= 0 { &mut row.deposited } else { &mut row.refunded };
                *side = sum(*side, moved);
                row.funded_until = *funded_until;
            }
            _ => {}
        }
    }
    row
}

pub(super) fn provider(events: &[(LogRef, Fact)]) -> Option<ProviderRow> {
    let mut row: Option<ProviderRow> = None;
    for (_, fact) in events {
        let Fact::ProviderChanged { provider, operator, uri, spki_hash } = fact else { continue };
        match (&mut row, operator, uri, spki_hash) {
            (Some(row), ..) => {
                row.operator = operator.unwrap_or(row.operator);
                row.spki_hash = spki_hash.unwrap_or(row.spki_hash);
                if let Some(uri) = uri {
                    row.uri.clone_from(uri);
                }
            }
            (row, Some(operator), Some(uri), Some(spki_hash)) => {
                *row = Some(ProviderRow {
                    address: *provider,
                    operator: *operator,
                    uri: uri.clone(),
                    spki_hash: *spki_hash,
                });
            }
            // Without its registration nothing is known of it.
            _ => {}
        }
    }
    row
}

#[cfg(test)]
mod tests {
    use manifests::order::Hash;

    use super::*;

    #[test]
    fn a_provider_is_what_it_registered_and_each_change_of_it_since() {
        let at = LogRef { block: 1, block_hash: Hash([0; 32]), log_index: 0 };
        let fact = |operator: Option<u8>, uri: Option<&str>, spki: Option<u8>| {
            let uri = uri.map(str::to_owned);
            let (operator, spki_hash) =
                (operator.map(|byte| Address([byte; 20])), spki.map(|byte| Hash([byte; 32])));
            (at, Fact::ProviderChanged { provider: Address([1; 20]), operator, uri, spki_hash })
        };
        let mut events = vec![fact(Some(9), None, None)];
        assert_eq!(provider(&events), None, "without its registration nothing is known of it");
        events.push(fact(Some(2), Some("https://a"), Some(3)));
        let mut row = ProviderRow {
            address: Address([1; 20]),
            operator: Address([2; 20]),
            uri: "https://a".to_owned(),
            spki_hash: Hash([3; 32]),
        };
        assert_eq!(provider(&events).as_ref(), Some(&row));
        events.push(fact(Some(4), None, None));
        row.operator = Address([4; 20]);
        assert_eq!(provider(&events).as_ref(), Some(&row));
        events.push(fact(None, None, Some(5)));
        row.spki_hash = Hash([5; 32]);
        assert_eq!(provider(&events).as_ref(), Some(&row));
        events.push(fact(None, Some("https://b"), Some(6)));
        (row.uri, row.spki_hash) = ("https://b".to_owned(), Hash([6; 32]));
        assert_eq!(provider(&events).as_ref(), Some(&row));
    }
}
