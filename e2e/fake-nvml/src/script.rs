//! The script: what the machine that the fake plays looks like, as one JSON file.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;
use std::{fs, io};

use serde::{Deserialize, Serialize};

/// One machine as NVML would describe it. Unknown keys are refused.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Version of the driver, such as `570.133.20`.
    pub driver: String,
    /// Highest CUDA version the driver serves, such as `12.8`.
    pub cuda: CudaVersion,
    /// What every call answers instead of doing its work, as a number of `nvmlReturn_t`: 9 is "driver not loaded",
    /// 18 "driver and library differ", 4 "no permission", 999 "unknown". Absent or 0: the library works.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub init: u32,
    /// Symbols that the library does not have, as that of an older driver. They are taken out of the copy that
    /// [`crate::install`] makes, so a later change of them is not seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// The GPUs, in the order of their indices. Read by the library when it is initialised; a device added later
    /// is seen after the next initialisation, one taken away answers "lost" until then.
    pub devices: Vec<Device>,
}

/// One GPU.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// `GPU-` and a UUID; the same id is announced to the kubelet by the bench's device plugin.
    pub uuid: String,
    /// Marketing name, such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Total memory in MiB as NVML tells it, a little under the nominal size.
    pub memory_mib: u64,
    /// Memory in use, in MiB.
    #[serde(default)]
    pub memory_used_mib: u64,
    /// PCI vendor and device, such as `10de:2330`.
    pub pci: PciId,
    /// PCI vendor and device of the subsystem, such as `10de:16c1`.
    #[serde(default)]
    pub subsystem: PciId,
    /// PCI address, such as `0000:1b:00.0`; unique on the machine.
    pub bus: BusId,
    /// The N of `/dev/nvidiaN`.
    pub minor: u32,
    /// Serial number of the board; absent where the board has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// How the GPU is doing.
    #[serde(default, skip_serializing_if = "Health::is_healthy")]
    pub health: Health,
    /// Multi-Instance GPU mode; absent where the model does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig: Option<Mig>,
    /// CUDA compute capability, such as `9.0`.
    pub compute_capability: CudaVersion,
    /// NUMA node of the slot; absent where the machine does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numa_node: Option<u32>,
    /// Number of active NVLinks.
    #[serde(default)]
    pub nvlinks: u32,
    /// What is at the far end of the first of them, by PCI address: a GPU or a switch. The others lead to a switch that
    /// has no PCI address of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nvlink_ends: Vec<BusId>,
    /// The PCIe switch above the slot, by any number; GPUs with the same one share it. Absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pcie_switch: Option<u32>,
    /// What single calls about it answer instead of measuring, by symbol.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub answers: BTreeMap<String, u32>,
    /// Core temperature in degrees Celsius.
    #[serde(default = "idle_temperature")]
    pub temperature_c: u32,
    /// Power drawn, in milliwatts.
    #[serde(default = "idle_power")]
    pub power_mw: u32,
    /// Power limit in force, in milliwatts.
    #[serde(default = "power_limit")]
    pub power_limit_mw: u32,
    /// Share of the last period in which a kernel ran, in percent.
    #[serde(default)]
    pub utilization_percent: u32,
    /// Reasons for lowered clocks, as NVML's bit mask.
    #[serde(default)]
    pub throttle_reasons: u64,
    /// Error-correcting memory and its counters; `null` where the board has none, absent for one without errors.
    #[serde(default = "ecc")]
    pub ecc: Option<Ecc>,
    /// Processes with a compute context.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
}

/// How a GPU is doing.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It answers.
    #[default]
    Healthy,
    /// It fell off the bus: every call about it answers "GPU is lost".
    Lost,
    /// It answers, and the driver reports this Xid: one event when a script with it replaces one without.
    Xid(u64),
    /// Every call about it answers this number of `nvmlReturn_t`, known or not.
    Answers(u32),
}

impl Health {
    fn is_healthy(&self) -> bool {
        *self == Self::Healthy
    }
}

/// MIG mode of a GPU that knows it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mig {
    /// Whether the mode is on.
    pub enabled: bool,
    /// The slices, by slot (at most seven); a slot that is `null` is empty.
    #[serde(default)]
    pub slices: Vec<Option<MigSlice>>,
}

/// One MIG device.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MigSlice {
    /// `MIG-` and a UUID.
    pub uuid: String,
    /// Memory of the slice in MiB.
    pub memory_mib: u64,
    /// Compute slices of the GPU instance (the `3` of `3g.40gb`).
    pub gpu_slices: u32,
    /// The profile that its name ends with; absent for a driver that gives the card's name alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

/// Counters of a board with error-correcting memory.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ecc {
    /// Errors that were corrected.
    pub corrected: u64,
    /// Errors that were not.
    pub uncorrected: u64,
    /// Rows remapped because of corrected errors.
    pub remapped_corrected: u32,
    /// Rows remapped because of uncorrected errors.
    pub remapped_uncorrected: u32,
    /// A remapping waits for the next reset.
    pub remap_pending: bool,
    /// A remapping failed: the board is to be replaced.
    pub remap_failed: bool,
}

/// A process with a compute context.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Its id on the host.
    pub pid: u32,
    /// Memory it holds on the GPU, in MiB.
    pub memory_mib: u64,
}

/// `major.minor`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct CudaVersion {
    /// Before the point.
    pub major: i32,
    /// After the point.
    pub minor: i32,
}

/// A PCI vendor and device, written `10de:2330`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PciId {
    /// The vendor: NVIDIA is 0x10de.
    pub vendor: u16,
    /// The device.
    pub device: u16,
}

/// A PCI address, written `0000:1b:00.0`; the function is always 0.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct BusId {
    /// PCI domain.
    pub domain: u32,
    /// PCI bus.
    pub bus: u32,
    /// PCI device (slot).
    pub device: u32,
}

/// The machines of the folder `scripts`, by name.
pub const SHIPPED: [(&str, &str); 8] = [
    ("four-h100", include_str!("../scripts/four-h100.json")),
    ("lost", include_str!("../scripts/lost.json")),
    ("mig", include_str!("../scripts/mig.json")),
    ("no-driver", include_str!("../scripts/no-driver.json")),
    ("old-driver", include_str!("../scripts/old-driver.json")),
    ("sixteen", include_str!("../scripts/sixteen.json")),
    ("unknown", include_str!("../scripts/unknown.json")),
    ("xid-79", include_str!("../scripts/xid-79.json")),
];

impl Script {
    /// A node with four H100 SXM of 80 GB: the machine of the demo, and the example of the format.
    pub fn four_h100() -> Self {
        Self::shipped("four-h100")
    }

    /// One of the machines of the folder `scripts`, by the name of its file.
    ///
    /// # Panics
    /// There is no such file; [`SHIPPED`] has them all.
    pub fn shipped(name: &str) -> Self {
        let (_, text) = SHIPPED.iter().find(|(shipped, _)| *shipped == name).expect("a script of this name");
        Self::parse(text).expect("what is shipped follows its own format")
    }

    /// Reads a script.
    ///
    /// # Errors
    /// A sentence that says what is wrong and where: JSON, an unknown key, or two devices that claim one UUID or
    /// one PCI address.
    pub fn parse(text: &str) -> Result<Self, String> {
        let script: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut uuids = HashSet::new();
        let mut buses = HashSet::new();
        for device in &script.devices {
            if !device.uuid.starts_with("GPU-") {
                return Err(format!("uuid {:?} does not start with GPU-", device.uuid));
            }
            if !buses.insert(device.bus) {
                return Err(format!("two devices claim the PCI address {}", device.bus));
            }
            let slices = device.mig.iter().flat_map(|mig| mig.slices.iter().flatten());
            for uuid in std::iter::once(&device.uuid).chain(slices.map(|slice| &slice.uuid)) {
                if !uuids.insert(uuid) {
                    return Err(format!("two devices claim the uuid {uuid}"));
                }
            }
        }
        Ok(script)
    }

    /// Puts the script in place at once: a reader sees the old one or the new one, never half.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        let draft = path.with_extension("draft");
        fs::write(&draft, text)?;
        fs::rename(draft, path)
    }

    pub(crate) fn device(&self, uuid: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.uuid == uuid)
    }
}

impl Device {
    pub(crate) fn slice(&self, uuid: &str) -> Option<&MigSlice> {
        self.mig.as_ref()?.slices.iter().flatten().find(|slice| slice.uuid == uuid)
    }
}

impl TryFrom<String> for CudaVersion {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.split_once('.')
            .and_then(|(major, minor)| Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? }))
            .ok_or_else(|| format!("{text:?} is not a version like 12.8"))
    }
}

impl From<CudaVersion> for String {
    fn from(version: CudaVersion) -> Self {
        format!("{}.{}", version.major, version.minor)
    }
}

impl TryFrom<String> for PciId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let part = |part: &str| u16::from_str_radix(part, 16).ok();
        text.split_once(':')
            .and_then(|(vendor, device)| Some(Self { vendor: part(vendor)?, device: part(device)? }))
            .ok_or_else(|| format!("{text:?} is not a PCI vendor and device like 10de:2330"))
    }
}

impl From<PciId> for String {
    fn from(id: PciId) -> Self {
        format!("{:04x}:{:04x}", id.vendor, id.device)
    }
}

impl TryFrom<String> for BusId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let part = |part: &str| u32::from_str_radix(part, 16).ok();
        let address = || {
            let mut parts = text.strip_suffix(".0")?.split(':');
            let id = Self {
                domain: part(parts.next()?)?,
                bus: part(parts.next()?)?,
                device: part(parts.next()?)?,
            };
            (parts.next().is_none() && id.bus <= 0xff && id.device <= 0x1f).then_some(id)
        };
        address().ok_or_else(|| format!("{text:?} is not a PCI address like 0000:1b:00.0"))
    }
}

impl From<BusId> for String {
    fn from(id: BusId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for BusId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.0", self.domain, self.bus, self.device)
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn idle_temperature() -> u32 {
    31
}

fn idle_power() -> u32 {
    71_000
}

fn power_limit() -> u32 {
    700_000
}

#[expect(clippy::unnecessary_wraps, reason = "serde wants the field's own type")]
fn ecc() -> Option<Ecc> {
    Some(Ecc::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_is_read_and_survives_being_written() {
        let script = Script::four_h100();
        assert_eq!(script.devices.len(), 4);
        assert_eq!(script.devices[0].pci, PciId { vendor: 0x10de, device: 0x2330 });
        assert_eq!(script.devices[3].bus.to_string(), "0000:9d:00.0");
        let written = serde_json::to_string(&script).unwrap();
        assert_eq!(Script::parse(&written).unwrap(), script);
    }

    #[test]
    fn what_is_shipped_is_read_and_told() {
        for (name, _) in SHIPPED {
            let script = Script::shipped(name);
            let written = serde_json::to_string(&script).unwrap();
            assert_eq!(Script::parse(&written).unwrap(), script, "{name}");
        }
        assert_eq!(Script::shipped("sixteen").devices.len(), 16);
    }

    #[test]
    fn every_health_has_a_written_form() {
        for (text, health) in [
            ("\"healthy\"", Health::Healthy),
            ("\"lost\"", Health::Lost),
            ("{\"xid\":79}", Health::Xid(79)),
            ("{\"answers\":4711}", Health::Answers(4711)),
        ] {
            assert_eq!(serde_json::from_str::<Health>(text).unwrap(), health);
            assert_eq!(serde_json::to_string(&health).unwrap(), text);
        }
    }

    #[test]
    fn mistakes_are_named() {
        let text = include_str!("../scripts/four-h100.json");
        for (from, to, complaint) in [
            ("\"minor\": 0", "\"minor\": 0, \"colour\": 1", "unknown field `colour`"),
            ("0000:43:00.0", "0000:1b:00.0", "two devices claim the PCI address 0000:1b:00.0"),
            ("GPU-8a2b", "8a2b", "does not start with GPU-"),
            ("10de:2330", "2330", "\"2330\" is not a PCI vendor and device"),
            ("12.8", "twelve", "\"twelve\" is not a version"),
        ] {
            let error = Script::parse(&text.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(complaint), "{error}");
        }
        let mut script = Script::four_h100();
        script.devices[1].uuid = script.devices[0].uuid.clone();
        let error = Script::parse(&serde_json::to_string(&script).unwrap()).unwrap_err();
        assert!(error.contains("two devices claim the uuid"), "{error}");
    }
}
