//! How much gas money a key may promise in a day: each nonce counts with the dearest transaction that was signed for it, since
//! only one of them can be mined, at the most that it can cost.

use std::collections::BTreeMap;

use manifests::order::Address;

use super::policy::{DailyGas, Denial};

/// Seconds of a UTC day.
pub(super) const DAY: u64 = 86_400;

/// What was promised on one UTC day.
#[derive(Debug, Default)]
pub(super) struct Day {
    /// Days since 1970.
    number: u64,
    /// The most that the transaction of each nonce can cost, in wei.
    by_nonce: BTreeMap<u64, u128>,
}

/// A day's gas is used up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UsedUp {
    spent_wei: u128,
    more_wei: u128,
    limit_wei: u128,
    reserved: bool,
    again_at: u64,
}

impl UsedUp {
    pub(super) fn of(self, key: Address) -> Denial {
        let Self { spent_wei, more_wei, limit_wei, reserved, again_at } = self;
        Denial::DailyGas { key, spent_wei, more_wei, limit_wei, reserved, again_at }
    }
}

impl Day {
    /// Counts what was signed at a unix second, if that is this day or a later one.
    pub(super) fn count(&mut self, second: u64, nonce: u64, wei: u128) {
        let number = second / DAY;
        if number > self.number {
            *self = Self { number, by_nonce: BTreeMap::new() };
        }
        if number == self.number {
            let most = self.by_nonce.entry(nonce).or_default();
            *most = wei.max(*most);
        }
    }

    /// Counts a transaction that is about to be signed, if the day's gas allows it.
    pub(super) fn admit(
        &mut self,
        now: u64,
        nonce: u64,
        wei: u128,
        limit: Option<DailyGas>,
        may_use_reserve: bool,
    ) -> Result<(), UsedUp> {
        self.count(now, nonce, 0);
        if let Some(DailyGas { limit_wei, reserve_wei }) = limit {
            let others = self.by_nonce.iter().filter(|(other, _)| **other != nonce);
            let spent_wei = others.fold(0u128, |sum, (_, wei)| sum.saturating_add(*wei));
            let limit_wei = if may_use_reserve { limit_wei } else { limit_wei.saturating_sub(reserve_wei) };
            if spent_wei.saturating_add(wei) > limit_wei {
                // A clock that was set back does not open a day that is over.
                let again_at = (self.number + 1).saturating_mul(DAY);
                let reserved = !may_use_reserve && reserve_wei > 0;
                return Err(UsedUp { spent_wei, more_wei: wei, limit_wei, reserved, again_at });
            }
        }
        let number = self.number;
        self.count(number.saturating_mul(DAY), nonce, wei);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 20_000 * DAY + 43_200;
    const LIMIT: Option<DailyGas> = Some(DailyGas { limit_wei: 100, reserve_wei: 30 });

    #[test]
    fn a_days_gas_ends_bids_before_it_ends_closes_and_midnight_brings_it_back() {
        let mut day = Day::default();
        assert_eq!(day.admit(NOON, 0, 70, LIMIT, false), Ok(()));
        let denied = day.admit(NOON, 1, 1, LIMIT, false).expect_err("the rest is kept");
        assert_eq!((denied.spent_wei, denied.limit_wei, denied.reserved), (70, 70, true));
        assert_eq!(day.admit(NOON, 1, 30, LIMIT, true), Ok(()));
        let denied = day.admit(NOON, 2, 1, LIMIT, true).expect_err("all is used");
        assert_eq!((denied.spent_wei, denied.limit_wei, denied.reserved), (100, 100, false));
        assert_eq!(denied.again_at, 20_001 * DAY);
        assert_eq!(day.admit(denied.again_at - 1, 2, 1, LIMIT, true).expect_err("not yet").spent_wei, 100);
        assert_eq!(day.admit(denied.again_at, 2, 70, LIMIT, false), Ok(()));
    }

    #[test]
    fn a_replacement_counts_with_its_nonce_and_not_beside_it() {
        let mut day = Day::default();
        for wei in [50, 60, 70] {
            assert_eq!(day.admit(NOON, 4, wei, LIMIT, false), Ok(()));
        }
        assert_eq!(day.admit(NOON, 4, 40, LIMIT, false), Ok(()), "a cheaper one for the same nonce");
        assert_eq!(day.admit(NOON, 5, 30, LIMIT, true), Ok(()));
        assert!(day.admit(NOON, 6, 1, LIMIT, true).is_err(), "the dearest of nonce 4 still counts");
    }

    #[test]
    fn what_was_counted_before_a_restart_is_not_given_anew_and_no_clock_that_is_set_back_helps() {
        let mut day = Day::default();
        day.count(NOON - DAY, 1, 90);
        day.count(NOON, 2, 80);
        day.count(NOON - DAY, 3, 90);
        assert_eq!(day.admit(NOON, 9, 21, LIMIT, true).expect_err("80 are spent").spent_wei, 80);
        assert_eq!(day.admit(NOON - DAY, 9, 21, LIMIT, true).expect_err("nor yesterday").spent_wei, 80);
        assert_eq!(day.admit(NOON, 9, 20, LIMIT, true), Ok(()));
    }

    #[test]
    fn without_a_limit_nothing_is_refused_and_no_cost_overflows() {
        let mut day = Day::default();
        assert_eq!(day.admit(NOON, 0, u128::MAX, None, false), Ok(()));
        assert_eq!(day.admit(NOON, 1, u128::MAX, None, false), Ok(()));
        assert!(day.admit(NOON, 2, u128::MAX, LIMIT, true).is_err());
    }
}
