//! The cards on the PCI bus of this machine, as the kernel lists them: also those that no driver of ours speaks for.

use std::fs;
use std::path::Path;

use anyhow::Context;
use manifests::gpu::PciId;
use serde::{Deserialize, Serialize};

/// Where the kernel lists them.
pub const ROOT: &str = "/sys";

/// What stands for a driver where none is bound.
pub const MISSING: &str = "missing";

/// A card that could be a GPU to compute on.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Card {
    /// The PCI address, such as `0000:1b:00.0`.
    pub bus: String,
    /// PCI vendor and device, such as `1002:740f`.
    pub pci: String,
    /// Vendor and device of the board.
    pub subsystem: String,
    /// The kernel's driver that is bound to it, such as `nvidia`, `amdgpu` or `vfio-pci`; or [`MISSING`].
    pub driver: String,
    /// The NUMA node of its slot, if the kernel knows.
    pub numa_node: Option<u32>,
}

/// NVIDIA, AMD and Intel. The display of a server's management controller or of a hypervisor is from none of them.
const VENDORS: [u16; 3] = [0x10de, 0x1002, 0x8086];

/// VGA display, 3D controller and processing accelerator, without the byte of the programming interface.
const CLASSES: [u32; 3] = [0x0300, 0x0302, 0x1200];

/// Lists the cards below a root such as `/sys`, by address.
///
/// # Errors
/// The root cannot be listed. A device that cannot be read is passed over: it is on its way out.
pub fn cards(root: &Path) -> anyhow::Result<Vec<Card>> {
    let folder = root.join("bus/pci/devices");
    let entries = fs::read_dir(&folder)
        .with_context(|| format!("failed to list the PCI devices in {}", folder.display()))?;
    let mut cards: Vec<Card> = entries.flatten().filter_map(|entry| card(&entry.path())).collect();
    cards.sort();
    Ok(cards)
}

fn card(folder: &Path) -> Option<Card> {
    let text = |name: &str| Some(fs::read_to_string(folder.join(name)).ok()?.trim().to_owned());
    let number = |name: &str| u32::from_str_radix(text(name)?.strip_prefix("0x")?, 16).ok();
    let half = |name: &str| u16::try_from(number(name)?).ok();
    // Most devices are something else, and one file says so.
    if !CLASSES.contains(&(number("class")? >> 8)) {
        return None;
    }
    let (vendor, device) = (half("vendor")?, half("device")?);
    // A part of a card that was cut up for virtual machines is not a card.
    if !VENDORS.contains(&vendor) || folder.join("physfn").exists() {
        return None;
    }
    let board = |name: &str| half(name).unwrap_or(0);
    let (subvendor, subdevice) = (board("subsystem_vendor"), board("subsystem_device"));
    let pci = PciId { vendor, device, subvendor, subdevice };
    let driver = fs::read_link(folder.join("driver")).ok();
    let driver = driver.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    Some(Card {
        bus: folder.file_name()?.to_string_lossy().into_owned(),
        pci: pci.chip(),
        subsystem: pci.subsystem(),
        driver: driver.unwrap_or_else(|| MISSING.to_owned()),
        // The kernel says -1 where it does not know.
        numa_node: text("numa_node").and_then(|node| node.parse().ok()),
    })
}

/// Whether two texts are the same PCI address: NVML writes the domain with eight digits and in capitals.
#[must_use]
pub fn is_same_bus(one: &str, other: &str) -> bool {
    one.trim_start_matches('0').eq_ignore_ascii_case(other.trim_start_matches('0'))
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Puts a device into a tree.
    pub(crate) fn put(root: &Path, bus: &str, class: &str, pci: &str, driver: Option<&str>) {
        let folder = root.join("bus/pci/devices").join(bus);
        fs::create_dir_all(&folder).expect("the folder is the test's own");
        let (vendor, device) = pci.split_once(':').expect("vendor and device");
        let files = [
            ("class", format!("0x{class}00")),
            ("vendor", format!("0x{vendor}")),
            ("device", format!("0x{device}")),
            ("subsystem_vendor", "0x1028".to_owned()),
            ("subsystem_device", "0x0001".to_owned()),
            ("numa_node", "1".to_owned()),
        ];
        for (name, text) in files {
            fs::write(folder.join(name), text + "\n").expect("the folder is the test's own");
        }
        if let Some(driver) = driver {
            symlink(format!("../../../../bus/pci/drivers/{driver}"), folder.join("driver")).expect("a link");
        }
    }

    #[test]
    fn cards_of_all_vendors_are_listed_and_nothing_else() {
        let root = tempfile::tempdir().expect("a temporary folder");
        put(root.path(), "0000:1b:00.0", "0302", "10de:2330", Some("nvidia"));
        put(root.path(), "0000:43:00.0", "0302", "10de:2901", None);
        put(root.path(), "0000:61:00.0", "1200", "1002:74a1", Some("amdgpu"));
        put(root.path(), "0000:9d:00.0", "0300", "8086:56c0", Some("i915"));
        // A management controller, a hypervisor's display, a network card, a card's own sound.
        put(root.path(), "0000:02:00.0", "0300", "1a03:2000", Some("ast"));
        put(root.path(), "0000:00:02.0", "0300", "1234:1111", None);
        put(root.path(), "0000:03:00.0", "0200", "8086:1593", Some("ice"));
        put(root.path(), "0000:1b:00.1", "0403", "10de:22ba", None);
        put(root.path(), "0000:1b:00.4", "0302", "10de:2330", None);
        symlink("../0000:1b:00.0", root.path().join("bus/pci/devices/0000:1b:00.4/physfn")).expect("a link");
        let told: Vec<(String, String, String)> = cards(root.path())
            .expect("the tree is there")
            .into_iter()
            .map(|card| (card.bus, card.pci, card.driver))
            .collect();
        let expected = [
            ("0000:1b:00.0", "10de:2330", "nvidia"),
            ("0000:43:00.0", "10de:2901", MISSING),
            ("0000:61:00.0", "1002:74a1", "amdgpu"),
            ("0000:9d:00.0", "8086:56c0", "i915"),
        ];
        assert_eq!(
            told,
            expected.map(|(bus, pci, driver)| (bus.to_owned(), pci.to_owned(), driver.to_owned()))
        );
        let first = cards(root.path()).expect("the tree is there").remove(0);
        assert_eq!((first.subsystem.as_str(), first.numa_node), ("1028:0001", Some(1)));
    }

    #[test]
    fn tree_that_is_not_there_is_an_error_that_names_it() {
        let error = cards(Path::new("/nowhere")).expect_err("there is no such folder");
        assert!(format!("{error:#}").contains("/nowhere/bus/pci/devices"), "{error:#}");
    }

    #[test]
    fn addresses_are_the_same_however_they_are_written() {
        assert!(is_same_bus("0000:1b:00.0", "00000000:1B:00.0"));
        assert!(!is_same_bus("0000:1b:00.0", "00000001:1B:00.0"));
    }
}
