//! Reads the configuration file again when it changes, for what may change while the daemon runs: prices and policy.
//!
//! The contents are compared, not times or names: mounted files are swapped by links. A file that cannot be used changes
//! nothing: the last good one counts, one line says what is wrong, and a metric stays up until the file is good again.

use std::path::PathBuf;

use anyhow::Context;
use serde_yaml::{Mapping, Value};
use tracing::{error, info, warn};

use super::fx::Feed;
use super::{Pricing, Terms};
use crate::clock::Clock;
use crate::config::{Bids, Config};
use crate::task::{Nudge, Report, Turn};

/// Looks up the variable that overrides a key.
pub type Environment = fn(&str) -> Option<String>;

/// The loop that looks at the file.
#[derive(Debug)]
pub struct Reload {
    path: PathBuf,
    environment: Environment,
    /// What was looked at last, good or not.
    seen: String,
    /// The last good one.
    good: String,
    /// What a bid promises, as the daemon was started with.
    bids: Bids,
    pricing: Pricing,
    feed: Feed,
    /// Woken when the terms changed.
    nudges: Vec<Nudge>,
    clock: Clock,
}

/// The keys of the file that are read again.
const RELOADED: [&str; 2] = ["pricing", "policy"];

impl Reload {
    /// Watches the file that the daemon was started with, as it is now.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn new(
        path: PathBuf,
        environment: Environment,
        bids: Bids,
        pricing: Pricing,
        feed: Feed,
        nudges: Vec<Nudge>,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("failed to read the configuration {}", path.display()))?;
        pricing.metrics.config_read(&text, clock.now());
        Ok(Self { path, environment, seen: text.clone(), good: text, bids, pricing, feed, nudges, clock })
    }

    async fn take(&mut self, text: String) {
        match Config::parse(&text, self.environment) {
            Err(problem) => {
                error!(
                    file = %self.path.display(), problem = format!("{problem:#}"),
                    "the changed configuration cannot be used; the last good one counts"
                );
                self.pricing.metrics.config_refused();
            }
            Ok(mut config) => {
                let others = changed_keys(&self.good, &text);
                if !others.is_empty() {
                    warn!(keys = others.join(", "), "these keys changed too, and need a restart");
                }
                config.policy = self.bids.promised_by(config.policy);
                info!(file = %self.path.display(), "prices and policy were read again");
                let terms = Terms::of(&config);
                let is_other = terms.currency() != self.pricing.terms().currency();
                let fx = if is_other { self.feed.first(&terms).await } else { None };
                self.pricing.change(terms, fx);
                self.pricing.metrics.config_read(&text, self.clock.now());
                self.nudges.iter().for_each(Nudge::nudge);
                self.good = text;
            }
        }
    }
}

impl Turn for Reload {
    const NAME: &'static str = "config";

    async fn turn(&mut self) -> anyhow::Result<Report> {
        let text = tokio::fs::read_to_string(&self.path).await;
        let text =
            text.with_context(|| format!("failed to read the configuration {}", self.path.display()))?;
        if text == self.seen {
            return Ok(Report::default());
        }
        self.seen.clone_from(&text);
        self.take(text).await;
        Ok(Report::changed(1))
    }
}

/// Keys of the file that differ and are not read again.
fn changed_keys(before: &str, after: &str) -> Vec<String> {
    let keys = |text: &str| serde_yaml::from_str::<Mapping>(text).unwrap_or_default();
    let (before, after) = (keys(before), keys(after));
    let mut names: Vec<&str> = before.keys().chain(after.keys()).filter_map(Value::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let differs = |name: &&str| before.get(*name) != after.get(*name) && !RELOADED.contains(name);
    names.into_iter().filter(differs).map(str::to_owned).collect()
}
