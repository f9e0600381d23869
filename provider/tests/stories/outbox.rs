//! What the outbox says, with whom together, and what it leaves unsaid because the chain said something first.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::*;
use manifests::order::{CloseReason, Fact, Hash, LogRef, Order};
use market::call::Call;
use market::revert::MarketError;
use market::sender::{Attempt, Journal as _, Outcome, SendError, Verdict};
use provider::clock::Clock;
use provider::config::Gas;
use provider::metrics::Metrics;
use provider::outbox::{Outbox, Say};
use provider::store::{Advance, IntentKind, IntentState, NewIntent, Store};
use provider::task::{Nudge, Turn as _};

/// Has everything mined, writes down what was said together, and refuses closes if it is told to.
#[derive(Clone)]
struct Speaker {
    store: Store,
    said: Arc<Mutex<Vec<Vec<String>>>>,
    refuses_closes: bool,
}

impl Say for Speaker {
    async fn recover(&self) -> Result<(), SendError> {
        Ok(())
    }

    async fn say(&self, intents: &[(String, Call)]) -> Vec<Result<Outcome, SendError>> {
        let ids: Vec<String> = intents.iter().map(|(id, _)| id.clone()).collect();
        self.said.lock().expect("not poisoned").push(ids.clone());
        if self.refuses_closes && ids[0].starts_with("close") {
            return vec![Err(SendError::Refused(MarketError::WrongState { have: 4 }))];
        }
        let hash = Hash([9; 32]);
        let mined =
            Outcome::Mined { hash, block: 7, block_hash: hash, gas_used: 1, fee_wei: 50, created: None };
        let outcomes: Vec<(String, Outcome)> = ids.into_iter().map(|id| (id, mined.clone())).collect();
        let verdict = Verdict::Settled(outcomes.clone());
        self.store.settle(US, 0, &verdict).await.expect("settled");
        outcomes.into_iter().map(|(_, outcome)| Ok(outcome)).collect()
    }
}

struct Desk {
    store: Store,
    speaker: Speaker,
    outbox: Outbox<Speaker>,
    said: Nudge,
    clock: Clock,
    chain: FakeChain,
    metrics: Metrics,
}

impl Desk {
    async fn new(gas: Gas, refuses_closes: bool) -> Self {
        let (store, clock) = (Store::fresh().await.expect("opens"), Clock::manual(GENESIS));
        let speaker = Speaker { store: store.clone(), said: Arc::default(), refuses_closes };
        let (metrics, said) = (Metrics::new().expect("distinct names"), Nudge::default());
        let outbox = Outbox::new(
            store.clone(),
            speaker.clone(),
            gas,
            clock.clone(),
            metrics.clone(),
            said.clone(),
            Nudge::default(),
        );
        Self { store, speaker, outbox, said, clock, chain: FakeChain::new(), metrics }
    }

    /// A block that says this is followed.
    async fn followed(&self, facts: Vec<Fact>) {
        let block = self.chain.mine(vec![]);
        let at = |log_index| LogRef { block: block.number, block_hash: block.hash, log_index };
        let events = facts.into_iter().zip(0..).map(|(fact, index)| (at(index), fact)).collect();
        self.store.advance(&Advance { ancestor: None, blocks: vec![block], events }).await.expect("stored");
    }

    async fn wish(&self, kind: IntentKind, name: &str, dseq: u64, call: Call) {
        let order = (kind != IntentKind::Withdraw).then(|| id(dseq));
        let intent = NewIntent { id: name.to_owned(), kind, order, call, deadline: None };
        assert!(self.store.put_intent(&intent, GENESIS).await.expect("stored"));
    }

    async fn wish_bid(&self, dseq: u64) {
        let (provider, spec_hash, expires_at) = (US, Hash([1; 32]), GENESIS + 600);
        let call = Call::PlaceBid {
            order: id(dseq),
            provider,
            spec_hash,
            rate: rate(5),
            expires_at,
            reclaim: 0,
            min_bill: 0,
        };
        self.wish(IntentKind::Bid, &format!("bid {dseq}"), dseq, call).await;
    }

    async fn wish_close(&self, dseq: u64) {
        let call = Call::CloseLease { lease: id(dseq), reason: CloseReason::PROVIDER };
        self.wish(IntentKind::Close, &format!("close {dseq}"), dseq, call).await;
    }

    /// Takes turns until nothing is said any more.
    async fn speaks(&mut self) -> Vec<Vec<String>> {
        while self.outbox.turn().await.expect("a turn").changed > 0 {
            let _ = tokio::time::timeout(Duration::from_millis(200), self.said.wait()).await;
        }
        std::mem::take(&mut *self.speaker.said.lock().expect("not poisoned"))
    }

    async fn state(&self, kind: IntentKind, dseq: u64) -> IntentState {
        let order = (kind != IntentKind::Withdraw).then(|| id(dseq));
        self.store.intents_of(order, kind).await.expect("read").latest.expect("stored").state
    }
}

#[tokio::test]
async fn bids_that_wait_together_go_together_behind_closes() {
    let mut desk = Desk::new(GAS, false).await;
    for dseq in 1..=3 {
        desk.wish_bid(dseq).await;
    }
    desk.wish_close(9).await;
    let said = desk.speaks().await;
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said.contains(&vec!["close 9".to_owned()]), "{said:?}");
    assert!(said.contains(&["bid 1", "bid 2", "bid 3"].map(str::to_owned).to_vec()), "{said:?}");
    desk.wish_bid(4).await;
    assert_eq!(desk.speaks().await, [["bid 4"]], "a lone bid waits for no other");
}

#[tokio::test]
async fn a_bid_whose_order_is_gone_is_given_up_unsaid() {
    let mut desk = Desk::new(GAS, false).await;
    desk.followed(vec![posted(1), posted(2), posted(3)]).await;
    let closed = Fact::OrderClosed { order: id(1), reason: CloseReason::TENANT };
    desk.followed(vec![closed, won_by(RIVAL, 2)]).await;
    for dseq in 1..=3 {
        desk.wish_bid(dseq).await;
    }
    assert_eq!(desk.speaks().await, [["bid 3"]]);
    let IntentState::Failed { problem } = desk.state(IntentKind::Bid, 1).await else {
        panic!("not given up")
    };
    assert!(problem.starts_with("before the bid could be said"), "{problem}");
    let IntentState::Failed { problem } = desk.state(IntentKind::Bid, 2).await else {
        panic!("not given up")
    };
    assert!(problem.ends_with("the order became a lease"), "{problem}");
}

#[tokio::test]
async fn a_bid_whose_order_expired_before_it_could_be_said_is_given_up() {
    let mut desk = Desk::new(GAS, false).await;
    let over = Order { expires_at: GENESIS + 1, ..order(1, spec(1000, 0)) };
    desk.followed(vec![Fact::OrderCreated(over), posted(2)]).await;
    desk.followed(vec![]).await;
    for dseq in 1..=2 {
        desk.wish_bid(dseq).await;
    }
    assert_eq!(desk.speaks().await, [["bid 2"]]);
    let IntentState::Failed { problem } = desk.state(IntentKind::Bid, 1).await else {
        panic!("not given up")
    };
    assert!(problem.ends_with("the order expired"), "{problem}");
}

#[tokio::test]
async fn a_bid_of_which_a_transaction_is_on_its_way_is_seen_through_although_its_order_is_gone() {
    let mut desk = Desk::new(GAS, false).await;
    desk.followed(vec![posted(1)]).await;
    desk.wish_bid(1).await;
    let attempt = Attempt {
        intents: vec!["bid 1".to_owned()],
        key: US,
        nonce: 0,
        hash: Hash([7; 32]),
        raw: vec![1],
        max_fee: 1,
        max_tip: 1,
        signed_at: 0,
    };
    desk.store.remember(&attempt).await.expect("remembered");
    desk.followed(vec![Fact::OrderClosed { order: id(1), reason: CloseReason::TENANT }]).await;
    assert_eq!(desk.speaks().await, [["bid 1"]], "it may be mined whatever is thought of it here");
}

#[tokio::test]
async fn the_close_of_a_lease_that_ended_is_done_and_not_failed() {
    let mut desk = Desk::new(GAS, true).await;
    desk.followed(vec![posted(1), won_by(US, 1), posted(2), won_by(US, 2)]).await;
    desk.followed(vec![ended(1, GENESIS + 20)]).await;
    desk.wish_close(1).await;
    desk.wish_close(2).await;
    assert_eq!(desk.speaks().await, [["close 2"]], "the first is known to have ended");
    assert_eq!(desk.state(IntentKind::Close, 1).await, IntentState::Done { block: 2 });
    // The contract knew of the end before we did.
    assert_eq!(desk.state(IntentKind::Close, 2).await, IntentState::Done { block: 2 });
}

#[tokio::test]
async fn the_withdrawal_of_leases_that_are_settled_is_done() {
    let mut desk = Desk::new(GAS, false).await;
    desk.followed(vec![posted(1), won_by(US, 1), posted(2), won_by(US, 2)]).await;
    desk.followed(vec![ended(1, GENESIS + 20), paid(1, 100, GENESIS + 20)]).await;
    desk.wish(IntentKind::Withdraw, "withdraw 1", 0, Call::Withdraw { leases: vec![id(1)] }).await;
    assert_eq!(desk.speaks().await, [] as [Vec<String>; 0]);
    assert_eq!(desk.state(IntentKind::Withdraw, 0).await, IntentState::Done { block: 2 });
    desk.wish(IntentKind::Withdraw, "withdraw 2", 0, Call::Withdraw { leases: vec![id(1), id(2)] }).await;
    assert_eq!(desk.speaks().await, [["withdraw 2"]], "one of them earns still");
}

#[tokio::test]
async fn bids_stop_when_a_days_gas_is_spent_and_closes_go_on() {
    let mut desk = Desk::new(Gas { daily_budget: Some(100), reserve_closes: 0 }, false).await;
    desk.wish_bid(1).await;
    assert_eq!(desk.speaks().await, [["bid 1"]]);
    desk.wish_bid(2).await;
    assert_eq!(desk.speaks().await, [["bid 2"]], "half of it was left");
    desk.wish_bid(3).await;
    desk.wish_close(4).await;
    assert_eq!(desk.speaks().await, [["close 4"]]);
    assert_eq!(desk.state(IntentKind::Bid, 3).await, IntentState::Pending);
    let told = desk.metrics.render(&desk.store, US).await.expect("rendered");
    for line in [
        "berth_bids_held_back_total{reason=\"budget\"} 1",
        "berth_intents{kind=\"bid\",state=\"pending\"} 1",
        "berth_intents{kind=\"close\",state=\"done\"} 1",
    ] {
        assert!(told.lines().any(|told| told == line), "{line} is not in:\n{told}");
    }
    desk.clock.set(GENESIS + 86_401);
    assert_eq!(desk.speaks().await, [["bid 3"]], "another day");
}

#[tokio::test]
async fn bids_are_counted_by_result_and_the_first_of_an_order_is_timed_from_its_appearance() {
    let mut desk = Desk::new(GAS, false).await;
    let settings = follower_settings();
    let mut follower = provider::follower::Follower::new(
        desk.chain.clone(),
        desk.store.clone(),
        settings,
        desk.metrics.clone(),
    );
    desk.chain.mine(vec![posted(1)]);
    while follower.turn().await.expect("a turn").changed > 0 {}
    desk.wish_bid(1).await;
    desk.wish_bid(2).await;
    desk.speaks().await;
    let text = desk.metrics.render(&desk.store, US).await.expect("rendered");
    for line in [
        "berth_orders_seen_total 1",
        "berth_bids_total{result=\"ok\"} 2",
        "berth_bid_latency_seconds_count 1",
        "berth_tx_total{msg=\"bid\",result=\"ok\"} 2",
        "berth_tx_confirm_duration_seconds_count{msg=\"bid\"} 2",
        "berth_tx_gas_used_total{msg=\"bid\"} 2",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} is not in:\n{text}");
    }
}
