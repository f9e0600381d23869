//! Kubernetes' own quantities ("500m", "1Gi", "2e3") as whole numbers of the unit in which we count.
//!
//! What a pod asks for is rounded up and what a node has is rounded down, so that no rounding ever sells more than there is.

/// Which way a quantity that is no whole number of units goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// For what somebody takes.
    Up,
    /// For what is there.
    Down,
}

/// The quantity in units of which `per_one` make one: 1000 reads CPU as thousandths, 1 reads memory as bytes.
///
/// `None` for a text that is no quantity, a negative one, or one beyond 64 bits.
pub(crate) fn units(text: &str, per_one: u64, rounding: Rounding) -> Option<u64> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let mut value: u128 = format!("{whole}{fraction}").parse().ok()?;
    value = value.checked_mul(u128::from(per_one))?;

    let (factor, exponent) = scale(suffix)?;
    value = value.checked_mul(factor)?;
    let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let power = 10u128.checked_pow(exponent.unsigned_abs());
    let value = match (exponent >= 0, power) {
        (true, power) => value.checked_mul(power?)?,
        (false, Some(power)) if rounding == Rounding::Up => value.div_ceil(power),
        (false, Some(power)) => value / power,
        // A power of ten beyond 128 bits divides everything down to less than one unit.
        (false, None) => u128::from(rounding == Rounding::Up && value > 0),
    };
    u64::try_from(value).ok()
}

/// A suffix as a binary factor and a power of ten.
fn scale(suffix: &str) -> Option<(u128, i32)> {
    Some(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        exponent => (1, exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_quantity_is_read() {
        for (text, per_one, up, down) in [
            ("0", 1, 0, 0),
            ("2", 1000, 2000, 2000),
            ("500m", 1000, 500, 500),
            ("0.1", 1000, 100, 100),
            (".5", 1000, 500, 500),
            ("1.", 1000, 1000, 1000),
            ("1500u", 1000, 2, 1),
            ("1n", 1000, 1, 0),
            ("100m", 1, 1, 0),
            ("128974848", 1, 128_974_848, 128_974_848),
            ("129e6", 1, 129_000_000, 129_000_000),
            ("129E6", 1, 129_000_000, 129_000_000),
            ("129M", 1, 129_000_000, 129_000_000),
            ("123Mi", 1, 128_974_848, 128_974_848),
            ("1.5Gi", 1, 1_610_612_736, 1_610_612_736),
            ("1E", 1, 1_000_000_000_000_000_000, 1_000_000_000_000_000_000),
            ("5e-1", 1000, 500, 500),
            ("1e-99", 1, 1, 0),
        ] {
            assert_eq!(units(text, per_one, Rounding::Up), Some(up), "{text} up");
            assert_eq!(units(text, per_one, Rounding::Down), Some(down), "{text} down");
        }
    }

    #[test]
    fn what_is_no_quantity_is_not_guessed_at() {
        for text in ["", "-1", "m", ".", "1.2.3", "1X", "1e", "16Ei", "1e40", "one", "1 Gi"] {
            assert_eq!(units(text, 1, Rounding::Up), None, "{text}");
        }
    }
}
