//! The terms of an order that are not part of its spec, under `profiles.placement.<name>.x-berth`.
//!
//! They change what is bought from whom, never the workload, so no manifest and no digest has them: the tenant's client
//! posts them with the order or holds them against the bids.

use std::time::Duration;

use serde::Serialize;

/// What a tenant wants of one order, beside its spec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Terms {
    /// Who chooses among the bids.
    pub award: Award,
    /// How long after its posting the order takes bids; `None` leaves it to the client.
    #[serde(serialize_with = "seconds")]
    pub deadline: Option<Duration>,
    /// The least notice that a provider must promise to give before leaving: that of the placement, or else that of the
    /// document's `reclamation`. Whole seconds.
    #[serde(serialize_with = "seconds")]
    pub min_reclaim: Option<Duration>,
    /// Regions, best first. A wish: where no bid comes from there, others are as good.
    pub regions: Vec<String>,
    /// The longest round trip from the tenant's machine to the provider's gateway. A wish as well.
    #[serde(serialize_with = "milliseconds")]
    pub max_latency: Option<Duration>,
}

/// Who chooses among the bids of an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Award {
    /// The tenant, whenever it likes.
    #[default]
    Manual,
    /// The lowest bid wins when the deadline has passed.
    Lowest,
}

#[expect(clippy::ref_option, reason = "serde hands the field over by reference")]
fn seconds<S: serde::Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs()).serialize(serializer)
}

#[expect(clippy::ref_option, reason = "serde hands the field over by reference")]
fn milliseconds<S: serde::Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_millis() as u64).serialize(serializer)
}
