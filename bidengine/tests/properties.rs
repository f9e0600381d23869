//! What holds for any cluster, tariff and order.

#[path = "support/order.rs"]
mod order;
#[path = "support/unit.rs"]
mod unit;

use std::collections::{BTreeMap, BTreeSet};

use bidengine::{Capacity, Circumstances, Node, Policy, Tariff, decide};
use manifests::decision::{Decision, Placement};
use manifests::gpu::{Gpu, GpuRequest};
use manifests::group::Requirements;
use manifests::money::Rate;
use order::order;
use proptest::prelude::*;
use serde_json::json;
use unit::{Unit, spec};

const GIB: u64 = 1 << 30;
const POOLS: [&str; 3] = ["h100-80Gi-sxm", "l4-24Gi-pcie", "rtx4090-24Gi-pcie"];
const MODELS: [&str; 5] = ["h100", "l4", "rtx4090", "*", "h100/interface/sxm"];

fn node() -> impl Strategy<Value = Node> {
    let gpus = prop::collection::btree_map(prop::sample::select(&POOLS[..]), 0u64..9, 0..3);
    (prop::bool::weighted(0.9), 0u64..40_000, 0u64..64, 0u64..64, gpus).prop_map(
        |(schedulable, cpu_milli, memory_gib, ephemeral_gib, gpus)| Node {
            schedulable,
            cpu_milli,
            memory_bytes: memory_gib * GIB,
            ephemeral_bytes: ephemeral_gib * GIB,
            gpus: gpus.into_iter().map(|(pool, count)| (pool.parse().expect("a label"), count)).collect(),
            ..Node::default()
        },
    )
}

fn capacity() -> impl Strategy<Value = Capacity> {
    prop::collection::vec(node(), 0..6).prop_map(|nodes| Capacity {
        nodes: (0..).zip(nodes).map(|(index, node)| (format!("node-{index}"), node)).collect(),
        ..Capacity::default()
    })
}

fn unit() -> impl Strategy<Value = Unit> {
    let models = prop::collection::btree_set(prop::sample::select(&MODELS[..]), 1..3);
    (1u32..5, 10u64..12_000, 1u64..16, 1u64..8, 0u64..4, prop_oneof![Just(0u64), 0u64..6], models, 0usize..3)
        .prop_map(|(count, cpu_milli, memory_gib, ephemeral_gib, ram_gib, gpus, models, hosts)| Unit {
            count,
            cpu_milli,
            memory_gib,
            ephemeral_gib,
            ram_gib,
            gpus,
            models: if gpus == 0 { Vec::new() } else { models.into_iter().map(str::to_owned).collect() },
            hosts,
            ..Unit::default()
        })
}

/// Prices in thousandths of a dollar: thread, memory, storage, volumes in memory, endpoint, minimum, and one a pool.
type Prices = [u32; 9];

fn tariff(prices: Prices) -> Tariff {
    let usd = |index: usize| format!("{}.{:03}", prices[index] / 1000, prices[index] % 1000);
    serde_json::from_value(json!({
        "cpuThread": usd(0),
        "memoryGiB": usd(1),
        "ephemeralGiB": usd(2),
        "storageGiB": {"ram": usd(3)},
        "endpoint": usd(4),
        "minimumMonthly": usd(5),
        "gpu": [
            {"model": "h100", "monthly": usd(6)},
            {"model": "l4", "ram": "24Gi", "monthly": usd(7)},
            {"model": "rtx4090", "interface": "pcie", "monthly": usd(8)},
        ],
    }))
    .expect("is a tariff")
}

fn decision(units: &[Unit], capacity: &Capacity, prices: Prices) -> Decision {
    let bytes = spec(Requirements::default(), units).to_bytes().expect("is short");
    let (tariff, policy) = (tariff(prices), Policy::default());
    decide(&order(bytes), &Circumstances::new(capacity, &tariff, &policy, 0))
}

fn bid(units: &[Unit], capacity: &Capacity, prices: Prices) -> Option<(Rate, Placement)> {
    match decision(units, capacity, prices) {
        Decision::Bid { rate, placement, .. } => Some((rate, placement)),
        Decision::Decline { .. } => None,
    }
}

/// What a placement takes of one thing, by node.
fn taken<'a, K: Ord>(
    placement: &'a Placement,
    what: impl Fn(&'a manifests::decision::Replica) -> Option<(K, u64)>,
) -> BTreeMap<K, u64> {
    let mut taken = BTreeMap::new();
    for (key, amount) in placement.replicas.iter().filter_map(what) {
        *taken.entry(key).or_default() += amount;
    }
    taken
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn no_node_and_no_pool_is_ever_overcommitted(
        units in prop::collection::vec(unit(), 1..4),
        capacity in capacity(),
        prices: Prices,
    ) {
        let Some((_, placement)) = bid(&units, &capacity, prices) else { return Ok(()) };
        for (node, cpu) in taken(&placement, |replica| Some((&replica.node, replica.takes.cpu_milli))) {
            prop_assert!(cpu <= capacity.nodes[node].cpu_milli);
            prop_assert!(capacity.nodes[node].schedulable);
        }
        for (node, bytes) in taken(&placement, |replica| Some((&replica.node, replica.takes.memory_bytes))) {
            prop_assert!(bytes <= capacity.nodes[node].memory_bytes);
        }
        for (node, bytes) in taken(&placement, |replica| Some((&replica.node, replica.takes.ephemeral_bytes))) {
            prop_assert!(bytes <= capacity.nodes[node].ephemeral_bytes);
        }
        let gpus = taken(&placement, |replica| {
            let gpu = replica.takes.gpu.as_ref()?;
            Some(((&replica.node, &gpu.pool), gpu.count))
        });
        for ((node, pool), count) in gpus {
            prop_assert!(count <= capacity.nodes[node].gpus[&pool.parse::<Gpu>().expect("a label")]);
        }
        // The checked way of taking it agrees.
        prop_assert_eq!(capacity.clone().take(&placement), Ok(()));
    }

    #[test]
    fn every_replica_gets_what_it_asked_for(
        units in prop::collection::vec(unit(), 1..4),
        capacity in capacity(),
        prices: Prices,
    ) {
        let Some((_, placement)) = bid(&units, &capacity, prices) else { return Ok(()) };
        for (id, unit) in (1..).zip(&units) {
            let replicas: Vec<_> = placement.replicas.iter().filter(|replica| replica.unit == id).collect();
            prop_assert_eq!(replicas.len(), usize::try_from(unit.count).expect("is small"));
            let pools: BTreeSet<_> = replicas.iter().map(|replica| replica.takes.gpu.as_ref().map(|gpu| &gpu.pool)).collect();
            prop_assert_eq!(pools.len(), 1, "one model a unit");
            for replica in replicas {
                prop_assert_eq!(replica.takes.cpu_milli, unit.cpu_milli);
                prop_assert_eq!(replica.takes.memory_bytes, (unit.memory_gib + unit.ram_gib) * GIB);
                prop_assert_eq!(replica.takes.ephemeral_bytes, unit.ephemeral_gib * GIB);
                prop_assert_eq!(replica.takes.gpu.as_ref().map_or(0, |gpu| gpu.count), unit.gpus);
                let Some(gpu) = &replica.takes.gpu else { continue };
                let keys: Vec<String> = unit.models.iter().map(|model| format!("vendor/nvidia/model/{model}")).collect();
                let wanted = GpuRequest::from_keys(keys.iter().map(String::as_str)).expect("is understood");
                prop_assert!(wanted.matches(&gpu.pool.parse().expect("a label")));
            }
        }
    }

    #[test]
    fn a_full_cluster_takes_nothing_more(
        orders in prop::collection::vec(prop::collection::vec(unit(), 1..3), 1..8),
        mut capacity in capacity(),
        prices: Prices,
    ) {
        let total = |capacity: &Capacity| -> u64 { capacity.nodes.values().map(|node| node.cpu_milli).sum() };
        for units in orders {
            let before = total(&capacity);
            let Some((_, placement)) = bid(&units, &capacity, prices) else { continue };
            prop_assert_eq!(capacity.take(&placement), Ok(()));
            let asked: u64 = units.iter().map(|unit| unit.cpu_milli * u64::from(unit.count)).sum();
            prop_assert_eq!(total(&capacity) + asked, before);
        }
    }

    #[test]
    fn a_dearer_tariff_never_lowers_a_bid(
        units in prop::collection::vec(unit(), 1..4),
        capacity in capacity(),
        prices in prop::array::uniform9(0u32..5_000_000),
        dearer_by in prop::array::uniform9(prop_oneof![Just(0u32), 0u32..5_000_000]),
    ) {
        let mut dearer = prices;
        for (price, by) in dearer.iter_mut().zip(dearer_by) {
            *price += by;
        }
        let before = bid(&units, &capacity, prices);
        let after = bid(&units, &capacity, dearer);
        prop_assert_eq!(before.is_some(), after.is_some(), "a price alone fits or unfits nothing");
        if let (Some((before, _)), Some((after, _))) = (before, after) {
            prop_assert!(after >= before, "{after} is below {before}");
        }
    }

    #[test]
    fn the_same_inputs_give_the_same_decision(
        units in prop::collection::vec(unit(), 1..4),
        capacity in capacity(),
        prices: Prices,
    ) {
        prop_assert_eq!(decision(&units, &capacity, prices), decision(&units, &capacity.clone(), prices));
    }

    #[test]
    fn taking_saturates_at_nothing(
        units in prop::collection::vec(unit(), 1..4),
        capacity in capacity(),
        prices: Prices,
    ) {
        let Some((_, placement)) = bid(&units, &capacity, prices) else { return Ok(()) };
        let mut checked = capacity.clone();
        prop_assert_eq!(checked.take(&placement), Ok(()));
        let mut saturated = capacity.clone();
        saturated.take_saturating(&placement);
        prop_assert_eq!(&saturated, &checked, "what fits is the same either way");
        for _ in 0..200 {
            saturated.take_saturating(&placement);
        }
        for (name, node) in &saturated.nodes {
            prop_assert!(node.cpu_milli <= capacity.nodes[name].cpu_milli);
        }
    }

    #[test]
    fn no_bytes_of_a_stranger_break_the_decision(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let capacity = Capacity::default();
        let (tariff, policy) = (tariff([1; 9]), Policy::default());
        let now = Circumstances::new(&capacity, &tariff, &policy, 0);
        let decision = decide(&order(bytes), &now);
        let declined = matches!(decision, Decision::Decline { .. });
        prop_assert!(declined);
    }
}
