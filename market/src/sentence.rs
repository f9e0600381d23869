//! An error as a person reads it.

/// The problem and its causes in one line, each said once: libraries like to repeat what lies below them.
#[must_use]
pub fn of(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text {
        text if text.is_empty() => cause,
        text if text.contains(&cause) => text,
        text => format!("{text}: {cause}"),
    })
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
}
