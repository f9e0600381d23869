//! The operators' verbs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use manifests::order::OrderId;

use crate::config::Config;
use crate::store::Store;
use crate::{check, explain, run, telemetry};

/// Sells a cluster's spare capacity on the market.
#[derive(Debug, Parser)]
#[command(name = "berth-provider", version)]
pub struct Cli {
    /// The configuration file.
    #[arg(long, short, global = true, env = "BERTH_CONFIG", default_value = "/etc/berth/provider.yaml")]
    config: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Watch the market, bid, run leases, collect the money.
    Run,
    /// Publish this node's GPUs. One runs on every GPU node.
    Agent(crate::inventory::agent::Args),
    /// Try everything that `run` needs, one line each, and change nothing on chain or in the cluster.
    Check,
    /// Bring the database up to this version.
    Migrate,
    /// Say why an order was bid on or declined, and whether deciding again gives the same.
    Explain {
        /// tenant/dseq/gseq/oseq, or the order's 32-byte word.
        order: OrderId,
    },
    /// List the places at which BERTH_FAIL_POINT makes the daemon die.
    #[cfg(feature = "fail-points")]
    #[command(hide = true)]
    FailPoints,
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// Whatever kept it from being done, as a chain of sentences for the operator.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { config, verb } = self;
        match verb {
            Verb::Run => {
                telemetry::start()?;
                run::run(Config::load(&config)?).await
            }
            Verb::Agent(args) => {
                telemetry::start()?;
                crate::inventory::agent::run(args).await
            }
            Verb::Check => check::check(&Config::load(&config)?).await,
            Verb::Migrate => {
                let applied = Store::migrate(&Config::load(&config)?.database).await?;
                say(&match applied {
                    0 => "the database is up to date".to_owned(),
                    1 => "applied 1 migration".to_owned(),
                    n => format!("applied {n} migrations"),
                });
                Ok(ExitCode::SUCCESS)
            }
            Verb::Explain { order } => {
                say(&explain::explain(&Config::load(&config)?, order).await?);
                Ok(ExitCode::SUCCESS)
            }
            #[cfg(feature = "fail-points")]
            Verb::FailPoints => {
                for point in crate::failpoint::Point::ALL {
                    say(point.name());
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

#[expect(clippy::print_stdout, reason = "the answers of verbs go to standard output")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
