//! A hall of machines, the orders that come to it, and what is promised there. Chance is seeded: the same everywhere.

use std::collections::{BTreeMap, BTreeSet};

use bidengine::{Capacity, Node, Tariff};
use manifests::decision::{Placement, Replica};
use manifests::gpu::Gpu;
use serde_json::json;

use crate::unit::Unit;

/// SplitMix64: small, and alike on every machine and in every version.
#[derive(Debug, Clone)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of the values, each as likely as its weight.
    pub(crate) fn pick<T: Copy>(&mut self, weighted: &[(u64, T)]) -> T {
        let mut at = self.below(weighted.iter().map(|(weight, _)| weight).sum());
        for (weight, value) in weighted {
            if at < *weight {
                return *value;
            }
            at -= weight;
        }
        unreachable!("it is below the sum")
    }
}

const GIB: u64 = 1 << 30;

/// Models with how many of a hundred machines have them.
const POOLS: [(u64, &str); 4] =
    [(40, "h100-80Gi-sxm"), (25, "a100-80Gi-sxm"), (20, "l40s-48Gi-pcie"), (15, "rtx4090-24Gi-pcie")];

/// So many machines of eight GPUs each, empty; a rack of ten shares a store of volumes.
pub(crate) fn hall(machines: u64) -> Capacity {
    let mut capacity = Capacity { leased_ips: 200, node_ports: 2768, ..Capacity::default() };
    capacity.storage.insert("beta3".to_owned(), machines * 2000 * GIB);
    let mut chance = Chance(1);
    for number in 0..machines {
        let pool: Gpu = chance.pick(&POOLS.map(|(weight, pool)| (weight, pool))).parse().expect("a label");
        let rack = format!("rack-{:03}", number / 10);
        // Boards without a switch tie their cards together in halves.
        let islands = match pool.interface() {
            Some(manifests::gpu::Interface::Sxm) => vec![8],
            _ => vec![4, 4],
        };
        let node = Node {
            schedulable: true,
            cpu_milli: 192_000,
            memory_bytes: 1536 * GIB,
            ephemeral_bytes: 8000 * GIB,
            pods: 110,
            segments: BTreeMap::from([("beta3".to_owned(), rack.clone())]),
            islands: BTreeMap::from([(pool.clone(), islands)]),
            gpus: BTreeMap::from([(pool, 8)]),
            ..Node::default()
        };
        capacity.segments.insert(rack, 20_000 * GIB);
        capacity.nodes.insert(format!("machine-{number:04}"), node);
    }
    capacity
}

/// A price for everything that is there.
pub(crate) fn tariff() -> Tariff {
    serde_json::from_value(json!({
        "cpuThread": "1.60", "memoryGiB": "0.80", "ephemeralGiB": "0.02", "endpoint": "0.05", "ip": "5",
        "storageGiB": {"ram": "0.80", "beta3": "0.04"},
        "gpu": [
            {"model": "h100", "ram": "80Gi", "interface": "sxm", "monthly": "1980"},
            {"model": "a100", "monthly": "1248.30"},
            {"model": "l40s", "monthly": "620"},
            {"model": "rtx4090", "monthly": "285"},
            {"model": "*", "monthly": "1000"},
        ],
        "minimumMonthly": "1.00",
    }))
    .expect("is a tariff")
}

/// What an order asks for: mostly few GPUs on few machines, now and then many, and some work without any.
pub(crate) fn wish(chance: &mut Chance) -> Vec<Unit> {
    let gpus = chance.pick(&[(20, 0), (36, 1), (16, 2), (14, 4), (14, 8)]);
    let count = match gpus {
        0 => chance.pick(&[(60, 1), (20, 2), (15, 3), (5, 8)]),
        _ => chance.pick(&[(80, 1), (12, 2), (5, 4), (3, 8)]),
    };
    let models: &[&str] = chance.pick(&[
        (35, &["h100"][..]),
        (25, &["a100"]),
        (15, &["l40s"]),
        (10, &["rtx4090"]),
        (15, &["*"]),
    ]);
    let unit = Unit {
        count,
        cpu_milli: 1000 * chance.pick(&[(50, 4), (40, 8), (10, 16)]) * gpus.max(1),
        memory_gib: chance.pick(&[(50, 16), (40, 64), (10, 128)]) * gpus.max(1),
        ephemeral_gib: chance.pick(&[(70, 50), (30, 500)]),
        persistent: chance.pick(&[(80, None), (20, Some("beta3"))]).map(str::to_owned),
        gpus,
        models: if gpus > 0 { models.iter().map(|model| (*model).to_owned()).collect() } else { Vec::new() },
        hosts: 1,
        ports: chance.pick(&[(90, 0), (10, 1)]),
        ips: chance.pick(&[(97, 0), (3, 1)]),
        ..Unit::default()
    };
    match chance.below(10) {
        0 => vec![unit, Unit { cpu_milli: 2000, memory_gib: 8, ..Unit::default() }],
        _ => vec![unit],
    }
}

/// What is promised in a hall, and what that leaves free.
pub(crate) struct Ledger {
    pub(crate) empty: Capacity,
    pub(crate) free: Capacity,
    pub(crate) held: BTreeMap<u64, Placement>,
    /// Which orders have something on a node.
    pub(crate) on: BTreeMap<String, BTreeSet<u64>>,
}

impl Ledger {
    pub(crate) fn new(empty: Capacity) -> Self {
        Self { free: empty.clone(), empty, held: BTreeMap::new(), on: BTreeMap::new() }
    }

    /// Promises a placement that was chosen by what is free.
    pub(crate) fn hold(&mut self, order: u64, placement: Placement) {
        self.free.take(&placement).expect("only what is free is promised");
        for replica in &placement.replicas {
            self.on.entry(replica.node.clone()).or_default().insert(order);
        }
        assert!(self.held.insert(order, placement).is_none(), "it is promised once");
    }

    /// Gives back what an order had, and says what that was.
    pub(crate) fn release(&mut self, order: u64) -> Option<Placement> {
        let placement = self.held.remove(&order)?;
        for (class, bytes) in placement.volumes() {
            *self.free.storage.get_mut(class).expect("is sold") += bytes;
        }
        self.free.leased_ips += placement.leased_ips;
        self.free.node_ports += placement.node_ports;
        for Replica { node, takes, .. } in &placement.replicas {
            for (class, bytes) in &takes.volumes {
                let place = &self.empty.nodes[node].segments[class];
                *self.free.segments.get_mut(place).expect("is there") += bytes;
            }
        }
        let nodes: BTreeSet<&String> = placement.replicas.iter().map(|replica| &replica.node).collect();
        for node in nodes {
            if let Some(orders) = self.on.get_mut(node) {
                orders.remove(&order);
            }
            self.count_again(node);
        }
        Some(placement)
    }

    /// What is left on a node, from what it has and what is promised there. A node that is cordoned stays so.
    fn count_again(&mut self, name: &str) {
        let nodes = BTreeMap::from([(name.to_owned(), self.empty.nodes[name].clone())]);
        let mut alone = Capacity { nodes, ..Capacity::default() };
        for order in self.on.get(name).into_iter().flatten() {
            let here = self.held[order].replicas.iter().filter(|replica| replica.node == name);
            alone.take_saturating(&Placement { replicas: here.cloned().collect(), ..Placement::default() });
        }
        let mut node = alone.nodes.remove(name).expect("is there");
        node.schedulable = self.free.nodes[name].schedulable;
        self.free.nodes.insert(name.to_owned(), node);
    }
}

/// GPUs that are free, of how many.
pub(crate) fn gpus(capacity: &Capacity) -> u64 {
    capacity.nodes.values().flat_map(|node| node.gpus.values()).sum()
}
