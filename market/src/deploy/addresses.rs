//! The addresses file: what a deployment put where, and from what. `berth market deploy` writes it; every other part reads
//! it instead of being told addresses one by one.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use manifests::order::{Address, Hash};
use serde::{Deserialize, Serialize};

use super::Plan;
use crate::call::keccak256;
use crate::chain::{Chain, ConnectError, Contracts};
use crate::rpc::RpcError;

/// The form of the file.
const VERSION: u32 = 1;

/// One of something for each contract of a market.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts<T> {
    /// The settlement token.
    pub token: T,
    /// The owner of the parameters: what governance wants waits in it.
    pub timelock: T,
    /// The numbers that governance may turn.
    pub params: T,
    /// Who sells, and with what stake.
    pub registry: T,
    /// Who vouches for whom.
    pub auditors: T,
    /// Orders, bids, leases and escrow.
    pub market: T,
    /// What the market's storage means now.
    pub lens: T,
}

impl<T> Parts<T> {
    /// Each with its name in the file.
    pub fn named(&self) -> [(&'static str, &T); 7] {
        let Self { token, timelock, params, registry, auditors, market, lens } = self;
        [
            ("token", token),
            ("timelock", timelock),
            ("params", params),
            ("registry", registry),
            ("auditors", auditors),
            ("market", market),
            ("lens", lens),
        ]
    }
}

/// A contract on chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Placed {
    /// Where it is.
    pub address: Address,
    /// keccak256 of the code there.
    pub code_hash: Hash,
}

/// A market on a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AddressBook {
    /// The form of the file: 1.
    version: u32,
    /// The chain.
    pub chain_id: u64,
    /// The block from which on there is anything to follow.
    pub block: u64,
    /// What lies where.
    pub contracts: Parts<Placed>,
    /// The key that deployed; it has no power left.
    pub deployer: Address,
    /// What was asked for; governance may have changed what it can since.
    pub plan: Plan,
}

/// Why an addresses file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum AddressesError {
    /// The file could not be read or written.
    #[error("the addresses file {}: {problem}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        problem: std::io::Error,
    },
    /// The file is none.
    #[error("{} is no addresses file of this version: {problem}; `berth market deploy` writes one", path.display())]
    Form {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// It is about another chain.
    #[error(
        "the addresses are those of chain {book}, but the endpoint is on chain {have}: name the addresses file of that chain, or an endpoint of this one"
    )]
    OtherChain {
        /// The chain in the file.
        book: u64,
        /// The chain of the endpoint.
        have: u64,
    },
    /// There is other code than the file says.
    #[error(
        "the {part} at {address} has not the code that the addresses file says ({have} instead of {want}): the chain was started anew or the file is another deployment's; check with `berth market verify`, or deploy again"
    )]
    OtherCode {
        /// Which contract.
        part: &'static str,
        /// Where.
        address: Address,
        /// keccak256 of the code that is there.
        have: Hash,
        /// keccak256 of the code that the file says.
        want: Hash,
    },
    /// The market belongs to other contracts than the file says.
    #[error(
        "the market at {market} does not work with the contracts that the addresses file says: the file was mixed from two deployments; write it anew with `berth market deploy`"
    )]
    OtherParts {
        /// The market.
        market: Address,
    },
    /// The file has the lens of another version.
    #[error(
        "the lens in the addresses file is that of another version, and not at {lens} as this one's is: run `berth market deploy` of this version with the options of then, which puts its lens there and writes the file anew"
    )]
    OtherLens {
        /// Where the lens of this version belongs.
        lens: Address,
    },
    /// The endpoint did not answer.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

impl AddressBook {
    pub(super) fn new(
        chain_id: u64,
        block: u64,
        contracts: Parts<Placed>,
        deployer: Address,
        plan: Plan,
    ) -> Self {
        Self { version: VERSION, chain_id, block, contracts, deployer, plan }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`AddressesError::File`] and [`AddressesError::Form`].
    pub fn load(path: &Path) -> Result<Self, AddressesError> {
        let text = std::fs::read_to_string(path)
            .map_err(|problem| AddressesError::File { path: path.to_owned(), problem })?;
        let form = |problem: String| AddressesError::Form { path: path.to_owned(), problem };
        let book: Self = serde_json::from_str(&text).map_err(|error| form(error.to_string()))?;
        if book.version != VERSION {
            return Err(form(format!("its version is {}, not {VERSION}", book.version)));
        }
        Ok(book)
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// [`AddressesError::File`].
    pub fn save(&self, path: &Path) -> Result<(), AddressesError> {
        let failed = |problem| AddressesError::File { path: path.to_owned(), problem };
        let mut text = serde_json::to_string_pretty(self).expect("numbers and texts are JSON");
        text.push('\n');
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let part = path.with_file_name(name);
        let written = std::fs::File::create(&part)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&part, path));
        written.map_err(failed)
    }

    /// The addresses that a client works with.
    #[must_use]
    pub fn contracts(&self) -> Contracts {
        let Parts { token, params, registry, market, lens, .. } = self.contracts;
        Contracts {
            market: market.address,
            lens: lens.address,
            registry: registry.address,
            params: params.address,
            token: token.address,
        }
    }

    /// Connects to the market through the endpoints at `rpc_url`, and makes sure that the chain, the code of every contract and
    /// the contracts that the market works with are those of the file.
    ///
    /// # Errors
    /// [`AddressesError`], in sentences that say what to do.
    pub async fn connect(&self, rpc_url: &str) -> Result<Chain, AddressesError> {
        let Chain { rpc, .. } = Chain::bare(rpc_url, self.chain_id).await.map_err(|error| match error {
            ConnectError::WrongChain { want, have, .. } => AddressesError::OtherChain { book: want, have },
            ConnectError::Rpc(error) => AddressesError::Rpc(error),
            // Only asked of a market.
            ConnectError::NoCode { .. } | ConnectError::NotAMarket { .. } | ConnectError::NoLens { .. } => {
                AddressesError::OtherParts { market: self.contracts.market.address }
            }
        })?;
        let chain = Chain::of(rpc, self.chain_id, self.contracts());
        for (part, Placed { address, code_hash }) in self.contracts.named() {
            let have = keccak256(&chain.rpc.code(*address).await?);
            if have != *code_hash {
                return Err(AddressesError::OtherCode { part, address: *address, have, want: *code_hash });
            }
        }
        let market = self.contracts.market.address;
        let have = crate::reader::contracts_of(&chain.rpc, market).await?;
        let ours = self.contracts();
        // Where the lens is follows from the market and this version, not from the market alone.
        if have != (Contracts { lens: have.lens, ..ours }) {
            return Err(AddressesError::OtherParts { market });
        }
        if have.lens != ours.lens {
            return Err(AddressesError::OtherLens { lens: have.lens });
        }
        Ok(chain)
    }
}
