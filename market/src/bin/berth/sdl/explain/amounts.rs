//! Amounts as people write them.

use manifests::group::GroupSpec;
use manifests::resources::{Gpu, Volume};

/// Thousandths of a core as cores.
pub(super) fn cores(millis: u64) -> String {
    decimal(u128::from(millis), 1000)
}

/// Bytes in the largest binary unit that at least one of fits in, with at most two decimals.
pub(super) fn bytes(bytes: u64) -> String {
    sum_of_bytes(u128::from(bytes))
}

fn sum_of_bytes(bytes: u128) -> String {
    let units = [
        (1u128 << 60, "Ei"),
        (1 << 50, "Pi"),
        (1 << 40, "Ti"),
        (1 << 30, "Gi"),
        (1 << 20, "Mi"),
        (1 << 10, "Ki"),
    ];
    for (size, unit) in units {
        if bytes >= size {
            let about = if (bytes * 100).is_multiple_of(size) { "" } else { "~" };
            return format!("{about}{}{unit}", decimal(bytes * 100 / size, 100));
        }
    }
    bytes.to_string()
}

/// `number / of` without zeros at the end.
fn decimal(number: u128, of: u128) -> String {
    let digits = of.ilog10() as usize;
    let text = format!("{}.{:0digits$}", number / of, number % of);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A volume: its size, and its name and class where it has some.
pub(super) fn volume(volume: &Volume) -> String {
    let size = bytes(volume.size.0);
    let kind = match (volume.persistent(), volume.class()) {
        (true, Some(class)) => format!("persistent {class}"),
        (true, None) => "persistent".to_owned(),
        (false, Some("ram")) => "in memory".to_owned(),
        (false, _) => return size,
    };
    format!("{size} {kind} ({})", volume.name)
}

/// GPUs and the models that will do.
pub(super) fn gpus(gpu: &Gpu) -> String {
    if gpu.units.0 == 0 {
        return "–".to_owned();
    }
    let model = |key: &str| key.strip_prefix("vendor/nvidia/model/").unwrap_or(key).to_owned();
    let models: Vec<String> = gpu.attributes.iter().map(|attribute| model(&attribute.key)).collect();
    let models = if models == ["*"] { "any model".to_owned() } else { models.join(" or ") };
    format!("{} × {models}", gpu.units.0)
}

/// What all replicas of a group take together.
pub(super) fn total(spec: &GroupSpec) -> String {
    let (mut cpu, mut memory, mut gpu) = (0u128, 0u128, 0u128);
    let (mut own, mut kept, mut ram) = (0u128, 0u128, 0u128);
    for unit in &spec.resources {
        let count = u128::from(unit.count);
        let resource = &unit.resource;
        cpu += u128::from(resource.cpu.units.0) * count;
        memory += u128::from(resource.memory.size.0) * count;
        gpu += u128::from(resource.gpu.units.0) * count;
        for volume in &resource.storage {
            let sum = match (volume.persistent(), volume.class()) {
                (true, _) => &mut kept,
                (false, Some("ram")) => &mut ram,
                (false, _) => &mut own,
            };
            *sum += u128::from(volume.size.0) * count;
        }
    }
    let mut parts = vec![
        format!("{} {}", decimal(cpu, 1000), if cpu == 1000 { "core" } else { "cores" }),
        format!("{} memory", sum_of_bytes(memory)),
        format!("{} storage", sum_of_bytes(own)),
    ];
    for (amount, what) in [(kept, "persistent"), (ram, "of volumes in memory")] {
        if amount > 0 {
            parts.push(format!("{} {what}", sum_of_bytes(amount)));
        }
    }
    parts.push(format!("{gpu} {}", if gpu == 1 { "GPU" } else { "GPUs" }));
    parts.join(", ")
}

/// Text of the document between quotes, with what would break the line escaped.
pub(super) fn shown(text: &str) -> String {
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_they_are_written() {
        assert_eq!([cores(100), cores(1000), cores(2009)], ["0.1", "1", "2.009"]);
        assert_eq!([bytes(512 << 20), bytes(3 << 29), bytes(1000)], ["512Mi", "1.5Gi", "1000"]);
        assert_eq!(bytes(107_374_182), "~102.39Mi");
    }
}
