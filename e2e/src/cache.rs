//! Where the bench keeps what outlives a run: built parts, and the folders of running benches.
//!
//! Everything lies below one folder outside the checkout, so that removing it removes all of it.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The folder `${XDG_CACHE_HOME:-~/.cache}/berth`.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Finds the cache folder and makes it if it is not there yet.
    ///
    /// # Errors
    /// When neither `XDG_CACHE_HOME` nor `HOME` is an absolute path, or the folder cannot be made.
    pub fn open() -> Result<Self> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let base = match (absolute("XDG_CACHE_HOME"), absolute("HOME")) {
            (Some(cache), _) => cache,
            (None, Some(home)) => home.join(".cache"),
            (None, None) => bail!("there is no cache folder: set HOME or XDG_CACHE_HOME to an absolute path"),
        };
        let root = base.join("berth");
        fs::create_dir_all(&root)
            .with_context(|| format!("failed to make the cache folder {}", root.display()))?;
        Ok(Self { root })
    }

    /// Where the built parts lie, one folder a part and version.
    #[must_use]
    pub fn tools(&self) -> PathBuf {
        self.root.join("tools")
    }

    /// Where running benches keep their state, one folder a bench.
    #[must_use]
    pub fn benches(&self) -> PathBuf {
        self.root.join("benches")
    }

    /// Waits for the lock of this name and holds it until the returned file is dropped. `waiting` is called once if
    /// somebody else holds it.
    ///
    /// # Errors
    /// When the lock file cannot be made or locked.
    pub fn lock(&self, name: &str, waiting: impl FnOnce()) -> Result<File> {
        let path = self.root.join(format!("{name}.lock"));
        let file = File::create(&path).with_context(|| format!("failed to make {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => waiting(),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("failed to lock {}", path.display()));
            }
        }
        file.lock().with_context(|| format!("failed to lock {}", path.display()))?;
        Ok(file)
    }
}

/// Bytes that an ordinary write can still take on the file system that holds `path`.
///
/// # Errors
/// When the file system does not answer.
pub fn free_bytes(path: &Path) -> Result<u64> {
    let stat = nix::sys::statvfs::statvfs(path)
        .with_context(|| format!("failed to ask how much room is left at {}", path.display()))?;
    Ok(stat.blocks_available() * stat.fragment_size())
}
