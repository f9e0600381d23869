//! Logs: one line an event, to standard error, as text or as JSON.

use std::io::{self, IsTerminal};

use anyhow::anyhow;
use tracing_subscriber::EnvFilter;

/// Starts logging. `BERTH_LOG` holds a filter such as `info` or `provider=debug`; `BERTH_LOG_FORMAT=json` gives JSON lines.
///
/// # Errors
/// When the filter cannot be read, or logging was started before.
pub fn start() -> anyhow::Result<()> {
    let wanted = std::env::var("BERTH_LOG").unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::try_new(&wanted).map_err(|error| {
        anyhow!("BERTH_LOG=\"{wanted}\" is not a log filter ({error}): write for example info")
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = if std::env::var("BERTH_LOG_FORMAT").is_ok_and(|format| format == "json") {
        lines.json().flatten_event(true).try_init()
    } else {
        lines.with_ansi(io::stderr().is_terminal()).try_init()
    };
    started.map_err(|error| anyhow!("failed to start logging: {error}"))
}
