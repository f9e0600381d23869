//! Nonces that the gateway gives out: each is good for one request, within a minute.
//!
//! Giving one out costs no memory, so strangers cannot fill any: a nonce carries its own end of life and a tag that only
//! this process can make. Only nonces that came with a valid signature are remembered, until they end. After a restart
//! every older nonce is unknown.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce as Iv, Tag};
use manifests::order::Hash;

/// Seconds for which a nonce is good.
pub const LIFETIME_SECS: u64 = 60;

/// Used nonces that are remembered at once. Beyond it requests are put off, never believed unchecked.
const MOST_USED: usize = 100_000;

/// What came of using a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It is ours, in time and unused; it is used now.
    Fresh,
    /// It is not ours, was used before, or its time is over.
    Void,
    /// Too many requests came within the last minute to remember one more.
    Crowded,
}

/// Gives out nonces and remembers which were used.
pub struct Nonces {
    key: ChaCha20Poly1305,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    all: HashSet<Hash>,
    by_end: BTreeSet<(u32, Hash)>,
}

impl Default for Nonces {
    fn default() -> Self {
        Self { key: ChaCha20Poly1305::new(&rand::random::<[u8; 32]>().into()), used: Mutex::default() }
    }
}

impl Nonces {
    /// A new nonce and the unix second after which it is void.
    #[must_use]
    pub fn give(&self, now: u64) -> (Hash, u64) {
        let end = now.saturating_add(LIFETIME_SECS).min(u64::from(u32::MAX));
        let mut bytes = [0; 32];
        bytes[..12].copy_from_slice(&rand::random::<[u8; 12]>());
        bytes[12..16].copy_from_slice(&u32::try_from(end).expect("capped above").to_be_bytes());
        let tag = self
            .key
            .encrypt_in_place_detached(Iv::from_slice(&bytes[..12]), &bytes[12..16], &mut [])
            .expect("an empty message is not too long");
        bytes[16..].copy_from_slice(&tag);
        (Hash(bytes), end)
    }

    /// Uses a nonce up.
    pub fn use_up(&self, nonce: Hash, now: u64) -> Use {
        let Some(end) = self.end(nonce).filter(|end| u64::from(*end) >= now) else { return Use::Void };
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((ended, oldest)) =
            used.by_end.first().copied().filter(|(ended, _)| u64::from(*ended) < now)
        {
            used.by_end.remove(&(ended, oldest));
            used.all.remove(&oldest);
        }
        if used.all.contains(&nonce) {
            return Use::Void;
        }
        if used.all.len() >= MOST_USED {
            return Use::Crowded;
        }
        used.all.insert(nonce);
        used.by_end.insert((end, nonce));
        Use::Fresh
    }

    /// The end of life of a nonce that this process gave out.
    fn end(&self, nonce: Hash) -> Option<u32> {
        let Hash(bytes) = nonce;
        let tag = Tag::from_slice(&bytes[16..]);
        self.key
            .decrypt_in_place_detached(Iv::from_slice(&bytes[..12]), &bytes[12..16], &mut [], tag)
            .ok()?;
        Some(u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_once_and_in_time() {
        let nonces = Nonces::default();
        let (nonce, end) = nonces.give(1000);
        assert_eq!(end, 1060);
        assert_eq!(nonces.use_up(nonce, 1060), Use::Fresh);
        assert_eq!(nonces.use_up(nonce, 1060), Use::Void, "used before");
        let (late, _) = nonces.give(1000);
        assert_eq!(nonces.use_up(late, 1061), Use::Void, "too late");
        assert_eq!(nonces.use_up(nonce, 2000), Use::Void, "forgotten, but also ended");
        assert!(nonces.used.lock().expect("not poisoned").all.len() <= 1);
    }

    #[test]
    fn a_nonce_of_another_process_or_with_another_end_is_not_ours() {
        let nonces = Nonces::default();
        let (strange, _) = Nonces::default().give(1000);
        assert_eq!(nonces.use_up(strange, 1000), Use::Void);
        let (mut stretched, _) = nonces.give(1000);
        stretched.0[15] = stretched.0[15].wrapping_add(1);
        assert_eq!(nonces.use_up(stretched, 1000), Use::Void);
    }

    #[test]
    fn used_nonces_are_forgotten_when_their_time_is_over() {
        let nonces = Nonces::default();
        for second in 0..600 {
            let (nonce, _) = nonces.give(second);
            assert_eq!(nonces.use_up(nonce, second), Use::Fresh);
        }
        let kept = nonces.used.lock().expect("not poisoned").all.len();
        assert!(kept as u64 <= LIFETIME_SECS + 1, "{kept} are kept");
    }
}
