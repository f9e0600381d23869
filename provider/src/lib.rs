//! The provider's daemon: it watches the market, bids what its cluster can carry, runs what it won, and collects the money.
//!
//! In reading order:
//!
//! - [`cli`] names the verbs; [`config`] turns file and environment into settings; [`run`] wires the parts; [`check`] tries
//!   them without running; [`explain`] tells why an order was bid on or declined; [`resync`] reads the chain anew;
//!   [`operator`] holds what they ask beside the daemon; [`money`] reconciles, [`withdraw`] collects at once, [`owner`] is for the cold key alone.
//! - [`task`] is the one shape of loop, [`lifecycle`] starts and stops them, [`clock`] is the time they see,
//!   [`telemetry`] and [`metrics`] are what operators see, [`wildcard`] looks at what visitors see, [`failpoint`] is where tests make the daemon die.
//! - [`store`] is the memory: every loop starts from its tables and can be killed at any line.
//! - [`follower`] writes what the chain says; [`bidder`] answers open orders; [`outbox`] says to the chain what the store
//!   holds as intents; [`quote`] says what would be bid on an order that was not posted.
//! - [`pricing`] is what bids are priced by now: the table as it was read last, what its currency is worth, the operator's own
//!   program.
//! - [`inventory`] knows what the cluster has free; [`leases`] makes the cluster run what was won and bills it;
//!   [`gateway`] serves tenants.
//!
//! Loops take no input but the store, a snapshot of the inventory and the clock. Nudges carry no data; they only shorten the
//! wait.

pub mod bidder;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod explain;
pub mod failpoint;
pub mod follower;
pub mod freshness;
pub mod gateway;
pub mod inventory;
pub mod leader;
pub mod leases;
pub mod lifecycle;
pub mod metrics;
pub mod money;
pub mod operator;
pub mod outbox;
pub mod owner;
pub mod pricing;
pub mod quote;
pub mod resync;
pub mod run;
pub mod store;
pub mod sweep;
pub mod task;
pub mod telemetry;
pub mod wildcard;
pub mod withdraw;
