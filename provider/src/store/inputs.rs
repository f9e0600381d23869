//! What decisions were made from, kept small: parts that many of them share are stored once, and everything is compressed.
//!
//! A decision's inputs are one JSON object. Its rules (tariff, policy and the like) hardly ever change. Its capacity is that of
//! a whole cluster and differs from the one before by a node or two, so a base is stored now and then, and each decision says
//! how its own differs: a JSON merge patch (RFC 7386). DEFLATE, because a decoder for it will be at hand for ever, and because
//! what is left to compress is small.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use anyhow::{Context, ensure};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use super::rows::string;

/// The key of the capacity among the inputs.
const CAPACITY: &str = "capacity";

/// The most that one part may say: beyond it the database is damaged.
const LARGEST: u64 = 1 << 30;

/// A part of the inputs of several decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    hash: String,
    body: Vec<u8>,
}

impl Part {
    /// A part that says this.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn new(content: &impl Serialize) -> anyhow::Result<Self> {
        let text = serde_json::to_vec(content).context("failed to write a part of a decision's inputs")?;
        Ok(Self { hash: hex::encode(Sha256::digest(&text)), body: compress(&text)? })
    }
}

impl Part {
    /// What names it: the SHA-256 of what it says.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

/// What a decision was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInputs {
    rules: Part,
    base: Part,
    rest: Vec<u8>,
}

impl NewInputs {
    /// The members of `rules` and of `rest`, and `capacity`: the `base`, changed by the merge patch that `rest` has under that
    /// name.
    ///
    /// # Errors
    /// When `rest` cannot be written as JSON.
    pub fn new(rules: Part, base: Part, rest: &impl Serialize) -> anyhow::Result<Self> {
        let rest = serde_json::to_vec(rest).context("failed to write a decision's inputs")?;
        Ok(Self { rules, base, rest: compress(&rest)? })
    }
}

/// A stored row's columns of inputs.
pub(super) struct Columns {
    pub(super) rules: String,
    pub(super) base: String,
    pub(super) rest: Vec<u8>,
}

/// Stores the parts that are not there yet; gives what the decision's row holds.
pub(super) async fn put_inputs(
    tx: &mut Transaction<'static, Any>,
    inputs: &NewInputs,
) -> anyhow::Result<Columns> {
    let NewInputs { rules, base, rest } = inputs;
    for Part { hash, body } in [rules, base] {
        let known = sqlx::query("select 1 as n from decision_parts where hash = $1").bind(hash.clone());
        if known.fetch_optional(&mut **tx).await.context("failed to look for a part of inputs")?.is_some() {
            continue;
        }
        sqlx::query("insert into decision_parts (hash, body) values ($1, $2) on conflict (hash) do nothing")
            .bind(hash.clone())
            .bind(body.clone())
            .execute(&mut **tx)
            .await
            .context("failed to store a part of a decision's inputs")?;
    }
    Ok(Columns { rules: rules.hash.clone(), base: base.hash.clone(), rest: rest.clone() })
}

/// The inputs of a decision as one JSON object, from a row that has its parts' bodies as `rules_body` and `base_body`.
pub(super) fn read_inputs(row: &AnyRow) -> anyhow::Result<String> {
    let damaged = "what a decision was made from cannot be read: its row is damaged";
    let bytes = |column: &str| -> anyhow::Result<Option<Vec<u8>>> {
        row.try_get(column).with_context(|| format!("the database column {column} cannot be read"))
    };
    let Some(rest) = bytes("rest")? else { return string(row, "inputs") };
    let rules =
        bytes("rules_body")?.context("the rules that a decision was made by are not stored any more")?;
    let base =
        bytes("base_body")?.context("the capacity that a decision was made on is not stored any more")?;
    assemble(&decompress(&rules)?, &decompress(&base)?, &decompress(&rest)?).context(damaged)
}

/// Numbers stay as they are written: some have more bits than a JSON value of this program holds.
fn assemble(rules: &str, base: &str, rest: &str) -> anyhow::Result<String> {
    let mut members: BTreeMap<&str, &RawValue> = serde_json::from_str(rules)?;
    let rest: BTreeMap<&str, &RawValue> = serde_json::from_str(rest)?;
    let mut capacity: Value = serde_json::from_str(base)?;
    if let Some(patch) = rest.get(CAPACITY) {
        merge(&mut capacity, serde_json::from_str(patch.get())?);
    }
    let capacity = serde_json::value::to_raw_value(&capacity)?;
    members.extend(rest);
    members.insert(CAPACITY, &capacity);
    Ok(serde_json::to_string(&members)?)
}

fn merge(value: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *value = patch;
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(members) = value else { return };
    for (name, patch) in patch {
        if patch.is_null() {
            members.remove(&name);
        } else {
            merge(members.entry(name).or_insert(Value::Null), patch);
        }
    }
}

/// The merge patch that makes `new` of `base`; `None` if they are alike. A member that is null counts as one that is not there.
#[must_use]
pub fn patch(base: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(members)) = (base, new) else {
        return (base != new).then(|| new.clone());
    };
    let mut changes = Map::new();
    for (name, value) in members {
        let change = match old.get(name) {
            Some(before) => patch(before, value),
            None => Some(value.clone()),
        };
        changes.extend(change.map(|change| (name.clone(), change)));
    }
    let gone = old.keys().filter(|name| !members.contains_key(*name));
    changes.extend(gone.map(|name| (name.clone(), Value::Null)));
    (!changes.is_empty()).then_some(Value::Object(changes))
}

fn compress(text: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).and_then(|()| encoder.finish()).context("failed to compress")
}

fn decompress(bytes: &[u8]) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut decoder = ZlibDecoder::new(bytes).take(LARGEST + 1);
    decoder.read_to_string(&mut text).context("a stored part cannot be decompressed")?;
    ensure!(u64::try_from(text.len()).is_ok_and(|length| length <= LARGEST), "a stored part is too large");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_makes_of_the_base_what_it_was_made_for() {
        let base = json!({"nodes": {"a": {"cpu": 4, "gpus": {"h100": 2}}, "b": {"cpu": 1}}, "ips": 3, "problem": null});
        for new in [
            base.clone(),
            json!({"nodes": {"a": {"cpu": 4, "gpus": {}}, "b": {"cpu": 1}}, "ips": 3}),
            json!({"nodes": {"b": {"cpu": 1}, "c": {"cpu": 9, "islands": [4, 4]}}, "ips": 3}),
            json!({"nodes": {}, "ips": 0, "problem": "blind"}),
        ] {
            let mut made = base.clone();
            let patch = patch(&base, &new);
            assert_eq!(patch.is_none(), base == new);
            merge(&mut made, patch.unwrap_or_else(|| json!({})));
            let said = |value: &Value| {
                let mut value = value.clone();
                value.as_object_mut().expect("an object").retain(|_, member| !member.is_null());
                value
            };
            assert_eq!(said(&made), said(&new));
        }
    }

    #[test]
    fn numbers_of_any_size_come_back_as_they_were() {
        let rules = format!(r#"{{"policy":{{"bits":{}}}}}"#, u128::MAX);
        let text = assemble(&rules, r#"{"ports":18446744073709551615}"#, r#"{"now":5,"capacity":{"ips":1}}"#);
        let text = text.expect("assembled");
        assert!(text.contains(&u128::MAX.to_string()) && text.contains(&u64::MAX.to_string()), "{text}");
        assert!(text.contains(r#""ips":1"#) && text.contains(r#""now":5"#), "{text}");
    }

    #[test]
    fn what_is_damaged_is_told_and_not_taken_for_something_else() {
        assert!(decompress(b"no stream").is_err());
        let whole = compress(b"{\"a\": [1, 2, 3]}").expect("compressed");
        assert_eq!(decompress(&whole).expect("whole"), "{\"a\": [1, 2, 3]}");
        assert!(decompress(&whole[..whole.len() - 6]).is_err(), "half a stream");
    }
}
