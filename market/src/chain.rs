//! A chain with a market on it, checked before it is used.

use std::sync::Arc;

use manifests::order::Address;

use crate::observe::Observe;
use crate::rpc::{Rpc, RpcError};

/// The contracts that make up one market.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contracts {
    /// Orders, bids, leases and escrow.
    pub market: Address,
    /// What the market's storage means now: where states are read.
    pub lens: Address,
    /// Who sells, and with what stake.
    pub registry: Address,
    /// The numbers that governance may turn.
    pub params: Address,
    /// The settlement token.
    pub token: Address,
}

/// A checked connection to one market. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Chain {
    pub(crate) rpc: Rpc,
    chain_id: u64,
    contracts: Contracts,
}

/// Why a chain is not the one that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The endpoint is on another chain.
    #[error(
        "{endpoint} is on chain {have}, but chain {want} is wanted: check the RPC URL and the chain id in the configuration"
    )]
    WrongChain {
        /// Scheme, host and port of the endpoint.
        endpoint: String,
        /// The chain id that was asked for.
        want: u64,
        /// The chain id that the endpoint serves.
        have: u64,
    },
    /// Nothing is deployed at the address.
    #[error(
        "there is no contract at {address} on chain {chain_id}: check the market's address and the RPC URL in the configuration"
    )]
    NoCode {
        /// The address that was given for the market.
        address: Address,
        /// The chain.
        chain_id: u64,
    },
    /// Something is deployed there, but it does not answer as a market does.
    #[error(
        "the contract at {address} on chain {chain_id} is not a Berth market: check the market's address"
    )]
    NotAMarket {
        /// The address that was given for the market.
        address: Address,
        /// The chain.
        chain_id: u64,
    },
    /// Nobody has put a lens before the market.
    #[error(
        "there is no lens at {lens} for the market at {market} on chain {chain_id}: run `berth market deploy` of this version with the market's plan, or anybody else may"
    )]
    NoLens {
        /// Where it should be.
        lens: Address,
        /// The market.
        market: Address,
        /// The chain.
        chain_id: u64,
    },
    /// The endpoint did not answer.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

impl ConnectError {
    /// Whether trying again later may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Rpc(error) if error.is_transient())
    }
}

impl Chain {
    /// Connects to the market at `market` through the endpoints at `rpc_urls`, one URL or several with commas or spaces between
    /// them; those that do not answer now may do so later. Makes sure that the chain is the one that is wanted and that there is a market at the address.
    ///
    /// # Errors
    /// [`ConnectError`], in sentences that say what to check.
    pub async fn connect(rpc_urls: &str, chain_id: u64, market: Address) -> Result<Self, ConnectError> {
        let Self { rpc, .. } = Self::bare(rpc_urls, chain_id).await?;
        if rpc.code(market).await?.is_empty() {
            return Err(ConnectError::NoCode { address: market, chain_id });
        }
        let contracts = crate::reader::contracts_of(&rpc, market).await.map_err(|error| match error {
            RpcError::Transient { .. } | RpcError::Fatal { .. } => ConnectError::Rpc(error),
            RpcError::Reverted { .. } | RpcError::Refused { .. } => {
                ConnectError::NotAMarket { address: market, chain_id }
            }
        })?;
        if rpc.code(contracts.lens).await?.is_empty() {
            return Err(ConnectError::NoLens { lens: contracts.lens, market, chain_id });
        }
        Ok(Self { rpc, chain_id, contracts })
    }

    /// A chain on which there is no market yet: only good for putting one there.
    pub(crate) async fn bare(rpc_urls: &str, chain_id: u64) -> Result<Self, ConnectError> {
        let rpc = Rpc::new(rpc_urls)?;
        let mut failure = None;
        let mut right = 0;
        for endpoint in rpc.each() {
            match endpoint.chain_id().await {
                Ok(have) if have == chain_id => right += 1,
                // One wrong among many is as wrong: it is a mistake in the configuration.
                Ok(have) => {
                    return Err(ConnectError::WrongChain {
                        endpoint: endpoint.endpoint(),
                        want: chain_id,
                        have,
                    });
                }
                Err(error) => failure = Some(error),
            }
        }
        if let (0, Some(error)) = (right, failure) {
            return Err(error.into());
        }
        rpc.want_chain(chain_id);
        let nowhere = Address::default();
        let contracts =
            Contracts { market: nowhere, lens: nowhere, registry: nowhere, params: nowhere, token: nowhere };
        Ok(Self { rpc, chain_id, contracts })
    }

    /// A chain that somebody else checks.
    pub(crate) fn of(rpc: Rpc, chain_id: u64, contracts: Contracts) -> Self {
        Self { rpc, chain_id, contracts }
    }

    /// The chain's id.
    #[must_use]
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// The contracts of this market.
    #[must_use]
    pub fn contracts(&self) -> Contracts {
        self.contracts
    }

    /// Scheme, host and port of the endpoints.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.rpc.endpoint()
    }

    /// Every endpoint by its scheme, host and port, and whether it gave the last answer it was asked for.
    #[must_use]
    pub fn endpoints(&self) -> Vec<(String, bool)> {
        self.rpc.endpoints()
    }

    /// From now on the observer hears of every question to the chain, and of what senders on it find; the first observer stays.
    pub fn tell(&self, observer: Arc<dyn Observe>) {
        self.rpc.tell(observer);
    }

    /// The domain in which requests to gateways of this market are signed.
    #[must_use]
    pub fn gateway_domain(&self) -> crate::auth::Domain {
        crate::auth::Domain { chain_id: self.chain_id, market: self.contracts.market }
    }
}
