//! What the operator's own pricing program is asked, in the shape that programs written for Akash read.

use std::collections::BTreeMap;

use manifests::decision::{Placement, Reason};
use manifests::gpu::{Gpu, VENDOR};
use manifests::order::Order;
use serde::Serialize;

use crate::decide::{Circumstances, Placed, place_order};
use crate::demand::Demand;
use crate::quoted::PriceUnit;

/// An order as its price is asked for: what each replica gets, after it was placed, and what is paid at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Question {
    resources: Vec<Asked>,
    price: Most,
    price_precision: u32,
}

/// One resource unit; amounts are those of one replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Asked {
    /// Bytes.
    memory: u64,
    /// Thousandths of a core.
    cpu: u64,
    gpu: AskedGpus,
    storage: Vec<AskedVolume>,
    count: u32,
    endpoint_quantity: u64,
    ip_lease_quantity: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct AskedGpus {
    units: u64,
    attributes: AskedVendors,
}

/// The chosen model by its vendor; nothing without GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
struct AskedVendors {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    vendor: BTreeMap<&'static str, AskedModel>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct AskedModel {
    model: String,
    ram: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct AskedVolume {
    class: String,
    size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Most {
    denom: &'static str,
    amount: String,
}

/// Decimals that an answer should have.
const PRECISION: u32 = 6;

/// What to ask for an order that may be served, once it is placed.
///
/// # Errors
/// The reason for which it is declined whatever its price.
pub fn question(
    order: &Order,
    circumstances: &Circumstances<'_>,
    unit: PriceUnit,
) -> Result<Question, Reason> {
    let Placed { demands, placement, .. } = place_order(order, circumstances)?;
    let (denom, amount) = unit.most_down(order.max_rate);
    Ok(Question {
        resources: demands.iter().map(|demand| asked(demand, &placement)).collect(),
        price: Most { denom, amount },
        price_precision: PRECISION,
    })
}

impl Question {
    /// The currency that the answer is in: `uact` or `usd`.
    #[must_use]
    pub fn denom(&self) -> &'static str {
        self.price.denom
    }
}

fn asked(demand: &Demand, placement: &Placement) -> Asked {
    let pool = placement.replicas.iter().find(|replica| replica.unit == demand.unit);
    let pool =
        pool.and_then(|replica| replica.takes.gpu.as_ref()).and_then(|gpu| gpu.pool.parse::<Gpu>().ok());
    let model = pool.map(|gpu| AskedModel {
        model: gpu.model().to_owned(),
        ram: format!("{}Gi", gpu.ram_gib()),
        interface: gpu.interface().map(manifests::gpu::Interface::as_str),
    });
    let volume = |class: &str, size: u64| AskedVolume { class: class.to_owned(), size };
    let plain = [("ephemeral", demand.ephemeral_bytes), ("ram", demand.ram_volume_bytes)];
    let plain = plain.into_iter().filter(|(_, size)| *size > 0).map(|(class, size)| volume(class, size));
    let persistent = demand.persistent.iter().map(|(class, size)| volume(class, *size));
    Asked {
        memory: demand.memory_bytes,
        cpu: demand.cpu_milli,
        gpu: AskedGpus {
            units: demand.gpus,
            attributes: AskedVendors { vendor: model.map(|model| (VENDOR, model)).into_iter().collect() },
        },
        storage: plain.chain(persistent).collect(),
        count: demand.count,
        endpoint_quantity: demand.endpoints,
        ip_lease_quantity: demand.leased_endpoints.len(),
    }
}
