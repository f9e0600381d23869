//! The lease's namespace, and the quota that holds it to what was bought.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, ResourceQuota, ResourceQuotaSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::manifest::Group;
use crate::objects::storage::Volumes;
use crate::objects::workload::{GPU_RESOURCE, amounts};
use crate::objects::{Frame, service};

/// The namespace. Pods that need more than the `baseline` profile of Pod Security are refused there.
pub(super) fn namespace(frame: &Frame<'_>) -> Namespace {
    let mut metadata = frame.metadata(frame.namespace.as_str());
    metadata.namespace = None;
    let labels = metadata.labels.get_or_insert_default();
    for (mode, profile) in [("enforce", "baseline"), ("warn", "restricted")] {
        labels.insert(format!("pod-security.kubernetes.io/{mode}"), profile.to_owned());
    }
    Namespace { metadata, ..Namespace::default() }
}

/// What the whole group may take: its total and one more replica of the largest service, because a pod that is ending
/// still counts while its successor waits.
pub(super) fn quota(frame: &Frame<'_>, group: &Group, volumes: &[Volumes]) -> ResourceQuota {
    let mut total = BTreeMap::new();
    let mut largest: BTreeMap<&str, u64> = BTreeMap::new();
    let mut pods = 1;
    for (service, volumes) in group.services.iter().zip(volumes) {
        pods += u64::from(service.count);
        for (resource, amount) in amounts(service, volumes) {
            let sum: &mut u64 = total.entry(resource).or_default();
            *sum = sum.saturating_add(amount.saturating_mul(u64::from(service.count)));
            let most = largest.entry(resource).or_default();
            *most = amount.max(*most);
        }
    }
    let mut hard = BTreeMap::new();
    for (resource, total) in total {
        let amount = total.saturating_add(largest[resource]);
        let text = if resource == "cpu" { format!("{amount}m") } else { amount.to_string() };
        // Extended resources have no limit that differs from their request.
        let kinds: &[&str] = if resource == GPU_RESOURCE { &["requests"] } else { &["requests", "limits"] };
        for kind in kinds {
            hard.insert(format!("{kind}.{resource}"), Quantity(text.clone()));
        }
    }
    let node_ports: usize = group.services.iter().map(|service| service::node_ports(service).len()).sum();
    for (resource, count) in [
        ("pods", pods),
        ("services.nodeports", u64::try_from(node_ports).unwrap_or(u64::MAX)),
        ("services.loadbalancers", 0),
        ("persistentvolumeclaims", 0),
    ] {
        hard.insert(resource.to_owned(), Quantity(count.to_string()));
    }
    ResourceQuota {
        metadata: frame.metadata("lease"),
        spec: Some(ResourceQuotaSpec { hard: Some(hard), ..ResourceQuotaSpec::default() }),
        ..ResourceQuota::default()
    }
}
