//! Databases that live as long as a test.

use std::env;
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use sqlx::Executor;

use super::engine::DatabaseUrl;
use super::{Sealer, Store, migrate};

/// Names the Postgres on which tests run in place of SQLite: `postgres://user@host/database`, of a user that may create
/// databases.
const ON_POSTGRES: &str = "BERTH_TEST_POSTGRES";

static COUNT: AtomicU64 = AtomicU64::new(0);

impl DatabaseUrl {
    /// A new, empty database that outlives its handles: a SQLite file in `folder` or, where `BERTH_TEST_POSTGRES` names a
    /// server, a database there.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn fresh(folder: &Path) -> anyhow::Result<Self> {
        match env::var(ON_POSTGRES) {
            Ok(server) => database_on(&server).await,
            Err(_) => {
                let count = COUNT.fetch_add(1, Ordering::Relaxed);
                format!("sqlite://{}", folder.join(format!("{count}.db")).display()).parse()
            }
        }
    }

    /// The whole of it, with what is never shown: for a process that a test starts.
    #[must_use]
    pub fn for_a_child(&self) -> String {
        self.whole().to_owned()
    }
}

impl Store {
    /// A new, empty database for one test: SQLite in memory or, where `BERTH_TEST_POSTGRES` names a server, a database of its
    /// own there.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn fresh() -> anyhow::Result<Self> {
        let sealer = Sealer::new(&[0x5a; 32]);
        match env::var(ON_POSTGRES) {
            Ok(server) => Self::open(&database_on(&server).await?, sealer).await,
            Err(_) => Self::in_memory(sealer).await,
        }
    }

    async fn in_memory(sealer: Sealer) -> anyhow::Result<Self> {
        let database: DatabaseUrl = "sqlite::memory:".parse()?;
        // One connection for both: another would see another database.
        let pool = database.connect(1).await?;
        let engine = database.engine();
        migrate(&pool, engine).await?;
        let store = Self { writer: pool.clone(), reader: pool, engine, sealer: Arc::new(sealer) };
        store.check_key().await?;
        Ok(store)
    }
}

async fn database_on(server: &str) -> anyhow::Result<DatabaseUrl> {
    let name = format!("test_{}_{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let server: DatabaseUrl = server.parse().with_context(|| format!("{ON_POSTGRES} cannot be used"))?;
    let pool = server.connect(1).await?;
    pool.execute(sqlx::AssertSqlSafe(format!("create database {name}"))).await?;
    pool.close().await;
    Ok(server.sibling(&name))
}
