//! `berth-provider gpus`: every card that the agents see, how it does, and which lease holds it.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::sight::Sight;
use super::table::table;
use crate::cli::{Format, say};
use crate::clock::Clock;
use crate::config::Config;
use crate::inventory::gpus::{Driver, Health};
use crate::inventory::record::{DeviceRecord, NodeRecord};
use crate::inventory::sysfs::Card;

/// `gpus`
#[derive(Debug, Args)]
pub struct Gpus {
    /// How to print
    #[arg(long, short, value_enum, default_value = "text")]
    output: Format,
}

/// A card or a slice of one, in a line.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Line {
    node: String,
    uuid: String,
    /// The pool, such as `h100-80Gi-sxm`; for a slice of which nothing is known its profile.
    pool: String,
    health: &'static str,
    /// Why it is not healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// The number of the group that NVLink ties it to.
    #[serde(skip_serializing_if = "Option::is_none")]
    island: Option<usize>,
    /// The short name of the lease that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<String>,
}

/// Prints them; what keeps cards from being sold is said below.
///
/// # Errors
/// The cluster cannot be seen.
pub async fn verb(config: &Config, asked: &Gpus) -> anyhow::Result<ExitCode> {
    let sight = Sight::open(config).await?;
    let now = Clock::default().now();
    let offers = sight.inventory.offers(now)?;
    let holdings = sight.inventory.holdings(now)?;
    let held: BTreeMap<(&str, &str), &str> = holdings
        .known
        .iter()
        .flat_map(|(lease, devices)| devices.iter().map(move |held| (lease.as_str(), held)))
        .map(|(lease, held)| ((held.node.as_str(), held.uuid.as_str()), lease))
        .collect();
    let lines: Vec<Line> = offers.fresh.values().flat_map(|record| lines(record, &held)).collect();
    if asked.output == Format::Json {
        say(&serde_json::to_string(&lines).context("failed to write JSON")?);
        return Ok(ExitCode::SUCCESS);
    }
    say(&table(
        &["NODE", "POOL", "UUID", "HEALTH", "ISLAND ", "LEASE", "DRIVER", "WHY"],
        lines.into_iter().map(cells),
    ));
    for finding in offers.findings {
        say(&format!("note: {finding}"));
    }
    for card in offers.fresh.values().flat_map(|record| other_cards(record)) {
        say(&card);
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(record: &NodeRecord, held: &BTreeMap<(&str, &str), &str>) -> Vec<Line> {
    let driver = match &record.driver {
        Driver::Loaded { version, .. } => version.clone(),
        Driver::Absent { .. } => None,
    };
    let line = |device: &DeviceRecord, uuid: &str, pool: String| {
        let (health, why) = match &device.health {
            Health::Healthy => ("healthy", None),
            Health::Unhealthy { reason } => ("unhealthy", Some(reason.clone())),
            Health::Unknown { reason } => ("unknown", Some(reason.clone())),
        };
        let islands = record.topology.islands.iter();
        Line {
            node: record.node.clone(),
            uuid: uuid.to_owned(),
            pool,
            health,
            why,
            island: islands.into_iter().position(|island| island.contains(&device.uuid)),
            lease: held.get(&(record.node.as_str(), uuid)).map(|lease| (*lease).to_owned()),
            driver: driver.clone(),
        }
    };
    let mut lines = Vec::new();
    for device in &record.devices {
        if !device.mig {
            lines.push(line(device, &device.uuid, device.gpu.to_string()));
        }
        for slice in &device.slices {
            let pool = slice.gpu.as_ref().map_or_else(|| slice.profile.clone(), ToString::to_string);
            lines.push(line(device, &slice.uuid, pool));
        }
    }
    lines
}

/// Cards that NVML does not speak for are listed, and never sold.
fn other_cards(record: &NodeRecord) -> impl Iterator<Item = String> {
    record.cards.iter().map(|card| {
        let Card { bus, pci, driver, .. } = card;
        format!("note: node {} has the card {pci} at {bus} (driver {driver}), which is not sold", record.node)
    })
}

fn cells(line: Line) -> Vec<String> {
    let Line { node, uuid, pool, health, why, island, lease, driver } = line;
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        node,
        pool,
        uuid,
        health.to_owned(),
        or_dash(island.map(|island| island.to_string())),
        or_dash(lease),
        or_dash(driver),
        why.unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cards_and_slices_are_told_with_their_island_their_holder_and_what_ails_them() {
        let device = |uuid: &str, mig: bool, health: serde_json::Value, slices: serde_json::Value| {
            json!({
                "uuid": uuid, "gpu": "h100-80Gi-sxm", "name": "", "memory_mib": 0, "pci": "10de:2330", "bus": "",
                "minor": null, "mig": mig, "health": health, "slices": slices,
            })
        };
        let slice = json!([{"uuid": "MIG-1", "gpu": "h100.mig-1g.10gb-10Gi-sxm", "profile": "1g.10gb", "memory_mib": 0}]);
        let record = json!({
            "version": 1, "node": "n1", "observed_at": 1, "period_s": 10,
            "driver": {"state": "loaded", "version": "570.1", "cuda": null},
            "devices": [
                device("GPU-a", false, json!({"state": "healthy"}), json!([])),
                device("GPU-b", false, json!({"state": "unhealthy", "reason": "Xid 79"}), json!([])),
                device("GPU-c", true, json!({"state": "healthy"}), slice),
            ],
            "topology": {"islands": [["GPU-x"], ["GPU-a", "GPU-b"]], "pcie": []},
            "allocations": null, "problems": [],
        });
        let record: NodeRecord = serde_json::from_value(record).expect("a record");
        let held = BTreeMap::from([(("n1", "GPU-a"), "lease7"), (("elsewhere", "GPU-b"), "lease8")]);
        let told: Vec<_> = lines(&record, &held)
            .into_iter()
            .map(|line| (line.uuid, line.health, line.island, line.lease, line.why))
            .collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            told,
            [
                ("GPU-a".to_owned(), "healthy", Some(1), text("lease7"), None),
                ("GPU-b".to_owned(), "unhealthy", Some(1), None, text("Xid 79")),
                ("MIG-1".to_owned(), "healthy", None, None, None),
            ]
        );
    }
}
