//! How to reach a running bench: written by the bench once it is up, read by shells, stories and daemons inside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::deployment::{Accounts, Addresses};
use crate::parts;
use crate::tools::Tools;
use crate::workspace;

/// The variable that names the folder of the bench a program runs in.
const FOLDER_VARIABLE: &str = "BERTH_BENCH";
const ACCESS_FILE: &str = "access.json";
const ENVIRONMENT_FILE: &str = "env";

/// Everything that a program inside a bench needs to know about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Access {
    /// The folder of the bench.
    pub folder: PathBuf,
    /// The kubeconfig of the cluster's master.
    pub kubeconfig: PathBuf,
    /// The address of the chain node.
    pub rpc: String,
    /// The chain's id.
    pub chain_id: u64,
    /// The contracts on it.
    pub contracts: Addresses,
    /// The keys of those who take part.
    pub accounts: Accounts,
    /// The folder with the key of the provider's gateway, whose hash is registered.
    pub gateway_key: PathBuf,
    /// The script that the fake NVML and the device plugin read.
    pub gpu_script: PathBuf,
}

impl Access {
    /// The bench that this program runs in.
    ///
    /// # Errors
    /// When it runs in none.
    pub fn here() -> Result<Self> {
        let folder = std::env::var_os(FOLDER_VARIABLE).map(PathBuf::from);
        let folder =
            folder.context("this runs in no bench: `cargo e2e test` and `cargo e2e shell` make one")?;
        Self::of(&folder)
    }

    /// The bench in this folder.
    ///
    /// # Errors
    /// When it has not told yet how to reach it.
    pub fn of(folder: &Path) -> Result<Self> {
        let path = folder.join(ACCESS_FILE);
        let text = fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("failed to understand {}", path.display()))
    }

    /// Writes down how to reach the bench, for programs and, as shell lines, for people.
    pub(crate) fn write(&self, tools: &Tools) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("failed to write how to reach the bench")?;
        write(&self.folder.join(ACCESS_FILE), &text)?;
        let lines = self.environment(tools)?.into_iter().map(|(name, value)| {
            let value = value.replace('\'', "'\\''");
            format!("export {name}='{value}'\n")
        });
        write(&self.folder.join(ENVIRONMENT_FILE), &lines.collect::<String>())
    }

    /// The file with shell lines.
    #[must_use]
    pub fn environment_file(&self) -> PathBuf {
        self.folder.join(ENVIRONMENT_FILE)
    }

    /// The variables with which `kubectl`, `cast`, `berth` and `berth-provider` find the bench.
    ///
    /// # Errors
    /// When the operating system does not say where this program lies.
    pub fn environment(&self, tools: &Tools) -> Result<BTreeMap<&'static str, String>> {
        let mut path = workspace::binaries()?.into_os_string();
        path.push(":");
        path.push(parts::search_path(tools));
        let text = |path: &Path| path.to_string_lossy().into_owned();
        Ok(BTreeMap::from([
            (FOLDER_VARIABLE, text(&self.folder)),
            ("KUBECONFIG", text(&self.kubeconfig)),
            ("ETH_RPC_URL", self.rpc.clone()),
            ("PATH", path.to_string_lossy().into_owned()),
        ]))
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}
