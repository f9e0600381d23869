//! Problems and warnings as people read them: what is wrong, the place, the line with a caret under the place, and the
//! remedy. The lines come from [`Source`], which covers what is secret in them.

use std::fmt::Write as _;

use manifests::Source;
use manifests::problem::{Problem, Warning};

/// All problems of a document, the one that stands in the way first.
pub(crate) fn problems(file: &str, bytes: &[u8], problems: &[Problem]) -> String {
    let report = Report { file, source: Source::new(bytes) };
    let told = |problem: &Problem| {
        let heading = format!("error[{}]: {}", problem.kind, problem.fault());
        report.told(&heading, &problem.path, (problem.line, problem.column), problem.remedy())
    };
    some(problems.iter().map(told))
}

/// The first of them, and how many there are more.
fn some(told: impl ExactSizeIterator<Item = String>) -> String {
    let left = told.len().saturating_sub(MOST_TOLD);
    let mut text = told.take(MOST_TOLD).collect::<Vec<_>>().join("\n");
    if left > 0 {
        text.push_str(&format!("\n… and {left} more: berth sdl validate --output json tells all problems\n"));
    }
    text
}

/// Most problems that people read at once.
const MOST_TOLD: usize = 20;

/// Warnings of a document that is accepted.
pub(super) fn warnings(file: &str, bytes: &[u8], warnings: &[Warning]) -> String {
    if warnings.is_empty() {
        return String::new();
    }
    let report = Report { file, source: Source::new(bytes) };
    let told = |Warning { path, line, column, message }: &Warning| {
        report.told(&format!("warning: {message}"), path, (*line, *column), "")
    };
    some(warnings.iter().map(told))
}

struct Report<'a> {
    file: &'a str,
    source: Source,
}

impl Report<'_> {
    fn told(&self, heading: &str, path: &str, (line, column): (u32, u32), remedy: &str) -> String {
        let at = if path.is_empty() { String::new() } else { format!(" at {path}") };
        let place = if line == 0 { String::new() } else { format!(":{line}:{column}") };
        let mut told = format!("{heading}\n  --> {}{place}{at}\n", self.file);
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        let mut write = |arguments: std::fmt::Arguments<'_>| {
            told.write_fmt(arguments).expect("texts grow without error");
        };
        if let Some(excerpt) = self.source.excerpt_at(line, column) {
            let (shown, caret) = (excerpt.line.trim_end(), " ".repeat(excerpt.caret));
            write(format_args!(
                "{margin} |\n{number} | {shown}\n{margin} | {caret}{}\n",
                "^".repeat(excerpt.width)
            ));
        }
        if !remedy.is_empty() {
            write(format_args!("{margin} = {remedy}\n"));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_problems_the_first_are_told_and_the_others_counted() {
        let names: String = (0..100).map(|n| format!("  s{n}: {{expose: 1}}\n")).collect();
        let text = format!("version: \"2.0\"\nservices:\n{names}");
        let verdict = manifests::parse(&text).expect_err("refused");
        let told = problems("f.yaml", text.as_bytes(), &verdict);
        assert_eq!(told.matches("error[").count(), MOST_TOLD, "{told}");
        assert!(told.contains(&format!("… and {} more: ", verdict.len() - MOST_TOLD)), "{told}");
    }
}
