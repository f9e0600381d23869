//! What the chain says: blocks, logs, and the state of the market, in our words.
//!
//! States are the derived ones that the contract computes: an order past its time is expired and a lease whose account ran dry
//! is depleted although no transaction said so. A failed read is an error and never means "not there".

use std::collections::BTreeSet;

use ethers_core::abi::{AbiDecode, AbiEncode};
use ethers_core::types::{H160, Log, U256};
use manifests::money::{Amount, Rate};
use manifests::order::{AccountId, Address, BlockRef, CloseReason, Fact, Hash, LeaseId, OrderId};
use serde_json::{Value, json};

use crate::bindings::{market, market_lens, params, provider_registry, test_token};
use crate::chain::{Chain, Contracts};
use crate::convert::{self, OutOfRange};
use crate::events::{self, EventError, Logged};
use crate::moment;
use crate::node::{At, Probe};
use crate::revert::MarketError;
use crate::rpc::{Rpc, RpcError};

/// Why a read brought nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The endpoint did not answer, or refused.
    #[error(transparent)]
    Rpc(RpcError),
    /// The contract refused the call.
    #[error(transparent)]
    Reverted(MarketError),
    /// A log could not be read.
    #[error(transparent)]
    Event(#[from] EventError),
    /// A contract answered what its interface does not allow.
    #[error("{view} answered what cannot be read: {problem}")]
    Garbled {
        /// The view that was called.
        view: &'static str,
        /// What is wrong.
        problem: String,
    },
}

impl ReadError {
    /// Whether the same read may succeed later or elsewhere.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Rpc(error) if error.is_transient())
    }
}

impl From<RpcError> for ReadError {
    fn from(error: RpcError) -> Self {
        match error {
            RpcError::Reverted { data } => Self::Reverted(MarketError::from_revert(&data)),
            error => Self::Rpc(error),
        }
    }
}

/// Where an escrow account stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountState {
    /// It pays, or could.
    Open,
    /// Its money ended, and with it all its leases.
    Depleted,
}

/// An escrow account, as of the block it was read in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Where it stands.
    pub state: AccountState,
    /// Digest of the manifest that may run.
    pub manifest_hash: Hash,
    /// What leases have not earned yet, in whole units.
    pub balance: Amount,
    /// The same to the last part: token units × 10^9.
    pub balance_scaled: u128,
    /// What a refund would pay now.
    pub refundable: Amount,
    /// What its leases earn together.
    pub rate_sum: Rate,
    /// Unix seconds of chain time in which the money ends; `None` while it pays nobody.
    pub funded_until: Option<u64>,
}

/// Where an order, and the lease that grew from it, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderState {
    /// On the book.
    Open,
    /// A lease runs.
    Active,
    /// A lease runs and its provider gave notice.
    Reclaiming,
    /// Closed without a lease, or the lease is over.
    Closed,
    /// On the book, but past its time.
    Expired,
    /// A lease was there and its account ran dry.
    Depleted,
}

impl OrderState {
    /// Whether a lease of this state earns.
    #[must_use]
    pub fn runs(self) -> bool {
        matches!(self, Self::Active | Self::Reclaiming)
    }
}

/// An order in storage. Its other terms are in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderRecord {
    /// Where it stands.
    pub state: OrderState,
    /// keccak256 of its spec.
    pub spec_hash: Hash,
    /// How it is awarded; `None` if its tenant decides.
    pub award: Option<AwardRecord>,
}

/// An order that goes to its lowest bid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AwardRecord {
    /// Unix seconds of chain time until which bids are taken; after that anybody awards it.
    pub deadline: u64,
    /// Who has the lowest bid, and at which rate; `None` while nobody bid.
    pub best: Option<(Address, Rate)>,
}

/// Where a bid stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BidState {
    /// It can be accepted.
    Open,
    /// It was accepted.
    Won,
    /// Its provider took it back.
    Withdrawn,
    /// Another bid won, or the order was closed.
    Lost,
    /// It, or its order, is past its time.
    Expired,
}

/// A bid in storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BidRecord {
    /// Where it stands.
    pub state: BidState,
    /// What it asks.
    pub rate: Rate,
    /// Unix seconds until which it can be accepted.
    pub expires_at: u64,
    /// The notice, in seconds, that is promised.
    pub reclaim: u32,
    /// Seconds that are paid at least.
    pub min_bill: u16,
    /// Whether its provider has the stake that the lease would lock.
    pub eligible: bool,
}

impl BidRecord {
    /// The hash by which a tenant accepts exactly these terms.
    #[must_use]
    pub fn terms_hash(&self) -> Hash {
        terms_hash(self.rate, self.reclaim, self.min_bill, self.expires_at)
    }
}

/// keccak256 of a bid's terms: rate, notice, minimum bill and expiry, each as a word.
#[must_use]
pub fn terms_hash(rate: Rate, reclaim: u32, min_bill: u16, expires_at: u64) -> Hash {
    let words =
        (U256::from(rate.scaled()), U256::from(reclaim), U256::from(min_bill), U256::from(expires_at));
    Hash(ethers_core::utils::keccak256(words.encode()))
}

/// A lease, as of the block it was read in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Active, Reclaiming, Depleted or Closed.
    pub state: OrderState,
    /// Who runs it.
    pub provider: Address,
    /// What it earns.
    pub rate: Rate,
    /// Unix seconds from which it is paid.
    pub started_at: u64,
    /// Unix seconds up to which it was paid out.
    pub checkpoint: u64,
    /// Unix seconds up to which it has earned.
    pub billable_until: u64,
    /// Unix seconds in which its account ends, or it ended.
    pub funded_until: u64,
    /// When and why it ended, if a transaction said so.
    pub ended: Option<(u64, CloseReason)>,
    /// From when the provider may leave, if notice was given.
    pub reclaim_deadline: Option<u64>,
    /// The market's fee, in hundredths of a percent.
    pub fee_bps: u16,
    /// Token units of the provider's stake that it locks.
    pub bond: Amount,
}

/// What a withdrawal would pay for a lease now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accrued {
    /// To the provider's payout address.
    pub net: Amount,
    /// To the market's treasury.
    pub fee: Amount,
    /// What was earned since the last payout to the last part: rate × seconds.
    pub scaled: u128,
    /// Unix seconds up to which this is.
    pub up_to: u64,
}

/// Where a provider stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderState {
    /// It takes leases.
    Active,
    /// It takes no new ones.
    Retired,
}

/// A provider in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its owner key, which names it.
    pub address: Address,
    /// Where it stands.
    pub state: ProviderState,
    /// The key that bids and closes.
    pub operator: Address,
    /// Where money goes.
    pub payout: Address,
    /// Where money goes later, and from which unix second on, if a change was announced.
    pub next_payout: Option<(Address, u64)>,
    /// keccak256 of the attributes document; zeros where it published none.
    pub attrs_hash: Hash,
    /// Unix seconds in which it last said where its gateway is: [`Chain::gateway_uri`] finds the word.
    pub gateway_at: u64,
    /// SHA-256 of the gateway's public key.
    pub spki_hash: Hash,
    /// The key before, and the unix second until which it counts as well, while it does.
    pub old_spki: Option<(Hash, u64)>,
    /// Token units of stake.
    pub stake: Amount,
    /// What live leases and best bids lock of it.
    pub locked: Amount,
    /// Unix seconds from which stake can be taken out, if that was requested.
    pub unbond_at: Option<u64>,
    /// Live leases.
    pub active_leases: u32,
}

impl Provider {
    /// Whether the gateway may present the key with this SHA-256 now.
    #[must_use]
    pub fn has_gateway_key(&self, spki: Hash) -> bool {
        self.spki_hash == spki || self.old_spki.is_some_and(|(old, _)| old == spki)
    }
}

/// The numbers that governance set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParamValues {
    /// The fee in hundredths of a percent of what providers are paid.
    pub fee_bps: u16,
    /// Seconds that an account must be able to pay when a lease starts.
    pub min_runway: u64,
    /// Seconds of a lease's rate that its provider locks from stake.
    pub bond_secs: u64,
    /// Least seconds from an order's creation to its expiry.
    pub min_order_duration: u64,
    /// Most seconds from an order's creation to its expiry.
    pub max_order_duration: u64,
    /// Token units that a provider needs to register.
    pub min_stake: Amount,
}

/// Reads the other contracts of a market from the market.
pub(crate) async fn contracts_of(rpc: &Rpc, market: Address) -> Result<Contracts, RpcError> {
    let ask = async |data: Vec<u8>| {
        let answer = rpc.eth_call(Probe { from: None, to: Some(market), data: &data }, At::Latest).await?;
        // A contract with a fallback may answer anything; only an address in a word is an answer.
        <H160 as AbiDecode>::decode(&answer)
            .map(convert::address)
            .map_err(|_| RpcError::Reverted { data: Vec::new() })
    };
    Ok(Contracts {
        market,
        lens: crate::deploy::lens_of(market),
        registry: ask(market::RegistryCall.encode()).await?,
        params: ask(market::ParamsCall.encode()).await?,
        token: ask(market::TokenCall.encode()).await?,
    })
}

impl Chain {
    /// The newest block.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn head(&self) -> Result<BlockRef, ReadError> {
        let problem = || ReadError::Garbled { view: "the newest block", problem: "there is none".to_owned() };
        self.rpc.head().await?.ok_or_else(problem)
    }

    /// The block at this height on the branch that the endpoint follows; `None` above its head.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn block(&self, number: u64) -> Result<Option<BlockRef>, ReadError> {
        Ok(self.rpc.block(number).await?)
    }

    /// The block with this hash; `None` if the endpoint does not have it (any more).
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn block_by_hash(&self, hash: Hash) -> Result<Option<BlockRef>, ReadError> {
        Ok(self.rpc.block_by_hash(hash).await?)
    }

    /// What the market and its registry said in the block with this hash, in order. Fails, rather than answering with nothing,
    /// if the endpoint does not have the block.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn facts_of_block(&self, hash: Hash) -> Result<Vec<Logged>, ReadError> {
        let contracts = [self.contracts().market, self.contracts().registry];
        self.read_facts(self.rpc.logs_of_block(hash, &contracts).await?)
    }

    /// What the market and its registry said in the blocks from `first` to `last`, both included, in order. That they said
    /// nothing is believed only after every endpoint and, in ranges of a few thousand blocks, every block said so.
    ///
    /// # Errors
    /// [`ReadError`]; endpoints refuse ranges that are too long for them.
    pub async fn facts_between(&self, first: u64, last: u64) -> Result<Vec<Logged>, ReadError> {
        let contracts = [self.contracts().market, self.contracts().registry];
        self.read_facts(self.rpc.logs_between(first, last, &contracts).await?)
    }

    /// The block in which a contract first said something; `None` if it never did.
    pub(crate) async fn first_block_of(&self, contract: Address) -> Result<Option<u64>, ReadError> {
        let filter = json!({ "address": contract, "fromBlock": "0x0", "toBlock": "latest" });
        let logs: Vec<Log> = self.rpc.logs(&filter).await?;
        Ok(logs.iter().filter_map(|log| log.block_number).min().map(|number| number.as_u64()))
    }

    /// What was said about one account, its orders, bids and leases in the blocks from `first` on, in order. The filter is on
    /// this side, since a node can match whole topics only.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn facts_of_account(&self, account: AccountId, first: u64) -> Result<Vec<Logged>, ReadError> {
        let mut facts =
            self.facts(json!({ "fromBlock": format!("{first:#x}"), "toBlock": "latest" })).await?;
        facts.retain(|logged| events::account_of(&logged.fact) == Some(account));
        Ok(facts)
    }

    /// Every deployment that a tenant ever opened, with the block it was opened in, oldest first.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn deployments_of(&self, tenant: Address) -> Result<Vec<(u64, AccountId)>, ReadError> {
        let mut topic = [0u8; 32];
        topic[12..].copy_from_slice(&tenant.0);
        let created = <market::DeploymentCreatedFilter as ethers_contract::EthEvent>::signature();
        let topics = json!([created, null, Hash(topic)]);
        let facts = self.facts(json!({ "fromBlock": "0x0", "toBlock": "latest", "topics": topics })).await?;
        let deployments = facts.into_iter().filter_map(|logged| match logged.fact {
            Fact::DeploymentCreated { account, .. } => Some((logged.at.block, account)),
            _ => None,
        });
        Ok(deployments.collect())
    }

    async fn facts(&self, mut filter: Value) -> Result<Vec<Logged>, ReadError> {
        filter["address"] = json!([self.contracts().market, self.contracts().registry]);
        self.read_facts(self.rpc.logs(&filter).await?)
    }

    fn read_facts(&self, mut logs: Vec<Log>) -> Result<Vec<Logged>, ReadError> {
        logs.retain(|log| log.removed != Some(true));
        let mut facts = Vec::with_capacity(logs.len());
        for log in &logs {
            facts.extend(events::read(log, &self.contracts())?);
        }
        facts.sort_by_key(|logged| (logged.at.block, logged.at.log_index));
        Ok(facts)
    }

    /// An escrow account; `None` if it never was.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn account(&self, id: AccountId, at: At) -> Result<Option<Account>, ReadError> {
        let call = market_lens::AccountCall { account_id: id.to_word().0 };
        let (view,): (market_lens::AccountView,) =
            self.view("account", self.contracts().lens, call, at).await?;
        let market_lens::AccountView {
            state,
            tenant: _,
            manifest_hash,
            rate_sum,
            settled_at: _,
            funded_until,
            balance,
            balance_scaled,
            refundable,
        } = view;
        let state = match state {
            0 => return Ok(None),
            1 => AccountState::Open,
            2 => AccountState::Depleted,
            other => return Err(unknown_state("account", other)),
        };
        let range = |error: OutOfRange| garbled("account", error);
        Ok(Some(Account {
            state,
            manifest_hash: Hash(manifest_hash),
            balance: convert::amount(balance).map_err(range)?,
            balance_scaled: convert::amount(balance_scaled).map_err(range)?.0,
            refundable: convert::amount(refundable).map_err(range)?,
            rate_sum: convert::rate(rate_sum).map_err(range)?,
            funded_until: (funded_until != FOREVER).then_some(funded_until),
        }))
    }

    /// An order; `None` if it never was.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn order(&self, id: OrderId, at: At) -> Result<Option<OrderRecord>, ReadError> {
        let call = market_lens::OrderCall { order_id: id.to_word().0 };
        let (view,): (market_lens::OrderView,) = self.view("order", self.contracts().lens, call, at).await?;
        let Some(state) = order_state("order", view.state)? else { return Ok(None) };
        let best = match (view.mode, convert::address(view.best)) {
            (_, nobody) if nobody == Address::default() => None,
            (_, provider) => {
                Some((provider, convert::rate(view.best_rate).map_err(|error| garbled("order", error))?))
            }
        };
        let award = (view.mode == LOWEST).then_some(AwardRecord { deadline: view.deadline, best });
        Ok(Some(OrderRecord { state, spec_hash: Hash(view.spec_hash), award }))
    }

    /// A provider's bid for an order; `None` if there never was one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn bid(
        &self,
        order: OrderId,
        provider: Address,
        at: At,
    ) -> Result<Option<BidRecord>, ReadError> {
        let call = market_lens::BidCall { order_id: order.to_word().0, provider: convert::h160(provider) };
        let (view,): (market_lens::BidView,) = self.view("bid", self.contracts().lens, call, at).await?;
        let market_lens::BidView { state, rate, expires_at, reclaim, min_bill, eligible } = view;
        let state = match state {
            0 => return Ok(None),
            1 => BidState::Open,
            2 => BidState::Won,
            3 => BidState::Withdrawn,
            4 => BidState::Lost,
            5 => BidState::Expired,
            other => return Err(unknown_state("bid", other)),
        };
        let rate = convert::rate(rate).map_err(|error| garbled("bid", error))?;
        Ok(Some(BidRecord { state, rate, expires_at, reclaim, min_bill, eligible }))
    }

    /// A lease; `None` if the order has none.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn lease(&self, id: LeaseId, at: At) -> Result<Option<LeaseRecord>, ReadError> {
        let call = market_lens::LeaseCall { order_id: id.to_word().0 };
        let (view,): (market_lens::LeaseView,) = self.view("lease", self.contracts().lens, call, at).await?;
        let Some(state) = order_state("lease", view.state)? else { return Ok(None) };
        let range = |error: OutOfRange| garbled("lease", error);
        Ok(Some(LeaseRecord {
            state,
            provider: convert::address(view.provider),
            rate: convert::rate(view.rate).map_err(range)?,
            started_at: view.started_at,
            checkpoint: view.checkpoint,
            billable_until: view.billable_until,
            funded_until: view.funded_until,
            ended: (view.ended_at != 0).then_some((view.ended_at, CloseReason(view.reason))),
            reclaim_deadline: (view.reclaim_deadline != 0).then_some(view.reclaim_deadline),
            fee_bps: view.fee_bps,
            bond: convert::amount(view.bond).map_err(range)?,
        }))
    }

    /// What a withdrawal would pay for a lease.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn accrued(&self, lease: LeaseId, at: At) -> Result<Accrued, ReadError> {
        let call = market_lens::AccruedCall { order_id: lease.to_word().0 };
        let (view,): (market_lens::AccruedView,) =
            self.view("accrued", self.contracts().lens, call, at).await?;
        let market_lens::AccruedView { net, fee, scaled, up_to } = view;
        let range = |error: OutOfRange| garbled("accrued", error);
        Ok(Accrued {
            net: convert::amount(net).map_err(range)?,
            fee: convert::amount(fee).map_err(range)?,
            scaled: convert::amount(scaled).map_err(range)?.0,
            up_to,
        })
    }

    /// A provider's record; `None` if it never registered.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn provider(&self, address: Address, at: At) -> Result<Option<Provider>, ReadError> {
        let call = provider_registry::ProviderCall { owner: convert::h160(address) };
        let (view,): (provider_registry::ProviderView,) =
            self.view("provider", self.contracts().registry, call, at).await?;
        let state = match view.state {
            0 => return Ok(None),
            1 => ProviderState::Active,
            2 => ProviderState::Retired,
            other => return Err(unknown_state("provider", other)),
        };
        Ok(Some(Provider {
            address,
            state,
            operator: convert::address(view.operator),
            payout: convert::address(view.payout),
            next_payout: (view.payout_change_at != 0)
                .then_some((convert::address(view.pending_payout), view.payout_change_at)),
            attrs_hash: Hash(view.attrs_hash),
            gateway_at: view.gateway_at,
            spki_hash: Hash(view.spki_hash),
            old_spki: (view.old_spki_until != 0).then_some((Hash(view.old_spki_hash), view.old_spki_until)),
            stake: Amount(view.stake),
            locked: Amount(view.locked),
            unbond_at: (view.unbond_at != 0).then_some(view.unbond_at),
            active_leases: view.active,
        }))
    }

    /// Every provider that registered, in the order of its address, with its record as it is now.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn providers(&self) -> Result<Vec<Provider>, ReadError> {
        let topic = <provider_registry::ProviderRegisteredFilter as ethers_contract::EthEvent>::signature();
        let filter = json!({
            "address": self.contracts().registry, "fromBlock": "0x0", "toBlock": "latest", "topics": [topic]
        });
        let logs = self.rpc.logs(&filter).await?;
        let registered: BTreeSet<Address> = logs
            .iter()
            .filter_map(|log| log.topics.get(1))
            .map(|topic| convert::address((*topic).into()))
            .collect();
        let mut providers = Vec::new();
        for address in registered {
            providers.extend(self.provider(address, At::Latest).await?);
        }
        Ok(providers)
    }

    /// Where a provider's gateway is: its last word about that, from the log of the second in which it was said. `None` where
    /// the endpoint keeps no log of that time any more; the provider can say it again.
    ///
    /// The word is worth nothing without the gateway's key, which the record has: a stale or forged one leads nowhere.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn gateway_uri(&self, provider: &Provider) -> Result<Option<String>, ReadError> {
        let Some(blocks) = moment::blocks_of(self, provider.gateway_at).await? else { return Ok(None) };
        let mut topic = [0u8; 32];
        topic[12..].copy_from_slice(&provider.address.0);
        let said = [
            <provider_registry::ProviderRegisteredFilter as ethers_contract::EthEvent>::signature(),
            <provider_registry::GatewayChangedFilter as ethers_contract::EthEvent>::signature(),
        ];
        let filter = json!({
            "fromBlock": format!("{:#x}", blocks.start()),
            "toBlock": format!("{:#x}", blocks.end()),
            "topics": [said, Hash(topic)],
        });
        let words = self.facts(filter).await?;
        Ok(words.into_iter().rev().find_map(|logged| match logged.fact {
            Fact::ProviderChanged { uri, .. } => uri,
            _ => None,
        }))
    }

    /// The numbers that the market and its registry go by. What governance changed rules in the market once somebody had it
    /// taken over.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn params(&self, at: At) -> Result<ParamValues, ReadError> {
        let (rules,): (market_lens::Rules,) =
            self.view("rules", self.contracts().lens, market_lens::RulesCall, at).await?;
        let market_lens::Rules {
            paused_until: _,
            pause_spent: _,
            fee_bps,
            min_runway,
            bond_secs,
            min_order_duration,
            max_order_duration,
        } = rules;
        let (params::Values { min_stake, .. },): (params::Values,) =
            self.view("values", self.contracts().params, params::ValuesCall, at).await?;
        Ok(ParamValues {
            fee_bps,
            min_runway: min_runway.into(),
            bond_secs: bond_secs.into(),
            min_order_duration: min_order_duration.into(),
            max_order_duration: max_order_duration.into(),
            min_stake: Amount(min_stake),
        })
    }

    /// Settlement tokens of an account.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn token_balance(&self, owner: Address, at: At) -> Result<Amount, ReadError> {
        let call = test_token::BalanceOfCall { account: convert::h160(owner) };
        let balance: U256 = self.view("balanceOf", self.contracts().token, call, at).await?;
        convert::amount(balance).map_err(|error| garbled("balanceOf", error))
    }

    /// Settlement tokens of `owner` that `spender` may move; beyond 128 bits it is the largest amount.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn token_allowance(
        &self,
        owner: Address,
        spender: Address,
        at: At,
    ) -> Result<Amount, ReadError> {
        let call = test_token::AllowanceCall { owner: convert::h160(owner), spender: convert::h160(spender) };
        let allowance: U256 = self.view("allowance", self.contracts().token, call, at).await?;
        Ok(convert::amount(allowance).unwrap_or(Amount(u128::MAX)))
    }

    /// What the account has for gas, in wei.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn gas_balance(&self, owner: Address) -> Result<u128, ReadError> {
        Ok(self.rpc.native_balance(owner).await?)
    }

    pub(crate) async fn view<C: AbiEncode, R: AbiDecode>(
        &self,
        view: &'static str,
        contract: Address,
        call: C,
        at: At,
    ) -> Result<R, ReadError> {
        let data = call.encode();
        let answer = self.rpc.eth_call(Probe { from: None, to: Some(contract), data: &data }, at).await?;
        R::decode(&answer).map_err(|error| garbled(view, error))
    }
}

/// The mode of an order that goes to its lowest bid.
const LOWEST: u8 = 1;

/// The contract's "for ever": the largest second it can hold.
const FOREVER: u64 = (1 << 40) - 1;

fn order_state(view: &'static str, state: u8) -> Result<Option<OrderState>, ReadError> {
    Ok(Some(match state {
        0 => return Ok(None),
        1 => OrderState::Open,
        2 => OrderState::Active,
        3 => OrderState::Reclaiming,
        4 => OrderState::Closed,
        5 => OrderState::Expired,
        6 => OrderState::Depleted,
        other => return Err(unknown_state(view, other)),
    }))
}

fn unknown_state(view: &'static str, state: u8) -> ReadError {
    ReadError::Garbled { view, problem: format!("state {state} is not one of this version") }
}

fn garbled(view: &'static str, error: impl std::error::Error) -> ReadError {
    ReadError::Garbled { view, problem: crate::rpc::causes(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_hash_as_the_contract_hashes_them() {
        // keccak256 of the four words, made with Foundry's `cast abi-encode` and `cast keccak`.
        let known = "0x1fd359695e32eba8c4796f9c9c35215aa65cb59bd4b8120a4f725a98951081c0";
        let rate = Rate::new(123_456_789_012_345_678_901).expect("below 2^80");
        assert_eq!(terms_hash(rate, 86_400, 3_600, 1_800_000_000).to_string(), known);
    }
}
