//! Keys that a signing service holds, and what stands before any key: on a real chain, with a service that lies.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use manifests::money::Amount;
use manifests::order::{Address, CloseReason, OrderId};
use market::At;
use market::call::Call;
use market::sender::{Attempt, Journal, MemoryJournal, Outcome, SendError, Sender, Verdict};
use market::signer::{DailyGas, Denial, Policy, Service, ServiceError, SignError, Signer};
use serde_json::json;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::anvil::{CHAIN_ID, KEYS, Market, mined, quick, rate, wallet};
use crate::gateway::Gateway;
use crate::web3signer::{Mood, Web3Signer};

const LIMIT: Duration = Duration::from_secs(10);

async fn connect(service: &Web3Signer, limit: Duration) -> Service {
    let url = service.url.parse().expect("a URL");
    Service::connect(&url, service.address(), None, limit).await.expect("it holds the key")
}

async fn sent(market: &Market, of: Address) -> u64 {
    let count = market.anvil.ask("eth_getTransactionCount", json!([of, "pending"])).await;
    u64::from_str_radix(count.as_str().expect("hex").trim_start_matches("0x"), 16).expect("a number")
}

fn mint() -> Call {
    Call::MintTestToken { to: Address([1; 20]), amount: Amount(5) }
}

#[tokio::test]
async fn a_remote_signer_signs_what_was_asked_and_it_is_mined() {
    let Some(market) = Market::open().await else { return };
    let service = Web3Signer::start(KEYS[3], CHAIN_ID, None).await;
    let signer = Signer::from(connect(&service, LIMIT).await);
    let sender = Sender::new(market.chain.clone(), &signer, MemoryJournal::default(), quick());
    assert_eq!(sender.address(), wallet(3).address());
    for _ in 0..2 {
        let call = Call::MintTestToken {
            to: Address([1; 20]),
            amount: Amount(sent(&market, sender.address()).await.into()),
        };
        mined(&sender, &call).await;
    }
    assert_eq!(service.asked("eth_signTransaction"), 2);
}

#[tokio::test]
async fn a_stuck_transaction_is_replaced_by_one_that_the_remote_signer_signs_anew() {
    let Some(market) = Market::open().await else { return };
    let service = Web3Signer::start(KEYS[3], CHAIN_ID, None).await;
    let signer = Signer::from(connect(&service, LIMIT).await);
    let sender = Sender::new(market.chain.clone(), signer, MemoryJournal::default(), quick());
    market.anvil.mine_by_hand().await;
    let sending = tokio::spawn({
        let sender = sender.clone();
        async move { sender.send("mint", &mint()).await }
    });
    let replaced = async {
        while service.asked("eth_signTransaction") < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), replaced).await.expect("replaced in time");
    let mining = async {
        while !sending.is_finished() {
            market.anvil.mine().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), mining).await.expect("mined in time");
    assert!(matches!(sending.await.expect("ends"), Ok(Outcome::Mined { .. })));
    assert_eq!(sent(&market, sender.address()).await, 1);
}

#[tokio::test]
async fn what_a_remote_signer_changes_is_noticed_and_nothing_is_sent() {
    let Some(market) = Market::open().await else { return };
    let service = Web3Signer::start(KEYS[3], CHAIN_ID, None).await;
    let signer = Signer::from(connect(&service, LIMIT).await);
    let sender = Sender::new(market.chain.clone(), signer, MemoryJournal::default(), quick());
    for (mood, said) in [
        (Mood::OtherNonce, "the nonce is another one"),
        (Mood::HigherFee, "the highest fee is another one"),
        (Mood::HigherTip, "the tip is another one"),
        (Mood::MoreGas, "the gas limit is another one"),
        (Mood::OtherAddress, "the address is another one"),
        (Mood::SomeValue, "the value is another one"),
        (Mood::OtherData, "the data is another one"),
        (Mood::OtherChain, "the chain id is another one"),
        (Mood::OtherKey, "it was signed by 0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a"),
        (Mood::HighS, "high s"),
        (Mood::MoreBytes, "it is not a signed transaction"),
        (Mood::OldType, "not a transaction with a base fee"),
        (Mood::NoHex, "it is not hex"),
    ] {
        service.is(mood);
        let error = sender.send("mint", &mint()).await.expect_err("noticed");
        assert!(matches!(error, SendError::Sign(SignError::NotWhatWasAsked { .. })), "{mood:?}: {error:#}");
        assert!(!error.is_transient() && error.to_string().contains(said), "{mood:?}: {error:#}");
    }
    assert_eq!(sent(&market, sender.address()).await, 0);
    assert_eq!(sender.journal().live(sender.address()).await.expect("read"), [], "nothing is remembered");
    service.is(Mood::Honest);
    mined(&sender, &mint()).await;
}

#[tokio::test]
async fn a_remote_signer_that_fails_is_asked_again_and_one_that_stays_ill_is_told_with_its_place() {
    let Some(market) = Market::open().await else { return };
    let service = Web3Signer::start(KEYS[3], CHAIN_ID, None).await;
    let url = service.url.replace("http://", "http://berth:hunter2@").parse().expect("a URL");
    let limit = Duration::from_millis(300);
    let signer = Service::connect(&url, service.address(), None, limit).await.expect("it holds the key");
    let sender = Sender::new(market.chain.clone(), signer, MemoryJournal::default(), quick());
    service.is(Mood::FailsFirst(2));
    mined(&sender, &mint()).await;
    assert_eq!(service.asked("eth_signTransaction"), 3);
    for (mood, passes) in [
        (Mood::FailsFirst(u32::MAX), true),
        (Mood::Truncated, true),
        (Mood::Silent, true),
        (Mood::Denies, false),
    ] {
        service.is(mood);
        let (before, start) = (service.asked("eth_signTransaction"), Instant::now());
        let error = sender.send("again", &mint()).await.expect_err("no signature");
        assert!(start.elapsed() < Duration::from_secs(5), "{mood:?} took {:?}", start.elapsed());
        assert!(matches!(error, SendError::Sign(SignError::NoSignature { .. })), "{mood:?}: {error:#}");
        assert_eq!(error.is_transient(), passes, "{mood:?}: {error:#}");
        let text = format!("{error:#} {error:?} {sender:?}");
        let place = service.url.trim_start_matches("http://");
        assert!(error.to_string().contains(place) && !text.contains("hunter2"), "{text}");
        let tries = if passes { 3 } else { 1 };
        assert_eq!(service.asked("eth_signTransaction") - before, tries, "{mood:?}");
    }
    assert_eq!(sent(&market, sender.address()).await, 1);
    let credentials = service.state.lock().expect("no panic").asked[0].1.clone();
    assert_eq!(credentials.as_deref(), Some("Basic YmVydGg6aHVudGVyMg=="), "they are for the service alone");
}

#[tokio::test]
async fn a_remote_signer_that_holds_another_key_is_refused_at_the_start() {
    let service = Web3Signer::start(KEYS[3], CHAIN_ID, None).await;
    let url = service.url.parse().expect("a URL");
    let wanted = wallet(2).address();
    let error = Service::connect(&url, wanted, None, LIMIT).await.expect_err("another key");
    assert!(matches!(error, ServiceError::OtherKeys { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&wanted.to_string()) && text.contains(&service.address().to_string()), "{text}");
}

#[tokio::test]
async fn a_remote_signer_is_judged_by_the_authorities_that_were_named_and_by_no_other() {
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).expect("a key");
    market::tls::install_provider();
    let tls = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .expect("a key of this certificate");
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let service = Web3Signer::start(KEYS[3], CHAIN_ID, Some(acceptor)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let named = folder.path().join("ca.pem");
    std::fs::write(&named, own.cert.pem()).expect("written");
    let url = service.url.parse().expect("a URL");
    let account = service.address();
    Service::connect(&url, account, Some(&named), LIMIT).await.expect("trusted");
    let error = Service::connect(&url, account, None, LIMIT).await.expect_err("nobody knows it");
    assert!(matches!(error, ServiceError::Rpc(_)), "{error}");
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    std::fs::write(&named, other.cert.pem()).expect("written");
    Service::connect(&url, account, Some(&named), LIMIT).await.expect_err("another authority");
    for (content, said) in [("", "no certificate"), ("-----BEGIN CERTIFICATE-----\n!!", "ca.pem")] {
        std::fs::write(&named, content).expect("written");
        let error = Service::connect(&url, account, Some(&named), LIMIT).await.expect_err("no certificate");
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[tokio::test]
async fn a_gateway_believes_a_request_that_a_remote_signer_signed() {
    let Some(market) = Market::open().await else { return };
    let domain = market.chain.gateway_domain();
    let provider = market.provider.address();
    let gateway = Gateway::start(provider, domain).await;
    let service = Web3Signer::start(KEYS[1], CHAIN_ID, None).await;
    let signer = Signer::from(connect(&service, LIMIT).await);
    let lease = OrderId { tenant: signer.address(), dseq: 1, gseq: 1, oseq: 1 };
    let client =
        market::client::GatewayClient::new(provider, &gateway.uri(), gateway.spki, domain).expect("a client");
    client.lease(&signer, lease).await.expect("believed");
    assert_eq!(service.asked("eth_signTypedData"), 1);
    for mood in [Mood::OtherKey, Mood::OtherData, Mood::HighS] {
        service.is(mood);
        let error = client.lease(&signer, lease).await.expect_err("noticed before it is sent");
        assert!(error.to_string().contains("did not return that"), "{mood:?}: {error}");
    }
    assert_eq!(gateway.known.lock().expect("no panic").refused, [""; 0]);
    // A key that is for bidding signs no requests of tenants.
    let bidding = signer.guarded(Policy::operator(market.contracts, None), &[]);
    service.is(Mood::Honest);
    let error = client.lease(&bidding, lease).await.expect_err("denied");
    assert!(error.to_string().contains("signs no typed data of Berth Gateway"), "{error}");
}

#[tokio::test]
async fn the_policy_stands_before_either_kind_of_key() {
    let Some(market) = Market::open().await else { return };
    let service = Web3Signer::start(KEYS[2], CHAIN_ID, None).await;
    let remote = Signer::from(connect(&service, LIMIT).await);
    let local = Signer::from(wallet(2));
    let order = market.order(1, Amount(10_000_000), rate(1_000_000_000)).await;
    for signer in [local, remote] {
        let signer = signer.guarded(Policy::operator(market.contracts, None), &[]);
        let sender = Sender::new(market.chain.clone(), signer, MemoryJournal::default(), quick());
        let before = sent(&market, sender.address()).await;
        let error = sender.send("mint", &mint()).await.expect_err("not what the key is for");
        assert!(matches!(error, SendError::Sign(SignError::Denied(Denial::Address { .. }))), "{error:#}");
        assert!(!error.is_transient());
        let error = sender.send("retire", &Call::Retire).await.expect_err("not what the key is for");
        assert!(matches!(error, SendError::Sign(SignError::Denied(_))), "{error:#}");
        assert_eq!(sent(&market, sender.address()).await, before);
        let bid = market.bid(order, rate(900_000_000 - u128::from(before))).await;
        mined(&sender, &bid).await;
    }
    assert_eq!(service.asked("eth_signTransaction"), 1, "what is denied is not even asked");
}

#[tokio::test]
async fn a_days_gas_that_is_used_up_stops_bids_and_leaves_enough_to_close_also_after_a_restart() {
    let Some(market) = Market::open().await else { return };
    let order = market.order(1, Amount(10_000_000), rate(1_000_000_000)).await;
    let lease = market.order(2, Amount(10_000_001), rate(1_000_000_000)).await;
    let bid = market.bid(lease, rate(500_000_000)).await;
    mined(&market.provider, &bid).await;
    let provider = market.provider.address();
    let found = market.chain.bid(lease, provider, At::Latest).await.expect("read").expect("a bid");
    let accept = Call::AcceptBid { order: lease, provider, terms_hash: found.terms_hash() };
    mined(&market.tenant, &accept).await;

    let sender = |limit_wei, reserve_wei, signed: &[Attempt], journal| {
        let policy = Policy::operator(market.contracts, Some(DailyGas { limit_wei, reserve_wei }));
        let signer = Signer::from(wallet(2)).guarded(policy, signed);
        Sender::new(market.chain.clone(), signer, journal, quick())
    };
    let journal = Recording::default();
    let coin = 1_000_000_000_000_000_000;
    let kept = sender(coin, coin, &[], &journal);
    let bid = market.bid(order, rate(500_000_000)).await;
    let error = kept.send("bid", &bid).await.expect_err("the rest is kept");
    assert!(error.is_transient() && error.to_string().contains("kept for closing"), "{error:#}");
    let outcome = kept.send("withdraw", &Call::Withdraw { leases: vec![lease] }).await.expect("mined");
    assert!(matches!(outcome, Outcome::Mined { .. }), "{outcome:?}");

    let signed = journal.all.lock().expect("no panic").clone();
    let [withdrawal] = signed.as_slice() else { panic!("one was signed: {signed:?}") };
    let Outcome::Mined { fee_wei, .. } = outcome else { panic!("mined") };
    assert!(withdrawal.most_wei() >= fee_wei && fee_wei > 0, "{} < {fee_wei}", withdrawal.most_wei());
    let close = Call::CloseLease { lease, reason: CloseReason(100) };
    let restarted = sender(withdrawal.most_wei(), 0, &signed, &journal);
    let error = restarted.send("close", &close).await.expect_err("used up before the restart");
    let SendError::Sign(SignError::Denied(Denial::DailyGas { spent_wei, .. })) = error else {
        panic!("{error:#}")
    };
    assert_eq!(spent_wei, withdrawal.most_wei());
    let tomorrow = sender(coin, 0, &signed, &journal);
    assert!(matches!(tomorrow.send("close", &close).await, Ok(Outcome::Mined { .. })));
}

/// A journal that keeps every attempt.
#[derive(Default)]
struct Recording {
    memory: MemoryJournal,
    all: Mutex<Vec<Attempt>>,
}

impl Journal for &Recording {
    async fn outcome(&self, intent: &str) -> anyhow::Result<Option<Outcome>> {
        self.memory.outcome(intent).await
    }

    async fn live(&self, key: Address) -> anyhow::Result<Vec<Attempt>> {
        self.memory.live(key).await
    }

    async fn remember(&self, attempt: &Attempt) -> anyhow::Result<()> {
        self.all.lock().expect("no panic").push(attempt.clone());
        self.memory.remember(attempt).await
    }

    async fn settle(&self, key: Address, nonce: u64, verdict: &Verdict) -> anyhow::Result<()> {
        self.memory.settle(key, nonce, verdict).await
    }
}
