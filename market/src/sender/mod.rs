//! Sends transactions from one key, so that each intent has at most one effect, whatever stops in between.
//!
//! The order of things is always: simulate, take a nonce, sign, remember, broadcast, watch. A transaction that is not
//! remembered was never sent; one that is remembered may be sent again and again, since its bytes and therefore its hash stay
//! the same. An intent whose attempts share one nonce can take effect only once; it gets another nonce only when it is certain
//! that none of them can be mined. [`Sender::send`] may be dropped at any await and called again with the same intent, in this
//! process or the next one.
//!
//! Several intents can share one transaction ([`Sender::send_all`]): it is remembered with all of them, and settled with what
//! came of each, so that the same holds for every one.
//!
//! Closes go before payouts and payouts before everything else when they wait for a nonce. What got its nonce earlier is mined
//! earlier and stands before a close all the same; so while a close waits, what stands before it counts as stuck after a
//! quarter of the usual time and is replaced by a dearer one. It is never replaced by an empty transaction: that costs as much gas
//! as the refusal of a bid that came too late (some 21,000 against 30,000), an eighth more for it, and may lose the race all
//! the same. A bid whose order is gone is therefore left to be refused in its block.

mod batch;
mod fees;
mod journal;
mod lane;
mod price;
mod slot;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ethers_core::types::transaction::eip2718::TypedTransaction;
use ethers_core::types::{Eip1559TransactionRequest, NameOrAddress, U256};
use ethers_core::utils::{keccak256, rlp};
use futures::StreamExt as _;
use futures::future::{join_all, try_join, try_join_all};
use manifests::order::{Address, Hash};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

pub use batch::MOST_AT_ONCE;
pub use lane::Urgency;

pub use journal::{Attempt, Journal, Memory, MemoryJournal, Verdict};

use self::fees::Fees;
use self::lane::Lane;
use self::slot::{Slot, free_nonce, gaps, slots};
use crate::call::{Call, Payload};
use crate::chain::Chain;
use crate::node::{At, Probe, Receipt};
use crate::observe::Resync;
use crate::revert::MarketError;
use crate::rpc::{Rpc, RpcError};
use crate::signer::{SignError, Signer, unix_now};

/// How many calls of a batch are simulated at once.
const PROBES: usize = 16;

/// What stands before a close is stuck after this part of the usual time.
const HURRY: u32 = 4;

/// Gas of a close with what is added to estimates, by which the reserve for closes is measured.
const CLOSE_GAS: u128 = 75_000;

/// How a sender waits, and what it pays at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// First pause between two looks for a receipt; pauses grow to [`Settings::slowest_poll`].
    pub fastest_poll: Duration,
    /// Longest pause between two looks for a receipt.
    pub slowest_poll: Duration,
    /// After so long without a receipt the bytes are broadcast again.
    pub rebroadcast_after: Duration,
    /// After so long without a receipt a replacement with higher fees is sent.
    pub stuck_after: Duration,
    /// The least tip that is offered, wei per gas.
    pub min_tip: u128,
    /// No transaction offers more than this, wei per gas.
    pub fee_cap: u128,
    /// For how many closes there must be gas money left when anything but a close or a payout begins; 0 looks at no balance.
    pub reserve_closes: u32,
}

impl Default for Settings {
    /// For chains with blocks of a second or a few: 20 ms to 1 s between looks, again after 10 s, dearer after 30 s, a tip of
    /// at least 1,000,000 wei and at most 1,000 gwei a gas, no reserve.
    fn default() -> Self {
        Self {
            fastest_poll: Duration::from_millis(20),
            slowest_poll: Duration::from_secs(1),
            rebroadcast_after: Duration::from_secs(10),
            stuck_after: Duration::from_secs(30),
            min_tip: 1_000_000,
            fee_cap: 1_000_000_000_000,
            reserve_closes: 0,
        }
    }
}

/// How an intent ended on chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The transaction was mined and took effect.
    Mined {
        /// Its hash.
        hash: Hash,
        /// The block it is in.
        block: u64,
        /// That block's hash.
        block_hash: Hash,
        /// Gas that was used: this intent's share, where several were served.
        gas_used: u64,
        /// Wei that were paid for it.
        fee_wei: u128,
        /// The address of the contract, if it created one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        created: Option<Address>,
    },
    /// The transaction was mined and the contract refused this, although the simulation passed: something else came first.
    Reverted {
        /// Its hash.
        hash: Hash,
        /// The block it is in.
        block: u64,
        /// Why, as the contract said or a repeated simulation tells.
        error: MarketError,
        /// Wei that were paid all the same: this intent's share, where several were served.
        #[serde(default)]
        fee_wei: u128,
    },
}

/// Why an intent was not finished.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The simulation was refused by the contract; nothing was sent.
    #[error(transparent)]
    Refused(#[from] MarketError),
    /// The node takes no such transaction from this key; nothing was sent. Mostly there is no gas money.
    #[error("the node does not take transactions of {key}: {message}")]
    NotTaken {
        /// The key.
        key: Address,
        /// The node's words, cleaned.
        message: String,
    },
    /// Gas money is kept for closes and payouts; nothing was sent.
    #[error(
        "{key} has {balance} wei; {needed} are needed to send this and keep enough for closing leases: send it gas money"
    )]
    Reserve {
        /// The key.
        key: Address,
        /// What it has, in wei.
        balance: u128,
        /// What it would need: the most that this and everything under way may cost, and the reserve.
        needed: u128,
    },
    /// The endpoint gave no answer; calling again with the same intent is safe.
    #[error(transparent)]
    Rpc(RpcError),
    /// The journal failed; calling again with the same intent is safe.
    #[error("failed to keep the journal of transactions")]
    Journal(#[source] anyhow::Error),
    /// The key did not sign; calling again with the same intent is safe.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl SendError {
    /// Whether the same intent may go through later, unchanged.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused(error) => error.reaction() == crate::revert::Reaction::Transient,
            Self::Rpc(error) => error.is_transient(),
            Self::Sign(error) => error.is_transient(),
            Self::NotTaken { .. } | Self::Reserve { .. } | Self::Journal(_) => true,
        }
    }

    /// The same, for another intent of the same transaction.
    fn again(&self) -> Self {
        match self {
            Self::Refused(error) => again(error),
            Self::NotTaken { key, message } => Self::NotTaken { key: *key, message: message.clone() },
            Self::Reserve { key, balance, needed } => {
                Self::Reserve { key: *key, balance: *balance, needed: *needed }
            }
            Self::Rpc(error) => Self::Rpc(error.clone()),
            Self::Journal(error) => Self::Journal(anyhow::anyhow!("{error:#}")),
            Self::Sign(error) => again(error),
        }
    }
}

fn again<E: Clone + Into<SendError>>(error: &E) -> SendError {
    error.clone().into()
}

impl From<RpcError> for SendError {
    fn from(error: RpcError) -> Self {
        match error {
            RpcError::Reverted { data } => Self::Refused(MarketError::from_revert(&data)),
            error => Self::Rpc(error),
        }
    }
}

/// The one sender of a key. Clones share the lane; two senders of one key must not exist at the same time.
#[derive(Debug)]
pub struct Sender<J> {
    inner: Arc<Inner<J>>,
}

impl<J> Clone for Sender<J> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

#[derive(Debug)]
struct Inner<J> {
    chain: Chain,
    signer: Signer,
    journal: J,
    settings: Settings,
    /// Held from taking a nonce until its attempt is remembered and first broadcast.
    lane: Lane,
    /// The nonces of closes that wait to be mined.
    closes: Mutex<BTreeSet<u64>>,
    /// Nonces below this are used on chain, as far as this process saw it.
    used_below: AtomicU64,
}

/// An intent and what it says.
struct Wish<'a> {
    intent: &'a str,
    payload: Payload,
    urgency: Urgency,
    /// None for what is no call of ours, and never shares a transaction.
    call: Option<&'a Call>,
}

/// An intent and how it ended, for now or for good.
type Ended = (String, Result<Outcome, SendError>);

/// What is offered now, and from where nonces count.
struct Terms {
    fees: Fees,
    /// The account's next nonce as the node sees it, counting what waits to be mined.
    pending_nonce: u64,
    /// The account's wei, where a reserve is kept.
    balance: Option<u128>,
}

/// Says that a close waits, as long as it is watched.
struct Waits<'a> {
    closes: &'a Mutex<BTreeSet<u64>>,
    nonce: u64,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        held(self.closes).remove(&self.nonce);
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a node made of a broadcast.
enum Broadcast {
    /// It has the transaction, now or since earlier; or it gave no answer and may have it; or the nonce was used, maybe by
    /// this very transaction. Watching will tell.
    Watch,
    /// It judged the transaction and does not want it.
    NotTaken(String),
}

impl<J: Journal> Sender<J> {
    /// A sender of the account that `signer` signs for, on this chain. Call [`Sender::recover`] before the first
    /// [`Sender::send`] of a process.
    pub fn new(chain: Chain, signer: impl Into<Signer>, journal: J, settings: Settings) -> Self {
        let signer = signer.into();
        let (lane, closes, used_below) = (Lane::default(), Mutex::default(), AtomicU64::new(0));
        let inner = Inner { chain, signer, journal, settings, lane, closes, used_below };
        Self { inner: Arc::new(inner) }
    }

    /// The key's account.
    #[must_use]
    pub fn address(&self) -> Address {
        self.inner.signer.address()
    }

    /// The journal that the sender writes.
    #[must_use]
    pub fn journal(&self) -> &J {
        &self.inner.journal
    }

    /// Brings the chain into the state in which every remembered attempt can be mined: settles what was mined while nobody
    /// looked, broadcasts the rest again, and takes nonces that nothing holds with empty transactions to ourselves, which have
    /// no effect and so are no intents. Harmless at any time; needed after a start and after a reorg.
    ///
    /// # Errors
    /// [`SendError`]; what was done so far stays done.
    pub async fn recover(&self) -> Result<(), SendError> {
        let inner = &*self.inner;
        let _turn = inner.lane.turn(Urgency::Close).await;
        let mined = inner.rpc().nonce(inner.key(), At::Latest).await?;
        inner.used_below.store(mined, Ordering::SeqCst);
        let mut waiting = Vec::new();
        for slot in slots(inner.live().await?) {
            if inner.settle_if_mined(&slot).await?.is_some() {
                continue;
            }
            // A used nonce without a receipt is left to those who send the intent: they look more than once before they
            // believe that another transaction took it.
            if slot.nonce >= mined {
                waiting.push(slot);
            }
        }
        for nonce in gaps(mined, &waiting) {
            inner.fill(nonce).await?;
        }
        for slot in &waiting {
            inner.broadcast(slot.newest()).await?;
        }
        Ok(())
    }

    /// Waits until no remembered attempt is live any more.
    ///
    /// # Errors
    /// [`SendError`]; what was not finished stays live.
    pub async fn finish(&self) -> Result<(), SendError> {
        for slot in slots(self.inner.live().await?) {
            self.inner.watch(slot, Urgency::Ordinary).await?;
        }
        Ok(())
    }

    /// Makes the call happen once and waits until it is mined. An intent that was begun earlier is taken up where it was left;
    /// one that was finished answers with its outcome. The name of the intent decides, so it must never name two calls.
    ///
    /// # Errors
    /// [`SendError`]; the intent stays what it was and may be sent again.
    pub async fn send(&self, intent: &str, call: &Call) -> Result<Outcome, SendError> {
        self.inner.see_one_through(self.inner.wish(intent, call)).await
    }

    /// Makes each call happen once and answers how each ended, in the same sequence, when all have. Bids for different orders
    /// share one transaction, as withdrawals of at most [`MOST_AT_ONCE`] leases do; each call is simulated by itself, and one
    /// that is refused, then or in the block, takes no other with it. Everything else goes as by [`Sender::send`].
    pub async fn send_all(&self, intents: &[(String, Call)]) -> Vec<Result<Outcome, SendError>> {
        let wishes = intents.iter().map(|(intent, call)| self.inner.wish(intent, call));
        if batch::go_together(intents.iter().map(|(_, call)| call)) {
            return self.inner.see_through(&wishes.collect::<Vec<_>>()).await;
        }
        join_all(wishes.map(|wish| self.inner.see_one_through(wish))).await
    }

    /// Whether the contract would take the call now, with what waits to be mined.
    ///
    /// # Errors
    /// [`SendError::Refused`] if not.
    pub async fn simulate(&self, call: &Call) -> Result<(), SendError> {
        let payload = call.payload(&self.inner.chain.contracts());
        let probe = Probe { from: Some(self.address()), to: payload.to, data: &payload.data };
        self.inner.rpc().eth_call(probe, At::Pending).await?;
        Ok(())
    }

    pub(crate) async fn send_payload(&self, intent: &str, payload: &Payload) -> Result<Outcome, SendError> {
        let (payload, urgency) = (payload.clone(), Urgency::Ordinary);
        self.inner.see_one_through(Wish { intent, payload, urgency, call: None }).await
    }
}

impl<J: Journal> Inner<J> {
    fn key(&self) -> Address {
        self.signer.address()
    }

    fn rpc(&self) -> &Rpc {
        &self.chain.rpc
    }

    async fn live(&self) -> Result<Vec<Attempt>, SendError> {
        self.journal.live(self.key()).await.map_err(SendError::Journal)
    }

    async fn remember(&self, attempt: &Attempt) -> Result<(), SendError> {
        self.journal.remember(attempt).await.map_err(SendError::Journal)
    }

    async fn settle(&self, nonce: u64, verdict: &Verdict) -> Result<(), SendError> {
        self.journal.settle(self.key(), nonce, verdict).await.map_err(SendError::Journal)
    }

    fn wish<'a>(&self, intent: &'a str, call: &'a Call) -> Wish<'a> {
        let payload = call.payload(&self.chain.contracts());
        Wish { intent, payload, urgency: call.urgency(), call: Some(call) }
    }

    async fn see_one_through(&self, wish: Wish<'_>) -> Result<Outcome, SendError> {
        let mut ends = self.see_through(&[wish]).await;
        ends.pop().expect("each wish ends")
    }

    /// Makes wishes that go together happen, and answers how each ended.
    async fn see_through(&self, wishes: &[Wish<'_>]) -> Vec<Result<Outcome, SendError>> {
        let mut ends: Vec<Option<Result<Outcome, SendError>>> = wishes.iter().map(|_| None).collect();
        loop {
            let open: Vec<&Wish<'_>> =
                wishes.iter().zip(&ends).filter(|(_, end)| end.is_none()).map(|(wish, _)| wish).collect();
            if open.is_empty() {
                return ends.into_iter().flatten().collect();
            }
            let failure = match self.take_up(&open).await {
                Ok(ended) => {
                    for (intent, end) in ended {
                        let place = wishes.iter().position(|wish| wish.intent == intent);
                        if let Some(place) = place.filter(|place| ends[*place].is_none()) {
                            ends[place] = Some(end);
                        }
                    }
                    continue;
                }
                Err(failure) => failure,
            };
            for end in ends.iter_mut().filter(|end| end.is_none()) {
                *end = Some(Err(failure.again()));
            }
        }
    }

    /// Takes wishes up where they were left, or begins them, and goes on until the outcome of one is known, or it is known that
    /// a nonce was lost.
    async fn take_up(&self, open: &[&Wish<'_>]) -> Result<Vec<Ended>, SendError> {
        // In this order: what another settles meanwhile leaves the live ones together with getting its outcome.
        let live = match open {
            [only] => self.journal.serving(self.key(), only.intent).await.map_err(SendError::Journal)?,
            _ => self.live().await?,
        };
        let mut ended = Vec::new();
        for wish in open {
            if let Some(outcome) = self.journal.outcome(wish.intent).await.map_err(SendError::Journal)? {
                ended.push((wish.intent.to_owned(), Ok(outcome)));
            }
        }
        if !ended.is_empty() {
            return Ok(ended);
        }
        let begun = slots(live).into_iter().find(|slot| open.iter().any(|wish| slot.serves(wish.intent)));
        let slot = match begun {
            Some(slot) => {
                self.broadcast(slot.newest()).await?;
                Some(slot)
            }
            None => self.begin(open, &mut ended).await?,
        };
        let urgency = open.iter().map(|wish| wish.urgency).min().unwrap_or(Urgency::Ordinary);
        if let Some(slot) = slot
            && let Some(outcomes) = self.watch(slot, urgency).await?
        {
            ended.extend(outcomes.into_iter().map(|(intent, outcome)| (intent, Ok(outcome))));
        }
        Ok(ended)
    }

    /// Gas that this may take if the contract takes it, with a quarter more than it would take now.
    async fn probe(&self, payload: &Payload) -> Result<u64, SendError> {
        let probe = Probe { from: Some(self.key()), to: payload.to, data: &payload.data };
        let simulated = self.rpc().eth_call(probe, At::Pending);
        let (_, gas) = try_join(simulated, self.rpc().estimate_gas(probe, At::Pending)).await?;
        Ok(gas.saturating_add(gas / 4))
    }

    async fn terms(&self, urgency: Urgency) -> Result<Terms, SendError> {
        let balance = async {
            if urgency != Urgency::Ordinary || self.settings.reserve_closes == 0 {
                return Ok(None);
            }
            self.rpc().native_balance(self.key()).await.map(Some)
        };
        let (fees, (pending_nonce, balance)) =
            try_join(self.fees(), try_join(self.rpc().nonce(self.key(), At::Pending), balance)).await?;
        Ok(Terms { fees, pending_nonce, balance })
    }

    async fn fees(&self) -> Result<Fees, RpcError> {
        let history = self.rpc().fee_history(fees::HISTORY, fees::PERCENTILE).await?;
        Ok(fees::offer(&history, self.settings.min_tip, self.settings.fee_cap))
    }

    /// Simulates each wish, gives those that would be taken one nonce together and sends their first attempt. The others end.
    async fn begin(&self, open: &[&Wish<'_>], ended: &mut Vec<Ended>) -> Result<Option<Slot>, SendError> {
        let urgency = open.iter().map(|wish| wish.urgency).min().unwrap_or(Urgency::Ordinary);
        let probes: Vec<_> = open.iter().map(|wish| self.probe(&wish.payload)).collect();
        let probes = futures::stream::iter(probes).buffered(PROBES);
        let (terms, probes) =
            try_join(self.terms(urgency), async { Ok(probes.collect::<Vec<_>>().await) }).await?;
        let (mut taken, mut gas) = (Vec::new(), 0u64);
        for (wish, probe) in open.iter().zip(probes) {
            match probe {
                Ok(more) => {
                    taken.push(*wish);
                    gas = gas.saturating_add(more);
                }
                Err(error) => ended.push((wish.intent.to_owned(), Err(error))),
            }
        }
        let payload = match taken.as_slice() {
            [] => return Ok(None),
            [only] => only.payload.clone(),
            // An estimate of the whole would be too low: it passes even when its gas ends in the middle of a bid. What each
            // takes alone is more than it takes among others.
            several => {
                let calls: Vec<&Call> = several.iter().filter_map(|wish| wish.call).collect();
                let payload = Call::payload_of_all(&calls, &self.chain.contracts());
                let probe = Probe { from: Some(self.key()), to: payload.to, data: &payload.data };
                self.rpc().eth_call(probe, At::Pending).await?;
                payload
            }
        };
        let intents = taken.iter().map(|wish| wish.intent.to_owned()).collect();

        let _turn = self.lane.turn(urgency).await;
        self.keep_reserve(&terms, gas).await?;
        let held = self.journal.held(self.key()).await.map_err(SendError::Journal)?;
        // The node's count may be older than what another send of ours has seen since. Read after the journal: a nonce that is
        // settled meanwhile leaves the journal only once it counts as used.
        let from = terms.pending_nonce.max(self.used_below.load(Ordering::SeqCst));
        let nonce = free_nonce(from, held);
        let attempt = self.sign(intents, self.transaction(&payload, nonce, gas), terms.fees).await?;
        self.remember(&attempt).await?;
        let slot = Slot::of(attempt);
        if let Broadcast::NotTaken(message) = self.broadcast(slot.newest()).await? {
            // Nobody else has seen it: the nonce is free again.
            self.settle(nonce, &Verdict::Void).await?;
            return Err(SendError::NotTaken { key: self.key(), message });
        }
        Ok(Some(slot))
    }

    /// Refuses what would leave too little for closes, should everything that is under way cost the most that it may.
    async fn keep_reserve(&self, terms: &Terms, gas: u64) -> Result<(), SendError> {
        let Some(balance) = terms.balance else { return Ok(()) };
        let live = self.live().await?;
        let fee = terms.fees.max_fee;
        let reserve = u128::from(self.settings.reserve_closes).saturating_mul(CLOSE_GAS).saturating_mul(fee);
        let under_way =
            slots(live).iter().map(|slot| worst_cost(slot.newest())).fold(0, u128::saturating_add);
        let needed = u128::from(gas).saturating_mul(fee).saturating_add(under_way).saturating_add(reserve);
        if balance < needed {
            return Err(SendError::Reserve { key: self.key(), balance, needed });
        }
        Ok(())
    }

    /// Takes a nonce that nothing else will, so that later ones can be mined.
    async fn fill(&self, nonce: u64) -> Result<(), SendError> {
        let payload = Payload { to: Some(self.key()), data: Vec::new() };
        let (gas, fees) = try_join(self.probe(&payload), async { Ok(self.fees().await?) }).await?;
        let attempt = self.sign(Vec::new(), self.transaction(&payload, nonce, gas), fees).await?;
        tracing::warn!(nonce, key = %self.key(), "filling a gap in the sequence of transactions");
        self.rpc().resynced(Resync::Gap);
        self.broadcast(&attempt).await?;
        Ok(())
    }

    /// Waits until one of the attempts is mined, sending again and dearer as needed. `None` if none of them ever will be.
    async fn watch(
        &self,
        mut slot: Slot,
        urgency: Urgency,
    ) -> Result<Option<Vec<(String, Outcome)>>, SendError> {
        let Settings { fastest_poll, slowest_poll, rebroadcast_after, .. } = self.settings;
        let _waits = (urgency == Urgency::Close).then(|| {
            held(&self.closes).insert(slot.nonce);
            Waits { closes: &self.closes, nonce: slot.nonce }
        });
        let mut pause = fastest_poll;
        let mut sent_at = Instant::now();
        let mut priced_at = sent_at;
        let mut used_since: Option<Instant> = None;
        loop {
            if let Some(outcomes) = self.settle_if_mined(&slot).await? {
                return Ok(Some(outcomes));
            }
            let now = Instant::now();
            if pause >= slowest_poll && self.taken_by_another(&slot).await? {
                // A receipt can lag behind the count, so look a few times more.
                if now - *used_since.get_or_insert(now) >= slowest_poll * 3 {
                    self.used_below.fetch_max(slot.nonce + 1, Ordering::SeqCst);
                    self.settle(slot.nonce, &Verdict::Void).await?;
                    self.rpc().resynced(Resync::Lost);
                    return Ok(None);
                }
            } else if now - priced_at >= self.patience(slot.nonce) {
                (sent_at, priced_at) = (now, now);
                self.replace(&mut slot).await?;
            } else if now - sent_at >= rebroadcast_after {
                sent_at = now;
                // What offers less than the next base fee waits in vain, and a node may have dropped it.
                if slot.newest().max_fee < self.next_base_fee().await? {
                    priced_at = now;
                    self.replace(&mut slot).await?;
                } else {
                    self.broadcast(slot.newest()).await?;
                }
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(slowest_poll);
        }
    }

    /// How long a nonce may wait before its transaction is replaced.
    fn patience(&self, nonce: u64) -> Duration {
        let holds_a_close_up = held(&self.closes).range(nonce + 1..).next().is_some();
        if holds_a_close_up { self.settings.stuck_after / HURRY } else { self.settings.stuck_after }
    }

    async fn next_base_fee(&self) -> Result<u128, RpcError> {
        Ok(fees::next_base_fee(&self.rpc().fee_history(1, fees::PERCENTILE).await?))
    }

    /// Whether the nonce was used and by none of the attempts, as two endpoints say, or the one that there is. Both answers
    /// come from one endpoint: another may have a block more.
    async fn taken_by_another(&self, slot: &Slot) -> Result<bool, SendError> {
        let endpoints = self.rpc().each();
        let enough = endpoints.len().min(2);
        let mut agree = 0;
        for endpoint in endpoints {
            match endpoint.nonce(self.key(), At::Latest).await {
                Ok(used) if used > slot.nonce => {}
                Ok(_) => return Ok(false),
                Err(RpcError::Transient { .. } | RpcError::Fatal { .. }) => continue,
                Err(error) => return Err(error.into()),
            }
            let receipts = slot.attempts.iter().map(|attempt| endpoint.receipt(attempt.hash));
            match try_join_all(receipts).await {
                Ok(receipts) if receipts.iter().any(Option::is_some) => return Ok(false),
                Ok(_) => agree += 1,
                Err(RpcError::Transient { .. } | RpcError::Fatal { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            if agree == enough {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sends the same transaction with higher fees.
    async fn replace(&self, slot: &mut Slot) -> Result<(), SendError> {
        let last = slot.newest();
        let before = Fees { max_fee: last.max_fee, max_tip: last.max_tip };
        let Some(fees) = fees::replacement(before, self.fees().await?, self.settings.fee_cap) else {
            tracing::warn!(
                nonce = slot.nonce,
                intents = ?slot.intents,
                "stuck at the highest fee that is allowed"
            );
            return self.broadcast(slot.newest()).await.map(|_| ());
        };
        let attempt = match self.sign(slot.intents.clone(), unsigned(last), fees).await {
            Ok(attempt) => attempt,
            // What was sent before may be mined all the same.
            Err(SendError::Sign(error)) => {
                tracing::warn!(nonce = slot.nonce, intents = ?slot.intents, %error, "no replacement was signed");
                return self.broadcast(slot.newest()).await.map(|_| ());
            }
            Err(error) => return Err(error),
        };
        self.remember(&attempt).await?;
        tracing::info!(nonce = slot.nonce, intents = ?slot.intents, hash = %attempt.hash, "replacing a stuck transaction");
        if let Broadcast::NotTaken(message) = self.broadcast(&attempt).await? {
            tracing::warn!(
                nonce = slot.nonce,
                intents = ?slot.intents,
                message,
                "the replacement was not taken"
            );
        }
        slot.attempts.push(attempt);
        Ok(())
    }

    /// Looks for a receipt of any attempt.
    async fn settle_if_mined(&self, slot: &Slot) -> Result<Option<Vec<(String, Outcome)>>, SendError> {
        for attempt in slot.attempts.iter().rev() {
            let Some(receipt) = self.rpc().receipt(attempt.hash).await? else { continue };
            let outcomes = self.outcomes(attempt, &receipt).await?;
            self.used_below.fetch_max(slot.nonce + 1, Ordering::SeqCst);
            let verdict = Verdict::Settled(outcomes);
            self.settle(slot.nonce, &verdict).await?;
            let Verdict::Settled(outcomes) = verdict else { unreachable!("made above") };
            return Ok(Some(outcomes));
        }
        Ok(None)
    }

    async fn outcomes(
        &self,
        attempt: &Attempt,
        receipt: &Receipt,
    ) -> Result<Vec<(String, Outcome)>, SendError> {
        let call = unsigned(attempt);
        let data = call.data.unwrap_or_default();
        if receipt.success {
            return Ok(batch::outcomes(&attempt.intents, &data, receipt));
        }
        let to = call.to.as_ref().and_then(NameOrAddress::as_address).map(|to| Address(to.0));
        let probe = Probe { from: Some(self.key()), to, data: &data };
        let error = match self.rpc().eth_call(probe, At::Block(receipt.block_hash)).await {
            Err(RpcError::Reverted { data }) => MarketError::from_revert(&data),
            Err(error) if error.is_transient() => return Err(error.into()),
            // What refused it has passed since, or the node does not keep that state.
            Ok(_) | Err(_) => MarketError::Unknown { data: "0x".to_owned() },
        };
        Ok(batch::reverted(&attempt.intents, receipt, &error))
    }

    fn transaction(&self, payload: &Payload, nonce: u64, gas: u64) -> Eip1559TransactionRequest {
        let request = Eip1559TransactionRequest::new()
            .chain_id(self.chain.chain_id())
            .nonce(nonce)
            .gas(gas)
            .value(0)
            .data(payload.data.clone());
        match payload.to {
            Some(to) => request.to(crate::convert::h160(to)),
            None => request,
        }
    }

    async fn sign(
        &self,
        intents: Vec<String>,
        transaction: Eip1559TransactionRequest,
        fees: Fees,
    ) -> Result<Attempt, SendError> {
        let Fees { max_fee, max_tip } = fees;
        let nonce = transaction.nonce.as_ref().map_or(0, U256::low_u64);
        let transaction = transaction.max_fee_per_gas(max_fee).max_priority_fee_per_gas(max_tip);
        let raw = self.signer.sign_transaction(transaction).await?;
        let hash = Hash(keccak256(&raw));
        let signed_at = unix_now();
        Ok(Attempt { intents, key: self.key(), nonce, hash, raw, max_fee, max_tip, signed_at })
    }

    async fn broadcast(&self, attempt: &Attempt) -> Result<Broadcast, SendError> {
        let error = match self.rpc().send_raw(&attempt.raw).await {
            Ok(_) => return Ok(Broadcast::Watch),
            Err(error) => error,
        };
        match error {
            RpcError::Refused { message, .. } => Ok(judge(message)),
            RpcError::Reverted { data } => {
                Ok(Broadcast::NotTaken(MarketError::from_revert(&data).to_string()))
            }
            RpcError::Transient { .. } => {
                tracing::debug!(nonce = attempt.nonce, %error, "a broadcast got no answer");
                Ok(Broadcast::Watch)
            }
            RpcError::Fatal { .. } => Err(SendError::Rpc(error)),
        }
    }
}

/// Nodes say in words what became of a broadcast.
fn judge(message: String) -> Broadcast {
    let known = ["already known", "already imported", "known transaction", "nonce too low", "underpriced"];
    let lower = message.to_ascii_lowercase();
    if known.iter().any(|words| lower.contains(words)) {
        Broadcast::Watch
    } else {
        Broadcast::NotTaken(message)
    }
}

/// The most wei that an attempt may cost.
fn worst_cost(attempt: &Attempt) -> u128 {
    let gas = unsigned(attempt).gas.map_or(0, |gas| gas.low_u128());
    gas.saturating_mul(attempt.max_fee)
}

/// The transaction of an attempt, for signing again.
fn unsigned(attempt: &Attempt) -> Eip1559TransactionRequest {
    match TypedTransaction::decode_signed(&rlp::Rlp::new(&attempt.raw)) {
        Ok((TypedTransaction::Eip1559(transaction), _)) => transaction,
        _ => unreachable!("attempts are made by sign alone, which signs this type"),
    }
}
