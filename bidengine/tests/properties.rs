//! What holds for any cluster, tariff and order.

#[path = "support/order.rs"]
mod order;
#[path = "support/unit.rs"]
mod unit;

use std::collections::{BTreeMap, BTreeSet};

use bidengine::{Capacity, Circumstances, Node, Policy, Tariff, decide};
use manifests::decision::{Decision, GpuTake, Placement, Replica, Takes};
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

const CLASS: &str = "beta2";
const PLACES: [&str; 2] = ["rack-1", "rack-2"];

fn pool(label: &str) -> Gpu {
    label.parse().expect("a label")
}

fn node() -> impl Strategy<Value = Node> {
    let gpus = prop::collection::btree_map(prop::sample::select(&POOLS[..]), 0u64..9, 0..3);
    let island = prop::option::of(1u64..5);
    let place = prop::option::of(prop::sample::select(&PLACES[..]));
    let pods = prop_oneof![Just(u64::MAX), 0u64..6];
    (prop::bool::weighted(0.9), 0u64..40_000, 0u64..64, 0u64..64, (gpus, island), (pods, place)).prop_map(
        |(schedulable, cpu_milli, memory_gib, ephemeral_gib, (gpus, island), (pods, place))| Node {
            schedulable,
            cpu_milli,
            memory_bytes: memory_gib * GIB,
            ephemeral_bytes: ephemeral_gib * GIB,
            pods,
            segments: place.map(|place| (CLASS.to_owned(), place.to_owned())).into_iter().collect(),
            islands: gpus
                .iter()
                .filter_map(|(label, count)| Some((pool(label), cut(*count, island?))))
                .collect(),
            gpus: gpus.into_iter().map(|(label, count)| (pool(label), count)).collect(),
            ..Node::default()
        },
    )
}

/// So many GPUs in islands of that size, and the rest in one more.
fn cut(gpus: u64, island: u64) -> Vec<u64> {
    let whole = (0..gpus / island).map(|_| island);
    whole.chain(Some(gpus % island).filter(|rest| *rest > 0)).collect()
}

fn capacity() -> impl Strategy<Value = Capacity> {
    let sold = prop_oneof![Just(None), (0u64..9).prop_map(Some)];
    let ports = prop_oneof![Just(u64::MAX), 0u64..6];
    let nodes = prop::collection::vec(node(), 0..6);
    (nodes, sold, (0u64..6, 0u64..6), ports, 0u64..3).prop_map(
        |(nodes, sold, left, node_ports, leased_ips)| {
            let segments = [(PLACES[0], left.0), (PLACES[1], left.1)];
            Capacity {
                nodes: (0..).zip(nodes).map(|(index, node)| (format!("node-{index}"), node)).collect(),
                storage: sold.map(|gib| (CLASS.to_owned(), gib * GIB)).into_iter().collect(),
                segments: segments.map(|(place, gib)| (place.to_owned(), gib * GIB)).into(),
                node_ports,
                leased_ips,
                ..Capacity::default()
            }
        },
    )
}

/// A capacity in which nothing is ever missing.
fn plenty() -> Capacity {
    let node = |label: &str| Node {
        schedulable: true,
        cpu_milli: 1_000_000,
        memory_bytes: 1 << 42,
        ephemeral_bytes: 1 << 42,
        gpus: BTreeMap::from([(pool(label), 100)]),
        ..Node::default()
    };
    Capacity {
        nodes: POOLS.map(|label| (label.to_owned(), node(label))).into(),
        storage: BTreeMap::from([(CLASS.to_owned(), 1 << 42)]),
        leased_ips: 100,
        ..Capacity::default()
    }
}

fn unit() -> impl Strategy<Value = Unit> {
    let models = prop::collection::btree_set(prop::sample::select(&MODELS[..]), 1..3);
    let volume = prop::option::weighted(0.3, Just(CLASS.to_owned()));
    let outside = (0usize..3, 0usize..3, 0usize..2);
    (
        1u32..5,
        10u64..12_000,
        1u64..16,
        1u64..8,
        0u64..4,
        prop_oneof![Just(0u64), 0u64..6],
        models,
        (volume, outside),
    )
        .prop_map(
            |(count, cpu_milli, memory_gib, ephemeral_gib, ram_gib, gpus, models, (persistent, outside))| {
                Unit {
                    count,
                    cpu_milli,
                    memory_gib,
                    ephemeral_gib,
                    ram_gib,
                    gpus,
                    models: if gpus == 0 {
                        Vec::new()
                    } else {
                        models.into_iter().map(str::to_owned).collect()
                    },
                    persistent,
                    hosts: outside.0,
                    ports: outside.1,
                    ips: outside.2,
                    ..Unit::default()
                }
            },
        )
}

/// A unit that is small enough to fit somewhere, most of the time.
fn small_unit() -> impl Strategy<Value = Unit> {
    unit().prop_map(|unit| Unit {
        count: unit.count.min(3),
        cpu_milli: unit.cpu_milli / 8 + 10,
        memory_gib: 1,
        ephemeral_gib: 1,
        ram_gib: 0,
        gpus: unit.gpus.min(3),
        ports: 0,
        ips: 0,
        ..unit
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
        "storageGiB": {"ram": usd(3), CLASS: usd(3)},
        "endpoint": usd(4),
        "ip": usd(4),
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
    what: impl Fn(&'a Replica) -> Option<(K, u64)>,
) -> BTreeMap<K, u64> {
    let mut taken = BTreeMap::new();
    for (key, amount) in placement.replicas.iter().filter_map(what) {
        *taken.entry(key).or_default() += amount;
    }
    taken
}

/// A capacity that has more of everything.
fn grown(capacity: &Capacity, more: Vec<Node>, sold_gib: u64) -> Capacity {
    let mut grown = capacity.clone();
    for (index, more) in (0..).zip(more) {
        let name = format!("node-{index}");
        let Some(node) = grown.nodes.get_mut(&name) else {
            grown.nodes.insert(name, more);
            continue;
        };
        node.schedulable |= more.schedulable;
        node.cpu_milli += more.cpu_milli;
        node.memory_bytes += more.memory_bytes;
        node.ephemeral_bytes += more.ephemeral_bytes;
        node.pods = node.pods.saturating_add(more.pods);
        for (pool, count) in more.gpus {
            if let Some(islands) = node.islands.get_mut(&pool) {
                islands.push(count);
            }
            *node.gpus.entry(pool).or_default() += count;
        }
    }
    for bytes in grown.storage.values_mut().chain(grown.segments.values_mut()) {
        *bytes += sold_gib * GIB;
    }
    grown.node_ports = grown.node_ports.saturating_add(sold_gib);
    grown.leased_ips += sold_gib;
    grown
}

/// A placement that nobody chose: any amounts, also of what is not there.
fn any_placement() -> impl Strategy<Value = Placement> {
    let amount = || prop_oneof![0u64..9, 0u64..20_000, 0u64..64 * GIB, any::<u64>()];
    let gpu = prop::option::of((prop::sample::select(&POOLS[..]), prop_oneof![0u64..9, any::<u64>()]));
    let volume = prop::option::of(prop_oneof![0u64..4 * GIB, any::<u64>()]);
    let replica = (0usize..7, amount(), amount(), amount(), gpu, volume).prop_map(
        |(node, cpu_milli, memory_bytes, ephemeral_bytes, gpu, volume)| Replica {
            unit: 1,
            node: format!("node-{node}"),
            takes: Takes {
                cpu_milli,
                memory_bytes,
                ephemeral_bytes,
                gpu: gpu.map(|(pool, count)| GpuTake { pool: pool.to_owned(), count, resource: None }),
                volumes: volume.map(|bytes| (CLASS.to_owned(), bytes)).into_iter().collect(),
            },
        },
    );
    (prop::collection::vec(replica, 0..4), 0u64..4, 0u64..4)
        .prop_map(|(replicas, leased_ips, node_ports)| Placement { replicas, leased_ips, node_ports })
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
        for (node, pods) in taken(&placement, |replica| Some((&replica.node, 1))) {
            prop_assert!(pods <= capacity.nodes[node].pods);
        }
        let volumes = taken(&placement, |replica| Some((CLASS, *replica.takes.volumes.get(CLASS)?)));
        for bytes in volumes.values() {
            prop_assert!(bytes <= &capacity.storage[CLASS]);
        }
        let volumes = taken(&placement, |replica| {
            let place = capacity.nodes[&replica.node].segments.get(CLASS)?;
            Some((place, *replica.takes.volumes.get(CLASS)?))
        });
        for (place, bytes) in volumes {
            prop_assert!(bytes <= capacity.segments[place]);
        }
        let ports: usize = units.iter().map(|unit| unit.ports).sum();
        prop_assert_eq!(placement.node_ports, u64::try_from(ports).expect("is small"));
        prop_assert!(placement.node_ports <= capacity.node_ports);
        prop_assert!(placement.leased_ips <= capacity.leased_ips);
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
    fn replicas_with_volumes_share_one_node_or_none(
        units in prop::collection::vec(prop_oneof![unit(), small_unit()], 1..4),
        capacity in capacity(),
        prices: Prices,
    ) {
        let Some((_, placement)) = bid(&units, &capacity, prices) else { return Ok(()) };
        for (id, unit) in (1..).zip(&units).filter(|(_, unit)| unit.persistent.is_some()) {
            let nodes = placement.nodes_of(id);
            prop_assert!(nodes.len() == 1 || nodes.values().all(|count| *count == 1), "{unit:?} on {nodes:?}");
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
    fn what_is_taken_in_any_way_leaves_no_more_than_there_was(
        placements in prop::collection::vec(any_placement(), 1..8),
        capacity in capacity(),
    ) {
        let mut left = capacity.clone();
        for placement in &placements {
            let before = left.clone();
            let mut checked = left.clone();
            left.take_saturating(placement);
            match checked.take(placement) {
                Ok(()) => prop_assert_eq!(&checked, &left, "what fits is the same either way"),
                Err(_) => prop_assert_eq!(checked, before, "nothing is taken of what does not fit"),
            }
        }
        for (name, node) in &left.nodes {
            let there = &capacity.nodes[name];
            prop_assert!(node.cpu_milli <= there.cpu_milli && node.memory_bytes <= there.memory_bytes);
            prop_assert!(node.ephemeral_bytes <= there.ephemeral_bytes && node.pods <= there.pods);
            for (pool, free) in &node.gpus {
                prop_assert!(*free <= there.gpus[pool]);
                let Some(islands) = node.islands.get(pool) else { continue };
                prop_assert_eq!(islands.iter().sum::<u64>(), *free);
            }
        }
        prop_assert!(left.segments.iter().all(|(place, bytes)| *bytes <= capacity.segments[place]));
        prop_assert!(left.storage.iter().all(|(class, bytes)| *bytes <= capacity.storage[class]));
        prop_assert!(left.node_ports <= capacity.node_ports && left.leased_ips <= capacity.leased_ips);
    }

    #[test]
    fn more_capacity_never_turns_a_bid_into_a_decline_nor_makes_it_dearer(
        unit in prop_oneof![unit(), small_unit()],
        capacity in capacity(),
        more in prop::collection::vec(node(), 0..9),
        sold in 0u64..4,
        prices: Prices,
    ) {
        let units = [unit];
        let grown = grown(&capacity, more, sold);
        let Some((before, _)) = bid(&units, &capacity, prices) else { return Ok(()) };
        let after = bid(&units, &grown, prices);
        prop_assert!(after.is_some(), "{:?}", decision(&units, &grown, prices));
        prop_assert!(after.is_some_and(|(after, _)| after <= before));
    }

    #[test]
    fn who_asks_for_more_pays_no_less(
        mut units in prop::collection::vec(unit(), 1..4),
        scarce in capacity(),
        which in 0usize..9,
        prices: Prices,
    ) {
        // Where several units compete for little, which pools they get is a matter of packing.
        let capacity = if units.len() > 1 { plenty() } else { scarce };
        let before = bid(&units, &capacity, prices);
        let unit = &mut units[0];
        match which {
            0 => unit.count += 1,
            1 => unit.cpu_milli += 1,
            2 => unit.memory_gib += 1,
            3 => unit.ephemeral_gib += 1,
            4 => unit.ram_gib += 1,
            5 if unit.gpus > 0 => unit.gpus += 1,
            6 if unit.persistent.is_none() => unit.persistent = Some(CLASS.to_owned()),
            7 => unit.hosts += 1,
            _ => unit.ips = 1,
        }
        if let (Some((before, _)), Some((after, _))) = (before, bid(&units, &capacity, prices)) {
            prop_assert!(after >= before, "{after} is below {before}");
        }
    }

    #[test]
    fn two_groups_cost_what_they_cost_apart(
        some in prop::collection::vec(unit(), 1..3),
        others in prop::collection::vec(unit(), 1..3),
        mut prices: Prices,
    ) {
        // A minimum is by group, and so is an address that services share.
        prices[5] = 0;
        let alone = |units: &[Unit]| -> Vec<Unit> {
            units.iter().map(|unit| Unit { ips: 0, ..unit.clone() }).collect()
        };
        let (some, others) = (alone(&some), alone(&others));
        let both = [some.clone(), others.clone()].concat();
        let capacity = plenty();
        let lines = match decision(&both, &capacity, prices) {
            Decision::Bid { items, .. } => items.len(),
            Decision::Decline { reason } => panic!("{reason}"),
        };
        let cost = |units: &[Unit]| bid(units, &capacity, prices).expect("fits").0.scaled();
        let (apart, together) = (cost(&some) + cost(&others), cost(&both));
        // Each line is rounded up to the smallest step once instead of twice.
        let most = together + u128::try_from(lines).expect("is small");
        prop_assert!((together..=most).contains(&apart), "{together} together, {apart} apart, {lines} lines");
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
