//! What the cluster has free.

pub mod agent;
