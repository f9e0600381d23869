//! A tenant: a key, some money, and `berth`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use manifests::order::LeaseId;
use market::api::LeaseStatus;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::world::World;
use crate::accounts::Account;
use crate::deployment::ADDRESSES;
use crate::workspace;

/// The exit code of `berth up` when nobody bids.
pub const NO_BIDS: i32 = 4;

/// Somebody with an application to run.
pub struct Tenant {
    /// Its key and its address on the chain.
    pub account: Account,
    /// Where `berth` keeps its settings and its memory.
    pub home: PathBuf,
}

/// How a run of `berth` ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// The exit code.
    pub code: i32,
    /// The result, from standard output.
    pub result: String,
    /// What it told meanwhile, from standard error.
    pub telling: String,
}

impl Said {
    /// The result, if the run ended well.
    ///
    /// # Errors
    /// When it did not, with all that was said.
    pub fn well(self) -> Result<String> {
        ensure!(self.code == 0, "berth ended with {}:\n{}{}", self.code, self.telling, self.result);
        Ok(self.result)
    }
}

impl Tenant {
    pub(super) async fn settle(world: &World, account: &Account) -> Result<Self> {
        let home = world.folder.join(&account.name);
        let tenant = Self { account: account.clone(), home };
        let mut add = tenant.command(&["context", "add", "bench", "--rpc", &world.access.rpc])?;
        add.arg("--addresses")
            .arg(world.folder.join(ADDRESSES))
            .arg("--keystore")
            .arg(&tenant.account.keystore)
            .arg("--password-file")
            .arg(&tenant.account.password_file);
        say_of(add).await?.well().context("failed to set up the tenant's context")?;
        Ok(tenant)
    }

    /// Runs `berth` to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn berth(&self, arguments: &[&str]) -> Result<Said> {
        say_of(self.command(arguments)?).await
    }

    /// Starts `berth up` for a document and does not wait, so that it can be interrupted.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, arguments: &[&str]) -> Result<Child> {
        let mut command = self.command(arguments)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().context("failed to start berth")
    }

    /// Brings a document up under a name and waits until it is ready.
    ///
    /// # Errors
    /// When the file's name is no text, or `berth` cannot be started.
    pub async fn up(&self, document: &Path, name: &str, more: &[&str]) -> Result<Said> {
        let document = document.to_str().context("the document's path is no text")?;
        let mut arguments = vec!["up", document, "--name", name, "--yes"];
        arguments.extend(more);
        self.berth(&arguments).await
    }

    /// As [`Tenant::up`], with every line that `berth` tells handed on as it comes.
    ///
    /// # Errors
    /// As [`Tenant::up`].
    pub async fn up_telling(
        &self,
        document: &Path,
        name: &str,
        more: &[&str],
        mut hear: impl FnMut(&str),
    ) -> Result<Said> {
        let document = document.to_str().context("the document's path is no text")?;
        let mut arguments = vec!["up", document, "--name", name, "--yes"];
        arguments.extend(more);
        let mut child = self.start(&arguments)?;
        let errors = child.stderr.take().context("berth has no standard error")?;
        let mut lines = BufReader::new(errors).lines();
        let mut telling = String::new();
        while let Some(line) = lines.next_line().await.context("failed to listen to berth")? {
            hear(&line);
            telling.push_str(&line);
            telling.push('\n');
        }
        let output = child.wait_with_output().await.context("failed to wait for berth")?;
        let result = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(Said { code: output.status.code().unwrap_or(-1), result, telling })
    }

    /// The lease of a name.
    ///
    /// # Errors
    /// When it has none.
    pub async fn lease(&self, name: &str) -> Result<LeaseId> {
        let answer = self.status_json(name).await?;
        let id = answer["groups"][0]["lease"]
            .as_str()
            .with_context(|| format!("{name} has no lease: {answer}"))?;
        Ok(id.parse()?)
    }

    /// How the lease of a name stands, as its provider tells.
    ///
    /// # Errors
    /// When `berth status` ends with an error or tells of no lease.
    pub async fn status(&self, name: &str) -> Result<LeaseStatus> {
        let answer = self.status_json(name).await?;
        serde_json::from_value(answer["groups"][0]["status"].clone())
            .with_context(|| format!("the provider tells nothing of {name}: {answer}"))
    }

    /// `berth status --output json`.
    ///
    /// # Errors
    /// When it ends with an error.
    pub async fn status_json(&self, name: &str) -> Result<Value> {
        let text = self.berth(&["status", name, "--output", "json"]).await?.well()?;
        serde_json::from_str(&text).context("berth status writes no JSON")
    }

    /// The folder below which `berth` finds its context.
    #[must_use]
    pub fn config_home(&self) -> PathBuf {
        self.home.join("config")
    }

    /// The folder in which `berth` remembers.
    #[must_use]
    pub fn state_home(&self) -> PathBuf {
        self.home.join("state")
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(workspace::binaries()?.join("berth"));
        command
            .args(arguments)
            .env("XDG_CONFIG_HOME", self.config_home())
            .env("XDG_STATE_HOME", self.state_home())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        Ok(command)
    }
}

async fn say_of(mut command: Command) -> Result<Said> {
    let output = command.output().await.context("failed to start berth")?;
    Ok(Said {
        code: output.status.code().unwrap_or(-1),
        result: String::from_utf8_lossy(&output.stdout).into_owned(),
        telling: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
