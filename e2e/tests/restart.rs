//! The daemon dies at every place that it can have got to with a lease, starts again, and nobody can tell from the outcome.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::addresses::NODE;
use e2e::process::Process;
use e2e::story::direct::{Direct, Wanted};
use e2e::story::provider::Provider;
use e2e::story::tenant::Tenant;
use e2e::story::world::World;
use e2e::wait::until;
use e2e::{kubectl, visitor, workspace};
use manifests::money::Amount;
use manifests::order::{Fact, LeaseId};
use market::At;
use market::call::Call;
use market::reader::OrderState;
use provider::failpoint::Point;

const PATIENCE: Duration = Duration::from_secs(60);
/// The daemon gives a tenant this long for its manifest.
const IMPATIENT: (&str, &str) = ("BERTH_MANIFEST_TIMEOUT", "5s");
/// The signal that a process gets from itself when it aborts.
const ABORTED: i32 = 6;

/// A market with one tenant, whose leases the daemon does not survive in one life.
struct Stage {
    world: World,
    provider: Provider,
    tenant: Tenant,
}

impl Stage {
    async fn open() -> Result<Self> {
        let world = World::open("restart").await?;
        let (provider, tenant) = tokio::try_join!(world.provider(), world.tenant(0))?;
        Ok(Self { world, provider, tenant })
    }

    /// One whole lease, during which the daemon dies at `point`.
    async fn lease_with_death_at(&self, point: Point) -> Result<()> {
        let name = point.name().replace('_', "-");
        let dies = ("BERTH_FAIL_POINT", point.name());
        let (lease, mut daemon) = match point {
            // A provider closes a lease only when its tenant has left it.
            Point::CloseIntended => {
                let doomed = self.provider.run_with(&[dies, IMPATIENT]).await?;
                tokio::try_join!(self.desertion(), self.second_life(doomed, &[IMPATIENT]))?
            }
            _ => {
                let doomed = self.provider.run_with(&[dies]).await?;
                tokio::try_join!(self.tenancy(&name, point), self.second_life(doomed, &[]))?
            }
        };
        until("the lease to end where it should", PATIENCE, async || {
            daemon.still_runs()?;
            self.at_rest(lease).await
        })
        .await?;
        daemon.kill().await
    }

    /// Waits for the daemon's death and starts it again, with nothing in its way.
    async fn second_life(&self, mut doomed: Process, environment: &[(&str, &str)]) -> Result<Process> {
        let death = tokio::time::timeout(PATIENCE, doomed.wait()).await;
        let status = death.context("the daemon never died")??;
        ensure!(status.signal() == Some(ABORTED), "the daemon ended with {status}, not there");
        self.provider.run_with(environment).await
    }

    /// What the tenant does and sees: up, a page, the same command again when a daemon was away in between, and down.
    async fn tenancy(&self, name: &str, point: Point) -> Result<LeaseId> {
        let host = format!("{name}.example.test");
        let document = self.document(&host)?;
        until("berth up to end well", PATIENCE, async || {
            self.tenant.up(&document, name, &["--deposit", "5"]).await?.well()
        })
        .await?;
        let lease = self.tenant.lease(name).await?;
        let page = visitor::page(NODE, &host, "/", PATIENCE).await?;
        ensure!(page.contains("Hello from a datacenter"), "another page answers:\n{page}");
        if matches!(point, Point::WithdrawIntended | Point::WithdrawSigned | Point::WithdrawMined) {
            until("a withdrawal", PATIENCE, async || {
                let paid = self.world.ledger().await?.paid_by(lease);
                ensure!(paid != Amount::ZERO, "nothing was paid yet");
                Ok(())
            })
            .await?;
        }
        self.tenant.berth(&["down", name]).await?.well()?;
        Ok(lease)
    }

    /// A tenant who wins a bid, never sends its manifest, and takes its money back once the provider has given up.
    async fn desertion(&self) -> Result<LeaseId> {
        let account = self.world.accounts.tenants.get(1).context("there is no other tenant")?;
        let tenant = Direct::of(&self.world, account).await?;
        let wanted = Wanted::of(&fs::read_to_string(self.document("deserted.example.test")?)?)?;
        let lease = tenant.deploy(1, wanted.manifest.digest(), Amount(5_000_000)).await?.order(1, 1);
        tenant.order(lease, &wanted).await?;
        let bid = tenant.bid(lease).await?;
        tenant.accept(lease, &bid).await?;
        until("the provider to close the lease", PATIENCE, async || {
            let record = self.world.chain.lease(lease, At::Latest).await?.context("there is no lease")?;
            ensure!(matches!(record.state, OrderState::Closed), "it is {:?}", record.state);
            Ok(())
        })
        .await?;
        tenant.call(&Call::Refund { account: lease.account(), amount: None }).await?;
        Ok(lease)
    }

    /// The demo's document with a host of its own.
    fn document(&self, host: &str) -> Result<PathBuf> {
        let demo = workspace::root().join("e2e/documents/web.yaml");
        let text = fs::read_to_string(&demo).with_context(|| format!("failed to read {}", demo.display()))?;
        let theirs = "hello.example.test";
        ensure!(text.contains(theirs), "the demo's document has another host");
        let path = self.world.folder.join(format!("{host}.yaml"));
        fs::write(&path, text.replace(theirs, host)).context("failed to write the document")?;
        Ok(path)
    }

    /// A lease of the past: one bid, one lease, closed and paid on chain, nothing left in the cluster, nothing reserved.
    async fn at_rest(&self, lease: LeaseId) -> Result<()> {
        let chain = &self.world.chain;
        let head = chain.head().await?;
        let facts = chain.facts_between(0, head.number).await?;
        let count = |wanted: fn(&Fact, LeaseId) -> bool| {
            facts.iter().filter(|logged| wanted(&logged.fact, lease)).count()
        };
        let bids = count(|fact, lease| matches!(fact, Fact::BidPlaced(bid) if bid.order == lease));
        let leases = count(|fact, lease| matches!(fact, Fact::LeaseCreated(created) if created.id == lease));
        ensure!((bids, leases) == (1, 1), "there are {bids} bids and {leases} leases");
        let record =
            chain.lease(lease, At::Block(head.hash)).await?.context("the chain knows no such lease")?;
        ensure!(matches!(record.state, OrderState::Closed), "the lease is {:?}", record.state);
        let open = chain.accrued(lease, At::Block(head.hash)).await?.net;
        ensure!(open == Amount::ZERO, "{open} is still to be collected");

        let left = kubectl::run(&["get", "namespaces", "--output", "name", "--selector", "berth.dev/lease"]);
        let left = left.await?;
        ensure!(left.trim().is_empty(), "the cluster still has {left}");
        let metrics = self.provider.metrics().await?;
        for state in ["held", "leased"] {
            let none = format!("berth_reservations{{state=\"{state}\"}} 0");
            ensure!(metrics.lines().any(|line| line == none), "a reservation is still {state}");
        }
        Ok(())
    }

    /// All money of all leases is where it belongs.
    async fn balance(&self) -> Result<()> {
        let ledger = self.world.ledger().await?;
        let dust = ledger.dust()?;
        let most = ledger.most_dust();
        ensure!(dust <= most, "{dust} units of dust, where {} payouts leave at most {most}", ledger.payouts);
        ensure!(ledger.held == Amount(dust), "the market holds {} and the dust is {dust} units", ledger.held);
        let earned = self.world.chain.token_balance(self.provider.payout, At::Latest).await?;
        ensure!(earned == Amount(ledger.paid), "the provider has {earned}, not {} units", ledger.paid);
        Ok(())
    }
}

#[tokio::test]
#[ignore = "runs on the bench: cargo e2e test restart"]
async fn a_daemon_that_dies_at_any_point_of_a_lease_goes_on_from_there() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let stage = Stage::open().await.unwrap();
    for point in Point::ALL {
        let start = Instant::now();
        if let Err(error) = stage.lease_with_death_at(point).await {
            panic!("death at {}: {error:#}", point.name());
        }
        println!("death at {}: survived in {:.1?}", point.name(), start.elapsed());
    }
    stage.balance().await.unwrap();
}
