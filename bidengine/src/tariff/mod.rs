//! What things cost: a declarative table of prices a month, turned into a rate with its line items.
//!
//! Prices are decimal texts, read exactly; there is no floating point. A month has 730 hours. Every line is rounded up to
//! the smallest step of a rate, so the sum never falls below the table. What has no price is not sold: never a guess.

mod bill;
mod cost;
mod curve;
mod exchange;
mod factor;
mod gpus;
mod monthly;
mod reserve;
mod rules;
mod usage;

use std::collections::BTreeMap;

use manifests::decision::{LineItem, Placement, Reason};
use manifests::gpu::Gpu;
use manifests::money::Rate;
use serde::{Deserialize, Serialize};

pub use self::monthly::{PerMonth, PriceError};
pub(crate) use self::reserve::Reserve;
pub(crate) use self::rules::Situation;
pub(crate) use self::usage::Usage;

use self::bill::{Bill, Factors};
use self::curve::Curves;
use self::exchange::{Exchange, FxTerms};
use self::factor::{Factor, Share};
use self::gpus::{GpuEntry, GpuPrice};
use self::rules::Rule;
use self::usage::Resource;
use crate::demand::Demand;
use crate::quoted::Quoted;

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

/// A tariff as it is written: money a month, for one thread, GiB, endpoint, address or GPU. A port on the nodes' addresses is
/// an endpoint like a host name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Table {
    cpu_thread: PerMonth,
    #[serde(rename = "memoryGiB")]
    memory_gib: PerMonth,
    #[serde(rename = "ephemeralGiB")]
    ephemeral_gib: PerMonth,
    endpoint: PerMonth,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ip: Option<PerMonth>,
    #[serde(rename = "storageGiB", default)]
    storage_gib: BTreeMap<String, PerMonth>,
    #[serde(default)]
    gpu: Vec<GpuPrice>,
    #[serde(default)]
    minimum_monthly: PerMonth,
    /// The currency of all that, when it is not the dollar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fx: Option<FxTerms>,
    /// What the operator pays itself for what it sells, in prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cost: Option<Box<Tariff>>,
    /// The same as a part of the prices, before curves and rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cost_share: Option<Share>,
    /// How much of the cost a bid must bring on top of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    minimum_margin: Option<Factor>,
    #[serde(default, skip_serializing_if = "Reserve::is_nothing")]
    reserve: Reserve,
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
    /// Costs that leave a doubt.
    #[error("{0}")]
    Cost(String),
    /// A currency that cannot be exchanged.
    #[error("{0}")]
    Fx(String),
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
        if let Some(problem) = table.rules.iter().find_map(Rule::problem) {
            return Err(TariffError::Rule(problem));
        }
        if let Some(problem) = table.fx.as_ref().and_then(FxTerms::problem) {
            return Err(TariffError::Fx(problem));
        }
        let tariff = Self { table, gpus };
        tariff.check_costs()?;
        Ok(tariff)
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
    pub fn gpu_price(&self, gpu: &Gpu) -> Option<PerMonth> {
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

    /// The currency that prices are in, when it is not the dollar.
    #[must_use]
    pub fn currency(&self) -> Option<&str> {
        self.table.fx.as_ref().map(FxTerms::currency)
    }

    /// What orders without GPUs leave alone.
    pub(crate) fn reserve(&self) -> Reserve {
        self.table.reserve
    }

    /// What devices of a pool cost while the cluster is used as it is, rules aside and in the table's currency: for telling the
    /// cheaper pool. `None` means that it is not sold.
    pub(crate) fn gpu_rate(&self, pool: &Gpu, devices: u128, usage: &Usage<'_>) -> Option<Rate> {
        let rate = self.gpu_price(pool)?.rate_of_each_up(devices);
        let factor = self.table.curves.factor(Resource::Gpu(pool), usage);
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

    /// What a group costs where it was placed: with one line for each sort of thing, or as the operator's program wants it.
    /// The lines add up to the rate. A price above what a rate can hold comes out as [`Rate::MAX`].
    pub(crate) fn price_all(
        &self,
        demands: &[Demand],
        placement: &Placement,
        situation: &Situation<'_>,
        quoted: Option<&Quoted>,
    ) -> Result<Price, Reason> {
        let exchange = match &self.table.fx {
            Some(terms) => terms.at(situation.now, situation.fx)?,
            None => Exchange::default(),
        };
        let bill = match quoted {
            None => self.table_price(demands, placement, situation, &exchange)?,
            Some(Quoted::Failed { problem }) => return Err(Reason::PriceHook { problem: problem.clone() }),
            Some(Quoted::Priced { rate, answer }) => {
                let mut bill = Bill::default();
                bill.add("hook".to_owned(), answer.clone(), Some(*rate), &[]);
                bill
            }
        };
        let in_tokens = |rate: Option<Rate>| match &exchange.factor {
            Some((_, by)) => rate.and_then(|rate| by.times_up(rate)),
            None => rate,
        };
        let minimum = in_tokens(self.table.minimum_monthly.rate_up(1, 1)).unwrap_or(Rate::MAX);
        let minimum = minimum.scaled().max(SMALLEST);
        let (rate, items) = bill.lifted_to(minimum);
        let floor = match self.least(demands, placement, &exchange)? {
            Some(least) if rate < least => return Err(Reason::BelowMargin { need: least, have: rate }),
            // Where costs are known, less than the price may be worth it too.
            Some(least) if least.scaled() >= minimum => least,
            Some(_) => Rate::new(minimum).unwrap_or(rate).min(rate),
            None => rate,
        };
        Ok(Price { rate, floor, items, warnings: exchange.warning.into_iter().collect() })
    }

    fn table_price(
        &self,
        demands: &[Demand],
        placement: &Placement,
        situation: &Situation<'_>,
        exchange: &Exchange,
    ) -> Result<Bill, Reason> {
        let table = &self.table;
        let rules = rules::factors(&table.rules, situation);
        // The currency first, then the curve of a resource, then the rules in their order.
        let factors = |resource: Option<Resource<'_>>| -> Factors {
            let curve = resource.and_then(|resource| table.curves.factor(resource, situation.usage));
            let curve = curve.map(|(used, by)| (format!("{} % used", used.percent()), by));
            let rules = rules.iter().map(|(name, by)| ((*name).to_owned(), *by));
            exchange.factor.clone().into_iter().chain(curve).chain(rules).collect()
        };
        Self::lines(&[self], demands, placement, &factors)
    }

    /// One line for each sort of thing, times the factors for it. What not every table names has the price of the first of
    /// these tariffs that does.
    fn lines(
        tariffs: &[&Self],
        demands: &[Demand],
        placement: &Placement,
        factors: &dyn Fn(Option<Resource<'_>>) -> Factors,
    ) -> Result<Bill, Reason> {
        const GIB: u128 = 1 << 30;
        const THREAD: u128 = 1000;
        let total = |amount: fn(&Demand) -> u64| -> u128 {
            demands.iter().map(|demand| u128::from(amount(demand)) * u128::from(demand.count)).sum()
        };
        let first =
            |price: &dyn Fn(&Self) -> Option<PerMonth>| tariffs.iter().find_map(|tariff| price(tariff));
        let table = &tariffs[0].table;
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
            let price = first(&|tariff| tariff.table.storage_gib.get(class).copied())
                .ok_or_else(|| Reason::PriceClassMissing { class: class.to_owned() })?;
            let resource = if class == RAM { Resource::Memory } else { Resource::Storage(class) };
            let rate = price.rate_up(bytes, GIB);
            add(format!("storage {class}"), format!("{bytes} bytes"), rate, Some(resource));
        }
        for (pool, count) in placement.gpus() {
            let missing = || Reason::PriceGpuMissing { pool: pool.to_owned() };
            let gpu: Gpu = pool.parse().map_err(|_| missing())?;
            let price = first(&|tariff| tariff.gpu_price(&gpu)).ok_or_else(missing)?;
            let rate = price.rate_of_each_up(u128::from(count));
            add(format!("gpu {}", gpu.path()), format!("{count} gpu"), rate, Some(Resource::Gpu(&gpu)));
        }
        let endpoints = total(|demand| demand.endpoints);
        let rate = table.endpoint.rate_up(endpoints, 1);
        add("endpoint".to_owned(), format!("{endpoints} endpoint"), rate, None);
        let addresses = u128::from(placement.leased_ips);
        if addresses > 0 {
            let price = first(&|tariff| tariff.table.ip).ok_or(Reason::IpUnavailable)?;
            add("ip".to_owned(), format!("{addresses} address"), price.rate_up(addresses, 1), None);
        }
        Ok(bill)
    }
}

/// What a group costs, and why.
pub(crate) struct Price {
    pub(crate) rate: Rate,
    /// The least for which it is still worth it; never above the rate.
    pub(crate) floor: Rate,
    pub(crate) items: Vec<LineItem>,
    /// What the tenant is to be told of it.
    pub(crate) warnings: Vec<String>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tariff_survives_being_stored() {
        let tariff: Tariff = serde_yaml::from_str(
            r#"
            {cpuThread: "1", memoryGiB: "1", ephemeralGiB: "1", endpoint: "1",
             gpu: [{model: h100, ram: 80Gi, monthly: "1980.50"}],
             fx: {currency: EUR, maxStalenessSecs: 900, onStale: useLast}, minimumMargin: "0.1",
             cost: {cpuThread: "0.5", memoryGiB: "0", ephemeralGiB: "0", endpoint: "0"},
             reserve: {cpuPerGpu: "8", memoryGiBPerGpu: "64"},
             curves: {gpu: [{used: "0.5", multiply: "1"}, {used: "1", multiply: "1.5"}]},
             rules: [{name: night, match: {days: [sat], hours: "22:00-06:00"}, multiply: "0.8"},
                     {name: full, match: {usedAbove: {gpu: "0.9"}, usedBelow: {cpu: "0.5"}}, multiply: "2"},
                     {name: no more, match: {gpusFreeBelow: 1}, decline: true}]}
            "#,
        )
        .expect("is a tariff");
        let stored = serde_json::to_string(&tariff).expect("is JSON");
        assert_eq!(serde_json::from_str::<Tariff>(&stored).expect("reads back"), tariff);
    }

    #[test]
    fn terms_that_leave_a_doubt_are_refused_with_what_to_do() {
        let prices = r#"cpuThread: "1", memoryGiB: "1", ephemeralGiB: "1", endpoint: "1""#;
        for (more, problem) in [
            ("fx: {currency: euro, maxStalenessSecs: 900}".to_owned(), "three capital letters"),
            ("fx: {currency: USD, maxStalenessSecs: 900}".to_owned(), "leave fx out"),
            ("fx: {currency: EUR, maxStalenessSecs: 0}".to_owned(), "a second old"),
            ("fx: {currency: EUR, maxStalenessSecs: 9, onStale: guess}".to_owned(), "guess"),
            ("minimumMargin: '0.1'".to_owned(), "write cost or costShare"),
            (format!("costShare: '0.1', cost: {{{prices}}}"), "leave one out"),
            (format!("cost: {{{prices}, minimumMonthly: '1'}}"), "more than prices"),
            ("costShare: '1.1'".to_owned(), "not a share"),
            ("reserve: {cpuPerGPU: '1'}".to_owned(), "cpuPerGPU"),
        ] {
            let error = serde_yaml::from_str::<Tariff>(&format!("{{{prices}, {more}}}")).expect_err(&more);
            assert!(error.to_string().contains(problem), "{error}");
        }
    }
}
