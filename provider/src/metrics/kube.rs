//! What the API server of the cluster is asked, and how it answers.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec};

use super::Metrics;
use super::make::Make;
use crate::inventory::calls::{Asked, Observe};
use crate::inventory::watch::Pulse;

#[derive(Debug)]
pub(super) struct Kube {
    requests: IntCounterVec,
    took: HistogramVec,
    restarts: IntCounterVec,
}

impl Kube {
    pub(super) fn new(make: &Make<'_>) -> anyhow::Result<Self> {
        Ok(Self {
            requests: make.counters(
                "berth_kube_requests_total",
                "Requests to the API server, by verb, resource and status; none for one that was not answered.",
                &["verb", "resource", "code"],
            )?,
            took: make.histograms(
                "berth_kube_request_duration_seconds",
                "How long it took until the API server began its answer.",
                &["verb"],
            )?,
            restarts: make.counters(
                "berth_kube_watch_restarts_total",
                "Watches of the cluster that failed and were begun again.",
                &["resource"],
            )?,
        })
    }
}

impl Observe for Metrics {
    fn asked(&self, asked: &Asked<'_>, code: Option<u16>, took: Duration) {
        let Asked { verb, resource } = asked;
        let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        self.0.kube.requests.with_label_values(&[verb, resource, code.as_str()]).inc();
        self.0.kube.took.with_label_values(&[verb]).observe(took.as_secs_f64());
    }
}

impl Metrics {
    /// Shows how often each kind's watches were begun again.
    pub(crate) fn watches(&self, pulses: &[Pulse]) {
        let mut restarts: BTreeMap<&str, u64> = BTreeMap::new();
        for Pulse { kind, silent: _, restarts: times } in pulses {
            *restarts.entry(kind).or_default() += times;
        }
        for (kind, times) in restarts {
            let told = self.0.kube.restarts.with_label_values(&[kind]);
            told.inc_by(times.saturating_sub(told.get()));
        }
    }
}
