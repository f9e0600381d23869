//! A market that stays open as long as its bench: a provider that bids and a tenant with money, for people who look around.

use anyhow::{Result, bail};

use super::world::World;
use crate::access::{Access, OpenMarket};
use crate::tools::Tools;

/// The verb by which a bench starts this program for it.
pub(crate) const KEEP_MARKET: &str = "keep-market";

/// Opens the market, writes down how to take part, and watches that the provider stays up.
///
/// # Errors
/// When the market cannot be opened, or the daemon or its agent ends.
pub async fn keep(tools: &Tools) -> Result<()> {
    let mut access = Access::here()?;
    let world = World::on(access.clone(), "market").await?;
    let provider = world.provider().await?;
    let mut agent = provider.agent()?;
    let mut daemon = provider.run().await?;
    let tenant = world.tenant(0).await?;
    access.market = Some(OpenMarket {
        provider_config: provider.config().to_owned(),
        tenant_config: tenant.config_home(),
        tenant_state: tenant.state_home(),
    });
    access.write(Some(tools))?;
    tokio::select! {
        obituary = daemon.ended() => bail!("{obituary}"),
        obituary = agent.ended() => bail!("{obituary}"),
    }
}
