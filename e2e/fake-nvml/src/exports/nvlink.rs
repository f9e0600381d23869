//! NVLinks: so many active ones, all to a switch.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::*;

use super::{enabled, put, symbols};
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

    fn nvmlDeviceGetNvLinkRemotePciInfo_v2(device: nvmlDevice_t, link: c_uint, _info: *mut nvmlPciInfo_t) {
        machine().device(device)?;
        exists(link)?;
        // A switch has no PCI address that the GPU could tell.
        Err(nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED)
    }
}

fn exists(link: c_uint) -> Answer {
    if link < NVML_NVLINK_MAX_LINKS { Ok(()) } else { Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT) }
}
