//! The chart, as far as it can be judged without a cluster: by the field's own tools, and by the daemon that reads what it
//! renders.

#![expect(clippy::unwrap_used, reason = "a test that cannot read the chart's own files has failed")]

mod configuration;
mod files;
mod helm;
mod metrics;
mod pods;
mod rights;
mod rules;
