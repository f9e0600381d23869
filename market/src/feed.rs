//! Price feeds on the chain: contracts that tell what something is worth, in the interface that oracle networks agree on.

use ethers_core::abi::AbiDecode;
use ethers_core::types::{I256, U256};
use manifests::order::Address;

use crate::chain::Chain;
use crate::node::{At, Probe};
use crate::reader::ReadError;

/// What a feed told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The worth times ten to the power of `decimals`; above zero.
    pub answer: u128,
    /// How many decimals the answer has.
    pub decimals: u8,
    /// Unix seconds of the round in which it was told.
    pub at: u64,
}

/// `latestRoundData()` and `decimals()`.
const LATEST_ROUND: [u8; 4] = [0xfe, 0xaf, 0x96, 0x8c];
const DECIMALS: [u8; 4] = [0x31, 0x3c, 0xe5, 0x67];

impl Chain {
    /// What the feed at an address told last.
    ///
    /// # Errors
    /// [`ReadError`]; also when there is no such contract, no round was finished yet, or the worth is not above zero.
    pub async fn feed(&self, feed: Address) -> Result<Told, ReadError> {
        let ask = async |data: &[u8]| {
            self.rpc.eth_call(Probe { from: None, to: Some(feed), data }, At::Latest).await
        };
        read(&ask(&LATEST_ROUND).await?, &ask(&DECIMALS).await?)
    }
}

fn read(round: &[u8], decimals: &[u8]) -> Result<Told, ReadError> {
    let garbled = |problem: &str| ReadError::Garbled { view: "the price feed", problem: problem.to_owned() };
    // Round, answer, begun, told, and the round in which it was computed.
    let (_, answer, _, at, _) = <(U256, I256, U256, U256, U256)>::decode(round)
        .map_err(|_| garbled("it is no round of a feed; check the contract's address"))?;
    let decimals =
        u8::decode(decimals).map_err(|_| garbled("it has no decimals; check the contract's address"))?;
    let answer = u128::try_from(answer).ok().filter(|answer| *answer > 0);
    let answer = answer.ok_or_else(|| garbled("the worth is not above zero"))?;
    let at =
        u64::try_from(at).ok().filter(|at| *at > 0).ok_or_else(|| garbled("no round was finished yet"))?;
    Ok(Told { answer, decimals, at })
}

#[cfg(test)]
mod tests {
    use ethers_core::abi::AbiEncode;

    use super::*;

    #[test]
    fn a_round_is_read_and_one_without_a_worth_or_an_end_is_refused() {
        let round = |answer: i64, at: u64| {
            let word = U256::from(7);
            (word, I256::from(answer), word, U256::from(at), word).encode()
        };
        let decimals = 8u8.encode();
        let told = Told { answer: 108_000_000, decimals: 8, at: 1000 };
        assert_eq!(read(&round(108_000_000, 1000), &decimals), Ok(told));
        for (round, decimals, problem) in [
            (round(0, 1000), decimals.as_slice(), "not above zero"),
            (round(-5, 1000), &decimals, "not above zero"),
            (round(5, 0), &decimals, "no round was finished"),
            (Vec::new(), &decimals, "check the contract's address"),
            (round(5, 5), &[], "no decimals"),
        ] {
            let error = read(&round, decimals).expect_err(problem).to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn the_questions_are_those_of_the_interface() {
        let selector = |signature: &str| ethers_core::utils::id(signature);
        assert_eq!((selector("latestRoundData()"), selector("decimals()")), (LATEST_ROUND, DECIMALS));
    }
}
