//! The sweep over a store whose chain was told of badly.

use std::time::Duration;

use provider::clock::Clock;
use provider::follower::Follower;
use provider::metrics::Metrics;
use provider::store::{LeaseState, Store};
use provider::sweep::{Settings, Sweep};
use provider::task::{Nudge, Turn as _};

use crate::support::*;

const DAY: u64 = 86_400;

struct Bench {
    chain: FakeChain,
    store: Store,
    clock: Clock,
    metrics: Metrics,
    follower: Follower<FakeChain>,
    sweep: Sweep<FakeChain>,
    nudge: Nudge,
}

impl Bench {
    async fn new() -> Self {
        let (chain, store) = (FakeChain::new(), Store::fresh().await.expect("opens"));
        let (clock, metrics, nudge) =
            (Clock::manual(GENESIS), Metrics::new().expect("distinct names"), Nudge::default());
        let settings = follower_settings();
        let follower = Follower::new(chain.clone(), store.clone(), settings, metrics.clone());
        let settings = Settings {
            provider: US,
            start_block: 0,
            every: Duration::from_secs(DAY),
            reach: Duration::from_secs(3 * DAY),
            nudges: vec![nudge.clone()],
        };
        let sweep = Sweep::new(chain.clone(), store.clone(), settings, clock.clone(), metrics.clone());
        Self { chain, store, clock, metrics, follower, sweep, nudge }
    }

    async fn catch_up(&mut self) {
        for _ in 0..1000 {
            let report = self.follower.turn().await.expect("a turn");
            if report.changed == 0 && report.due.is_none() {
                return;
            }
        }
        panic!("the follower does not come to rest");
    }

    /// Takes turns until there is nothing to read any more; answers how much was added.
    async fn sweep(&mut self) -> u64 {
        let mut added = 0;
        for _ in 0..1000 {
            let report = self.sweep.turn().await.expect("a turn");
            added += report.changed;
            if report.due.is_none() {
                return added;
            }
        }
        panic!("the sweep does not come to rest");
    }

    /// Empty blocks above what happened, so that a sweep reaches it.
    fn bury(&self) {
        for _ in 0..40 {
            self.chain.mine(vec![]);
        }
    }

    async fn counted(&self, kind: &str) -> u64 {
        let text = self.metrics.render(&self.store, US).await.expect("rendered");
        let name = format!("berth_chain_differences_total{{kind=\"{kind}\"}} ");
        text.lines()
            .find_map(|line| line.strip_prefix(&name))
            .map_or(0, |count| count.parse().expect("a count"))
    }
}

#[tokio::test]
async fn a_lease_event_that_was_missed_is_found_by_the_sweep_and_counted() {
    let mut bench = Bench::new().await;
    bench.chain.mine(vec![posted(1), bid_of(US, 1)]);
    let won = bench.chain.mine(vec![won_by(US, 1), paid(1, 40, GENESIS + 12)]);
    bench.chain.hide(Some(won.number..=won.number));
    bench.bury();
    bench.catch_up().await;
    assert!(bench.store.lease(id(1)).await.expect("read").is_none(), "the endpoint left it out");
    assert_eq!(bench.sweep().await, 0, "a new database was read just now");

    bench.chain.hide(None);
    bench.clock.set(GENESIS + DAY - 1);
    assert_eq!(bench.sweep().await, 0, "it is not due");
    assert!(bench.store.lease(id(1)).await.expect("read").is_none());

    bench.clock.set(GENESIS + DAY);
    assert_eq!(bench.sweep().await, 2);
    let lease = bench.store.lease(id(1)).await.expect("read").expect("found");
    assert_eq!((lease.state, lease.created_block, lease.paid_net.0), (LeaseState::Active, won.number, 40));
    assert_eq!(bench.counted("missing").await, 2);
    tokio::time::timeout(Duration::from_secs(5), bench.nudge.wait()).await.expect("others act on it");

    bench.clock.set(GENESIS + 2 * DAY);
    assert_eq!(bench.sweep().await, 0, "a second sweep finds nothing");
    assert_eq!((bench.counted("missing").await, bench.counted("not_told").await), (2, 0));
}

#[tokio::test]
async fn an_endpoint_that_tells_of_nothing_takes_nothing_away() {
    let mut bench = Bench::new().await;
    bench.chain.mine(vec![posted(1), bid_of(US, 1)]);
    bench.chain.mine(vec![won_by(US, 1)]);
    bench.bury();
    bench.catch_up().await;
    bench.sweep().await;
    bench.chain.hide(Some(0..=u64::MAX));
    bench.clock.set(GENESIS + DAY);
    assert_eq!(bench.sweep().await, 0);
    assert_eq!(bench.counted("not_told").await, 3);
    assert!(bench.store.lease(id(1)).await.expect("read").is_some());
    assert!(bench.store.bid(id(1), US).await.expect("read").is_some());
}

#[tokio::test]
async fn a_lease_that_the_contract_sees_ended_is_read_again_before_the_sweep_is_due() {
    let mut bench = Bench::new().await;
    bench.chain.mine(vec![posted(1), bid_of(US, 1)]);
    bench.chain.mine(vec![won_by(US, 1)]);
    let end = bench.chain.mine(vec![ended(1, GENESIS + 3)]);
    bench.chain.hide(Some(end.number..=end.number));
    bench.chain.mine(vec![]);
    bench.catch_up().await;
    bench.sweep().await;
    // The contract is asked, and the endpoint still leaves the end out: the contract's word alone ends nothing.
    bench.clock.set(GENESIS + 601);
    assert_eq!(bench.sweep().await, 0);
    assert_eq!(bench.counted("state").await, 1);
    let row = bench.store.lease(id(1)).await.expect("read").expect("stored");
    assert_eq!(row.state, LeaseState::Active);

    bench.chain.hide(None);
    bench.clock.set(GENESIS + 1300);
    assert_eq!(bench.sweep().await, 1);
    let row = bench.store.lease(id(1)).await.expect("read").expect("stored");
    assert!(matches!(row.state, LeaseState::Closed { .. }), "{row:?}");
}

#[tokio::test]
async fn a_reorg_during_a_sweep_lets_it_begin_again() {
    let mut bench = Bench::new().await;
    bench.chain.mine(vec![posted(1)]);
    bench.bury();
    bench.catch_up().await;
    bench.sweep().await;
    bench.clock.set(GENESIS + DAY);
    // Another branch that the follower has not seen yet.
    bench.chain.drop_last(30);
    bench.chain.mine(vec![posted(2)]);
    bench.bury();
    assert_eq!(bench.sweep.turn().await.expect("a turn").changed, 0);
    assert!(bench.store.order(id(2)).await.expect("read").is_none(), "facts and cursor are of one branch");
    bench.catch_up().await;
    assert_eq!(bench.sweep().await, 0);
    assert!(bench.store.order(id(2)).await.expect("read").is_some());
}
