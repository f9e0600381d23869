//! The daemon's memory: one database, SQLite or Postgres, with one writer at a time.
//!
//! Every loop starts from these tables and can be killed at any line. Each table has one writer:
//!
//! | table | written by | read by |
//! |---|---|---|
//! | identity | [`Store::open`], [`Store::belongs_to`]; `follower` counts reorganisations, `sweep` its rounds | the same, `outbox` |
//! | blocks, events, accounts, orders, bids, leases, providers | `follower`, through [`Store::advance`]; `sweep` adds what is missing, through [`Store::repair`] | everyone |
//! | decisions, decision_parts, reservations | `bidder` | `explain`, `inventory`, `gateway`, metrics |
//! | intents | `bidder` (bids), `leases::escrow` (money, closes) create; `outbox` moves them on | metrics |
//! | attempts, batched | `outbox`, as the sender's journal | the same |
//! | manifests, lease_secrets | `gateway`; `leases::reconcile` forgets them | `leases::reconcile` |
//! | orphaned_leases | `follower`, through [`Store::advance`]; `leases::reconcile` forgets them | `leases::reconcile` |
//! | maintenance, drained_nodes | the operators' verbs | `bidder`, `gateway` |
//! | lease_status | `leases::reconcile` | `gateway`, `bidder` (teardown frees reservations), metrics |
//! | gpu_allocations | `leases::reconcile` | `gateway`, metrics |
//!
//! Blocks, events and their folds commit together, and so do a decision, its reservation and its intent. Env values,
//! registry credentials and secrets exist here only sealed. Queries are written out near the function that needs them, in the subset
//! of SQL that Postgres shares.

mod accounts;
mod answers;
mod auctions;
mod backlog;
mod chain;
mod decisions;
mod devices;
mod engine;
mod fold;
mod fresh;
mod inputs;
mod intents;
mod leases;
mod manifests;
mod moving;
mod operations;
mod rates;
mod reservations;
mod rows;
mod seal;
mod secrets;
mod tables;
mod tallies;

use std::sync::Arc;

use ::manifests::order::Address;
use anyhow::{Context, bail, ensure};
use sqlx::migrate::MigrateError;
use sqlx::{Any, AnyPool, Row, Transaction};

use self::engine::Engine;
pub use accounts::{AccountRow, ProviderRow};
pub use answers::{AnswerRow, Outcome};
pub use backlog::Again;
pub use chain::{Advance, Differences, Event};
pub use decisions::{DecisionRow, NewDecision, Put};
pub use devices::GpuAllocation;
pub use engine::DatabaseUrl;
pub use inputs::{NewInputs, Part, patch};
pub use intents::{IntentHistory, IntentKind, IntentRow, IntentState, NewIntent};
pub use leases::{Health, LeaseRow, LeaseState, LeaseStatus};
pub use manifests::StoredManifest;
pub use moving::{Compared, move_database};
pub use operations::Maintenance;
pub use reservations::{Promised, ReservationRow, ReservationState, Standing};
pub use rows::{BidRow, BidState, OrderRow, OrderState};
pub use seal::Sealer;
pub use tables::Rows;
pub use tallies::LeaseTally;

/// The word whose sealed form tells whether the data key is the one the database was written with.
const KEY_CHECK: &str = "data key check";

/// Connections that only read.
const READERS: u32 = 4;

/// A handle to the database; clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    /// One connection: writers queue here instead of failing with "busy".
    writer: AnyPool,
    reader: AnyPool,
    engine: Engine,
    sealer: Arc<Sealer>,
}

/// What a database belongs to. Another market's facts or another provider's bids never mix with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The chain.
    pub chain_id: u64,
    /// The Market contract.
    pub market: Address,
    /// The provider that bids.
    pub provider: Address,
}

impl Identity {
    fn told(&self) -> [(&'static str, String); 3] {
        let Self { chain_id, market, provider } = self;
        [
            ("chain id", chain_id.to_string()),
            ("market", market.to_string()),
            ("provider", provider.to_string()),
        ]
    }
}

impl Store {
    /// Opens the database, creates it if it is a SQLite file that is missing, and brings its tables up to this program's
    /// version.
    ///
    /// # Errors
    /// When the database cannot be opened, it was written by a newer program, or `sealer` holds another key than the one it
    /// was written with.
    pub async fn open(database: &DatabaseUrl, sealer: Sealer) -> anyhow::Result<Self> {
        let engine = database.engine();
        let writer = database.connect(1).await?;
        migrate(&writer, engine).await?;
        let reader = database.connect(READERS).await?;
        let store = Self { writer, reader, engine, sealer: Arc::new(sealer) };
        store.check_key().await?;
        Ok(store)
    }

    /// Brings the tables of the database up to this program's version, and says how many migrations that took.
    ///
    /// # Errors
    /// As [`Store::open`], without a look at the key.
    pub async fn migrate(database: &DatabaseUrl) -> anyhow::Result<usize> {
        let pool = database.connect(1).await?;
        let before = applied(&pool).await;
        migrate(&pool, database.engine()).await?;
        let after = applied(&pool).await;
        pool.close().await;
        Ok(after.saturating_sub(before))
    }

    /// Makes sure that the database is bound to no other chain, market or provider; a new one is bound to none.
    ///
    /// # Errors
    /// When it is.
    pub async fn belongs_to(&self, identity: Identity) -> anyhow::Result<()> {
        for (key, value) in identity.told() {
            let stored = sqlx::query("select value from identity where key = $1").bind(key);
            let stored = stored.fetch_optional(&self.reader).await;
            if let Some(row) = stored.with_context(|| format!("failed to read the database's {key}"))? {
                ensure_same(key, &row.try_get::<String, _>("value")?, &value)?;
            }
        }
        Ok(())
    }

    /// Binds a new database to a chain, market and provider, or makes sure that this is the one it was bound to. Before, they
    /// must be known to be right: the database cannot be bound to others afterwards.
    ///
    /// # Errors
    /// When the database belongs to another.
    pub async fn bind(&self, identity: Identity) -> anyhow::Result<()> {
        let mut tx = self.begin().await?;
        for (key, value) in identity.told() {
            ensure_same(key, &remember(&mut tx, key, &value).await?, &value)?;
        }
        tx.commit().await.context("failed to bind the database")
    }

    async fn check_key(&self) -> anyhow::Result<()> {
        let sealed = hex::encode(self.sealer.seal(KEY_CHECK, KEY_CHECK.as_bytes())?);
        let mut tx = self.begin().await?;
        let stored = hex::decode(remember(&mut tx, KEY_CHECK, &sealed).await?)
            .context("the database's key check is damaged: restore the database from a backup")?;
        tx.commit().await.context("failed to store the key check")?;
        if self.sealer.open(KEY_CHECK, &stored).is_none() {
            bail!(
                "the data key is not the one this database was written with: point dataKeyFile at the right file, or start \
                 with a new database"
            );
        }
        Ok(())
    }

    async fn begin(&self) -> anyhow::Result<Transaction<'static, Any>> {
        let begin = async || self.writer.begin_with(self.engine.begin()).await;
        let begun = match begin().await {
            // SQLite ends a transaction by itself when its disk is full, and the connection goes on counting it.
            Err(sqlx::Error::InvalidSavePointStatement) => {
                let stuck = self.writer.acquire().await.context("failed to reach the database")?;
                stuck.close().await.context("failed to leave the database")?;
                begin().await
            }
            begun => begun,
        };
        begun.context("failed to begin a transaction")
    }
}

fn ensure_same(key: &str, stored: &str, value: &str) -> anyhow::Result<()> {
    ensure!(
        stored == value,
        "the database belongs to {key} {stored}, but the configuration says {value}: use another database, or correct the \
         configuration"
    );
    Ok(())
}

/// Writes the value unless the key has one, and returns what stands there.
async fn remember(tx: &mut Transaction<'_, Any>, key: &str, value: &str) -> anyhow::Result<String> {
    sqlx::query("insert into identity (key, value) values ($1, $2) on conflict (key) do nothing")
        .bind(key)
        .bind(value)
        .execute(&mut **tx)
        .await
        .with_context(|| format!("failed to store the database's {key}"))?;
    let row = sqlx::query("select value from identity where key = $1").bind(key).fetch_one(&mut **tx).await?;
    Ok(row.try_get("value")?)
}

async fn migrate(pool: &AnyPool, engine: Engine) -> anyhow::Result<()> {
    match engine.migrations().run(pool).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(version)) => bail!(
            "the database was written by a newer berth-provider (it has migration {version}): run that version, or restore a \
             backup from before the upgrade"
        ),
        Err(MigrateError::VersionMismatch(version)) => bail!(
            "migration {version} of the database differs from this program's: run the berth-provider that wrote the database"
        ),
        Err(error) => Err(error).context("failed to migrate the database"),
    }
}

async fn applied(pool: &AnyPool) -> usize {
    // The table is missing in a new database, and then nothing was applied.
    sqlx::query("select count(*) as n from _sqlx_migrations where success")
        .fetch_one(pool)
        .await
        .ok()
        .and_then(|row| row.try_get::<i64, _>("n").ok())
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(folder: &tempfile::TempDir) -> DatabaseUrl {
        let path = folder.path().join("provider.db");
        format!("sqlite://{}", path.display()).parse().expect("a database URL")
    }

    #[tokio::test]
    async fn a_database_from_the_future_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(&url(&folder), Sealer::new(&[1; 32])).await.expect("a new database");
        sqlx::query(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
             values (999, 'later', true, x'00', 0)",
        )
        .execute(&store.writer)
        .await
        .expect("inserted");
        drop(store);
        let refused = Store::open(&url(&folder), Sealer::new(&[1; 32])).await.expect_err("from the future");
        assert!(refused.to_string().contains("newer berth-provider"), "{refused}");
    }

    #[tokio::test]
    async fn another_data_key_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        drop(Store::open(&url(&folder), Sealer::new(&[1; 32])).await.expect("a new database"));
        assert!(Store::open(&url(&folder), Sealer::new(&[1; 32])).await.is_ok());
        let refused = Store::open(&url(&folder), Sealer::new(&[2; 32])).await.expect_err("another key");
        assert!(refused.to_string().contains("data key"), "{refused}");
    }

    #[tokio::test]
    async fn a_transaction_that_the_database_ended_by_itself_does_not_keep_the_next_from_beginning() {
        let store = Store::fresh().await.expect("opens");
        let mut ended = store.begin().await.expect("the first");
        // As SQLite does it where there is no room left.
        sqlx::query("rollback").execute(&mut *ended).await.expect("ends it");
        drop(ended);
        store.begin().await.expect("the next").commit().await.expect("it counts");
    }

    #[tokio::test]
    async fn a_database_serves_one_market_and_one_provider() {
        let store = Store::fresh().await.expect("opens");
        let ours = Identity { chain_id: 1, market: Address([1; 20]), provider: Address([2; 20]) };
        let other = Identity { chain_id: 2, ..ours };
        // A look at a new database binds it to nobody.
        store.belongs_to(other).await.expect("not bound yet");
        store.bind(ours).await.expect("bound");
        store.belongs_to(ours).await.expect("the same");
        for refused in [store.belongs_to(other).await, store.bind(other).await] {
            let refused = refused.expect_err("another chain");
            assert!(refused.to_string().contains("chain id 1"), "{refused}");
        }
    }

    #[tokio::test]
    async fn migrating_twice_applies_nothing_the_second_time() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(Store::migrate(&url(&folder)).await.expect("migrates") > 0);
        assert_eq!(Store::migrate(&url(&folder)).await.expect("migrates"), 0);
    }
}
