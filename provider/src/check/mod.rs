//! Preflight: tries everything that `run` needs and everything that what it sells needs, says a line about each, and changes
//! nothing on chain or in the cluster. Files that `run` would create when they are missing (database, data key, gateway key)
//! are created.

mod chain;
mod cluster;
mod offer;
mod report;
mod ways_in;

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use self::report::Report;
use crate::cli::Format;
use crate::config::Config;
use crate::gateway::server::bind;
use crate::gateway::tls::GatewayKey;
use crate::run::open_store;

/// `check`
#[derive(Debug, Args)]
pub struct Check {
    /// How to print
    #[arg(long, short, value_enum, default_value = "text")]
    output: Format,
}

/// Tries everything and prints a line each; ends with 1 if one failed. What only limits what is sold is a warning.
///
/// # Errors
/// None that has to do with what is tried: what fails is a line.
pub async fn verb(config: &Config, asked: &Check) -> anyhow::Result<ExitCode> {
    let mut report = Report::default();
    report.tell("database", database(config).await);
    let key = report.keep("gateway key", GatewayKey::load_or_create(&config.gateway.tls_dir), |key| {
        format!("SPKI hash {}", key.spki_hash())
    });
    chain::check(config, key.as_ref(), &mut report).await;
    cluster::check(config, &mut report).await;
    ways_in::names(config, &mut report).await;
    report.tell_lesser("gateway port", free_port(config.gateway.listen, "gateway").await);
    report.tell_lesser("metrics port", free_port(config.metrics.listen, "metrics").await);
    report.print(asked.output)
}

async fn database(config: &Config) -> anyhow::Result<String> {
    let store = open_store(config).await?;
    Ok(match store.cursor().await? {
        Some(cursor) => {
            format!("{}, followed to block {}, the data key fits", config.database, cursor.number)
        }
        None => format!("{}, new, the data key fits", config.database),
    })
}

async fn free_port(address: SocketAddr, what: &str) -> anyhow::Result<String> {
    let free = bind(address, what).await.context("a daemon that runs here already needs no other");
    free.map(|_| format!("{address} is free"))
}
