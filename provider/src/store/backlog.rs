//! Which open orders are answered next, when there are more than one turn takes.
//!
//! Half of each turn goes to the newest orders, so that one that appears is answered within its block however many wait; of
//! those of one block, the one whose time ends first. The other half goes to the orders whose time ends first of all, so that
//! none is lost while newer ones come in. Of an order that goes to its lowest bid, the time ends when it takes no more bids.
//! Every order comes up in the second half before its time is over, unless more end together than can be answered; so none
//! starves.

use std::collections::BTreeSet;

use anyhow::Context;
use sqlx::AssertSqlSafe;

use super::Store;
use super::rows::{OrderRow, number, sql};

/// Open orders without a decision on their present terms.
const UNDECIDED: &str = "from orders where state = 'open' and not exists \
     (select 1 from decisions where order_id = orders.id and spec_hash = orders.spec_hash)";
const NEWEST: &str = "created_block desc, coalesce(award, expires_at), id";
const ENDS_FIRST: &str = "coalesce(award, expires_at), created_block, id";

impl Store {
    /// At most `most` orders on the book that were not decided on their present terms, in the order in which they are to be
    /// answered. Those whose time is over are among them: they too end in a decision.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn undecided_orders(&self, most: u64) -> anyhow::Result<Vec<OrderRow>> {
        let newest = self.undecided(NEWEST, most.div_ceil(2)).await?;
        let mut taken: BTreeSet<_> = newest.iter().map(|row| row.order.id).collect();
        // As many more as could be the same ones.
        let ends_first = self.undecided(ENDS_FIRST, most).await?;
        let rest = ends_first.into_iter().filter(|row| taken.insert(row.order.id));
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Ok(newest.iter().cloned().chain(rest).take(most).collect())
    }

    /// How many open orders wait for a decision.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn count_undecided(&self) -> anyhow::Result<u64> {
        let row = sqlx::query(AssertSqlSafe(format!("select count(*) as n {UNDECIDED}")))
            .fetch_one(&self.reader)
            .await
            .context("failed to count the orders that wait")?;
        number(&row, "n")
    }

    async fn undecided(&self, sequence: &'static str, most: u64) -> anyhow::Result<Vec<OrderRow>> {
        // Only ids are sorted: an order's body may be long.
        let text = format!(
            "select * from orders where id in (select id {UNDECIDED} order by {sequence} limit $1) order by {sequence}"
        );
        sqlx::query(AssertSqlSafe(text))
            .bind(sql(most)?)
            .fetch_all(&self.reader)
            .await
            .context("failed to read the open orders")?
            .iter()
            .map(OrderRow::read)
            .collect()
    }
}
