//! Decimals that are written as texts and never pass through a float: billionths in a whole number.

use std::fmt;
use std::str::FromStr;

/// Billionths in one.
pub(crate) const NANO: u64 = 1_000_000_000;
const DECIMALS: usize = 9;

/// A decimal of at most nine places, below some eighteen thousand million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Decimal {
    pub(crate) nano: u64,
}

/// A text is not such a decimal.
#[derive(Debug)]
pub(crate) struct NotADecimal;

impl FromStr for Decimal {
    type Err = NotADecimal;

    fn from_str(text: &str) -> Result<Self, NotADecimal> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > DECIMALS {
            return Err(NotADecimal);
        }
        let whole: u64 = whole.parse().map_err(|_| NotADecimal)?;
        let fraction: u64 = format!("{fraction:0<DECIMALS$}").parse().map_err(|_| NotADecimal)?;
        let nano = whole.checked_mul(NANO).and_then(|nano| nano.checked_add(fraction)).ok_or(NotADecimal)?;
        Ok(Self { nano })
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.nano / NANO, self.nano % NANO);
        let text = format!("{whole}.{fraction:09}");
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}
