//! Reading typed values out of a YAML tree, by the language's own rules, collecting every problem with its place.
//!
//! The reader keeps the path it stands at, counts its steps, so that aliases cannot multiply the work without bound, and
//! never shows what it read from a secret place.

use std::collections::HashSet;
use std::fmt::Write;

use super::Mode;
use super::document::At;
use super::quantity::{self, QuantityError};
use super::yaml::{Kind, NodeId, Tag, Tree};
use crate::problem::{ErrorKind, Mark, Problem, Warning, push_key, shown};

/// Steps that reading may take for each byte of the document, and for all of it.
const STEPS_PER_BYTE: usize = 16;
const MAX_STEPS: usize = 2_000_000;

/// Most bytes that are taken for what is read, beside the document itself.
const MAX_MEMORY: usize = 24 << 20;

/// About how much is taken for a mapping with known keys, for a name in a map, and for an element of a list.
const RECORD_BYTES: usize = 800;
const NAME_BYTES: usize = 48;
const ELEMENT_BYTES: usize = 24;

/// Deepest chain of mappings that merge one another.
const MAX_MERGE_DEPTH: usize = 32;

/// Most problems, and most warnings, that are told of one document.
pub(super) const MAX_TOLD: usize = 1000;

/// A key of a mapping with its value.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'t> {
    pub(crate) key: &'t str,
    pub(crate) key_mark: Mark,
    pub(crate) value: NodeId,
}

#[derive(Clone, Copy)]
enum Segment<'t> {
    Key(&'t str),
    Index(usize),
}

pub(crate) struct Reader<'t> {
    tree: &'t Tree,
    path: Vec<Segment<'t>>,
    /// Nodes that may still be visited.
    steps_left: usize,
    steps_at_first: usize,
    /// Bytes that may still be taken for what is read.
    memory_left: usize,
    mode: Mode,
    /// Whether the text at hand must not be shown.
    secret: bool,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Warning>,
}

impl<'t> Reader<'t> {
    /// A reader of a document of so many bytes.
    pub(crate) fn new(tree: &'t Tree, bytes: usize, mode: Mode) -> Self {
        // Without aliases every node is visited once or twice; real documents share a few blocks.
        let steps = bytes.saturating_mul(STEPS_PER_BYTE).min(MAX_STEPS);
        Reader {
            tree,
            path: Vec::new(),
            steps_left: steps,
            steps_at_first: steps,
            memory_left: MAX_MEMORY,
            mode,
            secret: false,
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// How many steps were taken.
    pub(crate) fn steps(&self) -> usize {
        self.steps_at_first - self.steps_left
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn mark(&self, node: NodeId) -> Mark {
        self.tree.mark(node)
    }

    pub(crate) fn is_null(&self, node: NodeId) -> bool {
        self.tree.is_null(node)
    }

    pub(crate) fn kind(&self, node: NodeId) -> Kind {
        self.tree.kind(node)
    }

    /// The text of a scalar and its place, whatever the text means; empty for a collection.
    pub(crate) fn raw(&self, node: NodeId) -> At<&'t str> {
        At { value: self.tree.text(node), mark: self.tree.mark(node) }
    }

    /// Like [`Reader::raw`], but null is the empty text.
    pub(crate) fn raw_or_empty(&self, node: NodeId) -> At<&'t str> {
        let mut text = self.raw(node);
        if self.is_null(node) {
            text.value = "";
        }
        text
    }

    /// Goes one level down, to a key or to an element, until [`Reader::pop`].
    pub(crate) fn push_key(&mut self, key: &'t str) {
        self.path.push(Segment::Key(key));
    }

    pub(crate) fn push_index(&mut self, index: usize) {
        self.path.push(Segment::Index(index));
    }

    pub(crate) fn pop(&mut self) {
        self.path.pop();
    }

    /// Reads something one level down.
    pub(crate) fn within<R>(&mut self, key: &'t str, read: impl FnOnce(&mut Self) -> R) -> R {
        self.path.push(Segment::Key(key));
        let value = read(self);
        self.path.pop();
        value
    }

    /// Reads something that no message may quote.
    pub(crate) fn in_secret<R>(&mut self, read: impl FnOnce(&mut Self) -> R) -> R {
        let before = std::mem::replace(&mut self.secret, true);
        let value = read(self);
        self.secret = before;
        value
    }

    /// A mapping with known keys. `field` says whether it knows the key; other keys are warned of and skipped.
    pub(crate) fn record(&mut self, node: NodeId, mut field: impl FnMut(&mut Self, Entry<'t>) -> bool) {
        if !self.take_memory(node, RECORD_BYTES) {
            return;
        }
        for entry in self.mapping(node) {
            let known = self.within(entry.key, |reader| field(reader, entry));
            if !known {
                let message = match entry.key {
                    "x-berth" => {
                        "x-berth counts only under a service or a placement: here it is ignored".to_owned()
                    }
                    key => format!("the key {} is unknown here and ignored", shown(key)),
                };
                self.within(entry.key, |reader| reader.warn(entry.key_mark, message));
            }
        }
    }

    /// A mapping of names to things.
    pub(crate) fn named(&mut self, node: NodeId, mut each: impl FnMut(&mut Self, Entry<'t>)) {
        for entry in self.mapping(node) {
            if !self.take_memory(node, NAME_BYTES) {
                return;
            }
            self.within(entry.key, |reader| each(reader, entry));
        }
    }

    /// A list; null elements are dropped.
    pub(crate) fn list(&mut self, node: NodeId, mut each: impl FnMut(&mut Self, NodeId)) {
        self.list_with_nulls(node, |reader, element| {
            if !reader.is_null(element) {
                each(reader, element);
            }
        });
    }

    /// A list with its null elements.
    pub(crate) fn list_with_nulls(&mut self, node: NodeId, mut each: impl FnMut(&mut Self, NodeId)) {
        if self.is_null(node) {
            return;
        }
        if self.tree.kind(node) != Kind::Sequence {
            return self.wrong_type(node, "a list");
        }
        let tree = self.tree;
        for (index, element) in tree.elements(node).iter().enumerate() {
            if !self.step(*element) || !self.take_memory(*element, ELEMENT_BYTES) {
                return;
            }
            self.path.push(Segment::Index(index));
            each(self, *element);
            self.path.pop();
        }
    }

    /// A list of texts: absent for null, which is not the same as empty.
    pub(crate) fn texts(&mut self, node: NodeId) -> Option<Vec<&'t str>> {
        Some(self.texts_at(node)?.into_iter().map(|text| text.value).collect())
    }

    /// A list of texts with their places.
    pub(crate) fn texts_at(&mut self, node: NodeId) -> Option<Vec<At<&'t str>>> {
        if self.is_null(node) {
            return None;
        }
        let mut texts = Vec::with_capacity(self.tree.elements(node).len().min(self.steps_left));
        self.list(node, |reader, element| texts.push(reader.text(element)));
        Some(texts)
    }

    /// Any scalar by its source text; null is the empty text.
    pub(crate) fn text(&mut self, node: NodeId) -> At<&'t str> {
        match (self.tree.kind(node), self.tree.tag(node)) {
            (Kind::Plain | Kind::Quoted, Tag::Binary) => {
                let message =
                    "text tagged !!binary is no base64 of a text: write the text itself, without the tag";
                self.problem(ErrorKind::YamlType, self.mark(node), message);
            }
            (Kind::Plain | Kind::Quoted, _) => return self.raw_or_empty(node),
            (Kind::Sequence | Kind::Mapping, _) => self.wrong_type(node, "text"),
        }
        At { value: "", mark: self.mark(node) }
    }

    /// A number without quotes, truncated to a whole one; null is zero.
    pub(crate) fn number(&mut self, node: NodeId) -> At<u32> {
        let mark = self.mark(node);
        let reads = matches!(
            (self.tree.kind(node), self.tree.tag(node)),
            (Kind::Plain, Tag::None) | (Kind::Plain | Kind::Quoted, Tag::Int | Tag::Float)
        );
        let value = match reads {
            _ if self.is_null(node) => Some(0),
            true => quantity::yaml_u32(self.tree.text(node)),
            false => None,
        };
        if value.is_none() {
            self.wrong_type(node, "a number from 0 to 4294967295 without quotes");
        }
        At { value: value.unwrap_or_default(), mark }
    }

    /// A boolean; null is false.
    pub(crate) fn boolean(&mut self, node: NodeId) -> bool {
        if self.is_null(node) {
            return false;
        }
        let typed = matches!(
            (self.tree.kind(node), self.tree.tag(node)),
            (Kind::Plain, Tag::None) | (Kind::Plain | Kind::Quoted, Tag::Bool)
        );
        match self.tree.text(node) {
            "true" | "True" | "TRUE" if typed => true,
            "false" | "False" | "FALSE" if typed => false,
            // The older spellings count as text that is read as a boolean, so quotes do not matter.
            "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => true,
            "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => false,
            _ => {
                self.wrong_type(node, "true or false without quotes");
                false
            }
        }
    }

    /// A quantity in the given notation; null is zero. A malformed one is told as `what`, with examples.
    pub(crate) fn quantity(
        &mut self,
        node: NodeId,
        parse: fn(&str) -> Result<u64, QuantityError>,
        what: &str,
    ) -> At<u64> {
        let mark = self.mark(node);
        if self.is_null(node) {
            return At { value: 0, mark };
        }
        let value = parse(self.tree.text(node)).unwrap_or_else(|error| {
            let (kind, says) = match error {
                QuantityError::Malformed => (ErrorKind::QuantityMalformed, "is not"),
                QuantityError::Negative => (ErrorKind::QuantityNegative, "is negative where there must be"),
            };
            let found = self.found(node);
            self.problem(kind, mark, format!("{found} {says} {what}"));
            0
        });
        At { value, mark }
    }

    /// Entries of a mapping: keys that are null dropped, merge keys resolved, explicit keys before merged ones.
    pub(crate) fn mapping(&mut self, node: NodeId) -> Vec<Entry<'t>> {
        let mut entries = Vec::with_capacity(self.tree.entries(node).len().min(self.steps_left));
        if self.is_null(node) {
            return entries;
        }
        if self.tree.kind(node) == Kind::Mapping {
            self.collect(node, &mut entries, &mut None, 0);
        } else {
            self.wrong_type(node, "a mapping of keys to values");
        }
        entries
    }

    /// Entries of a mapping exactly as they stand: repetitions kept, `<<` a key like any other.
    pub(crate) fn literal_entries(&mut self, node: NodeId) -> Vec<Entry<'t>> {
        if self.is_null(node) {
            return Vec::new();
        }
        if self.tree.kind(node) != Kind::Mapping {
            self.wrong_type(node, "a mapping of keys to values");
            return Vec::new();
        }
        let tree = self.tree;
        let entry = |(key, value)| Entry { key: tree.text(key), key_mark: tree.mark(key), value };
        tree.entries(node).take_while(|(key, _)| self.step(*key)).map(entry).collect()
    }

    /// Adds the entries of one mapping that are not there yet. `taken` is made when the first merge needs it.
    fn collect(
        &mut self,
        node: NodeId,
        entries: &mut Vec<Entry<'t>>,
        taken: &mut Option<HashSet<&'t str>>,
        depth: usize,
    ) {
        let tree = self.tree;
        let mut own = Keys::default();
        let mut merge = None;
        for (key, value) in tree.entries(node) {
            if !self.step(key) {
                return;
            }
            if matches!(tree.kind(key), Kind::Sequence | Kind::Mapping) {
                self.wrong_type(key, "text as a key");
                continue;
            }
            let text = tree.text(key);
            if !own.insert(text) {
                let message = format!("the key {} stands here twice: keep one of them", self.quoted(text));
                self.problem(ErrorKind::YamlDuplicateKey, tree.mark(key), message);
                continue;
            }
            if text == "<<" && tree.kind(key) == Kind::Plain && tree.tag(key) == Tag::None {
                merge = Some(value);
            } else if !tree.is_null(key) && taken.as_mut().is_none_or(|taken| taken.insert(text)) {
                entries.push(Entry { key: text, key_mark: tree.mark(key), value });
            }
        }
        let Some(merge) = merge else { return };
        if depth == MAX_MERGE_DEPTH {
            return self.exhausted(merge);
        }
        taken.get_or_insert_with(|| entries.iter().map(|entry| entry.key).collect());
        let one = [merge];
        let merged = if tree.kind(merge) == Kind::Sequence { tree.elements(merge) } else { &one };
        for mapping in merged {
            if tree.kind(*mapping) == Kind::Mapping {
                self.collect(*mapping, entries, taken, depth + 1);
            } else {
                self.wrong_type(*mapping, "a mapping, or a list of mappings, to merge");
            }
        }
    }

    /// Counts a visit; false, with a problem the first time, when there were too many.
    fn step(&mut self, node: NodeId) -> bool {
        match self.steps_left {
            0 => return false,
            1 => self.exhausted(node),
            _ => {}
        }
        self.steps_left -= 1;
        true
    }

    fn exhausted(&mut self, node: NodeId) {
        self.steps_left = 0;
        let message = "aliases and merge keys repeat more of the document than is read: repeat less";
        self.problem(ErrorKind::DocumentTooLarge, self.mark(node), message);
        self.steps_left = 1;
    }

    pub(crate) fn wrong_type(&mut self, node: NodeId, wanted: &str) {
        let found = self.found(node);
        self.problem(
            ErrorKind::YamlType,
            self.mark(node),
            format!("{found} cannot stand here: write {wanted}"),
        );
    }

    pub(crate) fn problem(&mut self, kind: ErrorKind, mark: Mark, message: impl Into<String>) {
        if self.problems.len() >= MAX_TOLD {
            return;
        }
        let path = self.path();
        self.problems.push(Problem {
            kind,
            path,
            line: mark.line,
            column: mark.column,
            message: message.into(),
        });
    }

    pub(crate) fn warn(&mut self, mark: Mark, message: impl Into<String>) {
        if self.warnings.len() >= MAX_TOLD {
            return;
        }
        let path = self.path();
        self.warnings.push(Warning { path, line: mark.line, column: mark.column, message: message.into() });
    }

    /// The node in words for a message: what it is, or the text it has.
    fn found(&self, node: NodeId) -> String {
        match self.tree.kind(node) {
            Kind::Sequence => "a list".to_owned(),
            Kind::Mapping => "a mapping".to_owned(),
            Kind::Plain | Kind::Quoted => self.quoted(self.tree.text(node)),
        }
    }

    /// Text of the document for a message.
    pub(crate) fn quoted(&self, text: &str) -> String {
        if self.secret { "the text here".to_owned() } else { shown(text) }
    }

    /// A copy of a text. Copies are counted, for aliases repeat long texts cheaply.
    pub(crate) fn owned(&mut self, node: NodeId, text: &str) -> String {
        if self.take_memory(node, text.len()) { text.to_owned() } else { String::new() }
    }

    /// Counts the memory for what is read from a node; false, with a problem the first time, when there is too much.
    pub(crate) fn take_memory(&mut self, node: NodeId, bytes: usize) -> bool {
        if self.steps_left == 0 {
            return false;
        }
        match self.memory_left.checked_sub(bytes) {
            Some(left) => self.memory_left = left,
            None => {
                self.exhausted(node);
                self.steps_left = 0;
            }
        }
        self.steps_left > 0
    }

    pub(crate) fn path(&self) -> String {
        let mut path = String::new();
        for segment in &self.path {
            match segment {
                Segment::Key(key) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    push_key(&mut path, key);
                }
                Segment::Index(index) => {
                    let _ = write!(path, "[{index}]");
                }
            }
        }
        path
    }
}

/// The keys of one mapping: most mappings have few, and those are kept without asking for memory.
#[derive(Default)]
struct Keys<'t> {
    few: [&'t str; Keys::FEW],
    count: usize,
    many: Option<HashSet<&'t str>>,
}

impl<'t> Keys<'t> {
    const FEW: usize = 16;

    /// False if the key is there already.
    fn insert(&mut self, key: &'t str) -> bool {
        if self.few[..self.count].contains(&key) {
            return false;
        }
        if self.count < Self::FEW {
            self.few[self.count] = key;
            self.count += 1;
            return true;
        }
        self.many.get_or_insert_default().insert(key)
    }
}
