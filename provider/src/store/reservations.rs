//! Capacity that is promised: held for a bid, then leased, then released.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, anyhow};
use manifests::decision::Placement;
use manifests::order::{Address, Hash, OrderId};
use sqlx::any::{AnyQueryResult, AnyRow};
use sqlx::{Any, Transaction};

use super::Store;
use super::intents::{IntentRow, drop_unsaid_bids, with_begun};
use super::leases::LeaseRow;
use super::rows::{BidRow, OrderRow, json, maybe_text, number, sql, string, text, to_json};
use crate::failpoint::{self, Point};

/// Where a reservation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReservationState {
    /// A bid promised it.
    Held,
    /// A lease has it.
    Leased,
    /// It is free again.
    Released,
}

impl ReservationState {
    /// The word in tables and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Leased => "leased",
            Self::Released => "released",
        }
    }

    fn read(word: &str) -> anyhow::Result<Self> {
        [Self::Held, Self::Leased, Self::Released]
            .into_iter()
            .find(|state| state.word() == word)
            .ok_or_else(|| anyhow!("the database holds a reservation in state \"{word}\""))
    }
}

const OF_ORDERS: &str = "select orders.* from orders join reservations on reservations.order_id = orders.id \
     where reservations.state <> 'released'";
const OF_BIDS: &str = "select bids.* from bids join reservations on reservations.order_id = bids.order_id \
     where reservations.state <> 'released' and bids.provider = $1";
const OF_LEASES: &str = "select leases.* from leases join reservations on reservations.order_id = leases.id \
     where reservations.state <> 'released'";
const OF_TORN_DOWN: &str = "select lease_id from lease_status join reservations on reservations.order_id = lease_id \
     where reservations.state <> 'released' and torn_down_at is not null";
const OF_INTENTS: &str = with_begun!(
    "join reservations on reservations.order_id = intents.order_id \
     where reservations.state <> 'released' and intents.kind = 'bid' order by intents.created_at, intents.id"
);

/// What is promised for an order, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservationRow {
    /// The order, which names the lease too.
    pub order: OrderId,
    /// The terms it was promised on.
    pub spec_hash: Hash,
    /// Where it stands.
    pub state: ReservationState,
    /// Which nodes and GPU pools, a replica at a time.
    pub placement: Placement,
    /// Why it was released.
    pub released_because: Option<String>,
    /// Unix seconds of its last change.
    pub updated_at: u64,
}

/// What is promised, and up to which promise that is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promised {
    /// Everything held and leased, oldest first.
    pub rows: Vec<ReservationRow>,
    /// The last promise that `rows` tell of. The next one is made only by who knew this one, so that what is free is
    /// promised once.
    pub last: u64,
}

/// A reservation with everything that decides what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What is promised.
    pub reservation: ReservationRow,
    /// The order, as far as the chain knows it.
    pub order: Option<OrderRow>,
    /// Our bid, as far as the chain knows it.
    pub bid: Option<BidRow>,
    /// The lease that the order became, ours or another's.
    pub lease: Option<LeaseRow>,
    /// Nothing of the lease is left in the cluster.
    pub torn_down: bool,
    /// The latest intent to bid.
    pub said: Option<IntentRow>,
}

impl Store {
    /// Everything that is promised at the moment, with how its order, bid and lease stand.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn standings(&self, provider: Address) -> anyhow::Result<Vec<Standing>> {
        let orders: Vec<OrderRow> = self.of_reserved(OF_ORDERS, None, OrderRow::read).await?;
        let bids = self.of_reserved(OF_BIDS, Some(provider), BidRow::read).await?;
        let leases: Vec<LeaseRow> = self.of_reserved(OF_LEASES, None, LeaseRow::read).await?;
        let gone = self.of_reserved(OF_TORN_DOWN, None, |row| text::<OrderId>(row, "lease_id")).await?;
        let said = self.of_reserved(OF_INTENTS, None, IntentRow::read).await?;

        let mut orders: BTreeMap<_, _> = orders.into_iter().map(|row| (row.order.id, row)).collect();
        let bids: BTreeMap<_, _> = bids.into_iter().map(|row| (row.bid.order, row)).collect();
        let leases: BTreeMap<_, _> = leases.into_iter().map(|row| (row.lease.id, row)).collect();
        let gone: BTreeSet<_> = gone.into_iter().collect();
        // Oldest first: the latest of an order stays.
        let mut said: BTreeMap<_, _> = said.into_iter().map(|row| (row.intent.order, row)).collect();
        Ok(self
            .reservations()
            .await?
            .into_iter()
            .map(|reservation| {
                let id = reservation.order;
                Standing {
                    order: orders.remove(&id),
                    bid: bids.get(&id).copied(),
                    lease: leases.get(&id).copied(),
                    torn_down: gone.contains(&id),
                    said: said.remove(&Some(id)),
                    reservation,
                }
            })
            .collect())
    }

    async fn of_reserved<T>(
        &self,
        query: &'static str,
        provider: Option<Address>,
        read: impl Fn(&AnyRow) -> anyhow::Result<T>,
    ) -> anyhow::Result<Vec<T>> {
        let query = match provider {
            Some(provider) => sqlx::query(query).bind(provider.to_string()),
            None => sqlx::query(query),
        };
        let rows = query.fetch_all(&self.reader).await;
        rows.context("failed to read how reservations stand")?.iter().map(read).collect()
    }

    /// Leases that are live although what was promised for them was released, and whether the cluster holds their workload:
    /// what that takes nobody else was promised.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn released_but_leased(
        &self,
        provider: Address,
    ) -> anyhow::Result<Vec<(ReservationRow, OrderRow, bool)>> {
        let ids = sqlx::query(
            "select order_id from reservations join leases on leases.id = reservations.order_id \
             where reservations.state = 'released' and leases.state <> 'closed' and leases.provider = $1 order by order_id",
        )
        .bind(provider.to_string())
        .fetch_all(&self.reader)
        .await
        .context("failed to look for leases without a reservation")?;
        let mut found = Vec::new();
        for row in &ids {
            let id: OrderId = text(row, "order_id")?;
            // What changed in between is another turn's.
            if let (Some(reservation), Some(order)) = (self.reservation(id).await?, self.order(id).await?) {
                let runs = self
                    .lease_status(id)
                    .await?
                    .is_some_and(|seen| seen.applied_revision.is_some() && seen.torn_down_at.is_none());
                found.push((reservation, order, runs));
            }
        }
        Ok(found)
    }

    /// Orders whose time is not over at `now` (unix seconds of chain time), for which a bid of this provider stands although what
    /// was promised for it was released: a reorganisation took back what had ended it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn released_but_standing(
        &self,
        provider: Address,
        now: u64,
    ) -> anyhow::Result<Vec<(ReservationRow, OrderRow, BidRow)>> {
        let ids = sqlx::query(
            "select reservations.order_id from reservations \
             join orders on orders.id = reservations.order_id and orders.spec_hash = reservations.spec_hash \
             join bids on bids.order_id = reservations.order_id \
             where reservations.state = 'released' and orders.state = 'open' and orders.expires_at >= $2 \
             and bids.provider = $1 and bids.state = 'open' and bids.expires_at >= $2 order by reservations.order_id",
        )
        .bind(provider.to_string())
        .bind(sql(now)?)
        .fetch_all(&self.reader)
        .await
        .context("failed to look for bids without a reservation")?;
        let mut found = Vec::new();
        for row in &ids {
            let id: OrderId = text(row, "order_id")?;
            // What changed in between is another turn's.
            if let (Some(reservation), Some(order), Some(bid)) =
                (self.reservation(id).await?, self.order(id).await?, self.bid(id, provider).await?)
            {
                found.push((reservation, order, bid));
            }
        }
        Ok(found)
    }

    /// Promises for an order whose bid stands again what was released. Returns whether it did: not if it is promised already, nor
    /// if more was promised after `last`, by which the placement was chosen.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn hold_again(
        &self,
        order: OrderId,
        placement: &Placement,
        last: u64,
        now: u64,
    ) -> anyhow::Result<bool> {
        let held = self.promise_again(ReservationState::Held, order, placement, last, now).await;
        held.with_context(|| format!("failed to reserve again for order {order}"))
    }

    /// The same for an order that became a lease although what was promised for it was released.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn lease_again(
        &self,
        order: OrderId,
        placement: &Placement,
        last: u64,
        now: u64,
    ) -> anyhow::Result<bool> {
        let leased = self.promise_again(ReservationState::Leased, order, placement, last, now).await;
        leased.with_context(|| format!("failed to reserve again for lease {order}"))
    }

    /// Says anew why nothing is promised for an order. Returns whether that is news.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn tell_released(&self, order: OrderId, because: &str, now: u64) -> anyhow::Result<bool> {
        let changed = sqlx::query(
            "update reservations set released_because = $2, updated_at = $3 \
             where order_id = $1 and state = 'released' and coalesce(released_because, '') <> $2",
        )
        .bind(order.to_string())
        .bind(because)
        .bind(sql(now)?)
        .execute(&self.writer)
        .await
        .with_context(|| format!("failed to say why nothing is reserved for order {order}"))?;
        Ok(changed.rows_affected() > 0)
    }

    /// Gives what was released a place and a state again; whether it did.
    async fn promise_again(
        &self,
        state: ReservationState,
        order: OrderId,
        placement: &Placement,
        last: u64,
        now: u64,
    ) -> anyhow::Result<bool> {
        let statement = "update reservations set state = $5, placement = $2, promise = $3 + 1, updated_at = $4, \
             released_because = null where order_id = $1 and state = 'released' \
             and $3 = (select coalesce(max(promise), 0) from reservations)";
        self.place_anew(statement, state, order, placement, last, now).await
    }

    /// Gives a reservation a placement that was chosen by the promises up to `last`; whether it did. The statement says what is
    /// done with `state`, its last parameter.
    async fn place_anew(
        &self,
        statement: &'static str,
        state: ReservationState,
        order: OrderId,
        placement: &Placement,
        last: u64,
        now: u64,
    ) -> anyhow::Result<bool> {
        let done = sqlx::query(statement)
            .bind(order.to_string())
            .bind(to_json(placement)?)
            .bind(sql(last)?)
            .bind(sql(now)?)
            .bind(state.word())
            .execute(&self.writer)
            .await;
        Ok(is_made(done)?)
    }

    /// Everything that is promised at the moment: held and leased, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn reservations(&self) -> anyhow::Result<Vec<ReservationRow>> {
        sqlx::query("select * from reservations where state <> 'released' order by created_at, order_id")
            .fetch_all(&self.reader)
            .await
            .context("failed to read the reservations")?
            .iter()
            .map(read)
            .collect()
    }

    /// Everything that is promised at the moment, to decide about more.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn promised(&self) -> anyhow::Result<Promised> {
        // The number first: a promise made in between makes the decision outdated, never unseen.
        let last = sqlx::query("select coalesce(max(promise), 0) as last from reservations")
            .fetch_one(&self.reader)
            .await
            .context("failed to read the last promise")?;
        Ok(Promised { last: number(&last, "last")?, rows: self.reservations().await? })
    }

    /// What is or was promised for an order. For a lease it says to which nodes its pods are bound.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn reservation(&self, order: OrderId) -> anyhow::Result<Option<ReservationRow>> {
        sqlx::query("select * from reservations where order_id = $1")
            .bind(order.to_string())
            .fetch_optional(&self.reader)
            .await
            .with_context(|| format!("failed to read the reservation of order {order}"))?
            .map(|row| read(&row))
            .transpose()
    }

    /// Holds for a bid again what a lease had, after a reorg took the lease away. Returns whether that changed anything.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn hold_reservation(&self, order: OrderId, now: u64) -> anyhow::Result<bool> {
        let changed = sqlx::query(
            "update reservations set state = 'held', updated_at = $2 where order_id = $1 and state = 'leased'",
        )
        .bind(order.to_string())
        .bind(sql(now)?)
        .execute(&self.writer)
        .await
        .with_context(|| format!("failed to hold the reservation of order {order} again"))?;
        Ok(changed.rows_affected() > 0)
    }

    /// Turns what was held for a bid into what its lease has. Returns whether that changed anything: not if nothing is held.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn lease_reservation(&self, order: OrderId, now: u64) -> anyhow::Result<bool> {
        let changed = sqlx::query(
            "update reservations set state = 'leased', updated_at = $2 where order_id = $1 and state = 'held'",
        )
        .bind(order.to_string())
        .bind(sql(now)?)
        .execute(&self.writer)
        .await
        .with_context(|| format!("failed to lease the reservation of order {order}"))?;
        Ok(changed.rows_affected() > 0)
    }

    /// Frees what was promised for an order, and drops a bid for it that was not said to the chain yet. With `forget` the
    /// decision is dropped too, so that the order is decided again should it come back. Returns whether anything was held.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn release_reservation(
        &self,
        order: OrderId,
        because: &str,
        forget: bool,
        now: u64,
    ) -> anyhow::Result<bool> {
        let mut tx = self.begin().await?;
        let changed = release(&mut tx, order, because, now).await?;
        drop_unsaid_bids(&mut tx, order, because, now).await?;
        if forget {
            sqlx::query("delete from decisions where order_id = $1")
                .bind(order.to_string())
                .execute(&mut *tx)
                .await
                .with_context(|| format!("failed to forget the decision on order {order}"))?;
        }
        tx.commit().await.with_context(|| format!("failed to release the reservation of order {order}"))?;
        if changed {
            failpoint::reach(Point::ReservationReleased);
        }
        Ok(changed)
    }

    /// Moves what is promised for an order to other nodes, after one was lost. Returns whether it did: not if nothing is
    /// promised for the order, nor if more was promised after `last`, by which the placement was chosen.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn move_reservation(
        &self,
        order: OrderId,
        placement: &Placement,
        last: u64,
        now: u64,
    ) -> anyhow::Result<bool> {
        let moved = self
            .place_anew(
                "update reservations set placement = $2, promise = $3 + 1, updated_at = $4 \
             where order_id = $1 and state <> $5 \
             and $3 = (select coalesce(max(promise), 0) from reservations)",
                ReservationState::Released,
                order,
                placement,
                last,
                now,
            )
            .await;
        moved.with_context(|| format!("failed to move the reservation of order {order}"))
    }
}

/// Promises what was free by the promises up to `last`. Returns whether it did: not if more was promised since, nor if the
/// order has a reservation that stands.
pub(super) async fn hold(
    tx: &mut Transaction<'static, Any>,
    order: OrderId,
    spec_hash: Hash,
    placement: &Placement,
    last: u64,
    now: u64,
) -> anyhow::Result<bool> {
    let held = sqlx::query(
        "insert into reservations (order_id, spec_hash, state, placement, promise, created_at, updated_at) \
         select $1, $2, 'held', $3, $4 + 1, $5, $5 \
         where $4 = (select coalesce(max(promise), 0) from reservations) \
         on conflict (order_id) do update set spec_hash = excluded.spec_hash, state = 'held', \
         placement = excluded.placement, promise = excluded.promise, released_because = null, \
         updated_at = excluded.updated_at where reservations.state = 'released'",
    )
    .bind(order.to_string())
    .bind(spec_hash.to_string())
    .bind(to_json(placement)?)
    .bind(sql(last)?)
    .bind(sql(now)?)
    .execute(&mut **tx)
    .await;
    is_made(held).with_context(|| format!("failed to reserve for order {order}"))
}

/// Whether a promise was made. Where writers run beside each other, the number of a promise that another made first is
/// refused as taken.
fn is_made(result: Result<AnyQueryResult, sqlx::Error>) -> Result<bool, sqlx::Error> {
    match result {
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(false),
        result => Ok(result?.rows_affected() > 0),
    }
}

pub(super) async fn release(
    tx: &mut Transaction<'static, Any>,
    order: OrderId,
    because: &str,
    now: u64,
) -> anyhow::Result<bool> {
    let changed = sqlx::query(
        "update reservations set state = 'released', released_because = $2, updated_at = $3 \
         where order_id = $1 and state <> 'released'",
    )
    .bind(order.to_string())
    .bind(because)
    .bind(sql(now)?)
    .execute(&mut **tx)
    .await
    .with_context(|| format!("failed to release the reservation of order {order}"))?;
    Ok(changed.rows_affected() > 0)
}

fn read(row: &AnyRow) -> anyhow::Result<ReservationRow> {
    Ok(ReservationRow {
        order: text(row, "order_id")?,
        spec_hash: text(row, "spec_hash")?,
        state: ReservationState::read(&string(row, "state")?)?,
        placement: json(row, "placement")?,
        released_because: maybe_text(row, "released_because")?,
        updated_at: number(row, "updated_at")?,
    })
}
