//! Where the API server answers behind its Service, as its own endpoints say: tenants are kept away from there, wherever it is.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::discovery::v1::EndpointSlice;

/// The namespace of the Service.
pub(super) const NAMESPACE: &str = "default";
/// Selects the slices of the Service.
pub(super) const SELECTOR: &str = "kubernetes.io/service-name=kubernetes";

/// The addresses and ports of a slice.
pub(super) fn addresses(slice: &EndpointSlice) -> impl Iterator<Item = SocketAddr> {
    let ports = slice.ports.iter().flatten().filter_map(|port| u16::try_from(port.port?).ok());
    let endpoints = slice.endpoints.iter().flatten().flat_map(|endpoint| &endpoint.addresses);
    let hosts: Vec<IpAddr> = endpoints.filter_map(|address| address.parse().ok()).collect();
    ports.flat_map(move |port| hosts.clone().into_iter().map(move |host| SocketAddr::new(host, port)))
}
