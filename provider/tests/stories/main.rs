//! The daemon's loops over a real store, with chain, cluster and sender told by the test.

mod bidder;
mod follower;
mod money;
mod support;
