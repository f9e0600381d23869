//! What the cluster has free.

pub mod agent;
pub mod gpus;
pub mod podresources;
pub mod record;
