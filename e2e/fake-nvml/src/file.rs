//! The script's file, read again whenever it changes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::script::Script;

/// A script and the file it comes from. A file that cannot be read or understood leaves the last good script in force and
/// says so on standard error, once for each change of the file.
#[derive(Debug)]
pub struct ScriptFile {
    path: PathBuf,
    /// What the file looked like; the outer `None` before the first look, the inner one when it was not there.
    seen: Option<Option<Stamp>>,
    script: Option<Script>,
}

/// What changes when a file is written or replaced.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stamp {
    inode: u64,
    length: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl ScriptFile {
    /// A file that was not looked at yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, seen: None, script: None }
    }

    /// The last good script, as of the last refresh.
    #[must_use]
    pub fn script(&self) -> Option<&Script> {
        self.script.as_ref()
    }

    /// Reads the file again when it changed; whether there is a new script.
    pub fn refresh(&mut self) -> bool {
        let seen = Some(Stamp::of(&self.path));
        if seen == self.seen {
            return false;
        }
        self.seen = seen;
        let text = fs::read_to_string(&self.path).map_err(|error| error.to_string());
        match text.and_then(|text| Script::parse(&text)) {
            Ok(script) => {
                self.script = Some(script);
                true
            }
            Err(error) => {
                let then =
                    if self.script.is_some() { "the last good script holds" } else { "there is no machine" };
                eprintln!("fake NVML: cannot use {}: {error}; {then}", self.path.display());
                false
            }
        }
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            inode: metadata.ino(),
            length: metadata.len(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
        })
    }
}
