//! A bench from outside: where its folder is, how it starts, how it is entered, and how it ends without a trace.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};

use crate::access::Access;
use crate::cache::Cache;
use crate::cgroups;
use crate::interrupt;
use crate::namespaces;
use crate::parts::logs;
use crate::process::last_lines;
use crate::progress::say;
use crate::report::Timeline;
use crate::tools::Tools;
use crate::workspace;

/// Holds the id and the start time of the process that keeps the namespaces open.
const HOLDER_FILE: &str = "holder";
/// The first word of the line by which the supervisor says that everything is up.
pub(crate) const READY: &str = "ready";
/// The first word of a line about a step that has just ended.
pub(crate) const STEP: &str = "step";
/// The first word of a line that says why the bench could not come up.
pub(crate) const FAILED: &str = "failed";

const PATIENCE: Duration = Duration::from_secs(30);

/// A bench, running or not: a folder and a name for its cgroup.
#[derive(Clone, Debug)]
pub struct Bench {
    folder: PathBuf,
    id: String,
}

/// How long a bench lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Until `down`.
    UntilDown,
    /// At most as long as the process that started it.
    WithThisProcess,
}

/// What there is on a bench from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// The cluster and the chain.
    Parts,
    /// And a market with a provider that bids and a tenant who has money.
    Market,
}

/// A bench that lives at most as long as this value.
#[derive(Debug)]
pub struct Running {
    bench: Bench,
    child: Child,
    /// The bench ends when this closes.
    lifeline: Option<ChildStdin>,
}

impl Bench {
    /// The bench of this name.
    ///
    /// # Errors
    /// When the name holds anything but small letters, digits and hyphens.
    pub fn named(cache: &Cache, name: &str) -> Result<Self> {
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(
            !name.is_empty() && name.len() <= 40 && name.chars().all(fine),
            "a bench cannot be called {name:?}: use small letters, digits and hyphens"
        );
        Ok(Self::in_folder(&cache.benches().join(name)))
    }

    /// The bench of this folder.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        // Two caches may each have a bench of one name; the cgroups are the whole machine's.
        let digest = hex::encode(Sha256::digest(folder.as_os_str().as_encoded_bytes()));
        Self { folder: folder.to_owned(), id: format!("berth-{name}-{}", &digest[..8]) }
    }

    /// The name of its cgroup.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it keeps everything.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts the bench and tells its steps. What earlier benches left behind when they were killed goes first.
    ///
    /// # Errors
    /// When this is not root, the bench is up already, or a part does not come up; then nothing of it remains.
    pub fn start(&self, cache: &Cache, life: Life, holds: Holds, timeline: &mut Timeline) -> Result<Running> {
        ensure_root()?;
        let lock =
            cache.lock("benches", || say("another bench is just starting or ending; waiting for it"))?;
        sweep(cache)?;
        ensure!(
            self.holder().is_none(),
            "the bench {} is up already: `cargo e2e shell` enters it and `cargo e2e down` ends it",
            self.folder.display()
        );
        fs::create_dir_all(logs(&self.folder))
            .with_context(|| format!("failed to make {}", self.folder.display()))?;
        interrupt::watch(self);
        let mut running = self.launch(life, holds)?;
        // From its first line on the bench is known by its holder, and others may start theirs.
        let mut lock = Some(lock);
        let outcome = running.follow(timeline, || drop(lock.take()));
        if let Err(error) = outcome {
            let words = self.failures();
            running.end().context("and then the bench could not be cleaned up")?;
            return Err(error.context(words));
        }
        Ok(running)
    }

    fn launch(&self, life: Life, holds: Holds) -> Result<Running> {
        let log = logs(&self.folder).join("supervisor.log");
        let log = fs::File::create(&log).with_context(|| format!("failed to make {}", log.display()))?;
        let mut command = Command::new(workspace::program()?);
        command.arg(namespaces::LAUNCH).arg(&self.folder).stdout(Stdio::piped()).stderr(log);
        if holds == Holds::Market {
            command.arg(namespaces::WITH_MARKET);
        }
        command.stdin(if life == Life::WithThisProcess { Stdio::piped() } else { Stdio::null() });
        // Its own process group: Ctrl-C at the terminal is for us, and we end the bench in order.
        command.process_group(0);
        let mut child = command.spawn().context("failed to start the process that holds the bench")?;
        let lifeline = child.stdin.take();
        Ok(Running { bench: self.clone(), child, lifeline })
    }

    /// Writes down that this process holds the bench.
    pub(crate) fn write_holder(&self) -> Result<()> {
        let id = std::process::id();
        let started = start_time(id).context("this process has no start time")?;
        let path = self.folder.join(HOLDER_FILE);
        fs::write(&path, format!("{id} {started}"))
            .with_context(|| format!("failed to write {}", path.display()))
    }

    /// The process that holds the bench, if it is alive.
    fn holder(&self) -> Option<u32> {
        let text = fs::read_to_string(self.folder.join(HOLDER_FILE)).ok()?;
        let (id, started) = text.split_once(' ')?;
        let id = id.parse().ok()?;
        (start_time(id)? == started).then_some(id)
    }

    /// How to reach the bench.
    ///
    /// # Errors
    /// When it is not up.
    pub fn access(&self) -> Result<Access> {
        ensure!(self.holder().is_some(), "no such bench is up: `cargo e2e up` starts one");
        Access::of(&self.folder)
    }

    /// A command inside the bench, with the variables by which programs find it.
    ///
    /// # Errors
    /// When the bench is not up.
    pub fn command(&self, tools: &Tools, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let holder = self.holder().context("no such bench is up: `cargo e2e up` starts one")?;
        let mut command = namespaces::enter(first_child(holder)?, program)?;
        command.envs(self.access()?.environment(Some(tools))?);
        Ok(command)
    }

    /// Ends the bench, if it is up, and removes everything of it.
    ///
    /// # Errors
    /// When something of it remains.
    pub fn end(&self) -> Result<()> {
        if let Some(holder) = self.holder() {
            kill_process(holder)?;
        }
        self.remove()?;
        let remains = self.remains()?;
        ensure!(remains.is_empty(), "of the bench there remains: {}", remains.join(", "));
        Ok(())
    }

    /// Whether anything of this bench is there, running or not.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.folder.exists()
    }

    /// What is left of the bench on this machine: processes, cgroups, mounts and folders.
    ///
    /// # Errors
    /// When the machine does not tell.
    pub fn remains(&self) -> Result<Vec<String>> {
        let mut remains: Vec<String> =
            cgroups::processes(&self.id)?.iter().map(|process| format!("process {process}")).collect();
        remains
            .extend(cgroups::folders(&self.id)?.iter().map(|folder| format!("cgroup {}", folder.display())));
        let mounts =
            fs::read_to_string("/proc/self/mountinfo").context("failed to read the table of mounts")?;
        let folder = self.folder.to_string_lossy().into_owned();
        remains
            .extend(mounts.lines().filter(|line| line.contains(&folder)).map(|line| format!("mount {line}")));
        if self.folder.exists() {
            remains.push(format!("folder {folder}"));
        }
        Ok(remains)
    }

    /// Removes what a bench leaves outside its namespaces. Its processes are dead or dying.
    fn remove(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            let processes = cgroups::processes(&self.id)?;
            if processes.is_empty() {
                break;
            }
            ensure!(start.elapsed() < PATIENCE, "processes {processes:?} of the bench do not end");
            for process in processes {
                // One that has ended meanwhile is what is wanted.
                let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        retry(start, || cgroups::remove(&self.id))?;
        retry(start, || match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("failed to remove {}", self.folder.display()))
            }
            _ => Ok(()),
        })
    }

    /// What the supervisor wrote where nobody sees it.
    fn failures(&self) -> String {
        let words = last_lines(&logs(&self.folder).join("supervisor.log"), 20);
        if words.is_empty() {
            "the bench did not come up".to_owned()
        } else {
            format!("the bench did not come up:\n{words}")
        }
    }
}

impl Running {
    /// The bench.
    #[must_use]
    pub fn bench(&self) -> &Bench {
        &self.bench
    }

    /// Lets the bench live on without this process.
    pub fn leave_up(mut self) {
        interrupt::forget(&self.bench);
        std::mem::forget(self.lifeline.take());
        std::mem::forget(self);
    }

    /// Ends the bench and removes everything of it.
    ///
    /// # Errors
    /// When something of it remains.
    pub fn end(mut self) -> Result<()> {
        self.stop()
    }

    fn stop(&mut self) -> Result<()> {
        drop(self.lifeline.take());
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().context("failed to wait for the bench")?;
        interrupt::forget(&self.bench);
        self.bench.end()
    }

    /// Tells the steps that the supervisor reports until everything is up.
    fn follow(&mut self, timeline: &mut Timeline, mut first_line: impl FnMut()) -> Result<()> {
        let output = self.child.stdout.take().expect("the output was asked for");
        for line in BufReader::new(output).lines() {
            first_line();
            let line = line.context("failed to listen to the bench")?;
            match line.split_once(' ').unwrap_or((&line, "")) {
                (STEP, text) => timeline.step(text),
                (READY, _) => return Ok(()),
                (FAILED, text) => bail!("{}", text.replace('\u{1f}', "\n")),
                _ => say(line),
            }
        }
        bail!("it ended before it was up");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            let _ = writeln!(std::io::stderr(), "failed to end the bench: {error:#}");
        }
    }
}

/// Refuses a plain user in one sentence, before anything long is started.
///
/// # Errors
/// When this is not root.
pub fn ensure_root() -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the bench makes network namespaces and mounts, which only root may: run this as root, or give \
         `cargo e2e demo` a cluster and a chain of your own with --kubeconfig and --rpc"
    );
    Ok(())
}

/// Removes what benches left behind whose processes were killed.
fn sweep(cache: &Cache) -> Result<()> {
    let Ok(entries) = fs::read_dir(cache.benches()) else { return Ok(()) };
    for entry in entries {
        let bench = Bench::in_folder(&entry.context("failed to list the benches")?.path());
        if bench.holder().is_none() {
            bench.remove().context("failed to remove what a killed bench left behind")?;
        }
    }
    Ok(())
}

fn retry(start: Instant, mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
    loop {
        match attempt() {
            Err(_) if start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(50)),
            outcome => return outcome,
        }
    }
}

fn kill_process(id: u32) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(id).context("a process id too large")?);
    match kill(pid, Signal::SIGKILL) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).context("failed to kill the process that holds the bench"),
    }
}

/// When a process started, in the kernel's ticks: with the id it names a process for good.
fn start_time(id: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The program's name may hold blanks and brackets; the fields after it do not.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    (fields.next()? != "Z").then(|| fields.nth(18).map(str::to_owned))?
}

fn first_child(id: u32) -> Result<u32> {
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))
        .with_context(|| format!("failed to list the children of process {id}"))?;
    let first = children.split_whitespace().next().context("the bench has no process inside")?;
    first.parse().context("a process id is no number")
}
