//! A gateway changes its key while tenants are connected: both keys count as long as the registry says, then one.

use market::At;
use market::call::Call;
use market::client::{ClientError, GatewayClient};

use crate::anvil::{Market, mined, wallet};
use crate::gateway::Gateway;
use manifests::order::{Hash, OrderId};

#[tokio::test]
async fn a_gateway_is_reached_under_its_old_key_while_the_registry_lets_it() {
    let Some(market) = Market::open().await else { return };
    let (provider, domain) = (market.provider.address(), market.chain.gateway_domain());
    let gateway = Gateway::start(provider, domain).await;
    let lease = OrderId { tenant: wallet(1).address(), dseq: 1, gseq: 1, oseq: 1 };
    let update = Call::SetGateway { uri: gateway.uri(), spki_hash: gateway.spki };
    mined(&market.provider, &update).await;
    let next = Hash([1; 32]);
    let old_until = market.now().await + 3600;
    mined(&market.provider, &Call::RotateCert { spki_hash: next, old_until }).await;

    let record =
        async || market.chain.provider(provider, At::Latest).await.expect("read").expect("registered");
    let both = record().await;
    assert_eq!((both.spki_hash, both.old_spki), (next, Some((gateway.spki, old_until))));
    assert!(both.has_gateway_key(next) && both.has_gateway_key(gateway.spki));
    let client = GatewayClient::of(&both, &gateway.uri(), domain).expect("a client");
    client.lease(&wallet(1), lease).await.expect("the key before still counts");

    market.anvil.mine_at(old_until).await;
    let alone = record().await;
    assert_eq!(alone.old_spki, None);
    assert!(!alone.has_gateway_key(gateway.spki));
    let client = GatewayClient::of(&alone, &gateway.uri(), domain).expect("a client");
    let error = client.lease(&wallet(1), lease).await.expect_err("the key before counts no more");
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
}
