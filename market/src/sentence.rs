//! Errors and times as a person reads them.

/// The problem and its causes in one line, each said once: libraries like to repeat what lies below them.
#[must_use]
pub fn of(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text {
        text if text.is_empty() => cause,
        text if text.contains(&cause) => text,
        text => format!("{text}: {cause}"),
    })
}

/// Seconds in words, two units at most.
#[must_use]
pub fn seconds(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    #[test]
    fn a_cause_that_was_said_already_is_not_said_again() {
        let error =
            anyhow!("no such file").context("failed to read key.json: no such file").context("no key");
        assert_eq!(super::of(&error), "no key: failed to read key.json: no such file");
    }

    #[test]
    fn seconds_are_told_in_two_units() {
        assert_eq!(super::seconds(59), "59s");
        assert_eq!(super::seconds(61), "1m 1s");
        assert_eq!(super::seconds(3 * 3600 + 60), "3h 1m");
        assert_eq!(super::seconds(90_000), "1d 1h");
    }
}
