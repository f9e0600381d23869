//! The follower against a chain that forks, grows and refuses.

use crate::support::*;
use manifests::money::Amount;
use manifests::order::{BlockRef, CloseReason, Fact, Hash};
use provider::follower::{ChainSource as _, Follower, Settings};
use provider::freshness::Freshness;
use provider::metrics::Metrics;
use provider::store::{BidState, Compared, LeaseState, OrderState, Store};
use provider::task::{Nudge, Turn as _};

struct Bench {
    chain: FakeChain,
    store: Store,
    follower: Follower<FakeChain>,
    nudge: Nudge,
    metrics: Metrics,
}

impl Bench {
    async fn new() -> Self {
        let (chain, store, nudge) =
            (FakeChain::new(), Store::fresh().await.expect("opens"), Nudge::default());
        let settings = Settings {
            provider: US,
            start_block: 0,
            deepest_wait: 2,
            freshness: Freshness::default(),
            nudges: vec![nudge.clone()],
        };
        let metrics = Metrics::new().expect("distinct names");
        let follower = Follower::new(chain.clone(), store.clone(), settings, metrics.clone());
        Self { chain, store, follower, nudge, metrics }
    }

    /// Takes turns until one changes nothing.
    async fn catch_up(&mut self) -> BlockRef {
        for _ in 0..1000 {
            let report = self.follower.turn().await.expect("a turn");
            if report.changed == 0 && report.due.is_none() {
                return self.store.cursor().await.expect("read").expect("followed");
            }
        }
        panic!("the follower does not come to rest");
    }
}

#[tokio::test]
async fn facts_of_new_blocks_are_stored_and_other_loops_are_woken() {
    let mut bench = Bench::new().await;
    bench.chain.mine(vec![deployed(1, 7), moved(1, 5_000_000), posted(1)]);
    let head = bench.chain.mine(vec![bid_of(RIVAL, 1), bid_of(US, 1)]);
    assert_eq!(bench.catch_up().await, head);
    let order = bench.store.order(id(1)).await.expect("read").expect("stored");
    assert_eq!((order.state, order.created_block), (OrderState::Open, 1));
    assert_eq!(order.order.spec, spec(1000, 0));
    assert_eq!(bench.store.bid(id(1), US).await.expect("read").expect("stored").state, BidState::Open);
    assert!(
        bench.store.bid(id(1), RIVAL).await.expect("read").is_none(),
        "a rival's bid changes nothing here"
    );
    let account = bench.store.account(account(1)).await.expect("read").expect("stored");
    assert_eq!((account.manifest_hash, account.deposited), (Hash([7; 32]), Amount(5_000_000)));
    tokio::time::timeout(std::time::Duration::from_secs(5), bench.nudge.wait()).await.expect("nudged");
}

#[tokio::test]
async fn what_becomes_of_our_leases_is_counted_and_what_becomes_of_others_is_not() {
    let mut bench = Bench::new().await;
    bench.chain.mine(vec![deployed(1, 7), moved(1, 5_000_000), posted(1), posted(2), posted(3)]);
    bench.chain.mine(vec![won_by(US, 1), won_by(US, 2), won_by(RIVAL, 3)]);
    let closed = |dseq, provider, reason| Fact::LeaseClosed {
        lease: id(dseq),
        provider,
        reason,
        ended_at: GENESIS,
        penalty: Amount::ZERO,
    };
    bench.chain.mine(vec![
        closed(1, US, CloseReason::TENANT),
        closed(2, US, CloseReason::MANIFEST_TIMEOUT),
        closed(3, RIVAL, CloseReason::UNSTABLE),
    ]);
    bench.catch_up().await;
    bench.chain.mine(vec![closed(4, US, CloseReason::DEPLETED)]);
    for _ in 0..3700 {
        bench.chain.mine(vec![]);
    }
    bench.catch_up().await;
    let told = bench.metrics.render(&bench.store, US).await.expect("rendered");
    for line in [
        r#"berth_lease_events_total{event="started"} 2"#,
        r#"berth_lease_events_total{event="closed"} 2"#,
        r#"berth_leases_closed_total{initiator="tenant",reason="asked"} 1"#,
        r#"berth_leases_closed_total{initiator="provider",reason="manifest_timeout"} 1"#,
        r#"berth_leases{state="closed"} 2"#,
    ] {
        assert!(told.lines().any(|told| told == line), "{line} is not in:\n{told}");
    }
    assert!(!told.contains("depleted"), "that is an hour ago");
}

#[tokio::test]
async fn a_second_turn_without_a_new_block_changes_nothing() {
    let mut bench = Bench::new().await;
    bench.chain.mine(vec![posted(1)]);
    bench.catch_up().await;
    let report = bench.follower.turn().await.expect("a turn");
    assert_eq!(report.changed, 0);
}

#[tokio::test]
async fn a_reorg_that_takes_a_lease_away_leaves_the_order_open() {
    let mut bench = Bench::new().await;
    bench.chain.mine(vec![posted(1), bid_of(US, 1)]);
    bench.chain.mine(vec![won_by(US, 1)]);
    bench.chain.mine(vec![paid(1, 40, GENESIS + 12)]);
    bench.catch_up().await;
    let lease = bench.store.lease(id(1)).await.expect("read").expect("won");
    assert_eq!((lease.state, lease.paid_net), (LeaseState::Active, Amount(40)));

    bench.chain.drop_last(2);
    let head = [bench.chain.mine(vec![]), bench.chain.mine(vec![]), bench.chain.mine(vec![posted(2)])];
    assert_eq!(bench.catch_up().await, head[2]);
    assert!(bench.store.lease(id(1)).await.expect("read").is_none());
    assert_eq!(bench.store.order(id(1)).await.expect("read").expect("stays").state, OrderState::Open);
    assert_eq!(bench.store.bid(id(1), US).await.expect("read").expect("stays").state, BidState::Open);
    assert!(bench.store.order(id(2)).await.expect("read").is_some());
    let told = bench.metrics.render(&bench.store, US).await.expect("rendered");
    let block_time = format!("berth_chain_block_timestamp_seconds {}", head[2].timestamp);
    let height = format!("berth_chain_head_height {}", head[2].number);
    for line in ["berth_chain_reorgs_total 1", "berth_chain_lag_blocks 0", &block_time, &height] {
        assert!(told.lines().any(|told| told == line), "{line} is not in:\n{told}");
    }
}

#[tokio::test]
async fn a_reorg_that_puts_the_same_facts_into_other_blocks_counts_them_once() {
    let mut bench = Bench::new().await;
    bench.chain.mine(vec![posted(1), bid_of(US, 1)]);
    bench.chain.mine(vec![won_by(US, 1), paid(1, 40, GENESIS + 12)]);
    bench.catch_up().await;
    bench.chain.drop_last(1);
    bench.chain.mine(vec![]);
    bench.chain.mine(vec![won_by(US, 1), paid(1, 40, GENESIS + 12)]);
    bench.catch_up().await;
    let lease = bench.store.lease(id(1)).await.expect("read").expect("won again");
    assert_eq!((lease.created_block, lease.paid_net), (3, Amount(40)));
}

#[tokio::test]
async fn a_long_gap_is_read_in_ranges_that_the_node_takes() {
    let mut bench = Bench::new().await;
    bench.catch_up().await;
    for dseq in 1..=300 {
        bench.chain.mine(vec![posted(dseq)]);
    }
    bench.chain.refuse_ranges_above(40);
    let head = bench.chain.head().await.expect("a head");
    assert_eq!(bench.catch_up().await, head);
    assert_eq!(bench.store.undecided_orders(1000).await.expect("read").len(), 300);
}

#[tokio::test]
async fn a_reorg_during_a_long_silence_is_found_before_the_gap_is_read() {
    let mut bench = Bench::new().await;
    bench.chain.mine(vec![posted(1)]);
    bench.chain.mine(vec![won_by(US, 1)]);
    bench.catch_up().await;
    bench.chain.drop_last(1);
    for dseq in 2..=200 {
        bench.chain.mine(vec![posted(dseq)]);
    }
    let head = bench.chain.head().await.expect("a head");
    assert_eq!(bench.catch_up().await, head);
    assert!(bench.store.lease(id(1)).await.expect("read").is_none());
    assert_eq!(bench.store.undecided_orders(1000).await.expect("read").len(), 200);
}

#[tokio::test]
async fn a_node_that_lags_is_not_taken_for_a_reorg() {
    let mut bench = Bench::new().await;
    bench.chain.mine(vec![posted(1)]);
    bench.chain.mine(vec![won_by(US, 1)]);
    let cursor = bench.catch_up().await;
    bench.chain.drop_last(1);
    assert_eq!(bench.catch_up().await, cursor);
    assert!(bench.store.lease(id(1)).await.expect("read").is_some());
}

/// Reads the chain again into a new database.
async fn resync(bench: &Bench, only_compare: bool) -> anyhow::Result<Vec<Compared>> {
    let beside = Store::fresh().await?;
    let settings = follower_settings();
    provider::resync::resync(bench.chain.clone(), &bench.store, &beside, settings, only_compare).await
}

#[tokio::test]
async fn reading_the_chain_again_gives_the_same_rows() {
    let mut bench = Bench::new().await;
    bench.chain.mine(vec![deployed(1, 7), moved(1, 50), moved(1, -20), posted(1), bid_of(US, 1)]);
    bench.chain.mine(vec![won_by(US, 1)]);
    bench.chain.mine(vec![paid(1, 40, GENESIS + 12), ended(1, GENESIS + 14)]);
    for _ in 0..100 {
        bench.chain.mine(vec![]);
    }
    bench.catch_up().await;
    bench.chain.mine(vec![posted(2)]);
    for only_compare in [true, false] {
        let compared = resync(&bench, only_compare).await.expect("read again");
        assert!(compared.iter().all(Compared::is_equal), "{compared:?}");
        let events = compared.iter().find(|row| row.table == "events").expect("compared");
        assert_eq!(events.after.count, 8, "what was said since then is not among them");
    }
    bench.catch_up().await;
    assert!(bench.store.order(id(2)).await.expect("read").is_some(), "following goes on from where it was");
    let account = bench.store.account(account(1)).await.expect("read").expect("stored");
    assert_eq!((account.deposited, account.refunded), (Amount(50), Amount(20)));
    let closed = bench.store.lease(id(1)).await.expect("read").expect("stored").state;
    assert!(matches!(closed, LeaseState::Closed { block: 3, .. }), "{closed:?}");
}

#[tokio::test]
async fn a_reorg_below_every_remembered_block_stops_the_follower_and_a_resync_heals_it() {
    let mut bench = Bench::new().await;
    bench.chain.mine(vec![]);
    bench.catch_up().await;
    bench.chain.mine(vec![posted(1), won_by(US, 1)]);
    for _ in 0..600 {
        bench.chain.mine(vec![]);
        bench.catch_up().await;
    }
    bench.chain.drop_last(601);
    bench.chain.mine(vec![posted(1), won_by(RIVAL, 1)]);
    for _ in 0..601 {
        bench.chain.mine(vec![]);
    }
    let stopped = bench.follower.turn().await.expect_err("nothing in common is remembered");
    assert!(format!("{stopped:#}").contains("berth-provider resync"), "{stopped:#}");
    let lease = async |store: &Store| store.lease(id(1)).await.expect("read").expect("stored").lease.provider;
    assert_eq!(lease(&bench.store).await, US, "a chain that cannot be joined changes nothing");

    let compared = resync(&bench, true).await.expect("read again");
    assert!(compared.iter().any(|row| !row.is_equal()));
    assert_eq!(lease(&bench.store).await, US, "comparing changes nothing");
    resync(&bench, false).await.expect("taken over");
    assert_eq!(lease(&bench.store).await, RIVAL);
    let head = bench.chain.head().await.expect("a head");
    assert_eq!(bench.catch_up().await, head);
}

#[tokio::test]
async fn a_daemon_that_follows_on_during_a_resync_keeps_its_rows() {
    let mut bench = Bench::new().await;
    bench.chain.mine(vec![posted(1)]);
    bench.catch_up().await;
    let beside = Store::fresh().await.expect("opens");
    let settings = follower_settings();
    provider::resync::resync(bench.chain.clone(), &bench.store, &beside, settings, true).await.expect("read");
    bench.chain.mine(vec![posted(2)]);
    bench.catch_up().await;
    let refused = bench.store.take_chain_from(&beside, false).await.expect_err("it moved on");
    assert!(refused.to_string().contains("stop the daemon"), "{refused}");
    assert!(bench.store.order(id(2)).await.expect("read").is_some());
}
