//! What things cost: a declarative table of dollars a month, turned into a rate with its line items.
//!
//! Prices are decimal texts, read exactly; there is no floating point. A month has 730 hours. Every line is rounded up to
//! the smallest step of a rate, so the sum never falls below the table. What has no price is not sold: never a guess.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use manifests::decision::{LineItem, Placement, Reason};
use manifests::gpu::{Gpu, GpuRequest, Interface, VENDOR};
use manifests::group::OrderSpec;
use manifests::money::{RATE_SCALE, Rate, SECONDS_PER_MONTH, UNITS_PER_TOKEN};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::demand::{Demand, demands};

/// Dollars a month, exact to the billionth. Written as a decimal text such as `"1.60"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UsdPerMonth {
    nano: u64,
}

/// Billionths in a dollar.
const NANO: u64 = 1_000_000_000;
const DECIMALS: usize = 9;

/// A text is not a price.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a price: write dollars a month as a decimal in quotes, such as \"1.60\", with at most nine decimals"
)]
pub struct PriceError(String);

impl FromStr for UsdPerMonth {
    type Err = PriceError;

    fn from_str(text: &str) -> Result<Self, PriceError> {
        let wrong = || PriceError(text.to_owned());
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > DECIMALS {
            return Err(wrong());
        }
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        let fraction: u64 = format!("{fraction:0<DECIMALS$}").parse().map_err(|_| wrong())?;
        let nano = whole.checked_mul(NANO).and_then(|nano| nano.checked_add(fraction)).ok_or_else(wrong)?;
        Ok(Self { nano })
    }
}

impl fmt::Display for UsdPerMonth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.nano / NANO, self.nano % NANO);
        let text = format!("{whole}.{fraction:09}");
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Serialize for UsdPerMonth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UsdPerMonth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PriceVisitor)
    }
}

/// Takes texts and whole numbers; a number with a point has been through a float and is refused.
struct PriceVisitor;

impl de::Visitor<'_> for PriceVisitor {
    type Value = UsdPerMonth;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dollars a month as a decimal in quotes, such as \"1.60\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<UsdPerMonth, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, whole: u64) -> Result<UsdPerMonth, E> {
        self.visit_str(&whole.to_string())
    }
}

impl UsdPerMonth {
    /// The rate of `count` things, each of this price and each rounded up, so that splitting them changes nothing; `None`
    /// above what a rate can be.
    pub(crate) fn rate_of_each_up(self, count: u128) -> Option<Rate> {
        Rate::new(self.rate_up(1, 1)?.scaled().checked_mul(count)?).ok()
    }

    /// The rate of `quantity` when the price is for `unit` of it, rounded up; `None` above what a rate can be.
    fn rate_up(self, quantity: u128, unit: u128) -> Option<Rate> {
        // A billionth of a dollar is this many steps of a rate times seconds.
        const STEPS: u128 = UNITS_PER_TOKEN * RATE_SCALE / NANO as u128;
        let steps = u128::from(self.nano).checked_mul(quantity)?.checked_mul(STEPS)?;
        Rate::new(steps.div_ceil(unit.checked_mul(SECONDS_PER_MONTH)?)).ok()
    }
}

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
}

/// What one GPU costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GpuPrice {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vendor: Option<String>,
    /// As tenants name it; `*` stands for every whole card whose product is known.
    model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ram: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    monthly: UsdPerMonth,
}

/// A price of a GPU, read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct GpuEntry {
    /// `None` for the wildcard.
    model: Option<GpuRequest>,
    ram_gib: Option<u32>,
    interface: Option<Interface>,
    monthly: UsdPerMonth,
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
        Ok(Self { table, gpus })
    }
}

impl From<Tariff> for Table {
    fn from(tariff: Tariff) -> Self {
        tariff.table
    }
}

impl GpuEntry {
    fn read(price: &GpuPrice) -> Result<Self, String> {
        let GpuPrice { vendor, model, ram, interface, monthly } = price;
        let vendor = vendor.as_deref().unwrap_or(VENDOR);
        let model = match model.as_str() {
            "*" if vendor == VENDOR => None,
            _ => {
                let key = format!("vendor/{vendor}/model/{model}");
                Some(GpuRequest::from_keys([key.as_str()]).map_err(|error| error.to_string())?)
            }
        };
        let ram_gib = match ram {
            None => None,
            Some(text) => {
                let gib = text.strip_suffix("Gi").and_then(|digits| digits.parse().ok());
                Some(gib.ok_or_else(|| format!("ram \"{text}\" is not a whole number of Gi, such as 80Gi"))?)
            }
        };
        let interface = match interface {
            None => None,
            Some(word) => Some(
                Interface::from_word(word)
                    .ok_or_else(|| format!("interface \"{word}\" is neither pcie nor sxm"))?,
            ),
        };
        Ok(Self { model, ram_gib, interface, monthly: *monthly })
    }

    fn speaks_of_the_same(&self, other: &Self) -> bool {
        (&self.model, self.ram_gib, self.interface) == (&other.model, other.ram_gib, other.interface)
    }

    fn matches(&self, gpu: &Gpu) -> bool {
        let model = match &self.model {
            Some(model) => model.matches(gpu),
            None => !gpu.is_mig() && !gpu.is_unknown(),
        };
        model
            && self.ram_gib.is_none_or(|gib| gib == gpu.ram_gib())
            && self.interface.is_none_or(|interface| Some(interface) == gpu.interface())
    }

    /// A named model says more than the wildcard, memory more than the interface.
    fn specificity(&self) -> (bool, bool, bool) {
        (self.model.is_some(), self.ram_gib.is_some(), self.interface.is_some())
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

    /// What a group costs where it was placed, with one line for each sort of thing; the lines add up to the rate.
    ///
    /// A price above what a rate can hold comes out as [`Rate::MAX`].
    ///
    /// # Errors
    /// The thing that has no price, or a spec that cannot be used.
    pub fn price(&self, spec: &OrderSpec, placement: &Placement) -> Result<(Rate, Vec<LineItem>), Reason> {
        let demands = demands(spec).map_err(|problem| Reason::SpecInvalid { problem })?;
        self.price_all(&demands, placement)
    }

    pub(crate) fn price_all(
        &self,
        demands: &[Demand],
        placement: &Placement,
    ) -> Result<(Rate, Vec<LineItem>), Reason> {
        const GIB: u128 = 1 << 30;
        const THREAD: u128 = 1000;
        let total = |amount: fn(&Demand) -> u64| -> u128 {
            demands.iter().map(|demand| u128::from(amount(demand)) * u128::from(demand.count)).sum()
        };
        let table = &self.table;
        let mut bill = Bill::default();
        let cpu = total(|demand| demand.cpu_milli);
        bill.add("cpu".to_owned(), format!("{cpu} milli-cpu"), table.cpu_thread.rate_up(cpu, THREAD));
        let memory = total(|demand| demand.memory_bytes);
        bill.add("memory".to_owned(), format!("{memory} bytes"), table.memory_gib.rate_up(memory, GIB));
        let ephemeral = total(|demand| demand.ephemeral_bytes);
        bill.add(
            "ephemeral".to_owned(),
            format!("{ephemeral} bytes"),
            table.ephemeral_gib.rate_up(ephemeral, GIB),
        );
        for (class, bytes) in volumes_by_class(demands) {
            let price = table
                .storage_gib
                .get(class)
                .ok_or_else(|| Reason::PriceClassMissing { class: class.to_owned() })?;
            bill.add(format!("storage {class}"), format!("{bytes} bytes"), price.rate_up(bytes, GIB));
        }
        for (pool, count) in gpus_by_pool(placement) {
            let missing = || Reason::PriceGpuMissing { pool: pool.to_owned() };
            let gpu: Gpu = pool.parse().map_err(|_| missing())?;
            let price = self.gpu_price(&gpu).ok_or_else(missing)?;
            bill.add(format!("gpu {}", gpu.path()), format!("{count} gpu"), price.rate_of_each_up(count));
        }
        let endpoints = total(|demand| demand.endpoints);
        bill.add(
            "endpoint".to_owned(),
            format!("{endpoints} endpoint"),
            table.endpoint.rate_up(endpoints, 1),
        );
        let addresses = u128::from(placement.leased_ips);
        if addresses > 0 {
            let price = table.ip.ok_or(Reason::IpUnavailable)?;
            bill.add("ip".to_owned(), format!("{addresses} address"), price.rate_up(addresses, 1));
        }
        let least = table.minimum_monthly.rate_up(1, 1).unwrap_or(Rate::MAX);
        Ok(bill.lifted_to(least.scaled().max(SMALLEST)))
    }
}

/// The least that the market can count: a bid of nothing is refused there.
const SMALLEST: u128 = 1;

/// Volumes that are priced by class, ephemeral ones aside.
fn volumes_by_class(demands: &[Demand]) -> BTreeMap<&str, u128> {
    let mut classes: BTreeMap<&str, u128> = BTreeMap::new();
    for demand in demands {
        let ram = (demand.ram_volume_bytes > 0).then_some(("ram", demand.ram_volume_bytes));
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

/// Lines that add up.
#[derive(Default)]
struct Bill {
    items: Vec<LineItem>,
    rate: Rate,
}

impl Bill {
    /// Adds a line unless it costs nothing; `None` is a rate that is too large.
    fn add(&mut self, what: String, quantity: String, rate: Option<Rate>) {
        let rate = rate.unwrap_or(Rate::MAX);
        if rate == Rate::ZERO {
            return;
        }
        self.rate = self.rate.checked_add(rate).unwrap_or(Rate::MAX);
        self.items.push(LineItem { what, quantity, rate });
    }

    fn lifted_to(mut self, least: u128) -> (Rate, Vec<LineItem>) {
        let missing = least.saturating_sub(self.rate.scaled());
        self.add("minimum".to_owned(), "1 group".to_owned(), Rate::new(missing).ok());
        (self.rate, self.items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(text: &str) -> UsdPerMonth {
        text.parse().expect(text)
    }

    #[test]
    fn prices_are_read_exactly_and_printed_as_short_as_they_are() {
        for (text, printed) in
            [("1.60", "1.6"), ("0", "0"), ("0.000000001", "0.000000001"), ("1980", "1980"), ("007.5", "7.5")]
        {
            assert_eq!(usd(text).to_string(), printed);
        }
        for text in ["", ".5", "5.", "-1", "+1", "1e3", "1,60", "1.0000000001", "20000000000", " 1", "free"] {
            let error = text.parse::<UsdPerMonth>().expect_err(text);
            assert!(error.to_string().contains("in quotes"), "{error}");
        }
    }

    #[test]
    fn a_price_never_passes_through_a_float() {
        let error = serde_yaml::from_str::<UsdPerMonth>("1.60").expect_err("is a number").to_string();
        assert!(error.contains("in quotes"), "{error}");
        assert!(serde_json::from_str::<UsdPerMonth>("1.60").is_err());
        assert_eq!(serde_json::from_str::<UsdPerMonth>("\"1.60\"").expect("is a text"), usd("1.60"));
        assert_eq!(serde_yaml::from_str::<UsdPerMonth>("5").expect("is whole"), usd("5"));
    }

    #[test]
    fn a_rate_is_rounded_up_to_its_smallest_step() {
        // 2.628 dollars a month of 2,628,000 seconds are a unit (a millionth of a dollar) a second.
        assert_eq!(usd("2.628").rate_up(1, 1).map(Rate::scaled), Some(RATE_SCALE));
        assert_eq!(usd("0.000000001").rate_up(1, 1).map(Rate::scaled), Some(1));
        assert_eq!(usd("0.000000001").rate_up(1, 1 << 30).map(Rate::scaled), Some(1));
        assert_eq!(usd("0").rate_up(1 << 40, 1 << 30).map(Rate::scaled), Some(0));
        assert_eq!(usd("18000000000").rate_up(u128::from(u64::MAX), 1), None);
    }

    fn tariff(gpu: &str) -> Result<Tariff, serde_yaml::Error> {
        serde_yaml::from_str(&format!(
            "{{cpuThread: '1', memoryGiB: '1', ephemeralGiB: '1', endpoint: '1', gpu: {gpu}}}"
        ))
    }

    #[test]
    fn the_most_specific_price_of_a_gpu_counts() {
        let tariff = tariff(
            "[{model: '*', monthly: '1'}, {model: '*', ram: 80Gi, monthly: '2'}, {model: h100, monthly: '3'},
              {model: h100, interface: sxm, monthly: '4'}, {model: h100, ram: 94Gi, monthly: '5'},
              {model: h100, ram: 80Gi, interface: sxm5, monthly: '6'}, {model: 4090, monthly: '7'},
              {model: h100.mig-1g.10gb, monthly: '8'}]",
        )
        .expect("is a tariff");
        for (gpu, monthly) in [
            ("l4-24Gi-pcie", Some("1")),
            ("a100-80Gi-sxm", Some("2")),
            ("h100-80Gi-pcie", Some("3")),
            ("h100-96Gi-sxm", Some("4")),
            ("h100-94Gi-sxm", Some("5")),
            ("h100-80Gi-sxm", Some("6")),
            ("rtx4090-24Gi-pcie", Some("7")),
            ("h100.mig-1g.10gb-10Gi-sxm", Some("8")),
            ("h100.mig-2g.20gb-20Gi-sxm", None),
            ("unknown-10de9999-24Gi", None),
        ] {
            let price = tariff.gpu_price(&gpu.parse().expect(gpu)).map(|price| price.to_string());
            assert_eq!(price.as_deref(), monthly, "{gpu}");
        }
    }

    #[test]
    fn a_table_that_leaves_a_doubt_is_refused_with_the_line() {
        for (gpu, problem) in [
            ("[{model: h100, monthly: '1'}, {model: H100, monthly: '2'}]", "two prices"),
            ("[{model: h100, ram: 80, monthly: '1'}]", "whole number of Gi"),
            ("[{model: h100, interface: agp, monthly: '1'}]", "neither pcie nor sxm"),
            ("[{vendor: amd, model: mi300x, monthly: '1'}]", "only vendor nvidia"),
            ("[{model: h100}]", "monthly"),
            ("[{model: h100, montly: '1'}]", "montly"),
        ] {
            let error = tariff(gpu).expect_err(gpu).to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn a_tariff_survives_being_stored() {
        let tariff = tariff("[{model: h100, ram: 80Gi, monthly: '1980.50'}]").expect("is a tariff");
        let stored = serde_json::to_string(&tariff).expect("is JSON");
        assert_eq!(serde_json::from_str::<Tariff>(&stored).expect("reads back"), tariff);
    }
}
