//! The tables as such, rows of any shape: their digests, and carrying them from one database to another.

use std::fmt;

use anyhow::{Context, anyhow};
use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use sqlx::any::{AnyArguments, AnyRow, AnyTypeInfoKind};
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, Column, Row};

/// What the chain says and nothing else: all of it can be read from the chain again.
pub(super) const DERIVED: &[&str] = &["events", "accounts", "orders", "bids", "leases", "providers"];
/// The ring of headers; its highest row is the cursor.
pub(super) const HEADERS: &str = "blocks";
/// What nobody could tell again. `intents` before `attempts`, which refer to them, and both before `batched`.
const OWN: &[&str] = &[
    "identity",
    "decision_parts",
    "decisions",
    "reservations",
    "intents",
    "attempts",
    "batched",
    "manifests",
    "lease_secrets",
    "lease_status",
    "gpu_allocations",
    "orphaned_leases",
    "maintenance",
    "drained_nodes",
];

/// Rows that travel in one statement: more of them cost SQLite more each.
const AT_ONCE: usize = 64;

/// Every table of the store.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    OWN.iter().chain(DERIVED).copied().chain([HEADERS])
}

/// How many rows a table has and what they come to, in whatever order they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rows {
    /// How many there are.
    pub count: u64,
    /// The sum, modulo 2^256, of the SHA-256 of each row.
    pub digest: [u8; 32],
}

impl Rows {
    fn add(&mut self, row: [u8; 32]) {
        self.count += 1;
        let mut carry = 0;
        for (sum, byte) in self.digest.iter_mut().zip(row).rev() {
            let total = u16::from(*sum) + u16::from(byte) + carry;
            [_, *sum] = total.to_be_bytes();
            carry = total >> 8;
        }
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9} rows  {}", self.count, hex::encode(&self.digest[..8]))
    }
}

/// A value as either engine holds it.
enum Cell {
    Text(Option<String>),
    Number(Option<i64>),
    Bytes(Option<Vec<u8>>),
}

impl Cell {
    fn read(row: &AnyRow, index: usize) -> anyhow::Result<Self> {
        let column = &row.columns()[index];
        Ok(match column.type_info().kind() {
            AnyTypeInfoKind::Text => Self::Text(row.try_get(index)?),
            AnyTypeInfoKind::Blob => Self::Bytes(row.try_get(index)?),
            AnyTypeInfoKind::SmallInt | AnyTypeInfoKind::Integer | AnyTypeInfoKind::BigInt => {
                Self::Number(row.try_get(index)?)
            }
            other => {
                return Err(anyhow!(
                    "column {} is of type {other:?}, which no table of ours has",
                    column.name()
                ));
            }
        })
    }

    /// Length before content, so that no two rows are written alike.
    fn digest(&self, hash: &mut Sha256) {
        let (kind, content) = match self {
            Self::Text(None) | Self::Number(None) | Self::Bytes(None) => (b'0', Vec::new()),
            Self::Text(Some(text)) => (b't', text.as_bytes().to_vec()),
            Self::Number(Some(number)) => (b'n', number.to_be_bytes().to_vec()),
            Self::Bytes(Some(bytes)) => (b'b', bytes.clone()),
        };
        hash.update([kind]);
        hash.update((content.len() as u64).to_be_bytes());
        hash.update(content);
    }

    fn bind(self, query: Query<'_, Any, AnyArguments>) -> Query<'_, Any, AnyArguments> {
        match self {
            Self::Text(text) => query.bind(text),
            Self::Number(number) => query.bind(number),
            Self::Bytes(bytes) => query.bind(bytes),
        }
    }
}

fn cells(row: &AnyRow) -> anyhow::Result<Vec<Cell>> {
    (0..row.len()).map(|index| Cell::read(row, index)).collect()
}

fn digest(row: &AnyRow, cells: &[Cell]) -> [u8; 32] {
    // Engines may give columns in another order after later migrations.
    let mut named: Vec<(&str, &Cell)> = row.columns().iter().map(Column::name).zip(cells).collect();
    named.sort_unstable_by_key(|(name, _)| *name);
    let mut hash = Sha256::new();
    for (name, cell) in named {
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name);
        cell.digest(&mut hash);
    }
    hash.finalize().into()
}

/// What the rows of a table come to.
pub(super) async fn rows_of(connection: &mut AnyConnection, table: &'static str) -> anyhow::Result<Rows> {
    let mut sum = Rows::default();
    let mut rows = select(table).fetch(connection);
    while let Some(row) = rows.try_next().await.with_context(|| format!("failed to read {table}"))? {
        sum.add(digest(&row, &cells(&row)?));
    }
    Ok(sum)
}

/// Writes every row of a table into the same table elsewhere, and says what they come to.
pub(super) async fn carry(
    from: &mut AnyConnection,
    to: &mut AnyConnection,
    table: &'static str,
) -> anyhow::Result<Rows> {
    let (mut sum, mut batch) = (Rows::default(), Vec::with_capacity(AT_ONCE));
    let mut rows = select(table).fetch(from);
    while let Some(row) = rows.try_next().await.with_context(|| format!("failed to read {table}"))? {
        let cells = cells(&row)?;
        sum.add(digest(&row, &cells));
        batch.push((row, cells));
        if batch.len() == AT_ONCE {
            insert(to, table, &mut batch).await?;
        }
    }
    insert(to, table, &mut batch).await?;
    Ok(sum)
}

/// Puts the rows of a table elsewhere in the place of its own, and says what they come to.
pub(super) async fn replace(
    from: &mut AnyConnection,
    to: &mut AnyConnection,
    table: &'static str,
) -> anyhow::Result<Rows> {
    sqlx::query(sqlx::AssertSqlSafe(format!("delete from {table}")))
        .execute(&mut *to)
        .await
        .with_context(|| format!("failed to empty {table}"))?;
    carry(from, to, table).await
}

fn select(table: &'static str) -> Query<'static, Any, AnyArguments> {
    sqlx::query(sqlx::AssertSqlSafe(format!("select * from {table}")))
}

async fn insert(
    to: &mut AnyConnection,
    table: &'static str,
    batch: &mut Vec<(AnyRow, Vec<Cell>)>,
) -> anyhow::Result<()> {
    let Some((first, _)) = batch.first() else { return Ok(()) };
    let names: Vec<&str> = first.columns().iter().map(Column::name).collect();
    let width = names.len();
    let values: Vec<String> = (0..batch.len())
        .map(|row| {
            let places: Vec<String> =
                (1..=width).map(|column| format!("${}", row * width + column)).collect();
            format!("({})", places.join(", "))
        })
        .collect();
    let text = format!("insert into {table} ({}) values {}", names.join(", "), values.join(", "));
    let query = batch
        .drain(..)
        .flat_map(|(_, cells)| cells)
        .fold(sqlx::query(sqlx::AssertSqlSafe(text)), |query, cell| cell.bind(query));
    query.execute(to).await.with_context(|| format!("failed to write {table}"))?;
    Ok(())
}
