//! From the `expose` lists of a service to its manifest entries and to the entrances the provider has to offer.

use std::collections::BTreeMap;

use super::document::{Document, Expose, HttpOptions, Service, To};
use super::ties;
use crate::manifest::{self, Proto};
use crate::problem::{ErrorKind, Problem, shown};
use crate::resources::{Endpoint, EndpointKind};
use crate::rules::{self, HttpOption};

/// Numbers of the leased-IP endpoints of a document.
pub(crate) struct EndpointNumbers<'t>(BTreeMap<&'t str, u32>);

impl<'t> EndpointNumbers<'t> {
    /// Numbers the endpoints that the deployed services use.
    ///
    /// Ordinary entries between services take part with an empty name and use up numbers, and an endpoint that is used
    /// several times has the number of its last use: both show in the digest.
    pub(crate) fn of(document: &Document<'t>) -> Self {
        let deployed = document.deployment.keys().filter_map(|name| document.services.get(name));
        let entries = deployed.flat_map(|service| &service.expose).flat_map(|expose| &expose.to);
        let mut names: Vec<&str> =
            entries.filter(|to| !to.global || !to.ip.is_empty()).map(|to| to.ip).collect();
        names.sort_unstable();
        EndpointNumbers(names.into_iter().zip(1..).collect())
    }

    /// The number of an entry; 0 unless it is reachable from outside at a leased IP.
    fn number(&self, to: &To<'_>) -> u32 {
        let leased = to.global && !to.ip.is_empty();
        if leased { self.0.get(to.ip).copied().unwrap_or_default() } else { 0 }
    }
}

/// One way into a service, and where the document says so.
pub(crate) struct Exposed {
    pub(crate) entry: manifest::Expose,
    /// Index into the service's `expose` list.
    pub(crate) index: usize,
}

/// How many entries the service will have.
pub(crate) fn entry_count(service: &Service<'_>) -> usize {
    service.expose.iter().map(|expose| expose.to.len().max(1)).sum()
}

/// The entries of a service in the language's order. Entries with an unknown protocol are left out with a problem.
pub(crate) fn entries(
    name: &str,
    service: &Service<'_>,
    numbers: &EndpointNumbers<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<Exposed> {
    let mut entries = Vec::with_capacity(entry_count(service));
    for (index, expose) in service.expose.iter().enumerate() {
        let path = format!("services.{name}.expose[{index}]");
        let Some(proto) = proto(&path, expose, problems) else { continue };
        let http_options = http_options(&path, &expose.http_options, problems);
        let nobody_else = [To::default()];
        let to = if expose.to.is_empty() { &nobody_else[..] } else { &expose.to };
        entries.extend(to.iter().map(|to| {
            let entry = manifest::Expose {
                port: *expose.port,
                external_port: *expose.external,
                proto,
                service: to.service.to_owned(),
                global: to.global,
                hosts: expose
                    .accept
                    .as_ref()
                    .map(|hosts| hosts.iter().map(|host| host.value.to_owned()).collect()),
                http_options: http_options.clone(),
                ip: to.ip.to_owned(),
                endpoint_sequence_number: numbers.number(to),
            };
            Exposed { entry, index }
        }));
    }
    let key = |exposed: &Exposed| {
        let entry = &exposed.entry;
        (entry.port, entry.proto, !entry.global)
    };
    ties::sort(&mut entries, |a, b| (&a.entry.service, key(a)) < (&b.entry.service, key(b)));
    entries
}

/// The entrances that sorted entries need from the provider.
pub(crate) fn endpoints<'e>(entries: impl Iterator<Item = &'e manifest::Expose>) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for entry in entries.filter(|entry| entry.global) {
        let kind = if entry.is_shared_http() { EndpointKind::SharedHttp } else { EndpointKind::RandomPort };
        endpoints.push(Endpoint { kind, sequence_number: 0 });
        if !entry.ip.is_empty() {
            let sequence_number = entry.endpoint_sequence_number;
            endpoints.push(Endpoint { kind: EndpointKind::LeasedIp, sequence_number });
        }
    }
    endpoints
}

fn proto(path: &str, expose: &Expose<'_>, problems: &mut Vec<Problem>) -> Option<Proto> {
    let text = *expose.proto;
    if text.is_empty() || text.eq_ignore_ascii_case("tcp") {
        return Some(Proto::Tcp);
    }
    if text.eq_ignore_ascii_case("udp") {
        return Some(Proto::Udp);
    }
    let message = format!("{} is no protocol that can be exposed: write tcp or udp", shown(text));
    problems.push(Problem::at(
        ErrorKind::ProtocolUnsupported,
        format!("{path}.proto"),
        expose.proto.mark,
        message,
    ));
    None
}

fn http_options(path: &str, options: &HttpOptions<'_>, problems: &mut Vec<Problem>) -> manifest::HttpOptions {
    let default = manifest::HttpOptions::default();
    let or = |value: u32, default: u32| if value == 0 { default } else { value };
    let cases = options.next_cases.iter().map(|case| case.value.to_owned()).collect::<Vec<_>>();
    let stored = manifest::HttpOptions {
        max_body_size: or(*options.max_body_size, default.max_body_size),
        read_timeout: or(*options.read_timeout, default.read_timeout),
        send_timeout: or(*options.send_timeout, default.send_timeout),
        next_tries: or(*options.next_tries, default.next_tries),
        next_timeout: *options.next_timeout,
        next_cases: if cases.is_empty() { default.next_cases } else { cases },
        proxy_buffer_size: *options.proxy_buffer_size,
    };
    rules::check_http_options(&stored, &mut |kind, key, message| {
        let mark = match key {
            HttpOption::MaxBodySize => options.max_body_size.mark,
            HttpOption::ReadTimeout => options.read_timeout.mark,
            HttpOption::SendTimeout => options.send_timeout.mark,
            HttpOption::ProxyBufferSize => options.proxy_buffer_size.mark,
            HttpOption::NextCase(index) => options.next_cases[index].mark,
        };
        problems.push(Problem::at(kind, format!("{path}.http_options.{}", key.name()), mark, message));
    });
    stored
}
