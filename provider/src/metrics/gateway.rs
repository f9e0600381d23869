//! What tenants ask the gateway, and how it answers.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec};

use super::Metrics;
use super::make::Make;
use crate::gateway::observe::Observe;

#[derive(Debug)]
pub(super) struct Gateway {
    requests: IntCounterVec,
    took: HistogramVec,
    refused_signatures: IntCounterVec,
}

impl Gateway {
    pub(super) fn new(make: &Make<'_>) -> anyhow::Result<Self> {
        Ok(Self {
            requests: make.counters(
                "berth_gateway_requests_total",
                "Answered requests, by route, method and status.",
                &["route", "method", "code"],
            )?,
            took: make.histograms(
                "berth_gateway_request_duration_seconds",
                "How long it took until an answer was begun.",
                &["route"],
            )?,
            refused_signatures: make.counters(
                "berth_gateway_auth_failures_total",
                "Requests whose signature was not believed, by reason.",
                &["reason"],
            )?,
        })
    }
}

impl Observe for Metrics {
    fn answered(&self, route: &str, method: &str, status: u16, took: Duration) {
        let gateway = &self.0.gateway;
        gateway.requests.with_label_values(&[route, method, &status.to_string()]).inc();
        gateway.took.with_label_values(&[route]).observe(took.as_secs_f64());
    }

    fn not_believed(&self, reason: &str) {
        self.0.gateway.refused_signatures.with_label_values(&[reason]).inc();
    }
}
