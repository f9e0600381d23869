//! What is measured on: a market of its own, with a daemon optimised as for use that looks for blocks every 20 ms.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::PATIENCE;
use crate::chain::Anvil;
use crate::process::Process;
use crate::story::direct::{Direct, Wanted};
use crate::story::world::World;
use crate::workspace;

/// Between two looks at the chain's height: the grain of what is measured.
const GLANCE: Duration = Duration::from_millis(1);

pub(super) struct Stage {
    pub(super) world: World,
    pub(super) tenant: Direct,
    pub(super) wanted: Wanted,
    daemon: Process,
    agent: Process,
}

impl Stage {
    pub(super) async fn set(name: &str) -> Result<Self> {
        let world = World::open(name).await?;
        let provider = world.provider().await?.optimised();
        let agent = provider.agent()?;
        let daemon = provider.run_with(&[("BERTH_CHAIN_POLL_INTERVAL", "20ms")]).await?;
        let account = world.accounts.tenants.first().context("there is no tenant")?;
        let tenant = Direct::of(&world, account).await?;
        let document = fs::read_to_string(workspace::root().join("e2e/documents/web.yaml"))?;
        let wanted = Wanted::of(&document)?;
        Ok(Self { world, daemon, agent, tenant, wanted })
    }

    pub(super) async fn end(mut self) -> Result<()> {
        self.daemon.kill().await?;
        self.agent.kill().await?;
        self.world.anvil.mine_by_the_clock().await
    }
}

/// When the chain was first seen this high.
pub(super) async fn reached(anvil: &Anvil, block: u64) -> Result<Instant> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if anvil.number("eth_blockNumber").await? >= block {
            return Ok(Instant::now());
        }
        ensure!(Instant::now() < deadline, "block {block} was not mined within {PATIENCE:?}");
        tokio::time::sleep(GLANCE).await;
    }
}
