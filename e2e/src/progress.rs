//! What a person sees while something takes long: a moving line on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// One long step, from its start to its end.
pub struct Progress {
    bar: Option<ProgressBar>,
    label: String,
    start: Instant,
}

impl Progress {
    /// Starts a step and says so.
    #[must_use]
    pub fn start(label: impl Into<String>) -> Self {
        let label = label.into();
        let bar = std::io::stdout().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(style("{spinner} {prefix}  {elapsed}  {wide_msg}"));
            bar.set_prefix(label.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            say(format_args!("{label} …"));
        }
        Self { bar, label, start: Instant::now() }
    }

    /// Shows what the step is at; only a terminal shows it.
    pub fn note(&self, message: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(message.chars().take(200).collect::<String>());
        }
    }

    /// Turns the line into a bar of so many units.
    pub fn expect_units(&self, units: u64) {
        if let Some(bar) = &self.bar {
            bar.set_style(style("{spinner} {prefix}  {elapsed}  {bar:30} {pos}/{len}  {wide_msg}"));
            bar.set_length(units);
        }
    }

    /// Moves the bar by one unit.
    pub fn unit(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// Ends the step and says what came of it; answers how long it took.
    pub fn done(self, outcome: &str) -> Duration {
        let took = self.start.elapsed();
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        say(format_args!("{:<28} {outcome} ({})", self.label, human(took)));
        took
    }

    /// Ends the step without a word, for a caller that tells of a failure itself.
    pub fn abandon(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is one of the two above")
}

/// Writes one line for the person at the terminal. A closed pipe is nobody reading, not an error.
pub fn say(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// A duration as people say it: `8 ms`, `4.2 s`, `5 min 57 s`.
#[must_use]
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..=99 => format!("{:.1} s", duration.as_secs_f64()),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        assert_eq!(human(Duration::from_millis(8)), "8 ms");
        assert_eq!(human(Duration::from_millis(4240)), "4.2 s");
        assert_eq!(human(Duration::from_secs(357)), "5 min 57 s");
    }
}
