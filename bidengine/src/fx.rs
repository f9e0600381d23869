//! What the tariff's currency is worth, as somebody told it.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::decimal::{Decimal, NANO};

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
    /// Reads a worth as sources tell it, with any number of decimals, rounded up to the billionth; `None` for what is no number
    /// above zero.
    #[must_use]
    pub fn read_up(text: &str) -> Option<Self> {
        Decimal::read_up(text).and_then(|decimal| NonZeroU64::new(decimal.nano)).map(Self)
    }

    /// A whole number of so many decimals, rounded up to the billionth; `None` beyond what can be counted and for nothing.
    #[must_use]
    pub fn of_scaled_up(number: u128, decimals: u8) -> Option<Self> {
        let unit = 10u128.checked_pow(decimals.into())?;
        let nano = number.checked_mul(u128::from(NANO))?.div_ceil(unit);
        u64::try_from(nano).ok().and_then(NonZeroU64::new).map(Self)
    }

    /// Whether it differs from another by more than so many percent of the other.
    #[must_use]
    pub fn differs_by_more_than(self, percent: u32, other: Self) -> bool {
        u128::from(self.nano().abs_diff(other.nano())) * 100 > u128::from(other.nano()) * u128::from(percent)
    }

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

    #[test]
    fn what_sources_tell_is_rounded_up_to_the_billionth() {
        let rate = |text: &str| text.parse::<FxRate>().expect(text);
        assert_eq!(FxRate::read_up("1.0823456789012"), Some(rate("1.082345679")));
        assert_eq!(
            (FxRate::read_up("0"), FxRate::read_up("1e3"), FxRate::read_up("null")),
            (None, None, None)
        );
        assert_eq!(FxRate::of_scaled_up(108_000_000, 8), Some(rate("1.08")));
        assert_eq!(FxRate::of_scaled_up(1_080_000_000_000_000_001, 18), Some(rate("1.080000001")));
        assert_eq!((FxRate::of_scaled_up(0, 8), FxRate::of_scaled_up(1, 77)), (None, None));
    }

    #[test]
    fn a_difference_is_a_share_of_the_other() {
        let rate = |text: &str| text.parse::<FxRate>().expect(text);
        for (one, other, is_more) in
            [("1.2", "1", false), ("1.201", "1", true), ("0.8", "1", false), ("0.79", "1", true)]
        {
            assert_eq!(rate(one).differs_by_more_than(20, rate(other)), is_more, "{one} and {other}");
        }
    }
}
