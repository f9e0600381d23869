//! Documents become leases that run, are paid for, and leave nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::addresses::NODE;
use e2e::cache::Cache;
use e2e::story::demo;
use e2e::story::seller::Place;
use e2e::story::tenant::Tenant;
use e2e::story::world::World;
use e2e::tools::{Purpose, Tools};
use e2e::wait::until;
use e2e::{kubectl, visitor, workspace};
use manifests::money::Amount;
use manifests::order::LeaseId;
use market::At;
use market::api::LeaseState;
use market::reader::OrderState;

const PATIENCE: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs on the bench: cargo e2e test lease"]
async fn a_document_becomes_a_running_lease() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tools = Tools::installed(&Cache::open().unwrap(), Purpose::Bench).unwrap().expect("the bench is up");
    demo::tell(Some(&tools), "lease", Place::Beside).await.unwrap();
}

/// What a tenant runs, with the GPUs that its containers were given.
struct Held {
    lease: LeaseId,
    gpus: Vec<String>,
}

/// A document of ours, with pieces of its text replaced, as a file of the world's.
fn document(world: &World, of: &str, named: &str, replaced: &[(&str, &str)]) -> Result<PathBuf> {
    let mut text = fs::read_to_string(workspace::root().join("e2e/documents").join(of))?;
    for (from, to) in replaced {
        ensure!(text.contains(from), "{of} holds no {from:?}");
        text = text.replace(from, to);
    }
    let path = world.folder.join(named);
    fs::write(&path, text)?;
    Ok(path)
}

/// Brings a document up and waits until its status shows so many GPUs.
async fn bring_up(tenant: &Tenant, document: PathBuf, gpus: usize) -> Result<Held> {
    tenant.up(&document, "app", &["--deposit", "50"]).await?.well()?;
    let lease = tenant.lease("app").await?;
    let gpus = until("the status to show the GPUs", PATIENCE, async || {
        let status = tenant.status("app").await?;
        ensure!(status.state == LeaseState::Ready, "it is {}", status.state);
        let pods = status.services.into_iter().flat_map(|service| service.pods);
        let shown: Vec<String> = pods.flat_map(|pod| pod.gpus).collect();
        ensure!(shown.len() == gpus, "it shows {shown:?}");
        Ok(shown)
    })
    .await?;
    Ok(Held { lease, gpus })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs on the bench: cargo e2e test lease"]
async fn three_tenants_bring_the_same_documents_up_at_once() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    at_once().await.unwrap();
}

async fn at_once() -> Result<()> {
    let world = World::open("at-once").await?;
    let provider = world.provider().await?;
    let mut agent = provider.agent()?;
    let mut daemon = provider.run().await?;
    let path = r"jsonpath={.items[*].metadata.name}";
    let record = ["get", "configmaps", "--namespace", &provider.namespace, "--output", path];
    until("the agent to publish its record", PATIENCE, async || {
        agent.still_runs()?;
        let names = kubectl::run(&record).await?;
        ensure!(names.split_whitespace().any(|name| name != "kube-root-ca.crt"), "there is {names:?}");
        Ok(())
    })
    .await?;
    let (alice, bob, carol) = tokio::try_join!(world.tenant(0), world.tenant(1), world.tenant(2))?;
    let web = document(&world, "web.yaml", "web.yaml", &[("hello.example.test", "at-once.example.test")])?;
    let one = document(&world, "gpu.yaml", "one.yaml", &[])?;
    let three = [("units: 1\n", "units: 3\n"), ("amount: 10000", "amount: 30000")];
    let three = document(&world, "gpu.yaml", "three.yaml", &three)?;

    let (web, one, three) =
        tokio::try_join!(bring_up(&alice, web, 0), bring_up(&bob, one, 1), bring_up(&carol, three, 3))?;
    let distinct: BTreeSet<&String> = one.gpus.iter().chain(&three.gpus).collect();
    ensure!(distinct.len() == 4, "a GPU is under two leases: {:?} and {:?}", one.gpus, three.gpus);
    let page = visitor::page(NODE, "at-once.example.test", "/", PATIENCE).await?;
    ensure!(page.contains("Hello from a datacenter"), "another page answers:\n{page}");
    daemon.still_runs()?;

    let down = ["down", "app"];
    let (a, b, c) = tokio::try_join!(alice.berth(&down), bob.berth(&down), carol.berth(&down))?;
    for said in [a, b, c] {
        said.well()?;
    }
    until("the namespaces to be gone", PATIENCE, async || {
        let left =
            kubectl::run(&["get", "namespaces", "--selector", "berth.dev/lease", "--output", path]).await?;
        ensure!(left.is_empty(), "{left} are left");
        Ok(())
    })
    .await?;
    let ledger = until("every lease to be closed and paid", PATIENCE, async || {
        for held in [&web, &one, &three] {
            let record = world.chain.lease(held.lease, At::Latest).await?.context("a lease is gone")?;
            ensure!(matches!(record.state, OrderState::Closed), "{} is {:?}", held.lease, record.state);
            let open = world.chain.accrued(held.lease, At::Latest).await?;
            ensure!(open.net == Amount::ZERO, "{} has {} to collect", held.lease, open.net);
        }
        world.ledger().await
    })
    .await?;
    let dust = ledger.dust()?;
    ensure!(ledger.paid > 0 && dust <= ledger.most_dust(), "{dust} units of dust: {ledger:?}");
    ensure!(ledger.held == Amount(dust), "the market holds {} and the dust is {dust}", ledger.held);
    daemon.kill().await?;
    agent.kill().await
}
