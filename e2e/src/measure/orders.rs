//! From orders to the provider's bids, where a transaction is mined at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use manifests::money::Amount;
use manifests::order::Fact;
use market::call::Call;
use serde_json::{Value, json};

use super::PATIENCE;
use super::hall::Hall;
use super::stage::{Stage, reached};
use crate::chain::Anvil;
use crate::wait::until;

/// Orders one after the other, and bare transactions.
const ORDERS: u16 = 200;
/// Orders in one block, and how many such blocks there are.
const CROWD: u16 = 300;
const CROWDS: u16 = 5;
/// Enough for a block of that many orders.
const BLOCK_GAS: &str = "0x1dcd6500";
const MONEY: Amount = Amount(20_000_000);

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

/// What the chain and its node take of that: a transaction that is simulated, signed, sent and mined, by a sender that
/// remembers nothing.
pub(super) async fn bare_transaction() -> Result<Vec<Duration>> {
    let stage = Stage::set("bare-transaction").await?;
    stage.world.anvil.mine_on_demand().await?;
    let mut took = Vec::with_capacity(usize::from(ORDERS));
    for _ in 0..ORDERS {
        let before = stage.world.anvil.number("eth_blockNumber").await?;
        let start = Instant::now();
        let call = Call::ApproveMarket { amount: MONEY };
        let (seen, sent) = tokio::join!(reached(&stage.world.anvil, before + 1), stage.tenant.call(&call));
        sent?;
        took.push(seen? - start);
    }
    stage.end().await?;
    Ok(took)
}

/// A crowd of orders in one block, until the last of their bids is mined.
pub(super) async fn crowd_to_bids() -> Result<Vec<Duration>> {
    let stage = Stage::set("crowd-to-bids").await?;
    let hall = Hall::build(&stage.world.access).await?;
    let anvil = &stage.world.anvil;
    anvil.mine_on_demand().await?;
    anvil.call("evm_setBlockGasLimit", json!([BLOCK_GAS])).await?;
    let tenant = &stage.tenant;
    let mut took = Vec::with_capacity(usize::from(CROWDS));
    for dseq in 1..=CROWDS {
        let account = tenant.deploy(u64::from(dseq), stage.wanted.manifest.digest(), MONEY).await?;
        // One before the crowd shows that the provider knows its cluster.
        let first = account.order(CROWD + 1, 1);
        tenant.order(first, &stage.wanted).await?;
        tenant.bid(first).await?;

        anvil.call("evm_setAutomine", json!([false])).await?;
        let orders: Vec<_> = (1..=CROWD).map(|gseq| account.order(gseq, 1)).collect();
        let block = anvil.number("eth_blockNumber").await? + 1;
        let all_wait = until("the orders to wait at the node", PATIENCE, async || {
            let waiting = waiting(anvil).await?;
            ensure!(waiting == u64::from(CROWD), "{waiting} wait");
            Ok(())
        });
        // Nobody waits for them to be mined: that would keep this program busy when it ought to look.
        tokio::select! {
            posted = try_join_all(orders.iter().map(|order| tenant.order(*order, &stage.wanted))) => {
                posted?;
                bail!("a block was mined before it was asked for");
            }
            all_wait = all_wait => all_wait?,
        }
        anvil.call("evm_mine", json!([])).await?;
        let start = Instant::now();
        anvil.call("evm_setAutomine", json!([true])).await?;
        took.push(last_bid(&stage, block).await? - start);
        let facts = stage.world.chain.facts_between(block, block).await?;
        let there = facts.iter().filter(|logged| matches!(logged.fact, Fact::OrderCreated(_))).count();
        ensure!(there == usize::from(CROWD), "block {block} holds {there} orders");
        try_join_all(
            orders
                .into_iter()
                .chain([first])
                .map(async |order| tenant.call(&Call::CancelOrder { order }).await),
        )
        .await?;
    }
    hall.clear().await?;
    stage.end().await?;
    Ok(took)
}

/// How many transactions wait to be mined.
async fn waiting(anvil: &Anvil) -> Result<u64> {
    let status: Value = anvil.call("txpool_status", json!([])).await?;
    let pending = status["pending"].as_str().and_then(|text| text.strip_prefix("0x"));
    let pending = pending.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    pending.with_context(|| format!("the node tells {status} of what waits"))
}

/// When the block was seen that holds the last bid of a crowd whose orders are in `block`.
async fn last_bid(stage: &Stage, block: u64) -> Result<Instant> {
    let (mut from, mut bids) = (block + 1, 0);
    loop {
        let seen =
            reached(&stage.world.anvil, from).await.with_context(|| format!("{bids} bids were mined"))?;
        let head = stage.world.anvil.number("eth_blockNumber").await?;
        let facts = stage.world.chain.facts_between(from, head).await?;
        bids += facts.iter().filter(|logged| matches!(logged.fact, Fact::BidPlaced(_))).count();
        if bids >= usize::from(CROWD) {
            // Of several blocks the last one counts, and it was there by now.
            return Ok(if head == from { seen } else { Instant::now() });
        }
        from = head + 1;
    }
}
