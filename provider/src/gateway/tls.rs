//! The key that tenants know this gateway by.
//!
//! The certificate is self-signed and made anew at each start; what counts is the key. The SHA-256 of its public half
//! (SPKI, DER) is registered on chain and pinned by tenants, so the key is made once and kept.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use manifests::order::Hash;
use market::private_file::open_to_others;
use market::quote::{Quote, SignedQuote};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData as _, SigningKey as _};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

/// The file in the key folder.
const FILE: &str = "tls.key";

/// The gateway's key with what is made from it.
#[derive(Clone)]
pub struct GatewayKey {
    server: Arc<ServerConfig>,
    spki_hash: Hash,
    pair: Arc<KeyPair>,
}

impl std::fmt::Debug for GatewayKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GatewayKey {{ spki_hash: {} }}", self.spki_hash)
    }
}

impl GatewayKey {
    /// Reads the key from `folder`, or makes one there if there is none: a new folder is for its owner alone (0700), and so
    /// is the file (0600).
    ///
    /// # Errors
    /// When the folder or the file cannot be used, or somebody else may read the file.
    pub fn load_or_create(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        match fs::read_to_string(&path) {
            Ok(pem) => Self::from_kept(&path, &Zeroizing::new(pem)),
            Err(error) if error.kind() == ErrorKind::NotFound => Self::create(folder, &path),
            Err(error) => {
                Err(error).with_context(|| format!("failed to read the gateway's key {}", path.display()))
            }
        }
    }

    /// SHA-256 of the public key, as the provider registers it.
    #[must_use]
    pub fn spki_hash(&self) -> Hash {
        self.spki_hash
    }

    /// Signs a quote, so that whoever knows the registered hash can tell whose it is.
    ///
    /// # Errors
    /// None that is known: the key was used for the certificate.
    pub fn sign(&self, quote: &Quote) -> anyhow::Result<SignedQuote> {
        let signed = quote.sign(&self.pair.subject_public_key_info(), |message| self.pair.sign(message));
        signed.context("the gateway's key does not sign")
    }

    /// The server side of TLS 1.2 and 1.3 with this key, for HTTP/1.1.
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    fn from_kept(path: &Path, pem: &str) -> anyhow::Result<Self> {
        let mode = open_to_others(path).with_context(|| format!("failed to look at {}", path.display()))?;
        if let Some(mode) = mode {
            bail!(
                "the gateway's key {0} may be read by others (mode {mode:o}): run chmod 600 {0}",
                path.display()
            );
        }
        let key = KeyPair::from_pem(pem).with_context(|| {
            format!(
                "{} is not a private key in PEM: restore it from a backup, or remove it and register the new key's hash",
                path.display()
            )
        })?;
        Self::from_key(key)
    }

    fn create(folder: &Path, path: &Path) -> anyhow::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("failed to make the key folder {}", folder.display()))?;
        let key = KeyPair::generate().context("failed to make a key for the gateway")?;
        let pem = Zeroizing::new(key.serialize_pem());

        // Written beside and renamed, so that a killed process never leaves half a key.
        let unfinished: PathBuf = folder.join(format!(".{FILE}.{}", std::process::id()));
        let write = || -> std::io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
            file.write_all(pem.as_bytes())?;
            file.sync_all()?;
            fs::rename(&unfinished, path)?;
            fs::File::open(folder)?.sync_all()
        };
        write().with_context(|| {
            format!("failed to write the gateway's key {}: the folder must be writable", path.display())
        })?;
        Self::from_key(key)
    }

    fn from_key(key: KeyPair) -> anyhow::Result<Self> {
        let mut params =
            CertificateParams::new(Vec::new()).context("failed to describe the gateway's certificate")?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "berth gateway");
        let certificate = params.self_signed(&key).context("failed to sign the gateway's certificate")?;
        let spki_hash =
            market::tls::spki_hash(certificate.der()).context("our own certificate cannot be read")?;

        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut server =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .context("TLS 1.2 and 1.3 are not there")?
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], private)
                .context("the gateway's key cannot be used for TLS")?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { server: Arc::new(server), spki_hash, pair: Arc::new(key) })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_kept_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let keys = folder.path().join("keys");
        let first = GatewayKey::load_or_create(&keys).expect("made");
        let again = GatewayKey::load_or_create(&keys).expect("read");
        assert_eq!(first.spki_hash(), again.spki_hash());
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&keys), mode(&keys.join(FILE))), (0o700, 0o600));
        let other = GatewayKey::load_or_create(&folder.path().join("other")).expect("made");
        assert_ne!(first.spki_hash(), other.spki_hash());
    }

    #[test]
    fn a_key_that_others_may_read_and_a_broken_key_are_refused_with_the_remedy() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        GatewayKey::load_or_create(folder.path()).expect("made");
        let path = folder.path().join(FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        let refused = GatewayKey::load_or_create(folder.path()).expect_err("readable by others");
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changed");
        fs::write(&path, "not a key").expect("written");
        let refused = GatewayKey::load_or_create(folder.path()).expect_err("broken");
        assert!(refused.to_string().contains("backup"), "{refused}");
    }
}
