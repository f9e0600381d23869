//! Encryption of what tenants trust us with: env values and registry credentials inside manifests.
//!
//! XChaCha20-Poly1305 under a 32-byte key that lies in a file of its own, readable by its owner alone. Each value is bound to
//! the row it belongs to, so that a sealed manifest cannot be moved to another lease.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use market::private_file::open_to_others;
use zeroize::Zeroizing;

const NONCE_BYTES: usize = 24;

/// Seals and opens values with the data key. Its debug form is stars.
#[derive(Clone)]
pub struct Sealer(XChaCha20Poly1305);

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(***)")
    }
}

impl Sealer {
    /// Reads the data key from a file of 64 hex digits. A missing file is written with a fresh key and mode 0600.
    ///
    /// # Errors
    /// When the file cannot be read or written, is readable by others, or does not hold a key.
    pub fn from_key_file(path: &Path) -> anyhow::Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == ErrorKind::NotFound => return Self::create(path),
            Err(error) => {
                return Err(error).with_context(|| format!("failed to read the data key {}", path.display()));
            }
        };
        let mode = open_to_others(path)
            .with_context(|| format!("failed to look at the data key {}", path.display()))?;
        if mode.is_some() {
            bail!("the data key {} can be read by others: run chmod 600 on it", path.display());
        }
        let mut key = Zeroizing::new([0u8; 32]);
        hex::decode_to_slice(text.trim(), key.as_mut_slice()).map_err(|_| {
            anyhow!(
                "{} does not hold a data key (64 hex digits): restore the file that this database was written with",
                path.display()
            )
        })?;
        Ok(Self::new(&key))
    }

    fn create(path: &Path) -> anyhow::Result<Self> {
        let key = XChaCha20Poly1305::generate_key(&mut OsRng);
        let text = Zeroizing::new(hex::encode(key));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("failed to create the data key {}", path.display()))?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .with_context(|| format!("failed to write the data key {}", path.display()))?;
        Ok(Self(XChaCha20Poly1305::new(&key)))
    }

    /// A sealer with this key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(key.into()))
    }

    /// Encrypts `plain` for the place that `place` names.
    pub(super) fn seal(&self, place: &str, plain: &[u8]) -> anyhow::Result<Vec<u8>> {
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let sealed = self
            .0
            .encrypt(&nonce, Payload { msg: plain, aad: place.as_bytes() })
            .map_err(|_| anyhow!("failed to encrypt {place}: it is too long"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Decrypts what was sealed for the same place; `None` if the key or the place is another, or bytes were changed.
    pub(super) fn open(&self, place: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES)?;
        let payload = Payload { msg: sealed, aad: place.as_bytes() };
        self.0.decrypt(XNonce::from_slice(nonce), payload).ok().map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_sealed_value_opens_only_with_its_key_and_in_its_place() {
        let sealer = Sealer::new(&[7; 32]);
        let sealed = sealer.seal("lease a", b"PASSWORD=hunter2").expect("short");
        assert_eq!(
            sealer.open("lease a", &sealed).expect("same key and place").as_slice(),
            b"PASSWORD=hunter2"
        );
        assert!(sealer.open("lease b", &sealed).is_none());
        assert!(Sealer::new(&[8; 32]).open("lease a", &sealed).is_none());
        assert!(sealer.open("lease a", &sealed[..20]).is_none());
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
    }

    #[test]
    fn a_missing_key_file_is_created_for_its_owner_alone_and_read_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("data.key");
        let sealed = Sealer::from_key_file(&path).expect("created").seal("x", b"y").expect("short");
        assert_eq!(fs::metadata(&path).expect("exists").permissions().mode() & 0o777, 0o600);
        assert!(Sealer::from_key_file(&path).expect("read").open("x", &sealed).is_some());
    }

    #[test]
    fn a_key_file_that_others_can_read_or_that_is_no_key_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("data.key");
        fs::write(&path, "not a key").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
        let open = Sealer::from_key_file(&path).expect_err("readable by others").to_string();
        assert!(open.contains("chmod 600"), "{open}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");
        let wrong = Sealer::from_key_file(&path).expect_err("not a key").to_string();
        assert!(wrong.contains("64 hex digits") && !wrong.contains("not a key\""), "{wrong}");
    }
}
