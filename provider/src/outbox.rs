//! Says to the chain what the store holds as intents.
//!
//! One sender for the operator key; the store is its journal, so that an intent has at most one effect whatever stops in
//! between. Several transactions are on their way at once, each kind of intent with places of its own, so that a crowd of bids
//! never keeps a close waiting. A lone bid goes at once; bids that are there together share a transaction, and so do
//! withdrawals. A refusal that will not pass gives the intent up, and with a bid what was reserved for it; one that may pass
//! puts it off. What became pointless before it was said for the first time is not said.

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::{Duration, Instant};

use market::call::Call;
use market::revert::{MarketError, Reaction};
use market::sender::{Outcome, SendError, Sender};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tracing::{info, warn};

use self::plan::{Group, plan};
use crate::clock::Clock;
use crate::config::Gas;
use crate::metrics::Metrics;
use crate::store::{BidState, IntentKind, IntentRow, LeaseState, OrderState, Store};
use crate::task::{Nudge, Report, Turn};

/// The longest that an intent is put off.
const LONGEST_PUT_OFF: u64 = 60;

/// Over how many seconds the budget for gas is spent.
const DAY: u64 = 86_400;

/// How the contract numbers the state of a lease that ended.
const CLOSED: u8 = 4;

/// Makes calls happen on chain, each once for its intent.
pub trait Say: Clone + Send + Sync + 'static {
    /// Takes up what was on its way when the process before this one stopped, or before a reorganisation.
    fn recover(&self) -> impl Future<Output = Result<(), SendError>> + Send;
    /// Says all of it, in one transaction where that can be, and waits until each is mined or refused. Answers in the same
    /// sequence.
    fn say(&self, intents: &[(String, Call)])
    -> impl Future<Output = Vec<Result<Outcome, SendError>>> + Send;
}

impl Say for Sender<Store> {
    async fn recover(&self) -> Result<(), SendError> {
        Sender::recover(self).await
    }

    async fn say(&self, intents: &[(String, Call)]) -> Vec<Result<Outcome, SendError>> {
        self.send_all(intents).await
    }
}

/// The loop that says intents.
#[derive(Debug)]
pub struct Outbox<S> {
    store: Store,
    sender: S,
    gas: Gas,
    clock: Clock,
    metrics: Metrics,
    /// Ends this loop's own rest when something was said.
    said: Nudge,
    /// Loops that wait for what was said.
    follower: Nudge,
    on_its_way: BTreeSet<String>,
    /// How many transactions of a kind are on their way.
    transactions: BTreeMap<IntentKind, usize>,
    tasks: JoinSet<()>,
    /// A result is here before `said` is nudged.
    results: (UnboundedSender<Spoken>, UnboundedReceiver<Spoken>),
    /// How many reorganisations there had been when the sender last took stock; `None` before the first time.
    recovered_at: Option<u64>,
}

/// What came of saying intents together.
#[derive(Debug)]
struct Spoken {
    kind: IntentKind,
    ends: Vec<(IntentRow, Result<Outcome, SendError>)>,
    took: Duration,
}

/// Why an intent need not be said.
#[derive(Debug, PartialEq, Eq)]
enum Pointless {
    /// What it wants is so already, since this block.
    Done { block: u64 },
    /// What it is about is gone.
    Gone(String),
}

impl<S: Say> Turn for Outbox<S> {
    const NAME: &'static str = "outbox";

    async fn turn(&mut self) -> anyhow::Result<Report> {
        // A reorganisation gives nonces back: what is sent next must count from what is mined now.
        let reorganisations = self.store.reorganisations().await?;
        if self.recovered_at != Some(reorganisations) {
            self.sender.recover().await?;
            self.recovered_at = Some(reorganisations);
        }
        let mut changed = 0;
        while let Some(ended) = self.tasks.try_join_next() {
            ended?;
        }
        while let Ok(Spoken { kind, ends, took }) = self.results.1.try_recv() {
            if let Some(count) = self.transactions.get_mut(&kind) {
                *count = count.saturating_sub(1);
            }
            for (row, result) in ends {
                self.on_its_way.remove(&row.intent.id);
                self.note(row, result, took).await?;
                changed += 1;
            }
        }
        let now = self.clock.now();
        let chain_now = self.store.cursor().await?.map_or(0, |block| block.timestamp);
        let (mut due, mut ready) = (None, Vec::new());
        for row in self.store.pending_intents().await? {
            if self.on_its_way.contains(&row.intent.id) {
                continue;
            }
            if row.not_before > now {
                let wait = Duration::from_secs(row.not_before - now);
                due = Some(due.map_or(wait, |due: Duration| due.min(wait)));
                continue;
            }
            if row.begun.is_none()
                && let Some(end) = self.pointless(&row, chain_now).await?
            {
                changed += 1;
                self.end(&row, end, now).await?;
                continue;
            }
            ready.push(row);
        }
        changed += self.hold_bids_back(&mut ready, now).await?;
        for group in plan(ready, &self.transactions) {
            changed += u64::try_from(group.rows.len()).unwrap_or(u64::MAX);
            self.start(group);
        }
        Ok(Report { changed, due })
    }
}

impl<S: Say> Outbox<S> {
    /// An outbox that says what `store` holds. `said` must be the nudge that this loop waits on; `follower` is nudged when
    /// something was mined.
    pub fn new(
        store: Store,
        sender: S,
        gas: Gas,
        clock: Clock,
        metrics: Metrics,
        said: Nudge,
        follower: Nudge,
    ) -> Self {
        Self {
            store,
            sender,
            gas,
            clock,
            metrics,
            said,
            follower,
            on_its_way: BTreeSet::new(),
            transactions: BTreeMap::new(),
            tasks: JoinSet::new(),
            results: unbounded_channel(),
            recovered_at: None,
        }
    }

    /// Whether what the chain said since the intent was stored makes it pointless to say it for the first time.
    async fn pointless(&self, row: &IntentRow, chain_now: u64) -> anyhow::Result<Option<Pointless>> {
        let intent = &row.intent;
        if intent.deadline.is_some_and(|deadline| deadline < chain_now) {
            return Ok(Some(Pointless::Gone("its time was over before it could be said".to_owned())));
        }
        match (&intent.call, intent.order) {
            (Call::PlaceBid { .. }, Some(order)) => {
                let gone = self.store.order(order).await?.and_then(|row| match row.state {
                    OrderState::Open if row.order.expires_at >= chain_now => None,
                    OrderState::Open => Some("the order expired".to_owned()),
                    OrderState::Matched => Some("the order became a lease".to_owned()),
                    OrderState::Closed(reason) => Some(reason.to_string()),
                });
                Ok(gone.map(|why| Pointless::Gone(format!("before the bid could be said: {why}"))))
            }
            (Call::WithdrawBid { order, provider }, _) => {
                let bid = self.store.bid(*order, *provider).await?;
                let stands = bid.is_some_and(|row| row.state == BidState::Open);
                Ok((!stands).then(|| Pointless::Gone("the bid does not stand any more".to_owned())))
            }
            (Call::CloseLease { lease, .. } | Call::Finalize { lease }, _) => {
                let ended = self.store.lease(*lease).await?.and_then(|row| match row.state {
                    LeaseState::Closed { block, .. } => Some(Pointless::Done { block }),
                    LeaseState::Active | LeaseState::Reclaiming { .. } => None,
                });
                Ok(ended)
            }
            (Call::Withdraw { leases }, _) => {
                let mut done = None;
                for lease in leases {
                    match self.store.lease(*lease).await?.map(|row| (row.state, row.paid_until)) {
                        Some((LeaseState::Closed { ended_at, block, .. }, paid_until))
                            if paid_until >= ended_at =>
                        {
                            done = done.max(Some(block));
                        }
                        _ => return Ok(None),
                    }
                }
                Ok(done.map(|block| Pointless::Done { block }))
            }
            _ => Ok(None),
        }
    }

    async fn end(&self, row: &IntentRow, end: Pointless, now: u64) -> anyhow::Result<()> {
        let id = &row.intent.id;
        match end {
            Pointless::Done { block } => {
                info!(intent = id, block, "what it wants is so already");
                self.store.complete_intent(id, block, now).await
            }
            Pointless::Gone(why) => {
                info!(intent = id, why, "given up before it was said");
                self.store.fail_intent(&row.intent, &why, now).await
            }
        }
    }

    /// Puts bids off that were not begun, once what a day may cost in gas is spent. Closes and payouts go on.
    async fn hold_bids_back(&self, ready: &mut Vec<IntentRow>, now: u64) -> anyhow::Result<u64> {
        let is_new_bid = |row: &IntentRow| row.intent.kind == IntentKind::Bid && row.begun.is_none();
        let Some(budget) = self.gas.daily_budget else { return Ok(0) };
        if !ready.iter().any(is_new_bid) {
            return Ok(0);
        }
        let spent = self.store.gas_spent_since(now.saturating_sub(DAY)).await?;
        if spent < budget {
            return Ok(0);
        }
        let (held, rest): (Vec<_>, Vec<_>) = std::mem::take(ready).into_iter().partition(is_new_bid);
        *ready = rest;
        let why = format!(
            "gas of {spent} wei was paid in a day, and chain.gas.dailyBudget allows {budget}: bids wait, closes and payouts go on"
        );
        warn!(bids = held.len(), "{why}");
        let mut changed = 0;
        for row in held {
            self.metrics.bid_held_back("budget");
            let not_before = now.saturating_add(LONGEST_PUT_OFF);
            self.store.put_off_intent(&row.intent.id, &why, not_before, now).await?;
            changed += 1;
        }
        Ok(changed)
    }

    fn start(&mut self, group: Group) {
        let Group { kind, rows } = group;
        self.on_its_way.extend(rows.iter().map(|row| row.intent.id.clone()));
        *self.transactions.entry(kind).or_default() += 1;
        let (sender, results, said) = (self.sender.clone(), self.results.0.clone(), self.said.clone());
        self.tasks.spawn(async move {
            let intents: Vec<(String, Call)> =
                rows.iter().map(|row| (row.intent.id.clone(), row.intent.call.clone())).collect();
            let began = Instant::now();
            let ends = rows.into_iter().zip(sender.say(&intents).await).collect();
            let took = began.elapsed();
            // Nobody listens only when the outbox is gone, and this task with it.
            let _ = results.send(Spoken { kind, ends, took });
            said.nudge();
        });
    }

    async fn note(
        &self,
        row: IntentRow,
        result: Result<Outcome, SendError>,
        took: Duration,
    ) -> anyhow::Result<()> {
        let IntentRow { intent, tries, .. } = row;
        let now = self.clock.now();
        self.metrics.said(&intent, &result, took);
        match result {
            Ok(Outcome::Mined { hash, block, gas_used, .. }) => {
                info!(intent = intent.id, tx = %hash, block, gas_used, "mined");
                self.follower.nudge();
                Ok(())
            }
            Ok(Outcome::Reverted { error, .. }) | Err(SendError::Refused(error))
                if intent.kind == IntentKind::Close
                    && error == (MarketError::WrongState { have: CLOSED }) =>
            {
                info!(intent = intent.id, "the lease has ended already");
                self.follower.nudge();
                let block = self.store.cursor().await?.map_or(0, |block| block.number);
                self.store.complete_intent(&intent.id, block, now).await
            }
            Ok(Outcome::Reverted { hash, error, .. }) => {
                warn!(intent = intent.id, tx = %hash, "refused in its block: {error}");
                self.store.fail_intent(&intent, &error.to_string(), now).await
            }
            Err(SendError::Refused(error)) if error.reaction() != Reaction::Transient => {
                warn!(intent = intent.id, "refused: {error}");
                self.store.fail_intent(&intent, &error.to_string(), now).await
            }
            Err(SendError::Sign(error)) if !error.is_transient() => {
                warn!(intent = intent.id, "not signed: {error}");
                self.store.fail_intent(&intent, &error.to_string(), now).await
            }
            Err(error) => {
                if matches!(error, SendError::Reserve { .. }) {
                    self.metrics.bid_held_back("reserve");
                }
                let error = format!("{:#}", anyhow::Error::new(error));
                let wait = (1u64 << tries.min(6)).min(LONGEST_PUT_OFF);
                warn!(intent = intent.id, tries, wait_s = wait, error, "not said; it will be tried again");
                self.store.put_off_intent(&intent.id, &error, now.saturating_add(wait), now).await
            }
        }
    }
}
