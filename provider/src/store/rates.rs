//! What was asked for what is promised.

use std::collections::BTreeMap;

use anyhow::Context;
use manifests::money::Rate;
use manifests::order::OrderId;

use super::Store;
use super::rows::{string, text};

impl Store {
    /// The rate that was decided for each order for which something is promised. Less may be paid, where it was bid lower
    /// later.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn promised_rates(&self) -> anyhow::Result<BTreeMap<OrderId, Rate>> {
        sqlx::query(
            "select r.order_id, d.rate from reservations r join decisions d on d.order_id = r.order_id and \
             d.spec_hash = r.spec_hash where r.state in ('held', 'leased') and d.rate is not null",
        )
        .fetch_all(&self.reader)
        .await
        .context("failed to read what was asked for what is promised")?
        .iter()
        .map(|row| {
            let rate: u128 = string(row, "rate")?.parse().context("a stored rate is not a number")?;
            Ok((text(row, "order_id")?, Rate::new(rate).context("a stored rate is too large")?))
        })
        .collect()
    }
}
