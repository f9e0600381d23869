//! Advice: what a careful author would write otherwise. Editors and other readers of the language hold documents to a
//! stricter schema than the language itself; what falls out of it works here and may not work there.

use super::quantity::{is_yaml_float, yaml_integer};
use super::reader::{Entry, Reader};
use super::yaml::{Kind, NodeId, Tag, Tree};
use super::{MAX_DOCUMENT_BYTES, Mode};
use crate::problem::{Warning, shown};

/// What the stricter schema finds in a document; nothing for text that is no document at all.
pub fn advise(text: impl AsRef<[u8]>) -> Vec<Warning> {
    let text = text.as_ref();
    if text.len() > MAX_DOCUMENT_BYTES {
        return Vec::new();
    }
    let Ok(tree) = Tree::read(text) else { return Vec::new() };
    if tree.kind(tree.root()) != Kind::Mapping {
        return Vec::new();
    }
    let mut advisor = Advisor { tree: &tree, reader: Reader::new(&tree, text.len(), Mode::Exact) };
    advisor.document(tree.root());
    advisor.reader.warnings
}

struct Advisor<'t> {
    tree: &'t Tree,
    /// Resolves merge keys and knows the path; its problems are told elsewhere.
    reader: Reader<'t>,
}

/// What a scalar is to a reader that has types.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Null,
    Bool,
    Integer,
    Number,
    Text,
    List,
    Mapping,
}

/// Whether a key must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Always,
    Maybe,
}

type Check<'t> = fn(&mut Advisor<'t>, NodeId);

/// The keys of one mapping: name, need, and what holds for the value.
type Keys<'t, 'k> = &'k [(&'static str, Need, Check<'t>)];

use Need::{Always, Maybe};

impl<'t> Advisor<'t> {
    fn type_of(&self, node: NodeId) -> Type {
        let text = self.tree.text(node);
        match (self.tree.kind(node), self.tree.tag(node)) {
            (Kind::Sequence, _) => Type::List,
            (Kind::Mapping, _) => Type::Mapping,
            _ if self.tree.is_null(node) => Type::Null,
            (Kind::Quoted, Tag::None) | (_, Tag::Str | Tag::Binary | Tag::Other | Tag::Null) => Type::Text,
            (_, Tag::Int) => Type::Integer,
            (_, Tag::Float) => Type::Number,
            (_, Tag::Bool) => Type::Bool,
            (Kind::Plain, Tag::None)
                if matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE") =>
            {
                Type::Bool
            }
            (Kind::Plain, Tag::None) => {
                let text = text.replace('_', "");
                let unsigned = text.strip_prefix(['+', '-']).unwrap_or(&text);
                if yaml_integer(unsigned).is_some() {
                    Type::Integer
                } else if is_yaml_float(unsigned)
                    || matches!(unsigned, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN")
                {
                    Type::Number
                } else {
                    Type::Text
                }
            }
        }
    }

    fn warn(&mut self, node: NodeId, message: &str) {
        let mark = self.reader.mark(node);
        self.reader.warn(mark, message);
    }

    /// A mapping with these keys and no others; `x-berth` is ours and held to its own rules.
    fn record(&mut self, node: NodeId, keys: Keys<'t, '_>) {
        if self.type_of(node) != Type::Mapping {
            return self.warn(node, "other readers want a mapping here");
        }
        let entries = self.reader.mapping(node);
        for Entry { key, key_mark, value } in &entries {
            match keys.iter().find(|(known, ..)| known == key) {
                Some((_, _, check)) => self.within(key, |advisor| check(advisor, *value)),
                None if *key == "x-berth" => {}
                None => self.within(key, |advisor| {
                    advisor.reader.warn(*key_mark, "the key is unknown here: other readers refuse it");
                }),
            }
        }
        for (known, need, _) in keys {
            if *need == Always && entries.iter().all(|entry| entry.key != *known) {
                self.warn(node, &format!("other readers want the key {known} here"));
            }
        }
    }

    /// A mapping of names to values of one sort.
    fn named(&mut self, node: NodeId, check: Check<'t>) {
        if self.type_of(node) != Type::Mapping {
            return self.warn(node, "other readers want a mapping here");
        }
        for entry in self.reader.mapping(node) {
            self.within(entry.key, |advisor| check(advisor, entry.value));
        }
    }

    fn within(&mut self, key: &'t str, check: impl FnOnce(&mut Self)) {
        self.reader.push_key(key);
        check(self);
        self.reader.pop();
    }

    fn list(&mut self, node: NodeId, check: Check<'t>) {
        if self.type_of(node) != Type::List {
            return self.warn(node, "other readers want a list here");
        }
        let tree = self.tree;
        for (index, element) in tree.elements(node).iter().enumerate() {
            self.reader.push_index(index);
            check(self, *element);
            self.reader.pop();
        }
    }

    fn holds(&mut self, node: NodeId, holds: bool, message: &str) {
        if !holds {
            self.warn(node, message);
        }
    }

    fn is_text(&mut self, node: NodeId) {
        let holds = self.type_of(node) == Type::Text;
        self.holds(node, holds, "other readers want a text here: put it in quotes");
    }

    fn texts(&mut self, node: NodeId) {
        self.list(node, Self::is_text);
    }

    fn texts_or_null(&mut self, node: NodeId) {
        if self.type_of(node) != Type::Null {
            self.texts(node);
        }
    }

    /// A text that is one of these.
    fn one_of(&mut self, node: NodeId, words: &[&str]) {
        let holds = self.type_of(node) == Type::Text && words.contains(&self.tree.text(node));
        self.holds(node, holds, &format!("other readers know only {} here, as texts", words.join(", ")));
    }

    fn boolean(&mut self, node: NodeId) {
        let holds = self.type_of(node) == Type::Bool;
        self.holds(node, holds, "other readers want true or false here");
    }

    /// The value of a whole number, however it is written.
    fn integer(&self, node: NodeId) -> Option<f64> {
        let value = self.number(node)?;
        (value.fract() == 0.0).then_some(value)
    }

    fn number(&self, node: NodeId) -> Option<f64> {
        let text = self.tree.text(node).replace('_', "");
        let (sign, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (-1.0, rest),
            None => (1.0, text.strip_prefix('+').unwrap_or(&text)),
        };
        match self.type_of(node) {
            Type::Integer => yaml_integer(unsigned).map(|value| sign * value as f64),
            Type::Number => unsigned.parse::<f64>().ok().map(|value| sign * value),
            _ => None,
        }
    }

    fn port(&mut self, node: NodeId) {
        let holds = self.integer(node).is_some_and(|value| (1.0..=65535.0).contains(&value));
        self.holds(node, holds, "other readers want a whole number from 1 to 65535 here");
    }

    fn whole_number(&mut self, node: NodeId) {
        let holds = self.integer(node).is_some_and(|value| value >= 0.0);
        self.holds(node, holds, "other readers want a whole number here");
    }

    fn document(&mut self, root: NodeId) {
        self.record(
            root,
            &[
                ("version", Always, |a, node| a.one_of(node, &["2.0", "2.1"])),
                ("include", Maybe, Self::texts),
                ("services", Always, |a, node| a.named(node, Self::service)),
                ("profiles", Always, Self::profiles),
                ("deployment", Always, |a, node| a.named(node, |a, node| a.named(node, Self::deploy))),
                ("endpoints", Maybe, |a, node| {
                    a.named(node, |a, node| {
                        a.record(node, &[("kind", Always, |a, node| a.one_of(node, &["ip"]))]);
                    });
                }),
                ("reclamation", Maybe, |a, node| a.record(node, &[("min_window", Always, Self::window)])),
            ],
        );
    }

    fn window(&mut self, node: NodeId) {
        let text = self.tree.text(node).as_bytes();
        let holds = matches!(text, [b'1'..=b'9', digits @ .., b's' | b'm' | b'h'] if digits.iter().all(u8::is_ascii_digit));
        let holds = holds && self.type_of(node) == Type::Text;
        self.holds(node, holds, "other readers want a whole number with one of s, m and h here");
    }

    fn deploy(&mut self, node: NodeId) {
        self.record(
            node,
            &[
                ("profile", Always, Self::is_text),
                ("count", Always, |a, node| {
                    let holds = a.integer(node).is_some_and(|value| value >= 1.0);
                    a.holds(node, holds, "other readers want a whole number above 0 here");
                }),
            ],
        );
    }

    fn service(&mut self, node: NodeId) {
        self.record(
            node,
            &[
                ("image", Always, |a, node| {
                    let holds = a.type_of(node) == Type::Text && !a.tree.text(node).is_empty();
                    a.holds(node, holds, "other readers want the name of an image here");
                }),
                ("command", Maybe, Self::texts_or_null),
                ("args", Maybe, Self::texts_or_null),
                ("env", Maybe, Self::texts_or_null),
                ("expose", Maybe, |a, node| {
                    if a.type_of(node) != Type::Null {
                        a.list(node, Self::expose);
                    }
                }),
                ("params", Maybe, Self::params),
                ("credentials", Maybe, Self::credentials),
                ("dependencies", Maybe, |a, node| {
                    a.list(node, |a, node| a.record(node, &[("service", Maybe, Self::is_text)]));
                }),
            ],
        );
    }

    fn expose(&mut self, node: NodeId) {
        self.record(
            node,
            &[
                ("port", Always, Self::port),
                ("as", Maybe, Self::port),
                ("proto", Maybe, |a, node| a.one_of(node, &["tcp", "TCP", "udp", "UDP"])),
                ("to", Maybe, |a, node| a.list(node, Self::to)),
                ("accept", Maybe, Self::texts),
                ("http_options", Maybe, Self::http_options),
            ],
        );
    }

    fn to(&mut self, node: NodeId) {
        self.record(
            node,
            &[
                ("global", Maybe, Self::boolean),
                ("service", Maybe, Self::is_text),
                ("ip", Maybe, Self::is_text),
            ],
        );
        let entries =
            if self.type_of(node) == Type::Mapping { self.reader.mapping(node) } else { Vec::new() };
        let text = |key: &str| {
            entries.iter().find(|entry| entry.key == key).map(|entry| self.tree.text(entry.value))
        };
        let leased = text("ip").is_some_and(|ip| !ip.is_empty());
        let holds = !leased || text("global").is_some_and(|global| global.eq_ignore_ascii_case("true"));
        self.holds(node, holds, "other readers want global: true beside ip");
    }

    fn http_options(&mut self, node: NodeId) {
        self.record(
            node,
            &[
                ("max_body_size", Maybe, Self::whole_number),
                ("read_timeout", Maybe, Self::whole_number),
                ("send_timeout", Maybe, Self::whole_number),
                ("next_tries", Maybe, Self::whole_number),
                ("next_timeout", Maybe, Self::whole_number),
                ("next_cases", Maybe, |a, node| {
                    a.list(node, |a, node| a.one_of(node, &crate::rules::NEXT_CASES));
                }),
                ("proxy_buffer_size", Maybe, Self::whole_number),
            ],
        );
    }

    fn params(&mut self, node: NodeId) {
        self.record(
            node,
            &[
                ("storage", Maybe, |a, node| {
                    a.named(node, |a, node| {
                        a.record(
                            node,
                            &[
                                ("mount", Maybe, |a, node| {
                                    let holds =
                                        a.type_of(node) == Type::Text && a.tree.text(node).starts_with('/');
                                    a.holds(node, holds, "other readers want a path that begins with / here");
                                }),
                                ("readOnly", Maybe, Self::boolean),
                            ],
                        );
                    });
                }),
                ("permissions", Maybe, |a, node| {
                    a.record(
                        node,
                        &[("read", Maybe, |a, node| {
                            a.list(node, |a, node| a.one_of(node, &["deployment", "logs", "events"]));
                        })],
                    );
                }),
                ("tee", Maybe, |a, node| a.one_of(node, &["cpu", "cpu-gpu"])),
            ],
        );
    }

    /// A text of at least so many characters, which is not repeated.
    fn at_least(&mut self, node: NodeId, characters: usize) {
        let holds = self.type_of(node) == Type::Text && self.tree.text(node).chars().count() >= characters;
        self.holds(
            node,
            holds,
            &format!("other readers want a text of at least {characters} characters here"),
        );
    }

    fn credentials(&mut self, node: NodeId) {
        self.record(
            node,
            &[
                ("host", Always, |a, node| a.at_least(node, 1)),
                ("email", Maybe, |a, node| a.at_least(node, 5)),
                ("username", Always, |a, node| a.at_least(node, 1)),
                ("password", Always, |a, node| a.at_least(node, 6)),
            ],
        );
    }

    fn profiles(&mut self, node: NodeId) {
        self.record(
            node,
            &[
                ("compute", Always, |a, node| {
                    a.named(node, |a, node| a.record(node, &[("resources", Always, Self::resources)]));
                }),
                ("placement", Always, |a, node| a.named(node, Self::placement)),
            ],
        );
    }

    fn resources(&mut self, node: NodeId) {
        self.record(
            node,
            &[
                ("cpu", Always, |a, node| {
                    a.record(
                        node,
                        &[
                            ("units", Always, Self::cpu_units),
                            ("attributes", Maybe, |a, node| {
                                a.record(node, &[("arch", Maybe, Self::is_text)]);
                            }),
                        ],
                    );
                }),
                ("memory", Always, |a, node| a.record(node, &[("size", Always, Self::is_text)])),
                ("storage", Always, |a, node| match a.type_of(node) {
                    Type::List => a.list(node, Self::volume),
                    _ => a.volume(node),
                }),
                ("gpu", Maybe, Self::gpu),
            ],
        );
    }

    fn cpu_units(&mut self, node: NodeId) {
        let text = self.tree.text(node);
        let holds = match self.type_of(node) {
            Type::Integer | Type::Number => self.number(node).is_some_and(|value| value > 0.0),
            Type::Text => {
                let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
                let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
                let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                digits(whole) && digits(fraction) && number.bytes().any(|b| (b'1'..=b'9').contains(&b))
            }
            _ => false,
        };
        self.holds(node, holds, "other readers want an amount above 0 here, as 0.5 or \"500m\"");
    }

    fn volume(&mut self, node: NodeId) {
        self.record(
            node,
            &[
                ("name", Maybe, Self::is_text),
                ("size", Always, Self::is_text),
                ("attributes", Maybe, Self::volume_attributes),
            ],
        );
    }

    fn volume_attributes(&mut self, node: NodeId) {
        self.record(node, &[("class", Always, |_, _| {}), ("persistent", Always, |_, _| {})]);
        let entries = if self.type_of(node) == Type::Mapping { self.reader.mapping(node) } else { return };
        let value = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| entry.value);
        let (Some(class), Some(persistent)) = (value("class"), value("persistent")) else { return };
        let is_true = matches!(self.type_of(persistent), Type::Bool | Type::Text)
            && self.tree.text(persistent).eq_ignore_ascii_case("true");
        let fits = match self.tree.text(class) {
            "beta1" | "beta2" | "beta3" | "default" => is_true,
            "ram" => !is_true,
            _ => true,
        };
        self.holds(node, fits, "other readers know the classes beta1, beta2, beta3 and default with persistent: true, and ram without");
    }

    fn gpu(&mut self, node: NodeId) {
        self.record(
            node,
            &[
                ("units", Always, |_, _| {}),
                ("attributes", Maybe, |a, node| {
                    a.record(
                        node,
                        &[("vendor", Maybe, |a, node| {
                            a.record(
                                node,
                                &[("nvidia", Always, |a, node| {
                                    if a.type_of(node) != Type::Null {
                                        a.list(node, Self::gpu_model);
                                    }
                                })],
                            );
                        })],
                    );
                }),
            ],
        );
        let entries = if self.type_of(node) == Type::Mapping { self.reader.mapping(node) } else { return };
        let value = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| entry.value);
        let Some(units) = value("units") else { return };
        let digits: Option<f64> = match self.type_of(units) {
            Type::Text => self.tree.text(units).parse().ok(),
            _ => self.number(units),
        };
        let wanted = digits.is_some_and(|units| units > 0.0);
        let fits = digits.is_some() && wanted == value("attributes").is_some();
        self.holds(units, fits, "other readers want attributes beside units above 0, and only then");
    }

    fn gpu_model(&mut self, node: NodeId) {
        self.record(
            node,
            &[
                ("model", Maybe, Self::is_text),
                ("ram", Maybe, Self::is_text),
                ("interface", Maybe, |a, node| a.one_of(node, &["pcie", "sxm"])),
            ],
        );
    }

    fn placement(&mut self, node: NodeId) {
        self.record(
            node,
            &[
                ("attributes", Maybe, |a, node| a.named(node, |_, _| {})),
                ("signedBy", Maybe, |a, node| {
                    a.record(node, &[("allOf", Maybe, Self::texts), ("anyOf", Maybe, Self::texts)]);
                }),
                ("pricing", Always, |a, node| a.named(node, Self::coin)),
            ],
        );
    }

    fn coin(&mut self, node: NodeId) {
        self.record(
            node,
            &[
                ("denom", Always, |a, node| a.one_of(node, &["uakt", "uact"])),
                ("amount", Always, |a, node| {
                    let text = a.tree.text(node);
                    let holds = match a.type_of(node) {
                        Type::Integer | Type::Number => a.number(node).is_some_and(|value| value >= 0.0),
                        Type::Text => {
                            let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
                            let digits =
                                |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                            digits(whole) && digits(fraction)
                        }
                        _ => false,
                    };
                    let shown = shown(text);
                    a.holds(
                        node,
                        holds,
                        &format!("{shown} is no plain decimal number, which other readers want here"),
                    );
                }),
            ],
        );
    }
}
