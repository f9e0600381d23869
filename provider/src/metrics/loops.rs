//! The daemon's loops: whether they turn, and how long a turn takes.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

use super::Metrics;
use super::make::{Make, gauge};
use crate::task;

#[derive(Debug)]
pub(super) struct Loops {
    turns: IntCounterVec,
    took: HistogramVec,
    last_success: IntGaugeVec,
}

impl Loops {
    pub(super) fn new(make: &Make<'_>) -> anyhow::Result<Self> {
        Ok(Self {
            turns: make.counters(
                "berth_reconcile_runs_total",
                "Turns of each loop, by result.",
                &["controller", "result"],
            )?,
            took: make.histograms(
                "berth_reconcile_duration_seconds",
                "How long a turn of each loop took.",
                &["controller"],
            )?,
            last_success: make.gauges(
                "berth_reconcile_last_success_timestamp_seconds",
                "Unix time of each loop's last good turn.",
                &["controller"],
            )?,
        })
    }
}

impl Metrics {
    /// Counts a turn of a loop.
    pub fn turn(&self, outcome: task::Outcome) {
        let task::Outcome { name, ok, took } = outcome;
        let loops = &self.0.loops;
        let turns = |result| loops.turns.with_label_values(&[name, result]);
        // Both are there from the first turn on, so that the first that fails is seen to be one more.
        let (good, bad) = (turns("ok"), turns("error"));
        if ok { good } else { bad }.inc();
        loops.took.with_label_values(&[name]).observe(took.as_secs_f64());
        if ok && let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) {
            loops.last_success.with_label_values(&[name]).set(gauge(now.as_secs()));
        }
    }
}
