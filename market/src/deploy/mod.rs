//! Puts a market on a chain, and checks one that is there.
//!
//! A [`Plan`] says what is wanted. A [`Deployment`] is the plan beside the chain: each contract has its place before anything
//! is sent (the module `factory` says how), so what is left to do is seen by looking, and a deployment that was cut short is
//! taken up by doing the same again. What stands in the end is checked against the committed artefacts and the plan
//! ([`verify`]) before the [`AddressBook`] is handed out.

mod addresses;
mod artefact;
mod factory;
mod verify;

use std::fmt;
use std::time::Duration;

use ethers_core::abi::{Token, encode};
use ethers_core::utils::get_contract_address;
use manifests::order::{Address, Hash};
use serde::{Deserialize, Serialize};

pub use addresses::{AddressBook, AddressesError, Parts, Placed};
pub use verify::{Finding, verify, verify_code};

use self::artefact::Artefact;
use crate::backlog::{self, BacklogError};
use crate::call::{Payload, keccak256};
use crate::chain::{Chain, ConnectError};
use crate::convert::{self, h160};
use crate::reader::ReadError;
use crate::revert::MarketError;
use crate::rpc::RpcError;
use crate::sender::{MemoryJournal, Outcome, SendError, Sender, Settings};
use crate::wallet::Wallet;

/// How long what the deployer sent earlier may take to be mined.
const BACKLOG_LIMIT: Duration = Duration::from_secs(120);

/// What is wanted on a chain. The same plan gives the same addresses on every chain, whoever carries it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Plan {
    /// The settlement token: one that is there, or (`None`) a test token that anyone may mint.
    pub token: Option<Address>,
    /// Seconds that what governance wants has to wait; 0 only where nothing is at stake.
    pub delay: u64,
    /// Who may schedule and cancel what governance wants: a multisig.
    pub proposers: Vec<Address>,
    /// Who may carry out what waited long enough; the zero address stands for anyone.
    pub executors: Vec<Address>,
    /// Who may pause the entries of the market for a while; the zero address for nobody.
    pub guardian: Address,
    /// Who receives the market's fees.
    pub treasury: Address,
    /// Tells this deployment from others of the same plan.
    pub salt: Hash,
}

impl Plan {
    /// A market for tests and demonstrations: a test token, no delay, and one key that governs, guards and earns.
    #[must_use]
    pub fn for_tests(governor: Address) -> Self {
        Self {
            token: None,
            delay: 0,
            proposers: vec![governor],
            executors: vec![governor],
            guardian: governor,
            treasury: governor,
            salt: Hash::default(),
        }
    }
}

/// Why the contracts are not on the chain.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The chain is not the one that is wanted.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The chain could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Earlier transactions of the deployer are in the way.
    #[error(transparent)]
    Backlog(#[from] BacklogError),
    /// The plan cannot be carried out as it is.
    #[error("the plan cannot be carried out: {0}")]
    Plan(String),
    /// There is no factory on this chain.
    #[error(
        "chain {chain_id} has no deterministic deployment proxy at {at}, through which contracts are created: put the well-known one there first (github.com/Arachnid/deterministic-deployment-proxy)"
    )]
    NoFactory {
        /// The chain.
        chain_id: u64,
        /// Where it should be.
        at: Address,
    },
    /// There is something else where a contract belongs.
    #[error(
        "at {at}, where the {part} belongs, lies other code than that of this version: this cannot be on an honest chain; choose another salt, or another chain"
    )]
    OtherCode {
        /// Which contract.
        part: &'static str,
        /// Where.
        at: Address,
    },
    /// A transaction did not go through.
    #[error("failed to {step}")]
    Send {
        /// What was to be done.
        step: String,
        /// Why it was not.
        #[source]
        source: SendError,
    },
    /// Something was mined and is not there.
    #[error("the transaction to {0} was mined and nothing came of it: try again, it goes on where it was")]
    NoEffect(String),
    /// All was done, and something is not as it was planned.
    #[error("the contracts were put there, but {0}")]
    Wrong(String),
}

impl From<RpcError> for DeployError {
    fn from(error: RpcError) -> Self {
        Self::Read(error.into())
    }
}

/// Carries out a plan, whatever of it is there already.
///
/// # Errors
/// [`DeployError`]; what was done stays done, and the same again takes it up.
pub async fn deploy(
    rpc_url: &str,
    chain_id: u64,
    wallet: &Wallet,
    plan: Plan,
) -> Result<AddressBook, DeployError> {
    Deployment::look(rpc_url, chain_id, wallet.address(), plan).await?.carry_out(wallet, |_| ()).await
}

/// One contract to create, in the order in which it has to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Which, by its name in the addresses file. The market creates its registry.
    pub part: &'static str,
    /// Where it will be.
    pub at: Address,
    /// Whether the chain shows that it was done already.
    pub done: bool,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, at, .. } = self;
        write!(f, "create the {part} at {at}")?;
        if *part == "market" { write!(f, ", and with it its registry at {}", made_by(*at)) } else { Ok(()) }
    }
}

/// A contract of the plan: where it will be, and what creates it.
struct Creation {
    part: &'static str,
    at: Address,
    artefact: Artefact,
    salt: Hash,
    code: Vec<u8>,
}

/// A plan beside a chain.
pub struct Deployment {
    chain: Chain,
    deployer: Address,
    plan: Plan,
    creations: Vec<Creation>,
    places: Parts<Address>,
    steps: Vec<Step>,
}

impl fmt::Debug for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployment").field("places", &self.places).field("steps", &self.steps).finish()
    }
}

impl Deployment {
    /// Looks at what the chain has of the plan, once nothing of the deployer waits to be mined. Sends nothing.
    ///
    /// # Errors
    /// [`DeployError`], if the chain or the plan are not such that it could be carried out.
    pub async fn look(
        rpc_url: &str,
        chain_id: u64,
        deployer: Address,
        plan: Plan,
    ) -> Result<Self, DeployError> {
        check(&plan)?;
        let chain = Chain::bare(rpc_url, chain_id).await?;
        if !factory::is_code(&chain.rpc.code(factory::FACTORY).await?) {
            return Err(DeployError::NoFactory { chain_id, at: factory::FACTORY });
        }
        if let Some(token) = plan.token
            && chain.rpc.code(token).await?.is_empty()
        {
            return Err(DeployError::Plan(format!("there is no token at {token} on chain {chain_id}")));
        }
        backlog::clear(&chain, deployer, BACKLOG_LIMIT).await?;
        let (creations, places) = creations(&plan);
        let mut this = Self { chain, deployer, plan, creations, places, steps: Vec::new() };
        this.steps = this.survey().await?;
        Ok(this)
    }

    /// What has to be done, in order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Where everything is, or will be.
    #[must_use]
    pub fn places(&self) -> &Parts<Address> {
        &self.places
    }

    /// Does what is left to do, telling of each step before it is done, and checks what stands in the end.
    ///
    /// # Errors
    /// [`DeployError`]; what was done stays done, and a new look takes it up.
    pub async fn carry_out(
        self,
        wallet: &Wallet,
        mut tell: impl FnMut(&Step),
    ) -> Result<AddressBook, DeployError> {
        if wallet.address() != self.deployer {
            let sentence = format!("it is that of {}, not of {}", self.deployer, wallet.address());
            return Err(DeployError::Plan(sentence));
        }
        let sender =
            Sender::new(self.chain.clone(), wallet.clone(), MemoryJournal::default(), Settings::default());
        for (step, creation) in self.steps.iter().zip(&self.creations) {
            tell(step);
            if !step.done {
                let payload = factory::create(creation.salt, &creation.code);
                send(&sender, step.to_string(), &payload).await?;
            }
        }
        if let Some(missing) = self.survey().await?.into_iter().find(|step| !step.done) {
            return Err(DeployError::NoEffect(missing.to_string()));
        }
        let book = self.book().await?;
        let findings = verify(self.chain.rpc.clone(), &book).await?;
        match findings.into_iter().find_map(|finding| finding.verdict.err()) {
            Some(problem) => Err(DeployError::Wrong(problem)),
            None => Ok(book),
        }
    }

    /// Each step, and whether the chain shows it done.
    async fn survey(&self) -> Result<Vec<Step>, DeployError> {
        let mut steps = Vec::new();
        for Creation { part, at, artefact, .. } in &self.creations {
            let code = self.chain.rpc.code(*at).await?;
            let done = !code.is_empty();
            if done && !artefact.is_code(&code) {
                return Err(DeployError::OtherCode { part, at: *at });
            }
            steps.push(Step { part, at: *at, done });
        }
        // The market's constructor created it, as its code says.
        let Parts { registry, .. } = self.places;
        let code = self.chain.rpc.code(registry).await?;
        if !code.is_empty() && !artefact::registry().is_code(&code) {
            return Err(DeployError::OtherCode { part: "registry", at: registry });
        }
        Ok(steps)
    }

    async fn book(&self) -> Result<AddressBook, DeployError> {
        let placed = async |address: Address| -> Result<Placed, DeployError> {
            Ok(Placed { address, code_hash: keccak256(&self.chain.rpc.code(address).await?) })
        };
        let Parts { token, timelock, params, registry, auditors, market, lens } = self.places;
        let contracts = Parts {
            token: placed(token).await?,
            timelock: placed(timelock).await?,
            params: placed(params).await?,
            registry: placed(registry).await?,
            auditors: placed(auditors).await?,
            market: placed(market).await?,
            lens: placed(lens).await?,
        };
        // The parameters say their numbers as they are created, before any other contract that is followed is there.
        let block = self.chain.first_block_of(params).await?;
        let block = block.ok_or_else(|| DeployError::NoEffect("create the params".to_owned()))?;
        Ok(AddressBook::new(self.chain.chain_id(), block, contracts, self.deployer, self.plan.clone()))
    }
}

/// What no chain could make good.
fn check(plan: &Plan) -> Result<(), DeployError> {
    let wrong = |sentence: &str| Err(DeployError::Plan(sentence.to_owned()));
    if plan.proposers.is_empty() {
        return wrong("nobody may propose anything, so the parameters could never change: name a proposer");
    }
    if plan.proposers.contains(&Address::default()) {
        return wrong("the zero address is among the proposers, and nobody has its key");
    }
    if plan.executors.is_empty() {
        return wrong(
            "nobody may carry out what was proposed: name an executor, or the zero address for anyone",
        );
    }
    if plan.treasury == Address::default() {
        return wrong("the treasury is the zero address, which cannot receive");
    }
    Ok(())
}

/// Every contract of the plan in the order in which they can be created, and where everything will be.
fn creations(plan: &Plan) -> (Vec<Creation>, Parts<Address>) {
    let mut creations = Vec::new();
    let mut create = |part, artefact: Artefact, arguments: &[Token]| {
        let creation = Creation::new(part, artefact, plan.salt, arguments);
        let at = creation.at;
        creations.push(creation);
        at
    };
    let one = |address: Address| Token::Address(h160(address));
    let many = |addresses: &[Address]| Token::Array(addresses.iter().map(|address| one(*address)).collect());
    let token = plan.token.unwrap_or_else(|| create("token", artefact::test_token(), &[]));
    let delay = Token::Uint(plan.delay.into());
    let timelock =
        create("timelock", artefact::timelock(), &[delay, many(&plan.proposers), many(&plan.executors)]);
    let params =
        create("params", artefact::params(), &[one(timelock), one(plan.treasury), one(plan.guardian)]);
    let market = create("market", artefact::market(), &[one(token), one(params)]);
    let registry = made_by(market);
    let auditors = create("auditors", artefact::auditors(), &[one(params), one(registry)]);
    let lens = lens(market);
    let places = Parts { token, timelock, params, registry, auditors, market, lens: lens.at };
    creations.push(lens);
    (creations, places)
}

/// Where the first contract is that another one creates.
fn made_by(creator: Address) -> Address {
    convert::address(get_contract_address(h160(creator), 1))
}

/// The lens of a market. It has no rights and no state, so that anybody may put it there and nobody needs to be told where it
/// is: that follows from the market's address and this version's code, whatever the plan of the market.
fn lens(market: Address) -> Creation {
    Creation::new("lens", artefact::lens(), Hash::default(), &[Token::Address(h160(market))])
}

/// Where the lens of a market is.
pub(crate) fn lens_of(market: Address) -> Address {
    lens(market).at
}

impl Creation {
    fn new(part: &'static str, artefact: Artefact, salt: Hash, arguments: &[Token]) -> Self {
        let code = [artefact.bytecode.as_ref(), &encode(arguments)].concat();
        let at = factory::place(salt, &code);
        Self { part, at, artefact, salt, code }
    }
}

async fn send(sender: &Sender<MemoryJournal>, step: String, payload: &Payload) -> Result<(), DeployError> {
    let refused = |error: MarketError| SendError::Refused(error);
    match sender.send_payload(&step, payload).await {
        Ok(Outcome::Mined { .. }) => Ok(()),
        Ok(Outcome::Reverted { error, .. }) => Err(DeployError::Send { step, source: refused(error) }),
        Err(source) => Err(DeployError::Send { step, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_from_the_plan_alone() {
        let plan = Plan::for_tests(Address([1; 20]));
        let (_, places) = creations(&plan);
        assert_eq!(creations(&plan).1, places);
        let (_, other) = creations(&Plan { salt: Hash([1; 32]), ..plan.clone() });
        for ((name, here), (_, there)) in places.named().into_iter().zip(other.named()) {
            assert_ne!(here, there, "{name}");
        }
        // Another token is another market and another registry, of the same governance.
        let (_, other) = creations(&Plan { token: Some(Address([2; 20])), ..plan });
        assert_eq!(other.params, places.params);
        assert_ne!(other.market, places.market);
        assert_ne!(other.registry, places.registry);
    }

    #[test]
    fn a_plan_that_nobody_could_govern_is_refused() {
        let good = Plan::for_tests(Address([1; 20]));
        assert!(check(&good).is_ok());
        let nobody = Address::default();
        for bad in [
            Plan { proposers: Vec::new(), ..good.clone() },
            Plan { proposers: vec![nobody], ..good.clone() },
            Plan { executors: Vec::new(), ..good.clone() },
            Plan { treasury: nobody, ..good.clone() },
        ] {
            assert!(matches!(check(&bad), Err(DeployError::Plan(_))), "{bad:?}");
        }
    }
}
