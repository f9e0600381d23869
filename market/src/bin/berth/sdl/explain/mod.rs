//! `berth sdl explain`: what a document orders, what it becomes, and which of its values nobody wrote.

mod amounts;
mod defaults;
mod extension;
mod http;
mod written;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use manifests::Deployment;
use manifests::group::GroupSpec;
use manifests::manifest::{Group, Service};
use manifests::objects::{Object, Settings};
use manifests::terms::Terms;

use crate::output::{progress, result, table};
use crate::sdl::outline::{Outline, text_of};
use crate::sdl::reading::Faithfulness;
use crate::sdl::{example, report, source};
use amounts::{bytes, cores, shown};
use written::Written;

/// Explain what a document stands for.
///
/// For each placement: what it asks of a provider, its services with their resources, the totals that are ordered and the most
/// that they cost; the Kubernetes objects that it becomes; which HTTP options its routes carry and which they do not; and
/// every value that a default gave, with where the default comes from.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The document, in SDL; - is standard input.
    file: PathBuf,
    #[command(flatten)]
    faithfulness: Faithfulness,
    #[command(flatten)]
    cluster: example::Cluster,
}

pub(super) fn run(explain: &Explain) -> anyhow::Result<()> {
    let (bytes, deployment) = source::accepted(&explain.file, explain.faithfulness)?;
    progress(report::warnings(&source::name(&explain.file), &bytes, &deployment.warnings).trim_end());
    let settings = explain.cluster.settings();
    result(format_args!("version {}", hex::encode(deployment.manifest.digest().0)));
    let groups = deployment.manifest.0.iter().zip(&deployment.groups).zip(&deployment.terms);
    for (((group, spec), terms), gseq) in groups.zip(1..=u16::MAX) {
        ordered(group, spec, terms);
        becomes(group, gseq, &settings);
    }
    if let Some(outline) = text_of(&bytes).and_then(Outline::of) {
        told_defaults(&deployment, &Written::of(&outline));
    }
    Ok(())
}

/// What goes on chain for a group, and what it costs at most.
fn ordered(group: &Group, spec: &GroupSpec, terms: &Terms) {
    result(format_args!("\nPLACEMENT {}", group.name));
    let price = match spec.max_rate_down() {
        Ok(rate) => format!("at most {rate}, {} per month of 730 hours", rate.monthly_up()),
        Err(error) => error.to_string(),
    };
    result(format_args!("  {price}"));
    let order = spec.to_order_spec();
    let size =
        order.to_bytes().map_or_else(|error| error.to_string(), |bytes| format!("{} bytes", bytes.len()));
    result(format_args!("  one order of class {}, its spec {size} on chain", order.class()));
    for term in extension::terms(terms) {
        result(format_args!("  {term}"));
    }
    for attribute in spec.requirements.attributes.iter().flatten() {
        result(format_args!("  the provider must have {} = {}", attribute.key, attribute.value));
    }
    let signed_by = &spec.requirements.signed_by;
    for (who, auditors) in [("all", &signed_by.all_of), ("one", &signed_by.any_of)] {
        if let Some(auditors) = auditors.as_ref().filter(|auditors| !auditors.is_empty()) {
            result(format_args!("  {who} of these must vouch for it: {}", auditors.join(", ")));
        }
    }
    result("");
    let rows = group.services.iter().map(|service| {
        let price = spec.resources.iter().find(|unit| unit.resource.id == service.resources.id);
        let price = price.map_or_else(String::new, |unit| {
            let amount = unit.price.amount.to_string();
            let amount = amount.trim_end_matches('0').trim_end_matches('.');
            format!("{} × {amount} {}", service.count, unit.price.denom)
        });
        let resources = &service.resources;
        vec![
            service.name.clone(),
            service.image.clone(),
            service.count.to_string(),
            cores(resources.cpu.units.0),
            bytes(resources.memory.size.0),
            resources.storage.iter().map(amounts::volume).collect::<Vec<_>>().join(" + "),
            amounts::gpus(&resources.gpu),
            price,
        ]
    });
    let head = ["SERVICE", "IMAGE", "REPLICAS", "CPU", "MEMORY", "STORAGE", "GPU", "PRICE A BLOCK"];
    table(&head, rows);
    result(format_args!("together {}", amounts::total(spec)));
    for service in &group.services {
        for told in extension::of_service(service).into_iter().chain(kept(service)) {
            result(format_args!("  {}: {told}", service.name));
        }
    }
}

/// What of a service's replicas and volumes is the same after they are replaced.
fn kept(service: &Service) -> Vec<String> {
    let mut told = Vec::new();
    let persistent: Vec<String> = service
        .resources
        .storage
        .iter()
        .filter(|volume| volume.persistent())
        .map(|volume| shown(&volume.name))
        .collect();
    match (persistent.is_empty(), service.count) {
        (true, 0 | 1) => {}
        (true, _) => told.push(
            "its replicas have no numbers, so BERTH_REPLICA is not set: a persistent volume would give them numbers"
                .to_owned(),
        ),
        (false, _) => {
            told.push("BERTH_REPLICA is the replica's number, from 0".to_owned());
            told.push(format!(
                "volume {} lasts as long as the lease: an update can make it larger, within what is ordered and where the \
                 provider's class lets it grow, and never smaller",
                persistent.join(", ")
            ));
        }
    }
    told
}

/// The objects that a group becomes, each kind once with its names.
fn becomes(group: &Group, gseq: u16, settings: &Settings) {
    let lease = example::lease(group, gseq);
    let objects = match manifests::objects::render(group, &lease, settings) {
        Ok(objects) => objects,
        Err(error) => return result(format_args!("\nNo provider of today can run it: {error}")),
    };
    result(format_args!("\nON KUBERNETES in a namespace of its own, such as {}", lease.namespace()));
    let mut kinds: Vec<(&str, Vec<&Object>)> = Vec::new();
    for object in &objects.items {
        match kinds.iter_mut().find(|(kind, _)| *kind == object.kind) {
            Some((_, same)) => same.push(object),
            None => kinds.push((&object.kind, vec![object])),
        }
    }
    let rows = kinds.into_iter().map(|(kind, same)| {
        let names: Vec<String> = same.iter().map(|object| named(object)).collect();
        vec![kind.to_owned(), names.join(", ")]
    });
    table(&["KIND", "NAMES"], rows);
    let mut ways: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for service in &group.services {
        ways.insert(&service.name, ways_in(service));
    }
    result("\nWAYS IN");
    for (service, ways) in ways {
        for way in ways {
            result(format_args!("  {service}: {way}"));
        }
    }
    for host in &objects.hosts {
        result(format_args!("  {}: http://{}", host.service, host.host));
    }
    http::tell(group, &objects);
}

/// An object's name, with what its kind does not say.
fn named(object: &Object) -> String {
    let said = match object.kind.as_str() {
        "Service" => object.body["spec"]["type"].as_str(),
        "Namespace" => object.body["metadata"]["labels"]["pod-security.kubernetes.io/enforce"].as_str(),
        _ => None,
    };
    match said {
        Some(said) => format!("{} ({said})", object.name),
        None => object.name.clone(),
    }
}

fn ways_in(service: &Service) -> Vec<String> {
    let way = |expose: &manifests::manifest::Expose| {
        let port = format!("port {} of the container", expose.port);
        let (seen, proto) = (expose.visible_port(), expose.proto);
        let mut text = match (expose.global, expose.is_shared_http()) {
            (true, true) => format!("{port} over HTTP, for everybody"),
            (true, false) if expose.ip.is_empty() => {
                format!("{port} as {proto} at a port of the provider's choice, for everybody")
            }
            (true, false) => format!("{port} as {proto} {seen}, for everybody"),
            (false, _) if expose.service.is_empty() => {
                format!("{port} as {proto} {seen}, for services of the same placement")
            }
            (false, _) => format!("{port} as {proto} {seen}, for service {}", shown(&expose.service)),
        };
        if !expose.ip.is_empty() {
            text.push_str(&format!(", also as {proto} {seen} of the leased IP {}", expose.ip));
        }
        text
    };
    let mut ways: Vec<String> = service.expose.iter().map(way).collect();
    if ways.is_empty() {
        ways.push("none: it exposes nothing".to_owned());
    }
    ways
}

fn told_defaults(deployment: &Deployment, written: &Written<'_>) {
    result("\nDEFAULTS: values that nobody wrote");
    let rows = defaults::of(deployment, written).into_iter().map(|default| {
        let defaults::Default { path, value, from } = default;
        vec![path, value, from.to_owned()]
    });
    table(&["PLACE", "VALUE", "FROM"], rows);
}
