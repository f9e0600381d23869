//! The story told to a person: one line a step with the time that step took, and a table at the end.

use std::fmt::Display;
use std::time::Instant;

use crate::progress::{human, say};

/// Tells steps one after the other.
pub struct Timeline {
    start: Instant,
    last: Instant,
}

impl Timeline {
    /// Starts the clock.
    #[must_use]
    pub fn start() -> Self {
        let now = Instant::now();
        Self { start: now, last: now }
    }

    /// Tells a step that has just ended, with the time since the step before it.
    pub fn step(&mut self, text: impl Display) {
        let now = Instant::now();
        say(format_args!("{:>9}  {text}", human(now - self.last)));
        self.last = now;
    }

    /// Starts the next step now: what passed meanwhile was told by somebody else.
    pub fn resume(&mut self) {
        self.last = Instant::now();
    }

    /// Tells something that belongs to the step before it.
    pub fn detail(&self, text: impl Display) {
        for line in text.to_string().lines() {
            say(format_args!("{:>9}  {line}", ""));
        }
    }

    /// Tells how long everything took.
    pub fn end(&self, text: impl Display) {
        say(format_args!("{:>9}  {text}, all together {}", "", human(self.start.elapsed())));
    }
}

/// Writes rows below their headings, each column as wide as its widest cell; a column that holds only numbers is
/// aligned to the right.
pub fn table<const COLUMNS: usize>(headings: [&str; COLUMNS], rows: &[[String; COLUMNS]]) {
    say(lay_out(headings, rows));
}

fn lay_out<const COLUMNS: usize>(headings: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let is_number = |cell: &String| cell.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    let mut text = String::new();
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or_default()
    });
    let right: [bool; COLUMNS] =
        std::array::from_fn(|column| !rows.is_empty() && rows.iter().all(|row| is_number(&row[column])));
    let mut line = |cells: [&str; COLUMNS]| {
        let mut out = String::new();
        for (column, cell) in cells.into_iter().enumerate() {
            let width = widths[column];
            if right[column] {
                out.push_str(&format!("{cell:>width$}  "));
            } else {
                out.push_str(&format!("{cell:<width$}  "));
            }
        }
        text.push_str(out.trim_end());
        text.push('\n');
    };
    line(headings);
    for row in rows {
        line(std::array::from_fn(|column| row[column].as_str()));
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_aligns_words_left_and_numbers_right() {
        let rows = [["rent".to_owned(), "12".to_owned()], ["dust".to_owned(), "7".to_owned()]];
        assert_eq!(lay_out(["what", "units"], &rows), "what  units\nrent     12\ndust      7");
    }
}
