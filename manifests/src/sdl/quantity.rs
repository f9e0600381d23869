//! Quantities as the language reads them: processor, bytes, GPU memory and GPU count, all from source text.
//!
//! The language computes sizes in IEEE doubles and truncates, so `2.01` cores are 2009 thousandths. Those results are
//! hashed, hence this is the one place of the crate with floating point; it never touches money.

/// Why a text is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuantityError {
    Malformed,
    Negative,
}

use QuantityError::{Malformed, Negative};

/// Thousandths of a core: `100m`, or a number of cores.
pub(crate) fn cpu_millis(text: &str) -> Result<u64, QuantityError> {
    if let Some(millis) = text.strip_suffix('m') {
        let millis = digits(millis)?;
        return if millis < 1 << 32 { Ok(millis) } else { Err(Malformed) };
    }
    truncate(number(text)?, 1000.0)
}

/// Bytes: a number with an optional suffix, `k` to `E` for powers of 1000, `Ki` to `Ei` for powers of 1024.
pub(crate) fn bytes(text: &str) -> Result<u64, QuantityError> {
    let (text, multiplier) = match text.as_bytes() {
        [.., b'i'] => binary_suffix(text)?,
        [rest @ .., suffix] => match power(*suffix) {
            Some(power) => (&text[..rest.len()], 1000f64.powi(power)),
            None => (text, 1.0),
        },
        [] => (text, 1.0),
    };
    truncate(number(text)?, multiplier)
}

/// Bytes as the web console of the other network reads them: a decimal number and a prefix in any case, powers of 1024 if
/// exactly an `i` follows it and of 1000 if anything else does. Rounded up.
pub(crate) fn lenient_bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (digits, suffix) = text.split_at(end);
    let value: f64 = if digits.starts_with('.') { None } else { digits.parse().ok() }?;
    let (first, rest) = suffix.split_at_checked(1)?;
    let power = power(match first.as_bytes()[0].to_ascii_uppercase() {
        b'K' => b'k',
        other => other,
    })?;
    let known = rest.bytes().all(|b| b.is_ascii_alphabetic());
    let base: f64 = if rest.eq_ignore_ascii_case("i") { 1024.0 } else { 1000.0 };
    known.then(|| (value * base.powi(power)).ceil() as u64)
}

/// Bytes of GPU memory: a number with an optional suffix `Ki` to `Ei`.
pub(crate) fn ram_bytes(text: &str) -> Result<u64, QuantityError> {
    let (text, multiplier) = if text.ends_with('i') { binary_suffix(text)? } else { (text, 1.0) };
    truncate(number(text)?, multiplier)
}

/// A count: decimal digits only.
pub(crate) fn digits(text: &str) -> Result<u64, QuantityError> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().map_err(|_| Malformed)
    } else {
        Err(Malformed)
    }
}

/// A number that YAML reads as an integer or a float, as a 32-bit unsigned integer; floats are truncated toward zero.
pub(crate) fn yaml_u32(text: &str) -> Option<u32> {
    let text = text.replace('_', "");
    let (negative, unsigned) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, &text[..]),
    };
    if let Some(value) = yaml_integer(unsigned) {
        return if negative && value != 0 { None } else { u32::try_from(value).ok() };
    }
    let value: f64 = if is_yaml_float(unsigned) { text.parse().ok()? } else { return None };
    let value = value.trunc();
    (0.0..=f64::from(u32::MAX)).contains(&value).then_some(value as u32)
}

/// The integer of an unsigned text; one beyond 64 bits counts as the largest.
pub(super) fn yaml_integer(text: &str) -> Option<u64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', b'b' | b'B', ..] => (&text[2..], 2),
        [b'0', b'o' | b'O', ..] => (&text[2..], 8),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    let valid = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    valid.then(|| u64::from_str_radix(digits, radix).unwrap_or(u64::MAX))
}

/// `.5`, `5`, `5.`, `5.5`, each with an optional exponent.
pub(super) fn is_yaml_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mantissa_reads = match mantissa.split_once('.') {
        Some((whole, "")) => all_digits(whole),
        Some(("", fraction)) => all_digits(fraction),
        Some((whole, fraction)) => all_digits(whole) && all_digits(fraction),
        None => all_digits(mantissa),
    };
    mantissa_reads
        && exponent.is_none_or(|exponent| all_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}

fn binary_suffix(text: &str) -> Result<(&str, f64), QuantityError> {
    match text.as_bytes() {
        [rest @ .., b'K', b'i'] => Ok((&text[..rest.len()], 1024.0)),
        [rest @ .., suffix, b'i'] if *suffix != b'k' => {
            let power = power(*suffix).ok_or(Malformed)?;
            Ok((&text[..rest.len()], 1024f64.powi(power)))
        }
        _ => Err(Malformed),
    }
}

fn power(suffix: u8) -> Option<i32> {
    Some(match suffix {
        b'k' => 1,
        b'M' => 2,
        b'G' => 3,
        b'T' => 4,
        b'P' => 5,
        b'E' => 6,
        _ => return None,
    })
}

/// The product in double arithmetic, truncated toward zero; what does not fit becomes the nearest value that does, and
/// what is no number zero, both far outside every range that is checked later.
fn truncate(value: f64, multiplier: f64) -> Result<u64, QuantityError> {
    if value < 0.0 { Err(Negative) } else { Ok((value * multiplier) as u64) }
}

/// A floating point literal: decimal or hexadecimal, `_` between digits, infinities and NaN by name.
fn number(text: &str) -> Result<f64, QuantityError> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let named = unsigned.bytes().all(|b| b.is_ascii_alphabetic());
    if named {
        // A NaN has no sign.
        let nan = unsigned.eq_ignore_ascii_case("nan");
        return if nan && unsigned.len() != text.len() {
            Err(Malformed)
        } else {
            text.parse().map_err(|_| Malformed)
        };
    }
    if !underscores_separate_digits(unsigned) {
        return Err(Malformed);
    }
    let text = text.replace('_', "");
    let hexadecimal = matches!(unsigned.as_bytes(), [b'0', b'x' | b'X', ..]);
    let value = if hexadecimal { hexadecimal_number(&text) } else { text.parse().ok() };
    value.filter(|value| value.is_finite()).ok_or(Malformed)
}

fn underscores_separate_digits(text: &str) -> bool {
    let hexadecimal = matches!(text.as_bytes(), [b'0', b'x' | b'X', ..]);
    let is_digit = |b: &u8| if hexadecimal { b.is_ascii_hexdigit() } else { b.is_ascii_digit() };
    let text = text.as_bytes();
    text.iter().enumerate().filter(|(_, b)| **b == b'_').all(|(at, _)| {
        // The prefix `0x` counts as a digit before.
        let before = at > 0 && (is_digit(&text[at - 1]) || hexadecimal && at == 2);
        before && text.get(at + 1).is_some_and(is_digit)
    })
}

/// `0x1.8p3`: hexadecimal digits with an optional point and a binary exponent that must be there.
fn hexadecimal_number(text: &str) -> Option<f64> {
    let (sign, rest) = match text.as_bytes()[0] {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    let (mantissa, exponent) = rest.get(2..)?.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if unsigned.is_empty() || !unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Exponents beyond this are zero or infinite whatever the mantissa of a document of bounded length.
    let exponent: i64 = exponent.parse::<i64>().unwrap_or(i64::MAX).clamp(-1 << 40, 1 << 40);

    // The first 64 significant bits exactly, what follows as one sticky bit.
    let mut bits: u64 = 0;
    let mut dropped: i64 = 0;
    for character in whole.chars().chain(fraction.chars()) {
        let digit = u64::from(character.to_digit(16)?);
        if bits >> 60 == 0 {
            bits = bits << 4 | digit;
        } else {
            dropped += 4;
            bits |= u64::from(digit != 0);
        }
    }
    let fraction_bits = i64::try_from(fraction.len()).ok()? * 4;
    Some(sign * scale(bits, exponent + dropped - fraction_bits))
}

/// `bits * 2^exponent`, rounded once to the nearest double, ties to even.
fn scale(bits: u64, exponent: i64) -> f64 {
    if bits == 0 {
        return 0.0;
    }
    let top = 63 - i64::from(bits.leading_zeros());
    // Below 2^-1022 a double keeps fewer than 53 bits.
    let kept = 53 - (-1022 - (top + exponent)).max(0);
    let shift = top + 1 - kept;
    if shift <= 0 {
        return times_power_of_two(bits as f64, exponent);
    }
    if shift > 64 {
        return 0.0;
    }
    let wide = u128::from(bits);
    let (high, low) = (wide >> shift, wide & ((1 << shift) - 1));
    let half = 1u128 << (shift - 1);
    let rounded = high + u128::from(low > half || (low == half && high & 1 == 1));
    times_power_of_two(rounded as f64, exponent + shift)
}

/// Exact unless it overflows to infinity: the caller has already dropped the bits that do not fit.
fn times_power_of_two(mut value: f64, mut exponent: i64) -> f64 {
    while exponent > 1000 && value.is_finite() {
        value *= 2f64.powi(1000);
        exponent -= 1000;
    }
    while exponent < -1000 && value != 0.0 {
        value *= 2f64.powi(-1000);
        exponent += 1000;
    }
    match i32::try_from(exponent) {
        Ok(exponent) => value * 2f64.powi(exponent),
        Err(_) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_is_truncated_to_thousandths_in_doubles() {
        for (text, millis) in [
            ("0.1", 100),
            ("2.01", 2009),
            ("1.001", 1000),
            ("1.9999", 1999),
            ("0.57", 570),
            ("100m", 100),
            ("1e0", 1000),
            ("5.", 5000),
            (".5", 500),
            ("+1", 1000),
            ("1_0", 10_000),
            ("0x1p4", 16_000),
            ("0x1.8p1", 3000),
            ("4294967295m", 4_294_967_295),
            ("nan", 0),
        ] {
            assert_eq!(cpu_millis(text), Ok(millis), "{text}");
        }
        assert_eq!(cpu_millis("inf"), Ok(u64::MAX));
    }

    #[test]
    fn what_is_no_processor_quantity_is_malformed() {
        for text in [
            "",
            "m",
            "0.5m",
            "+100m",
            "4294967296m",
            " 1",
            "1 ",
            "true",
            "1000M",
            "_1",
            "1_",
            "1__0",
            "0x1",
            "1e400",
            "-nan",
        ] {
            assert_eq!(cpu_millis(text), Err(Malformed), "{text}");
        }
        assert_eq!(cpu_millis("-1"), Err(Negative));
    }

    #[test]
    fn bytes_know_decimal_and_binary_suffixes_in_their_exact_case() {
        for (text, value) in [
            ("0.1Gi", 107_374_182),
            ("1.5Gi", 1_610_612_736),
            ("1e3Mi", 1_048_576_000),
            ("1E9", 1_000_000_000),
            ("1E", 1_000_000_000_000_000_000),
            ("1k", 1000),
            ("1Ki", 1024),
            ("2Ti", 2_199_023_255_552),
            ("1_000Mi", 1_048_576_000),
            ("5242880", 5_242_880),
        ] {
            assert_eq!(bytes(text), Ok(value), "{text}");
        }
        for text in
            ["", "Gi", "1K", "1ki", "1m", "1g", "1gi", "1GB", "1GiB", "1Mb", "1 Gi", " 1Gi", "i", "1i"]
        {
            assert_eq!(bytes(text), Err(Malformed), "{text}");
        }
        assert_eq!(bytes("-1Gi"), Err(Negative));
    }

    #[test]
    fn lenient_bytes_take_any_case_and_letters_behind() {
        for (text, value) in [
            ("4GB", 4_000_000_000),
            ("4gb", 4_000_000_000),
            ("4Gb", 4_000_000_000),
            ("1gi", 1 << 30),
            ("512Mb", 512_000_000),
            ("1GiB", 1_000_000_000),
            ("0.0000005k", 1),
            ("1.5gi", 3 << 29),
            ("2K", 2000),
        ] {
            assert_eq!(lenient_bytes(text), Some(value), "{text}");
        }
        for text in ["", "1", "gi", "-1gi", "1 gi", "1x", "1.2.3g", "1g i", "1e3x", ".5g", "1é"] {
            assert_eq!(lenient_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn gpu_memory_takes_only_binary_suffixes() {
        assert_eq!(ram_bytes("81920Mi"), Ok(80 << 30));
        assert_eq!(ram_bytes("80"), Ok(80));
        assert_eq!(ram_bytes("80G"), Err(Malformed));
    }

    #[test]
    fn hexadecimal_numbers_are_rounded_to_even_once() {
        assert_eq!(number("0x1.fffffffffffff8p0"), Ok(2.0));
        assert_eq!(number("0x1.fffffffffffff7p0"), Ok(1.999_999_999_999_999_8));
        assert_eq!(number("0x1p-1074"), Ok(5e-324));
        assert_eq!(number("0x1p-1075"), Ok(0.0));
        assert_eq!(number("0x1p1024"), Err(Malformed));
        assert_eq!(number("0x10000000000000000p-64"), Ok(1.0));
    }

    #[test]
    fn numbers_of_yaml_become_whole_and_keep_their_base() {
        for (text, value) in [
            ("80", 80),
            ("010", 8),
            ("080", 80),
            ("0x10", 16),
            ("0b11", 3),
            ("0o17", 15),
            ("8_0", 80),
            ("80.9", 80),
            ("-0.5", 0),
            ("1e2", 100),
            ("+3", 3),
            (".5e1", 5),
            ("4294967295", u32::MAX),
        ] {
            assert_eq!(yaml_u32(text), Some(value), "{text}");
        }
        for text in
            ["", "-1", "4294967296", "80/tcp", "true", "1e", "e1", ".", "0x", "2024-01-01", ".inf", "1e400"]
        {
            assert_eq!(yaml_u32(text), None, "{text}");
        }
    }
}
