//! The chain node and the tools of the contracts, which travel inside npm packages.
//!
//! `anvil` and `cast` go to the cache, so that a running bench does not lean on the checkout. The compiler and
//! `forge` must lie inside the contracts' folder, because imports are resolved there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::stream;
use crate::progress::Progress;
use crate::workspace;

/// The version of `anvil` and `cast`; the contracts' `package.json` names the same for `forge`.
pub(super) const VERSION: &str = "1.7.1";

const NODE_NEEDED: u32 = 20;
/// Says for which lock file the packages of the contracts were installed.
const INSTALLED_FOR: &str = ".installed-for";

/// Fetches `anvil` and `cast` and keeps their native binaries.
pub(super) fn install(into: &Path, progress: &Progress) -> Result<()> {
    ensure_node()?;
    let packages = into.join("packages");
    fs::create_dir_all(&packages).with_context(|| format!("failed to make {}", packages.display()))?;
    let mut npm = npm(&packages);
    npm.args(["install", "--no-save", "--no-package-lock", "--prefix", "."]);
    npm.args(["anvil", "cast"].map(|tool| format!("@foundry-rs/{tool}@{VERSION}")));
    stream::run("fetch anvil and cast", &mut npm, |line| progress.note(line))?;
    for tool in ["anvil", "cast"] {
        let native = packages.join(format!("node_modules/@foundry-rs/{tool}-{}/bin/{tool}", platform()?));
        fs::rename(&native, into.join("bin").join(tool))
            .with_context(|| format!("the package of {tool} holds no {}", native.display()))?;
    }
    fs::remove_dir_all(&packages).with_context(|| format!("failed to remove {}", packages.display()))
}

/// Whether the packages that the contracts' lock file lists are installed.
pub(super) fn has_contract_packages() -> Result<bool> {
    let wanted = digest_of_lock_file()?;
    let mark = contracts().join("node_modules").join(INSTALLED_FOR);
    Ok(fs::read_to_string(mark).is_ok_and(|installed| installed == wanted))
}

fn contracts() -> PathBuf {
    workspace::root().join("market/contracts")
}

fn digest_of_lock_file() -> Result<String> {
    let lock = contracts().join("package-lock.json");
    let text = fs::read(&lock).with_context(|| format!("failed to read {}", lock.display()))?;
    Ok(hex::encode(Sha256::digest(text)))
}

/// Installs what the contracts' lock file lists, if that has not been done yet.
pub(super) fn ensure_contract_packages() -> Result<()> {
    if has_contract_packages()? {
        return Ok(());
    }
    let folder = contracts();
    let mark = folder.join("node_modules").join(INSTALLED_FOR);
    ensure_node()?;
    let progress = Progress::start("contract packages");
    let mut npm = npm(&folder);
    npm.arg("ci");
    let installed =
        stream::run("install the packages of the contracts", &mut npm, |line| progress.note(line));
    if let Err(error) = installed {
        progress.abandon();
        return Err(error);
    }
    fs::write(&mark, digest_of_lock_file()?)
        .with_context(|| format!("failed to write {}", mark.display()))?;
    progress.done("installed");
    Ok(())
}

fn npm(folder: &Path) -> Command {
    let mut npm = Command::new("npm");
    // The packages need none of their install scripts, and a script is the one thing here that could do harm.
    npm.current_dir(folder).env("npm_config_ignore_scripts", "true").env("npm_config_audit", "false");
    npm.env("npm_config_fund", "false").env("npm_config_update_notifier", "false");
    npm
}

fn platform() -> Result<&'static str> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Ok("linux-amd64"),
        ("linux", "aarch64") => Ok("linux-arm64"),
        (os, arch) => bail!("the bench runs on Linux on x86-64 or arm64, not on {os} on {arch}"),
    }
}

fn ensure_node() -> Result<()> {
    let remedy = format!("install Node {NODE_NEEDED} or newer with npm and put both on the PATH");
    let output = match Command::new("node").arg("--version").output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("there is no Node, by whose packages the chain and the contract tools come: {remedy}")
        }
        Err(error) => return Err(error).context("failed to start node"),
    };
    let words = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let major = words.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    ensure!(
        major.is_some_and(|major| major >= NODE_NEEDED),
        "the Node on the PATH is too old ({words}): {remedy}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contracts_are_tested_with_the_version_of_foundry_that_the_bench_runs() {
        let path = workspace::root().join("market/contracts/package.json");
        let package: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let packages = package["devDependencies"].as_object().unwrap();
        let forge = packages.iter().find(|(name, _)| name.starts_with("@foundry-rs/forge")).unwrap();
        assert_eq!(forge.1, VERSION);
    }
}
