//! What is left to do for a deployment, decided from what is on chain alone. That is why `up` can be stopped at any line and
//! run again.

use manifests::money::Amount;
use market::reader::{AccountState, OrderState};

use crate::sight::Sight;

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Open the deployment.
    CreateDeployment,
    /// Pay this much into its escrow account.
    Deposit(Amount),
    /// Post the order of this group (counted from 0).
    CreateOrder(usize),
    /// Wait for bids on the orders that are open, and accept one each.
    Award,
    /// All groups are leased: hand over the manifest and wait until it runs.
    Serve,
    /// It cannot be brought up any more, and why.
    Over(String),
}

/// Decides it. Money is deposited before the first bid is accepted; later top-ups are not the business of `up`.
pub(crate) fn next(deposit: Amount, sight: &Sight) -> Step {
    let Some(account) = sight.account else { return Step::CreateDeployment };
    if account.state == AccountState::Depleted {
        return Step::Over("its escrow account ran dry".to_owned());
    }
    for group in &sight.groups {
        let name = &group.name;
        match (group.state, group.lease.and_then(|lease| lease.ended)) {
            (_, Some((_, reason))) => return Step::Over(format!("the lease of {name} has ended: {reason}")),
            // An auction that nobody answered ends as one with no bids does, however late it is looked at.
            (Some(OrderState::Expired), _) if group.award.is_some() => {}
            (Some(OrderState::Expired), _) => {
                return Step::Over(format!("the order of {name} found no taker in time"));
            }
            (Some(OrderState::Closed), _) => return Step::Over(format!("the order of {name} was closed")),
            (Some(OrderState::Depleted), _) => {
                return Step::Over(format!("the lease of {name} ran out of money"));
            }
            (None | Some(OrderState::Open | OrderState::Active | OrderState::Reclaiming), None) => {}
        }
    }
    let leased = |state: Option<OrderState>| state.is_some_and(OrderState::runs);
    let none_leased = !sight.groups.iter().any(|group| leased(group.state));
    if let Some(missing) = deposit.checked_sub(account.balance)
        && missing > Amount::ZERO
        && none_leased
    {
        return Step::Deposit(missing);
    }
    if let Some(group) = sight.groups.iter().position(|group| group.state.is_none()) {
        return Step::CreateOrder(group);
    }
    if sight.groups.iter().all(|group| leased(group.state)) { Step::Serve } else { Step::Award }
}

#[cfg(test)]
mod tests {
    use manifests::money::Rate;
    use manifests::order::{AccountId, Address, BlockRef, CloseReason, Hash};
    use market::reader::{Account, AwardRecord, LeaseRecord};

    use super::*;
    use crate::sight::GroupSight;

    const DEPOSIT: Amount = Amount(500);

    fn account(balance: u128) -> Account {
        Account {
            state: AccountState::Open,
            manifest_hash: Hash::default(),
            balance: Amount(balance),
            balance_scaled: balance * 1_000_000_000,
            refundable: Amount(balance),
            rate_sum: Rate::ZERO,
            funded_until: None,
        }
    }

    fn sight(account: Option<Account>, states: &[Option<OrderState>]) -> Sight {
        let head = BlockRef { number: 1, hash: Hash::default(), parent: Hash::default(), timestamp: 100 };
        let id = AccountId { tenant: Address::default(), dseq: 1 };
        let group = |(gseq, state): (u16, &Option<OrderState>)| GroupSight {
            name: format!("g{gseq}"),
            order: id.order(gseq, 1),
            state: *state,
            award: None,
            lease: state.filter(|state| state.runs()).map(lease),
        };
        Sight { head, account, groups: (1..).zip(states).map(group).collect() }
    }

    fn lease(state: OrderState) -> LeaseRecord {
        LeaseRecord {
            state,
            provider: Address([1; 20]),
            rate: Rate::ZERO,
            started_at: 1,
            checkpoint: 1,
            billable_until: 2,
            funded_until: 3,
            ended: None,
            reclaim_deadline: None,
            fee_bps: 0,
            bond: Amount::ZERO,
        }
    }

    #[test]
    fn each_thing_on_chain_leads_to_the_next_until_all_groups_run() {
        use OrderState::{Active, Open};
        let steps = [
            (sight(None, &[None, None]), Step::CreateDeployment),
            (sight(Some(account(0)), &[None, None]), Step::Deposit(Amount(500))),
            (sight(Some(account(200)), &[None, None]), Step::Deposit(Amount(300))),
            (sight(Some(account(500)), &[None, None]), Step::CreateOrder(0)),
            (sight(Some(account(500)), &[Some(Open), None]), Step::CreateOrder(1)),
            (sight(Some(account(500)), &[Some(Open), Some(Open)]), Step::Award),
            (sight(Some(account(499)), &[Some(Active), Some(Open)]), Step::Award),
            (sight(Some(account(10)), &[Some(Active), Some(OrderState::Reclaiming)]), Step::Serve),
        ];
        for (sight, step) in steps {
            assert_eq!(next(DEPOSIT, &sight), step, "{sight:?}");
        }
    }

    #[test]
    fn an_auction_that_nobody_answered_ends_as_one_with_no_bids_does_however_late_it_is_seen() {
        let mut late = sight(Some(account(500)), &[Some(OrderState::Expired)]);
        late.groups[0].award = Some(AwardRecord { deadline: 50, best: None });
        assert_eq!(next(DEPOSIT, &late), Step::Award);
    }

    #[test]
    fn what_has_ended_is_not_begun_again() {
        let over = |sight: &Sight| matches!(next(DEPOSIT, sight), Step::Over(_));
        for state in [OrderState::Closed, OrderState::Expired, OrderState::Depleted] {
            assert!(over(&sight(Some(account(500)), &[Some(OrderState::Active), Some(state)])), "{state:?}");
        }
        let mut ended = sight(Some(account(500)), &[Some(OrderState::Active)]);
        ended.groups[0].lease =
            Some(LeaseRecord { ended: Some((5, CloseReason::UNSTABLE)), ..lease(OrderState::Closed) });
        assert!(over(&ended));
        let dry = Account { state: AccountState::Depleted, ..account(0) };
        assert!(over(&sight(Some(dry), &[Some(OrderState::Open)])));
    }
}
