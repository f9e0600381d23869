//! The provider's part of a lease's way: from the order to the bid, and from the award to containers that are ready.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use manifests::money::Amount;
use manifests::order::{CloseReason, Fact};
use market::api::LeaseState;
use market::call::Call;

use super::{PATIENCE, ROUNDS};
use crate::chain::Anvil;
use crate::kubectl;
use crate::process::Process;
use crate::story::direct::{Direct, Wanted};
use crate::story::world::World;
use crate::wait::until;
use crate::workspace;

const ORDERS: u16 = 200;
/// Between two looks at the chain's height: the grain of what is measured.
const GLANCE: Duration = Duration::from_millis(1);
const MONEY: Amount = Amount(20_000_000);

/// A market of its own, with a daemon that looks for blocks every 20 ms.
struct Stage {
    world: World,
    daemon: Process,
    agent: Process,
    tenant: Direct,
    wanted: Wanted,
}

impl Stage {
    async fn set(name: &str) -> Result<Self> {
        let world = World::open(name).await?;
        let provider = world.provider().await?;
        let agent = provider.agent()?;
        let daemon = provider.run_with(&[("BERTH_CHAIN_POLL_INTERVAL", "20ms")]).await?;
        let account = world.accounts.tenants.first().context("there is no tenant")?;
        let tenant = Direct::of(&world, account).await?;
        let document = fs::read_to_string(workspace::root().join("e2e/documents/web.yaml"))?;
        let wanted = Wanted::of(&document)?;
        Ok(Self { world, daemon, agent, tenant, wanted })
    }

    async fn end(mut self) -> Result<()> {
        self.daemon.kill().await?;
        self.agent.kill().await?;
        self.world.anvil.mine_by_the_clock().await
    }
}

/// One order after the other, each taken off the book once it has its bid.
pub(super) async fn order_to_bid() -> Result<Vec<Duration>> {
    let stage = Stage::set("order-to-bid").await?;
    let (tenant, chain) = (&stage.tenant, &stage.world.chain);
    stage.world.anvil.mine_on_demand().await?;
    let account = tenant.deploy(1, stage.wanted.manifest.digest(), MONEY).await?;
    // The first waits for the provider to know its cluster, and is not counted.
    let first = account.order(ORDERS + 1, 1);
    tenant.order(first, &stage.wanted).await?;
    tenant.bid(first).await?;
    tenant.call(&Call::CancelOrder { order: first }).await?;

    let mut took = Vec::with_capacity(usize::from(ORDERS));
    for gseq in 1..=ORDERS {
        let order = account.order(gseq, 1);
        let before = stage.world.anvil.number("eth_blockNumber").await?;
        let (seen, posted) = tokio::join!(
            async {
                let ordered = reached(&stage.world.anvil, before + 1).await?;
                Ok::<_, anyhow::Error>(reached(&stage.world.anvil, before + 2).await? - ordered)
            },
            tenant.order(order, &stage.wanted)
        );
        let block = posted?;
        let facts = chain.facts_between(block, block + 1).await?;
        let bid =
            facts.iter().any(|logged| matches!(&logged.fact, Fact::BidPlaced(bid) if bid.order == order));
        ensure!(block == before + 1 && bid, "the block after that of {order} holds no bid for it");
        took.push(seen.with_context(|| format!("no bid for {order}"))?);
        tenant.call(&Call::CancelOrder { order }).await?;
    }
    stage.end().await?;
    Ok(took)
}

/// When the chain was first seen this high.
async fn reached(anvil: &Anvil, block: u64) -> Result<Instant> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if anvil.number("eth_blockNumber").await? >= block {
            return Ok(Instant::now());
        }
        ensure!(Instant::now() < deadline, "block {block} was not mined within {PATIENCE:?}");
        tokio::time::sleep(GLANCE).await;
    }
}

/// One lease after the other, each closed and cleared away before the next.
pub(super) async fn award_to_ready() -> Result<Vec<Duration>> {
    let stage = Stage::set("award-to-ready").await?;
    let tenant = &stage.tenant;
    let mut took = Vec::with_capacity(ROUNDS);
    for dseq in (1..).take(ROUNDS) {
        let lease = tenant.deploy(dseq, stage.wanted.manifest.digest(), MONEY).await?.order(1, 1);
        tenant.order(lease, &stage.wanted).await?;
        let bid = tenant.bid(lease).await?;
        tenant.accept(lease, &bid).await?;
        let start = Instant::now();
        tenant.send(lease, &stage.wanted.manifest).await?;
        tenant.state(lease, LeaseState::Ready).await?;
        took.push(start.elapsed());
        tenant.call(&Call::CloseLease { lease, reason: CloseReason::TENANT }).await?;
        until("the lease's namespace to be gone", PATIENCE, async || {
            let left = ["get", "namespaces", "--selector", "berth.dev/lease", "--output", "name"];
            let left = kubectl::run(&left).await?;
            ensure!(left.is_empty(), "there is {left}");
            Ok(())
        })
        .await?;
    }
    stage.end().await?;
    Ok(took)
}
