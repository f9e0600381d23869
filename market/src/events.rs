//! Logs of the Market and the registry, told in the words of [`manifests::order`].

use ethers_contract::EthLogDecode as _;
use ethers_core::abi::{Error as AbiError, RawLog};
use ethers_core::types::Log;
use manifests::order::{AccountId, Bid, CloseReason, Fact, Hash, Lease, LogRef, Order, OrderId, OrderKind};

use crate::bindings::{MarketEvents as M, ProviderRegistryEvents as R};
use crate::chain::Contracts;
use crate::convert::{OutOfRange, address, amount, rate};

/// A fact and where it stands in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The log that told it.
    pub at: LogRef,
    /// What it told.
    pub fact: Fact,
}

/// A log of our contracts that does not say what it must. The endpoint garbled it, or the contracts are other ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("log {log_index} of block {block} cannot be read: {problem}")]
pub struct EventError {
    block: u64,
    log_index: u64,
    problem: String,
}

/// What a log tells. `None` for contracts that are not ours and events that have no [`Fact`].
pub(crate) fn read(log: &Log, contracts: &Contracts) -> Result<Option<Logged>, EventError> {
    let (Some(block), Some(block_hash), Some(log_index)) = (log.block_number, log.block_hash, log.log_index)
    else {
        return Err(EventError {
            block: 0,
            log_index: 0,
            problem: "it does not say where it stands".to_owned(),
        });
    };
    let at = LogRef { block: block.as_u64(), block_hash: Hash(block_hash.0), log_index: log_index.low_u64() };
    let raw = RawLog { topics: log.topics.clone(), data: log.data.to_vec() };
    let emitter = address(log.address);
    let fact = if emitter == contracts.market {
        market_fact(&raw)
    } else if emitter == contracts.registry {
        registry_fact(&raw)
    } else {
        Ok(None)
    };
    match fact {
        Ok(fact) => Ok(fact.map(|fact| Logged { at, fact })),
        Err(problem) => Err(EventError { block: at.block, log_index: at.log_index, problem }),
    }
}

fn market_fact(raw: &RawLog) -> Result<Option<Fact>, String> {
    match M::decode_log(raw) {
        Ok(event) => from_market(event).map_err(|error| error.to_string()),
        Err(error) => unknown_or_broken(raw, crate::bindings::MARKET_ABI.events(), &error),
    }
}

fn registry_fact(raw: &RawLog) -> Result<Option<Fact>, String> {
    match R::decode_log(raw) {
        Ok(event) => Ok(from_registry(event)),
        Err(error) => unknown_or_broken(raw, crate::bindings::PROVIDERREGISTRY_ABI.events(), &error),
    }
}

/// An event that the ABI does not have is none of our business; one that it has must be readable.
fn unknown_or_broken<'a>(
    raw: &RawLog,
    mut known: impl Iterator<Item = &'a ethers_core::abi::Event>,
    error: &AbiError,
) -> Result<Option<Fact>, String> {
    match raw.topics.first() {
        Some(topic) if known.any(|event| event.signature() == *topic) => Err(error.to_string()),
        _ => Ok(None),
    }
}

fn from_market(event: M) -> Result<Option<Fact>, OutOfRange> {
    let order = |word: [u8; 32]| OrderId::from_word(Hash(word));
    let account = |word: [u8; 32]| AccountId::from_word(Hash(word));
    Ok(Some(match event {
        M::DeploymentCreatedFilter(e) => {
            Fact::DeploymentCreated { account: account(e.account_id), manifest_hash: Hash(e.manifest_hash) }
        }
        M::ManifestChangedFilter(e) => {
            Fact::ManifestChanged { account: account(e.account_id), manifest_hash: Hash(e.manifest_hash) }
        }
        M::OrderCreatedFilter(e) => Fact::OrderCreated(Order {
            id: order(e.order_id),
            class: Hash(e.resource_class),
            spec_hash: Hash(e.spec_hash),
            max_rate: rate(e.max_rate)?,
            expires_at: e.expires_at,
            min_reclaim: e.min_reclaim,
            req_bits: e.req_bits,
            kind: if e.kind == 0 { OrderKind::Service } else { return Err(OutOfRange) },
            award: match e.mode {
                0 => None,
                1 => Some(e.deadline),
                _ => return Err(OutOfRange),
            },
            spec: e.spec.to_vec(),
        }),
        M::OrderClosedFilter(e) => {
            Fact::OrderClosed { order: order(e.order_id), reason: CloseReason(e.reason) }
        }
        M::BidPlacedFilter(e) => Fact::BidPlaced(Bid {
            order: order(e.order_id),
            provider: address(e.provider),
            rate: rate(e.rate)?,
            expires_at: e.expires_at,
            reclaim: e.reclaim,
            min_bill: e.min_bill,
        }),
        M::BidWithdrawnFilter(e) => {
            Fact::BidWithdrawn { order: order(e.order_id), provider: address(e.provider) }
        }
        M::LeaseCreatedFilter(e) => Fact::LeaseCreated(Lease {
            id: order(e.order_id),
            provider: address(e.provider),
            rate: rate(e.rate)?,
            started_at: e.started_at,
            fee_bps: e.fee_bps,
            funded_until: e.funded_until,
        }),
        M::ReclaimStartedFilter(e) => Fact::ReclaimStarted {
            lease: order(e.order_id),
            provider: address(e.provider),
            deadline: e.deadline,
            reason: CloseReason(e.reason),
        },
        M::LeaseClosedFilter(e) => Fact::LeaseClosed {
            lease: order(e.order_id),
            provider: address(e.provider),
            reason: CloseReason(e.reason),
            ended_at: e.ended_at,
            penalty: amount(e.penalty)?,
        },
        M::WithdrawnFilter(e) => Fact::Withdrawn {
            lease: order(e.order_id),
            provider: address(e.provider),
            net: amount(e.net)?,
            fee: amount(e.fee)?,
            up_to: e.up_to,
        },
        M::FundsChangedFilter(e) => Fact::FundsChanged {
            account: account(e.account_id),
            delta: i128::try_from(e.delta).map_err(|_| OutOfRange)?,
            funded_until: e.funded_until,
        },
        // Of nobody's order, bid, lease or account; and a bid that was not placed is none.
        M::BidRefusedFilter(_)
        | M::Eip712DomainChangedFilter(_)
        | M::FeesCollectedFilter(_)
        | M::NoncesInvalidatedFilter(_)
        | M::ParamsSyncedFilter(_)
        | M::PauseChangedFilter(_)
        | M::PauseRearmedFilter(_) => return Ok(None),
    }))
}

fn from_registry(event: R) -> Option<Fact> {
    match event {
        R::ProviderRegisteredFilter(e) => Some(Fact::ProviderChanged {
            provider: address(e.provider),
            operator: Some(address(e.operator)),
            uri: Some(e.uri),
            spki_hash: Some(Hash(e.spki_hash)),
        }),
        R::OperatorChangedFilter(e) => Some(Fact::ProviderChanged {
            provider: address(e.provider),
            operator: Some(address(e.operator)),
            uri: None,
            spki_hash: None,
        }),
        R::GatewayChangedFilter(e) => Some(Fact::ProviderChanged {
            provider: address(e.provider),
            operator: None,
            uri: Some(e.uri),
            spki_hash: Some(Hash(e.spki_hash)),
        }),
        R::CertRotatedFilter(e) => Some(Fact::ProviderChanged {
            provider: address(e.provider),
            operator: None,
            uri: None,
            spki_hash: Some(Hash(e.spki_hash)),
        }),
        R::AttributesChangedFilter(_)
        | R::CapabilitiesChangedFilter(_)
        | R::PayoutChangedFilter(_)
        | R::ProviderRetiredFilter(_)
        | R::SlashedFilter(_)
        | R::StakeChangedFilter(_) => None,
    }
}

/// The account that a fact is about, directly or through an order; `None` for what providers say of themselves.
pub(crate) fn account_of(fact: &Fact) -> Option<AccountId> {
    match fact {
        Fact::DeploymentCreated { account, .. }
        | Fact::ManifestChanged { account, .. }
        | Fact::FundsChanged { account, .. } => Some(*account),
        Fact::OrderCreated(order) => Some(order.id.account()),
        Fact::BidPlaced(bid) => Some(bid.order.account()),
        Fact::LeaseCreated(lease) => Some(lease.id.account()),
        Fact::OrderClosed { order, .. } | Fact::BidWithdrawn { order, .. } => Some(order.account()),
        Fact::ReclaimStarted { lease, .. }
        | Fact::LeaseClosed { lease, .. }
        | Fact::Withdrawn { lease, .. } => Some(lease.account()),
        Fact::ProviderChanged { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use ethers_core::types::{H160, H256};
    use manifests::order::Address;

    use super::*;

    const CONTRACTS: Contracts = Contracts {
        market: Address([1; 20]),
        lens: Address([5; 20]),
        registry: Address([2; 20]),
        params: Address([3; 20]),
        token: Address([4; 20]),
    };

    fn log(emitter: Address, signature: &str, topics: &[H256], data: &[u8]) -> Log {
        let first = H256(ethers_core::utils::keccak256(signature));
        Log {
            address: H160(emitter.0),
            topics: std::iter::once(first).chain(topics.iter().copied()).collect(),
            data: data.to_vec().into(),
            block_hash: Some(H256([5; 32])),
            block_number: Some(6.into()),
            log_index: Some(7.into()),
            ..Log::default()
        }
    }

    fn word(number: u8) -> [u8; 32] {
        let mut word = [0; 32];
        word[31] = number;
        word
    }

    const WITHDRAWN: &str = "Withdrawn(bytes32,address,uint256,uint256,uint40)";

    #[test]
    fn a_log_becomes_a_fact_with_its_place() {
        let order = OrderId { tenant: Address([9; 20]), dseq: 1, gseq: 2, oseq: 3 };
        let topics = [H256(order.to_word().0), H256(word(8))];
        let data = [word(10), word(1), word(20)].concat();
        let logged = read(&log(CONTRACTS.market, WITHDRAWN, &topics, &data), &CONTRACTS).expect("read");
        let mut provider = Address::default();
        provider.0[19] = 8;
        let fact = Fact::Withdrawn {
            lease: order,
            provider,
            net: manifests::money::Amount(10),
            fee: manifests::money::Amount(1),
            up_to: 20,
        };
        let at = LogRef { block: 6, block_hash: Hash([5; 32]), log_index: 7 };
        assert_eq!(logged, Some(Logged { at, fact: fact.clone() }));
        assert_eq!(account_of(&fact), Some(order.account()));
    }

    #[test]
    fn what_is_not_ours_or_not_known_is_passed_over_and_what_is_broken_is_not() {
        let topics = [H256(word(1)), H256(word(8))];
        let data = [word(10), word(1), word(20)].concat();
        let stranger = log(Address([7; 20]), WITHDRAWN, &topics, &data);
        assert_eq!(read(&stranger, &CONTRACTS), Ok(None));
        assert_eq!(read(&log(CONTRACTS.market, "Later(uint256)", &[], &data), &CONTRACTS), Ok(None));
        assert_eq!(
            read(&log(CONTRACTS.registry, "ProviderRetired(address)", &topics[..1], &[]), &CONTRACTS),
            Ok(None)
        );
        let short = log(CONTRACTS.market, WITHDRAWN, &topics, &data[..64]);
        let error = read(&short, &CONTRACTS).expect_err("a word is missing");
        assert!(error.to_string().starts_with("log 7 of block 6 cannot be read"), "{error}");
        let too_much = [[0xff; 32], word(1), word(20)].concat();
        read(&log(CONTRACTS.market, WITHDRAWN, &topics, &too_much), &CONTRACTS).expect_err("beyond 128 bits");
        let mut pending = log(CONTRACTS.market, WITHDRAWN, &topics, &data);
        pending.block_hash = None;
        read(&pending, &CONTRACTS).expect_err("it stands nowhere");
    }
}
