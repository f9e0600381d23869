//! Orders that go to their lowest bid: bidding lower while it pays, and no longer.

use crate::bidder::Bench;
use crate::support::*;
use bidengine::Inputs;
use manifests::decision::{Decision, Placement, Reason};
use manifests::order::{Address, Fact, Order, OrderId};
use market::call::Call;
use provider::store::{
    IntentKind, NewDecision, NewInputs, NewIntent, OrderRow, Part, Put, ReservationState, Store,
};
use provider::task::Turn as _;
use serde_json::json;

/// When the order takes no more bids.
const END: u64 = GENESIS + 1000;

fn auction(dseq: u64) -> Order {
    Order { award: Some(END), ..order(dseq, spec(1000, 0)) }
}

fn bids(provider: Address, dseq: u64, scaled: u128) -> Fact {
    let Fact::BidPlaced(bid) = bid_of(provider, dseq) else { panic!("a bid") };
    Fact::BidPlaced(manifests::order::Bid { rate: rate(scaled), expires_at: END + 600, ..bid })
}

fn says(intent: &NewIntent) -> u128 {
    match intent.call {
        Call::PlaceBid { rate, .. } => rate.scaled(),
        _ => panic!("a bid"),
    }
}

/// An auction for which we decided to bid 1000, which pays down to 500.
async fn decided() -> Bench {
    let mut bench = Bench::new(4).await;
    bench.chain.mine(vec![Fact::OrderCreated(auction(1))]);
    while bench.follower.turn().await.expect("a turn").changed > 0 {}
    decide(&bench.store, &auction(1)).await;
    bench.settle().await;
    bench
}

async fn decide(store: &Store, order: &Order) {
    let nothing = Part::new(&json!({})).expect("written");
    let call = Call::PlaceBid {
        order: order.id,
        provider: US,
        spec_hash: order.spec_hash,
        rate: rate(1000),
        expires_at: END + 300,
        reclaim: 0,
        min_bill: 0,
    };
    let decision = NewDecision {
        order: order.id,
        spec_hash: order.spec_hash,
        decided_at: GENESIS,
        decision: Decision::Bid {
            rate: rate(1000),
            floor: rate(500),
            expires_at: END + 300,
            items: vec![],
            placement: Placement::default(),
            warnings: vec![],
        },
        inputs: NewInputs::new(nothing.clone(), nothing, &json!({})).expect("written"),
        intent: Some(NewIntent {
            id: format!("bid {} 0", order.id),
            kind: IntentKind::Bid,
            order: Some(order.id),
            call,
            deadline: Some(END),
        }),
    };
    let last = store.promised().await.expect("read").last;
    assert_eq!(store.put_decisions(&[decision], last).await.expect("stored"), [Put::Stored]);
}

/// An auction on which our bid of 1000 stands.
async fn bench() -> Bench {
    let mut bench = decided().await;
    let first = bench.bids().await.remove(0);
    bench.mined(&first.id, 0, 2).await;
    bench.after(vec![bids(US, 1, 1000)]).await;
    assert_eq!(said(&bench).await, [], "nobody else bids");
    bench
}

async fn said(bench: &Bench) -> Vec<u128> {
    bench.bids().await.iter().map(says).collect()
}

async fn head(bench: &Bench) -> u64 {
    bench.store.cursor().await.expect("read").expect("followed").number
}

#[tokio::test]
async fn a_lower_bid_is_bettered_one_revision_at_a_time_until_it_does_not_pay() {
    let mut bench = bench().await;
    bench.after(vec![bids(RIVAL, 1, 900)]).await;
    assert_eq!(said(&bench).await, [891]);
    bench.after(vec![bids(RIVAL, 1, 800)]).await;
    assert_eq!(said(&bench).await, [891], "one is on its way");
    let second = bench.bids().await.remove(0);
    bench.mined(&second.id, 1, head(&bench).await + 1).await;
    bench.settle().await;
    assert_eq!(said(&bench).await, [], "what else its block says is not known yet");
    bench.after(vec![bids(US, 1, 891)]).await;
    assert_eq!(said(&bench).await, [792]);
    let third = bench.bids().await.remove(0);
    assert_ne!(third.id, second.id);
    bench.mined(&third.id, 2, head(&bench).await + 1).await;
    bench.after(vec![bids(US, 1, 792)]).await;
    assert_eq!(said(&bench).await, [], "ours is the lowest");
    bench.after(vec![bids(RIVAL, 1, 506)]).await;
    assert_eq!(said(&bench).await, [500], "not below the floor");
    let last = bench.bids().await.remove(0);
    bench.mined(&last.id, 3, head(&bench).await + 1).await;
    bench.after(vec![bids(US, 1, 500)]).await;
    bench.after(vec![bids(RIVAL, 1, 495)]).await;
    assert_eq!(said(&bench).await, []);
    let reservation = bench.reservation(1).await;
    assert_eq!(reservation.state, ReservationState::Released);
    assert!(reservation.released_because.expect("told").contains("the least that it pays for"));
    assert_eq!(bench.metric("berth_bid_revisions_total").await, "3");
    assert_eq!(bench.metric("berth_bid_outcomes_total{outcome=\"lost\"}").await, "1");
}

#[tokio::test]
async fn a_restart_says_no_revision_twice() {
    let mut bench = bench().await;
    bench.after(vec![bids(RIVAL, 1, 900)]).await;
    let before = bench.bids().await;
    bench.restart();
    bench.after(vec![]).await;
    assert_eq!(bench.bids().await, before);
}

#[tokio::test]
async fn a_revision_that_would_be_mined_too_late_is_not_made() {
    let mut bench = bench().await;
    bench.clock.set(END - 1);
    // The chain's clock stands; ours is the later one and counts.
    bench.after(vec![bids(RIVAL, 1, 900)]).await;
    assert_eq!(said(&bench).await, []);
    let mut other = self::bench().await;
    other.clock.set(GENESIS + 5);
    other.after(vec![bids(RIVAL, 1, 900)]).await;
    assert_eq!(other.bids().await[0].deadline, Some(END), "nor said later than it counts");
}

#[tokio::test]
async fn a_bid_that_another_in_its_block_was_below_is_lowered_and_keeps_what_it_holds() {
    let mut bench = decided().await;
    let first = bench.bids().await.remove(0);
    bench.store.fail_intent(&first, "the rate is too high", GENESIS).await.expect("stored");
    bench.settle().await;
    assert_eq!(
        bench.reservation(1).await.state,
        ReservationState::Held,
        "the other bid is still to be heard of"
    );
    bench.after(vec![bids(RIVAL, 1, 900)]).await;
    assert_eq!(said(&bench).await, [891]);
    let second = bench.bids().await.remove(0);
    bench.store.fail_intent(&second, "the provider is not active", GENESIS).await.expect("stored");
    bench.settle().await;
    assert_eq!(said(&bench).await, [], "as much was refused already");
    bench.clock.set(GENESIS + 15);
    bench.settle().await;
    assert_eq!(bench.reservation(1).await.state, ReservationState::Released);
}

#[tokio::test]
async fn an_order_on_which_another_bids_less_than_it_pays_for_is_declined_and_explained() {
    let mut bench = Bench::new(4).await;
    bench.after(vec![Fact::OrderCreated(auction(1)), bids(RIVAL, 1, 100)]).await;
    let Some(Decision::Decline { reason: Reason::PriceAboveMax { have, .. } }) = bench.decision(1).await
    else {
        panic!("{:?}", bench.decision(1).await)
    };
    assert_eq!(have, rate(99), "the most that would count");
    let row = bench.store.decision(id(1)).await.expect("read").expect("decided");
    let inputs: Inputs = serde_json::from_str(&row.inputs).expect("inputs");
    assert_eq!(inputs.decide(), row.decision);
}

#[tokio::test]
async fn an_auction_that_is_over_is_declined_although_its_order_is_open() {
    let mut bench = Bench::new(4).await;
    bench
        .after(vec![
            Fact::OrderCreated(auction(1)),
            Fact::OrderCreated(Order { award: Some(GENESIS), ..auction(2) }),
        ])
        .await;
    assert_eq!(bench.decision(2).await, Some(Decision::Decline { reason: Reason::Expired }));
    assert!(matches!(bench.decision(1).await, Some(Decision::Bid { .. })));
}

#[tokio::test]
async fn bids_of_others_are_kept_where_the_lowest_wins_and_nowhere_else() {
    let mut bench = Bench::new(4).await;
    bench.after(vec![Fact::OrderCreated(auction(1)), posted(2)]).await;
    bench.after(vec![bids(RIVAL, 1, 7), bids(RIVAL, 2, 7)]).await;
    bench.after(vec![bids(Address([0xcc; 20]), 1, 6)]).await;
    let lowest = async |order: OrderId| {
        let found = bench.store.lowest_of_others(order, US).await.expect("read");
        found.map(|row| row.bid.rate.scaled())
    };
    assert_eq!((lowest(id(1)).await, lowest(id(2)).await), (Some(6), None));
    let OrderRow { order, .. } = bench.store.order(id(1)).await.expect("read").expect("seen");
    assert_eq!(order.award, Some(END));
}
