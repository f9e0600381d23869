//! The engine behind the store: SQLite for one replica, Postgres for more. Everything else in the store is written once, in
//! the subset of SQL that both share.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, anyhow, bail};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::Migrator;
use sqlx::{AnyPool, Executor};
use url::Url;

/// Of a SQLite connection: a reader never waits for the writer, a sent transaction is remembered even if the machine loses
/// power, and a statement waits five seconds for another process that holds the database.
const PRAGMAS: &str = "pragma journal_mode = wal; pragma synchronous = full; pragma busy_timeout = 5000; \
                       pragma foreign_keys = on";

/// Two processes on one Postgres write one after the other, as they do on SQLite. The number names this lock and nothing else.
const BEGIN_ON_POSTGRES: &str = "begin; select pg_advisory_xact_lock(8030605040302010)";

static ON_SQLITE: Migrator = sqlx::migrate!("../migrations/sqlite");
static ON_POSTGRES: Migrator = sqlx::migrate!("../migrations/postgres");

/// Which engine holds a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    /// Begins a transaction that no other writer overtakes.
    pub(super) fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "begin immediate",
            Self::Postgres => BEGIN_ON_POSTGRES,
        }
    }

    pub(super) fn migrations(self) -> &'static Migrator {
        match self {
            Self::Sqlite => &ON_SQLITE,
            Self::Postgres => &ON_POSTGRES,
        }
    }
}

/// Where a database is. A password in it is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    engine: Engine,
    url: Url,
}

impl FromStr for DatabaseUrl {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        // The parser's own words may hold a password.
        let mut url: Url = text.parse().map_err(|_| anyhow!("it is not a URL; {FORMS}"))?;
        let engine = match url.scheme() {
            "sqlite" => Engine::Sqlite,
            "postgres" | "postgresql" => Engine::Postgres,
            other => bail!("{other}: is no engine of ours; {FORMS}"),
        };
        if engine == Engine::Sqlite && !url.query_pairs().any(|(name, _)| name == "mode") {
            url.query_pairs_mut().append_pair("mode", "rwc");
        }
        if engine == Engine::Postgres && url.path().trim_matches('/').is_empty() {
            bail!("it names no database; {FORMS}");
        }
        Ok(Self { engine, url })
    }
}

const FORMS: &str =
    "write sqlite:///var/lib/berth/provider.db or postgres://user:password@host:5432/database";

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.url.clone();
        if shown.password().is_some() {
            // Only a URL without a host cannot hold a password, and it has none.
            let _ = shown.set_password(Some("***"));
        }
        // Options may hold a password too, and say nothing about which database it is.
        shown.set_query(None);
        shown.fmt(f)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

impl DatabaseUrl {
    pub(super) fn engine(&self) -> Engine {
        self.engine
    }

    pub(super) fn whole(&self) -> &str {
        self.url.as_str()
    }

    /// Another database of the same server.
    pub(super) fn sibling(&self, name: &str) -> Self {
        let mut url = self.url.clone();
        url.set_path(name);
        Self { engine: self.engine, url }
    }

    /// Connections to the database, at most `most` at a time. Creates a SQLite file that is missing.
    pub(super) async fn connect(&self, most: u32) -> anyhow::Result<AnyPool> {
        sqlx::any::install_default_drivers();
        let engine = self.engine;
        let options = AnyConnectOptions::from_str(self.url.as_str())
            .map_err(|_| anyhow!("the database URL {self} cannot be read; {FORMS}"))?;
        // A SQLite connection costs nothing to keep, and a database in memory ends with its last one.
        let pool = AnyPoolOptions::new().max_connections(most).idle_timeout(None).max_lifetime(None);
        let pool = pool.after_connect(move |connection, _| {
            Box::pin(async move {
                if engine == Engine::Sqlite {
                    connection.execute(PRAGMAS).await?;
                }
                Ok(())
            })
        });
        let remedy = match engine {
            Engine::Sqlite => "its folder must exist and be writable",
            Engine::Postgres => "the server must run, know the user and hold the database",
        };
        pool.connect_with(options)
            .await
            .with_context(|| format!("failed to open the database {self}: {remedy}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> anyhow::Result<DatabaseUrl> {
        text.parse()
    }

    #[test]
    fn a_password_is_shown_nowhere() {
        let url = url("postgres://berth:s3cret@db:5432/berth?sslpassword=s3cret").expect("a URL");
        for text in [url.to_string(), format!("{url:?}")] {
            assert!(!text.contains("s3cret") && text.contains("db:5432/berth"), "{text}");
        }
    }

    #[test]
    fn other_engines_and_urls_without_a_database_are_refused_with_the_forms_that_work() {
        for wrong in
            ["mysql://localhost/berth", "provider.db", "postgres://localhost", "postgres://u:s3cret@h:x/d"]
        {
            let refused = url(wrong).expect_err(wrong).to_string();
            assert!(refused.contains("sqlite:///") && refused.contains("postgres://"), "{refused}");
            assert!(!refused.contains("s3cret"), "{refused}");
        }
    }
}
