//! The names that an operator gives to cards: for one that the table does not know, or that is sold as something else.

use manifests::gpu::{Gpu, Interface, PciId};
use serde::Deserialize;

use super::record::NodeRecord;

/// Names by PCI ids. Agents report what they see; names are given where records are read, so that no agent has to be
/// started again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "Vec<Written>")]
pub struct Naming(Vec<CardName>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct CardName {
    pci: PciId,
    /// Whether it is about this board alone, and not about all with the chip.
    is_board: bool,
    gpu: Gpu,
}

/// As it stands in the configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    pci: String,
    #[serde(default)]
    subsystem: String,
    model: String,
    ram: String,
    interface: Option<String>,
}

impl TryFrom<Vec<Written>> for Naming {
    type Error = String;

    fn try_from(written: Vec<Written>) -> Result<Self, String> {
        let mut names: Vec<CardName> = Vec::new();
        for Written { pci, subsystem, model, ram, interface } in written {
            let id = PciId::from_text(&pci, &subsystem).ok_or_else(|| {
                format!(
                    "\"{pci}\" with subsystem \"{subsystem}\" are no PCI ids such as 10de:2330 and 10de:16c1"
                )
            })?;
            let gib = ram.strip_suffix("Gi").and_then(|gib| gib.parse().ok());
            let gib = gib.ok_or_else(|| format!("ram of {pci} is \"{ram}\": write such as 24Gi"))?;
            let interface = interface
                .map(|word| {
                    Interface::from_word(&word)
                        .ok_or_else(|| format!("interface of {pci} is \"{word}\": write pcie or sxm"))
                })
                .transpose()?;
            let gpu = Gpu::named(&model, gib, interface).map_err(|error| format!("{pci}: {error}"))?;
            let name = CardName { pci: id, is_board: !subsystem.is_empty(), gpu };
            if names.iter().any(|other| (other.pci, other.is_board) == (name.pci, name.is_board)) {
                return Err(format!("{pci} {subsystem} has two names"));
            }
            names.push(name);
        }
        Ok(Self(names))
    }
}

impl Naming {
    /// Puts the operator's names into a record, in place of those that its agent found.
    pub fn apply(&self, record: &mut NodeRecord) {
        for device in &mut record.devices {
            let Some(pci) = PciId::from_text(&device.pci, &device.subsystem) else { continue };
            let Some(gpu) = self.name(pci) else { continue };
            for slice in &mut device.slices {
                slice.gpu = slice.gpu.as_ref().and_then(|_| gpu.slice(&slice.profile));
            }
            device.gpu = gpu.clone();
        }
    }

    /// The name of a card: its board's before that of the chip.
    fn name(&self, pci: PciId) -> Option<&Gpu> {
        let chip = PciId { subvendor: 0, subdevice: 0, ..pci };
        let named = |is_board, pci| self.0.iter().find(|name| name.is_board == is_board && name.pci == pci);
        named(true, pci).or_else(|| named(false, chip)).map(|name| &name.gpu)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn naming(text: &str) -> Result<Naming, String> {
        serde_yaml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn cards_are_called_what_the_operator_says_the_board_before_the_chip() {
        let naming = naming(
            "[{pci: '10de:2330', model: h100x, ram: 64Gi, interface: sxm5},
              {pci: '10de:2330', subsystem: '10de:16c1', model: h100y, ram: 80Gi}]",
        )
        .expect("two names");
        let device = |pci: &str, subsystem: &str| {
            json!({
                "uuid": pci, "gpu": "h100-80Gi-sxm", "name": "", "memory_mib": 0, "pci": pci, "subsystem": subsystem,
                "bus": "", "minor": null, "mig": true, "health": {"state": "healthy"},
                "slices": [{"uuid": "MIG-1", "profile": "1g.10gb+me", "memory_mib": 1, "gpu": "h100.mig-1g.10gb.me-10Gi-sxm"}],
            })
        };
        let mut record: NodeRecord = serde_json::from_value(json!({
            "version": 1, "node": "n", "observed_at": 0, "period_s": 10, "driver": {"state": "absent", "reason": ""},
            "devices": [device("10de:2330", "10de:16c1"), device("10de:2330", "10de:0001"), device("10de:2331", "")],
            "allocations": null, "problems": [],
        }))
        .expect("a record");
        naming.apply(&mut record);
        let names: Vec<String> = record.devices.iter().map(|device| device.gpu.to_string()).collect();
        assert_eq!(names, ["h100y-80Gi", "h100x-64Gi-sxm", "h100-80Gi-sxm"]);
        let slice = record.devices[1].slices[0].gpu.as_ref().map(ToString::to_string);
        assert_eq!(slice.as_deref(), Some("h100x.mig-1g.10gb.me-10Gi-sxm"));
    }

    #[test]
    fn what_is_no_name_is_refused_with_its_place() {
        for (text, complaint) in [
            ("[{pci: '10de', model: a, ram: 1Gi}]", "\"10de\" with subsystem"),
            ("[{pci: '10de:2330', subsystem: x, model: a, ram: 1Gi}]", "subsystem \"x\""),
            ("[{pci: '10de:2330', model: a, ram: 1G}]", "ram of 10de:2330"),
            ("[{pci: '10de:2330', model: a, ram: 1Gi, interface: agp}]", "interface of 10de:2330"),
            ("[{pci: '10de:2330', model: 'A B', ram: 1Gi}]", "A B-1Gi"),
            ("[{pci: '10de:2330', model: a, ram: 1Gi, colour: red}]", "unknown field"),
            ("[{pci: '10de:2330', model: a, ram: 1Gi}, {pci: '10de:2330', model: b, ram: 1Gi}]", "two names"),
        ] {
            let error = naming(text).expect_err(text);
            assert!(error.contains(complaint), "{error}");
        }
    }
}
