//! What holds a lease to what was bought, whatever happens inside its namespace.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    LimitRange, LimitRangeItem, LimitRangeSpec, ResourceQuota, ResourceQuotaSpec,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::objects::amounts::{Amounts, Replica, quantity};
use crate::objects::{Frame, Part, service};

/// What the whole group may take: its total and one more replica of the largest service, because a pod that is ending
/// still counts while its successor waits; and as much again for each that was left behind on a lost node.
pub(super) fn quota(frame: &Frame<'_>, parts: &[Part<'_>]) -> ResourceQuota {
    let mut hard = BTreeMap::new();
    let spare = u64::from(frame.lease.left_behind).saturating_add(1);
    let requests = of_group(parts, spare, |part| part.replica.requests.clone());
    let limits = of_group(parts, spare, |part| part.replica.limits.clone());
    for (kind, amounts) in [("requests", requests), ("limits", limits)] {
        for (resource, amount) in amounts {
            // Extended resources have no limit that differs from their request.
            if kind == "requests" || !resource.contains('/') {
                hard.insert(format!("{kind}.{resource}"), quantity(&resource, amount));
            }
        }
    }
    let claims = of_group(parts, 1, |part| {
        let mut claims = Amounts::from([("persistentvolumeclaims".to_owned(), 0)]);
        for claim in &part.volumes.claims {
            for (resource, amount) in [
                ("persistentvolumeclaims".to_owned(), 1),
                ("requests.storage".to_owned(), claim.bytes),
                (format!("{}.storageclass.storage.k8s.io/requests.storage", claim.class), claim.bytes),
            ] {
                let sum = claims.entry(resource).or_default();
                *sum = sum.saturating_add(amount);
            }
        }
        claims
    });
    hard.extend(claims.into_iter().map(|(resource, amount)| (resource, Quantity(amount.to_string()))));
    let pods = parts.iter().map(|part| u64::from(part.service.count)).fold(spare, u64::saturating_add);
    let node_ports: usize = parts.iter().map(|part| service::node_ports(part.service).len()).sum();
    let addresses: usize = parts.iter().map(|part| service::endpoints(part.service).len()).sum();
    for (resource, count) in [
        ("pods", pods),
        ("services.nodeports", u64::try_from(node_ports).unwrap_or(u64::MAX)),
        ("services.loadbalancers", u64::try_from(addresses).unwrap_or(u64::MAX)),
    ] {
        hard.insert(resource.to_owned(), Quantity(count.to_string()));
    }
    ResourceQuota {
        metadata: frame.metadata("lease"),
        spec: Some(ResourceQuotaSpec { hard: Some(hard), ..ResourceQuotaSpec::default() }),
        ..ResourceQuota::default()
    }
}

/// The most that one container and one claim may take: what the largest service bought. A container that says nothing gets
/// just that.
pub(super) fn limit_range(frame: &Frame<'_>, parts: &[Part<'_>]) -> LimitRange {
    let most = |of: fn(&Replica) -> &Amounts| {
        let mut most = Amounts::new();
        for (resource, amount) in parts.iter().flat_map(|part| of(&part.replica)) {
            if !resource.contains('/') {
                let so_far: &mut u64 = most.entry(resource.clone()).or_default();
                *so_far = (*so_far).max(*amount);
            }
        }
        most.into_iter().map(|(resource, amount)| (resource.clone(), quantity(&resource, amount))).collect()
    };
    let limits: BTreeMap<String, Quantity> = most(|replica| &replica.limits);
    let mut items = vec![LimitRangeItem {
        type_: "Container".to_owned(),
        max: Some(limits.clone()),
        default: Some(limits),
        default_request: Some(most(|replica| &replica.requests)),
        ..LimitRangeItem::default()
    }];
    let volumes = parts.iter().flat_map(|part| &part.volumes.claims).map(|claim| claim.bytes);
    items.extend(volumes.max().map(|bytes| LimitRangeItem {
        type_: "PersistentVolumeClaim".to_owned(),
        max: Some(BTreeMap::from([("storage".to_owned(), Quantity(bytes.to_string()))])),
        ..LimitRangeItem::default()
    }));
    LimitRange { metadata: frame.metadata("lease"), spec: Some(LimitRangeSpec { limits: items }) }
}

/// Each amount over all replicas, and `spare` times the most that one service has of it.
fn of_group(parts: &[Part<'_>], spare: u64, amounts: impl Fn(&Part<'_>) -> Amounts) -> Amounts {
    let (mut total, mut largest) = (Amounts::new(), Amounts::new());
    for part in parts {
        for (resource, amount) in amounts(part) {
            let most = largest.entry(resource.clone()).or_default();
            *most = amount.max(*most);
            let sum = total.entry(resource).or_default();
            *sum = sum.saturating_add(amount.saturating_mul(u64::from(part.service.count)));
        }
    }
    for (resource, amount) in largest {
        let sum = total.entry(resource).or_default();
        *sum = sum.saturating_add(amount.saturating_mul(spare));
    }
    total
}
