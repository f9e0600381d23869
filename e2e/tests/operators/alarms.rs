//! Faults of every kind, and the alerts that a real Prometheus raises on them; before, that a provider in good health raises
//! none. What dashboards ask for shows at one time or another: some of it only in trouble.

#![expect(clippy::print_stdout, reason = "which alerts were seen is what a reader of the test run looks for")]

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::access::Access;
use e2e::story::release::{NAME, Release};
use e2e::story::seller::Place;
use e2e::story::tenant::NO_BIDS;
use e2e::story::world::World;
use e2e::wait::until;
use e2e::{chart, dashboards, kubectl, workspace};
use fake_nvml::script::{Ecc, Mig, MigSlice};
use fake_nvml::{Health, Script};
use manifests::objects::labels::{LEASE, PROVIDER};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::prometheus::{self, Prometheus};

const PATIENCE: Duration = Duration::from_secs(90);
/// A namespace that carries the label of a lease that nobody knows.
const ORPHAN: &str = "berth-nobodys";
/// What the story's provider does not have: a pricing program, a source of a currency's worth that fails, a certificate for
/// its wildcard.
const NOT_HERE: [&str; 3] = [
    "berth_pricing_duration_seconds",
    "berth_price_fx_failures_total",
    "berth_tls_cert_expiry_timestamp_seconds",
];
/// `nvmlClocksThrottleReasonHwThermalSlowdown`.
const HOT: u64 = 0x40;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs on the bench: cargo e2e test operators"]
async fn faults_raise_their_alerts_and_health_raises_none() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    story().await.unwrap();
}

async fn story() -> Result<()> {
    World::clear().await?;
    let world = World::on(Place::InCluster.access(Access::here()?)?, "alarms").await?;
    let mut release = Release::prepare(&world, "berth-alarms").await?;
    release.values["monitoring"] = json!({
        "podMonitor": {"enabled": true},
        "rules": {"enabled": true},
        "dashboards": {"enabled": true},
    });
    release.values["pricing"]["fx"] = json!({"currency": "EUR", "sources": [{"static": "1.10"}]});
    prometheus::forget_kinds().await?;
    let refusal = release.refusal().await?;
    ensure!(
        refusal.contains("PodMonitor") && refusal.contains("install the Prometheus operator"),
        "{refusal}"
    );
    prometheus::define_kinds().await?;
    release.install().await?;
    let folder = world.folder.join("prometheus");
    let mut prometheus = Prometheus::start(&release.namespace, &folder).await?;

    let mut panels = Panels::of_the_chart()?;
    trade(&world).await?;
    panels.look(&prometheus).await?;
    let firing = prometheus.firing().await?;
    ensure!(firing.is_empty(), "nothing is wrong, and {firing:?} fire");

    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let faults = Faults { world: &world, release: &release };
    for fault in [Fault::Gpu, Fault::Wallet, Fault::Orphan, Fault::Chain, Fault::Daemon] {
        faults.commit(fault).await?;
        prometheus.fires(fault.alerts()).await.with_context(|| format!("{fault:?}"))?;
        panels.look(&prometheus).await?;
        faults.mend(fault).await?;
        prometheus.is_silent(fault.alerts()).await.with_context(|| format!("after {fault:?}"))?;
        seen.extend(fault.alerts());
    }
    println!("COUNTED: {} alerts seen firing on injected faults, and silent again: {seen:?}", seen.len());
    panels.all_showed_something()?;
    prometheus.kill().await?;
    release.uninstall().await?;
    prometheus::forget_kinds().await
}

/// What there is to see on dashboards: two leases, one with a GPU, one that has ended, an order that nobody can serve.
async fn trade(world: &World) -> Result<()> {
    let document = |name: &str| workspace::root().join("e2e/documents").join(name);
    let (alice, bob, carol) = tokio::try_join!(world.tenant(0), world.tenant(1), world.tenant(2))?;
    let deposit = ["--deposit", "50"];
    let (web, gpu, ended) = (document("web.yaml"), document("gpu.yaml"), world.folder.join("ended.yaml"));
    fs::write(&ended, fs::read_to_string(&web)?.replace("hello.example.test", "ended.example.test"))?;
    let (web, gpu, ended) = tokio::try_join!(
        alice.up(&web, "web", &deposit),
        bob.up(&gpu, "gpu", &deposit),
        carol.up(&ended, "ended", &deposit),
    )?;
    for said in [web, gpu, ended] {
        said.well()?;
    }
    let large = carol.up(&document("eight-gpus.yaml"), "large", &["--wait", "4s", "--deposit", "50"]).await?;
    ensure!(large.code == NO_BIDS, "{}", large.telling);
    alice.berth(&["logs", "web", "--tail", "1"]).await?.well()?;
    until("something to be withdrawn", PATIENCE, async || {
        ensure!(world.ledger().await?.payouts > 0, "nothing is");
        Ok(())
    })
    .await?;
    carol.berth(&["down", "ended"]).await?.well().map(drop)
}

/// The queries of the dashboards that have not shown anything yet.
struct Panels {
    all: usize,
    empty: Vec<(String, String)>,
}

impl Panels {
    fn of_the_chart() -> Result<Self> {
        let empty = dashboards::queries(&chart::folder())?;
        Ok(Self { all: empty.len(), empty })
    }

    async fn look(&mut self, prometheus: &Prometheus) -> Result<()> {
        let mut still = Vec::new();
        for (panel, query) in std::mem::take(&mut self.empty) {
            if prometheus.ask(&query).await?.is_empty() {
                still.push((panel, query));
            }
        }
        self.empty = still;
        Ok(())
    }

    fn all_showed_something(&self) -> Result<()> {
        let not_here = |query: &str| NOT_HERE.iter().any(|metric| query.contains(metric));
        let empty: Vec<_> = self.empty.iter().filter(|(_, query)| !not_here(query)).collect();
        ensure!(empty.is_empty(), "of {} queries these gave nothing: {empty:#?}", self.all);
        println!(
            "COUNTED: {} of {} queries of the dashboards showed something at one time or another",
            self.all - self.empty.len(),
            self.all
        );
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The driver tells that a GPU fell off the bus, and that others are in trouble.
    Gpu,
    /// The operator key's gas money is gone.
    Wallet,
    /// A namespace carries our label, and no lease is known to it.
    Orphan,
    /// The chain's node hangs.
    Chain,
    /// The daemon is gone.
    Daemon,
}

impl Fault {
    fn alerts(self) -> &'static [&'static str] {
        match self {
            Self::Gpu => &["GpuUnhealthy", "XidError", "GpuRowRemapPending"],
            Self::Wallet => &["WalletLow"],
            Self::Orphan => &["OrphanedNamespaces", "HoldMode"],
            Self::Chain => &["ChainEventsStale", "NoHealthyChainEndpoint", "ReconcileStalled"],
            Self::Daemon => &["ProviderDown"],
        }
    }
}

struct Faults<'a> {
    world: &'a World,
    release: &'a Release,
}

impl Faults<'_> {
    async fn commit(&self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Gpu => self.gpus(|script| {
                let gpu = script.devices.last_mut().context("the machine has no GPU")?;
                gpu.health = Health::Xid(79);
                // Another is hot, and waits for a reset.
                let gpu = script.devices.first_mut().context("the machine has no GPU")?;
                gpu.throttle_reasons = HOT;
                gpu.ecc =
                    Some(Ecc { corrected: 7, remapped_corrected: 1, remap_pending: true, ..Ecc::default() });
                // A third is cut into slices.
                let gpu = script.devices.get_mut(2).context("the machine has two GPUs")?;
                let slice = MigSlice {
                    uuid: "MIG-5d1c1c1e-6d7a-5b8f-9a51-0c2d7be40a99".to_owned(),
                    memory_mib: 9_856,
                    gpu_slices: 1,
                    profile: Some("1g.10gb".to_owned()),
                };
                gpu.mig = Some(Mig { enabled: true, slices: vec![Some(slice)] });
                Ok(())
            }),
            Fault::Wallet => self.gas("0x11c37937e08000").await,
            Fault::Orphan => {
                let metadata = json!({
                    "name": ORPHAN,
                    "labels": {LEASE: "nobodys"},
                    "annotations": {PROVIDER: self.world.accounts.owner.address.to_string()},
                });
                let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
                kubectl::apply(&namespace.to_string()).await
            }
            Fault::Chain => signal_chain(Signal::SIGSTOP),
            Fault::Daemon => self.scale("0").await,
        }
    }

    async fn mend(&self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Gpu => {
                self.gpus(|_| Ok(()))?;
                // A card that was mended is seen as new by an agent that is.
                self.agents_anew().await
            }
            Fault::Wallet => self.gas("0x3635c9adc5dea00000").await,
            Fault::Orphan => kubectl::run(&["delete", "namespace", ORPHAN]).await.map(drop),
            Fault::Chain => signal_chain(Signal::SIGCONT),
            Fault::Daemon => self.scale("1").await,
        }
    }

    fn gpus(&self, change: impl FnOnce(&mut Script) -> Result<()>) -> Result<()> {
        let mut script = Script::four_h100();
        change(&mut script)?;
        let path = self.world.access.gpu_script.as_ref().context("the machine is not the bench's own")?;
        script.write(path).context("failed to write the machine's script")
    }

    async fn agents_anew(&self) -> Result<()> {
        let selector = "app.kubernetes.io/component=agent";
        kubectl::run(&["delete", "pods", "--selector", selector, "--namespace", &self.release.namespace])
            .await
            .map(drop)
    }

    async fn gas(&self, wei: &str) -> Result<()> {
        let operator = self.world.accounts.operator.address.to_string();
        self.world.anvil.call("anvil_setBalance", json!([operator, wei])).await.map(drop)
    }

    async fn scale(&self, replicas: &str) -> Result<()> {
        let (deployment, replicas) = (format!("deployment/{NAME}"), format!("--replicas={replicas}"));
        kubectl::run(&["scale", &deployment, &replicas, "--namespace", &self.release.namespace])
            .await
            .map(drop)
    }
}

/// Stops the chain's node in the middle of whatever it does, or lets it go on.
fn signal_chain(signal: Signal) -> Result<()> {
    let named = |folder: &fs::DirEntry| {
        fs::read_to_string(folder.path().join("comm")).is_ok_and(|name| name.trim() == "anvil")
    };
    let found = fs::read_dir("/proc")?.filter_map(Result::ok).find(named).context("no chain's node runs")?;
    let id = found.file_name().to_string_lossy().parse().context("a process without a number")?;
    kill(Pid::from_raw(id), signal).context("failed to signal the chain's node")
}
