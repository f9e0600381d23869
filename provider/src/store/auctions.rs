//! Orders that go to their lowest bid, and what others bid on them.

use std::collections::BTreeSet;

use anyhow::Context;
use manifests::order::{Address, Fact, OrderId};
use sqlx::AssertSqlSafe;

use super::Store;
use super::chain::{AT_ONCE, Event, places};
use super::rows::{BidRow, text};

impl Store {
    /// Leaves out what other providers do among themselves and what changes nothing here. Their bids count on orders that go to
    /// the lowest one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn relevant(&self, ours: Address, mut events: Vec<Event>) -> anyhow::Result<Vec<Event>> {
        let mut auctions: BTreeSet<OrderId> = events.iter().filter_map(|(_, fact)| posted(fact)).collect();
        let bid_on: BTreeSet<OrderId> = events
            .iter()
            .filter_map(|(_, fact)| match fact {
                Fact::BidPlaced(bid) if bid.provider != ours => Some(bid.order),
                _ => None,
            })
            .filter(|order| !auctions.contains(order))
            .collect();
        auctions.extend(self.auctions_of(&bid_on).await?);
        events.retain(|(_, fact)| match fact {
            Fact::BidPlaced(bid) => bid.provider == ours || auctions.contains(&bid.order),
            Fact::BidWithdrawn { provider, .. }
            | Fact::ReclaimStarted { provider, .. }
            | Fact::LeaseClosed { provider, .. }
            | Fact::Withdrawn { provider, .. }
            | Fact::ProviderChanged { provider, .. } => *provider == ours,
            // That another won an order tells that we lost it.
            Fact::LeaseCreated(_)
            | Fact::DeploymentCreated { .. }
            | Fact::ManifestChanged { .. }
            | Fact::OrderCreated(_)
            | Fact::OrderClosed { .. }
            | Fact::FundsChanged { .. } => true,
        });
        Ok(events)
    }

    /// Those of the orders that go to their lowest bid.
    async fn auctions_of(&self, orders: &BTreeSet<OrderId>) -> anyhow::Result<Vec<OrderId>> {
        let ids: Vec<String> = orders.iter().map(ToString::to_string).collect();
        let mut found = Vec::new();
        for ids in ids.chunks(AT_ONCE) {
            let list = places(ids.len(), 1);
            let query = format!("select id from orders where award is not null and id in ({list})");
            let query =
                ids.iter().fold(sqlx::query(AssertSqlSafe(query)), |query, id| query.bind(id.clone()));
            let rows = query.fetch_all(&self.reader).await;
            for row in rows.context("failed to read which orders go to the lowest bid")? {
                found.push(text(&row, "id")?);
            }
        }
        Ok(found)
    }

    /// The lowest bid of another provider for an order, as far as the chain tells of others' bids: it does on orders that go to
    /// the lowest one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn lowest_of_others(&self, order: OrderId, ours: Address) -> anyhow::Result<Option<BidRow>> {
        let rows =
            sqlx::query("select * from bids where order_id = $1 and provider <> $2 and state = 'open'")
                .bind(order.to_string())
                .bind(ours.to_string())
                .fetch_all(&self.reader)
                .await
                .with_context(|| format!("failed to read what others bid for order {order}"))?;
        let bids = rows.iter().map(BidRow::read).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(bids.into_iter().min_by_key(|row| row.bid.rate))
    }
}

fn posted(fact: &Fact) -> Option<OrderId> {
    match fact {
        Fact::OrderCreated(order) => order.award.map(|_| order.id),
        _ => None,
    }
}
