//! The comments of a text: what stands behind a `#` outside of scalars.

use libyaml_safer::ScalarStyle;

use super::Untouched;
use crate::sdl::outline::{Node, Outline, Shape};

/// A comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Comment<'t> {
    /// Offset of its `#`.
    pub(super) at: usize,
    /// Line, from 1.
    pub(super) line: u32,
    /// Column in characters, from 0.
    pub(super) column: usize,
    /// From the `#` to the end of the line, without blanks there.
    pub(super) text: &'t str,
    /// Whether it has its line to itself.
    pub(super) alone: bool,
    /// Whether the line above is empty.
    pub(super) after_blank: bool,
}

/// All comments up to the document's end, in order.
pub(super) fn of<'t>(outline: &Outline<'t>) -> Result<Vec<Comment<'t>>, Untouched> {
    let mut found = Vec::new();
    let mut gap = 0;
    for node in outline.nodes() {
        match node.shape {
            Shape::Scalar { .. } | Shape::Alias(_) => {}
            Shape::Sequence { .. } | Shape::Mapping { .. } => continue,
        }
        in_gap(outline, gap, node.start, &mut found);
        gap = node.end;
        if let Shape::Scalar { style: ScalarStyle::Literal | ScalarStyle::Folded, .. } = node.shape {
            in_header(outline, node, &mut found);
        } else if node.has_properties {
            refuse_between(outline.text, node)?;
        }
    }
    in_gap(outline, gap, outline.end, &mut found);
    Ok(found)
}

/// Comments between two scalars. A `#` begins one at the beginning of a line or behind a blank.
fn in_gap<'t>(outline: &Outline<'t>, from: usize, to: usize, found: &mut Vec<Comment<'t>>) {
    let text = outline.text;
    let mut at = from;
    while let Some(hash) = text.get(at..to).and_then(|gap| gap.find('#')).map(|place| at + place) {
        if text[..hash].ends_with([' ', '\t', '\n', '\r']) || hash == 0 {
            let comment = comment(outline, hash);
            at = hash + comment.text.len();
            found.push(comment);
        } else {
            at = hash + 1;
        }
    }
}

/// The comment on the line of a block scalar's `|` or `>`.
fn in_header<'t>(outline: &Outline<'t>, node: &Node, found: &mut Vec<Comment<'t>>) {
    let header = outline.text[node.start..node.end].lines().next().unwrap_or_default();
    if let Some(place) = header.find(" #").or_else(|| header.find("\t#")) {
        found.push(comment(outline, node.start + place + 1));
    }
}

/// Between an anchor or a tag and its scalar there is no place that a comment could keep.
fn refuse_between(text: &str, node: &Node) -> Result<(), Untouched> {
    let mut left = &text[node.start..node.end];
    while left.starts_with(['&', '!']) {
        let end = left.find([' ', '\t', '\n', '\r']).unwrap_or(left.len());
        let blanks = left[end..].len() - left[end..].trim_start().len();
        let passed = &left[end..end + blanks];
        left = &left[end + blanks..];
        if left.starts_with('#') && !passed.is_empty() {
            let what = "a comment stands between an anchor or a tag and its value";
            return Err(Untouched::Unusual { line: node.line, what });
        }
    }
    Ok(())
}

fn comment<'t>(outline: &Outline<'t>, at: usize) -> Comment<'t> {
    let text = outline.text;
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let end = text[at..].find('\n').map_or(text.len(), |length| at + length);
    let before = &text[start..at];
    let above = text[..start].strip_suffix('\n');
    Comment {
        at,
        line: outline.line_at(at),
        column: before.chars().count(),
        text: text[at..end].trim_end(),
        alone: before.trim().is_empty(),
        after_blank: above
            .is_some_and(|above| above.rsplit('\n').next().is_some_and(|line| line.trim().is_empty())),
    }
}
