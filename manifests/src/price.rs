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
        if let Some(unit) = self.resources.iter().find(|unit| unit.price.denom != "uact") {
            let denom = unit.price.denom.clone();
            return Err(PriceError::NeedsExchangeRate { group: self.name.clone(), denom });
        }
        let too_large = || PriceError::TooLarge { group: self.name.clone() };
        let per_block = self.resources.iter().try_fold(0u128, |sum, unit| {
            unit.price.amount.0.checked_mul(u128::from(unit.count)).and_then(|amount| sum.checked_add(amount))
        });
        Rate::new(rate_of_block_price_down(per_block.ok_or_else(too_large)?)).map_err(|_| too_large())
    }
}

/// A price of 10^-18 millionths of a dollar per block, as 10^-9 millionths per second.
///
/// `amount / 10^18 / 6.117 s * 10^9 = amount / (6117 * 10^6)`.
fn rate_of_block_price_down(amount: u128) -> u128 {
    amount / (6_117 * 1_000_000)
}
