//! The chain's endpoints are dead for half an hour of virtual time: every loop takes its turns, and the real cluster's
//! objects, the leases and the money stay as they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{bail, ensure};
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use manifests::money::Amount;
use manifests::order::{Address, BlockRef, Fact, Hash, LeaseId, Order};
use provider::bidder::cluster::ClusterCapacity;
use provider::bidder::{self, Bidder, CapacitySource, Wakes};
use provider::clock::Clock;
use provider::config;
use provider::follower::{self, ChainSource, Follower};
use provider::freshness::Freshness;
use provider::gateway::ops::{self, Ops};
use provider::gateway::streams::Streams;
use provider::leases::escrow::{Escrow, EscrowView, Seen};
use provider::leases::places::Troubles;
use provider::metrics::Metrics;
use provider::store::{Event, IntentKind, LeaseState, ReservationRow};
use provider::task::{Nudge, Turn};
use tower::ServiceExt as _;

use crate::leader;
use crate::leases::House;
use crate::stage::{PROVIDER, Stage, document, named, parsed};
use crate::support::*;

/// The endpoint of a chain, which can die. The chain goes on.
#[derive(Debug, Clone)]
struct Endpoint {
    chain: FakeChain,
    is_dead: Arc<AtomicBool>,
}

impl Endpoint {
    fn answer<T>(&self, answer: T) -> anyhow::Result<T> {
        ensure!(!self.is_dead.load(Ordering::SeqCst), "the endpoint does not answer");
        Ok(answer)
    }
}

impl ChainSource for Endpoint {
    async fn head(&self) -> anyhow::Result<BlockRef> {
        self.answer(self.chain.head().await?)
    }

    async fn block(&self, number: u64) -> anyhow::Result<Option<BlockRef>> {
        self.answer(self.chain.block(number).await?)
    }

    async fn block_by_hash(&self, hash: Hash) -> anyhow::Result<Option<BlockRef>> {
        self.answer(self.chain.block_by_hash(hash).await?)
    }

    async fn facts_of_block(&self, hash: Hash) -> anyhow::Result<Vec<Event>> {
        self.answer(self.chain.facts_of_block(hash).await?)
    }

    async fn facts_between(&self, first: u64, last: u64) -> anyhow::Result<Vec<Event>> {
        self.answer(self.chain.facts_between(first, last).await?)
    }
}

impl EscrowView for Endpoint {
    async fn lease(&self, _: LeaseId) -> anyhow::Result<Option<Seen>> {
        self.answer(Some(Seen { depleted: false, funded_until: u64::MAX }))
    }

    async fn gas_price(&self) -> anyhow::Result<u128> {
        self.answer(1)
    }

    async fn gas_balance(&self, _: Address) -> anyhow::Result<u128> {
        self.answer(1)
    }
}

struct Room;

impl CapacitySource for Room {
    fn free(&self, promised: &[ReservationRow]) -> Option<bidengine::Capacity> {
        let mut capacity = one_node(0);
        for reservation in promised {
            capacity.take(&reservation.placement).expect("promises never exceed what is there");
        }
        Some(capacity)
    }

    fn troubles(&self, _: &[ReservationRow]) -> Option<Troubles> {
        Some(Troubles::new())
    }
}

/// The daemon's loops, each with its period and the second of its next turn.
struct Daemon {
    endpoint: Endpoint,
    house: House,
    clock: Clock,
    freshness: Freshness,
    metrics: Metrics,
    follower: Follower<Endpoint>,
    bidder: Bidder<Room>,
    escrow: Escrow<Endpoint>,
    failed: u64,
}

impl Daemon {
    async fn new() -> Self {
        let endpoint = Endpoint { chain: FakeChain::new(), is_dead: Arc::default() };
        let mut house = House::furnished(Stage::bare().await).await;
        let (store, clock, freshness) =
            (house.stage.store.clone(), Clock::manual(GENESIS), Freshness::default());
        house.reconcile.clock = clock.clone();
        let (metrics, nudge) = (Metrics::new().expect("distinct names"), Nudge::default());
        let settings = follower::Settings {
            provider: PROVIDER,
            start_block: 0,
            deepest_wait: 2,
            freshness: freshness.clone(),
            nudges: vec![],
        };
        let follower = Follower::new(endpoint.clone(), store.clone(), settings, metrics.clone());
        let settings =
            bidder::Settings { provider: PROVIDER, freshness: freshness.clone(), ..bidder_settings() };
        let bidder =
            Bidder::new(store.clone(), Room, settings, clock.clone(), Wakes::default(), metrics.clone());
        let settings = config::Escrow {
            withdraw_every: Duration::from_secs(300),
            withdraw_above: Amount(u128::MAX),
            native_price: None,
            margin: Duration::from_secs(30),
            check_interval: Duration::from_secs(10),
        };
        let escrow = Escrow {
            store,
            view: endpoint.clone(),
            provider: PROVIDER,
            operator: PROVIDER,
            settings,
            manifest_timeout: 600,
            up_since: clock.now(),
            clock: clock.clone(),
            freshness: freshness.clone(),
            metrics: metrics.clone(),
            outbox: nudge,
        };
        Self { endpoint, house, clock, freshness, metrics, follower, bidder, escrow, failed: 0 }
    }

    /// One second of chain and clock, and the turns that are due in it.
    async fn second(&mut self, facts: Vec<Fact>) {
        let now = self.endpoint.chain.mine(facts).timestamp;
        self.clock.set(now);
        self.failed += u64::from(self.follower.turn().await.is_err());
        if now.is_multiple_of(5) {
            self.failed += u64::from(self.bidder.turn().await.is_err());
            self.failed += u64::from(self.house.reconcile.turn().await.is_err());
        }
        if now.is_multiple_of(10) {
            self.failed += u64::from(self.escrow.turn().await.is_err());
        }
    }

    fn die(&self, dies: bool) {
        self.endpoint.is_dead.store(dies, Ordering::SeqCst);
    }

    async fn wished(&self, kind: IntentKind) -> usize {
        let pending = self.house.stage.store.pending_intents().await.expect("read");
        pending.iter().filter(|row| row.intent.kind == kind).count()
    }

    /// What operators are told at this path.
    async fn told(&self, path: &str) -> (StatusCode, String) {
        let is_dead = Arc::clone(&self.endpoint.is_dead);
        let ops = Ops {
            store: self.house.stage.store.clone(),
            metrics: self.metrics.clone(),
            cluster: ClusterCapacity {
                provider: PROVIDER,
                inventory: self.house.reconcile.inventory.clone(),
                clock: self.clock.clone(),
            },
            workloads: self.house.reconcile.workloads.clone(),
            clock: self.clock.clone(),
            freshness: self.freshness.clone(),
            streams: Streams::default(),
            leader: leader::alone().await,
            endpoints: Box::new(move || vec![("http://node".to_owned(), !is_dead.load(Ordering::SeqCst))]),
        };
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let answer = ops::router(Arc::new(ops)).oneshot(request).await.expect("infallible");
        let (status, body) = (answer.status(), to_bytes(answer.into_body(), 1 << 20).await.expect("read"));
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    async fn all_live(&self, leases: &[LeaseId]) -> anyhow::Result<()> {
        for lease in leases {
            let row = self.house.stage.store.lease(*lease).await?;
            if row.is_none_or(|row| row.state != LeaseState::Active) {
                bail!("lease {lease} is not live");
            }
        }
        let deleted: Vec<String> =
            self.house.api.take_changes().into_iter().filter(|change| change.starts_with("DELETE")).collect();
        ensure!(deleted.is_empty(), "deleted: {deleted:?}");
        Ok(())
    }
}

/// An order for what the document wants, and the deployment that pays for it.
fn wanted(dseq: u64) -> Vec<Fact> {
    let (manifest, spec) = parsed(&document(1, 0, ""));
    let bytes = spec.to_bytes().expect("short");
    let terms = Order { expires_at: GENESIS + 100_000, ..order(dseq, bytes) };
    let created = Fact::DeploymentCreated { account: account(dseq), manifest_hash: manifest.digest() };
    vec![created, moved(dseq, 50_000_000), Fact::OrderCreated(terms)]
}

#[tokio::test]
async fn thirty_minutes_without_a_node_close_no_lease_and_bidding_resumes_within_a_minute() {
    let mut daemon = Daemon::new().await;
    let leases = [id(1), id(2), id(3)];
    for (dseq, lease) in (1..).zip(leases) {
        daemon.second(wanted(dseq)).await;
        for _ in 0..5 {
            daemon.second(vec![]).await;
        }
        daemon.second(vec![bid_of(PROVIDER, dseq), won_by(PROVIDER, dseq)]).await;
        let (manifest, _) = parsed(&document(1, 0, ""));
        daemon.house.stage.send(lease, &manifest).await;
    }
    for _ in 0..20 {
        daemon.second(vec![]).await;
    }
    for lease in leases {
        let deployment = format!("/apis/apps/v1/namespaces/{}/deployments/web", named(lease).namespace());
        assert!(daemon.house.api.get(&deployment).is_some(), "{lease} runs");
    }
    daemon.all_live(&leases).await.expect("they live");
    let (bids, closes) = (daemon.wished(IntentKind::Bid).await, daemon.wished(IntentKind::Close).await);
    assert_eq!((daemon.failed, closes), (0, 0));

    daemon.die(true);
    for second in 0..1800 {
        daemon.second(if second == 600 { wanted(9) } else { vec![] }).await;
        assert_eq!(daemon.wished(IntentKind::Bid).await, bids, "a bid in second {second}");
        assert_eq!(daemon.wished(IntentKind::Close).await, 0, "a close in second {second}");
    }
    daemon.all_live(&leases).await.expect("they live");
    assert!(daemon.failed >= 1800, "the endpoint was dead");
    let cursor = daemon.house.stage.store.cursor().await.expect("read").expect("followed");
    assert!(daemon.freshness.lag(&cursor, daemon.clock.now()).is_stale(), "it knows that it does not know");
    let (status, words) = daemon.told("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(words.contains("1800 s old") && words.contains("nothing is bid"), "{words}");
    assert_eq!(daemon.told("/healthz").await.0, StatusCode::OK, "tenants are served");
    assert_eq!(daemon.told("/livez").await.0, StatusCode::OK, "no restart would mend it");
    let metrics = daemon.told("/metrics").await.1;
    let last = format!("berth_chain_last_event_timestamp_seconds {}", cursor.timestamp);
    for line in [
        "berth_hold_mode 1",
        "berth_chain_lag_seconds 1800",
        "berth_component_ready{component=\"chain\"} 0",
        "berth_leader{component=\"sender\",key=\"0x4242424242424242424242424242424242424242\"} 1",
        "berth_chain_endpoint_up{endpoint=\"http://node\"} 0",
        last.as_str(),
    ] {
        assert!(metrics.lines().any(|told| told == line), "{line} is not in:\n{metrics}");
    }

    daemon.die(false);
    let mut waited = 0;
    while daemon.wished(IntentKind::Bid).await == bids {
        assert!(waited < 60, "bidding did not resume within a minute");
        daemon.second(vec![]).await;
        waited += 1;
    }
    for _ in 0..20 {
        daemon.second(vec![]).await;
    }
    assert_eq!(daemon.wished(IntentKind::Close).await, 0);
    daemon.all_live(&leases).await.expect("they live");
    assert_eq!(daemon.told("/readyz").await, (StatusCode::OK, "ok\n".to_owned()));
    assert!(daemon.told("/metrics").await.1.lines().any(|told| told == "berth_hold_mode 0"));
}

#[tokio::test]
async fn nothing_is_bid_on_old_facts_and_the_next_block_ends_the_doubt() {
    let mut daemon = Daemon::new().await;
    daemon.second(vec![]).await;
    // Followed, but the chain told of it long ago.
    let told = daemon.endpoint.chain.mine(wanted(1)).timestamp;
    daemon.follower.turn().await.expect("a turn");
    daemon.clock.set(told + 61);
    daemon.bidder.turn().await.expect("a turn");
    assert_eq!(daemon.wished(IntentKind::Bid).await, 0);
    daemon.clock.set(told + 60);
    daemon.bidder.turn().await.expect("a turn");
    assert_eq!(daemon.wished(IntentKind::Bid).await, 1);
}

#[tokio::test]
async fn a_lease_is_not_given_up_while_the_chain_is_not_followed() {
    let mut daemon = Daemon::new().await;
    daemon.second(wanted(1)).await;
    daemon.second(vec![bid_of(PROVIDER, 1), won_by(PROVIDER, 1)]).await;
    // The manifest is late, as a daemon sees it that has just started.
    for _ in 0..650 {
        daemon.endpoint.chain.mine(vec![]);
    }
    let head = daemon.endpoint.chain.head().await.expect("a head");
    while daemon.house.stage.store.cursor().await.expect("read") != Some(head) {
        daemon.follower.turn().await.expect("a turn");
    }
    let cursor = daemon.house.stage.store.cursor().await.expect("read").expect("followed");
    daemon.clock.set(cursor.timestamp + 61);
    daemon.escrow.turn().await.expect("a turn");
    assert_eq!(daemon.wished(IntentKind::Close).await, 0, "its tenant may have closed it meanwhile");
    daemon.clock.set(cursor.timestamp);
    daemon.escrow.turn().await.expect("a turn");
    assert_eq!(daemon.wished(IntentKind::Close).await, 1);
}
