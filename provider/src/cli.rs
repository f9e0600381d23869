//! The operators' verbs.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use manifests::order::OrderId;
use tokio::runtime::{Builder, Runtime};

use crate::config::Config;
use crate::store::{Compared, DatabaseUrl, Store, move_database};
use crate::{check, explain, money, operator, owner, resync, run, telemetry, withdraw};

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
    /// Try everything that `run` and what it sells need, a line each with what to do, and change nothing on chain or in the
    /// cluster. Ends with 1 if something failed; a warning is not a failure.
    Check(check::Check),
    /// Bring the database up to this version, or move it to another engine. Stop the daemon first.
    Migrate(Move),
    /// Read what the chain says again from the start, compare it with the database row by row, and take it over. Manifests,
    /// decisions and what was sent stay. Stop the daemon first.
    Resync {
        /// Only compare: end with 1 if a row differs, and change nothing.
        #[arg(long)]
        only_compare: bool,
    },
    /// Say why an order was bid on or declined, and whether deciding again gives the same.
    Explain {
        /// tenant/dseq/gseq/oseq, or the order's 32-byte word.
        order: OrderId,
        /// How to print.
        #[arg(long, short, value_enum, default_value = "text")]
        output: Format,
    },
    /// The last orders, newest last: what was made of each and what became of it.
    Orders(operator::orders::Orders),
    /// What each node has left to sell now, beside what runs and what is promised.
    Inventory(operator::inventory::Inventory),
    /// Every card that the nodes' agents see: how it does, and which lease holds it.
    Gpus(operator::gpus::Gpus),
    /// What this provider would ask for a document at the moment, line by line, whatever the document pays. Ends with 1 if it
    /// would not be served, and says why.
    Price(operator::price::Price),
    /// What would be decided on an order, from files alone: needs no configuration, no cluster and no chain. Ends with 1 if it
    /// would be declined.
    Decide(operator::decide::Decide),
    /// Sell nothing more on a node; what runs there goes on.
    Cordon(operator::nodes::Node),
    /// Sell a node again.
    Uncordon(operator::nodes::Node),
    /// Sell nothing more on a node, and have its leases moved to other nodes, as far as there is room.
    Drain(operator::nodes::Drain),
    /// Take no new orders for a while; leases go on.
    Maintenance(operator::maintenance::Maintenance),
    /// What each lease earned, was paid and can still collect, in the database and on chain, and how long the gas money lasts.
    /// Ends with 1 if the two differ by a unit.
    Money {
        /// How to print.
        #[arg(long, short, value_enum, default_value = "text")]
        output: Format,
    },
    /// Collect what leases earned, now. The running daemon sends the transaction; this says what it will bring, and waits until
    /// it is mined.
    Withdraw(withdraw::Withdraw),
    #[command(flatten)]
    Owner(owner::Verb),
    /// List the places at which BERTH_FAIL_POINT makes the daemon die.
    #[cfg(feature = "fail-points")]
    #[command(hide = true)]
    FailPoints,
}

/// In which form an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// From where to where; without either, the configured database is brought up to this version.
#[derive(Debug, Args)]
struct Move {
    /// The database to copy, such as sqlite:///var/lib/berth/provider.db. It stays as it is.
    #[arg(long, requires = "to")]
    from: Option<String>,
    /// The empty database that takes the copy, such as postgres://user:password@host:5432/berth. Every row is read back and
    /// compared before it is kept; then set `database` to it.
    #[arg(long, requires = "from")]
    to: Option<String>,
}

impl Cli {
    /// What carries the verb: threads for all cores, but for the agent one alone, because it lives beside tenants on every
    /// node and mostly waits.
    ///
    /// # Errors
    /// When the operating system gives no threads or no poll.
    pub fn runtime(&self) -> std::io::Result<Runtime> {
        let mut runtime = match self.verb {
            Verb::Agent(_) => Builder::new_current_thread(),
            _ => Builder::new_multi_thread(),
        };
        runtime.enable_all().build()
    }

    /// Does what was asked.
    ///
    /// # Errors
    /// Whatever kept it from being done, as a chain of sentences for the operator.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { config, verb } = self;
        match verb {
            Verb::Run => {
                telemetry::start()?;
                run::run(Config::load(&config)?, config).await
            }
            Verb::Agent(args) => {
                telemetry::start()?;
                crate::inventory::agent::run(args).await
            }
            Verb::Check(asked) => check::verb(&Config::load(&config)?, &asked).await,
            Verb::Migrate(Move { from: Some(from), to: Some(to) }) => {
                let from: DatabaseUrl = from.parse().context("--from cannot be used")?;
                let to: DatabaseUrl = to.parse().context("--to cannot be used")?;
                tell(&move_database(&from, &to).await?);
                say(&format!("every row of {from} is in {to}; set `database` to it"));
                Ok(ExitCode::SUCCESS)
            }
            Verb::Migrate(_) => {
                let applied = Store::migrate(&Config::load(&config)?.database).await?;
                say(&match applied {
                    0 => "the database is up to date".to_owned(),
                    1 => "applied 1 migration".to_owned(),
                    n => format!("applied {n} migrations"),
                });
                Ok(ExitCode::SUCCESS)
            }
            Verb::Resync { only_compare } => {
                let compared = resync::verb(&Config::load(&config)?, only_compare).await?;
                tell(&compared);
                let equal = compared.iter().all(Compared::is_equal);
                say(match (equal, only_compare) {
                    (true, _) => "the chain says what the database says",
                    (false, true) => "the chain says something else: run this without --only-compare",
                    (false, false) => "the database now says what the chain says",
                });
                Ok(if equal || !only_compare { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            Verb::Explain { order, output } => {
                let told = explain::explain(&Config::load(&config)?, order).await?;
                say(&match output {
                    Format::Text => explain::tell(&told)?,
                    Format::Json => serde_json::to_string(&told).context("failed to write JSON")?,
                });
                Ok(ExitCode::SUCCESS)
            }
            Verb::Orders(asked) => operator::orders::verb(&Config::load(&config)?, &asked).await,
            Verb::Inventory(asked) => operator::inventory::verb(&Config::load(&config)?, &asked).await,
            Verb::Gpus(asked) => operator::gpus::verb(&Config::load(&config)?, &asked).await,
            Verb::Price(asked) => operator::price::verb(&Config::load(&config)?, &asked).await,
            Verb::Cordon(asked) => operator::nodes::cordon(&Config::load(&config)?, &asked).await,
            Verb::Uncordon(asked) => operator::nodes::uncordon(&Config::load(&config)?, &asked).await,
            Verb::Drain(asked) => operator::nodes::drain(&Config::load(&config)?, &asked).await,
            Verb::Maintenance(asked) => operator::maintenance::verb(&Config::load(&config)?, &asked).await,
            Verb::Decide(asked) => operator::decide::verb(&asked),
            Verb::Money { output } => {
                let money = money::money(&Config::load(&config)?).await?;
                say(&match output {
                    Format::Text => money::tell(&money),
                    Format::Json => serde_json::to_string(&money).context("failed to write JSON")?,
                });
                Ok(if money.agrees() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            Verb::Withdraw(asked) => {
                let withdrawal = withdraw::verb(&Config::load(&config)?, &asked).await?;
                say(&match asked.output {
                    Format::Text => withdraw::tell(&withdrawal),
                    Format::Json => serde_json::to_string(&withdrawal).context("failed to write JSON")?,
                });
                Ok(ExitCode::SUCCESS)
            }
            Verb::Owner(verb) => owner::run(verb, &config).await,
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

fn tell(compared: &[Compared]) {
    for row in compared {
        let Compared { table, before, after } = row;
        if row.is_equal() {
            say(&format!("{table:<16} {after}  equal"));
        } else {
            say(&format!("{table:<16} {before}  before"));
            say(&format!("{:<16} {after}  from the chain", ""));
        }
    }
}

#[expect(clippy::print_stdout, reason = "the answers of verbs go to standard output")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// A line of progress, on standard error: standard output is for results. Where nobody listens any more, nothing is said.
pub(crate) fn progress(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
