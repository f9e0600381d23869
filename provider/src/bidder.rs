//! Answers open orders: each ends in one stored decision, and a bid in a reservation and an intent, all in one transaction.
//!
//! The same loop decides what becomes of reservations: held while a bid stands, leased when it won, released when it lost,
//! expired or was refused, or when the lease is gone from the cluster; moved when a node is lost. It is the only writer of
//! decisions and reservations, so what is promised never exceeds what is there, also across restarts. What binds us without a
//! place is placed anew, or ended before it costs the tenant more.
//!
//! Its turns are short: a turn settles what is promised and answers a slice of the open orders, and the next follows at once
//! while there are more.

mod auction;
pub mod cluster;
mod fate;
mod record;
mod replace;
mod tally;
mod unplaced;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context;
use bidengine::{Books, Capacity, Circumstances, decide};
use manifests::decision::Decision;
use manifests::money::Rate;
use manifests::order::{Address, BlockRef, Order};
use market::call::Call;
use tracing::{debug, info, warn};

use self::auction::{Step, most_below, step};
use self::fate::{Fate, Release, fate};
use self::record::Record;
use self::replace::{Watch, drain, new_places};
pub(crate) use self::tally::Tally;
use crate::clock::Clock;
use crate::config::Bids;
use crate::failpoint::{self, Point};
use crate::freshness::Freshness;
use crate::leases::places::Troubles;
use crate::metrics::Metrics;
use crate::pricing::{Now, Pricing, Terms};
use crate::store::{
    Again, BidState, IntentKind, IntentState, NewDecision, NewIntent, OrderRow, OrderState, Promised, Put,
    ReservationRow, ReservationState, Standing, Store,
};
use crate::task::{Nudge, Report, Turn};

/// Orders that a turn answers at most: what more there are waits for the next, which settles first what was promised.
const SLICE: u64 = 128;

/// Orders that a turn decides again at most, how long it goes on with that, how many seconds pass before an order is decided
/// once more although its rules are the same, and the pause after which more of them follow. What passes by itself is seen
/// within seconds; ten thousand refused orders take a small part of a core.
const AGAIN: u64 = 64;
const AGAIN_TIME: Duration = Duration::from_millis(500);
const AGAIN_EVERY: u64 = 10;
const AGAIN_PAUSE: Duration = Duration::from_secs(1);

/// How long a turn goes on answering: the operator's own program may take its time over each price.
const SLICE_TIME: Duration = Duration::from_secs(5);

/// Old decisions that a turn forgets at most, and seconds between two looks for them.
const FORGOTTEN_AT_ONCE: u32 = 500;
const FORGET_EVERY: u64 = 600;

/// Tells what the cluster has free.
pub trait CapacitySource: Send + Sync {
    /// What is left when everything in `promised` is taken off that does not run yet; `None` while the cluster is not known
    /// well enough to promise anything.
    fn free(&self, promised: &[ReservationRow]) -> Option<Capacity>;
    /// What keeps replicas from running where they were promised, at this moment; `None` while the cluster is not known well
    /// enough to tell.
    fn troubles(&self, promised: &[ReservationRow]) -> Option<Troubles>;
}

/// What the bidder is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For whom it bids.
    pub provider: Address,
    /// What things cost now, and whom it serves.
    pub pricing: Pricing,
    /// What a bid promises besides its price.
    pub bids: Bids,
    /// Says when what the chain told is too old to bid on.
    pub freshness: Freshness,
    /// How long a node may be lost before what was promised on it is promised elsewhere.
    pub replace_after: Duration,
    /// How long decisions are kept on which nothing rests any more.
    pub keep_decisions: Duration,
}

/// Whom the bidder wakes.
#[derive(Debug, Clone, Default)]
pub struct Wakes {
    /// Who says intents: there is one more.
    pub outbox: Nudge,
    /// Who runs leases: one of them has other nodes.
    pub leases: Nudge,
}

/// The loop that answers orders.
#[derive(Debug)]
pub struct Bidder<S> {
    store: Store,
    source: S,
    settings: Settings,
    clock: Clock,
    wakes: Wakes,
    metrics: Metrics,
    record: Record,
    watch: Watch,
    /// Unix seconds of the last look for old decisions.
    forgot_at: u64,
    /// Unix seconds of the last look for orders to decide again.
    again_at: u64,
}

impl<S: CapacitySource> Turn for Bidder<S> {
    const NAME: &'static str = "bidder";

    async fn turn(&mut self) -> anyhow::Result<Report> {
        let Some(cursor) = self.store.cursor().await? else { return Ok(Report::default()) };
        let (mut changed, contested) = self.settle_reservations(&cursor).await?;
        // While the chain is not followed, or being caught up with, what looks open may be long over.
        let is_fresh = !self.settings.freshness.lag(&cursor, self.clock.now()).is_stale();
        let homeless = self.place_leases(&cursor, is_fresh).await?;
        changed += homeless.changed + self.hold_again(&cursor).await?;
        changed += self.replace(homeless.left).await?;
        let mut due = None;
        if is_fresh {
            changed += self.contest(contested, &cursor).await?;
            let slice = self.answer_orders(&cursor).await?;
            changed += slice.answered;
            due = slice.has_more.then_some(Duration::ZERO);
            // Only when all that is fresh is answered.
            if !slice.has_more {
                let again = self.answer_again(&cursor).await?;
                changed += again.answered;
                due = again.has_more.then_some(AGAIN_PAUSE);
            }
        }
        changed += self.forget_old().await?;
        Ok(Report { changed, due })
    }
}

/// What came of a slice of the open orders.
#[derive(Debug, Clone, Copy, Default)]
struct Slice {
    answered: u64,
    has_more: bool,
}

impl<S: CapacitySource> Bidder<S> {
    /// A bidder over this store and capacity.
    pub fn new(
        store: Store,
        source: S,
        settings: Settings,
        clock: Clock,
        wakes: Wakes,
        metrics: Metrics,
    ) -> Self {
        let (record, watch) = (Record::default(), Watch::default());
        Self { store, source, settings, clock, wakes, metrics, record, watch, forgot_at: 0, again_at: 0 }
    }

    /// Says how much changed, and which held promises may be bid lower for.
    async fn settle_reservations(&self, cursor: &BlockRef) -> anyhow::Result<(u64, Vec<Standing>)> {
        let (provider, now) = (self.settings.provider, self.clock.now());
        let (mut changed, mut contested) = (0, Vec::new());
        for standing in self.store.standings(provider).await? {
            let order = standing.reservation.order;
            changed += match fate(&standing, provider, cursor, now) {
                Fate::Keep => {
                    let is_auction = standing.order.as_ref().is_some_and(|row| row.order.award.is_some());
                    contested.extend(Some(standing).filter(|_| is_auction));
                    0
                }
                Fate::Lease => {
                    self.metrics.bid_ended(order, "won");
                    u64::from(self.store.lease_reservation(order, now).await?)
                }
                Fate::Hold => u64::from(self.store.hold_reservation(order, now).await?),
                Fate::SayAgain => self.say_again(&standing, cursor).await?,
                Fate::Release(release) => self.release(&standing, release).await?,
            };
        }
        Ok((changed, contested))
    }

    async fn release(&self, standing: &Standing, release: Release) -> anyhow::Result<u64> {
        let Release { because, outcome, forget } = release;
        let order = standing.reservation.order;
        info!(%order, because, "reservation released");
        if let Some(outcome) = outcome {
            self.metrics.bid_ended(order, outcome);
        }
        let released = self.store.release_reservation(order, &because, forget, self.clock.now()).await?;
        Ok(u64::from(released))
    }

    async fn say_again(&self, standing: &Standing, cursor: &BlockRef) -> anyhow::Result<u64> {
        let id = standing.reservation.order;
        let Some(row) = &standing.order else { return Ok(0) };
        let rate = match standing.said.as_ref().map(|said| &said.intent.call) {
            Some(Call::PlaceBid { rate, .. }) => *rate,
            _ => match self.store.decided(id).await?.map(|(_, decision)| decision) {
                Some(Decision::Bid { rate, .. }) => rate,
                _ => return Ok(0),
            },
        };
        warn!(order = %id, "our bid is not on chain any more; saying it again");
        self.say(&row.order, rate, cursor).await
    }

    /// Stores the wish to bid this for an order that was decided before.
    async fn say(&self, order: &Order, rate: Rate, cursor: &BlockRef) -> anyhow::Result<u64> {
        let times = self.store.intents_of(Some(order.id), IntentKind::Bid).await?.count;
        let expires_at = self.settings.pricing.terms().policy.bid_expires_at(order, self.chain_now(cursor));
        let intent = self.bid(order, rate, expires_at, times);
        let stored = self.store.put_intent(&intent, self.clock.now()).await?;
        self.wakes.outbox.nudge();
        Ok(u64::from(stored))
    }

    /// Unix seconds of chain time, as far as can be told from here.
    fn chain_now(&self, cursor: &BlockRef) -> u64 {
        cursor.timestamp.max(self.clock.now())
    }

    /// Gives promises new places whose node is lost, or on whose node the scheduler finds no room. Held bids and leases alike: what
    /// was promised is kept. Where nothing fits it is told, and tried again each turn.
    /// `unplaced` leases have no place at all.
    async fn replace(&mut self, unplaced: usize) -> anyhow::Result<u64> {
        let Promised { mut rows, mut last } = self.store.promised().await?;
        let Some(mut troubles) = self.source.troubles(&rows) else { return Ok(0) };
        drain(&mut troubles, &self.store.drained_nodes().await?, &rows);
        let now = self.clock.now();
        let (mut moved, mut homeless) = (0, unplaced);
        for (order, troubled) in self.watch.due(&troubles, now, self.settings.replace_after) {
            let Some(index) = rows.iter().position(|row| row.order == order) else { continue };
            let Some(OrderRow { order: terms, .. }) = self.store.order(order).await? else { continue };
            let lost: BTreeSet<String> = troubled.keys().cloned().collect();
            let before = rows[index].placement.clone();
            // What stays of it is taken, what goes is not.
            rows[index].placement.replicas.retain(|replica| !lost.contains(&replica.node));
            let free = self.source.free(&rows);
            rows[index].placement = before;
            let Some(free) = free else { return Ok(moved) };
            let before = &rows[index].placement;
            match new_places(&terms, before, &lost, &free, &self.settings.pricing.terms().tariff) {
                Ok(placement) => {
                    if !self.store.move_reservation(order, &placement, last, now).await? {
                        debug!(%order, "more was promised meanwhile; new places are sought again");
                        return Ok(moved);
                    }
                    info!(%order, ?troubled, "what was promised has new places");
                    self.metrics.reservation_moved();
                    self.watch.moved(order);
                    self.wakes.leases.nudge();
                    rows[index].placement = placement;
                    (last, moved) = (last + 1, moved + 1);
                }
                Err(why) => {
                    homeless += 1;
                    if self.watch.is_news(order, &why) {
                        warn!(%order, ?troubled, why, "what was promised cannot be moved; it is tried again");
                    }
                }
            }
        }
        self.metrics.without_place(homeless);
        Ok(moved)
    }

    /// Bids lower where an order goes to its lowest bid, another's is lower than ours, and it still pays. One revision is on
    /// its way at a time, and none is made that would be mined too late.
    async fn contest(&self, contested: Vec<Standing>, cursor: &BlockRef) -> anyhow::Result<u64> {
        let provider = self.settings.provider;
        let (now, mut changed) = (self.chain_now(cursor), 0);
        let too_late = now.saturating_add(self.settings.freshness.two_blocks().as_secs().max(1));
        for standing in contested {
            let Standing { reservation, order: Some(row), bid, said: Some(said), .. } = &standing else {
                continue;
            };
            let is_open = row.state == OrderState::Open && row.order.award.is_some_and(|end| too_late < end);
            if !is_open || reservation.state != ReservationState::Held {
                continue;
            }
            let Call::PlaceBid { rate: last, .. } = said.intent.call else { continue };
            let is_heard = match said.state {
                IntentState::Pending => false,
                // Until the block is followed, what others bid in it is not known either.
                IntentState::Done { block } => block <= cursor.number,
                IntentState::Failed { .. } => true,
            };
            if !is_heard {
                continue;
            }
            let ours = bid.filter(|bid| bid.state == BidState::Open).map(|bid| bid.bid.rate);
            let id = row.order.id;
            let Some(rival) = self.store.lowest_of_others(id, provider).await? else { continue };
            let Some(Decision::Bid { floor, .. }) =
                self.store.decided(id).await?.map(|(_, decision)| decision)
            else {
                continue;
            };
            changed += match step(ours, Some(rival.bid.rate), floor, self.settings.bids.undercut) {
                Step::Stay => 0,
                // The chain refused as much already.
                Step::Lower(rate) if rate >= last => 0,
                Step::Lower(rate) => {
                    info!(order = %id, rival = %rival.bid.rate, rate = %rate, "another bids lower; bidding below it");
                    self.metrics.bid_revised();
                    self.say(&row.order, rate, cursor).await?
                }
                Step::GiveUp => {
                    let because = format!(
                        "another provider bids {}, and the least that it pays for here is {floor}",
                        rival.bid.rate
                    );
                    self.release(&standing, Release { because, outcome: Some("lost"), forget: false }).await?
                }
            };
        }
        Ok(changed)
    }

    /// Answers the orders whose turn it is.
    async fn answer_orders(&mut self, cursor: &BlockRef) -> anyhow::Result<Slice> {
        let orders = self.store.undecided_orders(SLICE).await?;
        let orders = orders.into_iter().map(|row| (row.order, None)).collect();
        self.answer_all(orders, cursor, SLICE, SLICE_TIME).await
    }

    /// Answers orders once more whose refusal may have passed.
    async fn answer_again(&mut self, cursor: &BlockRef) -> anyhow::Result<Slice> {
        let now = self.clock.now();
        if self.again_at == now {
            return Ok(Slice::default());
        }
        self.again_at = now;
        let Terms { tariff, policy, .. } = &*self.settings.pricing.terms();
        let rules = self.record.rules(tariff, policy)?;
        let again = Again {
            since: now.saturating_sub(AGAIN_EVERY),
            rules: rules.hash(),
            now: self.chain_now(cursor),
        };
        let orders = self.store.orders_to_decide_again(again, AGAIN).await?;
        let orders = orders.into_iter().map(|(row, reason)| (row.order, Some(reason))).collect();
        self.answer_all(orders, cursor, AGAIN, AGAIN_TIME).await
    }

    /// Answers these orders, of which some were refused before for a reason of this code; `most` is how many there are if there
    /// may be more.
    async fn answer_all(
        &mut self,
        orders: Vec<(Order, Option<String>)>,
        cursor: &BlockRef,
        most: u64,
        time: Duration,
    ) -> anyhow::Result<Slice> {
        if orders.is_empty() {
            return Ok(Slice::default());
        }
        let is_full = u64::try_from(orders.len()).is_ok_and(|count| count >= most);
        let now = self.chain_now(cursor);
        let Promised { rows, last } = self.store.promised().await?;
        let mut free = self.source.free(&rows);
        let said = self.store.count_bids(orders.iter().map(|(order, _)| order.id)).await?;
        let maintenance = self.store.maintenance().await?.is_some();
        let mut tally = Tally::of(&rows, &self.store.promised_rates().await?, maintenance);
        let pricing = self.settings.pricing.now();
        let (started, mut is_cut) = (Instant::now(), false);
        let (mut decisions, mut before) = (Vec::new(), Vec::new());
        for (order, refused) in orders {
            is_cut = started.elapsed() >= time;
            if is_cut {
                break;
            }
            let is_over = order.expires_at <= now || order.award.is_some_and(|end| end < now);
            let nothing = Capacity::default();
            // An order that is over needs no inventory to be declined.
            let capacity = match &free {
                Some(capacity) => capacity,
                None if is_over => &nothing,
                None => continue,
            };
            let times = said.get(&order.id).copied().unwrap_or(0);
            let books = tally.books(order.id.tenant, pricing.means);
            let decision = self.answer(&order, capacity, &pricing, &books, now, times).await?;
            if let (Decision::Bid { placement, rate, .. }, Some(free)) = (&decision.decision, &mut free) {
                tally.bid(order.id.tenant, *rate);
                let id = order.id;
                free.take(placement)
                    .with_context(|| format!("the placement of order {id} takes what is not there"))?;
            }
            decisions.push(decision);
            before.push(refused);
        }
        failpoint::reach(Point::DecisionMade);
        self.put(&decisions, &before, last, is_full || is_cut).await
    }

    /// Stores answers; `before` has the code of the reason for which each order was refused before.
    async fn put(
        &self,
        decisions: &[NewDecision],
        before: &[Option<String>],
        last: u64,
        are_more: bool,
    ) -> anyhow::Result<Slice> {
        if decisions.is_empty() {
            return Ok(Slice::default());
        }
        let puts = self.store.put_decisions(decisions, last).await?;
        let (mut answered, mut stored) = (0, 0);
        for ((row, before), _) in
            decisions.iter().zip(before).zip(&puts).filter(|(_, put)| **put == Put::Stored)
        {
            stored += 1;
            self.metrics.decided(row.order, &row.decision, before.as_deref());
            match &row.decision {
                Decision::Bid { rate, items, warnings, .. } => {
                    info!(order = %row.order, rate = %rate, lines = items.len(), warnings = warnings.len(), "decided to bid");
                }
                Decision::Decline { reason } if before.as_deref() == Some(reason.code()) => {
                    debug!(order = %row.order, reason = reason.code(), "declined as before: {reason}");
                    continue;
                }
                Decision::Decline { reason } => {
                    info!(order = %row.order, reason = reason.code(), "declined: {reason}");
                }
            }
            answered += 1;
        }
        if stored > 0 {
            failpoint::reach(Point::DecisionStored);
        }
        if answered > 0 {
            self.wakes.outbox.nudge();
        }
        // Another made a promise meanwhile; the next turn decides by it.
        let is_outdated = puts.contains(&Put::Outdated);
        if is_outdated {
            debug!(orders = puts.len(), "more was promised meanwhile; the orders are decided again");
        }
        Ok(Slice { answered, has_more: is_outdated || (are_more && stored > 0) })
    }

    /// The decision on an order, and what follows from it.
    async fn answer(
        &mut self,
        order: &Order,
        capacity: &Capacity,
        pricing: &Now,
        books: &Books,
        now: u64,
        times: u64,
    ) -> anyhow::Result<NewDecision> {
        let Settings { provider, .. } = &self.settings;
        let Now { terms, fx, means: _ } = pricing;
        let Terms { tariff, policy, .. } = &**terms;
        let circumstances =
            Circumstances { books, fx: fx.as_ref(), ..Circumstances::new(capacity, tariff, policy, now) };
        let quoted = self.settings.pricing.quoted(terms, order, &circumstances).await;
        let circumstances = Circumstances { quoted: quoted.as_ref(), ..circumstances };
        let mut order = order.clone();
        let mut decision = decide(&order, &circumstances);
        let mut said = None;
        if let Decision::Bid { rate, floor, .. } = &decision {
            said = Some(*rate);
            if order.award.is_some()
                && let Some(rival) = self.store.lowest_of_others(order.id, *provider).await?
            {
                match step(None, Some(rival.bid.rate), *floor, self.settings.bids.undercut) {
                    Step::Stay => {}
                    Step::Lower(lower) => said = Some(lower.min(*rate)),
                    Step::GiveUp => {
                        // What another asks is the most that the order pays.
                        order.max_rate = most_below(rival.bid.rate);
                        decision = decide(&order, &circumstances);
                        said = None;
                    }
                }
            }
        }
        let intent = match (&decision, said) {
            (Decision::Bid { expires_at, .. }, Some(rate)) => {
                Some(self.bid(&order, rate, *expires_at, times))
            }
            _ => None,
        };
        Ok(NewDecision {
            order: order.id,
            spec_hash: order.spec_hash,
            decided_at: self.clock.now(),
            inputs: self.record.write(&order, &circumstances)?,
            decision,
            intent,
        })
    }

    fn bid(&self, order: &Order, rate: Rate, expires_at: u64, times: u64) -> NewIntent {
        let Bids { reclaim, min_bill, .. } = self.settings.bids;
        NewIntent {
            id: format!("bid {} {times}", order.id),
            kind: IntentKind::Bid,
            order: Some(order.id),
            call: Call::PlaceBid {
                order: order.id,
                provider: self.settings.provider,
                spec_hash: order.spec_hash,
                rate,
                expires_at,
                reclaim: seconds(reclaim),
                min_bill: u16::try_from(seconds(min_bill)).unwrap_or(u16::MAX),
            },
            // After its award's deadline an order takes no bids.
            deadline: Some(order.award.map_or(expires_at, |end| end.min(expires_at))),
        }
    }

    /// Forgets decisions that are old and on which nothing rests, a few at a time.
    async fn forget_old(&mut self) -> anyhow::Result<u64> {
        let now = self.clock.now();
        if now.saturating_sub(self.forgot_at) < FORGET_EVERY {
            return Ok(0);
        }
        let before = now.saturating_sub(self.settings.keep_decisions.as_secs());
        let forgotten = self.store.forget_decisions(before, FORGOTTEN_AT_ONCE).await?;
        if forgotten < u64::from(FORGOTTEN_AT_ONCE) {
            self.forgot_at = now;
        }
        if forgotten > 0 {
            debug!(forgotten, "old decisions are forgotten");
        }
        Ok(forgotten)
    }
}

/// Whole seconds, as the contract counts them.
pub(crate) fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
