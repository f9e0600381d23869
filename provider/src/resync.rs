//! `berth-provider resync`: what the chain says, read again from the start into a database beside the daemon's, compared row
//! by row, and taken over.
//!
//! Manifests, decisions, reservations and what was sent stay as they are: only the chain's own words are read again. Until the
//! last step the daemon's database is not touched, and that step is one transaction.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use manifests::order::{BlockRef, Hash};

use crate::cli::say;
use crate::config::Config;
use crate::follower::{ChainSource, Follower, Settings};
use crate::metrics::Metrics;
use crate::run::{follower_settings, open_store, reach_chain};
use crate::store::{Compared, DatabaseUrl, Event, Sealer, Store};
use crate::task::Turn as _;

/// Blocks between two lines of progress.
const TOLD_EVERY: u64 = 50_000;

/// A chain as it was at a height.
#[derive(Debug, Clone)]
struct UpTo<C> {
    chain: C,
    height: u64,
}

impl<C: ChainSource> ChainSource for UpTo<C> {
    async fn head(&self) -> anyhow::Result<BlockRef> {
        let block = self.chain.block(self.height).await?;
        block.with_context(|| {
            format!("the node does not have block {}, up to which the database follows", self.height)
        })
    }

    async fn block(&self, number: u64) -> anyhow::Result<Option<BlockRef>> {
        self.chain.block(number).await
    }

    async fn block_by_hash(&self, hash: Hash) -> anyhow::Result<Option<BlockRef>> {
        self.chain.block_by_hash(hash).await
    }

    async fn facts_of_block(&self, hash: Hash) -> anyhow::Result<Vec<Event>> {
        self.chain.facts_of_block(hash).await
    }

    async fn facts_between(&self, first: u64, last: u64) -> anyhow::Result<Vec<Event>> {
        self.chain.facts_between(first, last).await
    }
}

/// Does what the verb says and tells it. With `only_compare` nothing is taken over.
///
/// # Errors
/// When the chain or the database cannot be read, or the daemon runs; nothing has changed then.
pub async fn verb(config: &Config, only_compare: bool) -> anyhow::Result<Vec<Compared>> {
    let (store, chain) = (open_store(config).await?, reach_chain(config).await?);
    let scratch = config.data_key_file.with_file_name("resync.db");
    forget(&scratch)?;
    let database: DatabaseUrl = format!("sqlite://{}", scratch.display()).parse()?;
    let beside = Store::open(&database, Sealer::from_key_file(&config.data_key_file)?).await?;
    let compared = resync(chain, &store, &beside, follower_settings(config, Vec::new()), only_compare).await;
    drop(beside);
    forget(&scratch)?;
    compared
}

/// Reads the chain into the empty store `beside`, as high as `store` follows it, and compares or takes over.
///
/// # Errors
/// As [`verb`].
pub async fn resync<C: ChainSource>(
    chain: C,
    store: &Store,
    beside: &Store,
    settings: Settings,
    only_compare: bool,
) -> anyhow::Result<Vec<Compared>> {
    let Some(cursor) = store.cursor().await? else {
        bail!("the database follows no chain yet: run the daemon, there is nothing to read again");
    };
    let head = chain.head().await.context("failed to read the chain's head")?;
    ensure!(
        head.number >= cursor.number,
        "the node's head is block {}, but the database follows to block {}: wait until the node has caught up, or use another",
        head.number,
        cursor.number
    );
    let first = settings.start_block;
    say(&format!("reading blocks {first} to {} again", cursor.number));
    let chain = UpTo { chain, height: cursor.number };
    let mut follower = Follower::new(chain, beside.clone(), settings, Metrics::new()?);
    let mut told = first;
    loop {
        follower.turn().await?;
        let Some(reached) = beside.cursor().await? else { continue };
        if reached.number >= cursor.number {
            break;
        }
        if reached.number >= told + TOLD_EVERY {
            told = reached.number;
            say(&format!("  block {told} of {}", cursor.number));
        }
    }
    store.take_chain_from(beside, only_compare).await
}

/// Removes a SQLite file with what stands beside it.
fn forget(path: &Path) -> anyhow::Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error)
                    .with_context(|| format!("failed to remove {}", Path::new(&name).display()));
            }
            _ => {}
        }
    }
    Ok(())
}
