//! The operator's own program that names prices: asked once an order, within a time limit, a few at once.
//!
//! What it writes besides its answer, and what a URL holds, goes nowhere. A program that fails, is too slow or answers anything
//! but one number means no bid.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bidengine::{PriceUnit, Question, Quoted};
use manifests::order::Order;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::body_up_to;
use crate::config::{self, HookProgram, PrivateUrl};
use crate::metrics::Metrics;

/// A program with the places that there are for asking it.
#[derive(Debug)]
pub(super) struct Hook {
    pub(super) settings: config::Hook,
    pub(super) places: Semaphore,
}

/// How asking went.
pub(super) struct Asked {
    how: &'static str,
    took: Duration,
    answer: Result<String, Trouble>,
}

/// Why there is no answer. None of these repeats what the program said.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trouble {
    Busy(usize),
    Slow(Duration),
    Start(std::io::ErrorKind),
    Ended(String),
    Unreachable,
    Status(u16),
    TooLong,
    Broken,
}

impl Trouble {
    /// The metric's label.
    fn code(&self) -> &'static str {
        match self {
            Self::Busy(_) => "busy",
            Self::Slow(_) => "timeout",
            Self::Start(_) => "start",
            Self::Ended(_) => "exit",
            Self::Unreachable => "unreachable",
            Self::Status(_) => "status",
            Self::TooLong | Self::Broken => "answer",
        }
    }

    fn sentence(&self) -> String {
        match self {
            Self::Busy(parallel) => format!("it is being asked {parallel} times at once already"),
            Self::Slow(limit) => format!("it answered nothing within {limit:?}"),
            Self::Start(kind) => format!("it could not be started: {kind}"),
            Self::Ended(how) => format!("it ended with {how}, which means no bid"),
            Self::Unreachable => "it could not be reached".to_owned(),
            Self::Status(status) => format!("it answered HTTP {status}"),
            Self::TooLong => format!("its answer is longer than {MOST_ANSWER} bytes"),
            Self::Broken => "its answer cannot be read".to_owned(),
        }
    }
}

/// One number is not longer.
const MOST_ANSWER: usize = 4096;

/// Where programs look for others.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

impl Hook {
    pub(super) async fn ask(
        &self,
        order: &Order,
        question: &Question,
        http: impl FnOnce() -> anyhow::Result<reqwest::Client>,
    ) -> Asked {
        let config::Hook { program, timeout: limit, parallel, .. } = &self.settings;
        let began = Instant::now();
        let how = match program {
            HookProgram::Exec { .. } => "exec",
            HookProgram::Url(_) => "http",
        };
        // Whoever waits longer for a place than half of what an answer may take is not the only one.
        let Ok(Ok(_place)) = timeout(*limit / 2, self.places.acquire()).await else {
            return Asked { how, took: began.elapsed(), answer: Err(Trouble::Busy(*parallel)) };
        };
        let document = serde_json::to_vec(question).expect("a question is numbers and words");
        let answer = match program {
            HookProgram::Exec { path, arguments, env } => {
                let mut command = Command::new(path);
                command
                    .args(arguments)
                    .env_clear()
                    .env("PATH", PATH)
                    .envs(env)
                    .envs(told_by_env(order, question));
                execute(command, path, document, *limit).await
            }
            HookProgram::Url(url) => match http() {
                Ok(http) => post(&http, url, order, document, *limit).await,
                Err(_) => Err(Trouble::Unreachable),
            },
        };
        Asked { how, took: began.elapsed(), answer }
    }
}

/// What was asked and answered as a price; counted, and told to the operator.
pub(super) fn told(asked: Asked, unit: PriceUnit, metrics: &Metrics) -> Quoted {
    let Asked { how, took, answer } = asked;
    let (quoted, trouble) = match answer {
        Ok(answer) => match unit.read_up(&answer) {
            Quoted::Failed { problem } => (Quoted::Failed { problem }, Some("answer")),
            priced @ Quoted::Priced { .. } => (priced, None),
        },
        Err(trouble) => (Quoted::Failed { problem: trouble.sentence() }, Some(trouble.code())),
    };
    if let Quoted::Failed { problem } = &quoted {
        tracing::warn!(how, problem, "the pricing program named no price");
    }
    metrics.priced(how, took, trouble);
    quoted
}

fn told_by_env(order: &Order, question: &Question) -> [(&'static str, String); 5] {
    let (tenant, denom) = (order.id.tenant.to_string(), question.denom().to_owned());
    [
        ("BERTH_ORDER", order.id.to_string()),
        ("BERTH_TENANT", tenant.clone()),
        ("BERTH_DENOM", denom.clone()),
        // The names that programs written for Akash read.
        ("AKASH_OWNER", tenant),
        ("AKASH_DENOM", denom),
    ]
}

async fn execute(
    mut command: Command,
    path: &Path,
    document: Vec<u8>,
    limit: Duration,
) -> Result<String, Trouble> {
    command
        .current_dir(path.parent().unwrap_or(Path::new("/")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    let child = command.spawn().map_err(|error| Trouble::Start(error.kind()))?;
    let mut group = Group(child);
    timeout(limit, converse(&mut group.0, document)).await.unwrap_or(Err(Trouble::Slow(limit)))
}

/// A program that was started, with all that it starts itself: they end together, when this is dropped.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // Without an id it has been waited for, and its group may be somebody else's by now.
        if let Some(id) = self.0.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

async fn converse(child: &mut Child, document: Vec<u8>) -> Result<String, Trouble> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else { return Err(Trouble::Broken) };
    let write = async move {
        // A program that answers without reading is no trouble.
        let _ = stdin.write_all(&document).await;
    };
    let mut answer = Vec::new();
    let read = async {
        let mut stdout = stdout.take(MOST_ANSWER as u64 + 1);
        stdout.read_to_end(&mut answer).await
    };
    let ((), read) = tokio::join!(write, read);
    read.map_err(|_| Trouble::Broken)?;
    if answer.len() > MOST_ANSWER {
        return Err(Trouble::TooLong);
    }
    let status = child.wait().await.map_err(|_| Trouble::Broken)?;
    if !status.success() {
        return Err(Trouble::Ended(
            status.code().map_or("a signal".to_owned(), |code| format!("code {code}")),
        ));
    }
    String::from_utf8(answer).map_err(|_| Trouble::Broken)
}

async fn post(
    http: &reqwest::Client,
    url: &PrivateUrl,
    order: &Order,
    document: Vec<u8>,
    limit: Duration,
) -> Result<String, Trouble> {
    let request = http
        .post(url.reveal().clone())
        .timeout(limit)
        .header("content-type", "application/json")
        .header("berth-order", order.id.to_string())
        .header("berth-tenant", order.id.tenant.to_string())
        .body(document);
    let answer = request.send().await.map_err(|error| match error.is_timeout() {
        true => Trouble::Slow(limit),
        false => Trouble::Unreachable,
    })?;
    if !answer.status().is_success() {
        return Err(Trouble::Status(answer.status().as_u16()));
    }
    let body = body_up_to(answer, MOST_ANSWER).await.ok_or(Trouble::TooLong)?;
    let text = String::from_utf8(body).map_err(|_| Trouble::Broken)?;
    // A JSON text is as good as a bare number.
    let text = text.trim();
    Ok(text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text).to_owned())
}
