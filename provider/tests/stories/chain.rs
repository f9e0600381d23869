//! Follower, bidder, outbox and collector against a real node with our contracts on it; the cluster is told by the test.

use std::time::{Duration, Instant};

use bidengine::Capacity;
use manifests::group::spec_hash;
use manifests::money::{Amount, Rate};
use manifests::order::{Address, CloseReason, Hash, OrderId};
use market::At;
use market::Chain;
use market::call::{Call, OrderTerms, class_hash};
use market::reader::BidState as OnChain;
use market::sender::Sender;
use provider::bidder::{self, Bidder, CapacitySource};
use provider::clock::Clock;
use provider::config;
use provider::follower::{self, Follower};
use provider::freshness::Freshness;
use provider::leases::escrow::Escrow;
use provider::metrics::Metrics;
use provider::money::reconcile;
use provider::outbox::Outbox;
use provider::store::{
    DatabaseUrl, Health, IntentKind, LeaseState, LeaseStatus, ReservationRow, ReservationState, Sealer, Store,
};
use provider::task::{Nudge, Turn as _};
use serde_json::json;

use crate::anvil::{Market, PAYOUT, mined, quick, wallet};
use crate::support::{GAS, bidder_settings, one_node, spec};

struct Cluster;

impl CapacitySource for Cluster {
    fn free(&self, promised: &[ReservationRow]) -> Option<Capacity> {
        let mut capacity = one_node(0);
        for reservation in promised {
            capacity.take(&reservation.placement).expect("promises never exceed what is there");
        }
        Some(capacity)
    }
}

/// A provider's loops over one database; it can be stopped and started again.
struct Daemon {
    store: Store,
    follower: Follower<Chain>,
    bidder: Bidder<Cluster>,
    outbox: Outbox<Sender<Store>>,
    escrow: Escrow<Chain>,
}

impl Daemon {
    async fn start(market: &Market, database: &DatabaseUrl) -> Self {
        let store = Store::open(database, Sealer::new(&[7; 32])).await.expect("opens");
        let (chain, clock, provider) = (market.chain.clone(), Clock::default(), market.provider.address());
        let (metrics, nudge) = (Metrics::new().expect("distinct names"), Nudge::default());
        let settings = follower::Settings {
            provider,
            start_block: 0,
            deepest_wait: 2,
            freshness: Freshness::default(),
            nudges: vec![],
        };
        let follower = Follower::new(chain.clone(), store.clone(), settings, metrics.clone());
        let settings = bidder::Settings { provider, ..bidder_settings() };
        let bidder =
            Bidder::new(store.clone(), Cluster, settings, clock.clone(), nudge.clone(), metrics.clone());
        let sender = Sender::new(chain.clone(), wallet(2), store.clone(), quick());
        let outbox =
            Outbox::new(store.clone(), sender, GAS, clock.clone(), metrics, nudge.clone(), nudge.clone());
        let settings = config::Escrow {
            withdraw_every: Duration::from_secs(60),
            withdraw_above: Amount(u128::MAX),
            margin: Duration::from_secs(30),
            check_interval: Duration::from_secs(1),
        };
        let escrow = Escrow::new(store.clone(), chain, provider, settings, 600, clock, nudge);
        Self { store, follower, bidder, outbox, escrow }
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
    let (account, spec) = (market.account(dseq), spec(1000, 0));
    let (order, amount) = (account.order(1, 1), Amount(20_000_000));
    mined(&market.tenant, &Call::CreateDeployment { dseq, manifest_hash: Hash([9; 32]) }).await;
    mined(&market.tenant, &Call::ApproveMarket { amount }).await;
    mined(&market.tenant, &Call::Deposit { account, amount }).await;
    let expires_at = market.now().await + 3600;
    let max_rate = Rate::new(10_000_000_000_000).expect("small");
    let terms = OrderTerms { class: class_hash("cpu"), max_rate, expires_at, min_reclaim: 0, award: None };
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
    // Stopped with the bid anywhere on its way.
    let mut daemon = Daemon::start(&market, &database).await;
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
