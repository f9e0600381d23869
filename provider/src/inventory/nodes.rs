//! What is free on each node: what it has, minus what its pods take, minus what is promised to leases and not there yet.
//!
//! A promise covers replicas that are not bound to a node: as soon as a pod of the lease stands on the node, the pod counts
//! instead. So of what a lease was promised on a node and what it takes there, the larger counts. Everything saturates at
//! nothing: sources that contradict each other make less capacity, never more.

pub mod account;
pub mod ledger;
pub mod obstacles;
pub mod sums;
pub mod taken;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bidengine::Capacity;
use k8s_openapi::api::core::v1 as core;
use kube::ResourceExt;
use manifests::decision::{GpuTake, Placement, Takes};
use manifests::gpu::Gpu;
use manifests::objects::Overcommit;

use self::ledger::Ledger;
use self::obstacles::obstacles;
use self::taken::Taken;
use super::islands::{islands, take};
use super::offers::{Pool, resource_of};
use super::ports::Ports;
use super::quantity::Rounding;
use super::record::NodeRecord;
use super::requests::{GPU_RESOURCE, Resources};
use super::segments::Segments;

/// What is promised to an order or lease, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// To whom: the lease's short name, which its pods carry.
    pub lease: String,
    /// Which nodes, a replica at a time.
    pub placement: Placement,
}

/// What was read from the cluster at one moment.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The nodes whose capacity is sold.
    pub nodes: Vec<Arc<core::Node>>,
    /// What pods take of each node; nodes without pods are not there.
    pub taken: BTreeMap<String, Arc<Taken>>,
    /// The GPUs of each node, as far as they can be offered.
    pub pools: BTreeMap<String, Arc<[Pool]>>,
    /// What each node's agent says.
    pub records: BTreeMap<String, Arc<NodeRecord>>,
    /// Bytes of persistent volumes that are sold in all, by each class that is offered.
    pub storage: BTreeMap<String, u64>,
    /// Where they are made.
    pub segments: Segments,
    /// How many addresses are leased in all.
    pub leased_ips: u64,
    /// Which ports of the nodes are left.
    pub ports: Ports,
    /// How much more is sold than is kept free.
    pub overcommit: Overcommit,
}

/// What a lease was promised on a node.
#[derive(Debug, Default)]
struct Promised<'a> {
    all: Resources,
    /// GPUs of each replica, by resource name.
    gpus: Vec<(String, u64)>,
    /// Volumes of each replica, by class.
    volumes: Vec<&'a BTreeMap<String, u64>>,
}

type ByLease<'a> = BTreeMap<&'a str, Promised<'a>>;

/// Which replicas are promised on a node, each with the lease that it is of.
type Replicas<'a> = Vec<(&'a str, &'a Takes)>;

/// What is free for new orders.
pub fn free(view: &View, promises: &[Promise]) -> Capacity {
    Ledger::default().free(view, promises)
}

/// What a node has and what is free of it, but for where its volumes are made.
#[derive(Debug)]
struct Offered {
    free: bidengine::Node,
    has: Resources,
    /// How many GPUs of each model there are, taken or not.
    gpus: Vec<(Gpu, u64)>,
}

/// What one node is reckoned up from.
struct Sources<'a> {
    node: &'a Arc<core::Node>,
    taken: Option<&'a Arc<Taken>>,
    pools: Option<&'a Arc<[Pool]>>,
    record: Option<&'a Arc<NodeRecord>>,
    promised: &'a [(&'a str, &'a Takes)],
}

/// Reckons one node up.
fn offered(sources: &Sources<'_>) -> Offered {
    let Sources { node, taken, pools, record, promised } = sources;
    let nothing = Taken::default();
    let taken = taken.map_or(&nothing, |taken| taken);
    let pools = pools.map(|pools| &**pools).unwrap_or_default();
    let promised = by_lease(pools, promised);
    let has = allocatable(node);
    let mut held = taken.others.clone();
    held_by_leases(taken, &promised).values().for_each(|lease| held.add(lease));
    let mut left = has.clone();
    left.subtract(&held);
    let mut offered = bidengine::Node {
        schedulable: takes_pods(node),
        user_namespaces: has_user_namespaces(node),
        arch: architecture(node),
        cpu_milli: left.cpu_milli,
        memory_bytes: left.memory_bytes,
        ephemeral_bytes: left.ephemeral_bytes,
        pods: left.pods,
        ..bidengine::Node::default()
    };
    let mut gpus = Vec::new();
    for pool in pools {
        let is_only_one = pools.len() == 1;
        // The kubelet hands out at most what it was announced; the agent knows which of them are well.
        let there = has.gpus(&pool.resource).min(pool.healthy());
        let mut free = there.saturating_sub(held.gpus(&pool.resource));
        let unseen = record.map(|record| unseen(record, pool, taken, &promised)).unwrap_or_default();
        let islands = record.and_then(|record| {
            islands(pool, record, |namespace, name| taken.has_ended(namespace, name), &unseen)
        });
        if let Some(mut islands) = islands {
            let in_islands = islands.iter().fold(0, |sum: u64, free| sum.saturating_add(*free));
            // Of two counts that do not agree the smaller one holds.
            free = free.min(in_islands);
            take(&mut islands, in_islands.saturating_sub(free));
            offered.islands.insert(pool.gpu.clone(), islands);
        }
        if !is_only_one || !pool.is_behind_its_own_name() {
            offered.gpu_resources.insert(pool.gpu.clone(), pool.resource.clone());
        }
        offered.gpus.insert(pool.gpu.clone(), free);
        gpus.push((pool.gpu.clone(), there));
    }
    Offered { free: offered, has, gpus }
}

/// The replicas that are promised on each node.
fn replicas(promises: &[Promise]) -> BTreeMap<&str, Replicas<'_>> {
    let mut nodes: BTreeMap<&str, Replicas<'_>> = BTreeMap::new();
    for Promise { lease, placement } in promises {
        for replica in &placement.replicas {
            nodes.entry(&replica.node).or_default().push((lease, &replica.takes));
        }
    }
    nodes
}

/// What each lease was promised on a node with these pools.
fn by_lease<'a>(pools: &[Pool], replicas: &[(&'a str, &'a Takes)]) -> ByLease<'a> {
    let mut leases = ByLease::new();
    for (lease, takes) in replicas {
        let held = leases.entry(*lease).or_default();
        let gpu = takes.gpu.as_ref().filter(|gpu| gpu.count > 0);
        let gpu = gpu.map(|gpu| (resource_of_take(pools, gpu), gpu.count));
        held.all.add(&Resources {
            cpu_milli: takes.cpu_milli,
            memory_bytes: takes.memory_bytes,
            ephemeral_bytes: takes.ephemeral_bytes,
            pods: 1,
            gpus: gpu.iter().cloned().collect(),
        });
        held.gpus.extend(gpu);
        held.volumes.push(&takes.volumes);
    }
    leases
}

/// What each lease has on a node: the larger of what its pods take and what it was promised.
fn held_by_leases<'a>(taken: &'a Taken, promised: &ByLease<'a>) -> BTreeMap<&'a str, Resources> {
    let mut held: BTreeMap<&str, Resources> =
        taken.leases.iter().map(|(lease, takes)| (lease.as_str(), takes.clone())).collect();
    for (lease, promised) in promised {
        held.entry(lease).or_default().raise_to(&promised.all);
    }
    held
}

/// The GPUs of a pool that are taken without the kubelet having told of it: of replicas that are promised and not there, and
/// of pods that were just bound.
fn unseen(record: &NodeRecord, pool: &Pool, taken: &Taken, promised: &ByLease<'_>) -> Vec<u64> {
    let told: BTreeSet<(&str, &str)> = record
        .allocations
        .iter()
        .flatten()
        .filter(|held| held.resource == pool.resource)
        .map(|held| (held.namespace.as_str(), held.pod.as_str()))
        .collect();
    let just_bound = taken
        .with_gpus
        .iter()
        .filter(|pod| !told.contains(&(pod.namespace.as_str(), pod.name.as_str())))
        .map(|pod| pod.takes.gpus(&pool.resource));
    let mut unseen: Vec<u64> = just_bound.filter(|count| *count > 0).collect();
    for (lease, promised) in promised {
        let running = taken.leases.get(*lease).map_or(0, |lease| lease.gpus(&pool.resource));
        let mut missing = promised.all.gpus(&pool.resource).saturating_sub(running);
        for (_, count) in promised.gpus.iter().filter(|(resource, _)| *resource == pool.resource) {
            let count = missing.min(*count);
            unseen.extend((count > 0).then_some(count));
            missing -= count;
        }
    }
    unseen
}

/// Takes the volumes of replicas that have no pod yet: what a pod has is in the drivers' own count, or soon will be.
fn take_volumes(
    left: &mut BTreeMap<String, u64>,
    places: &BTreeMap<String, String>,
    replicas: &[&BTreeMap<String, u64>],
    bound: u64,
) {
    let bound = usize::try_from(bound).unwrap_or(usize::MAX);
    // Which replicas the pods are is not known: those with the least are taken for them.
    let mut replicas = replicas.to_vec();
    replicas.sort_by_key(|volumes| volumes.values().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes)));
    for (class, bytes) in replicas.into_iter().skip(bound).flatten() {
        if let Some(left) = places.get(class).and_then(|place| left.get_mut(place)) {
            *left = left.saturating_sub(*bytes);
        }
    }
}

/// The resource by which a promised pool is handed out on its node: as it was promised, or as it is now, and where it is gone
/// as its name implies.
fn resource_of_take(pools: &[Pool], take: &GpuTake) -> String {
    if let Some(resource) = &take.resource {
        return resource.clone();
    }
    let Ok(gpu) = take.pool.parse::<Gpu>() else { return GPU_RESOURCE.to_owned() };
    let pool = pools.iter().find(|pool| pool.gpu == gpu);
    pool.map_or_else(|| resource_of(&gpu), |pool| pool.resource.clone())
}

fn allocatable(node: &core::Node) -> Resources {
    let list = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    list.map(|list| Resources::read(list, Rounding::Down, 0)).unwrap_or_default()
}

/// Whether a tenant's pod could be placed here.
pub fn takes_pods(node: &core::Node) -> bool {
    obstacles(node).next().is_none()
}

/// Whether the kubelet of the node reports well, as the control plane sees it.
pub fn is_ready(node: &core::Node) -> bool {
    node.status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whether the node's default runtime gives pods user namespaces.
pub fn has_user_namespaces(node: &core::Node) -> bool {
    node.status
        .iter()
        .flat_map(|status| status.runtime_handlers.iter().flatten())
        // The default handler has no name.
        .filter(|handler| handler.name.as_deref().unwrap_or_default().is_empty())
        .any(|handler| handler.features.as_ref().and_then(|features| features.user_namespaces) == Some(true))
}

fn architecture(node: &core::Node) -> String {
    node.status
        .as_ref()
        .and_then(|status| status.node_info.as_ref())
        .map(|info| info.architecture.clone())
        .filter(|arch| !arch.is_empty())
        .unwrap_or_else(|| "amd64".to_owned())
}

/// Drops what nobody reads of a node: the list of images alone is often most of it.
pub fn trim_node(node: &mut core::Node) {
    node.annotations_mut().clear();
    if let Some(status) = &mut node.status {
        status.images = None;
        status.volumes_in_use = None;
        status.volumes_attached = None;
    }
}

/// Drops what nobody reads of a pod, among it everything that could be a tenant's secret.
pub fn trim_pod(pod: &mut core::Pod) {
    pod.annotations_mut().clear();
    let Some(spec) = &mut pod.spec else { return };
    spec.volumes = None;
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        container.env = None;
        container.env_from = None;
        container.command = None;
        container.args = None;
        container.volume_mounts = None;
    }
}

#[cfg(test)]
mod tests {
    use manifests::decision::Replica;
    use manifests::objects::labels;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::inventory::requests::{effective_requests, has_ended};

    fn node(name: &str, changes: Value) -> Arc<core::Node> {
        let mut node = json!({
            "metadata": {"name": name},
            "spec": {},
            "status": {
                "allocatable": {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "100Gi", "pods": "110", GPU_RESOURCE: "4"},
                "conditions": [{"type": "Ready", "status": "True"}],
                "nodeInfo": {
                    "architecture": "arm64", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "",
                    "kubeProxyVersion": "", "kubeletVersion": "", "machineID": "", "operatingSystem": "linux",
                    "osImage": "", "systemUUID": "",
                },
                "runtimeHandlers": [{"name": "", "features": {"userNamespaces": true}}],
            },
        });
        merge(&mut node, changes);
        Arc::new(serde_json::from_value(node).expect("a node"))
    }

    fn merge(into: &mut Value, from: Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (key, value) in from {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from,
        }
    }

    fn pod(name: &str, node: &str, cpu: &str, gpus: u64, lease: Option<u16>, phase: &str) -> Arc<core::Pod> {
        let labels = lease.map(|lease| json!({labels::LEASE: format!("lease{lease}")})).unwrap_or_default();
        let pod = json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {"nodeName": node, "containers": [{
                "name": "c", "resources": {"requests": {"cpu": cpu, "memory": "1Gi", GPU_RESOURCE: gpus.to_string()}},
            }]},
            "status": {"phase": phase},
        });
        Arc::new(serde_json::from_value(pod).expect("a pod"))
    }

    /// What `free` reads of pods.
    fn seen(pods: Vec<Arc<core::Pod>>) -> BTreeMap<String, Arc<Taken>> {
        let mut nodes: BTreeMap<String, Vec<Arc<core::Pod>>> = BTreeMap::new();
        for pod in pods.into_iter().filter(|pod| !has_ended(pod)) {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
            nodes.entry(node).or_default().push(pod);
        }
        let taken = |pods: Vec<Arc<core::Pod>>| Arc::new(Taken::of(pods.iter().map(|pod| &**pod)));
        nodes.into_iter().map(|(node, pods)| (node, taken(pods))).collect()
    }

    fn promise(oseq: u16, node: &str, cpu_milli: u64, gpus: u64, replicas: usize) -> Promise {
        let gpu =
            (gpus > 0).then(|| GpuTake { pool: "h100-80Gi-sxm".to_owned(), count: gpus, resource: None });
        let takes = Takes { cpu_milli, memory_bytes: 1 << 30, ephemeral_bytes: 0, gpu, ..Takes::default() };
        let replica = Replica { unit: 1, node: node.to_owned(), takes };
        Promise {
            lease: format!("lease{oseq}"),
            placement: Placement { replicas: vec![replica; replicas], ..Placement::default() },
        }
    }

    fn h100() -> Gpu {
        "h100-80Gi-sxm".parse().expect("a pool")
    }

    fn pool(healthy: u64) -> Pool {
        let uuids = (0..healthy).map(|number| format!("GPU-{number}")).collect();
        Pool { gpu: h100(), resource: GPU_RESOURCE.to_owned(), uuids }
    }

    fn view(pods: Vec<Arc<core::Pod>>, healthy: u64) -> View {
        let pools = BTreeMap::from([("n1".to_owned(), Arc::from([pool(healthy)]))]);
        View { nodes: vec![node("n1", json!({}))], taken: seen(pods), pools, ..View::default() }
    }

    fn left(view: &View, promises: &[Promise]) -> (u64, u64, u64) {
        let capacity = free(view, promises);
        let node = &capacity.nodes["n1"];
        (node.cpu_milli, node.memory_bytes >> 30, node.gpus.get(&h100()).copied().unwrap_or(0))
    }

    #[test]
    fn what_runs_and_what_is_promised_is_not_free() {
        let others = || pod("a", "n1", "500m", 0, None, "Running");
        assert_eq!(left(&view(vec![others()], 4), &[]), (3500, 7, 4));
        assert_eq!(left(&view(vec![others()], 4), &[promise(1, "n1", 1000, 1, 2)]), (1500, 5, 2));
        assert_eq!(left(&view(vec![others()], 4), &[promise(1, "elsewhere", 1000, 1, 2)]), (3500, 7, 4));
    }

    #[test]
    fn a_bound_pod_counts_instead_of_its_promise() {
        let promises = [promise(1, "n1", 1000, 1, 2)];
        let one = view(vec![pod("a", "n1", "1", 1, Some(1), "Running")], 4);
        assert_eq!(left(&one, &promises), (2000, 6, 2));
        let both = view(
            vec![pod("a", "n1", "1", 1, Some(1), "Pending"), pod("b", "n1", "1", 1, Some(1), "Running")],
            4,
        );
        assert_eq!(left(&both, &promises), (2000, 6, 2));
        let surge = view(
            vec![pod("a", "n1", "2", 1, Some(1), "Running"), pod("b", "n1", "1", 1, Some(1), "Running")],
            4,
        );
        assert_eq!(left(&surge, &promises), (1000, 6, 2), "what runs beyond the promise counts too");
        let stranger = view(vec![pod("a", "n1", "1", 1, Some(2), "Running")], 4);
        assert_eq!(left(&stranger, &promises), (1000, 5, 1), "another lease's pod leaves the promise open");
    }

    #[test]
    fn ended_pods_and_pods_of_one_name_in_two_namespaces_are_told_apart() {
        let ended =
            view(vec![pod("a", "n1", "1", 1, None, "Succeeded"), pod("b", "n1", "1", 1, None, "Failed")], 4);
        assert_eq!(left(&ended, &[]), (4000, 8, 4));
        let twins =
            view(vec![pod("a", "n1", "1", 0, None, "Running"), pod("a", "n1", "1", 0, None, "Running")], 4);
        assert_eq!(left(&twins, &[]), (2000, 6, 4));
    }

    #[test]
    fn only_healthy_devices_that_the_kubelet_has_too_are_free() {
        assert_eq!(left(&view(vec![], 3), &[]).2, 3);
        assert_eq!(left(&view(vec![], 8), &[]).2, 4);
        let running = view(vec![pod("a", "n1", "1", 2, Some(1), "Running")], 1);
        assert_eq!(
            left(&running, &[promise(1, "n1", 1000, 2, 1)]).2,
            0,
            "a device that fails in use takes none from others"
        );
        let mut unreported = view(vec![], 4);
        unreported.pools.clear();
        assert!(free(&unreported, &[]).nodes["n1"].gpus.is_empty());
    }

    proptest! {
        /// Two pods and two promises of whatever size, of two leases or nobody: what is left is what is there minus the larger
        /// of running and promised for each lease, and nothing once that is more than is there.
        #[test]
        fn free_capacity_is_never_below_nothing_and_never_counts_twice(
            pods in prop::collection::vec((0u16..3, 0u64..6_000, 0u64..6), 0..5),
            promises in prop::collection::vec((1u16..3, 0u64..6_000, 0u64..6), 0..3),
            healthy in 0u64..6,
        ) {
            let lease = |owner: u16| (owner > 0).then_some(owner);
            let running = pods.iter().map(|(owner, cpu, gpus)| pod("p", "n1", &format!("{cpu}m"), *gpus, lease(*owner), "Running"));
            let view = view(running.collect(), healthy);
            let promised: Vec<_> = promises.iter().map(|(owner, cpu, gpus)| promise(*owner, "n1", *cpu, *gpus, 1)).collect();
            let (cpu, _, gpus) = left(&view, &promised);
            let total = free(&view, &promised).total;
            prop_assert_eq!((total.cpu_milli, total.gpus.values().sum()), (4_000, healthy.min(4)), "whoever has it");

            let sum = |of: &[(u16, u64, u64)], owner, pick: fn(&(u16, u64, u64)) -> u64| {
                of.iter().filter(|(other, _, _)| *other == owner).map(pick).sum::<u64>()
            };
            let expected = |there: u64, pick: fn(&(u16, u64, u64)) -> u64| {
                let held = (1..3).map(|owner| sum(&pods, owner, pick).max(sum(&promises, owner, pick)));
                there.saturating_sub(sum(&pods, 0, pick) + held.sum::<u64>())
            };
            prop_assert_eq!(cpu, expected(4_000, |(_, cpu, _)| *cpu));
            prop_assert_eq!(gpus, expected(healthy.min(4), |(_, _, gpus)| *gpus));
        }
    }

    /// A record of a node whose kubelet gave these devices to these pods.
    fn record(islands: &Value, held: &[(&str, &str, &[&str])]) -> Arc<NodeRecord> {
        let allocations: Vec<Value> = held
            .iter()
            .map(|(pod, resource, uuids)| {
                json!({"namespace": "", "pod": pod, "container": "c", "resource": resource, "uuids": uuids})
            })
            .collect();
        let record = json!({
            "version": 1, "node": "n1", "observed_at": 0, "period_s": 10, "devices": [], "allocations": allocations,
            "driver": {"state": "absent", "reason": ""}, "problems": [], "topology": {"islands": islands, "pcie": []},
        });
        Arc::new(serde_json::from_value(record).expect("a record"))
    }

    #[test]
    fn islands_hold_what_is_free_of_them() {
        let two = json!([["GPU-0", "GPU-1"], ["GPU-2", "GPU-3"]]);
        let left = |pods: Vec<Arc<core::Pod>>, held: &[(&str, &str, &[&str])], promises: &[Promise]| {
            let records = BTreeMap::from([("n1".to_owned(), record(&two, held))]);
            let capacity = free(&View { records, ..view(pods, 4) }, promises);
            let node = &capacity.nodes["n1"];
            (node.gpus[&h100()], node.islands[&h100()].clone())
        };
        assert_eq!(left(vec![], &[], &[]), (4, vec![2, 2]));
        let one = || pod("a", "n1", "1", 1, Some(1), "Running");
        let held: &[(&str, &str, &[&str])] = &[("a", GPU_RESOURCE, &["GPU-0"])];
        assert_eq!(left(vec![one()], held, &[]), (3, vec![2, 1]));
        assert_eq!(
            left(vec![one()], held, &[promise(1, "n1", 1, 1, 2)]),
            (2, vec![2, 0]),
            "one is still to come"
        );
        assert_eq!(
            left(vec![one()], held, &[promise(2, "n1", 1, 2, 1)]),
            (1, vec![1, 0]),
            "in the island that holds it"
        );
        assert_eq!(left(vec![one()], &[], &[]), (3, vec![2, 1]), "bound, and the kubelet has not told yet");
        assert_eq!(left(vec![], held, &[]), (3, vec![2, 1]), "the kubelet tells of a pod that we do not see");
    }

    #[test]
    fn each_model_of_a_node_is_counted_by_its_own_resource() {
        let small: Gpu = "h100.mig-1g.10gb-10Gi-sxm".parse().expect("a pool");
        let slices = Pool {
            gpu: small.clone(),
            resource: "nvidia.com/mig-1g.10gb".to_owned(),
            uuids: ["MIG-0", "MIG-1", "MIG-2"].map(str::to_owned).into(),
        };
        let mut view = view(vec![pod("a", "n1", "1", 1, None, "Running")], 2);
        let announced = json!({"status": {"allocatable": {"nvidia.com/mig-1g.10gb": "3"}}});
        view.nodes = vec![node("n1", announced)];
        view.pools.insert("n1".to_owned(), [pool(2), slices].into());
        let mut promised = promise(1, "n1", 1, 2, 1);
        let take = promised.placement.replicas[0].takes.gpu.as_mut().expect("GPUs");
        take.pool = small.to_string();
        let capacity = free(&view, std::slice::from_ref(&promised));
        let node = &capacity.nodes["n1"];
        assert_eq!((node.gpus[&h100()], node.gpus[&small]), (1, 1));
        assert_eq!((capacity.total.gpus[&h100()], capacity.total.gpus[&small]), (2, 3));
        let names: Vec<&str> = node.gpu_resources.values().map(String::as_str).collect();
        assert_eq!(names, [GPU_RESOURCE, "nvidia.com/mig-1g.10gb"], "the node's label cannot name both");
        let take = promised.placement.replicas[0].takes.gpu.as_mut().expect("GPUs");
        take.resource = Some(GPU_RESOURCE.to_owned());
        let node = &free(&view, &[promised]).nodes["n1"];
        assert_eq!((node.gpus[&h100()], node.gpus[&small]), (0, 3), "as it was promised");
        view.pools.insert("n1".to_owned(), [pool(2)].into());
        assert!(free(&view, &[]).nodes["n1"].gpu_resources.is_empty(), "one pool behind its own name");
        let single = Pool {
            resource: GPU_RESOURCE.to_owned(),
            gpu: small.clone(),
            uuids: ["MIG-0".to_owned()].into(),
        };
        view.pools.insert("n1".to_owned(), [single].into());
        assert_eq!(free(&view, &[]).nodes["n1"].gpu_resources[&small], GPU_RESOURCE);
    }

    #[test]
    fn a_card_that_nobody_knows_is_sold_when_it_has_a_price() {
        let unknown: Gpu = "unknown-10de3fff-96Gi".parse().expect("a pool");
        let mut view = view(vec![], 2);
        let pool = Pool { gpu: unknown.clone(), ..pool(2) };
        view.pools.insert("n1".to_owned(), [pool].into());
        let capacity = free(&view, &[]);
        assert_eq!(capacity.nodes["n1"].gpus[&unknown], 2);
        let priced = |models: &str| -> bool {
            let tariff: bidengine::Tariff = serde_yaml::from_str(&format!(
                "{{cpuThread: '1', memoryGiB: '1', ephemeralGiB: '1', endpoint: '1', gpu: [{models}]}}"
            ))
            .expect("a tariff");
            tariff.gpu_price(&unknown).is_some()
        };
        assert!(!priced("{model: '*', monthly: '1'}"), "nobody knows what it would be sold for");
        assert!(!priced("{model: h100, monthly: '1'}"));
        assert!(priced("{model: unknown-10de3fff, monthly: '1'}"));
    }

    #[test]
    fn pods_ports_and_places_of_volumes_are_counted() {
        let place = json!({
            "metadata": {"name": "rack", "namespace": "kube-system"}, "storageClassName": "local", "nodeTopology": {},
            "capacity": "100",
        });
        let sold = super::super::storage::Sold { name: "local".to_owned(), limit_bytes: 0, id_mapped: true };
        let place = Arc::new(serde_json::from_value(place).expect("a place"));
        let segments = Segments::of(&BTreeMap::from([("beta3".to_owned(), sold)]), &[place]);
        let ports = Ports { free: 10, leases: BTreeMap::from([("lease1".to_owned(), 2)]) };
        let mut promised = promise(1, "n1", 1, 0, 2);
        promised.placement.node_ports = 3;
        for replica in &mut promised.placement.replicas {
            replica.takes.volumes = BTreeMap::from([("beta3".to_owned(), 30)]);
        }
        let left = |pods: Vec<Arc<core::Pod>>| {
            let (segments, ports) = (segments.clone(), ports.clone());
            let capacity = free(&View { segments, ports, ..view(pods, 0) }, std::slice::from_ref(&promised));
            let node = &capacity.nodes["n1"];
            assert_eq!(node.segments["beta3"], "kube-system/rack");
            (node.pods, capacity.node_ports, capacity.segments["kube-system/rack"])
        };
        assert_eq!(left(vec![]), (108, 9, 40), "one port has no Service yet, and neither volume is made");
        let own = || pod("a", "n1", "1", 0, Some(1), "Running");
        let other = pod("b", "n1", "1", 0, None, "Pending");
        assert_eq!(
            left(vec![own(), other]),
            (107, 9, 70),
            "the driver counts the volume of the pod that is there"
        );
        assert_eq!(left(vec![own(), own(), own()]), (107, 9, 100));
    }

    /// A pod of any kind, written as the API server would.
    fn any_pod() -> impl Strategy<Value = Value> {
        let requests = || (0u64..3_000, 0u64..4, 0u64..4);
        let container = |(cpu, gib, gpus): (u64, u64, u64)| {
            json!({"name": "c", "resources": {
                "requests": {"cpu": format!("{cpu}m"), "memory": format!("{gib}Gi")}, "limits": {GPU_RESOURCE: gpus.to_string()},
            }})
        };
        let init = (requests(), any::<bool>()).prop_map(move |(of, sidecar)| {
            let mut container = container(of);
            if sidecar {
                container["restartPolicy"] = json!("Always");
            }
            container
        });
        let containers = prop::collection::vec(requests().prop_map(container), 0..3);
        let phases = prop::sample::select(vec!["Pending", "Running", "Succeeded", "Failed", "Unknown"]);
        let place = (0u8..2, 0u8..3, prop::option::of(0u8..3), prop::option::of(1u16..4), any::<bool>());
        let parts =
            (place, containers, prop::collection::vec(init, 0..3), prop::option::of(0u64..500), phases);
        parts.prop_map(|((namespace, name, node, lease, ending), containers, init, overhead, phase)| {
            let mut pod = json!({
                "metadata": {"name": format!("p{name}"), "namespace": format!("ns{namespace}"), "labels": {}},
                "spec": {"containers": containers, "initContainers": init},
                "status": {"phase": phase},
            });
            if let Some(node) = node {
                pod["spec"]["nodeName"] = json!(format!("n{node}"));
            }
            if let Some(lease) = lease {
                pod["metadata"]["labels"][labels::LEASE] = json!(format!("lease{lease}"));
            }
            if let Some(overhead) = overhead {
                pod["spec"]["overhead"] = json!({"cpu": format!("{overhead}m")});
            }
            if ending {
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            pod
        })
    }

    /// What happens in a cluster, one thing after the other.
    #[derive(Debug, Clone)]
    enum Event {
        Appears(Value),
        Vanishes(usize),
        Ends(usize),
        Promised(u16, u8, u64, u64, usize),
        NodeChanges(u8, bool, u64),
        Told(u8, Vec<(u8, Vec<u8>)>),
    }

    fn event() -> impl Strategy<Value = Event> {
        let held = prop::collection::vec((0u8..3, prop::collection::vec(0u8..6, 0..4)), 0..3);
        prop_oneof![
            4 => any_pod().prop_map(Event::Appears),
            1 => (0usize..8).prop_map(Event::Vanishes),
            1 => (0usize..8).prop_map(Event::Ends),
            2 => (1u16..4, 0u8..3, 0u64..3_000, 0u64..4, 0usize..3)
                .prop_map(|(lease, node, cpu, gpus, replicas)| Event::Promised(lease, node, cpu, gpus, replicas)),
            1 => (0u8..2, any::<bool>(), 0u64..7).prop_map(|(node, is_there, well)| Event::NodeChanges(node, is_there, well)),
            1 => (0u8..2, held).prop_map(|(node, held)| Event::Told(node, held)),
        ]
    }

    /// The cluster after some events.
    #[derive(Debug, Default, Clone)]
    struct Cluster {
        pods: Vec<Value>,
        promises: Vec<Promise>,
        nodes: BTreeMap<u8, u64>,
        records: BTreeMap<u8, Arc<NodeRecord>>,
    }

    impl Cluster {
        fn happens(&mut self, event: Event) {
            match event {
                Event::Appears(pod) => self.pods.push(pod),
                Event::Vanishes(at) if at < self.pods.len() => drop(self.pods.remove(at)),
                Event::Ends(at) if at < self.pods.len() => self.pods[at]["status"]["phase"] = json!("Failed"),
                Event::Vanishes(_) | Event::Ends(_) => {}
                Event::Promised(lease, node, cpu, gpus, replicas) => {
                    self.promises.push(promise(lease, &format!("n{node}"), cpu, gpus, replicas));
                }
                Event::NodeChanges(node, true, well) => drop(self.nodes.insert(node, well)),
                Event::NodeChanges(node, false, _) => drop(self.nodes.remove(&node)),
                Event::Told(node, held) => {
                    let uuids = |held: &[u8]| held.iter().map(|n| format!("GPU-{n}")).collect::<Vec<_>>();
                    let told: Vec<(String, Vec<String>)> =
                        held.iter().map(|(pod, held)| (format!("p{pod}"), uuids(held))).collect();
                    let mut record =
                        (*record(&json!([["GPU-0", "GPU-1"], ["GPU-2", "GPU-3", "GPU-4"]]), &[])).clone();
                    record.allocations = Some(
                        told.into_iter()
                            .map(|(pod, uuids)| crate::inventory::podresources::Allocation {
                                namespace: "ns0".to_owned(),
                                pod,
                                container: "c".to_owned(),
                                resource: GPU_RESOURCE.to_owned(),
                                uuids,
                            })
                            .collect(),
                    );
                    self.records.insert(node, Arc::new(record));
                }
            }
        }

        /// What is read of it; what has not changed is the very same object as before.
        fn view(&self, before: &View) -> View {
            let pods: Vec<Arc<core::Pod>> = self
                .pods
                .iter()
                .map(|pod| Arc::new(serde_json::from_value(pod.clone()).expect("a pod")))
                .collect();
            let name = |node: &u8| format!("n{node}");
            let same_node = |node: Arc<core::Node>| {
                before.nodes.iter().find(|before| **before == node).cloned().unwrap_or(node)
            };
            let taken = seen(pods).into_iter().map(|(node, taken)| {
                let same = before.taken.get(&node).filter(|before| **before == taken).cloned();
                (node, same.unwrap_or(taken))
            });
            let pools = self.nodes.iter().map(|(at, well)| {
                let pools: Arc<[Pool]> = Arc::from([pool(*well)]);
                let same = before.pools.get(&name(at)).filter(|before| **before == pools).cloned();
                (name(at), same.unwrap_or(pools))
            });
            View {
                nodes: self.nodes.keys().map(|at| same_node(node(&name(at), json!({})))).collect(),
                taken: taken.collect(),
                pools: pools.collect(),
                records: self.records.iter().map(|(at, record)| (name(at), Arc::clone(record))).collect(),
                ..View::default()
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

        /// Whatever happened, nothing is free that is not there, islands hold exactly what is free, and what takes something
        /// never makes more of anything. What is remembered of nodes that have not changed is what would be reckoned up.
        #[test]
        fn free_is_between_nothing_and_all_for_any_history(events in prop::collection::vec(event(), 0..24)) {
            let (mut cluster, ledger) = (Cluster::default(), Ledger::default());
            let mut view = cluster.view(&View::default());
            for event in events {
                let before = ledger.free(&view, &cluster.promises);
                let takes = matches!(event, Event::Appears(_) | Event::Promised(..));
                cluster.happens(event);
                view = cluster.view(&view);
                let after = ledger.free(&view, &cluster.promises);
                prop_assert_eq!(&after, &free(&view, &cluster.promises));
                for (name, node) in &after.nodes {
                    let there = cluster.nodes[&name[1..].parse::<u8>().expect("a node of ours")].min(4);
                    let gpus = node.gpus[&h100()];
                    prop_assert!(node.cpu_milli <= 4_000 && node.memory_bytes <= 8 << 30 && node.pods <= 110);
                    prop_assert!(node.ephemeral_bytes <= 100 << 30 && gpus <= there, "{gpus} of {there}");
                    if let Some(islands) = node.islands.get(&h100()) {
                        prop_assert_eq!(islands.iter().sum::<u64>(), gpus);
                    }
                    let Some(was) = before.nodes.get(name).filter(|_| takes) else { continue };
                    prop_assert!(node.cpu_milli <= was.cpu_milli && node.memory_bytes <= was.memory_bytes);
                    prop_assert!(node.pods <= was.pods && gpus <= was.gpus[&h100()]);
                }
            }
        }
    }

    #[test]
    fn account_of_a_node_adds_up_to_what_is_free_and_names_who_has_the_rest() {
        let pods = vec![
            pod("a", "n1", "500m", 0, None, "Running"),
            pod("b", "n1", "1", 1, Some(1), "Running"),
            pod("c", "elsewhere", "1", 1, Some(1), "Running"),
        ];
        let promises = [promise(1, "n1", 1000, 1, 2), promise(2, "n1", 250, 0, 1)];
        let view = view(pods, 4);
        let account = account::account(&view, &promises, "n1").expect("is sold");
        assert_eq!((account.has.cpu_milli, account.others.cpu_milli), (4000, 500));
        let leases: Vec<_> = account
            .leases
            .iter()
            .map(|(lease, of)| (lease.as_str(), of.runs.cpu_milli, of.promised.cpu_milli, of.holds.cpu_milli))
            .collect();
        assert_eq!(leases, [("lease1", 1000, 2000, 2000), ("lease2", 0, 250, 250)]);
        let mut left = account.has.clone();
        left.subtract(&account.others);
        account.leases.values().for_each(|lease| left.subtract(&lease.holds));
        let free = free(&view, &promises);
        assert_eq!((left.cpu_milli, left.memory_bytes), (1250, free.nodes["n1"].memory_bytes));
        assert_eq!(left.cpu_milli, free.nodes["n1"].cpu_milli);
        assert_eq!(account.obstacles, Vec::<String>::new());
        assert_eq!(account::account(&view, &promises, "elsewhere"), None);
    }

    #[test]
    fn everything_that_keeps_tenants_away_is_named() {
        let node = node(
            "n1",
            json!({
                "spec": {"unschedulable": true, "taints": [
                    {"key": "k", "effect": "NoSchedule"}, {"key": GPU_RESOURCE, "effect": "NoSchedule"},
                    {"key": "soft", "effect": "PreferNoSchedule"},
                ]},
                "status": {"conditions": [{"type": "Ready", "status": "False"}]},
            }),
        );
        let told: Vec<String> = obstacles(&node).map(|obstacle| obstacle.to_string()).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(
            told[0].contains("not ready") && told[1].contains("uncordon") && told[2].contains("k:NoSchedule")
        );
    }

    #[test]
    fn a_node_that_is_being_deleted_takes_no_tenants_and_says_so() {
        let node = node("n1", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
        let told: Vec<String> = obstacles(&node).map(|obstacle| obstacle.to_string()).collect();
        assert_eq!(told, ["it is being deleted"]);
        assert!(!takes_pods(&node));
    }

    #[test]
    fn nodes_that_take_no_tenants_are_told_apart() {
        let gpu_taint = json!({"spec": {"taints": [{"key": GPU_RESOURCE, "effect": "NoSchedule"}]}});
        for (case, changes, expected) in [
            ("plain", json!({}), true),
            ("cordoned", json!({"spec": {"unschedulable": true}}), false),
            ("not ready", json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}), false),
            ("tainted", json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}), false),
            (
                "preferred elsewhere",
                json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}}),
                true,
            ),
            ("for GPUs", gpu_taint, true),
        ] {
            assert_eq!(takes_pods(&node("n1", changes)), expected, "{case}");
        }
        let capacity = free(&View { nodes: vec![node("n1", json!({}))], ..View::default() }, &[]);
        assert_eq!(
            (capacity.nodes["n1"].arch.as_str(), capacity.nodes["n1"].user_namespaces),
            ("arm64", true)
        );
    }

    #[test]
    fn a_trimmed_pod_holds_no_secret_and_takes_the_same() {
        let mut pod: core::Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "annotations": {"a": "hunter2"}},
            "spec": {"containers": [{
                "name": "c", "env": [{"name": "P", "value": "hunter2"}], "args": ["hunter2"], "command": ["hunter2"],
                "resources": {"requests": {"cpu": "1"}},
            }]},
        }))
        .expect("a pod");
        let before = effective_requests(&pod);
        trim_pod(&mut pod);
        assert_eq!(effective_requests(&pod), before);
        assert!(!serde_json::to_string(&pod).expect("json").contains("hunter2"));
    }
}
