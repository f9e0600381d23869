//! The chart's files that are made from others: the schema of the values and the README from its commented `values.yaml`, the
//! dashboards from their source.
//!
//! The comments are those that the field's tools read: `# -- ` begins a value's description, and a block between two lines
//! `# @schema` is a piece of JSON Schema about the value below it, in YAML. What a piece does not say is taken from the default:
//! its type, and of a map with keys, that it has these and no others.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use crate::dashboards;
use crate::tools::Tools;
use crate::workspace;

/// The chart's folder.
#[must_use]
pub fn folder() -> PathBuf {
    workspace::root().join("charts/provider")
}

/// The files that are made, each with what it is to hold.
///
/// # Errors
/// When the values cannot be read, or one of them does not say what it may be.
pub fn made(tools: &Tools) -> Result<Vec<(PathBuf, String)>> {
    let folder = folder();
    let values = folder.join("values.yaml");
    let text =
        std::fs::read_to_string(&values).with_context(|| format!("failed to read {}", values.display()))?;
    let schema = schema(&text).with_context(|| format!("{} makes no schema", values.display()))?;
    let schema = serde_json::to_string_pretty(&schema)? + "\n";
    let mut made = vec![
        (folder.join("values.schema.json"), schema),
        (folder.join("README.md"), readme(tools, &folder)?),
    ];
    made.extend(dashboards::made(&folder)?);
    Ok(made)
}

/// What helm-docs makes of the values.
fn readme(tools: &Tools, folder: &Path) -> Result<String> {
    let output = Command::new(tools.program("helm-docs", "helm-docs"))
        .current_dir(folder)
        .args(["--chart-search-root=.", "--dry-run", "--sort-values-order=file", "--log-level=warning"])
        .arg("--skip-version-footer")
        .output()
        .context("failed to start helm-docs")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.trim().is_empty(), "helm-docs says {}", said.trim());
    let text = String::from_utf8(output.stdout).context("helm-docs writes text")?;
    Ok(text.trim().to_owned() + "\n")
}

/// The schema of commented values.
///
/// # Errors
/// When a comment is no YAML, or a value does not say what it may be.
pub fn schema(text: &str) -> Result<Value> {
    let values: serde_yaml::Value = serde_yaml::from_str(text).context("it is not YAML")?;
    let comments = Comments::read(text)?;
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.extend(comments.root.clone());
    let Value::Object(whole) = comments.schema_of("", &serde_json::to_value(values)?)? else {
        bail!("it is no map")
    };
    schema.extend(whole);
    // Helm itself puts this into the values of a chart that another one includes.
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("global".to_owned(), json!({"type": "object", "description": "Not used here."}));
    }
    let schema = Value::Object(schema);
    ensure_closed(&schema, "#")?;
    Ok(schema)
}

/// What is written above the values, by their paths.
#[derive(Default)]
struct Comments {
    root: Map<String, Value>,
    pieces: HashMap<String, Map<String, Value>>,
    descriptions: HashMap<String, String>,
}

impl Comments {
    fn read(text: &str) -> Result<Self> {
        let mut comments = Self::default();
        // The keys above the line, each with its indent.
        let mut above: Vec<(usize, String)> = Vec::new();
        let (mut piece, mut description) = (None::<String>, None::<String>);
        let mut open: Option<(bool, String)> = None;
        for (number, line) in text.lines().enumerate() {
            let bare = line.trim();
            let comment = bare.strip_prefix('#').map(|rest| rest.strip_prefix(' ').unwrap_or(rest));
            match (comment, open.take()) {
                (Some(rest), Some((is_root, block))) if rest.trim() == marker(is_root) => {
                    if is_root {
                        comments.root = parse(&block, number)?;
                    } else {
                        piece = Some(block);
                    }
                }
                (Some(rest), Some((is_root, block))) => open = Some((is_root, block + rest + "\n")),
                (None, Some(_)) => bail!("line {}: a block of the schema is not closed", number + 1),
                (Some(rest), None) => match rest {
                    "@schema" => open = Some((false, String::new())),
                    "@schema.root" => open = Some((true, String::new())),
                    _ => match (rest.strip_prefix("-- "), &mut description) {
                        (Some(first), _) => description = Some(first.to_owned()),
                        (None, Some(before)) => *before = format!("{before} {rest}"),
                        (None, None) => {}
                    },
                },
                (None, None) => {
                    let indent = line.len() - line.trim_start().len();
                    if let Some((key, _)) = bare.split_once(':').filter(|(key, _)| is_key(key)) {
                        above.retain(|(of, _)| *of < indent);
                        above.push((indent, key.to_owned()));
                        let path: Vec<&str> = above.iter().map(|(_, key)| key.as_str()).collect();
                        let path = path.join(".");
                        if let Some(piece) = piece.take() {
                            comments.pieces.insert(path.clone(), parse(&piece, number)?);
                        }
                        if let Some(description) = description.take() {
                            comments.descriptions.insert(path, description);
                        }
                    }
                    (piece, description) = (None, None);
                }
            }
        }
        Ok(comments)
    }

    /// The schema of the value at `path`, whose default this is.
    fn schema_of(&self, path: &str, default: &Value) -> Result<Value> {
        let piece = self.pieces.get(path);
        let says = |key: &str| piece.is_some_and(|piece| piece.contains_key(key));
        let mut schema = Map::new();
        if let Some(description) = self.descriptions.get(path) {
            schema.insert("description".to_owned(), json!(description));
        }
        if !["type", "$ref", "enum", "const"].iter().any(|key| says(key)) {
            schema.insert("type".to_owned(), json!(type_of(default).with_context(|| vague(path))?));
        }
        match default {
            Value::Object(map) if !says("properties") && !says("additionalProperties") => {
                ensure!(!map.is_empty(), vague(path));
                let mut properties = Map::new();
                for (key, value) in map {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    properties.insert(key.clone(), self.schema_of(&path, value)?);
                }
                schema.insert("additionalProperties".to_owned(), json!(false));
                schema.insert("properties".to_owned(), Value::Object(properties));
            }
            Value::Array(_) => ensure!(says("items"), vague(path)),
            Value::Object(_) => {}
            scalar => {
                schema.insert("default".to_owned(), scalar.clone());
            }
        }
        let lists_keys = schema.contains_key("properties");
        ensure!(
            lists_keys || schema.contains_key("description"),
            "{path} does not say what it is for: write a line `# -- ` above it"
        );
        schema.extend(piece.cloned().unwrap_or_default());
        Ok(Value::Object(schema))
    }
}

fn marker(is_root: bool) -> &'static str {
    if is_root { "@schema.root" } else { "@schema" }
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn parse(block: &str, line: usize) -> Result<Map<String, Value>> {
    serde_yaml::from_str(block)
        .with_context(|| format!("the block of the schema above line {} is no map", line + 1))
}

fn vague(path: &str) -> String {
    format!("{path} does not say what it may be: write a block `# @schema` above it")
}

fn type_of(value: &Value) -> Option<&'static str> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    })
}

/// Makes sure that wherever keys are listed, or a map is spoken of, it is said whether there may be others.
fn ensure_closed(schema: &Value, place: &str) -> Result<()> {
    match schema {
        Value::Object(map) => {
            let is_map = map.get("type") == Some(&json!("object"));
            let lists_keys = map.get("properties").is_some_and(Value::is_object);
            let is_schema = is_map || lists_keys;
            let is_free = place.ends_with("/properties/global");
            ensure!(
                !is_schema || is_free || map.contains_key("additionalProperties"),
                "{place} does not say whether other keys may stand there: write additionalProperties"
            );
            map.iter().try_for_each(|(key, value)| ensure_closed(value, &format!("{place}/{key}")))
        }
        Value::Array(list) => {
            list.iter().enumerate().try_for_each(|(n, value)| ensure_closed(value, &format!("{place}/{n}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: &str = r##"
# About all of it.

# @schema.root
# $defs: {short: {type: string, maxLength: 3}}
# @schema.root

chain:
  # @schema
  # $ref: "#/$defs/short"
  # @schema
  # -- Where it is,
  # or was.
  rpc: ""
  # -- How often.
  tries: 3
# @schema
# additionalProperties: {type: string}
# @schema
# -- Labels.
labels: {}
# -- On or off.
on: true
"##;

    #[test]
    fn a_schema_says_what_comments_and_defaults_say_and_is_closed() {
        let schema = schema(VALUES).expect("good");
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["$defs"]["short"]["maxLength"], 3);
        assert_eq!(
            schema["properties"]["chain"],
            json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "rpc": {"$ref": "#/$defs/short", "description": "Where it is, or was.", "default": ""},
                    "tries": {"type": "integer", "description": "How often.", "default": 3},
                },
            })
        );
        assert_eq!(
            schema["properties"]["labels"],
            json!({"type": "object", "description": "Labels.", "additionalProperties": {"type": "string"}})
        );
        assert_eq!(
            schema["properties"]["on"],
            json!({"type": "boolean", "description": "On or off.", "default": true})
        );
    }

    #[test]
    fn what_does_not_say_what_it_may_be_is_refused_by_its_path() {
        for (from, to, said) in [
            ("# additionalProperties: {type: string}\n", "# title: x\n", "labels does not say"),
            ("rpc: \"\"", "rpc: null", ""),
            ("tries: 3", "tries: null", "chain.tries does not say"),
            ("tries: 3", "tries: []", "chain.tries does not say"),
            (
                "{type: string}",
                "{type: object}",
                "#/properties/labels/additionalProperties does not say whether other keys",
            ),
            ("# @schema\n# -- Labels", "# -- Labels", "is not closed"),
            ("# -- On or off", "# On or off", "on does not say what it is for"),
            ("# $ref: ", "# - ", "is no map"),
        ] {
            let text = VALUES.replacen(from, to, 1);
            assert_ne!(text, VALUES, "{from}");
            match schema(&text) {
                Ok(_) => assert_eq!(said, "", "{to} is taken"),
                Err(error) => {
                    let told = format!("{error:#}");
                    assert!(!said.is_empty() && told.contains(said), "{said} is not in: {told}");
                }
            }
        }
    }
}
