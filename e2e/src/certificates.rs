//! The certificate authority of a bench's cluster, and the kubeconfigs made with it. Every bench has its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

use crate::addresses::{API_SERVER_PORT, NODE};

/// The authority and the folder that its certificates go to.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
}

/// The files of a certificate and its key.
pub(crate) struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// A new authority, whose own certificate is written to `ca.crt` in `folder`.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        parameters.distinguished_name.push(DnType::CommonName, "bench");
        let key = KeyPair::generate().context("failed to make the authority's key")?;
        let certificate =
            parameters.self_signed(&key).context("failed to sign the authority's certificate")?;
        let authority = Self { issuer: Issuer::new(parameters, key), folder: folder.to_owned() };
        authority.write("ca.crt", &certificate.pem())?;
        Ok(authority)
    }

    /// The authority's own certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// A certificate by which the cluster knows a user and their groups.
    pub(crate) fn client(&self, file: &str, user: &str, groups: &[&str]) -> Result<Identity> {
        let mut parameters = CertificateParams::default();
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        parameters.distinguished_name.push(DnType::CommonName, user);
        for group in groups {
            parameters.distinguished_name.push(DnType::OrganizationName, *group);
        }
        self.issue(file, parameters)
    }

    /// A certificate by which a server is known under all of `names`, which may be addresses.
    pub(crate) fn server(&self, file: &str, names: &[&str]) -> Result<Identity> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut parameters = CertificateParams::new(names).context("a server's name is no name")?;
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.distinguished_name.push(DnType::CommonName, file);
        self.issue(file, parameters)
    }

    /// The key pair with which the cluster signs the tokens of service accounts: (private, public).
    pub(crate) fn token_keys(&self) -> Result<(PathBuf, PathBuf)> {
        let key = KeyPair::generate().context("failed to make the key for tokens")?;
        Ok((
            self.write("tokens.key", &key.serialize_pem())?,
            self.write("tokens.pub", &key.public_key_pem())?,
        ))
    }

    /// A kubeconfig for a user with these groups.
    pub(crate) fn kubeconfig(&self, file: &str, user: &str, groups: &[&str]) -> Result<PathBuf> {
        let identity = self.client(file, user, groups)?;
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bench", "cluster": {
                "server": format!("https://{NODE}:{API_SERVER_PORT}"),
                "certificate-authority": self.certificate(),
            }}],
            "users": [{"name": user, "user": {
                "client-certificate": identity.certificate,
                "client-key": identity.key,
            }}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": user}}],
            "current-context": "bench",
        });
        self.write(&format!("{file}.kubeconfig"), &kubeconfig.to_string())
    }

    fn issue(&self, file: &str, mut parameters: CertificateParams) -> Result<Identity> {
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().context("failed to make a key")?;
        let certificate = parameters.signed_by(&key, &self.issuer);
        let certificate = certificate.with_context(|| format!("failed to sign the certificate of {file}"))?;
        Ok(Identity {
            certificate: self.write(&format!("{file}.crt"), &certificate.pem())?,
            key: self.write(&format!("{file}.key"), &key.serialize_pem())?,
        })
    }

    fn write(&self, file: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(file);
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(path)
    }
}
