//! What metrics show of tables that grow: the database counts and sums, and no row is read for it.

use std::collections::BTreeMap;

use anyhow::Context;
use manifests::money::Amount;
use manifests::order::Address;

use super::Store;
use super::rows::{number, string};
use crate::leases::ledger::Ledger;

/// All leases of one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeaseTally {
    /// How many there are.
    pub count: u64,
    /// The money of those that ended and were paid to the end.
    pub settled: Ledger,
    /// What of it reached the payout address.
    pub settled_net: Amount,
    /// Unix seconds of chain time up to which one of them was last paid; 0 if none was.
    pub paid_until: u64,
}

impl Store {
    /// The leases of a provider, by the word of their state.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn lease_tallies(&self, provider: Address) -> anyhow::Result<BTreeMap<String, LeaseTally>> {
        let rows = sqlx::query(
            "select state, count(*) as n, \
             cast(coalesce(sum(case when paid_until >= ended_at then cast(paid_net as bigint) end), 0) as bigint) as net, \
             cast(coalesce(sum(case when paid_until >= ended_at then cast(paid_fee as bigint) end), 0) as bigint) as fee, \
             coalesce(max(case when paid_until > started_at then paid_until end), 0) as paid \
             from leases where provider = $1 group by state",
        )
        .bind(provider.to_string())
        .fetch_all(&self.reader)
        .await
        .context("failed to count our leases")?;
        let tally = |row| {
            let (net, fee) = (u128::from(number(row, "net")?), u128::from(number(row, "fee")?));
            let all = Amount(net.saturating_add(fee));
            let tally = LeaseTally {
                count: number(row, "n")?,
                settled: Ledger { accrued: all, withdrawn: all, ..Ledger::default() },
                settled_net: Amount(net),
                paid_until: number(row, "paid")?,
            };
            Ok((string(row, "state")?, tally))
        };
        rows.iter().map(tally).collect()
    }

    /// How many reservations hold capacity, by the word of their state.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn count_reservations(&self) -> anyhow::Result<Vec<(String, u64)>> {
        self.count(
            "select state as word, count(*) as n from reservations where state <> 'released' group by state",
        )
        .await
        .context("failed to count the reservations")
    }

    /// How many leases that were not torn down do how, by the word of their health.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn count_health(&self) -> anyhow::Result<Vec<(String, u64)>> {
        self.count("select health as word, count(*) as n from lease_status where torn_down_at is null group by health")
            .await
            .context("failed to count how leases do")
    }

    /// How many live leases of a provider wait for their manifest.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn count_awaiting_manifest(&self, provider: Address) -> anyhow::Result<u64> {
        let row = sqlx::query(
            "select count(*) as n from leases where provider = $1 and state <> 'closed' \
             and not exists (select 1 from manifests where lease_id = leases.id)",
        )
        .bind(provider.to_string())
        .fetch_one(&self.reader)
        .await
        .context("failed to count the leases without a manifest")?;
        number(&row, "n")
    }

    async fn count(&self, query: &'static str) -> anyhow::Result<Vec<(String, u64)>> {
        let rows = sqlx::query(query).fetch_all(&self.reader).await?;
        rows.iter().map(|row| Ok((string(row, "word")?, number(row, "n")?))).collect()
    }
}
