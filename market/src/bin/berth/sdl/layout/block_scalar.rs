//! Block scalars, `|` and `>`: the one sort of scalar whose text depends on where it stands.

/// A block scalar at a new indentation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Moved {
    /// `|` or `>` with its indicators.
    pub(super) header: String,
    /// Its lines, without line ends, indented anew.
    pub(super) lines: Vec<String>,
    /// Whether empty lines behind it belong to it, so that none may be added.
    pub(super) keeps_end: bool,
}

/// Moves a block scalar, given from its `|` or `>` on, to `indent` blanks, which are two more than its parent's. `value` is
/// what it stands for.
pub(super) fn moved(source: &str, value: &str, indent: usize) -> Moved {
    let mut lines = source.lines();
    let header = lines.next().unwrap_or_default();
    let indicators = header.split([' ', '\t', '#']).next().unwrap_or_default();
    let style = if indicators.starts_with('>') { '>' } else { '|' };
    let chomping = indicators.chars().find(|c| matches!(c, '+' | '-'));
    let mut lines: Vec<&str> = lines.collect();
    while lines.last().is_some_and(|line| line.trim().is_empty()) {
        lines.pop();
    }
    // The value's first line tells how many of the blanks before it are content.
    let content = value.trim_start_matches('\n');
    let own_blanks = content.len() - content.trim_start_matches(' ').len();
    let blanks = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let old = lines
        .iter()
        .find(|line| !line.trim().is_empty())
        .map_or(0, |line| blanks(line).saturating_sub(own_blanks));
    let place = " ".repeat(indent);
    let mut moved: Vec<String> = lines
        .iter()
        .map(|line| {
            let rest = &line[old.min(blanks(line))..];
            if rest.is_empty() { String::new() } else { format!("{place}{rest}") }
        })
        .collect();
    if chomping == Some('+') {
        let ends = value.len() - value.trim_end_matches('\n').len();
        let empty = if moved.is_empty() { ends } else { ends.saturating_sub(1) };
        moved.extend(std::iter::repeat_n(String::new(), empty));
    }
    let indicator = if own_blanks > 0 { "2" } else { "" };
    let chomped = chomping.map(String::from).unwrap_or_default();
    Moved { header: format!("{style}{indicator}{chomped}"), lines: moved, keeps_end: chomping == Some('+') }
}
