//! Multi-Instance GPU: the mode and the slices.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::*;

use super::{enabled, put, symbols};
use crate::machine::machine;

/// No GPU has more slices than this.
const SLOTS: c_uint = 7;

symbols! {
    fn nvmlDeviceGetMigMode(device: nvmlDevice_t, current: *mut c_uint, pending: *mut c_uint) {
        let mut machine = machine();
        let mig = machine.device(device)?.mig.as_ref().ok_or(nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED)?;
        put(current, enabled(mig.enabled))?;
        put(pending, enabled(mig.enabled))
    }

    fn nvmlDeviceGetMaxMigDeviceCount(device: nvmlDevice_t, count: *mut c_uint) {
        let known = machine().device(device)?.mig.is_some();
        put(count, if known { SLOTS } else { 0 })
    }

    fn nvmlDeviceGetMigDeviceHandleByIndex(device: nvmlDevice_t, index: c_uint, slice: *mut nvmlDevice_t) {
        let mut machine = machine();
        let mig = machine.device(device)?.mig.as_ref().ok_or(nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED)?;
        if index >= SLOTS {
            return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
        }
        let found = mig.slices.get(index as usize).and_then(Option::as_ref).filter(|_| mig.enabled);
        let uuid = found.ok_or(nvmlReturn_enum_NVML_ERROR_NOT_FOUND)?.uuid.clone();
        put(slice, machine.slice_handle(&uuid)?)
    }

    fn nvmlDeviceGetDeviceHandleFromMigDeviceHandle(slice: nvmlDevice_t, device: *mut nvmlDevice_t) {
        let mut machine = machine();
        let (_, parent) = machine.slice(slice)?.ok_or(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
        let uuid = parent.uuid.clone();
        put(device, machine.handle_by(|device| device.uuid == uuid)?)
    }

    fn nvmlDeviceIsMigDeviceHandle(device: nvmlDevice_t, is_slice: *mut c_uint) {
        let found = machine().slice(device)?.is_some();
        put(is_slice, found.into())
    }

    fn nvmlDeviceGetAttributes_v2(device: nvmlDevice_t, attributes: *mut nvmlDeviceAttributes_t) {
        let mut machine = machine();
        let (slice, _) = machine.slice(device)?.ok_or(nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED)?;
        put(attributes, nvmlDeviceAttributes_t {
            multiprocessorCount: slice.gpu_slices * 16,
            sharedCopyEngineCount: slice.gpu_slices,
            sharedDecoderCount: slice.gpu_slices,
            sharedEncoderCount: 0,
            sharedJpegCount: slice.gpu_slices,
            sharedOfaCount: 0,
            gpuInstanceSliceCount: slice.gpu_slices,
            computeInstanceSliceCount: slice.gpu_slices,
            memorySizeMB: slice.memory_mib,
        })
    }
}
