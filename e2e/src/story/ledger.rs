//! Where all money of a market went, added up from the chain's own events.

use anyhow::{Context, Result};
use manifests::money::Amount;
use manifests::order::{Fact, LeaseId, OrderId};
use market::{At, Chain};

/// Sums over a market.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Paid into escrow accounts.
    pub deposits: u128,
    /// Given back to tenants.
    pub refunds: u128,
    /// Reached providers.
    pub paid: u128,
    /// Kept by the market.
    pub fees: u128,
    /// How many payouts there were.
    pub payouts: u128,
    /// How many leases there were.
    pub leases: u128,
    /// What each lease paid, fees included, and up to when.
    pub by_lease: Vec<(LeaseId, Amount, u64)>,
    /// Every order that was posted, in the order of the chain.
    pub orders: Vec<OrderId>,
    /// What the market's contract still holds.
    pub held: Amount,
}

impl Ledger {
    /// Adds up every event of the market.
    ///
    /// # Errors
    /// When the chain cannot be read.
    pub async fn read(chain: &Chain) -> Result<Self> {
        let head = chain.head().await?;
        let mut ledger = Self::default();
        for logged in chain.facts_between(0, head.number).await? {
            ledger.add(logged.fact);
        }
        ledger.held = chain.token_balance(chain.contracts().market, At::Block(head.hash)).await?;
        Ok(ledger)
    }

    fn add(&mut self, fact: Fact) {
        match fact {
            Fact::FundsChanged { delta, .. } if delta >= 0 => self.deposits += delta.unsigned_abs(),
            Fact::FundsChanged { delta, .. } => self.refunds += delta.unsigned_abs(),
            Fact::Withdrawn { lease, net, fee, up_to, .. } => {
                self.paid += net.0;
                self.fees += fee.0;
                self.payouts += 1;
                self.by_lease.push((lease, Amount(net.0 + fee.0), up_to));
            }
            Fact::LeaseCreated(_) => self.leases += 1,
            Fact::OrderCreated(order) => self.orders.push(order.id),
            _ => {}
        }
    }

    /// What is left of the deposits after refunds, payouts and fees: the dust, once everything is closed and paid.
    ///
    /// # Errors
    /// When more came out than went in.
    pub fn dust(&self) -> Result<u128> {
        let out = self.refunds + self.paid + self.fees;
        self.deposits
            .checked_sub(out)
            .with_context(|| format!("{} came in and {out} went out", self.deposits))
    }

    /// The most dust that there can be once everything is closed and paid, in units: every payout leaves less than one, and
    /// so does the rest of every lease, which is too small to be paid out.
    #[must_use]
    pub fn most_dust(&self) -> u128 {
        self.payouts + self.leases
    }

    /// All that a lease has paid.
    #[must_use]
    pub fn paid_by(&self, lease: LeaseId) -> Amount {
        Amount(self.by_lease.iter().filter(|(id, ..)| *id == lease).map(|(_, amount, _)| amount.0).sum())
    }
}
