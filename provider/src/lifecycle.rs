//! Start and stop of everything that runs in the background.
//!
//! Stopping has two steps. First nothing new is taken up while work in hand is finished; then, after a grace period or at a
//! second signal, the rest is dropped where it stands. Either is safe: every loop starts from the store. A task that ends
//! before it was asked to stops the whole process, so that no half of a daemon keeps running.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

/// How long work in hand may take after the first signal.
const GRACE: Duration = Duration::from_secs(20);

/// What a background task looks at to know when to end.
#[derive(Debug, Clone)]
pub struct Stop {
    taking: CancellationToken,
    now: CancellationToken,
}

impl Stop {
    /// Resolves when nothing new should be taken up.
    pub async fn taking(&self) {
        self.taking.cancelled().await;
    }

    /// Whether nothing new should be taken up.
    #[must_use]
    pub fn is_taking_stopped(&self) -> bool {
        self.taking.is_cancelled()
    }

    /// Resolves when work in hand should be dropped too.
    pub async fn now(&self) {
        self.now.cancelled().await;
    }
}

/// Owns the background tasks of a process.
#[derive(Debug)]
pub struct Lifecycle {
    stop: Stop,
    tasks: TaskTracker,
    ended: mpsc::UnboundedSender<String>,
    early: mpsc::UnboundedReceiver<String>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl Lifecycle {
    /// A lifecycle without tasks.
    #[must_use]
    pub fn new() -> Self {
        // Holds at most one sentence a task, so it needs no bound.
        let (ended, early) = mpsc::unbounded_channel();
        let stop = Stop { taking: CancellationToken::new(), now: CancellationToken::new() };
        Self { stop, tasks: TaskTracker::new(), ended, early }
    }

    /// What a task looks at to know when to end.
    #[must_use]
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Runs a task under its name. Ending before the stop was asked for, well or badly, stops the process.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let (stop, ended) = (self.stop(), self.ended.clone());
        let task = tokio::spawn(task);
        self.tasks.spawn(async move {
            let problem = match task.await {
                Ok(Ok(())) if stop.is_taking_stopped() => return,
                Ok(Ok(())) => format!("{name} ended although nobody asked it to"),
                Ok(Err(error)) => format!("{name} failed: {error:#}"),
                Err(broken) if broken.is_panic() => format!("{name} broke down; this is a defect of ours"),
                Err(_) => return,
            };
            // Nobody listens once the process is on its way out.
            ended.send(problem).ok();
        });
    }

    /// Asks every task to take up nothing new.
    pub fn begin_stop(&self) {
        self.stop.taking.cancel();
    }

    /// Runs until SIGINT or SIGTERM comes or a task ends early, then stops in two steps. The exit code is a failure when a
    /// task ended early or work had to be dropped.
    ///
    /// # Errors
    /// When signals cannot be listened to.
    pub async fn run(mut self) -> anyhow::Result<ExitCode> {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut code = ExitCode::SUCCESS;
        tokio::select! {
            _ = interrupt.recv() => info!("interrupted; finishing what is in hand"),
            _ = terminate.recv() => info!("asked to terminate; finishing what is in hand"),
            Some(problem) = self.early.recv() => {
                error!("{problem}");
                code = ExitCode::FAILURE;
            }
        }
        self.begin_stop();
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => return Ok(code),
            _ = interrupt.recv() => warn!("a second signal: dropping what is in hand"),
            _ = terminate.recv() => warn!("a second signal: dropping what is in hand"),
            () = tokio::time::sleep(GRACE) => warn!(grace = ?GRACE, "the grace period is over: dropping what is in hand"),
        }
        self.stop.now.cancel();
        if tokio::time::timeout(Duration::from_secs(2), self.tasks.wait()).await.is_err() {
            warn!("some tasks did not stop; leaving them behind");
        }
        Ok(ExitCode::FAILURE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_early_stops_the_others_and_fails_the_process() {
        let lifecycle = Lifecycle::new();
        let stop = lifecycle.stop();
        lifecycle.spawn("waits", async move {
            stop.taking().await;
            Ok(())
        });
        lifecycle.spawn("leaves", async { anyhow::bail!("no more to do") });
        let code = tokio::time::timeout(Duration::from_secs(10), lifecycle.run()).await;
        let code = code.expect("the waiting task was asked to stop").expect("signals can be listened to");
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
    }
}
