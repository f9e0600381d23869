//! What leases are rendered for: what the operator says of the cluster, and what the cluster shows of itself at the moment.

use anyhow::ensure;
use manifests::objects::{self, Cidr};

use crate::inventory::Inventory;

/// Knows what the cluster is like. Clones share what they see.
#[derive(Debug, Clone)]
pub struct Cluster {
    told: objects::Settings,
    inventory: Inventory,
}

impl Cluster {
    /// A cluster of which the operator told this. What the cluster tells itself takes the place of, or is added to, what
    /// stands there: its storage classes, its API servers, its nodes' addresses and which of them have user namespaces.
    #[must_use]
    pub fn new(told: objects::Settings, inventory: Inventory) -> Self {
        Self { told, inventory }
    }

    /// What it is like now.
    ///
    /// # Errors
    /// When part of it cannot be seen, or the API server does not say where it answers.
    pub fn settings(&self) -> anyhow::Result<objects::Settings> {
        let mut settings = self.told.clone();
        settings.user_namespace_nodes = self.inventory.user_namespace_nodes()?;
        settings.closed_networks.extend(self.inventory.node_addresses()?.into_iter().map(Cidr::of_host));
        settings.storage_classes = self.inventory.storage_classes()?.offered;
        settings.api_servers = self.inventory.api_servers()?.into_iter().collect();
        ensure!(
            !settings.api_servers.is_empty(),
            "the Service kubernetes in the namespace default has no endpoint, so tenants could not be kept away from the API \
             server"
        );
        Ok(settings)
    }
}
