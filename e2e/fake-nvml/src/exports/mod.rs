//! The symbols, by what they are about. Each one checks its pointers, asks the machine, and never lets a panic cross
//! into the program that loaded the library.
//!
//! Safety, for all of them: what NVML's own header demands of a caller. Pointers are null or valid for the write that
//! the call makes; buffers are as long as the caller says; texts end with a zero byte.

mod device;
mod events;
mod mig;
mod nvlink;
mod system;

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_uint};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nvml_wrapper_sys::bindings::*;

use crate::machine::Answer;

/// Defines functions of NVML's C interface from bodies that return an [`Answer`].
macro_rules! symbols {
    ($($(#[$attribute:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block)*) => {$(
        $(#[$attribute])*
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name($($argument: $type),*)
            -> nvml_wrapper_sys::bindings::nvmlReturn_t
        {
            $crate::exports::answer(stringify!($name), || $body)
        }
    )*};
}
use symbols;

thread_local! {
    /// The symbol that this thread is in.
    static CALL: Cell<&'static str> = const { Cell::new("") };
}

/// The symbol that this thread is in.
pub(crate) fn call() -> &'static str {
    CALL.get()
}

fn answer(symbol: &'static str, body: impl FnOnce() -> Answer) -> nvmlReturn_t {
    CALL.set(symbol);
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => nvmlReturn_enum_NVML_SUCCESS,
        Ok(Err(code)) => code,
        Err(_) => nvmlReturn_enum_NVML_ERROR_UNKNOWN,
    }
}

/// Writes a value where the caller wants it.
fn put<T>(place: *mut T, value: T) -> Answer {
    if place.is_null() {
        return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    }
    // SAFETY: the caller of the symbol gave a pointer that is valid for this write.
    unsafe { place.write(value) };
    Ok(())
}

/// Writes a text and its zero byte into a buffer of the given length.
fn put_text(place: *mut c_char, length: c_uint, text: &str) -> Answer {
    if place.is_null() {
        return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    }
    if text.len() >= length as usize {
        return Err(nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE);
    }
    // SAFETY: the caller's buffer has `length` bytes, and the text with its zero byte is no longer.
    unsafe {
        place.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), text.len());
        place.add(text.len()).write(0);
    }
    Ok(())
}

/// Reads a text of the caller's.
fn text(place: *const c_char) -> Answer<String> {
    if place.is_null() {
        return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    }
    // SAFETY: the caller's text ends with a zero byte.
    let text = unsafe { CStr::from_ptr(place) };
    Ok(text.to_string_lossy().into_owned())
}

/// A C array of characters, cut off where it is full.
fn characters<const N: usize>(text: &str) -> [c_char; N] {
    let mut characters = [0; N];
    for (place, byte) in characters.iter_mut().take(N - 1).zip(text.bytes()) {
        *place = c_char::from_ne_bytes([byte]);
    }
    characters
}

fn enabled(on: bool) -> nvmlEnableState_t {
    if on { nvmlEnableState_enum_NVML_FEATURE_ENABLED } else { nvmlEnableState_enum_NVML_FEATURE_DISABLED }
}
