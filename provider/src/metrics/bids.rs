//! From orders to bids, and what became of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use manifests::decision::Decision;
use manifests::order::OrderId;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::Metrics;
use super::make::{Make, gauge};
use crate::store::Store;

/// Orders whose first bid is timed at once: more of them than are answered in time need no timing.
const MOST_WAITING: usize = 20_000;

#[derive(Debug)]
pub(super) struct Bids {
    seen: IntCounter,
    declined: IntCounterVec,
    said: IntCounterVec,
    outcomes: IntCounterVec,
    latency: Histogram,
    /// When orders were seen that have no bid on the chain yet.
    waiting: Mutex<BTreeMap<OrderId, Instant>>,
    revisions: IntCounter,
    held_back: IntCounterVec,
    open: IntGauge,
    reservations: IntGaugeVec,
    expired: IntCounter,
    moved: IntCounter,
    without_place: IntGauge,
    decision_bytes: IntGauge,
}

impl Bids {
    pub(super) fn new(make: &Make<'_>) -> anyhow::Result<Self> {
        Ok(Self {
            seen: make.counter("berth_orders_seen_total", "Orders that appeared on the book.")?,
            declined: make.counters(
                "berth_orders_declined_total",
                "Orders that were declined, by the reason's code.",
                &["reason"],
            )?,
            said: make.counted("berth_bids_total",
                "Bids that were said to the chain, by result: ok, reverted, refused or error (which is tried again).",
                "result", &["ok", "reverted", "refused", "error"],)?,
            outcomes: make.counted("berth_bid_outcomes_total",
                "Bids, by how they ended: won, lost, expired, order_closed, refused or reorganised.",
                "outcome", &["won", "lost", "expired", "order_closed", "refused", "reorganised"],)?,
            latency: make.histogram(
                "berth_bid_latency_seconds",
                "How long it took from an order's appearance to our bid on the chain.",
            )?,
            waiting: Mutex::default(),
            revisions: make.counter(
                "berth_bid_revisions_total",
                "Bids that were lowered because another was lower, on orders that go to the lowest.",
            )?,
            held_back: make.counted("berth_bids_held_back_total",
                "Bids that were put off to save gas money, by why: the reserve for closes, or the day's budget.",
                "reason", &["reserve", "budget"],)?,
            open: make.gauge("berth_bids_open", "Bids that hold capacity.")?,
            reservations: make.gauges("berth_reservations", "Promised capacity, by state.", &["state"])?,
            expired: make.counter(
                "berth_reservation_expired_total",
                "Reservations that were released because their order or bid expired.",
            )?,
            moved: make.counter(
                "berth_reservations_moved_total",
                "Reservations that got new nodes because one was lost or had no room.",
            )?,
            without_place: make.gauge(
                "berth_reservations_without_place",
                "Reservations of which a node is lost or has no room, and that fit nowhere else.",
            )?,
            decision_bytes: make.gauge(
                "berth_decision_inputs_bytes",
                "What is stored for explaining and repeating decisions, compressed.",
            )?,
        })
    }

    pub(super) async fn read(&self, store: &Store) -> anyhow::Result<()> {
        let counts = store.count_reservations().await?;
        for state in ["held", "leased"] {
            let count = counts.iter().find(|(word, _)| word == state).map_or(0, |(_, count)| *count);
            self.reservations.with_label_values(&[state]).set(gauge(count));
            if state == "held" {
                self.open.set(gauge(count));
            }
        }
        self.decision_bytes.set(gauge(store.decision_bytes().await?));
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<OrderId, Instant>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a bid that was said to the chain, and the time since its order was seen if it took effect.
    pub(super) fn said(&self, order: Option<OrderId>, result: &str) {
        self.said.with_label_values(&[result]).inc();
        let seen = order.filter(|_| result == "ok").and_then(|order| self.waiting().remove(&order));
        if let Some(seen) = seen {
            self.latency.observe(seen.elapsed().as_secs_f64());
        }
    }
}

impl Metrics {
    pub(crate) fn order_seen(&self, order: OrderId) {
        let bids = &self.0.bids;
        bids.seen.inc();
        let mut waiting = bids.waiting();
        if waiting.len() < MOST_WAITING {
            waiting.insert(order, Instant::now());
        }
    }

    /// Counts an answer; `before` is the code of the reason for which the order was declined last.
    pub(crate) fn decided(&self, order: OrderId, decision: &Decision, before: Option<&str>) {
        if let Decision::Decline { reason } = decision
            && before != Some(reason.code())
        {
            let bids = &self.0.bids;
            bids.declined.with_label_values(&[reason.code()]).inc();
            bids.waiting().remove(&order);
        }
    }

    /// Counts a bid's end.
    pub(crate) fn bid_ended(&self, order: OrderId, outcome: &str) {
        let bids = &self.0.bids;
        bids.outcomes.with_label_values(&[outcome]).inc();
        if outcome == "expired" {
            bids.expired.inc();
        }
        bids.waiting().remove(&order);
    }

    pub(crate) fn bid_revised(&self) {
        self.0.bids.revisions.inc();
    }

    pub(crate) fn bid_held_back(&self, reason: &str) {
        self.0.bids.held_back.with_label_values(&[reason]).inc();
    }

    pub(crate) fn reservation_moved(&self) {
        self.0.bids.moved.inc();
    }

    pub(crate) fn without_place(&self, reservations: usize) {
        self.0.bids.without_place.set(gauge(reservations));
    }
}
