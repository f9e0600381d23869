//! A whole database into another engine, and what the chain says into this one, in one transaction each.

use anyhow::{Context, bail};
use sqlx::{AnyConnection, Connection};

use super::engine::DatabaseUrl;
use super::tables::{self, Rows};
use super::{Store, applied, migrate};

/// A table before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    /// Its name.
    pub table: &'static str,
    /// Its rows before.
    pub before: Rows,
    /// Its rows after.
    pub after: Rows,
}

impl Compared {
    /// Whether not one row differs.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.before == self.after
    }
}

/// Copies every row of the database at `from` into the empty one at `to`, reads the copy again, and keeps it only if no row
/// differs. `from` stays as it was; nothing may write to it meanwhile.
///
/// # Errors
/// When either cannot be opened, `to` holds anything, the two are of different versions, or a row differs; `to` is then as it
/// was.
pub async fn move_database(from: &DatabaseUrl, to: &DatabaseUrl) -> anyhow::Result<Vec<Compared>> {
    if from == to {
        bail!("--from and --to name the same database");
    }
    let (source, target) = (from.connect(1).await?, to.connect(1).await?);
    migrate(&target, to.engine()).await?;
    let (have, need) = (applied(&source).await, applied(&target).await);
    if have != need {
        bail!(
            "{from} has {have} of {need} migrations: bring it up to this version with `berth-provider migrate` first"
        );
    }
    let mut source = source.acquire().await.context("failed to reach the source")?;
    // No writer comes between one table and the next.
    let mut source = source.begin_with(from.engine().begin()).await.context("failed to hold the source")?;
    let mut target = target.begin_with(to.engine().begin()).await.context("failed to begin in the target")?;
    for table in tables::all() {
        if tables::rows_of(&mut target, table).await?.count > 0 {
            bail!("{to} is not empty ({table} has rows): give a new database");
        }
    }
    let mut compared = Vec::new();
    for table in tables::all() {
        let before = tables::carry(&mut source, &mut target, table).await?;
        let after = tables::rows_of(&mut target, table).await?;
        let row = Compared { table, before, after };
        if !row.is_equal() {
            bail!("{table} differs after the copy ({before} against {after}): nothing was kept in {to}");
        }
        compared.push(row);
    }
    target.commit().await.context("failed to keep the copy")?;
    source.rollback().await.context("failed to let go of the source")?;
    Ok(compared)
}

impl Store {
    /// Compares what this database says of the chain with what `fresh` says, which read the same chain from the start up to
    /// the same height, and, unless `only_compare`, takes the latter's rows in their place.
    ///
    /// # Errors
    /// When the two do not end at the same height, or this database refuses; nothing has changed then.
    pub async fn take_chain_from(&self, fresh: &Self, only_compare: bool) -> anyhow::Result<Vec<Compared>> {
        let mut source = fresh.reader.acquire().await.context("failed to reach what was read")?;
        let mut tx = self.begin().await?;
        let (have, read) = (height(&mut tx).await?, height(&mut source).await?);
        if have != read {
            bail!(
                "the database moved on meanwhile (it follows to block {}, what was read ends at {}): stop the daemon and run \
                 this again",
                have.unwrap_or_default(),
                read.unwrap_or_default()
            );
        }
        let mut compared = Vec::new();
        for table in tables::DERIVED.iter().copied() {
            let before = tables::rows_of(&mut tx, table).await?;
            let after = if only_compare {
                tables::rows_of(&mut source, table).await?
            } else {
                tables::replace(&mut source, &mut tx, table).await?
            };
            compared.push(Compared { table, before, after });
        }
        if !only_compare {
            tables::replace(&mut source, &mut tx, tables::HEADERS).await?;
            tx.commit().await.context("failed to keep what was read from the chain")?;
        }
        Ok(compared)
    }
}

/// The height to which a database follows the chain.
async fn height(connection: &mut AnyConnection) -> anyhow::Result<Option<i64>> {
    let row: (Option<i64>,) = sqlx::query_as("select max(number) from blocks")
        .fetch_one(connection)
        .await
        .context("failed to read the cursor")?;
    Ok(row.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::engine::Engine;

    #[test]
    fn every_table_of_either_engine_is_carried() {
        for engine in [Engine::Sqlite, Engine::Postgres] {
            let mut made: Vec<&str> = engine
                .migrations()
                .iter()
                .flat_map(|migration| migration.sql.as_str().lines())
                .filter_map(|line| line.strip_prefix("create table ")?.split(' ').next())
                .collect();
            let mut carried: Vec<&str> = tables::all().collect();
            made.sort_unstable();
            carried.sort_unstable();
            assert_eq!(made, carried);
        }
    }
}
