//! Follower, bidder, outbox and collector against a real node with our contracts on it; the cluster is told by the test.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bidengine::Capacity;
use manifests::group::spec_hash;
use manifests::money::{Amount, Rate};
use manifests::order::{Address, CloseReason, Hash, OrderId};
use market::At;
use market::Chain;
use market::call::{Call, OrderTerms, class_hash};
use market::reader::BidState as OnChain;
use market::sender::{MemoryJournal, Sender};
use provider::bidder::{self, Bidder, CapacitySource, Wakes};
use provider::clock::Clock;
use provider::config;
use provider::explain;
use provider::follower::{self, Follower};
use provider::freshness::Freshness;
use provider::leases::escrow::{Escrow, EscrowView, Seen};
use provider::leases::places::Troubles;
use provider::metrics::Metrics;
use provider::money::reconcile;
use provider::outbox::Outbox;
use provider::store::{
    BidState, DatabaseUrl, Health, IntentKind, LeaseState, LeaseStatus, Outcome, ReservationRow,
    ReservationState, Sealer, Store,
};
use provider::task::{Nudge, Turn as _};
use provider::withdraw::{Withdraw, tell, withdraw};
use serde_json::json;

use crate::anvil::{Market, PAYOUT, mined, quick, rival, wallet};
use crate::support::{GAS, bidder_settings, one_node, spec};

/// A cluster of one node, until the test says otherwise.
#[derive(Clone)]
struct Cluster(Arc<Mutex<Capacity>>);

impl Default for Cluster {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(one_node(0))))
    }
}

impl CapacitySource for Cluster {
    fn free(&self, promised: &[ReservationRow]) -> Option<Capacity> {
        let mut capacity = self.0.lock().expect("not poisoned").clone();
        for reservation in promised {
            capacity.take(&reservation.placement).expect("promises never exceed what is there");
        }
        Some(capacity)
    }

    fn troubles(&self, _: &[ReservationRow]) -> Option<Troubles> {
        Some(Troubles::new())
    }
}

/// A provider's loops over one database; it can be stopped and started again.
struct Daemon<V = Chain> {
    store: Store,
    follower: Follower<Chain>,
    bidder: Bidder<Cluster>,
    outbox: Outbox<Sender<Store>>,
    escrow: Escrow<V>,
    cluster: Cluster,
}

impl Daemon {
    async fn start(market: &Market, database: &DatabaseUrl) -> Self {
        Self::looking(market, database, market.chain.clone(), Duration::from_secs(60)).await
    }
}

impl<V: EscrowView> Daemon<V> {
    /// A daemon that looks at leases through `view`, and withdraws at least so often.
    async fn looking(market: &Market, database: &DatabaseUrl, view: V, withdraw_every: Duration) -> Self {
        let store = Store::open(database, Sealer::new(&[7; 32])).await.expect("opens");
        let (chain, clock, provider) = (market.chain.clone(), Clock::default(), market.provider.address());
        let (metrics, nudge) = (Metrics::new().expect("distinct names"), Nudge::default());
        chain.tell(Arc::new(metrics.clone()));
        let settings = follower::Settings {
            provider,
            start_block: 0,
            deepest_wait: 2,
            freshness: Freshness::default(),
            nudges: vec![],
        };
        let follower = Follower::new(chain.clone(), store.clone(), settings, metrics.clone());
        let settings = bidder_settings();
        let bids = config::Bids { reclaim: Duration::from_secs(3600), ..settings.bids };
        let settings = bidder::Settings { provider, bids, ..settings };
        let (cluster, wakes) = (Cluster::default(), Wakes::default());
        let bidder =
            Bidder::new(store.clone(), cluster.clone(), settings, clock.clone(), wakes, metrics.clone());
        let sender = Sender::new(chain.clone(), wallet(2), store.clone(), quick());
        let operator = sender.address();
        let (said, noted) = (nudge.clone(), nudge.clone());
        let outbox = Outbox::new(store.clone(), sender, GAS, clock.clone(), metrics.clone(), said, noted);
        let settings = config::Escrow {
            withdraw_every,
            withdraw_above: Amount(u128::MAX),
            native_price: None,
            margin: Duration::from_secs(30),
            check_interval: Duration::from_secs(1),
        };
        let escrow = Escrow {
            store: store.clone(),
            view,
            provider,
            operator,
            settings,
            manifest_timeout: 600,
            up_since: clock.now(),
            clock,
            freshness: Freshness::default(),
            metrics,
            outbox: nudge,
        };
        Self { store, follower, bidder, outbox, escrow, cluster }
    }

    /// Takes turns until the condition holds.
    async fn until(&mut self, what: &str, condition: impl AsyncFn(&Store) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !condition(&self.store).await {
            assert!(Instant::now() < deadline, "waited for a minute for {what}");
            self.follower.turn().await.expect("a turn of the follower");
            self.bidder.turn().await.expect("a turn of the bidder");
            self.outbox.turn().await.expect("a turn of the outbox");
            self.escrow.turn().await.expect("a turn of the collector");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn until_our_bid_is_followed(&mut self, order: OrderId, provider: Address) {
        self.until("our bid to be followed", async |store| {
            store.bid(order, provider).await.expect("read").is_some()
        })
        .await;
    }
}

/// Posts an order that fits, with money for a while.
async fn post(market: &Market, dseq: u64) -> OrderId {
    post_with(market, dseq, Amount(20_000_000)).await
}

async fn post_with(market: &Market, dseq: u64, amount: Amount) -> OrderId {
    post_for(market, dseq, amount, None).await
}

async fn post_for(market: &Market, dseq: u64, amount: Amount, award: Option<u64>) -> OrderId {
    let (account, spec) = (market.account(dseq), spec(1000, 0));
    let order = account.order(1, 1);
    mined(&market.tenant, &Call::CreateDeployment { dseq, manifest_hash: Hash([9; 32]) }).await;
    mined(&market.tenant, &Call::ApproveMarket { amount }).await;
    mined(&market.tenant, &Call::Deposit { account, amount }).await;
    let expires_at = market.now().await + 3600;
    let max_rate = Rate::new(10_000_000_000_000).expect("small");
    let terms = OrderTerms { class: class_hash("cpu"), max_rate, expires_at, min_reclaim: 0, award };
    let spec = String::from_utf8(spec).expect("JSON");
    mined(&market.tenant, &Call::CreateOrder { order, terms, spec }).await;
    order
}

async fn accept(market: &Market, order: OrderId) {
    let provider = market.provider.address();
    let bid = market.chain.bid(order, provider, At::Latest).await.expect("read").expect("our bid");
    assert_eq!(bid.state, OnChain::Open);
    mined(&market.tenant, &Call::AcceptBid { order, provider, terms_hash: bid.terms_hash() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_bid_on_won_paid_and_closed_over_two_restarts() {
    let Some(market) = Market::open().await else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let database = DatabaseUrl::fresh(folder.path()).await.expect("a database");
    let provider = market.provider.address();
    let order = post(&market, 1).await;

    let mut daemon = Daemon::start(&market, &database).await;
    daemon.until("a decision", async |store| store.decision(order).await.expect("read").is_some()).await;
    // The chain's connection, which all daemons here share, tells the first of them.
    let metrics = daemon.escrow.metrics.clone();
    // Stopped with the bid anywhere on its way.
    let mut daemon = Daemon::start(&market, &database).await;
    let second = daemon.escrow.metrics.clone();
    daemon.until_our_bid_is_followed(order, provider).await;
    accept(&market, order).await;
    daemon
        .until("the reservation to be the lease's", async |store| {
            let row = store.reservation(order).await.expect("read").expect("reserved");
            row.state == ReservationState::Leased
        })
        .await;
    let bids = daemon.store.intents_of(Some(order), IntentKind::Bid).await.expect("read");
    assert_eq!(bids.count, 1, "one bid, whatever happened between");

    daemon.store.put_manifest(order, Hash([9; 32]), b"{}", 0).await.expect("stored");
    let started = market.now().await;
    market.anvil.mine_at(started + 100).await;
    daemon
        .until("a withdrawal", async |store| {
            store.lease(order).await.expect("read").is_some_and(|row| row.paid_net > Amount::ZERO)
        })
        .await;

    let mut daemon = Daemon::start(&market, &database).await;
    mined(&market.tenant, &Call::CloseLease { lease: order, reason: CloseReason::TENANT }).await;
    daemon
        .until("every whole unit that was earned to be withdrawn", async |store| {
            let row = store.lease(order).await.expect("read").expect("won");
            let LeaseState::Closed { ended_at, .. } = row.state else { return false };
            row.lease.rate.cost_down(ended_at - row.paid_until).expect("small") == Amount::ZERO
        })
        .await;
    let row = daemon.store.lease(order).await.expect("read").expect("won");
    let paid = market.chain.token_balance(PAYOUT, At::Latest).await.expect("read");
    assert_eq!(paid, row.paid_net, "what the store says was paid is what the payout address has");
    let LeaseState::Closed { ended_at, .. } = row.state else { panic!("{row:?}") };
    let earned = row.lease.rate.cost_down(ended_at - row.lease.started_at).expect("small");
    let dust = earned.checked_sub(row.paid_net).and_then(|rest| rest.checked_sub(row.paid_fee));
    assert!(
        dust.is_some_and(|dust| dust <= Amount(2)),
        "rate × seconds, dust at most a unit a payout: {dust:?}"
    );

    let (_, leases) = reconcile(&daemon.store, &market.chain, market.provider.address()).await.expect("read");
    let [told] = leases.as_slice() else { panic!("{leases:?}") };
    assert_eq!((told.state.as_str(), told.paid, told.to_collect), ("closed", row.paid_net.0, 0));
    assert_eq!(told.differences, Vec::<String>::new(), "database and chain agree to the unit");

    let status = LeaseStatus {
        lease: order,
        health: Health::Unknown,
        since: 0,
        applied_revision: None,
        torn_down_at: Some(1),
        body: "{}".to_owned(),
        updated_at: 1,
    };
    daemon.store.put_lease_status(&status).await.expect("stored");
    daemon
        .until("the reservation to be released", async |store| {
            store.reservations().await.expect("read").is_empty()
        })
        .await;
    assert!(daemon.store.pending_intents().await.expect("read").is_empty());
    let told = metrics.render(&daemon.store, provider).await.expect("rendered");
    crate::lint::lint(&told);
    for part in [
        r#"berth_chain_requests_total{method="eth_sendRawTransaction",result="ok"} "#,
        r#"berth_chain_request_duration_seconds_count{method="eth_getBlockByNumber"} "#,
    ] {
        assert!(told.contains(part), "{part} is not in:\n{told}");
    }
    // The second daemon may have had to send what the first began.
    let told = second.render(&daemon.store, provider).await.expect("rendered") + &told;
    let paid: Vec<&str> =
        told.lines().filter_map(|line| line.strip_prefix("berth_tx_fees_gwei_total ")).collect();
    assert!(paid.iter().any(|gwei| *gwei != "0"), "{paid:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bid_that_a_reorg_drops_is_on_chain_again_and_reserved_once() {
    let Some(market) = Market::open().await else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let database = DatabaseUrl::fresh(folder.path()).await.expect("a database");
    let provider = market.provider.address();
    let order = post(&market, 1).await;
    assert_eq!(
        market.chain.order(order, At::Latest).await.expect("read").expect("posted").spec_hash,
        spec_hash(&spec(1000, 0))
    );
    let mut daemon = Daemon::start(&market, &database).await;
    daemon.until_our_bid_is_followed(order, provider).await;

    market.anvil.ask("anvil_reorg", json!([1, []])).await;
    assert!(market.chain.bid(order, provider, At::Latest).await.expect("read").is_none(), "the bid is gone");
    daemon
        .until("the reorganisation to be followed", async |store| {
            store.bid(order, provider).await.expect("read").is_none()
        })
        .await;
    for _ in 0..5 {
        market.anvil.mine().await;
    }
    daemon.until_our_bid_is_followed(order, provider).await;
    accept(&market, order).await;
    daemon
        .until("the lease to be won", async |store| store.lease(order).await.expect("read").is_some())
        .await;
    assert_eq!(daemon.store.reservations().await.expect("read").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bid_that_stands_again_after_a_reorg_and_has_lost_its_place_is_taken_back() {
    let Some(market) = Market::open().await else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let database = DatabaseUrl::fresh(folder.path()).await.expect("a database");
    let provider = market.provider.address();
    let order = post(&market, 1).await;
    let mut daemon = Daemon::start(&market, &database).await;
    daemon.until_our_bid_is_followed(order, provider).await;
    let terms_hash =
        market.chain.bid(order, provider, At::Latest).await.expect("read").expect("our bid").terms_hash();

    mined(&market.tenant, &Call::CancelOrder { order }).await;
    let is_released = async |store: &Store| {
        let row = store.reservation(order).await.expect("read").expect("reserved");
        row.state == ReservationState::Released
    };
    daemon.until("the reservation to be released", is_released).await;
    *daemon.cluster.0.lock().expect("not poisoned") = Capacity::default();
    market.anvil.ask("anvil_reorg", json!([1, []])).await;
    let bid = market.chain.bid(order, provider, At::Latest).await.expect("read").expect("our bid");
    assert_eq!(bid.state, OnChain::Open, "it binds us again");

    let is_taken_back = async |_: &Store| {
        let bid = market.chain.bid(order, provider, At::Latest).await.expect("read").expect("our bid");
        bid.state == OnChain::Withdrawn
    };
    daemon.until("the bid to be taken back", is_taken_back).await;
    let accept = Call::AcceptBid { order, provider, terms_hash };
    market.tenant.send("accept", &accept).await.expect_err("nobody is bound, and nobody pays");
    let wishes = async |daemon: &Daemon| {
        daemon.store.intents_of(Some(order), IntentKind::TakeBack).await.expect("read")
    };
    daemon
        .until("its end to be followed", async |store| {
            let row = store.bid(order, provider).await.expect("read").expect("our bid");
            row.state == BidState::Withdrawn
        })
        .await;
    assert_eq!(wishes(&daemon).await.count, 1, "it is said once");

    // The end of the bid is taken away by the next reorganisation, and said again.
    market.anvil.ask("anvil_reorg", json!([1, []])).await;
    let bid = market.chain.bid(order, provider, At::Latest).await.expect("read").expect("our bid");
    assert_eq!(bid.state, OnChain::Open, "it stands once more");
    for _ in 0..5 {
        market.anvil.mine().await;
    }
    daemon.until("the bid to be taken back again", is_taken_back).await;
    assert!(daemon.store.reservations().await.expect("read").is_empty(), "nothing is promised for it");
}

/// Room for one order of these tests and no more.
fn narrow() -> Capacity {
    let mut capacity = one_node(0);
    capacity.nodes.get_mut("n1").expect("there").cpu_milli = 1500;
    capacity
}

async fn reserved(store: &Store, order: OrderId) -> Option<ReservationState> {
    store.reservation(order).await.expect("read").map(|row| row.state)
}

/// Takes turns until our lease on this order is closed for want of a place. What it was charged for seconds must be less than
/// what the provider forfeits to it, for leaving without the notice that it promised.
async fn until_closed_by_us(market: &Market, daemon: &mut Daemon, lease: OrderId, deposited: Amount) {
    daemon
        .until("the lease to be closed", async |store| {
            let row = store.lease(lease).await.expect("read");
            row.is_some_and(|row| matches!(row.state, LeaseState::Closed { .. }))
        })
        .await;
    let row = daemon.store.lease(lease).await.expect("read").expect("won");
    let LeaseState::Closed { reason, ended_at, .. } = row.state else { panic!("{row:?}") };
    assert_eq!(reason, CloseReason::DECOMMISSION);
    let seconds = ended_at - row.lease.started_at;
    assert!(seconds <= 15, "it was charged for {seconds} seconds");
    assert_eq!(reserved(&daemon.store, lease).await, Some(ReservationState::Released));
    let closes = daemon.store.intents_of(Some(lease), IntentKind::Close).await.expect("read");
    assert_eq!(closes.count, 1, "it is said once");
    let account = market.chain.account(lease.account(), At::Latest).await.expect("read").expect("open");
    assert!(account.balance > deposited, "{} of {deposited} are there: its tenant paid", account.balance);
    assert_eq!(account.balance, account.refundable, "nothing of it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bid_without_a_place_that_is_accepted_before_it_is_taken_back_costs_its_tenant_nothing() {
    let Some(market) = Market::open().await else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let database = DatabaseUrl::fresh(folder.path()).await.expect("a database");
    let provider = market.provider.address();
    let first = post(&market, 1).await;
    let mut daemon = Daemon::start(&market, &database).await;
    *daemon.cluster.0.lock().expect("not poisoned") = narrow();
    daemon.until_our_bid_is_followed(first, provider).await;
    let second = post_with(&market, 2, Amount(20_000_001)).await;
    mined(&market.tenant, &Call::CancelOrder { order: first }).await;
    let cancelled = market.chain.head().await.expect("a head").number;
    daemon.until_our_bid_is_followed(second, provider).await;
    assert_eq!(reserved(&daemon.store, first).await, Some(ReservationState::Released));

    let depth = market.chain.head().await.expect("a head").number - cancelled + 1;
    market.anvil.ask("anvil_reorg", json!([depth, []])).await;
    market.tenant.recover().await.expect("its nonces count from what is mined");
    accept(&market, first).await;
    until_closed_by_us(&market, &mut daemon, first, Amount(20_000_000)).await;
    assert_eq!(reserved(&daemon.store, second).await, Some(ReservationState::Held));
    for _ in 0..5 {
        market.anvil.mine().await;
    }
    daemon.until_our_bid_is_followed(second, provider).await;
    let (_, told) = reconcile(&daemon.store, &market.chain, provider).await.expect("read");
    assert!(told.iter().all(|lease| lease.differences.is_empty()), "{told:?}");
    let told = explain::tell(&explain::of(&daemon.store, first).await.expect("explained")).expect("told");
    assert!(told.contains("nothing else fits"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_best_bid_of_an_auction_cannot_be_taken_back_and_its_lease_is_closed_when_it_wins() {
    let Some(market) = Market::open().await else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let database = DatabaseUrl::fresh(folder.path()).await.expect("a database");
    let provider = market.provider.address();
    let end = market.now().await + 600;
    let order = post_for(&market, 1, Amount(20_000_000), Some(end)).await;
    let mut daemon = Daemon::start(&market, &database).await;
    daemon.until_our_bid_is_followed(order, provider).await;
    mined(&market.tenant, &Call::CancelOrder { order }).await;
    daemon
        .until("the reservation to be released", async |store| {
            reserved(store, order).await == Some(ReservationState::Released)
        })
        .await;
    *daemon.cluster.0.lock().expect("not poisoned") = Capacity::default();
    market.anvil.ask("anvil_reorg", json!([1, []])).await;
    daemon
        .until("the refusal to be told", async |store| {
            let row = store.reservation(order).await.expect("read").expect("reserved");
            row.released_because.is_some_and(|because| because.contains("the bid is the lowest of an order"))
        })
        .await;
    let Some(Outcome::Released(because)) =
        daemon.store.answers(provider, 0, 1).await.expect("read").pop().map(|row| row.outcome)
    else {
        panic!("it did not win yet")
    };
    assert!(because.contains("is refused so far (wish 1"), "{because}");

    market.tenant.recover().await.expect("its nonces count from what is mined");
    market.anvil.mine_at(end + 1).await;
    mined(&market.tenant, &Call::Award { order }).await;
    until_closed_by_us(&market, &mut daemon, order, Amount(20_000_000)).await;
}

/// Leases that run since now, each with its manifest.
async fn leases<V: EscrowView>(market: &Market, daemon: &mut Daemon<V>, count: u64) -> Vec<OrderId> {
    let provider = market.provider.address();
    let mut leases = Vec::new();
    for dseq in 1..=count {
        // Another sum each time, since a sender takes the same call for the same intent.
        let order = post_with(market, dseq, Amount(10_000_000 + u128::from(dseq))).await;
        daemon.until_our_bid_is_followed(order, provider).await;
        accept(market, order).await;
        daemon.store.put_manifest(order, Hash([9; 32]), b"{}", 0).await.expect("stored");
        leases.push(order);
    }
    daemon
        .until("the leases to be followed", async |store| {
            store.leases_of(provider).await.expect("read").len() == leases.len()
        })
        .await;
    leases
}

/// The chain, on which the tenant closes a lease at the moment in which it is looked at.
struct Meddler {
    chain: Chain,
    tenant: Sender<MemoryJournal>,
    closes: Arc<Mutex<Option<OrderId>>>,
}

impl EscrowView for Meddler {
    async fn lease(&self, id: OrderId) -> anyhow::Result<Option<Seen>> {
        let meant = self.closes.lock().expect("not poisoned").take_if(|lease| *lease == id);
        if let Some(lease) = meant {
            mined(&self.tenant, &Call::CloseLease { lease, reason: CloseReason::TENANT }).await;
            anyhow::bail!("the connection is lost as well");
        }
        EscrowView::lease(&self.chain, id).await
    }

    async fn gas_price(&self) -> anyhow::Result<u128> {
        EscrowView::gas_price(&self.chain).await
    }

    async fn gas_balance(&self, account: Address) -> anyhow::Result<u128> {
        EscrowView::gas_balance(&self.chain, account).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_closed_in_the_middle_of_a_funds_check_leaves_the_others_withdrawn() {
    let Some(market) = Market::open().await else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let database = DatabaseUrl::fresh(folder.path()).await.expect("a database");
    let closes = Arc::default();
    let (chain, tenant) = (market.chain.clone(), market.tenant.clone());
    let view = Meddler { chain, tenant, closes: Arc::clone(&closes) };
    let mut daemon = Daemon::looking(&market, &database, view, Duration::from_secs(90)).await;
    let leases = leases(&market, &mut daemon, 3).await;
    market.anvil.mine_at(market.now().await + 120).await;
    daemon.follower.turn().await.expect("a turn of the follower");

    *closes.lock().expect("not poisoned") = Some(leases[1]);
    daemon.escrow.turn().await.expect_err("one could not be seen");
    assert!(closes.lock().expect("not poisoned").is_none(), "it was closed in the middle");
    daemon
        .until("all three to be withdrawn to the last unit", async |store| {
            let rows = store.leases_of(market.provider.address()).await.expect("read");
            rows.iter().all(|row| row.paid_net > Amount::ZERO)
        })
        .await;
    let closed = daemon.store.lease(leases[1]).await.expect("read").expect("won");
    assert!(matches!(closed.state, LeaseState::Closed { .. }), "{closed:?}");
    let withdrawals = daemon.store.intents_of(None, IntentKind::Withdraw).await.expect("read");
    assert!(withdrawals.count <= 2, "no storm of withdrawals: {withdrawals:?}");
    let (_, told) = reconcile(&daemon.store, &market.chain, market.provider.address()).await.expect("read");
    assert!(told.iter().all(|lease| lease.differences.is_empty()), "{told:?}");
    let paid = market.chain.token_balance(PAYOUT, At::Latest).await.expect("read");
    assert_eq!(paid.0, told.iter().map(|lease| lease.paid).sum::<u128>());
}

fn asking(leases: Vec<OrderId>, no_wait: bool, timeout: Duration) -> Withdraw {
    let all = leases.is_empty();
    Withdraw { leases, all, no_wait, timeout, output: provider::cli::Format::Text }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_withdraws_now_and_the_running_daemon_sends_it() {
    let Some(market) = Market::open().await else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let database = DatabaseUrl::fresh(folder.path()).await.expect("a database");
    let (provider, day) = (market.provider.address(), Duration::from_secs(86_400));
    let mut daemon = Daemon::looking(&market, &database, market.chain.clone(), day).await;
    let leases = leases(&market, &mut daemon, 2).await;
    market.anvil.mine_at(market.now().await + 50).await;
    daemon.follower.turn().await.expect("a turn of the follower");

    // Another process, with the same database.
    let store = Store::open(&database, Sealer::new(&[7; 32])).await.expect("opens");
    let told = Mutex::new(Vec::new());
    let progress = |line: &str| told.lock().expect("not poisoned").push(line.to_owned());
    let asked = asking(vec![leases[1]], false, Duration::from_secs(60));
    let withdrawal = tokio::select! {
        withdrawal = withdraw(&store, &market.chain, provider, &asked, progress) => withdrawal.expect("withdrawn"),
        () = daemon.until("ever", async |_| false) => unreachable!("it never is"),
    };
    let [(lease, net)] = withdrawal.leases.as_slice() else { panic!("{withdrawal:?}") };
    assert_eq!((*lease, withdrawal.blocks.len()), (leases[1], 1));
    let paid = market.chain.token_balance(PAYOUT, At::Latest).await.expect("read");
    assert!(*net > Amount::ZERO && paid >= *net, "{net} were told, {paid} came");
    assert!(
        tell(&withdrawal).contains("withdrew") && tell(&withdrawal).contains("1 lease"),
        "{}",
        tell(&withdrawal)
    );
    let told = told.into_inner().expect("not poisoned").join("\n");
    for part in [leases[1].to_string().as_str(), "in all", "mined in block"] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    daemon
        .until("the payout to be followed", async |store| {
            store.lease(leases[1]).await.expect("read").expect("won").paid_net > Amount::ZERO
        })
        .await;
    let other = daemon.store.lease(leases[0]).await.expect("read").expect("won");
    assert_eq!(other.paid_net, Amount::ZERO, "nobody asked for it");

    // Everything, without waiting: the daemon finds it.
    let all = withdraw(&store, &market.chain, provider, &asking(vec![], true, Duration::ZERO), |_| ()).await;
    assert_eq!(all.expect("stored").blocks, [0; 0]);
    daemon
        .until("the other to be paid", async |store| {
            store.lease(leases[0]).await.expect("read").expect("won").paid_net > Amount::ZERO
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_that_no_daemon_carries_out_is_told_and_stays_for_the_next() {
    let Some(market) = Market::open().await else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let database = DatabaseUrl::fresh(folder.path()).await.expect("a database");
    let (provider, day) = (market.provider.address(), Duration::from_secs(86_400));
    let store = Store::open(&database, Sealer::new(&[7; 32])).await.expect("opens");
    let all = asking(vec![], false, Duration::from_millis(300));
    let ask = async |asked: &Withdraw| withdraw(&store, &market.chain, provider, asked, |_| ()).await;
    assert!(tell(&ask(&all).await.expect("nothing is there")).contains("nothing can be collected"));

    let mut daemon = Daemon::looking(&market, &database, market.chain.clone(), day).await;
    let leases = leases(&market, &mut daemon, 1).await;
    market.anvil.mine_at(market.now().await + 50).await;
    daemon.follower.turn().await.expect("a turn of the follower");
    drop(daemon);

    let strange = OrderId { dseq: 99, ..leases[0] };
    let error = ask(&asking(vec![strange], false, Duration::ZERO)).await.expect_err("none of ours");
    assert!(error.to_string().contains("berth-provider money"), "{error:#}");
    let error = ask(&all).await.expect_err("nobody is there to do it");
    assert!(error.to_string().contains("no daemon took withdraw 0 up"), "{error:#}");
    // The chain goes on and the database does not.
    market.anvil.mine_at(market.now().await + 300).await;
    let error = ask(&all).await.expect_err("nobody follows");
    assert!(error.to_string().contains("no daemon follows the chain"), "{error:#}");
    assert_eq!(store.intents_of(None, IntentKind::Withdraw).await.expect("read").count, 1, "no second wish");

    let mut daemon = Daemon::looking(&market, &database, market.chain.clone(), day).await;
    daemon
        .until("the wish of before to be carried out", async |store| {
            store.lease(leases[0]).await.expect("read").expect("won").paid_net > Amount::ZERO
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_an_auction_another_is_undercut_until_it_does_not_pay_any_more() {
    let Some(market) = Market::open().await else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let database = DatabaseUrl::fresh(folder.path()).await.expect("a database");
    let us = market.provider.address();
    let rival = rival(&market).await;
    let end = market.now().await + 600;
    let order = post_for(&market, 1, Amount(20_000_000), Some(end)).await;

    let mut daemon = Daemon::start(&market, &database).await;
    daemon.until_our_bid_is_followed(order, us).await;
    let first = daemon.store.bid(order, us).await.expect("read").expect("ours").bid.rate;
    let bids = |share: u128| Call::PlaceBid {
        order,
        provider: rival.address(),
        spec_hash: spec_hash(&spec(1000, 0)),
        rate: Rate::new(first.scaled() * share / 100).expect("small"),
        expires_at: end + 400,
        reclaim: 0,
        min_bill: 0,
    };
    for share in [90, 60] {
        mined(&rival, &bids(share)).await;
        let theirs = first.scaled() * share / 100;
        daemon
            .until("ours to be the lowest again", async |store| {
                let ours = store.bid(order, us).await.expect("read").expect("ours").bid.rate;
                ours.scaled() < theirs && ours.scaled() >= theirs * 98 / 100
            })
            .await;
        // Whatever was on its way when it stopped is not said twice.
        daemon = Daemon::start(&market, &database).await;
    }
    let said = daemon.store.intents_of(Some(order), IntentKind::Bid).await.expect("read");
    assert_eq!(said.count, 3, "the first bid and two lower ones");
    mined(&rival, &bids(50)).await;
    daemon
        .until("the order to be given up", async |store| {
            let row = store.reservation(order).await.expect("read").expect("reserved");
            row.state == ReservationState::Released
        })
        .await;
    let said = daemon.store.intents_of(Some(order), IntentKind::Bid).await.expect("read");
    assert_eq!(said.count, 3, "half the price is the least that it pays for");
}
