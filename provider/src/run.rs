//! The wiring, top to bottom.

use std::process::ExitCode;

use crate::config::Config;
use crate::lifecycle::Lifecycle;
use crate::store::{Identity, Sealer, Store};

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// When something it needs cannot be had at the start.
pub async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let lifecycle = Lifecycle::new();
    let store = Store::open(&config.database, Sealer::from_key_file(&config.data_key_file)?).await?;
    let (chain_id, market) = (config.chain.chain_id, config.chain.market);
    store.belongs_to(Identity { chain_id, market, provider: config.provider }).await?;
    lifecycle.run().await
}
