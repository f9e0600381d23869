//! JSON as YAML that every reader takes for the same: what older YAML would read as a number or a truth, such as the hex digits
//! of an address or `on`, stands in quotes.

use serde_json::Value;

/// The value in block style, with a line end.
pub(super) fn text(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

fn block(value: &Value, indent: usize, out: &mut String) {
    let place = " ".repeat(indent);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, field) in fields {
                out.push_str(&format!("{place}{}:", scalar(key)));
                // Lists stand below their key without indentation, as kubectl prints them.
                let below = if field.is_array() { indent } else { indent + 2 };
                behind(field, below, out);
            }
        }
        Value::Array(elements) if !elements.is_empty() => {
            for element in elements {
                if is_block(element) {
                    let mut inner = String::new();
                    block(element, indent + 2, &mut inner);
                    out.push_str(&format!("{place}- {}", inner.trim_start()));
                } else {
                    out.push_str(&format!("{place}-"));
                    behind(element, indent, out);
                }
            }
        }
        other => out.push_str(&format!("{place}{}\n", inline(other))),
    }
}

/// What stands behind a key or a list's mark: on its line, or below it.
fn behind(value: &Value, indent: usize, out: &mut String) {
    if is_block(value) {
        out.push('\n');
        block(value, indent, out);
    } else {
        out.push_str(&format!(" {}\n", inline(value)));
    }
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        _ => false,
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// A text without quotes where no reader can take it for anything else.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '-');
    let safe = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(plain)
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    // A JSON text is one of YAML as well.
    if safe { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_that_look_like_something_else_are_quoted() {
        let value = json!({
            "a": [{"b": "0x11", "c": [[1, "on"], []], "d": {}}, "x: y", null, true, "1:30", "", "/p", "é\n"],
            "yes": 2,
        });
        let wanted = "a:\n- b: \"0x11\"\n  c:\n  - - 1\n    - \"on\"\n  - []\n  d: {}\n- \"x: y\"\n- null\n- true\n- \"1:30\"\n- \"\"\n- /p\n- \"é\\n\"\n\"yes\": 2\n";
        assert_eq!(text(&value), wanted);
        assert_eq!(serde_yaml::from_str::<Value>(&text(&value)).expect("YAML"), value);
    }
}
