//! Problems and warnings as people read them: kind and sentence, the place, and the line with a caret under the place.
//!
//! Nothing of what stands under `env` or `credentials` is ever shown. In a text that is no YAML nobody can say what stands
//! where, so of lines that may belong there only the key is.

use std::fmt::Write as _;

use manifests::problem::{ErrorKind, Problem, Warning};

use crate::sdl::outline::{Outline, text_of};

/// Keys whose values are not shown; `environment` is how other languages call `env`.
const HIDDEN: [&str; 3] = ["env", "credentials", "environment"];

/// Keys that are shown although what stands around them may be hidden.
const KEYS: [&str; 7] = ["env", "credentials", "environment", "host", "email", "username", "password"];

/// Stands for what is not shown.
const MASK: &str = "***";

/// Most characters of a line that are shown before the place.
const MOST_BEFORE: usize = 60;
/// Most characters of a line that are shown from the place on.
const MOST_AFTER: usize = 60;

/// All problems of a document, the one that stands in the way first.
pub(super) fn problems(file: &str, bytes: &[u8], problems: &[Problem]) -> String {
    let readable = !problems
        .iter()
        .any(|problem| matches!(problem.kind, ErrorKind::YamlSyntax | ErrorKind::DocumentTooLarge));
    let lines = Lines::of(bytes, readable);
    let mut text = String::new();
    for Problem { kind, path, line, column, message } in problems {
        let heading = format!("error[{kind}]: {message}");
        lines.tell(&mut text, &heading, file, path, *line, *column);
    }
    text
}

/// Warnings of a document that is accepted.
pub(super) fn warnings(file: &str, bytes: &[u8], warnings: &[Warning]) -> String {
    let lines = Lines::of(bytes, true);
    let mut text = String::new();
    for Warning { path, line, column, message } in warnings {
        lines.tell(&mut text, &format!("warning: {message}"), file, path, *line, *column);
    }
    text
}

/// The lines of a document, and what of them is hidden.
struct Lines<'t> {
    text: &'t str,
    /// Offsets at which lines begin.
    starts: Vec<usize>,
    /// Extents of hidden values, ascending; `None` if nobody knows them.
    hidden: Option<Vec<(usize, usize)>>,
}

impl<'t> Lines<'t> {
    fn of(bytes: &'t [u8], readable: bool) -> Self {
        // Text in another encoding is refused or rare; its lines are then not shown.
        let text = text_of(bytes).unwrap_or_default();
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(breaks).collect();
        let outline = readable.then(|| Outline::of(text)).flatten();
        let hidden = outline.map(|outline| outline.values_under(|key| HIDDEN.contains(&key)));
        Lines { text, starts, hidden }
    }

    fn tell(&self, told: &mut String, heading: &str, file: &str, path: &str, line: u32, column: u32) {
        let write = &mut |arguments: std::fmt::Arguments<'_>| {
            told.write_fmt(arguments).expect("texts grow without error");
        };
        write(format_args!("{heading}\n"));
        let place = if path.is_empty() { String::new() } else { format!(" at {path}") };
        if line == 0 {
            return write(format_args!("  --> {file}{place}\n\n"));
        }
        write(format_args!("  --> {file}:{line}:{column}{place}\n"));
        let Some((shown, caret)) = self.excerpt(line as usize - 1, column.max(1) as usize - 1) else {
            return write(format_args!("\n"));
        };
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        write(format_args!("{margin} |\n{number} | {shown}\n{margin} | {}^\n\n", " ".repeat(caret)));
    }

    /// A line without what is hidden, and where in it the column stands; both from 0.
    fn excerpt(&self, line: usize, column: usize) -> Option<(String, usize)> {
        let start = *self.starts.get(line).filter(|_| !self.text.is_empty())?;
        let end = self.starts.get(line + 1).copied().unwrap_or(self.text.len());
        let raw = self.text[start..end].trim_end_matches(['\n', '\r']);
        let place = raw.char_indices().nth(column).map_or(raw.len(), |(at, _)| at);
        let (masked, place) = match &self.hidden {
            Some(hidden) => mask(raw, start, hidden, place),
            None if self.may_be_hidden(line) => mask_all_but_key(raw, place),
            None => (raw.to_owned(), place),
        };
        Some(clipped(&masked, place))
    }

    /// Whether a line of a text that is no YAML may belong to a hidden value: it is or follows the line of a hidden key, and
    /// nothing in between is as little indented as that key and so ends its block.
    fn may_be_hidden(&self, line: usize) -> bool {
        let at = |number: usize| {
            let end = self.starts.get(number + 1).copied().unwrap_or(self.text.len());
            &self.text[self.starts[number]..end]
        };
        let names_hidden = |text: &str| {
            text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-')
                .any(|word| HIDDEN.contains(&word))
        };
        let indent = |text: &str| text.len() - text.trim_start().len();
        let Some(key) = (0..=line).rev().find(|number| names_hidden(at(*number))) else { return false };
        if key == line || at(key).contains(['[', '{', '"', '\'', '&']) {
            return true;
        }
        let ends_block = |text: &str| {
            let inside = text.trim_start();
            !inside.is_empty() && !inside.starts_with(['-', '#']) && indent(text) <= indent(at(key))
        };
        !(key + 1..=line).any(|number| ends_block(at(number)))
    }
}

/// The line with the hidden extents replaced, and where `place` has moved to. Offsets of extents count from the text's
/// beginning, `start` is the line's.
fn mask(raw: &str, start: usize, hidden: &[(usize, usize)], place: usize) -> (String, usize) {
    let (mut shown, mut at, mut moved) = (String::new(), 0, None);
    let end = start + raw.len();
    for (from, to) in hidden.iter().filter(|(from, to)| *from < end && *to > start && from < to) {
        let (from, to) = (from.saturating_sub(start), (to - start).min(raw.len()));
        if from < at {
            continue;
        }
        if moved.is_none() && place < to {
            moved = Some(if place < from { shown.len() + place - at } else { shown.len() + from - at });
        }
        shown.push_str(&raw[at..from]);
        shown.push_str(MASK);
        at = to;
    }
    let moved = moved.unwrap_or(shown.len() + place.saturating_sub(at));
    shown.push_str(&raw[at..]);
    (shown, moved)
}

/// The line up to a known key's colon or the list mark, the rest replaced.
fn mask_all_but_key(raw: &str, place: usize) -> (String, usize) {
    let inside = raw.trim_start_matches([' ', '\t', '-']);
    let indent = raw.len() - inside.len();
    let word = inside.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(inside.len());
    let is_key = KEYS.contains(&&inside[..word]) && inside[word..].starts_with(':');
    let kept = if is_key { indent + word + 1 } else { indent };
    if raw[kept..].trim().is_empty() {
        return (raw[..kept].to_owned(), place.min(kept));
    }
    let space = if is_key { " " } else { "" };
    (format!("{}{space}{MASK}", &raw[..kept]), if place <= kept { place } else { kept + space.len() })
}

/// At most so much of a line that the place is seen, and what would move the cursor replaced.
fn clipped(line: &str, place: usize) -> (String, usize) {
    let before = line[..place].chars().count();
    let skip = before.saturating_sub(MOST_BEFORE);
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = line.chars().skip(skip).take(before - skip + MOST_AFTER).map(visible).collect();
    let mut caret = before - skip;
    if skip > 0 {
        shown.insert(0, '…');
        caret += 1;
    }
    if line.chars().count() > skip + (before - skip) + MOST_AFTER {
        shown.push('…');
    }
    (shown.trim_end().to_owned(), caret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(document: &str) -> String {
        let verdict = manifests::parse(document).expect_err("refused");
        problems("f.yaml", document.as_bytes(), &verdict)
    }

    #[test]
    fn a_caret_stands_under_the_place() {
        let text = told("version: \"2.0\"\nservices:\n  web:\n    expose: nothing\n");
        assert!(text.contains("error[yaml-type]: "), "{text}");
        assert!(text.contains("--> f.yaml:4:13 at services.web.expose\n"), "{text}");
        assert!(text.contains("4 |     expose: nothing\n  |             ^\n"), "{text}");
    }

    #[test]
    fn hidden_values_are_replaced_also_on_the_line_of_another_problem() {
        let flow = r#"{version: "2.0", services: {web: {env: ["A=hunter2", B=hunter3], credentials: {password: hunter4}, expose: x}}}"#;
        let text = told(flow);
        assert!(!text.contains("hunter"), "{text}");
        let line = text.lines().find(|line| line.starts_with("1 |")).expect("shown");
        let caret = text.lines().skip_while(|l| !l.starts_with("1 |")).nth(1).expect("a caret");
        let at = caret.chars().count() - 1;
        assert_eq!(line.chars().nth(at), Some('x'), "{text}");
        let alias = "version: \"2.0\"\nservices:\n  a: {other: &e [A=hunter5], env: *e, expose: x}\n";
        assert!(!told(alias).contains("hunter"), "{}", told(alias));
    }

    #[test]
    fn lines_of_broken_yaml_that_may_be_hidden_show_their_key_only() {
        for broken in [
            "services:\n  web:\n    env:\n      - A=hunter1: x: y\n",
            "services:\n  web:\n    env:\n    - A=hunter1\n   - B=hunter1\n",
            "services:\n  web:\n    credentials:\n      password: \"hunter1\n",
            "services: {web: {env: [A=hunter1, }}\n",
            "services:\n  web:\n    env: [\n  A=hunter1\n  ]]\n",
        ] {
            let text = told(broken);
            assert!(text.contains("error[yaml-syntax]") && !text.contains("hunter"), "{broken}{text}");
        }
        let elsewhere = told("services:\n  web:\n    env:\n      - A=hunter1\n    image: a: b\n");
        assert!(elsewhere.contains("image: a: b") && !elsewhere.contains("hunter"), "{elsewhere}");
    }

    #[test]
    fn long_lines_are_clipped_around_the_place() {
        let line = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let (shown, caret) = clipped(&line, 500);
        assert_eq!(shown.chars().nth(caret), Some('X'));
        assert!(shown.chars().count() < 130 && shown.starts_with('…') && shown.ends_with('…'));
    }
}
