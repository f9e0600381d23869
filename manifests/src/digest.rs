//! The canonical form and the digest that is bound on chain.
//!
//! Two encodings of one shape: *plain* keeps the fields in the order of the types and is what travels and what people
//! read; *canonical* has the keys of every object in ascending byte order and is what gets hashed. Both escape strings the
//! same way: beside what JSON demands, `<`, `>`, `&`, U+2028 and U+2029 are written as `\u` escapes.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};
use sha2::{Digest, Sha256};

use crate::manifest::Manifest;
use crate::order::Hash;

impl Manifest {
    /// The plain encoding: what a tenant sends to its provider.
    pub fn to_json(&self) -> Vec<u8> {
        plain_json(self)
    }

    /// The canonical encoding: what [`Manifest::digest`] hashes.
    pub fn canonical_json(&self) -> Vec<u8> {
        canonical_json(self)
    }

    /// SHA-256 of the canonical encoding. It covers every image, count, environment value and password, and neither prices
    /// nor requirements.
    pub fn digest(&self) -> Hash {
        Hash(Sha256::digest(self.canonical_json()).into())
    }
}

/// The plain encoding of a manifest, a group spec or a part of one.
pub fn plain_json<T: Serialize>(value: &T) -> Vec<u8> {
    encode(value)
}

/// The canonical encoding of a manifest, an order's spec or a part of one.
pub fn canonical_json<T: Serialize>(value: &T) -> Vec<u8> {
    let mut tree =
        serde_json::to_value(value).expect("the types of this crate have string keys and finite numbers");
    tree.sort_all_objects();
    encode(&tree)
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    value
        .serialize(&mut Serializer::with_formatter(&mut bytes, Escaping))
        .expect("writing to memory cannot fail, and the types of this crate have string keys");
    bytes
}

/// Compact JSON with the additional escapes.
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (before, from) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            let mut characters = from.chars();
            if let Some(character) = characters.next() {
                write!(writer, "\\u{:04x}", u32::from(character))?;
            }
            rest = characters.as_str();
        }
        CompactFormatter.write_string_fragment(writer, rest)
    }
}
