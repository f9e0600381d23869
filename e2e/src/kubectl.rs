//! The cluster as its operator sees it, through `kubectl`.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs `kubectl` with these arguments and answers what it wrote.
///
/// # Errors
/// When it fails; the error holds its words.
pub async fn run(arguments: &[&str]) -> Result<String> {
    with_input(arguments, "").await
}

/// Applies objects written as YAML.
///
/// # Errors
/// As [`run`].
pub async fn apply(yaml: &str) -> Result<()> {
    with_input(&["apply", "--server-side", "--filename", "-"], yaml).await.map(drop)
}

async fn with_input(arguments: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new("kubectl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("failed to start kubectl")?;
    let mut stdin = child.stdin.take().expect("the input was asked for");
    stdin.write_all(input.as_bytes()).await.context("kubectl does not read its input")?;
    drop(stdin);
    let output = child.wait_with_output().await.context("failed to wait for kubectl")?;
    let (said, words) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "kubectl {} failed: {}\n{said}", arguments.join(" "), words.trim());
    Ok(said.into_owned())
}
