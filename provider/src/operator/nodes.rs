//! `berth-provider cordon | uncordon | drain`: to take a node out of the market, and to bring it back.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use manifests::order::LeaseId;

use super::sight::Sight;
use crate::cli::{progress, say};
use crate::clock::Clock;
use crate::config::{Config, parse_duration};
use crate::inventory::client;
use crate::store::{ReservationState, Store};

/// How often is looked at what is left on a node.
const LOOK: Duration = Duration::from_millis(500);

/// `cordon`, `uncordon`
#[derive(Debug, Args)]
pub struct Node {
    /// The node's name in the cluster
    node: String,
}

/// `drain`
#[derive(Debug, Args)]
pub struct Drain {
    /// The node's name in the cluster
    node: String,
    /// Return at once; the daemon goes on moving leases away
    #[arg(long)]
    no_wait: bool,
    /// How long to wait until no lease is left there
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "15m")]
    timeout: Duration,
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("\"{text}\" is not a time: write it as 30s or 15m"))
}

/// Sells nothing more on a node.
///
/// # Errors
/// The cluster refuses, or has no such node.
pub async fn cordon(config: &Config, Node { node }: &Node) -> anyhow::Result<ExitCode> {
    set_schedulable(config, node, false).await?;
    say(&format!("node {node} takes no new pods and is not sold; what runs there goes on"));
    Ok(ExitCode::SUCCESS)
}

/// Sells a node again.
///
/// # Errors
/// The cluster or the database refuses, or there is no such node.
pub async fn uncordon(config: &Config, Node { node }: &Node) -> anyhow::Result<ExitCode> {
    let store = crate::run::open_store(config).await?;
    set_schedulable(config, node, true).await?;
    store.undrain(node).await?;
    say(&format!("node {node} is sold again"));
    Ok(ExitCode::SUCCESS)
}

/// Sells nothing more on a node and has its leases moved to others, as far as there is room for them. Ends with 1 if some are
/// left when the time is over; they go on running there.
///
/// # Errors
/// The cluster or the database refuses, or there is no such node.
pub async fn drain(config: &Config, asked: &Drain) -> anyhow::Result<ExitCode> {
    let Drain { node, no_wait, timeout } = asked;
    let sight = Sight::open(config).await?;
    client::set_schedulable(&sight.client, node, false).await?;
    sight.store.drain(node, Clock::default().now()).await?;
    if *no_wait {
        say(&format!("node {node} is not sold any more; the daemon moves its leases away"));
        return Ok(ExitCode::SUCCESS);
    }
    let deadline = Instant::now() + *timeout;
    let mut told = usize::MAX;
    loop {
        let left = on_node(&sight, config, node).await?;
        if left.is_empty() {
            say(&format!("no lease is left on node {node}"));
            return Ok(ExitCode::SUCCESS);
        }
        if left.len() != told {
            told = left.len();
            progress(&format!("{told} leases are on node {node}"));
        }
        if Instant::now() >= deadline {
            say(&format!(
                "{told} leases are left on node {node}: there is no room elsewhere, or no daemon runs"
            ));
            for lease in left {
                say(&format!("  {lease}"));
            }
            return Ok(ExitCode::FAILURE);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The leases that are promised something on a node, or have pods there.
async fn on_node(sight: &Sight, config: &Config, node: &str) -> anyhow::Result<BTreeSet<LeaseId>> {
    let pods = sight.inventory.pods_by_lease()?;
    let here = |order: LeaseId| {
        let name = crate::leases::names::short_name(order, config.provider);
        let pods = pods.get(&name).into_iter().flatten();
        pods.filter_map(|source| source.pod.spec.as_ref()?.node_name.as_deref()).any(|on| on == node)
    };
    let leased = leased(&sight.store).await?;
    Ok(leased
        .into_iter()
        .filter(|(order, nodes)| nodes.contains(node) || here(*order))
        .map(|(order, _)| order)
        .collect())
}

/// Each lease with the nodes that it is promised.
async fn leased(store: &Store) -> anyhow::Result<Vec<(LeaseId, BTreeSet<String>)>> {
    let rows = store.promised().await?.rows;
    Ok(rows
        .into_iter()
        .filter(|row| row.state == ReservationState::Leased)
        .map(|row| (row.order, row.placement.replicas.into_iter().map(|replica| replica.node).collect()))
        .collect())
}

async fn set_schedulable(config: &Config, node: &str, schedulable: bool) -> anyhow::Result<()> {
    let (client, _) = client::connect(config.cluster.kubeconfig.as_deref()).await?;
    client::set_schedulable(&client, node, schedulable).await
}
