//! What Prometheus sees. Gauges are computed from the store and from what is known of the cluster when they are asked for;
//! counters count events of this process.
//!
//! A metric is defined in the file of what it is about, beside the function that moves it. Names begin with `berth_` and end
//! with their base unit, or with `_total` where they count; labels have few values, and none of them is a tenant's.

mod bids;
mod chain;
mod gateway;
mod identity;
mod inventory;
mod kube;
mod leases;
mod loops;
mod make;
mod manifests;
mod pricing;
mod transactions;
mod workloads;

use std::sync::Arc;

use ::manifests::order::Address;
use anyhow::Context;
use prometheus::{Encoder, Registry, TextEncoder};

use self::bids::Bids;
use self::chain::Chain;
use self::gateway::Gateway;
use self::identity::Identity;
use self::inventory::Inventory;
use self::kube::Kube;
use self::leases::Leases;
use self::loops::Loops;
use self::make::Make;
use self::manifests::Manifests;
use self::pricing::Pricing;
use self::transactions::Transactions;
use self::workloads::Workloads;
use crate::store::Store;

/// The registry and everything in it; clones share it.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    identity: Identity,
    chain: Chain,
    bids: Bids,
    pricing: Pricing,
    transactions: Transactions,
    leases: Leases,
    manifests: Manifests,
    workloads: Workloads,
    inventory: Inventory,
    kube: Kube,
    loops: Loops,
    gateway: Gateway,
}

impl Metrics {
    /// A registry with every metric at zero.
    ///
    /// # Errors
    /// When two metrics have one name, which a test rules out.
    pub fn new() -> anyhow::Result<Self> {
        let registry = Registry::new();
        let make = Make(&registry);
        let inner = Inner {
            identity: Identity::new(&make)?,
            chain: Chain::new(&make)?,
            bids: Bids::new(&make)?,
            pricing: Pricing::new(&make)?,
            transactions: Transactions::new(&make)?,
            leases: Leases::new(&make)?,
            manifests: Manifests::new(&make)?,
            workloads: Workloads::new(&make)?,
            inventory: Inventory::new(&make)?,
            kube: Kube::new(&make)?,
            loops: Loops::new(&make)?,
            gateway: Gateway::new(&make)?,
            registry,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Everything in Prometheus's text form, with gauges as the store has them now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn render(&self, store: &Store, provider: Address) -> anyhow::Result<String> {
        self.read(store, provider).await.context("failed to compute the gauges")?;
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.registry.gather(), &mut text).context("failed to write metrics")?;
        String::from_utf8(text).context("metrics are text")
    }

    async fn read(&self, store: &Store, provider: Address) -> anyhow::Result<()> {
        let inner = &*self.0;
        inner.pricing.read();
        inner.chain.read(store).await?;
        inner.bids.read(store).await?;
        inner.transactions.read(store).await?;
        inner.leases.read(store, provider).await?;
        inner.manifests.read(store, provider).await?;
        inner.workloads.read(store).await
    }
}
