//! Orders that go to their lowest bid: whether to bid lower than another does, and how much.

use manifests::money::Rate;

use crate::config::Share;

/// A bid takes the place of the best one only if it is at least one part in this many lower: the contract's rule.
const STEP: u128 = 100;

/// What is to be said next for such an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: ours is the lowest, or nobody else bids.
    Stay,
    /// This.
    Lower(Rate),
    /// Nothing any more: the most that would still win is below what it pays for.
    GiveUp,
}

/// The most that still takes the place of a bid of this rate.
pub(super) fn most_below(rate: Rate) -> Rate {
    Rate::new(rate.scaled() * (STEP - 1) / STEP).unwrap_or(Rate::ZERO)
}

/// What to say when the lowest of the others asks `rival`, ours on the chain asks `ours`, and `floor` is the least that it pays
/// for.
pub(super) fn step(ours: Option<Rate>, rival: Option<Rate>, floor: Rate, undercut: Share) -> Step {
    let Some(rival) = rival else { return Step::Stay };
    if ours.is_some_and(|ours| ours < rival) {
        return Step::Stay;
    }
    let most = most_below(rival);
    if most < floor || most == Rate::ZERO {
        return Step::GiveUp;
    }
    let wish = Rate::new(rival.scaled() - undercut.of(rival.scaled())).unwrap_or(most);
    Step::Lower(wish.min(most).max(floor).max(Rate::new(1).unwrap_or(most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(scaled: u128) -> Rate {
        Rate::new(scaled).expect("small")
    }

    fn told(ours: Option<u128>, rival: Option<u128>, floor: u128, undercut: &str) -> Step {
        step(ours.map(rate), rival.map(rate), rate(floor), undercut.parse().expect("a share"))
    }

    #[test]
    fn another_is_undercut_by_the_share_and_at_least_by_the_contracts_step_but_never_below_the_floor() {
        assert_eq!(told(Some(1000), Some(900), 500, "0.05"), Step::Lower(rate(855)));
        assert_eq!(told(None, Some(900), 500, "0"), Step::Lower(rate(891)), "the least that counts");
        assert_eq!(told(Some(1000), Some(900), 880, "0.05"), Step::Lower(rate(880)), "the floor");
        assert_eq!(told(Some(1000), Some(900), 891, "0.05"), Step::Lower(rate(891)));
        assert_eq!(told(Some(1000), Some(900), 892, "0.05"), Step::GiveUp, "it would not count");
        assert_eq!(told(Some(5), Some(1), 0, "0.5"), Step::GiveUp, "nobody works for nothing");
        assert_eq!(told(Some(5), Some(3), 0, "1"), Step::Lower(rate(1)));
    }

    #[test]
    fn whoever_is_lowest_says_nothing() {
        assert_eq!(told(Some(890), Some(900), 500, "0.05"), Step::Stay);
        assert_eq!(told(Some(890), None, 500, "0.05"), Step::Stay);
        assert_eq!(told(None, None, 500, "0.05"), Step::Stay);
    }
}
