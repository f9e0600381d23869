//! The keys of a bench: made at random for each, kept in keystore files as real ones are, and gone with the bench.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use manifests::order::Address;
use market::wallet::Wallet;

/// A key that somebody of the bench holds.
#[derive(Clone, Debug)]
pub struct Account {
    /// Whose it is: `operator`, `tenant-a`.
    pub name: String,
    /// The account on chain.
    pub address: Address,
    /// The encrypted key.
    pub keystore: PathBuf,
    /// The file with the keystore's password.
    pub password_file: PathBuf,
}

impl Account {
    /// Makes a key and stores it in `folder`.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn create(folder: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
        let password_file = folder.join(format!("{name}.password"));
        let password: [u8; 16] = rand::random();
        let mut options = fs::File::options();
        let file = options.write(true).create_new(true).mode(0o600).open(&password_file);
        let written =
            file.and_then(|mut file| std::io::Write::write_all(&mut file, hex::encode(password).as_bytes()));
        written.with_context(|| format!("failed to write {}", password_file.display()))?;
        let keystore = folder.join(format!("{name}.json"));
        let wallet = Wallet::create(&keystore, &password_file)
            .with_context(|| format!("failed to make the key of {name}"))?;
        Ok(Self { name: name.to_owned(), address: wallet.address(), keystore, password_file })
    }

    /// Opens the key.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub fn wallet(&self) -> Result<Wallet> {
        Wallet::open(&self.keystore, &self.password_file)
            .with_context(|| format!("failed to open the key of {}", self.name))
    }
}
