//! What a sender remembers before it lets go of a transaction, so that after any stop it knows what may be out there.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};

use ethers_core::types::U256;
use ethers_core::utils::rlp::Rlp;
use manifests::order::{Address, Hash};
use serde::{Deserialize, Serialize};

use super::Outcome;

/// Where the gas limit stands among the fields of a signed transaction (EIP-1559).
const GAS_LIMIT: usize = 4;

/// One signed transaction that was, or is about to be, broadcast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The caller's names of the effects that are wanted, in the order in which the bytes say them; several attempts may serve
    /// the same.
    pub intents: Vec<String>,
    /// The account that signed.
    pub key: Address,
    /// Its place in the account's sequence. All attempts of one nonce serve the same intents; only one of them can be mined.
    pub nonce: u64,
    /// Its hash, known before it is sent.
    pub hash: Hash,
    /// The signed bytes. Sending them again is harmless.
    #[serde(with = "hex_text")]
    pub raw: Vec<u8>,
    /// The most it pays, wei per gas.
    pub max_fee: u128,
    /// The most it pays beyond the base fee, wei per gas.
    pub max_tip: u128,
    /// Unix seconds at which it was signed; 0 if it was remembered by a version that did not say.
    #[serde(default)]
    pub signed_at: u64,
}

impl Attempt {
    /// The most that it can cost: gas limit × highest fee, in wei.
    #[must_use]
    pub fn most_wei(&self) -> u128 {
        self.gas_limit().saturating_mul(self.max_fee)
    }

    fn gas_limit(&self) -> u128 {
        let fields = self.raw.get(1..).map(Rlp::new);
        let limit = fields.and_then(|fields| fields.val_at::<U256>(GAS_LIMIT).ok());
        limit.and_then(|limit| u128::try_from(limit).ok()).unwrap_or(0)
    }
}

impl Attempt {
    /// Whether an intent is among those that it serves.
    #[must_use]
    pub fn serves(&self, intent: &str) -> bool {
        self.intents.iter().any(|served| served == intent)
    }
}

/// How a nonce ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// One of our attempts was mined. Each intent that it served is finished with its own outcome.
    Settled(Vec<(String, Outcome)>),
    /// None of our attempts can be mined any more: the node refused all before any could travel, or another transaction took
    /// the nonce. The intents are still wanted and get another nonce.
    Void,
}

/// The memory of a sender; a store implements it. Every method returns only after what it was given is durable.
///
/// The sender relies on this: an attempt is remembered before its first broadcast; it stays live until its nonce is settled;
/// and settling with [`Verdict::Settled`] stores the outcome of every intent in the same step, so that an intent whose outcome
/// is unknown and which no live attempt serves may be sent again.
pub trait Journal: Send + Sync {
    /// The outcome of the intent, if it was settled.
    fn outcome(&self, intent: &str) -> impl Future<Output = anyhow::Result<Option<Outcome>>> + Send;

    /// All attempts of this key whose nonce is not settled, in the order in which they were remembered.
    fn live(&self, key: Address) -> impl Future<Output = anyhow::Result<Vec<Attempt>>> + Send;

    /// The live attempts of the nonce that serves an intent, in the order in which they were remembered. A journal that can find
    /// them without reading all should.
    fn serving(
        &self,
        key: Address,
        intent: &str,
    ) -> impl Future<Output = anyhow::Result<Vec<Attempt>>> + Send {
        async move {
            let mut live = self.live(key).await?;
            let nonce = live.iter().rev().find(|attempt| attempt.serves(intent)).map(|attempt| attempt.nonce);
            live.retain(|attempt| Some(attempt.nonce) == nonce);
            Ok(live)
        }
    }

    /// The nonces of all live attempts of a key. A journal that can tell them without reading the attempts should.
    fn held(&self, key: Address) -> impl Future<Output = anyhow::Result<Vec<u64>>> + Send {
        async move { Ok(self.live(key).await?.iter().map(|attempt| attempt.nonce).collect()) }
    }

    /// Remembers an attempt that is about to be broadcast.
    fn remember(&self, attempt: &Attempt) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Ends a nonce of a key: its attempts are no longer live.
    fn settle(
        &self,
        key: Address,
        nonce: u64,
        verdict: &Verdict,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// A journal that ends with the process: for tools and tests whose chain ends with them, never where money stays.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    state: Mutex<Memory>,
}

/// The state of a journal, for journals that keep it whole in memory or in one file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Attempts whose nonce is not settled.
    pub live: Vec<Attempt>,
    /// Outcomes by intent.
    pub outcomes: BTreeMap<String, Outcome>,
}

impl Memory {
    /// The attempts of a key.
    #[must_use]
    pub fn live_of(&self, key: Address) -> Vec<Attempt> {
        self.live.iter().filter(|attempt| attempt.key == key).cloned().collect()
    }

    /// Ends a nonce, as [`Journal::settle`] says.
    pub fn settle(&mut self, key: Address, nonce: u64, verdict: &Verdict) {
        self.live.retain(|attempt| attempt.key != key || attempt.nonce != nonce);
        if let Verdict::Settled(outcomes) = verdict {
            self.outcomes.extend(outcomes.iter().cloned());
        }
    }
}

impl Journal for MemoryJournal {
    async fn outcome(&self, intent: &str) -> anyhow::Result<Option<Outcome>> {
        Ok(self.lock().outcomes.get(intent).cloned())
    }

    async fn live(&self, key: Address) -> anyhow::Result<Vec<Attempt>> {
        Ok(self.lock().live_of(key))
    }

    async fn remember(&self, attempt: &Attempt) -> anyhow::Result<()> {
        self.lock().live.push(attempt.clone());
        Ok(())
    }

    async fn settle(&self, key: Address, nonce: u64, verdict: &Verdict) -> anyhow::Result<()> {
        self.lock().settle(key, nonce, verdict);
        Ok(())
    }
}

impl MemoryJournal {
    fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

mod hex_text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        hex::decode(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
