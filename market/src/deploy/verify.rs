//! Whether what lies on a chain is what its addresses file says: the code against the committed artefacts, who works with
//! whom, and who has which power.

use std::collections::BTreeSet;

use ethers_contract::EthEvent;
use ethers_core::abi::AbiEncode;
use ethers_core::types::{H160, Log, U256};
use manifests::order::{Address, Hash};
use serde::Serialize;
use serde_json::json;

use super::{AddressBook, Parts, Placed, Plan, artefact, creations};
use crate::bindings::{auditor_registry, market_lens, params, provider_registry, timelock};
use crate::call::keccak256;
use crate::chain::{Chain, Contracts};
use crate::convert;
use crate::node::At;
use crate::reader::ReadError;
use crate::rpc::Rpc;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub what: &'static str,
    /// How it is, or what is wrong with it.
    pub verdict: Result<String, String>,
}

/// Looks at everything that an addresses file says, through this endpoint.
///
/// # Errors
/// [`ReadError`] when the chain could not be read; whatever is wrong on the chain is a finding.
pub async fn verify(rpc: Rpc, book: &AddressBook) -> Result<Vec<Finding>, ReadError> {
    let have = rpc.chain_id().await?;
    if have != book.chain_id {
        let sentence =
            format!("the endpoint is on chain {have}, the addresses are those of chain {}", book.chain_id);
        return Ok(vec![Finding { what: "chain", verdict: Err(sentence) }]);
    }
    let chain = Chain::of(rpc, book.chain_id, book.contracts());
    let mut findings = vec![Finding { what: "chain", verdict: Ok(have.to_string()) }];
    findings.extend(code(&chain, book).await?);
    // What other code answers means nothing.
    if findings.iter().any(|finding| finding.verdict.is_err()) {
        return Ok(findings);
    }
    findings.push(Finding { what: "parts", verdict: parts(&chain, book).await? });
    findings.push(Finding { what: "governance", verdict: governance(&chain, book).await? });
    findings.push(Finding { what: "guardian", verdict: guardian(&chain, book).await? });
    findings.push(Finding { what: "parameters", verdict: parameters(&chain, book).await? });
    Ok(findings)
}

/// Whether the contracts of a market are those of this version, by their code alone: all that can be told without the market's
/// addresses file.
///
/// # Errors
/// [`ReadError`] when the chain could not be read.
pub async fn verify_code(chain: &Chain) -> Result<Vec<Finding>, ReadError> {
    let Contracts { market, lens, registry, params, token: _ } = chain.contracts();
    let ours = [
        ("market", market, artefact::market()),
        ("lens", lens, artefact::lens()),
        ("registry", registry, artefact::registry()),
        ("params", params, artefact::params()),
    ];
    let mut findings = Vec::new();
    for (what, address, artefact) in ours {
        let code = chain.rpc.code(address).await?;
        let hash = keccak256(&code);
        let verdict = if artefact.is_code(&code) {
            Ok(format!("{address} has the code of this version, with hash {hash}"))
        } else {
            Err(format!(
                "the code at {address}, with hash {hash}, is not the {what} of this version: use the version that it was deployed with"
            ))
        };
        findings.push(Finding { what, verdict });
    }
    Ok(findings)
}

/// The code of each contract: it is there, it is what the file says, it is that of this version, and it was created with the
/// arguments of the plan, since its address follows from them.
async fn code(chain: &Chain, book: &AddressBook) -> Result<Vec<Finding>, ReadError> {
    let (creations, places) = creations(&book.plan);
    let registry = artefact::registry();
    let mut findings = Vec::new();
    for ((what, placed), (_, place)) in book.contracts.named().into_iter().zip(places.named()) {
        let Placed { address, code_hash } = *placed;
        let code = chain.rpc.code(address).await?;
        let created = creations.iter().find(|creation| creation.part == what);
        let ours = match created {
            Some(creation) => Some(&creation.artefact),
            // The market creates it.
            None => (what == "registry").then_some(&registry),
        };
        let verdict = if code.is_empty() {
            Err(format!(
                "there is no contract at {address}: the chain was started anew, or the file is another deployment's"
            ))
        } else if keccak256(&code) != code_hash {
            Err(format!(
                "the code at {address} is not the one that the file says: it is another deployment's"
            ))
        } else if ours.is_some_and(|artefact| !artefact.is_code(&code)) {
            Err(format!(
                "the code at {address} is not the {what} of this version: use the version that it was deployed with"
            ))
        } else if address != *place {
            Err(format!(
                "it is at {address}, but the plan in the file puts it at {place}: the file was edited, or written by another version"
            ))
        } else if ours.is_some() {
            Ok(format!("{address} has the code of this version"))
        } else {
            Ok(format!("{address} was there before"))
        };
        findings.push(Finding { what, verdict });
    }
    Ok(findings)
}

/// Who works with whom.
async fn parts(chain: &Chain, book: &AddressBook) -> Result<Result<String, String>, ReadError> {
    let Parts { token, params, registry, auditors, market, lens, .. } = book.contracts;
    let contracts = crate::reader::contracts_of(&chain.rpc, market.address).await?;
    let wired = [
        ("the market's token", contracts.token, token),
        ("the market's registry", contracts.registry, registry),
        ("the market's parameters", contracts.params, params),
        (
            "the registry's token",
            address(chain, "token", registry, provider_registry::TokenCall).await?,
            token,
        ),
        ("the lens's market", address(chain, "market", lens, market_lens::MarketCall).await?, market),
        (
            "the registry's market",
            address(chain, "market", registry, provider_registry::MarketCall).await?,
            market,
        ),
        (
            "the auditors' registry",
            address(chain, "registry", auditors, auditor_registry::RegistryCall).await?,
            registry,
        ),
        (
            "the auditors' parameters",
            address(chain, "params", auditors, auditor_registry::ParamsCall).await?,
            params,
        ),
    ];
    Ok(match wired.iter().find(|(_, have, want)| *have != want.address) {
        Some((what, have, want)) => Err(format!("{what} is {have}, not {}", want.address)),
        None => Ok("all work with each other and with nobody else".to_owned()),
    })
}

/// Who owns the parameters, and who holds which role of the timelock: exactly those of the plan, or else governance changed
/// itself, which is told.
async fn governance(chain: &Chain, book: &AddressBook) -> Result<Result<String, String>, ReadError> {
    let Parts { params, timelock: lock, .. } = book.contracts;
    let owner = address(chain, "owner", params, params::OwnerCall).await?;
    if owner != lock.address {
        return Ok(Err(format!("the owner of the parameters is {owner}, not the timelock {}", lock.address)));
    }
    let (delay,): (U256,) =
        chain.view("getMinDelay", lock.address, timelock::GetMinDelayCall, At::Latest).await?;
    let holders = Holders::read(chain, lock.address).await?;
    let Plan { delay: planned, proposers, executors, .. } = &book.plan;
    let set = |addresses: &[Address]| addresses.iter().copied().collect::<BTreeSet<_>>();
    let wrong = [
        ("administers the timelock", &holders.admins, set(&[lock.address])),
        ("may propose", &holders.proposers, set(proposers)),
        ("may cancel", &holders.cancellers, set(proposers)),
        ("may execute", &holders.executors, set(executors)),
    ]
    .into_iter()
    .find_map(|(may, have, want)| {
        let stranger =
            have.difference(&want).next().map(|who| format!("{who} {may}, which is not of the plan"));
        stranger.or_else(|| want.difference(have).next().map(|who| format!("{who} no longer {may}")))
    });
    Ok(match wrong {
        Some(sentence) => Err(sentence),
        None if delay != U256::from(*planned) => {
            Err(format!("the timelock's delay is {delay} s, not {planned} s"))
        }
        None => Ok(format!("the timelock owns the parameters; changes wait {delay} s")),
    })
}

async fn guardian(chain: &Chain, book: &AddressBook) -> Result<Result<String, String>, ReadError> {
    let params = book.contracts.params;
    let Plan { guardian, treasury, .. } = book.plan;
    let guards = address(chain, "guardian", params, params::GuardianCall).await?;
    let earns = address(chain, "treasury", params, params::TreasuryCall).await?;
    let since = |before: Address, now: Address| {
        if before == now { String::new() } else { format!(" (changed by governance since; it was {before})") }
    };
    Ok(Ok(format!(
        "{guards}{} may pause, fees go to {earns}{}",
        since(guardian, guards),
        since(treasury, earns)
    )))
}

async fn parameters(chain: &Chain, _: &AddressBook) -> Result<Result<String, String>, ReadError> {
    let values = chain.params(At::Latest).await?;
    Ok(Ok(format!(
        "fee {} bps, bond of {} s, runway of {} s, orders of {} to {} s, stake of at least {}",
        values.fee_bps,
        values.bond_secs,
        values.min_runway,
        values.min_order_duration,
        values.max_order_duration,
        values.min_stake
    )))
}

async fn address<C: AbiEncode>(
    chain: &Chain,
    view: &'static str,
    of: Placed,
    call: C,
) -> Result<Address, ReadError> {
    let (address,): (H160,) = chain.view(view, of.address, call, At::Latest).await?;
    Ok(convert::address(address))
}

/// Who holds the roles of a timelock, as its log tells: a contract cannot be asked for everybody.
#[derive(Debug, Default)]
struct Holders {
    admins: BTreeSet<Address>,
    proposers: BTreeSet<Address>,
    cancellers: BTreeSet<Address>,
    executors: BTreeSet<Address>,
}

impl Holders {
    async fn read(chain: &Chain, lock: Address) -> Result<Self, ReadError> {
        let (granted, revoked) =
            (timelock::RoleGrantedFilter::signature(), timelock::RoleRevokedFilter::signature());
        let filter = json!({
            "address": lock, "fromBlock": "0x0", "toBlock": "latest", "topics": [[granted, revoked]]
        });
        let logs: Vec<Log> = chain.rpc.logs(&filter).await?;
        let roles =
            ["PROPOSER_ROLE", "CANCELLER_ROLE", "EXECUTOR_ROLE"].map(|name| keccak256(name.as_bytes()));
        let mut holders = Self::default();
        for log in &logs {
            let [kind, role, who, ..] = log.topics.as_slice() else { continue };
            let of_role = match convert::hash(*role) {
                role if role == Hash::default() => &mut holders.admins,
                role if role == roles[0] => &mut holders.proposers,
                role if role == roles[1] => &mut holders.cancellers,
                role if role == roles[2] => &mut holders.executors,
                _ => continue,
            };
            let who = convert::address((*who).into());
            if *kind == granted {
                of_role.insert(who)
            } else {
                of_role.remove(&who)
            };
        }
        Ok(holders)
    }
}
