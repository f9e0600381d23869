//! `berth-provider withdraw`: collects what leases earned, now, whatever it is worth beside its fee.
//!
//! The daemon alone sends with the operator key, so the verb stores a wish as the daemon would and waits until it is carried
//! out. The daemon finds it in the database within seconds; a wish that nobody carries out stays there and is carried out when
//! the daemon runs again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use manifests::money::Amount;
use manifests::order::{Address, LeaseId};
use market::call::Call;
use market::{At, Chain};
use serde::Serialize;

use crate::cli::{Format, progress};
use crate::clock::Clock;
use crate::config::{Config, parse_duration};
use crate::leases::payout::BATCH;
use crate::run::{open_store, reach_chain};
use crate::store::{IntentKind, IntentRow, IntentState, NewIntent, Store};

/// How far the database may lag behind the chain, in seconds of chain time, while a daemon follows.
const ALIVE: u64 = 60;
/// How often the database is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// `withdraw`
#[derive(Debug, Args)]
pub struct Withdraw {
    /// Which leases: tenant/dseq/gseq/oseq, or the 32-byte word, as `berth-provider money` lists them.
    #[arg(value_name = "LEASE", required_unless_present = "all", conflicts_with = "all")]
    pub leases: Vec<LeaseId>,
    /// Every lease that has something to collect.
    #[arg(long)]
    pub all: bool,
    /// Only store the wish: the daemon carries it out, now or when it runs again.
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait until it is mined.
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "2m")]
    pub timeout: Duration,
    /// How to print.
    #[arg(long, short, value_enum, default_value = "text")]
    pub output: Format,
}

/// What is withdrawn, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Withdrawal {
    /// What each lease brings to the payout address, in token units, as of when it was asked; what it earns until it is mined
    /// comes on top.
    pub leases: Vec<(LeaseId, Amount)>,
    /// The wishes that were stored.
    pub intents: Vec<String>,
    /// The heights at which they were mined; empty if they were not waited for.
    pub blocks: Vec<u64>,
}

impl Withdrawal {
    /// What it brings in all.
    #[must_use]
    pub fn sum(&self) -> Amount {
        Amount(self.leases.iter().fold(0u128, |sum, (_, net)| sum.saturating_add(net.0)))
    }
}

/// Does what the verb says.
///
/// # Errors
/// Why nothing was withdrawn, or why it is not known whether it was, with what to do.
pub async fn verb(config: &Config, asked: &Withdraw) -> anyhow::Result<Withdrawal> {
    let (store, chain) = (open_store(config).await?, reach_chain(config).await?);
    withdraw(&store, &chain, config.provider, asked, progress).await
}

/// Stores the wish and, unless it is not wanted, waits until the daemon carried it out. `progress` is told what happens.
///
/// # Errors
/// As [`verb`].
pub async fn withdraw(
    store: &Store,
    chain: &Chain,
    provider: Address,
    asked: &Withdraw,
    progress: impl Fn(&str),
) -> anyhow::Result<Withdrawal> {
    let leases = to_collect(store, chain, provider, asked).await?;
    let mut withdrawal = Withdrawal { leases, intents: Vec::new(), blocks: Vec::new() };
    if withdrawal.leases.is_empty() {
        progress("nothing can be collected now");
        return Ok(withdrawal);
    }
    if let Err(error) = ensure_followed(store, chain).await {
        if !asked.no_wait {
            return Err(error);
        }
        progress(&format!("{error:#}; the wish is stored all the same"));
    }
    for (lease, net) in &withdrawal.leases {
        progress(&format!("{net} of lease {lease}"));
    }
    progress(&format!("{} in all, for the payout address", withdrawal.sum()));
    for batch in withdrawal.leases.chunks(BATCH) {
        let leases = batch.iter().map(|(lease, _)| *lease).collect();
        withdrawal.intents.push(wish(store, leases).await?);
    }
    if asked.no_wait {
        progress("stored; the daemon carries it out");
        return Ok(withdrawal);
    }
    let deadline = Instant::now() + asked.timeout;
    for intent in &withdrawal.intents {
        withdrawal.blocks.push(mined(store, intent, deadline, asked.timeout, &progress).await?);
    }
    Ok(withdrawal)
}

/// The withdrawal in lines for the operator.
#[must_use]
pub fn tell(withdrawal: &Withdrawal) -> String {
    let Withdrawal { leases, intents, blocks } = withdrawal;
    let (sum, count) = (withdrawal.sum(), leases.len());
    let leases = if count == 1 { "1 lease".to_owned() } else { format!("{count} leases") };
    match (intents.is_empty(), blocks.last()) {
        (true, _) => "nothing can be collected now".to_owned(),
        (false, Some(block)) => format!("withdrew {sum} of {leases}, mined by block {block}"),
        (false, None) => format!("stored the wish to withdraw {sum} of {leases}"),
    }
}

/// What each lease that was asked for would bring; those that would bring nothing are left out.
async fn to_collect(
    store: &Store,
    chain: &Chain,
    provider: Address,
    asked: &Withdraw,
) -> anyhow::Result<Vec<(LeaseId, Amount)>> {
    let ours: BTreeSet<LeaseId> =
        store.leases_of(provider).await?.into_iter().map(|row| row.lease.id).collect();
    let wanted: BTreeSet<LeaseId> = if asked.all {
        store.leases_to_bill(provider).await?.into_iter().map(|row| row.lease.id).collect()
    } else {
        asked.leases.iter().copied().collect()
    };
    if let Some(strange) = wanted.iter().find(|lease| !ours.contains(lease)) {
        bail!("{strange} is no lease of provider {provider}: `berth-provider money` lists them");
    }
    let mut leases = Vec::new();
    for lease in wanted {
        let accrued = chain.accrued(lease, At::Latest).await;
        let net = accrued.with_context(|| format!("failed to read what lease {lease} has to collect"))?.net;
        if net > Amount::ZERO {
            leases.push((lease, net));
        }
    }
    Ok(leases)
}

/// A daemon that runs follows the chain, and its database shows it.
async fn ensure_followed(store: &Store, chain: &Chain) -> anyhow::Result<()> {
    let Some(cursor) = store.cursor().await? else {
        bail!("the database follows no chain yet: start `berth-provider run` with this configuration")
    };
    let head = chain.head().await.context("failed to read the chain's head")?;
    let lag = head.timestamp.saturating_sub(cursor.timestamp);
    ensure!(
        lag <= ALIVE,
        "no daemon follows the chain: the database is at block {}, {lag} seconds behind block {}; start `berth-provider run` with \
         this configuration, or store the wish for it with --no-wait",
        cursor.number,
        head.number
    );
    Ok(())
}

/// Stores the wish under the next free number, which the daemon's own withdrawals share: it then waits with its own.
async fn wish(store: &Store, leases: Vec<LeaseId>) -> anyhow::Result<String> {
    let call = Call::Withdraw { leases };
    let mut number = store.intents_of(None, IntentKind::Withdraw).await?.count;
    loop {
        let (id, call) = (format!("withdraw {number}"), call.clone());
        let intent = NewIntent { id, kind: IntentKind::Withdraw, order: None, call, deadline: None };
        if store.put_intent(&intent, Clock::default().now()).await? {
            return Ok(intent.id);
        }
        // The daemon took that number meanwhile.
        number += 1;
    }
}

/// Waits until an intent was carried out; the height at which it was.
async fn mined(
    store: &Store,
    intent: &str,
    deadline: Instant,
    timeout: Duration,
    progress: &impl Fn(&str),
) -> anyhow::Result<u64> {
    let mut told = String::new();
    loop {
        let row =
            store.intent(intent).await?.with_context(|| format!("\"{intent}\" is not in the database"))?;
        let stage = match &row.state {
            IntentState::Done { block } => {
                progress(&format!("{intent}: mined in block {block}"));
                return Ok(*block);
            }
            IntentState::Failed { problem } => bail!("{intent} was given up: {problem}"),
            IntentState::Pending => stage(&row),
        };
        if stage != told {
            progress(&format!("{intent}: {stage}"));
            told = stage;
        }
        if Instant::now() >= deadline {
            let waited = timeout.as_secs();
            ensure!(
                row.begun.is_some() || row.tries > 0,
                "no daemon took {intent} up within {waited} s: is `berth-provider run` running on this database? It stays stored \
                 and is carried out when it runs"
            );
            bail!(
                "{intent} was not mined within {waited} s ({told}); the daemon goes on with it, see `berth-provider money`"
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn stage(row: &IntentRow) -> String {
    if row.begun.is_some() {
        return "sent, waiting to be mined".to_owned();
    }
    match &row.problem {
        Some(problem) if row.tries > 0 => format!("not sent yet after {} tries: {problem}", row.tries),
        _ => "waiting for the daemon".to_owned(),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("\"{text}\" is not a time: write it as 30s or 2m"))
}
