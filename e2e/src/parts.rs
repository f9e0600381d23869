//! What the starting of every part needs: the folders of this bench and the programs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::process::Process;
use crate::tools::Tools;

/// A bench that is being started, seen from inside.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// The folder of this bench.
    pub folder: PathBuf,
    /// The built parts.
    pub tools: Tools,
}

impl Parts {
    /// A folder of this bench, made if it is not there yet.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::create_dir_all(&path).with_context(|| format!("failed to make {}", path.display()))?;
        Ok(path)
    }

    /// Where the logs of all parts go.
    pub(crate) fn logs(&self) -> PathBuf {
        logs(&self.folder)
    }

    /// Writes a file of this bench and answers where it lies.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.folder.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(path)
    }

    /// A program of a part, with all parts' programs on its `PATH`.
    pub(crate) fn command(&self, part: &str, program: &str) -> Command {
        let mut command = Command::new(self.tools.program(part, program));
        command.env("PATH", search_path(&self.tools));
        command
    }

    /// Starts a part whose log goes beside the others.
    pub(crate) fn start(&self, name: &str, command: &mut Command) -> Result<Process> {
        Process::start(name, command, &self.logs())
    }
}

/// Where the logs of the bench in this folder are.
pub(crate) fn logs(folder: &Path) -> PathBuf {
    folder.join("logs")
}

/// A `PATH` with the programs of all parts before the machine's own.
pub(crate) fn search_path(tools: &Tools) -> std::ffi::OsString {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let all = tools.program_folders().chain(std::env::split_paths(&own)).chain(usual);
    std::env::join_paths(all.filter(|folder| !folder.to_string_lossy().contains(':'))).unwrap_or(own)
}
