//! One key's transactions beside each other: closes before bids, several intents in one, and what bids may not spend.

use std::time::Duration;

use manifests::money::Amount;
use manifests::order::{Address, CloseReason, OrderId};
use market::At;
use market::call::Call;
use market::reader::{BidState, OrderState};
use market::revert::MarketError;
use market::sender::{Journal as _, MemoryJournal, Outcome, SendError, Sender, Settings};
use serde_json::json;
use tokio::time::timeout;

use crate::anvil::{Market, mined, quick, rate, wallet};

const LIMIT: Duration = Duration::from_secs(30);

fn operator(market: &Market) -> Sender<MemoryJournal> {
    operator_with(market, quick())
}

fn operator_with(market: &Market, settings: Settings) -> Sender<MemoryJournal> {
    Sender::new(market.chain.clone(), wallet(2), MemoryJournal::default(), settings)
}

async fn orders(market: &Market, count: u64) -> Vec<OrderId> {
    let mut orders = Vec::new();
    for dseq in 1..=count {
        orders.push(market.order(dseq, Amount(5_000_000 + u128::from(dseq)), rate(1_000_000)).await);
    }
    orders
}

async fn bids(market: &Market, orders: &[OrderId]) -> Vec<(String, Call)> {
    let mut bids = Vec::new();
    for order in orders {
        bids.push((format!("bid {order}"), market.bid(*order, rate(900_000)).await));
    }
    bids
}

async fn lease(market: &Market, dseq: u64) -> OrderId {
    let order = market.order(dseq, Amount(5_000_000 + u128::from(dseq)), rate(1_000_000)).await;
    mined(&market.provider, &market.bid(order, rate(900_000)).await).await;
    let provider = market.provider.address();
    let bid = market.chain.bid(order, provider, At::Latest).await.expect("read").expect("placed");
    mined(&market.tenant, &Call::AcceptBid { order, provider, terms_hash: bid.terms_hash() }).await;
    order
}

async fn is_open(market: &Market, order: OrderId) -> bool {
    let bid = market.chain.bid(order, market.provider.address(), At::Latest).await.expect("read");
    bid.is_some_and(|bid| bid.state == BidState::Open)
}

async fn base_fee(market: &Market) -> u128 {
    let block = market.anvil.ask("eth_getBlockByNumber", json!(["latest", false])).await;
    let digits = block["baseFeePerGas"].as_str().expect("hex").trim_start_matches("0x").to_owned();
    u128::from_str_radix(&digits, 16).expect("a number")
}

#[tokio::test]
async fn bids_of_one_transaction_each_have_their_own_fate() {
    let Some(market) = Market::open().await else { return };
    let orders = orders(&market, 4).await;
    let mut bids = bids(&market, &orders).await;
    // One is refused when it is simulated; another is overtaken on its way.
    bids[1].1 = market.bid(orders[1], rate(2_000_000)).await;
    market.anvil.mine_by_hand().await;
    let operator = operator(&market);
    let hasty = Settings { min_tip: 50_000_000_000, ..quick() };
    let tenant = Sender::new(market.chain.clone(), wallet(1), MemoryJournal::default(), hasty);
    let cancel = Call::CancelOrder { order: orders[2] };
    let overtake = async {
        market.anvil.until_pending(1).await;
        let mine = async {
            market.anvil.until_pending(2).await;
            market.anvil.mine().await;
        };
        tokio::join!(tenant.send("cancel", &cancel), mine).0.expect("cancelled");
    };
    let both = async { tokio::join!(operator.send_all(&bids), overtake).0 };
    let ends = timeout(LIMIT, Box::pin(both)).await.expect("in time");
    let [first, dear, late, last] = ends.as_slice() else { panic!("{ends:?}") };
    assert!(
        matches!(dear, Err(SendError::Refused(MarketError::RateTooHigh { max })) if *max == rate(1_000_000)),
        "{dear:?}"
    );
    let Ok(Outcome::Reverted { error, hash, .. }) = late else { panic!("{late:?}") };
    assert_eq!(*error, MarketError::WrongState { have: 4 });
    for end in [first, last] {
        assert!(
            matches!(end, Ok(Outcome::Mined { hash: same, .. }) if same == hash),
            "one transaction: {end:?}"
        );
    }
    let open = [
        is_open(&market, orders[0]).await,
        is_open(&market, orders[2]).await,
        is_open(&market, orders[3]).await,
    ];
    assert_eq!(open, [true, false, true]);
    for (intent, _) in [&bids[0], &bids[2], &bids[3]] {
        assert!(operator.journal().outcome(intent).await.expect("read").is_some(), "{intent} is settled");
    }
}

#[tokio::test]
async fn a_hundred_bids_share_one_transaction_with_gas_enough_for_all() {
    let Some(market) = Market::open().await else { return };
    let account = market.account(1);
    mined(
        &market.tenant,
        &Call::CreateDeployment { dseq: 1, manifest_hash: manifests::order::Hash([1; 32]) },
    )
    .await;
    mined(&market.tenant, &Call::ApproveMarket { amount: Amount(40_000_000) }).await;
    mined(&market.tenant, &Call::Deposit { account, amount: Amount(40_000_000) }).await;
    let expires_at = market.now().await + 3600;
    let terms = market::call::OrderTerms {
        class: market::call::class_hash("cpu"),
        max_rate: rate(1_000_000),
        expires_at,
        min_reclaim: 0,
        award: None,
    };
    let orders: Vec<OrderId> = (1..=100).map(|gseq| account.order(gseq, 1)).collect();
    let posted = orders.iter().map(|order| {
        (
            format!("post {order}"),
            Call::CreateOrder { order: *order, terms, spec: crate::anvil::SPEC.to_owned() },
        )
    });
    for end in market.tenant.send_all(&posted.collect::<Vec<_>>()).await {
        assert!(matches!(end, Ok(Outcome::Mined { .. })), "{end:?}");
    }
    let operator = operator(&market);
    let before = operator.journal().live(operator.address()).await.expect("read").len();
    assert_eq!(before, 0);
    let ends = timeout(LIMIT, operator.send_all(&bids(&market, &orders).await)).await.expect("in time");
    let hashes: std::collections::BTreeSet<_> = ends
        .iter()
        .map(|end| match end {
            Ok(Outcome::Mined { hash, .. }) => *hash,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!((ends.len(), hashes.len()), (100, 1));
    for order in &orders {
        assert!(is_open(&market, *order).await);
    }
}

#[tokio::test]
async fn a_batch_that_died_before_its_broadcast_places_each_bid_once_after_the_restart() {
    let Some(market) = Market::open().await else { return };
    let orders = orders(&market, 3).await;
    let bids = bids(&market, &orders).await;
    let journal = crate::sending::Lasting::dying();
    let first = Sender::new(market.chain.clone(), wallet(2), &journal, quick());
    for end in first.send_all(&bids).await {
        assert!(matches!(end, Err(SendError::Journal(_))), "{end:?}");
    }
    let second = Sender::new(market.chain.clone(), wallet(2), &journal, quick());
    second.recover().await.expect("recovered");
    // Asked for one by one, each finds the transaction that serves all.
    for (intent, call) in &bids {
        let end = timeout(LIMIT, second.send(intent, call)).await.expect("in time").expect("sent");
        assert!(matches!(end, Outcome::Mined { .. }), "{end:?}");
    }
    for order in &orders {
        assert!(is_open(&market, *order).await);
    }
    assert_eq!(journal.remembered(), 1, "one transaction");
}

#[tokio::test]
async fn withdrawals_share_one_transaction() {
    let Some(market) = Market::open().await else { return };
    let (one, other) = (lease(&market, 1).await, lease(&market, 2).await);
    let now = market.now().await;
    market.anvil.mine_at(now + 100).await;
    let wishes =
        [one, other].map(|lease| (format!("withdraw {lease}"), Call::Withdraw { leases: vec![lease] }));
    let ends = timeout(LIMIT, operator(&market).send_all(&wishes)).await.expect("in time");
    let [Ok(Outcome::Mined { hash, .. }), Ok(Outcome::Mined { hash: same, .. })] = ends.as_slice() else {
        panic!("{ends:?}")
    };
    assert_eq!(hash, same);
}

#[tokio::test]
async fn a_close_behind_a_stuck_bid_makes_the_bid_dearer_sooner() {
    let Some(market) = Market::open().await else { return };
    let lease = lease(&market, 1).await;
    let order = market.order(2, Amount(5_000_002), rate(1_000_000)).await;
    let patient = Settings { stuck_after: Duration::from_secs(4), rebroadcast_after: LIMIT, ..quick() };
    let operator = operator_with(&market, patient);
    market.anvil.mine_by_hand().await;
    let bid = market.bid(order, rate(900_000)).await;
    let close = Call::CloseLease { lease, reason: CloseReason::PROVIDER };
    let attempts = async |nonce_place: usize| {
        let mut live = operator.journal().live(operator.address()).await.expect("read");
        live.sort_by_key(|attempt| attempt.nonce);
        let nonces: std::collections::BTreeSet<u64> = live.iter().map(|attempt| attempt.nonce).collect();
        let nonce = nonces.into_iter().nth(nonce_place);
        live.iter().filter(|attempt| Some(attempt.nonce) == nonce).count()
    };
    let story = async {
        market.anvil.until_pending(1).await;
        let start = tokio::time::Instant::now();
        let close = operator.send("close", &close);
        let dearer = async {
            while attempts(0).await < 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let took = start.elapsed();
            market.anvil.mine().await;
            took
        };
        tokio::join!(close, dearer)
    };
    let both = async { tokio::join!(operator.send("bid", &bid), story) };
    let (bid, (close, took)) = timeout(LIMIT, Box::pin(both)).await.expect("in time");
    assert!(matches!(bid, Ok(Outcome::Mined { .. })), "{bid:?}");
    assert!(matches!(close, Ok(Outcome::Mined { .. })), "{close:?}");
    assert!(took < Duration::from_secs(3), "replaced after a quarter of the usual time, not {took:?}");
    let state = market.chain.order(lease, At::Latest).await.expect("read").expect("there").state;
    assert_eq!(state, OrderState::Closed);
}

#[tokio::test]
async fn bids_leave_gas_money_for_closes_which_go_on() {
    let Some(market) = Market::open().await else { return };
    let lease = lease(&market, 1).await;
    let order = market.order(2, Amount(5_000_002), rate(1_000_000)).await;
    let operator = operator_with(&market, Settings { reserve_closes: 20, ..quick() });
    let bid = market.bid(order, rate(900_000)).await;
    // Enough for a bid, and not for twenty closes beside it.
    let base = base_fee(&market).await;
    let poor = format!("{:#x}", base * 2 * 75_000 * 10);
    market.anvil.ask("anvil_setBalance", json!([operator.address(), poor])).await;
    let held = timeout(LIMIT, operator.send("bid", &bid)).await.expect("in time").expect_err("held back");
    assert!(matches!(held, SendError::Reserve { .. }) && held.is_transient(), "{held:?}");
    assert!(operator.journal().live(operator.address()).await.expect("read").is_empty(), "nothing was sent");
    let close = Call::CloseLease { lease, reason: CloseReason::PROVIDER };
    let closed = timeout(LIMIT, operator.send("close", &close)).await.expect("in time").expect("closed");
    assert!(matches!(closed, Outcome::Mined { .. }), "{closed:?}");
    market.anvil.ask("anvil_setBalance", json!([operator.address(), "0xde0b6b3a7640000"])).await;
    timeout(LIMIT, operator.send("bid", &bid)).await.expect("in time").expect("money came");
    assert!(is_open(&market, order).await);
}

#[tokio::test]
async fn every_intent_lands_once_while_the_base_fee_is_fifty_times_higher() {
    let Some(market) = Market::open().await else { return };
    market.anvil.mine_by_hand().await;
    let dear = format!("{:#x}", base_fee(&market).await * 50);
    let sender = Sender::new(market.chain.clone(), wallet(3), MemoryJournal::default(), quick());
    let wishes: Vec<(String, Call)> = (1..=10u8)
        .map(|digit| {
            let to = Address([digit; 20]);
            (format!("mint {digit}"), Call::MintTestToken { to, amount: Amount(5) })
        })
        .collect();
    let blocks = async {
        market.anvil.until_pending(10).await;
        loop {
            market.anvil.ask("anvil_setNextBlockBaseFeePerGas", json!([dear])).await;
            market.anvil.mine().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let sent = async {
        tokio::select! {
            ends = sender.send_all(&wishes) => ends,
            () = blocks => unreachable!("blocks are mined for ever"),
        }
    };
    let ends = timeout(Duration::from_secs(60), Box::pin(sent)).await.expect("in time");
    for end in ends {
        assert!(matches!(end, Ok(Outcome::Mined { .. })), "{end:?}");
    }
    for digit in 1..=10u8 {
        let tokens = market.chain.token_balance(Address([digit; 20]), At::Latest).await.expect("read");
        assert_eq!(tokens, Amount(5), "once");
    }
}
