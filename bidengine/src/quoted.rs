//! What the operator's own program asks for an order, in place of the table.

use manifests::money::{RATE_SCALE, Rate};
use serde::{Deserialize, Serialize};

use crate::decimal::{Decimal, NANO};
use crate::tariff::PerMonth;

/// What came of asking the operator's program for a price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "hook", rename_all = "camelCase")]
pub enum Quoted {
    /// It named a price.
    Priced {
        /// The price of the whole group, rounded up.
        rate: Rate,
        /// The answer as it gave it, with its unit.
        answer: String,
    },
    /// It named none.
    Failed {
        /// Why, in words that anybody may read.
        problem: String,
    },
}

/// In what a program counts its prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PriceUnit {
    /// Millionths of a dollar for a block of 6.117 seconds: what programs written for Akash answer.
    #[default]
    UactPerBlock,
    /// Dollars for a month of 730 hours.
    UsdPerMonth,
}

/// Thousandths of a second in a block of the network that the language comes from.
const BLOCK_MILLIS: u128 = 6117;

impl PriceUnit {
    /// Reads an answer: one decimal number above zero. The rate is rounded up to its smallest step.
    #[must_use]
    pub fn read_up(self, answer: &str) -> Quoted {
        let answer = answer.trim();
        let failed = |problem: String| Quoted::Failed { problem };
        let Some(price) = Decimal::read_up(answer) else {
            return failed("its answer is not one decimal number such as 5.745".to_owned());
        };
        if price.nano == 0 {
            return failed("it asks nothing, which means no bid".to_owned());
        }
        let rate = match self {
            Self::UactPerBlock => {
                // Billionths of a unit a block are so many steps of a rate times thousandths of a second.
                const STEPS: u128 = RATE_SCALE * 1000 / NANO as u128;
                Rate::new((u128::from(price.nano) * STEPS).div_ceil(BLOCK_MILLIS)).ok()
            }
            Self::UsdPerMonth => PerMonth::from(price).rate_up(1, 1),
        };
        match rate {
            Some(rate) => Quoted::Priced { rate, answer: format!("{price} {}", self.words()) },
            None => failed("it asks more than the market can pay per second".to_owned()),
        }
    }

    /// The most that is paid, as a program wants it told: currency and amount with six decimals, rounded down, so that an
    /// answer of exactly this is not above it.
    #[must_use]
    pub fn most_down(self, max_rate: Rate) -> (&'static str, String) {
        const MICRO: u128 = 1_000_000;
        let (denom, micros) = match self {
            // A rate is units × 10^9 a second; a millionth of a unit is a thousand of its steps.
            Self::UactPerBlock => ("uact", max_rate.scaled() * BLOCK_MILLIS / (RATE_SCALE * 1000 / MICRO)),
            Self::UsdPerMonth => {
                ("usd", max_rate.scaled() * manifests::money::SECONDS_PER_MONTH / RATE_SCALE)
            }
        };
        (denom, format!("{}.{:06}", micros / MICRO, micros % MICRO))
    }

    fn words(self) -> &'static str {
        match self {
            Self::UactPerBlock => "uact a block of 6.117 s",
            Self::UsdPerMonth => "dollars a month",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(unit: PriceUnit, answer: &str) -> Result<u128, String> {
        match unit.read_up(answer) {
            Quoted::Priced { rate, .. } => Ok(rate.scaled()),
            Quoted::Failed { problem } => Err(problem),
        }
    }

    #[test]
    fn answers_are_rounded_up_to_a_rate() {
        // 6.117 millionths of a dollar a block are one a second.
        assert_eq!(rate(PriceUnit::UactPerBlock, "6.117\n"), Ok(RATE_SCALE));
        assert_eq!(rate(PriceUnit::UactPerBlock, "0.000000001"), Ok(1));
        assert_eq!(rate(PriceUnit::UactPerBlock, "5.745"), Ok(5_745_000_000_000u128.div_ceil(6117)));
        assert_eq!(rate(PriceUnit::UsdPerMonth, "2.628"), Ok(RATE_SCALE));
        assert!(rate(PriceUnit::UactPerBlock, "0.000").expect_err("nothing").contains("no bid"));
        for text in ["", "free", "debug\n5.745", "-1", "5.745 uact"] {
            assert!(
                rate(PriceUnit::UactPerBlock, text).expect_err(text).contains("not one decimal"),
                "{text}"
            );
        }
        // What a program says is never repeated: it may hold what is not for others.
        assert!(!rate(PriceUnit::UactPerBlock, "secret").expect_err("no number").contains("secret"));
    }

    #[test]
    fn the_most_that_is_paid_may_be_asked() {
        for scaled in [1_000_000_000_000 / 6117 * 200, 1, 123_456_789_012, (1 << 80) - 1] {
            let max_rate = Rate::new(scaled).expect("small");
            for unit in [PriceUnit::UactPerBlock, PriceUnit::UsdPerMonth] {
                let (_, most) = unit.most_down(max_rate);
                if let Ok(asked) = rate(unit, &most) {
                    assert!(asked <= scaled, "{most} of {unit:?} is above {scaled}");
                }
            }
        }
        let (denom, most) = PriceUnit::UactPerBlock.most_down(Rate::new(RATE_SCALE).expect("small"));
        assert_eq!((denom, most.as_str()), ("uact", "6.117000"));
    }
}
