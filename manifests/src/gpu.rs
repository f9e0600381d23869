//! One naming of GPUs for requests and devices.
//!
//! A card that a node has and a model that a tenant asks for become the same words: a slug made from the product's name by
//! rule (`NVIDIA GeForce RTX 4070 Ti SUPER` is `rtx4070tis`), the memory the card is sold with in GiB, and how it is
//! attached. The table `gpus.csv` holds what a name does not say: the model of a device whose driver has no name for it yet, and
//! the interface. Nothing here decides a price or a place.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::resources::Attribute;

/// The label by which a node tells which pool of GPUs it has; its value is a [`Gpu`] in print.
pub const NODE_LABEL: &str = "berth.dev/gpu";

/// The only vendor whose devices are offered and can be asked for.
pub const VENDOR: &str = "nvidia";

/// How a card is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interface {
    /// A card in a slot.
    Pcie,
    /// A module on a board of its own, of any generation (SXM2 to SXM6).
    Sxm,
}

impl Interface {
    /// The word in labels and documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pcie => "pcie",
            Self::Sxm => "sxm",
        }
    }

    /// Reads `pcie`, `sxm` and `sxm` with a generation, in any case.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        let word = word.to_ascii_lowercase();
        match word.strip_prefix("sxm") {
            Some(generation) if generation.bytes().all(|byte| byte.is_ascii_digit()) => Some(Self::Sxm),
            _ if word == "pcie" => Some(Self::Pcie),
            _ => None,
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The four numbers by which the PCI bus knows a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PciId {
    /// Who made the chip: 0x10de is NVIDIA.
    pub vendor: u16,
    /// Which chip.
    pub device: u16,
    /// Who made the board; 0 when not known.
    pub subvendor: u16,
    /// Which board; 0 when not known.
    pub subdevice: u16,
}

impl PciId {
    /// From the two words that NVML gives, each with the vendor in its lower half. A missing second word is 0.
    #[must_use]
    pub fn from_nvml(device: u32, subsystem: u32) -> Self {
        let half = |word: u32, shift: u32| u16::try_from((word >> shift) & 0xffff).unwrap_or(0);
        Self {
            vendor: half(device, 0),
            device: half(device, 16),
            subvendor: half(subsystem, 0),
            subdevice: half(subsystem, 16),
        }
    }
}

/// A GPU model as it is offered, priced and put on a node's label: all devices of one pool are the same in all of it.
///
/// Prints as the pool's label, `h100-80Gi-sxm`, which is at most 63 characters and a valid label value, and parses from it.
/// The interface is left out when it is not known; a slice of a card (MIG) has the profile in its model,
/// `h100.mig-1g.10gb-10Gi-sxm`.
///
/// ```
/// use manifests::gpu::{Gpu, GpuRequest, PciId};
///
/// let gpu = Gpu::of_device("NVIDIA H100 80GB HBM3", 81_559, PciId::from_nvml(0x2330_10de, 0));
/// assert_eq!(gpu.to_string(), "h100-80Gi-sxm");
/// assert!(GpuRequest::from_keys(["vendor/nvidia/model/h100/ram/80Gi"])?.matches(&gpu));
/// # Ok::<(), manifests::gpu::GpuKeyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gpu {
    // Only what `of_device` and `from_str` let through: a label of at most 63 characters that reads back as this value.
    model: String,
    ram_gib: u32,
    interface: Option<Interface>,
}

impl Gpu {
    /// Names a device from what NVML says of it: product name, memory in MiB and PCI ids.
    ///
    /// A product whose name says nothing is `unknown-<vendor and device id>`, so that an operator can price it all the same.
    #[must_use]
    pub fn of_device(product: &str, memory_mib: u64, pci: PciId) -> Self {
        let (card, profile) = match product.split_once(" MIG ") {
            Some((card, profile)) => (card, Some(profile.trim())),
            None => (product, None),
        };
        let name = Name::read(card);
        let row = TABLE.of_device(pci);
        let mut model = match row {
            Some(row) => row.model.to_owned(),
            None if name.is_telling() => name.slug,
            None => format!("{UNKNOWN}{:04x}{:04x}", pci.vendor, pci.device),
        };
        let interface = name
            .interface
            .or_else(|| row.and_then(|row| row.interface))
            .or_else(|| TABLE.of_model(&model).and_then(|row| row.interface))
            .or(if name.is_add_in_card { Some(Interface::Pcie) } else { None });
        let mut ram_gib = nominal_gib(memory_mib);
        if let Some(profile) = profile {
            let profile = profile_word(profile);
            if let Some(gib) = profile_gib(&profile) {
                ram_gib = gib;
            }
            model = format!("{model}{MIG}{profile}");
        }
        Self { model, ram_gib, interface }
    }

    /// The slug: lower-case letters and digits, with a MIG profile behind `.mig-`; or `unknown-<pci id>`.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Memory as sold, in GiB.
    #[must_use]
    pub fn ram_gib(&self) -> u32 {
        self.ram_gib
    }

    /// How it is attached, if that is known.
    #[must_use]
    pub fn interface(&self) -> Option<Interface> {
        self.interface
    }

    /// Whether it is named only by its PCI ids.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.model.starts_with(UNKNOWN)
    }

    /// The name with its vendor, in parts: `nvidia/h100/80Gi/sxm`.
    #[must_use]
    pub fn path(&self) -> String {
        let interface = self.interface.map_or_else(String::new, |interface| format!("/{interface}"));
        format!("{VENDOR}/{}/{}Gi{interface}", self.model, self.ram_gib)
    }

    /// Whether it is a slice of a card. Only a request that names the profile gets one.
    #[must_use]
    pub fn is_mig(&self) -> bool {
        self.mig_profile().is_some()
    }

    /// The profile of a slice of a card, such as `1g.10gb`; `None` for a whole card.
    #[must_use]
    pub fn mig_profile(&self) -> Option<&str> {
        self.model.split_once(MIG).map(|(_, profile)| profile)
    }
}

const MIG: &str = ".mig-";
const UNKNOWN: &str = "unknown-";

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}Gi", self.model, self.ram_gib)?;
        self.interface.map_or(Ok(()), |interface| write!(f, "-{interface}"))
    }
}

/// A text is not the label of a GPU pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a GPU pool: write <model>-<n>Gi or <model>-<n>Gi-<pcie|sxm>, such as h100-80Gi-sxm")]
pub struct GpuLabelError(String);

impl FromStr for Gpu {
    type Err = GpuLabelError;

    fn from_str(label: &str) -> Result<Self, GpuLabelError> {
        let wrong = || GpuLabelError(label.to_owned());
        let (rest, interface) = match label.rsplit_once('-') {
            Some((rest, "pcie")) => (rest, Some(Interface::Pcie)),
            Some((rest, "sxm")) => (rest, Some(Interface::Sxm)),
            _ => (label, None),
        };
        let (model, ram) = rest.rsplit_once('-').ok_or_else(wrong)?;
        let ram_gib = ram.strip_suffix("Gi").and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
        let gpu = Self { model: model.to_owned(), ram_gib, interface };
        let plain = model.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'));
        let starts_well = model.starts_with(|first: char| first.is_ascii_alphanumeric());
        // Printing again catches what parses in more than one spelling, such as 080Gi.
        if plain && starts_well && label.len() <= MAX_LABEL && gpu.to_string() == label {
            Ok(gpu)
        } else {
            Err(wrong())
        }
    }
}

/// The most characters that Kubernetes takes as a label's value.
const MAX_LABEL: usize = 63;

impl Serialize for Gpu {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Gpu {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The models of which a tenant takes any, as the attribute keys of a resource unit say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuRequest(Vec<Wanted>);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    /// `None` is the wildcard.
    model: Option<String>,
    ram_gib: Option<u32>,
    interface: Option<Interface>,
}

/// Why the attributes of a GPU request cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GpuKeyError {
    /// There is no attribute.
    #[error("GPUs are wanted but no model is named")]
    NoModel,
    /// An attribute of another form or vendor.
    #[error("GPU attribute \"{key}\" is not understood: {problem}")]
    NotUnderstood {
        /// The attribute's key.
        key: String,
        /// What about it.
        problem: &'static str,
    },
}

impl GpuRequest {
    /// Reads keys of the form `vendor/nvidia/model/<model>[/ram/<n>Gi][/interface/<pcie|sxm>]`.
    ///
    /// # Errors
    /// [`GpuKeyError`] for a key of another form or vendor; nothing is read by half. No key at all is an error too.
    pub fn from_keys<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<Self, GpuKeyError> {
        let wanted: Vec<Wanted> = keys.into_iter().map(Wanted::from_key).collect::<Result<_, _>>()?;
        if wanted.is_empty() {
            return Err(GpuKeyError::NoModel);
        }
        Ok(Self(wanted))
    }

    /// Reads the attributes of a resource unit's GPUs; their values are `true`.
    ///
    /// # Errors
    /// As [`GpuRequest::from_keys`], and for a value other than `true`.
    pub fn from_attributes(attributes: &[Attribute]) -> Result<Self, GpuKeyError> {
        if let Some(odd) = attributes.iter().find(|attribute| attribute.value != "true") {
            return Err(GpuKeyError::NotUnderstood {
                key: odd.key.clone(),
                problem: "its value is not \"true\"",
            });
        }
        Self::from_keys(attributes.iter().map(|attribute| attribute.key.as_str()))
    }

    /// Whether a device of this pool would do.
    ///
    /// Memory is a least amount. An interface that is not known never answers a request for one, and the wildcard takes
    /// whole cards only.
    #[must_use]
    pub fn matches(&self, gpu: &Gpu) -> bool {
        self.0.iter().any(|wanted| wanted.matches(gpu))
    }
}

/// `h100 80Gi sxm or a100`.
impl fmt::Display for GpuRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, wanted) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" or ")?;
            }
            f.write_str(wanted.model.as_deref().unwrap_or("any"))?;
            if let Some(gib) = wanted.ram_gib {
                write!(f, " {gib}Gi")?;
            }
            if let Some(interface) = wanted.interface {
                write!(f, " {interface}")?;
            }
        }
        Ok(())
    }
}

impl Wanted {
    fn from_key(key: &str) -> Result<Self, GpuKeyError> {
        let wrong = |problem| GpuKeyError::NotUnderstood { key: key.to_owned(), problem };
        let rest = key.strip_prefix("vendor/").ok_or_else(|| wrong("it does not begin with vendor/"))?;
        let (vendor, rest) = rest
            .split_once("/model/")
            .ok_or_else(|| wrong("it names no vendor and model as vendor/<v>/model/<m>"))?;
        if vendor != VENDOR {
            return Err(wrong("only vendor nvidia is offered"));
        }
        let (rest, interface) = match rest.rsplit_once("/interface/") {
            Some((rest, word)) => {
                let interface = Interface::from_word(word)
                    .ok_or_else(|| wrong("the interface is neither pcie nor sxm"))?;
                (rest, Some(interface))
            }
            None => (rest, None),
        };
        let (model, ram_gib) = match rest.rsplit_once("/ram/") {
            Some((model, ram)) => {
                let gib = ram.strip_suffix("Gi").and_then(|digits| digits.parse().ok());
                (model, Some(gib.ok_or_else(|| wrong("the memory is not a whole number of Gi"))?))
            }
            None => (rest, None),
        };
        if model == "*" {
            return Ok(Self { model: None, ram_gib, interface });
        }
        let name = Name::of_request(model);
        if name.slug.is_empty() {
            return Err(wrong("the model is empty"));
        }
        Ok(Self {
            model: Some(name.slug),
            ram_gib: ram_gib.max(name.ram_gib),
            interface: interface.or(name.interface),
        })
    }

    fn matches(&self, gpu: &Gpu) -> bool {
        let model = match &self.model {
            Some(model) => answers_to(gpu.model(), model),
            None => !gpu.is_mig(),
        };
        model
            && self.ram_gib.is_none_or(|least| gpu.ram_gib >= least)
            && self.interface.is_none_or(|interface| gpu.interface == Some(interface))
    }
}

/// Whether a device of the slug may be asked for as `name`.
fn answers_to(slug: &str, name: &str) -> bool {
    // The series is dropped in speech: 4090, a5000, pro6000se.
    let without_series = ["rtx", "gtx"].iter().find_map(|series| slug.strip_prefix(series));
    slug == name || without_series == Some(name)
}

/// Memory as sold, in GiB. NVML tells what is left after the driver and error correction took theirs, always less than the
/// number on the box: the next sold size at or above it.
fn nominal_gib(memory_mib: u64) -> u32 {
    const SOLD: [u32; 25] =
        [2, 3, 4, 5, 6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 64, 72, 80, 94, 96, 141, 144, 180, 192, 288];
    let whole = u32::try_from(memory_mib.div_ceil(1024)).unwrap_or(u32::MAX);
    SOLD.into_iter().find(|sold| *sold >= whole).unwrap_or(whole)
}

/// A MIG profile in characters that a label takes: `1g.10gb.me` for `1g.10gb+me`.
fn profile_word(profile: &str) -> String {
    const LONGEST: usize = "1g.10gb.me.all".len();
    profile
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '.' })
        .take(LONGEST)
        .collect()
}

/// The memory in a MIG profile: 10 in `1g.10gb`.
fn profile_gib(profile: &str) -> Option<u32> {
    profile.split('.').find_map(|part| part.strip_suffix("gb")?.parse().ok())
}

/// What a product name says when the words that every card has are taken away.
#[derive(Debug, Default)]
struct Name {
    slug: String,
    ram_gib: Option<u32>,
    interface: Option<Interface>,
    /// Of a series that is only sold as a card for a slot.
    is_add_in_card: bool,
}

impl Name {
    fn read(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        let words: Vec<&str> =
            text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let laptop = words.contains(&"laptop");
        let max_q = words.windows(2).any(|pair| pair == ["max", "q"]);
        let mut name = Self::default();
        for (index, word) in words.iter().copied().enumerate() {
            let after_max = index > 0 && words[index - 1] == "max";
            match word {
                "rtx" | "gtx" | "titan" => {
                    name.is_add_in_card = true;
                    name.slug.push_str(word);
                }
                "geforce" | "quadro" => name.is_add_in_card = true,
                "nvidia" | "tesla" | "gpu" | "ac" | "blackwell" | "generation" | "edition" | "with"
                | "design" => {}
                "super" | "sff" => name.slug.push('s'),
                "embedded" => name.slug.push('e'),
                "laptop" => name.slug.push('m'),
                "max" if max_q => {
                    if !laptop {
                        name.slug.push_str("mq");
                    }
                }
                "q" if after_max => {}
                "server" => name.slug.push_str("se"),
                "workstation" => {
                    if !max_q {
                        name.slug.push_str("we");
                    }
                }
                _ if word.starts_with("hbm") => {}
                _ => match (Interface::from_word(word), memory_word(word)) {
                    (Some(interface), _) => name.interface = Some(interface),
                    (None, Some(gib)) => name.ram_gib = Some(gib),
                    (None, None) => name.slug.push_str(word),
                },
            }
        }
        name
    }

    /// A model as a tenant wrote it. Slices and unknown cards are asked for by their exact slug.
    fn of_request(model: &str) -> Self {
        let lower = model.to_ascii_lowercase();
        if lower.contains(MIG) || lower.starts_with(UNKNOWN) {
            return Self { slug: lower, ..Self::default() };
        }
        Self::read(&lower)
    }

    /// Whether it tells one product from another: engineering samples and new cards on old drivers carry only words.
    fn is_telling(&self) -> bool {
        // The rest of the label is at most "-", ten digits, "Gi" and "-pcie", and a MIG profile ".mig-1g.10gb.me.all".
        const MAX_SLUG: usize = 26;
        let has_number = self.slug.bytes().any(|byte| byte.is_ascii_digit());
        (has_number || self.slug.starts_with("titan")) && self.slug.len() <= MAX_SLUG
    }
}

/// The GiB in a word such as `80gb` or the `144g` of a GH200.
fn memory_word(word: &str) -> Option<u32> {
    word.strip_suffix("gb").or_else(|| word.strip_suffix('g'))?.parse().ok()
}

/// `gpus.csv`: a row speaks of one device (PCI ids as lspci prints them, the board's behind those of the chip), or, with
/// the first column empty, of a model.
struct Table(Vec<Row>);

struct Row {
    device: &'static str,
    model: &'static str,
    interface: Option<Interface>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let rows = include_str!("gpus.csv").lines().skip(1).map(|line| {
        let mut columns = line.split(',');
        let mut column = || columns.next().unwrap_or_default();
        Row { device: column(), model: column(), interface: Interface::from_word(column()) }
    });
    Table(rows.collect())
});

impl Table {
    fn of_device(&self, pci: PciId) -> Option<&Row> {
        let PciId { vendor, device, subvendor, subdevice } = pci;
        let board = format!("{vendor:04x}:{device:04x}:{subvendor:04x}:{subdevice:04x}");
        let chip = &board[..9];
        self.row(|row| row.device == board).or_else(|| self.row(|row| row.device == chip))
    }

    fn of_model(&self, model: &str) -> Option<&Row> {
        self.row(|row| row.device.is_empty() && row.model == model)
    }

    fn row(&self, wanted: impl Fn(&Row) -> bool) -> Option<&Row> {
        self.0.iter().find(|row| wanted(row))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn device(product: &str, memory_mib: u64, device: u16) -> Gpu {
        let pci = PciId { vendor: 0x10de, device, subvendor: 0x10de, subdevice: 0 };
        Gpu::of_device(product, memory_mib, pci)
    }

    /// A device id that no row speaks of.
    const ANY: u16 = 0xffff;

    #[test]
    fn products_get_the_names_the_market_uses() {
        let table = [
            ("NVIDIA H100 80GB HBM3", 81_559, 0x2330, "h100-80Gi-sxm"),
            ("NVIDIA H100 80GB HBM3", 81_559, ANY, "h100-80Gi-sxm"),
            ("NVIDIA H100 PCIe", 81_559, 0x2331, "h100-80Gi-pcie"),
            ("NVIDIA H100 NVL", 95_830, 0x2321, "h100nvl-94Gi-pcie"),
            ("NVIDIA H200", 143_771, 0x2335, "h200-141Gi-sxm"),
            ("NVIDIA H200 NVL", 143_771, 0x233b, "h200nvl-141Gi-pcie"),
            ("NVIDIA H20", 97_871, 0x2329, "h20-96Gi-sxm"),
            ("NVIDIA H800 PCIe", 81_559, 0x2322, "h800-80Gi-pcie"),
            ("NVIDIA GH200 480GB", 97_871, 0x2342, "gh200-96Gi-sxm"),
            ("NVIDIA GH200 144G HBM3e", 146_831, 0x2348, "gh200-144Gi-sxm"),
            ("NVIDIA B200", 183_359, 0x2901, "b200-180Gi-sxm"),
            ("NVIDIA B300 SXM6 AC", 275_040, 0x3182, "b300-288Gi-sxm"),
            ("NVIDIA A100-SXM4-80GB", 81_920, 0x20b2, "a100-80Gi-sxm"),
            ("NVIDIA A100-SXM4-40GB", 40_960, 0x20b0, "a100-40Gi-sxm"),
            ("NVIDIA A100-PCIE-40GB", 40_960, 0x20f1, "a100-40Gi-pcie"),
            ("NVIDIA A100 80GB PCIe", 81_920, 0x20b5, "a100-80Gi-pcie"),
            ("NVIDIA A10", 23_028, 0x2236, "a10-24Gi-pcie"),
            ("NVIDIA A10G", 23_028, ANY, "a10g-24Gi-pcie"),
            ("NVIDIA A30", 24_576, ANY, "a30-24Gi-pcie"),
            ("NVIDIA A40", 46_068, ANY, "a40-48Gi-pcie"),
            ("NVIDIA L4", 23_034, 0x27b8, "l4-24Gi-pcie"),
            ("NVIDIA L40S", 46_068, 0x26b9, "l40s-48Gi-pcie"),
            ("Tesla T4", 15_360, 0x1eb8, "t4-16Gi-pcie"),
            ("Tesla P40", 24_576, ANY, "p40-24Gi-pcie"),
            ("Tesla P100-PCIE-16GB", 16_384, 0x15f8, "p100-16Gi-pcie"),
            ("Tesla V100-SXM2-16GB", 16_384, 0x1db1, "v100-16Gi-sxm"),
            ("Tesla V100-PCIE-32GB", 32_768, ANY, "v100-32Gi-pcie"),
            ("Tesla K80", 11_441, ANY, "k80-12Gi-pcie"),
            ("NVIDIA GeForce RTX 4090", 24_564, 0x2684, "rtx4090-24Gi-pcie"),
            ("NVIDIA GeForce RTX 4090 D", 24_564, ANY, "rtx4090d-24Gi-pcie"),
            ("NVIDIA GeForce RTX 4070 Ti SUPER", 16_376, ANY, "rtx4070tis-16Gi-pcie"),
            ("NVIDIA GeForce RTX 3060 Laptop GPU", 6_144, ANY, "rtx3060m-6Gi-pcie"),
            ("NVIDIA GeForce GTX 1660 SUPER", 6_144, ANY, "gtx1660s-6Gi-pcie"),
            ("NVIDIA GeForce GTX 1080 Ti", 11_264, ANY, "gtx1080ti-11Gi-pcie"),
            ("NVIDIA RTX A5000", 24_564, ANY, "rtxa5000-24Gi-pcie"),
            ("NVIDIA RTX A6000", 49_140, ANY, "rtxa6000-48Gi-pcie"),
            ("NVIDIA RTX 6000 Ada Generation", 49_140, ANY, "rtx6000ada-48Gi-pcie"),
            ("NVIDIA RTX 4000 SFF Ada Generation", 20_475, ANY, "rtx4000sada-20Gi-pcie"),
            ("Quadro RTX 8000", 46_080, ANY, "rtx8000-48Gi-pcie"),
            ("Quadro P4000", 8_192, ANY, "p4000-8Gi-pcie"),
            ("NVIDIA TITAN V", 12_288, ANY, "titanv-12Gi-pcie"),
            ("NVIDIA T1000 8GB", 8_192, ANY, "t1000-8Gi-pcie"),
            ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 97_887, ANY, "rtxpro6000se-96Gi-pcie"),
            ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 97_887, ANY, "rtxpro6000we-96Gi-pcie"),
            (
                "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition",
                97_887,
                ANY,
                "rtxpro6000mq-96Gi-pcie",
            ),
            ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 9_984, 0x2330, "h100.mig-1g.10gb-10Gi-sxm"),
            ("NVIDIA H200 MIG 1g.18gb+me", 16_384, 0x2335, "h200.mig-1g.18gb.me-18Gi-sxm"),
        ];
        for (product, memory_mib, id, label) in table {
            assert_eq!(device(product, memory_mib, id).to_string(), label, "{product}");
        }
    }

    #[test]
    fn a_device_without_a_telling_name_is_named_by_its_ids() {
        assert_eq!(device("NVIDIA Graphics Device", 24_000, 0x9999).to_string(), "unknown-10de9999-24Gi");
        assert_eq!(device("", 300_000, 0x9999).to_string(), "unknown-10de9999-293Gi");
        assert_eq!(device("NVIDIA Graphics Device", 81_559, 0x2330).to_string(), "h100-80Gi-sxm");
        assert!(
            GpuRequest::from_keys(["vendor/nvidia/model/unknown-10de9999"])
                .expect("a model like any other")
                .matches(&device("", 24_000, 0x9999))
        );
    }

    #[test]
    fn the_board_tells_apart_what_shares_a_chip() {
        let board = |subdevice: u32| {
            let pci = PciId::from_nvml(0x25b6_10de, (subdevice << 16) | 0x10de);
            Gpu::of_device("NVIDIA Graphics Device", 15_356, pci).to_string()
        };
        assert_eq!(board(0x14a9), "a16-16Gi-pcie");
        assert_eq!(board(0x157e), "a2-16Gi-pcie");
    }

    #[test]
    fn a_request_takes_the_devices_it_describes_and_no_other() {
        let h100 = device("NVIDIA H100 80GB HBM3", 81_559, 0x2330);
        let slice = device("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 9_984, 0x2330);
        let a5000 = device("NVIDIA RTX A5000", 24_564, ANY);
        let r4090 = device("NVIDIA GeForce RTX 4090", 24_564, ANY);
        let unattached = "h100-80Gi".parse().expect("a label");
        let table = [
            ("h100", &h100, true),
            ("H100", &h100, true),
            ("h100/ram/80Gi", &h100, true),
            ("h100/ram/40Gi", &h100, true),
            ("h100/ram/94Gi", &h100, false),
            ("h100/interface/sxm", &h100, true),
            ("h100/ram/80Gi/interface/sxm5", &h100, true),
            ("h100/interface/pcie", &h100, false),
            ("h100/interface/sxm", &unattached, false),
            ("h100", &unattached, true),
            ("h100-80gb", &h100, true),
            ("h100-94gb", &h100, false),
            ("h100nvl", &h100, false),
            ("h10", &h100, false),
            ("*", &h100, true),
            ("*/ram/80Gi", &h100, true),
            ("*/ram/80Gi", &r4090, false),
            ("*", &slice, false),
            ("h100", &slice, false),
            ("h100.mig-1g.10gb", &slice, true),
            ("rtxa5000", &a5000, true),
            ("a5000", &a5000, true),
            ("4090", &r4090, true),
            ("rtx-4090", &r4090, true),
            ("090", &r4090, false),
        ];
        for (wanted, gpu, fits) in table {
            let request =
                GpuRequest::from_keys([format!("vendor/nvidia/model/{wanted}").as_str()]).expect(wanted);
            assert_eq!(request.matches(gpu), fits, "{wanted} against {gpu}");
        }
    }

    #[test]
    fn any_of_several_models_will_do() {
        let request =
            GpuRequest::from_keys(["vendor/nvidia/model/a100", "vendor/nvidia/model/h100/ram/80Gi"])
                .expect("two models");
        assert!(request.matches(&"a100-40Gi-pcie".parse().expect("a label")));
        assert!(request.matches(&"h100-80Gi-sxm".parse().expect("a label")));
        assert!(!request.matches(&"t4-16Gi-pcie".parse().expect("a label")));
        assert_eq!(request.to_string(), "a100 or h100 80Gi");
    }

    #[test]
    fn a_key_that_is_not_understood_is_refused_by_name() {
        for key in [
            "model/h100",
            "vendor/nvidia",
            "vendor/amd/model/mi300x",
            "vendor/nvidia/model/",
            "vendor/nvidia/model/h100/ram/80",
            "vendor/nvidia/model/h100/ram/Gi",
            "vendor/nvidia/model/h100/interface/agp",
        ] {
            let error = GpuRequest::from_keys([key]).expect_err(key);
            assert!(error.to_string().contains(key));
        }
        assert_eq!(GpuRequest::from_keys([]), Err(GpuKeyError::NoModel));
    }

    #[test]
    fn a_text_that_is_no_label_is_refused() {
        for text in
            ["", "h100", "h100-80", "h100-080Gi", "-80Gi-sxm", "H100-80Gi-sxm", "h100-80Gi-oam", "a/b-80Gi"]
        {
            assert!(text.parse::<Gpu>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_driver_says_becomes_a_label_that_reads_back(
            product in "(NVIDIA |Tesla |GeForce )?[ -~]{0,60}( MIG [ -~]{0,30})?",
            memory_mib in any::<u64>(),
            ids in any::<(u32, u32)>(),
        ) {
            let gpu = Gpu::of_device(&product, memory_mib, PciId::from_nvml(ids.0, ids.1));
            let label = gpu.to_string();
            prop_assert!(label.len() <= MAX_LABEL, "{label}");
            prop_assert_eq!(label.parse::<Gpu>(), Ok(gpu));
        }
    }
}
