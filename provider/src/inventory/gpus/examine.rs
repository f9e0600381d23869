//! One GPU, call by call. What identifies it must be told; everything else may be missing: a model does not know of it, or the
//! driver is older than the call. Only an answer that speaks against the GPU itself is the whole GPU's.

use manifests::gpu::PciId;
use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id::{NVML_FI_DEV_REMAPPED_FAILURE, NVML_FI_DEV_REMAPPED_PENDING};

use super::readings::{Readings, numbers, readings};
use super::slices::slices;
use super::topology::active_links;
use super::{Device, Health, Known};

/// A GPU of which NVML did not tell enough.
pub(super) struct Silent {
    pub(super) index: u32,
    uuid: Option<String>,
    pub(super) error: NvmlError,
}

impl Silent {
    /// A GPU that does not even say its UUID is taken for the one that last had its index.
    pub(super) fn is(&self, known: &Known) -> bool {
        match &self.uuid {
            Some(uuid) => *uuid == known.device.uuid,
            None => self.index == known.index,
        }
    }
}

/// Asks the GPU of this index for everything.
pub(super) fn examine(nvml: &Nvml, index: u32) -> Result<(Device, Readings), Silent> {
    let unnamed = |error| Silent { index, uuid: None, error };
    let device = nvml.device_by_index(index).map_err(unnamed)?;
    let uuid = device.uuid().map_err(unnamed)?;
    describe(&device, &uuid).map_err(|error| Silent { index, uuid: Some(uuid), error })
}

fn describe(device: &nvml_wrapper::Device<'_>, uuid: &str) -> Result<(Device, Readings), NvmlError> {
    let name = told(device.name())?.unwrap_or_default();
    let pci = device.pci_info()?;
    let memory = told(device.memory_info())?;
    let mig = told(device.mig_mode())?.is_some_and(|mode| mode.current != 0);
    let capability = field(device.cuda_compute_capability())?;
    let [remap_pending, remap_failed] =
        numbers(device, [NVML_FI_DEV_REMAPPED_PENDING, NVML_FI_DEV_REMAPPED_FAILURE].map(FieldId));
    let failed = remap_failed.is_some_and(|failed| failed != 0);
    let slices = if mig { slices(device)? } else { Vec::new() };
    let measured = readings(device, memory.as_ref());
    let found = Device {
        uuid: uuid.to_owned(),
        name,
        memory_mib: memory.map_or(0, |memory| memory.total >> 20),
        pci: PciId::from_nvml(pci.pci_device_id, pci.pci_sub_system_id.unwrap_or_default()),
        bus: pci.bus_id,
        minor: field(device.minor_number())?,
        mig,
        slices,
        compute_capability: capability.map(|is| format!("{}.{}", is.major, is.minor)),
        numa_node: field(device.numa_node_id())?,
        nvlinks: active_links(device),
        ecc: field(device.is_ecc_enabled())?.map(|mode| mode.currently_enabled),
        remap_pending: remap_pending.map(|pending| pending != 0),
        xid: None,
        health: if failed {
            Health::Unhealthy {
                reason: "a remapping of memory rows failed: the board is to be replaced".to_owned(),
            }
        } else {
            Health::Healthy
        },
    };
    Ok((found, measured))
}

/// An answer without which a GPU is not known; `None` where the model or the driver has no such thing.
fn told<T>(answer: Result<T, NvmlError>) -> Result<Option<T>, NvmlError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// An answer that may be missing for any reason, unless the reason is the GPU's own trouble.
fn field<T>(answer: Result<T, NvmlError>) -> Result<Option<T>, NvmlError> {
    match answer {
        Err(error) if matches!(verdict(&error), Health::Unhealthy { .. }) => Err(error),
        answer => Ok(answer.ok()),
    }
}

/// What an error of NVML says about the GPU it was asked about. Only what is known to be the GPU's own trouble counts
/// against it.
pub(super) fn verdict(error: &NvmlError) -> Health {
    let reason = error.to_string();
    match error {
        NvmlError::GpuLost
        | NvmlError::ResetRequired
        | NvmlError::InsufficientPower
        | NvmlError::IrqIssue
        | NvmlError::CorruptedInfoROM => Health::Unhealthy { reason },
        _ => Health::Unknown { reason },
    }
}
