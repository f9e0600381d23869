//! Writes a document in the one layout, comments where they belong.

use libyaml_safer::ScalarStyle;

use super::Untouched;
use super::block_scalar;
use super::comments::Comment;
use crate::sdl::outline::{Node, NodeId, Outline, Shape};

/// Blanks a level.
const STEP: usize = 2;

/// Collections written in brackets stay so on lines up to here, in characters.
const MAX_WIDTH: usize = 100;

/// What comes next in the text behind a node: where it begins, and in which column.
#[derive(Clone, Copy)]
struct Next {
    at: usize,
    /// `None` at the document's end.
    column: Option<usize>,
}

pub(super) fn write(outline: &Outline<'_>, comments: &[Comment<'_>]) -> Result<String, Untouched> {
    let root = outline.node(outline.root);
    let unusual = |line, what| Err(Untouched::Unusual { line, what });
    let before = &outline.text[..outline.marker.map_or(0, |(start, _)| start)];
    if before.lines().any(|line| line.starts_with('%')) {
        return unusual(1, "the document begins with a directive");
    }
    let after = outline.text[outline.end..].trim();
    if !matches!(after, "" | "...") {
        return unusual(outline.line_at(outline.end), "another document follows, which nobody reads");
    }
    if !matches!(root.shape, Shape::Mapping { .. }) || root.has_properties {
        return unusual(root.line, "the document is no plain mapping");
    }
    let mut writer = Writer { outline, comments, out: String::new(), no_blank: true };
    if let Some((start, end)) = outline.marker {
        writer.comments_before(start, 0);
        writer.out.push_str("---");
        writer.end_line(outline.line_at(end), root.start);
        writer.no_blank = true;
    }
    writer.collection(outline.root, 0, false, Next { at: usize::MAX, column: None })?;
    writer.comments_before(usize::MAX, 0);
    Ok(writer.out)
}

struct Writer<'a, 't> {
    outline: &'a Outline<'t>,
    /// Those not yet written.
    comments: &'a [Comment<'t>],
    out: String,
    /// Whether an empty line here would be the first of its block, or would change a value.
    no_blank: bool,
}

impl Writer<'_, '_> {
    /// Entries or elements, each on lines of its own. `begun` says that the first goes on where a list's mark ended.
    fn collection(&mut self, id: NodeId, indent: usize, begun: bool, next: Next) -> Result<(), Untouched> {
        let node = self.outline.node(id);
        let items: Vec<(Option<NodeId>, NodeId)> = match &node.shape {
            Shape::Mapping { entries, .. } => {
                entries.iter().map(|(key, value)| (Some(*key), *value)).collect()
            }
            Shape::Sequence { elements, .. } => elements.iter().map(|element| (None, *element)).collect(),
            Shape::Scalar { .. } | Shape::Alias(_) => Vec::new(),
        };
        let first_of = |(key, value): &(Option<NodeId>, NodeId)| self.outline.node(key.unwrap_or(*value));
        let column = self.column_of(node, items.first().map(first_of));
        for (index, item) in items.iter().enumerate() {
            let follows = match items.get(index + 1) {
                Some(item) => Next { at: first_of(item).start, column: Some(column) },
                None => next,
            };
            let first = self.outline.node(item.0.unwrap_or(item.1));
            if !(begun && index == 0) {
                self.before_item(first, indent, id == self.outline.root && index > 0);
                self.out.push_str(&" ".repeat(indent));
            }
            match *item {
                (Some(key), value) => self.entry(key, value, indent, follows)?,
                (None, element) => {
                    self.out.push('-');
                    self.value(element, indent, true, follows)?;
                }
            }
        }
        self.comments_at_end(column, indent, next);
        Ok(())
    }

    /// The column in which a collection's items begin; for a list in block style that of its marks.
    fn column_of(&self, node: &Node, first: Option<&Node>) -> usize {
        match (&node.shape, first) {
            (Shape::Sequence { flow: false, .. }, Some(_)) if !node.has_properties => node.column,
            (Shape::Sequence { flow: false, .. }, Some(first)) => {
                // The mark is the last one before the element.
                let mark = self.outline.text[..first.start].rfind('-').unwrap_or(first.start);
                let line = self.outline.text[..mark].rfind('\n').map_or(0, |end| end + 1);
                self.outline.text[line..mark].chars().count()
            }
            (_, Some(first)) => first.column,
            (_, None) => node.column,
        }
    }

    fn entry(&mut self, key: NodeId, value: NodeId, indent: usize, next: Next) -> Result<(), Untouched> {
        let node = self.outline.node(key);
        let text = &self.outline.text[node.start..node.end];
        let unusual = |what| Err(Untouched::Unusual { line: node.line, what });
        match node.shape {
            Shape::Scalar { .. } if text.is_empty() => return unusual("a value has no key"),
            Shape::Scalar { .. } if text.contains('\n') => return unusual("a key spans several lines"),
            Shape::Scalar { .. } => self.out.push_str(text),
            // A colon right behind it would be part of its name.
            Shape::Alias(_) => self.out.push_str(&format!("{text} ")),
            Shape::Sequence { .. } | Shape::Mapping { .. } => return unusual("a key is a collection"),
        }
        let gap = &self.outline.text[..node.start];
        if gap.trim_end_matches([' ', '\t']).ends_with('?') {
            return unusual("a key is marked with a question mark");
        }
        self.out.push(':');
        self.value(value, indent, false, next)
    }

    /// What stands behind `key:` or `-`, to the end of its last line.
    fn value(&mut self, id: NodeId, indent: usize, in_list: bool, next: Next) -> Result<(), Untouched> {
        let node = self.outline.node(id);
        let source = &self.outline.text[node.start..node.end];
        match &node.shape {
            Shape::Scalar { style: ScalarStyle::Literal | ScalarStyle::Folded, value } => {
                self.block_scalar(node, value, indent + STEP);
            }
            Shape::Scalar { .. } | Shape::Alias(_) => {
                let mut lines = source.lines();
                if let Some(first) = lines.next().filter(|line| !line.is_empty()) {
                    self.out.push_str(&format!(" {first}"));
                }
                for line in lines {
                    let line = line.trim_start_matches([' ', '\t']);
                    let place = if line.is_empty() { 0 } else { indent + STEP };
                    self.out.push_str(&format!("\n{}{line}", " ".repeat(place)));
                }
                self.end_line(self.outline.line_at(node.end), next.at);
            }
            Shape::Sequence { .. } | Shape::Mapping { .. } => {
                if let Some(inline) = self.inline(id) {
                    self.out.push_str(&format!(" {inline}"));
                    self.end_line(self.outline.line_at(node.end), next.at);
                    return Ok(());
                }
                let properties = self.properties(node);
                if !properties.is_empty() {
                    self.out.push_str(&format!(" {properties}"));
                }
                if in_list && properties.is_empty() {
                    self.out.push(' ');
                    return self.collection(id, indent + STEP, true, next);
                }
                let first = self.first_inside(id);
                self.end_line(self.head_line(node), first);
                self.no_blank = true;
                self.collection(id, indent + STEP, false, next)?;
            }
        }
        Ok(())
    }

    /// Where the first item of a collection begins.
    fn first_inside(&self, id: NodeId) -> usize {
        let first = match &self.outline.node(id).shape {
            Shape::Mapping { entries, .. } => entries.first().map(|(key, _)| *key),
            Shape::Sequence { elements, .. } => elements.first().copied(),
            Shape::Scalar { .. } | Shape::Alias(_) => None,
        };
        first.map_or(usize::MAX, |first| self.outline.node(first).start)
    }

    /// The line on which a collection's head, such as `key:` or `key: &anchor`, ends.
    fn head_line(&self, node: &Node) -> u32 {
        if node.has_properties
            || matches!(node.shape, Shape::Sequence { flow: true, .. } | Shape::Mapping { flow: true, .. })
        {
            return node.line;
        }
        let head = self.outline.text[..node.start].trim_end();
        let mut head = head.len();
        // Whole lines of comments may stand between the head and the first item.
        loop {
            let line = self.outline.text[..head].rfind('\n').map_or(0, |end| end + 1);
            if line > 0 && self.outline.text[line..head].trim_start().starts_with('#') {
                head = self.outline.text[..line].trim_end().len();
            } else {
                return self.outline.line_at(head);
            }
        }
    }

    /// Anchor and tag of a collection as they are written.
    fn properties(&self, node: &Node) -> String {
        let mut found = Vec::new();
        let mut left = if node.has_properties { &self.outline.text[node.start..] } else { "" };
        while left.starts_with(['&', '!']) {
            let end = left.find([' ', '\t', '\n', '\r']).unwrap_or(left.len());
            found.push(&left[..end]);
            left = left[end..].trim_start();
        }
        found.join(" ")
    }

    /// A collection in brackets that was on one line and fits on this one; an empty one always.
    fn inline(&self, id: NodeId) -> Option<String> {
        let node = self.outline.node(id);
        let (flow, empty) = match &node.shape {
            Shape::Sequence { flow, elements } => (*flow, elements.is_empty()),
            Shape::Mapping { flow, entries } => (*flow, entries.is_empty()),
            Shape::Scalar { .. } | Shape::Alias(_) => (false, false),
        };
        let commented = self.comments.iter().take_while(|c| c.at < node.end).any(|c| c.at >= node.start);
        let one_line = !self.outline.text[node.start..node.end].contains('\n');
        if !flow || commented || !(one_line || empty) {
            return None;
        }
        let text = self.bracketed(id);
        let line = self.out.rfind('\n').map_or(0, |end| end + 1);
        let width = self.out[line..].chars().count() + 1 + text.chars().count();
        (width <= MAX_WIDTH || empty).then_some(text)
    }

    fn bracketed(&self, id: NodeId) -> String {
        let node = self.outline.node(id);
        let mut text = self.properties(node);
        if !text.is_empty() {
            text.push(' ');
        }
        match &node.shape {
            Shape::Sequence { elements, .. } => {
                let elements: Vec<String> = elements.iter().map(|element| self.bracketed(*element)).collect();
                text.push_str(&format!("[{}]", elements.join(", ")));
            }
            Shape::Mapping { entries, .. } => {
                let entry = |(key, value): &(NodeId, NodeId)| {
                    let (key_text, value_text) = (self.bracketed(*key), self.bracketed(*value));
                    let blank =
                        if matches!(self.outline.node(*key).shape, Shape::Alias(_)) { " " } else { "" };
                    if value_text.is_empty() { key_text } else { format!("{key_text}{blank}: {value_text}") }
                };
                let entries: Vec<String> = entries.iter().map(entry).collect();
                text.push_str(&format!("{{{}}}", entries.join(", ")));
            }
            Shape::Scalar { .. } | Shape::Alias(_) => {
                return self.outline.text[node.start..node.end].to_owned();
            }
        }
        text
    }

    fn block_scalar(&mut self, node: &Node, value: &str, indent: usize) {
        let source = &self.outline.text[node.start..node.end];
        let body = source.find(['|', '>']).unwrap_or_default();
        let properties = source[..body].split_whitespace().collect::<Vec<_>>().join(" ");
        let moved = block_scalar::moved(&source[body..], value, indent);
        let space = if properties.is_empty() { "" } else { " " };
        self.out.push_str(&format!(" {properties}{space}{}", moved.header));
        self.end_line(self.outline.line_at(node.start + body), node.end);
        for line in &moved.lines {
            self.out.push_str(line);
            self.out.push('\n');
        }
        self.no_blank = moved.keeps_end;
    }

    /// Ends a line, with the comment that stood behind it on that line of the text, before the next item.
    fn end_line(&mut self, line: u32, next: usize) {
        if let [comment, rest @ ..] = self.comments
            && comment.line == line
            && comment.at < next
        {
            self.out.push_str(&format!("  {}", comment.text));
            self.comments = rest;
        }
        self.out.push('\n');
        self.no_blank = false;
    }

    /// Comments and the empty line before an item. Sections are always apart.
    fn before_item(&mut self, first: &Node, indent: usize, section: bool) {
        let own = self.comments.iter().take_while(|comment| comment.at < first.start).copied();
        let own: Vec<Comment<'_>> = own.collect();
        let blank_above = self.is_blank_above(first);
        if section && !blank_above && !own.iter().any(|comment| comment.after_blank) {
            self.blank();
        }
        self.comments_before(first.start, indent);
        if blank_above {
            self.blank();
        }
    }

    fn is_blank_above(&self, node: &Node) -> bool {
        let text = self.outline.text;
        let line = text[..node.start].rfind('\n').map_or(0, |end| end + 1);
        text[..line]
            .strip_suffix('\n')
            .is_some_and(|above| above.rsplit('\n').next().is_some_and(|l| l.trim().is_empty()))
    }

    /// Comments that stand before a place of the text, each on its own line.
    fn comments_before(&mut self, at: usize, indent: usize) {
        while let [comment, rest @ ..] = self.comments {
            if comment.at >= at {
                return;
            }
            self.comment_line(*comment, indent);
            self.comments = rest;
        }
    }

    /// Comments behind the last item of a block that are indented like it, and more than what follows.
    fn comments_at_end(&mut self, column: usize, indent: usize, next: Next) {
        while let [comment, rest @ ..] = self.comments {
            let outer = next.column.is_some_and(|next| comment.column <= next);
            if comment.at >= next.at || !comment.alone || comment.column < column || outer {
                return;
            }
            self.comment_line(*comment, indent);
            self.comments = rest;
        }
    }

    fn comment_line(&mut self, comment: Comment<'_>, indent: usize) {
        if comment.after_blank && comment.alone {
            self.blank();
        }
        self.out.push_str(&format!("{}{}\n", " ".repeat(indent), comment.text));
        self.no_blank = false;
    }

    /// An empty line, unless there is one or none may be.
    fn blank(&mut self) {
        if !self.no_blank {
            self.out.push('\n');
            self.no_blank = true;
        }
    }
}
