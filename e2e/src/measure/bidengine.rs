//! How long a decision takes, beside first fit, and how many orders each finds no place for.

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// Measures with the crate's own program, which tells the tables on standard output.
///
/// # Errors
/// When the measuring program cannot be built, or fails.
pub fn bidengine() -> Result<()> {
    let mut cargo = workspace::cargo()?;
    cargo.args(["bench", "--quiet", "--package", "bidengine", "--bench", "decide", "--", "--quiet"]);
    let status = cargo.status().context("failed to start cargo")?;
    ensure!(status.success(), "measuring the bid engine broke off ({status}): see the words above");
    Ok(())
}
