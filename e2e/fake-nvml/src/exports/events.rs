//! Xid events.

use std::ffi::{c_uint, c_ulonglong};
use std::thread;
use std::time::{Duration, Instant};

use nvml_wrapper_sys::bindings::*;

use super::{put, symbols};
use crate::machine::machine;

/// How often a waiting caller looks at the script.
const LOOK: Duration = Duration::from_millis(100);

symbols! {
    fn nvmlEventSetCreate(set: *mut nvmlEventSet_t) {
        put(set, machine().new_set()?)
    }

    fn nvmlDeviceGetSupportedEventTypes(device: nvmlDevice_t, types: *mut c_ulonglong) {
        machine().device(device)?;
        put(types, nvmlEventTypeXidCriticalError.into())
    }

    fn nvmlDeviceRegisterEvents(device: nvmlDevice_t, types: c_ulonglong, set: nvmlEventSet_t) {
        machine().register(device, types, set)
    }

    fn nvmlEventSetWait_v2(set: nvmlEventSet_t, data: *mut nvmlEventData_t, timeout_ms: c_uint) {
        let deadline = Instant::now() + Duration::from_millis(timeout_ms.into());
        loop {
            if let Some((device, xid)) = machine().next_xid(set)? {
                return put(data, nvmlEventData_t {
                    device,
                    eventType: nvmlEventTypeXidCriticalError.into(),
                    eventData: xid,
                    gpuInstanceId: c_uint::MAX,
                    computeInstanceId: c_uint::MAX,
                });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(nvmlReturn_enum_NVML_ERROR_TIMEOUT);
            }
            thread::sleep(left.min(LOOK));
        }
    }

    fn nvmlEventSetFree(set: nvmlEventSet_t) {
        machine().free_set(set)
    }
}
