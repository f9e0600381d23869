//! How broken up the free capacity is: much may be free and still nothing large fit.

use std::collections::BTreeMap;

use manifests::gpu::Gpu;
use serde::{Deserialize, Serialize};

use crate::capacity::{Capacity, Node};
use crate::islands::{self, ASKS};

/// How what is free lies on the nodes that take pods.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fragmentation {
    /// Thousandths of a core.
    pub cpu_milli: Holes,
    /// Bytes of memory.
    pub memory_bytes: Holes,
    /// Bytes of node-local storage.
    pub ephemeral_bytes: Holes,
    /// GPUs, by pool.
    pub gpus: BTreeMap<Gpu, GpuHoles>,
}

/// What is free of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holes {
    /// On all nodes together.
    pub free: u64,
    /// The most on one node.
    pub largest: u64,
}

/// What is free of a pool of GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuHoles {
    /// On all nodes together, and the most on one node.
    #[serde(flatten)]
    pub holes: Holes,
    /// How many replicas that ask for one, two, four or eight GPUs would have enough of them, if only such replicas came.
    pub asks: BTreeMap<u64, u64>,
    /// What is lost by how the free GPUs lie, in percent rounded down: 0 when all are in islands of eight, so that each of the
    /// four asks could have all of them, and 75 when each lies alone.
    pub lost_percent: u64,
}

impl Holes {
    fn add(&mut self, free: u64) {
        self.free = self.free.saturating_add(free);
        self.largest = self.largest.max(free);
    }
}

impl Capacity {
    /// How broken up it is.
    #[must_use]
    pub fn fragmentation(&self) -> Fragmentation {
        let mut all = Fragmentation::default();
        let mut worth: BTreeMap<&Gpu, u64> = BTreeMap::new();
        for node in self.nodes.values().filter(|node| node.schedulable) {
            let Node { cpu_milli, memory_bytes, ephemeral_bytes, gpus, .. } = node;
            all.cpu_milli.add(*cpu_milli);
            all.memory_bytes.add(*memory_bytes);
            all.ephemeral_bytes.add(*ephemeral_bytes);
            for (pool, free) in gpus {
                let of_pool = all.gpus.entry(pool.clone()).or_default();
                of_pool.holes.add(*free);
                for ask in ASKS {
                    *of_pool.asks.entry(ask).or_default() += free / ask;
                }
                let sum = worth.entry(pool).or_default();
                *sum = sum.saturating_add(islands::worth(&islands::of(node, pool, free)));
            }
        }
        for (pool, of_pool) in &mut all.gpus {
            let most = of_pool.holes.free.saturating_mul(4);
            let lost = most.saturating_sub(worth[pool]).saturating_mul(100);
            of_pool.lost_percent = lost.checked_div(most).unwrap_or(0);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: &str = "h100-80Gi-sxm";

    fn capacity(nodes: &[(u64, &[u64])]) -> Capacity {
        let pool: Gpu = POOL.parse().expect("a label");
        let node = |(free, islands): &(u64, &[u64])| Node {
            schedulable: true,
            cpu_milli: 1000 * free,
            gpus: BTreeMap::from([(pool.clone(), *free)]),
            islands: BTreeMap::from([(pool.clone(), islands.to_vec())]),
            ..Node::default()
        };
        let nodes = (0..).zip(nodes).map(|(index, of)| (format!("n{index}"), node(of))).collect();
        Capacity { nodes, ..Capacity::default() }
    }

    fn lost(nodes: &[(u64, &[u64])]) -> u64 {
        capacity(nodes).fragmentation().gpus[&POOL.parse().expect("a label")].lost_percent
    }

    #[test]
    fn what_is_free_is_told_with_what_fits_at_once() {
        let mut capacity = capacity(&[(8, &[8]), (3, &[3]), (5, &[4, 1])]);
        let full = Node { schedulable: false, cpu_milli: 99_000, ..capacity.nodes["n0"].clone() };
        capacity.nodes.insert("cordoned".to_owned(), full);
        let Fragmentation { cpu_milli, gpus, .. } = capacity.fragmentation();
        assert_eq!((cpu_milli.free, cpu_milli.largest), (16_000, 8000));
        let GpuHoles { holes, asks, .. } = &gpus[&POOL.parse().expect("a label")];
        assert_eq!((holes.free, holes.largest), (16, 8));
        assert_eq!(*asks, BTreeMap::from([(1, 16), (2, 4 + 1 + 2), (4, 2 + 1), (8, 1)]));
    }

    #[test]
    fn the_smaller_the_holes_the_more_is_lost() {
        let alone: Vec<(u64, &[u64])> = vec![(1, &[1]); 8];
        assert_eq!(
            [
                lost(&[(8, &[8])]),
                lost(&[(8, &[4, 4])]),
                lost(&[(4, &[4]), (4, &[4])]),
                lost(&alone),
                lost(&[(0, &[])])
            ],
            [0, 25, 25, 75, 0]
        );
    }
}
