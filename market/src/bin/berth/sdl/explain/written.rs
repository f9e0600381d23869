//! What the author wrote at a place of the document, aliases and merge keys followed.

use crate::sdl::outline::{NodeId, Outline};

/// Deepest chain of mappings that merge one another.
const MAX_MERGES: u32 = 32;

/// The document as written.
pub(super) struct Written<'a> {
    outline: &'a Outline<'a>,
}

impl<'a> Written<'a> {
    pub(super) fn of(outline: &'a Outline<'a>) -> Self {
        Self { outline }
    }

    pub(super) fn root(&self) -> Place<'a> {
        Place { outline: self.outline, node: Some(self.outline.root) }
    }
}

/// A place of the document, where something may stand.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    outline: &'a Outline<'a>,
    node: Option<NodeId>,
}

impl<'a> Place<'a> {
    /// What stands under a key.
    pub(super) fn at(self, key: &str) -> Self {
        let node = self.node.and_then(|node| self.find(node, key, MAX_MERGES));
        Self { node, ..self }
    }

    /// What stands under keys within keys.
    pub(super) fn under(self, keys: &[&str]) -> Self {
        keys.iter().fold(self, |place, key| place.at(key))
    }

    fn find(self, node: NodeId, key: &str, merges: u32) -> Option<NodeId> {
        let entries = self.outline.entries(node);
        let named = |name: &str| entries.iter().find(|(key, _)| self.outline.scalar(*key) == Some(name));
        if let Some((_, value)) = named(key) {
            return Some(*value);
        }
        let (_, merged) = named("<<").filter(|_| merges > 0)?;
        match self.outline.elements(*merged) {
            [] => self.find(*merged, key, merges - 1),
            several => several.iter().find_map(|one| self.find(*one, key, merges - 1)),
        }
    }

    /// The elements that a list has for the language: those that are not null.
    pub(super) fn elements(self) -> Vec<Self> {
        let elements = self.node.map(|node| self.outline.elements(node)).unwrap_or_default();
        elements
            .iter()
            .map(|element| Self { node: Some(*element), ..self })
            .filter(|place| place.is_written())
            .collect()
    }

    /// Whether a mapping stands here.
    pub(super) fn has_entries(self) -> bool {
        self.node.is_some_and(|node| !self.outline.entries(node).is_empty())
    }

    /// The text that stands here, if it is a scalar.
    pub(super) fn text(self) -> Option<&'a str> {
        self.outline.scalar(self.node?)
    }

    /// Whether anything but null stands here.
    pub(super) fn is_written(self) -> bool {
        self.node.is_some_and(|node| !self.outline.is_null(node))
    }
}
