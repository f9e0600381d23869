//! The chain as it was followed: headers, events and their folds, always changed together.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, anyhow};
use manifests::order::{Address, BlockRef, Fact, Hash, LogRef, OrderId};
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe, Transaction};

use super::Store;
use super::accounts::{AccountRow, ProviderRow};
use super::fold::{self, OrderFold, Subject};
use super::leases::{LeaseRow, LeaseState};
use super::rows::{BidRow, OrderRow, OrderState, json, number, sql, string, text, to_json};

/// How many headers are kept below the cursor; a reorg that goes deeper is refused.
const RING: u64 = 512;

/// The key under which reorganisations are counted.
const REORGANISATIONS: &str = "reorganisations";

/// The key under which stands when the chain was last read again.
const SWEPT_AT: &str = "swept at";

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

/// What was different between the store and the chain when a range was read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Differences {
    /// Events that were not stored. They are now.
    pub missing: u64,
    /// Events that are stored and that the chain did not tell of this time.
    pub not_told: u64,
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

    /// When what was followed was last read again to its end, unix seconds; `None` in a new database.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn swept_at(&self) -> anyhow::Result<Option<u64>> {
        let row = sqlx::query("select value from identity where key = $1")
            .bind(SWEPT_AT)
            .fetch_optional(&self.reader)
            .await
            .context("failed to read when the chain was last read again")?;
        row.map(|row| text(&row, "value")).transpose()
    }

    /// Notes that what was followed was read again to its end at this time, unix seconds.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn note_sweep(&self, now: u64) -> anyhow::Result<()> {
        sqlx::query(
            "insert into identity (key, value) values ($1, $2) on conflict (key) do update set value = excluded.value",
        )
        .bind(SWEPT_AT)
        .bind(now.to_string())
        .execute(&self.writer)
        .await
        .context("failed to note that the chain was read again")?;
        Ok(())
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
        let mut dropped = BTreeSet::new();
        if let Some(ancestor) = ancestor {
            let height = blocks.last().map_or(*ancestor, |block| block.number);
            note_orphans(&mut tx, *ancestor, height).await?;
            dropped = drop_above(&mut tx, *ancestor).await?;
            sqlx::query(
                "insert into identity (key, value) values ($1, '1') \
                 on conflict (key) do update set value = cast(cast(identity.value as bigint) + 1 as text)",
            )
            .bind(REORGANISATIONS)
            .execute(&mut *tx)
            .await
            .context("failed to count a reorganisation")?;
        }
        add(&mut tx, events, &dropped).await?;
        write(&mut tx, PUT_BLOCK, blocks, |query, block| {
            let BlockRef { number, hash, parent, timestamp } = block;
            let query = query.bind(sql(*number)?).bind(hash.to_string()).bind(parent.to_string());
            Ok(query.bind(sql(*timestamp)?))
        })
        .await
        .context("failed to store headers")?;
        if let Some(cursor) = blocks.last() {
            sqlx::query("delete from blocks where number < $1")
                .bind(sql(cursor.number.saturating_sub(RING))?)
                .execute(&mut *tx)
                .await
                .context("failed to forget old headers")?;
        }
        tx.commit().await.context("failed to commit a step along the chain")
    }

    /// Compares what is stored of the blocks from `first` to `last` with what the chain told when it was asked again, and adds
    /// what is missing, with the folds it touches, in one transaction. What is stored and was not told stays: an answer that
    /// lacks something never deletes. `reorganisations` is [`Store::reorganisations`] from before the chain was asked; `None` is
    /// answered, and nothing changed, when the chain was reorganised since, or the answer is of another branch.
    ///
    /// # Errors
    /// When the database refuses; nothing has changed then.
    pub async fn repair(
        &self,
        first: u64,
        last: u64,
        told: &[Event],
        reorganisations: u64,
    ) -> anyhow::Result<Option<Differences>> {
        let mut tx = self.begin().await?;
        let (since, reached): (Option<String>, Option<i64>) = (
            sqlx::query_scalar("select value from identity where key = $1")
                .bind(REORGANISATIONS)
                .fetch_optional(&mut *tx)
                .await
                .context("failed to read how often the chain was reorganised")?,
            sqlx::query_scalar("select max(number) from blocks")
                .fetch_one(&mut *tx)
                .await
                .context("failed to read the cursor")?,
        );
        let is_same = since.map_or(Ok(0), |count| count.parse::<u64>())? == reorganisations;
        if !is_same || reached < Some(sql(last)?) {
            return Ok(None);
        }
        let headers = sqlx::query("select * from blocks where number between $1 and $2")
            .bind(sql(first)?)
            .bind(sql(last)?)
            .fetch_all(&mut *tx)
            .await
            .context("failed to read the headers")?;
        let headers: BTreeMap<u64, Hash> = headers
            .iter()
            .map(|row| Ok((number(row, "number")?, text(row, "hash")?)))
            .collect::<anyhow::Result<_>>()?;
        if told.iter().any(|(at, _)| headers.get(&at.block).is_some_and(|hash| *hash != at.block_hash)) {
            return Ok(None);
        }
        let stored = sqlx::query("select * from events where block between $1 and $2")
            .bind(sql(first)?)
            .bind(sql(last)?)
            .fetch_all(&mut *tx)
            .await
            .context("failed to read the events")?;
        let mut stored: BTreeMap<Place, Fact> = stored
            .iter()
            .map(|row| read_event(row).map(|(at, fact)| (place(&at), fact)))
            .collect::<anyhow::Result<_>>()?;
        let told: BTreeMap<Place, &Event> = told.iter().map(|event| (place(&event.0), event)).collect();
        let missing: Vec<Event> = told
            .into_iter()
            .filter(|(place, _)| stored.remove(place).is_none())
            .map(|(_, event)| event.clone())
            .collect();
        let found = Differences { missing: missing.len() as u64, not_told: stored.len() as u64 };
        if !missing.is_empty() {
            add(&mut tx, &missing, &BTreeSet::new()).await?;
            tx.commit().await.context("failed to commit a repair")?;
        }
        Ok(Some(found))
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

/// Where an event stands, in the order of the chain.
type Place = (u64, u64, Hash);

fn place(at: &LogRef) -> Place {
    (at.block, at.log_index, at.block_hash)
}

/// Adds events, and folds again every subject that they touch and those that lost some.
async fn add(
    tx: &mut Transaction<'static, Any>,
    events: &[Event],
    dropped: &BTreeSet<Subject>,
) -> anyhow::Result<()> {
    let mut subjects: BTreeMap<Subject, BTreeMap<Place, Fact>> =
        dropped.iter().map(|subject| (*subject, BTreeMap::new())).collect();
    for (at, fact) in events {
        subjects.entry(Subject::of(fact)).or_default().insert(place(at), fact.clone());
    }
    let keys: Vec<String> = subjects.keys().map(|subject| subject.key()).collect();
    // Only what had events can have rows.
    let mut to_forget = dropped.clone();
    for keys in keys.chunks(AT_ONCE) {
        let text = format!("select * from events where subject in ({})", places(keys.len(), 1));
        let query = keys.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, key| query.bind(key.clone()));
        for row in query.fetch_all(&mut **tx).await.context("failed to read earlier events")? {
            let (at, fact) = read_event(&row)?;
            let subject = Subject::of(&fact);
            to_forget.insert(subject);
            subjects.entry(subject).or_default().insert(place(&at), fact);
        }
    }
    write(tx, PUT_EVENT, events, |query, (at, fact)| {
        let query = query.bind(at.block_hash.to_string()).bind(sql(at.log_index)?).bind(sql(at.block)?);
        Ok(query.bind(Subject::of(fact).key()).bind(to_json(fact)?))
    })
    .await
    .context("failed to store events")?;

    forget(tx, &to_forget).await.context("failed to forget what was folded before")?;
    let mut folds = Folds::default();
    for (subject, events) in subjects {
        let events: Vec<Event> = events
            .into_iter()
            .map(|((block, log_index, block_hash), fact)| (LogRef { block, block_hash, log_index }, fact))
            .collect();
        match subject {
            Subject::Order(id) => {
                let OrderFold { order, bids, lease } = fold::order(&events);
                folds.orders.extend(order);
                folds.bids.extend(bids.into_iter().map(|bid| (id, bid)));
                folds.leases.extend(lease);
            }
            Subject::Account(id) => folds.accounts.extend(fold::account(id, &events)),
            Subject::Provider(_) => folds.providers.extend(fold::provider(&events)),
        }
    }
    folds.put(tx).await
}

/// Rows that go into one statement. SQLite looks each value's name up among all of the statement's, so what a row costs grows
/// with their number: at five hundred rows that alone was two thirds of the time.
pub(super) const AT_ONCE: usize = 64;

/// `insert into` which columns, how many there are, and what is to be done about a row that is there.
type Insert = (&'static str, usize, &'static str);

const PUT_EVENT: Insert = (
    "events (block_hash, log_index, block, subject, payload)",
    5,
    "on conflict (block_hash, log_index) do nothing",
);
const PUT_BLOCK: Insert = (
    "blocks (number, hash, parent, timestamp)",
    4,
    "on conflict (number) do update set hash = excluded.hash, parent = excluded.parent, timestamp = excluded.timestamp",
);
const PUT_ORDER: Insert =
    ("orders (id, account, spec_hash, state, close_reason, expires_at, created_block, body, award)", 9, "");
const PUT_BID: Insert =
    ("bids (order_id, provider, rate, expires_at, reclaim, min_bill, state, block)", 8, "");
const PUT_LEASE: Insert = (
    "leases (id, account, provider, rate, started_at, fee_bps, funded_until, state, created_block, \
     reclaim_deadline, close_reason, ended_at, closed_block, paid_until, paid_net, paid_fee)",
    16,
    "",
);
const PUT_ACCOUNT: Insert = ("accounts (id, manifest_hash, deposited, refunded, funded_until)", 5, "");
const PUT_PROVIDER: Insert = ("providers (address, operator, uri, spki_hash)", 4, "");

type Written<'q> = Query<'q, Any, AnyArguments>;

/// The places of so many values from `$first` on.
pub(super) fn places(count: usize, first: usize) -> String {
    let places: Vec<String> = (first..first + count).map(|place| format!("${place}")).collect();
    places.join(", ")
}

/// Writes rows with as few statements as can be.
async fn write<T>(
    tx: &mut Transaction<'static, Any>,
    (into, width, conflict): Insert,
    rows: &[T],
    bind: impl for<'q> Fn(Written<'q>, &T) -> anyhow::Result<Written<'q>>,
) -> anyhow::Result<()> {
    for rows in rows.chunks(AT_ONCE) {
        let values: Vec<String> =
            (0..rows.len()).map(|row| format!("({})", places(width, row * width + 1))).collect();
        let text = format!("insert into {into} values {} {conflict}", values.join(", "));
        let mut query = sqlx::query(AssertSqlSafe(text));
        for row in rows {
            query = bind(query, row)?;
        }
        query.execute(&mut **tx).await?;
    }
    Ok(())
}

/// Removes the rows of these subjects.
async fn forget(tx: &mut Transaction<'static, Any>, subjects: &BTreeSet<Subject>) -> anyhow::Result<()> {
    let (mut orders, mut accounts, mut providers) = (Vec::new(), Vec::new(), Vec::new());
    for subject in subjects {
        match subject {
            Subject::Order(id) => orders.push(id.to_string()),
            Subject::Account(id) => accounts.push(id.to_string()),
            Subject::Provider(address) => providers.push(address.to_string()),
        }
    }
    for (of, ids) in [
        ("orders where id", &orders),
        ("bids where order_id", &orders),
        ("leases where id", &orders),
        ("accounts where id", &accounts),
        ("providers where address", &providers),
    ] {
        for ids in ids.chunks(AT_ONCE) {
            let text = format!("delete from {of} in ({})", places(ids.len(), 1));
            let query = ids.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, id| query.bind(id.clone()));
            query.execute(&mut **tx).await?;
        }
    }
    Ok(())
}

/// What the events of many subjects come to.
#[derive(Debug, Default)]
struct Folds {
    orders: Vec<OrderRow>,
    bids: Vec<(OrderId, BidRow)>,
    leases: Vec<LeaseRow>,
    accounts: Vec<AccountRow>,
    providers: Vec<ProviderRow>,
}

impl Folds {
    async fn put(&self, tx: &mut Transaction<'static, Any>) -> anyhow::Result<()> {
        write(tx, PUT_ORDER, &self.orders, |query, row| {
            let OrderRow { order, state, created_block } = row;
            let (word, reason) = match state {
                OrderState::Open => ("open", None),
                OrderState::Matched => ("matched", None),
                OrderState::Closed(reason) => ("closed", Some(i64::from(reason.0))),
            };
            let query = query.bind(order.id.to_string()).bind(order.id.account().to_string());
            let query = query.bind(order.spec_hash.to_string()).bind(word).bind(reason);
            let query = query.bind(sql(order.expires_at)?).bind(sql(*created_block)?).bind(to_json(order)?);
            Ok(query.bind(order.award.map(sql).transpose()?))
        })
        .await
        .context("failed to store orders")?;
        write(tx, PUT_BID, &self.bids, |query, (order, row)| {
            let BidRow { bid, state, block } = row;
            let query = query.bind(order.to_string()).bind(bid.provider.to_string());
            let query = query.bind(bid.rate.scaled().to_string()).bind(sql(bid.expires_at)?);
            let query = query.bind(i64::from(bid.reclaim)).bind(i64::from(bid.min_bill));
            Ok(query.bind(state.word()).bind(sql(*block)?))
        })
        .await
        .context("failed to store bids")?;
        write(tx, PUT_LEASE, &self.leases, bind_lease).await.context("failed to store leases")?;
        write(tx, PUT_ACCOUNT, &self.accounts, |query, row| {
            let AccountRow { id, manifest_hash, deposited, refunded, funded_until } = row;
            let query = query.bind(id.to_string()).bind(manifest_hash.to_string());
            let query = query.bind(deposited.0.to_string()).bind(refunded.0.to_string());
            // "For ever" is told as the largest number, which a bigint cannot hold.
            Ok(query.bind(sql(*funded_until).unwrap_or(i64::MAX)))
        })
        .await
        .context("failed to store accounts")?;
        write(tx, PUT_PROVIDER, &self.providers, |query, row| {
            let ProviderRow { address, operator, uri, spki_hash } = row;
            let query = query.bind(address.to_string()).bind(operator.to_string());
            Ok(query.bind(uri.clone()).bind(spki_hash.to_string()))
        })
        .await
        .context("failed to store providers")
    }
}

fn bind_lease<'q>(query: Written<'q>, row: &LeaseRow) -> anyhow::Result<Written<'q>> {
    let LeaseRow { lease, state, created_block, paid_until, paid_net, paid_fee } = row;
    let (word, deadline, closed) = match state {
        LeaseState::Active => ("active", None, None),
        LeaseState::Reclaiming { deadline } => ("reclaiming", Some(sql(*deadline)?), None),
        LeaseState::Closed { reason, ended_at, block } => {
            ("closed", None, Some((i64::from(reason.0), sql(*ended_at)?, sql(*block)?)))
        }
    };
    let query = query.bind(lease.id.to_string()).bind(lease.id.account().to_string());
    let query = query.bind(lease.provider.to_string()).bind(lease.rate.scaled().to_string());
    let query = query.bind(sql(lease.started_at)?).bind(i64::from(lease.fee_bps));
    let query = query.bind(sql(lease.funded_until)?).bind(word).bind(sql(*created_block)?).bind(deadline);
    let query = query.bind(closed.map(|(reason, _, _)| reason)).bind(closed.map(|(_, ended_at, _)| ended_at));
    let query = query.bind(closed.map(|(_, _, block)| block)).bind(sql(*paid_until)?);
    Ok(query.bind(paid_net.0.to_string()).bind(paid_fee.0.to_string()))
}

fn read_event(row: &AnyRow) -> anyhow::Result<Event> {
    let at = LogRef {
        block: number(row, "block")?,
        block_hash: text(row, "block_hash")?,
        log_index: number(row, "log_index")?,
    };
    Ok((at, json(row, "payload")?))
}

#[cfg(test)]
mod tests {
    use manifests::money::Rate;
    use manifests::order::{Bid, Lease};

    use super::*;

    const US: Address = Address([2; 20]);

    fn block(number: u64) -> BlockRef {
        let hash = |number: u64| Hash([u8::try_from(number).expect("small"); 32]);
        BlockRef { number, hash: hash(number), parent: hash(number - 1), timestamp: number }
    }

    fn event(number: u64, log_index: u64, fact: Fact) -> Event {
        (LogRef { block: number, block_hash: block(number).hash, log_index }, fact)
    }

    /// Bids and leases of more orders than go into one statement.
    fn many() -> Vec<Event> {
        let id = |dseq: u64| OrderId { tenant: Address([1; 20]), dseq, gseq: 1, oseq: 1 };
        let (rate, expires_at) = (Rate::ZERO, 9);
        let bid = |dseq| Bid { order: id(dseq), provider: US, rate, expires_at, reclaim: 0, min_bill: 0 };
        let lease =
            |dseq| Lease { id: id(dseq), provider: US, rate, started_at: 1, fee_bps: 0, funded_until: 9 };
        let bids = (0..1234).map(|dseq| event(5, dseq, Fact::BidPlaced(bid(dseq))));
        bids.chain((0..1234).map(|dseq| event(6, dseq, Fact::LeaseCreated(lease(dseq))))).collect()
    }

    async fn store() -> Store {
        let store = Store::fresh().await.expect("opens");
        let blocks = vec![block(5), block(6), block(7)];
        store.advance(&Advance { ancestor: None, blocks, events: many() }).await.expect("advances");
        store
    }

    #[tokio::test]
    async fn events_that_are_missing_are_added_and_their_rows_folded_again() {
        let store = store().await;
        assert_eq!(store.leases_of(US).await.expect("read").len(), 1234);
        for wound in
            ["delete from events where block = 6", "delete from leases", "update bids set state = 'open'"]
        {
            sqlx::query(wound).execute(&store.writer).await.expect("hurt");
        }
        let found = store.repair(5, 7, &many(), 0).await.expect("repaired").expect("of this branch");
        assert_eq!(found, Differences { missing: 1234, not_told: 0 });
        assert_eq!(store.leases_of(US).await.expect("read").len(), 1234);
        let bids = sqlx::query("select 1 from bids where state = 'won'").fetch_all(&store.reader).await;
        assert_eq!(bids.expect("read").len(), 1234);
        let again = store.repair(5, 7, &many(), 0).await.expect("repaired").expect("of this branch");
        assert_eq!(again, Differences::default());
    }

    #[tokio::test]
    async fn an_answer_of_another_branch_or_above_the_cursor_repairs_nothing() {
        let store = store().await;
        let mut other = many();
        other[0].0.block_hash = Hash([9; 32]);
        assert_eq!(store.repair(5, 7, &other, 0).await.expect("looked at"), None);
        assert_eq!(store.repair(5, 8, &many(), 0).await.expect("looked at"), None);
        assert_eq!(
            store.repair(5, 7, &many(), 1).await.expect("looked at"),
            None,
            "it was reorganised since"
        );
    }

    #[tokio::test]
    async fn a_reorg_takes_away_the_rows_of_more_orders_than_go_into_one_statement() {
        let store = store().await;
        let back = Advance { ancestor: Some(5), ..Advance::default() };
        store.advance(&back).await.expect("goes back");
        assert!(store.leases_of(US).await.expect("read").is_empty());
        let bids = sqlx::query("select 1 from bids where state = 'open'").fetch_all(&store.reader).await;
        assert_eq!(bids.expect("read").len(), 1234);
    }
}
