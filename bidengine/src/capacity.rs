//! What is free now: nodes with processor, memory, node-local storage and GPUs, minus what is promised.
//!
//! Amounts are unsigned and never wrap: a promise larger than what is left either is refused ([`Capacity::take`]) or leaves
//! nothing ([`Capacity::take_saturating`]), so that sources that contradict each other make capacity smaller, never larger.

use std::collections::BTreeMap;

use manifests::decision::{GpuTake, Placement, Replica, Takes};
use manifests::gpu::Gpu;
use manifests::objects;
use serde::{Deserialize, Serialize};

use crate::islands;

/// What a cluster has left for new orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Capacity {
    /// The nodes by name.
    pub nodes: BTreeMap<String, Node>,
    /// What there is in all, free or not.
    #[serde(default)]
    pub total: Totals,
    /// Bytes of persistent volumes that are left to sell, by each class that is offered.
    #[serde(default)]
    pub storage: BTreeMap<String, u64>,
    /// Bytes that are left where volumes are made, by the place's name, of the classes whose driver tells. What a class has
    /// left to sell is the less of this and `storage`.
    #[serde(default)]
    pub segments: BTreeMap<String, u64>,
    /// Addresses that are left to lease.
    #[serde(default)]
    pub leased_ips: u64,
    /// Ports of the nodes' addresses that are left.
    #[serde(default = "unbounded")]
    pub node_ports: u64,
    /// How much more is sold than is kept free.
    #[serde(default)]
    pub overcommit: objects::Overcommit,
    /// Why nothing can be promised at the moment, such as a watch that has not caught up; `None` when the rest is sound.
    #[serde(default)]
    pub problem: Option<String>,
}

impl Default for Capacity {
    /// A cluster without nodes, whose ports nobody counts.
    fn default() -> Self {
        Self {
            nodes: BTreeMap::new(),
            total: Totals::default(),
            storage: BTreeMap::new(),
            segments: BTreeMap::new(),
            leased_ips: 0,
            node_ports: unbounded(),
            overcommit: objects::Overcommit::default(),
            problem: None,
        }
    }
}

impl Default for Node {
    /// A node that takes no pods and has nothing.
    fn default() -> Self {
        Self {
            schedulable: false,
            user_namespaces: false,
            arch: amd64(),
            cpu_milli: 0,
            memory_bytes: 0,
            ephemeral_bytes: 0,
            pods: unbounded(),
            segments: BTreeMap::new(),
            gpus: BTreeMap::new(),
            islands: BTreeMap::new(),
            gpu_resources: BTreeMap::new(),
        }
    }
}

/// What a cluster has in all: its nodes that take pods, and what belongs to no node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Totals {
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of node-local storage.
    pub ephemeral_bytes: u64,
    /// Healthy GPUs, by pool.
    pub gpus: BTreeMap<Gpu, u64>,
    /// Bytes of persistent volumes that are sold, by class.
    pub storage: BTreeMap<String, u64>,
}

/// What one node has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Node {
    /// Whether it takes new pods: ready, not cordoned, without a taint that keeps tenants away.
    pub schedulable: bool,
    /// Whether its runtime can give a pod a user namespace of its own.
    #[serde(default)]
    pub user_namespaces: bool,
    /// Processor architecture as Kubernetes names it: `amd64`, `arm64`.
    #[serde(default = "amd64")]
    pub arch: String,
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of node-local storage.
    pub ephemeral_bytes: u64,
    /// How many more pods the kubelet takes.
    #[serde(default = "unbounded")]
    pub pods: u64,
    /// Where volumes for this node are made, by class: a name in [`Capacity::segments`]. A class that is not there is made
    /// anywhere.
    #[serde(default)]
    pub segments: BTreeMap<String, String>,
    /// Healthy GPUs that nobody holds, by pool.
    #[serde(default)]
    pub gpus: BTreeMap<Gpu, u64>,
    /// How the free GPUs of a pool lie in islands: groups that NVLink ties together. A pool that is not there is one island.
    #[serde(default)]
    pub islands: BTreeMap<Gpu, Vec<u64>>,
    /// The extended resource by which pods ask for a pool, where it is not the one that the pool's name implies.
    #[serde(default)]
    pub gpu_resources: BTreeMap<Gpu, String>,
}

fn amd64() -> String {
    "amd64".to_owned()
}

/// What is not told is not bound.
fn unbounded() -> u64 {
    u64::MAX
}

/// A promise is larger than what is left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} has {have} of {what} left, {need} are taken", .node.as_ref().map_or("the cluster".to_owned(), |node| format!("node {node}")))]
pub struct Overcommit {
    /// Where; `None` for what belongs to no node.
    pub node: Option<String>,
    /// Of what: `cpu_milli`, `memory_bytes`, `ephemeral_bytes`, `pods`, a GPU pool, a storage class, a place where volumes are
    /// made, `leased_ips` or `node_ports`.
    pub what: String,
    /// How much was to be taken.
    pub need: u64,
    /// How much was left.
    pub have: u64,
}

impl Capacity {
    /// Takes a whole placement; on an error nothing is taken.
    ///
    /// # Errors
    /// [`Overcommit`] names the first thing of which less is left than taken. A node that is not there has nothing left.
    pub fn take(&mut self, placement: &Placement) -> Result<(), Overcommit> {
        let mut touched = self.touched_by(placement);
        if let Some(short) = touched.take_what_is_there(placement) {
            return Err(short);
        }
        self.nodes.extend(touched.nodes);
        self.storage.extend(touched.storage);
        self.segments.extend(touched.segments);
        self.leased_ips = touched.leased_ips;
        self.node_ports = touched.node_ports;
        Ok(())
    }

    /// Takes a placement as far as there is something to take; nothing goes below zero.
    pub fn take_saturating(&mut self, placement: &Placement) {
        self.take_what_is_there(placement);
    }

    /// A copy of what a placement takes from, and of nothing else.
    fn touched_by(&self, placement: &Placement) -> Self {
        let mut touched =
            Self { leased_ips: self.leased_ips, node_ports: self.node_ports, ..Self::default() };
        for Replica { unit: _, node: name, takes } in &placement.replicas {
            let Some(node) = self.nodes.get(name) else { continue };
            for class in takes.volumes.keys() {
                let places = node.segments.get(class).and_then(|place| self.segments.get_key_value(place));
                touched.segments.extend(places.map(|(place, left)| (place.clone(), *left)));
                let sold = self.storage.get_key_value(class);
                touched.storage.extend(sold.map(|(class, left)| (class.clone(), *left)));
            }
            if !touched.nodes.contains_key(name) {
                touched.nodes.insert(name.clone(), node.clone());
            }
        }
        touched
    }

    /// Takes a placement as far as there is something to take, and says what was missing first.
    fn take_what_is_there(&mut self, placement: &Placement) -> Option<Overcommit> {
        let Placement { replicas, leased_ips, node_ports } = placement;
        let mut missing = Missing::default();
        for Replica { unit: _, node: name, takes } in replicas {
            missing.node = Some(name);
            match self.nodes.get_mut(name) {
                Some(node) => node.take(takes, &mut self.segments, &mut missing),
                None => missing.take("cpu_milli", &mut 0, takes.cpu_milli.max(1)),
            }
        }
        missing.node = None;
        for (class, bytes) in placement.volumes() {
            missing.take(class, self.storage.get_mut(class).unwrap_or(&mut 0), bytes);
        }
        missing.take("leased_ips", &mut self.leased_ips, *leased_ips);
        missing.take_counted("node_ports", &mut self.node_ports, *node_ports);
        missing.first
    }
}

impl Node {
    fn take(&mut self, takes: &Takes, segments: &mut BTreeMap<String, u64>, missing: &mut Missing<'_>) {
        let Takes { cpu_milli, memory_bytes, ephemeral_bytes, gpu, volumes } = takes;
        missing.take("cpu_milli", &mut self.cpu_milli, *cpu_milli);
        missing.take("memory_bytes", &mut self.memory_bytes, *memory_bytes);
        missing.take("ephemeral_bytes", &mut self.ephemeral_bytes, *ephemeral_bytes);
        missing.take_counted("pods", &mut self.pods, 1);
        if let Some(GpuTake { pool: label, count, resource: _ }) = gpu {
            let pool = label.parse::<Gpu>().ok();
            if let Some(pool) = pool.as_ref().filter(|pool| self.islands.contains_key(pool)) {
                let free = self.gpus.get(pool).copied().unwrap_or(0);
                let mut left = islands::of(self, pool, &free).into_owned();
                islands::take(&mut left, *count);
                self.islands.insert(pool.clone(), left);
            }
            let left = pool.and_then(|pool| self.gpus.get_mut(&pool));
            missing.take(label, left.unwrap_or(&mut 0), *count);
        }
        for (class, bytes) in volumes {
            let Some(place) = self.segments.get(class) else { continue };
            missing.take(place, segments.get_mut(place).unwrap_or(&mut 0), *bytes);
        }
    }
}

/// Takes amounts and remembers the first of which there was too little.
#[derive(Default)]
struct Missing<'a> {
    node: Option<&'a String>,
    first: Option<Overcommit>,
}

impl Missing<'_> {
    fn take(&mut self, what: &str, left: &mut u64, need: u64) {
        let have = *left;
        *left = have.saturating_sub(need);
        if have < need && self.first.is_none() {
            self.first = Some(Overcommit { node: self.node.cloned(), what: what.to_owned(), need, have });
        }
    }

    /// The same for what may be unbounded because nobody counts it.
    fn take_counted(&mut self, what: &str, left: &mut u64, need: u64) {
        if *left != unbounded() {
            self.take(what, left, need);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: &str = "l4-24Gi-pcie";

    fn capacity() -> Capacity {
        let pool: Gpu = POOL.parse().expect("a label");
        let node = Node {
            schedulable: true,
            cpu_milli: 1000,
            memory_bytes: 1 << 30,
            ephemeral_bytes: 1 << 30,
            pods: 3,
            segments: BTreeMap::from([("beta3".to_owned(), "rack-1".to_owned())]),
            gpus: BTreeMap::from([(pool.clone(), 4)]),
            islands: BTreeMap::from([(pool, vec![1, 3])]),
            ..Node::default()
        };
        Capacity {
            nodes: BTreeMap::from([("a".to_owned(), node)]),
            storage: BTreeMap::from([("beta2".to_owned(), 100), ("beta3".to_owned(), 100)]),
            segments: BTreeMap::from([("rack-1".to_owned(), 50)]),
            leased_ips: 1,
            node_ports: 2,
            ..Capacity::default()
        }
    }

    /// One replica on the node.
    fn on(node: &str, takes: Takes) -> Placement {
        let takes = Takes { memory_bytes: 1, ephemeral_bytes: 1, ..takes };
        Placement {
            replicas: vec![Replica { unit: 1, node: node.to_owned(), takes }],
            ..Placement::default()
        }
    }

    fn cpu(cpu_milli: u64) -> Takes {
        Takes { cpu_milli, ..Takes::default() }
    }

    fn gpus(pool: &str, count: u64) -> Takes {
        Takes { gpu: Some(GpuTake { pool: pool.to_owned(), count, resource: None }), ..Takes::default() }
    }

    fn volume(class: &str, bytes: u64) -> Takes {
        Takes { volumes: BTreeMap::from([(class.to_owned(), bytes)]), ..Takes::default() }
    }

    #[test]
    fn taking_more_than_is_left_is_refused_by_name_and_takes_nothing() {
        let of_cluster =
            |leased_ips, node_ports| Placement { leased_ips, node_ports, ..Placement::default() };
        let four_pods =
            Placement { replicas: vec![on("a", cpu(1)).replicas[0].clone(); 4], ..of_cluster(0, 0) };
        for (placement, sentence) in [
            (on("a", cpu(1001)), "node a has 1000 of cpu_milli left, 1001 are taken"),
            (on("b", cpu(1)), "node b has 0 of cpu_milli left, 1 are taken"),
            (on("a", gpus(POOL, 5)), "node a has 4 of l4-24Gi-pcie left, 5 are taken"),
            (on("a", gpus("t4-16Gi-pcie", 1)), "node a has 0 of t4-16Gi-pcie left, 1 are taken"),
            (four_pods, "node a has 0 of pods left, 1 are taken"),
            (on("a", volume("beta2", 101)), "the cluster has 100 of beta2 left, 101 are taken"),
            (on("a", volume("beta3", 51)), "node a has 50 of rack-1 left, 51 are taken"),
            (of_cluster(2, 0), "the cluster has 1 of leased_ips left, 2 are taken"),
            (of_cluster(0, 3), "the cluster has 2 of node_ports left, 3 are taken"),
        ] {
            let mut left = capacity();
            assert_eq!(left.take(&placement).expect_err("is too much").to_string(), sentence);
            assert_eq!(left, capacity());
        }
    }

    #[test]
    fn what_is_taken_is_gone_from_everywhere_it_comes_from() {
        let mut left = capacity();
        let mut placement = on("a", Takes { volumes: volume("beta3", 20).volumes, ..gpus(POOL, 1) });
        (placement.leased_ips, placement.node_ports) = (1, 2);
        assert_eq!(left.take(&placement), Ok(()));
        let mut saturated = capacity();
        saturated.take_saturating(&placement);
        assert_eq!(saturated, left, "what fits is the same either way");
        assert_eq!((left.leased_ips, left.node_ports), (0, 0));
        assert_eq!((left.storage["beta3"], left.storage["beta2"], left.segments["rack-1"]), (80, 100, 30));
        let (node, pool) = (&left.nodes["a"], POOL.parse().expect("a label"));
        assert_eq!((node.pods, node.gpus[&pool]), (2, 3));
        assert_eq!(node.islands[&pool], [0, 3], "the smallest island that holds it");
    }

    #[test]
    fn what_nobody_counts_stays_unbounded() {
        let mut left = capacity();
        left.node_ports = u64::MAX;
        left.nodes.get_mut("a").expect("is there").pods = u64::MAX;
        assert_eq!(left.take(&Placement { node_ports: 7, ..on("a", cpu(1)) }), Ok(()));
        assert_eq!((left.node_ports, left.nodes["a"].pods), (u64::MAX, u64::MAX));
    }

    #[test]
    fn sources_that_contradict_each_other_leave_nothing() {
        let mut left = capacity();
        left.take_saturating(&on("a", Takes { cpu_milli: 5000, ..gpus(POOL, 9) }));
        left.take_saturating(&on("gone", gpus("no label", 1)));
        let node = &left.nodes["a"];
        let islands: u64 = node.islands.values().flatten().sum();
        assert_eq!((node.cpu_milli, node.gpus.values().sum::<u64>(), islands), (0, 0, 0));
    }
}
