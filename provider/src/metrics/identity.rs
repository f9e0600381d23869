//! Who tells: the program, its configuration, and whether it may act.

use prometheus::{IntGauge, IntGaugeVec};

use super::Metrics;
use super::make::{Make, gauge};

#[derive(Debug)]
pub(super) struct Identity {
    pub(super) ready: IntGaugeVec,
    leader: IntGaugeVec,
    config_read: IntGauge,
    config_bad: IntGauge,
}

impl Identity {
    pub(super) fn new(make: &Make<'_>) -> anyhow::Result<Self> {
        let info = make.gauges("berth_build_info", "What runs here; always 1.", &["version"])?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            ready: make.gauges(
                "berth_component_ready",
                "Whether a part of the daemon works: the chain is followed.",
                &["component"],
            )?,
            leader: make.gauges(
                "berth_leader",
                "1 where a part of the daemon is the one that may act: the sender, which holds the Kubernetes Lease of its key.",
                &["component"],
            )?,
            config_read: make.gauge(
                "berth_config_reload_success_timestamp_seconds",
                "Unix time at which the configuration in use was read.",
            )?,
            config_bad: make.gauge(
                "berth_config_reload_failed",
                "1 while the configuration file cannot be used, and the last good one counts.",
            )?,
        })
    }
}

impl Metrics {
    /// The configuration was read at this unix time; `None` says that it cannot be used.
    pub(crate) fn config_read(&self, at: Option<u64>) {
        let identity = &self.0.identity;
        identity.config_bad.set(i64::from(at.is_none()));
        if let Some(at) = at {
            identity.config_read.set(gauge(at));
        }
    }

    pub(crate) fn leader(&self, leads: bool) {
        self.0.identity.leader.with_label_values(&["sender"]).set(i64::from(leads));
    }
}
