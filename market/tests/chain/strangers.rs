//! Chains and addresses that are not the ones that are wanted end in one sentence that says what to check.

use manifests::order::Address;
use market::{Chain, ConnectError};

use crate::anvil::{Anvil, CHAIN_ID, Market, wallet};

#[tokio::test]
async fn another_chain_is_refused_with_both_ids() {
    let Some(anvil) = Anvil::start() else { return };
    let error = Chain::connect(anvil.url(), 1, Address([1; 20])).await.expect_err("another chain");
    assert!(matches!(error, ConnectError::WrongChain { want: 1, have: CHAIN_ID, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("chain 31337") && text.contains("chain 1 ") && text.contains("check"), "{text}");
}

#[tokio::test]
async fn an_address_without_code_or_with_other_code_is_refused() {
    let Some(market) = Market::open().await else { return };
    let nobody = wallet(3).address();
    let error = Chain::connect(market.anvil.url(), CHAIN_ID, nobody).await.expect_err("no code");
    assert!(matches!(error, ConnectError::NoCode { address, .. } if address == nobody), "{error}");
    for other in [market.contracts.token, market.contracts.registry, market.contracts.params] {
        let error = Chain::connect(market.anvil.url(), CHAIN_ID, other).await.expect_err("another contract");
        assert!(matches!(error, ConnectError::NotAMarket { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_dead_endpoint_is_transient_and_named() {
    market::tls::install_provider();
    let closed =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let error = Chain::connect(&format!("http://{closed}"), CHAIN_ID, Address([1; 20]))
        .await
        .expect_err("nobody there");
    assert!(error.is_transient() && error.to_string().contains(&closed.to_string()), "{error}");
}
