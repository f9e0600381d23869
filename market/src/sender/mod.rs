//! Sends transactions from one key, so that each intent has at most one effect, whatever stops in between.
//!
//! The order of things is always: simulate, take a nonce, sign, remember, broadcast, watch. A transaction that is not
//! remembered was never sent; one that is remembered may be sent again and again, since its bytes and therefore its hash stay
//! the same. An intent whose attempts share one nonce can take effect only once; it gets another nonce only when it is certain
//! that none of them can be mined. [`Sender::send`] may be dropped at any await and called again with the same intent, in this
//! process or the next one.

mod fees;
mod journal;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ethers_core::types::transaction::eip2718::TypedTransaction;
use ethers_core::types::{Eip1559TransactionRequest, NameOrAddress, U256};
use ethers_core::utils::{keccak256, rlp};
use futures::future::{try_join_all, try_join4};
use manifests::order::{Address, Hash};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

pub use journal::{Attempt, Journal, Memory, MemoryJournal, Verdict};

use self::fees::Fees;
use crate::call::{Call, Payload};
use crate::chain::Chain;
use crate::node::{At, Probe, Receipt};
use crate::revert::MarketError;
use crate::rpc::{Rpc, RpcError};
use crate::signer::{SignError, Signer};

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
}

impl Default for Settings {
    /// For chains with blocks of a second or a few: 20 ms to 1 s between looks, again after 10 s, dearer after 30 s, a tip of
    /// at least 1,000,000 wei and at most 1,000 gwei a gas.
    fn default() -> Self {
        Self {
            fastest_poll: Duration::from_millis(20),
            slowest_poll: Duration::from_secs(1),
            rebroadcast_after: Duration::from_secs(10),
            stuck_after: Duration::from_secs(30),
            min_tip: 1_000_000,
            fee_cap: 1_000_000_000_000,
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
        /// Gas that was used.
        gas_used: u64,
        /// Wei that were paid for it.
        fee_wei: u128,
        /// The address of the contract, if it created one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        created: Option<Address>,
    },
    /// The transaction was mined and refused by the contract, although the simulation passed: something else came first.
    Reverted {
        /// Its hash.
        hash: Hash,
        /// The block it is in.
        block: u64,
        /// Why, as a repeated simulation tells.
        error: MarketError,
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
            Self::NotTaken { .. } | Self::Journal(_) => true,
        }
    }
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
    lane: Mutex<()>,
    /// Nonces below this are used on chain, as far as this process saw it.
    used_below: AtomicU64,
}

/// What a simulation brought: everything that is needed to sign, but the nonce.
struct Prepared {
    gas: u64,
    fees: Fees,
    /// The account's next nonce as the node sees it, counting what waits to be mined.
    pending_nonce: u64,
}

/// The attempts that share a nonce; never empty, the newest last.
struct Slot {
    nonce: u64,
    intent: String,
    attempts: Vec<Attempt>,
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
        let inner =
            Inner { chain, signer, journal, settings, lane: Mutex::new(()), used_below: AtomicU64::new(0) };
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
        let _lane = inner.lane.lock().await;
        let mined = inner.rpc().nonce(inner.key(), At::Latest).await?;
        inner.used_below.store(mined, Ordering::SeqCst);
        let mut waiting = Vec::new();
        for slot in slots(&inner.live().await?) {
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
        for slot in slots(&self.inner.live().await?) {
            self.inner.watch(slot).await?;
        }
        Ok(())
    }

    /// Makes the call happen once and waits until it is mined. An intent that was begun earlier is taken up where it was left;
    /// one that was finished answers with its outcome. The name of the intent decides, so it must never name two calls.
    ///
    /// # Errors
    /// [`SendError`]; the intent stays what it was and may be sent again.
    pub async fn send(&self, intent: &str, call: &Call) -> Result<Outcome, SendError> {
        self.send_payload(intent, &call.payload(&self.inner.chain.contracts())).await
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
        let inner = &*self.inner;
        loop {
            if let Some(outcome) = inner.journal.outcome(intent).await.map_err(SendError::Journal)? {
                return Ok(outcome);
            }
            let mut begun = inner.live().await?;
            begun.retain(|attempt| attempt.intent == intent);
            let slot = match slots(&begun).pop() {
                Some(slot) => {
                    inner.broadcast(slot.newest()).await?;
                    slot
                }
                None => inner.begin(intent, payload).await?,
            };
            if let Some(outcome) = inner.watch(slot).await? {
                return Ok(outcome);
            }
        }
    }
}

impl Slot {
    fn newest(&self) -> &Attempt {
        self.attempts.last().expect("a slot is made of an attempt")
    }
}

/// Live attempts by nonce, lowest first.
fn slots(live: &[Attempt]) -> Vec<Slot> {
    let mut slots: Vec<Slot> = Vec::new();
    for attempt in live {
        match slots.iter_mut().find(|slot| slot.nonce == attempt.nonce) {
            Some(slot) => slot.attempts.push(attempt.clone()),
            None => slots.push(Slot {
                nonce: attempt.nonce,
                intent: attempt.intent.clone(),
                attempts: vec![attempt.clone()],
            }),
        }
    }
    slots.sort_by_key(|slot| slot.nonce);
    slots
}

/// The nonces from `mined` on that nothing holds, below the highest that something holds.
fn gaps(mined: u64, waiting: &[Slot]) -> Vec<u64> {
    let highest = waiting.iter().map(|slot| slot.nonce).max().unwrap_or(mined);
    (mined..highest).filter(|nonce| waiting.iter().all(|slot| slot.nonce != *nonce)).collect()
}

/// The lowest nonce from `from` on that no live attempt holds.
fn free_nonce(from: u64, live: &[Attempt]) -> u64 {
    let mut held: Vec<u64> = live.iter().map(|attempt| attempt.nonce).collect();
    held.sort_unstable();
    held.into_iter().fold(from, |free, nonce| if nonce == free { free + 1 } else { free })
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

    async fn settle(&self, slot: &Slot, verdict: &Verdict) -> Result<(), SendError> {
        self.journal.settle(self.key(), slot.nonce, &slot.intent, verdict).await.map_err(SendError::Journal)
    }

    async fn prepare(&self, payload: &Payload) -> Result<Prepared, SendError> {
        let probe = Probe { from: Some(self.key()), to: payload.to, data: &payload.data };
        let (_, gas, fees, pending_nonce) = try_join4(
            self.rpc().eth_call(probe, At::Pending),
            self.rpc().estimate_gas(probe, At::Pending),
            self.fees(),
            self.rpc().nonce(self.key(), At::Pending),
        )
        .await?;
        Ok(Prepared { gas: gas.saturating_add(gas / 4), fees, pending_nonce })
    }

    async fn fees(&self) -> Result<Fees, RpcError> {
        let history = self.rpc().fee_history(fees::HISTORY, fees::PERCENTILE).await?;
        Ok(fees::offer(&history, self.settings.min_tip, self.settings.fee_cap))
    }

    /// Gives the intent a nonce and sends its first attempt.
    async fn begin(&self, intent: &str, payload: &Payload) -> Result<Slot, SendError> {
        let Prepared { gas, fees, pending_nonce } = self.prepare(payload).await?;
        let _lane = self.lane.lock().await;
        let live = self.live().await?;
        // The node's count may be older than what another send of ours has seen since. Read after the journal: a nonce that is
        // settled meanwhile leaves the journal only once it counts as used.
        let from = pending_nonce.max(self.used_below.load(Ordering::SeqCst));
        let nonce = free_nonce(from, &live);
        let attempt = self.sign(intent, self.transaction(payload, nonce, gas), fees).await?;
        self.remember(&attempt).await?;
        let slot = Slot { nonce, intent: intent.to_owned(), attempts: vec![attempt] };
        if let Broadcast::NotTaken(message) = self.broadcast(slot.newest()).await? {
            // Nobody else has seen it: the nonce is free again.
            self.settle(&slot, &Verdict::Void).await?;
            return Err(SendError::NotTaken { key: self.key(), message });
        }
        Ok(slot)
    }

    /// Takes a nonce that nothing else will, so that later ones can be mined.
    async fn fill(&self, nonce: u64) -> Result<(), SendError> {
        let payload = Payload { to: Some(self.key()), data: Vec::new() };
        let Prepared { gas, fees, .. } = self.prepare(&payload).await?;
        let attempt = self.sign("", self.transaction(&payload, nonce, gas), fees).await?;
        tracing::warn!(nonce, key = %self.key(), "filling a gap in the sequence of transactions");
        self.broadcast(&attempt).await?;
        Ok(())
    }

    /// Waits until one of the attempts is mined, sending again and dearer as needed. `None` if none of them ever will be.
    async fn watch(&self, mut slot: Slot) -> Result<Option<Outcome>, SendError> {
        let Settings { fastest_poll, slowest_poll, rebroadcast_after, stuck_after, .. } = self.settings;
        let mut pause = fastest_poll;
        let mut sent_at = Instant::now();
        let mut priced_at = sent_at;
        let mut used_since: Option<Instant> = None;
        loop {
            if let Some(outcome) = self.settle_if_mined(&slot).await? {
                return Ok(Some(outcome));
            }
            let now = Instant::now();
            if pause >= slowest_poll && self.taken_by_another(&slot).await? {
                // A receipt can lag behind the count, so look a few times more.
                if now - *used_since.get_or_insert(now) >= slowest_poll * 3 {
                    self.used_below.fetch_max(slot.nonce + 1, Ordering::SeqCst);
                    self.settle(&slot, &Verdict::Void).await?;
                    return Ok(None);
                }
            } else if now - priced_at >= stuck_after {
                (sent_at, priced_at) = (now, now);
                self.replace(&mut slot).await?;
            } else if now - sent_at >= rebroadcast_after {
                sent_at = now;
                self.broadcast(slot.newest()).await?;
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(slowest_poll);
        }
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
                intent = slot.intent,
                "stuck at the highest fee that is allowed"
            );
            return self.broadcast(slot.newest()).await.map(|_| ());
        };
        let attempt = self.sign(&slot.intent, unsigned(last), fees).await?;
        self.remember(&attempt).await?;
        tracing::info!(nonce = slot.nonce, intent = slot.intent, hash = %attempt.hash, "replacing a stuck transaction");
        if let Broadcast::NotTaken(message) = self.broadcast(&attempt).await? {
            tracing::warn!(
                nonce = slot.nonce,
                intent = slot.intent,
                message,
                "the replacement was not taken"
            );
        }
        slot.attempts.push(attempt);
        Ok(())
    }

    /// Looks for a receipt of any attempt.
    async fn settle_if_mined(&self, slot: &Slot) -> Result<Option<Outcome>, SendError> {
        for attempt in slot.attempts.iter().rev() {
            let Some(receipt) = self.rpc().receipt(attempt.hash).await? else { continue };
            let outcome = self.outcome(attempt, receipt).await?;
            self.used_below.fetch_max(slot.nonce + 1, Ordering::SeqCst);
            self.settle(slot, &Verdict::Settled(outcome.clone())).await?;
            return Ok(Some(outcome));
        }
        Ok(None)
    }

    async fn outcome(&self, attempt: &Attempt, receipt: Receipt) -> Result<Outcome, SendError> {
        let Receipt { hash, block, block_hash, success, gas_used, gas_price, created } = receipt;
        if success {
            let fee_wei = u128::from(gas_used).saturating_mul(gas_price);
            return Ok(Outcome::Mined { hash, block, block_hash, gas_used, fee_wei, created });
        }
        let call = unsigned(attempt);
        let to = call.to.as_ref().and_then(NameOrAddress::as_address).map(|to| Address(to.0));
        let data = call.data.unwrap_or_default();
        let probe = Probe { from: Some(self.key()), to, data: &data };
        let error = match self.rpc().eth_call(probe, At::Block(block_hash)).await {
            Err(RpcError::Reverted { data }) => MarketError::from_revert(&data),
            Err(error) if error.is_transient() => return Err(error.into()),
            // What refused it has passed since, or the node does not keep that state.
            Ok(_) | Err(_) => MarketError::Unknown { data: "0x".to_owned() },
        };
        Ok(Outcome::Reverted { hash, block, error })
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
        intent: &str,
        transaction: Eip1559TransactionRequest,
        fees: Fees,
    ) -> Result<Attempt, SendError> {
        let Fees { max_fee, max_tip } = fees;
        let nonce = transaction.nonce.as_ref().map_or(0, U256::low_u64);
        let transaction = transaction.max_fee_per_gas(max_fee).max_priority_fee_per_gas(max_tip);
        let raw = self.signer.sign_transaction(transaction).await?;
        let hash = Hash(keccak256(&raw));
        let signed_at = unix_now();
        Ok(Attempt {
            intent: intent.to_owned(),
            key: self.key(),
            nonce,
            hash,
            raw,
            max_fee,
            max_tip,
            signed_at,
        })
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

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
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

/// The transaction of an attempt, for signing again.
fn unsigned(attempt: &Attempt) -> Eip1559TransactionRequest {
    match TypedTransaction::decode_signed(&rlp::Rlp::new(&attempt.raw)) {
        Ok((TypedTransaction::Eip1559(transaction), _)) => transaction,
        _ => unreachable!("attempts are made by sign alone, which signs this type"),
    }
}
