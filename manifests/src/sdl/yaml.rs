//! YAML as the language needs it: every scalar keeps its source text, style, tag and place.
//!
//! A tree is built from parser events and holds nothing but indices, so a document with a million nodes is three
//! allocations that grow, an alias costs nothing, and dropping a deep tree does not recurse. What a scalar *means* is
//! decided by who reads it: a number is never made from text that was wanted as text.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use base64::prelude::{BASE64_STANDARD, Engine};
use libyaml_safer::{Event, EventData, Parser, ScalarStyle};

use crate::problem::{ErrorKind, Mark, Problem};

/// Deepest nesting that is read; the language itself needs nine levels.
pub(super) const MAX_DEPTH: usize = 256;

/// Most `%TAG` lines that are read: the parser looks each one up among all others.
const MAX_TAG_DIRECTIVES: usize = 64;

/// About how much text there is for each node in documents that people write.
const BYTES_PER_NODE: usize = 12;

/// A node of a [`Tree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NodeId(u32);

/// What a node is, and for a scalar how it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A scalar without quotes.
    Plain,
    /// A scalar in quotes or as a block.
    Quoted,
    Sequence,
    Mapping,
}

/// The explicit tag of a node, as far as it changes how scalars are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    None,
    Str,
    Int,
    Float,
    Bool,
    Null,
    /// Base64 that stands for no text; other base64 is decoded when the tree is built.
    Binary,
    /// `!something`, or one that says nothing about scalars.
    Other,
}

struct Node {
    mark: Mark,
    /// Where the scalar's text, or the collection's children, begin.
    start: u32,
    /// How many bytes, or children; a mapping has two for each entry.
    len: u32,
    kind: Kind,
    tag: Tag,
}

/// The first document of a stream.
pub(crate) struct Tree {
    nodes: Vec<Node>,
    text: String,
    children: Vec<NodeId>,
    root: NodeId,
}

impl Tree {
    /// Reads the first document of a stream; what follows it is not looked at.
    pub(crate) fn read(bytes: &[u8]) -> Result<Tree, Problem> {
        let text = decode(bytes)?;
        guarded(|| Builder::new(&text).build())
            .unwrap_or_else(|| Err(syntax(Mark::default(), "the text ends in the middle of something")))
    }

    pub(crate) fn root(&self) -> NodeId {
        self.root
    }

    /// About how many events the document has: a node is one, a collection's end another, an alias one.
    pub(crate) fn event_count(&self) -> usize {
        self.nodes.len() + self.children.len()
    }

    pub(crate) fn kind(&self, id: NodeId) -> Kind {
        self.node(id).kind
    }

    pub(crate) fn tag(&self, id: NodeId) -> Tag {
        self.node(id).tag
    }

    pub(crate) fn mark(&self, id: NodeId) -> Mark {
        self.node(id).mark
    }

    /// The text of a scalar; empty for a collection.
    pub(crate) fn text(&self, id: NodeId) -> &str {
        let node = self.node(id);
        match node.kind {
            Kind::Plain | Kind::Quoted => &self.text[node.start as usize..(node.start + node.len) as usize],
            Kind::Sequence | Kind::Mapping => "",
        }
    }

    /// Whether the node is a scalar that stands for nothing: empty, `~` or `null`, without quotes.
    pub(crate) fn is_null(&self, id: NodeId) -> bool {
        match (self.kind(id), self.tag(id)) {
            (Kind::Plain | Kind::Quoted, Tag::Null) => true,
            (Kind::Plain, Tag::None) => matches!(self.text(id), "" | "~" | "null" | "Null" | "NULL"),
            _ => false,
        }
    }

    /// Elements of a sequence; none for anything else.
    pub(crate) fn elements(&self, id: NodeId) -> &[NodeId] {
        let node = self.node(id);
        match node.kind {
            Kind::Sequence => &self.children[node.start as usize..(node.start + node.len) as usize],
            _ => &[],
        }
    }

    /// Keys and values of a mapping as they stand, merge keys and repetitions included; none for anything else.
    pub(crate) fn entries(&self, id: NodeId) -> impl ExactSizeIterator<Item = (NodeId, NodeId)> {
        let node = self.node(id);
        let children = match node.kind {
            Kind::Mapping => &self.children[node.start as usize..(node.start + node.len) as usize],
            _ => &[],
        };
        children.chunks_exact(2).map(|pair| (pair[0], pair[1]))
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }
}

/// The text of the stream as UTF-8, without byte order mark.
pub(super) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, Problem> {
    let utf16 = |from: fn([u8; 2]) -> u16| {
        let units = bytes[2..].chunks_exact(2).map(|pair| from([pair[0], pair[1]]));
        let whole = bytes.len().is_multiple_of(2);
        char::decode_utf16(units).collect::<Result<String, _>>().ok().filter(|_| whole).map(Cow::Owned)
    };
    let text = match bytes {
        [0xff, 0xfe, ..] => utf16(u16::from_le_bytes),
        [0xfe, 0xff, ..] => utf16(u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => std::str::from_utf8(rest).ok().map(Cow::Borrowed),
        _ => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
    };
    text.ok_or_else(|| {
        let good = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), |text| text.len());
        let before = String::from_utf8_lossy(&bytes[..good]);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        syntax(
            mark(line as u64 - 1, column as u64 - 1),
            "the text is not UTF-8; save the file in that encoding",
        )
    })
}

struct Builder<'t> {
    source: &'t str,
    /// Whether the source lacks the line end that the parser needs, and its last line is not blank.
    cut_last_newline: bool,
    tree: Tree,
    anchors: HashMap<String, Anchor>,
    /// Collections that are still open.
    open: Vec<Open>,
    /// Children of the open collections, those of the innermost last.
    pending: Vec<NodeId>,
}

struct Open {
    node: NodeId,
    /// Where its children begin in `pending`.
    first: usize,
    anchor: Option<String>,
}

#[derive(Clone, Copy)]
struct Anchor {
    node: NodeId,
    /// A collection cannot stand inside itself.
    closed: bool,
}

impl<'t> Builder<'t> {
    fn new(source: &'t str) -> Self {
        let last_line = source.rsplit('\n').next().unwrap_or_default();
        Builder {
            source,
            cut_last_newline: !last_line.trim().is_empty(),
            tree: Tree {
                nodes: Vec::with_capacity(source.len() / BYTES_PER_NODE),
                text: String::with_capacity(source.len()),
                children: Vec::with_capacity(source.len() / BYTES_PER_NODE),
                root: NodeId(0),
            },
            anchors: HashMap::new(),
            open: Vec::new(),
            pending: Vec::new(),
        }
    }

    fn build(mut self) -> Result<Tree, Problem> {
        // Most documents have no % at all, and that is seen sooner than their lines are.
        let tags = |source: &str| source.lines().filter(|line| line.starts_with("%TAG")).count();
        if self.source.as_bytes().contains(&b'%') && tags(self.source) > MAX_TAG_DIRECTIVES {
            return Err(syntax(Mark::default(), "the document has more %TAG lines than are read"));
        }
        // The parser panics on a block scalar that the end of the text cuts off, so the text always ends in a line end.
        let mut owned;
        let mut input: &[u8] = self.source.as_bytes();
        if !self.source.ends_with('\n') {
            owned = String::with_capacity(self.source.len() + 1);
            owned.push_str(self.source);
            owned.push('\n');
            input = owned.as_bytes();
        }
        let mut parser = Parser::new();
        parser.set_input_string(&mut input);
        loop {
            let event = parser.parse().map_err(|error| {
                let at = error.problem_mark().unwrap_or_default();
                syntax(mark(at.line, at.column), error.problem())
            })?;
            if self.take(event)? {
                return Ok(self.tree);
            }
        }
    }

    /// Adds one event to the tree; true when the document is complete.
    fn take(&mut self, event: Event) -> Result<bool, Problem> {
        let at = mark(event.start_mark.line, event.start_mark.column);
        let end = event.end_mark.index as usize;
        match event.data {
            EventData::StreamStart { .. } | EventData::DocumentStart { .. } => {}
            EventData::StreamEnd => {
                return Err(Problem {
                    kind: ErrorKind::DocumentEmpty,
                    path: String::new(),
                    line: 0,
                    column: 0,
                    message: "the document has no content: write version, services, profiles and deployment"
                        .into(),
                });
            }
            EventData::DocumentEnd { .. } => return Ok(true),
            EventData::Scalar { anchor, tag, mut value, style, .. } => {
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                // The line end that we added is not the author's.
                if block && self.cut_last_newline && end > self.source.len() && value.ends_with('\n') {
                    value.pop();
                }
                let start = index(self.tree.text.len());
                let mut kind = if style == ScalarStyle::Plain { Kind::Plain } else { Kind::Quoted };
                let mut tag = tag_of(tag);
                if tag == Tag::Binary
                    && let Some(text) = binary(&value)
                {
                    (value, kind, tag) = (text, Kind::Quoted, Tag::Str);
                }
                self.tree.text.push_str(&value);
                let id = self.add(Node { mark: at, start, len: index(value.len()), kind, tag }, at)?;
                self.anchor(anchor, id, true);
            }
            EventData::SequenceStart { anchor, tag, .. } => self.open(Kind::Sequence, anchor, tag, at)?,
            EventData::MappingStart { anchor, tag, .. } => self.open(Kind::Mapping, anchor, tag, at)?,
            EventData::SequenceEnd | EventData::MappingEnd => self.close(),
            EventData::Alias { anchor } => match self.anchors.get(&anchor) {
                Some(Anchor { node, closed: true }) => self.pending.push(*node),
                Some(_) => {
                    return Err(syntax(
                        at,
                        "the alias stands inside the value it names; a value cannot contain itself",
                    ));
                }
                None => return Err(syntax(at, "the alias names an anchor that is not defined above it")),
            },
        }
        Ok(false)
    }

    fn add(&mut self, node: Node, at: Mark) -> Result<NodeId, Problem> {
        let id = NodeId(index(self.tree.nodes.len()));
        if self.open.len() >= MAX_DEPTH {
            return Err(syntax(at, "the document is nested deeper than is read"));
        }
        self.tree.nodes.push(node);
        self.pending.push(id);
        Ok(id)
    }

    fn open(
        &mut self,
        kind: Kind,
        anchor: Option<String>,
        tag: Option<String>,
        at: Mark,
    ) -> Result<(), Problem> {
        let id = self.add(Node { mark: at, start: 0, len: 0, kind, tag: tag_of(tag) }, at)?;
        self.anchor(anchor.clone(), id, false);
        self.open.push(Open { node: id, first: self.pending.len(), anchor });
        Ok(())
    }

    fn close(&mut self) {
        let Open { node: id, first, anchor } =
            self.open.pop().expect("the parser closes only what it opened");
        let node = &mut self.tree.nodes[id.0 as usize];
        node.start = index(self.tree.children.len());
        node.len = index(self.pending.len() - first);
        self.tree.children.extend(self.pending.drain(first..));
        // The name may have been given to something inside since.
        if let Some(anchor) =
            anchor.and_then(|name| self.anchors.get_mut(&name)).filter(|anchor| anchor.node == id)
        {
            anchor.closed = true;
        }
    }

    fn anchor(&mut self, name: Option<String>, node: NodeId, closed: bool) {
        if let Some(name) = name {
            self.anchors.insert(name, Anchor { node, closed });
        }
    }
}

/// The text that base64 with padding stands for, line ends in it ignored; `None` if it stands for none.
fn binary(value: &str) -> Option<String> {
    let encoded: String = value.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()
}

fn tag_of(tag: Option<String>) -> Tag {
    let Some(tag) = tag else { return Tag::None };
    match tag.as_str() {
        "" => Tag::None,
        "!" | libyaml_safer::STR_TAG => Tag::Str,
        libyaml_safer::INT_TAG => Tag::Int,
        libyaml_safer::FLOAT_TAG => Tag::Float,
        libyaml_safer::BOOL_TAG => Tag::Bool,
        libyaml_safer::NULL_TAG => Tag::Null,
        "tag:yaml.org,2002:binary" => Tag::Binary,
        _ => Tag::Other,
    }
}

pub(super) fn mark(line: u64, column: u64) -> Mark {
    Mark { line: index(line as usize + 1), column: index(column as usize + 1) }
}

/// Positions and sizes are those of a text that was found short enough before.
fn index(value: usize) -> u32 {
    u32::try_from(value).expect("the text is shorter than 4 GiB")
}

fn syntax(at: Mark, message: &str) -> Problem {
    Problem {
        kind: ErrorKind::YamlSyntax,
        path: String::new(),
        line: at.line,
        column: at.column,
        message: format!(
            "the document is not well-formed YAML, {message}: look at indentation, quotes and brackets here and above"
        ),
    }
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs the parser, which panics on a few broken texts; `None` if it did, without a word on standard error.
pub(super) fn guarded<T>(parse: impl FnOnce() -> T) -> Option<T> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                previous(info);
            }
        }));
    });
    GUARDED.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(parse));
    GUARDED.set(false);
    outcome.ok()
}
