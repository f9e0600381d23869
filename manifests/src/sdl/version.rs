//! The `version` of a document: a lenient semantic version that selects a level of the language.

use std::cmp::Ordering;

use super::document::Level;

/// Why a text selects no level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionError {
    Malformed,
    Unsupported,
}

/// The level that a version selects: 2.0 exactly, or everything from 2.1 on.
pub(crate) fn level(text: &str) -> Result<Level, VersionError> {
    let (numbers, prerelease) = parse(text).ok_or(VersionError::Malformed)?;
    match (numbers.cmp(&[2, 1, 0]), numbers, prerelease) {
        (_, [2, 0, 0], false) => Ok(Level::V2_0),
        (Ordering::Greater, ..) | (Ordering::Equal, _, false) => Ok(Level::V2_1),
        _ => Err(VersionError::Unsupported),
    }
}

/// Major, minor and patch, and whether a pre-release follows.
fn parse(text: &str) -> Option<([u64; 3], bool)> {
    let text = text.trim();
    let text = text.strip_prefix('v').unwrap_or(text);
    let parts: Vec<&str> = text.splitn(3, '.').collect();
    let mut numbers = [0; 3];
    for (number, part) in numbers.iter_mut().zip(&parts[..parts.len().min(2)]) {
        *number = decimal(part)?;
    }
    // What follows the number may only stand in a version of three parts.
    let Some(last) = parts.get(2) else { return Some((numbers, false)) };
    let (last, build) = last.split_once('+').map_or((*last, None), |(last, build)| (last, Some(build)));
    let (patch, prerelease) = last.split_once('-').map_or((last, None), |(patch, pre)| (patch, Some(pre)));
    numbers[2] = decimal(patch)?;
    let identifiers = |text: &str| text.split('.').all(is_identifier);
    let numeric = |id: &str| id.len() > 1 && id.starts_with('0') && id.bytes().all(|b| b.is_ascii_digit());
    let valid = build.is_none_or(identifiers)
        && prerelease.is_none_or(|pre| identifiers(pre) && !pre.split('.').any(numeric));
    valid.then_some((numbers, prerelease.is_some()))
}

fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_dot_zero_in_any_spelling_is_the_first_level() {
        for text in ["2.0", "2", "v2.0", "2.0.0", "2.00", "02.0", " 2.0 ", "2.0.0+build.1", "2.0.00"] {
            assert_eq!(level(text), Ok(Level::V2_0), "{text}");
        }
    }

    #[test]
    fn everything_from_two_dot_one_is_the_second_level() {
        for text in ["2.1", "2.10", "3", "3.8", "2.1.5", "2.1.1-rc1", "2.2.0-rc.1"] {
            assert_eq!(level(text), Ok(Level::V2_1), "{text}");
        }
    }

    #[test]
    fn older_and_unfinished_versions_are_unsupported() {
        for text in ["1", "1.0", "2.0.1", "2.0.0-rc", "2.1.0-rc1", "0"] {
            assert_eq!(level(text), Err(VersionError::Unsupported), "{text}");
        }
    }

    #[test]
    fn what_is_no_version_is_malformed() {
        for text in [
            "", "beta", "2.", "2.0.0.0", "2.0-rc1", "2.0e0", "0x2", "vv2.0", "2.0.0-", "2.0.0-01", "2.0.0+",
            "~", "-1",
        ] {
            assert_eq!(level(text), Err(VersionError::Malformed), "{text}");
        }
    }
}
