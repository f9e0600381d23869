//! Leases as the chain tells of them, and their money.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use manifests::order::{Address, CloseReason, Fact, LeaseId};
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec};

use super::Metrics;
use super::make::{Make, gauge};
use crate::leases::ledger::Ledger;
use crate::store::Store;

#[derive(Debug)]
pub(super) struct Leases {
    states: IntGaugeVec,
    events: IntCounterVec,
    closed: IntCounterVec,
    revenue: IntGauge,
    withdrawn: IntGauge,
    accrued: IntGauge,
    to_collect: IntGauge,
    at_risk: IntGauge,
    funds_remaining: IntGauge,
    last_withdrawal: IntGauge,
    /// Until when the contract says that the accounts of live leases pay.
    funded: Mutex<BTreeMap<LeaseId, u64>>,
}

impl Leases {
    pub(super) fn new(make: &Make<'_>) -> anyhow::Result<Self> {
        Ok(Self {
            states: make.gauges("berth_leases", "Our leases, by state.", &["state"])?,
            events: make.counted("berth_lease_events_total",
                "What the chain told of our leases: started, noticed (we leave), paid or closed.",
                "event", &["started", "noticed", "paid", "closed"],)?,
            closed: make.counters(
                "berth_leases_closed_total",
                "Our leases that ended, by who ended them (tenant, provider or market) and why.",
                &["initiator", "reason"],
            )?,
            revenue: make.gauge(
                "berth_lease_revenue_nanounits_per_second",
                "What live leases earn: token units × 10^9 per second.",
            )?,
            withdrawn: make.gauge(
                "berth_earnings_withdrawn_units",
                "What withdrawals of all leases brought, in token units.",
            )?,
            accrued: make.gauge(
                "berth_earnings_accrued_units",
                "What all leases earned so far, withdrawn or not, in token units before the market's fee.",
            )?,
            to_collect: make.gauge(
                "berth_earnings_to_collect_units",
                "What a withdrawal of all leases would bring now, in token units after the market's fee.",
            )?,
            at_risk: make.gauge(
                "berth_escrow_at_risk_units",
                "What live leases served after their accounts' money had ended, in token units: nobody pays it.",
            )?,
            funds_remaining: make.gauge(
                "berth_lease_funds_remaining_seconds",
                "Seconds until the first account of a live lease ends; 0 if one has ended or none is live.",
            )?,
            last_withdrawal: make.gauge(
                "berth_withdraw_last_success_timestamp_seconds",
                "Unix time up to which a lease was last withdrawn.",
            )?,
            funded: Mutex::default(),
        })
    }

    pub(super) async fn read(&self, store: &Store, provider: Address) -> anyhow::Result<()> {
        let now = store.cursor().await?.map_or(0, |cursor| cursor.timestamp);
        let tallies = store.lease_tallies(provider).await?;
        for state in ["active", "reclaiming", "closed"] {
            let count = tallies.get(state).map_or(0, |tally| tally.count);
            self.states.with_label_values(&[state]).set(gauge(count));
        }
        // Those that ended and were paid to the end, which are most after a while, are summed up by the database.
        let mut ledger = Ledger::default();
        let (mut withdrawn, mut paid_until) = (0u128, 0u64);
        for tally in tallies.values() {
            ledger = ledger.plus(tally.settled);
            withdrawn = withdrawn.saturating_add(tally.settled_net.0);
            paid_until = paid_until.max(tally.paid_until);
        }
        let funded = self.funded.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (mut revenue, mut remaining) = (0u128, None::<u64>);
        for row in store.leases_to_bill(provider).await? {
            withdrawn = withdrawn.saturating_add(row.paid_net.0);
            let funded_until = funded.get(&row.lease.id).copied().unwrap_or(row.lease.funded_until);
            ledger = ledger.plus(Ledger::of(&row, funded_until, now));
            if row.is_live() {
                revenue = revenue.saturating_add(row.lease.rate.scaled());
                let left = funded_until.saturating_sub(now);
                remaining = Some(remaining.map_or(left, |least| least.min(left)));
            }
        }
        self.revenue.set(gauge(revenue));
        self.withdrawn.set(gauge(withdrawn));
        let Ledger { accrued, withdrawn: _, to_collect, at_risk } = ledger;
        self.accrued.set(gauge(accrued.0));
        self.to_collect.set(gauge(to_collect.0));
        self.at_risk.set(gauge(at_risk.0));
        self.funds_remaining.set(gauge(remaining.unwrap_or(0)));
        self.last_withdrawal.set(gauge(paid_until));
        Ok(())
    }
}

/// What is told longer after it happened than this many seconds is history, and counts for nothing now.
const HISTORY: u64 = 3600;

/// Who ended a lease, and why, in the words of metrics.
fn words(reason: CloseReason) -> (&'static str, &'static str) {
    match reason {
        CloseReason::TENANT => ("tenant", "asked"),
        CloseReason::PROVIDER => ("provider", "left"),
        CloseReason::UNSTABLE => ("provider", "unstable"),
        CloseReason::DECOMMISSION => ("provider", "decommission"),
        CloseReason::MANIFEST_TIMEOUT => ("provider", "manifest_timeout"),
        CloseReason::RECLAIM_ELAPSED => ("provider", "reclaim_elapsed"),
        CloseReason::DEPLETED => ("market", "depleted"),
        CloseReason::EXPIRED => ("market", "expired"),
        other if other.is_tenants() => ("tenant", "other"),
        CloseReason(100..=149) => ("provider", "other"),
        CloseReason(_) => ("market", "other"),
    }
}

impl Metrics {
    /// Counts what the chain told of a lease of `provider` at least so many seconds after it happened.
    pub(crate) fn lease_fact(&self, provider: Address, fact: &Fact, late: u64) {
        let leases = &self.0.leases;
        let event = match fact {
            Fact::LeaseCreated(lease) if lease.provider == provider => "started",
            Fact::ReclaimStarted { provider: ours, .. } if *ours == provider => "noticed",
            Fact::Withdrawn { provider: ours, .. } if *ours == provider => "paid",
            Fact::LeaseClosed { provider: ours, .. } if *ours == provider => "closed",
            _ => return,
        };
        if late > HISTORY {
            return;
        }
        leases.events.with_label_values(&[event]).inc();
        if let Fact::LeaseClosed { reason, .. } = fact {
            let (initiator, why) = words(*reason);
            leases.closed.with_label_values(&[initiator, why]).inc();
        }
    }

    /// What the contract says of the accounts of live leases: unix seconds of chain time in which each ends.
    pub(crate) fn funded(&self, until: BTreeMap<LeaseId, u64>) {
        *self.0.leases.funded.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}
