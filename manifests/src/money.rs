//! Money as the chain counts it: amounts in token units, rates in token units × 10^9 per second.
//!
//! The settlement token has six decimals and stands for one US dollar, so one unit is a millionth of a dollar. All
//! arithmetic is on unsigned integers and checked; where something is rounded, the name says which way.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Parts of a token unit in which rates count: 10^9, as the Market contract has it for a token of six decimals.
pub const RATE_SCALE: u128 = 1_000_000_000;

/// Token units in one token (one US dollar).
pub const UNITS_PER_TOKEN: u128 = 1_000_000;

/// Seconds in the month by which operators quote prices: 730 hours.
pub const SECONDS_PER_MONTH: u128 = 730 * 3600;

/// Money in token units (10^-6 of a dollar). Serialised as a decimal string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(pub u128);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The sum, or `None` beyond 128 bits.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or `None` if `other` is larger.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

/// Dollars with six decimals: `$1.250000`.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}.{:06}", self.0 / UNITS_PER_TOKEN, self.0 % UNITS_PER_TOKEN)
    }
}

/// A price per second: token units × 10^9 per second, at most 80 bits, as the contract stores it. Serialised as a decimal
/// string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Rate(u128);

/// A rate does not fit the 80 bits that the contract has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rate {0} is above 2^80 - 1, the most that the market can pay per second")]
pub struct RateTooLarge(pub u128);

impl Rate {
    /// The largest rate the contract can hold.
    pub const MAX: Self = Self((1 << 80) - 1);

    /// Free of charge.
    pub const ZERO: Self = Self(0);

    /// A rate of `scaled` token units × 10^9 per second.
    ///
    /// # Errors
    /// [`RateTooLarge`] above [`Rate::MAX`].
    pub fn new(scaled: u128) -> Result<Self, RateTooLarge> {
        if scaled > Self::MAX.0 { Err(RateTooLarge(scaled)) } else { Ok(Self(scaled)) }
    }

    /// Token units × 10^9 per second.
    #[must_use]
    pub fn scaled(self) -> u128 {
        self.0
    }

    /// The sum, or `None` above [`Rate::MAX`].
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(|sum| Self::new(sum).ok())
    }

    /// What `seconds` cost, in whole units, rounded down as the contract does when it pays. `None` beyond 128 bits.
    #[must_use]
    pub fn cost_down(self, seconds: u64) -> Option<Amount> {
        Some(Amount(self.0.checked_mul(u128::from(seconds))? / RATE_SCALE))
    }

    /// What `seconds` cost, in whole units, rounded up: enough to pay for them. `None` beyond 128 bits.
    #[must_use]
    pub fn cost_up(self, seconds: u64) -> Option<Amount> {
        Some(Amount(self.0.checked_mul(u128::from(seconds))?.div_ceil(RATE_SCALE)))
    }

    /// The fewest seconds that cost this much. `None` for a rate of zero and beyond 128 bits.
    #[must_use]
    pub fn seconds_for(self, amount: Amount) -> Option<u64> {
        let scaled = amount.0.checked_mul(RATE_SCALE)?;
        (self.0 > 0).then(|| scaled.div_ceil(self.0)).and_then(|seconds| u64::try_from(seconds).ok())
    }

    /// What a month of 730 hours costs, rounded up; no rate is large enough to overflow here.
    #[must_use]
    pub fn monthly_up(self) -> Amount {
        Amount((self.0 * SECONDS_PER_MONTH).div_ceil(RATE_SCALE))
    }
}

/// Dollars an hour, rounded up to a millionth: `$0.012500/h`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/h", Amount((self.0 * 3600).div_ceil(RATE_SCALE)))
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(de::Error::custom)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scaled = String::deserialize(deserializer)?.parse().map_err(de::Error::custom)?;
        Self::new(scaled).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_paid_is_rounded_down_and_what_is_needed_is_rounded_up() {
        let rate = Rate::new(2_777_777_778).expect("small");
        assert_eq!(rate.cost_down(3), Some(Amount(8)));
        assert_eq!(rate.cost_up(3), Some(Amount(9)));
        assert_eq!(Rate::new(RATE_SCALE).expect("small").cost_up(7), Some(Amount(7)));
        assert_eq!(rate.seconds_for(Amount(8)), Some(3));
        assert_eq!(Rate::new(0).expect("small").seconds_for(Amount(1)), None);
    }

    #[test]
    fn the_largest_rate_has_a_price_for_a_month() {
        assert!(Rate::MAX.monthly_up().0 > 0);
        assert_eq!(Rate::new(Rate::MAX.scaled() + 1), Err(RateTooLarge(1 << 80)));
    }

    #[test]
    fn money_prints_as_dollars() {
        assert_eq!(Amount(1_250_000).to_string(), "$1.250000");
        assert_eq!(Rate::new(RATE_SCALE).expect("small").to_string(), "$0.003600/h");
    }
}
