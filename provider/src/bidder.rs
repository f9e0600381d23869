//! Answers open orders: each ends in one stored decision, and a bid in a reservation and an intent, all in one transaction.
//!
//! The same loop decides what becomes of reservations: held while a bid stands, leased when it won, released when it lost,
//! expired or was refused, or when the lease is gone from the cluster. It is the only writer of both tables, so what is
//! promised never exceeds what is there, also across restarts.

use std::time::Duration;

use anyhow::Context;
use bidengine::{Books, Capacity, Inputs, Policy, Tariff};
use manifests::decision::Decision;
use manifests::money::Rate;
use manifests::order::{Address, BlockRef, Order};
use market::call::Call;
use tracing::{debug, info, warn};

use crate::clock::Clock;
use crate::config::Bids;
use crate::failpoint::{self, Point};
use crate::freshness::Freshness;
use crate::metrics::Metrics;
use crate::store::{
    BidState, DecisionRow, IntentKind, IntentState, LeaseState, NewIntent, OrderRow, OrderState, Put,
    ReservationRow, ReservationState, Standing, Store,
};
use crate::task::{Nudge, Report, Turn};

/// Blocks after which a mined bid must be among the facts; if it is not, a reorg took it away.
const BID_MUST_SHOW: u64 = 3;

/// Tells what the cluster has free.
pub trait CapacitySource: Send + Sync {
    /// What is left when everything in `promised` is taken off that does not run yet; `None` while the cluster is not known
    /// well enough to promise anything.
    fn free(&self, promised: &[ReservationRow]) -> Option<Capacity>;
}

/// What the bidder is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For whom it bids.
    pub provider: Address,
    /// What things cost.
    pub tariff: Tariff,
    /// Whom it serves.
    pub policy: Policy,
    /// What a bid promises besides its price.
    pub bids: Bids,
    /// Says when what the chain told is too old to bid on.
    pub freshness: Freshness,
}

/// The loop that answers orders.
#[derive(Debug)]
pub struct Bidder<S> {
    store: Store,
    source: S,
    settings: Settings,
    clock: Clock,
    outbox: Nudge,
    metrics: Metrics,
}

impl<S: CapacitySource> Turn for Bidder<S> {
    const NAME: &'static str = "bidder";

    async fn turn(&mut self) -> anyhow::Result<Report> {
        let Some(cursor) = self.store.cursor().await? else { return Ok(Report::default()) };
        let settled = self.settle_reservations(&cursor).await?;
        // While the chain is not followed, or being caught up with, what looks open may be long over.
        let is_behind = self.settings.freshness.lag(&cursor, self.clock.now()).is_stale();
        let answered = if is_behind { 0 } else { self.answer_orders(&cursor).await? };
        Ok(Report::changed(settled + answered))
    }
}

/// What becomes of a reservation.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It stays what it is.
    Keep,
    /// The lease has it.
    Lease,
    /// The lease is gone after a reorg, the bid still stands.
    Hold,
    /// The bid was mined and is not on chain: it is said again.
    SayAgain,
    /// It is free. With `forget` the order is decided again should it come back.
    Release { because: String, forget: bool },
}

fn release(because: &str) -> Fate {
    Fate::Release { because: because.to_owned(), forget: false }
}

/// What becomes of a reservation, as the chain and the cluster stand at `cursor`.
fn fate(standing: &Standing, provider: Address, cursor: &BlockRef) -> Fate {
    let Standing { reservation, order, bid, lease, torn_down, said } = standing;
    if let Some(lease) = lease {
        if lease.lease.provider != provider {
            return release("another provider won the order");
        }
        let ended = matches!(lease.state, LeaseState::Closed { .. });
        return match reservation.state {
            _ if ended && *torn_down => release("the lease ended"),
            ReservationState::Leased => Fate::Keep,
            ReservationState::Held | ReservationState::Released => Fate::Lease,
        };
    }
    let Some(order) = order else {
        let because = "a reorganisation took the order away".to_owned();
        return Fate::Release { because, forget: true };
    };
    if order.order.spec_hash != reservation.spec_hash {
        return release("a reorganisation changed the order's terms");
    }
    match order.state {
        OrderState::Closed(reason) => return release(&reason.to_string()),
        OrderState::Open | OrderState::Matched => {}
    }
    if order.order.expires_at < cursor.timestamp {
        return release("the order expired");
    }
    match bid {
        Some(bid) if bid.state == BidState::Withdrawn => release("the bid was taken back"),
        Some(bid) if bid.bid.expires_at < cursor.timestamp => release("the bid expired"),
        Some(_) if reservation.state == ReservationState::Leased => Fate::Hold,
        Some(_) => Fate::Keep,
        None => match said.as_ref().map(|said| &said.state) {
            Some(IntentState::Pending) => Fate::Keep,
            Some(IntentState::Done { block }) if cursor.number < block + BID_MUST_SHOW => Fate::Keep,
            Some(IntentState::Done { .. }) | None => Fate::SayAgain,
            Some(IntentState::Failed { problem }) => {
                Fate::Release { because: format!("the bid was given up: {problem}"), forget: false }
            }
        },
    }
}

/// How a bid ended whose reservation is released; `None` if it had won.
fn outcome(standing: &Standing) -> Option<&'static str> {
    let Standing { reservation, order, bid, lease, .. } = standing;
    match (lease, order, bid) {
        (Some(_), ..) if reservation.state == ReservationState::Leased => None,
        (Some(_), ..) => Some("lost"),
        (None, None, _) => Some("reorganised"),
        (None, Some(row), _) if matches!(row.state, OrderState::Closed(_)) => Some("order_closed"),
        (None, Some(_), Some(_)) => Some("expired"),
        (None, Some(_), None) => Some("refused"),
    }
}

impl<S: CapacitySource> Bidder<S> {
    /// A bidder over this store and capacity. `outbox` is nudged when there is something to say.
    pub fn new(
        store: Store,
        source: S,
        settings: Settings,
        clock: Clock,
        outbox: Nudge,
        metrics: Metrics,
    ) -> Self {
        Self { store, source, settings, clock, outbox, metrics }
    }

    async fn settle_reservations(&self, cursor: &BlockRef) -> anyhow::Result<u64> {
        let (provider, now) = (self.settings.provider, self.clock.now());
        let mut changed = 0;
        for standing in self.store.standings(provider).await? {
            let order = standing.reservation.order;
            changed += match fate(&standing, provider, cursor) {
                Fate::Keep => 0,
                Fate::Lease => {
                    self.metrics.bid_ended("won");
                    u64::from(self.store.lease_reservation(order, now).await?)
                }
                Fate::Hold => u64::from(self.store.hold_reservation(order, now).await?),
                Fate::SayAgain => self.say_again(&standing).await?,
                Fate::Release { because, forget } => {
                    info!(%order, because, "reservation released");
                    if let Some(outcome) = outcome(&standing) {
                        self.metrics.bid_ended(outcome);
                    }
                    u64::from(self.store.release_reservation(order, &because, forget, now).await?)
                }
            };
        }
        // A lease on chain binds us, whatever was thought of its bid.
        for order in self.store.released_but_leased(provider).await? {
            warn!(%order, "a lease was won on a bid that was given up; its capacity is reserved again");
            changed += u64::from(self.store.lease_reservation(order, now).await?);
        }
        Ok(changed)
    }

    async fn say_again(&self, standing: &Standing) -> anyhow::Result<u64> {
        let id = standing.reservation.order;
        let decision = self.store.decision(id).await?.map(|row| row.decision);
        let (Some(Decision::Bid { rate, .. }), Some(row)) = (decision, &standing.order) else { return Ok(0) };
        warn!(order = %id, "our bid is not on chain any more; saying it again");
        let times = self.store.intents_of(Some(id), IntentKind::Bid).await?.count;
        let chain_now = self.store.cursor().await?.map_or(0, |cursor| cursor.timestamp).max(self.clock.now());
        let expires_at = self.settings.policy.bid_expires_at(&row.order, chain_now);
        let intent = self.bid(&row.order, rate, expires_at, times);
        let stored = self.store.put_intent(&intent, self.clock.now()).await?;
        self.outbox.nudge();
        Ok(u64::from(stored))
    }

    async fn answer_orders(&self, cursor: &BlockRef) -> anyhow::Result<u64> {
        let mut changed = 0;
        for OrderRow { order, .. } in self.store.undecided_orders().await? {
            let now = cursor.timestamp.max(self.clock.now());
            let promised = self.store.promised().await?;
            let free = self.source.free(&promised.rows);
            // An order that is over needs no inventory to be declined.
            let capacity = match free {
                Some(capacity) => capacity,
                None if order.expires_at <= now => Capacity::default(),
                None => continue,
            };
            changed += u64::from(self.answer(order, capacity, promised.last, now).await?);
        }
        Ok(changed)
    }

    async fn answer(
        &self,
        order: Order,
        mut capacity: Capacity,
        last: u64,
        now: u64,
    ) -> anyhow::Result<bool> {
        let id = order.id;
        let Settings { tariff, policy, .. } = &self.settings;
        let inputs = Inputs {
            order: order.clone(),
            capacity: capacity.clone(),
            tariff: tariff.clone(),
            policy: policy.clone(),
            now,
            books: Books::default(),
            fx: None,
            quoted: None,
        };
        let decision = inputs.decide();
        failpoint::reach(Point::DecisionMade);
        let times = self.store.intents_of(Some(id), IntentKind::Bid).await?.count;
        let intent = match &decision {
            Decision::Bid { rate, placement, items, warnings, expires_at, .. } => {
                capacity
                    .take(placement)
                    .with_context(|| format!("the placement of order {id} takes what is not there"))?;
                info!(order = %id, rate = %rate, lines = items.len(), warnings = warnings.len(), "decided to bid");
                Some(self.bid(&order, *rate, *expires_at, times))
            }
            Decision::Decline { reason } => {
                info!(order = %id, reason = reason.code(), "declined: {reason}");
                None
            }
        };
        let row = DecisionRow {
            order: id,
            spec_hash: order.spec_hash,
            decided_at: self.clock.now(),
            decision,
            inputs: serde_json::to_string(&inputs)
                .with_context(|| format!("failed to write down what order {id} was decided from"))?,
        };
        match self.store.put_decision(&row, intent.as_ref(), last).await? {
            Put::Stored => {
                self.metrics.decided(&row.decision);
                failpoint::reach(Point::DecisionStored);
                self.outbox.nudge();
                Ok(true)
            }
            // Another made a promise meanwhile; the next turn decides by it.
            Put::Outdated => {
                debug!(order = %id, "more was promised meanwhile; the order is decided again");
                Ok(false)
            }
            Put::Known => Ok(false),
        }
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
            deadline: Some(expires_at),
        }
    }
}

/// Whole seconds, as the contract counts them.
pub(crate) fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
