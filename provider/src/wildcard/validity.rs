//! Until when a certificate says that it holds: the one field of X.509 that is read here.

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The unix second after which a certificate in DER does not hold; nothing for what is no certificate.
pub(super) fn not_after(der: &[u8]) -> Option<u64> {
    let certificate = Field::read(der)?.within(SEQUENCE)?;
    let mut rest = Field::read(certificate)?.within(SEQUENCE)?;
    if *rest.first()? == VERSION {
        rest = Field::read(rest)?.rest;
    }
    // Serial number, algorithm of the signature, issuer.
    for _ in 0..3 {
        rest = Field::read(rest)?.rest;
    }
    let validity = Field::read(rest)?.within(SEQUENCE)?;
    let Field { tag, content, .. } = Field::read(Field::read(validity)?.rest)?;
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    match tag {
        // Two digits stand for the years from 1950 to 2049.
        UTC_TIME if text.len() == 12 => {
            let year: u64 = text.get(..2)?.parse().ok()?;
            seconds(if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        GENERALIZED_TIME if text.len() == 14 => seconds(text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => None,
    }
}

/// A field of DER: what it is, what it holds, and what follows it.
struct Field<'a> {
    tag: u8,
    content: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Field<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        let (&[tag, length], rest) = der.split_first_chunk()?;
        let (length, rest) = match length {
            0..=0x7f => (usize::from(length), rest),
            // The number of bytes that the length itself takes.
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        Some(Self { tag, content, rest })
    }

    fn within(self, tag: u8) -> Option<&'a [u8]> {
        (self.tag == tag).then_some(self.content)
    }
}

/// The unix second of a year from 1970 on, and month, day, hour, minute and second in two digits each.
fn seconds(year: u64, rest: &str) -> Option<u64> {
    let part = |at: usize| rest.get(at..at + 2)?.parse::<u64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March, so that the day that comes and goes is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    // From 1 March of the year 0 to 1 January 1970.
    let days = days.checked_sub(719_468)?;
    Some(((days * 24 + part(4)?) * 60 + part(6)?) * 60 + part(8)?)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn until(year: i32, month: u8, day: u8) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["*.apps.provider.test".to_owned()]).expect("a name");
        params.not_after = date_time_ymd(year, month, day);
        params.self_signed(&KeyPair::generate().expect("a key")).expect("signed").der().to_vec()
    }

    #[test]
    fn the_end_of_a_certificate_is_read_in_either_way_of_writing_it() {
        for (year, month, day, second) in [
            (2030, 1, 2, 1_893_542_400),
            (2024, 2, 29, 1_709_164_800),
            (2049, 12, 31, 2_524_521_600),
            (2100, 3, 1, 4_107_542_400),
        ] {
            assert_eq!(not_after(&until(year, month, day)), Some(second), "{year}-{month}-{day}");
        }
    }

    #[test]
    fn what_is_cut_off_or_no_certificate_has_no_end() {
        let whole = until(2030, 1, 2);
        for length in 0..whole.len().min(150) {
            assert_eq!(not_after(&whole[..length]), None);
        }
        assert_eq!(not_after(b"-----BEGIN CERTIFICATE-----"), None);
    }
}
