//! How a lease's objects are told from others: by the label that carries the lease's short name.

use kube::{Resource, ResourceExt};
use manifests::objects::{LeaseContext, labels};
use manifests::order::{Address, LeaseId};

/// The 16 characters that stand for a lease in labels and names.
#[must_use]
pub fn short_name(id: LeaseId, provider: Address) -> String {
    LeaseContext::unplaced(id, provider).short_id()
}

/// The short name of the lease that an object belongs to.
pub fn lease_of<K: Resource>(object: &K) -> Option<&str> {
    object.labels().get(labels::LEASE).map(String::as_str)
}

/// The service that an object belongs to.
pub fn service_of<K: Resource>(object: &K) -> Option<&str> {
    object.labels().get(labels::SERVICE).map(String::as_str)
}

/// The selector of everything that belongs to a lease.
#[must_use]
pub fn selector(short_name: &str) -> String {
    format!("{}={short_name}", labels::LEASE)
}
