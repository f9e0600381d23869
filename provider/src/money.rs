//! `berth-provider money`: what each lease earned, was paid and can still collect, as the database has it and as the chain has
//! it at the block the database follows to; and how long the operator key's gas money lasts.

use std::fmt::Write;

use anyhow::{Context, bail};
use manifests::money::{Amount, RATE_SCALE};
use manifests::order::{Address, LeaseId};
use market::reader::{Accrued, LeaseRecord, OrderState};
use market::{At, Chain};
use serde::Serialize;

use crate::clock::Clock;
use crate::config::Config;
use crate::leases::ledger::{Burn, DAY, Ledger};
use crate::run::{open_signer, open_store, reach_chain};
use crate::store::{LeaseRow, LeaseState, Store};

/// The money of one lease, in token units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeaseMoney {
    /// Which.
    pub lease: String,
    /// How it stands on chain.
    pub state: String,
    /// Earned since its start and paid for by its account, withdrawn or not, before the market's fee.
    pub accrued: u128,
    /// Withdrawn of it: what was paid to the payout address and to the treasury.
    pub withdrawn: u128,
    /// Paid to the payout address.
    pub paid: u128,
    /// Paid to the market's treasury.
    pub fees: u128,
    /// What a withdrawal would pay to the payout address now.
    pub to_collect: u128,
    /// What was served after the account's money had ended, which nobody pays.
    pub at_risk: u128,
    /// What the database and the chain say differently.
    pub differences: Vec<String>,
}

/// How long the key that sends can go on sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Runway {
    /// The account.
    pub key: Address,
    /// What it has, in wei.
    pub balance_wei: u128,
    /// What it spent on gas in the last seven days, or since its first transaction if that is less, in wei.
    pub spent_wei: u128,
    /// How long that was, in seconds; at least a day.
    pub spent_in: u64,
    /// Days that the balance lasts at that; none if nothing was spent.
    pub days: Option<u128>,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Money {
    /// The block of both sides.
    pub block: u64,
    /// The leases, oldest first.
    pub leases: Vec<LeaseMoney>,
    /// The key that sends.
    pub runway: Runway,
}

impl Money {
    /// Whether database and chain agree about every lease.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.leases.iter().all(|lease| lease.differences.is_empty())
    }
}

/// Reads both sides.
///
/// # Errors
/// When either cannot be read. That says nothing about the money.
pub async fn money(config: &Config) -> anyhow::Result<Money> {
    let (store, chain, signer) =
        (open_store(config).await?, reach_chain(config).await?, open_signer(config).await?);
    let (block, leases) = reconcile(&store, &chain, config.provider).await?;
    let burn = Burn::read(&store, Clock::default().now()).await?;
    let key = signer.address();
    let balance_wei = chain.gas_balance(key).await.context("failed to read what the operator key has")?;
    Ok(Money { block, leases, runway: runway(key, balance_wei, burn) })
}

fn runway(key: Address, balance_wei: u128, burn: Burn) -> Runway {
    let days = burn.lasts(balance_wei).map(|seconds| seconds / u128::from(DAY));
    Runway { key, balance_wei, spent_wei: burn.wei, spent_in: burn.seconds, days }
}

/// The leases of a provider on both sides, at the block the database follows to.
///
/// # Errors
/// When either side cannot be read.
pub async fn reconcile(
    store: &Store,
    chain: &Chain,
    provider: Address,
) -> anyhow::Result<(u64, Vec<LeaseMoney>)> {
    let Some(cursor) = store.cursor().await? else {
        bail!("the database follows no chain yet: run the daemon first");
    };
    let at = At::Block(cursor.hash);
    let mut leases = Vec::new();
    for row in store.leases_of(provider).await? {
        let id = row.lease.id;
        let failed = || format!("failed to read lease {id} in block {}", cursor.number);
        let record = chain.lease(id, at).await.with_context(failed)?;
        leases.push(match record {
            None => missing(id),
            Some(record) => {
                let accrued = chain.accrued(id, at).await.with_context(failed)?;
                let payouts = store.payouts(id).await?;
                compare(&row, payouts, &record, &accrued, cursor.timestamp)
            }
        });
    }
    Ok((cursor.number, leases))
}

fn missing(lease: LeaseId) -> LeaseMoney {
    LeaseMoney {
        lease: lease.to_string(),
        state: "unknown".to_owned(),
        accrued: 0,
        withdrawn: 0,
        paid: 0,
        fees: 0,
        to_collect: 0,
        at_risk: 0,
        differences: vec!["the chain knows no such lease".to_owned()],
    }
}

/// What the two sides say of a lease at a second of chain time.
fn compare(row: &LeaseRow, payouts: u64, record: &LeaseRecord, accrued: &Accrued, now: u64) -> LeaseMoney {
    let LeaseRow { lease, state, paid_until, paid_net, paid_fee, .. } = row;
    let mut differences = Vec::new();
    let mut differ = |what: &str, ours: String, theirs: String| {
        if ours != theirs {
            differences.push(format!("{what}: the database says {ours}, the chain {theirs}"));
        }
    };
    differ("rate", lease.rate.scaled().to_string(), record.rate.scaled().to_string());
    differ("start", lease.started_at.to_string(), record.started_at.to_string());
    let end = |end: Option<(u64, u8)>| match end {
        Some((at, reason)) => format!("closed at {at} for reason {reason}"),
        None => "not closed".to_owned(),
    };
    let ours = match state {
        LeaseState::Closed { ended_at, reason, .. } => Some((*ended_at, reason.0)),
        LeaseState::Active | LeaseState::Reclaiming { .. } => None,
    };
    differ("paid until", paid_until.to_string(), record.checkpoint.to_string());
    differ("end", end(ours), end(record.ended.map(|(at, reason)| (at, reason.0))));

    let ledger = Ledger::of(row, record.billable_until, now);
    // What accrued and was neither withdrawn nor is ours to collect is the market's.
    let fee = Amount(ledger.accrued.0 - ledger.withdrawn.0 - ledger.to_collect.0);
    differ("to collect", ledger.to_collect.0.to_string(), accrued.net.0.to_string());
    differ("fee to come", fee.0.to_string(), accrued.fee.0.to_string());
    // Each payout loses less than one unit, and nothing else is lost.
    let earned = lease.rate.scaled().saturating_mul(u128::from(paid_until.saturating_sub(lease.started_at)));
    let paid = paid_net.0.saturating_add(paid_fee.0).saturating_mul(RATE_SCALE);
    let most = u128::from(payouts).saturating_mul(RATE_SCALE);
    let lost = earned.saturating_sub(paid);
    if lost > most {
        let lost = lost / RATE_SCALE;
        differences
            .push(format!("paid: {lost} units less than was earned up to the last of {payouts} payouts"));
    }
    LeaseMoney {
        lease: lease.id.to_string(),
        state: word(record.state).to_owned(),
        accrued: ledger.accrued.0,
        withdrawn: ledger.withdrawn.0,
        paid: paid_net.0,
        fees: paid_fee.0,
        to_collect: accrued.net.0,
        at_risk: ledger.at_risk.0,
        differences,
    }
}

fn word(state: OrderState) -> &'static str {
    match state {
        OrderState::Open => "open",
        OrderState::Active => "active",
        OrderState::Reclaiming => "reclaiming",
        OrderState::Closed => "closed",
        OrderState::Expired => "expired",
        OrderState::Depleted => "depleted",
    }
}

/// The money in lines for the operator.
#[must_use]
pub fn tell(money: &Money) -> String {
    let Money { block, leases, runway } = money;
    let mut text = format!("at block {block}, in dollars\n");
    let line = |text: &mut String, cells: [&str; 7]| {
        let [lease, state, accrued, paid, fees, collect, risk] = cells;
        // Writing to a text cannot fail.
        let _ = writeln!(
            text,
            "{state:<10} {accrued:>16} {paid:>16} {fees:>14} {collect:>14} {risk:>14}  {lease}"
        );
    };
    line(&mut text, ["lease", "state", "accrued", "paid", "fees", "to collect", "at risk"]);
    let mut sums = [0u128; 5];
    for lease in leases {
        let amounts = [lease.accrued, lease.paid, lease.fees, lease.to_collect, lease.at_risk];
        for (sum, amount) in sums.iter_mut().zip(amounts) {
            *sum = sum.saturating_add(amount);
        }
        let [accrued, paid, fees, collect, risk] = amounts.map(|amount| Amount(amount).to_string());
        line(&mut text, [&lease.lease, &lease.state, &accrued, &paid, &fees, &collect, &risk]);
        for difference in &lease.differences {
            let _ = writeln!(text, "  DIFFERS   {difference}");
        }
    }
    let [accrued, paid, fees, collect, risk] = sums.map(|amount| Amount(amount).to_string());
    line(&mut text, ["all leases", "", &accrued, &paid, &fees, &collect, &risk]);
    let Runway { key, balance_wei, spent_wei, spent_in, days } = runway;
    let spent_days = spent_in.div_ceil(DAY);
    let lasts = days.map_or("nothing was spent in seven days".to_owned(), |days| {
        format!("lasts {days} days at the {spent_wei} wei of the last {spent_days}")
    });
    let _ = write!(text, "gas money: {key} has {balance_wei} wei; {lasts}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifests::money::Rate;
    use manifests::order::{CloseReason, Lease};

    const RATE: u128 = 2_500_000_000;

    fn row(state: LeaseState, paid_until: u64, paid: u128) -> LeaseRow {
        let id = LeaseId { tenant: Address([1; 20]), dseq: 1, gseq: 1, oseq: 1 };
        let rate = Rate::new(RATE).expect("small");
        let (provider, funded_until) = (Address([2; 20]), 1_000_000);
        let lease = Lease { id, provider, rate, started_at: 1000, fee_bps: 100, funded_until };
        LeaseRow {
            lease,
            state,
            created_block: 1,
            paid_until,
            paid_net: Amount(paid),
            paid_fee: Amount::ZERO,
        }
    }

    fn record(billable_until: u64, ended: Option<(u64, CloseReason)>) -> LeaseRecord {
        LeaseRecord {
            state: OrderState::Active,
            provider: Address([2; 20]),
            rate: Rate::new(RATE).expect("small"),
            started_at: 1000,
            checkpoint: 1100,
            billable_until,
            funded_until: 1_000_000,
            ended,
            reclaim_deadline: None,
            fee_bps: 100,
            bond: Amount::ZERO,
        }
    }

    fn accrued(gross: u128) -> Accrued {
        let fee = gross / 100;
        Accrued { net: Amount(gross - fee), fee: Amount(fee), scaled: gross * RATE_SCALE, up_to: 0 }
    }

    #[test]
    fn a_lease_of_which_both_sides_say_the_same_has_no_differences() {
        let told = compare(&row(LeaseState::Active, 1100, 249), 1, &record(1300, None), &accrued(500), 1300);
        assert_eq!(told.differences, Vec::<String>::new());
        assert_eq!((told.paid, told.to_collect, told.at_risk), (249, 495, 0));
        assert_eq!((told.accrued, told.withdrawn), (749, 249));
    }

    #[test]
    fn each_difference_is_named() {
        let active = row(LeaseState::Active, 1100, 250);
        let closed = record(1200, Some((1200, CloseReason::TENANT)));
        let told = compare(&active, 1, &closed, &accrued(250), 1300).differences;
        assert_eq!(told, ["end: the database says not closed, the chain closed at 1200 for reason 1"]);
        let other = LeaseRecord { started_at: 1001, ..record(1300, None) };
        let told = compare(&active, 1, &other, &accrued(500), 1300).differences;
        assert_eq!(told, ["start: the database says 1000, the chain 1001"]);
        let other = LeaseRecord { checkpoint: 1101, ..record(1300, None) };
        let told = compare(&active, 1, &other, &accrued(500), 1300).differences;
        assert_eq!(told, ["paid until: the database says 1100, the chain 1101"]);
    }

    #[test]
    fn a_unit_is_a_difference() {
        let active = row(LeaseState::Active, 1100, 250);
        let one_less = Accrued { net: Amount(494), ..accrued(500) };
        let told = compare(&active, 1, &record(1300, None), &one_less, 1300).differences;
        assert_eq!(told, ["to collect: the database says 495, the chain 494"]);
        let lost = row(LeaseState::Active, 1100, 248);
        let told = compare(&lost, 1, &record(1300, None), &accrued(500), 1300).differences;
        assert_eq!(told, ["paid: 2 units less than was earned up to the last of 1 payouts"]);
    }

    #[test]
    fn what_is_served_after_the_money_ended_is_at_risk() {
        let told = compare(&row(LeaseState::Active, 1100, 250), 1, &record(1300, None), &accrued(500), 1310);
        assert_eq!(told.at_risk, 25);
    }
}
