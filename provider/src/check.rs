//! Preflight: tries what `run` needs, one line each.

use std::process::ExitCode;

use crate::config::Config;

/// Tries everything and prints a line each.
///
/// # Errors
/// None of what is tried is an error; it is a line and a failing exit code.
pub async fn check(_config: &Config) -> anyhow::Result<ExitCode> {
    anyhow::bail!("this build cannot check anything yet")
}
