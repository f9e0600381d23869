//! `berth-provider orders`: what was made of the last orders and what became of it.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use manifests::decision::Decision;
use manifests::order::{Hash, OrderId};
use serde::Serialize;

use super::table::table;
use crate::cli::{Format, say};
use crate::config::Config;
use crate::run::open_store;
use crate::store::{AnswerRow, Outcome, Store};

/// How often the database is looked at while following.
const LOOK: Duration = Duration::from_millis(500);

/// `orders`
#[derive(Debug, Args)]
pub struct Orders {
    /// Go on with each order as it is decided, until interrupted
    #[arg(long, short)]
    follow: bool,
    /// How many of the last orders to show
    #[arg(long, short, value_name = "N", default_value = "20")]
    limit: u32,
    /// How to print; as JSON one order a line
    #[arg(long, short, value_enum, default_value = "text")]
    output: Format,
}

/// One order in a line.
#[derive(Debug, Serialize)]
struct Line {
    order: String,
    /// The same as the contract's word, which `explain` takes too.
    word: Hash,
    decided_at: u64,
    decision: &'static str,
    /// The price per second × 10^9 units, or nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<String>,
    /// The reason's code, or nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// Price or reason, for people.
    answer: String,
    outcome: String,
}

impl Line {
    fn of(row: &AnswerRow) -> Self {
        let AnswerRow { order, decided_at, decision, outcome } = row;
        let (word, rate, reason, answer) = match decision {
            Decision::Bid { rate, .. } => ("bid", Some(rate.scaled().to_string()), None, rate.to_string()),
            Decision::Decline { reason } => {
                ("decline", None, Some(reason.code()), format!("{} ({reason})", reason.code()))
            }
        };
        let outcome = match outcome {
            Outcome::Declined => "-".to_owned(),
            Outcome::Standing => "bid stands".to_owned(),
            Outcome::Won(state) => format!("won, {state}"),
            Outcome::Unplaced(because) => format!("won, without a place: {because}"),
            Outcome::Lost => "lost to another bid".to_owned(),
            Outcome::Released(because) => format!("released: {because}"),
        };
        Self {
            order: order.to_string(),
            word: order.to_word(),
            decided_at: *decided_at,
            decision: word,
            rate,
            reason,
            answer,
            outcome,
        }
    }

    fn cells(self) -> Vec<String> {
        let Self { order, decided_at, decision, answer, outcome, .. } = self;
        vec![decided_at.to_string(), order, decision.to_owned(), outcome, answer]
    }
}

/// Prints the last orders, the newest last, and with `--follow` goes on.
///
/// # Errors
/// The database cannot be read.
pub async fn verb(config: &Config, asked: &Orders) -> anyhow::Result<ExitCode> {
    let store = open_store(config).await?;
    let mut rows = store.answers(config.provider, 0, asked.limit).await?;
    rows.reverse();
    let waiting = store.count_undecided().await?;
    match asked.output {
        Format::Json => rows.iter().try_for_each(|row| json(&Line::of(row)))?,
        Format::Text => {
            let lines = rows.iter().map(|row| Line::of(row).cells());
            say(&table(&["DECIDED", "ORDER", "DECISION", "OUTCOME", "PRICE OR REASON"], lines));
            if waiting > 0 {
                say(&format!("{waiting} open orders wait for a decision"));
            }
        }
    }
    if asked.follow {
        follow(&store, config, asked.output, &rows).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints each decision once, as it is made; ends only with an error. Seconds are all that orders them, so those of the last
/// second are remembered.
async fn follow(store: &Store, config: &Config, output: Format, before: &[AnswerRow]) -> anyhow::Result<()> {
    let mut since = before.last().map_or(0, |row| row.decided_at);
    let key = |row: &AnswerRow| (row.order, row.decided_at);
    let mut told: BTreeSet<(OrderId, u64)> = before.iter().map(key).collect();
    loop {
        let mut rows = store.answers(config.provider, since, MOST).await?;
        rows.reverse();
        for row in rows.iter().filter(|row| !told.contains(&key(row))) {
            match output {
                Format::Json => json(&Line::of(row))?,
                Format::Text => say(&Line::of(row).cells().join("  ")),
            }
        }
        since = rows.last().map_or(since, |row| row.decided_at);
        told = rows.iter().filter(|row| row.decided_at == since).map(key).collect();
        tokio::time::sleep(LOOK).await;
    }
}

/// The most decisions that are read at once while following.
const MOST: u32 = 10_000;

fn json(line: &Line) -> anyhow::Result<()> {
    say(&serde_json::to_string(line).context("failed to write JSON")?);
    Ok(())
}
