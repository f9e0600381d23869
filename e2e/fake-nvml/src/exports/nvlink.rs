//! NVLinks: so many active ones, to other GPUs or to switches.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::*;

use super::{characters, enabled, put, symbols};
use crate::machine::{Answer, machine};

/// The generation of links that Hopper has.
const VERSION: c_uint = 4;

symbols! {
    fn nvmlDeviceGetNvLinkState(device: nvmlDevice_t, link: c_uint, active: *mut nvmlEnableState_t) {
        let links = machine().device(device)?.nvlinks;
        exists(link)?;
        put(active, enabled(link < links))
    }

    fn nvmlDeviceGetNvLinkVersion(device: nvmlDevice_t, link: c_uint, version: *mut c_uint) {
        let links = machine().device(device)?.nvlinks;
        exists(link)?;
        if link >= links {
            return Err(nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED);
        }
        put(version, VERSION)
    }

    fn nvmlDeviceGetNvLinkRemotePciInfo_v2(device: nvmlDevice_t, link: c_uint, info: *mut nvmlPciInfo_t) {
        let mut machine = machine();
        let device = machine.device(device)?;
        exists(link)?;
        // A switch may have no PCI address that the GPU could tell.
        let end = device.nvlink_ends.get(link as usize).filter(|_| link < device.nvlinks);
        let end = *end.ok_or(nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED)?;
        put(info, nvmlPciInfo_t {
            busIdLegacy: characters(&end.to_string()),
            domain: end.domain,
            bus: end.bus,
            device: end.device,
            pciDeviceId: 0,
            pciSubSystemId: 0,
            busId: characters(&format!("{:08X}:{:02X}:{:02X}.0", end.domain, end.bus, end.device)),
        })
    }
}

fn exists(link: c_uint) -> Answer {
    if link < NVML_NVLINK_MAX_LINKS { Ok(()) } else { Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT) }
}
