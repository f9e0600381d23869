//! What a service writes to a persistent volume is there after its pod is gone, the volume grows under the running pod, and
//! what a provider does not offer is declined with its reason.
//!
//! Nothing resizes the bench's volumes: what is seen to grow is the claim, beside a StatefulSet that is made anew and a pod that
//! stays.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::story::direct::{Direct, Wanted};
use e2e::story::provider::Provider;
use e2e::story::world::World;
use e2e::wait::until;
use e2e::{kubectl, workspace};
use manifests::money::Amount;
use manifests::objects::LeaseContext;
use manifests::order::{CloseReason, LeaseId};
use market::api::{ErrorKind, LeaseState};
use market::call::Call;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const MONEY: Amount = Amount(50_000_000);
const NOTE: &str = "written before the pod was gone";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs on the bench: cargo e2e test volumes"]
async fn a_volume_outlives_its_pod_and_grows_under_it() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    kept_and_grown().await.unwrap();
}

async fn kept_and_grown() -> Result<()> {
    let text = fs::read_to_string(workspace::root().join("e2e/documents/volumes.yaml"))?;
    // The same is ordered; of the two volumes the larger one is db's now, under which spare made room for it.
    let next = text.replace("db", "kept").replace("spare", "db").replace("kept", "cache");
    let (first, grown) = (Wanted::of(&text)?, Wanted::of(&next)?);
    ensure!(first.spec.to_bytes()? == grown.spec.to_bytes()?, "another order belongs to the second document");

    let world = World::open("volumes").await?;
    let provider = world.provider().await?;
    let mut agent = provider.agent()?;
    let mut daemon = provider.run().await?;
    let checked = provider.command(&["check"])?.output().await?;
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    ensure!(
        checked.contains("default from StorageClass bench-kept, which can grow"),
        "check says:\n{checked}"
    );

    let tenant = Direct::of(&world, &world.accounts.tenants[0]).await?;
    let lease = tenant.lease(1, &first, first.manifest.digest()).await?;
    tenant.send(lease, &first.manifest).await?;
    tenant.state(lease, LeaseState::Ready).await?;

    let namespace = LeaseContext::unplaced(lease, provider.address).namespace();
    let inside = Inside { namespace: &namespace };
    inside.probe("db-0", &["write", "/data/note", NOTE]).await?;
    let before = inside.pod("db-0").await?;
    kubectl::run(&["delete", "pod", "db-0", "--namespace", &namespace]).await?;
    until("another pod in the place of the first", PATIENCE, async || {
        let pod = inside.pod("db-0").await?;
        ensure!(pod != before, "it is the same");
        ensure!(inside.probe("db-0", &["read", "/data/note"]).await? == NOTE, "it reads something else");
        Ok(())
    })
    .await?;
    tenant.state(lease, LeaseState::Ready).await?;

    grows_under_its_pod(&tenant, lease, &grown, &inside).await?;
    shrinks_never(&tenant, lease, &first).await?;
    declines_what_is_not_offered(&tenant, &provider, &text).await?;
    daemon.still_runs()?;

    tenant.call(&Call::CloseLease { lease, reason: CloseReason::TENANT }).await?;
    until("the lease's namespace and its claims to be gone", PATIENCE, async || {
        let left = kubectl::run(&["get", "pvc", "--all-namespaces", "--output", "name"]).await?;
        ensure!(left.is_empty(), "there is {left}");
        let left = ["get", "namespaces", "--selector", "berth.dev/lease", "--output", "name"];
        let left = kubectl::run(&left).await?;
        ensure!(left.is_empty(), "there is {left}");
        Ok(())
    })
    .await?;
    daemon.kill().await?;
    agent.kill().await
}

/// The namespace of the lease, seen by the cluster's operator.
struct Inside<'a> {
    namespace: &'a str,
}

impl Inside<'_> {
    async fn get(&self, what: &str) -> Result<Value> {
        let text = kubectl::run(&["get", what, "--namespace", self.namespace, "--output", "json"]).await?;
        serde_json::from_str(&text).with_context(|| format!("{what} is no JSON"))
    }

    /// The UID of a pod.
    async fn pod(&self, name: &str) -> Result<Value> {
        Ok(self.get(&format!("pod/{name}")).await?["metadata"]["uid"].clone())
    }

    async fn probe(&self, pod: &str, arguments: &[&str]) -> Result<String> {
        let mut command = vec!["exec", "--namespace", self.namespace, pod, "--", "/probe"];
        command.extend(arguments);
        kubectl::run(&command).await
    }
}

async fn grows_under_its_pod(
    tenant: &Direct,
    lease: LeaseId,
    grown: &Wanted,
    inside: &Inside<'_>,
) -> Result<()> {
    let (pod, set) = (inside.pod("db-0").await?, inside.get("statefulset/db").await?);
    tenant.bind(lease, grown.manifest.digest()).await?;
    tenant.send(lease, &grown.manifest).await?;
    until("the volume to be claimed larger, and the StatefulSet to say so", PATIENCE, async || {
        let now = inside.get("statefulset/db").await?;
        ensure!(now["metadata"]["uid"] != set["metadata"]["uid"], "the StatefulSet is the same");
        let asked = &now["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"];
        ensure!(asked == "134217728" || asked == "128Mi", "its template asks for {asked}");
        let claim = inside.get("pvc/volume-data-db-0").await?;
        let asked = &claim["spec"]["resources"]["requests"]["storage"];
        ensure!(asked == "134217728" || asked == "128Mi", "the claim asks for {asked}");
        let adopted = inside.get("pod/db-0").await?;
        let owner = &adopted["metadata"]["ownerReferences"][0]["uid"];
        ensure!(*owner == now["metadata"]["uid"], "its pod is not adopted yet");
        Ok(())
    })
    .await?;
    until("what was dropped to be gone", PATIENCE, async || {
        let claims = inside.get("pvc").await?;
        let claims = claims["items"].as_array().context("no list")?.len();
        ensure!(claims == 2, "there are {claims} claims");
        Ok(())
    })
    .await?;
    tenant.state(lease, LeaseState::Ready).await?;
    ensure!(inside.pod("db-0").await? == pod, "the pod is another one");
    ensure!(inside.probe("db-0", &["read", "/data/note"]).await? == NOTE, "what was written is gone");
    Ok(())
}

async fn shrinks_never(tenant: &Direct, lease: LeaseId, first: &Wanted) -> Result<()> {
    tenant.bind(lease, first.manifest.digest()).await?;
    let (status, refused) = tenant.refusal(lease, &first.manifest).await?;
    ensure!(
        (status, refused.kind) == (422, ErrorKind::ManifestRefused)
            && refused.message.contains("service db")
            && refused.message.contains("cannot become smaller"),
        "{status} {refused:?}"
    );
    tenant.state(lease, LeaseState::Ready).await
}

async fn declines_what_is_not_offered(tenant: &Direct, provider: &Provider, text: &str) -> Result<()> {
    let leased = "        to:\n          - global: true\n            ip: front\n";
    let with_address = text.replacen("        to:\n          - global: true\n", leased, 1).replacen(
        "version: \"2.0\"\n",
        "version: \"2.1\"\nendpoints:\n  front:\n    kind: ip\n",
        1,
    );
    let cases = [
        ("ip_unavailable", with_address),
        ("resources_storage_class", text.replace("class: default", "class: beta3")),
        ("resources_volume", text.replace("size: 128Mi", "size: 2Gi")),
    ];
    for (dseq, (reason, document)) in (2..).zip(&cases) {
        let wanted = Wanted::of(document).with_context(|| format!("the document for {reason}"))?;
        let order = tenant.deploy(dseq, wanted.manifest.digest(), MONEY).await?.order(1, 1);
        tenant.order(order, &wanted).await?;
        until("the provider to decline", PATIENCE, async || {
            let told = provider.explain(order).await?;
            ensure!(told.contains(reason), "it explains:\n{told}");
            Ok(())
        })
        .await?;
        tenant.call(&Call::CancelOrder { order }).await?;
    }
    Ok(())
}
