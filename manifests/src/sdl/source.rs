//! The line of a document that a problem points at, fit to be shown to people.
//!
//! A line may hold more than the text that is wrong, a password for one. So what stands under `env`, `credentials` and
//! `secretRef` is covered wherever it is, through aliases too, and of text that could not be read nothing is shown beyond
//! the place where reading stopped.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use libyaml_safer::{EventData, Parser};

use super::MAX_DOCUMENT_BYTES;
use super::yaml::{MAX_DEPTH, decode, guarded, mark};
use crate::problem::{Mark, Problem};

/// A document whose lines can be shown.
pub struct Source {
    text: String,
    /// Byte offsets at which lines begin.
    lines: Vec<usize>,
    /// Where each scalar begins, by its mark, and which bytes it has.
    scalars: HashMap<Mark, Range<usize>>,
    /// Bytes that are never shown, in ascending order.
    covered: Vec<Range<usize>>,
}

/// A line of a document and the place in it that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The line, or the part of a long one around the place; secrets in it are `***`.
    pub line: String,
    /// How many characters of `line` stand before the place.
    pub caret: usize,
    /// How many characters the offending text has on this line, at least one.
    pub width: usize,
    /// The offending text as the document has it, when a text is meant that is no secret.
    pub text: Option<String>,
}

/// What is told instead of a secret.
const COVER: &str = "***";

/// Most characters of a line that are shown before and after the place.
const AROUND: usize = 60;

/// Keys whose values are covered. The last is what other formats call `env`, so it ends up here by mistake.
const SECRET_KEYS: [&str; 4] = ["env", "credentials", "secretRef", "environment"];

impl Source {
    /// Takes a document in; any bytes will do.
    pub fn new(bytes: &[u8]) -> Self {
        // Of what is too long or in another encoding not one line is known to be what it seems.
        let text =
            if bytes.len() > MAX_DOCUMENT_BYTES { None } else { decode(bytes).ok().map(Cow::into_owned) };
        let text = text.unwrap_or_default();
        let mut scan = Scan::default();
        if guarded(|| scan.read(&text)) != Some(Ok(())) {
            scan.stop(text.len());
        }
        Source { lines: line_starts(&text), covered: disjoint(scan.covered), scalars: scan.scalars, text }
    }

    /// The line that a problem points at; `None` if it points at no text.
    pub fn excerpt(&self, problem: &Problem) -> Option<Excerpt> {
        self.excerpt_at(problem.line, problem.column)
    }

    /// The line of a place, both numbers from 1; `None` if there is no such line.
    pub fn excerpt_at(&self, line: u32, column: u32) -> Option<Excerpt> {
        let index = usize::try_from(line).ok()?.checked_sub(1)?;
        let start = *self.lines.get(index)?;
        let end = self.lines.get(index + 1).copied().unwrap_or(self.text.len());
        let whole = self.text[start..end].trim_end_matches(is_break);
        let before = usize::try_from(column).ok()?.checked_sub(1)?;
        let place = start + whole.char_indices().nth(before).map_or(whole.len(), |(at, _)| at);
        let end = start + whole.len();
        let range = self.scalars.get(&Mark { line, column }).cloned();
        let secret = self.cover(place).is_some();
        let width = match &range {
            _ if secret => COVER.len(),
            Some(range) => self.text[place..range.end.clamp(place, end)].chars().count(),
            None => 1,
        };
        let text = range.filter(|_| !secret).map(|range| shortened(&self.text[range]));
        let before = self.shown(floor(&self.text, place.saturating_sub(4 * AROUND).max(start)), place, true);
        let after = self.shown(place, floor(&self.text, place.saturating_add(4 * AROUND).min(end)), false);
        let caret = before.len().min(AROUND);
        let line = before[before.len() - caret..].iter().chain(after.iter().take(AROUND)).collect();
        Some(Excerpt { line, caret, width: width.clamp(1, AROUND), text })
    }

    /// The bytes around this one that are never shown.
    fn cover(&self, at: usize) -> Option<&Range<usize>> {
        let next = self.covered.partition_point(|covered| covered.end <= at);
        self.covered.get(next).filter(|covered| covered.contains(&at))
    }

    /// Part of a line with its secrets covered. A cover that goes on after the part is left to what follows, if
    /// anything does.
    fn shown(&self, from: usize, to: usize, followed: bool) -> Vec<char> {
        let mut shown = Vec::new();
        for (at, character) in self.text[from..to].char_indices() {
            match self.cover(from + at) {
                Some(cover) if cover.start.max(from) != from + at => {}
                Some(cover) if followed && cover.end > to => {}
                Some(_) => shown.extend(COVER.chars()),
                None => shown.push(if character.is_control() { ' ' } else { character }),
            }
        }
        shown
    }
}

/// Ranges that do not touch, in ascending order, with the same bytes.
fn disjoint(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| range.start);
    let mut disjoint: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match disjoint.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => disjoint.push(range),
        }
    }
    disjoint
}

/// The last place at or before this one where a character begins.
fn floor(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default()
}

/// What the events of a document say about its bytes.
#[derive(Default)]
struct Scan {
    scalars: HashMap<Mark, Range<usize>>,
    covered: Vec<Range<usize>>,
    /// Open collections: whether a mapping waits for a key, and the anchor and first byte of the collection.
    open: Vec<Level>,
    /// Bytes of each anchored node that is complete.
    anchors: HashMap<String, Range<usize>>,
    /// How many collections were open when the covered value began, and its first byte.
    secret: Option<(usize, usize)>,
    /// Whether the next node is the value of a secret key.
    secret_next: bool,
    /// Up to where the text was understood.
    read_to: usize,
}

struct Level {
    start: usize,
    anchor: Option<String>,
    /// For a mapping whether the next node is a key.
    key_next: Option<bool>,
}

impl Scan {
    fn read(&mut self, text: &str) -> Result<(), ()> {
        let mut input = text.as_bytes();
        let mut parser = Parser::new();
        parser.set_input_string(&mut input);
        loop {
            let event = parser.parse().map_err(drop)?;
            if self.open.len() > MAX_DEPTH {
                return Err(());
            }
            let bytes = event.start_mark.index as usize..(event.end_mark.index as usize).min(text.len());
            self.read_to = bytes.end;
            match event.data {
                EventData::DocumentEnd { .. } | EventData::StreamEnd => return Ok(()),
                EventData::Scalar { anchor, value, .. } => {
                    self.scalars.insert(mark(event.start_mark.line, event.start_mark.column), bytes.clone());
                    self.node(bytes.start);
                    let is_key = self.turn();
                    self.secret_next = is_key && SECRET_KEYS.contains(&value.as_str());
                    self.complete(anchor, bytes);
                }
                EventData::Alias { anchor } => {
                    self.node(bytes.start);
                    self.turn();
                    if self.secret.is_some() {
                        self.covered.extend(self.anchors.get(&anchor).cloned());
                    }
                    self.complete(None, bytes);
                }
                EventData::SequenceStart { anchor, .. } => {
                    self.node(bytes.start);
                    self.turn();
                    self.open.push(Level { start: bytes.start, anchor, key_next: None });
                }
                EventData::MappingStart { anchor, .. } => {
                    self.node(bytes.start);
                    self.turn();
                    self.open.push(Level { start: bytes.start, anchor, key_next: Some(true) });
                }
                EventData::SequenceEnd | EventData::MappingEnd => {
                    if let Some(level) = self.open.pop() {
                        self.complete(level.anchor, level.start..bytes.end);
                    }
                }
                _ => {}
            }
        }
    }

    /// A node begins; it is covered if the key before it said so.
    fn node(&mut self, start: usize) {
        if std::mem::take(&mut self.secret_next) && self.secret.is_none() {
            self.secret = Some((self.open.len(), start));
        }
    }

    /// Whether the node is a key; the next one is then its value.
    fn turn(&mut self) -> bool {
        let Some(key_next) = self.open.last_mut().and_then(|level| level.key_next.as_mut()) else {
            return false;
        };
        std::mem::replace(key_next, !*key_next)
    }

    fn complete(&mut self, anchor: Option<String>, bytes: Range<usize>) {
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, bytes.clone());
        }
        if let Some((depth, start)) = self.secret
            && depth == self.open.len()
        {
            self.covered.push(start..bytes.end);
            self.secret = None;
        }
    }

    /// Reading stopped in the middle: what follows is covered, and so is the secret that was being read.
    fn stop(&mut self, length: usize) {
        let from = self.secret.map_or(self.read_to, |(_, start)| start);
        self.covered.push(from..length);
    }
}

/// Line ends are those of the parser that counted the lines.
fn is_break(character: char) -> bool {
    matches!(character, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn line_starts(text: &str) -> Vec<usize> {
    let ends = text.char_indices().filter(|(at, character)| {
        is_break(*character) && !(*character == '\r' && text[at + 1..].starts_with('\n'))
    });
    std::iter::once(0).chain(ends.map(|(at, character)| at + character.len_utf8())).collect()
}

/// The text, unless it is too long to be repeated.
fn shortened(text: &str) -> String {
    let mut characters = text.chars();
    let mut short: String = characters.by_ref().take(AROUND).collect();
    if characters.next().is_some() {
        short.push('…');
    }
    short
}
