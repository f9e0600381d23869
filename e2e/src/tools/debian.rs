//! What the operating system brings along: checked by looking for it, installed by apt where that is possible.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::stream;
use crate::progress::Progress;

/// What must be there, the Debian package that brings it, and how to see that it is there.
const NEEDED: &[(&str, Sign)] = &[
    ("iproute2", Sign::Program("ip")),
    ("nftables", Sign::Program("nft")),
    ("docker-registry", Sign::Program("docker-registry")),
    ("pkg-config", Sign::Program("pkg-config")),
    ("gcc", Sign::Program("gcc")),
    ("libc6-dev", Sign::File("/usr/include/stdio.h")),
    ("libseccomp-dev", Sign::File("/usr/include/seccomp.h")),
    ("postgresql", Sign::File("/usr/lib/postgresql")),
    ("prometheus", Sign::Program("promtool")),
    ("ca-certificates", Sign::File("/etc/ssl/certs/ca-certificates.crt")),
];

enum Sign {
    Program(&'static str),
    File(&'static str),
}

impl Sign {
    fn is_there(&self) -> bool {
        match self {
            Self::Program(name) => find_program(name),
            Self::File(path) => Path::new(path).exists(),
        }
    }
}

fn find_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path).chain(usual).any(|folder| folder.join(name).is_file())
}

fn missing() -> Vec<&'static str> {
    NEEDED.iter().filter(|(_, sign)| !sign.is_there()).map(|(package, _)| *package).collect()
}

/// Whether anything is to be installed.
pub(super) fn is_missing_something() -> bool {
    !missing().is_empty()
}

/// Installs what is missing.
pub(super) fn ensure() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    ensure!(
        find_program("apt-get"),
        "this system lacks {list} (Debian's names) and has no apt-get: install them by your own package manager"
    );
    ensure!(
        nix::unistd::geteuid().is_root(),
        "this system lacks {list}: run `apt-get install {list}` as root, or run this command as root"
    );
    let progress = Progress::start("Debian packages");
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(["-q", "-o", "Dpkg::Use-Pty=0"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        // The packages are wanted for their programs; their services must not start by themselves.
        apt.env("RUNLEVEL", "1");
        apt
    };
    let install = || {
        let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
        arguments.extend(&missing);
        stream::run("install Debian packages", &mut apt(&arguments), |line| progress.note(line))
    };
    let done = stream::run("refresh the package lists", &mut apt(&["update"]), |line| progress.note(line))
        .and_then(|()| install());
    if let Err(error) = done {
        progress.abandon();
        return Err(error);
    }
    progress.done(&format!("installed {list}"));
    let absent = self::missing();
    ensure!(absent.is_empty(), "apt-get installed {list} but {} is still not to be found", absent.join(" "));
    Ok(())
}
