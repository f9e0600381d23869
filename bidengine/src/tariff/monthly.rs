//! Money a month, and the rates it comes to.

use std::fmt;
use std::str::FromStr;

use manifests::money::{RATE_SCALE, Rate, SECONDS_PER_MONTH, UNITS_PER_TOKEN};
use serde::{Deserialize, Serialize};

use crate::decimal::{Decimal, NANO};

/// Money a month of 730 hours, in dollars or in the currency of the tariff it stands in, exact to the billionth. Written as a
/// decimal text such as `"1.60"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PerMonth(Decimal);

/// A text is not a price.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a price: write money a month as a decimal in quotes, such as \"1.60\", with at most nine decimals"
)]
pub struct PriceError(String);

impl FromStr for PerMonth {
    type Err = PriceError;

    fn from_str(text: &str) -> Result<Self, PriceError> {
        text.parse().map(Self).map_err(|_| PriceError(text.to_owned()))
    }
}

impl fmt::Display for PerMonth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Decimal> for PerMonth {
    fn from(decimal: Decimal) -> Self {
        Self(decimal)
    }
}

impl PerMonth {
    /// The rate of `count` things, each of this price and each rounded up, so that splitting them changes nothing; `None`
    /// above what a rate can be.
    pub(super) fn rate_of_each_up(self, count: u128) -> Option<Rate> {
        Rate::new(self.rate_up(1, 1)?.scaled().checked_mul(count)?).ok()
    }

    /// The rate of `quantity` when the price is for `unit` of it, rounded up; `None` above what a rate can be.
    pub(crate) fn rate_up(self, quantity: u128, unit: u128) -> Option<Rate> {
        // A billionth of a dollar is this many steps of a rate times seconds.
        const STEPS: u128 = UNITS_PER_TOKEN * RATE_SCALE / NANO as u128;
        let steps = u128::from(self.0.nano).checked_mul(quantity)?.checked_mul(STEPS)?;
        Rate::new(steps.div_ceil(unit.checked_mul(SECONDS_PER_MONTH)?)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(text: &str) -> PerMonth {
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
            let error = text.parse::<PerMonth>().expect_err(text);
            assert!(error.to_string().contains("in quotes"), "{error}");
        }
    }

    #[test]
    fn a_price_never_passes_through_a_float() {
        let error = serde_yaml::from_str::<PerMonth>("1.60").expect_err("is a number").to_string();
        assert!(error.contains("in quotes"), "{error}");
        assert!(serde_json::from_str::<PerMonth>("1.60").is_err());
        assert_eq!(serde_json::from_str::<PerMonth>("\"1.60\"").expect("is a text"), usd("1.60"));
        assert_eq!(serde_yaml::from_str::<PerMonth>("5").expect("is whole"), usd("5"));
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
}
