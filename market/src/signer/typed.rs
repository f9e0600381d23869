//! Typed data (EIP-712) in the two forms that signers want: the digest, and the document that a signing service hashes itself.

use manifests::order::Hash;
use serde_json::Value;

/// Typed data to be signed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TypedData {
    /// Name of the domain and of the type, for people.
    pub(crate) name: String,
    /// What is signed. The document must come to the same.
    pub(crate) digest: Hash,
    /// `types`, `primaryType`, `domain` and `message`.
    pub(crate) document: Value,
}
