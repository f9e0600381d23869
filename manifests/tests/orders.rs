//! From a document to what stands on chain, and from there to whether a manifest may run.

use manifests::check::{Difference, Mismatch, check, check_all};
use manifests::group::{GroupSpec, MAX_SPEC_BYTES, OrderSpec, SpecError, spec_hash};
use manifests::manifest::Manifest;
use manifests::money::Rate;
use manifests::price::{Decimal, ExchangeRate, PriceError};
use manifests::resources::{Attribute, Endpoint, EndpointKind};
use manifests::{Deployment, parse};

const DOCUMENT: &str = r#"version: "2.1"
endpoints:
  front: {kind: ip}
services:
  web:
    image: example/web
    expose:
      - {port: 80, to: [{global: true}]}
      - {port: 9000, to: [{global: true, ip: front}]}
  worker:
    image: example/worker
    expose:
      - {port: 7000, to: [{service: web}]}
profiles:
  compute:
    shared:
      resources:
        cpu: {units: 1, attributes: {arch: amd64}}
        memory: {size: 1Gi}
        gpu: {units: 1, attributes: {vendor: {nvidia: [{model: a100}]}}}
        storage:
          - {size: 1Gi}
          - {name: data, size: 2Gi, attributes: {persistent: true, class: beta2}}
  placement:
    west:
      attributes: {region: us-west}
      pricing:
        shared: {denom: uact, amount: 100}
deployment:
  web:
    west: {profile: shared, count: 2}
  worker:
    west: {profile: shared, count: 3}
"#;

fn deployment(text: &str) -> Deployment {
    parse(text).unwrap_or_else(|problems| panic!("refused: {}", problems[0]))
}

fn ordered() -> (Manifest, OrderSpec) {
    let deployment = deployment(DOCUMENT);
    let spec = deployment.groups[0].to_order_spec();
    (deployment.manifest, spec)
}

#[test]
fn the_spec_of_an_order_is_the_group_without_its_price_in_sorted_json() {
    let (_, spec) = ordered();
    let bytes = spec.to_bytes().expect("it is short");
    let text = std::str::from_utf8(&bytes).expect("JSON is UTF-8");
    assert!(
        text.starts_with(
            r#"{"name":"west","requirements":{"attributes":[{"key":"region","value":"us-west"}],"#
        ),
        "{text}"
    );
    assert!(!text.contains("price") && !text.contains("uact"), "{text}");
    assert_eq!(OrderSpec::from_bytes(&bytes), Ok(spec));
}

#[test]
fn the_hash_of_a_spec_is_keccak_of_its_bytes() {
    // Known values of Keccak-256, which is not SHA3-256.
    assert_eq!(
        spec_hash(b"").to_string(),
        "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    );
    assert_eq!(
        spec_hash(b"abc").to_string(),
        "0x4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"
    );
}

#[test]
fn a_spec_that_the_chain_cannot_hold_is_refused_on_both_sides() {
    let (_, mut spec) = ordered();
    let unit = spec.resources[0].clone();
    while spec.resources.len() < 20 {
        spec.resources.push(unit.clone());
    }
    assert!(matches!(spec.to_bytes(), Err(SpecError::TooLong(length)) if length > MAX_SPEC_BYTES));
    assert!(matches!(OrderSpec::from_bytes(&[b' '; MAX_SPEC_BYTES + 1]), Err(SpecError::TooLong(_))));
    for bytes in [&b"{}"[..], b"", b"null", b"\xff", b"{\"name\":\"x\",\"price\":1}"] {
        assert!(matches!(OrderSpec::from_bytes(bytes), Err(SpecError::Malformed(_))));
    }
}

fn mismatch(change: impl FnOnce(&mut Manifest)) -> Mismatch {
    let (mut manifest, spec) = ordered();
    assert_eq!(check(&manifest.0[0], &spec), Ok(()));
    assert_eq!(check_all(&manifest, std::slice::from_ref(&spec)), Ok(()));
    change(&mut manifest);
    let mismatch = check_all(&manifest, std::slice::from_ref(&spec)).expect_err("it is not what was ordered");
    assert!(mismatch.to_string().starts_with("group \"west\""), "{mismatch}");
    mismatch
}

#[test]
fn a_manifest_that_asks_for_more_than_was_ordered_is_refused_by_name() {
    let amount = |resource: &str, manifest, ordered| Difference::Amount {
        resource: resource.to_owned(),
        manifest,
        ordered,
    };

    let cpu = mismatch(|m| m.0[0].services[0].resources.cpu.units.0 = 2000);
    assert_eq!(cpu.difference, amount("cpu", 2000, 1000));
    assert_eq!((cpu.place.service.as_deref(), cpu.place.unit), (Some("web"), Some(1)));
    assert_eq!(
        cpu.to_string(),
        "group \"west\", service \"web\", unit 1: the manifest asks for 2000 of cpu, ordered were 1000"
    );

    let gpu = mismatch(|m| m.0[0].services[1].resources.gpu.units.0 = 8);
    assert_eq!((gpu.difference, gpu.place.service.as_deref()), (amount("gpu", 8, 1), Some("worker")));

    let memory = mismatch(|m| m.0[0].services[0].resources.memory.size.0 += 1);
    assert_eq!(memory.difference, amount("memory", (1 << 30) + 1, 1 << 30));

    let storage = mismatch(|m| m.0[0].services[0].resources.storage[1].size.0 *= 2);
    assert_eq!(storage.difference, amount("storage \"data\"", 4 << 30, 2 << 30));

    let volumes = mismatch(|m| {
        let storage = &mut m.0[0].services[0].resources.storage;
        storage.push(storage[0].clone());
    });
    assert_eq!(volumes.difference, amount("volumes", 3, 2));

    let count = mismatch(|m| m.0[0].services[1].count = 4);
    assert_eq!(count.difference, Difference::CountAbove { manifest: 4, left: 3 });

    let endpoint = mismatch(|m| {
        let mut second = m.0[0].services[0].expose[0].clone();
        second.port = 81;
        m.0[0].services[1].expose.push(second);
    });
    assert!(matches!(endpoint.difference, Difference::EndpointsAbove { port: 81, .. }), "{endpoint}");

    let address = mismatch(|m| m.0[0].services[0].expose[1].endpoint_sequence_number = 9);
    assert!(matches!(address.difference, Difference::EndpointsAbove { port: 9000, .. }), "{address}");
}

#[test]
fn a_manifest_that_asks_for_something_else_is_refused_by_name() {
    let kind = |resource: &str| Difference::Kind { resource: resource.to_owned() };
    let gpu = mismatch(|m| {
        m.0[0].services[0].resources.gpu.attributes[0] = Attribute::new("vendor/nvidia/model/h100", "true");
    });
    assert_eq!(gpu.difference, kind("gpu"));
    let arch = mismatch(|m| m.0[0].services[0].resources.cpu.attributes.clear());
    assert_eq!(arch.difference, kind("cpu"));
    let class =
        mismatch(|m| m.0[0].services[0].resources.storage[1].attributes[0].value = "beta3".to_owned());
    assert_eq!(class.difference, kind("storage \"data\""));
    let unit = mismatch(|m| m.0[0].services[0].resources.id = 7);
    assert_eq!(unit.difference, Difference::UnitNotOrdered);
}

#[test]
fn a_manifest_that_uses_less_than_was_ordered_is_refused_too() {
    let count = mismatch(|m| m.0[0].services[1].count = 2);
    assert_eq!(count.difference, Difference::CountBelow { left: 1 });
    let endpoint = mismatch(|m| drop(m.0[0].services[0].expose.remove(1)));
    assert_eq!(endpoint.difference, Difference::EndpointsBelow { left: 2 });
    let service = mismatch(|m| drop(m.0[0].services.pop()));
    assert_eq!(service.difference, Difference::CountBelow { left: 3 });
}

#[test]
fn groups_and_orders_must_pair_off() {
    let (manifest, spec) = ordered();
    assert!(check_all(&manifest, &[]).is_err());
    assert!(check_all(&Manifest(vec![]), std::slice::from_ref(&spec)).is_err());
    let twice = Manifest(vec![manifest.0[0].clone(), manifest.0[0].clone()]);
    let mut other = spec.clone();
    other.name = "east".to_owned();
    assert!(check_all(&twice, &[spec.clone(), other.clone()]).is_err());
    assert_eq!(
        check(&manifest.0[0], &other).expect_err("another name").difference,
        Difference::GroupNotOrdered
    );
}

#[test]
fn a_shared_unit_has_the_endpoints_of_all_its_services() {
    let (manifest, spec) = ordered();
    let number = |endpoint: &Endpoint| (endpoint.kind, endpoint.sequence_number);
    assert_eq!(spec.resources.len(), 1);
    assert_eq!(
        spec.resources[0].resource.endpoints.iter().map(number).collect::<Vec<_>>(),
        [(EndpointKind::SharedHttp, 0), (EndpointKind::RandomPort, 0), (EndpointKind::LeasedIp, 2)]
    );
    assert_eq!(manifest.0[0].services[1].resources.endpoints, []);
}

fn group(amount: &str, denom: &str, counts: [u32; 2]) -> GroupSpec {
    let text = DOCUMENT
        .replace("denom: uact, amount: 100", &format!("denom: {denom}, amount: {amount}"))
        .replace("units: 1, attributes: {arch", "units: 10m, attributes: {arch")
        .replace("        gpu: {units: 1, attributes: {vendor: {nvidia: [{model: a100}]}}}\n", "")
        .replace("size: 1Gi}\n        storage", "size: 1Mi}\n        storage")
        .replace("count: 2", &format!("count: {}", counts[0]))
        .replace("count: 3", &format!("count: {}", counts[1]));
    deployment(&text).groups.remove(0)
}

#[test]
fn a_price_per_block_becomes_a_rate_per_second_rounded_down_once() {
    for (amount, counts, rate) in [
        ("6.117", [1, 0], 1_000_000_000),
        // floor(5 * 100 * 10^12 / 6117), once over the sum and not over each unit.
        ("100", [2, 3], 81_739_414_745),
        ("0.000000000000000001", [1, 0], 0),
        ("0.000000006117", [1, 0], 1),
        ("0.000000006116999999", [1, 0], 0),
        ("12.5", [1, 0], 2_043_485_368),
        ("10000000", [1_000_000, 920_000], 3_138_793_526_238_352_133_398),
    ] {
        assert_eq!(
            group(amount, "uact", counts).max_rate_down(),
            Rate::new(rate).map_err(|_| unreachable!()),
            "{amount}"
        );
    }
}

#[test]
fn the_largest_price_that_can_be_written_fits_a_rate() {
    let most = group("10000000", "uact", [1_900_000, 20_000]).max_rate_down().expect("it fits");
    assert!(most < Rate::MAX);
}

#[test]
fn a_price_in_another_currency_needs_an_exchange_rate_and_says_so() {
    for denom in ["uakt", "ibc/170C677610AC31DF0904FFE09CD3B5C657492170E7E52372E48756B71E56F2F1"] {
        let error = group("100", denom, [1, 1]).max_rate_down().expect_err("it has no value in dollars");
        assert!(matches!(&error, PriceError::NeedsExchangeRate { denom: named, .. } if named == denom));
        assert!(
            error.to_string().contains("exchange rate") && error.to_string().contains("maximum price"),
            "{error}"
        );
    }
}

#[test]
fn an_exchange_rate_gives_another_currency_a_rate() {
    let spec = group("100", "uakt", [2, 3]);
    let half = ExchangeRate { denom: "uakt".to_owned(), dollars: Decimal(Decimal::ONE / 2) };
    // Half of what the same price in uact gives, divided once: floor(500 * 10^12 / 12234).
    assert_eq!(spec.max_rate_down_at(&half), Rate::new(40_869_707_372).map_err(|_| unreachable!()));
    let absurd = ExchangeRate { denom: "uakt".to_owned(), dollars: Decimal(u128::MAX) };
    assert!(matches!(spec.max_rate_down_at(&absurd), Err(PriceError::TooLarge { .. })));
    assert!(matches!(
        spec.max_rate_down_at(&ExchangeRate::uact()),
        Err(PriceError::NeedsExchangeRate { .. })
    ));
}

#[test]
fn the_class_of_an_order_tells_what_scarce_thing_it_needs() {
    let class = |models: &str| {
        let text = DOCUMENT.replace("[{model: a100}]", models);
        deployment(&text).groups[0].to_order_spec().class()
    };
    assert_eq!(class("[{model: h100, ram: 80Gi, interface: sxm}]"), "gpu/nvidia/h100/80Gi");
    assert_eq!(class("[{model: a100}]"), "gpu/nvidia/a100");
    assert_eq!(class("[{model: a100}, {model: h100}]"), "gpu");
    assert_eq!(class("[]"), "gpu");
    assert_eq!(group("1", "uact", [1, 1]).to_order_spec().class(), "cpu");
}
