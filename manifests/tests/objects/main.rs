//! What leases become on a cluster.

mod golden;
mod growth;
mod leases;
mod render;
mod scheduler;
mod stage;
