//! The rims of the daemon, tried on a store in memory that has followed a chain and on a small API server: leases in the
//! cluster, and the gateway over real TLS.

mod apiserver;
mod gateway;
mod leader;
mod leases;
mod lint;
mod metrics;
mod moves;
mod outage;
mod pricing;
mod quote;
mod stage;
#[expect(dead_code, reason = "the stories of the loops need more of it")]
#[path = "../stories/support.rs"]
mod support;
mod wait;
