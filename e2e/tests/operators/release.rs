//! Install, test, upgrade, a second install with the same key, uninstall and install again, while leases run.

#![expect(
    clippy::print_stdout,
    reason = "how long an install takes is what a reader of the test run looks for"
)]

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::access::Access;
use e2e::report::Timeline;
use e2e::story::direct::{Direct, Wanted};
use e2e::story::release::{NAME, Release, push_image};
use e2e::story::seller::Place;
use e2e::story::world::World;
use e2e::wait::until;
use e2e::{kubectl, visitor, workspace};
use manifests::money::Amount;
use manifests::order::OrderId;
use market::At;
use market::api::LeaseState;
use market::reader::BidState;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(90);
const HOST: &str = "operators.example.test";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs on the bench: cargo e2e test operators"]
async fn leases_run_on_and_no_bid_is_lost_while_the_release_is_upgraded_and_installed_again() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    World::clear().await.unwrap();
    let world =
        World::on(Place::InCluster.access(Access::here().unwrap()).unwrap(), "operators").await.unwrap();
    let release = Release::prepare(&world, "berth-operators").await.unwrap();
    let mut story = Story::begin(&world, release).await.unwrap();
    let mut timeline = Timeline::start();
    story.install().await.unwrap();
    timeline.step("installed and tested");
    story.lease().await.unwrap();
    timeline.step("a lease runs");
    story.upgrade_settings().await.unwrap();
    timeline.step("a setting was changed");
    story.upgrade_image().await.unwrap();
    timeline.step("the image was changed");
    story.upgrade_prices().await.unwrap();
    timeline.step("a price was changed");
    story.second_install().await.unwrap();
    timeline.step("a second install came and went");
    story.uninstall_and_install_again().await.unwrap();
    timeline.step("uninstalled, and installed again");
    story.end().await.unwrap();
    timeline.end("all of it");
}

struct Story<'a> {
    world: &'a World,
    release: Release,
    direct: Direct,
    wanted: Wanted,
    orders: u64,
    /// The pods of leases, which nothing may replace.
    pods: BTreeSet<String>,
}

impl<'a> Story<'a> {
    async fn begin(world: &'a World, release: Release) -> Result<Self> {
        let direct = Direct::of(world, &world.accounts.tenants[1]).await?;
        let wanted = Wanted::of(&document("plain.example.test")?)?;
        Ok(Self { world, release, direct, wanted, orders: 0, pods: BTreeSet::new() })
    }

    /// One more order of the second tenant's, each in a deployment of its own.
    async fn order(&mut self) -> Result<OrderId> {
        self.orders += 1;
        let digest = self.wanted.manifest.digest();
        let order = self.direct.deploy(self.orders, digest, Amount(20_000_000)).await?.order(1, 1);
        self.direct.order(order, &self.wanted).await?;
        Ok(order)
    }

    /// An order that was on the book before is bid on by a provider that was not there before.
    async fn install(&mut self) -> Result<()> {
        let order = self.order().await?;
        let start = Instant::now();
        let bid = async {
            self.direct.bid(order).await?;
            Ok(start.elapsed())
        };
        let (ready, bid) = tokio::try_join!(self.release.install(), bid)?;
        println!("COUNTED: from helm install to Ready {ready:.1?}, to the first bid {bid:.1?}");
        let said = self.release.test().await?;
        let told: Vec<&str> = said.lines().filter(|line| line.starts_with("ok  ")).collect();
        ensure!(told.len() >= 15 && !said.contains("FAIL"), "helm test says:\n{said}");
        Ok(())
    }

    /// A lease that all that follows must leave alone.
    async fn lease(&mut self) -> Result<()> {
        let path = self.world.folder.join("web.yaml");
        fs::write(&path, document(HOST)?)?;
        self.world.tenant(0).await?.up(&path, "web", &["--deposit", "50"]).await?.well()?;
        self.pods = pods_of_leases().await?;
        ensure!(self.pods.len() == 1, "the pods of leases are {:?}", self.pods);
        self.unmoved().await
    }

    /// The lease's page answers, from the very pods that there were.
    async fn unmoved(&self) -> Result<()> {
        let page = visitor::page(&self.world.access.way_in.address, HOST, "/", PATIENCE).await?;
        ensure!(page.contains("Hello from a datacenter"), "another page answers:\n{page}");
        let pods = pods_of_leases().await?;
        ensure!(self.pods.is_subset(&pods), "there were {:?}, and now there are {pods:?}", self.pods);
        Ok(())
    }

    /// A setting that needs a restart, with a bid on the book that is accepted afterwards.
    async fn upgrade_settings(&mut self) -> Result<()> {
        let order = self.order().await?;
        let bid = self.direct.bid(order).await?;
        let before = self.daemon().await?;
        self.release.values["chain"]["staleAfter"] = json!("45s");
        self.release.upgrade().await?;
        self.release.ready().await?;
        ensure!(self.daemon().await? != before, "the setting needs a restart, and there was none");
        self.unmoved().await?;
        let now = self.direct.bid(order).await?;
        ensure!(now.terms_hash() == bid.terms_hash(), "the bid was {bid:?} and is {now:?}");
        self.direct.accept(order, &bid).await?;
        self.direct.state(order, LeaseState::AwaitingManifest).await?;
        self.direct.send(order, &self.wanted.manifest).await?;
        self.direct.state(order, LeaseState::Ready).await?;
        self.pods = pods_of_leases().await?;
        ensure!(self.pods.len() == 2, "the pods of leases are {:?}", self.pods);
        Ok(())
    }

    async fn upgrade_image(&mut self) -> Result<()> {
        let before = (self.daemon().await?, self.agents().await?);
        push_image("0.1.1").await?;
        self.release.values["image"] = json!({"tag": "0.1.1"});
        self.release.upgrade().await?;
        self.release.ready().await?;
        let after = (self.daemon().await?, self.agents().await?);
        ensure!(before.0 != after.0 && before.1 != after.1, "pods were {before:?} and are {after:?}");
        self.unmoved().await
    }

    /// Prices are read again by the daemon that runs.
    async fn upgrade_prices(&mut self) -> Result<()> {
        let order = self.order().await?;
        let cheap = self.direct.bid(order).await?.rate;
        let before = self.daemon().await?;
        let read = "berth_config_reload_success_timestamp_seconds";
        let was_read = metric(&self.release.metrics().await?, read)?;
        self.release.values["pricing"]["minimumMonthly"] = json!("2.00");
        self.release.upgrade().await?;
        ensure!(self.daemon().await? == before, "a price needs no restart, and there was one");
        // The kubelet hands a changed ConfigMap on when it next looks at the pod; a changed annotation makes it look.
        let pod = self.release.daemon().await?.metadata.name.context("a pod without a name")?;
        let mark = ["annotate", "pod", &pod, "story/look=now", "--namespace", &self.release.namespace];
        kubectl::run(&mark).await?;
        until("the daemon to read the prices again", PATIENCE, async || {
            let last = metric(&self.release.metrics().await?, read)?;
            ensure!(last > was_read, "it last did at unix second {last}");
            Ok(())
        })
        .await?;
        let order = self.order().await?;
        let dear = self.direct.bid(order).await?.rate;
        ensure!(dear.scaled() > cheap.scaled() * 3 / 2, "it asked {cheap}, and now {dear}");
        self.unmoved().await
    }

    /// Another install with the same key, in a namespace that admits restricted pods only, neither bids nor sends.
    async fn second_install(&mut self) -> Result<()> {
        let mut second = Release::prepare(self.world, "berth-second").await?;
        kubectl::run(&[
            "label",
            "namespace",
            "berth-second",
            "pod-security.kubernetes.io/enforce=restricted",
        ])
        .await?;
        second.values["agent"] = json!({"enabled": false});
        second.values["gateway"]["expose"] = json!("ClusterIP");
        second.values["gateway"]["service"] = json!({});
        second.values["preflight"] = json!({"enabled": false});
        second.install_without_waiting().await?;
        until("the second daemon to see that it is one too many", PATIENCE, async || {
            let metrics = second.metrics().await?;
            ensure!(metric(&metrics, "berth_leader")? == 0.0, "it leads");
            let log = second.log().await?;
            ensure!(log.contains("berth-operators"), "it does not say who has the key's Lease:\n{log}");
            Ok(())
        })
        .await?;
        let order = self.order().await?;
        self.direct.bid(order).await?;
        let metrics = second.metrics().await?;
        let sent: Vec<&str> = metrics
            .lines()
            .filter(|line| line.starts_with("berth_tx_total{") && !line.ends_with(" 0"))
            .collect();
        ensure!(sent.is_empty(), "the second install has sent: {sent:?}");
        ensure!(second.is_ready().await.is_err(), "the second install says that it answers orders");
        second.uninstall().await?;
        self.release.ready().await?;
        self.unmoved().await
    }

    /// Tenants' namespaces stay, the daemon's volume stays, nothing else does; installed again it knows every lease.
    async fn uninstall_and_install_again(&mut self) -> Result<()> {
        self.release.uninstall().await?;
        self.unmoved().await?;
        let selector = "app.kubernetes.io/instance=berth";
        let kinds = "clusterroles,clusterrolebindings,validatingadmissionpolicies,\
                     validatingadmissionpolicybindings,priorityclasses";
        let left = kubectl::run(&["get", kinds, "--selector", selector, "--output", "name"]).await?;
        ensure!(left.is_empty(), "uninstalling leaves {left}");
        let claims =
            ["get", "persistentvolumeclaims", "--namespace", &self.release.namespace, "--output", "name"];
        let claims = kubectl::run(&claims).await?;
        ensure!(claims.contains(NAME), "the daemon's volume is gone: {claims:?}");
        let ready = self.release.install().await?;
        println!("COUNTED: installed again, Ready after {ready:.1?}");
        self.unmoved().await?;
        let status = self.world.tenant(0).await?.status("web").await?;
        ensure!(status.state == LeaseState::Ready, "the lease is {}", status.state);
        Ok(())
    }

    /// All leases end as ever.
    async fn end(self) -> Result<()> {
        self.world.tenant(0).await?.berth(&["down", "web"]).await?.well()?;
        until("the lease's namespace to be gone", PATIENCE, async || {
            let pods = pods_of_leases().await?;
            ensure!(pods.len() == 1, "the pods of leases are {pods:?}");
            Ok(())
        })
        .await?;
        let ledger = self.world.ledger().await?;
        for order in &ledger.orders {
            let bid = self.world.chain.bid(*order, self.direct.provider, At::Latest).await?;
            let bid = bid.with_context(|| format!("{order} was never bid on"))?;
            ensure!(
                matches!(bid.state, BidState::Open | BidState::Won),
                "the bid on {order} is {:?}",
                bid.state
            );
        }
        self.release.uninstall().await
    }

    async fn daemon(&self) -> Result<String> {
        self.release.daemon().await?.metadata.uid.context("a pod without a UID")
    }

    async fn agents(&self) -> Result<BTreeSet<String>> {
        let pods = self.release.pods("agent").await?;
        Ok(pods.into_iter().filter_map(|pod| pod.metadata.uid).collect())
    }
}

/// The demo's document under another host.
fn document(host: &str) -> Result<String> {
    let text = fs::read_to_string(workspace::root().join("e2e/documents/web.yaml"))?;
    ensure!(text.contains("hello.example.test"), "the demo's document reads differently");
    Ok(text.replace("hello.example.test", host))
}

/// The UIDs of all pods in namespaces of leases.
async fn pods_of_leases() -> Result<BTreeSet<String>> {
    let names = [
        "get",
        "namespaces",
        "--selector",
        "berth.dev/lease",
        "--output",
        "jsonpath={.items[*].metadata.name}",
    ];
    let names = kubectl::run(&names).await?;
    let mut found = BTreeSet::new();
    for name in names.split_whitespace() {
        let uids = ["get", "pods", "--namespace", name, "--output", "jsonpath={.items[*].metadata.uid}"];
        found.extend(kubectl::run(&uids).await?.split_whitespace().map(str::to_owned));
    }
    Ok(found)
}

/// The sum of all series of a metric.
fn metric(text: &str, name: &str) -> Result<f64> {
    let of_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    let values: Vec<f64> = text
        .lines()
        .filter(of_it)
        .filter_map(|line| line.rsplit(' ').next().and_then(|value| value.parse().ok()))
        .collect();
    ensure!(!values.is_empty(), "there is no metric {name}");
    Ok(values.iter().sum())
}
