//! Which GPUs of a node can be sold, from what its agent says of them.
//!
//! Behind one resource name the cluster cannot tell models apart, so what is announced under a name is sold only if all of it is
//! of one model; other names of the same node are sold all the same. Where the kubelet does not say what it announces, all GPUs
//! are taken to be behind one name. Time slices are never sold as GPUs. A record that has gone stale, or cannot be read, sells
//! nothing. Whatever keeps a node's GPUs from being sold is said in a sentence.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use manifests::gpu::Gpu;

use super::gpus::Health;
use super::memo::Memo;
use super::naming::Naming;
use super::podresources::Announced;
use super::record::{NodeRecord, RecordError};
use super::requests::GPU_RESOURCE;
use super::sysfs::Card;

/// GPUs of a node that may be sold: all well, all of one model, all behind one resource name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The model.
    pub gpu: Gpu,
    /// The resource by which pods ask for them.
    pub resource: String,
    /// The devices, or slices of devices, that are well.
    pub uuids: BTreeSet<String>,
}

impl Pool {
    /// How many are well.
    #[must_use]
    pub fn healthy(&self) -> u64 {
        u64::try_from(self.uuids.len()).unwrap_or(u64::MAX)
    }

    /// Whether pods ask for it by the resource that its name implies.
    #[must_use]
    pub fn is_behind_its_own_name(&self) -> bool {
        self.resource == resource_of(&self.gpu)
    }
}

/// The resource by which pods ask for a pool, where nothing else is said.
#[must_use]
pub fn resource_of(gpu: &Gpu) -> String {
    gpu.mig_profile().map_or_else(|| GPU_RESOURCE.to_owned(), |profile| format!("nvidia.com/mig-{profile}"))
}

/// What the agents' records come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offers {
    /// What each node sells, or would if its kubelet had any of it to give; other nodes are not there.
    pub pools: BTreeMap<String, Arc<[Pool]>>,
    /// The records that were fresh and could be read.
    pub fresh: BTreeMap<String, Arc<NodeRecord>>,
    /// Why GPUs are not sold, a sentence each.
    pub findings: BTreeSet<String>,
}

/// A record with what it comes to.
#[derive(Debug, Clone)]
pub(super) struct Read {
    record: Arc<NodeRecord>,
    pools: Arc<[Pool]>,
    findings: Arc<[String]>,
}

/// Records that were read, by their objects.
pub(super) type Records = Memo<ConfigMap, Result<Read, RecordError>>;

/// Reads the records of all nodes at `now` unix seconds, with the operator's names for cards.
pub(super) fn offers(known: &Records, records: &[Arc<ConfigMap>], naming: &Naming, now: u64) -> Offers {
    let mut offers = Offers::default();
    for read in known.read(records.iter(), |map| read(map, naming)) {
        let Read { record, pools, findings } = match read {
            Ok(read) => read,
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
        offers.findings.extend(findings.iter().cloned());
        if !pools.is_empty() {
            offers.pools.insert(node.clone(), pools);
        }
        offers.fresh.insert(node, record);
    }
    offers
}

fn read(map: &ConfigMap, naming: &Naming) -> Result<Read, RecordError> {
    let mut record = NodeRecord::from_config_map(map)?;
    naming.apply(&mut record);
    let (pools, findings) = pools(&record);
    Ok(Read { record: Arc::new(record), pools: pools.into(), findings: findings.into() })
}

/// Something that a device plugin can announce: a whole GPU, or a slice of one.
struct Unit<'a> {
    uuid: &'a str,
    /// `None` when it is not known what it is.
    gpu: Option<&'a Gpu>,
    is_well: bool,
}

/// The pools of a node, and why others are not.
fn pools(record: &NodeRecord) -> (Vec<Pool>, Vec<String>) {
    let node = &record.node;
    let mut findings = Vec::new();
    // One that the driver has and NVML does not tell of is told as a problem of NVML's, and one that is given to a virtual
    // machine is not missed.
    let is_missed =
        |card: &&Card| card.pci.starts_with(NVIDIA) && !matches!(&*card.driver, "nvidia" | "vfio-pci");
    for card in record.cards.iter().filter(is_missed) {
        findings.push(format!(
            "node {node} does not sell the card {} at {}: no driver tells of it (bound: {}); look at the driver on that node",
            card.pci, card.bus, card.driver
        ));
    }
    let units = units(record);
    if units.is_empty() {
        return (Vec::new(), findings);
    }
    let mut pools: BTreeMap<&Gpu, Pool> = BTreeMap::new();
    for announced in names(record) {
        let Announced { resource, .. } = &*announced;
        match pool(&announced, &units) {
            Ok(None) => {}
            Ok(Some(pool)) => {
                let gpu = units.iter().filter_map(|unit| unit.gpu).find(|gpu| **gpu == pool.gpu);
                let gpu = gpu.expect("a pool is of its units");
                // Behind two names of the same model there are two pools, of which one has to be enough.
                let larger = pools.get(gpu).is_none_or(|other| other.healthy() < pool.healthy());
                let shown = if larger { pools.insert(gpu, pool) } else { Some(pool) };
                findings.extend(shown.map(|pool| {
                    format!(
                        "node {node} does not sell what is behind {}: it has more of {} behind another name",
                        pool.resource, pool.gpu
                    )
                }));
            }
            Err(why) => {
                findings.push(format!("node {node} sells nothing of what is behind {resource}: {why}"));
            }
        }
    }
    if pools.is_empty() && findings.is_empty() {
        let well = units.iter().filter(|unit| unit.is_well).count();
        findings.push(format!(
            "node {node} sells no GPU: its kubelet has none of its {well} healthy GPUs to give; look at the device plugin"
        ));
        // The model is there all the same, and tenants are told that none of it is free.
        let models: BTreeSet<&Gpu> = units.iter().filter_map(|unit| unit.gpu).collect();
        pools.extend(
            models.into_iter().map(|gpu| {
                (gpu, Pool { gpu: gpu.clone(), resource: resource_of(gpu), uuids: BTreeSet::new() })
            }),
        );
    }
    (pools.into_values().collect(), findings)
}

/// How the ids of the vendor's cards begin.
const NVIDIA: &str = "10de:";

fn units(record: &NodeRecord) -> Vec<Unit<'_>> {
    let mut units = Vec::new();
    for device in &record.devices {
        let is_well = device.health == Health::Healthy;
        if device.mig {
            let slices = device.slices.iter();
            units.extend(slices.map(|slice| Unit { uuid: &slice.uuid, gpu: slice.gpu.as_ref(), is_well }));
        } else {
            // What has no memory that anybody knows of cannot be asked for.
            let gpu = Some(&device.gpu).filter(|gpu| gpu.ram_gib() > 0);
            units.push(Unit { uuid: &device.uuid, gpu, is_well });
        }
    }
    units
}

/// What is announced under which name; without the kubelet's word all whole GPUs are behind the vendor's name.
fn names(record: &NodeRecord) -> Vec<Cow<'_, Announced>> {
    if let Some(announced) = &record.announced {
        return announced.iter().map(Cow::Borrowed).collect();
    }
    let uuids = record.devices.iter().map(|device| device.uuid.clone()).collect();
    vec![Cow::Owned(Announced { resource: GPU_RESOURCE.to_owned(), uuids, shared: false })]
}

/// The pool behind a name; `None` when nothing is there to be sold.
fn pool(announced: &Announced, units: &[Unit<'_>]) -> Result<Option<Pool>, String> {
    let Announced { resource, uuids, shared } = announced;
    if *shared {
        return Err("these are time slices, in which tenants would not be kept apart".to_owned());
    }
    let mut behind = Vec::new();
    for uuid in uuids {
        let Some(unit) = units.iter().find(|unit| unit.uuid == uuid) else {
            return Err(format!(
                "the agent sees no {uuid} that could be given as a whole; if the GPU is cut into MIG slices, the device plugin \
                 has to announce those"
            ));
        };
        behind.push(unit);
    }
    let Some(first) = behind.first() else { return Ok(None) };
    let models: BTreeSet<Option<&Gpu>> = behind.iter().map(|unit| unit.gpu).collect();
    if models.len() > 1 {
        let models: Vec<String> = models
            .iter()
            .map(|gpu| gpu.map_or("something unknown".to_owned(), ToString::to_string))
            .collect();
        return Err(format!(
            "there are several models behind this one name ({}), and the cluster cannot be asked for one of them",
            models.join(", ")
        ));
    }
    let Some(gpu) = first.gpu else {
        return Err("it is not known how much memory that has, or what profile".to_owned());
    };
    let well = behind.iter().filter(|unit| unit.is_well).map(|unit| unit.uuid.to_owned());
    Ok(Some(Pool { gpu: gpu.clone(), resource: resource.clone(), uuids: well.collect() }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const H100: &str = "h100-80Gi-sxm";
    const A100: &str = "a100-80Gi-pcie";

    fn device(uuid: &str, gpu: &str, health: &str, slices: &[(&str, &str)]) -> Value {
        let slices: Vec<Value> = slices
            .iter()
            .map(|(uuid, gpu)| json!({"uuid": uuid, "gpu": gpu, "profile": "", "memory_mib": 1}))
            .collect();
        json!({
            "uuid": uuid, "gpu": gpu, "name": "", "memory_mib": 0, "pci": "10de:2330", "bus": "", "minor": null,
            "mig": !slices.is_empty(), "slices": slices, "health": {"state": health, "reason": "r"},
        })
    }

    fn record(devices: &[Value], announced: &Value) -> Value {
        json!({
            "version": 1, "node": "n1", "observed_at": 1000, "period_s": 10, "devices": devices, "announced": announced,
            "driver": {"state": "loaded", "version": null, "cuda": null}, "allocations": [], "problems": [],
        })
    }

    fn map(record: &Value) -> Arc<ConfigMap> {
        let record: NodeRecord = serde_json::from_value(record.clone()).expect("a record");
        Arc::new(record.to_config_map("berth").expect("plain data"))
    }

    fn at(record: &Value, now: u64) -> Offers {
        offers(&Records::default(), &[map(record)], &Naming::default(), now)
    }

    /// What is sold, as `resource: pool × count`, and why the rest is not.
    fn sold(devices: &[Value], announced: &Value) -> (Vec<String>, String) {
        let offers = at(&record(devices, announced), 1030);
        let pools = offers.pools.get("n1").map(|pools| pools.to_vec()).unwrap_or_default();
        let pools = pools.iter().map(|pool| format!("{}: {} × {}", pool.resource, pool.gpu, pool.healthy()));
        (pools.collect(), offers.findings.into_iter().collect())
    }

    fn behind(names: &[(&str, &[&str], bool)]) -> Value {
        names
            .iter()
            .map(|(resource, uuids, shared)| json!({"resource": resource, "uuids": uuids, "shared": shared}))
            .collect()
    }

    #[test]
    fn without_the_kubelets_word_only_healthy_devices_of_one_model_are_sold() {
        let two =
            |other: &str, health: &str| [device("a", H100, "healthy", &[]), device("b", other, health, &[])];
        let whole = |count| vec![format!("nvidia.com/gpu: {H100} × {count}")];
        assert_eq!(sold(&two(H100, "healthy"), &Value::Null), (whole(2), String::new()));
        assert_eq!(sold(&two(H100, "unhealthy"), &Value::Null).0, whole(1));
        assert_eq!(sold(&[device("a", H100, "unknown", &[])], &Value::Null).0, whole(0));
        assert_eq!(sold(&[], &Value::Null), (vec![], String::new()));
        let (mixed, why) = sold(&two(A100, "healthy"), &Value::Null);
        assert!(mixed.is_empty() && why.contains("several models"), "{why}");
        assert!(why.contains("a100-80Gi-pcie, h100-80Gi-sxm"), "{why}");
        let sliced = device("b", H100, "healthy", &[("M1", "h100.mig-1g.10gb-10Gi-sxm")]);
        let (sliced, why) = sold(&[device("a", H100, "healthy", &[]), sliced], &Value::Null);
        assert!(sliced.is_empty() && why.contains("MIG"), "{why}");
    }

    #[test]
    fn each_resource_name_sells_its_own_model() {
        let devices = [
            device("a", H100, "healthy", &[]),
            device("b", H100, "healthy", &[]),
            device("c", A100, "healthy", &[]),
            device("d", "l4-24Gi-pcie", "healthy", &[]),
        ];
        let each = behind(&[("nvidia.com/a100", &["c"], false), ("nvidia.com/gpu", &["a", "b"], false)]);
        let expected = vec![format!("nvidia.com/a100: {A100} × 1"), format!("nvidia.com/gpu: {H100} × 2")];
        assert_eq!(sold(&devices, &each), (expected, String::new()));
        let mixed = behind(&[("nvidia.com/gpu", &["a", "c"], false), ("nvidia.com/l4", &["d"], false)]);
        let (pools, why) = sold(&devices, &mixed);
        assert_eq!(pools, ["nvidia.com/l4: l4-24Gi-pcie × 1"], "the other name is exact");
        assert!(why.contains("behind nvidia.com/gpu: there are several models"), "{why}");
        let twice = behind(&[("nvidia.com/gpu", &["a"], false), ("nvidia.com/other", &["b"], false)]);
        let (pools, why) = sold(&devices, &twice);
        assert_eq!(pools, [format!("nvidia.com/gpu: {H100} × 1")]);
        assert!(why.contains("behind nvidia.com/other") && why.contains("behind another name"), "{why}");
    }

    #[test]
    fn slices_are_sold_under_either_strategy() {
        let (small, large) = ("h100.mig-1g.10gb-10Gi-sxm", "h100.mig-3g.40gb-40Gi-sxm");
        let slices = [("M1", small), ("M2", small), ("M3", large)];
        let devices = [device("a", H100, "healthy", &slices), device("b", H100, "healthy", &[])];
        let mixed = behind(&[
            ("nvidia.com/gpu", &["b"], false),
            ("nvidia.com/mig-1g.10gb", &["M1", "M2"], false),
            ("nvidia.com/mig-3g.40gb", &["M3"], false),
        ]);
        let expected = vec![
            format!("nvidia.com/gpu: {H100} × 1"),
            format!("nvidia.com/mig-1g.10gb: {small} × 2"),
            format!("nvidia.com/mig-3g.40gb: {large} × 1"),
        ];
        assert_eq!(sold(&devices, &mixed), (expected, String::new()));
        let (single, _) = sold(&devices, &behind(&[("nvidia.com/gpu", &["M1", "M2"], false)]));
        assert_eq!(single, [format!("nvidia.com/gpu: {small} × 2")]);
        let (unlike, why) = sold(&devices, &behind(&[("nvidia.com/gpu", &["M1", "M3"], false)]));
        assert!(unlike.is_empty() && why.contains("several models"), "{why}");
        let (whole, why) = sold(&devices, &behind(&[("nvidia.com/gpu", &["a", "b"], false)]));
        assert!(whole.is_empty() && why.contains("cut into MIG slices"), "{why}");
        let sick = [device("a", H100, "unhealthy", &slices)];
        let (none, _) = sold(&sick, &behind(&[("nvidia.com/mig-1g.10gb", &["M1", "M2"], false)]));
        assert_eq!(none, [format!("nvidia.com/mig-1g.10gb: {small} × 0")], "a slice is as well as its card");
    }

    #[test]
    fn time_slices_and_what_the_kubelet_does_not_have_are_not_sold() {
        let devices = [device("a", H100, "healthy", &[])];
        let (shared, why) = sold(&devices, &behind(&[("nvidia.com/gpu", &["a"], true)]));
        assert!(shared.is_empty() && why.contains("time slices"), "{why}");
        let (none, why) = sold(&devices, &json!([]));
        assert_eq!(
            none,
            [format!("nvidia.com/gpu: {H100} × 0")],
            "the model is known, and none of it is free"
        );
        assert!(why.contains("none of its 1 healthy GPUs to give"), "{why}");
        let (unknown, why) = sold(&devices, &behind(&[("nvidia.com/gpu", &["a", "z"], false)]));
        assert!(unknown.is_empty() && why.contains("the agent sees no z"), "{why}");
        let nothing = device("a", "unknown-10de9999-0Gi", "healthy", &[]);
        let (nameless, why) = sold(&[nothing], &behind(&[("nvidia.com/gpu", &["a"], false)]));
        assert!(nameless.is_empty() && why.contains("not known how much memory"), "{why}");
    }

    #[test]
    fn a_card_without_a_driver_is_told_and_those_of_other_vendors_are_not_missed() {
        let mut record = record(&[], &Value::Null);
        let card = |pci: &str, driver: &str| json!({"bus": "0000:1b:00.0", "pci": pci, "subsystem": "", "driver": driver, "numa_node": null});
        record["cards"] =
            json!([card("10de:2330", "missing"), card("10de:2331", "vfio-pci"), card("1002:74a1", "amdgpu")]);
        let offers = at(&record, 1000);
        assert!(offers.pools.is_empty());
        let told: Vec<String> = offers.findings.into_iter().collect();
        assert_eq!(told.len(), 1);
        assert!(
            told[0].contains("10de:2330 at 0000:1b:00.0") && told[0].contains("(bound: missing)"),
            "{told:?}"
        );
    }

    #[test]
    fn operators_names_are_given_without_the_agent() {
        let naming: Naming =
            serde_yaml::from_str("[{pci: '10de:2330', model: h100x, ram: 64Gi}]").expect("a name");
        let map = map(&record(&[device("a", H100, "healthy", &[])], &Value::Null));
        let offers = offers(&Records::default(), &[map], &naming, 1000);
        assert_eq!(offers.pools["n1"][0].gpu.to_string(), "h100x-64Gi");
        assert_eq!(offers.fresh["n1"].devices[0].gpu.to_string(), "h100x-64Gi");
    }

    #[test]
    fn a_stale_or_broken_record_sells_nothing_and_says_so() {
        let healthy = record(&[device("a", H100, "healthy", &[])], &Value::Null);
        assert_eq!(at(&healthy, 1090).pools.len(), 1);
        let stale = at(&healthy, 1091);
        assert!(stale.pools.is_empty() && stale.fresh.is_empty());
        assert!(stale.findings.iter().any(|finding| finding.contains("said nothing for 91 s")), "{stale:?}");
        let mut broken = (*map(&healthy)).clone();
        broken.data = None;
        let broken = offers(&Records::default(), &[Arc::new(broken)], &Naming::default(), 1000);
        assert!(broken.pools.is_empty() && broken.findings.len() == 1, "{broken:?}");
    }
}
