//! Where the money of a deployment went, added up from what the chain told.

use std::fmt;

use manifests::money::Amount;
use manifests::order::{CloseReason, Fact};
use market::reader::Account;
use market::{At, Chain, Logged};
use serde::Serialize;

use crate::state::Record;

/// The sums of one deployment, in token units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Story {
    /// What was paid in.
    pub(crate) deposited: Amount,
    /// What providers forfeited to it for leaving early.
    pub(crate) forfeited: Amount,
    /// What was taken back.
    pub(crate) refunded: Amount,
    /// What reached providers.
    pub(crate) paid: Amount,
    /// What the market kept of that.
    pub(crate) fees: Amount,
    /// What providers have earned and not taken yet.
    pub(crate) earned: Amount,
    /// What can still be taken back or spent.
    pub(crate) balance: Amount,
}

impl Story {
    /// Reads it: everything the chain said of the deployment, and what its leases have earned since their last payout.
    pub(crate) async fn of(
        chain: &Chain,
        record: &Record,
        account: Option<&Account>,
    ) -> anyhow::Result<Self> {
        let facts = chain.facts_of_account(record.account(), record.first_block).await?;
        let mut story = Self::told(&facts);
        for logged in &facts {
            if let Fact::LeaseCreated(lease) = &logged.fact {
                let accrued = chain.accrued(lease.id, At::Latest).await?;
                add(&mut story.earned, accrued.net);
                add(&mut story.earned, accrued.fee);
            }
        }
        story.balance = account.map_or(Amount::ZERO, |account| account.balance);
        Ok(story)
    }

    fn told(facts: &[Logged]) -> Self {
        let mut story = Self::default();
        let mut paid_in = Amount::ZERO;
        for logged in facts {
            match logged.fact {
                Fact::FundsChanged { delta, .. } if delta > 0 => {
                    add(&mut paid_in, Amount(delta.unsigned_abs()));
                }
                Fact::FundsChanged { delta, .. } => add(&mut story.refunded, Amount(delta.unsigned_abs())),
                Fact::Withdrawn { net, fee, .. } => {
                    add(&mut story.paid, net);
                    add(&mut story.fees, fee);
                }
                Fact::LeaseClosed { penalty, reason: CloseReason(100..=149), .. } => {
                    add(&mut story.forfeited, penalty);
                }
                _ => {}
            }
        }
        story.deposited = Amount(paid_in.0.saturating_sub(story.forfeited.0));
        story
    }

    /// What rounding left behind: the parts of units that no payout can carry.
    pub(crate) fn dust(&self) -> Amount {
        let Self { deposited, forfeited, refunded, paid, fees, earned, balance } = *self;
        let out = refunded.0 + paid.0 + fees.0 + earned.0 + balance.0;
        Amount((deposited.0 + forfeited.0).saturating_sub(out))
    }
}

/// Sums of amounts that the contract holds in 128 bits and that were all there at once or one after the other.
fn add(sum: &mut Amount, amount: Amount) {
    *sum = Amount(sum.0.saturating_add(amount.0));
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { deposited, forfeited, refunded, paid, fees, earned, balance } = self;
        write!(f, "deposited {deposited}")?;
        let parts = [
            (*forfeited, "forfeited by providers"),
            (*refunded, "refunded"),
            (*paid, "paid to providers"),
            (*fees, "fees of the market"),
            (*earned, "earned by providers and not yet taken"),
            (*balance, "in escrow"),
            (self.dust(), "lost to rounding"),
        ];
        for (amount, what) in parts.into_iter().filter(|(amount, _)| *amount > Amount::ZERO) {
            write!(f, ", {what} {amount}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use manifests::order::{AccountId, Address, Hash, LogRef};

    use super::*;

    #[test]
    fn every_unit_that_came_in_is_told() {
        let account = AccountId { tenant: Address::default(), dseq: 1 };
        let (lease, provider) = (account.order(1, 1), Address([1; 20]));
        let funds = |delta| Fact::FundsChanged { account, delta, funded_until: 0 };
        let closed = |reason, penalty| Fact::LeaseClosed { lease, provider, reason, ended_at: 9, penalty };
        let facts = [
            funds(1000),
            Fact::Withdrawn { lease, provider, net: Amount(90), fee: Amount(10), up_to: 5 },
            funds(0),
            // A provider left early, and its penalty came in beside the deposits.
            funds(50),
            closed(CloseReason::DECOMMISSION, Amount(50)),
            // A tenant's early close leaves the minimum bill with the provider; nothing comes in.
            closed(CloseReason::TENANT, Amount(7)),
            funds(-900),
        ];
        let at = LogRef { block: 1, block_hash: Hash::default(), log_index: 0 };
        let facts: Vec<Logged> = facts.into_iter().map(|fact| Logged { at, fact }).collect();
        let story = Story { earned: Amount(49), ..Story::told(&facts) };
        assert_eq!((story.deposited, story.forfeited), (Amount(1000), Amount(50)));
        assert_eq!((story.refunded, story.paid, story.fees), (Amount(900), Amount(90), Amount(10)));
        assert_eq!(story.dust(), Amount(1));
        let text = story.to_string();
        assert!(
            text.starts_with("deposited $0.001000, ") && text.contains("lost to rounding $0.000001"),
            "{text}"
        );
        assert!(!text.contains("in escrow"), "{text}");
    }
}
