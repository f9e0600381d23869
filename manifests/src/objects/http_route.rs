//! The way from the shared HTTP entrance to a service.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::manifest::{HttpOptions, Service};
use crate::objects::{Frame, Object, RenderError, service, short_hash, unsupported};

/// A route to one port of a service.
pub(super) struct Route {
    name: String,
    service: String,
    metadata: Value,
    port: i32,
    /// The name that the provider gives it.
    pub(super) generated: String,
    accepted: Vec<String>,
    /// The most milliseconds that an answer may take, if the tenant set a limit.
    timeout: Option<u32>,
}

/// One route for each port of the service that is served over HTTP.
pub(super) fn routes(frame: &Frame<'_>, service: &Service) -> Result<Vec<Route>, RenderError> {
    let mut by_port: BTreeMap<u32, (Vec<String>, &HttpOptions)> = BTreeMap::new();
    for expose in service.expose.iter().filter(|expose| expose.is_shared_http()) {
        let (hosts, options) = by_port.entry(expose.port).or_insert((Vec::new(), &expose.http_options));
        if **options != expose.http_options {
            return Err(unsupported(service, format!("port {} has two sets of http_options", expose.port)));
        }
        hosts.extend(expose.hosts.iter().flatten().cloned());
    }
    by_port
        .into_iter()
        .map(|(port, (accepted, options))| {
            // The Gateway API takes 16 names, one of which is ours.
            if accepted.len() > 15 {
                return Err(unsupported(service, "more than 15 host names for one port"));
            }
            for host in &accepted {
                refuse_host(frame, service, host)?;
            }
            Ok(Route {
                name: format!("{}.{port}", service.name),
                service: service.name.clone(),
                metadata: json!(frame.metadata_of(service, format!("{}.{port}", service.name))),
                port: service::port(service, 80)?,
                generated: generated_host(frame, service, port),
                accepted,
                timeout: timeout(options),
            })
        })
        .collect()
}

/// A name below the ingress domain that stays the same as long as the lease lives.
fn generated_host(frame: &Frame<'_>, service: &Service, port: u32) -> String {
    let lease = frame.lease;
    let parts: [&[u8]; 4] =
        [&lease.id.to_word().0, &lease.provider.0, service.name.as_bytes(), &port.to_be_bytes()];
    format!("{}.{}", short_hash(&parts), frame.settings.ingress_domain)
}

/// Names below the ingress domain are the provider's to give: one of them could be another lease's.
fn refuse_host(frame: &Frame<'_>, service: &Service, host: &str) -> Result<(), RenderError> {
    let domain = frame.settings.ingress_domain.as_str();
    if host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')) {
        return Err(unsupported(service, format!("host {host} belongs to the provider's domain {domain}")));
    }
    if host.parse::<IpAddr>().is_ok() {
        return Err(unsupported(service, format!("host {host} is an address: name a host")));
    }
    Ok(())
}

/// The language's default allows 60 s between two reads, which a route cannot say: its limit is on the whole answer and
/// would cut streams. So only a tenant's own, tighter limit is set; otherwise there is none.
fn timeout(options: &HttpOptions) -> Option<u32> {
    (options.read_timeout < HttpOptions::default().read_timeout).then_some(options.read_timeout)
}

impl Route {
    /// The names it answers to, ours first.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.generated.as_str()).chain(self.accepted.iter().map(String::as_str))
    }

    /// The HTTPRoute.
    pub(super) fn object(&self, frame: &Frame<'_>) -> Object {
        let gateway = &frame.settings.gateway;
        let mut parent = json!({
            "group": "gateway.networking.k8s.io",
            "kind": "Gateway",
            "namespace": gateway.namespace,
            "name": gateway.name,
        });
        if let Some(section) = &gateway.section {
            parent["sectionName"] = json!(section);
        }
        let request =
            self.timeout.map_or_else(|| "0s".to_owned(), |milliseconds| format!("{milliseconds}ms"));
        let body = json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": self.metadata,
            "spec": {
                "parentRefs": [parent],
                "hostnames": self.hosts().collect::<Vec<_>>(),
                "rules": [{
                    "matches": [{ "path": { "type": "PathPrefix", "value": "/" } }],
                    "backendRefs": [{ "group": "", "kind": "Service", "name": self.service, "port": self.port, "weight": 1 }],
                    "timeouts": { "request": request },
                }],
            },
        });
        Object {
            api_version: "gateway.networking.k8s.io/v1".to_owned(),
            kind: "HTTPRoute".to_owned(),
            plural: "httproutes".to_owned(),
            namespace: Some(frame.namespace.clone()),
            name: self.name.clone(),
            body,
            waits: false,
        }
    }
}
