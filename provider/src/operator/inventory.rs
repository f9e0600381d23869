//! `berth-provider inventory`: what each node has left to sell, and why a node sells less than it has.

use std::process::ExitCode;

use anyhow::Context;
use bidengine::{Capacity, Node};
use clap::Args;

use super::sight::Sight;
use super::table::table;
use crate::cli::{Format, say};
use crate::clock::Clock;
use crate::config::Config;

/// `inventory`
#[derive(Debug, Args)]
pub struct Inventory {
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
