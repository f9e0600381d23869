//! What leases become on a cluster.

mod golden;
mod leases;
mod render;
mod stage;
