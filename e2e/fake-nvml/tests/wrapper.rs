//! The library is loaded the way a program loads the vendor's: by nvml-wrapper, through the dynamic loader.

use std::process::Command;

use fake_nvml::script::{Mig, MigSlice, Process};
use fake_nvml::{Health, SCRIPT_NAME, Script};
use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError, TemperatureSensor, TopologyLevel};
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id;

struct Machine {
    folder: tempfile::TempDir,
    script: Script,
}

impl Machine {
    fn new() -> Self {
        Self::with(Script::four_h100())
    }

    fn with(script: Script) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fake_nvml::install(folder.path(), &script).expect("the library was built with this test");
        Self { folder, script }
    }

    fn open(&self) -> Result<Nvml, NvmlError> {
        Nvml::builder().lib_path(self.folder.path().join("libnvidia-ml.so.1").as_os_str()).init()
    }

    fn change(&mut self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script);
        self.script.write(&self.path()).expect("the script is ours to write");
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join(SCRIPT_NAME)
    }
}

#[test]
fn machine_is_told_through_the_real_bindings() {
    let machine = Machine::new();
    let nvml = machine.open().unwrap();
    assert_eq!(nvml.sys_driver_version().unwrap(), "570.133.20");
    assert_eq!(nvml.sys_nvml_version().unwrap(), "12.570.133.20");
    assert_eq!(nvml.sys_cuda_driver_version().unwrap(), 12080);
    assert_eq!(nvml.device_count().unwrap(), 4);

    let device = nvml.device_by_index(1).unwrap();
    assert_eq!(device.index().unwrap(), 1);
    assert_eq!(device.name().unwrap(), "NVIDIA H100 80GB HBM3");
    assert_eq!(device.uuid().unwrap(), "GPU-8a2b9d74-1e05-5f6c-b1c9-55ad03f7e622");
    assert_eq!(device.serial().unwrap(), "1653423001117");
    assert_eq!(device.minor_number().unwrap(), 1);
    assert_eq!(device.memory_info().unwrap().total, 81559 << 20);
    let pci = device.pci_info().unwrap();
    assert_eq!(pci.bus_id, "00000000:43:00.0");
    assert_eq!(pci.pci_device_id, 0x2330_10de);
    assert_eq!(pci.pci_sub_system_id, Some(0x16c1_10de));
    assert!(matches!(device.mig_mode(), Err(NvmlError::NotSupported)));
    let capability = device.cuda_compute_capability().unwrap();
    assert_eq!((capability.major, capability.minor), (9, 0));
    assert_eq!(device.architecture().unwrap().to_string(), "Hopper");
    assert_eq!(device.numa_node_id().unwrap(), 0);
    assert_eq!(device.memory_affinity(1, 0).unwrap(), [1]);
    assert_eq!(device.cpu_affinity(2).unwrap(), [1, 0]);
    assert_eq!(device.temperature(TemperatureSensor::Gpu).unwrap(), 31);
    assert_eq!(device.power_usage().unwrap(), 71_000);
    assert_eq!(device.enforced_power_limit().unwrap(), 700_000);
    assert_eq!(device.utilization_rates().unwrap().gpu, 0);
    assert!(device.is_ecc_enabled().unwrap().currently_enabled);
    assert_eq!(device.total_ecc_errors(MemoryError::Corrected, EccCounter::Volatile).unwrap(), 0);
    assert!(device.current_throttle_reasons().unwrap().is_empty());
    assert!(device.running_compute_processes().unwrap().is_empty());
    assert!(device.brand().is_ok() && device.compute_mode().is_ok());
    let other = nvml.device_by_index(3).unwrap();
    assert!(matches!(device.topology_common_ancestor(other), Ok(TopologyLevel::System)));
    assert!(device.link_wrapper_for(17).is_active().unwrap());
    assert_eq!(device.link_wrapper_for(0).version().unwrap(), 4);
    assert!(matches!(device.link_wrapper_for(0).remote_pci_info(), Err(NvmlError::NotSupported)));
    for found in [
        nvml.device_by_uuid("GPU-8a2b9d74-1e05-5f6c-b1c9-55ad03f7e622"),
        nvml.device_by_pci_bus_id("00000000:43:00.0"),
        nvml.device_by_pci_bus_id("0000:43:00.0"),
    ] {
        assert_eq!(found.unwrap().minor_number().unwrap(), 1);
    }
    assert!(matches!(nvml.device_by_index(4), Err(NvmlError::InvalidArg)));
    assert!(matches!(nvml.device_by_uuid("GPU-none"), Err(NvmlError::NotFound)));
    nvml.shutdown().unwrap();
}

#[test]
fn wear_and_work_are_scripted() {
    let mut script = Script::four_h100();
    let device = &mut script.devices[0];
    device.processes = (0..7).map(|pid| Process { pid, memory_mib: 10 }).collect();
    let ecc = device.ecc.as_mut().unwrap();
    (ecc.uncorrected, ecc.remapped_uncorrected, ecc.remap_failed) = (3, 2, true);
    let machine = Machine::with(script);
    let nvml = machine.open().unwrap();
    let device = nvml.device_by_index(0).unwrap();
    assert_eq!(device.running_compute_processes().unwrap().len(), 7);
    assert_eq!(device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile).unwrap(), 3);
    let ids = [143, 144, 145, field_id::NVML_FI_DEV_NVLINK_LINK_COUNT].map(FieldId);
    let values = device.field_values_for(&ids).unwrap();
    let values: Vec<String> =
        values.into_iter().map(|v| format!("{:?}", v.unwrap().value.unwrap())).collect();
    assert_eq!(values, ["U32(2)", "U32(0)", "U32(1)", "U32(18)"]);
}

#[test]
fn slices_of_a_gpu_are_found_in_their_slots() {
    let mut script = Script::four_h100();
    let slice = MigSlice {
        uuid: "MIG-0c3f".to_owned(),
        memory_mib: 40_448,
        gpu_slices: 3,
        profile: Some("3g.40gb".to_owned()),
    };
    script.devices[2].mig = Some(Mig { enabled: true, slices: vec![None, Some(slice)] });
    let machine = Machine::with(script);
    let nvml = machine.open().unwrap();
    let device = nvml.device_by_index(2).unwrap();
    assert_eq!(device.mig_mode().unwrap().current, 1);
    assert_eq!(device.mig_device_count().unwrap(), 7);
    assert!(!device.mig_is_mig_device_handle().unwrap());
    assert!(matches!(device.mig_device_by_index(0), Err(NvmlError::NotFound)));
    let slice = device.mig_device_by_index(1).unwrap();
    assert_eq!(slice.uuid().unwrap(), "MIG-0c3f");
    assert_eq!(slice.name().unwrap(), "NVIDIA H100 80GB HBM3 MIG 3g.40gb");
    assert!(slice.mig_is_mig_device_handle().unwrap());
    assert_eq!(slice.memory_info().unwrap().total, 40_448 << 20);
    assert_eq!(slice.attributes().unwrap().memory_size_mb, 40_448);
    assert_eq!(slice.mig_parent_device().unwrap().uuid().unwrap(), device.uuid().unwrap());
    assert_eq!(nvml.device_by_uuid("MIG-0c3f").unwrap().uuid().unwrap(), "MIG-0c3f");
}

#[test]
fn links_lead_where_the_script_says() {
    let mut script = Script::four_h100();
    script.devices[0].nvlink_ends = vec![script.devices[1].bus];
    (script.devices[0].pcie_switch, script.devices[3].pcie_switch) = (Some(1), Some(1));
    let machine = Machine::with(script);
    let nvml = machine.open().unwrap();
    let device = nvml.device_by_index(0).unwrap();
    assert_eq!(device.link_wrapper_for(0).remote_pci_info().unwrap().bus_id, "00000000:43:00.0");
    assert!(matches!(device.link_wrapper_for(1).remote_pci_info(), Err(NvmlError::NotSupported)));
    let level = |other| device.topology_common_ancestor(nvml.device_by_index(other).unwrap()).unwrap();
    assert!(matches!((level(3), level(1)), (TopologyLevel::Single, TopologyLevel::Node)));
}

#[test]
fn library_of_an_older_driver_lacks_symbols_and_single_calls_can_be_refused() {
    let mut script = Script::four_h100();
    script.missing = vec!["nvmlDeviceGetNumaNodeId".to_owned()];
    script.devices[1].answers = [("nvmlDeviceGetTemperature".to_owned(), 15)].into();
    let machine = Machine::with(script);
    let nvml = machine.open().unwrap();
    let device = nvml.device_by_index(1).unwrap();
    assert!(matches!(device.numa_node_id(), Err(NvmlError::FailedToLoadSymbol(_))));
    assert!(matches!(device.temperature(TemperatureSensor::Gpu), Err(NvmlError::GpuLost)));
    assert_eq!(device.memory_info().unwrap().total, 81559 << 20);
    assert_eq!(nvml.device_by_index(0).unwrap().temperature(TemperatureSensor::Gpu).unwrap(), 31);
}

#[test]
fn initialisation_fails_as_scripted() {
    let mut machine = Machine::new();
    for (code, expected) in [
        (9, "DriverNotLoaded"),
        (18, "LibRmVersionMismatch"),
        (4, "NoPermission"),
        (4711, "UnexpectedVariant(4711)"),
    ] {
        machine.change(|script| script.init = code);
        assert_eq!(format!("{:?}", machine.open().unwrap_err()), expected);
    }
    machine.change(|script| script.init = 0);
    assert_eq!(machine.open().unwrap().device_count().unwrap(), 4);
}

#[test]
fn script_that_changes_is_seen_while_the_library_is_open() {
    let mut machine = Machine::new();
    let nvml = machine.open().unwrap();
    let device = nvml.device_by_index(0).unwrap();
    machine.change(|script| script.devices[0].temperature_c = 84);
    assert_eq!(device.temperature(TemperatureSensor::Gpu).unwrap(), 84);

    machine.change(|script| script.devices[0].health = Health::Lost);
    assert!(matches!(device.uuid(), Err(NvmlError::GpuLost)));
    assert!(matches!(nvml.device_by_index(0), Err(NvmlError::GpuLost)));
    assert_eq!(nvml.device_count().unwrap(), 4);

    machine.change(|script| script.devices[0].health = Health::Answers(4711));
    assert!(device.uuid().is_ok());
    assert!(matches!(device.memory_info(), Err(NvmlError::UnexpectedVariant(4711))));

    machine.change(|script| script.init = 9);
    assert!(matches!(nvml.device_count(), Err(NvmlError::DriverNotLoaded)));
}

#[test]
fn broken_script_leaves_the_last_good_one_in_force() {
    let machine = Machine::new();
    let nvml = machine.open().unwrap();
    for broken in ["{", "", "{\"driver\": 1}"] {
        std::fs::write(machine.path(), broken).unwrap();
        assert_eq!(nvml.device_count().unwrap(), 4);
    }
    std::fs::remove_file(machine.path()).unwrap();
    assert_eq!(nvml.device_by_index(0).unwrap().minor_number().unwrap(), 0);

    let machine = Machine::new();
    std::fs::remove_file(machine.path()).unwrap();
    assert!(matches!(machine.open(), Err(NvmlError::Unknown)));
}

#[test]
fn devices_are_fixed_until_the_next_initialisation() {
    let mut machine = Machine::new();
    let first = machine.script.devices[0].clone();
    machine.change(|script| script.devices.truncate(1));
    let nvml = machine.open().unwrap();
    machine.change(|script| script.devices = Script::four_h100().devices[1..].to_vec());
    assert_eq!(nvml.device_count().unwrap(), 1);
    assert!(matches!(nvml.device_by_index(0), Err(NvmlError::GpuLost)));
    nvml.shutdown().unwrap();
    let nvml = machine.open().unwrap();
    assert_eq!(nvml.device_count().unwrap(), 3);
    assert!(matches!(nvml.device_by_uuid(first.uuid.as_str()), Err(NvmlError::NotFound)));
}

#[test]
fn xid_is_delivered_once_to_whoever_listened_before_it() {
    let mut machine = Machine::new();
    machine.change(|script| script.devices[3].health = Health::Xid(63));
    let nvml = machine.open().unwrap();
    let mut set = nvml.create_event_set().unwrap();
    for index in 0..4 {
        let device = nvml.device_by_index(index).unwrap();
        assert!(device.supported_event_types().unwrap().contains(EventTypes::CRITICAL_XID_ERROR));
        set = device.register_events(EventTypes::CRITICAL_XID_ERROR, set).unwrap();
    }
    assert!(matches!(set.wait(0), Err(NvmlError::Timeout)), "an Xid from before anyone looked");
    machine.change(|script| script.devices[2].health = Health::Xid(79));
    let event = set.wait(5_000).unwrap();
    assert!(matches!(event.event_data, Some(XidError::Value(79))));
    assert_eq!(event.device.minor_number().unwrap(), 2);
    assert!(matches!(set.wait(0), Err(NvmlError::Timeout)), "the same Xid twice");
    let late = nvml.device_by_index(2).unwrap();
    let late =
        late.register_events(EventTypes::CRITICAL_XID_ERROR, nvml.create_event_set().unwrap()).unwrap();
    assert!(matches!(late.wait(0), Err(NvmlError::Timeout)), "an Xid from before the set was made");
    machine.change(|script| script.devices[2].health = Health::Lost);
    assert!(matches!(set.wait(0), Err(NvmlError::GpuLost)));
}

#[test]
fn environment_names_the_script() {
    let mut elsewhere = Script::four_h100();
    elsewhere.devices.truncate(2);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("elsewhere.json");
    elsewhere.write(&path).unwrap();
    let machine = Machine::new();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "prints_the_number_of_devices", "--nocapture"])
        .env("FAKE_NVML_SCRIPT", &path)
        .env("LD_LIBRARY_PATH", machine.folder.path())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains("devices: 2"), "{printed}{}", String::from_utf8_lossy(&output.stderr));
}

/// Not a test of its own: the program that `environment_names_the_script` runs, with the loader finding the library
/// by its default name.
#[test]
#[ignore = "run by environment_names_the_script in an environment of its own"]
fn prints_the_number_of_devices() {
    println!("devices: {}", Nvml::init().unwrap().device_count().unwrap());
}
