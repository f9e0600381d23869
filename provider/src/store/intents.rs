//! What is to be said to the chain, and every transaction that was signed for it.
//!
//! The store is the sender's journal: an attempt is here before its first broadcast, and a nonce is settled together with
//! the outcome of every intent it served. An attempt names the first intent that it serves; if there are more, `batched` names
//! them with their places.

use std::collections::BTreeMap;

use anyhow::{Context, anyhow, bail, ensure};
use manifests::order::{Address, OrderId};
use market::call::Call;
use market::sender::{Attempt, Journal, Outcome, Verdict};
use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::Store;
use super::chain::{AT_ONCE, places};
use super::reservations::release;
use super::rows::{json, maybe, maybe_text, number, sql, string, text, to_json};
use crate::failpoint::{self, Point};

/// What an intent is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IntentKind {
    /// A bid for an order.
    Bid,
    /// A payout of leases.
    Withdraw,
    /// The end of a lease.
    Close,
    /// The end of a bid that cannot be kept.
    TakeBack,
}

impl IntentKind {
    /// The word in tables and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Bid => "bid",
            Self::Withdraw => "withdraw",
            Self::Close => "close",
            Self::TakeBack => "take_back",
        }
    }

    fn read(word: &str) -> anyhow::Result<Self> {
        [Self::Bid, Self::Withdraw, Self::Close, Self::TakeBack]
            .into_iter()
            .find(|kind| kind.word() == word)
            .ok_or_else(|| anyhow!("the database holds an intent of kind \"{word}\""))
    }
}

/// Something to say to the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIntent {
    /// What for, for which order, for the how-manieth time: the same wish twice has the same id and is stored once.
    pub id: String,
    /// What it is for.
    pub kind: IntentKind,
    /// The order or lease it is about; `None` when it is about several.
    pub order: Option<OrderId>,
    /// What is said.
    pub call: Call,
    /// Unix seconds of chain time after which it is pointless to say it for the first time.
    pub deadline: Option<u64>,
}

/// How far an intent got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntentState {
    /// It waits, or a transaction for it is on its way.
    Pending,
    /// It was mined and took effect.
    Done {
        /// Height of the block.
        block: u64,
    },
    /// The chain refused it, or it became pointless.
    Failed {
        /// Why.
        problem: String,
    },
}

/// A stored intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntentRow {
    /// What it is.
    pub intent: NewIntent,
    /// How far it got.
    pub state: IntentState,
    /// How often it was tried in vain.
    pub tries: u32,
    /// What kept it from being said the last time.
    pub problem: Option<String>,
    /// Unix seconds before which it is not tried again.
    pub not_before: u64,
    /// The nonce of a signed transaction of it that may be on its way: it must be seen through, together with the others of
    /// that nonce.
    pub begun: Option<u64>,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds of its last change.
    pub updated_at: u64,
}

impl IntentRow {
    pub(super) fn read(row: &AnyRow) -> anyhow::Result<Self> {
        let problem: Option<String> = maybe_text(row, "problem")?;
        let state = match string(row, "state")?.as_str() {
            "pending" => IntentState::Pending,
            "done" => IntentState::Done { block: number(row, "block")? },
            "failed" => IntentState::Failed { problem: problem.clone().unwrap_or_default() },
            other => return Err(anyhow!("the database holds an intent in state \"{other}\"")),
        };
        let intent = NewIntent {
            id: string(row, "id")?,
            kind: IntentKind::read(&string(row, "kind")?)?,
            order: maybe_text(row, "order_id")?,
            call: json(row, "call")?,
            deadline: maybe(row, "deadline")?,
        };
        Ok(Self {
            intent,
            state,
            problem,
            tries: super::rows::small(row, "tries")?,
            not_before: number(row, "not_before")?,
            begun: maybe(row, "begun")?,
            created_at: number(row, "created_at")?,
            updated_at: number(row, "updated_at")?,
        })
    }
}

/// Which intents exist of an order: the latest one and how many.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IntentHistory {
    /// The latest.
    pub latest: Option<IntentRow>,
    /// How many there are; the next one's number.
    pub count: u64,
}

/// Intents with the nonce under which a live attempt serves them.
macro_rules! with_begun {
    ($rest:literal) => {
        concat!(
            "select intents.*, coalesce(\
               (select max(nonce) from attempts where attempts.intent = intents.id and live <> 0), \
               (select max(nonce) from attempts join batched on batched.attempt = attempts.hash \
                where batched.intent = intents.id and live <> 0)) as begun from intents ",
            $rest
        )
    };
}
pub(super) use with_begun;

impl Store {
    /// Stores an intent. One with the same id stays as it is; returns whether this one was stored.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn put_intent(&self, intent: &NewIntent, now: u64) -> anyhow::Result<bool> {
        let mut tx = self.begin().await?;
        let stored = put_intent(&mut tx, intent, now).await?;
        tx.commit().await.with_context(|| format!("failed to store intent {}", intent.id))?;
        if stored {
            match intent.kind {
                IntentKind::Withdraw => failpoint::reach(Point::WithdrawIntended),
                IntentKind::Close => failpoint::reach(Point::CloseIntended),
                IntentKind::Bid | IntentKind::TakeBack => {}
            }
        }
        Ok(stored)
    }

    /// Intents that are not finished: closes first, then withdrawals, then bids and their ends, each oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn pending_intents(&self) -> anyhow::Result<Vec<IntentRow>> {
        sqlx::query(with_begun!(
            "where state = 'pending' \
             order by case kind when 'close' then 0 when 'withdraw' then 1 else 2 end, created_at, id"
        ))
        .fetch_all(&self.reader)
        .await
        .context("failed to read the pending intents")?
        .iter()
        .map(IntentRow::read)
        .collect()
    }

    /// The intents of a kind about an order, or about several at once.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn intents_of(
        &self,
        order: Option<OrderId>,
        kind: IntentKind,
    ) -> anyhow::Result<IntentHistory> {
        let rows = sqlx::query(with_begun!(
            "where coalesce(order_id, '') = $1 and kind = $2 order by created_at, id"
        ))
        .bind(order.map(|order| order.to_string()).unwrap_or_default())
        .bind(kind.word())
        .fetch_all(&self.reader)
        .await
        .with_context(|| format!("failed to read the {} intents", kind.word()))?;
        Ok(IntentHistory {
            latest: rows.last().map(IntentRow::read).transpose()?,
            count: u64::try_from(rows.len()).context("fewer rows than that fit in memory")?,
        })
    }

    /// How many bids were wished for each of these orders; those without any are left out.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn count_bids(
        &self,
        orders: impl IntoIterator<Item = OrderId>,
    ) -> anyhow::Result<BTreeMap<OrderId, u64>> {
        let ids: Vec<String> = orders.into_iter().map(|order| order.to_string()).collect();
        let mut counts = BTreeMap::new();
        for ids in ids.chunks(AT_ONCE) {
            let list = places(ids.len(), 1);
            let query = format!(
                "select order_id, count(*) as n from intents where kind = 'bid' and order_id in ({list}) group by order_id"
            );
            let query =
                ids.iter().fold(sqlx::query(AssertSqlSafe(query)), |query, id| query.bind(id.clone()));
            for row in query.fetch_all(&self.reader).await.context("failed to count bids")? {
                counts.insert(text(&row, "order_id")?, number(&row, "n")?);
            }
        }
        Ok(counts)
    }

    /// An intent.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn intent(&self, id: &str) -> anyhow::Result<Option<IntentRow>> {
        sqlx::query(with_begun!("where id = $1"))
            .bind(id)
            .fetch_optional(&self.reader)
            .await
            .with_context(|| format!("failed to read intent {id}"))?
            .map(|row| IntentRow::read(&row))
            .transpose()
    }

    /// The unix second of the first intent.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn first_intent_at(&self) -> anyhow::Result<Option<u64>> {
        let row = sqlx::query("select min(created_at) as first from intents")
            .fetch_one(&self.reader)
            .await
            .context("failed to read when the first intent was stored")?;
        maybe(&row, "first")
    }

    /// What transactions of intents that were made since this unix second cost in gas, in wei.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn gas_spent_since(&self, second: u64) -> anyhow::Result<u128> {
        let rows = sqlx::query("select outcome from intents where created_at >= $1 and outcome is not null")
            .bind(sql(second)?)
            .fetch_all(&self.reader)
            .await
            .context("failed to read what was spent on gas")?;
        rows.iter().try_fold(0u128, |sum, row| {
            Ok(match json(row, "outcome")? {
                Outcome::Mined { fee_wei, .. } | Outcome::Reverted { fee_wei, .. } => {
                    sum.saturating_add(fee_wei)
                }
            })
        })
    }

    /// What a key signed since this unix second, mined or not, the earliest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn signed_since(&self, key: Address, second: u64) -> anyhow::Result<Vec<Attempt>> {
        let rows =
            sqlx::query("select * from attempts where signer = $1 and signed_at >= $2 order by sequence")
                .bind(key.to_string())
                .bind(sql(second)?)
                .fetch_all(&self.reader)
                .await
                .context("failed to read what was signed today")?;
        self.attempts(&rows, key).await
    }

    /// How many intents there are, by kind and state.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn count_intents(&self) -> anyhow::Result<Vec<(String, String, u64)>> {
        sqlx::query("select kind, state, count(*) as n from intents group by kind, state")
            .fetch_all(&self.reader)
            .await
            .context("failed to count intents")?
            .iter()
            .map(|row| Ok((string(row, "kind")?, string(row, "state")?, number(row, "n")?)))
            .collect()
    }

    /// Puts an intent off after a failure that may pass.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn put_off_intent(
        &self,
        id: &str,
        problem: &str,
        not_before: u64,
        now: u64,
    ) -> anyhow::Result<()> {
        sqlx::query(
            "update intents set tries = tries + 1, problem = $2, not_before = $3, updated_at = $4 \
             where id = $1 and state = 'pending'",
        )
        .bind(id)
        .bind(problem)
        .bind(sql(not_before)?)
        .bind(sql(now)?)
        .execute(&self.writer)
        .await
        .with_context(|| format!("failed to put intent {id} off"))?;
        Ok(())
    }

    /// Finishes an intent without a transaction of its own: what it wants is so since a block.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn complete_intent(&self, id: &str, block: u64, now: u64) -> anyhow::Result<()> {
        sqlx::query(
            "update intents set state = 'done', block = $2, updated_at = $3 where id = $1 and state = 'pending'",
        )
        .bind(id)
        .bind(sql(block)?)
        .bind(sql(now)?)
        .execute(&self.writer)
        .await
        .with_context(|| format!("failed to finish intent {id}"))?;
        Ok(())
    }

    /// Gives an intent up and frees what a bid had reserved, in one step. Where an order goes to its lowest bid, what was
    /// reserved stays: an earlier bid may stand, and another may be made.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn fail_intent(&self, intent: &NewIntent, problem: &str, now: u64) -> anyhow::Result<()> {
        let NewIntent { id, kind, order, .. } = intent;
        let mut tx = self.begin().await?;
        sqlx::query("update intents set state = 'failed', problem = $2, updated_at = $3 where id = $1")
            .bind(id)
            .bind(problem)
            .bind(sql(now)?)
            .execute(&mut *tx)
            .await
            .with_context(|| format!("failed to give intent {id} up"))?;
        if let (IntentKind::Bid, Some(order)) = (kind, order)
            && !is_auction(&mut tx, *order).await?
        {
            release(&mut tx, *order, &format!("the bid was given up: {problem}"), now).await?;
        }
        tx.commit().await.with_context(|| format!("failed to give intent {id} up"))
    }
}

/// Whether the order is open and goes to its lowest bid.
async fn is_auction(tx: &mut Transaction<'static, Any>, order: OrderId) -> anyhow::Result<bool> {
    let found =
        sqlx::query("select 1 as n from orders where id = $1 and state = 'open' and award is not null")
            .bind(order.to_string())
            .fetch_optional(&mut **tx)
            .await
            .with_context(|| format!("failed to read how order {order} is awarded"))?;
    Ok(found.is_some())
}

pub(super) async fn put_intent(
    tx: &mut Transaction<'static, Any>,
    intent: &NewIntent,
    now: u64,
) -> anyhow::Result<bool> {
    let NewIntent { id, kind, order, call, deadline } = intent;
    let stored = sqlx::query(
        "insert into intents (id, kind, order_id, call, state, deadline, not_before, tries, created_at, updated_at) \
         values ($1, $2, $3, $4, 'pending', $5, 0, 0, $6, $6) on conflict (id) do nothing",
    )
    .bind(id)
    .bind(kind.word())
    .bind(order.map(|order| order.to_string()))
    .bind(to_json(call)?)
    .bind(deadline.map(sql).transpose()?)
    .bind(sql(now)?)
    .execute(&mut **tx)
    .await
    .with_context(|| format!("failed to store intent {id}"))?;
    Ok(stored.rows_affected() > 0)
}

/// Drops a bid that was not begun: nothing of it is on its way.
pub(super) async fn drop_unsaid_bids(
    tx: &mut Transaction<'static, Any>,
    order: OrderId,
    because: &str,
    now: u64,
) -> anyhow::Result<()> {
    sqlx::query(
        "update intents set state = 'failed', problem = $2, updated_at = $3 where order_id = $1 and kind = 'bid' \
         and state = 'pending' \
         and not exists (select 1 from attempts where attempts.intent = intents.id and live <> 0) \
         and not exists (select 1 from attempts join batched on batched.attempt = attempts.hash \
           where batched.intent = intents.id and live <> 0)",
    )
    .bind(order.to_string())
    .bind(because)
    .bind(sql(now)?)
    .execute(&mut **tx)
    .await
    .with_context(|| format!("failed to drop the unsaid bid for order {order}"))?;
    Ok(())
}

impl Journal for Store {
    async fn outcome(&self, intent: &str) -> anyhow::Result<Option<Outcome>> {
        sqlx::query("select outcome from intents where id = $1 and outcome is not null")
            .bind(intent)
            .fetch_optional(&self.reader)
            .await
            .with_context(|| format!("failed to read the outcome of intent {intent}"))?
            .map(|row| json(&row, "outcome"))
            .transpose()
    }

    async fn live(&self, key: Address) -> anyhow::Result<Vec<Attempt>> {
        let rows = sqlx::query("select * from attempts where signer = $1 and live <> 0 order by sequence")
            .bind(key.to_string())
            .fetch_all(&self.reader)
            .await
            .context("failed to read the transactions that are on their way")?;
        self.attempts(&rows, key).await
    }

    async fn serving(&self, key: Address, intent: &str) -> anyhow::Result<Vec<Attempt>> {
        let rows = sqlx::query(
            "select * from attempts where signer = $1 and live <> 0 and nonce = coalesce(\
               (select max(nonce) from attempts where attempts.intent = $2 and live <> 0 and signer = $1), \
               (select max(nonce) from attempts join batched on batched.attempt = attempts.hash \
                where batched.intent = $2 and live <> 0 and signer = $1)) order by sequence",
        )
        .bind(key.to_string())
        .bind(intent)
        .fetch_all(&self.reader)
        .await
        .with_context(|| format!("failed to read the transactions of intent {intent}"))?;
        self.attempts(&rows, key).await
    }

    async fn held(&self, key: Address) -> anyhow::Result<Vec<u64>> {
        sqlx::query("select nonce from attempts where signer = $1 and live <> 0")
            .bind(key.to_string())
            .fetch_all(&self.reader)
            .await
            .context("failed to read which nonces are held")?
            .iter()
            .map(|row| number(row, "nonce"))
            .collect()
    }

    async fn remember(&self, attempt: &Attempt) -> anyhow::Result<()> {
        let Attempt { intents, key, nonce, hash, raw, max_fee, max_tip, signed_at } = attempt;
        let [first, more @ ..] = intents.as_slice() else {
            bail!("a transaction that serves no intent needs no memory");
        };
        let failed = || format!("failed to remember a transaction of intent {first}");
        let mut tx = self.begin().await?;
        // What a reorganisation took off the chain is said again by another intent, often in the very same bytes.
        let stored = sqlx::query(
            "insert into attempts (hash, intent, signer, nonce, raw, max_fee, max_tip, signed_at, live, sequence) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, 1, (select coalesce(max(sequence), 0) + 1 from attempts)) \
             on conflict (hash) do update set intent = excluded.intent, signed_at = excluded.signed_at, live = 1, \
             sequence = excluded.sequence where attempts.live = 0",
        )
        .bind(hash.to_string())
        .bind(first)
        .bind(key.to_string())
        .bind(sql(*nonce)?)
        .bind(raw)
        .bind(max_fee.to_string())
        .bind(max_tip.to_string())
        .bind(sql(*signed_at)?)
        .execute(&mut *tx)
        .await
        .with_context(failed)?;
        ensure!(stored.rows_affected() > 0, "the transaction {hash} serves other intents and is on its way");
        sqlx::query("delete from batched where attempt = $1")
            .bind(hash.to_string())
            .execute(&mut *tx)
            .await
            .with_context(failed)?;
        for (intent, place) in more.iter().zip(1i64..) {
            sqlx::query("insert into batched (attempt, place, intent) values ($1, $2, $3)")
                .bind(hash.to_string())
                .bind(place)
                .bind(intent)
                .execute(&mut *tx)
                .await
                .with_context(failed)?;
        }
        tx.commit().await.with_context(failed)?;
        self.reach(first, [Point::BidSigned, Point::WithdrawSigned]).await
    }

    async fn settle(&self, key: Address, nonce: u64, verdict: &Verdict) -> anyhow::Result<()> {
        let outcomes = match verdict {
            Verdict::Settled(outcomes) => outcomes.as_slice(),
            Verdict::Void => &[],
        };
        if let [(first, _), ..] = outcomes {
            self.reach(first, [Point::BidMined, Point::WithdrawMined]).await?;
        }
        let failed = || format!("failed to settle nonce {nonce}");
        let mut tx = self.begin().await?;
        sqlx::query("update attempts set live = 0 where signer = $1 and nonce = $2 and live <> 0")
            .bind(key.to_string())
            .bind(sql(nonce)?)
            .execute(&mut *tx)
            .await
            .with_context(failed)?;
        for (intent, outcome) in outcomes {
            finish(&mut tx, intent, outcome).await?;
        }
        tx.commit().await.with_context(failed)
    }
}

fn read_attempt(row: &AnyRow, key: Address, intents: Vec<String>) -> anyhow::Result<Attempt> {
    Ok(Attempt {
        intents,
        key,
        nonce: number(row, "nonce")?,
        hash: text(row, "hash")?,
        raw: row.try_get("raw").context("the database column raw cannot be read")?,
        max_fee: text(row, "max_fee")?,
        max_tip: text(row, "max_tip")?,
        signed_at: number(row, "signed_at")?,
    })
}

/// Stores an outcome. What a refusal means for a reservation is the outbox's to say, which learns of it from the row.
async fn finish(tx: &mut Transaction<'static, Any>, intent: &str, outcome: &Outcome) -> anyhow::Result<()> {
    let (block, problem) = match outcome {
        Outcome::Mined { block, .. } => (*block, None),
        Outcome::Reverted { block, error, .. } => (*block, Some(error.to_string())),
    };
    sqlx::query(
        "update intents set outcome = $2, block = $3, problem = $4, \
         state = case when $4 is null then 'done' else state end where id = $1",
    )
    .bind(intent)
    .bind(to_json(outcome)?)
    .bind(sql(block)?)
    .bind(problem)
    .execute(&mut **tx)
    .await
    .with_context(|| format!("failed to store the outcome of intent {intent}"))?;
    Ok(())
}

impl Store {
    /// Attempts of a key from their rows, which are in the order of their sequence. What a row serves does not change while it is live, so
    /// it can be read after it.
    async fn attempts(&self, rows: &[AnyRow], key: Address) -> anyhow::Result<Vec<Attempt>> {
        let Some(oldest) = rows.first() else { return Ok(Vec::new()) };
        let batched = sqlx::query(
            "select batched.attempt, batched.intent from batched join attempts on attempts.hash = batched.attempt \
             where attempts.signer = $1 and attempts.sequence >= $2 order by batched.attempt, batched.place",
        )
        .bind(key.to_string())
        .bind(sql(number(oldest, "sequence")?)?)
        .fetch_all(&self.reader)
        .await
        .context("failed to read what transactions serve")?;
        let mut more: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in &batched {
            more.entry(string(row, "attempt")?).or_default().push(string(row, "intent")?);
        }
        let read = |row| {
            let mut intents = vec![string(row, "intent")?];
            intents.extend(more.remove(&string(row, "hash")?).unwrap_or_default());
            read_attempt(row, key, intents)
        };
        rows.iter().map(read).collect()
    }

    /// Says that the daemon got to the place that the intent's kind has among these, bids' and withdrawals'.
    #[cfg(feature = "fail-points")]
    async fn reach(&self, intent: &str, [bid, withdraw]: [Point; 2]) -> anyhow::Result<()> {
        let kind = sqlx::query("select kind from intents where id = $1")
            .bind(intent)
            .fetch_optional(&self.reader)
            .await
            .with_context(|| format!("failed to read intent {intent}"))?
            .map(|row| IntentKind::read(&string(&row, "kind")?))
            .transpose()?;
        match kind {
            Some(IntentKind::Bid) => failpoint::reach(bid),
            Some(IntentKind::Withdraw) => failpoint::reach(withdraw),
            Some(IntentKind::Close | IntentKind::TakeBack) | None => {}
        }
        Ok(())
    }

    #[cfg(not(feature = "fail-points"))]
    #[expect(clippy::unused_async, reason = "it is one function in both builds")]
    async fn reach(&self, _intent: &str, _points: [Point; 2]) -> anyhow::Result<()> {
        Ok(())
    }
}
