//! Leases as the chain tells them, and what the cluster was last seen to do for them.

use anyhow::{Context, anyhow};
use manifests::money::Amount;
use manifests::order::{Address, CloseReason, Fact, Lease, LeaseId};
use sqlx::any::AnyRow;

use super::Store;
use super::fold::Subject;
use super::rows::{amount, json, maybe, number, rate, reason, small, sql, string, text};
use crate::failpoint::{self, Point};

/// Where a lease stands on chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// It runs and is paid.
    Active,
    /// The provider gave notice and may leave at this unix second of chain time.
    Reclaiming {
        /// Unix seconds of chain time.
        deadline: u64,
    },
    /// It ended.
    Closed {
        /// Why.
        reason: CloseReason,
        /// Unix seconds of chain time up to which it is paid.
        ended_at: u64,
        /// Height of the block that says so: teardown waits until it is deep enough.
        block: u64,
    },
}

/// A lease as the chain tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseRow {
    /// Its terms.
    pub lease: Lease,
    /// Where it stands.
    pub state: LeaseState,
    /// Height at which it began: the workload waits until it is deep enough.
    pub created_block: u64,
    /// Unix seconds of chain time up to which it was withdrawn.
    pub paid_until: u64,
    /// What withdrawals brought to the payout address.
    pub paid_net: Amount,
    /// What the market kept of them.
    pub paid_fee: Amount,
}

impl LeaseRow {
    /// Whether it still runs on chain, with or without notice given.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !matches!(self.state, LeaseState::Closed { .. })
    }

    pub(super) fn read(row: &AnyRow) -> anyhow::Result<Self> {
        let state = match string(row, "state")?.as_str() {
            "active" => LeaseState::Active,
            "reclaiming" => LeaseState::Reclaiming { deadline: number(row, "reclaim_deadline")? },
            "closed" => LeaseState::Closed {
                reason: reason(row, "close_reason")?,
                ended_at: number(row, "ended_at")?,
                block: number(row, "closed_block")?,
            },
            other => return Err(anyhow!("the database holds a lease in state \"{other}\"")),
        };
        let lease = Lease {
            id: text(row, "id")?,
            provider: text(row, "provider")?,
            rate: rate(row, "rate")?,
            started_at: number(row, "started_at")?,
            fee_bps: small(row, "fee_bps")?,
            funded_until: number(row, "funded_until")?,
        };
        Ok(Self {
            lease,
            state,
            created_block: number(row, "created_block")?,
            paid_until: number(row, "paid_until")?,
            paid_net: amount(row, "paid_net")?,
            paid_fee: amount(row, "paid_fee")?,
        })
    }
}

/// How a workload does, as far as we can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// Everything that was asked for is ready.
    Healthy,
    /// The workload was seen and something of it is not ready.
    Unhealthy,
    /// We could not look. Never held against the tenant.
    Unknown,
}

impl Health {
    /// The word in tables, metrics and answers.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
        }
    }

    fn read(word: &str) -> anyhow::Result<Self> {
        [Self::Healthy, Self::Unhealthy, Self::Unknown]
            .into_iter()
            .find(|health| health.word() == word)
            .ok_or_else(|| anyhow!("the database holds a lease of health \"{word}\""))
    }
}

/// What the cluster was last seen to do for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseStatus {
    /// Which.
    pub lease: LeaseId,
    /// How it does.
    pub health: Health,
    /// Unix seconds since when it does so.
    pub since: u64,
    /// The manifest revision whose objects the cluster accepted; `None` before the first.
    pub applied_revision: Option<u64>,
    /// Unix seconds at which nothing of it was left in the cluster after its end.
    pub torn_down_at: Option<u64>,
    /// What the tenant is shown, as JSON; it holds no secret.
    pub body: String,
    /// Unix seconds of the last look.
    pub updated_at: u64,
}

impl Store {
    /// The lease, if the chain knows it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn lease(&self, id: LeaseId) -> anyhow::Result<Option<LeaseRow>> {
        sqlx::query("select * from leases where id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await
            .with_context(|| format!("failed to read lease {id}"))?
            .map(|row| LeaseRow::read(&row))
            .transpose()
    }

    /// All leases that a provider won, live and ended, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn leases_of(&self, provider: Address) -> anyhow::Result<Vec<LeaseRow>> {
        sqlx::query("select * from leases where provider = $1 order by created_block, id")
            .bind(provider.to_string())
            .fetch_all(&self.reader)
            .await
            .context("failed to read our leases")?
            .iter()
            .map(LeaseRow::read)
            .collect()
    }

    /// The leases of a provider that still need something done: live ones, and ended ones that were not yet seen torn
    /// down. An ended lease that never had a workload is listed too until its teardown is noted.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn leases_in_hand(&self, provider: Address) -> anyhow::Result<Vec<LeaseRow>> {
        sqlx::query(
            "select * from leases where provider = $1 and (state <> 'closed' or not exists \
             (select 1 from lease_status where lease_id = leases.id and torn_down_at is not null)) \
             order by created_block, id",
        )
        .bind(provider.to_string())
        .fetch_all(&self.reader)
        .await
        .context("failed to read the leases in hand")?
        .iter()
        .map(LeaseRow::read)
        .collect()
    }

    /// Leases of ours that a reorganisation took away and nothing brought back, with the height that was followed then.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn orphaned_leases(&self) -> anyhow::Result<Vec<(LeaseId, u64)>> {
        sqlx::query(
            "select * from orphaned_leases where not exists (select 1 from leases where id = lease_id) order by lease_id",
        )
        .fetch_all(&self.reader)
        .await
        .context("failed to read which leases a reorg took away")?
        .iter()
        .map(|row| Ok((text(row, "lease_id")?, number(row, "since")?)))
        .collect()
    }

    /// Forgets that a reorganisation took this lease away: nothing of it is left to be done.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn forget_orphan(&self, lease: LeaseId) -> anyhow::Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("delete from orphaned_leases where lease_id = $1")
            .bind(lease.to_string())
            .execute(&mut *tx)
            .await
            .with_context(|| format!("failed to forget that a reorg took lease {lease} away"))?;
        tx.commit().await.with_context(|| format!("failed to forget that a reorg took lease {lease} away"))
    }

    /// The leases of a provider that earn, or have earned something that was not withdrawn.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn leases_to_bill(&self, provider: Address) -> anyhow::Result<Vec<LeaseRow>> {
        sqlx::query(
            "select * from leases where provider = $1 and (state <> 'closed' or paid_until < ended_at) \
             order by created_block, id",
        )
        .bind(provider.to_string())
        .fetch_all(&self.reader)
        .await
        .context("failed to read the leases to bill")?
        .iter()
        .map(LeaseRow::read)
        .collect()
    }

    /// How often a lease was paid.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn payouts(&self, lease: LeaseId) -> anyhow::Result<u64> {
        let rows = sqlx::query("select payload from events where subject = $1")
            .bind(Subject::Order(lease).key())
            .fetch_all(&self.reader)
            .await
            .with_context(|| format!("failed to read the payouts of lease {lease}"))?;
        rows.iter().try_fold(0, |count, row| {
            let fact: Fact = json(row, "payload")?;
            Ok(count + u64::from(matches!(fact, Fact::Withdrawn { .. })))
        })
    }

    /// What the cluster was last seen to do for a lease.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn lease_status(&self, lease: LeaseId) -> anyhow::Result<Option<LeaseStatus>> {
        sqlx::query("select * from lease_status where lease_id = $1")
            .bind(lease.to_string())
            .fetch_optional(&self.reader)
            .await
            .with_context(|| format!("failed to read the status of lease {lease}"))?
            .map(|row| read_status(&row))
            .transpose()
    }

    /// The status of every lease that was ever looked at.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn lease_statuses(&self) -> anyhow::Result<Vec<LeaseStatus>> {
        sqlx::query("select * from lease_status order by lease_id")
            .fetch_all(&self.reader)
            .await
            .context("failed to read the status of leases")?
            .iter()
            .map(read_status)
            .collect()
    }

    /// Remembers what the cluster was seen to do. `since` is kept by the store: it moves only when the health changes, so
    /// the value passed in is taken only then. Returns whether anything but the time of looking changed.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn put_lease_status(&self, status: &LeaseStatus) -> anyhow::Result<bool> {
        let LeaseStatus { lease, health, since, applied_revision, torn_down_at, body, updated_at } = status;
        let before = self.lease_status(*lease).await?;
        let same = before.as_ref().is_some_and(|before| {
            (before.health, before.applied_revision, before.torn_down_at, &before.body)
                == (*health, *applied_revision, *torn_down_at, body)
        });
        if !same && torn_down_at.is_some() {
            failpoint::reach(Point::WorkloadPruned);
        } else if !same && before.is_none_or(|before| before.applied_revision != *applied_revision) {
            failpoint::reach(Point::WorkloadApplied);
        }
        sqlx::query(
            "insert into lease_status (lease_id, health, since, applied_revision, torn_down_at, body, updated_at) \
             values ($1, $2, $3, $4, $5, $6, $7) on conflict (lease_id) do update set \
             since = case when lease_status.health = excluded.health then lease_status.since else excluded.since end, \
             health = excluded.health, applied_revision = excluded.applied_revision, \
             torn_down_at = excluded.torn_down_at, body = excluded.body, updated_at = excluded.updated_at",
        )
        .bind(lease.to_string())
        .bind(health.word())
        .bind(sql(*since)?)
        .bind(applied_revision.map(sql).transpose()?)
        .bind(torn_down_at.map(sql).transpose()?)
        .bind(body)
        .bind(sql(*updated_at)?)
        .execute(&self.writer)
        .await
        .with_context(|| format!("failed to store the status of lease {lease}"))?;
        if !same {
            failpoint::reach(Point::StatusStored);
        }
        Ok(!same)
    }
}

fn read_status(row: &AnyRow) -> anyhow::Result<LeaseStatus> {
    Ok(LeaseStatus {
        lease: text(row, "lease_id")?,
        health: Health::read(&string(row, "health")?)?,
        since: number(row, "since")?,
        applied_revision: maybe(row, "applied_revision")?,
        torn_down_at: maybe(row, "torn_down_at")?,
        body: string(row, "body")?,
        updated_at: number(row, "updated_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn health_keeps_its_since_until_it_changes() {
        let store = Store::fresh().await.expect("opens");
        let lease = LeaseId { tenant: Address([1; 20]), dseq: 1, gseq: 1, oseq: 1 };
        let status = |health, now| LeaseStatus {
            lease,
            health,
            since: now,
            applied_revision: Some(1),
            torn_down_at: None,
            body: "{}".to_owned(),
            updated_at: now,
        };
        assert!(store.put_lease_status(&status(Health::Unhealthy, 10)).await.expect("stored"));
        assert!(store.put_lease_status(&status(Health::Healthy, 20)).await.expect("stored"));
        assert!(!store.put_lease_status(&status(Health::Healthy, 30)).await.expect("stored"));
        let read = store.lease_status(lease).await.expect("read").expect("stored");
        assert_eq!((read.health, read.since, read.updated_at), (Health::Healthy, 20, 30));
    }
}
