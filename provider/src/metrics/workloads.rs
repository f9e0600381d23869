//! What leases run in the cluster, and what of it is not as it should be.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::Metrics;
use super::make::{Make, gauge};
use crate::leases::reconcile;
use crate::leases::restarts::Cause;
use crate::store::Store;

#[derive(Debug)]
pub(super) struct Workloads {
    health: IntGaugeVec,
    restarts: IntCounterVec,
    drift: IntGaugeVec,
    deleted: IntCounterVec,
    teardown: Histogram,
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
            restarts: make.counted("berth_workload_restarts_total",
                "Times that something of a lease ended and was begun again, by reason: oom, error, ended (without one) or evicted.",
                "reason", &["oom", "error", "ended", "evicted"],)?,
            drift: make.gauges(
                "berth_drift_objects",
                "What the cluster has and should not (orphan), or should have and has not (missing), by kind.",
                &["kind", "direction"],
            )?,
            deleted: make.counters(
                "berth_gc_deleted_total",
                "Objects of leases that were deleted because nothing wants them any more, by kind.",
                &["kind"],
            )?,
            teardown: make.long_histogram(
                "berth_teardown_duration_seconds",
                "How long after its end on chain nothing of a lease was left in the cluster.",
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
            incidents: make.counted("berth_inventory_invariant_violations_total",
                "Things that must not be, such as one GPU in two leases, by kind.",
                "kind", &["gpu_shared", "gpu_wrong_model", "gpu_unknown"],)?,
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
        let workloads = &self.0.workloads;
        workloads.orphaned.set(gauge(count));
        workloads.drift.with_label_values(&["namespace", "orphan"]).set(gauge(count));
        workloads.tell_hold();
    }

    fn missing_workloads(&self, count: usize) {
        self.0.workloads.drift.with_label_values(&["workload", "missing"]).set(gauge(count));
    }

    fn deleted(&self, kind: &str) {
        self.0.workloads.deleted.with_label_values(&[kind]).inc();
    }

    fn torn_down(&self, took: Duration) {
        self.0.workloads.teardown.observe(took.as_secs_f64());
    }

    fn began_again(&self, cause: Cause, times: u64) {
        self.0.workloads.restarts.with_label_values(&[cause.word()]).inc_by(times);
    }

    fn hosts(&self, served: usize, waiting: usize) {
        self.0.manifests.hosts(served, waiting);
    }

    fn apply_failed(&self) {
        self.0.workloads.apply_failures.inc();
    }
}
