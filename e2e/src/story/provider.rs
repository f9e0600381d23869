//! A provider of the story: registered on the chain, its daemon and agent running as processes that can be killed.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use manifests::order::{Address, OrderId};
use tokio::process::Command;

use super::world::World;
use crate::access::Access;
use crate::accounts::Account;
use crate::addresses::NODE_NAME;
use crate::deployment::ADDRESSES;
use crate::ingress::WayIn;
use crate::process::Process;
use crate::volumes::STORAGE_CLASS;
use crate::{kubectl, wait, workspace};

/// What every provider of a story asks, in dollars a month.
pub(super) const PRICES: &str = r#"
pricing:
  cpuThread: "1.60"
  memoryGiB: "0.80"
  ephemeralGiB: "0.02"
  endpoint: "0.05"
  storageGiB: {ram: "0.80", default: "0.04"}
  ip: "5.00"
  gpu:
    - {model: h100, ram: 80Gi, interface: sxm, monthly: "1980"}
  minimumMonthly: "1.00"
"#;

/// A registered provider.
pub struct Provider {
    /// The address under which it is registered.
    pub address: Address,
    /// Where its money goes.
    pub payout: Address,
    /// The domain of hosts that it makes up.
    pub domain: String,
    /// The namespace of its agents' records.
    pub namespace: String,
    folder: PathBuf,
    config: PathBuf,
    access: Access,
    /// Says where the binaries are that it runs.
    binaries: fn() -> Result<PathBuf>,
}

impl Provider {
    pub(super) async fn settle(world: &World) -> Result<Self> {
        let provider = Self {
            address: world.accounts.owner.address,
            payout: world.accounts.payout.address,
            domain: format!("{}.berth.test", world.name()),
            namespace: format!("berth-{}", world.name()),
            config: world.folder.join("provider.yaml"),
            access: world.access.clone(),
            folder: world.folder.clone(),
            binaries: workspace::binaries,
        };
        write_private(&provider.config, &provider.settings(world))?;
        let namespace =
            format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {}}}}}", provider.namespace);
        kubectl::apply(&namespace).await?;
        Ok(provider)
    }

    fn settings(&self, world: &World) -> String {
        let folder = self.folder.display();
        let WayIn { namespace: way_in_namespace, name: way_in, sources, .. } = &self.access.way_in;
        let Account { keystore, password_file, .. } = &world.accounts.operator;
        // A cluster that somebody lent has classes of its own.
        let storage = match self.access.is_a_bench() {
            true => format!("  storageClasses: {{default: {{name: {STORAGE_CLASS}, limit: 1Gi}}}}\n"),
            false => String::new(),
        };
        format!(
            r#"
chain:
  rpc: "{rpc}"
  addresses: {folder}/{ADDRESSES}
  pollInterval: 50ms
wallet:
  keystore: {keystore}
  passwordFile: {password_file}
provider: "{provider}"
database: sqlite://{folder}/provider.db
dataKeyFile: {folder}/data.key
cluster:
  kubeconfig: {kubeconfig}
  namespace: {namespace}
{storage}ingress:
  domain: {domain}
  gateway: {{name: {way_in}, namespace: {way_in_namespace}}}
  sources: {sources:?}
gateway:
  listen: "{gateway}"
  publicUri: "{uri}"
  tlsDir: {folder}/tls
metrics:
  listen: "{metrics}"
escrow:
  withdrawEvery: 5s
  checkInterval: 1s
manifestTimeout: 60s
{PRICES}"#,
            rpc = self.access.rpc,
            keystore = keystore.display(),
            password_file = password_file.display(),
            provider = self.address,
            kubeconfig = self.access.kubeconfig.display(),
            namespace = self.namespace,
            domain = self.domain,
            gateway = self.access.gateway,
            metrics = self.access.metrics,
            uri = self.access.gateway_uri(),
        )
    }

    /// The same, run by the binaries as they are shipped, which [`workspace::build_optimised`] builds.
    #[must_use]
    pub fn optimised(self) -> Self {
        Self { binaries: workspace::optimised, ..self }
    }

    /// Starts the daemon and waits until it says that it is ready.
    ///
    /// # Errors
    /// When it ends before, with its last words.
    pub async fn run(&self) -> Result<Process> {
        self.run_with(&[]).await
    }

    /// Starts the daemon with more variables in its environment and waits until it is ready.
    ///
    /// # Errors
    /// When it ends before, with its last words.
    pub async fn run_with(&self, environment: &[(&str, &str)]) -> Result<Process> {
        let mut process = self.launch(environment)?;
        self.wait_until_ready(&mut process).await?;
        Ok(process)
    }

    /// Starts the daemon and does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch(&self, environment: &[(&str, &str)]) -> Result<Process> {
        let mut command = self.command(&["run"])?;
        command.envs(environment.iter().copied());
        Process::start("provider", &mut command, &self.folder)
    }

    /// Waits until the gateway answers.
    ///
    /// # Errors
    /// When the daemon ends, or takes longer than a minute.
    pub async fn wait_until_ready(&self, process: &mut Process) -> Result<()> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?;
        let url = format!("http://{}/healthz", self.access.metrics);
        wait::until("the provider to be ready", Duration::from_secs(60), async || {
            process.still_runs()?;
            let answer = client.get(&url).send().await.context("it does not answer yet")?;
            ensure!(answer.status().is_success(), "it answers {}", answer.status());
            Ok(())
        })
        .await
    }

    /// Starts the agent of the bench's node. It reads the bench's GPUs through the fake NVML, as everywhere through NVML.
    ///
    /// # Errors
    /// When it cannot be started, or the node is not the bench's own.
    pub fn agent(&self) -> Result<Process> {
        self.agent_with(&["--period", "1"])
    }

    /// The same with its period and more for the agent to know.
    ///
    /// # Errors
    /// As [`Provider::agent`].
    pub fn agent_with(&self, arguments: &[&str]) -> Result<Process> {
        let script =
            self.access.gpu_script.as_ref().context("an agent runs on its node, and this is none")?;
        let mut command = self.command(&["agent", "--node", NODE_NAME, "--namespace", &self.namespace])?;
        command.args(arguments).arg("--nvml").arg((self.binaries)()?.join("libfake_nvml.so"));
        command.env("FAKE_NVML_SCRIPT", script);
        Process::start("agent", &mut command, &self.folder)
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// What `berth-provider explain` says about an order.
    ///
    /// # Errors
    /// When it ends with an error.
    pub async fn explain(&self, order: OrderId) -> Result<String> {
        let output = self.command(&["explain", &order.to_string()])?.output().await?;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "berth-provider explain ended with {}: {words}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A command of the operator's, with this provider's configuration.
    ///
    /// # Errors
    /// When the program cannot be found.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new((self.binaries)()?.join("berth-provider"));
        command.arg("--config").arg(&self.config).args(arguments).env("KUBECONFIG", &self.access.kubeconfig);
        Ok(command)
    }

    /// All metrics, as Prometheus would read them.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub async fn metrics(&self) -> Result<String> {
        let answer =
            reqwest::get(format!("http://{}/metrics", self.access.metrics)).await.context("no metrics")?;
        Ok(answer.text().await?)
    }
}

/// Writes a file that only its owner can read.
fn write_private(path: &Path, text: &str) -> Result<()> {
    let file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("failed to write {}", path.display()))
}
