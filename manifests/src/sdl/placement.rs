//! `profiles.placement`: what is asked of a provider, and prices.

use std::collections::BTreeMap;

use super::document::{At, Coin, Placement};
use super::extension;
use super::reader::{Entry, Reader};
use crate::problem::{ErrorKind, shown};

pub(super) fn placement<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> Placement<'t> {
    let mut placement = Placement { mark: entry.key_mark, ..Placement::default() };
    reader.record(entry.value, |reader, field| {
        let node = field.value;
        match field.key {
            "attributes" => {
                let mut attributes = BTreeMap::new();
                reader.named(node, |reader, attribute| {
                    attributes.insert(attribute.key, reader.text(attribute.value).value);
                });
                placement.attributes = attributes;
            }
            "signedBy" => reader.record(node, |reader, field| {
                match field.key {
                    "allOf" => placement.all_of = reader.texts(field.value),
                    "anyOf" => placement.any_of = reader.texts(field.value),
                    _ => return false,
                }
                true
            }),
            "pricing" => {
                let mut pricing = BTreeMap::new();
                reader.named(node, |reader, price| {
                    let coin = (!reader.is_null(price.value)).then(|| coin(reader, price));
                    pricing.insert(price.key, coin.flatten());
                });
                placement.pricing = pricing;
            }
            "x-berth" => placement.wishes = extension::placement(reader, field),
            _ => return false,
        }
        true
    });
    placement
}

/// A price; `None` with a problem if it is none.
fn coin<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> Option<Coin<'t>> {
    let mark = entry.key_mark;
    let before = reader.problems.len();
    let mut amount = At { value: "", mark };
    let mut denom = At { value: "", mark };
    reader.record(entry.value, |reader, field| {
        match field.key {
            "amount" => amount = reader.text(field.value),
            "denom" => denom = reader.text(field.value),
            _ => return false,
        }
        true
    });
    if reader.problems.len() > before {
        return None;
    }
    let units = match decimal(&amount) {
        Some((false, units)) if units > 0 => units,
        parsed => {
            let (kind, says) = match parsed {
                None => (ErrorKind::PriceMalformed, "is no amount of money"),
                Some((_, 0)) => (ErrorKind::PriceZero, "is nothing"),
                Some(_) => (ErrorKind::PriceNegative, "is less than nothing"),
            };
            let message =
                format!("{} {says}: write a decimal number above zero, as 1000 or 12.5", shown(&amount));
            reader.problem(kind, amount.mark, message);
            return None;
        }
    };
    if !is_denom(&denom) {
        let message = format!("{} is no currency: write uact", shown(&denom));
        reader.problem(ErrorKind::PriceDenomInvalid, denom.mark, message);
        return None;
    }
    Some(Coin { mark: amount.mark, amount: units, denom: denom.value })
}

/// Sign and units of 10^-18 of a decimal number with at most 18 digits after the point; amounts beyond 128 bits count as
/// the largest. `None` if it does not read as one, or is beyond 2^256.
fn decimal(text: &str) -> Option<(bool, u128)> {
    const TWO_TO_THE_256: &str =
        "115792089237316195423570985008687907853269984665640564039457584007913129639936";
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (unsigned, ""),
    };
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || fraction.len() > 18 {
        return None;
    }
    let significant = whole.trim_start_matches('0');
    let beyond = match significant.len().cmp(&TWO_TO_THE_256.len()) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => {
            significant > TWO_TO_THE_256
                || significant == TWO_TO_THE_256 && fraction.bytes().any(|b| b != b'0')
        }
        std::cmp::Ordering::Greater => true,
    };
    if beyond {
        return None;
    }
    let units: u128 = format!("0{significant}{fraction:0<18}").parse().unwrap_or(u128::MAX);
    Some((text.starts_with('-'), units))
}

/// `[a-zA-Z][a-zA-Z0-9/:._-]{2,127}` in full.
fn is_denom(text: &str) -> bool {
    let [first, rest @ ..] = text.as_bytes() else { return false };
    first.is_ascii_alphabetic()
        && (2..=127).contains(&rest.len())
        && rest.iter().all(|b| b.is_ascii_alphanumeric() || b"/:._-".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_read_as_exact_decimals() {
        assert_eq!(decimal("12.5"), Some((false, 12_500_000_000_000_000_000)));
        assert_eq!(decimal("0.000000000000000001"), Some((false, 1)));
        assert_eq!(decimal("+007"), Some((false, 7 * 10u128.pow(18))));
        assert_eq!(decimal("-5"), Some((true, 5 * 10u128.pow(18))));
        assert_eq!(decimal(&"9".repeat(77)), Some((false, u128::MAX)));
        for text in [
            "",
            "1e3",
            ".5",
            "5.",
            "0.0000000000000000001",
            "0x10",
            "1,000",
            "--5",
            "1_0",
            " 1",
            &"9".repeat(78),
        ] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }
}
