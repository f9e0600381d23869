//! A Postgres of one's own: a new, empty server that answers on a Unix socket and on no network.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::unistd::{User, geteuid};
use tempfile::TempDir;
use tokio::process::Command;

use crate::process::Process;
use crate::wait;

/// Where the distribution keeps the programs of its versions.
const VERSIONS: &str = "/usr/lib/postgresql";
/// As whom the server runs where we are root, which it refuses to be.
const USER: &str = "postgres";

/// A running server; it ends with this value, and its files with it.
pub struct Postgres {
    // Ends before its files go.
    _process: Process,
    folder: TempDir,
}

impl Postgres {
    /// Makes a server and waits until it takes connections.
    ///
    /// # Errors
    /// When the programs are missing or the server does not come up, with its last words.
    pub async fn start() -> Result<Self> {
        let folder = TempDir::with_prefix("berth-postgres-").context("failed to make a folder")?;
        let programs = programs()?;
        let user = if geteuid().is_root() {
            let user = User::from_name(USER).context("failed to look a user up")?;
            Some(
                user.with_context(|| format!("this system has no user {USER}, whom Debian's package makes"))?,
            )
        } else {
            None
        };
        let data = folder.path().join("data");
        fs::create_dir(&data).context("failed to make the data folder")?;
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700))?;
        if let Some(user) = &user {
            for path in [folder.path(), &data] {
                chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
            }
        }
        let command = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.current_dir(folder.path()).arg("-D").arg(&data);
            if let Some(user) = &user {
                command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
            }
            command
        };
        let made = command("initdb").args(["--auth=trust", "--no-sync", "--username", USER]).output().await;
        let made = made.context("failed to start initdb")?;
        ensure!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr));
        let mut server = command("postgres");
        // What is stored here need not outlive a power cut.
        server.args(["-c", "listen_addresses=", "-c", "fsync=off", "-c"]);
        server.arg(format!("unix_socket_directories={}", folder.path().display()));
        let mut process = Process::start("postgres", &mut server, folder.path())?;
        let ready = programs.join("pg_isready");
        wait::until("Postgres to take connections", Duration::from_secs(60), async || {
            process.still_runs()?;
            let asked = Command::new(&ready).arg("-q").arg("-h").arg(folder.path()).status().await?;
            ensure!(asked.success(), "it does not yet");
            Ok(())
        })
        .await?;
        Ok(Self { _process: process, folder })
    }

    /// The URL of a database of this server.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres:///{database}?host={}&user={USER}", self.folder.path().display())
    }

    /// Makes an empty database and answers its URL.
    ///
    /// # Errors
    /// When there is one of that name.
    pub async fn create(&self, database: &str) -> Result<String> {
        let mut create = Command::new(programs()?.join("createdb"));
        create.arg("-h").arg(self.folder.path()).args(["-U", USER, database]);
        let made = create.output().await.context("failed to start createdb")?;
        ensure!(made.status.success(), "createdb failed: {}", String::from_utf8_lossy(&made.stderr));
        Ok(self.url(database))
    }
}

/// The programs of the newest version that is installed.
fn programs() -> Result<PathBuf> {
    let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let newest = versions
        .map(|entry| entry.path())
        .filter_map(|path| Some((path.file_name()?.to_str()?.parse::<u32>().ok()?, path.join("bin"))))
        .filter(|(_, programs)| Path::new(&programs.join("initdb")).is_file())
        .max();
    let (_, programs) =
        newest.with_context(|| format!("{VERSIONS} holds no Postgres: install the package postgresql"))?;
    Ok(programs)
}
