//! The key of a context at work on its chain: one transaction at a time, remembered on disk before it is sent.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use manifests::order::Address;
use market::Chain;
use market::call::Call;
use market::client::GatewayClient;
use market::reader::Provider;
use market::sender::{
    Attempt, Journal, Memory, MemoryJournal, Outcome, SendError, Sender, Settings, Verdict,
};
use market::wallet::Wallet;

use crate::cli::InContext;
use crate::contexts::{self, Mapping};
use crate::state::{State, folder, lock, write_atomically};

/// A checked connection and an open key.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) chain: Chain,
    pub(crate) wallet: Wallet,
    pub(crate) state: State,
    pub(crate) mapping: Mapping,
}

impl Account {
    /// Opens the context's key and connects to its market.
    pub(crate) async fn open(wanted: &InContext) -> anyhow::Result<Self> {
        let (name, context) = contexts::chosen(wanted)?;
        let wallet = Wallet::open(&context.keystore, &context.password_file)?;
        let chain = Chain::connect(&context.rpc, context.chain_id, context.market).await?;
        Ok(Self { chain, wallet, state: State::of_context(&name)?, mapping: context.mapping })
    }

    pub(crate) fn address(&self) -> Address {
        self.wallet.address()
    }

    /// Makes the call happen and waits until it is mined.
    ///
    /// Only one process at a time sends from a key. What an earlier one left under way is waited for first, so the caller
    /// must look at the chain after [`Account::settle`] before it decides what to send.
    pub(crate) async fn send(&self, step: &str, call: &Call) -> anyhow::Result<()> {
        let context = || format!("failed to {step}");
        let lane = self.lane().await?;
        // The chain decides what is left to do, so every decision is an intent of its own.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
        let intent = format!("{step} {}", now.as_nanos());
        match lane.sender.send(&intent, call).await.with_context(context)? {
            Outcome::Mined { .. } => Ok(()),
            Outcome::Reverted { error, .. } => Err(SendError::Refused(error)).with_context(context),
        }
    }

    /// Whether the contract would take the call now. Sends nothing.
    pub(crate) async fn simulate(&self, call: &Call) -> anyhow::Result<()> {
        let sender = Sender::new(
            self.chain.clone(),
            self.wallet.clone(),
            MemoryJournal::default(),
            Settings::default(),
        );
        Ok(sender.simulate(call).await?)
    }

    /// Waits for what an earlier process left under way.
    pub(crate) async fn settle(&self) -> anyhow::Result<()> {
        self.lane().await.map(|_| ())
    }

    async fn lane(&self) -> anyhow::Result<Lane> {
        let name = format!("{}-{}", self.chain.chain_id(), self.address());
        let path = folder()?.join("keys").join(&name).with_extension("json");
        let lock_path = path.with_extension("lock");
        let held = tokio::task::spawn_blocking(move || lock(&lock_path))
            .await
            .context("the lock's thread died")??;
        let journal = FileJournal::open(path)?;
        let sender = Sender::new(self.chain.clone(), self.wallet.clone(), journal, Settings::default());
        sender.recover().await.context("failed to look after earlier transactions")?;
        sender.finish().await.context("failed to wait for earlier transactions")?;
        Ok(Lane { sender, _held: held })
    }

    /// The gateway of a provider, pinned to its registered key.
    pub(crate) async fn gateway(&self, provider: &Provider) -> anyhow::Result<GatewayClient> {
        let uri = self.chain.gateway_uri(provider).await?.with_context(|| {
            format!(
                "provider {} said where its gateway is at unix second {}, of which {} keeps no log: use another endpoint, or \
                 ask the provider to say it again (`berth-provider update --uri`)",
                provider.address,
                provider.gateway_at,
                self.chain.endpoint()
            )
        })?;
        Ok(GatewayClient::of(provider, &uri, self.chain.gateway_domain())?)
    }
}

/// The right to send from the key.
struct Lane {
    sender: Sender<FileJournal>,
    _held: std::fs::File,
}

/// Live attempts in a file that is replaced whole. Outcomes are only kept while the process lasts: what is done is on chain,
/// and the next process looks there.
#[derive(Debug)]
struct FileJournal {
    path: PathBuf,
    memory: Mutex<Memory>,
}

impl FileJournal {
    fn open(path: PathBuf) -> anyhow::Result<Self> {
        let live: Vec<Attempt> = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("the journal of transactions {} cannot be read", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("failed to read {}", path.display())),
        };
        Ok(Self { path, memory: Mutex::new(Memory { live, ..Memory::default() }) })
    }

    fn change(&self, change: impl FnOnce(&mut Memory)) -> anyhow::Result<()> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut memory);
        let bytes = serde_json::to_vec(&memory.live).context("failed to write the journal as JSON")?;
        write_atomically(&self.path, &bytes)
    }
}

impl Journal for FileJournal {
    async fn outcome(&self, intent: &str) -> anyhow::Result<Option<Outcome>> {
        Ok(self.memory.lock().unwrap_or_else(PoisonError::into_inner).outcomes.get(intent).cloned())
    }

    async fn live(&self, key: Address) -> anyhow::Result<Vec<Attempt>> {
        Ok(self.memory.lock().unwrap_or_else(PoisonError::into_inner).live_of(key))
    }

    async fn remember(&self, attempt: &Attempt) -> anyhow::Result<()> {
        self.change(|memory| memory.live.push(attempt.clone()))
    }

    async fn settle(&self, key: Address, nonce: u64, verdict: &Verdict) -> anyhow::Result<()> {
        self.change(|memory| memory.settle(key, nonce, verdict))
    }
}
