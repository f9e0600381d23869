//! When what leases earned is collected: by its value against the fee of collecting it, when it is old, or before its account
//! ends. Nothing is collected that costs more than it brings; it waits, and loses nothing by that.

use manifests::money::Amount;
use manifests::order::LeaseId;

/// The most leases in one withdrawal, as the contract has it.
pub const BATCH: usize = 100;

/// What a withdrawal must bring, in fees that it costs.
const WORTH: u128 = 50;

/// Gas of a withdrawal of one lease, and of each lease more. The contracts' gas snapshot says the same.
const GAS_OF_ONE: u128 = 65_000;
const GAS_OF_MORE: u128 = 13_000;

const WEI_PER_COIN: u128 = 1_000_000_000_000_000_000;

/// What can be collected of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Which.
    pub lease: LeaseId,
    /// What it would bring to the payout address.
    pub net: Amount,
    /// Whether it is time although it may bring little: it was not collected for as long as is allowed, or its account ends soon.
    pub is_time: bool,
    /// Whether the lease ended: it earns nothing more.
    pub has_ended: bool,
}

/// What collecting must be worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// This much of each lease.
    Above(Amount),
    /// Fifty times its fee.
    Fee(Fee),
}

/// What a withdrawal costs, in token units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fee {
    one: u128,
    more: u128,
}

impl Fee {
    /// At `gas_price` wei per gas, and token units a coin.
    #[must_use]
    pub fn at(gas_price: u128, native_price: Amount) -> Self {
        let units = |gas: u128| {
            let wei = gas.saturating_mul(gas_price);
            wei.saturating_mul(native_price.0).div_ceil(WEI_PER_COIN)
        };
        Self { one: units(GAS_OF_ONE), more: units(GAS_OF_MORE) }
    }

    /// Of a withdrawal of so many leases.
    #[must_use]
    pub fn of(self, leases: usize) -> Amount {
        let more = leases.saturating_sub(1) as u128;
        Amount(self.one.saturating_add(self.more.saturating_mul(more)))
    }
}

/// Which leases are collected now, the largest sums first, no more than one withdrawal can hold.
#[must_use]
pub fn collect(claims: &[Claim], worth: Worth) -> Vec<LeaseId> {
    let mut due: Vec<&Claim> = match worth {
        Worth::Above(least) => {
            claims.iter().filter(|claim| claim.is_time || claim.has_ended || claim.net >= least).collect()
        }
        Worth::Fee(fee) => worth_their_fee(claims, fee),
    };
    due.retain(|claim| claim.net > Amount::ZERO);
    due.sort_by_key(|claim| (std::cmp::Reverse(claim.net), claim.lease));
    due.into_iter().take(BATCH).map(|claim| claim.lease).collect()
}

/// Those whose time it is, if they bring more than they cost; and with them, or by themselves if all together are worth it,
/// those that are worth fifty times what they add to the fee.
fn worth_their_fee(claims: &[Claim], fee: Fee) -> Vec<&Claim> {
    let is_worth = |net: u128, cost: u128| net >= cost.saturating_mul(WORTH);
    let timely = |claim: &&Claim| claim.is_time && claim.net > fee.of(1);
    let with_others: Vec<&Claim> =
        claims.iter().filter(|claim| timely(claim) || is_worth(claim.net.0, fee.more)).collect();
    let sum = with_others.iter().fold(0u128, |sum, claim| sum.saturating_add(claim.net.0));
    let is_due = claims.iter().any(|claim| timely(&claim)) || is_worth(sum, fee.of(with_others.len()).0);
    if is_due { with_others } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use manifests::order::Address;

    use super::*;

    /// A thousandth of a gwei, and 2,000 dollars a coin: one lease costs 130 units, each more 26.
    const FEE: Fee = Fee { one: 130, more: 26 };

    fn claim(dseq: u64, net: u128, is_time: bool) -> Claim {
        let lease = LeaseId { tenant: Address([1; 20]), dseq, gseq: 1, oseq: 1 };
        Claim { lease, net: Amount(net), is_time, has_ended: false }
    }

    fn collected(claims: &[Claim], worth: Worth) -> Vec<u64> {
        collect(claims, worth).into_iter().map(|lease| lease.dseq).collect()
    }

    #[test]
    fn a_fee_is_gas_times_price_in_token_units_rounded_up() {
        assert_eq!(Fee::at(1_000_000, Amount(2_000_000_000)), FEE);
        assert_eq!((FEE.of(1), FEE.of(3)), (Amount(130), Amount(182)));
        assert_eq!(Fee::at(1, Amount(1)), Fee { one: 1, more: 1 });
        assert_eq!(Fee::at(u128::MAX, Amount(u128::MAX)).of(100).0, u128::MAX.div_ceil(WEI_PER_COIN) * 100);
    }

    #[test]
    fn money_is_collected_when_it_is_worth_fifty_times_the_fee() {
        let worth = Worth::Fee(FEE);
        assert_eq!(collected(&[claim(1, 6_499, false)], worth), [0; 0]);
        assert_eq!(collected(&[claim(1, 6_500, false)], worth), [1]);
        // Together: two cost 156, so 7,800 are wanted of them.
        let (one, other) = (claim(1, 4_000, false), claim(2, 3_799, false));
        assert_eq!(collected(&[one, other], worth), [0; 0]);
        assert_eq!(collected(&[one, claim(2, 3_800, false)], worth), [1, 2]);
    }

    #[test]
    fn a_lease_that_does_not_pay_for_its_own_part_does_not_travel() {
        let worth = Worth::Fee(FEE);
        assert_eq!(collected(&[claim(1, 9_000, false), claim(2, 1_299, false)], worth), [1]);
        assert_eq!(collected(&[claim(1, 9_000, false), claim(2, 1_300, false)], worth), [1, 2]);
    }

    #[test]
    fn what_is_old_or_ends_is_collected_for_less_and_takes_others_along_and_never_at_a_loss() {
        let worth = Worth::Fee(FEE);
        assert_eq!(collected(&[claim(1, 131, true)], worth), [1]);
        assert_eq!(collected(&[claim(1, 130, true)], worth), [0; 0], "it would cost what it brings");
        assert_eq!(collected(&[claim(1, 131, true), claim(2, 1_300, false)], worth), [2, 1]);
        assert_eq!(collected(&[claim(1, 130, true), claim(2, 6_500, false)], worth), [2]);
    }

    #[test]
    fn without_a_price_the_sum_that_was_configured_decides() {
        let worth = Worth::Above(Amount(100));
        assert_eq!(collected(&[claim(1, 99, false), claim(2, 100, false), claim(3, 1, true)], worth), [2, 3]);
        assert_eq!(collected(&[claim(1, 0, true)], Worth::Above(Amount::ZERO)), [0; 0], "nothing is nothing");
    }

    #[test]
    fn the_rest_of_a_lease_that_ended_waits_for_company_where_its_fee_is_known() {
        let ended = Claim { has_ended: true, ..claim(1, 1_300, false) };
        assert_eq!(collected(&[ended], Worth::Above(Amount(1_000_000))), [1]);
        assert_eq!(collected(&[ended], Worth::Fee(FEE)), [0; 0]);
        assert_eq!(collected(&[ended, claim(2, 6_500, false)], Worth::Fee(FEE)), [2, 1]);
    }

    #[test]
    fn one_withdrawal_holds_a_hundred_and_begins_with_the_largest() {
        let claims: Vec<Claim> =
            (1..=120).map(|dseq| claim(dseq, u128::from(dseq) * 10_000, false)).collect();
        let due = collected(&claims, Worth::Fee(FEE));
        assert_eq!((due.len(), due[0], due[99]), (100, 120, 21));
    }

    #[test]
    fn the_gas_of_a_withdrawal_is_that_of_the_contracts_snapshot() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../market/contracts/snapshots/gas.json");
        let text = std::fs::read_to_string(file).expect("the snapshot");
        let measured: std::collections::BTreeMap<String, String> = serde_json::from_str(&text).expect("JSON");
        let gas = |name: &str| measured[name].parse::<u128>().expect("a number");
        let (one, two) = (gas("withdraw"), gas("withdraw two"));
        assert!((one..=one * 11 / 10).contains(&GAS_OF_ONE), "one costs {one}");
        assert!((two - one..=(two - one) * 11 / 10).contains(&GAS_OF_MORE), "one more costs {}", two - one);
    }
}
