//! `berth up`: from a document to URLs that answer.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use manifests::money::Amount;
use manifests::order::Hash;
use market::At;
use market::api::Secrets;
use market::call::{Call, OrderTerms};
use market::reader::ReadError;
use market::sender::SendError;
use tokio::time::{Instant, sleep};

use crate::account::Account;
use crate::bids::{self, Wish};
use crate::cli::Up;
use crate::deposit::{is_affordable, pay};
use crate::document::{self, Wanted, WantedGroup};
use crate::down::wind_up;
use crate::exit::Ending;
use crate::output::progress;
use crate::secrets;
use crate::serve::serve;
use crate::sight::Sight;
use crate::state::{GroupRecord, Record};
use crate::step::{Step, next};

/// Seconds that an order stays open beyond the wait, for accepting and for a run that was interrupted.
const ORDER_SLACK_SECS: u64 = 1800;
/// What is deposited when nothing is said: this many seconds at the highest price.
const DEFAULT_DEPOSIT_SECS: u64 = 86_400;

/// How long the chain's endpoint may be silent.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two tries while it is.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) async fn run(up: Up) -> anyhow::Result<()> {
    let account = Account::open(&up.context).await?;
    let wanted = document::read(&up.document, up.faithfulness, &account.mapping, up.max_price, up.strict)?;
    for warning in &wanted.warnings {
        progress(format_args!("note: {warning}"));
    }
    if !wanted.unserved.is_empty() {
        let sentence = format!("{} cannot be ordered: {}", up.document.display(), wanted.unserved.join("; "));
        return Err(Ending::error(Ending::USAGE, sentence));
    }
    let secrets = secrets::read(&up.secret)?;
    let name = match &up.name {
        Some(name) => name.clone(),
        None => name_of(&up.document)?,
    };
    account.settle().await?;
    let known = account.state.read()?.remove(&name);
    let resumed = resumed(&account, &name, known.as_ref(), wanted.manifest.digest()).await?;
    // One that goes on may have given them before.
    secrets::fit(&secrets, &wanted.manifest, resumed.is_none())?;
    let record = match resumed {
        Some(record) => record,
        None => begin(&account, &name, &wanted, &up, known.as_ref()).await?,
    };
    let driven = tokio::select! {
        done = drive_through_silence(&account, &record, &wanted, &secrets, &up) => done,
        () = interrupted() => Err(Stop::Other(Ending::error(Ending::INTERRUPTED, "interrupted"))),
    };
    match driven {
        Ok(()) => Ok(()),
        Err(Stop::NoBids(error)) => {
            // Nothing was accepted: everything comes back, and the name is free again.
            match wind_up(&account, &record).await {
                Ok(story) => {
                    account.state.change(|all| Ok(all.remove(&name)))?;
                    progress(format_args!("{name}: {story}"));
                }
                Err(problem) => {
                    progress(format_args!("the deposit could not be taken back yet: {problem:#}"));
                    explain(&account, &record, &name, &up.document).await;
                }
            }
            Err(error)
        }
        Err(Stop::Other(error)) => {
            explain(&account, &record, &name, &up.document).await;
            Err(error)
        }
    }
}

/// Why bringing it up stopped.
enum Stop {
    /// Nobody bid on terms that will do; nothing runs.
    NoBids(anyhow::Error),
    /// Anything else; what is on chain stays, and the same command goes on.
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// Does what is left to do, and goes on when the chain's endpoint was silent for a while: what is on chain says where.
async fn drive_through_silence(
    account: &Account,
    record: &Record,
    wanted: &Wanted,
    secrets: &Secrets,
    up: &Up,
) -> Result<(), Stop> {
    let mut silent_since: Option<Instant> = None;
    loop {
        let began = Instant::now();
        let error = match drive(account, record, wanted, secrets, up).await {
            Err(Stop::Other(error)) if is_silence(&error) => error,
            ended => return ended,
        };
        // A turn that got somewhere ends the silence before it.
        let since = match silent_since {
            Some(since) if began.elapsed() < PATIENCE => since,
            _ => began,
        };
        silent_since = Some(since);
        if since.elapsed() >= PATIENCE {
            return Err(Stop::Other(error));
        }
        progress(format_args!("trying again: {error:#}"));
        sleep(PAUSE).await;
        // What was under way must be known before the next step is decided; while that fails, the silence lasts.
        while let Err(error) = account.settle().await {
            if since.elapsed() >= PATIENCE || !is_silence(&error) {
                return Err(Stop::Other(error));
            }
            sleep(PAUSE).await;
        }
    }
}

/// Whether the chain's endpoint gave no answer, which says nothing about the chain.
fn is_silence(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let read = cause.downcast_ref::<ReadError>().is_some_and(ReadError::is_transient);
        let sent = matches!(cause.downcast_ref(), Some(SendError::Rpc(error)) if error.is_transient());
        read || sent
    })
}

/// Does what is left to do until it runs.
async fn drive(
    account: &Account,
    record: &Record,
    wanted: &Wanted,
    secrets: &Secrets,
    up: &Up,
) -> Result<(), Stop> {
    loop {
        let sight = Sight::of(&account.chain, record).await?;
        match next(record.deposit, &sight) {
            Step::CreateDeployment => {
                let Record { dseq, manifest_hash, .. } = *record;
                account.send("open the deployment", &Call::CreateDeployment { dseq, manifest_hash }).await?;
                progress(format_args!("deployment {dseq} opened"));
            }
            Step::Deposit(amount) => {
                pay(account, record.account(), amount).await?;
                progress(format_args!("deposited {amount}"));
            }
            Step::CreateOrder(n) => {
                let group = &wanted.groups[n];
                let award = group.award.map(|secs| sight.head.timestamp.saturating_add(secs));
                let terms = OrderTerms {
                    class: group.class,
                    max_rate: record.groups[n].max_rate,
                    expires_at: order_expiry(account, &sight, up, group).await?,
                    min_reclaim: group.min_reclaim,
                    award,
                };
                let call =
                    Call::CreateOrder { order: sight.groups[n].order, terms, spec: group.spec.clone() };
                account.send(&format!("post the order of {}", group.name), &call).await?;
                progress(format_args!("{}: order posted, at most {}", group.name, terms.max_rate));
            }
            Step::Award => {
                the_specs_are_ours(account, &sight, wanted).await?;
                let min_reclaim = wanted.groups.iter().map(|group| group.min_reclaim).collect();
                let wish = Wish { pick: up.pick, wait: up.wait, min_reclaim };
                bids::award(account, record, &wish).await.map_err(|error| {
                    match error.downcast_ref::<Ending>() {
                        Some(ending) if ending.is_no_bids() => Stop::NoBids(error),
                        _ => Stop::Other(error),
                    }
                })?;
            }
            Step::Serve => return Ok(serve(account, record, &wanted.manifest, secrets, up.ready).await?),
            Step::Over(why) => {
                let sentence =
                    format!("it cannot go on: {why}; end it with `berth down`, then start it again");
                return Err(Stop::Other(Ending::error(Ending::CLOSED, sentence)));
            }
        }
    }
}

/// Bids name the order's spec by its hash, so the order on chain must be the one that this document makes.
async fn the_specs_are_ours(account: &Account, sight: &Sight, wanted: &Wanted) -> anyhow::Result<()> {
    for (group, ours) in sight.groups.iter().zip(&wanted.groups) {
        let posted = account.chain.order(group.order, At::Block(sight.head.hash)).await?;
        if posted.is_some_and(|posted| posted.spec_hash != ours.spec_hash()) {
            let sentence = format!(
                "the order of {} was posted with other requirements than this context makes of the document; end it with \
                 `berth down`, then start it again",
                group.name
            );
            return Err(Ending::error(Ending::USAGE, sentence));
        }
    }
    Ok(())
}

async fn order_expiry(account: &Account, sight: &Sight, up: &Up, group: &WantedGroup) -> anyhow::Result<u64> {
    let params = account.chain.params(At::Latest).await?;
    let bidding = group.award.unwrap_or(up.wait.as_secs());
    let wanted = bidding.saturating_add(ORDER_SLACK_SECS);
    if group.award.is_some() && wanted > params.max_order_duration.saturating_sub(60) {
        let sentence = format!(
            "the deadline of {} is too late: in this market an order may stand for {} in all",
            group.name,
            crate::output::seconds(params.max_order_duration)
        );
        return Err(Ending::error(Ending::USAGE, sentence));
    }
    // The next block is later than the one that was read; a minute keeps clear of both bounds.
    let lifetime =
        wanted.max(params.min_order_duration + 60).min(params.max_order_duration.saturating_sub(60));
    Ok(sight.head.timestamp + lifetime)
}

/// The record of this name, if it is one of the same document that has not ended.
async fn resumed(
    account: &Account,
    name: &str,
    known: Option<&Record>,
    digest: Hash,
) -> anyhow::Result<Option<Record>> {
    let Some(record) = known else { return Ok(None) };
    if record.tenant != account.address() {
        let sentence =
            format!("the name {name} belongs to a deployment of another key; choose another --name");
        return Err(Ending::error(Ending::USAGE, sentence));
    }
    let sight = Sight::of(&account.chain, record).await?;
    if sight.account.is_some() && sight.is_over() && !matches!(next(record.deposit, &sight), Step::Deposit(_))
    {
        return Ok(None);
    }
    if record.manifest_hash != digest {
        let sentence = format!(
            "{name} is up with another document; end it with `berth down {name}`, or choose another --name"
        );
        return Err(Ending::error(Ending::USAGE, sentence));
    }
    progress(format_args!("going on with {name}, deployment {}:\n{sight}", record.dseq));
    Ok(Some(record.clone()))
}

/// Asks, and writes down what is about to happen before anything is sent.
///
/// `before` is what the name stood for so far: nothing, or a deployment that is over.
async fn begin(
    account: &Account,
    name: &str,
    wanted: &Wanted,
    up: &Up,
    before: Option<&Record>,
) -> anyhow::Result<Record> {
    let max_rate = wanted.max_rate()?;
    let too_much = || Ending::error(Ending::USAGE, "a day at this price costs more than can be deposited");
    let deposit = match up.deposit {
        Some(deposit) => deposit,
        None => max_rate.cost_up(DEFAULT_DEPOSIT_SECS).ok_or_else(too_much)?,
    };
    let params = account.chain.params(At::Latest).await?;
    let least = max_rate.cost_up(params.min_runway).ok_or_else(too_much)?;
    if deposit < least {
        let sentence = format!(
            "a deposit of {deposit} is too little: the market wants {least} for {} at {max_rate}",
            crate::output::seconds(params.min_runway)
        );
        return Err(Ending::error(Ending::FUNDS, sentence));
    }
    is_affordable(account, deposit).await?;
    if account.chain.gas_balance(account.address()).await? == 0 {
        let sentence = format!("{} has nothing to pay transactions with", account.address());
        return Err(Ending::error(Ending::FUNDS, sentence));
    }
    confirm(name, deposit, &format!("{max_rate}"), up.yes)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
    let record = Record {
        tenant: account.address(),
        // Any number that was never used will do; one of the clock is found again by people.
        dseq: u64::try_from(now.as_millis()).context("the clock is past all reason")?,
        manifest_hash: wanted.manifest.digest(),
        deposit,
        first_block: account.chain.head().await?.number,
        groups: wanted
            .groups
            .iter()
            .map(|group| GroupRecord { name: group.name.clone(), max_rate: group.max_rate })
            .collect(),
    };
    account.state.change(|all| {
        if all.get(name) != before {
            let sentence =
                format!("another `berth up` has just begun {name}; wait for it, or choose another --name");
            return Err(Ending::error(Ending::USAGE, sentence));
        }
        all.insert(name.to_owned(), record.clone());
        Ok(())
    })?;
    Ok(record)
}

/// Asks before money moves, where there is somebody to ask.
fn confirm(name: &str, deposit: Amount, max_rate: &str, yes: bool) -> anyhow::Result<()> {
    progress(format_args!("{name}: deposit {deposit}, pay at most {max_rate}; what is not used comes back"));
    if yes || !std::io::stdin().is_terminal() {
        return Ok(());
    }
    let mut screen = std::io::stderr().lock();
    screen.write_all(b"Go on? [y/N] ").and_then(|()| screen.flush()).context("failed to ask")?;
    drop(screen);
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("failed to read the answer")?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Ending::error(Ending::USAGE, "nothing was done")),
    }
}

fn name_of(document: &Path) -> anyhow::Result<String> {
    let stem = document.file_stem().and_then(|stem| stem.to_str());
    stem.map(str::to_owned).ok_or_else(|| Ending::error(Ending::USAGE, "give the deployment a --name"))
}

/// Says what is on chain after something stopped half-way.
async fn explain(account: &Account, record: &Record, name: &str, document: &Path) {
    match Sight::of(&account.chain, record).await {
        Ok(sight) => progress(format_args!("on chain of {name} (deployment {}):\n{sight}", record.dseq)),
        Err(error) => progress(format_args!("what is on chain of {name} cannot be read now: {error:#}")),
    }
    progress(format_args!(
        "run `berth up {} --name {name}` to go on, or `berth down {name}` to end it and take the money back",
        document.display()
    ));
}

/// Ctrl-C, or the signal that asks a program to end.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    // Where no signal can be listened to, none interrupts.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
