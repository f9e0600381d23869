//! The bidder over a real store, with capacity and chain told by the test.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::support::*;
use bidengine::{Capacity, Inputs, Policy};
use manifests::decision::{Decision, Reason};
use manifests::order::{CloseReason, Fact};
use market::sender::{Attempt, Journal as _, Outcome, Verdict};
use provider::bidder::{Bidder, CapacitySource, Wakes};
use provider::clock::Clock;
use provider::follower::Follower;
use provider::leases::places::{Trouble, Troubles};
use provider::metrics::Metrics;
use provider::pricing::{Pricing, Terms};
use provider::store::{
    Health, IntentKind, IntentState, LeaseStatus, NewIntent, ReservationRow, ReservationState, Store,
};
use provider::task::{Nudge, Turn as _};

/// A cluster in which nothing of the promised runs yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Cluster(Arc<Mutex<There>>);

#[derive(Debug, Default)]
struct There {
    capacity: Option<Capacity>,
    lost: BTreeSet<String>,
}

impl Cluster {
    pub(super) fn has(&self, capacity: Option<Capacity>) {
        self.0.lock().expect("not poisoned").capacity = capacity;
    }

    /// These nodes do not answer, and no others.
    pub(super) fn loses(&self, nodes: &[&str]) {
        self.0.lock().expect("not poisoned").lost = nodes.iter().map(|&node| node.to_owned()).collect();
    }
}

impl CapacitySource for Cluster {
    fn free(&self, promised: &[ReservationRow]) -> Option<Capacity> {
        let there = self.0.lock().expect("not poisoned");
        let mut capacity = there.capacity.clone()?;
        for reservation in promised {
            capacity.take(&reservation.placement).expect("promises never exceed what is there");
        }
        for (name, node) in &mut capacity.nodes {
            node.schedulable &= !there.lost.contains(name);
        }
        Some(capacity)
    }

    fn troubles(&self, promised: &[ReservationRow]) -> Option<Troubles> {
        let there = self.0.lock().expect("not poisoned");
        there.capacity.as_ref()?;
        let mut troubles = Troubles::new();
        for row in promised {
            for replica in row.placement.replicas.iter().filter(|replica| there.lost.contains(&replica.node))
            {
                troubles.entry(row.order).or_default().insert(replica.node.clone(), Trouble::Lost);
            }
        }
        Some(troubles)
    }
}

pub(super) struct Bench {
    pub(super) chain: FakeChain,
    pub(super) cluster: Cluster,
    pub(super) store: Store,
    pub(super) follower: Follower<FakeChain>,
    pub(super) bidder: Bidder<Cluster>,
    pub(super) clock: Clock,
    pub(super) leases: Nudge,
    pub(super) metrics: Metrics,
    pub(super) pricing: Pricing,
}

impl Bench {
    /// Nothing of the lease's workload is left in the cluster.
    pub(super) async fn is_torn_down(&self, dseq: u64) {
        let status = LeaseStatus {
            lease: id(dseq),
            health: Health::Unknown,
            since: GENESIS,
            applied_revision: Some(1),
            torn_down_at: Some(GENESIS),
            body: "{}".to_owned(),
            updated_at: GENESIS,
        };
        self.store.put_lease_status(&status).await.expect("stored");
    }

    pub(super) async fn new(gpus: u64) -> Self {
        let store = Store::fresh().await.expect("opens");
        let (chain, cluster, clock) = (FakeChain::new(), Cluster::default(), Clock::manual(GENESIS));
        cluster.has(Some(one_node(gpus)));
        let metrics = Metrics::new().expect("distinct names");
        let settings = follower_settings();
        let follower = Follower::new(chain.clone(), store.clone(), settings, metrics.clone());
        let (leases, bidder_settings) = (Nudge::default(), bidder_settings());
        let wakes = Wakes { leases: leases.clone(), ..Wakes::default() };
        let (source, pricing) = (cluster.clone(), bidder_settings.pricing.clone());
        let bidder =
            Bidder::new(store.clone(), source, bidder_settings, clock.clone(), wakes, metrics.clone());
        Self { chain, cluster, store, follower, bidder, clock, leases, metrics, pricing }
    }

    /// The process ends and another one starts.
    pub(super) fn restart(&mut self) {
        let (store, source, clock) = (self.store.clone(), self.cluster.clone(), self.clock.clone());
        let wakes = Wakes { leases: self.leases.clone(), ..Wakes::default() };
        self.bidder = Bidder::new(store, source, bidder_settings(), clock, wakes, self.metrics.clone());
    }

    /// Mines a block that says this, and lets follower and bidder come to rest.
    pub(super) async fn after(&mut self, facts: Vec<Fact>) {
        self.chain.mine(facts);
        self.settle().await;
    }

    pub(super) async fn settle(&mut self) {
        for _ in 0..100 {
            let followed = self.follower.turn().await.expect("a turn");
            let bid = self.bidder.turn().await.expect("a turn");
            if followed.changed + bid.changed == 0 && followed.due.is_none() {
                return;
            }
        }
        panic!("follower and bidder do not come to rest");
    }

    /// What operators see of a metric.
    pub(super) async fn metric(&self, line: &str) -> String {
        let text = self.metrics.render(&self.store, US).await.expect("rendered");
        crate::lint::lint(&text);
        let found = text.lines().find_map(|told| told.strip_prefix(line)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("{line} is not in:\n{text}")).to_owned()
    }

    pub(super) async fn decision(&self, dseq: u64) -> Option<Decision> {
        self.store.decision(id(dseq)).await.expect("read").map(|row| row.decision)
    }

    pub(super) async fn reservation(&self, dseq: u64) -> ReservationRow {
        self.store.reservation(id(dseq)).await.expect("read").expect("reserved")
    }

    pub(super) async fn free_gpus(&self) -> u64 {
        let promised = self.store.reservations().await.expect("read");
        let free = self.cluster.free(&promised).expect("known");
        free.nodes["n1"].gpus.values().sum()
    }

    pub(super) async fn bids(&self) -> Vec<NewIntent> {
        let pending = self.store.pending_intents().await.expect("read");
        pending.into_iter().map(|row| row.intent).filter(|intent| intent.kind == IntentKind::Bid).collect()
    }

    /// Plays the outbox: the bid is mined in this block.
    pub(super) async fn mined(&self, intent: &str, nonce: u64, block: u64) {
        let hash = manifests::order::Hash([u8::try_from(nonce).expect("few"); 32]);
        let attempt = Attempt {
            intents: vec![intent.to_owned()],
            key: US,
            nonce,
            hash,
            raw: vec![1],
            max_fee: 1,
            max_tip: 1,
            signed_at: 0,
        };
        self.store.remember(&attempt).await.expect("remembered");
        let (fee_wei, gas_used, created, block_hash) = (1, 1, None, hash);
        let outcome = Outcome::Mined { hash, block, block_hash, gas_used, fee_wei, created };
        self.store
            .settle(US, nonce, &Verdict::Settled(vec![(intent.to_owned(), outcome)]))
            .await
            .expect("settled");
    }
}

pub(super) fn wants_gpus(dseq: u64, gpus: u64) -> Fact {
    Fact::OrderCreated(order(dseq, spec(1000, gpus)))
}

#[tokio::test]
async fn an_order_that_fits_gets_one_decision_one_reservation_and_one_bid() {
    let mut bench = Bench::new(4).await;
    bench.after(vec![wants_gpus(1, 2)]).await;
    assert!(matches!(bench.decision(1).await, Some(Decision::Bid { .. })), "{:?}", bench.decision(1).await);
    assert_eq!(bench.free_gpus().await, 2);
    assert_eq!(bench.bids().await.len(), 1);
    let report = bench.bidder.turn().await.expect("a turn");
    assert_eq!(report.changed, 0, "a second turn changes nothing");
    assert_eq!(bench.bids().await.len(), 1);
}

#[tokio::test]
async fn lease_lost_to_a_cheaper_bid_frees_its_gpus() {
    let mut bench = Bench::new(4).await;
    bench.after(vec![wants_gpus(1, 4)]).await;
    assert_eq!(bench.free_gpus().await, 0);
    bench.after(vec![wants_gpus(2, 1)]).await;
    let Some(Decision::Decline { reason: Reason::ResourcesGpuCount { need: 1, have: 0 } }) =
        bench.decision(2).await
    else {
        panic!("{:?}", bench.decision(2).await)
    };
    bench.after(vec![bid_of(US, 1), won_by(RIVAL, 1)]).await;
    assert_eq!(bench.free_gpus().await, 4);
    let reservation = bench.reservation(1).await;
    assert_eq!(reservation.state, ReservationState::Released);
    assert!(reservation.released_because.expect("said").contains("another provider"), "why it is free");
    assert!(bench.bids().await.is_empty(), "a bid that was not said yet is dropped");
    bench.after(vec![wants_gpus(3, 4)]).await;
    assert!(matches!(bench.decision(3).await, Some(Decision::Bid { .. })));
}

#[tokio::test]
async fn orders_of_one_block_never_get_more_than_there_is() {
    let mut bench = Bench::new(4).await;
    bench.after((1..=5).map(|dseq| wants_gpus(dseq, 2)).collect()).await;
    assert_eq!(bench.free_gpus().await, 0);
    assert_eq!(bench.bids().await.len(), 2);
}

#[tokio::test]
async fn a_restart_between_decision_and_bid_keeps_one_bid() {
    let mut bench = Bench::new(4).await;
    bench.after(vec![wants_gpus(1, 1)]).await;
    let before = bench.bids().await;
    bench.restart();
    bench.after(vec![]).await;
    assert_eq!(bench.bids().await, before);
    assert_eq!(bench.store.reservations().await.expect("read").len(), 1);
}

#[tokio::test]
async fn nothing_is_decided_while_the_cluster_is_unknown() {
    let mut bench = Bench::new(4).await;
    bench.cluster.has(None);
    bench.after(vec![wants_gpus(1, 1)]).await;
    assert_eq!(bench.decision(1).await, None);
    bench.cluster.has(Some(one_node(4)));
    bench.settle().await;
    assert!(matches!(bench.decision(1).await, Some(Decision::Bid { .. })));
}

#[tokio::test]
async fn an_order_that_expired_meanwhile_is_declined_even_so() {
    let mut bench = Bench::new(4).await;
    bench.cluster.has(None);
    let mut late = order(1, spec(1000, 0));
    late.expires_at = GENESIS;
    bench.after(vec![Fact::OrderCreated(late)]).await;
    assert_eq!(bench.decision(1).await, Some(Decision::Decline { reason: Reason::Expired }));
}

#[tokio::test]
async fn a_won_lease_keeps_its_capacity_until_nothing_of_it_is_left_in_the_cluster() {
    let mut bench = Bench::new(4).await;
    bench.after(vec![wants_gpus(1, 3)]).await;
    bench.after(vec![bid_of(US, 1), won_by(US, 1)]).await;
    assert_eq!(bench.reservation(1).await.state, ReservationState::Leased);
    bench.after(vec![ended(1, GENESIS + 20)]).await;
    assert_eq!(bench.free_gpus().await, 1, "pods may still be running");
    bench.is_torn_down(1).await;
    bench.settle().await;
    assert_eq!(bench.free_gpus().await, 4);
}

#[tokio::test]
async fn an_order_that_is_cancelled_frees_what_was_held_for_it() {
    let mut bench = Bench::new(4).await;
    bench.after(vec![wants_gpus(1, 3)]).await;
    bench.after(vec![bid_of(US, 1)]).await;
    bench.after(vec![Fact::OrderClosed { order: id(1), reason: CloseReason::TENANT }]).await;
    assert_eq!(bench.free_gpus().await, 4);
}

#[tokio::test]
async fn a_bid_that_expires_frees_what_was_held_for_it_and_is_counted() {
    let mut bench = Bench::new(4).await;
    bench.after(vec![wants_gpus(1, 3)]).await;
    bench.after(vec![bid_of(US, 1)]).await;
    assert_eq!(bench.metric("berth_bids_open").await, "1");
    assert_eq!(bench.metric("berth_reservations{state=\"held\"}").await, "1");
    assert_ne!(bench.metric("berth_decision_inputs_bytes").await, "0");
    for _ in 0..700 {
        bench.chain.mine(vec![]);
    }
    bench.after(vec![]).await;
    assert_eq!(bench.free_gpus().await, 4);
    assert_eq!(bench.metric("berth_bids_open").await, "0");
    assert_eq!(bench.metric("berth_reservation_expired_total").await, "1");
}

#[tokio::test]
async fn a_mined_bid_that_a_reorg_took_away_is_said_again_once() {
    let mut bench = Bench::new(4).await;
    bench.after(vec![wants_gpus(1, 1)]).await;
    let first = bench.bids().await.remove(0);
    bench.mined(&first.id, 0, 2).await;
    bench.after(vec![bid_of(US, 1)]).await;
    assert!(bench.bids().await.is_empty());
    bench.chain.drop_last(1);
    for _ in 0..4 {
        bench.after(vec![]).await;
    }
    let again = bench.bids().await;
    assert_eq!(again.len(), 1, "{again:?}");
    assert_ne!(again[0].id, first.id);
    bench.after(vec![]).await;
    assert_eq!(bench.bids().await, again);
    assert_eq!(bench.free_gpus().await, 3);
    // The nonce went back with the block, so the bytes are the same ones.
    bench.mined(&again[0].id, 0, 8).await;
    assert!(bench.bids().await.is_empty());
}

#[tokio::test]
async fn an_order_that_a_reorg_takes_away_and_brings_back_is_decided_again() {
    let mut bench = Bench::new(4).await;
    bench.after(vec![wants_gpus(1, 4)]).await;
    bench.chain.drop_last(1);
    bench.after(vec![]).await;
    bench.after(vec![]).await;
    assert_eq!(bench.decision(1).await, None);
    assert_eq!(bench.free_gpus().await, 4);
    bench.after(vec![wants_gpus(1, 4)]).await;
    assert!(matches!(bench.decision(1).await, Some(Decision::Bid { .. })));
    assert_eq!(bench.bids().await.len(), 1);
}

#[tokio::test]
async fn an_order_whose_terms_a_reorg_changed_is_decided_on_the_new_ones() {
    let mut bench = Bench::new(4).await;
    bench.after(vec![wants_gpus(1, 4)]).await;
    bench.chain.drop_last(1);
    bench.chain.mine(vec![]);
    bench.after(vec![wants_gpus(1, 1)]).await;
    assert_eq!(bench.free_gpus().await, 3);
    let bids = bench.bids().await;
    assert_eq!(bids.len(), 1, "{bids:?}");
}

#[tokio::test]
async fn a_bid_that_the_chain_refuses_for_good_frees_its_capacity() {
    let mut bench = Bench::new(4).await;
    bench.after(vec![wants_gpus(1, 4)]).await;
    let intent = bench.bids().await.remove(0);
    bench.store.fail_intent(&intent, "the provider takes no new leases", GENESIS).await.expect("stored");
    assert_eq!(bench.free_gpus().await, 4);
    bench.after(vec![]).await;
    assert!(bench.bids().await.is_empty());
    let said = bench.store.intents_of(Some(id(1)), IntentKind::Bid).await.expect("read");
    assert!(matches!(said.latest.expect("one").state, IntentState::Failed { .. }));
}

#[tokio::test]
async fn deciding_again_from_the_stored_inputs_gives_the_stored_decision() {
    let mut bench = Bench::new(2).await;
    bench.after(vec![wants_gpus(1, 1), wants_gpus(2, 8)]).await;
    for dseq in [1, 2] {
        let row = bench.store.decision(id(dseq)).await.expect("read").expect("decided");
        let inputs: Inputs = serde_json::from_str(&row.inputs).expect("inputs");
        assert_eq!(inputs.decide(), row.decision);
    }
}

#[tokio::test]
async fn a_bid_that_stands_again_after_a_reorg_gets_its_capacity_back_if_there_is_room() {
    let mut bench = Bench::new(4).await;
    bench.after(vec![wants_gpus(1, 3)]).await;
    let intent = bench.bids().await.remove(0);
    bench.mined(&intent.id, 0, 2).await;
    bench.after(vec![bid_of(US, 1)]).await;
    bench.after(vec![won_by(RIVAL, 1)]).await;
    assert_eq!(bench.free_gpus().await, 4);
    bench.chain.drop_last(1);
    bench.after(vec![]).await;
    assert_eq!(bench.reservation(1).await.state, ReservationState::Held, "nobody has won yet");
    assert_eq!(bench.free_gpus().await, 1);
    // Another takes the room before the next reorganisation.
    bench.after(vec![won_by(RIVAL, 1), wants_gpus(2, 4)]).await;
    assert_eq!(bench.free_gpus().await, 0);
    bench.chain.drop_last(1);
    bench.chain.mine(vec![]);
    bench.after(vec![wants_gpus(2, 4)]).await;
    let states = (bench.reservation(1).await.state, bench.reservation(2).await.state);
    assert!(states.0 != states.1, "one of them has the room: {states:?}");
    bench.after(vec![]).await;
    bench.after(vec![]).await;
}

#[tokio::test]
async fn caps_hold_within_one_block_of_orders_and_changed_terms_count_at_once() {
    let mut bench = Bench::new(0).await;
    let terms = bench.pricing.terms();
    let with = |change: fn(&mut Policy)| {
        let mut policy = terms.policy.clone();
        change(&mut policy);
        Terms::new(terms.tariff.clone(), policy)
    };
    let codes = async |bench: &Bench, orders: std::ops::RangeInclusive<u64>| {
        let mut codes = Vec::new();
        for dseq in orders {
            codes.push(match bench.decision(dseq).await.expect("decided") {
                Decision::Bid { .. } => "bid",
                Decision::Decline { reason } => reason.code(),
            });
        }
        codes.sort_unstable();
        codes
    };
    let orders = |from: u64| -> Vec<Fact> {
        (from..from + 3).map(|dseq| Fact::OrderCreated(order(dseq, spec(100, 0)))).collect()
    };
    bench.pricing.change(with(|policy| policy.max_open_bids = Some(2)), None);
    bench.after(orders(1)).await;
    assert_eq!(codes(&bench, 1..=3).await, ["bid", "bid", "bid_cap"]);

    // Two are out already, of the same tenant.
    bench.pricing.change(with(|policy| policy.caps.leases = Some(3)), None);
    bench.after(orders(4)).await;
    assert_eq!(codes(&bench, 4..=6).await, ["bid", "tenant_cap", "tenant_cap"]);

    // Each is 1.03 dollars a month: with four the tenant would pay more than four.
    bench.pricing.change(with(|policy| policy.caps.monthly = "4".parse().ok()), None);
    bench.after(orders(7)).await;
    assert_eq!(codes(&bench, 7..=9).await, ["tenant_cap"; 3]);

    for dseq in 1..=9 {
        let row = bench.store.decision(id(dseq)).await.expect("read").expect("decided");
        let inputs: Inputs = serde_json::from_str(&row.inputs).expect("inputs");
        assert_eq!(inputs.decide(), row.decision, "order {dseq} is told again as it was decided");
    }
}

#[tokio::test]
async fn maintenance_keeps_new_orders_away_until_it_is_over() {
    let mut bench = Bench::new(4).await;
    bench.store.begin_maintenance("new switches", GENESIS).await.expect("stored");
    bench.after(vec![posted(1)]).await;
    let Some(Decision::Decline { reason }) = bench.decision(1).await else { panic!("it bid") };
    assert_eq!(reason, Reason::Maintenance);
    bench.store.end_maintenance().await.expect("stored");
    bench.after(vec![posted(2)]).await;
    assert!(matches!(bench.decision(2).await, Some(Decision::Bid { .. })));
}
