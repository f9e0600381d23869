//! Which endpoint is asked first, and which is left alone for a while.

use std::time::Duration;

use tokio::time::Instant;

/// The first rest of an endpoint that gave no answer; it doubles with every further failure.
const FIRST_REST: Duration = Duration::from_secs(1);
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// How far an endpoint may be behind the highest head of all before others are asked first, in blocks.
const BEHIND: u64 = 2;
/// What the latest answer weighs in the mean of the times, one part in this many.
const WEIGHT: u32 = 8;

/// How an endpoint has answered so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// Failures since the last answer.
    failures: u32,
    /// Until when it is left alone.
    rests_until: Option<Instant>,
    /// The mean time of its answers.
    latency: Duration,
    /// The highest head it told.
    head: u64,
}

impl Health {
    pub(super) fn answered(&mut self, took: Duration) {
        let mean = if self.latency.is_zero() { took } else { (self.latency * (WEIGHT - 1) + took) / WEIGHT };
        *self = Self { failures: 0, rests_until: None, latency: mean, ..*self };
    }

    pub(super) fn failed(&mut self, now: Instant) {
        let rest = FIRST_REST.saturating_mul(1 << self.failures.min(6)).min(LONGEST_REST);
        self.failures = self.failures.saturating_add(1);
        self.rests_until = Some(now + rest);
    }

    pub(super) fn told_head(&mut self, number: u64) {
        self.head = number;
    }

    /// Whether it gave the last answer it was asked for.
    pub(super) fn is_well(&self) -> bool {
        self.failures == 0
    }

    /// Whether it is left alone now.
    pub(super) fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| until > now)
    }

    /// Whether it failed last and has rested since.
    pub(super) fn comes_back(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| until <= now)
    }

    /// What endpoints are asked by, lowest first: those that rest last, the soonest back before the others; then those that are
    /// behind; then the slower ones.
    fn rank(&self, now: Instant, highest: u64) -> (Duration, bool, Duration) {
        let rest = self.rests_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        (rest, self.head + BEHIND < highest, self.latency)
    }
}

/// The endpoints by their places, the first to ask first. Equals keep the order of the configuration.
pub(super) fn order(all: &[Health], now: Instant) -> Vec<usize> {
    let highest = all.iter().map(|health| health.head).max().unwrap_or(0);
    let mut places: Vec<usize> = (0..all.len()).collect();
    places.sort_by_key(|place| all[*place].rank(now, highest));
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn healthy(latency: Duration, head: u64) -> Health {
        let mut health = Health::default();
        health.answered(latency);
        health.told_head(head);
        health
    }

    #[test]
    fn the_quickest_is_asked_first_but_not_when_it_is_behind() {
        let now = Instant::now();
        assert_eq!(order(&[healthy(MS * 30, 100), healthy(MS * 5, 99), healthy(MS, 97)], now), [1, 0, 2]);
        assert_eq!(order(&[Health::default(), Health::default()], now), [0, 1], "nobody knows better yet");
    }

    #[test]
    fn a_failure_puts_an_endpoint_behind_all_others_for_a_while_that_doubles() {
        let now = Instant::now();
        let mut ill = healthy(MS, 100);
        let well = healthy(MS * 30, 100);
        for rest in [1, 2, 4, 8, 16, 32, 60, 60] {
            ill.failed(now);
            assert_eq!(order(&[ill, well], now), [1, 0]);
            assert!(!ill.comes_back(now + Duration::from_millis(rest * 1000 - 1)));
            assert!(ill.comes_back(now + Duration::from_secs(rest)));
            assert_eq!(order(&[ill, well], now + Duration::from_secs(rest)), [0, 1]);
        }
        ill.answered(MS);
        assert_eq!(order(&[ill, well], now), [0, 1]);
    }

    #[test]
    fn when_all_rest_the_soonest_back_is_asked() {
        let now = Instant::now();
        let (mut once, mut twice) = (Health::default(), Health::default());
        once.failed(now);
        twice.failed(now);
        twice.failed(now);
        assert_eq!(order(&[twice, once], now), [1, 0]);
    }
}
