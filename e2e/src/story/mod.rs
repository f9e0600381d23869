//! The people of a story: a market that was just put on the chain, a provider on the bench's cluster, tenants with money.
//!
//! Everything here runs inside a bench ([`crate::access::Access::here`]) and uses the product as its users do: the daemon and
//! the agent as processes with a configuration file, the tenant through `berth`. What a story claims it reads from the
//! chain, the cluster or a tenant's screen.

pub mod demo;
pub mod direct;
pub mod ledger;
pub mod market;
pub mod provider;
pub mod release;
pub mod seller;
pub mod tenant;
pub mod world;
