//! Random leases are applied, and the scheduler puts every pod where it was placed, although the first pods come when it knows
//! nothing of the others.

#![expect(clippy::print_stdout, reason = "the counts are what a reader of the test run looks for")]

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bidengine::{Capacity, Policy, Tariff, decide};
use e2e::kubectl;
use e2e::wait::until;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use manifests::decision::{Decision, Placement};
use manifests::group::spec_hash;
use manifests::money::Rate;
use manifests::objects::{self, GatewayRef, LeaseContext, Object};
use manifests::order::{Address, Hash, LeaseId, Order, OrderKind};
use provider::inventory::{self, Inventory, Promise};
use provider::leases::apply::Applier;
use provider::leases::cluster::Cluster;
use provider::leases::names::short_name;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::hall::{AT_ONCE, Hall, Machine, PATIENCE, SELECTOR, machines};

const ORDERS: u64 = 300;
/// How many machines there are; `cargo e2e test --long inventory` has more.
const MACHINES: usize = 140;
const MACHINES_VARIABLE: &str = "BERTH_MACHINES";

const NAMESPACE: &str = "berth-inventory";
const PROVIDER: Address = Address([0xbb; 20]);

/// A document of one or two services of random size; the two may be of one profile, and so replicas of one resource unit.
fn document(chance: &mut StdRng) -> String {
    let services = chance.random_range(1..=2);
    let profiles = if services == 2 && chance.random_bool(0.3) { 1 } else { services };
    let (mut named, mut compute, mut prices, mut deployed) =
        (String::new(), String::new(), String::new(), String::new());
    for number in 0..profiles {
        let (cpu, memory) = (chance.random_range(1..=12), chance.random_range(1..=48));
        let gpus = [0, 0, 1, 1, 2, 4, 8][chance.random_range(0..7)];
        let gpu = match gpus {
            0 => String::new(),
            _ => format!(", gpu: {{units: {gpus}, attributes: {{vendor: {{nvidia: [{{model: h100}}]}}}}}}"),
        };
        compute += &format!(
            "    p{number}: {{resources: {{cpu: {{units: {cpu}}}, memory: {{size: {memory}Gi}}, storage: {{size: 1Gi}}{gpu}}}}}\n"
        );
        prices += &format!("p{number}: {{denom: uact, amount: 1000000}}, ");
    }
    for number in 0..services {
        let (count, profile) = (chance.random_range(1..=3), number.min(profiles - 1));
        named += &format!(
            "  s{number}: {{image: example/app:1, expose: [{{port: 80, to: [{{global: true}}]}}]}}\n"
        );
        deployed += &format!("  s{number}: {{here: {{profile: p{profile}, count: {count}}}}}\n");
    }
    format!(
        "version: \"2.1\"\nservices:\n{named}profiles:\n  compute:\n{compute}  placement: {{here: {{pricing: {{{prices}}}}}}}\n\
         deployment:\n{deployed}"
    )
}

struct Lease {
    id: LeaseId,
    placement: Placement,
    objects: Vec<Object>,
}

impl Lease {
    /// Whether some nodes have more replicas of a unit than others, so that there is more than one way to get it wrong.
    fn is_uneven(&self) -> bool {
        self.placement.replicas.iter().any(|replica| {
            let nodes = self.placement.nodes_of(replica.unit);
            nodes.values().min() != nodes.values().max()
        })
    }
}

/// Decides random orders one after another, each beside what is promised to those before.
async fn leases(inventory: &Inventory, cluster: &Cluster) -> Result<(Vec<Lease>, u64)> {
    let tariff: Tariff = serde_yaml::from_str(
        r#"{cpuThread: "1.60", memoryGiB: "0.80", ephemeralGiB: "0.02", endpoint: "0.05", gpu: [{model: h100, monthly: "1980"}]}"#,
    )?;
    let (policy, settings) = (Policy::default(), cluster.settings()?);
    let mut chance = StdRng::seed_from_u64(7);
    let (mut promises, mut leases, mut declined) = (Vec::new(), Vec::new(), 0);
    for dseq in 1.. {
        if u64::try_from(leases.len())? == ORDERS || dseq > 4 * ORDERS {
            break;
        }
        let text = document(&mut chance);
        let read = manifests::parse(&text).map_err(|problems| anyhow::anyhow!("{text}: {problems:?}"))?;
        let spec = read.groups[0].to_order_spec().to_bytes()?;
        let id = LeaseId { tenant: Address([1; 20]), dseq, gseq: 1, oseq: 1 };
        let order = Order {
            id,
            class: Hash::default(),
            spec_hash: spec_hash(&spec),
            max_rate: Rate::MAX,
            expires_at: u64::MAX,
            min_reclaim: 0,
            req_bits: 0,
            kind: OrderKind::Service,
            award: None,
            spec,
        };
        let capacity: Capacity = inventory.capacity(&promises, now()?);
        let circumstances = bidengine::Circumstances::new(&capacity, &tariff, &policy, 0);
        match decide(&order, &circumstances) {
            Decision::Decline { .. } => declined += 1,
            Decision::Bid { placement, .. } => {
                let mut left = capacity.clone();
                left.take(&placement).context("a placement takes what is not there")?;
                promises.push(Promise { lease: short_name(id, PROVIDER), placement: placement.clone() });
                let context =
                    LeaseContext { placement: placement.clone(), ..LeaseContext::unplaced(id, PROVIDER) };
                let objects = objects::render(&read.manifest.0[0], &context, &settings)?.items;
                leases.push(Lease { id, placement, objects });
            }
        }
    }
    Ok((leases, declined))
}

fn now() -> Result<u64> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs())
}

/// How many pods of each lease run on each node, once all do.
async fn running(client: &Client, pods_wanted: u32) -> Result<BTreeMap<(String, String), u32>> {
    let pods: Api<Pod> = Api::all(client.clone());
    let pods = pods.list(&ListParams::default().labels("berth.dev/lease")).await?;
    let mut counts = BTreeMap::new();
    let mut waiting = Vec::new();
    for pod in pods {
        let lease = pod.labels().get("berth.dev/lease").cloned().unwrap_or_default();
        let is_running = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
        match pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) {
            Some(node) if is_running => *counts.entry((lease, node)).or_default() += 1,
            node => waiting.push((lease, pod.name_any(), node, not_scheduled(&pod).map(str::to_owned))),
        }
    }
    let some: Vec<_> = waiting.iter().take(5).collect();
    ensure!(waiting.is_empty(), "{} pods do not run, such as {some:?}", waiting.len());
    let there: u32 = counts.values().sum();
    ensure!(there == pods_wanted, "{there} of {pods_wanted} are there");
    Ok(counts)
}

/// What the scheduler says of a pod that it finds no node for.
fn not_scheduled(pod: &Pod) -> Option<&str> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "PodScheduled")?.message.as_deref()
}

/// How many replicas of each lease were placed on each node.
fn placed<'l>(leases: impl IntoIterator<Item = &'l Lease>) -> BTreeMap<(String, String), u32> {
    let mut placed: BTreeMap<(String, String), u32> = BTreeMap::new();
    for Lease { id, placement, .. } in leases {
        for replica in &placement.replicas {
            *placed.entry((short_name(*id, PROVIDER), replica.node.clone())).or_default() += 1;
        }
    }
    placed
}

/// Applies leases beside those that run, and waits until all pods run.
async fn apply(hall: &Hall, leases: &[&Lease], before: u32) -> Result<BTreeMap<(String, String), u32>> {
    let applier = Applier::new(hall.client.clone());
    futures::stream::iter(leases)
        .map(|lease| {
            let applier = &applier;
            async move {
                // As the daemon does: what the API server did not answer is asked again.
                let applied = async || applier.apply(&lease.objects, &Default::default()).await;
                until(&format!("lease {} to be applied", lease.id), PATIENCE, applied).await
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    let wanted = before + placed(leases.iter().copied()).values().sum::<u32>();
    until("every pod to run", PATIENCE, async || running(&hall.client, wanted).await).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs on the bench: cargo e2e test inventory"]
async fn the_scheduler_puts_every_pod_where_it_was_placed() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    agrees().await.unwrap();
}

async fn agrees() -> Result<()> {
    kubectl::run(&["delete", "namespaces", "--selector", "berth.dev/lease", "--wait"]).await?;
    let count = std::env::var(MACHINES_VARIABLE).ok().map(|count| count.parse()).transpose()?;
    let count: usize = count.unwrap_or(MACHINES);
    let with_gpus = count * 9 / 14;
    let machines = machines(with_gpus, count - with_gpus, 1);
    let began = Instant::now();
    let hall = Hall::build(&machines, NAMESPACE).await?;
    println!("{count} machines are made in {} s", began.elapsed().as_secs());
    placed_and_run(&hall, &machines).await
}

async fn placed_and_run(hall: &Hall, machines: &[Machine]) -> Result<()> {
    let sold = inventory::Settings {
        namespace: NAMESPACE.to_owned(),
        node_selector: SELECTOR.to_owned(),
        ..inventory::Settings::default()
    };
    let (inventory, keep) = Inventory::start(&hall.client, &sold, || {});
    let keep = tokio::spawn(keep);
    let all_gpus: u64 = machines.iter().map(|machine| machine.gpus).sum();
    until("every machine to be for sale", PATIENCE, async || {
        let capacity = inventory.capacity(&[], now()?);
        ensure!(capacity.problem.is_none(), "{:?}", capacity.problem);
        let ready = capacity.nodes.values().filter(|node| node.schedulable).count();
        let gpus: u64 = capacity.nodes.values().flat_map(|node| node.gpus.values()).sum();
        ensure!((ready, gpus) == (machines.len(), all_gpus), "{ready} machines with {gpus} GPUs are");
        Ok(())
    })
    .await?;
    let before = inventory.capacity(&[], now()?);
    let gateway = GatewayRef { name: "shared".to_owned(), namespace: "ingress".to_owned(), section: None };
    let told = objects::Settings::of("simulated.berth.test", gateway, "simulated.berth.test");
    let cluster = Cluster::new(told, inventory.clone());

    let (leases, declined) = leases(&inventory, &cluster).await?;
    ensure!(u64::try_from(leases.len())? == ORDERS, "only {} orders fit", leases.len());
    // The scheduler is led into temptation: the machines are empty when it is to choose among several.
    let (uneven, even): (Vec<&Lease>, Vec<&Lease>) = leases.iter().partition(|lease| lease.is_uneven());
    ensure!(uneven.len() >= 5, "only {} leases have different numbers on their nodes", uneven.len());
    let wanted = placed(&leases);
    let began = Instant::now();
    let first: u32 = apply(hall, &uneven, 0).await?.values().sum();
    let counts = apply(hall, &even, first).await?;
    let took = began.elapsed();
    let elsewhere: Vec<_> = counts.iter().filter(|(place, count)| wanted.get(place) != Some(count)).collect();
    ensure!(elsewhere.is_empty(), "{} places differ, such as {:?}", elsewhere.len(), elsewhere.first());

    // Bound pods count instead of promises: with both the same is left, and with neither all of it.
    let promises: Vec<Promise> = leases
        .iter()
        .map(|Lease { id, placement, .. }| Promise {
            lease: short_name(*id, PROVIDER),
            placement: placement.clone(),
        })
        .collect();
    until("the inventory to see what runs", PATIENCE, async || {
        let (with, without) = (inventory.capacity(&promises, now()?), inventory.capacity(&[], now()?));
        for (name, node) in &with.nodes {
            let other = &without.nodes[name];
            ensure!(
                (node.cpu_milli, &node.gpus, node.pods) == (other.cpu_milli, &other.gpus, other.pods),
                "node {name} has {node:?} beside its promises and {other:?} beside its pods"
            );
            ensure!(node.cpu_milli <= before.nodes[name].cpu_milli, "node {name} has more than at first");
        }
        Ok(())
    })
    .await?;
    println!(
        "{} leases, {} of them uneven, with {} replicas run where they were placed on {} machines, {} s after the first was \
         applied; {declined} orders were declined",
        leases.len(),
        uneven.len(),
        wanted.values().sum::<u32>(),
        machines.len(),
        took.as_secs()
    );
    keep.abort();
    Ok(())
}
