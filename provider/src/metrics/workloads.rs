//! What leases run in the cluster, and what of it is not as it should be.

use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::Metrics;
use super::make::{Make, gauge};
use crate::leases::reconcile;
use crate::store::Store;

#[derive(Debug)]
pub(super) struct Workloads {
    health: IntGaugeVec,
    hold: IntGauge,
    is_stale: AtomicBool,
    orphaned: IntGauge,
    apply_failures: IntCounter,
    incidents: IntCounterVec,
}

impl Workloads {
    pub(super) fn new(make: &Make<'_>) -> anyhow::Result<Self> {
        Ok(Self {
            health: make.gauges(
                "berth_workload_health",
                "Live leases, by their workload's health.",
                &["state"],
            )?,
            hold: make.gauge(
                "berth_hold_mode",
                "1 while something is held instead of decided: the chain is not followed, or a namespace's lease is unknown.",
            )?,
            is_stale: AtomicBool::new(false),
            orphaned: make.gauge(
                "berth_orphaned_namespaces",
                "Namespaces with our label whose lease is not known; they are left alone.",
            )?,
            apply_failures: make
                .counter("berth_apply_failures_total", "Leases whose objects could not be applied.")?,
            incidents: make.counters(
                "berth_inventory_invariant_violations_total",
                "Things that must not be, such as one GPU in two leases, by kind.",
                &["kind"],
            )?,
        })
    }

    pub(super) async fn read(&self, store: &Store) -> anyhow::Result<()> {
        let counts = store.count_health().await?;
        for health in ["healthy", "unhealthy", "unknown"] {
            let count = counts.iter().find(|(word, _)| word == health).map_or(0, |(_, count)| *count);
            self.health.with_label_values(&[health]).set(gauge(count));
        }
        Ok(())
    }

    /// Notes whether what is stored of the chain is too old to decide from.
    pub(super) fn chain_is_stale(&self, is_stale: bool) {
        self.is_stale.store(is_stale, Ordering::Relaxed);
        self.tell_hold();
    }

    fn tell_hold(&self) {
        let holds = self.is_stale.load(Ordering::Relaxed) || self.orphaned.get() > 0;
        self.hold.set(i64::from(holds));
    }
}

impl reconcile::Observe for Metrics {
    fn incident(&self, code: &str) {
        self.0.workloads.incidents.with_label_values(&[code]).inc();
    }

    fn held_namespaces(&self, count: usize) {
        self.0.workloads.orphaned.set(gauge(count));
        self.0.workloads.tell_hold();
    }

    fn apply_failed(&self) {
        self.0.workloads.apply_failures.inc();
    }
}
