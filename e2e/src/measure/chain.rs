//! What the daemon's side of the chain does in a second, each figure beside a floor of the same run.

mod reading;
mod sending;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use market::Chain;
use market::deploy::{Plan, deploy};
use market::wallet::Wallet;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::chain::{Anvil, CHAIN_ID};
use crate::process::Process;
use crate::progress::say;
use crate::report::table;
use crate::tools::Tools;
use crate::{wait, workspace};

/// A figure beside its floor.
struct Row {
    name: &'static str,
    /// What it came to.
    figure: String,
    /// What it should come to.
    target: &'static str,
    /// What came of the least that could be done in its place.
    floor: String,
    /// The figure in parts of the floor, for figures that grow with what is good.
    ratio: f64,
    /// What was done, and what the floor does.
    what: &'static str,
}

/// Measures all of it and tells the table.
///
/// # Errors
/// When a part does not start, or something is refused that should not be.
pub async fn chain(tools: &Tools) -> Result<()> {
    let mut rows = Vec::new();
    rows.extend(sending::rows(tools).await.context("measuring the sender broke off")?);
    rows.extend(reading::rows(tools).await.context("measuring the reader broke off")?);
    let cells = rows.iter().map(|row| {
        let Row { name, figure, target, floor, ratio, what } = row;
        [
            (*name).to_owned(),
            figure.clone(),
            (*target).to_owned(),
            floor.clone(),
            format!("{ratio:.2}"),
            (*what).to_owned(),
        ]
    });
    let cells: Vec<[String; 6]> = cells.collect();
    table(["measure", "figure", "target", "floor", "of the floor", "what, and what the floor does"], &cells);
    Ok(())
}

/// A chain of its own with a market on it, mining at once.
struct Ground {
    anvil: Anvil,
    chain: Chain,
    folder: TempDir,
    _process: Process,
}

impl Ground {
    async fn lay(tools: &Tools) -> Result<Self> {
        let folder = TempDir::with_prefix("berth-measure-").context("failed to make a folder")?;
        let port = free_port()?;
        let mut command = Command::new(tools.program("foundry", "anvil"));
        command.args([
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--chain-id",
            &CHAIN_ID.to_string(),
        ]);
        command.args([
            "--accounts",
            "1",
            "--balance",
            "0",
            "--mnemonic-random",
            "12",
            "--slots-in-an-epoch",
            "1",
        ]);
        command.env("HOME", folder.path());
        let mut process = Process::start("anvil", &mut command, folder.path())?;
        let anvil = Anvil::at(&format!("http://127.0.0.1:{port}"));
        wait::until("the chain to answer", Duration::from_secs(30), async || {
            process.still_runs()?;
            anvil.call("eth_chainId", json!([])).await
        })
        .await?;
        let (deployer, key) = (wallet(folder.path(), "deployer")?, wallet(folder.path(), "key")?);
        for address in [deployer.address(), key.address()] {
            anvil.fund(&address.to_string(), 1_000_000).await?;
        }
        let book = deploy(anvil.url(), CHAIN_ID, &deployer, Plan::for_tests(deployer.address())).await?;
        let chain = book.connect(anvil.url()).await?;
        Ok(Self { anvil, chain, folder, _process: process })
    }
}

fn wallet(folder: &Path, name: &str) -> Result<Wallet> {
    crate::accounts::Account::create(folder, name)?.wallet()
}

/// A port that nobody listens on now.
fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("loopback has no port left")?;
    Ok(listener.local_addr()?.port())
}

/// A measuring program, built as the daemon is for use.
pub(super) fn program(bench: &str) -> Result<PathBuf> {
    say(format_args!("building {bench}, optimised …"));
    let mut cargo = workspace::cargo()?;
    cargo.args(["bench", "--quiet", "--package", "provider", "--bench", bench, "--no-run"]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    let output = cargo.output().context("failed to start cargo")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let program = messages.find(|message| message["target"]["name"] == bench);
    let program = program.and_then(|message| message["executable"].as_str().map(PathBuf::from));
    program.with_context(|| format!("cargo names no program for the bench called {bench}"))
}
