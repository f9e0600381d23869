//! Makes metrics and registers them.

use anyhow::Context;
use prometheus::core::Collector;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

/// What takes from an instant to half a minute, in seconds.
const MOMENTS: [f64; 13] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// What takes from seconds to a day, in seconds.
const WAITS: [f64; 12] =
    [1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 21_600.0, 86_400.0];

/// Puts metrics into a registry as they are made.
pub(super) struct Make<'a>(pub(super) &'a Registry);

impl Make<'_> {
    fn register<M: Collector + Clone + 'static>(&self, metric: prometheus::Result<M>) -> anyhow::Result<M> {
        let metric = metric.context("a metric cannot be made")?;
        self.0.register(Box::new(metric.clone())).context("a metric cannot be registered")?;
        Ok(metric)
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> anyhow::Result<IntGauge> {
        self.register(IntGauge::new(name, help))
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> anyhow::Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn decimals(&self, name: &str, help: &str, labels: &[&str]) -> anyhow::Result<GaugeVec> {
        self.register(GaugeVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> anyhow::Result<IntCounter> {
        self.register(IntCounter::new(name, help))
    }

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> anyhow::Result<IntCounterVec> {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// Counters by one label whose words are known. Each is there from the start, at zero: of one that appeared with its first
    /// event, that event would be seen by no rate and no alert.
    pub(super) fn counted(
        &self,
        name: &str,
        help: &str,
        label: &str,
        words: &[&str],
    ) -> anyhow::Result<IntCounterVec> {
        let counters = self.counters(name, help, &[label])?;
        for word in words {
            counters.with_label_values(&[word]).reset();
        }
        Ok(counters)
    }

    pub(super) fn histogram(&self, name: &str, help: &str) -> anyhow::Result<Histogram> {
        self.register(Histogram::with_opts(HistogramOpts::new(name, help).buckets(MOMENTS.to_vec())))
    }

    /// A histogram of what takes minutes.
    pub(super) fn long_histogram(&self, name: &str, help: &str) -> anyhow::Result<Histogram> {
        self.register(Histogram::with_opts(HistogramOpts::new(name, help).buckets(WAITS.to_vec())))
    }

    pub(super) fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> anyhow::Result<HistogramVec> {
        self.register(HistogramVec::new(HistogramOpts::new(name, help).buckets(MOMENTS.to_vec()), labels))
    }
}

/// A gauge holds 63 bits; what is larger shows as the largest.
pub(super) fn gauge<T: TryInto<i64>>(value: T) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}
