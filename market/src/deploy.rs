//! Puts the contracts on a chain: for local chains and tests, and as the one description of the order in which it is done.

use ethers_core::abi::{AbiEncode, Token, encode};
use manifests::order::Address;

use crate::bindings::{
    MARKET_BYTECODE, PARAMS_BYTECODE, PROVIDERREGISTRY_BYTECODE, TESTTOKEN_BYTECODE, provider_registry,
};
use crate::call::Payload;
use crate::chain::{Chain, ConnectError, Contracts};
use crate::convert::h160;
use crate::revert::MarketError;
use crate::sender::{MemoryJournal, Outcome, SendError, Sender, Settings};
use crate::wallet::Wallet;

/// Why the contracts are not on the chain.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The chain is not the one that is wanted.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A transaction did not go through.
    #[error("failed to {step}")]
    Send {
        /// What was to be done.
        step: &'static str,
        /// Why it was not.
        #[source]
        source: SendError,
    },
}

/// Deploys a test token, the parameters, the registry and the market, and tells the registry of the market. `wallet` pays,
/// owns the parameters and receives the fees.
///
/// # Errors
/// [`DeployError`]; what was deployed so far stays, unused.
pub async fn deploy(rpc_url: &str, chain_id: u64, wallet: &Wallet) -> Result<Contracts, DeployError> {
    let bare = Chain::bare(rpc_url, chain_id).await?;
    let sender = Sender::new(bare, wallet.clone(), MemoryJournal::default(), Settings::default());
    let owner = Token::Address(h160(wallet.address()));
    let at = |address: Address| Token::Address(h160(address));
    let token = create(&sender, "deploy the test token", &TESTTOKEN_BYTECODE, &[]).await?;
    let params = create(&sender, "deploy the parameters", &PARAMS_BYTECODE, &[owner.clone(), owner.clone(), owner]).await?;
    let registry =
        create(&sender, "deploy the registry", &PROVIDERREGISTRY_BYTECODE, &[at(token), at(params)]).await?;
    let market =
        create(&sender, "deploy the market", &MARKET_BYTECODE, &[at(token), at(registry), at(params)])
            .await?;
    let data = provider_registry::SetMarketCall { market: h160(market) }.encode();
    send(&sender, "tell the registry of the market", &Payload { to: Some(registry), data }).await?;
    Ok(Contracts { market, registry, params, token })
}

async fn create(
    sender: &Sender<MemoryJournal>,
    step: &'static str,
    code: &[u8],
    arguments: &[Token],
) -> Result<Address, DeployError> {
    let mut data = code.to_vec();
    data.extend(encode(arguments));
    let created = send(sender, step, &Payload { to: None, data }).await?;
    let nowhere = MarketError::Unknown { data: "0x".to_owned() };
    created.ok_or(DeployError::Send { step, source: SendError::Refused(nowhere) })
}

async fn send(
    sender: &Sender<MemoryJournal>,
    step: &'static str,
    payload: &Payload,
) -> Result<Option<Address>, DeployError> {
    let failed = |source| DeployError::Send { step, source };
    match sender.send_payload(step, payload).await.map_err(failed)? {
        Outcome::Mined { created, .. } => Ok(created),
        Outcome::Reverted { error, .. } => Err(failed(SendError::Refused(error))),
    }
}
