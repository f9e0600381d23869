//! How far what is stored lies behind the chain, and whether that is too far to act on.
//!
//! A chain that cannot be read, or whose endpoint stands still, looks like a chain on which nothing happens. So the age of the
//! cursor is watched: when it is too old nothing is bid and no lease is given up, and everything that runs goes on running.
//! The next block that is followed ends it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use manifests::order::BlockRef;
use tracing::{info, warn};

/// Blocks that may fail to come before a slow chain is taken for one that stands still.
const MISSED_BLOCKS: u64 = 4;

/// What the latest block weighs in the mean time between blocks, one part in this many.
const WEIGHT: u64 = 8;

/// Watches the cursor's age. Clones watch together.
#[derive(Debug, Clone)]
pub struct Freshness {
    limit: Duration,
    memory: Arc<Mutex<Memory>>,
}

#[derive(Debug, Default)]
struct Memory {
    /// The cursor as it was first seen, and when, in unix seconds of the wall clock.
    seen: Option<(BlockRef, u64)>,
    /// The mean time between blocks, in thousandths of a second; none before two were seen.
    block_millis: Option<u64>,
    /// The highest head that the chain told.
    head: u64,
    is_stale: bool,
}

/// How far behind the chain the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lag {
    /// Blocks between the head that was last told and the cursor.
    pub blocks: u64,
    /// Seconds since what is stored was last the whole truth, as far as that can be told from here.
    pub seconds: u64,
    /// How many seconds are taken without doubt: the setting, or a few blocks of a slower chain.
    pub allowed: u64,
}

impl Lag {
    /// Whether what is stored is too old to bid on and to give leases up on.
    #[must_use]
    pub fn is_stale(self) -> bool {
        self.seconds > self.allowed
    }
}

impl Freshness {
    /// Doubts what is older than `limit`.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { limit, memory: Arc::default() }
    }

    /// Notes the height that the chain told for its head.
    pub fn head(&self, height: u64) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.head = memory.head.max(height);
    }

    /// The time in which two blocks come, as far as that was seen.
    #[must_use]
    pub fn two_blocks(&self) -> Duration {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_millis(memory.block_millis.unwrap_or(0).saturating_mul(2))
    }

    /// How far this cursor lies behind at `now`, unix seconds. Says so in the log when that becomes too far, and when it is
    /// over.
    pub fn lag(&self, cursor: &BlockRef, now: u64) -> Lag {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let since = memory.note(cursor, now);
        let block_millis = memory.block_millis.unwrap_or(0);
        let blocks = memory.head.saturating_sub(cursor.number);
        // Chain time may run ahead of ours; then only standing still and the head tell.
        let by_clock = now.saturating_sub(cursor.timestamp);
        let by_standing = now.saturating_sub(since);
        let by_head = blocks.saturating_mul(block_millis) / 1000;
        let missed = MISSED_BLOCKS.saturating_mul(block_millis).div_ceil(1000);
        let lag = Lag {
            blocks,
            seconds: by_clock.max(by_standing).max(by_head),
            allowed: self.limit.as_secs().max(missed),
        };
        if lag.is_stale() != memory.is_stale {
            memory.is_stale = lag.is_stale();
            let Lag { blocks, seconds, allowed } = lag;
            match memory.is_stale {
                true => warn!(
                    cursor = cursor.number,
                    lag_blocks = blocks,
                    lag_seconds = seconds,
                    allowed_seconds = allowed,
                    "the chain was not followed for too long: nothing is bid and no lease is given up until it is; look at \
                     the endpoints of chain.rpc"
                ),
                false => {
                    info!(cursor = cursor.number, "the chain is followed again; orders are answered");
                }
            }
        }
        lag
    }
}

impl Default for Freshness {
    fn default() -> Self {
        Self::new(Duration::from_secs(60))
    }
}

impl Memory {
    /// Notes the cursor and answers since when it stands where it is.
    fn note(&mut self, cursor: &BlockRef, now: u64) -> u64 {
        match self.seen {
            Some((seen, since)) if seen.hash == cursor.hash => since,
            before => {
                if let Some((seen, _)) = before
                    && let Some(blocks) = cursor.number.checked_sub(seen.number).filter(|blocks| *blocks > 0)
                {
                    let millis =
                        cursor.timestamp.saturating_sub(seen.timestamp).saturating_mul(1000) / blocks;
                    let mean = self.block_millis.unwrap_or(millis);
                    self.block_millis = Some((mean * (WEIGHT - 1) + millis) / WEIGHT);
                }
                self.seen = Some((*cursor, now));
                now
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use manifests::order::Hash;

    use super::*;

    fn block(number: u64, timestamp: u64) -> BlockRef {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_be_bytes());
        BlockRef { number, hash: Hash(hash), parent: Hash([0; 32]), timestamp }
    }

    fn watch() -> Freshness {
        Freshness::new(Duration::from_secs(60))
    }

    #[test]
    fn a_cursor_is_doubted_when_it_is_older_than_the_limit_and_trusted_with_the_next_block() {
        let watch = watch();
        assert!(!watch.lag(&block(1, 1000), 1060).is_stale());
        let lag = watch.lag(&block(1, 1000), 1061);
        assert!(lag.is_stale());
        assert_eq!(lag, Lag { blocks: 0, seconds: 61, allowed: 60 });
        assert!(!watch.lag(&block(2, 1060), 1061).is_stale());
    }

    #[test]
    fn a_chain_whose_clock_is_ahead_is_doubted_when_it_stands_still() {
        let watch = watch();
        assert!(!watch.lag(&block(1, 90_000), 1000).is_stale());
        assert!(!watch.lag(&block(1, 90_000), 1060).is_stale());
        assert!(watch.lag(&block(1, 90_000), 1061).is_stale());
    }

    #[test]
    fn blocks_that_were_not_read_yet_count_with_the_time_between_blocks() {
        let watch = watch();
        watch.lag(&block(1, 90_000), 1000);
        watch.lag(&block(11, 90_020), 1001);
        watch.head(42);
        let lag = watch.lag(&block(11, 90_020), 1001);
        assert_eq!(lag, Lag { blocks: 31, seconds: 62, allowed: 60 });
        watch.head(3);
        assert_eq!(
            watch.lag(&block(11, 90_020), 1001).blocks,
            31,
            "an endpoint that is behind tells no news"
        );
    }

    #[test]
    fn a_slow_chain_is_given_time_for_a_few_blocks() {
        let watch = watch();
        watch.lag(&block(1, 1000), 1000);
        watch.lag(&block(2, 1600), 1600);
        assert_eq!(watch.lag(&block(2, 1600), 4000).allowed, 2400);
        assert!(!watch.lag(&block(2, 1600), 4000).is_stale());
        assert!(watch.lag(&block(2, 1600), 4001).is_stale());
    }
}
