//! `berth-provider decide`: what would be decided on an order, from files alone.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use bidengine::{Capacity, Circumstances, Policy};
use clap::Args;
use manifests::decision::Decision;
use manifests::order::Address;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_yaml::Value;

use super::asked::{self, Asked};
use crate::cli::{Format, say};
use crate::clock::Clock;
use crate::config::Pricing;
use crate::explain::tell_decision;

/// `decide`
#[derive(Debug, Args)]
pub struct Decide {
    /// What is free, as YAML or JSON: what `berth-provider inventory --output json` prints
    #[arg(long, value_name = "FILE")]
    inventory: PathBuf,
    /// A price table, or a configuration file with one under `pricing`
    #[arg(long, value_name = "FILE")]
    tariff: PathBuf,
    /// A tenant's document in SDL, or one order's spec as JSON
    #[arg(long, value_name = "FILE")]
    order: PathBuf,
    /// A policy, or a configuration file with one under `policy`. Left out: everybody is served
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Who posts the order
    #[arg(long, value_name = "ADDRESS", default_value = "0x0000000000000000000000000000000000000001")]
    tenant: Address,
    /// When, in unix seconds. Left out: now
    #[arg(long, value_name = "SECONDS")]
    at: Option<u64>,
    /// How to print
    #[arg(long, short, value_enum, default_value = "text")]
    output: Format,
}

/// What was decided on one group.
#[derive(Debug, Serialize)]
pub(crate) struct Decided {
    /// The group's name.
    pub(super) group: String,
    #[serde(flatten)]
    pub(crate) decision: Decision,
    /// What its author should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) notes: Vec<String>,
}

/// Decides and prints; ends with 1 if a group is declined.
///
/// # Errors
/// A file cannot be read, or is not what it should be.
pub fn verb(asked: &Decide) -> anyhow::Result<ExitCode> {
    let capacity: Capacity = part(&asked.inventory, None)?;
    let pricing = prices(&asked.tariff)?;
    let policy: Policy =
        asked.policy.as_deref().map_or(Ok(Policy::default()), |path| part(path, Some("policy")))?;
    let now = asked.at.unwrap_or_else(|| Clock::default().now());
    let fx = pricing.written_fx(now);
    let circumstances =
        Circumstances { fx: fx.as_ref(), ..Circumstances::new(&capacity, &pricing.tariff, &policy, now) };
    let groups = asked::read(&asked.order, asked.tenant, now)?;
    let decided: Vec<Decided> = groups.into_iter().map(|group| decide(group, &circumstances)).collect();
    print(&decided, asked.output)?;
    let declined = decided.iter().any(|group| matches!(group.decision, Decision::Decline { .. }));
    Ok(if declined { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

pub(super) fn decide(asked: Asked, circumstances: &Circumstances<'_>) -> Decided {
    let Asked { name, order, notes } = asked;
    Decided { group: name, decision: bidengine::decide(&order, circumstances), notes }
}

pub(super) fn print(decided: &[Decided], output: Format) -> anyhow::Result<()> {
    if output == Format::Json {
        say(&serde_json::to_string(decided).context("failed to write JSON")?);
        return Ok(());
    }
    for Decided { group, decision, notes } in decided {
        let mut text = format!("group        {group}\n");
        for note in notes {
            text.push_str(&format!("note         {note}\n"));
        }
        tell_decision(&mut text, decision)?;
        say(text.trim_end());
    }
    Ok(())
}

/// A price table, or a configuration file that has one.
fn prices(path: &Path) -> anyhow::Result<Pricing> {
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    Pricing::parse(&text).with_context(|| format!("{} cannot be used", path.display()))
}

/// A file that is the thing itself, or has it under `key`.
pub(super) fn part<T: DeserializeOwned>(path: &Path, key: Option<&str>) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    let wrong = || format!("{} cannot be used", path.display());
    let value: Value = serde_yaml::from_str(&text).with_context(wrong)?;
    match key.and_then(|key| value.get(key)) {
        Some(part) => serde_yaml::from_value(part.clone())
            .with_context(|| format!("{} under {}", wrong(), key.unwrap_or_default())),
        // From the text, so that the error has a line.
        None => serde_yaml::from_str(&text).with_context(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_from_its_own_file_or_from_a_configuration() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |text: &str| {
            let path = folder.path().join("f.yaml");
            std::fs::write(&path, text).expect("written");
            path
        };
        let own: Policy = part(&file("maintenance: true"), Some("policy")).expect("a policy");
        let within: Policy =
            part(&file("policy: {maintenance: true}\nother: 1"), Some("policy")).expect("a policy");
        assert!(own.maintenance && within.maintenance);
        let wrong =
            part::<Policy>(&file("policy: {maintenence: true}"), Some("policy")).expect_err("misspelt");
        assert!(format!("{wrong:#}").contains("maintenence"), "{wrong:#}");
    }
}
