//! What things cost: a declarative table of dollars a month, turned into a rate with its line items.
//!
//! Prices are decimal texts, read exactly; there is no floating point. A month has 730 hours. Every line is rounded up to
//! the smallest step of a rate, so the sum never falls below the table. What has no price is not sold: never a guess.

mod bill;
mod curve;
mod factor;
mod gpus;
mod rules;
mod usd;

use std::collections::BTreeMap;

use manifests::decision::{LineItem, Placement, Reason};
use manifests::gpu::Gpu;
use manifests::money::Rate;
use serde::{Deserialize, Serialize};

pub(crate) use self::rules::Situation;
pub use self::usd::{PriceError, UsdPerMonth};

use self::bill::Bill;
use self::curve::{Curves, Resource};
use self::factor::Factor;
use self::gpus::{GpuEntry, GpuPrice};
use self::rules::Rule;
use crate::capacity::Capacity;
use crate::demand::Demand;

/// What an operator asks for what it sells.
///
/// Written as a table, in any format that serde reads:
///
/// ```
/// let tariff: bidengine::Tariff = serde_yaml::from_str(
///     r#"
///     cpuThread: "1.60"
///     memoryGiB: "0.80"
///     ephemeralGiB: "0.02"
///     endpoint: "0.05"
///     storageGiB: {ram: "0.80"}
///     gpu:
///       - {model: h100, ram: 80Gi, interface: sxm, monthly: "1980"}
///       - {model: rtx4090, monthly: "285"}
///     minimumMonthly: "1.00"
///     curves:
///       gpu: [{used: "0.5", multiply: "1"}, {used: "1", multiply: "1.5"}]
///     rules:
///       - {name: night, match: {hours: "22:00-06:00"}, multiply: "0.8"}
///       - {name: full of GPU jobs, match: {gpu: false, gpusFreeBelow: 1}, decline: true}
///     "#,
/// )?;
/// let gpu = "h100-80Gi-sxm".parse()?;
/// assert_eq!(tariff.gpu_price(&gpu).expect("is in the table").to_string(), "1980");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Table", into = "Table")]
pub struct Tariff {
    table: Table,
    // Made from the table; no two entries speak of the same devices.
    gpus: Vec<GpuEntry>,
}

/// A tariff as it is written: dollars a month, for one thread, GiB, endpoint, address or GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Table {
    cpu_thread: UsdPerMonth,
    #[serde(rename = "memoryGiB")]
    memory_gib: UsdPerMonth,
    #[serde(rename = "ephemeralGiB")]
    ephemeral_gib: UsdPerMonth,
    endpoint: UsdPerMonth,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ip: Option<UsdPerMonth>,
    #[serde(rename = "storageGiB", default)]
    storage_gib: BTreeMap<String, UsdPerMonth>,
    #[serde(default)]
    gpu: Vec<GpuPrice>,
    #[serde(default)]
    minimum_monthly: UsdPerMonth,
    #[serde(default, skip_serializing_if = "Curves::is_empty")]
    curves: Curves,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rules: Vec<Rule>,
}

/// Why a table is not a tariff.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TariffError {
    /// A GPU price that describes no device.
    #[error("the price of GPU model {model} cannot be used: {problem}")]
    Gpu {
        /// The model as written.
        model: String,
        /// What is wrong, and what to write.
        problem: String,
    },
    /// Two prices for the same devices.
    #[error("GPU model {model} has two prices for the same memory and interface: remove one")]
    GpuTwice {
        /// The model as written.
        model: String,
    },
    /// A rule that cannot be followed.
    #[error("{0}")]
    Rule(String),
}

impl TryFrom<Table> for Tariff {
    type Error = TariffError;

    fn try_from(table: Table) -> Result<Self, TariffError> {
        let mut gpus: Vec<GpuEntry> = Vec::new();
        for price in &table.gpu {
            let entry = GpuEntry::read(price)
                .map_err(|problem| TariffError::Gpu { model: price.model.clone(), problem })?;
            if gpus.iter().any(|earlier| earlier.speaks_of_the_same(&entry)) {
                return Err(TariffError::GpuTwice { model: price.model.clone() });
            }
            gpus.push(entry);
        }
        match table.rules.iter().find_map(Rule::problem) {
            Some(problem) => Err(TariffError::Rule(problem)),
            None => Ok(Self { table, gpus }),
        }
    }
}

impl From<Tariff> for Table {
    fn from(tariff: Tariff) -> Self {
        tariff.table
    }
}

impl Tariff {
    /// What one device of the pool costs: the most specific price that describes it. `None` means that it is not sold.
    #[must_use]
    pub fn gpu_price(&self, gpu: &Gpu) -> Option<UsdPerMonth> {
        let best =
            self.gpus.iter().filter(|entry| entry.matches(gpu)).max_by_key(|entry| entry.specificity())?;
        Some(best.monthly)
    }

    /// Whether persistent volumes of a class have a price. Without one they are not sold.
    #[must_use]
    pub fn sells_storage(&self, class: &str) -> bool {
        self.table.storage_gib.contains_key(class)
    }

    /// Whether a leased address has a price. Without one none is leased.
    #[must_use]
    pub fn leases_addresses(&self) -> bool {
        self.table.ip.is_some()
    }

    /// What devices of a pool cost while the cluster is used as it is, rules aside. `None` means that it is not sold.
    pub(crate) fn gpu_rate(&self, pool: &Gpu, devices: u128, capacity: &Capacity) -> Option<Rate> {
        let rate = self.gpu_price(pool)?.rate_of_each_up(devices);
        let factor = self.table.curves.factor(Resource::Gpu(pool), capacity);
        let rate = match factor {
            Some((_, factor)) => rate.and_then(|rate| factor.times_up(rate)),
            None => rate,
        };
        Some(rate.unwrap_or(Rate::MAX))
    }

    /// Whether the operator's rules let the order be served.
    pub(crate) fn admit(&self, situation: &Situation<'_>) -> Result<(), Reason> {
        rules::admit(&self.table.rules, situation)
    }

    /// What a group costs where it was placed, with one line for each sort of thing; the lines add up to the rate. A price
    /// above what a rate can hold comes out as [`Rate::MAX`].
    pub(crate) fn price_all(
        &self,
        demands: &[Demand],
        placement: &Placement,
        situation: &Situation<'_>,
    ) -> Result<(Rate, Vec<LineItem>), Reason> {
        const GIB: u128 = 1 << 30;
        const THREAD: u128 = 1000;
        let total = |amount: fn(&Demand) -> u64| -> u128 {
            demands.iter().map(|demand| u128::from(amount(demand)) * u128::from(demand.count)).sum()
        };
        let table = &self.table;
        let rules = rules::factors(&table.rules, situation);
        // The curve of a resource first, then the rules in their order.
        let factors = |resource: Option<Resource<'_>>| -> Vec<(String, Factor)> {
            let curve = resource.and_then(|resource| table.curves.factor(resource, situation.capacity));
            let curve = curve.map(|(used, by)| (format!("{} % used", used.percent()), by));
            curve.into_iter().chain(rules.iter().map(|(name, by)| ((*name).to_owned(), *by))).collect()
        };
        let mut bill = Bill::default();
        let mut add = |what: String, quantity: String, rate: Option<Rate>, resource: Option<Resource<'_>>| {
            bill.add(what, quantity, rate, &factors(resource));
        };
        let cpu = total(|demand| demand.cpu_milli);
        let rate = table.cpu_thread.rate_up(cpu, THREAD);
        add("cpu".to_owned(), format!("{cpu} milli-cpu"), rate, Some(Resource::Cpu));
        let memory = total(|demand| demand.memory_bytes);
        let rate = table.memory_gib.rate_up(memory, GIB);
        add("memory".to_owned(), format!("{memory} bytes"), rate, Some(Resource::Memory));
        let ephemeral = total(|demand| demand.ephemeral_bytes);
        let rate = table.ephemeral_gib.rate_up(ephemeral, GIB);
        add("ephemeral".to_owned(), format!("{ephemeral} bytes"), rate, Some(Resource::Ephemeral));
        for (class, bytes) in volumes_by_class(demands) {
            let price = table
                .storage_gib
                .get(class)
                .ok_or_else(|| Reason::PriceClassMissing { class: class.to_owned() })?;
            let resource = if class == RAM { Resource::Memory } else { Resource::Storage(class) };
            let rate = price.rate_up(bytes, GIB);
            add(format!("storage {class}"), format!("{bytes} bytes"), rate, Some(resource));
        }
        for (pool, count) in gpus_by_pool(placement) {
            let missing = || Reason::PriceGpuMissing { pool: pool.to_owned() };
            let gpu: Gpu = pool.parse().map_err(|_| missing())?;
            let price = self.gpu_price(&gpu).ok_or_else(missing)?;
            let rate = price.rate_of_each_up(count);
            add(format!("gpu {}", gpu.path()), format!("{count} gpu"), rate, Some(Resource::Gpu(&gpu)));
        }
        let endpoints = total(|demand| demand.endpoints);
        add(
            "endpoint".to_owned(),
            format!("{endpoints} endpoint"),
            table.endpoint.rate_up(endpoints, 1),
            None,
        );
        let addresses = u128::from(placement.leased_ips);
        if addresses > 0 {
            let price = table.ip.ok_or(Reason::IpUnavailable)?;
            add("ip".to_owned(), format!("{addresses} address"), price.rate_up(addresses, 1), None);
        }
        let least = table.minimum_monthly.rate_up(1, 1).unwrap_or(Rate::MAX);
        Ok(bill.lifted_to(least.scaled().max(SMALLEST)))
    }
}

/// The class of volumes that are kept in memory.
const RAM: &str = "ram";

/// The least that the market can count: a bid of nothing is refused there.
const SMALLEST: u128 = 1;

/// Volumes that are priced by class, ephemeral ones aside.
fn volumes_by_class(demands: &[Demand]) -> BTreeMap<&str, u128> {
    let mut classes: BTreeMap<&str, u128> = BTreeMap::new();
    for demand in demands {
        let ram = (demand.ram_volume_bytes > 0).then_some((RAM, demand.ram_volume_bytes));
        let persistent = demand.persistent.iter().map(|(class, bytes)| (class.as_str(), *bytes));
        for (class, bytes) in ram.into_iter().chain(persistent) {
            *classes.entry(class).or_default() += u128::from(bytes) * u128::from(demand.count);
        }
    }
    classes
}

fn gpus_by_pool(placement: &Placement) -> BTreeMap<&str, u128> {
    let mut pools: BTreeMap<&str, u128> = BTreeMap::new();
    for gpu in placement.replicas.iter().filter_map(|replica| replica.takes.gpu.as_ref()) {
        *pools.entry(gpu.pool.as_str()).or_default() += u128::from(gpu.count);
    }
    pools
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tariff_survives_being_stored() {
        let tariff: Tariff = serde_yaml::from_str(
            r#"
            {cpuThread: "1", memoryGiB: "1", ephemeralGiB: "1", endpoint: "1",
             gpu: [{model: h100, ram: 80Gi, monthly: "1980.50"}],
             curves: {gpu: [{used: "0.5", multiply: "1"}, {used: "1", multiply: "1.5"}]},
             rules: [{name: night, match: {days: [sat], hours: "22:00-06:00"}, multiply: "0.8"},
                     {name: no more, match: {gpusFreeBelow: 1}, decline: true}]}
            "#,
        )
        .expect("is a tariff");
        let stored = serde_json::to_string(&tariff).expect("is JSON");
        assert_eq!(serde_json::from_str::<Tariff>(&stored).expect("reads back"), tariff);
    }
}
