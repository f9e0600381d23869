//! Orders that were refused for what passes get another answer when it has passed, while they are open.

use std::time::Duration;

use bidengine::{Fx, Policy, Tariff};
use manifests::decision::{Decision, Passing, Reason};
use manifests::order::{Fact, LogRef, Order};
use provider::explain;
use provider::pricing::Terms;
use provider::store::{Advance, Again, DecisionRow, NewDecision, NewInputs, Part};
use provider::task::Turn as _;
use serde::Serialize;

use crate::bidder::{Bench, wants_gpus};
use crate::support::*;

/// Seconds after which a refused order is decided once more.
const PAUSE: u64 = 10;

impl Bench {
    async fn row(&self, dseq: u64) -> DecisionRow {
        self.store.decision(id(dseq)).await.expect("read").expect("decided")
    }

    async fn code(&self, dseq: u64) -> &'static str {
        match self.row(dseq).await.decision {
            Decision::Bid { .. } => "bid",
            Decision::Decline { reason } => reason.code(),
        }
    }

    /// So many seconds and blocks later.
    async fn later(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.chain.mine(vec![]);
        }
        self.clock.set(self.clock.now() + seconds);
        self.settle().await;
    }

    async fn declined(&self, code: &str) -> String {
        self.metric(&format!("berth_orders_declined_total{{reason=\"{code}\"}}")).await
    }
}

#[tokio::test]
async fn an_order_declined_for_gpus_gets_a_bid_when_a_lease_ends() {
    let mut bench = Bench::new(4).await;
    bench.after(vec![wants_gpus(1, 4)]).await;
    bench.after(vec![bid_of(US, 1), won_by(US, 1)]).await;
    bench.after(vec![wants_gpus(2, 4)]).await;
    assert_eq!(bench.code(2).await, "resources_gpu_count");
    let first = bench.row(2).await;
    assert_eq!((first.again, first.again_at), (0, None));

    bench.later(PAUSE).await;
    let same = bench.row(2).await;
    assert_eq!((same.decided_at, same.again, same.again_at), (first.decided_at, 1, Some(GENESIS + PAUSE)));
    assert_eq!(bench.code(2).await, "resources_gpu_count", "the lease runs on");
    assert_eq!(bench.declined("resources_gpu_count").await, "1", "one order, one reason");
    bench.later(PAUSE - 1).await;
    assert_eq!(bench.row(2).await.again, 1, "not before the pause is over");

    bench.after(vec![ended(1, GENESIS + 20)]).await;
    bench.is_torn_down(1).await;
    bench.later(1).await;
    let row = bench.row(2).await;
    assert!(matches!(row.decision, Decision::Bid { .. }), "{:?}", row.decision);
    assert_eq!((row.decided_at, row.again), (GENESIS + 2 * PAUSE, 2));
    assert_eq!((bench.free_gpus().await, bench.bids().await.len()), (0, 1));
    let told = explain::of(&bench.store, id(2)).await.expect("explained");
    assert!(explain::tell(&told).expect("told").contains("again        2 times, last at unix second"));

    bench.later(PAUSE).await;
    assert_eq!(bench.row(2).await, row, "a bid is not decided again");
    assert_eq!(bench.bids().await.len(), 1);
}

#[tokio::test]
async fn an_order_declined_for_an_old_worth_gets_a_bid_when_it_is_told_again() {
    let mut bench = Bench::new(4).await;
    let dollars = bench.pricing.terms();
    let (tariff, policy) = (&dollars.tariff, &dollars.policy);
    let mut table = serde_json::to_value(tariff).expect("JSON");
    table["fx"] = serde_json::json!({"currency": "EUR", "maxStalenessSecs": 900});
    let euros: Tariff = serde_json::from_value(table).expect("a tariff");
    // Terms of the same table again: another currency in between makes the worth that comes with them count.
    let tell = |bench: &Bench, fx: Option<Fx>| {
        bench.pricing.change(Terms::new(tariff.clone(), policy.clone()), None);
        bench.pricing.change(Terms::new(euros.clone(), policy.clone()), fx);
    };
    let worth = |at| Fx { rate: "1.08".parse().expect("a rate"), source: "bank".to_owned(), at };
    tell(&bench, Some(worth(GENESIS - 2000)));
    bench.after(vec![posted(1)]).await;
    assert_eq!(bench.code(1).await, "fx_stale");
    let told = explain::tell(&explain::of(&bench.store, id(1)).await.expect("explained")).expect("told");
    assert!(told.contains("one EUR is 1.08 dollars, told by bank at unix second"), "{told}");
    assert!(told.contains("2001 seconds before"), "{told}");
    assert!(told.contains("decided again every few seconds while it is open"), "{told}");

    bench.later(PAUSE).await;
    assert_eq!((bench.code(1).await, bench.declined("fx_stale").await.as_str()), ("fx_stale", "1"));
    tell(&bench, Some(worth(GENESIS)));
    bench.later(PAUSE).await;
    assert_eq!(bench.code(1).await, "bid");
    assert_eq!(bench.bids().await.len(), 1);
}

#[tokio::test]
async fn an_order_that_the_configuration_refuses_is_decided_again_when_that_changes_and_not_before() {
    let mut bench = Bench::new(4).await;
    let terms = bench.pricing.terms();
    let with = |policy: Policy| Terms::new(terms.tariff.clone(), policy);
    bench.pricing.change(with(Policy { deny: [TENANT].into(), ..terms.policy.clone() }), None);
    bench.after(vec![posted(1)]).await;
    assert_eq!(bench.code(1).await, "tenant_denied");
    bench.later(10 * PAUSE).await;
    assert_eq!(bench.row(1).await.again, 0, "time alone changes nothing");

    // Refused by the new rules, too, for another reason: that is news.
    bench.pricing.change(with(Policy { maintenance: true, ..terms.policy.clone() }), None);
    bench.later(1).await;
    assert_eq!((bench.code(1).await, bench.declined("maintenance").await.as_str()), ("maintenance", "1"));
    assert_eq!(bench.row(1).await.decided_at, GENESIS + 10 * PAUSE + 1);
    bench.pricing.change(with(terms.policy.clone()), None);
    bench.later(1).await;
    assert_eq!(bench.code(1).await, "bid", "at once, not after the pause");
}

#[tokio::test]
async fn an_order_that_can_never_be_served_or_is_over_keeps_its_answer() {
    let mut bench = Bench::new(1).await;
    let mut broken = order(1, b"no spec".to_vec());
    broken.expires_at = GENESIS + 10_000;
    let over = Order { expires_at: GENESIS + 30, ..order(2, spec(1000, 8)) };
    bench.after(vec![Fact::OrderCreated(broken), Fact::OrderCreated(over)]).await;
    let [first, second] = [bench.row(1).await, bench.row(2).await];
    assert_eq!((bench.code(1).await, bench.code(2).await), ("spec_invalid", "resources_gpu_count"));
    bench.pricing.change(
        Terms::new(bench.pricing.terms().tariff.clone(), Policy { strict: true, ..Policy::default() }),
        None,
    );
    bench.later(40).await;
    assert_eq!([bench.row(1).await, bench.row(2).await], [first, second]);
}

#[test]
fn what_lies_in_the_order_or_in_the_configuration_is_told_from_what_passes() {
    assert_eq!(Reason::Expired.passing(), Passing::Never);
    assert_eq!(Reason::TenantDenied.passing(), Passing::WithConfiguration);
    for reason in [
        Reason::FxStale { currency: String::new(), source: None, age: None, most: 0 },
        Reason::PriceHook { problem: String::new() },
        Reason::Balance { what: String::new(), need: String::new(), have: String::new() },
        Reason::ResourcesGpuCount { need: 1, have: 0 },
        Reason::Maintenance,
    ] {
        assert_eq!(reason.passing(), Passing::ByItself, "{}", reason.code());
    }
}

/// As decisions store them.
#[derive(Serialize)]
struct Rules<'a> {
    tariff: &'a Tariff,
    policy: &'a Policy,
}

const REFUSED: u64 = 10_000;

#[tokio::test]
async fn ten_thousand_refused_orders_keep_no_fresh_one_waiting_and_all_come_up_again() {
    let mut bench = Bench::new(0).await;
    for first in (1..=REFUSED).step_by(1000) {
        let block = bench.chain.mine(vec![]);
        let at = |log_index| LogRef { block: block.number, block_hash: block.hash, log_index };
        let orders = (first..first + 1000).map(|dseq| {
            let expires_at = GENESIS + 100_000 - dseq;
            (at(dseq), Fact::OrderCreated(Order { expires_at, ..order(dseq, spec(1000, 1)) }))
        });
        let step = Advance { ancestor: None, blocks: vec![block], events: orders.collect() };
        bench.store.advance(&step).await.expect("followed");
    }
    let terms = bench.pricing.terms();
    let rules = Part::new(&Rules { tariff: &terms.tariff, policy: &terms.policy }).expect("JSON");
    let base = Part::new(&one_node(0)).expect("JSON");
    for first in (1..=REFUSED).step_by(1000) {
        let refused = (first..first + 1000).map(|dseq| NewDecision {
            order: id(dseq),
            spec_hash: order(dseq, spec(1000, 1)).spec_hash,
            decided_at: GENESIS,
            decision: Decision::Decline { reason: Reason::ResourcesGpuCount { need: 1, have: 0 } },
            inputs: NewInputs::new(rules.clone(), base.clone(), &serde_json::json!({})).expect("JSON"),
            intent: None,
        });
        bench.store.put_decisions(&refused.collect::<Vec<_>>(), 0).await.expect("stored");
    }
    assert_eq!(bench.store.count_undecided().await.expect("read"), 0);
    let due = async |bench: &Bench| -> usize {
        let since = bench.clock.now() - PAUSE;
        let again = Again { since, rules: rules.hash(), now: GENESIS };
        bench.store.orders_to_decide_again(again, 2 * REFUSED).await.expect("read").len()
    };
    bench.clock.set(GENESIS + PAUSE);
    assert_eq!(due(&bench).await, 10_000);

    // One that fits comes in.
    let Fact::OrderCreated(fresh) = posted(20_000) else { panic!("an order") };
    let block = bench.chain.mine(vec![]);
    let at = LogRef { block: block.number, block_hash: block.hash, log_index: 0 };
    let events = vec![(at, Fact::OrderCreated(fresh))];
    bench.store.advance(&Advance { ancestor: None, blocks: vec![block], events }).await.expect("followed");
    let report = bench.bidder.turn().await.expect("a turn");
    assert_eq!(bench.code(20_000).await, "bid", "it is answered in the first turn");
    assert_eq!(report.changed, 1, "refusals as before are no change");
    assert_eq!(report.due, Some(Duration::from_secs(1)), "the rest follows at its pace");
    assert_eq!(due(&bench).await, 10_000 - 64, "so many in a turn");
    bench.bidder.turn().await.expect("a turn");
    assert_eq!(due(&bench).await, 10_000 - 64, "once a second");
    assert_eq!(bench.row(REFUSED).await.again, 1, "whose time ends first");
    assert_eq!(bench.row(REFUSED / 2).await.again, 0);

    // Those that end last come up, too, while the first ones are due again and again.
    for _ in 0..40 {
        bench.clock.set(bench.clock.now() + 1);
        bench.bidder.turn().await.expect("a turn");
    }
    let mut waited = 0;
    for dseq in (1..=REFUSED).step_by(100) {
        waited += u64::from(bench.store.decision(id(dseq)).await.expect("read").expect("decided").again > 0);
    }
    assert!(waited > 8, "{waited} of a hundred");
    let told = bench.metrics.render(&bench.store, US).await.expect("rendered");
    assert!(!told.contains("resources_gpu_count"), "they were counted when they were refused first:\n{told}");
}
