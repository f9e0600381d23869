//! How long it takes from a document's text to its manifest, groups and digest, and from a manifest to its objects.
//!
//! The real documents are read beside the bare event parser on the same bytes, so that what is the library's is told from
//! what is ours. They lie beside the workspace; without them only the rest is measured.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use libyaml_safer::{EventData, Parser};
use manifests::decision::{Placement, Replica, Takes};
use manifests::objects::{GatewayRef, Given, LeaseContext, Settings, render};
use manifests::order::{Address, LeaseId};
use manifests::{Deployment, parse};

/// Everything that a client or a provider derives from a text; false for one that is refused.
fn derive(text: &[u8]) -> bool {
    let read = parse(black_box(text));
    read.is_ok_and(|deployment| deployment.manifest.digest().0[0] == 0 || !deployment.groups.is_empty())
}

/// Only the parser: how many events the first document has.
fn events(text: &[u8]) -> usize {
    let mut input = black_box(text);
    let mut parser = Parser::new();
    parser.set_input_string(&mut input);
    let mut count = 0;
    while let Ok(event) = parser.parse() {
        count += 1;
        if matches!(event.data, EventData::DocumentEnd { .. } | EventData::StreamEnd) {
            break;
        }
    }
    count
}

/// The real documents, by length.
fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures/awesome");
    let Ok(entries) = fs::read_dir(&folder) else {
        eprintln!("LEFT OUT: {} is not there, so no real document is measured", folder.display());
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("the entry can be read").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"));
    let mut texts: Vec<_> = paths.iter().map(|path| fs::read(path).expect("the file can be read")).collect();
    texts.sort_by_key(Vec::len);
    texts
}

fn length(texts: &[Vec<u8>]) -> u64 {
    texts.iter().map(|text| text.len() as u64).sum()
}

fn real_documents(criterion: &mut Criterion) {
    let texts = corpus();
    let Some(median) = texts.get(texts.len() / 2) else { return };
    let mut group = criterion.benchmark_group("corpus");
    group.throughput(Throughput::Bytes(length(&texts)));
    group.bench_function("document", |bencher| {
        bencher.iter(|| texts.iter().filter(|text| derive(text)).count());
    });
    group.bench_function("events", |bencher| {
        bencher.iter(|| texts.iter().map(|text| events(text)).sum::<usize>());
    });
    group.finish();
    let mut group = criterion.benchmark_group("median");
    group.throughput(Throughput::Bytes(median.len() as u64));
    group.bench_function("document", |bencher| bencher.iter(|| derive(median)));
    group.bench_function("events", |bencher| bencher.iter(|| events(median)));
    group.finish();
}

/// A document of so many services as people write them, each with a port for everyone, variables and comments.
fn document_of(services: usize) -> String {
    let mut text = String::from("version: \"2.0\"\nservices:\n");
    for number in 0..services {
        text += &format!(
            "  service-{number}:\n    # What this one does, in a few words.\n    image: ghcr.io/example/service-{number}:1.{number}\n    env:\n      - DATABASE_URL=postgres://app@store:5432/app{number}\n      - LOG_LEVEL=info\n    expose:\n      - port: 8080\n        as: 80\n        accept:\n          - service-{number}.example.com\n        to:\n          - global: true\n"
        );
    }
    text += "profiles:\n  compute:\n    small:\n      resources:\n        cpu:\n          units: 0.1\n        memory:\n          size: 128Mi\n        storage:\n          size: 512Mi\n  placement:\n    anywhere:\n      pricing:\n        small:\n          denom: uact\n          amount: 1000\ndeployment:\n";
    for number in 0..services {
        text += &format!("  service-{number}:\n    anywhere:\n      profile: small\n      count: 1\n");
    }
    text
}

fn a_mebibyte(criterion: &mut Criterion) {
    let one = document_of(101).len() - document_of(100).len();
    let mut services = (1 << 20) / one;
    while document_of(services).len() > 1 << 20 {
        services -= 1;
    }
    let text = document_of(services);
    assert!(derive(text.as_bytes()), "{:?}", parse(&text).map_err(|problems| problems[0].clone()));
    let mut group = criterion.benchmark_group("mebibyte");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("document", |bencher| bencher.iter(|| derive(text.as_bytes())));
    group.bench_function("events", |bencher| bencher.iter(|| events(text.as_bytes())));
    group.finish();
}

/// A lease of all replicas on one node.
fn lease(deployment: &Deployment) -> LeaseContext {
    let services = &deployment.manifest.0[0].services;
    let replicas = services.iter().flat_map(|service| {
        let (unit, node) = (service.resources.id, "node-a".to_owned());
        let count = usize::try_from(service.count).expect("is small");
        std::iter::repeat_n(Replica { unit, node, takes: Takes::default() }, count)
    });
    LeaseContext {
        id: LeaseId { tenant: Address([0xab; 20]), dseq: 1201, gseq: 1, oseq: 1 },
        provider: Address([0xcd; 20]),
        placement: Placement { replicas: replicas.collect(), ..Placement::default() },
        given: Given::default(),
        left_behind: 0,
        secrets: BTreeMap::new(),
    }
}

fn settings() -> Settings {
    let network = |text: &str| text.parse().expect("a network");
    let gateway = GatewayRef {
        name: "berth".to_owned(),
        namespace: "berth-gateway".to_owned(),
        section: Some("http".to_owned()),
    };
    Settings {
        gateway_sources: vec![network("192.0.2.1/32")],
        dns_servers: vec![network("192.0.2.1/32")],
        closed_networks: vec![network("198.51.100.0/24"), network("2001:db8::/32")],
        user_namespace_nodes: BTreeSet::from(["node-a".to_owned()]),
        ..Settings::of("apps.provider.example", gateway, "provider.example")
    }
}

fn objects(criterion: &mut Criterion) {
    let services = 10;
    let deployment = parse(document_of(services)).expect("the document is in order");
    let (lease, settings) = (lease(&deployment), settings());
    let manifest = &deployment.manifest.0[0];
    let mut group = criterion.benchmark_group("render");
    // The time for one service is that of all divided by their number: elements are services.
    group.throughput(Throughput::Elements(services as u64));
    group.bench_function("ten-services", |bencher| {
        bencher.iter(|| render(black_box(manifest), &lease, &settings).expect("it can be rendered"));
    });
    group.finish();
}

criterion_group! {
    name = language;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .sample_size(50);
    targets = real_documents, a_mebibyte, objects
}
criterion_main!(language);
