//! What the tariff's currency is worth, as somebody told it.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::decimal::Decimal;

/// A value of the tariff's currency, who told it, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fx {
    /// How many tokens (dollars) one unit of the tariff's currency is worth.
    pub rate: FxRate,
    /// The source's name.
    pub source: String,
    /// Unix seconds of the moment for which the source told it.
    pub at: u64,
}

/// How many tokens (dollars) one unit of a currency is worth: a decimal above zero, exact to the billionth. Written as a
/// text such as `"1.08"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FxRate(NonZeroU64);

/// A text is not the worth of a currency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not the worth of a currency: write dollars for one unit of it as a decimal above zero, such as \"1.08\""
)]
pub struct FxRateError(String);

impl FxRate {
    /// Billionths of a token (dollar) for one unit of the currency.
    #[must_use]
    pub fn nano(self) -> u64 {
        self.0.get()
    }
}

impl FromStr for FxRate {
    type Err = FxRateError;

    fn from_str(text: &str) -> Result<Self, FxRateError> {
        let decimal = text.parse().ok();
        let nano = decimal.and_then(|decimal: Decimal| NonZeroU64::new(decimal.nano));
        nano.map(Self).ok_or_else(|| FxRateError(text.to_owned()))
    }
}

impl fmt::Display for FxRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Decimal { nano: self.0.get() }.fmt(f)
    }
}

impl Serialize for FxRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FxRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worth_of_a_currency_is_read_exactly_and_is_never_nothing() {
        for (text, nano) in [("1.08", 1_080_000_000), ("0.000000001", 1), ("18000", 18_000_000_000_000)] {
            let rate: FxRate = text.parse().expect(text);
            assert_eq!((rate.nano(), rate.to_string().as_str()), (nano, text));
        }
        for text in ["0", "0.0", "", "-1", "1.0000000001", "1e3", "NaN"] {
            assert!(text.parse::<FxRate>().expect_err(text).to_string().contains("above zero"));
        }
    }
}
