//! What is to be said to the chain, and every transaction that was signed for it.

use anyhow::Context;
use manifests::order::OrderId;
use sqlx::{Sqlite, Transaction};

use super::rows::sql;

/// Something to say to the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIntent {
    /// Kind, order and revision: the same wish twice has the same id and is stored once.
    pub id: String,
    /// What kind of wish, for metrics.
    pub kind: &'static str,
    /// The order or lease it is about.
    pub order: Option<OrderId>,
    /// Whether it goes before the others.
    pub urgent: bool,
    /// The call, as JSON.
    pub call: String,
    /// Unix seconds of chain time after which it is pointless.
    pub deadline: Option<u64>,
}

pub(super) async fn put_intent(
    tx: &mut Transaction<'static, Sqlite>,
    intent: &NewIntent,
    now: u64,
) -> anyhow::Result<bool> {
    let NewIntent { id, kind, order, urgent, call, deadline } = intent;
    let stored = sqlx::query(
        "insert into intents (id, kind, order_id, lane, urgent, call, state, deadline, not_before, tries, created_at, \
         updated_at) values ($1, $2, $3, '', $4, $5, 'queued', $6, 0, 0, $7, $7) on conflict (id) do nothing",
    )
    .bind(id)
    .bind(*kind)
    .bind(order.map(|order| order.to_string()))
    .bind(i64::from(*urgent))
    .bind(call)
    .bind(deadline.map(sql).transpose()?)
    .bind(sql(now)?)
    .execute(&mut **tx)
    .await
    .with_context(|| format!("failed to store intent {id}"))?;
    Ok(stored.rows_affected() > 0)
}
