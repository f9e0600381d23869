//! A tenant without `berth`: each call of the contracts and each request to the gateway by itself, also those that `berth`
//! would never make.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use manifests::group::{GroupSpec, OrderSpec};
use manifests::manifest::Manifest;
use manifests::money::{Amount, Rate};
use manifests::order::{AccountId, Address, Hash, LeaseId, OrderId};
use market::api::{ErrorBody, ErrorKind, LeaseState};
use market::call::{Call, OrderTerms, class_hash};
use market::client::{ClientError, GatewayClient};
use market::reader::{BidRecord, BidState};
use market::sender::{MemoryJournal, Outcome, Sender};
use market::wallet::Wallet;
use market::{At, Chain};

use super::world::World;
use crate::accounts::Account;
use crate::deployment;
use crate::wait::until;

/// How long the provider may take for one step.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long an order stays on the book.
const ORDER_SECONDS: u64 = 1800;

/// A tenant who speaks to chain and gateway directly.
pub struct Direct {
    /// Its key.
    pub wallet: Wallet,
    /// The provider it buys from.
    pub provider: Address,
    /// That provider's gateway, pinned to the key in the registry.
    pub gateway: GatewayClient,
    chain: Chain,
    sender: Sender<MemoryJournal>,
    sent: AtomicU64,
}

/// What is ordered: the first group of a document.
pub struct Wanted {
    /// The manifest of the document.
    pub manifest: Manifest,
    /// What goes on chain of the group.
    pub spec: OrderSpec,
    /// The most that is paid.
    pub max_rate: Rate,
}

impl Wanted {
    /// Reads a document.
    ///
    /// # Errors
    /// When it is none, or has no group.
    pub fn of(document: &str) -> Result<Self> {
        let read = manifests::parse(document)
            .map_err(|problems| anyhow::anyhow!("this is no document: {problems:?}"))?;
        let group: &GroupSpec = read.groups.first().context("the document has no group")?;
        let (spec, max_rate) = (group.to_order_spec(), group.max_rate_down()?);
        Ok(Self { manifest: read.manifest, spec, max_rate })
    }
}

impl Direct {
    /// The tenant of this key, who buys from the world's provider.
    ///
    /// # Errors
    /// When the key cannot be opened or the provider is not registered.
    pub async fn of(world: &World, account: &Account) -> Result<Self> {
        let wallet = account.wallet()?;
        let chain = world.chain.clone();
        let provider = world.accounts.owner.address;
        let record = chain.provider(provider, At::Latest).await?.context("the provider is not registered")?;
        let uri =
            chain.gateway_uri(&record).await?.context("the provider said nowhere where its gateway is")?;
        let gateway = GatewayClient::of(&record, &uri, chain.gateway_domain())?;
        let sender = deployment::sender(chain.clone(), wallet.clone());
        Ok(Self { wallet, provider, gateway, chain, sender, sent: AtomicU64::new(0) })
    }

    /// Sends a call, every time anew, waits until it has taken effect, and answers the block it is in.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn call(&self, call: &Call) -> Result<u64> {
        let intent = format!("call {}", self.sent.fetch_add(1, Ordering::Relaxed));
        match self.sender.send(&intent, call).await.with_context(|| format!("failed to send {call:?}"))? {
            Outcome::Mined { block, .. } => Ok(block),
            Outcome::Reverted { error, .. } => bail!("the contract refused {call:?}: {error}"),
        }
    }

    /// Opens a deployment that may run the manifest of this digest, with money.
    ///
    /// # Errors
    /// As [`Direct::call`].
    pub async fn deploy(&self, dseq: u64, manifest_hash: Hash, money: Amount) -> Result<AccountId> {
        let account = AccountId { tenant: self.wallet.address(), dseq };
        self.call(&Call::CreateDeployment { dseq, manifest_hash }).await?;
        self.call(&Call::ApproveMarket { amount: money }).await?;
        self.call(&Call::Deposit { account, amount: money }).await?;
        Ok(account)
    }

    /// Posts an order and answers the block it is in.
    ///
    /// # Errors
    /// As [`Direct::call`].
    pub async fn order(&self, order: OrderId, wanted: &Wanted) -> Result<u64> {
        let terms = OrderTerms {
            class: class_hash(&wanted.spec.class()),
            max_rate: wanted.max_rate,
            expires_at: self.chain.head().await?.timestamp + ORDER_SECONDS,
            min_reclaim: 0,
            award: None,
        };
        let spec = String::from_utf8(wanted.spec.to_bytes()?).context("a spec is JSON and so text")?;
        self.call(&Call::CreateOrder { order, terms, spec }).await
    }

    /// Waits for the provider's bid.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn bid(&self, order: OrderId) -> Result<BidRecord> {
        until("the provider's bid", PATIENCE, async || {
            let bid = self.chain.bid(order, self.provider, At::Latest).await?;
            bid.filter(|bid| bid.state == BidState::Open).context("it has not bid")
        })
        .await
    }

    /// Accepts a bid.
    ///
    /// # Errors
    /// As [`Direct::call`].
    pub async fn accept(&self, order: OrderId, bid: &BidRecord) -> Result<()> {
        let call = Call::AcceptBid { order, provider: self.provider, terms_hash: bid.terms_hash() };
        self.call(&call).await.map(drop)
    }

    /// Everything up to a lease that waits for its manifest, whose digest is `digest` and need not be the wanted one's.
    ///
    /// # Errors
    /// When a step fails.
    pub async fn lease(&self, dseq: u64, wanted: &Wanted, digest: Hash) -> Result<LeaseId> {
        let lease = self.deploy(dseq, digest, Amount(20_000_000)).await?.order(1, 1);
        self.order(lease, wanted).await?;
        let bid = self.bid(lease).await?;
        self.accept(lease, &bid).await?;
        self.state(lease, LeaseState::AwaitingManifest).await?;
        Ok(lease)
    }

    /// Binds another manifest on chain.
    ///
    /// # Errors
    /// As [`Direct::call`].
    pub async fn bind(&self, lease: LeaseId, manifest_hash: Hash) -> Result<()> {
        self.call(&Call::UpdateManifest { account: lease.account(), manifest_hash }).await.map(drop)
    }

    /// Sends a manifest as soon as the gateway knows of the lease and of this digest.
    ///
    /// # Errors
    /// When the gateway refuses it.
    pub async fn send(&self, lease: LeaseId, manifest: &Manifest) -> Result<()> {
        match self.answer(lease, manifest).await? {
            None => Ok(()),
            Some((status, body)) => bail!("the gateway refused the manifest with {status}: {}", body.message),
        }
    }

    /// The refusal of a manifest whose digest is bound on chain, once the gateway has followed that far.
    ///
    /// # Errors
    /// When the gateway takes the manifest, or cannot be reached.
    pub async fn refusal(&self, lease: LeaseId, manifest: &Manifest) -> Result<(u16, ErrorBody)> {
        self.answer(lease, manifest).await?.context("the gateway took the manifest")
    }

    async fn answer(&self, lease: LeaseId, manifest: &Manifest) -> Result<Option<(u16, ErrorBody)>> {
        let body = manifest.canonical_json();
        until("the gateway to follow the chain", PATIENCE, async || {
            match self.gateway.send_manifest(&self.wallet, lease, &body).await {
                Ok(()) => Ok(None),
                Err(ClientError::Refused { status, body, .. }) => {
                    let behind = [ErrorKind::ManifestMismatch, ErrorKind::LeaseUnknown].contains(&body.kind);
                    ensure!(!behind, "it says: {}", body.message);
                    Ok(Some((status, body)))
                }
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Waits until the lease is in this state.
    ///
    /// # Errors
    /// When it does not get there.
    pub async fn state(&self, lease: LeaseId, wanted: LeaseState) -> Result<()> {
        until(&format!("the lease to be {wanted}"), PATIENCE, async || {
            let status = self.gateway.lease(&self.wallet, lease).await?;
            ensure!(status.state == wanted, "it is {}", status.state);
            Ok(())
        })
        .await
    }
}
