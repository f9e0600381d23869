//! A document's text as a tree whose nodes know where they stand in it, for what is done to the text itself: laying it out
//! anew, pointing at a place, telling what was written from what is a default. What the text *means* is decided elsewhere.

use std::collections::HashMap;

use libyaml_safer::{EventData, MappingStyle, Parser, ScalarStyle, SequenceStyle};

/// Deepest nesting of texts that are looked at; those that the language reads are no deeper.
const MAX_DEPTH: usize = 256;

/// Index of a node in its outline.
pub(super) type NodeId = usize;

/// The first document of a text.
pub(super) struct Outline<'t> {
    /// The text as UTF-8, without byte order mark, that offsets count in.
    pub(super) text: &'t str,
    /// Offsets at which lines begin, but the first.
    lines: Vec<usize>,
    nodes: Vec<Node>,
    pub(super) root: NodeId,
    /// The extent of the `---` that the document begins with, if it does.
    pub(super) marker: Option<(usize, usize)>,
    /// Where it ends: at a line of `...` or `---`, or at the end of the text.
    pub(super) end: usize,
}

/// A value with its extent in the text.
#[derive(Debug)]
pub(super) struct Node {
    /// Offset of the first byte, that of an anchor or a tag if it has one.
    pub(super) start: usize,
    /// Offset behind the last byte; of a block collection only that of its beginning.
    pub(super) end: usize,
    /// Line, from 1.
    pub(super) line: u32,
    /// Column in characters, from 0.
    pub(super) column: usize,
    /// Whether it has an anchor or a tag.
    pub(super) has_properties: bool,
    pub(super) shape: Shape,
}

#[derive(Debug)]
pub(super) enum Shape {
    Scalar {
        style: ScalarStyle,
        value: String,
    },
    Sequence {
        flow: bool,
        elements: Vec<NodeId>,
    },
    Mapping {
        flow: bool,
        entries: Vec<(NodeId, NodeId)>,
    },
    /// The value that an anchor above names.
    Alias(NodeId),
}

/// A collection that is still open.
struct Open {
    id: NodeId,
    children: Vec<NodeId>,
}

impl<'t> Outline<'t> {
    /// The outline of a text that [`manifests::parse`] found to be well-formed YAML, whatever else it said; `None` for others.
    pub(super) fn of(text: &'t str) -> Option<Self> {
        // The parser needs a line end after a block scalar.
        let mut owned;
        let mut input = text.as_bytes();
        if !text.ends_with('\n') {
            owned = String::with_capacity(text.len() + 1);
            owned.push_str(text);
            owned.push('\n');
            input = owned.as_bytes();
        }
        let mut parser = Parser::new();
        parser.set_input_string(&mut input);
        let lines = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        let mut outline = Outline { text, lines, nodes: Vec::new(), root: 0, marker: None, end: 0 };
        let mut anchors: HashMap<String, NodeId> = HashMap::new();
        let mut open: Vec<Open> = Vec::new();
        loop {
            let event = parser.parse().ok()?;
            let (start, end) = (event.start_mark.index as usize, event.end_mark.index as usize);
            let mut node = Node {
                start: start.min(text.len()),
                end: end.min(text.len()),
                line: u32::try_from(event.start_mark.line + 1).ok()?,
                column: event.start_mark.column as usize,
                has_properties: false,
                shape: Shape::Alias(0),
            };
            let (anchor, collection) = match event.data {
                EventData::StreamStart { .. } => continue,
                EventData::StreamEnd => return None,
                EventData::DocumentStart { implicit, .. } => {
                    // The event of a marked one begins at its directives.
                    outline.marker = (!implicit).then(|| (node.end.saturating_sub(3), node.end));
                    continue;
                }
                EventData::DocumentEnd { .. } => {
                    outline.end = node.start;
                    return Some(outline);
                }
                EventData::Alias { anchor } => {
                    node.shape = Shape::Alias(*anchors.get(&anchor)?);
                    (None, false)
                }
                EventData::Scalar { anchor, tag, value, style, .. } => {
                    node.has_properties = anchor.is_some() || tag.is_some();
                    node.shape = Shape::Scalar { style, value };
                    (anchor, false)
                }
                EventData::SequenceStart { anchor, tag, style, .. } => {
                    node.has_properties = anchor.is_some() || tag.is_some();
                    node.shape = Shape::Sequence { flow: style == SequenceStyle::Flow, elements: Vec::new() };
                    (anchor, true)
                }
                EventData::MappingStart { anchor, tag, style, .. } => {
                    node.has_properties = anchor.is_some() || tag.is_some();
                    node.shape = Shape::Mapping { flow: style == MappingStyle::Flow, entries: Vec::new() };
                    (anchor, true)
                }
                EventData::SequenceEnd | EventData::MappingEnd => {
                    let Open { id, children } = open.pop()?;
                    let closed = &mut outline.nodes[id];
                    match &mut closed.shape {
                        Shape::Sequence { flow, elements } => {
                            *elements = children;
                            closed.end = if *flow { node.end } else { closed.end };
                        }
                        Shape::Mapping { flow, entries } => {
                            *entries = children.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
                            closed.end = if *flow { node.end } else { closed.end };
                        }
                        Shape::Scalar { .. } | Shape::Alias(_) => return None,
                    }
                    continue;
                }
            };
            let id = outline.nodes.len();
            outline.nodes.push(node);
            match open.last_mut() {
                Some(parent) => parent.children.push(id),
                None => outline.root = id,
            }
            if let Some(anchor) = anchor {
                anchors.insert(anchor, id);
            }
            if collection {
                if open.len() >= MAX_DEPTH {
                    return None;
                }
                open.push(Open { id, children: Vec::new() });
            }
        }
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// The line of an offset, from 1.
    pub(super) fn line_at(&self, at: usize) -> u32 {
        let line = self.lines.partition_point(|start| *start <= at) + 1;
        u32::try_from(line).expect("documents are short")
    }

    /// All nodes, in the order in which they begin.
    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node itself, or what it is another name of.
    pub(super) fn resolved(&self, id: NodeId) -> NodeId {
        match self.nodes[id].shape {
            Shape::Alias(target) => target,
            _ => id,
        }
    }

    /// The processed text of a scalar.
    pub(super) fn scalar(&self, id: NodeId) -> Option<&str> {
        match &self.nodes[self.resolved(id)].shape {
            Shape::Scalar { value, .. } => Some(value),
            _ => None,
        }
    }

    /// Whether the node is a scalar without quotes that stands for nothing.
    pub(super) fn is_null(&self, id: NodeId) -> bool {
        let node = &self.nodes[self.resolved(id)];
        match &node.shape {
            Shape::Scalar { style: ScalarStyle::Plain, value } if !node.has_properties => {
                matches!(value.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }

    /// Keys and values of a mapping, those merged into it left out; none for anything else.
    pub(super) fn entries(&self, id: NodeId) -> &[(NodeId, NodeId)] {
        match &self.nodes[self.resolved(id)].shape {
            Shape::Mapping { entries, .. } => entries,
            _ => &[],
        }
    }

    /// Elements of a sequence; none for anything else.
    pub(super) fn elements(&self, id: NodeId) -> &[NodeId] {
        match &self.nodes[self.resolved(id)].shape {
            Shape::Sequence { elements, .. } => elements,
            _ => &[],
        }
    }
}

/// The text of a file as the language reads it: UTF-8 without byte order mark. `None` for other encodings.
pub(super) fn text_of(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).ok()
}
