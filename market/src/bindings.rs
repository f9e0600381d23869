//! The contracts as the compiler knows them, generated from the artefacts that are checked in.

use ethers_contract::abigen;

abigen!(Market, "./contracts/artifacts/Market.json");
abigen!(MarketLens, "./contracts/artifacts/MarketLens.json");
abigen!(ProviderRegistry, "./contracts/artifacts/ProviderRegistry.json");
abigen!(AuditorRegistry, "./contracts/artifacts/AuditorRegistry.json");
abigen!(Timelock, "./contracts/artifacts/Timelock.json");
abigen!(Params, "./contracts/artifacts/Params.json");
abigen!(TestToken, "./contracts/artifacts/TestToken.json");

// The macro does not watch its files; these lines make the compiler do it.
const _: &[u8] = include_bytes!("../contracts/artifacts/Market.json");
const _: &[u8] = include_bytes!("../contracts/artifacts/MarketLens.json");
const _: &[u8] = include_bytes!("../contracts/artifacts/ProviderRegistry.json");
const _: &[u8] = include_bytes!("../contracts/artifacts/AuditorRegistry.json");
const _: &[u8] = include_bytes!("../contracts/artifacts/Timelock.json");
const _: &[u8] = include_bytes!("../contracts/artifacts/Params.json");
const _: &[u8] = include_bytes!("../contracts/artifacts/TestToken.json");
