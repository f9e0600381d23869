//! Places in the sequence of one key, and which are free.

use super::journal::Attempt;

/// The attempts that share a nonce; never empty, the newest last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) nonce: u64,
    /// What they serve.
    pub(super) intents: Vec<String>,
    pub(super) attempts: Vec<Attempt>,
}

impl Slot {
    pub(super) fn of(attempt: Attempt) -> Self {
        Self { nonce: attempt.nonce, intents: attempt.intents.clone(), attempts: vec![attempt] }
    }

    pub(super) fn newest(&self) -> &Attempt {
        self.attempts.last().expect("a slot is made of an attempt")
    }

    pub(super) fn serves(&self, intent: &str) -> bool {
        self.newest().serves(intent)
    }
}

/// Live attempts by nonce, lowest first.
pub(super) fn slots(live: Vec<Attempt>) -> Vec<Slot> {
    let mut slots: Vec<Slot> = Vec::new();
    for attempt in live {
        match slots.iter_mut().find(|slot| slot.nonce == attempt.nonce) {
            Some(slot) => slot.attempts.push(attempt),
            None => slots.push(Slot::of(attempt)),
        }
    }
    slots.sort_by_key(|slot| slot.nonce);
    slots
}

/// The nonces from `mined` on that nothing holds, below the highest that something holds.
pub(super) fn gaps(mined: u64, waiting: &[Slot]) -> Vec<u64> {
    let highest = waiting.iter().map(|slot| slot.nonce).max().unwrap_or(mined);
    (mined..highest).filter(|nonce| waiting.iter().all(|slot| slot.nonce != *nonce)).collect()
}

/// The lowest nonce from `from` on that is not held. One nonce may be held by several attempts.
pub(super) fn free_nonce(from: u64, mut held: Vec<u64>) -> u64 {
    held.sort_unstable();
    held.dedup();
    held.into_iter().fold(from, |free, nonce| if nonce == free { free + 1 } else { free })
}
