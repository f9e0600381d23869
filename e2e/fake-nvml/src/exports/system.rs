//! The library itself, the driver, and which devices there are.

use std::env;
use std::ffi::{CStr, OsStr, c_char, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nvml_wrapper_sys::bindings::*;

use super::{put, put_text, symbols, text};
use crate::SCRIPT_NAME;
use crate::machine::machine;

symbols! {
    fn nvmlInit_v2() {
        machine().initialise(script_path)
    }

    fn nvmlInitWithFlags(_flags: c_uint) {
        machine().initialise(script_path)
    }

    fn nvmlShutdown() {
        machine().shut_down()
    }

    fn nvmlSystemGetDriverVersion(version: *mut c_char, length: c_uint) {
        put_text(version, length, &machine().system()?.driver)
    }

    fn nvmlSystemGetNVMLVersion(version: *mut c_char, length: c_uint) {
        let mut machine = machine();
        let script = machine.system()?;
        put_text(version, length, &format!("{}.{}", script.cuda.major, script.driver))
    }

    fn nvmlSystemGetCudaDriverVersion_v2(version: *mut c_int) {
        let cuda = machine().system()?.cuda;
        put(version, cuda.major * 1000 + cuda.minor * 10)
    }

    fn nvmlDeviceGetCount_v2(count: *mut c_uint) {
        put(count, machine().count()? as c_uint)
    }

    fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: *mut nvmlDevice_t) {
        put(device, machine().handle_by_index(index as usize)?)
    }

    fn nvmlDeviceGetHandleByUUID(uuid: *const c_char, device: *mut nvmlDevice_t) {
        let uuid = text(uuid)?;
        let mut machine = machine();
        let handle = if uuid.starts_with("MIG-") {
            machine.slice_handle(&uuid)
        } else {
            machine.handle_by(|device| device.uuid == uuid)
        };
        put(device, handle?)
    }

    fn nvmlDeviceGetHandleByPciBusId_v2(bus: *const c_char, device: *mut nvmlDevice_t) {
        // NVML writes the domain with eight digits and takes four as well; case does not matter.
        let short = |bus: &str| bus.trim_start_matches('0').to_ascii_lowercase();
        let bus = short(&text(bus)?);
        put(device, machine().handle_by(|device| short(&device.bus.to_string()) == bus)?)
    }
}

/// The text of a return code.
#[unsafe(no_mangle)]
extern "C" fn nvmlErrorString(result: nvmlReturn_t) -> *const c_char {
    #[expect(non_upper_case_globals, reason = "the names of NVML's header")]
    let text = match result {
        nvmlReturn_enum_NVML_SUCCESS => c"The operation was successful",
        nvmlReturn_enum_NVML_ERROR_UNINITIALIZED => c"Uninitialized",
        nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT => c"Invalid Argument",
        nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED => c"Not Supported",
        nvmlReturn_enum_NVML_ERROR_NO_PERMISSION => c"Insufficient Permissions",
        nvmlReturn_enum_NVML_ERROR_NOT_FOUND => c"Not Found",
        nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE => c"Insufficient Size",
        nvmlReturn_enum_NVML_ERROR_DRIVER_NOT_LOADED => c"Driver Not Loaded",
        nvmlReturn_enum_NVML_ERROR_TIMEOUT => c"Timeout",
        nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST => c"GPU is lost",
        _ => c"Unknown Error",
    };
    text.as_ptr()
}

/// The script that the environment names, or the one beside this library.
fn script_path() -> PathBuf {
    match env::var_os("FAKE_NVML_SCRIPT") {
        Some(path) => path.into(),
        None => library_path().parent().unwrap_or(Path::new(".")).join(SCRIPT_NAME),
    }
}

/// Where the loader found this library; the working folder if it does not say.
fn library_path() -> PathBuf {
    let symbol: *const c_void = (nvmlErrorString as *const ()).cast();
    let mut found = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: the address is one of our own functions; the loader writes into a struct of its own type, and the name
    // that it points to lives as long as the library.
    let name = unsafe {
        if libc::dladdr(symbol, found.as_mut_ptr()) == 0 {
            return PathBuf::new();
        }
        let name = found.assume_init().dli_fname;
        if name.is_null() {
            return PathBuf::new();
        }
        CStr::from_ptr(name)
    };
    OsStr::from_bytes(name.to_bytes()).into()
}
