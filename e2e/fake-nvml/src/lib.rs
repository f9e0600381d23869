//! A stand-in for `libnvidia-ml.so.1`: the symbols of NVML that `nvml-wrapper` loads, answered from a script, so that
//! the real bindings run where no GPU is. It is equipment for tests and for the demo.
//!
//! # The script
//!
//! A JSON file that describes one machine: [`Script`] has every key. It is named by the environment variable
//! `FAKE_NVML_SCRIPT`; without it, the file `nvml.json` beside the library is read, so that each copy of the library
//! plays its own machine. The file is looked at on every call and read again when it changed: a GPU can fall ill while
//! a program holds a handle to it. A file that cannot be read or understood leaves the last good one in force and says
//! so on standard error; where there never was a good one, initialisation answers 999 ("unknown").
//!
//! The shortest useful script; `scripts/four-h100.json` is the machine of the demo:
//!
//! ```
//! let script = fake_nvml::Script::parse(r#"{
//!   "driver": "570.133.20",
//!   "cuda": "12.8",
//!   "devices": [{
//!     "uuid": "GPU-3f0c1c1e-6d7a-5b8f-9a51-0c2d7be40a11",
//!     "name": "NVIDIA H100 80GB HBM3",
//!     "memory_mib": 81559,
//!     "pci": "10de:2330",
//!     "bus": "0000:1b:00.0",
//!     "minor": 0,
//!     "compute_capability": "9.0",
//!     "health": {"xid": 79}
//!   }]
//! }"#).unwrap();
//! assert_eq!(script.devices[0].health, fake_nvml::Health::Xid(79));
//! ```
//!
//! - An old driver: `"missing"` names symbols that its library does not have.
//! - No driver: `"init": 9`; any other number of `nvmlReturn_t` likewise, for every call.
//! - A GPU's `"health"`: `"healthy"`, `"lost"` (every call about it answers "GPU is lost"), `{"xid": N}` (it answers,
//!   and one Xid event is delivered when the script with it replaces one without), `{"answers": N}` (calls that
//!   identify it work, every other one answers N). `"answers"` says what a single call answers, by symbol.
//!
//! As with the vendor's library the list of devices is fixed when the library is initialised: a device added later is
//! seen after the next initialisation, one taken away is lost until then.
//!
//! # Where the library is
//!
//! Cargo builds the cdylib wherever this package is a dependency; [`built_library`] finds it. Copy it to a folder as
//! `libnvidia-ml.so.1` and point `LD_LIBRARY_PATH` (or a setting that takes a path) there. Every copy that is loaded by
//! its own path has its own state.

mod exports;
mod file;
mod machine;
pub mod script;

use std::path::{Path, PathBuf};
use std::{env, fs, io};

pub use file::ScriptFile;
pub use script::{Device, Health, Script};

/// Name under which programs ask the loader for NVML.
pub const LIBRARY_NAME: &str = "libnvidia-ml.so.1";

/// Name of the script beside the library, for a process without `FAKE_NVML_SCRIPT`.
pub const SCRIPT_NAME: &str = "nvml.json";

/// Finds the cdylib that cargo built together with the running program.
///
/// # Errors
/// `NotFound` with a sentence, when the program was moved away from cargo's target folder.
pub fn built_library() -> io::Result<PathBuf> {
    let program = env::current_exe()?;
    let folder = program.parent().unwrap_or(Path::new("."));
    let places = [folder.join("deps"), folder.to_owned()].map(|folder| folder.join("libfake_nvml.so"));
    places.into_iter().find(|place| place.is_file()).ok_or_else(|| {
        let sentence = format!(
            "libfake_nvml.so is neither in {0} nor in {0}/deps: build it with `cargo build -p fake-nvml`",
            folder.display()
        );
        io::Error::new(io::ErrorKind::NotFound, sentence)
    })
}

/// Spells a symbol's name in a library so that nobody who looks for it finds it. Names end with a zero byte, and begin
/// after one.
fn take_out(library: &mut [u8], symbol: &str) {
    let name = format!("\0{symbol}\0");
    let places: Vec<usize> = library
        .windows(name.len())
        .enumerate()
        .filter(|(_, bytes)| *bytes == name.as_bytes())
        .map(|(place, _)| place + symbol.len())
        .collect();
    for last in places {
        library[last] = b'-';
    }
}

/// Makes a folder play a machine: a copy of the library under NVML's name, the script beside it. Returns the
/// library's path.
///
/// # Errors
/// The library was not built, or the file system's.
pub fn install(folder: &Path, script: &Script) -> io::Result<PathBuf> {
    let library = folder.join(LIBRARY_NAME);
    let mut code = fs::read(built_library()?)?;
    for symbol in &script.missing {
        take_out(&mut code, symbol);
    }
    fs::write(&library, code)?;
    script.write(&folder.join(SCRIPT_NAME))?;
    Ok(library)
}
