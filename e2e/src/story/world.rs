//! A market of its own on the bench's chain, so that stories do not meet.

use std::path::PathBuf;

use anyhow::{Context, Result};
use market::Chain;

use super::ledger::Ledger;
use super::provider::Provider;
use super::release;
use super::tenant::Tenant;
use crate::access::Access;
use crate::chain::Anvil;
use crate::deployment::{self, Accounts};
use crate::kubectl;

/// A market with a registered provider and tenants who have money.
pub struct World {
    /// The bench.
    pub access: Access,
    /// The market, read without a key.
    pub chain: Chain,
    /// The chain's node, in its own dialect.
    pub anvil: Anvil,
    /// Where the story keeps its files.
    pub folder: PathBuf,
    /// The keys of everybody.
    pub accounts: Accounts,
    name: String,
}

impl World {
    /// A world for the story called `name` on the bench that this runs in, cleared of the story before.
    ///
    /// # Errors
    /// When this runs in no bench, or the chain does not take a transaction.
    pub async fn open(name: &str) -> Result<Self> {
        Self::clear().await?;
        Self::on(Access::here()?, name).await
    }

    /// Takes away what the story before left in the cluster: its leases, whose daemon is dead and which nobody else may touch,
    /// and its release, if it ended badly.
    ///
    /// # Errors
    /// When this runs in no bench.
    pub async fn clear() -> Result<()> {
        release::clear().await?;
        kubectl::run(&["delete", "namespaces", "--selector", "berth.dev/lease", "--wait"]).await.map(drop)
    }

    /// Deploys the contracts and registers a provider.
    ///
    /// # Errors
    /// When a key cannot be written, or the chain does not take a transaction.
    pub async fn on(access: Access, name: &str) -> Result<Self> {
        let folder = access.folder.join("stories").join(name);
        let accounts = Accounts::create(&folder.join("keys"))?;
        let anvil = Anvil::at(&access.rpc);
        if access.is_a_bench() {
            anvil.mine_on_demand().await?;
        }
        let chain = deployment::deploy(&access, &accounts, &folder).await?;
        let uri = access.gateway_uri();
        deployment::register_provider(&chain, &accounts, uri, &folder.join("tls")).await?;
        if access.is_a_bench() {
            anvil.mine_by_the_clock().await?;
        }
        Ok(Self { access, chain, anvil, accounts, folder, name: name.to_owned() })
    }

    /// What the story is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The provider, registered and with its settings written, not started yet.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub async fn provider(&self) -> Result<Provider> {
        Provider::settle(self).await
    }

    /// One of the tenants, with money and its own `berth` context.
    ///
    /// # Errors
    /// When the context cannot be set up.
    pub async fn tenant(&self, number: usize) -> Result<Tenant> {
        let account = self.accounts.tenants.get(number).context("the bench has no such tenant")?;
        Tenant::settle(self, account).await
    }

    /// What has happened to all money on this market so far, as the chain's events tell.
    ///
    /// # Errors
    /// When the chain cannot be read.
    pub async fn ledger(&self) -> Result<Ledger> {
        Ledger::read(&self.chain).await
    }
}
