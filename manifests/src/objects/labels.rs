//! The labels, annotations and names by which objects tell whose they are. All are short whatever the tenant calls things.

use std::collections::BTreeMap;

use crate::objects::{LeaseContext, short_hash};

/// Label: the lease in 16 characters. Whatever carries it is ours to change and delete.
pub const LEASE: &str = "berth.dev/lease";
/// Label: the service of the manifest, on what belongs to one.
pub const SERVICE: &str = "berth.dev/service";
/// Annotation: the lease's id in full, `tenant/dseq/gseq/oseq`.
pub const LEASE_ID: &str = "berth.dev/lease-id";
/// Annotation: the provider's address.
pub const PROVIDER: &str = "berth.dev/provider";
/// Label: on the Lease of the one daemon that may send, the address of the operator key.
pub const OPERATOR: &str = "berth.dev/operator";
/// Annotation: on a Service of a leased address, the number of its endpoint in the deployment.
pub const ENDPOINT: &str = "berth.dev/endpoint";
/// Annotation: on pods, changes when their variables do, so that they are replaced.
pub const VARIABLES: &str = "berth.dev/variables";

/// The most characters of a label's value and of many names.
const LONGEST: usize = 63;

pub(super) type Map = BTreeMap<String, String>;

pub(super) fn of_lease(short_id: &str) -> Map {
    map([("app.kubernetes.io/managed-by", "berth"), (LEASE, short_id)])
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

/// A name that begins with one of ours and goes on with a tenant's, or with a hash of it where that is no part of a name.
pub(super) fn part_of_name(ours: &str, tenants: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = !tenants.is_empty() && tenants.len() <= 32 && !tenants.ends_with('-');
    if fits && tenants.bytes().all(plain) {
        format!("{ours}-{tenants}")
    } else {
        format!("{ours}-{}", short_hash(&[tenants.as_bytes()]))
    }
}

/// The name of a second object of a service: the service's own with `suffix`, cut and hashed where that is too long.
pub(super) fn second_name(service: &str, suffix: &str) -> String {
    let whole = format!("{service}-{suffix}");
    if whole.len() <= LONGEST { whole } else { cut(service, LONGEST - suffix.len() - 1) + "-" + suffix }
}

/// A service's name in at most `longest` characters: itself, or its beginning with a hash of it.
pub(super) fn cut(service: &str, longest: usize) -> String {
    if service.len() <= longest {
        return service.to_owned();
    }
    let hash = short_hash(&[service.as_bytes()]);
    let kept = service.get(..longest.saturating_sub(hash.len() + 1)).unwrap_or_default();
    format!("{kept}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_where_they_fit_and_never_too_long() {
        assert_eq!(second_name("web", "ports"), "web-ports");
        let long = second_name(&"a".repeat(63), "ports");
        assert_eq!(long.len(), 63);
        assert!(long.ends_with("-ports"), "{long}");
        assert_ne!(long, second_name(&format!("{}b", "a".repeat(62)), "ports"));
        assert_eq!(cut("web", 52), "web");
        assert_eq!(cut(&"a".repeat(63), 52).len(), 52);
    }

    #[test]
    fn what_is_no_part_of_a_name_is_hashed() {
        assert_eq!(part_of_name("volume", "data-1"), "volume-data-1");
        for odd in ["", "Data", "a_b", "a-", "ü", &"a".repeat(33)] {
            let name = part_of_name("volume", odd);
            assert_eq!(name.len(), "volume-".len() + 16, "{odd:?} became {name}");
        }
        assert_ne!(part_of_name("volume", "a_b"), part_of_name("volume", "a.b"));
    }
}
