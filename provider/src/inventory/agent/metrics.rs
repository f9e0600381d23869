//! What Prometheus sees of a node's GPUs: each with the pool that it belongs to and the namespace of the pod that it serves,
//! which is its lease's own.
//!
//! Everything is made from the last look when it is asked for, so nothing is left of a GPU or a lease that is gone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{GaugeVec, IntCounterVec, Opts, Registry, TextEncoder};

use crate::inventory::gpus::{Driver, Health, Readings};
use crate::inventory::record::NodeRecord;

/// The last look. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics(Arc<Mutex<Option<Look>>>);

#[derive(Debug)]
struct Look {
    record: NodeRecord,
    readings: BTreeMap<String, Readings>,
}

impl Metrics {
    /// Keeps a look in place of the one before.
    pub(super) fn set(&self, record: NodeRecord, readings: BTreeMap<String, Readings>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Look { record, readings });
    }

    /// The last look in Prometheus' text form; nothing before the first.
    ///
    /// # Errors
    /// Two metrics have one name, which a test rules out.
    pub(super) fn render(&self) -> anyhow::Result<String> {
        let look = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let registry = Registry::new();
        if let Some(look) = &*look {
            look.tell(&registry)?;
        }
        Ok(TextEncoder::new().encode_to_string(&registry.gather())?)
    }
}

const LABELS: [&str; 4] = ["node", "uuid", "model", "lease"];

impl Look {
    fn tell(&self, registry: &Registry) -> anyhow::Result<()> {
        let Self { record, readings } = self;
        let gauges = |name: &str, help: &str, more: &[&str]| {
            let gauges = GaugeVec::new(Opts::new(name, help), &[&LABELS, more].concat())?;
            registry.register(Box::new(gauges.clone()))?;
            anyhow::Ok(gauges)
        };
        let healthy = gauges("berth_gpu_healthy", "Whether it can be given to somebody.", &[])?;
        let slices = gauges("berth_gpu_slice_memory_bytes", "Memory of a slice of a GPU.", &["slice"])?;
        let temperature = gauges("berth_gpu_temperature_celsius", "Temperature of the core.", &[])?;
        let power = gauges("berth_gpu_power_watts", "Power drawn.", &[])?;
        let power_limit = gauges("berth_gpu_power_limit_watts", "The power limit in force.", &[])?;
        let utilization =
            gauges("berth_gpu_utilization_ratio", "Share of the last moment in which something ran.", &[])?;
        let used = gauges("berth_gpu_memory_used_bytes", "Memory in use.", &[])?;
        let memory = gauges("berth_gpu_memory_bytes", "Memory in all.", &[])?;
        let throttled =
            gauges("berth_gpu_throttled", "Whether heat, power or the board hold its clocks back.", &[])?;
        let rows = gauges("berth_gpu_remapped_rows", "Memory rows remapped in the board's life.", &[])?;
        let pending = gauges("berth_gpu_row_remap_pending", "Whether a remapping waits for a reset.", &[])?;
        let xid =
            gauges("berth_gpu_last_xid", "The last Xid that was heard of since the agent started.", &[])?;
        let ecc = IntCounterVec::new(
            Opts::new(
                "berth_gpu_ecc_errors_total",
                "Memory errors since the driver was loaded, by whether they were corrected.",
            ),
            &[&LABELS[..], &["kind"]].concat(),
        )?;
        registry.register(Box::new(ecc.clone()))?;
        self.tell_driver(registry)?;

        let leases = leases(record);
        for device in &record.devices {
            let lease = leases.get(device.uuid.as_str()).map_or("", String::as_str);
            let model = device.gpu.to_string();
            let labels = [record.node.as_str(), &device.uuid, &model, lease];
            healthy.with_label_values(&labels).set(flag(device.health == Health::Healthy));
            for slice in &device.slices {
                let lease = leases.get(slice.uuid.as_str()).map_or("", String::as_str);
                let model = slice.gpu.as_ref().map_or_else(|| slice.profile.clone(), ToString::to_string);
                let labels = [record.node.as_str(), &device.uuid, &model, lease, &slice.uuid];
                slices.with_label_values(&labels).set(number(slice.memory_mib << 20));
            }
            let Some(measured) = readings.get(&device.uuid) else { continue };
            let thousandth = |milli: u32| f64::from(milli) / 1000.0;
            for (gauge, value) in [
                (&temperature, measured.temperature_c.map(f64::from)),
                (&power, measured.power_mw.map(thousandth)),
                (&power_limit, measured.power_limit_mw.map(thousandth)),
                (&utilization, measured.utilization_percent.map(|percent| f64::from(percent) / 100.0)),
                (&used, measured.memory_used_bytes.map(number)),
                (&memory, measured.memory_bytes.map(number)),
                (&throttled, measured.is_throttled.map(flag)),
                (&rows, measured.remapped_rows.map(number)),
                (&pending, device.remap_pending.map(flag)),
                (&xid, measured.last_xid.map(number)),
            ] {
                if let Some(value) = value {
                    gauge.with_label_values(&labels).set(value);
                }
            }
            for (kind, count) in
                [("corrected", measured.ecc_corrected), ("uncorrected", measured.ecc_uncorrected)]
            {
                if let Some(count) = count {
                    ecc.with_label_values(&[&labels[..], &[kind]].concat()).inc_by(count);
                }
            }
        }
        Ok(())
    }

    /// The driver, and when the GPUs were last looked at.
    fn tell_driver(&self, registry: &Registry) -> anyhow::Result<()> {
        let looked =
            Opts::new("berth_gpu_last_look_timestamp_seconds", "When NVML last answered, in unix time.");
        let looked = GaugeVec::new(looked, &["node"])?;
        registry.register(Box::new(looked.clone()))?;
        looked.with_label_values(&[self.record.node.as_str()]).set(number(self.record.observed_at));
        let driver = Opts::new("berth_gpu_driver_info", "The driver of the node; always 1.");
        let driver = GaugeVec::new(driver, &["node", "driver", "cuda"])?;
        registry.register(Box::new(driver.clone()))?;
        if let Driver::Loaded { version, cuda } = &self.record.driver {
            let text = |version: &Option<String>| version.clone().unwrap_or_default();
            driver.with_label_values(&[&self.record.node, &text(version), &text(cuda)]).set(1.0);
        }
        Ok(())
    }
}

/// The namespaces of the pods that hold a device, by the device; several for one that is shared.
fn leases(record: &NodeRecord) -> BTreeMap<&str, String> {
    let mut leases: BTreeMap<&str, String> = BTreeMap::new();
    for held in record.allocations.iter().flatten() {
        for uuid in &held.uuids {
            let known = leases.entry(uuid).or_default();
            if !known.split(',').any(|other| other == held.namespace) {
                if !known.is_empty() {
                    known.push(',');
                }
                known.push_str(&held.namespace);
            }
        }
    }
    leases
}

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

/// Prometheus counts in floating point.
#[expect(clippy::cast_precision_loss, reason = "bytes and seconds stay far below 2^53")]
fn number(of: u64) -> f64 {
    of as f64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_gpu_is_told_with_the_lease_that_it_serves() {
        let device = |uuid: &str, health: &str, slices: serde_json::Value| {
            json!({
                "uuid": uuid, "gpu": "h100-80Gi-sxm", "name": "", "memory_mib": 81_559, "pci": "10de:2330", "bus": "",
                "minor": null, "mig": false, "remap_pending": false, "health": {"state": health, "reason": "r"},
                "slices": slices,
            })
        };
        let slice = json!([{"uuid": "MIG-1", "gpu": "h100.mig-1g.10gb-10Gi-sxm", "profile": "1g.10gb", "memory_mib": 1}]);
        let held = |namespace: &str, uuids: &[&str]| json!({"namespace": namespace, "pod": "p", "container": "c", "resource": "nvidia.com/gpu", "uuids": uuids});
        let record: NodeRecord = serde_json::from_value(json!({
            "version": 1, "node": "n1", "observed_at": 1000, "period_s": 10, "problems": [],
            "devices": [device("a", "healthy", json!([])), device("b", "unhealthy", json!([])), device("c", "healthy", slice)],
            "driver": {"state": "loaded", "version": "570", "cuda": "12.8"},
            "allocations": [held("lease-x", &["a", "MIG-1"]), held("lease-y", &["b"]), held("lease-z", &["b"])],
        }))
        .expect("a record");
        let measured = Readings {
            temperature_c: Some(66),
            power_mw: Some(412_500),
            power_limit_mw: Some(700_000),
            utilization_percent: Some(93),
            memory_used_bytes: Some(1 << 30),
            memory_bytes: Some(80 << 30),
            is_throttled: Some(true),
            ecc_corrected: Some(4),
            ecc_uncorrected: Some(0),
            remapped_rows: Some(2),
            last_xid: Some(31),
        };
        let metrics = Metrics::default();
        assert!(metrics.render().expect("plain numbers").is_empty());
        metrics.set(record, BTreeMap::from([("a".to_owned(), measured)]));
        let text = metrics.render().expect("plain numbers");
        let a = r#"{lease="lease-x",model="h100-80Gi-sxm",node="n1",uuid="a"}"#;
        for line in [
            format!("berth_gpu_healthy{a} 1"),
            format!("berth_gpu_temperature_celsius{a} 66"),
            format!("berth_gpu_power_watts{a} 412.5"),
            format!("berth_gpu_power_limit_watts{a} 700"),
            format!("berth_gpu_utilization_ratio{a} 0.93"),
            format!("berth_gpu_memory_used_bytes{a} 1073741824"),
            format!("berth_gpu_memory_bytes{a} 85899345920"),
            format!("berth_gpu_throttled{a} 1"),
            format!("berth_gpu_remapped_rows{a} 2"),
            format!("berth_gpu_row_remap_pending{a} 0"),
            format!("berth_gpu_last_xid{a} 31"),
            r#"berth_gpu_healthy{lease="lease-y,lease-z",model="h100-80Gi-sxm",node="n1",uuid="b"} 0"#.to_owned(),
            r#"berth_gpu_healthy{lease="",model="h100-80Gi-sxm",node="n1",uuid="c"} 1"#.to_owned(),
            r#"berth_gpu_slice_memory_bytes{lease="lease-x",model="h100.mig-1g.10gb-10Gi-sxm",node="n1",slice="MIG-1",uuid="c"} 1048576"#.to_owned(),
            r#"berth_gpu_ecc_errors_total{kind="corrected",lease="lease-x",model="h100-80Gi-sxm",node="n1",uuid="a"} 4"#.to_owned(),
            r#"berth_gpu_driver_info{cuda="12.8",driver="570",node="n1"} 1"#.to_owned(),
            r#"berth_gpu_last_look_timestamp_seconds{node="n1"} 1000"#.to_owned(),
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains(r#"temperature_celsius{lease="lease-y"#), "what was not measured is not told");
    }
}
