//! `profiles.compute`: processor, memory, volumes and GPUs of a replica.

use std::collections::BTreeSet;

use super::Mode;
use super::document::{At, Compute, Cpu, Gpu, Volume, VolumeAttributes};
use super::quantity::{QuantityError, bytes, cpu_millis, digits, lenient_bytes, ram_bytes};
use super::reader::{Entry, Reader};
use super::yaml::{Kind, NodeId};
use crate::problem::{ErrorKind, shown};
use crate::resources::Attribute;

pub(super) fn compute<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> Compute<'t> {
    let mut compute = Compute { mark: entry.key_mark, ..Compute::default() };
    reader.record(entry.value, |reader, field| {
        if field.key != "resources" {
            return false;
        }
        reader.record(field.value, |reader, field| {
            let node = field.value;
            match field.key {
                "cpu" => compute.cpu = (!reader.is_null(node)).then(|| cpu(reader, field)),
                "memory" => compute.memory = (!reader.is_null(node)).then(|| memory(reader, field)),
                "storage" => compute.storage = storage(reader, node),
                "gpu" => compute.gpu = (!reader.is_null(node)).then(|| gpu(reader, field)),
                _ => return false,
            }
            true
        });
        true
    });
    compute
}

const CPU_WANTED: &str = "an amount of processor: write cores as 0.5 or thousandths as 500m";
const BYTES_WANTED: &str =
    "an amount of bytes: write a number with k, M, G, T, P, E or Ki, Mi, Gi, Ti, Pi, Ei, as 512Mi";
const RAM_WANTED: &str = "an amount of GPU memory: write a number with Ki, Mi, Gi or Ti, as 80Gi";
const COUNT_WANTED: &str = "a whole number of GPUs: write digits only";

fn cpu<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> Cpu<'t> {
    let mut cpu = Cpu { units: At { value: 0, mark: entry.key_mark }, arch: Vec::new() };
    reader.record(entry.value, |reader, field| {
        match field.key {
            "units" => cpu.units = reader.quantity(field.value, cpu_millis, CPU_WANTED),
            "attributes" => {
                cpu.arch.clear();
                for attribute in reader.literal_entries(field.value) {
                    reader.within(attribute.key, |reader| match attribute.key {
                        "arch" => cpu.arch.push(reader.text(attribute.value).value),
                        key => {
                            let message = format!(
                                "the processor attribute {} is unknown: only arch is known",
                                shown(key)
                            );
                            reader.problem(ErrorKind::CpuUnknownAttribute, attribute.key_mark, message);
                        }
                    });
                }
            }
            _ => return false,
        }
        true
    });
    cpu
}

fn memory<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> At<u64> {
    let mut size = At { value: 0, mark: entry.key_mark };
    reader.record(entry.value, |reader, field| {
        if field.key == "size" {
            size = byte_size(reader, field.value);
        }
        field.key == "size"
    });
    size
}

/// Bytes in the language's notation, or, in lenient reading, in that of the web console, with a warning that says what
/// was understood.
fn byte_size(reader: &mut Reader<'_>, node: NodeId) -> At<u64> {
    let text = reader.raw(node);
    if reader.mode() == Mode::Lenient
        && bytes(&text) == Err(QuantityError::Malformed)
        && let Some(value) = lenient_bytes(&text)
    {
        let message = format!("{} is read as {value} bytes: write Ki, Mi or Gi, or k, M or G", shown(&text));
        reader.warn(text.mark, message);
        return At { value, mark: text.mark };
    }
    reader.quantity(node, bytes, BYTES_WANTED)
}

fn storage<'t>(reader: &mut Reader<'t>, node: NodeId) -> Vec<Volume<'t>> {
    match reader.kind(node) {
        Kind::Plain | Kind::Quoted => Vec::new(),
        Kind::Mapping => {
            let mut volume = volume(reader, node);
            if volume.name != DEFAULT_VOLUME && reader.mode() == Mode::Lenient {
                let mark = reader.mark(node);
                let message = "a volume written without a list has this name only in lenient reading: write - before it";
                reader.warn(mark, message);
            } else if volume.name != DEFAULT_VOLUME {
                let mark = reader.mark(node);
                reader.warn(
                    mark,
                    "a volume written without a list is always named default: write - before it to name it",
                );
                volume.name = DEFAULT_VOLUME;
            }
            vec![volume]
        }
        Kind::Sequence => volumes(reader, node),
    }
}

const DEFAULT_VOLUME: &str = "default";

fn volumes<'t>(reader: &mut Reader<'t>, node: NodeId) -> Vec<Volume<'t>> {
    let mut volumes = Vec::new();
    // Unlike everywhere else a null element counts: it is a volume of no size.
    reader.list_with_nulls(node, |reader, element| volumes.push(volume(reader, element)));
    let mut names = BTreeSet::new();
    for volume in &volumes {
        if !names.insert(volume.name) {
            let message = format!("two volumes are named {}: give each its own name", shown(volume.name));
            reader.problem(ErrorKind::StorageDuplicateName, volume.size.mark, message);
        }
    }
    volumes
}

fn volume<'t>(reader: &mut Reader<'t>, node: NodeId) -> Volume<'t> {
    let mark = reader.mark(node);
    let mut volume = Volume { size: At { value: 0, mark }, ..Volume::default() };
    reader.record(node, |reader, field| {
        match field.key {
            "name" => volume.name = reader.text(field.value).value,
            "size" => volume.size = byte_size(reader, field.value),
            "attributes" if reader.is_null(field.value) => volume.attributes = VolumeAttributes::default(),
            "attributes" => volume.attributes = volume_attributes(reader, field),
            _ => return false,
        }
        true
    });
    if volume.name.is_empty() {
        volume.name = DEFAULT_VOLUME;
    }
    volume
}

fn volume_attributes<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> VolumeAttributes {
    let mut class = None;
    let mut persistent = At { value: "false", mark: entry.key_mark };
    let mut unknown = Vec::new();
    reader.named(entry.value, |reader, field| {
        let text = reader.text(field.value);
        match field.key {
            "class" => class = Some(text),
            "persistent" => persistent = text,
            _ => unknown.push(field),
        }
    });
    let class_text = class.map_or("", |class| class.value);
    let class_mark = class.map_or(entry.key_mark, |class| class.mark);
    let stored_class = match (class_text, *persistent) {
        ("", "true") => Some(DEFAULT_CLASS),
        ("", _) | ("ram", "false") => class.map(|class| class.value),
        ("ram", _) => {
            let message = "a volume of class ram is gone with its pod: write persistent: false";
            reader.problem(ErrorKind::StorageRamPersistent, persistent.mark, message);
            return VolumeAttributes::default();
        }
        (class, "false") => {
            let message = format!("class {} needs persistent: true", shown(class));
            reader.problem(ErrorKind::StorageClassOnEphemeral, class_mark, message);
            return VolumeAttributes::default();
        }
        (class, _) => Some(class),
    };
    let known = |text| ["default", "beta1", "beta2", "beta3", "ram"].into_iter().find(|class| *class == text);
    let class = stored_class.and_then(known);
    if let (Some(text), None) = (stored_class, class) {
        let message = format!(
            "storage class {} is unknown: default, beta1, beta2, beta3 and ram are known",
            shown(text)
        );
        reader.problem(ErrorKind::StorageClassUnknown, class_mark, message);
    }
    let persistent = match *persistent {
        "true" | "on" | "yes" => Some(true),
        "false" | "off" | "no" => Some(false),
        text => {
            let message = format!("persistent is {}: write true or false", shown(text));
            reader.problem(ErrorKind::StoragePersistentNotBool, persistent.mark, message);
            None
        }
    };
    for field in unknown {
        let message =
            format!("the storage attribute {} is unknown: class and persistent are known", shown(field.key));
        reader.problem(ErrorKind::StorageUnknownAttribute, field.key_mark, message);
    }
    VolumeAttributes { class, persistent }
}

const DEFAULT_CLASS: &str = "default";

fn gpu<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> Gpu {
    let mut gpu = Gpu { units: At { value: 0, mark: entry.key_mark }, attributes: Vec::new() };
    let mut attributes_broken = false;
    for field in reader.literal_entries(entry.value) {
        reader.within(field.key, |reader| match field.key {
            "units" => gpu.units = reader.quantity(field.value, digits, COUNT_WANTED),
            "attributes" if reader.is_null(field.value) => gpu.attributes.clear(),
            "attributes" => {
                let before = reader.problems.len();
                gpu.attributes = gpu_attributes(reader, field);
                attributes_broken = reader.problems.len() > before;
            }
            key => {
                let message =
                    format!("the key {} is unknown for GPUs: units and attributes are known", shown(key));
                reader.problem(ErrorKind::GpuUnknownKey, field.key_mark, message);
            }
        });
    }
    if *gpu.units > 0 && gpu.attributes.is_empty() && !attributes_broken {
        let message =
            "GPUs are asked for without a model: write attributes with vendor, nvidia and a list of models";
        reader.problem(ErrorKind::GpuAttributesMissing, gpu.units.mark, message);
    }
    gpu
}

fn gpu_attributes<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> Vec<Attribute> {
    let mut keys = None;
    for field in reader.literal_entries(entry.value) {
        reader.within(field.key, |reader| match field.key {
            "vendor" if reader.is_null(field.value) => keys = None,
            "vendor" => keys = Some(gpu_model_keys(reader, field.value)),
            key => {
                let message = format!("the GPU attribute {} is unknown: only vendor is known", shown(key));
                reader.problem(ErrorKind::GpuUnknownAttribute, field.key_mark, message);
            }
        });
    }
    let Some(mut keys) = keys else {
        let message = "GPU attributes name no vendor: write vendor with nvidia and a list of models";
        reader.problem(ErrorKind::GpuVendorMissing, entry.key_mark, message);
        return Vec::new();
    };
    keys.sort_by(|a, b| a.value.cmp(&b.value));
    for (at, key) in keys.iter().enumerate() {
        let repeated = at > 0 && keys[at - 1].value == key.value;
        if repeated || !is_attribute_key(&key.value) {
            let what = if repeated {
                "names a GPU model a second time"
            } else {
                "is not made of letters, digits and . _ - /"
            };
            let message = format!("{} {what}: name each model once, as a100 or h100", shown(&key.value));
            reader.problem(ErrorKind::GpuAttributeKeyInvalid, key.mark, message);
        }
    }
    keys.into_iter().map(|key| Attribute::new(key.value, "true")).collect()
}

const ANY_MODEL: &str = "vendor/nvidia/model/*";

fn gpu_model_keys(reader: &mut Reader<'_>, node: NodeId) -> Vec<At<String>> {
    let mut keys = Vec::new();
    reader.named(node, |reader, vendor| {
        if vendor.key == "nvidia" {
            reader.list(vendor.value, |reader, model| keys.push(gpu_model_key(reader, model)));
        } else {
            let message =
                "GPUs of this vendor are not known and ignored: without nvidia models any NVIDIA GPU will do";
            reader.warn(vendor.key_mark, message);
        }
    });
    if keys.is_empty() {
        keys.push(At { value: ANY_MODEL.to_owned(), mark: reader.mark(node) });
    }
    keys
}

fn gpu_model_key(reader: &mut Reader<'_>, node: NodeId) -> At<String> {
    let mut model = "";
    let mut gibibytes = None;
    let mut interface = None;
    reader.record(node, |reader, field| {
        match field.key {
            "model" => model = reader.text(field.value).value,
            "ram" if reader.is_null(field.value) => gibibytes = None,
            "ram" => gibibytes = Some(*reader.quantity(field.value, ram_bytes, RAM_WANTED) >> 30),
            "interface" if reader.is_null(field.value) => interface = None,
            "interface" => {
                let text = reader.text(field.value);
                if !matches!(*text, "pcie" | "sxm") {
                    let message = format!("{} is no GPU interface: write pcie or sxm", shown(&text));
                    reader.problem(ErrorKind::GpuInterfaceInvalid, text.mark, message);
                }
                interface = Some(text.value);
            }
            _ => return false,
        }
        true
    });
    let mut key = format!("vendor/nvidia/model/{}", reader.owned(node, model));
    if let Some(gibibytes) = gibibytes {
        key += &format!("/ram/{gibibytes}Gi");
    }
    if let Some(interface) = interface {
        key += &format!("/interface/{interface}");
    }
    At { value: key, mark: reader.mark(node) }
}

/// Whether the text may be the key of an attribute: 2 to 128 characters, a letter first, `*` only at the end.
fn is_attribute_key(key: &str) -> bool {
    let [first, middle @ .., last] = key.as_bytes() else { return false };
    let inner = |b: &u8| b.is_ascii_alphanumeric() || b"_/.-".contains(b);
    let length_fits = (2..=128).contains(&key.len());
    // The last character may be `*`, but then there must be one between it and the first.
    let ends = if *last == b'*' { !middle.is_empty() } else { inner(last) };
    // At full length the last character has to be one of the narrower set.
    let full = key.len() < 128 || last.is_ascii_alphanumeric() || matches!(last, b'_' | b'*');
    length_fits && first.is_ascii_alphabetic() && middle.iter().all(inner) && ends && full
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attribute_keys_follow_the_chain_s_rule() {
        for key in ["vendor/nvidia/model/*", "ab", "vendor/nvidia/model/", &format!("a{}", "b".repeat(127))] {
            assert!(is_attribute_key(key), "{key}");
        }
        for key in [
            "a",
            "1a",
            "a*",
            "a b",
            "vendor/nvidia/model/*/ram/80Gi",
            &format!("a{}", "b".repeat(128)),
            &format!("a{}/", "b".repeat(126)),
        ] {
            assert!(!is_attribute_key(key), "{key}");
        }
    }
}
