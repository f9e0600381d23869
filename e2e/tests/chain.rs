//! What the chain's endpoints, and the chain itself, can do to a provider that runs leases: nothing that runs is lost, nothing
//! is closed that the chain did not close, and when the trouble is over bidding goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::kubectl;
use e2e::process::Process;
use e2e::story::direct::{Direct, Wanted};
use e2e::story::provider::Provider;
use e2e::story::world::World;
use e2e::wait::until;
use e2e::workspace;
use fault_proxy::{Fault, FaultProxy, Relay};
use futures::future::try_join_all;
use manifests::money::Amount;
use manifests::order::{AccountId, CloseReason, Fact, LeaseId, OrderId};
use market::At;
use market::api::LeaseState;
use market::call::Call;
use market::reader::{BidState, OrderState};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);
const LEASES: u16 = 10;
const MONEY: Amount = Amount(100_000_000);

/// A market with a provider, and a tenant whose account pays for one lease after the other of the same document.
struct Stage {
    world: World,
    provider: Provider,
    tenant: Direct,
    wanted: Wanted,
    account: AccountId,
    orders: AtomicU16,
}

impl Stage {
    /// Deployed and paid in, on a chain that mines on demand.
    async fn set(name: &str) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let world = World::open(name).await?;
        let provider = world.provider().await?;
        let account = world.accounts.tenants.first().context("there is no tenant")?;
        let tenant = Direct::of(&world, account).await?;
        let document = fs::read_to_string(workspace::root().join("e2e/documents/web.yaml"))?;
        // Each lease gets a host of its own.
        let accept = "        accept:\n          - hello.example.test\n";
        ensure!(document.contains(accept), "the demo's document has another host");
        let wanted = Wanted::of(&document.replace(accept, ""))?;
        world.anvil.mine_on_demand().await?;
        let account = tenant.deploy(1, wanted.manifest.digest(), MONEY).await?;
        Ok(Self { world, provider, tenant, wanted, account, orders: AtomicU16::new(0) })
    }

    /// The tenant with a sender that starts from what the chain says now.
    async fn fresh_tenant(&mut self) -> Result<()> {
        let account = self.world.accounts.tenants.first().context("there is no tenant")?;
        self.tenant = Direct::of(&self.world, account).await?;
        Ok(())
    }

    async fn order(&self) -> Result<OrderId> {
        let order = self.account.order(self.orders.fetch_add(1, Ordering::Relaxed) + 1, 1);
        self.tenant.order(order, &self.wanted).await?;
        Ok(order)
    }

    /// Takes the provider's bid and answers the block of the lease.
    async fn accept(&self, order: OrderId) -> Result<u64> {
        let bid = self.tenant.bid(order).await?;
        let terms_hash = bid.terms_hash();
        self.tenant.call(&Call::AcceptBid { order, provider: self.provider.address, terms_hash }).await
    }

    async fn runs(&self, lease: LeaseId) -> Result<()> {
        self.tenant.send(lease, &self.wanted.manifest).await?;
        self.tenant.state(lease, LeaseState::Ready).await
    }

    async fn has_bid(&self, order: OrderId) -> Result<bool> {
        let bid = self.world.chain.bid(order, self.provider.address, At::Latest).await?;
        Ok(bid.is_some_and(|bid| bid.state == BidState::Open))
    }

    async fn mine(&self, blocks: u64) -> Result<()> {
        self.world.anvil.call("anvil_mine", json!([format!("{blocks:#x}")])).await.map(drop)
    }

    /// Takes every block from this one on off the chain, and puts as many empty ones in their place.
    async fn undo_from(&self, block: u64) -> Result<()> {
        let head = self.world.anvil.number("eth_blockNumber").await?;
        self.world.anvil.call("anvil_reorg", json!([head + 1 - block, []])).await?;
        Ok(())
    }

    async fn state(&self, lease: LeaseId) -> Result<OrderState> {
        let record = self.world.chain.lease(lease, At::Latest).await?;
        Ok(record.context("the chain knows no such lease")?.state)
    }

    async fn metric(&self, line: &str) -> Result<()> {
        let metrics = self.provider.metrics().await?;
        ensure!(metrics.lines().any(|told| told == line), "{line} is not among the metrics");
        Ok(())
    }

    /// What `berth-provider` says to a verb.
    async fn verb(&self, arguments: &[&str]) -> Result<String> {
        let output = self.provider.command(arguments)?.output().await?;
        let (told, words) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{arguments:?} ended with {}: {told}{words}", output.status);
        Ok(told.into_owned())
    }
}

#[expect(clippy::print_stdout, reason = "a long story tells how far it has come")]
fn told(line: impl std::fmt::Display) {
    println!("{line}");
}

/// The namespaces of leases with the ids of their pods: a pod that was started again has another.
async fn workloads() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let path = r#"jsonpath={range .items[*]}{.metadata.namespace} {.metadata.uid}{"\n"}{end}"#;
    let pods = ["get", "pods", "--all-namespaces", "--selector", "berth.dev/lease", "--output", path];
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in kubectl::run(&pods).await?.lines() {
        let (namespace, pod) = line.split_once(' ').context("a pod without an id")?;
        found.entry(namespace.to_owned()).or_default().insert(pod.to_owned());
    }
    Ok(found)
}

/// Ten leases that live, and what runs for them.
struct Ten {
    leases: Vec<LeaseId>,
    pods: BTreeMap<String, BTreeSet<String>>,
}

impl Ten {
    async fn won(stage: &Stage) -> Result<Self> {
        let mut leases = Vec::new();
        for _ in 0..LEASES {
            leases.push(stage.order().await?);
        }
        for lease in &leases {
            stage.accept(*lease).await?;
        }
        stage.world.anvil.mine_by_the_clock().await?;
        try_join_all(leases.iter().map(|lease| stage.runs(*lease))).await?;
        Ok(Self { leases, pods: workloads().await? })
    }

    /// All of them are active on the chain, and their pods are the same ones.
    async fn live(&self, stage: &Stage) -> Result<()> {
        for lease in &self.leases {
            let state = stage.state(*lease).await?;
            ensure!(matches!(state, OrderState::Active), "lease {lease} is {state:?}");
        }
        let now = workloads().await?;
        for (namespace, pods) in &self.pods {
            ensure!(
                now.get(namespace) == Some(pods),
                "{namespace} ran {pods:?} and runs {:?}",
                now.get(namespace)
            );
        }
        Ok(())
    }
}

/// What befalls the provider's two endpoints, and whether an order gets through meanwhile.
struct Trouble {
    fault: Fault,
    /// The method; all if none.
    on: Option<&'static str>,
    /// Whether the second endpoint is well.
    only_first: bool,
    /// Blocks that come while nothing is answered, so that they are read in ranges.
    gap: u64,
    gets_through: bool,
}

impl Trouble {
    fn stops(fault: Fault) -> Self {
        Self { fault, on: None, only_first: false, gap: 0, gets_through: false }
    }

    fn passes(fault: Fault) -> Self {
        Self { gets_through: true, ..Self::stops(fault) }
    }

    fn all() -> Vec<Self> {
        vec![
            Self::stops(Fault::Dropped),
            Self::stops(Fault::TooManyRequests),
            Self::stops(Fault::LimitExceeded),
            Self::stops(Fault::Truncated),
            Self::stops(Fault::AnswersAnother),
            Self::stops(Fault::HalfOpen),
            Self { on: Some("eth_sendRawTransaction"), ..Self::passes(Fault::ReplySwallowed) },
            Self { gap: 80, ..Self::passes(Fault::RangeLimit(10)) },
            Self { gap: 80, ..Self::passes(Fault::EmptyLogs) },
            Self::passes(Fault::StaleHead(3)),
            Self { only_first: true, ..Self::passes(Fault::OtherChain(1)) },
            Self::passes(Fault::Slow(Duration::from_millis(200))),
            Self::passes(Fault::ReplacementRule),
        ]
    }
}

/// The endpoints that the provider knows.
struct Endpoints([FaultProxy; 2]);

impl Endpoints {
    async fn start(stage: &Stage) -> Self {
        let node = stage.world.anvil.url();
        Self([FaultProxy::start(node).await, FaultProxy::start(node).await])
    }

    fn urls(&self) -> String {
        self.0.each_ref().map(FaultProxy::url).join(",")
    }

    fn suffer(&self, trouble: &Trouble) {
        let count = if trouble.only_first { 1 } else { 2 };
        for endpoint in &self.0[..count] {
            match trouble.on {
                Some(method) => endpoint.on(method, trouble.fault.clone()),
                None => endpoint.always(trouble.fault.clone()),
            }
        }
    }

    fn all_suffer(&self, fault: &Fault) {
        self.0.iter().for_each(|endpoint| endpoint.always(fault.clone()));
    }

    fn heal(&self) {
        self.0.iter().for_each(FaultProxy::heal);
    }

    fn heads_asked(&self) -> usize {
        self.0
            .iter()
            .map(|endpoint| endpoint.calls("eth_getBlockByNumber") + endpoint.calls("eth_chainId"))
            .sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs on the bench: cargo e2e test chain"]
async fn ten_leases_live_through_every_fault_of_an_endpoint_while_orders_arrive() {
    Box::pin(ten_leases_live()).await.unwrap();
}

async fn ten_leases_live() -> Result<()> {
    let stage = Stage::set("chain").await?;
    let endpoints = Endpoints::start(&stage).await;
    let mut daemon = stage.provider.run_with(&[("BERTH_CHAIN_RPC", &endpoints.urls())]).await?;
    let ten = Ten::won(&stage).await?;
    for trouble in Trouble::all() {
        let start = Instant::now();
        through(&stage, &endpoints, &ten, &trouble)
            .await
            .with_context(|| format!("it does not get through {:?}", trouble.fault))?;
        daemon.still_runs()?;
        told(format_args!("{:?}: {:.1?}", trouble.fault, start.elapsed()));
    }
    let head = stage.world.chain.head().await?;
    let facts = stage.world.chain.facts_between(0, head.number).await?;
    let by_provider = facts
        .iter()
        .filter(|logged| matches!(logged.fact, Fact::LeaseClosed { reason, .. } if !reason.is_tenants()));
    ensure!(by_provider.count() == 0, "the provider closed a lease");
    // The database and the chain agree to the unit about all leases, dead and alive.
    until("the money to reconcile", PATIENCE, async || stage.verb(&["money"]).await).await?;
    stage.metric("berth_leases{state=\"active\"} 10").await?;
    daemon.kill().await
}

/// One order that arrives while the endpoints suffer.
async fn through(stage: &Stage, endpoints: &Endpoints, ten: &Ten, trouble: &Trouble) -> Result<()> {
    if trouble.gap > 0 {
        endpoints.all_suffer(&Fault::Dropped);
        stage.mine(trouble.gap).await?;
    } else {
        endpoints.suffer(trouble);
    }
    let order = stage.order().await?;
    if trouble.gap > 0 {
        stage.mine(trouble.gap).await?;
        endpoints.heal();
        endpoints.suffer(trouble);
    }
    if trouble.gets_through {
        stage.accept(order).await.context("no lease while it suffers")?;
        stage.runs(order).await.context("the lease does not run while the endpoint suffers")?;
        ten.live(stage).await?;
        endpoints.heal();
    } else {
        let before = endpoints.heads_asked();
        until("the provider to ask in vain", PATIENCE, async || {
            ensure!(endpoints.heads_asked() >= before + 3, "it does not ask");
            Ok(())
        })
        .await?;
        ensure!(!stage.has_bid(order).await?, "it bid although it could not");
        ten.live(stage).await?;
        endpoints.heal();
        stage.accept(order).await.context("no lease after it was over")?;
    }
    stage.tenant.call(&Call::CloseLease { lease: order, reason: CloseReason::TENANT }).await?;
    ten.live(stage).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs on the bench: cargo e2e test chain"]
async fn reorg_that_removes_a_won_lease_a_bid_a_deposit_or_a_close_leaves_the_provider_with_the_chains_facts()
{
    Box::pin(reorganised()).await.unwrap();
}

/// Waits until what the metrics count as reserved is this.
async fn reserved(stage: &Stage, held: u64, leased: u64) -> Result<()> {
    until("the reservations to follow", PATIENCE, async || {
        stage.metric(&format!("berth_reservations{{state=\"held\"}} {held}")).await?;
        stage.metric(&format!("berth_reservations{{state=\"leased\"}} {leased}")).await
    })
    .await
}

async fn no_workload(stage: &Stage) -> Result<()> {
    until("the workload to be gone", PATIENCE, async || {
        // The chain stands still unless somebody mines.
        stage.mine(1).await?;
        let left = ["get", "namespaces", "--selector", "berth.dev/lease", "--output", "name"];
        let left = kubectl::run(&left).await?;
        ensure!(left.is_empty(), "there is {left}");
        Ok(())
    })
    .await
}

async fn reorganised() -> Result<()> {
    let mut stage = Stage::set("reorg").await?;
    let few = [("BERTH_CHAIN_CONFIRMATIONS_ORPHAN", "6"), ("BERTH_ESCROW_WITHDRAW_EVERY", "1h")];
    let mut daemon = stage.provider.run_with(&few).await?;

    // A lease: its order and its bid stay.
    let order = stage.order().await?;
    let block = stage.accept(order).await?;
    stage.mine(2).await?;
    stage.runs(order).await?;
    reserved(&stage, 0, 1).await?;
    stage.undo_from(block).await?;
    reserved(&stage, 1, 0).await.context("the bid stands again")?;
    ensure!(!workloads().await?.is_empty(), "the workload is kept for a while");
    no_workload(&stage).await.context("a lease that is not")?;
    stage.fresh_tenant().await?;
    stage.tenant.call(&Call::CancelOrder { order }).await?;
    reserved(&stage, 0, 0).await?;
    told("a lease: gone");

    // A bid: it is said again.
    let order = stage.order().await?;
    stage.tenant.bid(order).await?;
    let head = stage.world.anvil.number("eth_blockNumber").await?;
    let facts = stage.world.chain.facts_between(0, head).await?;
    let bid = facts.iter().find(|logged| matches!(&logged.fact, Fact::BidPlaced(bid) if bid.order == order));
    stage.undo_from(bid.context("there is a bid")?.at.block).await?;
    ensure!(!stage.has_bid(order).await?, "the bid is still there");
    until("the bid to be said again", PATIENCE, async || {
        stage.mine(1).await?;
        ensure!(stage.has_bid(order).await?, "there is no bid");
        Ok(())
    })
    .await?;
    told("a bid: said again");

    // A close that was not acted on yet: the lease goes on.
    stage.accept(order).await?;
    stage.mine(2).await?;
    stage.runs(order).await?;
    let pods = workloads().await?;
    let close = Call::CloseLease { lease: order, reason: CloseReason::TENANT };
    let block = stage.tenant.call(&close).await?;
    stage.undo_from(block).await?;
    stage.fresh_tenant().await?;
    stage.mine(6).await?;
    stage.metric_soon("berth_leases{state=\"active\"} 1").await?;
    ensure!(workloads().await? == pods, "a pod was started again");
    told("a close: the workload is kept");

    // A close that was: the tenant sends its manifest and the lease runs again.
    let block = stage.tenant.call(&close).await?;
    no_workload(&stage).await?;
    stage.undo_from(block).await?;
    stage.fresh_tenant().await?;
    ensure!(matches!(stage.state(order).await?, OrderState::Active), "it is closed");
    stage.mine(4).await?;
    // Until the reorganisation is followed, the gateway knows of the close.
    stage.metric_soon("berth_leases{state=\"active\"} 1").await?;
    stage.runs(order).await.context("a lease that is again")?;
    told("a close: the workload is back");

    // A deposit.
    let before = stage.verb(&["money"]).await?;
    stage.tenant.call(&Call::ApproveMarket { amount: MONEY }).await?;
    let block =
        stage.tenant.call(&Call::Deposit { account: stage.account, amount: Amount(1_000_000) }).await?;
    stage.mine(3).await?;
    stage.undo_from(block).await?;
    stage.mine(3).await?;
    until("the money to reconcile", PATIENCE, async || stage.verb(&["money"]).await)
        .await
        .with_context(|| format!("before it was {before}"))?;
    daemon.still_runs()?;
    daemon.kill().await?;
    let told = stage.verb(&["resync", "--only-compare"]).await?;
    ensure!(told.contains("the chain says what the database says"), "it says:\n{told}");
    stage.world.anvil.mine_by_the_clock().await
}

impl Stage {
    async fn metric_soon(&self, line: &str) -> Result<()> {
        until("the metrics to follow", PATIENCE, async || self.metric(line).await).await
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs on the bench: cargo e2e test chain"]
async fn subscription_silently_dead_bidding_resumes_within_a_minute_and_a_lease_nobody_told_of_is_found() {
    Box::pin(silently_dead()).await.unwrap();
}

async fn silently_dead() -> Result<()> {
    let stage = Stage::set("silence").await?;
    stage.world.anvil.mine_by_the_clock().await?;
    let relay = Relay::start(stage.world.anvil.url()).await;
    let ws = format!("ws://{}", relay.address());
    let lazy = [("BERTH_CHAIN_WS", ws.as_str()), ("BERTH_CHAIN_POLL_INTERVAL", "20s")];
    let mut daemon = stage.provider.run_with(&lazy).await?;
    // While heads are told nothing waits for the poll.
    let start = Instant::now();
    let first = stage.order().await?;
    stage.tenant.bid(first).await?;
    ensure!(start.elapsed() < Duration::from_secs(15), "it bid only after {:?}", start.elapsed());

    relay.freeze();
    let start = Instant::now();
    let lease = stage.order().await?;
    stage.accept(lease).await?;
    ensure!(start.elapsed() < Duration::from_secs(60), "it bid only after {:?}", start.elapsed());
    told(format_args!("bid and won {:.1?} after the subscription died", start.elapsed()));
    stage.runs(lease).await.context("the lease that no subscription told of")?;
    daemon.still_runs()?;
    daemon.kill().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs on the bench: cargo e2e test chain"]
async fn chain_endpoint_that_tells_of_no_lease_means_hold_mode_and_zero_deletions() {
    Box::pin(hold_mode()).await.unwrap();
}

async fn hold_mode() -> Result<()> {
    let stage = Stage::set("hold").await?;
    let endpoints = Endpoints::start(&stage).await;
    let rpc = ("BERTH_CHAIN_RPC", endpoints.urls());
    let mut daemon = stage.provider.run_with(&[(rpc.0, &rpc.1)]).await?;
    let lease = stage.order().await?;
    stage.accept(lease).await?;
    stage.world.anvil.mine_by_the_clock().await?;
    stage.runs(lease).await?;
    let pods = workloads().await?;

    // A daemon that knows its leases is told of none.
    endpoints.all_suffer(&Fault::NothingHappens);
    let seen = stage.world.anvil.number("eth_blockNumber").await?;
    held(&stage, &mut daemon, seen, &pods).await?;
    daemon.kill().await?;

    // One that has lost its database hears of no lease at all, and sees a cluster that runs one.
    let empty = format!("sqlite://{}", stage.world.folder.join("empty.db").display());
    let environment = [(rpc.0, rpc.1.as_str()), ("BERTH_DATABASE", empty.as_str())];
    let mut daemon = stage.provider.run_with(&environment).await?;
    stage.metric_soon("berth_orphaned_namespaces 1").await?;
    stage.metric_soon("berth_hold_mode 1").await?;
    let seen = stage.world.anvil.number("eth_blockNumber").await?;
    held(&stage, &mut daemon, seen, &pods).await?;
    daemon.kill().await?;

    endpoints.heal();
    let mut daemon = stage.provider.run_with(&[(rpc.0, &rpc.1)]).await?;
    stage.metric_soon("berth_hold_mode 0").await?;
    ensure!(workloads().await? == pods, "a pod was started again");
    stage.tenant.state(lease, LeaseState::Ready).await?;
    daemon.kill().await
}

/// Nothing was closed or deleted when the daemon has followed some blocks more.
async fn held(
    stage: &Stage,
    daemon: &mut Process,
    since: u64,
    pods: &BTreeMap<String, BTreeSet<String>>,
) -> Result<()> {
    until("the daemon to follow on", PATIENCE, async || {
        daemon.still_runs()?;
        let metrics = stage.provider.metrics().await?;
        let head = metrics.lines().find_map(|line| line.strip_prefix("berth_chain_head_height "));
        let head: u64 = head.context("no head is told")?.parse()?;
        ensure!(head >= since + 6, "it has followed to block {head}");
        Ok(())
    })
    .await?;
    ensure!(workloads().await? == *pods, "a workload was touched");
    let lease = stage.account.order(stage.orders.load(Ordering::Relaxed), 1);
    match stage.state(lease).await? {
        OrderState::Active => Ok(()),
        state => bail!("the lease is {state:?}"),
    }
}
