//! Who may talk to whom: nobody, except as the manifest's exposures say; and out to the internet, but not to anything that
//! is the provider's or another tenant's.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::LazyLock;

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::manifest::{Expose, Group, Proto, Service};
use crate::objects::cidr::Cidr;
use crate::objects::{Frame, RenderError, account, labels, service};

/// Networks that no tenant may reach: this network, private ones, shared address space, loopback, link-local with the cloud's
/// metadata service, protocol assignments, relays to IPv6, benchmarking, multicast, reserved.
const CLOSED_V4: [&str; 12] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
];

/// The same for IPv6: unspecified, loopback and the old form of IPv4 addresses, discarded, translations and tunnels of IPv4
/// (which would lead around the list above), unique local, link-local, site-local, multicast.
const CLOSED_V6: [&str; 10] = [
    "::/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/32",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

/// The whole of each family with what is closed of it to everybody.
static INTERNET: LazyLock<[(Cidr, Vec<Cidr>); 2]> = LazyLock::new(|| {
    let network = |text: &str| text.parse().expect("is a network");
    [("0.0.0.0/0", &CLOSED_V4[..]), ("::/0", &CLOSED_V6[..])]
        .map(|(everything, closed)| (network(everything), closed.iter().map(|text| network(text)).collect()))
});

/// The policy of the whole namespace, then one for each service that is exposed.
pub(super) fn policies(frame: &Frame<'_>, group: &Group) -> Result<Vec<NetworkPolicy>, RenderError> {
    let mut policies = vec![closed_by_default(frame)];
    for service in &group.services {
        if !service.expose.is_empty() {
            policies.push(ways_in(frame, service)?);
        }
        if account::asks(service) {
            policies.push(way_to_the_api_server(frame, service));
        }
    }
    Ok(policies)
}

/// No pod takes a connection; pods may connect to the group's own pods, DNS and the internet.
fn closed_by_default(frame: &Frame<'_>) -> NetworkPolicy {
    let settings = frame.settings;
    let own = NetworkPolicyEgressRule { to: Some(vec![any_own_pod()]), ports: None };
    let mut dns = vec![NetworkPolicyPeer {
        pod_selector: Some(labelled("k8s-app", "kube-dns")),
        ..namespace("kube-system")
    }];
    dns.extend(settings.dns_servers.iter().map(|server| network(*server, &[])));
    let dns = NetworkPolicyEgressRule {
        to: Some(dns),
        ports: Some([Proto::Udp, Proto::Tcp].into_iter().map(|proto| on(53, proto)).collect()),
    };
    let mut egress = vec![own, dns];
    let api_servers = settings.api_servers.iter().map(|server| Cidr::of_host(server.ip()));
    let closed: BTreeSet<Cidr> = settings.closed_networks.iter().copied().chain(api_servers).collect();
    let internet: Vec<NetworkPolicyPeer> = INTERNET
        .iter()
        .filter_map(|(everything, always)| open_except(*everything, always, &closed))
        .collect();
    if !internet.is_empty() {
        egress.push(NetworkPolicyEgressRule { to: Some(internet), ports: None });
    }
    NetworkPolicy {
        // No service can have a name with a dot.
        metadata: frame.metadata("lease.default"),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector::default()),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: None,
            egress: Some(egress),
        }),
    }
}

/// The internet of one family without what is closed; `None` when all of it is.
fn open_except(everything: Cidr, always: &[Cidr], more: &BTreeSet<Cidr>) -> Option<NetworkPolicyPeer> {
    let more = more.iter().filter(|network| everything.contains(**network));
    let all: BTreeSet<Cidr> = always.iter().chain(more).copied().collect();
    let inside = |network: &Cidr| all.iter().any(|other| other != network && other.contains(*network));
    let closed: Vec<Cidr> = all.iter().filter(|network| !inside(network)).copied().collect();
    (!closed.contains(&everything)).then(|| network(everything, &closed))
}

/// Who may connect to a service.
fn ways_in(frame: &Frame<'_>, service: &Service) -> Result<NetworkPolicy, RenderError> {
    let mut rules: Vec<NetworkPolicyIngressRule> = Vec::new();
    for expose in &service.expose {
        let port = on(service::port(service, expose.port)?, expose.proto);
        let rule = NetworkPolicyIngressRule { from: callers(frame, expose), ports: Some(vec![port]) };
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    Ok(NetworkPolicy {
        metadata: frame.metadata_of(service, service.name.as_str()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(pods_of(frame, &service.name)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(rules),
            egress: None,
        }),
    })
}

/// Lets a service that may read about itself ask for it.
fn way_to_the_api_server(frame: &Frame<'_>, service: &Service) -> NetworkPolicy {
    let rule = |server: &SocketAddr| NetworkPolicyEgressRule {
        to: Some(vec![network(Cidr::of_host(server.ip()), &[])]),
        ports: Some(vec![on(i32::from(server.port()), Proto::Tcp)]),
    };
    NetworkPolicy {
        metadata: frame.metadata_of(service, format!("{}.api-server", service.name)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(pods_of(frame, &service.name)),
            policy_types: Some(vec!["Egress".to_owned()]),
            ingress: None,
            egress: Some(frame.settings.api_servers.iter().map(rule).collect()),
        }),
    }
}

/// Who may use one exposure; `None` is everybody. What is open to the world is open to the group's own pods too.
fn callers(frame: &Frame<'_>, expose: &Expose) -> Option<Vec<NetworkPolicyPeer>> {
    if expose.is_shared_http() && expose.ip.is_empty() {
        let mut callers = vec![any_own_pod(), namespace(&frame.settings.gateway.namespace)];
        callers.extend(frame.settings.gateway_sources.iter().map(|source| network(*source, &[])));
        return Some(callers);
    }
    match (expose.global, expose.service.as_str()) {
        (true, _) => None,
        (false, "") => Some(vec![any_own_pod()]),
        (false, service) => Some(vec![NetworkPolicyPeer {
            pod_selector: Some(pods_of(frame, service)),
            ..NetworkPolicyPeer::default()
        }]),
    }
}

fn any_own_pod() -> NetworkPolicyPeer {
    NetworkPolicyPeer { pod_selector: Some(LabelSelector::default()), ..NetworkPolicyPeer::default() }
}

fn pods_of(frame: &Frame<'_>, service: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels::selector(&frame.short_id, service)),
        ..LabelSelector::default()
    }
}

fn labelled(key: &str, value: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(labels::map([(key, value)])), ..LabelSelector::default() }
}

fn namespace(name: &str) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(labelled("kubernetes.io/metadata.name", name)),
        ..NetworkPolicyPeer::default()
    }
}

fn network(cidr: Cidr, except: &[Cidr]) -> NetworkPolicyPeer {
    let except: Vec<String> = except.iter().map(ToString::to_string).collect();
    let block = IPBlock { cidr: cidr.to_string(), except: (!except.is_empty()).then_some(except) };
    NetworkPolicyPeer { ip_block: Some(block), ..NetworkPolicyPeer::default() }
}

fn on(port: i32, proto: Proto) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(port)),
        protocol: Some(proto.to_string()),
        ..NetworkPolicyPort::default()
    }
}
