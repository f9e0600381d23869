//! Parts that are crates with a program.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::part::Part;
use super::stream;
use crate::progress::Progress;

/// Builds the program of the crate that the part is named after.
pub(super) fn install(part: &Part, into: &Path, progress: &Progress) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["install", "--locked", "--no-track", "--version", &part.version, "--root"])
        .arg(into)
        .arg("--target-dir")
        .arg(into.join("target"))
        .arg(part.name)
        // A wrapper or a target of the checkout is none of this build's business.
        .env_remove("CARGO_TARGET_DIR")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    stream::run("compile it", &mut cargo, |line| progress.note(line.trim()))?;
    std::fs::remove_dir_all(into.join("target"))?;
    Ok(())
}
