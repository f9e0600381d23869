//! Reads again, in the background, what was followed before, in case an endpoint left something out, and adds what is missing.
//!
//! Between sweeps the contract itself is asked, at the block that is followed, how our live leases and standing bids are. What
//! it says differently is no reason to act, only to read again the blocks since then. Nothing that is stored is ever taken
//! away here: that an endpoint does not tell of something proves nothing.

use std::future::Future;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::Context;
use manifests::order::{Address, BlockRef, Hash, OrderId};
use market::At;
use market::reader::{LeaseRecord, OrderState};
use tracing::{debug, info, warn};

use crate::clock::Clock;
use crate::follower::ChainSource;
use crate::metrics::Metrics;
use crate::store::{Differences, LeaseState, ReservationState, Store};
use crate::task::{Nudge, Report, Turn};

/// Blocks below the cursor that a sweep leaves to the follower: they were read by their hashes.
const FRESH: u64 = 16;

/// Blocks in the first range; a refused range is halved, a good one lets the next be longer.
const FIRST_PAGE: u64 = 500;
const LONGEST_PAGE: u64 = 5_000;

/// Between two pages, so that a sweep takes nothing from what is going on.
const PAUSE: Duration = Duration::from_secs(1);

/// How often the contract is asked about our leases and bids.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// How the contract sees an order of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It knows of no lease.
    NoLease,
    /// This provider's lease goes on, with or without money left.
    Live(Address),
    /// The lease ended.
    Ended,
}

/// Asks the contract.
pub trait ContractView: Send + Sync {
    /// How it saw the order after the block with this hash.
    fn standing(&self, id: OrderId, at: Hash) -> impl Future<Output = anyhow::Result<Standing>> + Send;
}

impl ContractView for market::Chain {
    async fn standing(&self, id: OrderId, at: Hash) -> anyhow::Result<Standing> {
        let record = self.lease(id, At::Block(at)).await?;
        Ok(record.map_or(Standing::NoLease, |LeaseRecord { provider, state, .. }| match state {
            OrderState::Closed => Standing::Ended,
            _ => Standing::Live(provider),
        }))
    }
}

/// What the sweep is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whose bids and leases matter.
    pub provider: Address,
    /// Where following began.
    pub start_block: u64,
    /// The time between two sweeps.
    pub every: Duration,
    /// How far back a sweep reads, in chain time.
    pub reach: Duration,
    /// Loops that act on what is stored.
    pub nudges: Vec<Nudge>,
}

/// The loop that reads again.
#[derive(Debug)]
pub struct Sweep<C> {
    chain: C,
    store: Store,
    settings: Settings,
    clock: Clock,
    metrics: Metrics,
    page: u64,
    /// What is still to be read, and whether that ends a sweep.
    under_way: Option<(RangeInclusive<u64>, bool)>,
    /// Unix seconds of the last look at the contract.
    looked_at: u64,
}

impl<C: ChainSource + ContractView> Turn for Sweep<C> {
    const NAME: &'static str = "sweep";

    async fn turn(&mut self) -> anyhow::Result<Report> {
        let Some(cursor) = self.store.cursor().await? else { return Ok(Report::default()) };
        if self.under_way.is_none() {
            self.under_way = self.begin(&cursor).await?;
        }
        let Some((range, is_sweep)) = self.under_way.clone() else { return Ok(Report::default()) };
        if range.is_empty() {
            self.under_way = None;
            if is_sweep {
                self.store.note_sweep(self.clock.now()).await?;
                debug!("what was followed was read again");
            }
            return Ok(Report::default());
        }
        let (first, last) = (*range.start(), *range.end());
        let end = last.min(first.saturating_add(self.page - 1));
        let changed = self.read(&cursor, first, end).await?;
        if changed.is_some() {
            self.under_way = Some((end + 1..=last, is_sweep));
        }
        Ok(Report { changed: changed.unwrap_or(0), due: Some(PAUSE) })
    }
}

impl<C: ChainSource + ContractView> Sweep<C> {
    /// A sweep of what this store followed of this chain.
    pub fn new(chain: C, store: Store, settings: Settings, clock: Clock, metrics: Metrics) -> Self {
        Self { chain, store, settings, clock, metrics, page: FIRST_PAGE, under_way: None, looked_at: 0 }
    }

    /// What is to be read now, if anything.
    async fn begin(&mut self, cursor: &BlockRef) -> anyhow::Result<Option<(RangeInclusive<u64>, bool)>> {
        let now = self.clock.now();
        let Some(swept) = self.store.swept_at().await? else {
            // What a new database holds was read just now.
            self.store.note_sweep(now).await?;
            return Ok(None);
        };
        if now.saturating_sub(swept) >= self.settings.every.as_secs() {
            let since = cursor.timestamp.saturating_sub(self.settings.reach.as_secs());
            let first = self.first_since(since, cursor).await?;
            info!(first, last = cursor.number, "reading again what was followed");
            return Ok(Some((first..=cursor.number.saturating_sub(FRESH), true)));
        }
        if now.saturating_sub(self.looked_at) < LOOK_EVERY.as_secs() {
            return Ok(None);
        }
        let doubtful = self.look(cursor).await?;
        self.looked_at = now;
        Ok(doubtful.map(|first| (first..=cursor.number, false)))
    }

    /// The first block that is not older than this, by halving.
    async fn first_since(&self, timestamp: u64, cursor: &BlockRef) -> anyhow::Result<u64> {
        let (mut low, mut high) = (self.settings.start_block, cursor.number);
        while low < high {
            let middle = low + (high - low) / 2;
            let block = self.chain.block(middle).await?;
            let block = block.with_context(|| format!("the node does not have block {middle}"))?;
            if block.timestamp < timestamp { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    /// The lowest block since which the contract and the store may have parted; `None` if they agree.
    async fn look(&self, cursor: &BlockRef) -> anyhow::Result<Option<u64>> {
        let mut doubtful: Option<u64> = None;
        let mut doubt = |id: OrderId, since: u64, standing: Standing| {
            warn!(order = %id, ?standing, block = cursor.number, "the contract sees an order differently; reading again");
            self.metrics.differs("state", 1);
            doubtful = Some(doubtful.map_or(since, |lowest| lowest.min(since)));
        };
        let ours = Standing::Live(self.settings.provider);
        for row in self.store.leases_of(self.settings.provider).await? {
            if !matches!(row.state, LeaseState::Closed { .. }) {
                let standing = self.chain.standing(row.lease.id, cursor.hash).await?;
                if standing != ours {
                    doubt(row.lease.id, row.created_block, standing);
                }
            }
        }
        for reservation in self.store.reservations().await? {
            let id = reservation.order;
            if reservation.state == ReservationState::Held && self.store.lease(id).await?.is_none() {
                let standing = self.chain.standing(id, cursor.hash).await?;
                if standing != Standing::NoLease {
                    let order = self.store.order(id).await?;
                    doubt(id, order.map_or(self.settings.start_block, |row| row.created_block), standing);
                }
            }
        }
        Ok(doubtful)
    }

    /// Reads a page and adds what is missing; `None` when it has to be read once more.
    async fn read(&mut self, cursor: &BlockRef, first: u64, last: u64) -> anyhow::Result<Option<u64>> {
        let reorganisations = self.store.reorganisations().await?;
        let told = match self.chain.facts_between(first, last).await {
            Ok(told) => told,
            Err(error) if self.page > 1 => {
                self.page /= 2;
                debug!(first, last, error = format!("{error:#}"), "a range was refused; trying half of it");
                return Ok(None);
            }
            Err(error) => {
                return Err(error).with_context(|| format!("failed to read the logs of block {first} again"));
            }
        };
        // Another branch tells of other blocks.
        let there = self.chain.block(cursor.number).await?;
        if there.is_none_or(|block| block.hash != cursor.hash) {
            self.under_way = None;
            return Ok(None);
        }
        self.page = (self.page + self.page / 2).min(LONGEST_PAGE);
        let told = self.store.relevant(self.settings.provider, told).await?;
        let Some(found) = self.store.repair(first, last, &told, reorganisations).await? else {
            self.under_way = None;
            return Ok(None);
        };
        let Differences { missing, not_told } = found;
        if missing > 0 || not_told > 0 {
            warn!(
                first,
                last,
                missing,
                not_told,
                "an endpoint told of these blocks differently before; what was missing was added, and what it does not tell of \
                 now was kept: ask the endpoints of chain.rpc, and compare with `berth-provider resync --only-compare`"
            );
            self.metrics.differs("missing", missing);
            self.metrics.differs("not_told", not_told);
            self.settings.nudges.iter().for_each(Nudge::nudge);
        }
        Ok(Some(missing))
    }
}
