//! What is said to the chain, what it costs, and what is left to pay for it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use manifests::money::Amount;
use market::observe::Resync;
use market::sender::{Outcome, SendError};
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::Metrics;
use super::make::{Make, gauge};
use crate::clock::Clock;
use crate::leases::ledger::Burn;
use crate::store::{IntentKind, NewIntent, Store};

/// Wei of a gwei.
const GWEI: u128 = 1_000_000_000;

#[derive(Debug)]
pub(super) struct Transactions {
    said: IntCounterVec,
    confirmed: HistogramVec,
    gas: IntCounterVec,
    resyncs: IntCounterVec,
    fees: IntCounter,
    stake: IntGaugeVec,
    intents: IntGaugeVec,
    gas_money: IntGauge,
    gas_runway: IntGauge,
    /// What the operator key had for gas when the chain was last asked.
    gas_wei: Mutex<Option<u128>>,
}

impl Transactions {
    pub(super) fn new(make: &Make<'_>) -> anyhow::Result<Self> {
        Ok(Self {
            said: make.counters(
                "berth_tx_total",
                "Intents that were said to the chain, by kind and result.",
                &["msg", "result"],
            )?,
            confirmed: make.histograms(
                "berth_tx_confirm_duration_seconds",
                "How long it took from the beginning to say an intent until it was mined.",
                &["msg"],
            )?,
            gas: make.counters(
                "berth_tx_gas_used_total",
                "Gas that mined transactions used, by the kind of intent that it was for.",
                &["msg"],
            )?,
            resyncs: make.counted("berth_tx_sequence_resyncs_total",
                "Times that the key's nonces were not as the sender took them to be: a gap that it filled, or one lost to another.",
                "reason", &["gap", "lost"],)?,
            stake: make.gauges(
                "berth_stake_units",
                "Token units of our stake, by state: locked as bond of leases and best bids, or free.",
                &["state"],
            )?,
            fees: make
                .counter("berth_tx_fees_gwei_total", "Gas money that mined transactions paid, in gwei.")?,
            intents: make.gauges("berth_intents", "Intents, by kind and state.", &["kind", "state"])?,
            gas_money: make
                .gauge("berth_wallet_balance_gwei", "What the operator key has to pay for gas, in gwei.")?,
            gas_runway: make.gauge(
                "berth_wallet_runway_seconds",
                "How long that lasts at the spending of the last seven days; the largest number if nothing was spent.",
            )?,
            gas_wei: Mutex::default(),
        })
    }

    pub(super) async fn read(&self, store: &Store) -> anyhow::Result<()> {
        let balance = *self.gas_wei.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(balance) = balance {
            let burn = Burn::read(store, Clock::default().now()).await?;
            self.gas_money.set(gauge(balance / GWEI));
            self.gas_runway.set(gauge(burn.lasts(balance).unwrap_or(u128::MAX)));
        }
        self.intents.reset();
        for (kind, state, count) in store.count_intents().await? {
            self.intents.with_label_values(&[&kind, &state]).set(gauge(count));
        }
        Ok(())
    }
}

impl Transactions {
    pub(super) fn resynced(&self, how: Resync) {
        self.resyncs.with_label_values(&[how.word()]).inc();
    }
}

impl Metrics {
    /// What the registry holds for us, and how much of it is bond.
    pub(crate) fn stake(&self, all: Amount, locked: Amount) {
        let stake = &self.0.transactions.stake;
        stake.with_label_values(&["locked"]).set(gauge(locked.0));
        stake.with_label_values(&["free"]).set(gauge(all.0.saturating_sub(locked.0)));
    }

    /// What the operator key has to pay for gas.
    pub(crate) fn gas_money(&self, balance_wei: u128) {
        *self.0.transactions.gas_wei.lock().unwrap_or_else(PoisonError::into_inner) = Some(balance_wei);
    }

    /// Counts what came of saying an intent to the chain, and how long that took.
    pub(crate) fn said(&self, intent: &NewIntent, result: &Result<Outcome, SendError>, took: Duration) {
        let transactions = &self.0.transactions;
        let msg = intent.kind.word();
        let word = match result {
            Ok(Outcome::Mined { fee_wei, gas_used, .. }) => {
                transactions.confirmed.with_label_values(&[msg]).observe(took.as_secs_f64());
                transactions.gas.with_label_values(&[msg]).inc_by(*gas_used);
                transactions.fees.inc_by(u64::try_from(fee_wei / GWEI).unwrap_or(u64::MAX));
                "ok"
            }
            Ok(Outcome::Reverted { .. }) => "reverted",
            Err(SendError::Refused(_)) => "refused",
            Err(_) => "error",
        };
        transactions.said.with_label_values(&[msg, word]).inc();
        if intent.kind == IntentKind::Bid {
            self.0.bids.said(intent.order, word);
        }
    }
}
