//! Which GPUs of a node can be sold, from what its agent says of them.
//!
//! Behind one resource name the cluster cannot tell models apart, so a node sells GPUs only if all of them are whole and of one
//! model. A record that has gone stale, or cannot be read, sells nothing. Whatever keeps a node's GPUs from being sold is said
//! in a sentence.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;

use super::nodes::Pool;
use super::record::NodeRecord;

/// What the agents' records come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offers {
    /// What each node sells.
    pub pools: BTreeMap<String, Pool>,
    /// The records that were fresh and could be read.
    pub fresh: BTreeMap<String, NodeRecord>,
    /// Why GPUs are not sold, a sentence each.
    pub findings: BTreeSet<String>,
}

/// Reads the records of all nodes at `now` unix seconds.
pub fn offers<'a>(records: impl IntoIterator<Item = &'a ConfigMap>, now: u64) -> Offers {
    let mut offers = Offers::default();
    for map in records {
        let record = match NodeRecord::from_config_map(map) {
            Ok(record) => record,
            Err(error) => {
                offers.findings.insert(error.to_string());
                continue;
            }
        };
        let node = record.node.clone();
        if !record.is_fresh(now) {
            let age = now.saturating_sub(record.observed_at);
            offers.findings.insert(format!(
                "node {node} sells no GPU: its agent has said nothing for {age} s; look at the agent's log on that node"
            ));
            continue;
        }
        match pool(&record) {
            Ok(pool) => offers.pools.extend(pool.map(|pool| (node.clone(), pool))),
            Err(finding) => {
                offers.findings.insert(finding);
            }
        }
        offers.fresh.insert(node, record);
    }
    offers
}

/// The pool of a node; `None` without GPUs.
fn pool(record: &NodeRecord) -> Result<Option<Pool>, String> {
    let node = &record.node;
    let models: BTreeSet<_> = record.devices.iter().map(|device| &device.gpu).collect();
    let Some(&gpu) = models.first() else { return Ok(None) };
    if models.len() > 1 {
        let models: Vec<String> = models.iter().map(ToString::to_string).collect();
        return Err(format!(
            "node {node} sells no GPU: it has several models behind one resource name ({}), and the cluster cannot be asked \
             for one of them",
            models.join(", ")
        ));
    }
    if record.devices.iter().any(|device| device.mig) {
        return Err(format!(
            "node {node} sells no GPU: it has GPUs that are cut into MIG slices, which are not sold yet"
        ));
    }
    let healthy = record.devices.iter().filter(|device| device.is_offered()).count();
    Ok(Some(Pool { gpu: gpu.clone(), healthy: u64::try_from(healthy).unwrap_or(0) }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn record(devices: &[(&str, &str, bool)], observed_at: u64) -> ConfigMap {
        let devices: Vec<Value> = devices
            .iter()
            .enumerate()
            .map(|(index, (gpu, health, mig))| {
                json!({
                    "uuid": format!("GPU-{index}"), "gpu": gpu, "name": "", "memory_mib": 0, "pci": "10de:2330", "bus": "",
                    "minor": null, "mig": mig, "health": {"state": health, "reason": "r"},
                })
            })
            .collect();
        let record = json!({
            "version": 1, "node": "n1", "observed_at": observed_at, "period_s": 10, "devices": devices,
            "driver": {"state": "loaded", "version": null, "cuda": null}, "allocations": [], "problems": [],
        });
        let record: NodeRecord = serde_json::from_value(record).expect("a record");
        record.to_config_map("berth").expect("plain data")
    }

    const H100: &str = "h100-80Gi-sxm";

    #[test]
    fn only_healthy_devices_of_one_model_are_sold() {
        let sold = |devices: &[(&str, &str, bool)]| {
            let offers = offers([&record(devices, 1000)], 1030);
            (offers.pools.get("n1").map(|pool| pool.healthy), offers.findings.into_iter().collect::<String>())
        };
        assert_eq!(sold(&[(H100, "healthy", false), (H100, "healthy", false)]), (Some(2), String::new()));
        assert_eq!(sold(&[(H100, "healthy", false), (H100, "unhealthy", false)]).0, Some(1));
        assert_eq!(sold(&[(H100, "unknown", false)]).0, Some(0));
        assert_eq!(sold(&[]), (None, String::new()));
        let (mixed, why) = sold(&[(H100, "healthy", false), ("a100-80Gi-pcie", "healthy", false)]);
        assert_eq!(mixed, None);
        assert!(why.contains("several models") && why.contains("a100-80Gi-pcie, h100-80Gi-sxm"), "{why}");
        let (sliced, why) = sold(&[(H100, "healthy", true), (H100, "healthy", false)]);
        assert!(sliced.is_none() && why.contains("MIG"), "{why}");
    }

    #[test]
    fn a_stale_or_broken_record_sells_nothing_and_says_so() {
        let stale = offers([&record(&[(H100, "healthy", false)], 1000)], 1031);
        assert!(stale.pools.is_empty() && stale.fresh.is_empty());
        assert!(stale.findings.iter().any(|finding| finding.contains("said nothing for 31 s")), "{stale:?}");
        let mut broken = record(&[(H100, "healthy", false)], 1000);
        broken.data = None;
        let broken = offers([&broken], 1000);
        assert!(broken.pools.is_empty() && broken.findings.len() == 1, "{broken:?}");
    }
}
