//! What a lease needs, in order: its namespace and what limits it, what runs, how it is reached; a look at how it does; its
//! money; and its removal once the chain says that it ended.

pub mod apply;
pub(crate) mod close;
pub mod cluster;
pub mod escrow;
pub mod health;
pub mod ledger;
pub mod names;
pub mod payout;
pub mod places;
pub mod plan;
pub mod pods;
pub mod reconcile;
mod redact;
pub mod restarts;
mod sight;
pub mod status;
pub mod volumes;
pub mod workloads;
