//! What a lease earned, what of it was withdrawn, what can be, and what nobody pays; and what earning it costs in gas.
//!
//! Sums are of whole token units, rounded down as the contract rounds when it pays: accrued is what was withdrawn and what can
//! be collected before the market's fee, and rate × time is at most one unit a payout above it.

use manifests::money::Amount;

use crate::store::{LeaseRow, LeaseState, Store};

/// Seconds of past spending that is taken for what will be spent.
pub const LOOK_BACK: u64 = 7 * DAY;
/// Seconds of a day; spending of less time than that says nothing yet of a rate.
pub const DAY: u64 = 86_400;

/// The money of one lease or several, in token units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ledger {
    /// Earned since the start and covered by the account, withdrawn or not, before the market's fee.
    pub accrued: Amount,
    /// Withdrawn, to the payout address and to the market's treasury.
    pub withdrawn: Amount,
    /// What a withdrawal would pay to the payout address now, after the market's fee.
    pub to_collect: Amount,
    /// Served while the lease was not closed and after its account's money had ended: accrued by nobody, paid by nobody. It
    /// grows until the lease is finalized.
    pub at_risk: Amount,
}

impl Ledger {
    /// Of a lease whose account pays until `funded_until`, at a second of chain time.
    #[must_use]
    pub fn of(row: &LeaseRow, funded_until: u64, now: u64) -> Self {
        let LeaseRow { lease, state, paid_until, paid_net, paid_fee, .. } = row;
        let cost =
            |from: u64, until: u64| lease.rate.cost_down(until.saturating_sub(from)).unwrap_or(Amount::ZERO);
        let (until, unpaid) = match state {
            LeaseState::Closed { ended_at, .. } => (*ended_at, Amount::ZERO),
            LeaseState::Active | LeaseState::Reclaiming { .. } => {
                (funded_until.min(now), cost(funded_until, now))
            }
        };
        let withdrawn = Amount(paid_net.0.saturating_add(paid_fee.0));
        let left = cost(*paid_until, until);
        Self {
            accrued: Amount(withdrawn.0.saturating_add(left.0)),
            withdrawn,
            to_collect: after_fee(left, lease.fee_bps),
            at_risk: unpaid,
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let sum = |one: Amount, other: Amount| Amount(one.0.saturating_add(other.0));
        Self {
            accrued: sum(self.accrued, other.accrued),
            withdrawn: sum(self.withdrawn, other.withdrawn),
            to_collect: sum(self.to_collect, other.to_collect),
            at_risk: sum(self.at_risk, other.at_risk),
        }
    }
}

/// What is left of a payout after the market's fee, in hundredths of a percent.
#[must_use]
pub fn after_fee(gross: Amount, fee_bps: u16) -> Amount {
    Amount(gross.0 - gross.0 * u128::from(fee_bps.min(10_000)) / 10_000)
}

/// Gas money that was spent, and in which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burn {
    /// Wei.
    pub wei: u128,
    /// Seconds: seven days, or less for a daemon that is younger, but never less than a day.
    pub seconds: u64,
}

impl Burn {
    /// What the daemon spent in the seven days before `now`, a unix second.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn read(store: &Store, now: u64) -> anyhow::Result<Self> {
        let wei = store.gas_spent_since(now.saturating_sub(LOOK_BACK)).await?;
        let first = store.first_intent_at().await?.unwrap_or(now);
        Ok(Self { wei, seconds: now.saturating_sub(first).clamp(DAY, LOOK_BACK) })
    }

    /// How many seconds this balance lasts at that; none if nothing was spent.
    #[must_use]
    pub fn lasts(self, balance_wei: u128) -> Option<u128> {
        // Division first where the product does not fit: balances beyond that last for ever anyway.
        let seconds = u128::from(self.seconds);
        match balance_wei.checked_mul(seconds) {
            Some(product) => product.checked_div(self.wei),
            None => balance_wei.checked_div(self.wei).map(|times| times.saturating_mul(seconds)),
        }
    }
}

#[cfg(test)]
mod tests {
    use manifests::money::Rate;
    use manifests::order::{Address, CloseReason, Lease, LeaseId};

    use super::*;

    /// 2.5 units a second from second 1000 on, 1 % of it to the market; paid until 1100.
    fn row(state: LeaseState) -> LeaseRow {
        let id = LeaseId { tenant: Address([1; 20]), dseq: 1, gseq: 1, oseq: 1 };
        let rate = Rate::new(2_500_000_000).expect("small");
        let provider = Address([2; 20]);
        let lease = Lease { id, provider, rate, started_at: 1000, fee_bps: 100, funded_until: 5000 };
        let (paid_net, paid_fee) = (Amount(248), Amount(2));
        LeaseRow { lease, state, created_block: 1, paid_until: 1100, paid_net, paid_fee }
    }

    #[test]
    fn what_is_funded_accrues_and_what_is_served_beyond_is_at_risk() {
        let told = Ledger::of(&row(LeaseState::Active), 1300, 1200);
        let wanted = Ledger {
            accrued: Amount(500),
            withdrawn: Amount(250),
            to_collect: Amount(248),
            at_risk: Amount::ZERO,
        };
        assert_eq!(told, wanted);
        let told = Ledger::of(&row(LeaseState::Active), 1150, 1200);
        let wanted = Ledger {
            accrued: Amount(375),
            withdrawn: Amount(250),
            to_collect: Amount(124),
            at_risk: Amount(125),
        };
        assert_eq!(told, wanted);
    }

    #[test]
    fn a_lease_that_ended_accrues_nothing_more_and_puts_nothing_at_risk() {
        let ended = LeaseState::Closed { reason: CloseReason::TENANT, ended_at: 1180, block: 9 };
        let told = Ledger::of(&row(ended), 1150, 9999);
        assert_eq!((told.accrued, told.at_risk), (Amount(450), Amount::ZERO));
        assert_eq!(told.plus(told).accrued, Amount(900));
    }

    #[test]
    fn gas_money_lasts_as_long_as_the_last_week_says_and_a_young_daemon_is_not_taken_for_a_thrifty_one() {
        let week = Burn { wei: 7, seconds: LOOK_BACK };
        assert_eq!(week.lasts(100), Some(u128::from(100 * DAY)));
        let day = Burn { wei: 7, seconds: DAY };
        assert_eq!(day.lasts(70), Some(u128::from(10 * DAY)));
        assert_eq!(Burn { wei: 0, seconds: DAY }.lasts(100), None);
        assert_eq!(day.lasts(u128::MAX), Some(u128::MAX));
    }

    #[tokio::test]
    async fn a_burn_covers_the_time_since_the_first_intent_and_at_least_a_day() {
        let store = Store::fresh().await.expect("opens");
        let now = 1_700_000_000;
        assert_eq!(Burn::read(&store, now).await.expect("read"), Burn { wei: 0, seconds: DAY });
        let call = market::call::Call::Withdraw { leases: vec![] };
        let intent = crate::store::NewIntent {
            id: "withdraw 0".to_owned(),
            kind: crate::store::IntentKind::Withdraw,
            order: None,
            call,
            deadline: None,
        };
        store.put_intent(&intent, now - 3 * DAY).await.expect("stored");
        assert_eq!(Burn::read(&store, now).await.expect("read").seconds, 3 * DAY);
        assert_eq!(Burn::read(&store, now + 30 * DAY).await.expect("read").seconds, LOOK_BACK);
    }
}
