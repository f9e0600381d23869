//! What can be asked of the contracts, as data: a caller stores it as an intent, a sender turns it into a transaction.

use ethers_core::abi::AbiEncode;
use ethers_core::types::U256;
use manifests::money::{Amount, Rate};
use manifests::order::{AccountId, Address, CloseReason, Hash, LeaseId, OrderId};
use serde::{Deserialize, Serialize};

use crate::bindings::{market, provider_registry, test_token};
use crate::chain::Contracts;
use crate::convert::h160;
use crate::sender::Urgency;

/// One call of a contract. It serialises to JSON with its name in `call`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Call {
    /// The tenant opens a deployment and its escrow account.
    CreateDeployment {
        /// A number that the tenant never used.
        dseq: u64,
        /// Digest of the manifest that may run.
        manifest_hash: Hash,
    },
    /// The tenant binds another manifest.
    UpdateManifest {
        /// Whose.
        account: AccountId,
        /// The new digest.
        manifest_hash: Hash,
    },
    /// Anyone lets the market move tokens, so that a deposit can follow.
    ApproveMarket {
        /// How many units.
        amount: Amount,
    },
    /// Anyone lets the registry move tokens, so that a registration can follow.
    ApproveRegistry {
        /// How many units.
        amount: Amount,
    },
    /// Anyone pays into an escrow account, from an allowance.
    Deposit {
        /// Which.
        account: AccountId,
        /// How much.
        amount: Amount,
    },
    /// The tenant takes money back.
    Refund {
        /// From where.
        account: AccountId,
        /// How much; `None` takes all that can be taken.
        amount: Option<Amount>,
    },
    /// The tenant posts the first order of a group.
    CreateOrder {
        /// Its name; `oseq` is 1.
        order: OrderId,
        /// What it asks for.
        terms: OrderTerms,
        /// The group spec without its price, as sorted-key JSON.
        spec: String,
    },
    /// The tenant takes an order off the book.
    CancelOrder {
        /// Which.
        order: OrderId,
    },
    /// Anyone closes an order that is past its time.
    ExpireOrder {
        /// Which.
        order: OrderId,
    },
    /// The tenant accepts a bid.
    AcceptBid {
        /// For which order.
        order: OrderId,
        /// Whose.
        provider: Address,
        /// The hash of the terms that the tenant saw: [`crate::reader::terms_hash`].
        terms_hash: Hash,
    },
    /// Anyone makes the lowest bid of an order a lease, once the order's deadline has passed.
    Award {
        /// Which.
        order: OrderId,
    },
    /// The provider bids, or betters its bid.
    PlaceBid {
        /// For which order.
        order: OrderId,
        /// For which provider; the signer is its operator key.
        provider: Address,
        /// The hash of the spec that was priced.
        spec_hash: Hash,
        /// What it asks.
        rate: Rate,
        /// Unix seconds until which it can be accepted.
        expires_at: u64,
        /// The notice, in seconds, that it promises.
        reclaim: u32,
        /// Seconds that are paid at least, at most 3600.
        min_bill: u16,
    },
    /// The provider takes its bid back.
    WithdrawBid {
        /// For which order.
        order: OrderId,
        /// Whose bid; the signer is its operator key.
        provider: Address,
    },
    /// The provider gives notice.
    StartReclaim {
        /// Which lease.
        lease: LeaseId,
        /// Why.
        reason: CloseReason,
    },
    /// Tenant or provider ends a lease.
    CloseLease {
        /// Which.
        lease: LeaseId,
        /// Why: 1–99 for tenants, 100–149 for providers.
        reason: CloseReason,
    },
    /// Anyone closes a lease whose account ran dry.
    Finalize {
        /// Which.
        lease: LeaseId,
    },
    /// Anyone has leases paid out to their providers.
    Withdraw {
        /// Which, at most 100.
        leases: Vec<LeaseId>,
    },
    /// The signer becomes a provider; its stake is pulled from an allowance.
    Register {
        /// The key that bids and closes.
        operator: Address,
        /// Where money goes.
        payout: Address,
        /// Where the gateway is: `https://host:port`.
        uri: String,
        /// SHA-256 of the gateway's public key.
        spki_hash: Hash,
        /// Token units.
        stake: Amount,
    },
    /// Anyone adds to a provider's stake, from an allowance.
    AddStake {
        /// Whose.
        provider: Address,
        /// How much.
        amount: Amount,
    },
    /// A provider asks for stake back: seven days from now it can be taken out.
    RequestUnstake,
    /// A provider takes stake out, to its payout address.
    Unstake {
        /// How much.
        amount: Amount,
    },
    /// A provider names another operator key.
    SetOperator {
        /// The key.
        operator: Address,
    },
    /// A provider names another payout address, which counts 24 hours later.
    SetPayout {
        /// Where money goes then.
        payout: Address,
    },
    /// A provider takes no new leases any more.
    Retire,
    /// A provider announces the gateway's next certificate.
    RotateCert {
        /// SHA-256 of its public key.
        spki_hash: Hash,
        /// Unix seconds until which the one before counts as well.
        old_until: u64,
    },
    /// A provider says where its gateway is and which key it shows; another key than before counts alone.
    SetGateway {
        /// Where the gateway is.
        uri: String,
        /// SHA-256 of the gateway's public key.
        spki_hash: Hash,
    },
    /// A provider publishes the hash of its attributes.
    SetAttributes {
        /// keccak256 of the attributes document; zero takes it back.
        attrs_hash: Hash,
    },
    /// Anyone makes test tokens, where the settlement token is the test token.
    MintTestToken {
        /// For whom.
        to: Address,
        /// How many units.
        amount: Amount,
    },
}

/// What an order asks for beside its spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderTerms {
    /// keccak256 of the class string: [`class_hash`].
    pub class: Hash,
    /// The most that is paid.
    pub max_rate: Rate,
    /// Unix seconds of chain time until which bids are taken and accepted.
    pub expires_at: u64,
    /// The least notice, in seconds, that bids must promise.
    pub min_reclaim: u32,
    /// Unix seconds of chain time until which bids are taken, if the lowest of them wins and anyone may award it; `None` if
    /// the tenant accepts a bid.
    #[serde(default)]
    pub award: Option<u64>,
}

/// The hash of a class string such as `cpu` or `gpu/nvidia/h100/80Gi`.
#[must_use]
pub fn class_hash(class: &str) -> Hash {
    Hash(ethers_core::utils::keccak256(class))
}

/// keccak256, the hash of the chain: for specs and attributes documents.
#[must_use]
pub fn keccak256(bytes: &[u8]) -> Hash {
    Hash(ethers_core::utils::keccak256(bytes))
}

/// A transaction without nonce and fees: whom it calls (`None` creates a contract) and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) to: Option<Address>,
    pub(crate) data: Vec<u8>,
}

impl Call {
    /// How soon it wants its place among what one key sends.
    #[must_use]
    pub fn urgency(&self) -> Urgency {
        match self {
            Self::CloseLease { .. } | Self::StartReclaim { .. } => Urgency::Close,
            Self::Finalize { .. } | Self::Withdraw { .. } => Urgency::Money,
            _ => Urgency::Ordinary,
        }
    }

    /// One payload for calls of one kind that [`crate::sender`] found to go together.
    pub(crate) fn payload_of_all(calls: &[&Self], contracts: &Contracts) -> Payload {
        if let [call] = calls {
            return call.payload(contracts);
        }
        let (mut bids, mut leases) = (Vec::new(), Vec::new());
        for call in calls {
            match call {
                Self::PlaceBid { order, provider, spec_hash, rate, expires_at, reclaim, min_bill } => {
                    bids.push(market::BidRequest {
                        order_id: order.to_word().0,
                        provider: h160(*provider),
                        spec_hash: spec_hash.0,
                        rate: rate.scaled(),
                        expires_at: *expires_at,
                        reclaim: *reclaim,
                        min_bill: *min_bill,
                    });
                }
                Self::Withdraw { leases: more } => leases.extend(more),
                _ => unreachable!("other calls do not go together"),
            }
        }
        if bids.is_empty() {
            return Self::Withdraw { leases }.payload(contracts);
        }
        Payload { to: Some(contracts.market), data: market::PlaceBidsCall { bids }.encode() }
    }

    pub(crate) fn payload(&self, contracts: &Contracts) -> Payload {
        let to_market = |data| Payload { to: Some(contracts.market), data };
        let to_registry = |data| Payload { to: Some(contracts.registry), data };
        let to_token = |data| Payload { to: Some(contracts.token), data };
        let word = |id: &OrderId| id.to_word().0;
        match self {
            Self::CreateDeployment { dseq, manifest_hash } => to_market(
                market::CreateDeploymentCall { dseq: *dseq, manifest_hash: manifest_hash.0 }.encode(),
            ),
            Self::UpdateManifest { account, manifest_hash } => to_market(
                market::UpdateManifestCall {
                    account_id: account.to_word().0,
                    manifest_hash: manifest_hash.0,
                }
                .encode(),
            ),
            Self::ApproveMarket { amount } => to_token(approve(contracts.market, *amount)),
            Self::ApproveRegistry { amount } => to_token(approve(contracts.registry, *amount)),
            Self::Deposit { account, amount } => to_market(
                market::DepositCall { account_id: account.to_word().0, amount: amount.0.into() }.encode(),
            ),
            Self::Refund { account, amount } => {
                let amount = amount.map_or(U256::MAX, |amount| amount.0.into());
                to_market(market::RefundCall { account_id: account.to_word().0, amount }.encode())
            }
            Self::CreateOrder { order, terms, spec } => to_market(
                market::CreateOrderCall {
                    order_id: word(order),
                    terms: market::OrderTerms {
                        resource_class: terms.class.0,
                        max_rate: terms.max_rate.scaled(),
                        expires_at: terms.expires_at,
                        min_reclaim: terms.min_reclaim,
                        req_bits: 0,
                        kind: 0,
                        mode: u8::from(terms.award.is_some()),
                        deadline: terms.award.unwrap_or_default(),
                    },
                    spec: spec.clone().into_bytes().into(),
                }
                .encode(),
            ),
            Self::CancelOrder { order } => {
                to_market(market::CancelOrderCall { order_id: word(order) }.encode())
            }
            Self::ExpireOrder { order } => {
                to_market(market::ExpireOrderCall { order_id: word(order) }.encode())
            }
            Self::AcceptBid { order, provider, terms_hash } => to_market(
                market::AcceptBidCall {
                    order_id: word(order),
                    provider: h160(*provider),
                    terms_hash: terms_hash.0,
                }
                .encode(),
            ),
            Self::Award { order } => to_market(market::AwardCall { order_id: word(order) }.encode()),
            Self::PlaceBid { order, provider, spec_hash, rate, expires_at, reclaim, min_bill } => to_market(
                market::PlaceBidCall {
                    order_id: word(order),
                    provider: h160(*provider),
                    spec_hash: spec_hash.0,
                    rate: rate.scaled(),
                    expires_at: *expires_at,
                    reclaim: *reclaim,
                    min_bill: *min_bill,
                }
                .encode(),
            ),
            Self::WithdrawBid { order, provider } => to_market(
                market::WithdrawBidCall { order_id: word(order), provider: h160(*provider) }.encode(),
            ),
            Self::StartReclaim { lease, reason } => {
                to_market(market::StartReclaimCall { order_id: word(lease), reason: reason.0 }.encode())
            }
            Self::CloseLease { lease, reason } => {
                to_market(market::CloseLeaseCall { order_id: word(lease), reason: reason.0 }.encode())
            }
            Self::Finalize { lease } => to_market(market::FinalizeCall { order_id: word(lease) }.encode()),
            Self::Withdraw { leases } => {
                to_market(market::WithdrawCall { order_ids: leases.iter().map(word).collect() }.encode())
            }
            Self::Register { operator, payout, uri, spki_hash, stake } => to_registry(
                provider_registry::RegisterCall {
                    operator: h160(*operator),
                    payout: h160(*payout),
                    uri: uri.clone(),
                    spki_hash: spki_hash.0,
                    stake: stake.0.into(),
                }
                .encode(),
            ),
            Self::AddStake { provider, amount } => to_registry(
                provider_registry::AddStakeCall { owner: h160(*provider), amount: amount.0.into() }.encode(),
            ),
            Self::RequestUnstake => to_registry(provider_registry::RequestUnstakeCall.encode()),
            Self::Unstake { amount } => {
                to_registry(provider_registry::UnstakeCall { amount: amount.0.into() }.encode())
            }
            Self::SetOperator { operator } => {
                to_registry(provider_registry::SetOperatorCall { operator: h160(*operator) }.encode())
            }
            Self::SetPayout { payout } => {
                to_registry(provider_registry::SetPayoutCall { payout: h160(*payout) }.encode())
            }
            Self::Retire => to_registry(provider_registry::RetireCall.encode()),
            Self::RotateCert { spki_hash, old_until } => to_registry(
                provider_registry::RotateCertCall { spki_hash: spki_hash.0, old_until: *old_until }.encode(),
            ),
            Self::SetGateway { uri, spki_hash } => to_registry(
                provider_registry::SetGatewayCall { uri: uri.clone(), spki_hash: spki_hash.0 }.encode(),
            ),
            Self::SetAttributes { attrs_hash } => {
                to_registry(provider_registry::SetAttributesCall { attrs_hash: attrs_hash.0 }.encode())
            }
            Self::MintTestToken { to, amount } => {
                to_token(test_token::MintCall { to: h160(*to), amount: amount.0.into() }.encode())
            }
        }
    }
}

fn approve(spender: Address, amount: Amount) -> Vec<u8> {
    test_token::ApproveCall { spender: h160(spender), value: amount.0.into() }.encode()
}
