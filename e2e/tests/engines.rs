//! What the daemon stores, it stores on either engine.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::addresses::NODE;
use e2e::database::Postgres;
use e2e::story::provider::Provider;
use e2e::story::world::World;
use e2e::wait::until;
use e2e::{kubectl, visitor, workspace};
use manifests::order::LeaseId;
use market::At;

const PATIENCE: Duration = Duration::from_secs(90);
const HOST: &str = "hello.example.test";

#[tokio::test]
#[ignore = "needs Postgres: cargo e2e test engines"]
async fn the_stories_of_the_store_are_told_on_postgres_too() {
    let postgres = Postgres::start().await.unwrap();
    for chosen in [&["--lib", "--", "store::"] as &[&str], &["--test", "stories", "--test", "rims"]] {
        let mut cargo = workspace::cargo().unwrap();
        cargo.arg("test").args(workspace::selection(true)).args(chosen);
        cargo.env("BERTH_TEST_POSTGRES", postgres.url("postgres"));
        let told = tokio::process::Command::from(cargo).status().await.unwrap();
        assert!(told.success(), "{chosen:?} ended with {told}");
    }
}

/// A verb of the operator's on the database at this URL.
async fn verb(provider: &Provider, database: &str, arguments: &[&str]) -> Result<String> {
    let mut command = provider.command(arguments)?;
    let output = command.env("BERTH_DATABASE", database).output().await?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{arguments:?} ended with {}: {words}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The pods of tenants, by their ids: a pod that was started again has another.
async fn pods() -> Result<String> {
    let path = "jsonpath={.items[*].metadata.uid}";
    let selector = "berth.dev/lease";
    kubectl::run(&["get", "pods", "--all-namespaces", "--selector", selector, "--output", path]).await
}

async fn paid(world: &World, lease: LeaseId) -> Result<u64> {
    Ok(world.chain.lease(lease, At::Latest).await?.context("no such lease")?.checkpoint)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs on the bench: cargo e2e test engines"]
async fn a_lease_goes_on_when_the_daemon_moves_to_postgres() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    moves_to_postgres().await.unwrap();
}

async fn moves_to_postgres() -> Result<()> {
    let (world, postgres) = tokio::try_join!(World::open("engines"), Postgres::start())?;
    let (provider, tenant) = tokio::try_join!(world.provider(), world.tenant(0))?;
    let mut daemon = provider.run().await?;
    let document = workspace::root().join("e2e/documents/web.yaml");
    tenant.up(&document, "web", &["--deposit", "20"]).await?.well()?;
    let lease = tenant.lease("web").await?;
    visitor::page(NODE, HOST, "/", PATIENCE).await?;
    let before = pods().await?;
    daemon.kill().await?;

    let sqlite = format!("sqlite://{}", world.folder.join("provider.db").display());
    let database = postgres.create("berth").await?;
    let told = verb(&provider, &sqlite, &["migrate", "--from", &sqlite, "--to", &database]).await?;
    // A line for each table, and a sentence.
    let (equal, others): (Vec<&str>, Vec<&str>) = told.lines().partition(|line| line.ends_with("equal"));
    ensure!(equal.len() > 18 && others.len() == 1, "it says:\n{told}");
    let told = verb(&provider, &database, &["resync", "--only-compare"]).await?;
    ensure!(told.contains("the chain says what the database says"), "it says:\n{told}");

    let mut daemon = provider.run_with(&[("BERTH_DATABASE", &database)]).await?;
    let moved = world.chain.head().await?.timestamp;
    until("money to be collected by the daemon on Postgres", PATIENCE, async || {
        daemon.still_runs()?;
        let until = paid(&world, lease).await?;
        ensure!(until > moved, "paid until {until}, moved at {moved}");
        Ok(())
    })
    .await?;
    ensure!(pods().await? == before, "a pod was started again");
    let page = visitor::page(NODE, HOST, "/", PATIENCE).await?;
    ensure!(page.contains("Hello from a datacenter"), "another page answers:\n{page}");
    tenant.berth(&["down", "web"]).await?.well()?;
    until("nothing of the lease to be left in the cluster", PATIENCE, async || {
        let left = pods().await?;
        ensure!(left.is_empty(), "{left} is left");
        Ok(())
    })
    .await?;
    daemon.kill().await
}
