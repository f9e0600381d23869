//! The walls of a bench: its own network, mount, process, IPC, host name and cgroup namespaces.
//!
//! Three processes stand at the wall. `launch` moves into the bench's cgroup and becomes `unshare`; that one starts
//! `init`, the first process inside, and takes it along when it is killed; `init` starts the supervisor and reaps.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::bench::Bench;
use crate::cgroups;
use crate::workspace;

/// The verbs by which this program starts itself inside.
pub(crate) const LAUNCH: &str = "launch";
pub(crate) const INIT: &str = "init";
pub(crate) const SUPERVISE: &str = "supervise";
/// The option that each of them hands on to the next.
pub(crate) const WITH_MARKET: &str = "--market";

/// Becomes the process that holds the namespaces of the bench in `folder`. Returns only when that fails.
///
/// # Errors
/// When the cgroup cannot be made or `unshare` cannot be started.
pub fn launch(folder: &Path, with_market: bool) -> Result<()> {
    let bench = Bench::in_folder(folder);
    bench.write_holder()?;
    cgroups::enter(bench.id())?;
    let error = Command::new("unshare")
        .args(["--cgroup", "--net", "--mount", "--pid", "--ipc", "--uts"])
        .args(["--fork", "--kill-child=KILL", "--mount-proc", "--propagation", "private", "--"])
        .arg(workspace::program()?)
        .arg(INIT)
        .arg(folder)
        .args(with_market.then_some(WITH_MARKET))
        .exec();
    Err(error).context("failed to start unshare")
}

/// The first process inside: starts the supervisor, reaps whatever is left to it, and ends when the supervisor does,
/// which ends every process inside.
///
/// # Errors
/// When the supervisor cannot be started.
pub fn init(folder: &Path, with_market: bool) -> Result<ExitCode> {
    let mut supervisor = Command::new(workspace::program()?);
    let supervisor = supervisor.arg(SUPERVISE).arg(folder).args(with_market.then_some(WITH_MARKET)).spawn();
    let supervisor = supervisor.context("failed to start the supervisor")?;
    let supervisor = Pid::from_raw(i32::try_from(supervisor.id()).context("a process id too large")?);
    loop {
        match waitpid(None, None).context("failed to wait for a process")? {
            WaitStatus::Exited(pid, code) if pid == supervisor => {
                return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
            }
            WaitStatus::Signaled(pid, ..) if pid == supervisor => return Ok(ExitCode::FAILURE),
            _ => {}
        }
    }
}

/// A command that runs `program` inside the namespaces that the process `target` is in, in the folder the caller is in.
///
/// # Errors
/// When the current folder cannot be told.
pub(crate) fn enter(target: u32, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
    let here = std::env::current_dir().context("failed to tell the current folder")?;
    let mut command = Command::new("nsenter");
    command
        .args(["--target", &target.to_string()])
        .args(["--mount", "--net", "--pid", "--ipc", "--uts", "--cgroup"])
        .arg(format!("--wdns={}", here.display()))
        .arg("--")
        .arg(program);
    Ok(command)
}

/// The code with which this program ends when a program that it ran ended so.
#[must_use]
pub fn exit_code(status: ExitStatus) -> ExitCode {
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
