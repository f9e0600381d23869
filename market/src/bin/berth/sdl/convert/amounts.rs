//! Sizes and times as compose files write them.

use serde_yaml::Value;

/// Bytes: a number, with `b`, `k`, `m`, `g` or `t` and perhaps a `b` behind it, all powers of 1024.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().ok()?;
    let tenths: u64 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let scale = 10u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = u128::from(tenths) * (1u128 << shift) / u128::from(scale);
    whole.checked_mul(1 << shift)?.checked_add(u64::try_from(part).ok()?)
}

/// Bytes as the language writes them, in the largest unit that they are whole in.
pub(super) fn size(bytes: u64) -> Value {
    let units = [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")];
    let whole = units.into_iter().find(|(shift, _)| bytes > 0 && bytes.is_multiple_of(1 << shift));
    match whole {
        Some((shift, unit)) => Value::from(format!("{}{unit}", bytes >> shift)),
        None => Value::from(bytes),
    }
}

/// Whole seconds of `1m30s`, `500ms` or a plain number, rounded up.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let mut left = text.trim();
    let mut micros: u64 = 0;
    if left.is_empty() {
        return None;
    }
    while !left.is_empty() {
        let end = left.find(|c: char| !c.is_ascii_digit()).unwrap_or(left.len());
        let number: u64 = left[..end].parse().ok()?;
        let rest = &left[end..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let scale = match &rest[..unit_end] {
            "us" => 1,
            "ms" => 1_000,
            "s" | "" => 1_000_000,
            "m" => 60_000_000,
            "h" => 3_600_000_000,
            _ => return None,
        };
        micros = micros.checked_add(number.checked_mul(scale)?)?;
        left = &rest[unit_end..];
    }
    Some(micros.div_ceil(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_compose_reads_them() {
        for (text, wanted) in
            [("512M", 512 << 20), ("1.5g", 3 << 29), ("64mb", 64 << 20), ("100", 100), ("2gib", 2 << 30)]
        {
            assert_eq!(bytes(text), Some(wanted), "{text}");
        }
        assert_eq!([bytes("lots"), bytes(""), bytes("-1m"), bytes("1x")], [None; 4]);
        assert_eq!(
            [size(3 << 29), size(100), size(2 << 30)]
                .map(|size| super::super::notes::Place::root(&size).text()),
            [Some("1536Mi".to_owned()), Some("100".to_owned()), Some("2Gi".to_owned())]
        );
        assert_eq!(
            [seconds("1m30s"), seconds("500ms"), seconds("10"), seconds("soon")],
            [Some(90), Some(1), Some(10), None]
        );
    }
}
