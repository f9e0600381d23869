//! `berth-provider inventory`: what each node has left to sell, and why a node sells less than it has.

use std::process::ExitCode;

use anyhow::Context;
use bidengine::{Capacity, GpuHoles, Node};
use clap::Args;

use super::sight::Sight;
use super::table::table;
use crate::cli::{Format, say};
use crate::clock::Clock;
use crate::config::Config;
use crate::inventory::nodes::account::{Account, OfLease, account};
use crate::inventory::nodes::free;
use crate::inventory::requests::Resources;

/// `inventory`
#[derive(Debug, Args)]
pub struct Inventory {
    /// Say of this node where all that it has goes, and what keeps it from being sold
    #[arg(long, value_name = "NODE")]
    why: Option<String>,
    /// How to print. As JSON it is what orders are decided from: `decide` and `price` take it as a file
    #[arg(long, short, value_enum, default_value = "text")]
    output: Format,
}

/// Prints what is free for new orders.
///
/// # Errors
/// The cluster or the database cannot be read.
pub async fn verb(config: &Config, asked: &Inventory) -> anyhow::Result<ExitCode> {
    let sight = Sight::open(config).await?;
    if let Some(node) = &asked.why {
        return why(&sight, node, asked.output).await;
    }
    let capacity = sight.free().await?;
    if asked.output == Format::Json {
        say(&serde_json::to_string(&capacity).context("failed to write JSON")?);
        return Ok(ExitCode::SUCCESS);
    }
    say(&nodes(&capacity));
    for line in beside_the_nodes(&capacity) {
        say(&line);
    }
    for finding in sight.inventory.offers(Clock::default().now())?.findings {
        say(&format!("note: {finding}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// One node's account.
async fn why(sight: &Sight, node: &str, output: Format) -> anyhow::Result<ExitCode> {
    let now = Clock::default().now();
    let view = sight.inventory.view(now)?;
    let promises = sight.promises().await?;
    let account = account(&view, &promises, node).with_context(|| {
        let known: Vec<&str> = view.nodes.iter().filter_map(|node| node.metadata.name.as_deref()).collect();
        format!("no node {node} is sold: there are {}; see cluster.nodeSelector", known.join(", "))
    })?;
    let free = free(&view, &promises);
    if output == Format::Json {
        say(&serde_json::to_string(&account).context("failed to write JSON")?);
        return Ok(ExitCode::SUCCESS);
    }
    let left = free.nodes.get(node).cloned().unwrap_or_default();
    say(&tell(&account, &left));
    let about = format!("node {node} ");
    for finding in sight.inventory.offers(now)?.findings.iter().filter(|finding| finding.starts_with(&about))
    {
        say(&format!("note: {finding}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Where all that a node has goes, line by line.
fn tell(account: &Account, left: &Node) -> String {
    let cells = |what: &str, of: &Resources| {
        let gpus: Vec<String> = of
            .gpus
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(resource, count)| format!("{count} {resource}"))
            .collect();
        vec![
            what.to_owned(),
            cores(of.cpu_milli),
            gib(of.memory_bytes),
            gib(of.ephemeral_bytes),
            of.pods.to_string(),
            gpus.join(", "),
        ]
    };
    let mut rows = vec![cells("it has", &account.has), cells("others take", &account.others)];
    for (lease, OfLease { runs, promised, holds }) in &account.leases {
        rows.push(cells(&format!("lease {lease} holds"), holds));
        if runs != promised {
            rows.push(cells("  of which runs", runs));
            rows.push(cells("  and is promised", promised));
        }
    }
    let pods = if left.pods == u64::MAX { "-".to_owned() } else { left.pods.to_string() };
    rows.push(vec![
        "left".to_owned(),
        cores(left.cpu_milli),
        gib(left.memory_bytes),
        gib(left.ephemeral_bytes),
        pods,
        gpus(left),
    ]);
    let mut text = table(&["", "CORES ", "MEMORY GiB ", "DISK GiB ", "PODS ", "GPUS"], rows);
    for obstacle in &account.obstacles {
        text.push_str(&format!("\nnothing of it is sold: {obstacle}"));
    }
    text
}

fn nodes(capacity: &Capacity) -> String {
    let rows = capacity.nodes.iter().map(|(name, node)| {
        let Node { schedulable, cpu_milli, memory_bytes, ephemeral_bytes, pods, .. } = node;
        let pods = if *pods == u64::MAX { "-".to_owned() } else { pods.to_string() };
        vec![
            name.clone(),
            if *schedulable { "yes" } else { "no" }.to_owned(),
            cores(*cpu_milli),
            gib(*memory_bytes),
            gib(*ephemeral_bytes),
            pods,
            gpus(node),
        ]
    });
    table(&["NODE", "SELLS", "CORES ", "MEMORY GiB ", "DISK GiB ", "PODS ", "GPUS"], rows)
}

/// What belongs to no node.
fn beside_the_nodes(capacity: &Capacity) -> Vec<String> {
    let mut lines = Vec::new();
    for (class, bytes) in &capacity.storage {
        lines.push(format!("volumes of class {class}: {} GiB", gib(*bytes)));
    }
    if capacity.leased_ips > 0 {
        lines.push(format!("addresses to lease: {}", capacity.leased_ips));
    }
    if capacity.node_ports != u64::MAX {
        lines.push(format!("ports of the nodes' addresses: {}", capacity.node_ports));
    }
    for (pool, GpuHoles { holes, asks, lost_percent }) in capacity.fragmentation().gpus {
        let asks: Vec<String> = asks.iter().map(|(ask, fit)| format!("{fit} × {ask}")).collect();
        lines.push(format!(
            "{pool}: {} free, at most {} on one node; room for {} GPUs ({lost_percent} % lost to fragments)",
            holes.free,
            holes.largest,
            asks.join(" or ")
        ));
    }
    lines
}

fn gpus(node: &Node) -> String {
    let pools: Vec<String> = node.gpus.iter().map(|(gpu, free)| format!("{free} × {gpu}")).collect();
    if pools.is_empty() { "-".to_owned() } else { pools.join(", ") }
}

fn cores(milli: u64) -> String {
    format!("{}.{:02}", milli / 1000, milli % 1000 / 10)
}

/// Rounded down: what is shown can be had.
fn gib(bytes: u64) -> String {
    format!("{}.{}", bytes >> 30, ((bytes & ((1 << 30) - 1)) * 10) >> 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_rounded_down() {
        assert_eq!(
            (cores(1_999), cores(500), cores(0)),
            ("1.99".to_owned(), "0.50".to_owned(), "0.00".to_owned())
        );
        assert_eq!((gib((5 << 30) - 1), gib(3 << 29)), ("4.9".to_owned(), "1.5".to_owned()));
    }

    #[test]
    fn nodes_are_listed_with_what_they_have_left() {
        let node = Node {
            schedulable: true,
            cpu_milli: 4000,
            memory_bytes: 8 << 30,
            ephemeral_bytes: 1 << 30,
            gpus: [("h100-80Gi-sxm".parse().expect("a pool"), 3)].into(),
            ..Node::default()
        };
        let capacity = Capacity { nodes: [("n1".to_owned(), node)].into(), ..Capacity::default() };
        let text = nodes(&capacity);
        let words: Vec<&str> = text.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        assert_eq!(words, ["n1", "yes", "4.00", "8.0", "1.0", "-", "3", "×", "h100-80Gi-sxm"]);
    }
}
