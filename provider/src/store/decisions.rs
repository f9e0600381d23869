//! What came of each order, with everything it was decided from.

use anyhow::Context;
use manifests::decision::Decision;
use manifests::order::{Hash, OrderId};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::Store;
use super::intents::{NewIntent, put_intent};
use super::reservations::hold;
use super::rows::{json, number, sql, string, text, to_json};

/// A stored decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRow {
    /// The order.
    pub order: OrderId,
    /// The terms it was decided on.
    pub spec_hash: Hash,
    /// Unix seconds of wall-clock time.
    pub decided_at: u64,
    /// What came of it.
    pub decision: Decision,
    /// Everything it was decided from, as JSON: deciding from it again gives the same.
    pub inputs: String,
}

/// What became of a decision that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is stored, with what follows from it.
    Stored,
    /// There is one on the same terms already, and it stays.
    Known,
    /// More was promised since it was made: it is to be made again.
    Outdated,
}

impl Store {
    /// Stores a decision together with what follows from it: for a bid, the reservation of its placement and the intent to
    /// say it to the chain. All or nothing. `last` is the last promise that it was made by.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn put_decision(
        &self,
        row: &DecisionRow,
        intent: Option<&NewIntent>,
        last: u64,
    ) -> anyhow::Result<Put> {
        let DecisionRow { order, spec_hash, decided_at, decision, inputs } = row;
        let (outcome, reason, rate, placement) = match decision {
            Decision::Bid { rate, placement, .. } => {
                ("bid", None, Some(rate.scaled().to_string()), Some(placement))
            }
            Decision::Decline { reason } => ("decline", Some(reason.code()), None, None),
        };
        let mut tx = self.begin().await?;
        let stored = sqlx::query(
            "insert into decisions (order_id, spec_hash, decided_at, outcome, reason, rate, decision, inputs) \
             values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (order_id, spec_hash) do nothing",
        )
        .bind(order.to_string())
        .bind(spec_hash.to_string())
        .bind(sql(*decided_at)?)
        .bind(outcome)
        .bind(reason)
        .bind(rate)
        .bind(to_json(decision)?)
        .bind(inputs)
        .execute(&mut *tx)
        .await
        .with_context(|| format!("failed to store the decision on order {order}"))?
        .rows_affected();
        if stored == 0 {
            return Ok(Put::Known);
        }
        if let Some(placement) = placement
            && !hold(&mut tx, *order, *spec_hash, placement, last, *decided_at).await?
        {
            return Ok(Put::Outdated);
        }
        if let Some(intent) = intent {
            put_intent(&mut tx, intent, *decided_at).await?;
        }
        tx.commit().await.with_context(|| format!("failed to commit the decision on order {order}"))?;
        Ok(Put::Stored)
    }

    /// The latest decision on an order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn decision(&self, order: OrderId) -> anyhow::Result<Option<DecisionRow>> {
        sqlx::query("select * from decisions where order_id = $1 order by decided_at desc limit 1")
            .bind(order.to_string())
            .fetch_optional(&self.reader)
            .await
            .with_context(|| format!("failed to read the decision on order {order}"))?
            .map(|row| read(&row))
            .transpose()
    }

    /// How many decisions there are, by outcome and reason code (empty for a bid).
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn count_decisions(&self) -> anyhow::Result<Vec<(String, String, u64)>> {
        sqlx::query(
            "select outcome, coalesce(reason, '') as reason, count(*) as n from decisions group by outcome, reason",
        )
        .fetch_all(&self.reader)
        .await
        .context("failed to count decisions")?
        .iter()
        .map(|row| Ok((string(row, "outcome")?, string(row, "reason")?, number(row, "n")?)))
        .collect()
    }
}

fn read(row: &AnyRow) -> anyhow::Result<DecisionRow> {
    Ok(DecisionRow {
        order: text(row, "order_id")?,
        spec_hash: text(row, "spec_hash")?,
        decided_at: number(row, "decided_at")?,
        decision: json(row, "decision")?,
        inputs: row.try_get("inputs")?,
    })
}
