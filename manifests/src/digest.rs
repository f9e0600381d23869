//! The canonical form and the digest that is bound on chain.
//!
//! Two encodings of one shape: *plain* keeps the fields in the order of the types and is what travels and what people
//! read; *canonical* has the keys of every object in ascending byte order and is what gets hashed. Both escape strings the
//! same way: beside what JSON demands, `<`, `>`, `&`, U+2028 and U+2029 are written as `\u` escapes.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::json::{self, Keys};
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

/// The plain encoding of a manifest, of group specs or of a part of them.
///
/// # Panics
/// For a type that is not one of this crate's: only structs, lists, texts, whole numbers, booleans and options are written.
pub fn plain_json<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    json::write(value, Keys::Declared)
}

/// The canonical encoding of a manifest, of an order's spec or of a part of them.
///
/// # Panics
/// As [`plain_json`].
pub fn canonical_json<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    json::write(value, Keys::Sorted)
}
