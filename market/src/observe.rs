//! Who hears of what the chain is asked, and of what the sender finds.

use std::fmt::Debug;
use std::time::Duration;

use crate::rpc::RpcError;

/// How a question to an endpoint ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With an answer.
    Ok,
    /// With the contract's refusal.
    Reverted,
    /// With the endpoint's refusal.
    Refused,
    /// Without a usable answer.
    Error,
    /// Without an answer in time.
    Timeout,
}

impl Ended {
    pub(crate) fn of(error: Option<&RpcError>, took: Duration, limit: Duration) -> Self {
        match error {
            None => Self::Ok,
            Some(RpcError::Reverted { .. }) => Self::Reverted,
            Some(RpcError::Refused { .. }) => Self::Refused,
            Some(_) if took >= limit => Self::Timeout,
            Some(_) => Self::Error,
        }
    }

    /// The word in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Reverted => "reverted",
            Self::Refused => "refused",
            Self::Error => "error",
            Self::Timeout => "timeout",
        }
    }
}

/// How the sender found that a key's nonces are not what it took them for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resync {
    /// Nothing held a nonce below others that wait: it was taken with an empty transaction.
    Gap,
    /// Another transaction of the key was mined with a nonce of ours.
    Lost,
}

impl Resync {
    /// The word in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Lost => "lost",
        }
    }
}

/// Hears of it.
pub trait Observe: Debug + Send + Sync {
    /// An endpoint was asked with this method of JSON-RPC.
    fn asked(&self, method: &'static str, ended: Ended, took: Duration);
    /// The sender had to find its place in the sequence of transactions again.
    fn resynced(&self, how: Resync);
}
