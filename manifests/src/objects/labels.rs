//! The labels and annotations by which objects tell whose they are.

use std::collections::BTreeMap;

use crate::objects::LeaseContext;

/// Label: the lease in 16 characters. Whatever carries it is ours to change and delete.
pub const LEASE: &str = "berth.dev/lease";
/// Label: the service of the manifest, on what belongs to one.
pub const SERVICE: &str = "berth.dev/service";
/// Annotation: the lease's id in full, `tenant/dseq/gseq/oseq`.
pub const LEASE_ID: &str = "berth.dev/lease-id";
/// Annotation: the provider's address.
pub const PROVIDER: &str = "berth.dev/provider";

pub(super) type Map = BTreeMap<String, String>;

pub(super) fn of_lease(short_id: &str) -> Map {
    map([("app.kubernetes.io/managed-by", "berth"), (LEASE, short_id)])
}

pub(super) fn of_service(short_id: &str, service: &str) -> Map {
    let mut labels = of_lease(short_id);
    labels.extend(selector(short_id, service));
    labels
}

/// What selects the pods of a service.
pub(super) fn selector(short_id: &str, service: &str) -> Map {
    map([(LEASE, short_id), (SERVICE, service)])
}

pub(super) fn annotations(lease: &LeaseContext) -> Map {
    map([(LEASE_ID, lease.id.to_string().as_str()), (PROVIDER, lease.provider.to_string().as_str())])
}

pub(super) fn map<const N: usize>(pairs: [(&str, &str); N]) -> Map {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
