//! Between the words of this workspace and those of the Ethereum library, whose types stay inside this crate.

use ethers_core::types::{H160, H256, U256};
use manifests::money::{Amount, Rate};
use manifests::order::{Address, Hash};

/// A value of the chain is larger than our words for it allow; the contract cannot have said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the chain tells of a number beyond what the market can hold")]
pub(crate) struct OutOfRange;

pub(crate) fn h160(address: Address) -> H160 {
    H160(address.0)
}

pub(crate) fn address(h160: H160) -> Address {
    Address(h160.0)
}

pub(crate) fn hash(h256: H256) -> Hash {
    Hash(h256.0)
}

pub(crate) fn amount(units: U256) -> Result<Amount, OutOfRange> {
    u128::try_from(units).map(Amount).map_err(|_| OutOfRange)
}

pub(crate) fn rate(scaled: u128) -> Result<Rate, OutOfRange> {
    Rate::new(scaled).map_err(|_| OutOfRange)
}
