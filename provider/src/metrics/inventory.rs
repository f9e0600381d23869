//! What the cluster has and who has it. While the cluster cannot be seen, nothing is told of it but for how long.

use bidengine::Capacity;
use manifests::gpu::{Gpu, Interface};
use prometheus::{GaugeVec, IntGauge, IntGaugeVec};

use super::Metrics;
use super::make::{Make, gauge};
use crate::inventory::requests::Resources;
use crate::inventory::{NodeState, Snapshot};

/// How a GPU is labelled.
const OF_GPU: [&str; 4] = ["vendor", "model", "ram", "interface"];

#[derive(Debug)]
pub(super) struct Inventory {
    age: IntGauge,
    nodes: IntGaugeVec,
    capacity: GaugeVec,
    allocatable: GaugeVec,
    requested: GaugeVec,
    reserved: GaugeVec,
    free: GaugeVec,
    largest_free: GaugeVec,
    gpus: IntGaugeVec,
    largest_free_gpus: IntGaugeVec,
    addresses: IntGaugeVec,
}

impl Inventory {
    pub(super) fn new(make: &Make<'_>) -> anyhow::Result<Self> {
        let amounts = |name: &str, help: &str| make.decimals(name, help, &["resource", "unit"]);
        Ok(Self {
            age: make.gauge(
                "berth_inventory_age_seconds",
                "Seconds since the API server last said something about that of the cluster which has been silent longest.",
            )?,
            nodes: make.gauges(
                "berth_inventory_nodes",
                "Nodes that are sold, by state: ready, cordoned, excluded by a taint or leaving, unknown to their control plane.",
                &["state"],
            )?,
            capacity: amounts("berth_inventory_capacity", "What the machines of all nodes have.")?,
            allocatable: amounts(
                "berth_inventory_allocatable",
                "What nodes that take tenants give to pods; of volumes, ports and addresses, what is sold in all.",
            )?,
            requested: amounts(
                "berth_inventory_requested",
                "What pods of leases and others ask for on nodes that take tenants.",
            )?,
            reserved: amounts(
                "berth_inventory_reserved",
                "What is promised to leases beyond what their pods ask for.",
            )?,
            free: amounts("berth_inventory_free", "What is left to sell.")?,
            largest_free: amounts(
                "berth_inventory_largest_free",
                "The most that one node has left to sell.",
            )?,
            gpus: make.gauges(
                "berth_gpu_devices",
                "GPUs and slices of them, by state: free, leased, reserved, unhealthy, unmapped (no name) or unsold.",
                &[&OF_GPU[..], &["state"]].concat(),
            )?,
            largest_free_gpus: make.gauges(
                "berth_gpu_max_free_per_node",
                "The most GPUs of a model that one node has left to sell.",
                &OF_GPU,
            )?,
            addresses: make.gauges(
                "berth_ip_pool",
                "Addresses that can be leased, by state: free or leased.",
                &["state"],
            )?,
        })
    }

    /// Forgets everything that was told, so that nothing old is.
    fn clear(&self) {
        let Self { age: _, nodes, gpus, largest_free_gpus, addresses, .. } = self;
        [nodes, gpus, largest_free_gpus, addresses].into_iter().for_each(IntGaugeVec::reset);
        let Self { capacity, allocatable, requested, reserved, free, largest_free, .. } = self;
        [capacity, allocatable, requested, reserved, free, largest_free]
            .into_iter()
            .for_each(GaugeVec::reset);
    }

    fn tell(&self, snapshot: &Snapshot) {
        let Snapshot { sums, capacity, leased_ips } = snapshot;
        for state in NodeState::ALL {
            let count = sums.nodes.get(&state).copied().unwrap_or(0);
            self.nodes.with_label_values(&[state.word()]).set(gauge(count));
        }
        for (metric, amounts) in [
            (&self.capacity, &sums.capacity),
            (&self.allocatable, &sums.allocatable),
            (&self.requested, &sums.requested),
            (&self.reserved, &sums.reserved),
            (&self.free, &sums.free),
            (&self.largest_free, &sums.largest_free),
        ] {
            tell(metric, amounts);
        }
        for ((gpu, state), count) in &sums.gpus {
            let [vendor, model, ram, interface] = &labels(gpu);
            self.gpus.with_label_values(&[vendor, model, ram, interface, state.word()]).set(gauge(*count));
        }
        for (gpu, count) in &sums.largest_free_gpus {
            self.largest_free_gpus.with_label_values(&labels(gpu).each_ref()).set(gauge(*count));
        }
        self.tell_what_has_no_node(capacity, *leased_ips);
    }

    fn tell_what_has_no_node(&self, capacity: &Capacity, leased_ips: u64) {
        for (class, sold) in &capacity.total.storage {
            let resource = format!("storage_{class}");
            self.allocatable.with_label_values(&[&*resource, "bytes"]).set(decimal(*sold));
            let left = capacity.storage.get(class).copied().unwrap_or(0);
            self.free.with_label_values(&[&*resource, "bytes"]).set(decimal(left));
        }
        self.free.with_label_values(&["ports", "ports"]).set(decimal(capacity.node_ports));
        let left = capacity.leased_ips.min(leased_ips);
        for (state, count) in [("free", left), ("leased", leased_ips - left)] {
            self.addresses.with_label_values(&[state]).set(gauge(count));
        }
    }
}

fn tell(metric: &GaugeVec, amounts: &Resources) {
    let Resources { cpu_milli, memory_bytes, ephemeral_bytes, pods, gpus: _ } = amounts;
    metric.with_label_values(&["cpu", "cores"]).set(decimal(*cpu_milli) / 1000.0);
    metric.with_label_values(&["memory", "bytes"]).set(decimal(*memory_bytes));
    metric.with_label_values(&["ephemeral", "bytes"]).set(decimal(*ephemeral_bytes));
    metric.with_label_values(&["pods", "pods"]).set(decimal(*pods));
}

fn labels(gpu: &Gpu) -> [String; 4] {
    let interface = gpu.interface().map_or("", Interface::as_str);
    ["nvidia".to_owned(), gpu.model().to_owned(), format!("{}Gi", gpu.ram_gib()), interface.to_owned()]
}

/// Prometheus counts in floating point.
#[expect(clippy::cast_precision_loss, reason = "what a graph shows need not be exact beyond 2^53")]
fn decimal(of: u64) -> f64 {
    of as f64
}

impl Metrics {
    /// Shows the cluster as it is seen; nothing while it cannot be. `age` is for how many seconds it has been silent.
    pub(crate) fn inventory(&self, seen: Option<&Snapshot>, age: u64) {
        let inventory = &self.0.inventory;
        inventory.age.set(gauge(age));
        inventory.clear();
        if let Some(snapshot) = seen {
            inventory.tell(snapshot);
        }
    }
}
