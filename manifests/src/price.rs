//! What the tenant pays at most: the document's price, and the rate that it is on our market.
//!
//! A price in `uact` is millionths of a dollar per block, and a block of the network that the language comes from lasts
//! 6.117 seconds. The conversion is exact until the one division at its end, which rounds down.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::group::GroupSpec;
use crate::money::Rate;

/// Price of one replica for one block of the network that the language comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Currency: `uact`, `uakt` or `ibc/<hash>` in practice.
    pub denom: String,
    /// Amount of it.
    pub amount: Decimal,
}

/// A non-negative decimal number with 18 digits after the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(
    /// Units of 10^-18.
    pub u128,
);

impl Decimal {
    /// Units in the number one.
    pub const ONE: u128 = 10u128.pow(18);
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:018}", self.0 / Self::ONE, self.0 % Self::ONE)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        text.split_once('.')
            .filter(|(whole, fraction)| digits(whole) && digits(fraction) && fraction.len() == 18)
            .and_then(|(whole, fraction)| {
                let whole: u128 = whole.parse().ok()?;
                let fraction: u128 = fraction.parse().ok()?;
                whole.checked_mul(Self::ONE)?.checked_add(fraction).map(Decimal)
            })
            .ok_or_else(|| {
                de::Error::custom("an amount is not a decimal number with 18 digits after the point")
            })
    }
}

/// Why a price of the document has no rate by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// The currency is not pegged to the dollar.
    #[error(
        "placement \"{group}\" is priced in {denom}, which has no fixed value in dollars: \
         configure an exchange rate for it, state a maximum price, or write the price in uact"
    )]
    NeedsExchangeRate {
        /// Name of the group.
        group: String,
        /// The currency.
        denom: String,
    },
    /// The sum does not fit the chain's rate.
    #[error(
        "the price of placement \"{group}\" times its counts is more than the market can pay per second: lower it"
    )]
    TooLarge {
        /// Name of the group.
        group: String,
    },
}

/// What a currency is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeRate {
    /// The currency as documents write it, such as `uakt`.
    pub denom: String,
    /// Dollars for a million of it: the price of 1 AKT for `uakt`.
    pub dollars: Decimal,
}

impl ExchangeRate {
    /// The currency that is a millionth of a dollar by definition.
    pub fn uact() -> Self {
        ExchangeRate { denom: "uact".to_owned(), dollars: Decimal(Decimal::ONE) }
    }
}

impl GroupSpec {
    /// The currency of the group's prices; all units of a group have the same.
    pub fn denom(&self) -> Option<&str> {
        self.resources.first().map(|unit| unit.price.denom.as_str())
    }

    /// The most the tenant pays per second for the whole group, rounded down to a billionth of a token unit.
    ///
    /// # Errors
    /// [`PriceError`] for a currency other than `uact`, and for a sum that does not fit a [`Rate`].
    pub fn max_rate_down(&self) -> Result<Rate, PriceError> {
        self.max_rate_down_at(&ExchangeRate::uact())
    }

    /// The same for prices in another currency, at what that currency is worth.
    ///
    /// # Errors
    /// [`PriceError`] for a currency other than that one, and for a sum that does not fit a [`Rate`].
    pub fn max_rate_down_at(&self, exchange: &ExchangeRate) -> Result<Rate, PriceError> {
        if let Some(unit) = self.resources.iter().find(|unit| unit.price.denom != exchange.denom) {
            let denom = unit.price.denom.clone();
            return Err(PriceError::NeedsExchangeRate { group: self.name.clone(), denom });
        }
        let per_block = self.resources.iter().try_fold(0u128, |sum, unit| {
            unit.price.amount.0.checked_mul(u128::from(unit.count)).and_then(|amount| sum.checked_add(amount))
        });
        per_block
            .and_then(|amount| rate_of_block_price_down(amount, exchange.dollars))
            .and_then(|scaled| Rate::new(scaled).ok())
            .ok_or_else(|| PriceError::TooLarge { group: self.name.clone() })
    }
}

/// A price per block in units of 10^-18, as 10^-9 millionths of a dollar per second.
///
/// `amount / 10^18 * dollars / 10^18 / 6.117 s * 10^9`, divided once at the end. `None` beyond 128 bits.
fn rate_of_block_price_down(amount: u128, dollars: Decimal) -> Option<u128> {
    multiply_divide_down(amount, dollars.0, 6_117 * 1_000_000 * Decimal::ONE)
}

/// `a * b / divisor` rounded down, with a product of any length. `None` if the result is beyond 128 bits.
///
/// The product is built from the bits of `b`, highest first, and only its quotient and remainder are kept.
fn multiply_divide_down(a: u128, b: u128, divisor: u128) -> Option<u128> {
    let (whole, part) = (a / divisor, a % divisor);
    let (mut quotient, mut remainder) = (0u128, 0u128);
    for bit in (0..u128::BITS).rev() {
        quotient = quotient.checked_mul(2)?;
        remainder *= 2;
        if b >> bit & 1 == 1 {
            quotient = quotient.checked_add(whole)?;
            remainder += part;
        }
        quotient = quotient.checked_add(remainder / divisor)?;
        remainder %= divisor;
    }
    Some(quotient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_longer_than_128_bits_are_divided_exactly() {
        let divisor = 6_117 * 1_000_000 * Decimal::ONE;
        assert_eq!(multiply_divide_down(u128::MAX, divisor, divisor), Some(u128::MAX));
        assert_eq!(multiply_divide_down(divisor, u128::MAX, divisor), Some(u128::MAX));
        assert_eq!(multiply_divide_down(u128::MAX, divisor + 1, divisor), None);
        assert_eq!(
            multiply_divide_down(10u128.pow(36), 10u128.pow(35), 3 * 10u128.pow(36)),
            Some(10u128.pow(35) / 3)
        );
        assert_eq!(multiply_divide_down(7, 3, 2), Some(10));
        assert_eq!(multiply_divide_down(0, u128::MAX, divisor), Some(0));
    }

    #[test]
    fn amounts_print_with_eighteen_digits_and_read_back() {
        for text in ["\"12.500000000000000000\"", "\"0.000000000000000001\""] {
            let amount: Decimal = serde_json::from_str(text).expect("it is an amount");
            assert_eq!(serde_json::to_string(&amount).expect("it prints"), text);
        }
        for text in ["\"12.5\"", "\"12\"", "12", "\"-1.000000000000000000\"", "\".000000000000000000\""] {
            assert!(serde_json::from_str::<Decimal>(text).is_err(), "{text}");
        }
    }
}
