//! Ill endpoints in front of a node that is well: what is read is never less than what there is, and what is sent happens once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fault_proxy::{Fault, FaultProxy, Relay};
use manifests::money::Amount;
use manifests::order::{Address, Fact};
use market::call::Call;
use market::observe::{Ended, Observe, Resync};
use market::sender::{MemoryJournal, Outcome, Sender};
use market::wakeup::Wakeup;
use market::{At, Chain, ConnectError};
use tokio::time::timeout;

use crate::anvil::{CHAIN_ID, Market, quick, rate, wallet};

const LIMIT: Duration = Duration::from_secs(60);

/// The market through these endpoints.
async fn through(market: &Market, endpoints: &[&FaultProxy]) -> Chain {
    let urls: Vec<String> = endpoints.iter().map(|endpoint| endpoint.url()).collect();
    Chain::connect(&urls.join(","), CHAIN_ID, market.contracts.market).await.expect("connected")
}

async fn two(market: &Market) -> (FaultProxy, FaultProxy, Chain) {
    let (first, second) =
        (FaultProxy::start(market.anvil.url()).await, FaultProxy::start(market.anvil.url()).await);
    let chain = through(market, &[&first, &second]).await;
    (first, second, chain)
}

async fn tokens(market: &Market, of: Address) -> Amount {
    market.chain.token_balance(of, At::Latest).await.expect("read")
}

fn mint(to: Address) -> Call {
    Call::MintTestToken { to, amount: Amount(5) }
}

/// Sends once through this chain, and sees that it happened once.
async fn happens_once(market: &Market, chain: &Chain, to: Address) {
    let sender = Sender::new(chain.clone(), wallet(3), MemoryJournal::default(), quick());
    let outcome = timeout(LIMIT, sender.send("mint", &mint(to))).await.expect("in time").expect("sent");
    assert!(matches!(outcome, Outcome::Mined { .. }), "{outcome:?}");
    assert_eq!(tokens(market, to).await, Amount(5));
}

/// Hears of what the chain is asked and of what the sender finds.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    asked: Mutex<Vec<(&'static str, Ended)>>,
    pub(crate) resyncs: Mutex<Vec<Resync>>,
}

impl Observe for Heard {
    fn asked(&self, method: &'static str, ended: Ended, _: Duration) {
        self.asked.lock().expect("whole").push((method, ended));
    }

    fn resynced(&self, how: Resync) {
        self.resyncs.lock().expect("whole").push(how);
    }
}

#[tokio::test]
async fn whatever_one_endpoint_suffers_the_other_answers() {
    let Some(market) = Market::open().await else { return };
    let (first, _second, chain) = two(&market).await;
    let head = market.chain.head().await.expect("a head");
    for fault in [
        Fault::Dropped,
        Fault::TooManyRequests,
        Fault::LimitExceeded,
        Fault::Truncated,
        Fault::AnswersAnother,
        Fault::ReplySwallowed,
        Fault::HalfOpen,
    ] {
        first.always(fault.clone());
        let told = timeout(LIMIT, chain.head()).await.expect("in time");
        assert_eq!(told, Ok(head), "{fault:?}");
        first.heal();
    }
}

#[tokio::test]
async fn an_endpoint_that_failed_rests_and_is_asked_again_only_after_it_said_its_chain() {
    let Some(market) = Market::open().await else { return };
    let (first, second, chain) = two(&market).await;
    first.next(1, "eth_getBlockByNumber", Fault::Dropped);
    chain.head().await.expect("the other's");
    let (before, asked) = (first.calls("eth_getBlockByNumber"), second.calls("eth_getBlockByNumber"));
    for _ in 0..5 {
        chain.head().await.expect("a head");
    }
    assert_eq!(first.calls("eth_getBlockByNumber"), before, "it rests");
    assert!(second.calls("eth_getBlockByNumber") >= asked + 5);

    let checked = first.calls("eth_chainId");
    first.always(Fault::OtherChain(1));
    let comes_back = async {
        while first.calls("eth_chainId") == checked {
            second.next(1, "eth_getBlockByNumber", Fault::Slow(Duration::from_millis(20)));
            chain.head().await.expect("a head");
        }
    };
    timeout(LIMIT, comes_back).await.expect("it is asked again");
    assert_eq!(
        first.calls("eth_getBlockByNumber"),
        before,
        "and nothing more, since it is on another chain now"
    );
}

#[tokio::test]
async fn one_endpoint_on_another_chain_among_several_is_refused_by_name() {
    let Some(market) = Market::open().await else { return };
    let (first, second) =
        (FaultProxy::start(market.anvil.url()).await, FaultProxy::start(market.anvil.url()).await);
    second.always(Fault::OtherChain(5));
    let urls = format!("{}, {}", first.url(), second.url());
    let refused = Chain::connect(&urls, CHAIN_ID, market.contracts.market).await.expect_err("one is wrong");
    let ConnectError::WrongChain { endpoint, have: 5, .. } = refused else { panic!("{refused}") };
    assert_eq!(endpoint, second.url());

    first.always(Fault::Dropped);
    second.heal();
    Chain::connect(&urls, CHAIN_ID, market.contracts.market).await.expect("one that is silent may come back");
}

#[tokio::test]
async fn a_head_that_stands_still_is_asked_for_elsewhere() {
    let Some(market) = Market::open().await else { return };
    let (first, second, chain) = two(&market).await;
    chain.head().await.expect("a head");
    first.always(Fault::StaleHead(3));
    second.always(Fault::Slow(Duration::from_millis(30)));
    for _ in 0..5 {
        market.anvil.mine().await;
    }
    let wanted = market.chain.head().await.expect("a head");
    let told = async {
        while chain.head().await.expect("a head") != wanted {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, told).await.expect("the newer head is told");
    assert_eq!(chain.head().await, Ok(wanted), "and the one that is behind is no longer asked first");
}

#[tokio::test]
async fn logs_that_an_endpoint_leaves_out_are_found() {
    let Some(market) = Market::open().await else { return };
    let alone = FaultProxy::start(market.anvil.url()).await;
    let chain = through(&market, &[&alone]).await;
    let order = market.order(1, Amount(5_000_000), rate(1_000_000_000)).await;
    let head = market.chain.head().await.expect("a head");
    alone.always(Fault::EmptyLogs);
    let facts = chain.facts_of_block(head.hash).await.expect("read");
    let [logged] = facts.as_slice() else { panic!("{facts:?}") };
    assert!(matches!(&logged.fact, Fact::OrderCreated(created) if created.id == order), "{logged:?}");

    market.anvil.mine().await;
    let quiet = market.chain.head().await.expect("a head");
    let asked = alone.calls("eth_getBlockReceipts");
    assert!(chain.facts_of_block(quiet.hash).await.expect("read").is_empty());
    assert_eq!(alone.calls("eth_getBlockReceipts"), asked, "its filter of bits says that nothing was said");
}

#[tokio::test]
async fn a_send_happens_once_under_every_fault_of_the_only_endpoint() {
    let Some(market) = Market::open().await else { return };
    let send = "eth_sendRawTransaction";
    let faults = [
        ("the reply is swallowed", send, Fault::ReplySwallowed),
        ("the call is dropped", send, Fault::Dropped),
        ("the answer breaks off", send, Fault::Truncated),
        ("the answer is another's", send, Fault::AnswersAnother),
        ("the host is limited", send, Fault::LimitExceeded),
        ("too many requests", send, Fault::TooManyRequests),
        ("no receipt is told", "eth_getTransactionReceipt", Fault::Truncated),
        ("no receipt for a while", "eth_getTransactionReceipt", Fault::StaleHead(1)),
    ];
    let heard = Arc::new(Heard::default());
    for (number, (what, method, fault)) in (1u8..).zip(faults) {
        let proxy = FaultProxy::start(market.anvil.url()).await;
        let chain = through(&market, &[&proxy]).await;
        chain.tell(heard.clone());
        proxy.next(1, method, fault);
        let (to, journal) = (Address([number; 20]), MemoryJournal::default());
        let sender = Sender::new(chain, wallet(3), journal, quick());
        let outcome = loop {
            match timeout(LIMIT, sender.send("mint", &mint(to))).await.expect("in time") {
                Ok(outcome) => break outcome,
                Err(error) => assert!(error.is_transient(), "{what}: {error:#}"),
            }
        };
        assert!(matches!(outcome, Outcome::Mined { .. }), "{what}: {outcome:?}");
        assert_eq!(tokens(&market, to).await, Amount(5), "{what}");
    }
    let asked = heard.asked.lock().expect("whole").clone();
    for ended in [Ended::Ok, Ended::Error] {
        assert!(asked.contains(&("eth_sendRawTransaction", ended)), "{ended:?} is not in {asked:?}");
    }
}

#[tokio::test]
async fn a_range_that_is_said_to_be_empty_is_looked_at_block_by_block() {
    let Some(market) = Market::open().await else { return };
    let head = market.chain.head().await.expect("a head").number;
    let all = market.chain.facts_between(0, head).await.expect("read");
    assert!(!all.is_empty(), "a provider registered");
    let proxy = FaultProxy::start(market.anvil.url()).await;
    let chain = through(&market, &[&proxy]).await;
    proxy.always(Fault::EmptyLogs);
    assert_eq!(chain.facts_between(0, head).await.expect("read"), all);
    // And one of two endpoints that says so is not believed without the other.
    let other = FaultProxy::start(market.anvil.url()).await;
    let chain = through(&market, &[&proxy, &other]).await;
    proxy.heal();
    proxy.always(Fault::NothingHappens);
    other.next(1, "eth_getLogs", Fault::Slow(Duration::from_millis(300)));
    assert_eq!(chain.facts_between(0, head).await.expect("read"), all);
    proxy.heal();
    market.anvil.mine().await;
    assert!(chain.facts_between(head + 1, head + 1).await.expect("read").is_empty());
}

#[tokio::test]
async fn a_transaction_goes_to_two_endpoints_and_one_that_takes_it_is_enough() {
    let Some(market) = Market::open().await else { return };
    let (first, second, chain) = two(&market).await;
    first.on("eth_sendRawTransaction", Fault::HalfOpen);
    happens_once(&market, &chain, Address([1; 20])).await;
    assert!(first.calls("eth_sendRawTransaction") >= 1 && second.calls("eth_sendRawTransaction") >= 1);
}

#[tokio::test]
async fn a_nonce_is_not_given_up_because_one_endpoint_is_behind_with_its_receipts() {
    let Some(market) = Market::open().await else { return };
    let (first, _second, chain) = two(&market).await;
    // It counts the transaction and does not know its receipt: taken alone it would read as another one's.
    first.on("eth_getTransactionReceipt", Fault::StaleHead(1_000_000));
    happens_once(&market, &chain, Address([1; 20])).await;
}

#[tokio::test]
async fn a_replacement_offers_enough_for_nodes_that_want_a_tenth_more() {
    let Some(market) = Market::open().await else { return };
    let proxy = FaultProxy::start(market.anvil.url()).await;
    let chain = through(&market, &[&proxy]).await;
    proxy.always(Fault::ReplacementRule);
    market.anvil.mine_by_hand().await;
    let to = Address([1; 20]);
    let sender = Sender::new(chain, wallet(3), MemoryJournal::default(), quick());
    let sending = tokio::spawn(async move { sender.send("mint", &mint(to)).await });
    let replaced = async {
        while proxy.calls("eth_feeHistory") < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, replaced).await.expect("replaced twice");
    market.anvil.mine().await;
    let outcome = timeout(LIMIT, sending).await.expect("in time").expect("no panic").expect("sent");
    assert!(matches!(outcome, Outcome::Mined { .. }), "{outcome:?}");
    assert_eq!(tokens(&market, to).await, Amount(5));
}

#[tokio::test]
async fn new_heads_wake_whoever_listens_and_a_lost_subscription_is_begun_again() {
    let Some(market) = Market::open().await else { return };
    let relay = Relay::start(market.anvil.url()).await;
    let ws = Wakeup::new(&format!("ws://{}", relay.address())).expect("a URL");
    let (woken, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let listening = tokio::spawn(async move {
        ws.run(move || {
            let _ = woken.send(());
        })
        .await;
    });
    timeout(LIMIT, heard.recv()).await.expect("in time").expect("the subscription begins");
    market.anvil.mine().await;
    timeout(LIMIT, heard.recv()).await.expect("in time").expect("a head");

    relay.be_silent(true);
    market.anvil.mine().await;
    relay.be_silent(false);
    while heard.try_recv().is_ok() {}
    let again = async {
        while heard.try_recv().is_err() {
            market.anvil.mine().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, again).await.expect("it listens again");
    listening.abort();
}
