//! What people and programs see: results on standard output, everything else on standard error.

use std::fmt;
use std::io::Write as _;

pub(crate) use market::sentence::seconds;
use serde::Serialize;

/// A line of progress. Where nobody listens any more, nothing is said.
pub(crate) fn progress(line: impl fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{}", visible(&line.to_string()));
}

/// A line of result. A reader that has seen enough closes the pipe, which is no failure.
pub(crate) fn result(line: impl fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{}", visible(&line.to_string()));
}

/// A problem and its causes.
pub(crate) fn problem(error: &anyhow::Error) {
    progress(format_args!("berth: {}", market::sentence::of(error)));
}

/// A value as JSON.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    result(serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Log lines as they came, without anything that would move the cursor. Errors of a closed pipe are the caller's.
pub(crate) fn raw(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(visible(text).as_bytes())?;
    out.flush()
}

/// Columns as wide as their widest entry.
pub(crate) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    let mut lines = vec![head.iter().map(|title| (*title).to_owned()).collect::<Vec<_>>()];
    lines.extend(rows);
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|entry| entry.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    for line in &lines {
        let padded: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(entry, width)| format!("{entry:<width$}", width = *width))
            .collect();
        result(padded.join("  ").trim_end());
    }
}

/// Text from elsewhere must not steer the terminal: control characters but tab and line end are left out.
fn visible(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(visible("a\u{1b}[31mb\u{7}\n\tc\r"), "a[31mb\n\tc");
    }
}
