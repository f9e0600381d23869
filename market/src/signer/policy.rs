//! What a key is for: which contracts it may call, with which functions, and how much gas money it may promise in a day.
//!
//! A policy is a list of what is allowed; everything else is denied, whoever asks. It knows selectors, not meanings: what is
//! allowed may still be refused by the contract.

use std::fmt;

use ethers_contract::EthCall;
use ethers_core::types::{Eip1559TransactionRequest, NameOrAddress};
use manifests::order::Address;

use super::daily::DAY;
use crate::bindings::{market, provider_registry, test_token};
use crate::chain::Contracts;

/// Four bytes of a selector, and the word of an argument.
const SELECTOR: usize = 4;
const WORD: usize = 32;

/// How much gas money a key may promise in a UTC day, counted as gas limit × highest fee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DailyGas {
    /// The most, in wei.
    pub limit_wei: u128,
    /// How much of it is kept for ending leases and collecting money, in wei.
    pub reserve_wei: u128,
}

/// Why a policy does not let its key sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The address is not one that this key calls.
    #[error(
        "the key {key} is for {role} and calls no {to}: check the market's addresses, or use another key"
    )]
    Address {
        /// The account.
        key: Address,
        /// What the key is for.
        role: Role,
        /// The address, or what stands in its place.
        to: String,
    },
    /// The function is not one that this key calls there.
    #[error(
        "the key {key} is for {role} and does not call the function {selector} of {to}: use the key whose role that is"
    )]
    Function {
        /// The account.
        key: Address,
        /// What the key is for.
        role: Role,
        /// The contract.
        to: Address,
        /// The selector as hex; empty if there was none.
        selector: String,
    },
    /// The transaction would move native coin.
    #[error("the key {key} is for {role} and sends no coin along: move coin with a wallet")]
    Value {
        /// The account.
        key: Address,
        /// What the key is for.
        role: Role,
    },
    /// It would let somebody else move tokens.
    #[error("the key {key} is for {role} and lets nobody but the registry {registry} move its tokens")]
    Spender {
        /// The account.
        key: Address,
        /// What the key is for.
        role: Role,
        /// The one that may.
        registry: Address,
    },
    /// It signs no such typed data.
    #[error("the key {key} is for {role} and signs no typed data of {name}: use the key whose role that is")]
    TypedData {
        /// The account.
        key: Address,
        /// What the key is for.
        role: Role,
        /// The name of the domain and the type.
        name: String,
    },
    /// The day's gas money is used up.
    #[error(
        "the key {key} may promise {limit_wei} wei of gas today{}, of which {spent_wei} are promised, and this takes {more_wei}: \
         it goes on at unix second {again_at}; or raise wallet.dailyGas", kept(*reserved)
    )]
    DailyGas {
        /// The account.
        key: Address,
        /// What is promised today, without this.
        spent_wei: u128,
        /// What this may cost.
        more_wei: u128,
        /// What may be promised for this kind of call.
        limit_wei: u128,
        /// Whether more is kept for ending leases and collecting money.
        reserved: bool,
        /// When the next UTC day begins.
        again_at: u64,
    },
}

fn kept(reserved: bool) -> &'static str {
    if reserved { " beside what is kept for closing and withdrawing" } else { "" }
}

impl Denial {
    /// Whether it passes by itself.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::DailyGas { .. })
    }
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Bids, closes and withdraws.
    Operator,
    /// Registers, stakes, and names the others.
    Owner,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operator => "bidding, closing and withdrawing",
            Self::Owner => "the registration and the stake of a provider",
        })
    }
}

/// What a key may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    role: Role,
    registry: Address,
    allowed: Vec<Allowed>,
    daily_gas: Option<DailyGas>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Allowed {
    to: Address,
    selector: [u8; SELECTOR],
    /// Whether the day's reserve is for this.
    may_use_reserve: bool,
}

impl Policy {
    /// The key of a provider's daemon on this market: it bids, takes bids back, gives notice, closes, finalizes, awards what it
    /// won, and withdraws.
    #[must_use]
    pub fn operator(contracts: Contracts, daily_gas: Option<DailyGas>) -> Self {
        let to_market =
            |selector, may_use_reserve| Allowed { to: contracts.market, selector, may_use_reserve };
        let allowed = vec![
            to_market(market::PlaceBidCall::selector(), false),
            to_market(market::PlaceBidsCall::selector(), false),
            to_market(market::AwardCall::selector(), false),
            to_market(market::WithdrawBidCall::selector(), true),
            to_market(market::StartReclaimCall::selector(), true),
            to_market(market::CloseLeaseCall::selector(), true),
            to_market(market::FinalizeCall::selector(), true),
            to_market(market::WithdrawCall::selector(), true),
        ];
        Self { role: Role::Operator, registry: contracts.registry, allowed, daily_gas }
    }

    /// The key of a provider's owner on this market: the registry's calls about the provider itself, and the allowance that a
    /// stake is taken from.
    #[must_use]
    pub fn owner(contracts: Contracts) -> Self {
        let to_registry = |selector| Allowed { to: contracts.registry, selector, may_use_reserve: true };
        let mut allowed: Vec<Allowed> = [
            provider_registry::RegisterCall::selector(),
            provider_registry::AddStakeCall::selector(),
            provider_registry::RequestUnstakeCall::selector(),
            provider_registry::UnstakeCall::selector(),
            provider_registry::SetOperatorCall::selector(),
            provider_registry::SetPayoutCall::selector(),
            provider_registry::RetireCall::selector(),
            provider_registry::RotateCertCall::selector(),
            provider_registry::SetGatewayCall::selector(),
            provider_registry::SetAttributesCall::selector(),
        ]
        .map(to_registry)
        .into();
        let selector = test_token::ApproveCall::selector();
        allowed.push(Allowed { to: contracts.token, selector, may_use_reserve: true });
        Self { role: Role::Owner, registry: contracts.registry, allowed, daily_gas: None }
    }

    /// The unix second in which the UTC day of `now` began.
    #[must_use]
    pub fn day_began(now: u64) -> u64 {
        now - now % DAY
    }

    pub(super) fn daily_gas(&self) -> Option<DailyGas> {
        self.daily_gas
    }

    /// Whether the transaction is one that the key is for; if so, whether it may use the day's reserve.
    pub(super) fn admit(
        &self,
        key: Address,
        transaction: &Eip1559TransactionRequest,
    ) -> Result<bool, Denial> {
        let role = self.role;
        if transaction.value.is_some_and(|value| !value.is_zero()) {
            return Err(Denial::Value { key, role });
        }
        let to = match &transaction.to {
            Some(NameOrAddress::Address(to)) => Address(to.0),
            Some(NameOrAddress::Name(name)) => {
                return Err(Denial::Address { key, role, to: name.clone() });
            }
            None => return Err(Denial::Address { key, role, to: "new contract into being".to_owned() }),
        };
        let data = transaction.data.as_deref().unwrap_or_default();
        // An empty transaction to ourselves only takes a nonce.
        if to == key && data.is_empty() {
            return Ok(true);
        }
        if self.allowed.iter().all(|allowed| allowed.to != to) {
            return Err(Denial::Address { key, role, to: to.to_string() });
        }
        let selector = data.get(..SELECTOR).unwrap_or(data);
        let Some(allowed) =
            self.allowed.iter().find(|allowed| allowed.to == to && allowed.selector == *selector)
        else {
            let selector = format!("0x{}", hex::encode(selector));
            return Err(Denial::Function { key, role, to, selector });
        };
        if allowed.selector == test_token::ApproveCall::selector() {
            let mut spender = [0; WORD];
            spender[WORD - self.registry.0.len()..].copy_from_slice(&self.registry.0);
            if data.get(SELECTOR..SELECTOR + WORD) != Some(spender.as_slice()) {
                return Err(Denial::Spender { key, role, registry: self.registry });
            }
        }
        Ok(allowed.may_use_reserve)
    }

    /// Nothing that a provider's keys are for is signed as typed data.
    pub(super) fn admit_typed_data(&self, key: Address, name: &str) -> Result<(), Denial> {
        Err(Denial::TypedData { key, role: self.role, name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use manifests::money::{Amount, Rate};
    use manifests::order::{CloseReason, Hash, OrderId};

    use super::*;
    use crate::call::Call;
    use crate::convert::h160;

    const KEY: Address = Address([9; 20]);
    const CONTRACTS: Contracts = Contracts {
        market: Address([1; 20]),
        lens: Address([2; 20]),
        registry: Address([3; 20]),
        params: Address([4; 20]),
        token: Address([5; 20]),
    };

    fn calling(to: Address, data: Vec<u8>) -> Eip1559TransactionRequest {
        Eip1559TransactionRequest::new().to(h160(to)).data(data).value(0)
    }

    fn saying(call: &Call) -> Eip1559TransactionRequest {
        let payload = call.payload(&CONTRACTS);
        calling(payload.to.expect("a contract"), payload.data)
    }

    fn order() -> OrderId {
        OrderId { tenant: Address([7; 20]), dseq: 1, gseq: 1, oseq: 1 }
    }

    fn bid() -> Call {
        let rate = Rate::new(1).expect("small");
        Call::PlaceBid {
            order: order(),
            provider: KEY,
            spec_hash: Hash([0; 32]),
            rate,
            expires_at: 1,
            reclaim: 0,
            min_bill: 0,
        }
    }

    fn operators() -> Vec<(Call, bool)> {
        let (lease, reason) = (order(), CloseReason::MANIFEST_TIMEOUT);
        vec![
            (bid(), false),
            (Call::WithdrawBid { order: order(), provider: KEY }, true),
            (Call::StartReclaim { lease, reason }, true),
            (Call::CloseLease { lease, reason }, true),
            (Call::Finalize { lease }, true),
            (Call::Withdraw { leases: vec![lease] }, true),
        ]
    }

    fn owners() -> Vec<Call> {
        let (hash, amount, uri) = (Hash([0; 32]), Amount(1), "https://a.example".to_owned());
        let (operator, payout) = (Address([8; 20]), Address([8; 20]));
        vec![
            Call::ApproveRegistry { amount },
            Call::Register { operator, payout, uri: uri.clone(), spki_hash: hash, stake: amount },
            Call::AddStake { provider: KEY, amount },
            Call::RequestUnstake,
            Call::Unstake { amount },
            Call::SetOperator { operator },
            Call::SetPayout { payout },
            Call::Retire,
            Call::RotateCert { spki_hash: hash, old_until: 0 },
            Call::SetGateway { uri, spki_hash: hash },
            Call::SetAttributes { attrs_hash: hash },
        ]
    }

    #[test]
    fn each_key_signs_what_it_is_for_and_nothing_that_the_other_is_for() {
        let (operator, owner) = (Policy::operator(CONTRACTS, None), Policy::owner(CONTRACTS));
        for (call, may_use_reserve) in operators() {
            assert_eq!(operator.admit(KEY, &saying(&call)), Ok(may_use_reserve), "{call:?}");
            owner.admit(KEY, &saying(&call)).expect_err("not the owner's");
        }
        for call in owners() {
            assert_eq!(owner.admit(KEY, &saying(&call)), Ok(true), "{call:?}");
            operator.admit(KEY, &saying(&call)).expect_err("not the operator's");
        }
        let several = calling(CONTRACTS.market, market::PlaceBidsCall::selector().to_vec());
        assert_eq!(operator.admit(KEY, &several), Ok(false), "several bids in one are bids");
        let wrapped = calling(CONTRACTS.market, market::MulticallCall::selector().to_vec());
        operator.admit(KEY, &wrapped).expect_err("whatever may be in it");
    }

    #[test]
    fn a_key_moves_no_coin_calls_no_stranger_makes_no_contract_and_signs_no_typed_data() {
        let policy = Policy::operator(CONTRACTS, None);
        let denied =
            |transaction: &Eip1559TransactionRequest| policy.admit(KEY, transaction).expect_err("denied");
        assert!(matches!(denied(&saying(&bid()).value(1)), Denial::Value { .. }));
        let stranger = calling(Address([6; 20]), saying(&bid()).data.expect("some").to_vec());
        assert!(matches!(denied(&stranger), Denial::Address { .. }));
        assert!(matches!(denied(&Eip1559TransactionRequest::new().data(vec![1])), Denial::Address { .. }));
        let approve = calling(CONTRACTS.token, test_token::ApproveCall::selector().to_vec());
        assert!(matches!(denied(&approve), Denial::Address { .. }));
        for data in [vec![], vec![1, 2, 3], vec![1, 2, 3, 4]] {
            assert!(matches!(denied(&calling(CONTRACTS.market, data)), Denial::Function { .. }));
        }
        assert!(matches!(policy.admit_typed_data(KEY, "Quote"), Err(Denial::TypedData { .. })));
    }

    #[test]
    fn an_empty_transaction_to_itself_takes_a_nonce_and_any_other_is_denied() {
        let policy = Policy::operator(CONTRACTS, None);
        assert_eq!(policy.admit(KEY, &calling(KEY, vec![])), Ok(true));
        for wrong in [calling(KEY, vec![1]), calling(KEY, vec![]).value(1), calling(Address([6; 20]), vec![])]
        {
            policy.admit(KEY, &wrong).expect_err("more than a nonce");
        }
    }

    #[test]
    fn the_owner_lets_nobody_but_the_registry_move_its_tokens() {
        let policy = Policy::owner(CONTRACTS);
        let to_market = saying(&Call::ApproveMarket { amount: Amount(1) });
        assert!(matches!(policy.admit(KEY, &to_market), Err(Denial::Spender { .. })));
        let cut = calling(CONTRACTS.token, test_token::ApproveCall::selector().to_vec());
        assert!(matches!(policy.admit(KEY, &cut), Err(Denial::Spender { .. })));
    }

    #[test]
    fn a_denial_names_key_rule_and_remedy() {
        let policy = Policy::operator(CONTRACTS, None);
        let told = policy.admit(KEY, &saying(&Call::Retire)).expect_err("denied").to_string();
        assert!(told.contains(&KEY.to_string()) && told.contains(&CONTRACTS.registry.to_string()), "{told}");
        assert!(told.contains("check the market's addresses"), "{told}");
        assert_eq!(Policy::day_began(86_400 * 3 + 5), 86_400 * 3);
    }
}
