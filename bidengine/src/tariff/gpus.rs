//! What each GPU costs: the most specific price that describes it.

use manifests::gpu::{Gpu, GpuRequest, Interface, VENDOR};
use serde::{Deserialize, Serialize};

use super::monthly::PerMonth;

/// What one GPU costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GpuPrice {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vendor: Option<String>,
    /// As tenants name it; `*` stands for every whole card whose product is known.
    pub(super) model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ram: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    /// The profile of a slice of the card, such as `1g.10gb`; the same as a model of `h100.mig-1g.10gb`. Without it the price is
    /// one for whole cards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mig: Option<String>,
    monthly: PerMonth,
}

/// A price of a GPU, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GpuEntry {
    /// `None` for the wildcard.
    model: Option<GpuRequest>,
    ram_gib: Option<u32>,
    interface: Option<Interface>,
    pub(super) monthly: PerMonth,
}

impl GpuEntry {
    pub(super) fn read(price: &GpuPrice) -> Result<Self, String> {
        let GpuPrice { vendor, model, ram, interface, mig, monthly } = price;
        let vendor = vendor.as_deref().unwrap_or(VENDOR);
        let model = match (model.as_str(), mig) {
            ("*", None) if vendor == VENDOR => None,
            ("*", Some(_)) => {
                return Err("a slice has a price by its card: write the card's model".to_owned());
            }
            (model, mig) => {
                let slice = mig.as_ref().map_or_else(String::new, |profile| format!(".mig-{profile}"));
                if mig.is_some() && model.contains('.') {
                    return Err("the model names a slice already: leave mig out".to_owned());
                }
                let key = format!("vendor/{vendor}/model/{model}{slice}");
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

    pub(super) fn speaks_of_the_same(&self, other: &Self) -> bool {
        (&self.model, self.ram_gib, self.interface) == (&other.model, other.ram_gib, other.interface)
    }

    pub(super) fn matches(&self, gpu: &Gpu) -> bool {
        let model = match &self.model {
            Some(model) => model.matches(gpu),
            None => !gpu.is_mig() && !gpu.is_unknown(),
        };
        model
            && self.ram_gib.is_none_or(|gib| gib == gpu.ram_gib())
            && self.interface.is_none_or(|interface| Some(interface) == gpu.interface())
    }

    /// A named model says more than the wildcard, memory more than the interface.
    pub(super) fn specificity(&self) -> (bool, bool, bool) {
        (self.model.is_some(), self.ram_gib.is_some(), self.interface.is_some())
    }
}

#[cfg(test)]
mod tests {
    use crate::tariff::Tariff;

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
              {model: h100.mig-1g.10gb, monthly: '8'}, {model: a100, mig: 1g.5gb, monthly: '9'}]",
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
            ("a100.mig-1g.5gb-5Gi-sxm", Some("9")),
            ("a100-40Gi-sxm", Some("1")),
            ("l4.mig-1g.5gb-5Gi-pcie", None),
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
            (
                "[{model: h100.mig-1g.10gb, monthly: '1'}, {model: h100, mig: 1g.10gb, monthly: '2'}]",
                "two prices",
            ),
            ("[{model: '*', mig: 1g.10gb, monthly: '1'}]", "write the card's model"),
            ("[{model: h100.mig-1g.10gb, mig: 1g.10gb, monthly: '1'}]", "leave mig out"),
            ("[{model: h100}]", "monthly"),
            ("[{model: h100, montly: '1'}]", "montly"),
        ] {
            let error = tariff(gpu).expect_err(gpu).to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
