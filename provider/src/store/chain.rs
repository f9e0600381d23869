//! The chain as it was followed: headers, events and their folds, always changed together.

use std::collections::BTreeSet;

use anyhow::{Context, anyhow};
use manifests::order::{Address, BlockRef, Fact, LogRef, OrderId};
use sqlx::any::AnyRow;
use sqlx::{Any, Transaction};

use super::Store;
use super::accounts::{AccountRow, ProviderRow};
use super::fold::{self, OrderFold, Subject};
use super::leases::{LeaseRow, LeaseState};
use super::rows::{BidRow, OrderRow, OrderState, json, number, sql, string, text, to_json};

/// How many headers are kept below the cursor; a reorg that goes deeper is refused.
const RING: u64 = 512;

/// The key under which reorganisations are counted.
const REORGANISATIONS: &str = "reorganisations";

/// A fact with its place in the chain.
pub type Event = (LogRef, Fact);

/// A step of following the chain.
#[derive(Debug, Clone, Default)]
pub struct Advance {
    /// Everything above this height is dropped first: the chain was reorganised there.
    pub ancestor: Option<u64>,
    /// Headers to remember, ascending; the last one is the new cursor.
    pub blocks: Vec<BlockRef>,
    /// What the logs of the new blocks say.
    pub events: Vec<Event>,
}

impl Store {
    /// The highest block whose facts are stored.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn cursor(&self) -> anyhow::Result<Option<BlockRef>> {
        sqlx::query("select * from blocks order by number desc limit 1")
            .fetch_optional(&self.reader)
            .await
            .context("failed to read the cursor")?
            .map(|row| read_block(&row))
            .transpose()
    }

    /// How many reorganisations were followed so far. What was mined before the last one may not be any more.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn reorganisations(&self) -> anyhow::Result<u64> {
        let row = sqlx::query("select value from identity where key = $1")
            .bind(REORGANISATIONS)
            .fetch_optional(&self.reader)
            .await
            .context("failed to read how often the chain was reorganised")?;
        row.map_or(Ok(0), |row| text(&row, "value"))
    }

    /// The remembered headers at or below a height, highest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn headers_below(&self, height: u64) -> anyhow::Result<Vec<BlockRef>> {
        sqlx::query("select * from blocks where number <= $1 order by number desc")
            .bind(sql(height)?)
            .fetch_all(&self.reader)
            .await
            .context("failed to read the headers")?
            .iter()
            .map(read_block)
            .collect()
    }

    /// Takes a step along the chain: drops what a reorg took away, adds what new blocks say, folds every order, account and
    /// provider that either touched, and moves the cursor, all or nothing.
    ///
    /// # Errors
    /// When the database refuses; nothing has changed then.
    pub async fn advance(&self, step: &Advance) -> anyhow::Result<()> {
        let Advance { ancestor, blocks, events } = step;
        let mut tx = self.begin().await?;
        let mut touched = BTreeSet::new();
        if let Some(ancestor) = ancestor {
            let height = blocks.last().map_or(*ancestor, |block| block.number);
            note_orphans(&mut tx, *ancestor, height).await?;
            touched = drop_above(&mut tx, *ancestor).await?;
            sqlx::query(
                "insert into identity (key, value) values ($1, '1') \
                 on conflict (key) do update set value = cast(cast(identity.value as bigint) + 1 as text)",
            )
            .bind(REORGANISATIONS)
            .execute(&mut *tx)
            .await
            .context("failed to count a reorganisation")?;
        }
        for (at, fact) in events {
            let subject = Subject::of(fact);
            touched.insert(subject);
            sqlx::query(
                "insert into events (block_hash, log_index, block, subject, payload) values ($1, $2, $3, $4, $5) \
                 on conflict (block_hash, log_index) do nothing",
            )
            .bind(at.block_hash.to_string())
            .bind(sql(at.log_index)?)
            .bind(sql(at.block)?)
            .bind(subject.key())
            .bind(to_json(fact)?)
            .execute(&mut *tx)
            .await
            .with_context(|| format!("failed to store an event of block {}", at.block))?;
        }
        for block in blocks {
            sqlx::query(
                "insert into blocks (number, hash, parent, timestamp) values ($1, $2, $3, $4) \
                 on conflict (number) do update set hash = excluded.hash, parent = excluded.parent, \
                 timestamp = excluded.timestamp",
            )
            .bind(sql(block.number)?)
            .bind(block.hash.to_string())
            .bind(block.parent.to_string())
            .bind(sql(block.timestamp)?)
            .execute(&mut *tx)
            .await
            .with_context(|| format!("failed to store the header of block {}", block.number))?;
        }
        if let Some(cursor) = blocks.last() {
            sqlx::query("delete from blocks where number < $1")
                .bind(sql(cursor.number.saturating_sub(RING))?)
                .execute(&mut *tx)
                .await
                .context("failed to forget old headers")?;
        }
        for subject in touched {
            fold_again(&mut tx, subject).await?;
        }
        tx.commit().await.context("failed to commit a step along the chain")
    }

    /// The order, if the chain knows it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn order(&self, id: OrderId) -> anyhow::Result<Option<OrderRow>> {
        sqlx::query("select * from orders where id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await
            .with_context(|| format!("failed to read order {id}"))?
            .map(|row| OrderRow::read(&row))
            .transpose()
    }

    /// Orders on the book that were not decided on their present terms, oldest first. Those whose time is over by `now` (unix
    /// seconds of chain time) are among them: they too end in a decision.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn undecided_orders(&self) -> anyhow::Result<Vec<OrderRow>> {
        sqlx::query(
            "select * from orders where state = 'open' and not exists \
             (select 1 from decisions where order_id = orders.id and spec_hash = orders.spec_hash) \
             order by created_block, id",
        )
        .fetch_all(&self.reader)
        .await
        .context("failed to read the open orders")?
        .iter()
        .map(OrderRow::read)
        .collect()
    }

    /// A provider's bid for an order, if the chain knows one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn bid(&self, order: OrderId, provider: Address) -> anyhow::Result<Option<BidRow>> {
        sqlx::query("select * from bids where order_id = $1 and provider = $2")
            .bind(order.to_string())
            .bind(provider.to_string())
            .fetch_optional(&self.reader)
            .await
            .with_context(|| format!("failed to read the bid for order {order}"))?
            .map(|row| BidRow::read(&row))
            .transpose()
    }
}

fn read_block(row: &AnyRow) -> anyhow::Result<BlockRef> {
    Ok(BlockRef {
        number: number(row, "number")?,
        hash: text(row, "hash")?,
        parent: text(row, "parent")?,
        timestamp: number(row, "timestamp")?,
    })
}

fn subjects(rows: &[AnyRow]) -> anyhow::Result<BTreeSet<Subject>> {
    rows.iter()
        .map(|row| {
            let key = string(row, "subject")?;
            Subject::parse(&key).ok_or_else(|| anyhow!("the database holds an event about \"{key}\""))
        })
        .collect()
}

/// Notes which leases of ours a reorganisation takes away. Those that are there again afterwards do not count.
async fn note_orphans(tx: &mut Transaction<'static, Any>, ancestor: u64, height: u64) -> anyhow::Result<()> {
    sqlx::query(
        "insert into orphaned_leases (lease_id, since) select id, $2 from leases where created_block > $1 \
         and exists (select 1 from reservations where order_id = leases.id) \
         on conflict (lease_id) do update set since = excluded.since",
    )
    .bind(sql(ancestor)?)
    .bind(sql(height)?)
    .execute(&mut **tx)
    .await
    .context("failed to note which leases a reorg takes away")?;
    Ok(())
}

async fn drop_above(tx: &mut Transaction<'static, Any>, ancestor: u64) -> anyhow::Result<BTreeSet<Subject>> {
    let above = sql(ancestor)?;
    let rows = sqlx::query("select distinct subject from events where block > $1")
        .bind(above)
        .fetch_all(&mut **tx)
        .await
        .context("failed to read what a reorg touches")?;
    sqlx::query("delete from events where block > $1")
        .bind(above)
        .execute(&mut **tx)
        .await
        .context("failed to drop events above a reorg")?;
    sqlx::query("delete from blocks where number > $1")
        .bind(above)
        .execute(&mut **tx)
        .await
        .context("failed to drop headers above a reorg")?;
    subjects(&rows)
}

async fn fold_again(tx: &mut Transaction<'static, Any>, subject: Subject) -> anyhow::Result<()> {
    let rows = sqlx::query("select * from events where subject = $1 order by block, log_index")
        .bind(subject.key())
        .fetch_all(&mut **tx)
        .await
        .with_context(|| format!("failed to read the events of {}", subject.key()))?;
    let events = rows.iter().map(read_event).collect::<anyhow::Result<Vec<_>>>()?;
    match subject {
        Subject::Order(id) => put_order(tx, id, fold::order(&events)).await,
        Subject::Account(id) => {
            forget(tx, "delete from accounts where id = $1", &id.to_string()).await?;
            match fold::account(id, &events) {
                Some(row) => put_account(tx, &row).await,
                None => Ok(()),
            }
        }
        Subject::Provider(address) => {
            forget(tx, "delete from providers where address = $1", &address.to_string()).await?;
            match fold::provider(&events) {
                Some(row) => put_provider(tx, &row).await,
                None => Ok(()),
            }
        }
    }
    .with_context(|| format!("failed to fold {}", subject.key()))
}

fn read_event(row: &AnyRow) -> anyhow::Result<Event> {
    let at = LogRef {
        block: number(row, "block")?,
        block_hash: text(row, "block_hash")?,
        log_index: number(row, "log_index")?,
    };
    Ok((at, json(row, "payload")?))
}

async fn forget(tx: &mut Transaction<'static, Any>, query: &'static str, id: &str) -> anyhow::Result<()> {
    sqlx::query(query).bind(id).execute(&mut **tx).await?;
    Ok(())
}

async fn put_order(tx: &mut Transaction<'static, Any>, id: OrderId, fold: OrderFold) -> anyhow::Result<()> {
    let id = id.to_string();
    forget(tx, "delete from orders where id = $1", &id).await?;
    forget(tx, "delete from bids where order_id = $1", &id).await?;
    forget(tx, "delete from leases where id = $1", &id).await?;
    let OrderFold { order, bids, lease } = fold;
    if let Some(OrderRow { order, state, created_block }) = order {
        let (word, reason) = match state {
            OrderState::Open => ("open", None),
            OrderState::Matched => ("matched", None),
            OrderState::Closed(reason) => ("closed", Some(i64::from(reason.0))),
        };
        sqlx::query(
            "insert into orders (id, account, spec_hash, state, close_reason, expires_at, created_block, body) \
             values ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(&id)
        .bind(order.id.account().to_string())
        .bind(order.spec_hash.to_string())
        .bind(word)
        .bind(reason)
        .bind(sql(order.expires_at)?)
        .bind(sql(created_block)?)
        .bind(to_json(&order)?)
        .execute(&mut **tx)
        .await?;
    }
    for BidRow { bid, state, block } in bids {
        sqlx::query(
            "insert into bids (order_id, provider, rate, expires_at, reclaim, min_bill, state, block) \
             values ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(&id)
        .bind(bid.provider.to_string())
        .bind(bid.rate.scaled().to_string())
        .bind(sql(bid.expires_at)?)
        .bind(i64::from(bid.reclaim))
        .bind(i64::from(bid.min_bill))
        .bind(state.word())
        .bind(sql(block)?)
        .execute(&mut **tx)
        .await?;
    }
    match lease {
        Some(lease) => put_lease(tx, lease).await,
        None => Ok(()),
    }
}

async fn put_lease(tx: &mut Transaction<'static, Any>, row: LeaseRow) -> anyhow::Result<()> {
    let LeaseRow { lease, state, created_block, paid_until, paid_net, paid_fee } = row;
    let (word, deadline, closed) = match state {
        LeaseState::Active => ("active", None, None),
        LeaseState::Reclaiming { deadline } => ("reclaiming", Some(sql(deadline)?), None),
        LeaseState::Closed { reason, ended_at, block } => {
            ("closed", None, Some((i64::from(reason.0), sql(ended_at)?, sql(block)?)))
        }
    };
    sqlx::query(
        "insert into leases (id, account, provider, rate, started_at, fee_bps, funded_until, state, created_block, \
         reclaim_deadline, close_reason, ended_at, closed_block, paid_until, paid_net, paid_fee) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
    )
    .bind(lease.id.to_string())
    .bind(lease.id.account().to_string())
    .bind(lease.provider.to_string())
    .bind(lease.rate.scaled().to_string())
    .bind(sql(lease.started_at)?)
    .bind(i64::from(lease.fee_bps))
    .bind(sql(lease.funded_until)?)
    .bind(word)
    .bind(sql(created_block)?)
    .bind(deadline)
    .bind(closed.map(|(reason, _, _)| reason))
    .bind(closed.map(|(_, ended_at, _)| ended_at))
    .bind(closed.map(|(_, _, block)| block))
    .bind(sql(paid_until)?)
    .bind(paid_net.0.to_string())
    .bind(paid_fee.0.to_string())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn put_account(tx: &mut Transaction<'static, Any>, row: &AccountRow) -> anyhow::Result<()> {
    let AccountRow { id, manifest_hash, deposited, refunded, funded_until } = row;
    sqlx::query(
        "insert into accounts (id, manifest_hash, deposited, refunded, funded_until) values ($1, $2, $3, $4, $5)",
    )
    .bind(id.to_string())
    .bind(manifest_hash.to_string())
    .bind(deposited.0.to_string())
    .bind(refunded.0.to_string())
    // "For ever" is told as the largest number, which a bigint cannot hold.
    .bind(sql(*funded_until).unwrap_or(i64::MAX))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn put_provider(tx: &mut Transaction<'static, Any>, row: &ProviderRow) -> anyhow::Result<()> {
    let ProviderRow { address, operator, uri, spki_hash } = row;
    sqlx::query("insert into providers (address, operator, uri, spki_hash) values ($1, $2, $3, $4)")
        .bind(address.to_string())
        .bind(operator.to_string())
        .bind(uri)
        .bind(spki_hash.to_string())
        .execute(&mut **tx)
        .await?;
    Ok(())
}
