//! Follows the chain: blocks → facts and cursor, in one transaction.
//!
//! Near the head every block is taken by its hash, and its parent must be the block before: a node that does not have it says
//! so instead of answering with nothing. Far below the head, where no reorg reaches, ranges are read. When the parents do
//! not meet, the chain was reorganised: what stood above the last common block is dropped together with the cursor's move.

use std::collections::BTreeMap;
use std::future::Future;

use anyhow::{Context, bail};
use futures::future::try_join_all;
use manifests::order::{Address, BlockRef, Fact, Hash};
use tracing::{debug, info, warn};

use crate::failpoint::{self, Point};
use crate::freshness::Freshness;
use crate::metrics::Metrics;
use crate::store::{Advance, Event, Store};
use crate::task::{Nudge, Report, Turn};

/// Blocks below the head that are taken one by one; what lies deeper is read in ranges.
const BY_HASH: u64 = 16;

/// A gap up to this is walked block by block although a part of it lies deeper.
const SHORT_GAP: u64 = 32;

/// Blocks in the first range; a refused range is halved, a good one lets the next be longer.
const FIRST_PAGE: u64 = 50;

/// Blocks in the longest range.
const LONGEST_PAGE: u64 = 20_000;

/// Events that a range should bring: enough that a transaction is worth it, few enough to be held at once.
const EVENTS_A_PAGE: u64 = 4_000;

/// What the follower asks a chain. Every answer is about one branch at one moment; a failed or empty answer is never taken
/// for "nothing happened".
pub trait ChainSource: Send + Sync {
    /// The newest block.
    fn head(&self) -> impl Future<Output = anyhow::Result<BlockRef>> + Send;
    /// The block at a height of the branch that the node follows now; `None` above its head.
    fn block(&self, number: u64) -> impl Future<Output = anyhow::Result<Option<BlockRef>>> + Send;
    /// The block with this hash; `None` if the node does not have it.
    fn block_by_hash(&self, hash: Hash) -> impl Future<Output = anyhow::Result<Option<BlockRef>>> + Send;
    /// What the market said in one block; an error if the node does not have the block.
    fn facts_of_block(&self, hash: Hash) -> impl Future<Output = anyhow::Result<Vec<Event>>> + Send;
    /// What the market said in a range of blocks, both ends included.
    fn facts_between(&self, first: u64, last: u64)
    -> impl Future<Output = anyhow::Result<Vec<Event>>> + Send;
}

impl ChainSource for market::Chain {
    async fn head(&self) -> anyhow::Result<BlockRef> {
        Ok(self.head().await?)
    }

    async fn block(&self, number: u64) -> anyhow::Result<Option<BlockRef>> {
        Ok(self.block(number).await?)
    }

    async fn block_by_hash(&self, hash: Hash) -> anyhow::Result<Option<BlockRef>> {
        Ok(self.block_by_hash(hash).await?)
    }

    async fn facts_of_block(&self, hash: Hash) -> anyhow::Result<Vec<Event>> {
        Ok(self.facts_of_block(hash).await?.into_iter().map(|logged| (logged.at, logged.fact)).collect())
    }

    async fn facts_between(&self, first: u64, last: u64) -> anyhow::Result<Vec<Event>> {
        Ok(self
            .facts_between(first, last)
            .await?
            .into_iter()
            .map(|logged| (logged.at, logged.fact))
            .collect())
    }
}

/// The loop that writes what the chain says.
#[derive(Debug)]
pub struct Follower<C> {
    chain: C,
    store: Store,
    settings: Settings,
    metrics: Metrics,
    page: u64,
    /// The next page of a long gap, read while the one before it was stored.
    ahead: Option<Page>,
    /// Loops that act on facts are woken up to this height: some wait for a fact to lie deep enough.
    wake_until: u64,
    /// Chain time of the head, unix seconds.
    head_time: u64,
}

/// What a range of blocks says.
#[derive(Debug)]
struct Page {
    first: u64,
    last: BlockRef,
    events: Vec<Event>,
}

/// What the follower is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whose bids and leases matter.
    pub provider: Address,
    /// Where following begins in a new database.
    pub start_block: u64,
    /// The deepest that any loop waits for a fact to lie, in blocks.
    pub deepest_wait: u64,
    /// Hears how high the chain is.
    pub freshness: Freshness,
    /// Loops that act on what is stored.
    pub nudges: Vec<Nudge>,
}

impl<C: ChainSource> Turn for Follower<C> {
    const NAME: &'static str = "follower";

    async fn turn(&mut self) -> anyhow::Result<Report> {
        let head = self.chain.head().await.context("failed to read the chain's head")?;
        self.metrics.chain_head(head.number);
        self.head_time = head.timestamp;
        self.settings.freshness.head(head.number);
        let Some(cursor) = self.store.cursor().await? else {
            return self.begin(head).await;
        };
        if head.hash == cursor.hash {
            return Ok(Report::default());
        }
        if head.number > cursor.number.saturating_add(SHORT_GAP) {
            self.read_range(cursor, head).await
        } else {
            self.walk(cursor, head).await
        }
    }
}

impl<C: ChainSource> Follower<C> {
    /// A follower of this chain into this store.
    pub fn new(chain: C, store: Store, settings: Settings, metrics: Metrics) -> Self {
        Self { chain, store, settings, metrics, page: FIRST_PAGE, ahead: None, wake_until: 0, head_time: 0 }
    }

    /// Puts the cursor of a new database just below the first block to follow.
    async fn begin(&mut self, head: BlockRef) -> anyhow::Result<Report> {
        let first = self.settings.start_block.saturating_sub(1).min(head.number);
        let block = self.canonical(first).await?;
        let events = if first == 0 { self.facts_of(&block).await? } else { Vec::new() };
        let events = self.relevant(events).await?;
        info!(block = first, "following the chain from here");
        self.commit(Advance { ancestor: None, blocks: vec![block], events }).await?;
        Ok(Report { changed: 1, due: Some(std::time::Duration::ZERO) })
    }

    /// Stores one page of a long gap, and reads the next one meanwhile.
    async fn read_range(&mut self, cursor: BlockRef, head: BlockRef) -> anyhow::Result<Report> {
        if self.canonical(cursor.number).await?.hash != cursor.hash {
            self.ahead = None;
            return self.go_back(cursor).await;
        }
        let until = head.number.saturating_sub(BY_HASH);
        let page = match self.ahead.take() {
            Some(page) if page.first == cursor.number + 1 => page,
            _ => {
                let (first, last) = (cursor.number + 1, (cursor.number + self.page).min(until));
                match self.read_page(first, last).await? {
                    Some(page) => page,
                    None => return Ok(Report { changed: 0, due: Some(std::time::Duration::ZERO) }),
                }
            }
        };
        let Page { first, last, events } = page;
        let told = u64::try_from(events.len()).unwrap_or(u64::MAX).max(1);
        let blocks = last.number + 1 - first;
        let enough = blocks.saturating_mul(EVENTS_A_PAGE) / told;
        self.page = self.page.saturating_mul(2).min(enough).clamp(1, LONGEST_PAGE);
        let step = Advance { ancestor: None, blocks: vec![last], events: self.relevant(events).await? };
        let next = (last.number + 1, last.number.saturating_add(self.page).min(until));
        let (stored, ahead) = if next.0 <= next.1 {
            let (stored, ahead) = tokio::join!(self.store.advance(&step), self.fetch(next.0, next.1));
            (stored, Some(ahead))
        } else {
            (self.store.advance(&step).await, None)
        };
        stored?;
        self.tell(&step);
        // What went wrong ahead goes wrong again in its turn, and is told then.
        self.ahead = ahead.and_then(anyhow::Result::ok);
        Ok(Report { changed: blocks, due: Some(std::time::Duration::ZERO) })
    }

    /// Reads a page; `None` when its range was refused and half of it is to be tried.
    async fn read_page(&mut self, first: u64, last: u64) -> anyhow::Result<Option<Page>> {
        match self.fetch(first, last).await {
            Ok(page) => Ok(Some(page)),
            Err(error) if self.page > 1 => {
                self.page /= 2;
                debug!(first, last, error = format!("{error:#}"), "a range was refused; trying half of it");
                Ok(None)
            }
            Err(error) => Err(error).with_context(|| format!("failed to read the logs of block {first}")),
        }
    }

    /// The facts of a range, and the block that it ends with: its hash stands for all before it.
    async fn fetch(&self, first: u64, last: u64) -> anyhow::Result<Page> {
        let events = self.chain.facts_between(first, last).await?;
        Ok(Page { first, last: self.canonical(last).await?, events })
    }

    /// Goes from the head down its parents until a block that is stored, then takes what lies between.
    async fn walk(&mut self, cursor: BlockRef, head: BlockRef) -> anyhow::Result<Report> {
        let known: BTreeMap<u64, Hash> = if head.parent == cursor.hash {
            BTreeMap::from([(cursor.number, cursor.hash)])
        } else {
            self.store
                .headers_below(cursor.number)
                .await?
                .into_iter()
                .map(|block| (block.number, block.hash))
                .collect()
        };
        if known.get(&head.number) == Some(&head.hash) {
            // The node is behind what it, or another, said before. It will catch up.
            return Ok(Report::default());
        }
        let Some(lowest_known) = known.keys().next().copied() else {
            bail!("the store has a cursor but no headers: stop the daemon and run `berth-provider resync`");
        };
        let mut blocks = vec![head];
        let ancestor = loop {
            let lowest = blocks[blocks.len() - 1];
            let below = lowest.number.checked_sub(1).filter(|number| *number >= lowest_known);
            let Some(below) = below else {
                bail!(
                    "the chain was reorganised below block {lowest_known}, the oldest that is remembered: make sure that \
                     chain.rpc is a node of the right chain; if it is, stop the daemon and run `berth-provider resync`"
                );
            };
            if known.get(&below) == Some(&lowest.parent) {
                break below;
            }
            let parent = self.chain.block_by_hash(lowest.parent).await?;
            blocks.push(parent.with_context(|| {
                format!(
                    "the node does not have block {}, the parent of block {}",
                    lowest.parent, lowest.number
                )
            })?);
        };
        blocks.reverse();
        let events = try_join_all(blocks.iter().map(|block| self.facts_of(block))).await?.concat();
        let events = self.relevant(events).await?;
        let reorganised = (ancestor < cursor.number).then_some(ancestor);
        if let Some(ancestor) = reorganised {
            warn!(
                ancestor,
                cursor = cursor.number,
                head = head.number,
                "the chain was reorganised; going back"
            );
            self.metrics.reorg();
        }
        let changed = head.number - ancestor;
        self.commit(Advance { ancestor: reorganised, blocks, events }).await?;
        Ok(Report::changed(changed))
    }

    /// Drops what stands above the highest stored block that the node still has, without adding anything.
    async fn go_back(&mut self, cursor: BlockRef) -> anyhow::Result<Report> {
        for known in self.store.headers_below(cursor.number).await? {
            if self.canonical(known.number).await?.hash != known.hash {
                continue;
            }
            warn!(ancestor = known.number, cursor = cursor.number, "the chain was reorganised; going back");
            self.metrics.reorg();
            self.commit(Advance { ancestor: Some(known.number), blocks: Vec::new(), events: Vec::new() })
                .await?;
            return Ok(Report { changed: 1, due: Some(std::time::Duration::ZERO) });
        }
        bail!(
            "none of the remembered blocks is on the node's chain: make sure that chain.rpc is a node of the right chain; if \
             it is, stop the daemon and run `berth-provider resync`"
        )
    }

    async fn canonical(&self, number: u64) -> anyhow::Result<BlockRef> {
        let block = self.chain.block(number).await?;
        block.with_context(|| format!("the node does not have block {number}, although its head is above"))
    }

    async fn facts_of(&self, block: &BlockRef) -> anyhow::Result<Vec<Event>> {
        let facts = self.chain.facts_of_block(block.hash).await;
        facts.with_context(|| format!("failed to read the logs of block {}", block.number))
    }

    async fn relevant(&self, events: Vec<Event>) -> anyhow::Result<Vec<Event>> {
        self.store.relevant(self.settings.provider, events).await
    }

    async fn commit(&mut self, step: Advance) -> anyhow::Result<()> {
        self.store.advance(&step).await?;
        self.tell(&step);
        Ok(())
    }

    /// Tells logs, metrics and loops what was stored.
    fn tell(&mut self, step: &Advance) {
        let Advance { ancestor, blocks, events } = step;
        let late = blocks.last().map_or(0, |block| self.head_time.saturating_sub(block.timestamp));
        for (_, fact) in events {
            self.metrics.lease_fact(self.settings.provider, fact, late);
            match fact {
                Fact::OrderCreated(order) => {
                    info!(order = %order.id, max_rate = %order.max_rate, "order seen");
                    self.metrics.order_seen(order.id);
                    failpoint::reach(Point::OrderStored);
                }
                Fact::BidPlaced(bid) if bid.provider == self.settings.provider => {
                    info!(order = %bid.order, rate = %bid.rate, "our bid is on chain");
                    failpoint::reach(Point::BidStored);
                }
                Fact::LeaseCreated(lease) if lease.provider == self.settings.provider => {
                    info!(lease = %lease.id, rate = %lease.rate, "lease won");
                    failpoint::reach(Point::LeaseStored);
                }
                Fact::LeaseClosed { lease, reason, .. } => {
                    info!(%lease, %reason, "lease ended");
                    failpoint::reach(Point::LeaseClosedStored);
                }
                _ => {}
            }
        }
        let height = blocks.last().map(|block| block.number).or(*ancestor).unwrap_or(0);
        if !events.is_empty() || ancestor.is_some() {
            self.wake_until = height.saturating_add(self.settings.deepest_wait);
        }
        if height <= self.wake_until {
            self.settings.nudges.iter().for_each(Nudge::nudge);
        }
    }
}
