//! What a provider would answer to an order that was not posted, over its signature.
//!
//! The gateway signs with the key whose SHA-256 is in the registry, so that whoever holds a quote can show it to anybody: it
//! says that this provider, at this time, would have bid this. It reserves nothing and binds nobody; a bid does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use manifests::decision::LineItem;
use manifests::money::Rate;
use manifests::order::{Address, Hash};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::auth::Domain;
use crate::reader::Provider;

/// What a quote is wanted for: an order as it would be posted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuoteRequest {
    /// Who would post it. Prices and refusals may depend on it.
    pub tenant: Address,
    /// The group's spec, as its bytes would stand on chain: sorted-key JSON of at most 8 KiB.
    pub spec: String,
    /// The most that would be paid; without it the price is told whatever it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rate: Option<Rate>,
    /// Seconds of notice that would be wanted.
    #[serde(default)]
    pub min_reclaim: u32,
    /// Capability bits that would be required.
    #[serde(default)]
    pub req_bits: u128,
}

/// The answer, and for what and when it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// Whose answer it is.
    pub provider: Address,
    /// The Market contract that an order would be posted to.
    pub market: Address,
    /// The chain that the contract is on.
    pub chain_id: u64,
    /// Who asked.
    pub tenant: Address,
    /// keccak256 of the spec.
    pub spec_hash: Hash,
    /// Unix seconds by the provider's clock.
    pub made_at: u64,
    /// What it would do.
    #[serde(flatten)]
    pub answer: QuoteAnswer,
}

/// What a provider would do with an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum QuoteAnswer {
    /// It would bid.
    Bid {
        /// The price.
        rate: Rate,
        /// How the price comes about; the lines add up to the rate.
        items: Vec<LineItem>,
        /// The GPUs that the replicas would get, such as `8 × h100-80Gi-sxm`.
        gpus: Vec<String>,
        /// What was asked for that this provider does not check, in sentences.
        warnings: Vec<String>,
        /// Unix seconds until when such a bid would hold, once made.
        expires_at: u64,
        /// Seconds of notice that it would promise before leaving.
        reclaim: u32,
        /// Seconds that are paid even if the tenant leaves earlier.
        min_bill: u32,
    },
    /// It would decline.
    Declined {
        /// The reason's stable code, [`manifests::decision::Reason::code`].
        code: String,
        /// The reason as a sentence.
        why: String,
    },
}

/// A quote with its signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedQuote {
    /// The [`Quote`] as JSON, byte for byte as it was signed.
    pub quote: String,
    /// The gateway's public key (SPKI, DER) in base64: ECDSA over P-256.
    pub key: String,
    /// The signature (ASN.1, with SHA-256) over [`SignedQuote::message`], in base64.
    pub signature: String,
}

/// Why a signed quote is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// The key is none of those that the provider registered.
    #[error("it is signed with another key than the provider registered on chain")]
    OtherKey,
    /// The signature is not of this key over this quote.
    #[error("its signature does not fit")]
    BadSignature,
    /// It is about something else than what was asked.
    #[error("it answers another question: {0} differs")]
    OtherQuestion(&'static str),
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Garbled(String),
}

impl Quote {
    /// Signs it: `key` is the public key (SPKI, DER), and `sign` makes an ASN.1 signature with the private one.
    ///
    /// # Errors
    /// What `sign` returns.
    pub fn sign<E>(
        &self,
        key: &[u8],
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<SignedQuote, E> {
        let quote = serde_json::to_string(self).expect("a quote is plain data");
        let signature = STANDARD.encode(sign(&SignedQuote::message(&quote))?);
        Ok(SignedQuote { quote, key: STANDARD.encode(key), signature })
    }
}

impl SignedQuote {
    /// The bytes that are signed. What they begin with keeps them from being taken for anything else that the key signs.
    #[must_use]
    pub fn message(quote: &str) -> Vec<u8> {
        [b"berth quote v1\n", quote.as_bytes()].concat()
    }

    /// The quote, if `provider` signed it for this market and it answers this question.
    ///
    /// # Errors
    /// [`QuoteError`].
    pub fn verify(
        &self,
        provider: &Provider,
        domain: Domain,
        asked: &QuoteRequest,
    ) -> Result<Quote, QuoteError> {
        let quote = self.signed_by(|key| provider.has_gateway_key(key))?;
        let question = [
            ("the provider", quote.provider == provider.address),
            ("the chain", quote.chain_id == domain.chain_id),
            ("the market", quote.market == domain.market),
            ("the tenant", quote.tenant == asked.tenant),
            ("the spec", quote.spec_hash == crate::call::keccak256(asked.spec.as_bytes())),
        ];
        match question.into_iter().find(|(_, same)| !same) {
            Some((what, _)) => Err(QuoteError::OtherQuestion(what)),
            None => Ok(quote),
        }
    }

    fn signed_by(&self, is_registered: impl FnOnce(Hash) -> bool) -> Result<Quote, QuoteError> {
        let decode =
            |text: &str| STANDARD.decode(text).map_err(|error| QuoteError::Garbled(error.to_string()));
        let (key, signature) = (decode(&self.key)?, decode(&self.signature)?);
        if !is_registered(Hash(Sha256::digest(&key).into())) {
            return Err(QuoteError::OtherKey);
        }
        let point = key.strip_prefix(P256_SPKI).ok_or(QuoteError::BadSignature)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
            .verify(&Self::message(&self.quote), &signature)
            .map_err(|_| QuoteError::BadSignature)?;
        serde_json::from_str(&self.quote).map_err(|error| QuoteError::Garbled(error.to_string()))
    }
}

/// How the public key of a P-256 point begins (RFC 5480): the algorithm id-ecPublicKey, the curve secp256r1, and a bit string of
/// 65 bytes, which are the point.
const P256_SPKI: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};

    use super::*;

    fn quote() -> Quote {
        Quote {
            provider: Address([1; 20]),
            market: Address([2; 20]),
            chain_id: 1,
            tenant: Address([3; 20]),
            spec_hash: Hash([4; 32]),
            made_at: 5,
            answer: QuoteAnswer::Declined { code: "resources_cpu".to_owned(), why: "full".to_owned() },
        }
    }

    fn signed(quote: &Quote, key: &KeyPair) -> SignedQuote {
        quote.sign(&key.subject_public_key_info(), |message| key.sign(message)).expect("signed")
    }

    fn hash(key: &KeyPair) -> Hash {
        Hash(Sha256::digest(key.subject_public_key_info()).into())
    }

    #[test]
    fn a_quote_is_believed_only_from_a_registered_key_and_as_it_was_signed() {
        let (ours, theirs) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
        let good = signed(&quote(), &ours);
        assert_eq!(good.signed_by(|key| key == hash(&ours)), Ok(quote()));
        assert_eq!(good.signed_by(|key| key == hash(&theirs)), Err(QuoteError::OtherKey));

        let cheaper = SignedQuote { quote: good.quote.replace("full", "free"), ..good.clone() };
        assert_eq!(cheaper.signed_by(|_| true), Err(QuoteError::BadSignature));
        let borrowed = SignedQuote { key: signed(&quote(), &theirs).key, ..good };
        assert_eq!(borrowed.signed_by(|_| true), Err(QuoteError::BadSignature));
    }

    #[test]
    fn what_is_no_key_or_no_base64_is_told_apart() {
        let key = KeyPair::generate().expect("a key");
        let good = signed(&quote(), &key);
        let broken = SignedQuote { signature: "%".to_owned(), ..good.clone() };
        assert!(matches!(broken.signed_by(|_| true), Err(QuoteError::Garbled(_))));
        let short = SignedQuote { key: STANDARD.encode([0x30, 0x59]), ..good };
        assert_eq!(short.signed_by(|_| true), Err(QuoteError::BadSignature));
    }
}
