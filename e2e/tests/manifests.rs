//! A manifest runs only if it is the one that was committed to, and asks for exactly what was ordered.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::process::Process;
use e2e::story::direct::{Direct, Wanted};
use e2e::story::provider::Provider;
use e2e::story::world::World;
use e2e::wait::until;
use e2e::{kubectl, workspace};
use manifests::objects::LeaseContext;
use manifests::order::LeaseId;
use market::api::{ErrorKind, LeaseState};
use market::client::ClientError;

const PATIENCE: Duration = Duration::from_secs(60);

/// What the manifest asks for beyond the order, how the document is changed for it, and what the refusal names.
const GREED: [(&str, &str, &str, &[&str]); 6] = [
    ("cpu", "units: 0.1", "units: 0.5", &["unit 1", "500 of cpu", "ordered were 100"]),
    ("memory", "size: 128Mi", "size: 512Mi", &["unit 1", "536870912 of memory", "ordered were 134217728"]),
    ("storage", "size: 256Mi", "size: 1Gi", &["unit 1", "1073741824 of storage", "ordered were 268435456"]),
    (
        "gpu",
        "        storage:",
        "        gpu: {units: 1, attributes: {vendor: {nvidia: [{model: h100}]}}}\n        storage:",
        &["unit 1", "1 of gpu", "ordered were 0"],
    ),
    ("count", "count: 1", "count: 3", &["unit 1", "3 replicas"]),
    (
        "endpoints",
        "    expose:\n",
        "    expose:\n      - port: 9090\n        as: 9090\n        to:\n          - global: true\n",
        &["port 9090", "no more of them were ordered"],
    ),
];

struct Stage {
    daemon: Process,
    agent: Process,
    tenant: Direct,
    document: String,
}

impl Stage {
    async fn set(name: &str) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let world = World::open(name).await?;
        let provider = world.provider().await?;
        let agent = provider.agent()?;
        published(&provider).await?;
        let daemon = provider.run().await?;
        let tenant = Direct::of(&world, &world.accounts.tenants[0]).await?;
        let document = fs::read_to_string(workspace::root().join("e2e/documents/web.yaml"))?;
        let document = document.replace("hello.example.test", &format!("{name}.example.test"));
        Ok(Self { daemon, agent, tenant, document })
    }

    /// The document with one piece of it replaced.
    fn changed(&self, from: &str, to: &str) -> Result<Wanted> {
        ensure!(self.document.contains(from), "the document holds no {from:?}");
        Wanted::of(&self.document.replace(from, to))
    }

    fn namespace(&self, lease: LeaseId) -> String {
        LeaseContext::unplaced(lease, self.tenant.provider).namespace()
    }

    /// What runs for a lease: the Deployments with their generations, and the pods with their ids.
    async fn running(&self, lease: LeaseId) -> Result<(String, String)> {
        let namespace = self.namespace(lease);
        let get = async |kind: &str, path: &str| {
            kubectl::run(&["get", kind, "--namespace", &namespace, "--output", path]).await
        };
        let made = r"jsonpath={range .items[*]}{.metadata.name} {.metadata.generation} {.spec.replicas}{end}";
        let pods = r"jsonpath={range .items[*]}{.metadata.name} {.metadata.uid}{end}";
        Ok((get("deployments", made).await?, get("pods", pods).await?))
    }

    async fn end(mut self) -> Result<()> {
        self.daemon.still_runs()?;
        self.daemon.kill().await?;
        self.agent.kill().await
    }
}

/// Waits until the agent has told of its node.
async fn published(provider: &Provider) -> Result<()> {
    let path = r"jsonpath={.items[*].metadata.name}";
    let get = ["get", "configmaps", "--namespace", &provider.namespace, "--output", path];
    until("the agent to publish its record", PATIENCE, async || {
        let names = kubectl::run(&get).await?;
        ensure!(names.split_whitespace().any(|name| name != "kube-root-ca.crt"), "there is {names:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs on the bench: cargo e2e test manifests"]
async fn wrong_manifest() {
    another_digest_is_refused().await.unwrap();
}

async fn another_digest_is_refused() -> Result<()> {
    let stage = Stage::set("wrong").await?;
    let wanted = Wanted::of(&stage.document)?;
    let other = stage.changed("LOG_LEVEL=info", "LOG_LEVEL=debug")?;
    let (digest, strange) = (wanted.manifest.digest(), other.manifest.digest());
    let lease = stage.tenant.lease(1, &wanted, digest).await?;

    let tenant = &stage.tenant;
    let sent = tenant.gateway.send_manifest(&tenant.wallet, lease, &other.manifest.canonical_json()).await;
    let Err(ClientError::Refused { status, body, .. }) = sent else { anyhow::bail!("not refused: {sent:?}") };
    ensure!(status == 409 && body.kind == ErrorKind::ManifestMismatch, "{status} {body:?}");
    for named in [digest, strange] {
        ensure!(body.message.contains(&named.to_string()), "{named} is not named: {}", body.message);
    }
    tenant.state(lease, LeaseState::AwaitingManifest).await?;
    ensure!(stage.running(lease).await? == Default::default(), "something was applied");

    // The one that was committed to runs; the other is refused as before, and changes nothing.
    tenant.send(lease, &wanted.manifest).await?;
    tenant.state(lease, LeaseState::Ready).await?;
    let before = stage.running(lease).await?;
    ensure!(before.0 == "web 1 1", "{before:?} runs");
    let sent = tenant.gateway.send_manifest(&tenant.wallet, lease, &other.manifest.canonical_json()).await;
    let refusal = sent.err().context("another digest was taken in mid-lease")?;
    ensure!(refusal.refusal() == Some(ErrorKind::ManifestMismatch), "{refusal}");
    ensure!(stage.running(lease).await? == before, "it runs differently");
    close(&stage, lease).await?;
    stage.end().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs on the bench: cargo e2e test manifests"]
async fn greedy_manifest() {
    more_than_was_ordered_is_refused().await.unwrap();
}

async fn more_than_was_ordered_is_refused() -> Result<()> {
    let stage = Stage::set("greedy").await?;
    let wanted = Wanted::of(&stage.document)?;
    let tenant = &stage.tenant;
    let lease = tenant.lease(1, &wanted, wanted.manifest.digest()).await?;
    refused(&stage, lease).await?;
    tenant.state(lease, LeaseState::AwaitingManifest).await?;
    ensure!(stage.running(lease).await? == Default::default(), "something was applied");

    tenant.bind(lease, wanted.manifest.digest()).await?;
    tenant.send(lease, &wanted.manifest).await?;
    tenant.state(lease, LeaseState::Ready).await?;
    let before = stage.running(lease).await?;
    ensure!(before.0 == "web 1 1", "{before:?} runs");
    refused(&stage, lease).await?;
    tenant.state(lease, LeaseState::Ready).await?;
    let after = stage.running(lease).await?;
    ensure!(after == before, "{before:?} ran, now {after:?} does");
    close(&stage, lease).await?;
    stage.end().await
}

/// Commits to each greedy manifest in turn and sends it.
async fn refused(stage: &Stage, lease: LeaseId) -> Result<()> {
    for (what, from, to, names) in GREED {
        let greedy = stage.changed(from, to).with_context(|| format!("more {what}"))?.manifest;
        stage.tenant.bind(lease, greedy.digest()).await?;
        let (status, body) =
            stage.tenant.refusal(lease, &greedy).await.with_context(|| format!("more {what}"))?;
        ensure!(status == 422 && body.kind == ErrorKind::ManifestRefused, "{what}: {status} {body:?}");
        for name in names {
            ensure!(body.message.contains(name), "{what}: {name:?} is not named: {}", body.message);
        }
    }
    Ok(())
}

async fn close(stage: &Stage, lease: LeaseId) -> Result<()> {
    let reason = manifests::order::CloseReason::TENANT;
    stage.tenant.call(&market::call::Call::CloseLease { lease, reason }).await?;
    let namespace = stage.namespace(lease);
    until("the namespace to be gone", PATIENCE, async || {
        let left = kubectl::run(&["get", "namespace", &namespace, "--ignore-not-found"]).await?;
        ensure!(left.is_empty(), "it is there: {left}");
        Ok(())
    })
    .await
}
