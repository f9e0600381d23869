//! What this machine remembers of its deployments: names and numbers, written before anything is sent.
//!
//! The chain is the truth; this file only says which of its accounts a name means and what was meant by it. It holds no
//! secret: neither the manifest nor a key. One file for each context, replaced whole, under a lock.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use manifests::money::{Amount, Rate};
use manifests::order::{AccountId, Address, Hash, OrderId};
use serde::{Deserialize, Serialize};

/// One deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// Whose.
    pub(crate) tenant: Address,
    /// Its number on chain.
    pub(crate) dseq: u64,
    /// Digest of the manifest that was meant.
    pub(crate) manifest_hash: Hash,
    /// What was to be put into escrow.
    pub(crate) deposit: Amount,
    /// The chain's height when it began: its events are from here on.
    pub(crate) first_block: u64,
    /// Its groups, in the order of their numbers from 1.
    pub(crate) groups: Vec<GroupRecord>,
}

/// One group of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupRecord {
    /// The placement's name.
    pub(crate) name: String,
    /// The most that is paid for it.
    pub(crate) max_rate: Rate,
}

impl Record {
    pub(crate) fn account(&self) -> AccountId {
        AccountId { tenant: self.tenant, dseq: self.dseq }
    }

    /// The orders of its groups.
    pub(crate) fn orders(&self) -> Vec<OrderId> {
        let account = self.account();
        (1..).zip(&self.groups).map(|(gseq, _)| account.order(gseq, 1)).collect()
    }
}

/// All deployments of a context, by name.
pub(crate) type Deployments = BTreeMap<String, Record>;

/// The file of one context.
#[derive(Debug, Clone)]
pub(crate) struct State {
    path: PathBuf,
}

impl State {
    pub(crate) fn of_context(context: &str) -> anyhow::Result<Self> {
        Ok(Self { path: folder()?.join(format!("{context}.json")) })
    }

    pub(crate) fn read(&self) -> anyhow::Result<Deployments> {
        match std::fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
                format!("{} cannot be read; move it away to start anew", self.path.display())
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Deployments::new()),
            Err(error) => Err(error).with_context(|| format!("failed to read {}", self.path.display())),
        }
    }

    /// Changes the file while nobody else does. It is on disk when this returns.
    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut Deployments) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let _lock = lock(&self.path.with_extension("lock"))?;
        let mut deployments = self.read()?;
        let value = change(&mut deployments)?;
        let bytes = serde_json::to_vec_pretty(&deployments).context("failed to write the state as JSON")?;
        write_atomically(&self.path, &bytes)?;
        Ok(value)
    }
}

/// Where state of this program is kept.
pub(crate) fn folder() -> anyhow::Result<PathBuf> {
    Ok(in_home("XDG_STATE_HOME", ".local/state")?.join("berth"))
}

/// The folder that `variable` names, or this one in the user's home.
pub(crate) fn in_home(variable: &str, otherwise: &str) -> anyhow::Result<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    named
        .or_else(|| std::env::home_dir().map(|home| home.join(otherwise)))
        .ok_or_else(|| anyhow!("there is no home folder: set {variable}"))
}

/// Holds the lock file until it is dropped; waits for whoever holds it.
pub(crate) fn lock(path: &Path) -> anyhow::Result<File> {
    let failed = || format!("failed to lock {}", path.display());
    make_folder_of(path)?;
    let file = File::options().create(true).truncate(false).write(true).open(path).with_context(failed)?;
    file.lock().with_context(failed)?;
    Ok(file)
}

/// Replaces a file so that it is there whole, or as it was.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let failed = || format!("failed to write {}", path.display());
    make_folder_of(path)?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    let mut options = File::options();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft).with_context(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(failed)?;
    std::fs::rename(&draft, path).with_context(failed)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(failed)
}

fn make_folder_of(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("failed to make the folder {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_kept_and_a_failed_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = State { path: folder.path().join("deep/er/main.json") };
        assert_eq!(state.read().expect("empty"), Deployments::new());
        let record = Record {
            tenant: Address([1; 20]),
            dseq: 5,
            manifest_hash: Hash([2; 32]),
            deposit: Amount(3),
            first_block: 4,
            groups: vec![GroupRecord { name: "a".to_owned(), max_rate: Rate::MAX }],
        };
        let kept = record.clone();
        state.change(|all| Ok(all.insert("web".to_owned(), kept))).expect("written");
        let failed: anyhow::Result<()> = state.change(|all| {
            all.clear();
            anyhow::bail!("no")
        });
        failed.expect_err("refused");
        assert_eq!(state.read().expect("read").get("web"), Some(&record));
        assert_eq!(record.orders(), [record.account().order(1, 1)]);
        std::fs::write(&state.path, "{").expect("broken");
        assert!(state.read().expect_err("broken").to_string().contains("main.json"));
    }
}
