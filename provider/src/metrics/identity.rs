//! Who tells: the program, its configuration, and whether it may act.

use manifests::order::Address;
use prometheus::{IntGauge, IntGaugeVec};
use sha2::{Digest, Sha256};

use super::Metrics;
use super::make::{Make, gauge};

#[derive(Debug)]
pub(super) struct Identity {
    pub(super) ready: IntGaugeVec,
    leader: IntGaugeVec,
    config: IntGaugeVec,
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
                &["component", "key"],
            )?,
            config: make.gauges(
                "berth_config_info",
                "The configuration in use, by the beginning of its SHA-256; always 1.",
                &["hash"],
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
    /// This configuration was read at this unix time, and is in use from now on.
    pub(crate) fn config_read(&self, text: &str, at: u64) {
        let identity = &self.0.identity;
        identity.config_bad.set(0);
        identity.config_read.set(gauge(at));
        identity.config.reset();
        let hash = hex::encode(&Sha256::digest(text)[..6]);
        identity.config.with_label_values(&[&hash]).set(1);
    }

    /// The configuration was read and cannot be used.
    pub(crate) fn config_refused(&self) {
        self.0.identity.config_bad.set(1);
    }

    /// Whether this daemon may send with this key.
    pub(crate) fn leader(&self, key: Address, leads: bool) {
        self.0.identity.leader.with_label_values(&["sender", &key.to_string()]).set(i64::from(leads));
    }
}
