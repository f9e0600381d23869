//! How the chain is followed, and how its endpoints answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use market::observe::{Ended, Observe, Resync};
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::Metrics;
use super::make::{Make, gauge};
use crate::freshness::Lag;
use crate::store::Store;

#[derive(Debug)]
pub(super) struct Chain {
    head: AtomicU64,
    head_height: IntGauge,
    lag_blocks: IntGauge,
    lag_seconds: IntGauge,
    last_event: IntGauge,
    block_time: IntGauge,
    endpoints: IntGaugeVec,
    requests: IntCounterVec,
    took: HistogramVec,
    reorgs: IntCounter,
    differences: IntCounterVec,
}

impl Chain {
    pub(super) fn new(make: &Make<'_>) -> anyhow::Result<Self> {
        Ok(Self {
            head: AtomicU64::new(0),
            head_height: make.gauge("berth_chain_head_height", "Height of the chain's newest block.")?,
            lag_blocks: make
                .gauge("berth_chain_lag_blocks", "Blocks between the head and what is stored.")?,
            lag_seconds: make.gauge(
                "berth_chain_lag_seconds",
                "Seconds since what is stored of the chain was last the whole truth.",
            )?,
            last_event: make.gauge(
                "berth_chain_last_event_timestamp_seconds",
                "Unix time up to which what is stored of the chain is the whole truth.",
            )?,
            block_time: make
                .gauge("berth_chain_block_timestamp_seconds", "Unix time of the last stored block.")?,
            endpoints: make.gauges(
                "berth_chain_endpoint_up",
                "Whether an endpoint of the chain gave the last answer it was asked for.",
                &["endpoint"],
            )?,
            requests: make.counters(
                "berth_chain_requests_total",
                "Questions to the chain's endpoints, by method and result: ok, reverted, refused, error or timeout.",
                &["method", "result"],
            )?,
            took: make.histograms(
                "berth_chain_request_duration_seconds",
                "How long it took until an endpoint of the chain answered, or was given up.",
                &["method"],
            )?,
            reorgs: make
                .counter("berth_chain_reorgs_total", "Reorganisations of the chain that were followed.")?,
            differences: make.counted("berth_chain_differences_total",
                "What was different when the chain was asked again: events that were missing (and were added), events that were \
                 not_told this time (and were kept), orders whose state the contract sees differently.",
                "kind", &["missing", "not_told", "state"],)?,
        })
    }

    pub(super) async fn read(&self, store: &Store) -> anyhow::Result<()> {
        if let Some(cursor) = store.cursor().await? {
            self.block_time.set(gauge(cursor.timestamp));
            self.lag_blocks.set(gauge(self.head.load(Ordering::Relaxed).saturating_sub(cursor.number)));
        }
        Ok(())
    }
}

impl Metrics {
    pub(crate) fn chain_head(&self, height: u64) {
        self.0.chain.head.store(height, Ordering::Relaxed);
        self.0.chain.head_height.set(gauge(height));
    }

    /// Shows how far behind the chain is followed.
    pub(crate) fn lag(&self, lag: Lag, now: u64) {
        let chain = &self.0.chain;
        chain.lag_seconds.set(gauge(lag.seconds));
        chain.last_event.set(gauge(now.saturating_sub(lag.seconds)));
        self.0.identity.ready.with_label_values(&["chain"]).set(i64::from(!lag.is_stale()));
        self.0.workloads.chain_is_stale(lag.is_stale());
    }

    pub(crate) fn endpoint(&self, endpoint: &str, is_up: bool) {
        self.0.chain.endpoints.with_label_values(&[endpoint]).set(i64::from(is_up));
    }

    pub(crate) fn reorg(&self) {
        self.0.chain.reorgs.inc();
    }

    /// Counts differences between the store and a chain that was asked again: `missing`, `not_told` or `state`.
    pub(crate) fn differs(&self, kind: &str, count: u64) {
        self.0.chain.differences.with_label_values(&[kind]).inc_by(count);
    }
}

impl Observe for Metrics {
    fn asked(&self, method: &'static str, ended: Ended, took: Duration) {
        let chain = &self.0.chain;
        chain.requests.with_label_values(&[method, ended.word()]).inc();
        chain.took.with_label_values(&[method]).observe(took.as_secs_f64());
    }

    fn resynced(&self, how: Resync) {
        self.0.transactions.resynced(how);
    }
}
