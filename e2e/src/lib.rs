//! The bench.

pub mod device_plugin;
