//! How a tenant proves to a gateway that a request is its own: an EIP-712 signature over everything that matters.
//!
//! The signature covers chain, market, provider, lease, method and path, body, a nonce that the server gave out, and a
//! deadline. The tenant states what it signed in the `Authorization` header; [`check`] compares each statement with what the
//! server knows, so that every refusal has its own reason, and only then asks whose key signed. The server must burn the nonce
//! of each request that passes; one that it does not know is [`Refusal::UnknownNonce`].

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ethers_core::types::{H256, RecoveryMessage, Signature};
use ethers_core::utils::keccak256;
use manifests::order::{Address, Hash, OrderId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::signer::{SignError, Signer, TypedData};
use crate::wallet::Wallet;

/// The most seconds that a request's deadline may lie ahead of the server's clock.
pub const MAX_LIFETIME_SECS: u64 = 60;

/// The scheme in the `Authorization` header.
pub const SCHEME: &str = "Berth";

const DOMAIN_NAME: &str = "Berth Gateway";
const DOMAIN_VERSION: &str = "1";
const DOMAIN_TYPE: &str =
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
const REQUEST_TYPE: &str = "GatewayRequest(address provider,bytes32 lease,string request,bytes32 bodyHash,bytes32 nonce,uint256 deadline)";

/// On which market a signature counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain {
    /// The chain.
    pub chain_id: u64,
    /// The Market contract.
    pub market: Address,
}

impl Domain {
    fn separator(self) -> [u8; 32] {
        struct_hash(
            DOMAIN_TYPE,
            &[
                keccak256(DOMAIN_NAME),
                keccak256(DOMAIN_VERSION),
                number_word(self.chain_id),
                address_word(self.market),
            ],
        )
    }
}

/// What one request is, in the terms that are signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayRequest {
    /// The provider whose gateway is meant.
    pub provider: Address,
    /// The lease (or order) that it is about, as the contract's word.
    pub lease: Hash,
    /// Method, one space, path and query: `GET /v1/leases/0x…/logs?tail=10`.
    pub request: String,
    /// keccak256 of the body; of nothing if there is none.
    pub body_hash: Hash,
    /// A nonce that this gateway gave out.
    pub nonce: Hash,
    /// Unix seconds after which the request is void.
    pub deadline: u64,
}

impl GatewayRequest {
    /// The request for these parts.
    #[must_use]
    pub fn new(target: &Target<'_>, nonce: Hash, deadline: u64) -> Self {
        Self {
            provider: target.provider,
            lease: target.lease.to_word(),
            request: target.request(),
            body_hash: Hash(keccak256(target.body)),
            nonce,
            deadline,
        }
    }

    /// What is signed: EIP-712's digest of this request in this domain.
    #[must_use]
    pub fn digest(&self, domain: Domain) -> Hash {
        let request = struct_hash(
            REQUEST_TYPE,
            &[
                address_word(self.provider),
                self.lease.0,
                keccak256(&self.request),
                self.body_hash.0,
                self.nonce.0,
                number_word(self.deadline),
            ],
        );
        let mut bytes = Vec::with_capacity(66);
        bytes.extend_from_slice(&[0x19, 0x01]);
        bytes.extend_from_slice(&domain.separator());
        bytes.extend_from_slice(&request);
        Hash(keccak256(bytes))
    }

    /// Signs it with a key that may be elsewhere.
    ///
    /// # Errors
    /// [`SignError`].
    pub async fn sign_by(self, domain: Domain, signer: &Signer) -> Result<SignedRequest, SignError> {
        let signature = signer.sign_typed_data(&self.typed_data(domain)).await?;
        Ok(SignedRequest { request: self, signature: format!("0x{}", hex::encode(signature)) })
    }

    /// The request as a document of typed data, of which [`GatewayRequest::digest`] is the digest.
    fn typed_data(&self, domain: Domain) -> TypedData {
        let Self { provider, lease, request, body_hash, nonce, deadline } = self;
        let document = json!({
            "types": {
                "EIP712Domain": members(DOMAIN_TYPE),
                "GatewayRequest": members(REQUEST_TYPE),
            },
            "primaryType": "GatewayRequest",
            "domain": {
                "name": DOMAIN_NAME,
                "version": DOMAIN_VERSION,
                "chainId": domain.chain_id,
                "verifyingContract": domain.market,
            },
            "message": {
                "provider": provider,
                "lease": lease,
                "request": request,
                "bodyHash": body_hash,
                "nonce": nonce,
                "deadline": deadline.to_string(),
            },
        });
        TypedData { name: format!("{DOMAIN_NAME}: GatewayRequest"), digest: self.digest(domain), document }
    }

    /// Signs it.
    #[must_use]
    pub fn sign(self, domain: Domain, wallet: &Wallet) -> SignedRequest {
        let signature = format!("0x{}", hex::encode(wallet.sign_digest(self.digest(domain))));
        SignedRequest { request: self, signature }
    }
}

/// What a request is aimed at: what the tenant signs, and what the server holds against it.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The provider whose gateway it is.
    pub provider: Address,
    /// The lease or order in the path.
    pub lease: OrderId,
    /// The HTTP method in capitals.
    pub method: &'a str,
    /// Path and query as they travel.
    pub path_and_query: &'a str,
    /// The body.
    pub body: &'a [u8],
}

impl Target<'_> {
    fn request(&self) -> String {
        format!("{} {}", self.method, self.path_and_query)
    }
}

/// A request with its signature, as it travels in the header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRequest {
    /// What the tenant says it signed.
    #[serde(flatten)]
    pub request: GatewayRequest,
    /// 65 bytes, r s v, as hex with 0x.
    pub signature: String,
}

impl SignedRequest {
    /// The value of the `Authorization` header.
    #[must_use]
    pub fn to_header(&self) -> String {
        let json = serde_json::to_vec(self).expect("strings and numbers always serialise");
        format!("{SCHEME} {}", URL_SAFE_NO_PAD.encode(json))
    }

    /// Reads the value of the `Authorization` header.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] if it is not ours.
    pub fn from_header(value: &str) -> Result<Self, Refusal> {
        let encoded = value.strip_prefix(SCHEME).and_then(|rest| rest.strip_prefix(' '));
        let json = encoded.and_then(|text| URL_SAFE_NO_PAD.decode(text.trim()).ok());
        json.and_then(|json| serde_json::from_slice(&json).ok()).ok_or(Refusal::Malformed)
    }

    fn signer(&self, domain: Domain) -> Option<Address> {
        let bytes = hex::decode(self.signature.strip_prefix("0x")?).ok()?;
        let signature = Signature::try_from(bytes.as_slice()).ok()?;
        let digest = H256(self.request.digest(domain).0);
        signature.recover(RecoveryMessage::Hash(digest)).ok().map(|address| Address(address.0))
    }
}

/// Why a request is not believed. [`Refusal::code`] is stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No `Authorization` header.
    #[error("the request is not signed: send an Authorization header of scheme Berth")]
    Missing,
    /// The header cannot be read.
    #[error("the Authorization header is not \"Berth \" and the base64 of a signed request")]
    Malformed,
    /// Signed for another provider.
    #[error("the request was signed for another provider")]
    OtherProvider,
    /// Signed for another lease.
    #[error("the request was signed for another lease")]
    OtherLease,
    /// Signed for another method, path or query.
    #[error("the request was signed for another method or path")]
    OtherRequest,
    /// Signed for another body.
    #[error("the request was signed for another body")]
    OtherBody,
    /// The deadline has passed.
    #[error("the request's deadline has passed: sign a new one, and check the clock")]
    TooLate,
    /// The deadline is too far ahead.
    #[error("the request's deadline is more than {MAX_LIFETIME_SECS} seconds ahead")]
    TooEarly,
    /// The nonce was used, was never given out, or has expired. For the server, which alone can tell.
    #[error("the request's nonce was used before, has expired or was never given out: fetch a new one")]
    UnknownNonce,
    /// The bytes are not a signature.
    #[error("the signature is not one of secp256k1 over this request")]
    BadSignature,
    /// Another key signed.
    #[error("the request was not signed by the tenant of this lease")]
    NotTheTenant,
}

impl Refusal {
    /// The stable code of the reason.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::OtherProvider => "other_provider",
            Self::OtherLease => "other_lease",
            Self::OtherRequest => "other_request",
            Self::OtherBody => "other_body",
            Self::TooLate => "too_late",
            Self::TooEarly => "too_early",
            Self::UnknownNonce => "unknown_nonce",
            Self::BadSignature => "bad_signature",
            Self::NotTheTenant => "not_the_tenant",
        }
    }
}

/// Whether the tenant of `target.lease` signed exactly this request for exactly this server, and it is in time. The nonce is
/// the server's to look up and burn afterwards: it is in [`SignedRequest::request`].
///
/// # Errors
/// The first [`Refusal`] that applies.
pub fn check(signed: &SignedRequest, domain: Domain, target: &Target<'_>, now: u64) -> Result<(), Refusal> {
    let GatewayRequest { provider, lease, request, body_hash, nonce: _, deadline } = &signed.request;
    let fits = |fits: bool, refusal| if fits { Ok(()) } else { Err(refusal) };
    fits(*provider == target.provider, Refusal::OtherProvider)?;
    fits(*lease == target.lease.to_word(), Refusal::OtherLease)?;
    fits(*request == target.request(), Refusal::OtherRequest)?;
    fits(body_hash.0 == keccak256(target.body), Refusal::OtherBody)?;
    fits(now <= *deadline, Refusal::TooLate)?;
    fits(*deadline <= now.saturating_add(MAX_LIFETIME_SECS), Refusal::TooEarly)?;
    let signer = signed.signer(domain).ok_or(Refusal::BadSignature)?;
    fits(signer == target.lease.tenant, Refusal::NotTheTenant)
}

/// The members of a type as a document lists them, from the type's text: `Name(type name,…)`.
fn members(type_text: &str) -> Vec<serde_json::Value> {
    let (_, list) = type_text.split_once('(').unwrap_or_default();
    let pairs = list.trim_end_matches(')').split(',').filter_map(|member| member.split_once(' '));
    pairs.map(|(kind, name)| json!({"name": name, "type": kind})).collect()
}

fn struct_hash(type_text: &str, words: &[[u8; 32]]) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(32 * (words.len() + 1));
    bytes.extend_from_slice(&keccak256(type_text));
    for word in words {
        bytes.extend_from_slice(word);
    }
    keccak256(bytes)
}

fn number_word(number: u64) -> [u8; 32] {
    let mut word = [0; 32];
    word[24..].copy_from_slice(&number.to_be_bytes());
    word
}

fn address_word(address: Address) -> [u8; 32] {
    let mut word = [0; 32];
    word[12..].copy_from_slice(&address.0);
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const DOMAIN: Domain = Domain { chain_id: 31337, market: Address([0x22; 20]) };

    fn wallet() -> Wallet {
        Wallet::from_private_key("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
            .expect("a key")
    }

    fn lease() -> OrderId {
        OrderId { tenant: wallet().address(), dseq: 7, gseq: 1, oseq: 1 }
    }

    fn target() -> Target<'static> {
        Target {
            provider: Address([0x11; 20]),
            lease: lease(),
            method: "PUT",
            path_and_query: "/v1/leases/1/manifest",
            body: b"{}",
        }
    }

    fn signed(target: &Target<'_>, deadline: u64) -> SignedRequest {
        GatewayRequest::new(target, Hash([9; 32]), deadline).sign(DOMAIN, &wallet())
    }

    #[test]
    fn the_signature_is_the_one_that_another_implementation_of_eip712_makes() {
        // Made with Foundry's `cast wallet sign --data` from the same request.
        let known = "0xda094c1863c2cf00bc4c7dfe30584dd9f3ed202e2f3eedb72894bce1352dbfdb\
            014d3bae5cc2b9fe3968e95780b0cf28e3bdbe78fde1714c200cce4f3007b9f31b";
        assert_eq!(signed(&target(), NOW + 30).signature, known);
    }

    #[test]
    fn the_document_for_signing_services_comes_to_the_digest_that_is_signed_here() {
        use ethers_core::types::transaction::eip712::{Eip712, TypedData as Other};

        let request = GatewayRequest::new(&target(), Hash([9; 32]), NOW + 30);
        let document: Other =
            serde_json::from_value(request.typed_data(DOMAIN).document).expect("typed data");
        assert_eq!(Hash(document.encode_eip712().expect("a digest")), request.digest(DOMAIN));
    }

    #[test]
    fn a_signed_request_survives_the_header_and_is_believed() {
        let header = signed(&target(), NOW + 30).to_header();
        let read = SignedRequest::from_header(&header).expect("ours");
        assert_eq!(check(&read, DOMAIN, &target(), NOW), Ok(()));
        assert_eq!(read.request.nonce, Hash([9; 32]));
    }

    #[test]
    fn each_thing_that_does_not_fit_has_its_own_reason() {
        let request = signed(&target(), NOW + 30);
        let refused = |target: &Target<'_>, now| check(&request, DOMAIN, target, now).expect_err("refused");
        let mut other = lease();
        other.oseq = 2;
        assert_eq!(refused(&Target { provider: Address([1; 20]), ..target() }, NOW), Refusal::OtherProvider);
        assert_eq!(refused(&Target { lease: other, ..target() }, NOW), Refusal::OtherLease);
        assert_eq!(refused(&Target { method: "GET", ..target() }, NOW), Refusal::OtherRequest);
        assert_eq!(refused(&Target { path_and_query: "/v1", ..target() }, NOW), Refusal::OtherRequest);
        assert_eq!(refused(&Target { body: b"[]", ..target() }, NOW), Refusal::OtherBody);
        assert_eq!(refused(&target(), NOW + 31), Refusal::TooLate);
        assert_eq!(refused(&target(), NOW - 31), Refusal::TooEarly);
    }

    #[test]
    fn another_key_another_market_and_another_chain_are_strangers() {
        let strange = Wallet::from_private_key(&"1".repeat(64)).expect("a key");
        let request = GatewayRequest::new(&target(), Hash([9; 32]), NOW + 30).sign(DOMAIN, &strange);
        assert_eq!(check(&request, DOMAIN, &target(), NOW), Err(Refusal::NotTheTenant));
        let request = signed(&target(), NOW + 30);
        for domain in [Domain { chain_id: 1, ..DOMAIN }, Domain { market: Address([3; 20]), ..DOMAIN }] {
            assert_eq!(check(&request, domain, &target(), NOW), Err(Refusal::NotTheTenant));
        }
        let mut broken = signed(&target(), NOW + 30);
        broken.signature = "0x00".to_owned();
        assert_eq!(check(&broken, DOMAIN, &target(), NOW), Err(Refusal::BadSignature));
    }

    #[test]
    fn headers_that_are_not_ours_are_malformed() {
        for value in ["", "Berth", "Berth ", "Berth !!!", "Bearer e30", "Berth e30"] {
            assert_eq!(SignedRequest::from_header(value), Err(Refusal::Malformed), "{value}");
        }
    }
}
