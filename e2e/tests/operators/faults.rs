//! What an operator can do wrong and what a cluster can do to a provider: each is said in one clear sentence where the operator
//! looks first, and is over when its cause is.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::access::Access;
use e2e::kubectl;
use e2e::story::direct::{Direct, Wanted};
use e2e::story::release::{NAME, Release};
use e2e::story::seller::Place;
use e2e::story::world::World;
use e2e::wait::until;
use e2e::workspace;
use manifests::money::Amount;
use manifests::order::OrderId;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(90);
const NAMESPACE: &str = "berth-faults";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs on the bench: cargo e2e test operators"]
async fn each_fault_of_operator_and_cluster_is_told_and_ends_with_its_cause() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    World::clear().await.unwrap();
    let world = World::on(Place::InCluster.access(Access::here().unwrap()).unwrap(), "faults").await.unwrap();
    let release = Release::prepare(&world, NAMESPACE).await.unwrap();
    let direct = Direct::of(&world, &world.accounts.tenants[0]).await.unwrap();
    let volume = SmallVolume::over(&release.volume()).unwrap();
    let mut story = Story { release, direct, orders: 0 };
    story.a_secret_that_is_not_there().await.unwrap();
    story.another_chain().await.unwrap();
    story.no_driver().await.unwrap();
    story.rights_taken_away().await.unwrap();
    story.full_volume(&volume).await.unwrap();
    story.release.uninstall().await.unwrap();
}

struct Story {
    release: Release,
    direct: Direct,
    orders: u64,
}

impl Story {
    async fn a_secret_that_is_not_there(&mut self) -> Result<()> {
        let right = self.release.values["wallet"].clone();
        self.release.values["wallet"] = json!({"existingSecret": "nobodys"});
        self.release.install_without_waiting().await?;
        until("Kubernetes to say which secret is missing", PATIENCE, async || {
            let events = self.kubectl(&["get", "events", "--output", "jsonpath={.items[*].message}"]).await?;
            ensure!(events.contains(r#"secret "nobodys" not found"#), "it says {events}");
            Ok(())
        })
        .await?;
        self.release.values["wallet"] = right;
        Ok(())
    }

    /// The pod ends, and its first line says why.
    async fn another_chain(&mut self) -> Result<()> {
        let right = self.release.values["chain"]["market"].clone();
        let market = right.as_str().context("the market is no text")?;
        self.release.values["chain"]["market"] = json!(market.replace(":31337:", ":31338:"));
        self.release.upgrade_without_waiting().await?;
        until("the daemon to say that it is on another chain", PATIENCE, async || {
            let log = self.release.log().await?;
            let first = log.lines().next().context("it has said nothing")?;
            ensure!(first.contains("31337") && first.contains("31338"), "its first line is {first}");
            Ok(())
        })
        .await?;
        self.release.values["chain"]["market"] = right;
        Ok(())
    }

    /// An agent that finds no driver says so once and goes on; what needs no GPU is sold.
    async fn no_driver(&mut self) -> Result<()> {
        let right = self.release.values["agent"]["driverRoot"]["library"].clone();
        self.release.values["agent"]["driverRoot"]["library"] = json!("no-such-library.so");
        self.release.upgrade().await?;
        self.release.ready().await?;
        let log = self
            .kubectl(&["logs", "--selector", "app.kubernetes.io/component=agent", "--tail", "-1"])
            .await?;
        let first = log.lines().next().context("the agent has said nothing")?;
        ensure!(first.contains("no-such-library.so"), "the agent's first line is {first}");
        let check = self.release.ask(&["check"]).await?;
        ensure!(check.lines().any(|line| line.contains("GPUs") && line.contains("none is sold")), "{check}");
        let order = self.order().await?;
        self.direct.bid(order).await?;
        self.release.values["agent"]["driverRoot"]["library"] = right;
        self.release.upgrade().await
    }

    /// `check` names the right that is missing; nothing that runs ends, and all is well again with the right.
    async fn rights_taken_away(&mut self) -> Result<()> {
        let before = self.release.daemon().await?.metadata.uid;
        let binding = format!("{NAME}.{NAMESPACE}");
        kubectl::run(&["delete", "clusterrolebinding", &binding]).await?;
        until("check to name what is missing", PATIENCE, async || {
            let failure = match self.release.ask(&["check"]).await {
                Ok(said) => anyhow::bail!("check finds nothing wrong:\n{said}"),
                Err(error) => format!("{error:#}"),
            };
            ensure!(failure.contains("FAIL  permissions"), "{failure}");
            Ok(())
        })
        .await?;
        // Helm puts back what it installed.
        self.release.upgrade().await?;
        self.release.ready().await?;
        let order = self.order().await?;
        self.direct.bid(order).await?;
        ensure!(self.release.daemon().await?.metadata.uid == before, "the daemon was started anew");
        Ok(())
    }

    /// The daemon says that its volume is full, answers no orders meanwhile, and goes on by itself when there is room.
    async fn full_volume(&mut self, volume: &SmallVolume) -> Result<()> {
        volume.fill()?;
        let order = self.order().await?;
        until("the daemon to say that its volume is full", PATIENCE, async || {
            let log = self.release.log().await?;
            ensure!(log.contains("full"), "it says nothing of it:\n{log}");
            Ok(())
        })
        .await?;
        volume.empty()?;
        self.direct.bid(order).await?;
        self.release.ready().await
    }

    async fn order(&mut self) -> Result<OrderId> {
        self.orders += 1;
        let document = fs::read_to_string(workspace::root().join("e2e/documents/web.yaml"))?;
        let wanted = Wanted::of(&document)?;
        let order =
            self.direct.deploy(self.orders, wanted.manifest.digest(), Amount(20_000_000)).await?.order(1, 1);
        self.direct.order(order, &wanted).await?;
        Ok(order)
    }

    async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        kubectl::run(&[&["--namespace", NAMESPACE], arguments].concat()).await
    }
}

/// A volume of a few megabytes, laid over the folder that the daemon's claim is bound to.
struct SmallVolume(PathBuf);

impl SmallVolume {
    fn over(folder: &Path) -> Result<Self> {
        let options = Some("size=12m,mode=0777");
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), options)
            .with_context(|| format!("failed to mount a small volume over {}", folder.display()))?;
        Ok(Self(folder.to_owned()))
    }

    fn fill(&self) -> Result<()> {
        let mut file = fs::File::create(self.0.join("filler"))?;
        // Until there is no room.
        while std::io::Write::write_all(&mut file, &[0; 1024]).is_ok() {}
        Ok(())
    }

    fn empty(&self) -> Result<()> {
        fs::remove_file(self.0.join("filler")).context("failed to remove what fills the volume")
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.0, MntFlags::MNT_DETACH) {
            eprintln!("the small volume stays over {}: {error}", self.0.display());
        }
    }
}
