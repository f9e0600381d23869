//! The checkout that this program was built from, and the product's binaries built from it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The top folder of the checkout.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies one folder below the top of the checkout")
}

/// The folder that holds this program, and so the product's binaries once they are built.
///
/// # Errors
/// When the operating system does not say where this program lies.
pub fn binaries() -> Result<PathBuf> {
    let program = program()?;
    let folder = program.parent().context("this program lies in no folder")?;
    // A test binary lies in `deps`, one folder below the programs.
    Ok(if folder.ends_with("deps") {
        folder.parent().unwrap_or(folder).to_owned()
    } else {
        folder.to_owned()
    })
}

/// The path of this program, also after a rebuild has replaced it.
///
/// # Errors
/// When the operating system does not say where this program lies.
pub fn program() -> Result<PathBuf> {
    let path = std::env::current_exe().context("failed to find the path of this program")?;
    Ok(match path.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
        Some(path) => PathBuf::from(path),
        None => path,
    })
}

/// The folder of the product's binaries as they are shipped, once [`build_optimised`] has built them.
///
/// # Errors
/// As [`binaries`].
pub fn optimised() -> Result<PathBuf> {
    let folder = binaries()?;
    Ok(folder.parent().unwrap_or(&folder).join("release"))
}

/// A `cargo` command that runs in the checkout and builds beside this program.
///
/// # Errors
/// When the operating system does not say where this program lies.
pub fn cargo() -> Result<Command> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let folder = binaries()?;
    cargo.current_dir(root()).env("CARGO_TARGET_DIR", folder.parent().unwrap_or(&folder));
    // What the outer cargo says of this package would make build scripts run again that look at such variables.
    for (name, _) in std::env::vars_os() {
        let told = name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"));
        if told {
            cargo.env_remove(name);
        }
    }
    Ok(cargo)
}

/// The packages and features that are built together: one choice for everything that one verb builds, because another
/// choice would compile most of the dependencies again. With `fail_points` the daemon can be told to die at a named place.
#[must_use]
pub fn selection(fail_points: bool) -> &'static [&'static str] {
    if fail_points {
        &["--workspace", "--all-features"]
    } else {
        // The same features as `cargo e2e` itself was built with.
        &["--package", "e2e", "--package", "market", "--package", "provider", "--package", "fake-nvml"]
    }
}

/// Builds `berth`, `berth-provider` and the fake NVML library beside this program.
///
/// # Errors
/// When the build fails; the compiler has then said why.
pub fn build(fail_points: bool) -> Result<()> {
    build_with(selection(fail_points))
}

/// Builds the same as it is shipped, into [`optimised`].
///
/// # Errors
/// As [`build`].
pub fn build_optimised() -> Result<()> {
    build_with(&["--release", "--package", "market", "--package", "provider", "--package", "fake-nvml"])
}

fn build_with(arguments: &[&str]) -> Result<()> {
    let mut cargo = cargo()?;
    cargo.arg("build").args(arguments);
    cargo.args(["--lib", "--bin", "berth", "--bin", "berth-provider"]);
    let status = cargo.status().context("failed to start cargo")?;
    ensure!(
        status.success(),
        "the product's binaries could not be built ({status}): see the compiler's words above"
    );
    Ok(())
}
