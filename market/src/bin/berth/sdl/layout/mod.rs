//! One way to lay a document out: two blanks a level, lists indented, one space where one belongs, no more than one empty line
//! at a time and one between sections, line feeds.
//!
//! Scalars keep the very text they were written with, so nothing about quoting, numbers or folding can change. Keys and
//! elements keep their order. What stands between scalars, comments above all, is taken from the text, since the parser does
//! not tell of it. The result is then read again: it is given out only if it makes the same events and the same
//! deployment, and holds the same comments. What cannot be laid out so is left alone.

mod block_scalar;
mod comments;
mod writer;

use libyaml_safer::{EventData, MappingStyle, Parser, ScalarStyle, SequenceStyle};

use crate::sdl::outline::{Node, Outline, Shape};
use comments::Comment;

/// Why a document is left as it is.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Untouched {
    /// Something that no document of the language needs.
    #[error("line {line}: {what}")]
    Unusual {
        /// From 1.
        line: u32,
        what: &'static str,
    },
    /// The result would not have been the same document.
    #[error("it could not be laid out anew without changing {0}")]
    Changed(&'static str),
}

/// Lays out a text that [`manifests::parse`] found to be well-formed YAML.
pub(super) fn format(text: &str) -> Result<String, Untouched> {
    let outline = Outline::of(text).ok_or(Untouched::Unusual { line: 1, what: "it is no YAML document" })?;
    refuse_cut_block(&outline)?;
    let comments = comments::of(&outline)?;
    let formatted = writer::write(&outline, &comments)?;
    verify(text, &comments, &formatted)?;
    Ok(formatted)
}

/// A block scalar at the very end says by a missing line end that its value has none; every layout ends in one.
fn refuse_cut_block(outline: &Outline<'_>) -> Result<(), Untouched> {
    let cut = !outline.text.ends_with('\n');
    let last = outline.nodes().iter().rev().find(|node| node.end >= outline.text.len());
    match last {
        Some(Node {
            line,
            shape: Shape::Scalar { style: ScalarStyle::Literal | ScalarStyle::Folded, .. },
            ..
        }) if cut => {
            Err(Untouched::Unusual { line: *line, what: "the block text at the end lacks its last line end" })
        }
        _ => Ok(()),
    }
}

/// Holds the result against what it was made from.
fn verify(text: &str, comments: &[Comment<'_>], formatted: &str) -> Result<(), Untouched> {
    if events(text) != events(formatted) {
        return Err(Untouched::Changed("its content"));
    }
    let again = Outline::of(formatted).ok_or(Untouched::Changed("its content"))?;
    let sorted = |comments: &[Comment<'_>]| {
        let mut texts: Vec<String> = comments.iter().map(|comment| comment.text.to_owned()).collect();
        texts.sort_unstable();
        texts
    };
    if sorted(comments) != sorted(&comments::of(&again)?) {
        return Err(Untouched::Changed("its comments"));
    }
    let same = match (manifests::parse(text), manifests::parse(formatted)) {
        (Ok(before), Ok(after)) => {
            before.manifest.digest() == after.manifest.digest()
                && before.groups == after.groups
                && before.reclamation == after.reclamation
        }
        (Err(before), Err(after)) => {
            let kinds = |problems: Vec<manifests::problem::Problem>| -> Vec<_> {
                problems.into_iter().map(|problem| (problem.kind, problem.path)).collect()
            };
            kinds(before) == kinds(after)
        }
        _ => false,
    };
    if same { Ok(()) } else { Err(Untouched::Changed("what it stands for")) }
}

/// What the parser tells of the first document, without places and without how collections were written.
fn events(text: &str) -> Option<Vec<EventData>> {
    // A text that ends without a line end is read as if it had one.
    let text = if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
    let mut input = text.as_bytes();
    let mut parser = Parser::new();
    parser.set_input_string(&mut input);
    let mut events = Vec::new();
    loop {
        match parser.parse().ok()?.data {
            EventData::DocumentEnd { .. } => return Some(events),
            EventData::StreamEnd => return None,
            EventData::SequenceStart { anchor, tag, implicit, .. } => {
                events.push(EventData::SequenceStart { anchor, tag, implicit, style: SequenceStyle::Any });
            }
            EventData::MappingStart { anchor, tag, implicit, .. } => {
                events.push(EventData::MappingStart { anchor, tag, implicit, style: MappingStyle::Any });
            }
            event => events.push(event),
        }
    }
}

#[cfg(test)]
mod tests;
