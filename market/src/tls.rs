//! TLS to a provider's gateway: the certificate is judged by the public key that the provider registered on chain, and by
//! nothing else.
//!
//! Gateways sign their own certificates, so there is no authority to ask and names in the certificate mean nothing. The SHA-256
//! of the key (SPKI) is in the registry; a peer that holds another key is refused during the handshake.

use std::sync::Arc;

use manifests::order::Hash;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use sha2::{Digest, Sha256};

/// Makes ring the provider of TLS in this process, if none was chosen yet. Clients made by this crate call it themselves.
pub fn install_provider() {
    // An error only says that a provider is there already.
    let _ = ring::default_provider().install_default();
}

/// SHA-256 of the certificate's public key (SPKI, DER), the value that a provider registers.
///
/// # Errors
/// If the bytes are not an X.509 certificate of version 3.
pub fn spki_hash(certificate_der: &[u8]) -> Result<Hash, Error> {
    let certificate = CertificateDer::from(certificate_der);
    let parsed = ParsedCertificate::try_from(&certificate)?;
    Ok(Hash(Sha256::digest(parsed.subject_public_key_info().as_ref()).into()))
}

/// A client configuration that trusts exactly the keys with these SHA-256.
pub(crate) fn pinned(keys: Vec<Hash>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(PinnedKeys { keys, provider: Arc::clone(&provider) });
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

#[derive(Debug)]
struct PinnedKeys {
    keys: Vec<Hash>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedKeys {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.keys.contains(&spki_hash(end_entity)?) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
