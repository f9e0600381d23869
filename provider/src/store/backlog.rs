//! Which open orders are answered next, when there are more than one turn takes.
//!
//! Half of each turn goes to the newest orders, so that one that appears is answered within its block however many wait; of
//! those of one block, the one whose time ends first. The other half goes to the orders whose time ends first of all, so that
//! none is lost while newer ones come in. Of an order that goes to its lowest bid, the time ends when it takes no more bids.
//! Every order comes up in the second half before its time is over, unless more end together than can be answered; so none
//! starves.
//!
//! Orders whose refusal may pass come up again after these, in the same way: half of them those whose time ends first, half
//! those that were decided longest ago.

use std::collections::BTreeSet;

use anyhow::Context;
use sqlx::AssertSqlSafe;

use super::Store;
use super::decisions::BY_ITSELF;
use super::rows::{OrderRow, number, sql, string};

/// Open orders without a decision on their present terms.
const UNDECIDED: &str = "from orders where state = 'open' and not exists \
     (select 1 from decisions where order_id = orders.id and spec_hash = orders.spec_hash)";
const NEWEST: &str = "created_block desc, coalesce(award, expires_at), id";
const ENDS_FIRST: &str = "coalesce(award, expires_at), created_block, id";

/// Orders to decide again, by when they end and by when they were decided last.
const AGAIN_ENDS_FIRST: &str = "coalesce(award, expires_at), orders.id";
const AGAIN_LONGEST_AGO: &str = "coalesce(again_at, decided_at), orders.id";
/// The ids of the orders to decide again, as [`Again`] says, with the reason of the last answer.
const REFUSED: &str = "select orders.id as refused_id, reason from orders join decisions \
     on decisions.order_id = orders.id and decisions.spec_hash = orders.spec_hash \
     where state = 'open' and coalesce(award, expires_at) > $1 and passing is not null \
     and ((passing = $2 and coalesce(again_at, decided_at) <= $3) or coalesce(rules, '') <> $4)";

/// Which orders are decided again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Again<'a> {
    /// Those that were refused for what passes by itself, and were decided last at this unix second or before.
    pub since: u64,
    /// Those that may be answered otherwise by other rules, and were decided by others than the ones that are named so
    /// ([`super::Part::hash`]).
    pub rules: &'a str,
    /// All of them only while their time is not over: unix seconds of chain time.
    pub now: u64,
}

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

    /// At most `most` refused orders that are to be decided again, with the codes of their reasons, in the order in which they are
    /// to be answered.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn orders_to_decide_again(
        &self,
        again: Again<'_>,
        most: u64,
    ) -> anyhow::Result<Vec<(OrderRow, String)>> {
        let ends_first = self.refused(AGAIN_ENDS_FIRST, again, most.div_ceil(2)).await?;
        let mut taken: BTreeSet<_> = ends_first.iter().map(|(row, _)| row.order.id).collect();
        let longest_ago = self.refused(AGAIN_LONGEST_AGO, again, most).await?;
        let rest = longest_ago.into_iter().filter(|(row, _)| taken.insert(row.order.id));
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut all: Vec<_> = ends_first.iter().cloned().chain(rest).take(most).collect();
        // What was freed goes to the one whose time ends first.
        all.sort_by_key(|(row, _)| (row.order.award.unwrap_or(row.order.expires_at), row.order.id));
        Ok(all)
    }

    async fn refused(
        &self,
        sequence: &'static str,
        Again { since, rules, now }: Again<'_>,
        most: u64,
    ) -> anyhow::Result<Vec<(OrderRow, String)>> {
        let text = format!(
            "select orders.*, refused.reason from orders join ({REFUSED} order by {sequence} limit $5) as refused \
             on orders.id = refused_id"
        );
        sqlx::query(AssertSqlSafe(text))
            .bind(sql(now)?)
            .bind(BY_ITSELF)
            .bind(sql(since)?)
            .bind(rules.to_owned())
            .bind(sql(most)?)
            .fetch_all(&self.reader)
            .await
            .context("failed to read the orders to decide again")?
            .iter()
            .map(|row| Ok((OrderRow::read(row)?, string(row, "reason")?)))
            .collect()
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

#[cfg(test)]
mod tests {
    use super::super::engine::Engine;
    use super::*;

    #[tokio::test]
    async fn orders_to_decide_again_are_found_without_reading_orders_or_decisions() {
        let store = Store::fresh().await.expect("opens");
        if store.engine != Engine::Sqlite {
            eprintln!(
                "LEFT OUT: another engine tells of its plans in other words, and by what its tables hold"
            );
            return;
        }
        for sequence in [AGAIN_ENDS_FIRST, AGAIN_LONGEST_AGO] {
            let text = format!("explain query plan {REFUSED} order by {sequence} limit $5");
            let plan =
                sqlx::query(AssertSqlSafe(text)).bind(1i64).bind(BY_ITSELF).bind(1i64).bind("").bind(9i64);
            let rows = plan.fetch_all(&store.reader).await.expect("told");
            let steps: Vec<String> = rows.iter().map(|row| string(row, "detail").expect("told")).collect();
            for index in ["orders_open", "decisions_again"] {
                let covering = format!("USING COVERING INDEX {index}");
                assert!(steps.iter().any(|step| step.contains(&covering)), "{index}: {steps:#?}");
            }
        }
    }
}
