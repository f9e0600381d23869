//! What is out already: bids that stand, and what each tenant has and pays, with what is promised while a slice of orders is
//! answered.

use std::collections::BTreeMap;

use bidengine::Books;
use manifests::money::Rate;
use manifests::order::{Address, OrderId};

use crate::pricing::Means;
use crate::store::{ReservationRow, ReservationState};

/// Counts of what is promised.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    open_bids: u64,
    tenants: BTreeMap<Address, (u64, Rate)>,
    maintenance: bool,
}

impl Tally {
    /// What is promised, each at the rate that was decided for it, and whether the operator takes no new orders.
    pub(crate) fn of(
        promised: &[ReservationRow],
        rates: &BTreeMap<OrderId, Rate>,
        maintenance: bool,
    ) -> Self {
        let mut tally = Self { maintenance, ..Self::default() };
        for row in promised {
            let rate = rates.get(&row.order).copied().unwrap_or(Rate::ZERO);
            tally.open_bids += u64::from(row.state == ReservationState::Held);
            tally.promise(row.order.tenant, rate);
        }
        tally
    }

    /// One bid more.
    pub(super) fn bid(&mut self, tenant: Address, rate: Rate) {
        self.open_bids += 1;
        self.promise(tenant, rate);
    }

    fn promise(&mut self, tenant: Address, rate: Rate) {
        let (count, sum) = self.tenants.entry(tenant).or_default();
        *count += 1;
        *sum = sum.checked_add(rate).unwrap_or(Rate::MAX);
    }

    /// The books from which an order of the tenant is decided.
    pub(crate) fn books(&self, tenant: Address, means: Means) -> Books {
        let (tenant_leases, tenant_rate) = self.tenants.get(&tenant).copied().unwrap_or_default();
        let Means { gas_wei, free_bond } = means;
        let Self { open_bids, maintenance, .. } = *self;
        Books { open_bids, tenant_leases, tenant_rate, maintenance, gas_wei, free_bond }
    }
}

#[cfg(test)]
mod tests {
    use manifests::decision::Placement;
    use manifests::money::Amount;
    use manifests::order::Hash;

    use super::*;

    #[test]
    fn a_tenant_is_counted_by_what_it_could_have_and_bids_by_what_stands() {
        let [ours, other] = [Address([1; 20]), Address([2; 20])];
        let rate = |scaled| Rate::new(scaled).expect("small");
        let id = |tenant, dseq| OrderId { tenant, dseq, gseq: 1, oseq: 1 };
        let row = |tenant, dseq, state| ReservationRow {
            order: id(tenant, dseq),
            spec_hash: Hash::default(),
            state,
            placement: Placement::default(),
            released_because: None,
            updated_at: 0,
        };
        let promised = [
            row(ours, 1, ReservationState::Leased),
            row(ours, 2, ReservationState::Held),
            row(other, 1, ReservationState::Held),
        ];
        let rates = [(id(ours, 1), rate(10)), (id(ours, 2), rate(5)), (id(other, 1), rate(100))].into();
        let mut tally = Tally::of(&promised, &rates, false);
        let means = Means { gas_wei: Some(7), free_bond: Some(Amount(9)) };
        let books = tally.books(ours, means);
        assert_eq!((books.open_bids, books.tenant_leases, books.tenant_rate), (2, 2, rate(15)));
        assert_eq!((books.gas_wei, books.free_bond), (Some(7), Some(Amount(9))));
        tally.bid(ours, rate(1));
        let books = tally.books(ours, Means::default());
        assert_eq!((books.open_bids, books.tenant_leases, books.tenant_rate), (3, 3, rate(16)));
        assert_eq!(tally.books(Address([3; 20]), Means::default()).tenant_leases, 0);
    }
}
