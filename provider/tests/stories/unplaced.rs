//! What binds us without a place: a bid that stands again after a reorganisation, a lease that was won on it.

use std::time::Duration;

use bidengine::Capacity;
use manifests::decision::Decision;
use manifests::order::{CloseReason, Fact};
use market::call::Call;
use provider::explain;
use provider::store::{Health, IntentKind, LeaseStatus, NewIntent, Outcome, ReservationState};
use provider::task::Turn as _;

use crate::bidder::{Bench, wants_gpus};
use crate::support::*;

impl Bench {
    /// Our bid for order 1 stands, and order 2 has its room: the first was cancelled, the second took its place, and a
    /// reorganisation took the cancellation away.
    async fn crowded() -> Self {
        let mut bench = Self::new(4).await;
        bench.after(vec![wants_gpus(1, 3)]).await;
        let intent = bench.bids().await.remove(0);
        bench.mined(&intent.id, 0, 2).await;
        bench.after(vec![bid_of(US, 1)]).await;
        bench.chain.mine(vec![wants_gpus(2, 3)]);
        bench.after(vec![Fact::OrderClosed { order: id(1), reason: CloseReason::TENANT }]).await;
        assert!(matches!(bench.decision(2).await, Some(Decision::Bid { .. })));
        bench.chain.drop_last(1);
        bench.chain.mine(vec![]);
        bench
    }

    async fn states(&self) -> (ReservationState, ReservationState) {
        (self.reservation(1).await.state, self.reservation(2).await.state)
    }

    async fn wishes(&self, kind: IntentKind) -> Vec<NewIntent> {
        let pending = self.store.pending_intents().await.expect("read");
        pending.into_iter().map(|row| row.intent).filter(|intent| intent.kind == kind).collect()
    }

    /// How often it was wished.
    async fn said(&self, kind: IntentKind) -> u64 {
        self.store.intents_of(Some(id(1)), kind).await.expect("read").count
    }

    async fn outcome(&self) -> Outcome {
        let told = self.store.answers(US, 0, 10).await.expect("read");
        told.into_iter().find(|row| row.order == id(1)).expect("decided").outcome
    }

    async fn explained(&self) -> String {
        explain::tell(&explain::of(&self.store, id(1)).await.expect("explained")).expect("told")
    }

    async fn wait(&mut self, seconds: u64) {
        self.clock.set(self.clock.now() + seconds);
        self.settle().await;
    }
}

const HELD: (ReservationState, ReservationState) = (ReservationState::Released, ReservationState::Held);

#[tokio::test]
async fn the_end_of_a_bid_that_is_refused_is_wished_again_ever_more_rarely_and_told() {
    let mut bench = Bench::crowded().await;
    bench.settle().await;
    assert_eq!(bench.states().await, HELD);
    assert!(bench.explained().await.contains("there is no room for it"), "{}", bench.explained().await);

    for (wishes, rest) in [(1, 15), (2, 30), (3, 60)] {
        let [wish] = &bench.wishes(IntentKind::TakeBack).await[..] else { panic!("no wish {wishes}") };
        assert!(matches!(wish.call, Call::WithdrawBid { order, provider: US } if order == id(1)));
        bench.wait(100).await;
        assert_eq!(bench.said(IntentKind::TakeBack).await, wishes, "while one is on its way");
        bench.store.fail_intent(wish, "it is the best", bench.clock.now()).await.expect("failed");
        bench.wait(rest - 1).await;
        assert!(bench.wishes(IntentKind::TakeBack).await.is_empty(), "it rests {rest} seconds");
        let Outcome::Released(because) = bench.outcome().await else { panic!("{:?}", bench.outcome().await) };
        assert!(because.contains(&format!("wish {wishes}: it is the best")), "{because}");
        assert!(bench.explained().await.contains(&because), "both say the same");
        bench.wait(1).await;
    }
    assert_eq!(bench.said(IntentKind::TakeBack).await, 4);
    let wish = bench.wishes(IntentKind::TakeBack).await.remove(0);
    bench.store.fail_intent(&wish, "it is the best", bench.clock.now()).await.expect("failed");

    // Room for both ends it.
    bench.cluster.has(Some(one_node(8)));
    bench.wait(10_000).await;
    assert_eq!(bench.states().await, (ReservationState::Held, ReservationState::Held));
    assert_eq!(bench.said(IntentKind::TakeBack).await, 4);
}

#[tokio::test]
async fn a_bid_that_is_over_is_not_taken_back_any_more() {
    let mut bench = Bench::crowded().await;
    bench.settle().await;
    let wish = bench.wishes(IntentKind::TakeBack).await.remove(0);
    bench.store.fail_intent(&wish, "it is the best", bench.clock.now()).await.expect("failed");
    for _ in 0..600 {
        bench.chain.mine(vec![]);
    }
    bench.settle().await;
    bench.wait(600).await;
    assert_eq!(bench.said(IntentKind::TakeBack).await, 1, "nobody can accept it");
}

#[tokio::test]
async fn a_lease_that_was_won_without_a_place_gets_one_where_there_is_room() {
    let mut bench = Bench::crowded().await;
    let node = one_node(4).nodes.remove("n1").expect("one node");
    let nodes = ["n1", "n2"].map(|name| (name.to_owned(), node.clone())).into();
    bench.cluster.has(Some(Capacity { nodes, ..Capacity::default() }));
    bench.after(vec![won_by(US, 1)]).await;
    assert_eq!(bench.states().await, (ReservationState::Leased, ReservationState::Held));
    let nodes = [bench.reservation(1).await, bench.reservation(2).await];
    let nodes = nodes.map(|row| row.placement.replicas[0].node.clone());
    assert_eq!(nodes, ["n2", "n1"], "never in what is promised to another");
    let woken = tokio::time::timeout(Duration::from_secs(5), bench.leases.wait()).await;
    assert!(woken.is_ok(), "whoever runs leases is told");
    assert!(bench.wishes(IntentKind::Close).await.is_empty());
}

#[tokio::test]
async fn a_lease_that_was_won_without_a_place_is_closed_by_us_at_once_when_nothing_fits() {
    let mut bench = Bench::crowded().await;
    bench.after(vec![won_by(US, 1)]).await;
    assert_eq!(bench.states().await, HELD, "never more is promised than there is");
    let [wish] = &bench.wishes(IntentKind::Close).await[..] else { panic!("it is not closed") };
    let reason = CloseReason::DECOMMISSION;
    assert_eq!(wish.call, Call::CloseLease { lease: id(1), reason });
    let Outcome::Unplaced(because) = bench.outcome().await else { panic!("{:?}", bench.outcome().await) };
    assert!(because.contains("needs 3 GPUs") || because.contains("nothing else fits"), "{because}");
    assert!(bench.explained().await.contains(&because), "{}", bench.explained().await);
    assert_eq!(bench.metric("berth_reservations_without_place").await, "1");
    assert_eq!(bench.bidder.turn().await.expect("a turn").changed, 0, "a second turn changes nothing");

    // The chain did not take it: it is wished again.
    bench.store.fail_intent(wish, "no gas", bench.clock.now()).await.expect("failed");
    bench.wait(59).await;
    assert!(bench.wishes(IntentKind::Close).await.is_empty());
    bench.chain.mine(vec![]);
    bench.wait(1).await;
    let wish = bench.wishes(IntentKind::Close).await.remove(0);
    bench.store.complete_intent(&wish.id, 8, bench.clock.now()).await.expect("done");
    let closed = Fact::LeaseClosed {
        lease: id(1),
        provider: US,
        reason,
        ended_at: GENESIS + 8,
        penalty: manifests::money::Amount::ZERO,
    };
    bench.after(vec![closed]).await;
    assert_eq!(bench.outcome().await, Outcome::Won("closed".to_owned()));
    assert_eq!((bench.said(IntentKind::Close).await, bench.states().await), (2, HELD));
    assert_eq!(bench.metric("berth_reservations_without_place").await, "0");
}

#[tokio::test]
async fn no_lease_is_closed_for_want_of_a_place_by_who_does_not_see_the_cluster_or_the_chain() {
    let mut bench = Bench::crowded().await;
    bench.cluster.has(None);
    bench.after(vec![won_by(US, 1)]).await;
    assert!(bench.wishes(IntentKind::Close).await.is_empty(), "unknown is not full");
    bench.clock.set(bench.clock.now() + 100);
    bench.bidder.turn().await.expect("a turn");
    bench.cluster.has(Some(one_node(4)));
    bench.bidder.turn().await.expect("a turn");
    assert!(bench.wishes(IntentKind::Close).await.is_empty(), "the lease may have ended meanwhile");
    assert_eq!(bench.states().await, HELD);
    for _ in 0..100 {
        bench.chain.mine(vec![]);
    }
    bench.settle().await;
    assert_eq!(bench.wishes(IntentKind::Close).await.len(), 1);
}

#[tokio::test]
async fn a_lease_that_a_reorg_took_and_gave_back_keeps_the_place_where_it_runs() {
    let mut bench = Bench::new(4).await;
    let posted = wants_gpus(1, 3);
    bench.after(vec![posted.clone()]).await;
    bench.after(vec![bid_of(US, 1), won_by(US, 1)]).await;
    let status = LeaseStatus {
        lease: id(1),
        health: Health::Healthy,
        since: GENESIS,
        applied_revision: Some(1),
        torn_down_at: None,
        body: "{}".to_owned(),
        updated_at: GENESIS,
    };
    bench.store.put_lease_status(&status).await.expect("stored");
    bench.chain.drop_last(2);
    bench.after(vec![]).await;
    assert_eq!(bench.reservation(1).await.state, ReservationState::Released, "the order is gone");
    // Its pods still have their GPUs.
    bench.cluster.has(Some(one_node(1)));
    bench.after(vec![posted, bid_of(US, 1), won_by(US, 1)]).await;
    assert_eq!(bench.reservation(1).await.state, ReservationState::Leased);
    assert_eq!(bench.said(IntentKind::Close).await, 0, "it is not closed");
}
