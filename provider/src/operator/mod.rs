//! What operators ask and tell from the command line beside the daemon: what is there, what was asked for, what it would cost.
//!
//! Each verb has a file. Those that look at the cluster or the database change neither unless their name says so.

pub mod asked;
pub mod decide;
pub mod gpus;
pub mod inventory;
pub mod maintenance;
pub mod nodes;
pub mod orders;
pub mod price;
pub mod sight;
mod table;
