//! What tenants ask the gateway, and how it answers.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

use super::Metrics;
use super::make::{Make, gauge};
use crate::gateway::observe::{Direction, Observe};
use crate::gateway::streams::Streams;

#[derive(Debug)]
pub(super) struct Gateway {
    requests: IntCounterVec,
    took: HistogramVec,
    refused_signatures: IntCounterVec,
    streams: IntGaugeVec,
    stream_ends: IntCounterVec,
    bytes: IntCounterVec,
    certificates: IntGaugeVec,
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
            refused_signatures: make.counted("berth_gateway_auth_failures_total",
                "Requests whose signature was not believed, by reason.",
                "reason", &["missing", "malformed", "other_provider", "other_lease", "other_request", "other_body", "too_late", "too_early", "unknown_nonce", "bad_signature", "not_the_tenant"],)?,
            streams: make.gauges("berth_gateway_streams", "Streams that are open, by kind.", &["kind"])?,
            stream_ends: make.counters(
                "berth_gateway_stream_closed_total",
                "Streams that ended, by kind and reason: done, lease_ended, stopped with the daemon, left by who followed it, or \
                 cut before its end.",
                &["kind", "reason"],
            )?,
            bytes: make.counted("berth_gateway_bytes_total",
                "Bytes of bodies of requests (in) and answers (out).",
                "direction", &["in", "out"],)?,
            certificates: make.gauges(
                "berth_tls_cert_expiry_timestamp_seconds",
                "Unix time at which a certificate ends: the wildcard's, as visitors of tenants' hosts are shown it.",
                &["name"],
            )?,
        })
    }
}

impl Metrics {
    /// Shows how many streams are open.
    pub(crate) fn streams(&self, open: &Streams) {
        self.0.gateway.streams.with_label_values(&["logs"]).set(gauge(open.count()));
    }

    /// Shows when the wildcard's certificate ends; nothing if that is not known.
    pub(crate) fn wildcard_ends(&self, at: Option<u64>) {
        let certificates = &self.0.gateway.certificates;
        certificates.reset();
        if let Some(at) = at {
            certificates.with_label_values(&["wildcard"]).set(gauge(at));
        }
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

    fn manifest(&self, refused: Option<&str>) {
        self.0.manifests.answered(refused);
    }

    fn manifest_waited(&self, waited: Duration) {
        self.0.manifests.waited(waited);
    }

    fn stream_ended(&self, kind: &str, reason: &str) {
        self.0.gateway.stream_ends.with_label_values(&[kind, reason]).inc();
    }

    fn carried(&self, direction: Direction, bytes: u64) {
        self.0.gateway.bytes.with_label_values(&[direction.word()]).inc_by(bytes);
    }
}
