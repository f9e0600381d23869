//! How prices are found: the operator's program, and what the tariff's currency is worth.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bidengine::Fx;
use prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec};

use super::Metrics;
use super::make::{Make, gauge};
use crate::clock::Clock;

#[derive(Debug)]
pub(super) struct Pricing {
    took: HistogramVec,
    errors: IntCounterVec,
    fx_rate: GaugeVec,
    fx_age: IntGaugeVec,
    fx_failures: IntCounterVec,
    /// The worth that was told last.
    told: Mutex<Option<Fx>>,
}

impl Pricing {
    pub(super) fn new(make: &Make<'_>) -> anyhow::Result<Self> {
        Ok(Self {
            took: make.histograms(
                "berth_pricing_duration_seconds",
                "How long the operator's pricing program took, by how it is asked.",
                &["strategy"],
            )?,
            errors: make.counted("berth_pricing_errors_total",
                "Times that the operator's pricing program named no price, by why: busy, timeout, start, exit, unreachable, \
                 status or answer.",
                "reason", &["busy", "timeout", "start", "exit", "unreachable", "status", "answer"],)?,
            fx_rate: make.decimals(
                "berth_price_fx_rate",
                "What one unit of the tariff's currency is worth in dollars.",
                &["pair"],
            )?,
            fx_age: make.gauges(
                "berth_price_fx_age_seconds",
                "How long ago that was told, by who told it.",
                &["source"],
            )?,
            fx_failures: make.counters(
                "berth_price_fx_failures_total",
                "Times that a source did not tell what the tariff's currency is worth.",
                &["source"],
            )?,
            told: Mutex::default(),
        })
    }

    pub(super) fn read(&self) {
        self.fx_age.reset();
        if let Some(Fx { source, at, .. }) = &*self.told.lock().unwrap_or_else(PoisonError::into_inner) {
            let age = Clock::default().now().saturating_sub(*at);
            self.fx_age.with_label_values(&[source]).set(gauge(age));
        }
    }
}

impl Metrics {
    /// Counts what came of asking the operator's pricing program.
    pub(crate) fn priced(&self, how: &str, took: Duration, trouble: Option<&str>) {
        let pricing = &self.0.pricing;
        pricing.took.with_label_values(&[how]).observe(took.as_secs_f64());
        if let Some(trouble) = trouble {
            pricing.errors.with_label_values(&[trouble]).inc();
        }
    }

    /// Shows what a currency is worth, which only people look at.
    pub(crate) fn fx(&self, currency: &str, told: &Fx) {
        let pricing = &self.0.pricing;
        let shown = told.rate.to_string().parse().unwrap_or(f64::NAN);
        pricing.fx_rate.reset();
        pricing.fx_rate.with_label_values(&[&format!("{currency}/USD")]).set(shown);
        *pricing.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(told.clone());
    }

    pub(crate) fn fx_failed(&self, source: &str) {
        self.0.pricing.fx_failures.with_label_values(&[source]).inc();
    }
}
