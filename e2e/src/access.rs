//! How to reach a running bench: written by the bench once it is up, read by shells, stories and daemons inside it.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::ingress::WayIn;
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
    /// How pages of tenants are reached.
    pub way_in: WayIn,
    /// Where a provider's gateway listens.
    pub gateway: SocketAddr,
    /// Where a provider's metrics are.
    pub metrics: SocketAddr,
    /// The script that the fake NVML and the device plugin read, where the node is the bench's own.
    pub gpu_script: Option<PathBuf>,
    /// Who trades on the bench as long as it is up, if anybody does.
    pub market: Option<OpenMarket>,
}

/// A provider that runs and a tenant with money, for people who look around.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenMarket {
    /// The provider's settings.
    pub provider_config: PathBuf,
    /// The folder below which `berth` finds the tenant's context.
    pub tenant_config: PathBuf,
    /// The folder in which `berth` remembers.
    pub tenant_state: PathBuf,
}

impl Access {
    /// Where tenants reach a provider's gateway.
    #[must_use]
    pub fn gateway_uri(&self) -> String {
        format!("https://{}", self.gateway)
    }

    /// Whether cluster and chain are the bench's own, and not those of somebody who lent them.
    #[must_use]
    pub fn is_a_bench(&self) -> bool {
        self.gpu_script.is_some()
    }

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
    pub(crate) fn write(&self, tools: Option<&Tools>) -> Result<()> {
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

    /// The variables with which `kubectl`, `cast`, `berth` and `berth-provider` find the bench. Without tools the programs
    /// of the parts are the machine's own.
    ///
    /// # Errors
    /// When the operating system does not say where this program lies.
    pub fn environment(&self, tools: Option<&Tools>) -> Result<BTreeMap<&'static str, String>> {
        let mut path = workspace::binaries()?.into_os_string();
        path.push(":");
        path.push(match tools {
            Some(tools) => parts::search_path(tools),
            None => std::env::var_os("PATH").unwrap_or_default(),
        });
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut variables = BTreeMap::from([
            (FOLDER_VARIABLE, text(&self.folder)),
            ("KUBECONFIG", text(&self.kubeconfig)),
            ("ETH_RPC_URL", self.rpc.clone()),
            ("PATH", path.to_string_lossy().into_owned()),
        ]);
        if let Some(market) = &self.market {
            variables.extend([
                ("BERTH_CONFIG", text(&market.provider_config)),
                ("XDG_CONFIG_HOME", text(&market.tenant_config)),
                ("XDG_STATE_HOME", text(&market.tenant_state)),
            ]);
        }
        Ok(variables)
    }
}

/// A reader sees the old text or the new one, never half of it.
fn write(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, path));
    written.with_context(|| format!("failed to write {}", path.display()))
}
