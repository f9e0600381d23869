//! Documents that people wrote, decided against one large hall with every model they name and a full tariff.
//!
//! The collection lives beside the workspace; without it the test says so loudly and proves nothing.

#[path = "support/order.rs"]
mod order;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bidengine::{Capacity, Circumstances, Node, Policy, Tariff, decide};
use manifests::decision::{Decision, Reason};
use manifests::group::GroupSpec;
use manifests::money::Rate;
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
    let gpu = |pool: &str| pool.parse::<manifests::gpu::Gpu>().expect("a label");
    let mut nodes = BTreeMap::new();
    for pool in POOLS {
        for copy in 0..2 {
            nodes.insert(format!("{pool}-{copy}"), node(BTreeMap::from([(gpu(pool), 8)])));
        }
    }
    for copy in 0..8 {
        nodes.insert(format!("plain-{copy}"), node(BTreeMap::new()));
    }
    Capacity { nodes, ..Capacity::default() }
}

fn tariff() -> Tariff {
    serde_json::from_value(json!({
        "cpuThread": "1.60",
        "memoryGiB": "0.80",
        "ephemeralGiB": "0.02",
        "endpoint": "0.05",
        "ip": "5",
        "storageGiB": {"ram": "0.80"},
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

fn decision(group: &GroupSpec, max_rate: Rate) -> Decision {
    let mut order = order(group.to_order_spec().to_bytes().expect("is short"));
    order.max_rate = max_rate;
    let (capacity, tariff, policy) = (hall(), tariff(), Policy::default());
    decide(&order, &Circumstances::new(&capacity, &tariff, &policy, 0))
}

#[test]
fn documents_that_people_wrote_get_a_bid_or_want_what_the_hall_lacks() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures/awesome");
    let Ok(entries) = fs::read_dir(&folder) else {
        println!("LEFT OUT: {} is not there, so nothing of it was tested", folder.display());
        return;
    };
    let mut bids = 0;
    let mut within_limit = 0;
    let mut declined: BTreeMap<&str, usize> = BTreeMap::new();
    for path in entries.map(|entry| entry.expect("is readable").path()).filter(|path| path.is_file()) {
        let Ok(deployment) = manifests::parse(fs::read(&path).expect("is readable")) else { continue };
        for group in &deployment.groups {
            match decision(group, Rate::MAX) {
                Decision::Bid { rate, .. } => {
                    bids += 1;
                    within_limit += usize::from(group.max_rate_down().is_ok_and(|most| rate <= most));
                }
                Decision::Decline { reason } => {
                    let lacking =
                        matches!(reason, Reason::ResourcesStorageClass { .. } | Reason::IpUnavailable);
                    assert!(lacking, "{}: {reason}", path.display());
                    *declined.entry(reason.code()).or_default() += 1;
                }
            }
        }
    }
    println!(
        "{bids} groups get a bid, {within_limit} of them within the document's own limit; declined: {declined:?}"
    );
    assert!(bids >= 100, "only {bids} groups get a bid");
}
