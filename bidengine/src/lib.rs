//! Should we bid, on which nodes, and at what price.
//!
//! Pure: no IO, no clock, no tasks. [`decide`] takes an order, what is free in the cluster ([`Capacity`]), what things cost
//! ([`Tariff`]) and what the operator wants to serve ([`Policy`]), and answers with a [`manifests::decision::Decision`]: a
//! bid with its nodes and line items, or the first reason against one. The same inputs give the same answer, so that a
//! decision can be stored with them and told again later.

mod capacity;
mod decide;
mod demand;
mod place;
mod policy;
mod tariff;

pub use capacity::{Capacity, Node, Overcommit};
pub use decide::{Inputs, decide};
pub use place::place;
pub use policy::Policy;
pub use tariff::{PriceError, Tariff, TariffError, UsdPerMonth};
