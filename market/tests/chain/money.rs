//! The way of the money: deposit, order, bid, lease, payout, close, refund, to the unit.

use manifests::money::Amount;
use manifests::order::{CloseReason, Fact, Hash};
use market::At;
use market::call::Call;
use market::reader::{AccountState, BidState, OrderState, Provider, ProviderState};
use market::revert::MarketError;
use market::sender::SendError;

use crate::anvil::{Market, PAYOUT, SPEC, SPKI, TENANT_TOKENS, mined, rate};

#[tokio::test]
async fn every_unit_of_a_lease_is_accounted_for() {
    let Some(market) = Market::open().await else { return };
    let chain = &market.chain;
    let start = chain.head().await.expect("a head").number;
    let deposit = Amount(10_000_000);
    // Not a whole number of units a second, so that rounding shows.
    let per_second = rate(2_777_777_777_777);
    let order = market.order(7, deposit, rate(5_000_000_000_000)).await;
    let record = chain.order(order, At::Latest).await.expect("read").expect("there");
    assert_eq!(record.state, OrderState::Open);
    assert_eq!(record.spec_hash, market::call::keccak256(SPEC.as_bytes()));

    mined(&market.provider, &market.bid(order, per_second).await).await;
    let provider = market.provider.address();
    let bid = chain.bid(order, provider, At::Latest).await.expect("read").expect("there");
    assert_eq!((bid.state, bid.rate), (BidState::Open, per_second));

    let stale = Call::AcceptBid { order, provider, terms_hash: Hash([1; 32]) };
    let refused = market.tenant.send("stale", &stale).await.expect_err("other terms");
    assert!(
        matches!(refused, SendError::Refused(MarketError::RateChanged { have }) if have == per_second),
        "{refused:?}"
    );
    mined(&market.tenant, &Call::AcceptBid { order, provider, terms_hash: bid.terms_hash() }).await;
    let lease = chain.lease(order, At::Latest).await.expect("read").expect("there");
    assert_eq!((lease.state, lease.rate, lease.provider), (OrderState::Active, per_second, provider));
    let account = chain.account(order.account(), At::Latest).await.expect("read").expect("there");
    assert_eq!((account.state, account.rate_sum), (AccountState::Open, per_second));
    let seconds = deposit.0 * 1_000_000_000 / per_second.scaled();
    assert_eq!(account.funded_until, Some(lease.started_at + u64::try_from(seconds).expect("small")));

    // A thousand seconds later exactly as many are earned, and a payout takes them, rounded down.
    market.anvil.mine_at(lease.started_at + 1000).await;
    let accrued = chain.accrued(order, At::Latest).await.expect("read");
    assert_eq!(accrued.scaled, per_second.scaled() * 1000);
    assert_eq!((accrued.net, accrued.fee), (per_second.cost_down(1000).expect("small"), Amount::ZERO));
    market.anvil.next_block_at(lease.started_at + 1300).await;
    mined(&market.tenant, &Call::Withdraw { leases: vec![order] }).await;
    let paid_first = per_second.cost_down(1300).expect("small");
    assert_eq!(chain.token_balance(PAYOUT, At::Latest).await.expect("read"), paid_first);

    market.anvil.next_block_at(lease.started_at + 2000).await;
    mined(&market.tenant, &Call::CloseLease { lease: order, reason: CloseReason::TENANT }).await;
    let lease = chain.lease(order, At::Latest).await.expect("read").expect("there");
    assert_eq!(lease.state, OrderState::Closed);
    assert_eq!(lease.ended, Some((lease.started_at + 2000, CloseReason::TENANT)));
    mined(&market.provider, &Call::Withdraw { leases: vec![order] }).await;
    let paid_second = per_second.cost_down(700).expect("small");
    let paid = chain.token_balance(PAYOUT, At::Latest).await.expect("read");
    assert_eq!(paid, Amount(paid_first.0 + paid_second.0));

    mined(&market.tenant, &Call::Refund { account: order.account(), amount: None }).await;
    let kept = chain.token_balance(market.tenant.address(), At::Latest).await.expect("read");
    let refunded = deposit.0 - (TENANT_TOKENS.0 - kept.0);
    let left = chain.token_balance(market.contracts.market, At::Latest).await.expect("read");
    assert_eq!(deposit.0, refunded + paid.0 + left.0);
    // One unit a payout and one for the refund at most.
    assert!(left.0 <= 3, "{left:?} stayed behind");

    let facts = chain.facts_of_account(order.account(), start).await.expect("read");
    let told: Vec<&str> = facts
        .iter()
        .map(|logged| match &logged.fact {
            Fact::DeploymentCreated { .. } => "deployment",
            Fact::FundsChanged { .. } => "funds",
            Fact::OrderCreated(created) => {
                assert_eq!((created.id, created.spec.as_slice()), (order, SPEC.as_bytes()));
                "order"
            }
            Fact::BidPlaced(_) => "bid",
            Fact::LeaseCreated(_) => "lease",
            Fact::Withdrawn { .. } => "withdrawn",
            Fact::LeaseClosed { .. } => "closed",
            other => panic!("{other:?}"),
        })
        .filter(|name| *name != "funds")
        .collect();
    assert_eq!(told, ["deployment", "order", "bid", "lease", "withdrawn", "closed", "withdrawn"]);
    for logged in &facts {
        let of_block = chain.facts_of_block(logged.at.block_hash).await.expect("read");
        assert!(of_block.contains(logged), "a block tells what a range tells");
    }
}

#[tokio::test]
async fn what_never_was_is_none_and_a_block_that_never_was_is_an_error() {
    let Some(market) = Market::open().await else { return };
    let chain = &market.chain;
    let order = market.account(99).order(1, 1);
    assert_eq!(chain.account(order.account(), At::Latest).await.expect("read"), None);
    assert_eq!(chain.order(order, At::Latest).await.expect("read"), None);
    assert_eq!(chain.lease(order, At::Latest).await.expect("read"), None);
    assert_eq!(chain.bid(order, PAYOUT, At::Latest).await.expect("read"), None);
    assert_eq!(chain.provider(PAYOUT, At::Latest).await.expect("read"), None);
    assert_eq!(chain.block(1_000_000).await.expect("read"), None);
    assert_eq!(chain.block_by_hash(Hash([1; 32])).await.expect("read"), None);
    assert!(chain.facts_of_block(Hash([1; 32])).await.is_err());
    assert!(chain.account(order.account(), At::Block(Hash([1; 32]))).await.is_err());
}

#[tokio::test]
async fn the_registry_tells_who_sells_and_where() {
    let Some(market) = Market::open().await else { return };
    let providers = market.chain.providers().await.expect("read");
    let [provider] = &providers[..] else { panic!("{providers:?}") };
    assert_eq!(provider.address, market.provider.address());
    assert_eq!((provider.operator, provider.spki_hash), (market.provider.address(), SPKI));
    assert_eq!((provider.state, provider.payout), (ProviderState::Active, PAYOUT));
    let params = market.chain.params(At::Latest).await.expect("read");
    assert!(params.min_runway >= 600 && params.min_order_duration <= params.max_order_duration, "{params:?}");
    let facts =
        market.chain.facts_between(0, market.chain.head().await.expect("head").number).await.expect("read");
    assert!(facts.iter().any(|logged| matches!(
        &logged.fact,
        Fact::ProviderChanged { spki_hash, .. } if *spki_hash == Some(SPKI)
    )));
}

#[tokio::test]
async fn a_gateway_is_where_its_provider_said_last_and_where_it_was_said_is_found_among_many_blocks() {
    let Some(market) = Market::open().await else { return };
    let (chain, owner) = (&market.chain, market.provider.address());
    let record = async || chain.provider(owner, At::Latest).await.expect("read").expect("registered");
    let uri = async |provider: &Provider| chain.gateway_uri(provider).await.expect("read");
    let first = record().await;
    for later in [2, 40, 41, 100_000] {
        market.anvil.mine_at(market.now().await + later).await;
    }
    assert_eq!(uri(&first).await.as_deref(), Some("https://127.0.0.1:8443"));

    let moved = Call::SetGateway { uri: "https://127.0.0.1:9443".to_owned(), spki_hash: SPKI };
    mined(&market.provider, &moved).await;
    let second = record().await;
    assert!(second.gateway_at > first.gateway_at, "{second:?}");
    for call in [
        Call::RotateCert { spki_hash: Hash([7; 32]), old_until: 0 },
        Call::SetOperator { operator: PAYOUT },
        Call::SetAttributes { attrs_hash: Hash([8; 32]) },
    ] {
        mined(&market.provider, &call).await;
        market.anvil.mine_at(market.now().await + 7).await;
    }
    let now = record().await;
    assert_eq!((now.operator, now.spki_hash, now.attrs_hash), (PAYOUT, Hash([7; 32]), Hash([8; 32])));
    assert_eq!(
        uri(&now).await.as_deref(),
        Some("https://127.0.0.1:9443"),
        "what else changed said nothing of it"
    );
    assert_eq!(uri(&first).await.as_deref(), Some("https://127.0.0.1:8443"), "as it was said then");
    let never = Provider { gateway_at: second.gateway_at + 1, ..second };
    assert_eq!(uri(&never).await, None, "nothing was said in that second");
}
