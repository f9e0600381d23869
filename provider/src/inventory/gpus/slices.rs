//! The slices that a GPU is cut into (MIG).

use manifests::gpu::{Gpu, PciId};
use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError;

/// One slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// `MIG-` and a UUID: the id under which a device plugin announces it.
    pub uuid: String,
    /// Its profile, such as `1g.10gb` or `1g.10gb+me`; empty when nothing tells it.
    pub profile: String,
    /// Memory as NVML counts it, in MiB.
    pub memory_mib: u64,
}

/// The slices of a GPU in MIG mode, by slot.
///
/// # Errors
/// The GPU does not say how many slots it has: it is not known then what it is cut into.
pub(super) fn slices(device: &Device<'_>) -> Result<Vec<Slice>, NvmlError> {
    let slots = device.mig_device_count()?;
    let mut slices = Vec::new();
    for slot in 0..slots {
        let slice = match device.mig_device_by_index(slot) {
            Ok(slice) => slice,
            Err(NvmlError::NotFound) => continue,
            Err(error) => return Err(error),
        };
        let memory_mib = slice.memory_info()?.total >> 20;
        let profile = profile(device, &slice, memory_mib);
        slices.push(Slice { uuid: slice.uuid()?, profile: profile.unwrap_or_default(), memory_mib });
    }
    Ok(slices)
}

/// A slice's name ends with its profile; drivers that leave it out still say how large it is.
fn profile(card: &Device<'_>, slice: &Device<'_>, memory_mib: u64) -> Option<String> {
    let name = slice.name().unwrap_or_default();
    if let Some((_, profile)) = name.split_once(" MIG ") {
        return Some(profile.trim().to_owned());
    }
    let compute = slice.attributes().ok()?.gpu_instance_slice_count;
    let pci = card.pci_info().ok()?;
    let pci = PciId::from_nvml(pci.pci_device_id, pci.pci_sub_system_id.unwrap_or_default());
    let whole = Gpu::of_device(&card.name().ok()?, card.memory_info().ok()?.total >> 20, pci);
    whole.slice_profile(compute, memory_mib).map(str::to_owned)
}
