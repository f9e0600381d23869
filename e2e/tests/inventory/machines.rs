//! Machines that are lost or that the operator takes out of the market, under a running daemon and a lease.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Output;

use anyhow::{Context, Result, ensure};
use bidengine::Capacity;
use e2e::process::Process;
use e2e::story::direct::{Direct, Wanted};
use e2e::story::provider::Provider;
use e2e::story::world::World;
use e2e::wait::until;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};
use manifests::decision::Placement;
use manifests::money::Amount;
use manifests::order::{AccountId, LeaseId, OrderId};
use market::api::{Answer, LeaseState};
use provider::config::Config;
use provider::leases::names::short_name;
use provider::store::{ReservationState, Store};

use crate::hall::{CPU_MILLI, GPUS, Hall, Machine, PATIENCE, SELECTOR, machines};

/// A hall, a provider that sells it, and a tenant.
struct Scene {
    hall: Hall,
    provider: Provider,
    daemon: Process,
    tenant: Direct,
    store: Store,
}

impl Scene {
    async fn open(name: &str, machines: &[Machine]) -> Result<Self> {
        let world = World::open(name).await?;
        let provider = world.provider().await?;
        let text = fs::read_to_string(provider.config())?;
        let sold = format!("cluster:\n  nodeSelector: {SELECTOR}\n  replaceAfter: 2s\n");
        ensure!(text.contains("\ncluster:\n"), "the settings have no cluster");
        fs::write(provider.config(), text.replacen("cluster:\n", &sold, 1))?;
        let hall = Hall::build(machines, &provider.namespace).await?;
        let daemon = provider.run().await?;
        let tenant = Direct::of(&world, &world.accounts.tenants[0]).await?;
        let store = provider::run::open_store(&Config::load(provider.config())?).await?;
        let scene = Self { hall, provider, daemon, tenant, store };
        until("every machine to be for sale", PATIENCE, async || {
            let capacity = scene.offered().await?;
            let ready = capacity.nodes.values().filter(|node| node.schedulable).count();
            let gpus: u64 = capacity.nodes.values().flat_map(|node| node.gpus.values()).sum();
            let all_gpus: u64 = machines.iter().map(|machine| machine.gpus).sum();
            ensure!((ready, gpus) == (machines.len(), all_gpus), "{ready} machines with {gpus} GPUs are");
            Ok(())
        })
        .await?;
        Ok(scene)
    }

    async fn close(mut self) -> Result<()> {
        self.daemon.kill().await?;
        self.hall.clear().await
    }

    /// What a verb of the operator's said, and whether it ended well.
    async fn verb(&self, arguments: &[&str]) -> Result<(bool, String)> {
        let Output { status, stdout, stderr } = self.provider.command(arguments)?.output().await?;
        let errors = String::from_utf8_lossy(&stderr);
        ensure!(!stdout.is_empty(), "{arguments:?} said nothing: {errors}");
        Ok((status.success(), String::from_utf8_lossy(&stdout).into_owned()))
    }

    /// What is offered, as the operator is told.
    async fn offered(&self) -> Result<Capacity> {
        let (_, text) = self.verb(&["inventory", "--output", "json"]).await?;
        serde_json::from_str(&text).with_context(|| format!("this is no inventory: {text}"))
    }

    /// A lease of the document that runs.
    async fn lease(&self, dseq: u64, document: &str) -> Result<LeaseId> {
        let wanted = Wanted::of(document)?;
        let digest = wanted.manifest.digest();
        let lease = self.tenant.deploy(dseq, digest, Amount(60_000_000)).await?.order(1, 1);
        self.tenant.order(lease, &wanted).await?;
        let bid = self.tenant.bid(lease).await?;
        self.tenant.accept(lease, &bid).await?;
        self.tenant.send(lease, &wanted.manifest).await?;
        self.tenant.state(lease, LeaseState::Ready).await?;
        Ok(lease)
    }

    /// What is promised to a lease.
    async fn placement(&self, lease: LeaseId) -> Result<Placement> {
        let row = self.store.reservation(lease).await?.context("nothing is reserved for it")?;
        ensure!(row.state == ReservationState::Leased, "its reservation is {}", row.state.word());
        Ok(row.placement)
    }

    /// Waits until the pods of a lease run where its stored placement has them, and nowhere else.
    async fn runs_where_it_is_placed(&self, lease: LeaseId) -> Result<()> {
        let placed =
            counted(self.placement(lease).await?.replicas.iter().map(|replica| replica.node.clone()));
        let pods: Api<Pod> = Api::all(self.hall.client.clone());
        let of_lease = format!("berth.dev/lease={}", short_name(lease, self.provider.address));
        until("the pods to run where they are placed", PATIENCE, async || {
            let pods = pods.list(&ListParams::default().labels(&of_lease)).await?;
            let staying = pods.items.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
            let (mut running, mut others) = (Vec::new(), Vec::new());
            for pod in staying {
                let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
                match pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) {
                    Some(node) if phase == Some("Running") => running.push(node),
                    node => others.push((pod.name_any(), node, phase)),
                }
            }
            let running = counted(running);
            ensure!(
                running == placed && others.is_empty(),
                "{running:?} run, placed are {placed:?}; the others: {others:?}"
            );
            Ok(())
        })
        .await
    }

    /// Waits until each of these machines offers what it has without what these leases are promised there, once.
    async fn offers_the_rest(&self, machines: &[&Machine], leases: &[LeaseId]) -> Result<()> {
        let mut taken: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for lease in leases {
            for replica in self.placement(*lease).await?.replicas {
                let (cpu, gpus) = taken.entry(replica.node).or_default();
                *cpu += replica.takes.cpu_milli;
                *gpus += replica.takes.gpu.map_or(0, |gpu| gpu.count);
            }
        }
        until("what is offered to be the rest", PATIENCE, async || {
            let offered = self.offered().await?;
            for Machine { name, gpus, .. } in machines {
                let (cpu, taken_gpus) = taken.get(name).copied().unwrap_or_default();
                ensure!(cpu <= CPU_MILLI && taken_gpus <= *gpus, "{name} is promised more than it has");
                let node = offered.nodes.get(name).with_context(|| format!("{name} is not known"))?;
                let left = (node.cpu_milli, node.gpus.values().sum::<u64>());
                let rest = (CPU_MILLI - cpu, gpus - taken_gpus);
                ensure!(left == rest, "{name} offers {left:?}, the rest is {rest:?}");
            }
            Ok(())
        })
        .await
    }
}

fn counted(names: impl IntoIterator<Item = String>) -> BTreeMap<String, u32> {
    let mut counted = BTreeMap::new();
    for name in names {
        *counted.entry(name).or_default() += 1;
    }
    counted
}

fn names_of(placement: &Placement) -> BTreeSet<&str> {
    placement.replicas.iter().map(|replica| replica.node.as_str()).collect()
}

/// A document of services with so many cores, GPUs and replicas each.
fn document(services: &[(&str, u64, u64, u32)]) -> String {
    let (mut named, mut compute, mut prices, mut deployed) =
        (String::new(), String::new(), String::new(), String::new());
    for (name, cores, gpus, count) in services {
        let gpu = match gpus {
            0 => String::new(),
            _ => format!(", gpu: {{units: {gpus}, attributes: {{vendor: {{nvidia: [{{model: h100}}]}}}}}}"),
        };
        named +=
            &format!("  {name}: {{image: example/app:1, expose: [{{port: 80, to: [{{global: true}}]}}]}}\n");
        compute += &format!(
            "    {name}: {{resources: {{cpu: {{units: {cores}}}, memory: {{size: 1Gi}}, storage: {{size: 1Gi}}{gpu}}}}}\n"
        );
        let most = if *gpus > 0 { 50_000 } else { 1000 };
        prices += &format!("{name}: {{denom: uact, amount: {most}}}, ");
        deployed += &format!("  {name}: {{here: {{profile: {name}, count: {count}}}}}\n");
    }
    format!(
        "version: \"2.0\"\nservices:\n{named}profiles:\n  compute:\n{compute}  placement: {{here: {{pricing: {{{prices}}}}}}}\n\
         deployment:\n{deployed}"
    )
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs on the bench: cargo e2e test inventory"]
async fn a_lease_leaves_a_rack_that_is_lost() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let machines = machines(4, 6, 2);
    let mut scene = Scene::open("lost", &machines).await.unwrap();
    let outcome = leaves_a_lost_rack(&mut scene, &machines).await;
    scene.close().await.unwrap();
    outcome.unwrap();
}

async fn leaves_a_lost_rack(scene: &mut Scene, machines: &[Machine]) -> Result<()> {
    // Two of the first fit on a plain machine and none beside one of the second, so what is left of the hall is filled unevenly.
    let lease = scene.lease(1, &document(&[("web", 30, 0, 5), ("trainer", 40, GPUS, 2)])).await?;
    scene.runs_where_it_is_placed(lease).await?;
    let before = scene.placement(lease).await?;
    let lost: BTreeSet<&str> =
        machines.iter().filter(|machine| machine.rack == 0).map(|machine| machine.name.as_str()).collect();
    let staying: Vec<&Machine> = machines.iter().filter(|machine| machine.rack != 0).collect();
    let lives_in = |placement: &Placement| names_of(placement).intersection(&lost).count();
    ensure!(lives_in(&before) >= 2, "the lease has too little to lose: {:?}", names_of(&before));
    scene.hall.lose(0).await?;
    until("the lease to be promised other machines", PATIENCE, async || {
        let placement = scene.placement(lease).await?;
        ensure!(lives_in(&placement) == 0, "it is promised {:?}", names_of(&placement));
        Ok(())
    })
    .await?;
    let after = scene.placement(lease).await?;
    ensure!(after.replicas.len() == before.replicas.len(), "{after:?}");
    for (now, then) in after.replicas.iter().zip(&before.replicas) {
        ensure!(now == then || lost.contains(then.node.as_str()), "{then:?} had to move nowhere");
    }
    scene.runs_where_it_is_placed(lease).await?;
    scene.offers_the_rest(&staying, &[lease]).await?;

    // It is stored: nobody thinks better of it after a restart, or when the machines are taken out of the cluster.
    scene.daemon.kill().await?;
    scene.daemon = scene.provider.run().await?;
    let nodes: Api<Node> = Api::all(scene.hall.client.clone());
    for name in &lost {
        nodes.delete(name, &DeleteParams::default()).await?;
    }
    scene.tenant.state(lease, LeaseState::Ready).await?;
    scene.runs_where_it_is_placed(lease).await?;
    ensure!(scene.placement(lease).await? == after, "it was placed anew");
    scene.offers_the_rest(&staying, &[lease]).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs on the bench: cargo e2e test inventory"]
async fn what_the_operator_says_of_a_machine_counts() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let machines = machines(0, 3, 1);
    let scene = Scene::open("machines", &machines).await.unwrap();
    let outcome = heeds_the_operator(&scene, &machines).await;
    scene.close().await.unwrap();
    outcome.unwrap();
}

async fn heeds_the_operator(scene: &Scene, machines: &[Machine]) -> Result<()> {
    let all: Vec<&Machine> = machines.iter().collect();
    let lease = scene.lease(1, &document(&[("web", 30, 0, 2)])).await?;
    let home = only_node(&scene.placement(lease).await?)?;
    let others: Vec<&str> =
        machines.iter().map(|machine| machine.name.as_str()).filter(|name| *name != home).collect();
    let is_sold = async |node: &str, expected: bool| -> Result<()> {
        until(&format!("{node} to be sold or not"), PATIENCE, async || {
            let sold = scene.offered().await?.nodes.get(node).context("it is not known")?.schedulable;
            ensure!(sold == expected, "it is {sold}");
            Ok(())
        })
        .await
    };
    let large = document(&[("large", 60, 0, 1)]);
    let account = scene.tenant.deploy(2, Wanted::of(&large)?.manifest.digest(), Amount(10_000_000)).await?;

    // Nobody buys what is cordoned, and what is sold again is bought.
    for node in &others {
        ensure!(scene.verb(&["cordon", node]).await?.0, "{node} cannot be cordoned");
        is_sold(node, false).await?;
    }
    ensure!(answer(scene, account, 1, &large).await?.starts_with("resources_cpu"), "it is not declined");
    ensure!(scene.verb(&["uncordon", others[0]]).await?.0, "it cannot be uncordoned");
    is_sold(others[0], true).await?;
    ensure!(answer(scene, account, 2, &large).await? == "bid", "it is declined");
    scene.runs_where_it_is_placed(lease).await?;
    ensure!(only_node(&scene.placement(lease).await?)? == home, "a cordon moves nobody");

    // The large order has the room that there is: a drain ends badly and says who is left, who goes on running.
    let (done, said) = scene.verb(&["drain", &home, "--timeout", "3s"]).await?;
    ensure!(!done && said.contains(&lease.to_string()), "there is no room, and it said {said}");
    scene.runs_where_it_is_placed(lease).await?;
    // Once there is room it goes there by itself.
    ensure!(scene.verb(&["uncordon", others[1]]).await?.0, "it cannot be uncordoned");
    let (done, said) = scene.verb(&["drain", &home]).await?;
    ensure!(done && said.contains(&format!("no lease is left on node {home}")), "it said {said}");
    ensure!(only_node(&scene.placement(lease).await?)? == others[1], "it is elsewhere");
    scene.runs_where_it_is_placed(lease).await?;
    is_sold(&home, false).await?;

    ensure!(scene.verb(&["uncordon", &home]).await?.0, "it cannot be uncordoned");
    is_sold(&home, true).await?;
    scene.tenant.state(lease, LeaseState::Ready).await?;
    scene.offers_the_rest(&[all_named(&all, &home)?, all_named(&all, others[1])?], &[lease]).await
}

fn all_named<'m>(machines: &[&'m Machine], name: &str) -> Result<&'m Machine> {
    machines.iter().copied().find(|machine| machine.name == name).context("there is no such machine")
}

fn only_node(placement: &Placement) -> Result<String> {
    let nodes = names_of(placement);
    ensure!(nodes.len() == 1, "it is on {nodes:?}");
    nodes.first().map(|node| (*node).to_owned()).context("it has none")
}

/// What the provider answers to an order: `bid`, or why not.
async fn answer(scene: &Scene, account: AccountId, gseq: u16, document: &str) -> Result<String> {
    let order: OrderId = account.order(gseq, 1);
    scene.tenant.order(order, &Wanted::of(document)?).await?;
    until("the provider's decision", PATIENCE, async || {
        match scene.tenant.gateway.decision(&scene.tenant.wallet, order).await?.answer {
            Answer::Declined { code, why } => Ok(format!("{code}: {why}")),
            Answer::Undecided => anyhow::bail!("it has not decided"),
            Answer::Bid { .. } => Ok("bid".to_owned()),
        }
    })
    .await
}
