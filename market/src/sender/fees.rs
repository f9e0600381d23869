//! What a transaction should offer to be mined soon, from the fees of recent blocks.

use ethers_core::types::FeeHistory;

/// Blocks of history that are looked at.
pub(super) const HISTORY: u64 = 20;
/// The share of transactions, in percent, that paid less tip than we offer.
pub(super) const PERCENTILE: f64 = 50.0;

/// An offer, in wei per gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fees {
    pub(super) max_fee: u128,
    pub(super) max_tip: u128,
}

/// Twice the next base fee plus the median tip, which is at least `min_tip`; nothing above `cap`.
pub(super) fn offer(history: &FeeHistory, min_tip: u128, cap: u128) -> Fees {
    let base = next_base_fee(history);
    let mut tips: Vec<u128> = history
        .reward
        .iter()
        .filter_map(|block| block.first())
        .map(|tip| u128::try_from(*tip).unwrap_or(u128::MAX))
        .filter(|tip| *tip > 0)
        .collect();
    tips.sort_unstable();
    let tip = tips.get(tips.len() / 2).copied().unwrap_or(0).max(min_tip);
    let max_fee = base.saturating_mul(2).saturating_add(tip).min(cap);
    Fees { max_fee, max_tip: tip.min(max_fee) }
}

/// The base fee of the block that comes next: the last entry of the history.
pub(super) fn next_base_fee(history: &FeeHistory) -> u128 {
    history.base_fee_per_gas.last().map_or(0, |fee| u128::try_from(*fee).unwrap_or(u128::MAX))
}

/// What a replacement must offer: an eighth more of both than before, since nodes take no less than a tenth, and no less than
/// the market wants now. `None` when that is beyond `cap`.
pub(super) fn replacement(before: Fees, now: Fees, cap: u128) -> Option<Fees> {
    let eighth_more = |fee: u128| fee.saturating_add(fee.div_ceil(8));
    let max_fee = eighth_more(before.max_fee).max(now.max_fee);
    let max_tip = eighth_more(before.max_tip).max(now.max_tip);
    (max_fee <= cap).then_some(Fees { max_fee, max_tip: max_tip.min(max_fee) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(base: u64, tips: &[u64]) -> FeeHistory {
        FeeHistory {
            base_fee_per_gas: vec![1.into(), base.into()],
            gas_used_ratio: Vec::new(),
            oldest_block: 0.into(),
            reward: tips.iter().map(|tip| vec![(*tip).into()]).collect(),
        }
    }

    #[test]
    fn an_offer_survives_the_base_fee_doubling() {
        assert_eq!(offer(&history(100, &[0, 7, 3, 5]), 1, u128::MAX), Fees { max_fee: 205, max_tip: 5 });
        assert_eq!(offer(&history(100, &[]), 2, u128::MAX), Fees { max_fee: 202, max_tip: 2 });
        assert_eq!(offer(&history(100, &[]), 2, 150), Fees { max_fee: 150, max_tip: 2 });
        assert_eq!(offer(&history(0, &[]), 2, 1), Fees { max_fee: 1, max_tip: 1 });
    }

    #[test]
    fn a_replacement_raises_both_by_an_eighth_or_more() {
        let before = Fees { max_fee: 100, max_tip: 1 };
        let cheap = Fees { max_fee: 10, max_tip: 1 };
        let dear = Fees { max_fee: 900, max_tip: 9 };
        assert_eq!(replacement(before, cheap, u128::MAX), Some(Fees { max_fee: 113, max_tip: 2 }));
        assert_eq!(replacement(before, dear, u128::MAX), Some(dear));
        assert_eq!(replacement(before, dear, 899), None);
    }
}
