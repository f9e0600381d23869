//! A key of ours: read from a keystore file, used to sign, never shown.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use eth_keystore::KeystoreError;
use ethers_core::types::transaction::eip2718::TypedTransaction;
use ethers_core::types::{H256, Signature};
use ethers_signers::{LocalWallet, Signer as _};
use manifests::order::{Address, Hash};
use zeroize::Zeroizing;

use crate::private_file::open_to_others;
use crate::rpc::clean;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// A file could not be read or written.
    #[error("{what} {}: {problem}", path.display())]
    File {
        /// What the file is: `the key file`, `the password file`.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system said.
        problem: std::io::Error,
    },
    /// The key file is not a keystore.
    #[error("the key file {} is not a keystore of version 3 (Web3 Secret Storage): {problem}", path.display())]
    NotAKeystore {
        /// Which.
        path: PathBuf,
        /// What is missing.
        problem: String,
    },
    /// The password does not open it.
    #[error("the password in {} does not open the key file {}", password_file.display(), keystore.display())]
    WrongPassword {
        /// The key file.
        keystore: PathBuf,
        /// The file that was thought to hold its password.
        password_file: PathBuf,
    },
    /// The text is not a private key.
    #[error("this is not a private key: 64 hex digits are wanted, and not every number will do")]
    NotAKey,
    /// The file is there already and is not overwritten.
    #[error("{} exists already; a key is never overwritten", .0.display())]
    Exists(PathBuf),
}

/// A private key in memory. Debug and errors show at most its address; memory is wiped when it is dropped.
#[derive(Clone)]
pub struct Wallet {
    key: LocalWallet,
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wallet").field(&self.address()).finish()
    }
}

impl Wallet {
    /// Opens a keystore (version 3) with the password that stands in a file; a line end after the password is not part of it.
    /// Files that others can read are used, with a warning in the log.
    ///
    /// # Errors
    /// [`WalletError`] when a file cannot be read, is no keystore, or the password is another one.
    pub fn open(keystore: &Path, password_file: &Path) -> Result<Self, WalletError> {
        let text = read(keystore, "the key file")?;
        let password = read_password(password_file)?;
        check_keystore(&text)
            .map_err(|problem| WalletError::NotAKeystore { path: keystore.to_owned(), problem })?;
        let secret =
            eth_keystore::decrypt_key(keystore, password.as_bytes()).map_err(|error| match error {
                KeystoreError::MacMismatch => WalletError::WrongPassword {
                    keystore: keystore.to_owned(),
                    password_file: password_file.to_owned(),
                },
                other => WalletError::NotAKeystore {
                    path: keystore.to_owned(),
                    problem: clean(&other.to_string()),
                },
            })?;
        let key = LocalWallet::from_bytes(&Zeroizing::new(secret)).map_err(|_| WalletError::NotAKey)?;
        Ok(Self { key })
    }

    /// Makes a new key and stores it at `keystore`, encrypted with the password in `password_file`.
    ///
    /// # Errors
    /// [`WalletError`] when `keystore` exists or cannot be written, or the password file cannot be read.
    pub fn create(keystore: &Path, password_file: &Path) -> Result<Self, WalletError> {
        let key = LocalWallet::new(&mut ethers_core::rand::thread_rng());
        store(&key, keystore, password_file)?;
        Ok(Self { key })
    }

    /// Stores a known private key (64 hex digits) at `keystore`, encrypted with the password in `password_file`.
    ///
    /// # Errors
    /// [`WalletError::NotAKey`], and those of [`Wallet::create`].
    pub fn import(private_key: &str, keystore: &Path, password_file: &Path) -> Result<Self, WalletError> {
        let wallet = Self::from_private_key(private_key)?;
        store(&wallet.key, keystore, password_file)?;
        Ok(wallet)
    }

    /// A key given as 64 hex digits: for test chains, whose keys are public.
    ///
    /// # Errors
    /// [`WalletError::NotAKey`].
    pub fn from_private_key(private_key: &str) -> Result<Self, WalletError> {
        let digits = private_key.trim();
        let mut bytes = Zeroizing::new([0u8; 32]);
        hex::decode_to_slice(digits.strip_prefix("0x").unwrap_or(digits), bytes.as_mut_slice())
            .map_err(|_| WalletError::NotAKey)?;
        LocalWallet::from_bytes(bytes.as_slice()).map(|key| Self { key }).map_err(|_| WalletError::NotAKey)
    }

    /// The account that signs.
    #[must_use]
    pub fn address(&self) -> Address {
        Address(self.key.address().0)
    }

    /// Signs a digest, such as that of EIP-712: r, s and v in 65 bytes, s low, v 27 or 28.
    #[must_use]
    pub fn sign_digest(&self, digest: Hash) -> [u8; 65] {
        let signature =
            self.key.sign_hash(H256(digest.0)).expect("a key that passed its check signs any 32 bytes");
        <[u8; 65]>::from(signature)
    }

    pub(crate) fn sign_transaction(&self, transaction: &TypedTransaction) -> Signature {
        self.key
            .sign_transaction_sync(transaction)
            .expect("a key that passed its check signs any transaction")
    }
}

fn store(key: &LocalWallet, keystore: &Path, password_file: &Path) -> Result<(), WalletError> {
    let password = read_password(password_file)?;
    let failed = |problem| WalletError::File { what: "the key file", path: keystore.to_owned(), problem };
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // The empty file is made first, so that the key is born in a file that only we can read.
    let mut file = options.open(keystore).map_err(|problem| match problem.kind() {
        std::io::ErrorKind::AlreadyExists => WalletError::Exists(keystore.to_owned()),
        _ => failed(problem),
    })?;
    file.flush().map_err(failed)?;
    let (Some(folder), Some(name)) = (keystore.parent(), keystore.file_name().and_then(|name| name.to_str()))
    else {
        return Err(failed(std::io::Error::other("not a file name")));
    };
    let secret = Zeroizing::new(<[u8; 32]>::from(key.signer().to_bytes()));
    let mut random = ethers_core::rand::thread_rng();
    eth_keystore::encrypt_key(folder, &mut random, secret.as_slice(), password.as_bytes(), Some(name))
        .map_err(|error| failed(std::io::Error::other(error.to_string())))?;
    Ok(())
}

fn read_password(path: &Path) -> Result<Zeroizing<String>, WalletError> {
    let mut text = read(path, "the password file")?;
    let kept = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(kept);
    Ok(text)
}

fn read(path: &Path, what: &'static str) -> Result<Zeroizing<String>, WalletError> {
    let failed = |problem| WalletError::File { what, path: path.to_owned(), problem };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    if let Some(mode) = open_to_others(path).map_err(failed)? {
        tracing::warn!(path = %path.display(), mode = format!("{mode:o}"), "{what} can be read by others; set its mode to 600");
    }
    Ok(Zeroizing::new(text))
}

/// The sizes that the decryption takes for granted.
fn check_keystore(text: &str) -> Result<(), String> {
    let json: serde_json::Value = serde_json::from_str(text).map_err(|_| "it is not JSON".to_owned())?;
    if json["version"] != 3 {
        return Err("its version is not 3".to_owned());
    }
    let crypto = &json["crypto"];
    let hex_bytes = |value: &serde_json::Value| value.as_str().map_or(0, |digits| digits.len() / 2);
    if hex_bytes(&crypto["ciphertext"]) != 32 {
        return Err("crypto.ciphertext is not 32 bytes".to_owned());
    }
    if hex_bytes(&crypto["cipherparams"]["iv"]) != 16 {
        return Err("crypto.cipherparams.iv is not 16 bytes".to_owned());
    }
    if crypto["kdfparams"]["dklen"] != 32 {
        return Err("crypto.kdfparams.dklen is not 32".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with_password(password: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("password");
        std::fs::write(&file, password).expect("a file");
        (folder, file)
    }

    #[test]
    fn a_new_key_is_private_opens_again_and_is_never_overwritten() {
        let (folder, password) = folder_with_password("correct horse\n");
        let keystore = folder.path().join("key.json");
        let made = Wallet::create(&keystore, &password).expect("made");
        let opened = Wallet::open(&keystore, &password).expect("opened");
        assert_eq!(made.address(), opened.address());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&keystore).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert!(matches!(Wallet::create(&keystore, &password), Err(WalletError::Exists(_))));
    }

    #[test]
    fn a_wrong_password_and_a_wrong_file_are_told_apart() {
        let (folder, password) = folder_with_password("one");
        let keystore = folder.path().join("key.json");
        Wallet::create(&keystore, &password).expect("made");
        std::fs::write(&password, "two").expect("written");
        let error = Wallet::open(&keystore, &password).expect_err("another password");
        assert!(matches!(error, WalletError::WrongPassword { .. }), "{error}");
        for broken in ["", "{}", r#"{"version":3,"crypto":{"ciphertext":"00","cipherparams":{"iv":"00"}}}"#] {
            std::fs::write(&keystore, broken).expect("written");
            let error = Wallet::open(&keystore, &password).expect_err("no keystore");
            assert!(matches!(error, WalletError::NotAKeystore { .. }), "{error}");
        }
        let error = Wallet::open(&folder.path().join("none"), &password).expect_err("no file");
        assert!(error.to_string().contains("none"), "{error}");
    }

    #[test]
    fn neither_key_nor_password_is_in_any_debug_output_or_error() {
        let secret = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
        let password = "correct horse battery";
        let (folder, file) = folder_with_password(password);
        let keystore = folder.path().join("key.json");
        let wallet = Wallet::import(secret, &keystore, &file).expect("stored");
        let signer = crate::signer::Signer::from(&wallet);
        let mut told = vec![format!("{wallet:?} {wallet:#?} {signer:?} {signer:#?} {}", signer.place())];
        let mut refused = |error: WalletError| told.push(format!("{error} {error:?} {error:#?}"));
        refused(Wallet::import(secret, &keystore, &file).expect_err("exists"));
        refused(Wallet::from_private_key(&format!("{secret}00")).expect_err("too long"));
        refused(Wallet::from_private_key(&secret.replace('a', "x")).expect_err("no hex"));
        // A key where the keystore is meant to be, and a keystore whose password is another.
        let bare = folder.path().join("bare");
        std::fs::write(&bare, secret).expect("written");
        refused(Wallet::open(&bare, &file).expect_err("no keystore"));
        std::fs::write(&bare, format!("{{\"version\":3,\"crypto\":\"{secret}\"}}")).expect("written");
        refused(Wallet::open(&bare, &file).expect_err("no keystore"));
        std::fs::write(&file, format!("{password} staple")).expect("written");
        refused(Wallet::open(&keystore, &file).expect_err("another password"));
        for text in told {
            for part in [secret, &secret[..16], &secret[48..], &secret.to_uppercase(), password, "battery"] {
                assert!(!text.contains(part), "a secret is in: {text}");
            }
        }
    }

    #[test]
    fn debug_shows_the_address_only() {
        let secret = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
        let wallet = Wallet::from_private_key(secret).expect("a key");
        assert_eq!(format!("{wallet:?}"), "Wallet(0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266)");
        assert!(Wallet::from_private_key("00").is_err());
        assert!(Wallet::from_private_key(&"0".repeat(64)).is_err(), "zero is no key");
    }
}
