//! Variables of compose files: `$NAME`, `${NAME}`, `${NAME:-default}` and their like, and `$$` for a dollar.

use std::collections::BTreeMap;

use serde_yaml::Value;

use super::notes::Notes;

/// Values of variables.
#[derive(Default)]
pub(super) struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Reads lines of `NAME=value`; quotes around a value are not part of it.
    pub(super) fn read(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.strip_prefix("export ").unwrap_or(line).split_once('='));
        let value = |value: &str| {
            let value = value.trim();
            let inner =
                ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
            inner.unwrap_or(value).to_owned()
        };
        Self(pairs.map(|(name, text)| (name.trim().to_owned(), value(text))).collect())
    }
}

/// Replaces the variables in every value. Of those that have none it is told where they stand.
pub(super) fn resolve(compose: &mut Value, variables: &Variables, notes: &mut Notes) {
    walk(compose, "", variables, notes);
}

fn walk(value: &mut Value, path: &str, variables: &Variables, notes: &mut Notes) {
    match value {
        Value::String(text) if text.contains('$') => {
            let (resolved, unknown) = resolved(text, variables);
            for name in unknown {
                let why = format!("the value of ${{{name}}} is not known here: write it, or give --env-file");
                notes.left_at(path, &why);
            }
            *text = resolved;
        }
        Value::Sequence(elements) => {
            for (index, element) in elements.iter_mut().enumerate() {
                walk(element, &format!("{path}[{index}]"), variables, notes);
            }
        }
        Value::Mapping(entries) => {
            for (key, value) in entries.iter_mut() {
                let key = key.as_str().unwrap_or("?");
                let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                walk(value, &path, variables, notes);
            }
        }
        _ => {}
    }
}

/// The text with its variables replaced, and the names of those without a value, which stand for nothing.
fn resolved(text: &str, variables: &Variables) -> (String, Vec<String>) {
    let (mut out, mut unknown, mut left) = (String::new(), Vec::new(), text);
    while let Some(at) = left.find('$') {
        out.push_str(&left[..at]);
        left = &left[at + 1..];
        if let Some(rest) = left.strip_prefix('$') {
            out.push('$');
            left = rest;
        } else if let Some((inner, rest)) = left.strip_prefix('{').and_then(braced) {
            out.push_str(&value_of(inner, variables, &mut unknown));
            left = rest;
        } else {
            let end = name_end(left);
            if end == 0 {
                out.push('$');
            } else {
                out.push_str(&value_of(&left[..end], variables, &mut unknown));
            }
            left = &left[end..];
        }
    }
    out.push_str(left);
    (out, unknown)
}

/// The text up to the brace that closes, and what is behind it.
fn braced(text: &str) -> Option<(&str, &str)> {
    let mut depth = 1;
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((&text[..at], &text[at + 1..]));
        }
    }
    None
}

fn name_end(text: &str) -> usize {
    let ends = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    if text.starts_with(|c: char| c.is_ascii_digit()) { 0 } else { text.find(ends).unwrap_or(text.len()) }
}

/// The value of `NAME`, or of `NAME` with an operator behind it.
fn value_of(inner: &str, variables: &Variables, unknown: &mut Vec<String>) -> String {
    let (name, operator) = inner.split_at(name_end(inner));
    let known = variables.0.get(name);
    let (counts_empty, operator) = match operator.strip_prefix(':') {
        Some(operator) => (false, operator),
        None => (true, operator),
    };
    let known = known.filter(|value| counts_empty || !value.is_empty());
    // What an operator brings may hold variables itself.
    let mut brought = |text: &str| {
        let (text, more) = resolved(text, variables);
        unknown.extend(more);
        text
    };
    match (operator.chars().next(), known) {
        (Some('-'), None) => brought(&operator[1..]),
        (Some('+'), Some(_)) => brought(&operator[1..]),
        (Some('+'), None) => String::new(),
        (_, Some(value)) => value.clone(),
        (_, None) => {
            unknown.push(name.to_owned());
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_resolved_as_compose_does() {
        let variables = Variables::read("# c\nA=1\nexport B='two words'\nEMPTY=\n");
        for (text, wanted) in [
            ("$A-${B}", "1-two words"),
            ("$$A $ 5$", "$A $ 5$"),
            ("${NONE:-x}${NONE-y}${EMPTY:-z}${EMPTY-w}", "xyz"),
            ("${A:+set}${NONE:+set}", "set"),
            ("${NONE:-${A}}", "1"),
            ("${A:?must}", "1"),
        ] {
            assert_eq!(resolved(text, &variables), (wanted.to_owned(), Vec::new()), "{text}");
        }
        let (text, unknown) = resolved("a$NONE-${OTHER:?must}", &variables);
        assert_eq!((text.as_str(), unknown), ("a-", vec!["NONE".to_owned(), "OTHER".to_owned()]));
    }
}
