//! What a currency is worth, as a contract on a real chain tells it: fresh, stale, senseless, or not at all.

use std::time::{Duration, Instant};

use bidengine::{Circumstances, Fx, decide};
use fault_proxy::{Fault, FaultProxy};
use manifests::decision::{Decision, Reason};
use manifests::order::Address;
use market::Chain;
use provider::clock::Clock;
use provider::config::Config;
use provider::metrics::Metrics;
use provider::pricing::fx::Feed;
use provider::pricing::{Pricing, Terms};
use provider::store::Store;
use provider::task::Turn as _;
use serde_json::{Value, json};

use crate::anvil::{CHAIN_ID, Market};
use crate::support::{US, one_node, order, spec};

const EXAMPLE: &str = include_str!("../../berth-provider.example.yaml");

/// A feed with the two views that are asked for, and whose values anybody may set. It is assembled by hand; each line is one
/// block of it.
const FEED: &str = concat!(
    // Constructor: return the 0x51 bytes that stand behind these nine.
    "60518060095f395ff3",
    // Selector of the call; decimals() jumps to 0x2a, latestRoundData() to 0x33.
    "5f3560e01c",
    "8063313ce56714602a57",
    "63feaf968c14603357",
    // Any other selector sets slot 0 (decimals), slot 1 (answer) and slot 2 (updatedAt) to its three arguments.
    "6004355f55",
    "6024356001556044356002",
    "5500",
    // decimals(): slot 0.
    "5b5f545f5260205ff3",
    // latestRoundData(): 7, slot 1, slot 2, slot 2, 7.
    "5b60075f52600154602052",
    "60025480604052606052",
    "600760805260a05ff3",
);

const NOW: u64 = 1_800_000_000;

/// The contract on a chain, and who asks it.
struct Oracle {
    market: Market,
    address: Address,
    pricing: Pricing,
    metrics: Metrics,
    clock: Clock,
    feed: Feed,
    proxy: FaultProxy,
}

impl Oracle {
    async fn open() -> Option<Self> {
        let market = Market::open().await?;
        let from = market.tenant.address().to_string();
        let transaction = json!([{"from": from, "data": format!("0x{FEED}")}]);
        let receipt = mined(&market, transaction).await;
        let address: Address =
            receipt["contractAddress"].as_str().expect("deployed").parse().expect("an address");
        let proxy = FaultProxy::start(market.anvil.url()).await;
        let chain = Chain::connect(&proxy.url(), CHAIN_ID, market.contracts.market).await.expect("connected");
        let fx = format!(
            "\npricing:\n  fx: {{currency: EUR, sources: [{{chainOracle: {{address: \"{address}\"}}}}], maxStaleness: 15m}}\n"
        );
        let config = Config::parse(&EXAMPLE.replacen("\npricing:\n", &fx, 1), |_| None).expect("is good");
        let (metrics, clock) = (Metrics::new().expect("metrics"), Clock::manual(NOW));
        let pricing = Pricing::new(Terms::of(&config), metrics.clone());
        let feed = Feed::new(pricing.clone(), Some(chain), clock.clone());
        Some(Self { market, address, pricing, metrics, clock, feed, proxy })
    }

    /// The contract tells this from the next block on.
    async fn tells(&self, decimals: u8, answer: i128, updated_at: u64) {
        let from = self.market.tenant.address().to_string();
        // A negative number fills the word with ones.
        let high = if answer < 0 { "f".repeat(32) } else { "0".repeat(32) };
        let data = format!("0x00000000{decimals:064x}{high}{answer:032x}{updated_at:064x}");
        let transaction = json!([{"from": from, "to": self.address.to_string(), "data": data}]);
        mined(&self.market, transaction).await;
    }

    async fn told(&mut self) -> Option<Fx> {
        self.feed.turn().await.expect("a turn");
        self.pricing.now().fx
    }

    /// What is decided on an order by what is known now.
    fn decision(&self) -> Decision {
        let (now, capacity) = (self.pricing.now(), one_node(0));
        let circumstances = Circumstances {
            fx: now.fx.as_ref(),
            ..Circumstances::new(&capacity, &now.terms.tariff, &now.terms.policy, self.clock.now())
        };
        let mut order = order(1, spec(1000, 0));
        order.expires_at = NOW + 10_000;
        decide(&order, &circumstances)
    }

    async fn failures(&self) -> u64 {
        let store = Store::fresh().await.expect("opens");
        let text = self.metrics.render(&store, US).await.expect("rendered");
        let line = format!("berth_price_fx_failures_total{{source=\"oracle {}\"}} ", self.address);
        text.lines()
            .find_map(|told| told.strip_prefix(&line))
            .map_or(0, |count| count.parse().expect("a number"))
    }
}

/// Sends a transaction and gives its receipt; the node answers before the block is there.
async fn mined(market: &Market, transaction: Value) -> Value {
    let sent = market.anvil.ask("eth_sendTransaction", transaction).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let receipt = market.anvil.ask("eth_getTransactionReceipt", json!([sent])).await;
        if !receipt.is_null() {
            return receipt;
        }
        assert!(Instant::now() < deadline, "waited for half a minute for {sent} to be mined");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_tells_what_a_currency_is_worth_and_when_it_was_so() {
    let Some(mut oracle) = Oracle::open().await else { return };
    assert_eq!(oracle.told().await, None, "no round was finished yet");
    assert_eq!(oracle.failures().await, 1);
    assert!(matches!(oracle.decision(), Decision::Decline { reason: Reason::FxStale { source: None, .. } }));

    oracle.tells(8, 108_250_000, NOW - 60).await;
    let told = oracle.told().await.expect("told");
    let source = format!("oracle {}", oracle.address);
    assert_eq!((told.rate.to_string().as_str(), told.at, told.source), ("1.0825", NOW - 60, source.clone()));
    assert!(matches!(oracle.decision(), Decision::Bid { .. }), "{:?}", oracle.decision());

    // As many decimals as tokens have.
    oracle.tells(18, 1_090_000_000_000_000_001, NOW).await;
    assert_eq!(oracle.told().await.expect("told").rate.to_string(), "1.090000001", "rounded up");

    // It is not told again: what was told counts until it is too old, to the second.
    oracle.clock.set(NOW + 900);
    assert_eq!(oracle.told().await.expect("kept").at, NOW);
    assert!(matches!(oracle.decision(), Decision::Bid { .. }));
    oracle.clock.set(NOW + 901);
    oracle.told().await;
    let Decision::Decline { reason: Reason::FxStale { source: by, age, most, .. } } = oracle.decision()
    else {
        panic!("{:?}", oracle.decision())
    };
    assert_eq!((by, age, most), (Some(source), Some(901), 900));

    oracle.tells(8, 110_000_000, NOW + 901).await;
    assert_eq!(oracle.told().await.expect("told").at, NOW + 901);
    assert!(matches!(oracle.decision(), Decision::Bid { .. }), "it is told again");
    assert_eq!(oracle.failures().await, 1, "an old worth is no failure of the source");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_that_tells_a_round_older_than_is_believed_tells_nothing() {
    let Some(mut oracle) = Oracle::open().await else { return };
    oracle.tells(8, 108_000_000, NOW - 901).await;
    assert_eq!(oracle.told().await, None);
    oracle.tells(8, 108_000_000, NOW - 900).await;
    assert!(oracle.told().await.is_some(), "a second less is believed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_that_tells_no_worth_leaves_the_last_one_and_is_counted() {
    let Some(mut oracle) = Oracle::open().await else { return };
    oracle.tells(8, 108_000_000, NOW).await;
    let before = oracle.told().await.expect("told");
    for answer in [-108_000_000, 0, i128::MIN] {
        let failures = oracle.failures().await;
        oracle.tells(8, answer, NOW).await;
        assert_eq!(oracle.told().await.as_ref(), Some(&before), "{answer}");
        assert_eq!(oracle.failures().await, failures + 1, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_does_not_answer_is_given_up_in_time_and_asked_again() {
    let Some(mut oracle) = Oracle::open().await else { return };
    oracle.tells(8, 108_000_000, NOW).await;
    let before = oracle.told().await.expect("told");
    oracle.tells(8, 109_000_000, NOW).await;
    for fault in [Fault::HalfOpen, Fault::Dropped] {
        oracle.proxy.always(fault.clone());
        let (failures, began) = (oracle.failures().await, Instant::now());
        assert_eq!(oracle.told().await.as_ref(), Some(&before), "{fault:?}");
        assert!(began.elapsed() < Duration::from_secs(15), "{fault:?} took {:?}", began.elapsed());
        assert_eq!(oracle.failures().await, failures + 1, "{fault:?}");
        oracle.proxy.heal();
    }
    assert_eq!(oracle.told().await.expect("told").rate.to_string(), "1.09");
}
