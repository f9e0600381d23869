//! `berth market deploy`: from a plan in options to contracts on a chain and a file that says where.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use manifests::order::Address;
use market::call::keccak256;
use market::deploy::{AddressBook, Deployment, Plan, Step};
use market::wallet::Wallet;
use serde::Serialize;

use crate::cli::{Format, duration};
use crate::exit::Ending;
use crate::output::{json, progress, result, seconds};

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// JSON-RPC endpoint of the chain: http://host:port or https://host/path.
    #[arg(long)]
    rpc: String,
    /// The chain's id; an endpoint on another chain is refused.
    #[arg(long)]
    chain_id: u64,
    /// Key file of the deployer (Web3 Secret Storage, version 3). The key pays for the transactions and keeps no power.
    #[arg(long, value_name = "FILE")]
    keystore: PathBuf,
    /// File with the key file's password.
    #[arg(long, value_name = "FILE")]
    password_file: PathBuf,
    /// The settlement token: an ERC-20 of at most 18 decimals with EIP-2612 permit, for good.
    #[arg(
        long,
        value_name = "ADDRESS",
        required_unless_present = "test_token",
        conflicts_with = "test_token"
    )]
    token: Option<Address>,
    /// Settle in a test token that anyone may mint, and put it there.
    #[arg(long)]
    test_token: bool,
    /// Who may propose changes of the parameters, and take proposals back: a multisig. Repeatable.
    #[arg(long, value_name = "ADDRESS", required = true)]
    proposer: Vec<Address>,
    /// Who may carry out what waited its delay. Repeatable; anyone if left out.
    #[arg(long, value_name = "ADDRESS")]
    executor: Vec<Address>,
    /// How long every change waits: 48h, or less where nothing is at stake.
    #[arg(long, default_value = "48h", value_parser = duration)]
    delay: Duration,
    /// Who may pause new business for a while; nobody if left out.
    #[arg(long, value_name = "ADDRESS")]
    guardian: Option<Address>,
    /// Who receives the market's fees.
    #[arg(long, value_name = "ADDRESS")]
    treasury: Address,
    /// A word that tells this deployment from others with the same options and key.
    #[arg(long, default_value = "")]
    salt: String,
    /// Where the addresses go; a file that is there must be of this very deployment.
    #[arg(long, value_name = "FILE", default_value = "addresses.json")]
    addresses: PathBuf,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// How to print.
    #[arg(long, short, value_enum, default_value = "table")]
    output: Format,
}

/// What a dry run tells programs.
#[derive(Serialize)]
struct Outlook {
    steps: Vec<Outstanding>,
}

#[derive(Serialize)]
struct Outstanding {
    step: String,
    done: bool,
}

pub(crate) async fn run(deploy: Deploy) -> anyhow::Result<()> {
    let Deploy {
        rpc,
        chain_id,
        keystore,
        password_file,
        token,
        test_token: _,
        proposer,
        executor,
        delay,
        guardian,
        treasury,
        salt,
        addresses,
        dry_run,
        output,
    } = deploy;
    let wallet = Wallet::open(&keystore, &password_file)?;
    let plan = Plan {
        token,
        delay: delay.as_secs(),
        proposers: proposer,
        executors: if executor.is_empty() { vec![Address::default()] } else { executor },
        guardian: guardian.unwrap_or_default(),
        treasury,
        salt: keccak256(salt.as_bytes()),
    };
    let before = if addresses.exists() { Some(AddressBook::load(&addresses)?) } else { None };
    if let Some(book) = &before
        && (book.chain_id != chain_id || book.plan != plan)
    {
        let whose = if book.chain_id == chain_id { "another deployment" } else { "another chain" };
        let sentence = format!(
            "{} is of {whose} (chain {}, market {}): name another file with --addresses, or move it away",
            addresses.display(),
            book.chain_id,
            book.contracts.market.address
        );
        return Err(Ending::error(Ending::USAGE, sentence));
    }
    let delay = plan.delay;
    let deployment = Deployment::look(&rpc, chain_id, wallet.address(), plan).await?;
    if dry_run {
        return outlook(&deployment, output);
    }
    if delay == 0 {
        progress("changes of the parameters will not wait at all: right for a test chain, and nowhere else");
    }
    let book = deployment.carry_out(&wallet, |step| progress(line(step, ""))).await?;
    if before.as_ref() != Some(&book) {
        book.save(&addresses)?;
    }
    if output == Format::Json {
        return json(&book);
    }
    for (part, placed) in book.contracts.named() {
        result(format_args!("{part:<9} {}", placed.address));
    }
    result(format_args!(
        "all checked; changes of the parameters wait {}; addresses in {}",
        seconds(delay),
        addresses.display()
    ));
    Ok(())
}

fn outlook(deployment: &Deployment, output: Format) -> anyhow::Result<()> {
    let steps = deployment.steps();
    if output == Format::Json {
        let steps =
            steps.iter().map(|step| Outstanding { step: step.to_string(), done: step.done }).collect();
        return json(&Outlook { steps });
    }
    for step in steps {
        result(line(step, "would "));
    }
    let left = steps.iter().filter(|step| !step.done).count();
    result(format_args!("{left} transactions would be sent"));
    Ok(())
}

fn line(step: &Step, ahead: &str) -> String {
    let mark = if step.done { "done before: " } else { ahead };
    format!("{mark}{step}")
}
