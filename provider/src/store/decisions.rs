//! What came of each order, with everything it was decided from.

use anyhow::Context;
use manifests::decision::{Decision, Passing};
use manifests::order::{Hash, OrderId};
use sqlx::any::AnyRow;
use sqlx::{Any, Transaction};

use super::Store;
use super::inputs::{Columns, NewInputs, put_inputs, read_inputs};
use super::intents::{NewIntent, put_intent};
use super::reservations::hold;
use super::rows::{json, maybe, number, sql, string, text, to_json};

/// What may end a refusal, in the database's words.
pub(super) const WITH_CONFIGURATION: &str = "configuration";
pub(super) const BY_ITSELF: &str = "itself";

/// A stored decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRow {
    /// The order.
    pub order: OrderId,
    /// The terms it was decided on.
    pub spec_hash: Hash,
    /// Unix seconds of wall-clock time at which this answer was given first.
    pub decided_at: u64,
    /// What came of it.
    pub decision: Decision,
    /// Everything it was decided from, as JSON: deciding from it again gives the same.
    pub inputs: String,
    /// How often the order was decided again.
    pub again: u64,
    /// Unix seconds of the last time it was.
    pub again_at: Option<u64>,
}

/// A decision that is to be stored, with what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDecision {
    /// The order.
    pub order: OrderId,
    /// The terms it was decided on.
    pub spec_hash: Hash,
    /// Unix seconds of wall-clock time.
    pub decided_at: u64,
    /// What came of it.
    pub decision: Decision,
    /// Everything it was decided from.
    pub inputs: NewInputs,
    /// Of a bid: how it is said to the chain.
    pub intent: Option<NewIntent>,
}

/// What became of a decision that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is stored, with what follows from it.
    Stored,
    /// There is one on the same terms already, and it stays: it is a bid, or no older.
    Known,
    /// More was promised since it was made: it is to be made again.
    Outdated,
}

impl Store {
    /// Stores decisions together with what follows from them; one takes the place of an older refusal. For a bid, the reservation of its placement and the intent to
    /// say it to the chain. `last` is the last promise that the first of them was made by; each of the others was made by those
    /// before it. All or nothing: when one is outdated, all are, and none is stored.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn put_decisions(&self, decisions: &[NewDecision], last: u64) -> anyhow::Result<Vec<Put>> {
        let mut tx = self.begin().await?;
        let (mut puts, mut last) = (Vec::with_capacity(decisions.len()), last);
        for row in decisions {
            let put = put_decision(&mut tx, row, last).await?;
            match (put, &row.decision) {
                (Put::Outdated, _) => return Ok(vec![Put::Outdated; decisions.len()]),
                (Put::Stored, Decision::Bid { .. }) => last += 1,
                _ => {}
            }
            puts.push(put);
        }
        tx.commit().await.context("failed to commit decisions")?;
        Ok(puts)
    }

    /// Forgets decisions that were made before this unix second and that nothing rests on any more: their orders are not open,
    /// and what they reserved is free again. Takes a few at a time; returns how many it forgot.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn forget_decisions(&self, before: u64, most: u32) -> anyhow::Result<u64> {
        let mut tx = self.begin().await?;
        let forgotten = sqlx::query(
            "delete from decisions where (order_id, spec_hash) in (select order_id, spec_hash from decisions \
             where decided_at < $1 \
             and not exists (select 1 from orders where id = decisions.order_id and state = 'open') \
             and not exists (select 1 from reservations \
               where reservations.order_id = decisions.order_id and state <> 'released') \
             order by decided_at limit $2)",
        )
        .bind(sql(before)?)
        .bind(i64::from(most))
        .execute(&mut *tx)
        .await
        .context("failed to forget old decisions")?
        .rows_affected();
        // Also what only answers rested on that others took the place of.
        sqlx::query(
            "delete from decision_parts where hash not in (select rules from decisions where rules is not null \
             union select base from decisions where base is not null)",
        )
        .execute(&mut *tx)
        .await
        .context("failed to forget what old decisions were made from")?;
        tx.commit().await.context("failed to commit what is forgotten")?;
        Ok(forgotten)
    }

    /// What was decided last on an order, and on which terms, without what it was made from.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn decided(&self, order: OrderId) -> anyhow::Result<Option<(Hash, Decision)>> {
        sqlx::query(
            "select spec_hash, decision from decisions where order_id = $1 order by decided_at desc limit 1",
        )
        .bind(order.to_string())
        .fetch_optional(&self.reader)
        .await
        .with_context(|| format!("failed to read the decision on order {order}"))?
        .map(|row| Ok((text(&row, "spec_hash")?, json(&row, "decision")?)))
        .transpose()
    }

    /// The latest decision on an order, with all that it was made from.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn decision(&self, order: OrderId) -> anyhow::Result<Option<DecisionRow>> {
        sqlx::query(
            "select decisions.*, by_rules.body as rules_body, by_base.body as base_body from decisions \
             left join decision_parts as by_rules on by_rules.hash = decisions.rules \
             left join decision_parts as by_base on by_base.hash = decisions.base \
             where order_id = $1 order by decided_at desc limit 1",
        )
        .bind(order.to_string())
        .fetch_optional(&self.reader)
        .await
        .with_context(|| format!("failed to read the decision on order {order}"))?
        .map(|row| read(&row))
        .transpose()
    }

    /// Bytes that the inputs of all decisions take, parts counted once.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn decision_bytes(&self) -> anyhow::Result<u64> {
        let row = sqlx::query(
            "select cast(coalesce((select sum(length(body)) from decision_parts), 0) \
             + coalesce((select sum(length(rest)) from decisions), 0) \
             + coalesce((select sum(length(inputs)) from decisions), 0) as bigint) as n",
        )
        .fetch_one(&self.reader)
        .await
        .context("failed to read how much decisions take")?;
        number(&row, "n")
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

async fn put_decision(
    tx: &mut Transaction<'static, Any>,
    row: &NewDecision,
    last: u64,
) -> anyhow::Result<Put> {
    let NewDecision { order, spec_hash, decided_at, decision, inputs, intent } = row;
    let (outcome, reason, rate, placement) = match decision {
        Decision::Bid { rate, placement, .. } => {
            ("bid", None, Some(rate.scaled().to_string()), Some(placement))
        }
        Decision::Decline { reason } => ("decline", Some(reason.code()), None, None),
    };
    let passing = match decision {
        Decision::Decline { reason } => match reason.passing() {
            Passing::Never => None,
            Passing::WithConfiguration => Some(WITH_CONFIGURATION),
            Passing::ByItself => Some(BY_ITSELF),
        },
        Decision::Bid { .. } => None,
    };
    let Columns { rules, base, rest } = put_inputs(tx, inputs).await?;
    let stored = sqlx::query(
        "insert into decisions (order_id, spec_hash, decided_at, outcome, reason, rate, decision, inputs, rules, base, rest, \
         passing) values ($1, $2, $3, $4, $5, $6, $7, '', $8, $9, $10, $11) \
         on conflict (order_id, spec_hash) do update set decided_at = case \
         when decisions.reason = excluded.reason then decisions.decided_at else excluded.decided_at end, \
         outcome = excluded.outcome, reason = excluded.reason, rate = excluded.rate, decision = excluded.decision, \
         inputs = excluded.inputs, rules = excluded.rules, base = excluded.base, rest = excluded.rest, \
         passing = excluded.passing, again = decisions.again + 1, again_at = excluded.decided_at \
         where decisions.outcome = 'decline' \
         and coalesce(decisions.again_at, decisions.decided_at) < excluded.decided_at",
    )
    .bind(order.to_string())
    .bind(spec_hash.to_string())
    .bind(sql(*decided_at)?)
    .bind(outcome)
    .bind(reason)
    .bind(rate)
    .bind(to_json(decision)?)
    .bind(rules)
    .bind(base)
    .bind(rest)
    .bind(passing)
    .execute(&mut **tx)
    .await
    .with_context(|| format!("failed to store the decision on order {order}"))?
    .rows_affected();
    if stored == 0 {
        return Ok(Put::Known);
    }
    if let Some(placement) = placement
        && !hold(tx, *order, *spec_hash, placement, last, *decided_at).await?
    {
        return Ok(Put::Outdated);
    }
    if let Some(intent) = intent {
        put_intent(tx, intent, *decided_at).await?;
    }
    Ok(Put::Stored)
}

fn read(row: &AnyRow) -> anyhow::Result<DecisionRow> {
    Ok(DecisionRow {
        order: text(row, "order_id")?,
        spec_hash: text(row, "spec_hash")?,
        decided_at: number(row, "decided_at")?,
        decision: json(row, "decision")?,
        inputs: read_inputs(row)?,
        again: number(row, "again")?,
        again_at: maybe(row, "again_at")?,
    })
}

#[cfg(test)]
mod tests {
    use manifests::decision::Reason;
    use manifests::order::Address;
    use serde_json::json;

    use super::super::inputs::Part;
    use super::*;

    fn order(dseq: u64) -> OrderId {
        OrderId { tenant: Address([1; 20]), dseq, gseq: 1, oseq: 1 }
    }

    fn declined(dseq: u64, decided_at: u64, rules: &str) -> NewDecision {
        let part = |content| Part::new(&content).expect("written");
        let (rules, base) = (part(json!({"tariff": rules})), part(json!({"nodes": {"a": {"cpu": 1}}})));
        NewDecision {
            order: order(dseq),
            spec_hash: Hash([7; 32]),
            decided_at,
            decision: Decision::Decline { reason: Reason::Maintenance },
            inputs: NewInputs::new(rules, base, &json!({"now": dseq})).expect("written"),
            intent: None,
        }
    }

    async fn parts(store: &Store) -> i64 {
        sqlx::query_scalar("select count(*) from decision_parts")
            .fetch_one(&store.reader)
            .await
            .expect("read")
    }

    #[tokio::test]
    async fn what_decisions_share_is_stored_once_and_forgotten_with_the_last_of_them() {
        let store = Store::fresh().await.expect("opens");
        let decisions = [declined(1, 100, "old"), declined(2, 200, "old"), declined(3, 300, "new")];
        store.put_decisions(&decisions, 0).await.expect("stored");
        assert_eq!(parts(&store).await, 3, "two rules and one base");
        assert_eq!(store.forget_decisions(150, 10).await.expect("forgotten"), 1);
        assert_eq!(parts(&store).await, 3, "the second has the same rules");
        let row = store.decision(order(2)).await.expect("read").expect("kept");
        let inputs: serde_json::Value = serde_json::from_str(&row.inputs).expect("json");
        assert_eq!(inputs, json!({"tariff": "old", "capacity": {"nodes": {"a": {"cpu": 1}}}, "now": 2}));
        assert_eq!(
            store.forget_decisions(u64::MAX >> 1, 1).await.expect("forgotten"),
            1,
            "so many at a time"
        );
        assert_eq!(parts(&store).await, 2);
        assert_eq!(store.forget_decisions(u64::MAX >> 1, 10).await.expect("forgotten"), 1);
        assert_eq!(parts(&store).await, 0);
        assert!(store.decision(order(3)).await.expect("read").is_none());
        // What was forgotten is stored again when it is needed again.
        store.put_decisions(&[declined(4, 400, "new")], 0).await.expect("stored");
        assert!(store.decision(order(4)).await.expect("read").is_some());
    }

    fn bid(dseq: u64) -> NewDecision {
        NewDecision {
            decision: Decision::Bid {
                rate: manifests::money::Rate::ZERO,
                floor: manifests::money::Rate::ZERO,
                expires_at: 0,
                items: vec![],
                placement: manifests::decision::Placement::default(),
                warnings: vec![],
            },
            ..declined(dseq, 100, "")
        }
    }

    #[tokio::test]
    async fn decisions_of_open_orders_and_of_what_is_reserved_are_kept() {
        let store = Store::fresh().await.expect("opens");
        store.put_decisions(&[declined(1, 100, ""), bid(2)], 0).await.expect("stored");
        let sql = "insert into orders (id, account, spec_hash, state, expires_at, created_block, body) \
                   values ($1, '', '', 'open', 0, 0, '{}')";
        sqlx::query(sql).bind(order(1).to_string()).execute(&store.writer).await.expect("stored");
        assert_eq!(store.forget_decisions(1000, 10).await.expect("forgotten"), 0);
        store.release_reservation(order(2), "over", false, 5).await.expect("released");
        assert_eq!(store.forget_decisions(1000, 10).await.expect("forgotten"), 1);
        assert!(store.decision(order(1)).await.expect("read").is_some(), "it would be decided again");
    }

    #[tokio::test]
    async fn a_decision_from_before_inputs_had_parts_is_read_as_it_was() {
        let store = Store::fresh().await.expect("opens");
        sqlx::query(
            "insert into decisions (order_id, spec_hash, decided_at, outcome, reason, decision, inputs) \
             values ($1, $2, 5, 'decline', 'maintenance', $3, '{\"as\":\"it was\"}')",
        )
        .bind(order(1).to_string())
        .bind(Hash([7; 32]).to_string())
        .bind(to_json(&Decision::Decline { reason: Reason::Maintenance }).expect("json"))
        .execute(&store.writer)
        .await
        .expect("stored");
        let row = store.decision(order(1)).await.expect("read").expect("there");
        assert_eq!(row.inputs, "{\"as\":\"it was\"}");
    }

    #[tokio::test]
    async fn decisions_of_which_one_is_outdated_are_all_made_again() {
        let store = Store::fresh().await.expect("opens");
        let puts = store.put_decisions(&[bid(1), declined(2, 100, ""), bid(3)], 0).await.expect("stored");
        assert_eq!(puts, [Put::Stored; 3], "each of them knows those before it");
        let puts = store.put_decisions(&[declined(4, 100, ""), bid(5)], 0).await.expect("stored");
        assert_eq!(puts, [Put::Outdated; 2]);
        assert!(store.decision(order(4)).await.expect("read").is_none());
        let puts = store.put_decisions(&[declined(2, 100, ""), bid(5)], 2).await.expect("stored");
        assert_eq!(puts, [Put::Known, Put::Stored]);
    }
}
