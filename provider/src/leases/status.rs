//! What a tenant is shown of a lease, as it stands in the store between two looks at the cluster. It holds no secret.

use anyhow::Context;
use market::api::{self, LeaseState, ServiceStatus};
use serde::{Deserialize, Serialize};

use crate::store::Health;

/// The part of a lease's status that comes from the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Where the lease is on its way.
    pub state: LeaseState,
    /// Why it is not healthy.
    pub why: Option<String>,
    /// Its services.
    pub services: Vec<ServiceStatus>,
    /// What this provider handles in its own way.
    pub notes: Vec<String>,
}

impl Default for Shown {
    fn default() -> Self {
        Self { state: LeaseState::Starting, why: None, services: Vec::new(), notes: Vec::new() }
    }
}

impl Shown {
    /// Reads what [`Shown::write`] wrote.
    ///
    /// # Errors
    /// When the text is something else.
    pub fn read(body: &str) -> anyhow::Result<Self> {
        serde_json::from_str(body).context("the stored status of a lease is damaged")
    }

    /// The text that is stored.
    #[must_use]
    pub fn write(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always serialise")
    }
}

/// The store's health in the words of the gateway.
#[must_use]
pub fn word(health: Health) -> api::Health {
    match health {
        Health::Healthy => api::Health::Healthy,
        Health::Unhealthy => api::Health::Unhealthy,
        Health::Unknown => api::Health::Unknown,
    }
}
