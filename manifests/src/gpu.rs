//! One naming of GPUs for requests and devices.
//!
//! A card that a node has and a model that a tenant asks for become the same words: a slug made from the product's name by
//! rule (`NVIDIA GeForce RTX 4070 Ti SUPER` is `rtx4070tis`), the memory the card is sold with in GiB, and how it is
//! attached. The table `gpus.csv` holds what a name does not say: the model of a device whose driver has no name for it yet, the
//! memory, the interface and the slices. Nothing here decides a price or a place.

mod name;
mod request;
mod table;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use self::name::Name;
pub use self::request::{GpuKeyError, GpuRequest};
use self::table::TABLE;

/// What a device was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub gpu: Gpu,
    /// What does not agree with what is known of this card, as the end of a sentence about it.
    pub doubt: Option<String>,
}

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
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

    /// The chip's ids as `lspci` prints them: `10de:2330`.
    #[must_use]
    pub fn chip(self) -> String {
        format!("{:04x}:{:04x}", self.vendor, self.device)
    }

    /// The board's ids: `10de:16c1`.
    #[must_use]
    pub fn subsystem(self) -> String {
        format!("{:04x}:{:04x}", self.subvendor, self.subdevice)
    }

    fn board(self) -> String {
        format!("{}:{}", self.chip(), self.subsystem())
    }

    /// From both as they are printed; a subsystem that is not known is empty.
    ///
    /// ```
    /// use manifests::gpu::PciId;
    /// let id = PciId::from_text("10de:2330", "10de:16c1");
    /// assert_eq!(id, Some(PciId::from_nvml(0x2330_10de, 0x16c1_10de)));
    /// assert_eq!(PciId::from_text("10de", ""), None);
    /// ```
    #[must_use]
    pub fn from_text(chip: &str, subsystem: &str) -> Option<Self> {
        let pair = |text: &str| {
            let (one, other) = text.split_once(':')?;
            let number = |part: &str| {
                let plain = part.len() == 4 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
                plain.then(|| u16::from_str_radix(part, 16).ok()).flatten()
            };
            Some((number(one)?, number(other)?))
        };
        let (vendor, device) = pair(chip)?;
        let (subvendor, subdevice) = if subsystem.is_empty() { (0, 0) } else { pair(subsystem)? };
        Some(Self { vendor, device, subvendor, subdevice })
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
    /// Names a device from what NVML says of it: product name, memory in MiB (0 when it is not told) and PCI ids.
    ///
    /// What the ids say comes before what the name says. A product of which neither is known is `unknown-<vendor and device
    /// id>`, so that an operator can price it all the same.
    #[must_use]
    pub fn of_device(product: &str, memory_mib: u64, pci: PciId) -> Self {
        Self::identify(product, memory_mib, pci).gpu
    }

    /// As [`Gpu::of_device`], with what is odd about the device.
    #[must_use]
    pub fn identify(product: &str, memory_mib: u64, pci: PciId) -> Identity {
        let (card, profile) = match product.split_once(" MIG ") {
            Some((card, profile)) => (card, Some(profile.trim())),
            None => (product, None),
        };
        let name = Name::read(card);
        let row = TABLE.of_device(pci);
        let model = match row {
            Some(row) => row.slug.to_owned(),
            None if name.is_telling() => name.slug,
            None => format!("{UNKNOWN}{:04x}{:04x}", pci.vendor, pci.device),
        };
        let interface = name
            .interface
            .or_else(|| row.and_then(|row| row.interface))
            .or_else(|| TABLE.interface_of(&model))
            .or(if name.is_add_in_card { Some(Interface::Pcie) } else { None });
        let listed = row.map_or_else(|| TABLE.memory_of(&model), |row| row.memory_gib().to_vec());
        if let Some(profile) = profile {
            // What NVML counts is the slice's memory, and its name is exact.
            let word = profile_word(profile);
            let ram_gib = profile_gib(&word).unwrap_or_else(|| next_sold(memory_mib));
            let gpu = Self { model: format!("{model}{MIG}{word}"), ram_gib, interface };
            return Identity { gpu, doubt: None };
        }
        let (ram_gib, fits) = sold_gib(memory_mib, &listed);
        let gpu = Self { model, ram_gib, interface };
        let doubt = (!fits).then(|| {
            let listed: Vec<String> = listed.iter().map(|gib| format!("{gib} GiB")).collect();
            format!(
                "it has {memory_mib} MiB of memory, and a {} is known with {}; it is taken for {gpu}",
                gpu.model,
                listed.join(" or ")
            )
        });
        Identity { gpu, doubt }
    }

    /// A whole card by the name that an operator gives it.
    ///
    /// # Errors
    /// The name makes no label: a model is 1 to 26 lower-case letters, digits and hyphens, beginning with a letter or digit.
    pub fn named(model: &str, ram_gib: u32, interface: Option<Interface>) -> Result<Self, GpuLabelError> {
        let gpu = Self { model: model.to_owned(), ram_gib, interface };
        let read: Self = gpu.to_string().parse()?;
        let is_card = model.len() <= MAX_SLUG && !model.contains('.') && ram_gib > 0;
        if is_card && read == gpu { Ok(gpu) } else { Err(GpuLabelError(gpu.to_string())) }
    }

    /// A slice of this card; `None` for a profile without memory in it, or when this is a slice itself.
    #[must_use]
    pub fn slice(&self, profile: &str) -> Option<Self> {
        let word = profile_word(profile);
        let ram_gib = profile_gib(&word).filter(|_| !self.is_mig())?;
        Some(Self { model: format!("{}{MIG}{word}", self.model), ram_gib, interface: self.interface })
    }

    /// The profile of a slice of this card that has so many of its compute slices and so much memory.
    #[must_use]
    pub fn slice_profile(&self, compute: u32, memory_mib: u64) -> Option<&'static str> {
        TABLE.profile_of(&self.model, self.ram_gib, compute, memory_mib)
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

/// The longest slug of a card: the rest of a label is at most "-", ten digits, "Gi" and "-pcie", and a MIG profile
/// ".mig-1g.10gb.me.all".
const MAX_SLUG: usize = 26;

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

/// Memory as sold, in GiB, and whether it is one of those that the card is known with. NVML tells what is left after the
/// driver and error correction took theirs, always less than the number on the box.
fn sold_gib(memory_mib: u64, listed: &[u32]) -> (u32, bool) {
    if memory_mib == 0 {
        return (if let [only] = listed { *only } else { 0 }, true);
    }
    // Error correction takes a sixteenth of some boards, and the driver up to some hundred MiB.
    let holds = |gib: u32| {
        let whole = u64::from(gib) << 10;
        whole >= memory_mib && memory_mib.saturating_mul(100) >= whole.saturating_mul(86)
    };
    match listed.iter().copied().filter(|gib| holds(*gib)).min() {
        Some(gib) => (gib, true),
        None => (next_sold(memory_mib), listed.is_empty()),
    }
}

/// The next size at or above it that cards are sold with.
fn next_sold(memory_mib: u64) -> u32 {
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
    fn memory_that_no_such_card_has_is_told() {
        let doubt = |memory_mib, id| {
            let pci = PciId { vendor: 0x10de, device: id, ..PciId::default() };
            Gpu::identify("NVIDIA GeForce RTX 4090", memory_mib, pci).doubt
        };
        assert_eq!(doubt(24_564, 0x2684), None);
        let doubled = doubt(49_140, 0x2684).expect("a 4090 has 24 GiB");
        assert!(doubled.contains("49140 MiB") && doubled.contains("known with 24 GiB"), "{doubled}");
        assert!(doubled.ends_with("taken for rtx4090-48Gi-pcie"), "{doubled}");
        assert!(doubt(12_000, 0x2684).is_some(), "half of it is another card as well");
        assert!(doubt(49_140, ANY).is_some(), "by the name alone");
        let unlisted = PciId { vendor: 0x10de, device: ANY, ..PciId::default() };
        assert_eq!(Gpu::identify("NVIDIA Z9000", 49_140, unlisted).doubt, None, "nothing is known of it");
    }

    #[test]
    fn slices_are_named_after_their_card() {
        let card: Gpu = "h100-80Gi-sxm".parse().expect("a pool");
        let slice = card.slice("1g.10gb+me").expect("a profile");
        assert_eq!(slice.to_string(), "h100.mig-1g.10gb.me-10Gi-sxm");
        assert_eq!((slice.slice("1g.5gb"), card.slice("half")), (None, None));
        assert_eq!(card.slice_profile(3, 40_320), Some("3g.40gb"));
    }

    #[test]
    fn operators_names_make_labels_or_are_refused() {
        let named = |model: &str, ram| Gpu::named(model, ram, Some(Interface::Pcie));
        assert_eq!(named("cmp170hx", 8).expect("a name").to_string(), "cmp170hx-8Gi-pcie");
        let long = "a".repeat(27);
        for model in ["", "H100", "h100.mig-1g.10gb", "a b", "-a", long.as_str()] {
            assert!(named(model, 8).is_err(), "{model:?}");
        }
        assert!(named("h100", 0).is_err());
    }

    #[test]
    fn a_request_takes_the_devices_it_describes_and_no_other() {
        let h100 = device("NVIDIA H100 80GB HBM3", 81_559, 0x2330);
        let slice = device("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 9_984, 0x2330);
        let a5000 = device("NVIDIA RTX A5000", 24_564, ANY);
        let r4090 = device("NVIDIA GeForce RTX 4090", 24_564, ANY);
        let pro6000 = device("NVIDIA RTX PRO 6000 Blackwell Server Edition", 97_887, 0x2bb5);
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
            ("rtxpro6000", &pro6000, true),
            ("pro6000", &pro6000, true),
            ("rtxpro6000we", &pro6000, false),
            ("rtxpro600", &pro6000, false),
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
