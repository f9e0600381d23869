//! Decimals that are written as texts and never pass through a float: billionths in a whole number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Billionths in one.
pub(crate) const NANO: u64 = 1_000_000_000;
const DECIMALS: usize = 9;

/// A decimal of at most nine places, not below zero and below some eighteen thousand million. Written as a text such as
/// `"1.60"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Decimal {
    pub(crate) nano: u64,
}

/// A text is not such a decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a decimal in quotes, such as \"1.60\", with at most nine decimals")]
pub struct NotADecimal;

impl Decimal {
    /// Reads a decimal as programs print them, with any number of decimals and perhaps without a digit before the point; what
    /// is beyond nine decimals is rounded up.
    pub(crate) fn read_up(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if !fraction.bytes().all(|byte| byte.is_ascii_digit()) || (whole.is_empty() && fraction.is_empty()) {
            return None;
        }
        let whole = if whole.is_empty() { "0" } else { whole };
        let (kept, beyond) = fraction.split_at(fraction.len().min(DECIMALS));
        let kept = if kept.is_empty() { "0" } else { kept };
        let exact: Self = format!("{whole}.{kept}").parse().ok()?;
        let more = u64::from(beyond.bytes().any(|digit| digit != b'0'));
        exact.nano.checked_add(more).map(|nano| Self { nano })
    }
}

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

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DecimalVisitor)
    }
}

/// Takes texts and whole numbers; a number with a point has been through a float and is refused.
struct DecimalVisitor;

impl de::Visitor<'_> for DecimalVisitor {
    type Value = Decimal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decimal in quotes such as \"1.60\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Decimal, E> {
        text.parse().map_err(|error| E::custom(format!("\"{text}\": {error}")))
    }

    fn visit_u64<E: de::Error>(self, whole: u64) -> Result<Decimal, E> {
        self.visit_str(&whole.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_print_is_read_and_rounded_up_beyond_nine_decimals() {
        for (text, read) in [
            ("5.745", "5.745"),
            (".5", "0.5"),
            ("7.", "7"),
            ("5.74540000000000000000", "5.7454"),
            ("0.00000000000000000001", "0.000000001"),
            ("326.580000000999999", "326.580000001"),
        ] {
            assert_eq!(Decimal::read_up(text).map(|decimal| decimal.to_string()).as_deref(), Some(read));
        }
        for text in ["", ".", "-1", "1e5", "1,5", "NaN", " 1", "18446744073.8"] {
            assert_eq!(Decimal::read_up(text), None, "{text}");
        }
    }
}
