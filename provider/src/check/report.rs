//! What was found, a line each.

use std::process::ExitCode;

use anyhow::Context;
use serde::Serialize;

use crate::cli::{Format, say};

/// One thing that was tried.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Line {
    check: &'static str,
    result: Outcome,
    /// What was found; of what did not pass, also what to do.
    told: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok,
    /// The daemon runs, and sells less than it could or serves less well.
    Warning,
    /// The daemon does not run, or sells nothing.
    Failed,
}

/// The lines so far.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Line>);

impl Report {
    pub(super) fn tell(&mut self, check: &'static str, found: anyhow::Result<String>) {
        let (result, told) = match found {
            Ok(told) => (Outcome::Ok, told),
            Err(error) => (Outcome::Failed, market::sentence::of(&error)),
        };
        self.0.push(Line { check, result, told });
    }

    /// As [`Self::tell`], of what the daemon can do without.
    pub(super) fn tell_lesser(&mut self, check: &'static str, found: anyhow::Result<String>) {
        match found {
            Ok(told) => self.tell(check, Ok(told)),
            Err(error) => self.warn(check, market::sentence::of(&error)),
        }
    }

    pub(super) fn warn(&mut self, check: &'static str, told: String) {
        self.0.push(Line { check, result: Outcome::Warning, told });
    }

    /// Tells of a thing and keeps it for later lines.
    pub(super) fn keep<T>(
        &mut self,
        check: &'static str,
        found: anyhow::Result<T>,
        told: impl Fn(&T) -> String,
    ) -> Option<T> {
        match found {
            Ok(thing) => {
                self.tell(check, Ok(told(&thing)));
                Some(thing)
            }
            Err(error) => {
                self.tell(check, Err(error));
                None
            }
        }
    }

    /// Prints all lines. The exit code is a failure if one failed.
    pub(super) fn print(&self, output: Format) -> anyhow::Result<ExitCode> {
        say(&match output {
            Format::Json => serde_json::to_string(&self.0).context("failed to write JSON")?,
            Format::Text => self.text(),
        });
        let failed = self.0.iter().any(|line| line.result == Outcome::Failed);
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn text(&self) -> String {
        let line = |Line { check, result, told }: &Line| {
            let word = match result {
                Outcome::Ok => "ok",
                Outcome::Warning => "warn",
                Outcome::Failed => "FAIL",
            };
            format!("{word:<4}  {check:<14} {told}")
        };
        self.0.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn a_failure_fails_the_check_and_a_warning_does_not() {
        let mut report = Report::default();
        report.tell("chain", Ok("it answers".to_owned()));
        report.tell_lesser("wildcard DNS", Err(anyhow!("no address: create the record")));
        let printed = report.print(Format::Text).expect("text");
        assert_eq!(format!("{printed:?}"), format!("{:?}", ExitCode::SUCCESS));
        report.tell("gas money", Err(anyhow!("none is left: send some")));
        let printed = report.print(Format::Json).expect("JSON");
        assert_eq!(format!("{printed:?}"), format!("{:?}", ExitCode::FAILURE));
        assert_eq!(
            report.text(),
            "ok    chain          it answers\nwarn  wildcard DNS   no address: create the record\nFAIL  gas money      none is left: send some"
        );
        let json = serde_json::to_value(&report.0).expect("JSON");
        assert_eq!(
            json[1],
            serde_json::json!({"check": "wildcard DNS", "result": "warning", "told": "no address: create the record"})
        );
    }
}
