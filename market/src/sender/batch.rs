//! One transaction for several intents: how their calls go together, and what came of each.
//!
//! Which intents a transaction serves is remembered with its bytes, and the bytes name the orders in the same sequence. So
//! what came of each can be read from the receipt alone, by whoever looks: this process or the next one.

use std::collections::{BTreeMap, BTreeSet};

use ethers_contract::EthEvent as _;
use ethers_core::abi::{AbiDecode as _, RawLog};

use super::Outcome;
use crate::bindings::market::{BidRefusedFilter, PlaceBidsCall};
use crate::call::Call;
use crate::node::Receipt;
use crate::revert::MarketError;

/// The most bids or leases that the contract takes in one call.
pub const MOST_AT_ONCE: usize = 100;

/// Whether one transaction can say all of these: bids for different orders, or withdrawals.
pub(super) fn go_together<'a>(calls: impl ExactSizeIterator<Item = &'a Call> + Clone) -> bool {
    let count = calls.len();
    let orders: BTreeSet<_> = calls
        .clone()
        .filter_map(|call| if let Call::PlaceBid { order, .. } = call { Some(order) } else { None })
        .collect();
    let leases =
        calls.map(|call| if let Call::Withdraw { leases } = call { leases.len() } else { MOST_AT_ONCE + 1 });
    count <= MOST_AT_ONCE && (orders.len() == count || leases.sum::<usize>() <= MOST_AT_ONCE)
}

/// What came of each intent of a mined transaction. Bids that were passed over are told by events; else all share one fate. What
/// the transaction cost is shared out evenly, and the first bears what does not divide.
pub(super) fn outcomes(intents: &[String], data: &[u8], receipt: &Receipt) -> Vec<(String, Outcome)> {
    let Receipt { hash, block, block_hash, gas_used, gas_price, created, .. } = *receipt;
    let refused = refused(data, receipt);
    let count = u64::try_from(intents.len()).unwrap_or(u64::MAX).max(1);
    let fates = intents.iter().zip(0u64..).map(|(intent, position)| {
        let gas_used = gas_used / count + if position == 0 { gas_used % count } else { 0 };
        let fee_wei = u128::from(gas_used).saturating_mul(gas_price);
        let outcome = match refused.get(&position) {
            Some(error) => Outcome::Reverted { hash, block, error: error.clone(), fee_wei },
            None => Outcome::Mined { hash, block, block_hash, gas_used, fee_wei, created },
        };
        (intent.clone(), outcome)
    });
    fates.collect()
}

/// The bids of a batch that were passed over, by their place in it.
fn refused(data: &[u8], receipt: &Receipt) -> BTreeMap<u64, MarketError> {
    let Ok(PlaceBidsCall { bids }) = PlaceBidsCall::decode(data) else { return BTreeMap::new() };
    let mut reasons: BTreeMap<[u8; 32], MarketError> = BTreeMap::new();
    for log in &receipt.logs {
        let raw = RawLog { topics: log.topics.clone(), data: log.data.to_vec() };
        let is_ours = receipt.to == Some(crate::convert::address(log.address));
        if let Some(told) = BidRefusedFilter::decode_log(&raw).ok().filter(|_| is_ours) {
            reasons.insert(told.order_id, MarketError::from_revert(&told.reason));
        }
    }
    bids.iter().zip(0u64..).filter_map(|(bid, place)| Some((place, reasons.remove(&bid.order_id)?))).collect()
}

/// The same fate for each.
pub(super) fn reverted(intents: &[String], receipt: &Receipt, error: &MarketError) -> Vec<(String, Outcome)> {
    let Receipt { hash, block, gas_used, gas_price, .. } = *receipt;
    let count = u128::try_from(intents.len()).unwrap_or(u128::MAX).max(1);
    let cost = u128::from(gas_used).saturating_mul(gas_price);
    let fates = intents.iter().zip(0u64..).map(|(intent, position)| {
        let fee_wei = cost / count + if position == 0 { cost % count } else { 0 };
        (intent.clone(), Outcome::Reverted { hash, block, error: error.clone(), fee_wei })
    });
    fates.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifests::money::Rate;
    use manifests::order::{Address, Hash, LeaseId};

    fn order(dseq: u64) -> LeaseId {
        LeaseId { tenant: Address([1; 20]), dseq, gseq: 1, oseq: 1 }
    }

    fn bid(dseq: u64) -> Call {
        let (provider, spec_hash) = (Address([3; 20]), Hash([2; 32]));
        let rate = Rate::new(5).expect("small");
        Call::PlaceBid {
            order: order(dseq),
            provider,
            spec_hash,
            rate,
            expires_at: 9,
            reclaim: 0,
            min_bill: 0,
        }
    }

    fn withdraw(leases: u64) -> Call {
        Call::Withdraw { leases: (0..leases).map(order).collect() }
    }

    #[test]
    fn bids_for_different_orders_go_together_and_withdrawals_of_a_hundred_leases() {
        let together = |calls: &[Call]| go_together(calls.iter());
        assert!(together(&[bid(1), bid(2)]) && together(&[withdraw(60), withdraw(40)]));
        assert!(!together(&[bid(1), bid(1)]), "two for one order: which was refused could not be told");
        assert!(!together(&[withdraw(60), withdraw(41)]) && !together(&[bid(1), withdraw(1)]));
        assert!(!together(&(0..101).map(bid).collect::<Vec<_>>()));
        let finalize = |dseq| Call::Finalize { lease: order(dseq) };
        assert!(!together(&[finalize(1), finalize(2)]));
    }
}
