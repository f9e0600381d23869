//! What tenants want to run, and under which names it is reached.

use std::time::Duration;

use manifests::order::Address;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::make::{Make, gauge};
use crate::gateway::observe::HOSTNAME_TAKEN;
use crate::store::Store;

#[derive(Debug)]
pub(super) struct Manifests {
    answered: IntCounterVec,
    waited: Histogram,
    awaited: IntGauge,
    conflicts: IntCounter,
    hosts: IntGaugeVec,
}

impl Manifests {
    pub(super) fn new(make: &Make<'_>) -> anyhow::Result<Self> {
        Ok(Self {
            answered: make.counters(
                "berth_manifest_total",
                "Manifests that tenants sent, by result (accepted or refused) and the reason of a refusal.",
                &["result", "reason"],
            )?,
            waited: make.long_histogram(
                "berth_manifest_wait_seconds",
                "How long after a lease's beginning its first manifest came.",
            )?,
            awaited: make.gauge(
                "berth_leases_awaiting_manifest",
                "Live leases whose tenants have sent no manifest yet.",
            )?,
            conflicts: make.counter(
                "berth_hostname_conflicts_total",
                "Manifests that were refused because another lease has a host name of theirs.",
            )?,
            hosts: make.gauges(
                "berth_hostnames",
                "Host names of leases, by state: served, or waiting until the cluster takes their objects.",
                &["state"],
            )?,
        })
    }

    pub(super) async fn read(&self, store: &Store, provider: Address) -> anyhow::Result<()> {
        self.awaited.set(gauge(store.count_awaiting_manifest(provider).await?));
        Ok(())
    }

    pub(super) fn answered(&self, refused: Option<&str>) {
        let result = if refused.is_some() { "refused" } else { "accepted" };
        self.answered.with_label_values(&[result, refused.unwrap_or_default()]).inc();
        if refused == Some(HOSTNAME_TAKEN) {
            self.conflicts.inc();
        }
    }

    pub(super) fn waited(&self, waited: Duration) {
        self.waited.observe(waited.as_secs_f64());
    }

    pub(super) fn hosts(&self, served: usize, waiting: usize) {
        self.hosts.with_label_values(&["served"]).set(gauge(served));
        self.hosts.with_label_values(&["waiting"]).set(gauge(waiting));
    }
}
