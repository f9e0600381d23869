//! A part of the bench that runs: a child process with a log file, which ends when it is dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use tokio::process::{Child, Command};

use crate::wait::Hopeless;

/// A running part.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; what it writes goes to `<name>.log` in `logs`, behind what an earlier one of that name wrote.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(name: &str, command: &mut Command, logs: &Path) -> Result<Self> {
        let path = logs.join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("failed to open {}", path.display()))?;
        let errors = log.try_clone().context("failed to open the log twice")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start {name} ({:?})", command.as_std().get_program()))?;
        Ok(Self { name: name.to_owned(), child, log: path })
    }

    /// What the part is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The part's process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// An error if the part has ended, with its last words.
    ///
    /// # Errors
    /// When it has ended: then nothing that needs it is worth waiting for.
    pub fn still_runs(&mut self) -> Result<()> {
        match self.child.try_wait().with_context(|| format!("failed to look after {}", self.name))? {
            None => Ok(()),
            Some(status) => Err(Hopeless(self.obituary(&status.to_string())).into()),
        }
    }

    /// Waits until the part ends by itself; answers what is to be said about it.
    pub async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => self.obituary(&status.to_string()),
            Err(error) => format!("{} cannot be watched any more: {error}", self.name),
        }
    }

    /// Waits until the part ends and answers how.
    ///
    /// # Errors
    /// When the operating system does not tell.
    pub async fn wait(&mut self) -> Result<std::process::ExitStatus> {
        self.child.wait().await.with_context(|| format!("failed to wait for {}", self.name))
    }

    /// Ends the part at once, as a power cut would, and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("failed to kill {}", self.name))
    }

    /// What the part has written so far.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(&self.log).with_context(|| format!("failed to read {}", self.log.display()))
    }

    fn obituary(&self, status: &str) -> String {
        format!("{} ended ({status}); its last words:\n{}", self.name, last_lines(&self.log, 15))
    }
}

/// The last lines of a log file, or why they cannot be had.
#[must_use]
pub fn last_lines(log: &Path, count: usize) -> String {
    match fs::read(log) {
        Ok(text) => {
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(count)..].join("\n")
        }
        Err(error) => format!("({}: {error})", log.display()),
    }
}
