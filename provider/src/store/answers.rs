//! Orders with what was made of them and what became of it: for people, in one look.

use anyhow::Context;
use manifests::decision::Decision;
use manifests::order::{Address, OrderId};
use sqlx::any::AnyRow;

use super::Store;
use super::reservations::ReservationState;
use super::rows::{json, maybe_text, number, sql, string, text};

/// A decided order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerRow {
    /// Which.
    pub order: OrderId,
    /// Unix seconds of the decision.
    pub decided_at: u64,
    /// What was decided.
    pub decision: Decision,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of an answered order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was declined.
    Declined,
    /// The bid stands, or is on its way.
    Standing,
    /// It is our lease; in the words of the lease's state.
    Won(String),
    /// It is our lease and lives, and has no place, for this reason.
    Unplaced(String),
    /// Another provider has the lease.
    Lost,
    /// The capacity was released, for this reason.
    Released(String),
}

impl Store {
    /// The last `limit` decisions not made before `since`, unix seconds, the newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn answers(&self, provider: Address, since: u64, limit: u32) -> anyhow::Result<Vec<AnswerRow>> {
        sqlx::query(
            "select decisions.order_id, decisions.decided_at, decisions.decision, \
             reservations.state as held, reservations.released_because, \
             leases.provider as winner, leases.state as lease_state \
             from decisions left join reservations on reservations.order_id = decisions.order_id \
             and reservations.spec_hash = decisions.spec_hash \
             left join leases on leases.id = decisions.order_id \
             where decisions.decided_at >= $1 order by decisions.decided_at desc, decisions.order_id limit $2",
        )
        .bind(sql(since)?)
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await
        .context("failed to read the last decisions")?
        .iter()
        .map(|row| read(row, provider))
        .collect()
    }
}

fn read(row: &AnyRow, provider: Address) -> anyhow::Result<AnswerRow> {
    let decision: Decision = json(row, "decision")?;
    let winner: Option<Address> = maybe_text(row, "winner")?;
    let held: Option<String> = maybe_text(row, "held")?;
    let released = match held.as_deref() == Some(ReservationState::Released.word()) {
        true => Some(maybe_text::<String>(row, "released_because")?.unwrap_or_default()),
        false => None,
    };
    let outcome = match (&decision, winner, released) {
        (Decision::Decline { .. }, ..) => Outcome::Declined,
        (_, Some(winner), released) if winner == provider => match (string(row, "lease_state")?, released) {
            (state, Some(because)) if state != "closed" => Outcome::Unplaced(because),
            (state, _) => Outcome::Won(state),
        },
        (_, Some(_), _) => Outcome::Lost,
        (_, None, Some(because)) => Outcome::Released(because),
        (_, None, None) => Outcome::Standing,
    };
    Ok(AnswerRow { order: text(row, "order_id")?, decided_at: number(row, "decided_at")?, decision, outcome })
}
