//! Many orders at once: how long until the last of a block is answered.

use std::time::Instant;

use crate::bidder::{Bench, wants_gpus};
use crate::support::*;
use bidengine::Capacity;
use provider::task::Turn as _;

/// A thousand nodes of eight H100 each.
fn hall() -> Capacity {
    let node = one_node(8).nodes.remove("n1").expect("one node");
    Capacity {
        nodes: (0..1000).map(|number| (format!("n{number}"), node.clone())).collect(),
        ..Capacity::default()
    }
}

#[tokio::test]
async fn three_hundred_orders_of_a_block_are_answered_in_a_few_turns() {
    let mut bench = Bench::new(0).await;
    bench.cluster.has(Some(hall()));
    bench.after((1..=50).map(|dseq| wants_gpus(dseq, 1)).collect()).await;
    bench.chain.mine((51..=350).map(|dseq| wants_gpus(dseq, 1)).collect());
    while bench.follower.turn().await.expect("a turn").changed > 0 {}
    let (started, mut turns) = (Instant::now(), 0);
    while bench.bidder.turn().await.expect("a turn").due.is_some() {
        turns += 1;
    }
    println!("300 orders beside 50 promises on 1000 nodes: {turns} turns and one, {:?}", started.elapsed());
    assert!(turns >= 2, "two whole slices and what is left");
    assert_eq!(bench.bids().await.len(), 350);
}
