//! The verbs of the owner's key: register, stake, unstake, set-payout, set-operator, update, retire.
//!
//! The owner's key is cold: it is opened for one verb, on a machine of the operator's choice, and never by the daemon. A verb
//! says what the operator wants to be true; it looks at the chain, says what it will do, does it, and says how things stand.
//! Nothing is remembered here: repeated, a verb finds what is done, so that it can be stopped at any line.

mod decide;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use manifests::money::Amount;
use manifests::order::{Address, Hash};
use market::backlog;
use market::call::keccak256;
use market::deploy::AddressBook;
use market::reader::{Provider, ProviderState};
use market::sender::{MemoryJournal, Outcome, SendError, Sender, Settings};
use market::signer::{Policy, Service, ServiceUrl, Signer};
use market::wallet::Wallet;
use market::{At, Chain};
use serde::Serialize;

use self::decide::{Decision, Deed, Description, Registration, Sight, Wanted, decide};
use crate::cli::{Format, progress, say};
use crate::config::{Config, RpcUrls, parse_dollars, parse_duration};
use crate::gateway::tls::GatewayKey;
use crate::run::{open_signer, reach_chain};

/// How long what the key sent earlier may take to be mined.
const BACKLOG_LIMIT: Duration = Duration::from_secs(120);

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Become a provider: keys, gateway and stake go into the registry. Signed with the owner's key.
    Register(Box<Register>),
    /// Raise the stake to a total. Signed with the owner's key.
    Stake(Stake),
    /// Lower the stake to a total: the first call starts the seven days, one after them takes the money out, to the payout
    /// address. Signed with the owner's key.
    Unstake(Stake),
    /// Change where money goes. It counts 24 hours later. Signed with the owner's key.
    SetPayout(SetPayout),
    /// Change the key that bids and closes, at once. Signed with the owner's key.
    SetOperator(SetOperator),
    /// Change what the registry says of the gateway: address, key, attributes. Signed with the owner's key.
    Update(Box<Update>),
    /// Take no new leases, for ever, and begin to free the stake. Signed with the owner's key.
    Retire(Retire),
}

/// With which key, and on which market.
#[derive(Debug, Args)]
struct Signing {
    /// The owner's key file (Web3 Secret Storage, version 3).
    #[arg(long, value_name = "FILE", env = "BERTH_OWNER_KEYSTORE")]
    keystore: Option<PathBuf>,
    /// File with the key file's password.
    #[arg(long, value_name = "FILE", env = "BERTH_OWNER_PASSWORD_FILE")]
    password_file: Option<PathBuf>,
    /// web3signer that holds the owner's key, instead of a key file; with --owner.
    #[arg(long, value_name = "URL", env = "BERTH_OWNER_REMOTE", conflicts_with_all = ["keystore", "password_file"], requires = "owner")]
    remote: Option<ServiceUrl>,
    /// PEM file of the certificate authorities that the web3signer's certificate is judged by, alone.
    #[arg(long, value_name = "FILE", env = "BERTH_OWNER_REMOTE_AUTHORITIES", requires = "remote")]
    remote_authorities: Option<PathBuf>,
    /// The owner's account: the verb ends before it does anything if the key is that of another.
    #[arg(long, value_name = "ADDRESS", env = "BERTH_OWNER")]
    owner: Option<Address>,
    /// JSON-RPC endpoint of the chain, instead of the configuration's.
    #[arg(long, value_name = "URL")]
    rpc: Option<String>,
    /// Addresses file of the market, instead of the configuration's chain and market. With --rpc, no configuration is needed.
    #[arg(long, value_name = "FILE")]
    addresses: Option<PathBuf>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// How to print.
    #[arg(long, short, value_enum, default_value = "text")]
    output: Format,
}

/// `register`
#[derive(Debug, Args)]
pub struct Register {
    /// The key that bids and closes; that of the configuration's wallet if left out.
    #[arg(long, value_name = "ADDRESS")]
    operator: Option<Address>,
    /// Where money goes: what leases earn, and stake that is taken out. A purse that you can reach without this machine.
    #[arg(long, value_name = "ADDRESS")]
    payout: Address,
    /// Where tenants reach the gateway; the configuration's gateway.publicUri if left out.
    #[arg(long)]
    uri: Option<String>,
    /// SHA-256 of the gateway's public key, as `berth-provider check` says it; that of gateway.tlsDir if left out.
    #[arg(long, value_name = "HASH")]
    spki: Option<Hash>,
    /// JSON document with the provider's attributes, for auditors: the registry keeps its hash, by a transaction of its own.
    #[arg(long, value_name = "FILE")]
    attributes: Option<PathBuf>,
    /// Dollars of stake, taken from the owner's account. The more of it, the more leases can run at once.
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    stake: Amount,
    #[command(flatten)]
    signing: Signing,
}

/// `stake` and `unstake`
#[derive(Debug, Args)]
pub struct Stake {
    /// The total, in dollars, that the stake shall have.
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    to: Amount,
    #[command(flatten)]
    signing: Signing,
}

/// `set-payout`
#[derive(Debug, Args)]
pub struct SetPayout {
    /// Where money goes.
    payout: Address,
    #[command(flatten)]
    signing: Signing,
}

/// `set-operator`
#[derive(Debug, Args)]
pub struct SetOperator {
    /// The key that bids and closes.
    operator: Address,
    #[command(flatten)]
    signing: Signing,
}

/// `update`
#[derive(Debug, Args)]
#[group(id = "what", multiple = true)]
pub struct Update {
    /// Where tenants reach the gateway.
    #[arg(long)]
    uri: Option<String>,
    /// SHA-256 of the gateway's public key.
    #[arg(long, value_name = "HASH")]
    spki: Option<Hash>,
    /// How long the key before counts as well, at most 7 days (168h); left out, it is revoked at once.
    #[arg(long, value_name = "TIME", value_parser = time, requires = "spki")]
    overlap: Option<Duration>,
    /// JSON document with the provider's attributes, of which the registry keeps the hash.
    #[arg(long, value_name = "FILE")]
    attributes: Option<PathBuf>,
    #[command(flatten)]
    signing: Signing,
}

/// `retire`
#[derive(Debug, Args)]
pub struct Retire {
    /// Yes, for ever.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    signing: Signing,
}

/// What was done, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    provider: Address,
    /// Transactions in order; `transaction` is missing in a dry run.
    steps: Vec<Step>,
    note: Option<String>,
    /// The record as it is now; missing where there is none.
    record: Option<Standing>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Standing {
    state: &'static str,
    operator: Address,
    payout: Address,
    next_payout: Option<Address>,
    /// Missing where the endpoint's logs do not reach back to when it was said.
    uri: Option<String>,
    spki_hash: Hash,
    attrs_hash: Hash,
    /// Token units.
    stake: Amount,
    /// Token units.
    locked: Amount,
    unbond_at: Option<u64>,
    active_leases: u32,
}

/// Does what the verb says.
///
/// # Errors
/// Why it was not done, as a chain of sentences for the operator; what was mined before stays.
pub async fn run(verb: Verb, config: &Path) -> anyhow::Result<ExitCode> {
    let config = || Config::load(config);
    let (signing, wanted) = match verb {
        Verb::Register(register) => {
            let Register { operator, payout, uri, spki, attributes, stake, signing } = *register;
            let registration = Registration {
                operator: match operator {
                    Some(operator) => operator,
                    None => {
                        let config = or_named(config(), "--operator")?;
                        match config.wallet.address {
                            Some(address) => address,
                            None => open_signer(&config).await?.address(),
                        }
                    }
                },
                payout,
                attrs_hash: attributes.as_deref().map(attributes_hash).transpose()?,
                uri: uri.map_or_else(
                    || Ok(or_named(config(), "--uri")?.gateway.public_uri),
                    Ok::<_, anyhow::Error>,
                )?,
                spki_hash: match spki {
                    Some(spki) => spki,
                    None => {
                        let folder = or_named(config(), "--spki")?.gateway.tls_dir;
                        GatewayKey::load_or_create(&folder)?.spki_hash()
                    }
                },
                stake,
            };
            (signing, Wanted::Registered(registration))
        }
        Verb::Stake(Stake { to, signing }) => (signing, Wanted::StakeOf(to)),
        Verb::Unstake(Stake { to, signing }) => (signing, Wanted::StakeDownTo(to)),
        Verb::SetPayout(SetPayout { payout, signing }) => (signing, Wanted::PaidTo(payout)),
        Verb::SetOperator(SetOperator { operator, signing }) => (signing, Wanted::OperatedBy(operator)),
        Verb::Update(update) => {
            let Update { uri, spki, overlap, attributes, signing } = *update;
            ensure!(
                uri.is_some() || spki.is_some() || attributes.is_some(),
                "nothing to update: name --uri, --spki or --attributes"
            );
            let attrs_hash = attributes.as_deref().map(attributes_hash).transpose()?;
            let overlap = overlap.map_or(0, |overlap| overlap.as_secs());
            (signing, Wanted::Described(Description { attrs_hash, uri, spki_hash: spki, overlap }))
        }
        Verb::Retire(Retire { yes, signing }) => {
            let sure = yes || signing.dry_run;
            (signing, Wanted::Retired { sure })
        }
    };
    let owner = Owner::open(&signing, config).await?;
    let report = owner.bring_about(&wanted, signing.dry_run).await?;
    tell(&report, &signing)?;
    Ok(ExitCode::SUCCESS)
}

/// How long a signing service may take to sign for the owner, who may have to approve it there.
const SIGNING: Duration = Duration::from_secs(60);

/// The owner's key at a market.
struct Owner {
    chain: Chain,
    signer: Signer,
}

impl Owner {
    async fn open(signing: &Signing, config: impl Fn() -> anyhow::Result<Config>) -> anyhow::Result<Self> {
        let Signing { rpc, addresses, .. } = signing;
        ensure!(
            signing.remote.is_some() || (signing.keystore.is_some() && signing.password_file.is_some()),
            "this is signed with the owner's key, and the configuration has only the operator's: name the owner's with \
             --keystore and --password-file, or with --remote and --owner"
        );
        let (chain, provider) = match (rpc, addresses) {
            (Some(rpc), Some(addresses)) => (AddressBook::load(addresses)?.connect(rpc).await?, None),
            (rpc, addresses) => {
                let mut config =
                    config().context("name --rpc and --addresses, or a configuration that can be used")?;
                let provider = Some(config.provider);
                if let Some(rpc) = rpc {
                    config.chain.rpc = RpcUrls::new(rpc);
                }
                let chain = match addresses {
                    Some(addresses) => {
                        AddressBook::load(addresses)?.connect(config.chain.rpc.reveal()).await?
                    }
                    None => reach_chain(&config).await?,
                };
                (chain, provider)
            }
        };
        let signer = owner_key(signing).await.context("the owner's key cannot be used")?;
        let key = signer.address();
        let file = signing.keystore.as_ref().map(|file| file.display().to_string());
        let place = file.unwrap_or_else(|| signer.place());
        if chain.provider(key, At::Latest).await?.is_none() {
            let whose = chain.providers().await?.into_iter().find(|record| record.operator == key);
            if let Some(Provider { address: whose, .. }) = whose {
                bail!(
                    "{place} is the operator key of provider {whose}: this is signed with the owner's key, {whose} itself"
                );
            }
        }
        if let Some(provider) = provider.filter(|provider| *provider != key) {
            bail!(
                "{place} is the key of {key}, but the configuration's provider is {provider}: use that owner's key, or correct \
                 the configuration"
            );
        }
        let signer = signer.guarded(Policy::owner(chain.contracts()), &[]);
        Ok(Self { chain, signer })
    }

    async fn bring_about(&self, wanted: &Wanted, dry_run: bool) -> anyhow::Result<Report> {
        let provider = self.signer.address();
        backlog::clear(&self.chain, provider, BACKLOG_LIMIT).await?;
        let (steps, note) = match decide(wanted, &self.look().await?)? {
            Decision::Rest(sentence) => (Vec::new(), Some(sentence)),
            Decision::Act(deeds, note) if dry_run => {
                let outlook = |deed: Deed| Step { what: deed.what, transaction: None, block: None };
                (deeds.into_iter().map(outlook).collect(), note)
            }
            Decision::Act(deeds, note) => {
                for deed in &deeds {
                    progress(&format!("will {}", deed.what));
                }
                (self.send(deeds).await?, note)
            }
        };
        let (record, uri) = self.record().await?;
        let record = record.map(|record| standing(&record, uri));
        Ok(Report { provider, steps, note, record })
    }

    /// The owner's record, and where it said that its gateway is.
    async fn record(&self) -> anyhow::Result<(Option<Provider>, Option<String>)> {
        let record = self.chain.provider(self.signer.address(), At::Latest).await?;
        let uri = match &record {
            Some(record) => self.chain.gateway_uri(record).await?,
            None => None,
        };
        Ok((record, uri))
    }

    async fn look(&self) -> anyhow::Result<Sight> {
        let (chain, owner) = (&self.chain, self.signer.address());
        let (record, uri) = self.record().await?;
        Ok(Sight {
            owner,
            now: chain.head().await?.timestamp,
            record,
            uri,
            tokens: chain.token_balance(owner, At::Latest).await?,
            allowance: chain.token_allowance(owner, chain.contracts().registry, At::Latest).await?,
            min_stake: chain.params(At::Latest).await?.min_stake,
        })
    }

    async fn send(&self, deeds: Vec<Deed>) -> anyhow::Result<Vec<Step>> {
        let key = self.signer.address();
        ensure!(
            self.chain.gas_balance(key).await? > 0,
            "{key} has nothing to pay for transactions: send it some of the chain's own coin"
        );
        let sender = Sender::new(
            self.chain.clone(),
            self.signer.clone(),
            MemoryJournal::default(),
            Settings::default(),
        );
        let mut steps = Vec::new();
        for Deed { what, call } in deeds {
            let failed = || format!("failed to {what}");
            match sender.send(&what, &call).await.with_context(failed)? {
                Outcome::Mined { hash, block, .. } => {
                    progress(&format!("done in block {block}: {what}"));
                    steps.push(Step { what, transaction: Some(hash), block: Some(block) });
                }
                Outcome::Reverted { error, .. } => {
                    return Err(SendError::Refused(error)).with_context(failed);
                }
            }
        }
        Ok(steps)
    }
}

/// The owner's key, from a file or at a signing service, as it was named.
async fn owner_key(signing: &Signing) -> anyhow::Result<Signer> {
    let Signing { keystore, password_file, remote, remote_authorities, owner, .. } = signing;
    if let Some(url) = remote {
        let owner = owner.context("name its account with --owner")?;
        return Ok(Service::connect(url, owner, remote_authorities.as_deref(), SIGNING).await?.into());
    }
    let (Some(keystore), Some(password_file)) = (keystore, password_file) else {
        bail!("name it with --keystore and --password-file")
    };
    let wallet = Wallet::open(keystore, password_file)?;
    if let Some(owner) = owner.filter(|owner| *owner != wallet.address()) {
        bail!(
            "{} is the key of {}, but --owner is {owner}: name the right file, or correct --owner",
            keystore.display(),
            wallet.address()
        );
    }
    Ok(wallet.into())
}

fn standing(record: &Provider, uri: Option<String>) -> Standing {
    let Provider {
        address: _,
        state,
        operator,
        payout,
        next_payout,
        attrs_hash,
        gateway_at: _,
        spki_hash,
        old_spki: _,
        stake,
        locked,
        unbond_at,
        active_leases,
    } = *record;
    let state = match state {
        ProviderState::Active => "active",
        ProviderState::Retired => "retired",
    };
    let next_payout = next_payout.map(|(next, _)| next);
    Standing {
        state,
        operator,
        payout,
        next_payout,
        uri,
        spki_hash,
        attrs_hash,
        stake,
        locked,
        unbond_at,
        active_leases,
    }
}

fn tell(report: &Report, signing: &Signing) -> anyhow::Result<()> {
    if signing.output == Format::Json {
        say(&serde_json::to_string_pretty(report).context("failed to write the report as JSON")?);
        return Ok(());
    }
    if signing.dry_run {
        for step in &report.steps {
            say(&format!("would {}", step.what));
        }
    }
    if let Some(note) = &report.note {
        say(note);
    }
    if let Some(Standing { state, operator, payout, uri, stake, locked, active_leases, .. }) = &report.record
    {
        let uri = uri.as_deref().unwrap_or("(which the endpoint's logs do not say any more)");
        say(&format!(
            "provider {} is {state}: stake {stake}, of which {locked} is locked; {active_leases} leases; operator {operator}, payout \
             {payout}, gateway {uri}",
            report.provider
        ));
    }
    Ok(())
}

/// The configuration, where something that was not named has to come from it.
fn or_named(config: anyhow::Result<Config>, option: &str) -> anyhow::Result<Config> {
    config.with_context(|| format!("{option} was not named and is not to be had from the configuration"))
}

/// keccak256 of the attributes document as it is, byte by byte.
fn attributes_hash(file: &Path) -> anyhow::Result<Hash> {
    let text = std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
    serde_json::from_slice::<serde::de::IgnoredAny>(&text)
        .with_context(|| format!("{} is not JSON", file.display()))?;
    Ok(keccak256(&text))
}

fn dollars(text: &str) -> Result<Amount, String> {
    parse_dollars(text)
        .ok_or_else(|| format!("\"{text}\" is not an amount of dollars: write it as 5 or 2.50"))
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("\"{text}\" is not a time: write it as 30m or 24h"))
}
