//! What is told of a conversion: what is left out and what is assumed, each with its place and the reason. And the places.

use serde_yaml::Value;

/// A value of the compose file, and where it stands.
#[derive(Clone)]
pub(super) struct Place<'a> {
    pub(super) path: String,
    pub(super) value: &'a Value,
}

impl<'a> Place<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self { path: String::new(), value }
    }

    /// What stands under a key, if it is anything but null.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(Self { path: self.below(key), value })
    }

    /// Keys with their values; none of anything but a mapping. Keys that are null or collections are left out.
    pub(super) fn entries(&self) -> Vec<(String, Self)> {
        let entries = self.value.as_mapping().into_iter().flatten();
        let entries = entries.filter_map(|(key, value)| Some((text(key)?, value)));
        entries.map(|(key, value)| (key.clone(), Self { path: self.below(&key), value })).collect()
    }

    /// Elements of a list; a single value counts as a list of one.
    pub(super) fn elements(&self) -> Vec<Self> {
        match self.value {
            Value::Sequence(elements) => {
                let at = |(index, value)| Self { path: format!("{}[{index}]", self.path), value };
                elements.iter().enumerate().map(at).collect()
            }
            Value::Null => Vec::new(),
            _ => vec![self.clone()],
        }
    }

    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<String> {
        text(self.value)
    }

    fn below(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// All that is told, in the order in which it was met.
#[derive(Default)]
pub(super) struct Notes(Vec<String>);

impl Notes {
    /// Something of the compose file is not in the document.
    pub(super) fn left(&mut self, place: &Place<'_>, why: &str) {
        self.left_at(&place.path, why);
    }

    /// The same, of something that is no place of its own.
    pub(super) fn left_at(&mut self, path: &str, why: &str) {
        self.0.push(format!("left out: {path}: {why}"));
    }

    /// Keys with their values of what has to be a mapping.
    pub(super) fn entries<'a>(&mut self, place: &Place<'a>) -> Vec<(String, Place<'a>)> {
        if !place.value.is_mapping() && !place.value.is_null() {
            self.left(place, "it is not read: a mapping belongs here");
        }
        place.entries()
    }

    /// The texts of a list; elements that are collections are told of.
    pub(super) fn texts(&mut self, place: &Place<'_>) -> Vec<String> {
        let mut texts = Vec::new();
        for element in place.elements() {
            match element.text() {
                Some(text) => texts.push(text),
                None => self.left(&element, "it is not read: a text belongs here"),
            }
        }
        texts
    }

    /// Something of the document is not in the compose file.
    pub(super) fn assumed(&mut self, place: &Place<'_>, what: &str, value: &str) {
        self.0.push(format!("assumed: {}: {what}: {value}", place.path));
    }

    pub(super) fn all(&self) -> &[String] {
        &self.0
    }
}
