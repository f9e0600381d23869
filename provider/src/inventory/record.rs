//! What a node's agent tells the daemon: one ConfigMap a node in our namespace, written only by that node's agent.
//!
//! The record is JSON under one key. It has a version: a reader takes the versions it knows and ignores keys that it does not,
//! so agents and daemon may be rolled out in any order within a version.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;
use manifests::gpu::{Gpu, Identity};
use serde::{Deserialize, Serialize};

use super::gpus::{Device, Driver, Health, Probe, Slice, Topology};
use super::podresources::{Allocation, Announced, Told};
use super::sysfs::{Card, is_same_bus};

/// The version of the record that is written and read here.
pub const VERSION: u32 = 1;

/// The label by which the records are found, with [`LABEL_VALUE`].
pub const LABEL: &str = "berth.dev/record";

/// See [`LABEL`].
pub const LABEL_VALUE: &str = "node";

/// The key in the ConfigMap's data.
const KEY: &str = "record.json";

/// Records older than so many of their own periods say nothing any more,
const PERIODS: u64 = 9;

/// unless they are younger than this, in seconds: a short period must not make a busy node blind.
const YOUNG: u64 = 30;

/// One node as its agent saw it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct NodeRecord {
    /// Which form the record has.
    pub version: u32,
    /// The node's name in the cluster.
    pub node: String,
    /// When NVML was last asked, in unix seconds of the node's clock.
    pub observed_at: u64,
    /// How often it is asked, in seconds.
    pub period_s: u64,
    /// The driver, or why there is none.
    pub driver: Driver,
    /// Every GPU that was seen since the agent started.
    pub devices: Vec<DeviceRecord>,
    /// How they are tied together.
    #[serde(default)]
    pub topology: Topology,
    /// The cards on the PCI bus that NVML does not speak for: of other vendors, or without a driver that answers.
    #[serde(default)]
    pub cards: Vec<Card>,
    /// Under which resource names the kubelet has which devices to give; `None` when it does not tell.
    #[serde(default)]
    pub announced: Option<Vec<Announced>>,
    /// Which containers hold which GPUs; `None` when the kubelet could not be asked, which is not "none do".
    pub allocations: Option<Vec<Allocation>>,
    /// What could not be found out, a sentence each.
    pub problems: Vec<String>,
}

/// One GPU of a node.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct DeviceRecord {
    /// `GPU-` and a UUID, the same as in [`Allocation::uuids`].
    pub uuid: String,
    /// Model, memory as sold and interface: the pool that the device belongs to, such as `h100-80Gi-sxm`.
    pub gpu: Gpu,
    /// The product's name as NVML gives it.
    pub name: String,
    /// Memory as NVML counts it, in MiB.
    pub memory_mib: u64,
    /// PCI vendor and device, such as `10de:2330`.
    pub pci: String,
    /// PCI vendor and device of the board, such as `10de:16c1`.
    #[serde(default)]
    pub subsystem: String,
    /// The PCI address.
    pub bus: String,
    /// The N of `/dev/nvidiaN`, if NVML tells.
    pub minor: Option<u32>,
    /// Whether it is cut into MIG slices.
    pub mig: bool,
    /// The slices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<SliceRecord>,
    /// CUDA compute capability, such as `9.0`.
    #[serde(default)]
    pub compute_capability: Option<String>,
    /// The NUMA node of its slot.
    #[serde(default)]
    pub numa_node: Option<u32>,
    /// How many NVLinks are up.
    #[serde(default)]
    pub nvlinks: Option<u32>,
    /// Whether its memory corrects errors.
    #[serde(default)]
    pub ecc: Option<bool>,
    /// Whether a remapping of memory rows waits for a reset.
    #[serde(default)]
    pub remap_pending: Option<bool>,
    /// The Xid that speaks against it.
    #[serde(default)]
    pub xid: Option<u64>,
    /// How it is doing.
    pub health: Health,
}

/// One slice of a GPU.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct SliceRecord {
    /// `MIG-` and a UUID, the same as in [`Allocation::uuids`].
    pub uuid: String,
    /// The pool that it belongs to, such as `h100.mig-1g.10gb-10Gi-sxm`; `None` when nothing tells its profile.
    pub gpu: Option<Gpu>,
    /// Its profile as the driver names it, such as `1g.10gb+me`.
    pub profile: String,
    /// Memory as NVML counts it, in MiB.
    pub memory_mib: u64,
}

impl NodeRecord {
    /// Puts together what was seen: of the GPUs, of the kubelet and on the PCI bus.
    #[must_use]
    pub fn new(
        node: &str,
        observed_at: u64,
        period_s: u64,
        probe: &Probe,
        told: anyhow::Result<Told>,
        cards: anyhow::Result<Vec<Card>>,
    ) -> Self {
        let Probe { driver, devices, topology, readings: _, problems } = probe.clone();
        let mut problems = problems;
        let mut note = |error: anyhow::Error| problems.push(format!("{error:#}"));
        let mut cards = cards.map_err(&mut note).unwrap_or_default();
        let (allocations, announced) = match told {
            Ok(Told { allocations, announced }) => (Some(allocations), announced),
            Err(error) => {
                note(error);
                (None, None)
            }
        };
        let mut named = Vec::new();
        for mut device in devices {
            let slot = cards.iter().position(|card| is_same_bus(&card.bus, &device.bus));
            let slot = slot.map(|slot| cards.remove(slot));
            device.numa_node = device.numa_node.or_else(|| slot?.numa_node);
            let (device, doubt) = DeviceRecord::name(device);
            problems.extend(doubt);
            named.push(device);
        }
        Self {
            version: VERSION,
            node: node.to_owned(),
            observed_at,
            period_s,
            driver,
            devices: named,
            topology,
            cards,
            announced,
            allocations,
            problems,
        }
    }

    /// Whether it says the same as another, but for the time.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        *self == Self { observed_at: self.observed_at, ..other.clone() }
    }

    /// What a record says while its last look is so old that NVML seems to hang: it is not known how the GPUs are doing.
    #[must_use]
    pub fn unknown(mut self, reason: &str) -> Self {
        for device in &mut self.devices {
            device.health = Health::Unknown { reason: reason.to_owned() };
        }
        self
    }

    /// After how many seconds a record says nothing any more.
    #[must_use]
    pub fn patience(period_s: u64) -> u64 {
        period_s.saturating_mul(PERIODS).max(YOUNG)
    }

    /// Whether the record can still be relied on at this time. One from the future is taken as from now: clocks differ.
    #[must_use]
    pub fn is_fresh(&self, now: u64) -> bool {
        now.saturating_sub(self.observed_at) <= Self::patience(self.period_s)
    }

    /// The ConfigMap's name for a node.
    #[must_use]
    pub fn name(node: &str) -> String {
        format!("berth-node-{node}")
    }

    /// The record as its ConfigMap.
    ///
    /// # Errors
    /// None that is known: a record is plain data.
    pub fn to_config_map(&self, namespace: &str) -> serde_json::Result<ConfigMap> {
        Ok(ConfigMap {
            metadata: ObjectMeta {
                name: Some(Self::name(&self.node)),
                namespace: Some(namespace.to_owned()),
                labels: Some([(LABEL.to_owned(), LABEL_VALUE.to_owned())].into()),
                ..ObjectMeta::default()
            },
            data: Some([(KEY.to_owned(), serde_json::to_string(self)?)].into()),
            ..ConfigMap::default()
        })
    }

    /// Reads a record from a ConfigMap.
    ///
    /// # Errors
    /// The ConfigMap holds no record, one of another version, or one for another node than its name says: nodes must not speak
    /// for each other.
    pub fn from_config_map(map: &ConfigMap) -> Result<Self, RecordError> {
        let name = map.metadata.name.clone().unwrap_or_default();
        let wrong = |problem: String| RecordError { name: name.clone(), problem };
        let text = map.data.as_ref().and_then(|data| data.get(KEY));
        let text = text.ok_or_else(|| wrong(format!("it has no key {KEY}")))?;
        let Version { version } = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if version != VERSION {
            return Err(wrong(format!("it has version {version}, and this program reads {VERSION}")));
        }
        let record: Self = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if name != Self::name(&record.node) {
            return Err(wrong(format!("it speaks for the node {}", record.node)));
        }
        Ok(record)
    }
}

impl DeviceRecord {
    /// Whether it can be given to a tenant as a whole, unless somebody has it already.
    #[must_use]
    pub fn is_offered(&self) -> bool {
        self.health == Health::Healthy && !self.mig
    }
}

impl DeviceRecord {
    /// Names a GPU and its slices; also a sentence about what is odd.
    fn name(device: Device) -> (Self, Option<String>) {
        let Device {
            uuid,
            name,
            memory_mib,
            pci,
            bus,
            minor,
            mig,
            slices,
            compute_capability,
            numa_node,
            nvlinks,
            ecc,
            remap_pending,
            xid,
            health,
        } = device;
        let Identity { gpu, doubt } = Gpu::identify(&name, memory_mib, pci);
        let slice = |Slice { uuid, profile, memory_mib }| SliceRecord {
            uuid,
            gpu: gpu.slice(&profile),
            profile,
            memory_mib,
        };
        let slices = slices.into_iter().map(slice).collect();
        let doubt = doubt.map(|doubt| format!("GPU {uuid} is not as expected: {doubt}"));
        let record = Self {
            uuid,
            gpu,
            name,
            memory_mib,
            pci: pci.chip(),
            subsystem: pci.subsystem(),
            bus,
            minor,
            mig,
            slices,
            compute_capability,
            numa_node,
            nvlinks,
            ecc,
            remap_pending,
            xid,
            health,
        };
        (record, doubt)
    }
}

/// A ConfigMap that claims to be a node's record cannot be read as one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the node record {name} cannot be used: {problem}; is its agent of the same release as this program?"
)]
pub struct RecordError {
    name: String,
    problem: String,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use manifests::gpu::PciId;

    fn record() -> NodeRecord {
        let device = Device {
            uuid: "GPU-1".to_owned(),
            name: "NVIDIA H100 80GB HBM3".to_owned(),
            memory_mib: 81_559,
            pci: PciId::from_nvml(0x2330_10de, 0x16c1_10de),
            bus: "00000000:1B:00.0".to_owned(),
            minor: Some(0),
            mig: true,
            slices: vec![Slice {
                uuid: "MIG-1".to_owned(),
                profile: "1g.10gb+me".to_owned(),
                memory_mib: 9_984,
            }],
            compute_capability: Some("9.0".to_owned()),
            numa_node: None,
            nvlinks: Some(18),
            ecc: Some(true),
            remap_pending: Some(false),
            xid: None,
            health: Health::Healthy,
        };
        let probe = Probe {
            driver: Driver::Loaded { version: Some("570.133.20".to_owned()), cuda: Some("12.8".to_owned()) },
            devices: vec![device],
            topology: Topology { islands: vec![vec!["GPU-1".to_owned()]], pcie: Vec::new() },
            readings: BTreeMap::new(),
            problems: vec!["GPU 3 cannot be identified: it is shy".to_owned()],
        };
        let card = |bus: &str, pci: &str| Card {
            bus: bus.to_owned(),
            pci: pci.to_owned(),
            subsystem: "10de:16c1".to_owned(),
            driver: "missing".to_owned(),
            numa_node: Some(1),
        };
        let cards = vec![card("0000:1b:00.0", "10de:2330"), card("0000:61:00.0", "1002:74a1")];
        NodeRecord::new("node-a", 1_000, 10, &probe, Ok(Told::default()), Ok(cards))
    }

    #[test]
    fn cards_that_nvml_does_not_speak_for_are_told_beside_its_gpus() {
        let record = record();
        let others: Vec<&str> = record.cards.iter().map(|card| card.pci.as_str()).collect();
        assert_eq!(others, ["1002:74a1"]);
        assert_eq!(record.devices[0].numa_node, Some(1), "the kernel knows where NVML does not");
    }

    #[test]
    fn only_what_is_seen_makes_records_differ() {
        let record = record();
        assert!(record.says_the_same(&NodeRecord { observed_at: 2_000, ..record.clone() }));
        assert!(!record.says_the_same(&record.clone().unknown("it hangs")));
        assert!(!record.clone().unknown("it hangs").devices[0].is_offered());
    }

    #[test]
    fn record_survives_its_config_map() {
        let record = record();
        assert_eq!(record.devices[0].gpu.to_string(), "h100-80Gi-sxm");
        assert_eq!(
            (record.devices[0].pci.as_str(), record.devices[0].subsystem.as_str()),
            ("10de:2330", "10de:16c1")
        );
        let slice = record.devices[0].slices[0].gpu.as_ref().map(ToString::to_string);
        assert_eq!(slice.as_deref(), Some("h100.mig-1g.10gb.me-10Gi-sxm"));
        let map = record.to_config_map("berth").unwrap();
        assert_eq!(map.metadata.name.as_deref(), Some("berth-node-node-a"));
        assert_eq!(NodeRecord::from_config_map(&map).unwrap(), record);
    }

    #[test]
    fn kubelet_that_was_not_asked_is_not_a_node_without_allocations() {
        let probe = Probe {
            driver: Driver::Absent { reason: "none".to_owned() },
            devices: vec![],
            topology: Topology::default(),
            readings: BTreeMap::new(),
            problems: vec![],
        };
        let (socket, tree) = (anyhow::anyhow!("no socket"), anyhow::anyhow!("no tree"));
        let record = NodeRecord::new("node-a", 1_000, 10, &probe, Err(socket), Err(tree));
        assert_eq!((&record.allocations, &record.announced), (&None, &None));
        assert_eq!(record.problems, ["no tree", "no socket"]);
        let map = record.to_config_map("berth").unwrap();
        assert_eq!(NodeRecord::from_config_map(&map).unwrap(), record);
    }

    #[test]
    fn record_goes_stale_after_nine_periods_and_not_within_half_a_minute() {
        for (period_s, last) in [(1, 1_030), (10, 1_090), (60, 1_540)] {
            let record = NodeRecord { period_s, ..record() };
            assert!(record.is_fresh(990) && record.is_fresh(last));
            assert!(!record.is_fresh(last + 1), "a period of {period_s} s");
        }
    }

    #[test]
    fn sick_or_sliced_gpu_is_not_offered() {
        let sliced = record().devices.remove(0);
        assert!(!sliced.is_offered());
        let device = DeviceRecord { mig: false, ..sliced };
        assert!(device.is_offered());
        let reason = String::new();
        assert!(
            !DeviceRecord { health: Health::Unknown { reason: reason.clone() }, ..device.clone() }
                .is_offered()
        );
        assert!(!DeviceRecord { health: Health::Unhealthy { reason }, ..device }.is_offered());
    }

    #[test]
    fn record_that_is_not_ours_to_read_is_refused_with_the_reason() {
        let record = record();
        let refusal = |change: &dyn Fn(&mut ConfigMap)| {
            let mut map = record.to_config_map("berth").unwrap();
            change(&mut map);
            NodeRecord::from_config_map(&map).unwrap_err().to_string()
        };
        let write = |text: &str| Some([(KEY.to_owned(), text.to_owned())].into());
        for (change, complaint) in [
            (&(|map: &mut ConfigMap| map.data = None) as &dyn Fn(&mut ConfigMap), "no key record.json"),
            (&|map: &mut ConfigMap| map.data = write("{"), "EOF"),
            (
                &|map: &mut ConfigMap| map.data = write(r#"{"version": 2, "gpus": []}"#),
                "version 2, and this program reads 1",
            ),
            (
                &|map: &mut ConfigMap| map.metadata.name = Some("berth-node-node-b".to_owned()),
                "speaks for the node node-a",
            ),
        ] {
            let refusal = refusal(change);
            assert!(refusal.contains(complaint) && refusal.contains("berth-node-node-"), "{refusal}");
        }
    }

    #[test]
    fn key_of_a_later_release_is_passed_over() {
        let mut map = record().to_config_map("berth").unwrap();
        let text = map.data.as_ref().unwrap()[KEY].replacen('{', r#"{"fabric": "nvswitch", "#, 1);
        map.data = Some([(KEY.to_owned(), text)].into());
        assert_eq!(NodeRecord::from_config_map(&map).unwrap(), record());
    }
}
