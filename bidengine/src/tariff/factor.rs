//! What a price is multiplied by.

use std::fmt;
use std::str::FromStr;

use manifests::money::Rate;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::decimal::{Decimal, NANO};
use crate::fx::FxRate;

/// A factor, exact to the billionth, at most a thousand. Written as a decimal text such as `"0.85"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Factor(Decimal);

/// A part of a whole, from nothing to one, exact to the billionth. Written as a decimal text such as `"0.8"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Share(Decimal);

const MOST: u64 = 1000 * NANO;

impl FromStr for Factor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let decimal = text.parse().ok().filter(|decimal: &Decimal| decimal.nano <= MOST);
        decimal.map(Self).ok_or_else(|| {
            format!(
                "\"{text}\" is not a factor: write a decimal in quotes, such as \"0.85\", of at most 1000"
            )
        })
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let decimal = text.parse().ok().filter(|decimal: &Decimal| decimal.nano <= NANO);
        decimal.map(Self).ok_or_else(|| {
            format!(
                "\"{text}\" is not a share: write a decimal in quotes from \"0\" to \"1\", such as \"0.8\""
            )
        })
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

as_text!(Factor);
as_text!(Share);

/// The worth of a currency has no bound that factors written by hand have.
impl From<FxRate> for Factor {
    fn from(rate: FxRate) -> Self {
        Self(Decimal { nano: rate.nano() })
    }
}

impl Factor {
    /// One more than this: a margin becomes what a cost is multiplied by.
    pub(super) fn beyond_one(self) -> Self {
        Self(Decimal { nano: self.0.nano.saturating_add(NANO) })
    }

    /// The rate times this, rounded up to the smallest step; `None` above what a rate can be.
    pub(super) fn times_up(self, rate: Rate) -> Option<Rate> {
        let product = rate.scaled().checked_mul(u128::from(self.0.nano))?;
        Rate::new(product.div_ceil(u128::from(NANO))).ok()
    }

    /// Where a straight line from `low` to `high` stands at `at`, which lies between their shares; rounded up.
    pub(super) fn between_up(low: (Share, Self), high: (Share, Self), at: Share) -> Self {
        let ((from, least), (to, most)) = (low, high);
        let (run, rise) = (to.0.nano - from.0.nano, most.0.nano - least.0.nano);
        let part = (u128::from(rise) * u128::from(at.0.nano - from.0.nano)).div_ceil(u128::from(run.max(1)));
        // A part of the rise is no more than the rise.
        let nano = least.0.nano + u64::try_from(part).unwrap_or(rise).min(rise);
        Self(Decimal { nano })
    }
}

impl Share {
    /// The part of a rate, rounded up to the smallest step.
    pub(super) fn of_up(self, rate: Rate) -> Rate {
        // A part of a rate is no more than the rate.
        Factor(self.0).times_up(rate).unwrap_or(rate)
    }

    /// How much of `total` is used when `free` is left, rounded down. Of nothing, nothing is used.
    pub(super) fn used(free: u64, total: u64) -> Self {
        let used = u128::from(total.saturating_sub(free)) * u128::from(NANO);
        let nano = used.checked_div(u128::from(total)).unwrap_or(0);
        Self(Decimal { nano: u64::try_from(nano).unwrap_or(NANO) })
    }

    /// As a person reads it: whole percents, rounded down.
    pub(super) fn percent(self) -> u64 {
        self.0.nano / (NANO / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_rounded_up_to_the_smallest_step() {
        let rate = |scaled| Rate::new(scaled).expect("small");
        let times = |factor: &str, scaled| factor.parse::<Factor>().expect(factor).times_up(rate(scaled));
        assert_eq!(times("0.5", 10), Some(rate(5)));
        assert_eq!(times("0.5", 11), Some(rate(6)));
        assert_eq!(times("0.000000001", 1), Some(rate(1)));
        assert_eq!(times("0", 7), Some(Rate::ZERO));
        assert_eq!("1.000000001".parse::<Factor>().expect("is one").times_up(Rate::MAX), None);
    }

    #[test]
    fn factors_and_shares_out_of_their_bounds_are_refused_with_the_form() {
        for text in ["-1", "1000.1", "", "1e3", "half"] {
            assert!(text.parse::<Factor>().expect_err(text).contains("in quotes"));
        }
        for text in ["1.1", "80%", "-0.1"] {
            assert!(text.parse::<Share>().expect_err(text).contains("from \"0\" to \"1\""));
        }
    }

    #[test]
    fn what_is_used_is_rounded_down_and_never_beyond_the_whole() {
        assert_eq!(Share::used(2, 3).to_string(), "0.333333333");
        assert_eq!(Share::used(9, 3).to_string(), "0");
        assert_eq!(Share::used(0, 0).to_string(), "0");
        assert_eq!(Share::used(0, u64::MAX).to_string(), "1");
    }
}
