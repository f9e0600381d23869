//! The shape that every loop of the daemon has: a turn, then rest until nudged or due.
//!
//! A turn reads what is stored, acts, and reports. It gets no message: a nudge only ends the rest early, so losing or
//! doubling one changes nothing but the time.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::{debug, warn};

use crate::lifecycle::Stop;

/// Wakes the one loop that waits on it. Clones wake the same loop; a nudge given during a turn is kept until its end.
#[derive(Debug, Clone, Default)]
pub struct Nudge(Arc<Notify>);

impl Nudge {
    /// Ends the loop's rest, now or as soon as its turn is over.
    pub fn nudge(&self) {
        self.0.notify_one();
    }

    /// Waits for a nudge. One given since the last wait is enough.
    pub async fn wait(&self) {
        self.0.notified().await;
    }
}

/// What a turn did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// How many things were changed. A second turn in a row, with nothing new outside, changes none.
    pub changed: u64,
    /// When the next turn is due although nobody nudges; the loop's period if it is sooner or this is `None`.
    pub due: Option<Duration>,
}

impl Report {
    /// A turn that changed `changed` things and is due again after the loop's period.
    #[must_use]
    pub fn changed(changed: u64) -> Self {
        Self { changed, due: None }
    }
}

/// One loop's work.
pub trait Turn: Send {
    /// The loop's name in logs and metrics.
    const NAME: &'static str;

    /// Looks, acts, and says what it did.
    ///
    /// # Errors
    /// Whatever kept the turn from finishing; it is logged and the next turn tries again.
    fn turn(&mut self) -> impl Future<Output = anyhow::Result<Report>> + Send;
}

/// How a turn went, for whoever counts them.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// [`Turn::NAME`].
    pub name: &'static str,
    /// Whether it finished.
    pub ok: bool,
    /// How long it took.
    pub took: Duration,
}

/// Takes turns until the lifecycle asks to stop. The turn in hand is finished unless the stop becomes urgent.
///
/// # Errors
/// None: a failed turn is logged once and tried again after the period, or at the next nudge.
pub async fn repeat<T: Turn>(
    mut work: T,
    period: Duration,
    nudge: Nudge,
    stop: Stop,
    observe: impl Fn(Outcome) + Send,
) -> anyhow::Result<()> {
    while !stop.is_taking_stopped() {
        let began = Instant::now();
        let result = tokio::select! {
            result = work.turn() => result,
            () = stop.now() => return Ok(()),
        };
        let took = began.elapsed();
        observe(Outcome { name: T::NAME, ok: result.is_ok(), took });
        let due = match result {
            Ok(report) => {
                debug!(task = T::NAME, changed = report.changed, took_ms = took.as_millis(), "turn done");
                report.due.map_or(period, |due| due.min(period))
            }
            Err(error) => {
                warn!(task = T::NAME, error = format!("{error:#}"), "turn failed; it will be tried again");
                period
            }
        };
        tokio::select! {
            () = nudge.wait() => {}
            () = tokio::time::sleep(due) => {}
            () = stop.taking() => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Lifecycle;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Count(Arc<AtomicU64>, Nudge);

    impl Turn for Count {
        const NAME: &'static str = "count";

        async fn turn(&mut self) -> anyhow::Result<Report> {
            if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
                self.1.nudge();
                anyhow::bail!("the first turn fails");
            }
            Ok(Report::default())
        }
    }

    #[tokio::test]
    async fn a_nudge_given_during_a_failing_turn_brings_the_next_one_at_once() {
        let lifecycle = Lifecycle::new();
        let (turns, nudge) = (Arc::new(AtomicU64::new(0)), Nudge::default());
        let work = Count(Arc::clone(&turns), nudge.clone());
        let (seen, stop) = (Arc::clone(&turns), lifecycle.stop());
        let running =
            tokio::spawn(repeat(work, Duration::from_secs(3600), nudge, stop, move |outcome: Outcome| {
                assert_eq!(outcome.ok, seen.load(Ordering::SeqCst) > 1);
            }));
        tokio::time::timeout(Duration::from_secs(10), async {
            while turns.load(Ordering::SeqCst) < 2 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the second turn comes from the nudge, not from the hour's period");
        lifecycle.begin_stop();
        running.await.expect("not cancelled").expect("loops end well");
    }
}
