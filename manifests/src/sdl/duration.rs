//! Durations of the document: `1h30m`, `.5h`, `100ms`.

/// Nanoseconds of a duration text: a sign, then numbers with units `h m s ms us µs ns`, or a bare `0`.
/// `None` for what does not read as one or does not fit 64 bits with a sign.
pub(crate) fn nanoseconds(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (part, after) = part(rest)?;
        total = total.checked_add(part).filter(|total| *total <= 1 << 63)?;
        rest = after;
    }
    if negative { 0i64.checked_sub_unsigned(total) } else { i64::try_from(total).ok() }
}

/// The first number with its unit, and what follows it.
fn part(text: &str) -> Option<(u64, &str)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let unit_end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_end);
    let scale: u64 = match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let value = whole.checked_mul(scale).filter(|value| *value <= 1 << 63)?;
    value
        .checked_add(fraction_of(scale, fraction))
        .filter(|value| *value <= 1 << 63)
        .map(|value| (value, rest))
}

/// `0.fraction * scale`, rounded down. Digits past the eighteenth are worth less than a nanosecond.
fn fraction_of(scale: u64, fraction: &str) -> u64 {
    let digits = &fraction[..fraction.len().min(18)];
    let numerator = digits.parse::<u128>().unwrap_or(0);
    let value = numerator * u128::from(scale) / 10u128.pow(digits.len() as u32);
    u64::try_from(value).expect("a fraction of an hour is less than an hour")
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::nanoseconds;

    #[test]
    fn durations_read_in_their_units() {
        for (text, value) in [
            ("24h", 86_400_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5h", 1_800_000_000_000),
            ("5.s", 5_000_000_000),
            ("100ms", 100_000_000),
            ("1µs", 1000),
            ("1μs", 1000),
            ("0", 0),
            ("-1s", -1_000_000_000),
            ("+2h", 7_200_000_000_000),
            ("1h1h", 7_200_000_000_000),
            ("2562047h47m16.854775807s", i64::MAX),
        ] {
            assert_eq!(nanoseconds(text), Some(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "+", "24", "1d", "24H", "1h 30m", " 24h", ".s", "2562048h", "h"] {
            assert_eq!(nanoseconds(text), None, "{text}");
        }
    }
}
