//! What the operator told the daemon from beside it: to take no new orders, and which nodes to leave.

use std::collections::BTreeSet;

use anyhow::Context;

use super::Store;
use super::rows::{number, sql, string};

/// The time in which no new order is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintenance {
    /// Unix seconds of its beginning.
    pub since: u64,
    /// Why, in the operator's words; may be empty.
    pub note: String,
}

impl Store {
    /// The maintenance that lasts, if one does.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn maintenance(&self) -> anyhow::Result<Option<Maintenance>> {
        let row = sqlx::query("select * from maintenance")
            .fetch_optional(&self.reader)
            .await
            .context("failed to read whether there is maintenance")?;
        row.map(|row| Ok(Maintenance { since: number(&row, "since")?, note: string(&row, "note")? }))
            .transpose()
    }

    /// Begins maintenance; one that lasts keeps its beginning and takes the new note.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn begin_maintenance(&self, note: &str, now: u64) -> anyhow::Result<()> {
        sqlx::query(
            "insert into maintenance (id, since, note) values (1, $1, $2) on conflict (id) do update set note = $2",
        )
        .bind(sql(now)?)
        .bind(note)
        .execute(&self.writer)
        .await
        .context("failed to store that maintenance begins")?;
        Ok(())
    }

    /// Ends maintenance; answers whether one lasted.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn end_maintenance(&self) -> anyhow::Result<bool> {
        let done = sqlx::query("delete from maintenance")
            .execute(&self.writer)
            .await
            .context("failed to store that maintenance is over")?;
        Ok(done.rows_affected() > 0)
    }

    /// The nodes that leases are moved away from.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn drained_nodes(&self) -> anyhow::Result<BTreeSet<String>> {
        sqlx::query("select node from drained_nodes")
            .fetch_all(&self.reader)
            .await
            .context("failed to read which nodes are drained")?
            .iter()
            .map(|row| string(row, "node"))
            .collect()
    }

    /// Has leases moved away from a node, until [`Store::undrain`].
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn drain(&self, node: &str, now: u64) -> anyhow::Result<()> {
        sqlx::query("insert into drained_nodes (node, since) values ($1, $2) on conflict (node) do nothing")
            .bind(node)
            .bind(sql(now)?)
            .execute(&self.writer)
            .await
            .with_context(|| format!("failed to store that node {node} is drained"))?;
        Ok(())
    }

    /// Ends draining a node; answers whether it was drained.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn undrain(&self, node: &str) -> anyhow::Result<bool> {
        let done = sqlx::query("delete from drained_nodes where node = $1")
            .bind(node)
            .execute(&self.writer)
            .await
            .with_context(|| format!("failed to store that node {node} is drained no more"))?;
        Ok(done.rows_affected() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_operator_told_lasts_until_it_says_otherwise() {
        let store = Store::fresh().await.expect("opens");
        assert_eq!(store.maintenance().await.expect("read"), None);
        store.begin_maintenance("new switches", 7).await.expect("stored");
        store.begin_maintenance("", 9).await.expect("stored");
        let lasting = Maintenance { since: 7, note: String::new() };
        assert_eq!(store.maintenance().await.expect("read"), Some(lasting));
        assert!(store.end_maintenance().await.expect("stored"));
        assert!(!store.end_maintenance().await.expect("stored"));

        for node in ["b", "a", "b"] {
            store.drain(node, 1).await.expect("stored");
        }
        let drained = store.drained_nodes().await.expect("read");
        assert_eq!(drained.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "b"]);
        assert!(store.undrain("a").await.expect("stored") && !store.undrain("a").await.expect("stored"));
        assert_eq!(store.drained_nodes().await.expect("read").len(), 1);
    }
}
