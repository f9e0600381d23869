//! The cluster, and what of it is sold.

use anyhow::{bail, ensure};

use super::report::Report;
use super::{offer, ways_in};
use crate::clock::Clock;
use crate::config::Config;
use crate::inventory::{Inventory, client};
use crate::operator::sight::seen;
use crate::run::ensure_allowed;

/// How far our clock may be from the API server's, in seconds, before what is signed and what is stale is misjudged: tenants'
/// requests are good for a minute at most, records of agents for a little more.
const MOST_SKEW: u64 = 5;

pub(super) async fn check(config: &Config, report: &mut Report) {
    let connected = client::connect(config.cluster.kubeconfig.as_deref()).await;
    let Some((client, _)) = report.keep("cluster", connected, |(_, version)| format!("version {version}"))
    else {
        return;
    };
    report.tell("permissions", permissions(config, &client).await);
    let clock = Clock::default();
    report.tell("clock", skew(config, &client, &clock).await);
    ways_in::gateway(config, &client, report).await;
    report.tell("runtime class", runtime_classes(config, &client).await);
    let inventory = match seen(config, &client).await {
        Ok(inventory) => inventory,
        Err(error) => return report.tell("inventory", Err(error)),
    };
    report.tell("inventory", nodes(&inventory, &clock));
    report.tell_lesser("agents", agents(&inventory, &clock));
    offer::check(config, &inventory, &clock, report).await;
}

async fn permissions(config: &Config, client: &client::Client) -> anyhow::Result<String> {
    ensure_allowed(config, client).await?;
    Ok("our account may do what leases need".to_owned())
}

async fn skew(config: &Config, client: &client::Client, clock: &Clock) -> anyhow::Result<String> {
    let before = clock.now();
    let theirs = u64::try_from(client::server_time(client, &config.cluster.namespace).await?)?;
    let after = clock.now();
    let skew = before.saturating_sub(theirs).max(theirs.saturating_sub(after));
    ensure!(
        skew <= MOST_SKEW,
        "this clock says unix second {after}, and the API server's says {theirs}: set both by NTP"
    );
    Ok(format!("as the API server's, within {MOST_SKEW} s"))
}

async fn runtime_classes(config: &Config, client: &client::Client) -> anyhow::Result<String> {
    let cluster = &config.cluster;
    let named = [("gpuRuntimeClass", &cluster.gpu_runtime_class), ("runtimeClass", &cluster.runtime_class)];
    let mut told = Vec::new();
    for (key, name) in named.iter().filter_map(|(key, name)| Some((key, name.as_ref()?))) {
        ensure!(
            client::has_runtime_class(client, name).await?,
            "the cluster has no RuntimeClass {name}: create it, or correct cluster.{key}"
        );
        told.push(name.as_str());
    }
    Ok(if told.is_empty() { "pods run in the nodes' default".to_owned() } else { told.join(", ") })
}

fn nodes(inventory: &Inventory, clock: &Clock) -> anyhow::Result<String> {
    let capacity = inventory.capacity(&[], clock.now());
    if let Some(problem) = capacity.problem {
        bail!("{problem}: check that our account may list nodes, pods and config maps");
    }
    let usable = capacity.nodes.values().filter(|node| node.schedulable).count();
    ensure!(
        usable > 0,
        "no node takes pods: check cluster.nodeSelector, and that nodes are ready and not cordoned"
    );
    let gpus: u64 = capacity.nodes.values().flat_map(|node| node.gpus.values()).sum();
    Ok(format!("{usable} nodes take pods, {gpus} GPUs are free"))
}

fn agents(inventory: &Inventory, clock: &Clock) -> anyhow::Result<String> {
    let silent = inventory.without_agent(clock.now())?;
    ensure!(
        silent.is_empty(),
        "no agent tells of the GPUs on {}, so none of them is sold: see that `berth-provider agent` runs there",
        silent.join(", ")
    );
    let told = inventory.offers(clock.now())?.fresh.len();
    Ok(format!("{told} nodes are told of, and no node with GPUs is missing"))
}
