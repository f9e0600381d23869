//! The daemon's loops over a real store, with chain, cluster and sender told by the test.

// A chain of our own, with a market on it; the chain client is tested on the same.
mod again;
mod answers;
#[expect(dead_code, reason = "the chain client tests need more of it than the daemon does")]
#[path = "../../../market/tests/chain/anvil.rs"]
mod anvil;
mod auction;
mod backlog;
mod bidder;
mod chain;
mod crowd;
mod explained;
mod follower;
mod histories;
mod kills;
#[path = "../rims/lint.rs"]
mod lint;
mod money;
mod moving;
mod oracle;
mod outbox;
mod owner;
mod replace;
mod reservations;
mod support;
mod sweep;
mod unplaced;
