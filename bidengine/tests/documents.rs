//! Documents that people wrote, decided against one large hall with every model they name and a full tariff.
//!
//! The collection lives beside the workspace; without it the test says so loudly and proves nothing.

#[path = "support/order.rs"]
mod order;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use bidengine::{Capacity, Circumstances, Node, Policy, Tariff, decide};
use manifests::decision::Decision;
use manifests::gpu::{Gpu, GpuRequest};
use manifests::group::{OrderSpec, SpecUnit};
use manifests::resources::EndpointKind;
use order::order;
use serde_json::json;

/// Every model that the documents ask for, but none of the wishes that name nothing.
const POOLS: [&str; 24] = [
    "a10-24Gi-pcie",
    "a100-80Gi-sxm",
    "a100-80Gi-pcie",
    "a40-48Gi-pcie",
    "gtx1080-8Gi-pcie",
    "gtx1080ti-11Gi-pcie",
    "gtx1650ti-4Gi-pcie",
    "h100-80Gi-sxm",
    "h200-141Gi-sxm",
    "k80-12Gi-pcie",
    "p100-16Gi-pcie",
    "p4-8Gi-pcie",
    "p40-24Gi-pcie",
    "rtx2070-8Gi-pcie",
    "rtx3060-12Gi-pcie",
    "rtx3090-24Gi-pcie",
    "rtx3090ti-24Gi-pcie",
    "rtx4080-16Gi-pcie",
    "rtx4090-24Gi-pcie",
    "rtx5090-32Gi-pcie",
    "rtx8000-48Gi-pcie",
    "rtxa6000-48Gi-pcie",
    "t4-16Gi-pcie",
    "v100-32Gi-sxm",
];

/// A rack of eight GPUs for each model, and plain nodes; large, as no document may fail for want of room.
fn hall() -> Capacity {
    let node = |gpus: BTreeMap<_, _>| Node {
        schedulable: true,
        cpu_milli: 384_000,
        memory_bytes: 4 << 40,
        ephemeral_bytes: 100 << 40,
        gpus,
        ..Node::default()
    };
    let gpu = |pool: &str| pool.parse::<Gpu>().expect("a label");
    let mut nodes = BTreeMap::new();
    for pool in POOLS {
        for copy in 0..2 {
            nodes.insert(format!("{pool}-{copy}"), node(BTreeMap::from([(gpu(pool), 8)])));
        }
    }
    for copy in 0..8 {
        nodes.insert(format!("plain-{copy}"), node(BTreeMap::new()));
    }
    // Of the classes that the language names, one is not offered.
    let storage = ["default", "beta2", "beta3"].map(|class| (class.to_owned(), 1 << 50));
    Capacity { nodes, storage: BTreeMap::from(storage), leased_ips: 16, ..Capacity::default() }
}

fn tariff() -> Tariff {
    serde_json::from_value(json!({
        "cpuThread": "1.60",
        "memoryGiB": "0.80",
        "ephemeralGiB": "0.02",
        "endpoint": "0.05",
        "ip": "5",
        "storageGiB": {"ram": "0.80", "default": "0.02", "beta2": "0.03", "beta3": "0.04"},
        "gpu": [
            {"model": "h200", "monthly": "3248.50"},
            {"model": "h100", "monthly": "1978.30"},
            {"model": "a100", "ram": "80Gi", "monthly": "1248.30"},
            {"model": "rtx5090", "monthly": "489.10"},
            {"model": "rtx4090", "monthly": "284.70"},
            {"model": "*", "monthly": "130"},
        ],
        "minimumMonthly": "1.00",
    }))
    .expect("is a tariff")
}

/// What a group wants that is nowhere in the hall, found by looking at each thing by itself.
fn lacking(spec: &OrderSpec, hall: &Capacity) -> Option<String> {
    let pools: BTreeSet<&Gpu> = hall.nodes.values().flat_map(|node| node.gpus.keys()).collect();
    let most = |of: fn(&Node) -> u64| hall.nodes.values().map(of).max().unwrap_or(0);
    let mut addresses = BTreeSet::new();
    for SpecUnit { resource, count } in spec.resources.iter().filter(|unit| unit.count > 0) {
        for volume in resource.storage.iter().filter(|volume| volume.persistent()) {
            let class = volume.claimed_class();
            let sold = hall.storage.get(class).copied().unwrap_or(0);
            if sold / u64::from(*count) < volume.size.0 {
                return Some(format!("{count} volumes of {} bytes of class {class}", volume.size.0));
            }
        }
        if resource.gpu.units.0 > 0 {
            let request = GpuRequest::from_attributes(&resource.gpu.attributes).expect("is understood");
            if !pools.iter().any(|pool| request.matches(pool)) {
                return Some(format!("a GPU {request}"));
            }
            let fits = |node: &Node| {
                node.gpus.iter().any(|(pool, free)| request.matches(pool) && *free >= resource.gpu.units.0)
            };
            if !hall.nodes.values().any(fits) {
                return Some(format!("{} GPUs {request} on one node", resource.gpu.units.0));
            }
        }
        if resource.cpu.units.0 > most(|node| node.cpu_milli)
            || resource.memory.size.0 > most(|node| node.memory_bytes)
        {
            return Some("a larger node".to_owned());
        }
        let leased = resource.endpoints.iter().filter(|endpoint| endpoint.kind == EndpointKind::LeasedIp);
        addresses.extend(leased.map(|endpoint| endpoint.sequence_number));
    }
    let addresses = u64::try_from(addresses.len()).expect("is small");
    (addresses > hall.leased_ips).then(|| format!("{addresses} addresses"))
}

#[test]
fn documents_that_people_wrote_get_a_bid_or_want_what_the_hall_lacks() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures/awesome");
    let Ok(entries) = fs::read_dir(&folder) else {
        println!("LEFT OUT: {} is not there, so nothing of it was tested", folder.display());
        return;
    };
    let (hall, tariff, policy) = (hall(), tariff(), Policy::default());
    let now = Circumstances::new(&hall, &tariff, &policy, 0);
    let (mut documents, mut bids, mut within_limit) = (0, 0, 0);
    let mut declined: BTreeMap<&str, usize> = BTreeMap::new();
    for path in entries.map(|entry| entry.expect("is readable").path()).filter(|path| path.is_file()) {
        let Ok(deployment) = manifests::parse(fs::read(&path).expect("is readable")) else { continue };
        documents += 1;
        for group in &deployment.groups {
            let spec = group.to_order_spec();
            let lacking = lacking(&spec, &hall);
            match decide(&order(spec.to_bytes().expect("is short")), &now) {
                Decision::Bid { rate, .. } => {
                    assert_eq!(lacking, None, "{}: what is not there was promised", path.display());
                    bids += 1;
                    within_limit += usize::from(group.max_rate_down().is_ok_and(|most| rate <= most));
                }
                Decision::Decline { reason } => {
                    assert!(lacking.is_some(), "{}: all is there, but {reason}", path.display());
                    *declined.entry(reason.code()).or_default() += 1;
                }
            }
        }
    }
    println!(
        "{documents} documents: {bids} groups get a bid, {within_limit} of them within the document's own limit; declined: {declined:?}"
    );
    assert!(bids >= 200, "only {bids} groups get a bid");
    assert!(!declined.is_empty(), "one class is not offered, and documents name it");
}
