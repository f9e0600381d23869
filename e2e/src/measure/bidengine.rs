//! How long a decision takes, beside first fit, and how many orders each finds no place for; and how soon it is known what is
//! free after something changed in the cluster.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::chain::program;
use crate::report::table;
use crate::workspace;

/// Measures with the crates' own programs, and tells the tables on standard output.
///
/// # Errors
/// When a measuring program cannot be built, or fails.
pub fn bidengine() -> Result<()> {
    let mut cargo = workspace::cargo()?;
    cargo.args(["bench", "--quiet", "--package", "bidengine", "--bench", "decide", "--", "--quiet"]);
    let status = cargo.status().context("failed to start cargo")?;
    ensure!(status.success(), "measuring the bid engine broke off ({status}): see the words above");
    capacity()
}

fn capacity() -> Result<()> {
    let output = std::process::Command::new(program("capacity")?).output();
    let output = output.context("failed to start the measuring program")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value =
        serde_json::from_slice(&output.stdout).context("the measuring program tells no JSON")?;
    let milliseconds = |name: &str| -> Result<String> {
        let micros = told[name].as_f64().with_context(|| format!("no {name} is told"))?;
        Ok(format!("{:.1} ms", micros / 1e3))
    };
    let row = [
        "pod_to_capacity".to_owned(),
        milliseconds("median_us")?,
        milliseconds("p99_us")?,
        "5.0 ms".to_owned(),
        "an event of a pod → what is free on 1,000 nodes with 10,000 pods and 1,000 promises".to_owned(),
    ];
    table(["measure", "p50", "p99", "target of p50", "from → to"], &[row]);
    Ok(())
}
