//! The addresses inside every bench. Each bench has a network of its own, so that all of them use the same ones.

/// The node: the API server, the gateway, the chain and the registry listen here.
pub const NODE: &str = "10.89.0.1";
/// The other end of the node's only cable: the LAN, and all of the outside that a bench has.
pub const LAN: &str = "10.89.0.2";
/// Where clouds answer with their secrets; here it is the LAN that has this address.
pub const METADATA_SERVICE: &str = "169.254.169.254";
/// The name of the network namespace at the other end of the cable.
pub const LAN_NAMESPACE: &str = "lan";
/// The name of the node.
pub const NODE_NAME: &str = "node0";

pub(crate) const SERVICES: &str = "10.96.0.0/16";
pub(crate) const KUBERNETES_SERVICE: &str = "10.96.0.1";
pub(crate) const DNS_SERVICE: &str = "10.96.0.10";
pub(crate) const PODS: &str = "10.244.0.0/16";
pub(crate) const PODS_OF_NODE: &str = "10.244.0.0/24";

pub(crate) const API_SERVER_PORT: u16 = 6443;
pub(crate) const REGISTRY_PORT: u16 = 5000;
pub(crate) const CHAIN_PORT: u16 = 8545;
pub(crate) const GATEWAY_PORT: u16 = 8443;
pub(crate) const METRICS_PORT: u16 = 9464;
