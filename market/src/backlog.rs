//! What a key sent and nobody mined yet. Verbs that decide from the chain what is left to do wait for it first, since the
//! chain does not show it: that is how they can be stopped at any line and run again.

use std::time::Duration;

use manifests::order::Address;
use tokio::time::{Instant, sleep};

use crate::chain::Chain;
use crate::node::At;
use crate::rpc::RpcError;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// Why the backlog is not gone.
#[derive(Debug, thiserror::Error)]
pub enum BacklogError {
    /// Transactions wait to be mined.
    #[error(
        "{count} transactions of {key} were sent before and are not mined yet: run this again when they are, or replace them with dearer ones"
    )]
    Waiting {
        /// Whose.
        key: Address,
        /// How many.
        count: u64,
    },
    /// The endpoint did not answer.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

/// Waits until nothing of this key waits to be mined.
///
/// # Errors
/// [`BacklogError`]; after `limit`, how many still wait.
pub async fn clear(chain: &Chain, key: Address, limit: Duration) -> Result<(), BacklogError> {
    let deadline = Instant::now() + limit;
    loop {
        let sent = chain.rpc.nonce(key, At::Pending).await?;
        let mined = chain.rpc.nonce(key, At::Latest).await?;
        let count = sent.saturating_sub(mined);
        if count == 0 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(BacklogError::Waiting { key, count });
        }
        sleep(PAUSE).await;
    }
}
