//! Ten thousand open orders at once: turns stay short, what is fresh is answered soon, and nothing is lost.

use std::time::{Duration, Instant};

use crate::bidder::{Bench, wants_gpus};
use crate::support::*;
use manifests::order::{Fact, LogRef, Order};
use provider::store::Advance;
use provider::task::Turn as _;

const ORDERS: u64 = 10_000;

#[tokio::test]
async fn a_backlog_is_worked_in_short_turns_and_holds_no_fresh_order_up() {
    let mut bench = Bench::new(4).await;
    for (page, first) in (1..=ORDERS).step_by(1000).enumerate() {
        let block = bench.chain.mine(vec![]);
        let at = |log_index| LogRef { block: block.number, block_hash: block.hash, log_index };
        let posted = (first..first + 1000).map(|dseq| {
            // Later ones end later, but for one.
            let expires_at = GENESIS + 10_000 + if dseq == 5_000 { 0 } else { dseq };
            (at(dseq), Fact::OrderCreated(Order { expires_at, ..order(dseq, spec(100, 0)) }))
        });
        let step = Advance { ancestor: None, blocks: vec![block], events: posted.collect() };
        bench.store.advance(&step).await.expect("followed");
        assert_eq!(page as u64 + 1, block.number, "a page a block");
    }
    let decided = async |bench: &Bench| -> u64 {
        bench.store.count_decisions().await.expect("read").iter().map(|(_, _, count)| count).sum()
    };
    let started = Instant::now();
    let report = bench.bidder.turn().await.expect("a turn");
    assert_eq!((report.changed, report.due), (128, Some(Duration::ZERO)), "a slice, and the next at once");
    assert!(started.elapsed() < Duration::from_secs(20), "a turn took {:?}", started.elapsed());
    assert!(bench.decision(5_000).await.is_some(), "what ends first is not lost behind newer ones");
    assert!(bench.decision(9_001).await.is_some(), "of the newest block, what ends first");
    bench.bidder.turn().await.expect("a turn");
    assert_eq!(decided(&bench).await, 256);

    let block = bench.chain.mine(vec![wants_gpus(20_000, 1)]);
    let Fact::OrderCreated(fresh) = wants_gpus(20_000, 1) else { panic!("an order") };
    let at = LogRef { block: block.number, block_hash: block.hash, log_index: 0 };
    let events = vec![(at, Fact::OrderCreated(fresh))];
    bench.store.advance(&Advance { ancestor: None, blocks: vec![block], events }).await.expect("followed");
    assert!(bench.decision(20_000).await.is_none());
    bench.bidder.turn().await.expect("a turn");
    assert!(bench.decision(20_000).await.is_some(), "it is answered in the next turn");
    assert!(decided(&bench).await < ORDERS / 2, "long before the backlog is through");

    // A restart in the middle goes on where it was.
    bench.restart();
    bench.bidder.turn().await.expect("a turn");
    assert_eq!(decided(&bench).await, 512);
}

#[tokio::test]
async fn a_backlog_that_cannot_be_decided_does_not_keep_the_loop_busy() {
    let mut bench = Bench::new(4).await;
    bench.cluster.has(None);
    bench.after((1..=200).map(posted).collect()).await;
    let report = bench.bidder.turn().await.expect("a turn");
    assert_eq!((report.changed, report.due), (0, None));
    bench.cluster.has(Some(one_node(4)));
    bench.settle().await;
    assert!(bench.decision(1).await.is_some() && bench.decision(200).await.is_some());
}
