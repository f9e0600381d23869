//! The time that loops see: the system's, or one that a test sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the wall-clock time. Chain time is another thing: it is the timestamp of the last block that was followed.
#[derive(Debug, Clone, Default)]
pub struct Clock(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that stands at `now` unix seconds until it is moved by [`Clock::set`].
    #[must_use]
    pub fn manual(now: u64) -> Self {
        Self(Source::Manual(Arc::new(AtomicU64::new(now))))
    }

    /// Unix seconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        match &self.0 {
            // A clock before 1970 is a broken machine; zero makes every deadline look far away rather than passed.
            Source::System => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |past| past.as_secs()),
            Source::Manual(now) => now.load(Ordering::SeqCst),
        }
    }

    /// Moves a manual clock, seen by all its clones. The system's clock stays as it is.
    pub fn set(&self, now: u64) {
        if let Source::Manual(time) = &self.0 {
            time.store(now, Ordering::SeqCst);
        }
    }
}
