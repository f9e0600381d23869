//! Quotes over real TLS: what an order would be answered, signed with the key that the registry knows.

use std::time::Duration;

use bidengine::Capacity;
use manifests::money::{Amount, Rate};
use manifests::order::Address;
use market::api::ErrorKind;
use market::auth::Domain;
use market::quote::{Quote, QuoteAnswer, QuoteError, QuoteRequest};
use market::reader::{Provider, ProviderState};
use provider::bidder::{CapacitySource, Settings};
use provider::clock::Clock;
use provider::freshness::Freshness;
use provider::leases::places::Troubles;
use provider::quote::Quoter;
use provider::store::{ReservationRow, Store};

use crate::gateway::{DOMAIN, House, NOW};
use crate::stage::{IDENTITY, PROVIDER, document, parsed};
use crate::support::{bidder_settings, one_node};

const TENANT: Address = Address([7; 20]);

/// A node with one H100 and nothing promised.
struct OneGpu;

impl CapacitySource for OneGpu {
    fn free(&self, _promised: &[ReservationRow]) -> Option<Capacity> {
        Some(one_node(1))
    }

    fn troubles(&self, _: &[ReservationRow]) -> Option<Troubles> {
        Some(Troubles::new())
    }
}

pub(crate) fn quoter(store: &Store, clock: &Clock) -> Quoter {
    let settings = Settings { freshness: Freshness::new(Duration::from_secs(600)), ..bidder_settings() };
    Quoter::new(store.clone(), OneGpu, settings, IDENTITY, clock.clone())
}

fn asks(gpus: u32) -> QuoteRequest {
    let (_, spec) = parsed(&document(1, gpus, ""));
    let spec = String::from_utf8(spec.to_bytes().expect("short")).expect("is JSON");
    QuoteRequest { tenant: TENANT, spec, max_rate: None, min_reclaim: 0, req_bits: 0 }
}

/// What the registry has of the provider, with this key.
fn registered(house: &House) -> Provider {
    Provider {
        address: PROVIDER,
        state: ProviderState::Active,
        operator: PROVIDER,
        payout: PROVIDER,
        next_payout: None,
        attrs_hash: Default::default(),
        gateway_at: 0,
        spki_hash: house.key.spki_hash(),
        old_spki: None,
        stake: Amount::ZERO,
        locked: Amount::ZERO,
        unbond_at: None,
        active_leases: 0,
    }
}

async fn quoted(house: &House, asked: &QuoteRequest) -> Quote {
    let (client, _) = house.serve().await;
    let signed = client.quote(asked).await.expect("answered");
    signed.verify(&registered(house), DOMAIN, asked).expect("is the provider's own")
}

#[tokio::test]
async fn tenant_learns_the_price_line_by_line_and_the_model_before_paying() {
    let house = House::new().await;
    let Quote { answer, made_at, tenant, .. } = quoted(&house, &asks(1)).await;
    assert!(made_at >= NOW && tenant == TENANT);
    let QuoteAnswer::Bid { rate, items, gpus, expires_at, .. } = answer else {
        panic!("it fits: {answer:?}")
    };
    assert_eq!(items.iter().map(|item| item.rate.scaled()).sum::<u128>(), rate.scaled());
    assert_eq!(gpus, ["1 × h100-80Gi-sxm"]);
    assert_eq!(expires_at, made_at + 300);
}

#[tokio::test]
async fn tenant_learns_why_nobody_would_bid_in_the_words_of_a_decision() {
    let house = House::new().await;
    let QuoteAnswer::Declined { code, why } = quoted(&house, &asks(2)).await.answer else {
        panic!("there is one GPU")
    };
    assert_eq!(code, "resources_gpu_count");
    assert!(why.contains('2') && why.contains('1'), "{why}");

    let too_little = QuoteRequest { max_rate: Some(Rate::ZERO), ..asks(1) };
    let answer = quoted(&house, &too_little).await.answer;
    assert!(matches!(&answer, QuoteAnswer::Declined { code, .. } if code == "price_above_max"), "{answer:?}");
    let nonsense = QuoteRequest { spec: "{}".to_owned(), ..asks(1) };
    let answer = quoted(&house, &nonsense).await.answer;
    assert!(matches!(&answer, QuoteAnswer::Declined { code, .. } if code == "spec_invalid"), "{answer:?}");
}

#[tokio::test]
async fn quote_for_another_question_or_market_is_not_believed() {
    let house = House::new().await;
    let (client, _) = house.serve().await;
    let signed = client.quote(&asks(1)).await.expect("answered");
    let other = Provider { spki_hash: Default::default(), ..registered(&house) };
    assert_eq!(signed.verify(&other, DOMAIN, &asks(1)), Err(QuoteError::OtherKey));
    let elsewhere = Domain { chain_id: DOMAIN.chain_id + 1, ..DOMAIN };
    let refused = signed.verify(&registered(&house), elsewhere, &asks(1));
    assert_eq!(refused, Err(QuoteError::OtherQuestion("the chain")));
    let refused = signed.verify(&registered(&house), DOMAIN, &asks(2));
    assert_eq!(refused, Err(QuoteError::OtherQuestion("the spec")));
}

#[tokio::test]
async fn nothing_is_quoted_from_a_chain_that_is_not_followed() {
    let house = House::new().await;
    house.clock.set(NOW + 10_000);
    let (client, _) = house.serve().await;
    let refused = client.quote(&asks(1)).await.expect_err("what is known is too old");
    assert_eq!(refused.refusal(), Some(ErrorKind::Unavailable));
    assert!(refused.is_transient());
}
