//! Nodes as they were last reckoned up, so that only those are reckoned up again of which something has changed.
//!
//! What a node was reckoned up from is kept beside the outcome. The same node, pods, pools and record are the very same
//! objects, because a watch replaces what changes; promises are compared word by word.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bidengine::{Capacity, Totals};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use manifests::decision::Takes;

use super::taken::Taken;
use super::{Offered, Promise, Sources, View, by_lease, offered, replicas, take_volumes};
use crate::inventory::offers::Pool;
use crate::inventory::record::NodeRecord;

/// What is known of nodes, by name. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<HashMap<String, Entry>>>);

#[derive(Debug)]
struct Entry {
    node: Arc<Node>,
    taken: Option<Arc<Taken>>,
    pools: Option<Arc<[Pool]>>,
    record: Option<Arc<NodeRecord>>,
    promised: Vec<(String, Takes)>,
    offered: Offered,
}

impl Entry {
    fn of(sources: &Sources<'_>) -> Self {
        let Sources { node, taken, pools, record, promised } = sources;
        Self {
            node: Arc::clone(node),
            taken: taken.cloned(),
            pools: pools.cloned(),
            record: record.cloned(),
            promised: promised.iter().map(|(lease, takes)| ((*lease).to_owned(), (*takes).clone())).collect(),
            offered: offered(sources),
        }
    }

    fn is_of(&self, sources: &Sources<'_>) -> bool {
        let Self { node, taken, pools, record, promised, offered: _ } = self;
        let ours = promised.iter().map(|(lease, takes)| (lease.as_str(), takes));
        Arc::ptr_eq(node, sources.node)
            && is_same(taken.as_ref(), sources.taken)
            && is_same(pools.as_ref(), sources.pools)
            && is_same(record.as_ref(), sources.record)
            && ours.eq(sources.promised.iter().copied())
    }
}

fn is_same<T: ?Sized>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

impl Ledger {
    /// What is free for new orders. Nodes that are not in the view are forgotten.
    #[must_use]
    pub fn free(&self, view: &View, promises: &[Promise]) -> Capacity {
        let mut capacity = Capacity {
            total: Totals { storage: view.storage.clone(), ..Totals::default() },
            storage: view.storage.clone(),
            leased_ips: view.leased_ips,
            overcommit: view.overcommit,
            ..Capacity::default()
        };
        // What belongs to no node is taken for as long as it is promised.
        for Promise { lease: _, placement } in promises {
            capacity.take_saturating(placement);
        }
        // Ports that are promised and that no Service has yet.
        let waiting = promises.iter().map(|Promise { lease, placement }| {
            placement.node_ports.saturating_sub(view.ports.leases.get(lease).copied().unwrap_or(0))
        });
        capacity.node_ports = waiting.fold(view.ports.free, u64::saturating_sub);
        capacity.segments = view.segments.left();
        let promised = replicas(promises);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut still = HashMap::with_capacity(view.nodes.len());
        for node in &view.nodes {
            let name = node.name_any();
            let sources = Sources {
                node,
                taken: view.taken.get(&name),
                pools: view.pools.get(&name),
                record: view.records.get(&name),
                promised: promised.get(name.as_str()).map(Vec::as_slice).unwrap_or_default(),
            };
            let entry = known.remove(&name).filter(|entry| entry.is_of(&sources));
            let entry = entry.unwrap_or_else(|| Entry::of(&sources));
            let places = view.segments.of_node(node.labels());
            if !places.is_empty() {
                make_volumes(&mut capacity, &places, &sources);
            }
            count(&mut capacity.total, &entry.offered);
            capacity
                .nodes
                .insert(name.clone(), bidengine::Node { segments: places, ..entry.offered.free.clone() });
            still.insert(name, entry);
        }
        *known = still;
        capacity
    }
}

/// Takes the volumes that are promised on a node and not made yet from the places where they would be made.
fn make_volumes(
    capacity: &mut Capacity,
    places: &std::collections::BTreeMap<String, String>,
    sources: &Sources<'_>,
) {
    let pools = sources.pools.map(|pools| &**pools).unwrap_or_default();
    for (lease, promised) in by_lease(pools, sources.promised) {
        let running = sources.taken.and_then(|taken| taken.leases.get(lease));
        let bound = running.map_or(0, |running| running.pods);
        take_volumes(&mut capacity.segments, places, &promised.volumes, bound);
    }
}

/// Counts a node that takes tenants among what there is in all.
fn count(total: &mut Totals, offered: &Offered) {
    let Offered { free, has, gpus } = offered;
    if !free.schedulable {
        return;
    }
    for (gpu, there) in gpus {
        match total.gpus.get_mut(gpu) {
            Some(sum) => *sum = sum.saturating_add(*there),
            None => drop(total.gpus.insert(gpu.clone(), *there)),
        }
    }
    total.cpu_milli = total.cpu_milli.saturating_add(has.cpu_milli);
    total.memory_bytes = total.memory_bytes.saturating_add(has.memory_bytes);
    total.ephemeral_bytes = total.ephemeral_bytes.saturating_add(has.ephemeral_bytes);
}
