//! The bench: real parts, built once, started and stopped by one program, and the stories told on it.
//!
//! Reading order: [`tools`] gets the parts; [`mod@bench`] starts, enters and ends a bench from outside its walls
//! ([`namespaces`]); [`supervisor`] starts the parts inside; [`access`] is how a story finds them.

pub mod access;
pub mod accounts;
pub mod addresses;
pub mod bench;
pub mod cache;
mod certificates;
mod cgroups;
pub mod chain;
pub mod chart;
pub mod cluster;
pub mod dashboards;
pub mod database;
pub mod deployment;
pub mod device_plugin;
mod dns;
pub mod images;
pub mod ingress;
pub mod interrupt;
pub mod kubectl;
pub mod lent;
pub mod measure;
mod mounts;
pub mod namespaces;
mod network;
mod node;
pub mod oci;
mod parts;
pub mod process;
pub mod product;
pub mod progress;
pub mod registry;
pub mod report;
pub mod schemas;
pub mod story;
pub mod suite;
pub mod supervisor;
pub mod tools;
pub mod visitor;
pub mod volumes;
pub mod wait;
pub mod workspace;
