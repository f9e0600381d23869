//! How many streams may be open: few for one lease, so that no tenant keeps the others out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use manifests::order::LeaseId;

/// Streams of one lease at once.
const A_LEASE: usize = 8;

/// Streams of all leases at once: half of the connections that the gateway takes.
const ALL: usize = 256;

/// Counts open streams.
#[derive(Debug, Clone, Default)]
pub struct Streams(Arc<Mutex<HashMap<LeaseId, usize>>>);

/// A stream that is open; it is closed when this is dropped.
#[derive(Debug)]
pub(super) struct Open {
    streams: Streams,
    lease: LeaseId,
}

impl Streams {
    /// How many are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// Opens a stream for a lease, unless there are too many.
    pub(super) fn open(&self, lease: LeaseId) -> Option<Open> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_lease = open.get(&lease).copied().unwrap_or(0);
        if of_lease >= A_LEASE || open.values().sum::<usize>() >= ALL {
            return None;
        }
        open.insert(lease, of_lease + 1);
        Some(Open { streams: self.clone(), lease })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&self.lease) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                open.remove(&self.lease);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use manifests::order::Address;

    use super::*;

    #[test]
    fn one_lease_cannot_take_all_streams_and_gives_back_what_it_closes() {
        let streams = Streams::default();
        let lease = |dseq| LeaseId { tenant: Address([1; 20]), dseq, gseq: 1, oseq: 1 };
        let mut held: Vec<_> = std::iter::from_fn(|| streams.open(lease(1))).collect();
        assert_eq!(held.len(), A_LEASE);
        assert!(streams.open(lease(2)).is_some());
        held.pop();
        assert!(streams.open(lease(1)).is_some());
        let others: Vec<_> = (2..).map_while(|dseq| streams.open(lease(dseq))).collect();
        assert_eq!(held.len() + others.len(), ALL);
        drop((held, others));
        assert!(streams.0.lock().expect("whole").is_empty());
    }
}
