//! Waiting for a condition, with a deadline that explains itself.

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{Instant, sleep, timeout};

const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// A condition that will not come true any more: waiting ends at once.
#[derive(Debug)]
pub struct Hopeless(pub String);

impl Display for Hopeless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Hopeless {}

/// Looks again and again until `look` answers, and returns its answer. An error of `look` means "not yet, because";
/// [`Hopeless`] among its causes ends the waiting.
///
/// # Errors
/// When the time is over: what was waited for, for how long, and why it was not there at the last look.
pub async fn until<T>(what: &str, at_most: Duration, mut look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let mut last = anyhow!("it was never looked at");
    loop {
        let left = at_most.saturating_sub(start.elapsed());
        match timeout(left, look()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) if error.chain().any(|cause| cause.is::<Hopeless>()) => {
                return Err(error.context(format!("waited in vain for {what}")));
            }
            Ok(Err(error)) => last = error,
            // The look itself took too long; why the one before it failed is still the best that can be told.
            Err(_) => {}
        }
        if start.elapsed() >= at_most {
            return Err(last.context(format!("waited {at_most:?} in vain for {what}")));
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deadline_tells_why_the_last_look_failed() {
        let error = until("rain", Duration::from_millis(120), async || -> Result<()> {
            Err(anyhow!("the sky is blue"))
        })
        .await
        .unwrap_err();
        assert_eq!(format!("{error:#}"), "waited 120ms in vain for rain: the sky is blue");
    }

    #[tokio::test]
    async fn a_hopeless_condition_is_not_waited_for() {
        let start = Instant::now();
        let look = async || -> Result<()> { Err(Hopeless("the kubelet ended".into()).into()) };
        assert!(until("the node", Duration::from_secs(60), look).await.is_err());
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
