//! Which GPUs are close to each other: over NVLink, and over PCIe.

use std::collections::BTreeMap;

use nvml_wrapper::enum_wrappers::device::TopologyLevel;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::Topology;

/// No GPU has more links.
const MOST_LINKS: u32 = 18;

/// What a link leads to when NVML does not say: a switch of the machine, of which there is taken to be one.
const SWITCH: &str = "a switch";

/// How the GPUs that answer are tied together.
pub(super) fn topology(nvml: &Nvml, count: u32) -> Topology {
    let gpus: Vec<Gpu<'_>> = (0..count)
        .filter_map(|index| {
            let device = nvml.device_by_index(index).ok()?;
            Some(Gpu { uuid: device.uuid().ok()?, bus: device.pci_info().ok()?.bus_id, device })
        })
        .collect();
    let mut islands = Groups::default();
    let mut pcie = Groups::default();
    for (at, gpu) in gpus.iter().enumerate() {
        // A GPU is found by its address from the other end of a link.
        for end in ends(&gpu.device) {
            islands.tie(&gpu.bus, &end);
        }
        for other in &gpus[at + 1..] {
            if let Ok(TopologyLevel::Internal | TopologyLevel::Single | TopologyLevel::Multiple) =
                nvml.topology_common_ancestor(&gpu.device, &other.device)
            {
                pcie.tie(&gpu.uuid, &other.uuid);
            }
        }
    }
    Topology {
        islands: islands.of(gpus.iter().map(|gpu| (gpu.uuid.as_str(), gpu.bus.as_str()))),
        pcie: pcie.of(gpus.iter().map(|gpu| (gpu.uuid.as_str(), gpu.uuid.as_str()))),
    }
}

struct Gpu<'n> {
    uuid: String,
    bus: String,
    device: Device<'n>,
}

/// How many links are up; `None` where NVML knows none.
pub(super) fn active_links(device: &Device<'_>) -> Option<u32> {
    let mut active = None;
    for link in 0..MOST_LINKS {
        match device.link_wrapper_for(link).is_active() {
            Ok(up) => active = Some(active.unwrap_or(0) + u32::from(up)),
            // There are no more links than this, or none at all.
            Err(_) => break,
        }
    }
    active
}

/// Where the active links lead, by PCI address.
fn ends(device: &Device<'_>) -> Vec<String> {
    let active =
        (0..MOST_LINKS).filter(|link| matches!(device.link_wrapper_for(*link).is_active(), Ok(true)));
    active
        .map(|link| match device.link_wrapper_for(link).remote_pci_info() {
            Ok(end) => end.bus_id,
            Err(NvmlError::GpuLost) => device.pci_info().map(|own| own.bus_id).unwrap_or_default(),
            Err(_) => SWITCH.to_owned(),
        })
        .collect()
}

/// Names that belong together, as a forest of names that point to another one of their group.
#[derive(Default)]
struct Groups(BTreeMap<String, String>);

impl Groups {
    fn root(&self, name: &str) -> String {
        let mut name = name;
        while let Some(next) = self.0.get(name) {
            name = next;
        }
        name.to_owned()
    }

    fn tie(&mut self, one: &str, other: &str) {
        let (one, other) = (self.root(one), self.root(other));
        if one != other {
            self.0.insert(one, other);
        }
    }

    /// The groups of at least two of these, whose names are given beside them; in a fixed order.
    fn of<'a>(&self, members: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Vec<String>> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (member, name) in members {
            groups.entry(self.root(name)).or_default().push(member.to_owned());
        }
        let mut groups: Vec<_> = groups.into_values().filter(|group| group.len() > 1).collect();
        groups.iter_mut().for_each(|group| group.sort());
        groups.sort();
        groups
    }
}
