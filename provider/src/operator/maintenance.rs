//! `berth-provider maintenance`: no new orders for a while; what runs goes on.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::say;
use crate::clock::Clock;
use crate::config::Config;
use crate::run::open_store;

/// `maintenance`
#[derive(Debug, Args)]
pub struct Maintenance {
    #[command(subcommand)]
    wanted: Wanted,
}

#[derive(Debug, Subcommand)]
enum Wanted {
    /// Take no new orders from now on. Leases go on; a bid that stands can still be accepted until it expires
    On {
        /// Why, for those who look later
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
    },
    /// Take orders again
    Off,
    /// Say whether orders are taken
    Show,
}

/// Begins, ends or shows it. The daemon heeds it with its next turn, within seconds.
///
/// # Errors
/// The database cannot be used.
pub async fn verb(config: &Config, asked: &Maintenance) -> anyhow::Result<ExitCode> {
    let store = open_store(config).await?;
    match &asked.wanted {
        Wanted::On { note } => {
            store.begin_maintenance(note, Clock::default().now()).await?;
            say(
                "no new orders are taken; leases go on, and bids that stand can be accepted until they expire",
            );
        }
        Wanted::Off if config.policy.maintenance => {
            store.end_maintenance().await?;
            say("policy.maintenance in the configuration still keeps new orders away: take it out");
        }
        Wanted::Off => {
            let lasted = store.end_maintenance().await?;
            say(if lasted { "orders are taken again" } else { "there was no maintenance; orders are taken" });
        }
        Wanted::Show => say(&match store.maintenance().await? {
            Some(lasting) => {
                let note =
                    if lasting.note.is_empty() { String::new() } else { format!(": {}", lasting.note) };
                format!("no new orders are taken since unix second {}{note}", lasting.since)
            }
            None if config.policy.maintenance => {
                "no new orders are taken: the configuration has policy.maintenance".to_owned()
            }
            None => "orders are taken".to_owned(),
        }),
    }
    Ok(ExitCode::SUCCESS)
}
