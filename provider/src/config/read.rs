//! Reading a tree of settings key by key: what is missing, wrong or unknown is noted with its path, and reading goes on.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::anyhow;
use manifests::money::{Amount, UNITS_PER_TOKEN};
use serde::de::DeserializeOwned;
use serde_yaml::{Mapping, Value};

/// Decimals of the token, which stands for a dollar.
const TOKEN_DECIMALS: usize = UNITS_PER_TOKEN.ilog10() as usize;
/// Decimals of the coin of any chain of this kind.
const COIN_DECIMALS: usize = 18;

/// What is wrong so far, one sentence each.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<String>>);

impl Problems {
    fn note(&self, sentence: String) {
        self.0.borrow_mut().push(sentence);
    }

    pub(super) fn into_sentences(self) -> Vec<String> {
        self.0.into_inner()
    }
}

/// One mapping of the file, with its path.
pub(super) struct Section<'a> {
    path: String,
    entries: Mapping,
    known: BTreeSet<&'static str>,
    env: &'a dyn Fn(&str) -> Option<String>,
    problems: &'a Problems,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn root(
        text: &str,
        env: &'a dyn Fn(&str) -> Option<String>,
        problems: &'a Problems,
    ) -> anyhow::Result<Self> {
        let tree: Value = serde_yaml::from_str(text).map_err(|error| anyhow!("it is not YAML: {error}"))?;
        let entries = match tree {
            Value::Mapping(entries) => entries,
            Value::Null => Mapping::new(),
            _ => return Err(anyhow!("it must be a mapping of keys to values")),
        };
        Ok(Self { path: String::new(), entries, known: BTreeSet::new(), env, problems })
    }

    /// The mapping under `key`; an absent one is empty.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        let path = self.path_of(key);
        let entries = match self.take(key) {
            None | Some(Value::Null) => Mapping::new(),
            Some(Value::Mapping(entries)) => entries,
            Some(_) => {
                self.problems.note(format!("{path} must be a mapping of keys to values"));
                Mapping::new()
            }
        };
        Section { path, entries, known: BTreeSet::new(), env: self.env, problems: self.problems }
    }

    /// The mapping under `key`, if there is one.
    pub(super) fn section_if_there(&mut self, key: &'static str) -> Option<Section<'a>> {
        self.known.insert(key);
        if self.entries.get(key).is_none_or(Value::is_null) {
            self.entries.remove(key);
            return None;
        }
        Some(self.section(key))
    }

    /// A value that must be there. `form` says what it looks like.
    pub(super) fn required<T: FromStr<Err: Display>>(&mut self, key: &'static str, form: &str) -> Option<T> {
        let Some(text) = self.scalar(key, form)? else {
            self.problems.note(format!("{} is missing: write {form}", self.path_of(key)));
            return None;
        };
        self.parsed(key, &text, form)
    }

    /// A text that must be there and not be empty.
    pub(super) fn text(&mut self, key: &'static str, form: &str) -> Option<String> {
        let text: String = self.required(key, form)?;
        if text.trim().is_empty() {
            self.problem(key, &format!("is empty: write {form}"));
            return None;
        }
        Some(text)
    }

    /// A path that must be there and not be empty.
    pub(super) fn path(&mut self, key: &'static str, form: &str) -> Option<PathBuf> {
        self.text(key, form).map(PathBuf::from)
    }

    /// A value with a default.
    pub(super) fn or<T: FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
        form: &str,
        default: T,
    ) -> Option<T> {
        match self.scalar(key, form)? {
            None => Some(default),
            Some(text) => self.parsed(key, &text, form),
        }
    }

    /// A value that may be absent.
    pub(super) fn optional<T: FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
        form: &str,
    ) -> Option<Option<T>> {
        match self.scalar(key, form)? {
            None => Some(None),
            Some(text) => self.parsed(key, &text, form).map(Some),
        }
    }

    /// A length of time with a default.
    pub(super) fn duration(&mut self, key: &'static str, default: Duration) -> Option<Duration> {
        const FORM: &str = "a time such as 250ms, 30s, 10m or 24h";
        let Some(text) = self.scalar(key, FORM)? else { return Some(default) };
        let duration = parse_duration(&text);
        if duration.is_none() {
            self.problem(key, &format!("is \"{text}\": write {FORM}"));
        }
        duration
    }

    /// Dollars with a default.
    pub(super) fn dollars(&mut self, key: &'static str, default: Amount) -> Option<Amount> {
        const FORM: &str = "dollars with at most six decimals, such as 2.50";
        let Some(text) = self.scalar(key, FORM)? else { return Some(default) };
        let amount = parse_dollars(&text);
        if amount.is_none() {
            self.problem(key, &format!("is \"{text}\": write {FORM}"));
        }
        amount
    }

    /// Coins of the chain, in wei; they may be absent.
    pub(super) fn coins(&mut self, key: &'static str) -> Option<Option<u128>> {
        const FORM: &str = "coins of the chain with at most eighteen decimals, such as 0.25";
        let Some(text) = self.scalar(key, FORM)? else { return Some(None) };
        let wei = parse_decimal(&text, COIN_DECIMALS);
        if wei.is_none() {
            self.problem(key, &format!("is \"{text}\": write {FORM}"));
        }
        wei.map(Some)
    }

    /// A table that is read as a whole; its first problem is noted.
    pub(super) fn table<T: DeserializeOwned>(&mut self, key: &'static str, form: &str) -> Option<T> {
        match self.take(key) {
            None | Some(Value::Null) => {
                self.problem(key, &format!("is missing: write {form}"));
                None
            }
            Some(value) => self.read_table(key, value),
        }
    }

    /// A table that may be left out.
    pub(super) fn table_or_default<T: DeserializeOwned + Default>(&mut self, key: &'static str) -> Option<T> {
        match self.take(key) {
            None | Some(Value::Null) => Some(T::default()),
            Some(value) => self.read_table(key, value),
        }
    }

    fn read_table<T: DeserializeOwned>(&self, key: &str, value: Value) -> Option<T> {
        serde_yaml::from_value(value)
            .map_err(|error| self.problem(key, &format!("cannot be used: {error}")))
            .ok()
    }

    /// A list of values, empty by default; an override separates them by commas.
    pub(super) fn list<T: FromStr<Err: Display>>(&mut self, key: &'static str, form: &str) -> Option<Vec<T>> {
        let path = self.path_of(key);
        let value = self.take(key);
        let texts: Vec<String> = match ((self.env)(&env_name(&path)), value) {
            (Some(text), _) => {
                text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
            }
            (None, None | Some(Value::Null)) => Vec::new(),
            (None, Some(Value::Sequence(items))) => {
                items.iter().map(|item| plain(item).unwrap_or_default()).collect()
            }
            (None, Some(_)) => {
                self.problem(key, &format!("must be a list: write {form}"));
                return None;
            }
        };
        // Every entry is read before the list is given up, so that all problems are found.
        let values: Vec<Option<T>> = texts.iter().map(|text| self.parsed(key, text, form)).collect();
        values.into_iter().collect()
    }

    /// Puts a value in place of what is written under a key.
    pub(super) fn put(&mut self, key: &'static str, value: Value) {
        self.entries.insert(key.into(), value);
    }

    /// Everything that nobody asked for yet, as one table; its first problem is noted.
    pub(super) fn rest<T: DeserializeOwned>(self) -> Option<T> {
        let Self { path, entries, problems, .. } = self;
        serde_yaml::from_value(Value::Mapping(entries))
            .map_err(|error| problems.note(format!("{path} cannot be used: {error}")))
            .ok()
    }

    /// Notes a problem with a value.
    pub(super) fn problem(&self, key: &str, what: &str) {
        self.problems.note(format!("{} {what}", self.place_of(key)));
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(self) {
        for (key, _) in self.entries {
            let key = plain(&key).unwrap_or_else(|| "?".to_owned());
            let known = self.known.iter().copied().collect::<Vec<_>>().join(", ");
            let within = if self.path.is_empty() { "here" } else { &self.path };
            let path = if self.path.is_empty() { key } else { format!("{}.{key}", self.path) };
            self.problems.note(format!("{path} is not a key: known {within} are {known}"));
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Where the value of a key is written: in the file, or in the variable that overrides it.
    fn place_of(&self, key: &str) -> String {
        let path = self.path_of(key);
        let variable = env_name(&path);
        match (self.env)(&variable) {
            Some(_) => format!("{path} (from {variable})"),
            None => path,
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.insert(key);
        self.entries.remove(key)
    }

    /// The value's text, the environment's first; the outer `None` says that a problem was noted.
    fn scalar(&mut self, key: &'static str, form: &str) -> Option<Option<String>> {
        let path = self.path_of(key);
        let value = self.take(key);
        if let Some(text) = (self.env)(&env_name(&path)) {
            return Some(Some(text));
        }
        match value {
            None | Some(Value::Null) => Some(None),
            Some(value) => {
                let text = plain(&value);
                if text.is_none() {
                    self.problems.note(format!("{path} must be a single value: write {form}"));
                }
                text.map(Some)
            }
        }
    }

    fn parsed<T: FromStr<Err: Display>>(&self, key: &str, text: &str, form: &str) -> Option<T> {
        text.parse()
            .map_err(|error: T::Err| self.problem(key, &format!("is \"{text}\" ({error}): write {form}")))
            .ok()
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// `chain.pollInterval` → `BERTH_CHAIN_POLL_INTERVAL`.
fn env_name(path: &str) -> String {
    let mut name = "BERTH_".to_owned();
    for letter in path.chars() {
        match letter {
            '.' => name.push('_'),
            letter if letter.is_ascii_uppercase() => name.extend(['_', letter]),
            letter => name.push(letter.to_ascii_uppercase()),
        }
    }
    name
}

pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit_at = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

pub(crate) fn parse_dollars(text: &str) -> Option<Amount> {
    parse_decimal(text, TOKEN_DECIMALS).map(Amount)
}

/// The number times ten to this power, exactly or not at all.
pub(super) fn parse_decimal(text: &str, power: usize) -> Option<u128> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > power || !decimals.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let whole: u128 = whole.parse().ok()?;
    let parts: u128 = format!("{decimals:0<power$}").parse().ok()?;
    let unit = 10u128.checked_pow(u32::try_from(power).ok()?)?;
    whole.checked_mul(unit)?.checked_add(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_the_environment_variable_one_would_guess() {
        assert_eq!(env_name("chain.pollInterval"), "BERTH_CHAIN_POLL_INTERVAL");
        assert_eq!(env_name("dataKeyFile"), "BERTH_DATA_KEY_FILE");
    }

    #[test]
    fn times_and_dollars_are_read_exactly_or_not_at_all() {
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("24h"), Some(Duration::from_secs(86_400)));
        assert_eq!([parse_duration("5"), parse_duration("s"), parse_duration("1.5s")], [None; 3]);
        assert_eq!(parse_dollars("2.5"), Some(Amount(2_500_000)));
        assert_eq!(parse_dollars("10"), Some(Amount(10_000_000)));
        assert_eq!(parse_decimal("0.25", COIN_DECIMALS), Some(250_000_000_000_000_000));
        assert_eq!(parse_decimal("0.0000000000000000001", COIN_DECIMALS), None);
        assert_eq!(parse_decimal(&u128::MAX.to_string(), COIN_DECIMALS), None);
        assert_eq!([parse_dollars("0.0000001"), parse_dollars("-1"), parse_dollars("")], [None; 3]);
    }
}
