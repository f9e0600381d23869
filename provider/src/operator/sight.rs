//! The cluster and the promises as a verb sees them, beside a daemon that may be running.

use std::time::Duration;

use anyhow::{Context, bail};
use bidengine::Capacity;

use crate::bidder::CapacitySource as _;
use crate::bidder::cluster::ClusterCapacity;
use crate::clock::Clock;
use crate::config::Config;
use crate::inventory::{Inventory, Promise, client};
use crate::run::{inventory_settings, open_store};
use crate::store::Store;

/// How long the cluster may take to tell of its nodes and pods.
const PATIENCE: Duration = Duration::from_secs(15);

/// The cluster and the database, both only read.
pub(super) struct Sight {
    /// What the cluster has.
    pub(super) inventory: Inventory,
    /// What is promised.
    pub(super) store: Store,
    /// The way to the cluster.
    pub(super) client: client::Client,
    source: ClusterCapacity,
}

impl Sight {
    /// Reads the cluster until all of it has been seen once.
    ///
    /// # Errors
    /// The cluster or the database cannot be reached, or does not tell what is needed in time.
    pub(super) async fn open(config: &Config) -> anyhow::Result<Self> {
        let store = open_store(config).await?;
        let (client, _) = client::connect(config.cluster.kubeconfig.as_deref()).await?;
        let (inventory, clock) = (seen(config, &client).await?, Clock::default());
        let source = ClusterCapacity { provider: config.provider, inventory: inventory.clone(), clock };
        Ok(Self { inventory, store, client, source })
    }

    /// What is promised, as the inventory counts it.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(super) async fn promises(&self) -> anyhow::Result<Vec<Promise>> {
        Ok(self.source.promises(&self.store.promised().await?.rows))
    }

    /// What is free for new orders now.
    ///
    /// # Errors
    /// The database cannot be read, or the cluster is not seen any more.
    pub(super) async fn free(&self) -> anyhow::Result<Capacity> {
        let promised = self.store.promised().await?;
        self.source.free(&promised.rows).context("the cluster is not seen any more: try again")
    }
}

/// The inventory of the configured cluster, once all of it was read. It is kept up to date until the process ends.
pub(crate) async fn seen(config: &Config, client: &client::Client) -> anyhow::Result<Inventory> {
    let (inventory, keep) = Inventory::start(client, &inventory_settings(config), || {});
    tokio::spawn(keep);
    let clock = Clock::default();
    let read = tokio::time::timeout(PATIENCE, async {
        while inventory.view(clock.now()).is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    // Whether it was read in time is asked right here, with the reason.
    read.await.ok();
    match inventory.view(clock.now()) {
        Ok(_) => Ok(inventory),
        Err(blind) => {
            bail!("{blind}: check that our account may list nodes, pods, config maps and storage classes")
        }
    }
}
