//! The contracts as they were compiled: what creates them, and what then lies on chain.

use ethers_core::types::Bytes;
use serde::Deserialize;

/// A contract of ours, from `contracts/artifacts`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Artefact {
    /// What creates it, before the constructor's arguments.
    pub(super) bytecode: Bytes,
    runtime: Runtime,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Runtime {
    code: Bytes,
    /// What the constructor writes into the code: start and length.
    immutables: Vec<(usize, usize)>,
}

macro_rules! artefacts {
    ($($name:ident = $file:literal;)+) => {
        $(pub(super) fn $name() -> Artefact {
            const TEXT: &str = include_str!(concat!("../../contracts/artifacts/", $file, ".json"));
            serde_json::from_str(TEXT).expect("the artefacts are checked against their source before they are committed")
        })+
    };
}

artefacts! {
    test_token = "TestToken";
    timelock = "Timelock";
    params = "Params";
    registry = "ProviderRegistry";
    auditors = "AuditorRegistry";
    market = "Market";
    lens = "MarketLens";
}

impl Artefact {
    /// Whether this code is the contract's, whatever its constructor wrote into it.
    pub(super) fn is_code(&self, code: &[u8]) -> bool {
        let Runtime { code: ours, immutables } = &self.runtime;
        let mut theirs = code.to_vec();
        for (start, length) in immutables {
            let Some(filled) = theirs.get_mut(*start..start + length) else { return false };
            filled.fill(0);
        }
        theirs == ours.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_compared_but_for_what_the_constructor_wrote() {
        let market = market();
        let mut code = market.runtime.code.to_vec();
        assert!(market.is_code(&code));
        let (start, length) = market.runtime.immutables[0];
        code[start..start + length].fill(7);
        assert!(market.is_code(&code), "an immutable");
        code[start + length] ^= 1;
        assert!(!market.is_code(&code), "the byte behind it");
        assert!(!market.is_code(&code[..start + 1]), "cut short");
        assert!(!market.is_code(&[]), "nothing");
        assert!(!market.is_code(&registry().runtime.code), "another contract");
    }
}
