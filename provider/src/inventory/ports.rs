//! Ports of the nodes: which of the cluster's range are taken.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;

use crate::leases::names::lease_of;

/// The ports that the API server gives to Services, as it was told with `--service-node-port-range`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRange(RangeInclusive<u16>);

impl Default for PortRange {
    /// What an API server uses that was told nothing.
    fn default() -> Self {
        Self(30_000..=32_767)
    }
}

impl FromStr for PortRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once('-').ok_or("not two ports with a hyphen between them")?;
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0).ok_or("not a port");
        let (first, last) = (port(first)?, port(last)?);
        if first <= last { Ok(Self(first..=last)) } else { Err("a range that ends before it begins") }
    }
}

/// What Services take of the range.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ports {
    /// How many are free.
    pub free: u64,
    /// How many each lease has, by its short name.
    pub leases: BTreeMap<String, u64>,
}

impl Ports {
    /// Counts the ports that Services hold. One port can serve two protocols, and is one.
    #[must_use]
    pub fn of(range: &PortRange, services: &[Arc<Service>]) -> Self {
        let mut taken = BTreeSet::new();
        let mut leases: BTreeMap<String, u64> = BTreeMap::new();
        for service in services {
            let Some(spec) = &service.spec else { continue };
            let ports = spec.ports.iter().flatten().filter_map(|port| port.node_port);
            let health = spec.health_check_node_port;
            let ports = ports.chain(health).filter_map(|port| u16::try_from(port).ok());
            let ports: BTreeSet<u16> = ports.filter(|port| range.0.contains(port)).collect();
            if let Some(lease) = lease_of(&**service).filter(|_| !ports.is_empty()) {
                let has = leases.entry(lease.to_owned()).or_default();
                *has = has.saturating_add(count(ports.len()));
            }
            taken.extend(ports);
        }
        Self { free: count(range.0.len()).saturating_sub(count(taken.len())), leases }
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use manifests::objects::labels;
    use serde_json::json;

    use super::*;

    fn service(lease: Option<&str>, ports: &[u16], health: Option<u16>) -> Arc<Service> {
        let labels = lease.map(|lease| json!({labels::LEASE: lease}));
        let ports: Vec<_> = ports.iter().map(|port| json!({"port": 80, "nodePort": port})).collect();
        let service = json!({
            "metadata": {"name": "s", "labels": labels}, "spec": {"ports": ports, "healthCheckNodePort": health},
        });
        Arc::new(serde_json::from_value(service).expect("a service"))
    }

    #[test]
    fn ports_of_the_range_that_a_service_has_are_taken_whoever_has_them() {
        let range: PortRange = "30000-30009".parse().expect("a range");
        let services = [
            service(None, &[30_000, 30_000, 30_001], Some(30_002)),
            service(Some("l1"), &[30_003, 40_000], None),
            service(Some("l1"), &[30_009], None),
            service(Some("l2"), &[], None),
        ];
        let ports = Ports::of(&range, &services);
        assert_eq!((ports.free, ports.leases), (5, BTreeMap::from([("l1".to_owned(), 2)])));
        assert_eq!(Ports::of(&PortRange::default(), &[]).free, 2768);
    }

    #[test]
    fn what_is_no_range_of_ports_is_refused() {
        for text in ["", "30000", "0-1", "5-4", "a-b", "30000-70000"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
    }
}
