//! What a device is and how it is doing.

use std::ffi::{c_char, c_int, c_longlong, c_uint, c_ulong, c_ulonglong};

use nvml_wrapper_sys::bindings::*;

use super::{characters, enabled, put, put_text, symbols};
use crate::machine::{Answer, machine};
use crate::script::{Device, Ecc};

const MIB: u64 = 1 << 20;

symbols! {
    fn nvmlDeviceGetIndex(device: nvmlDevice_t, index: *mut c_uint) {
        put(index, machine().index(device)? as c_uint)
    }

    fn nvmlDeviceGetName(device: nvmlDevice_t, name: *mut c_char, length: c_uint) {
        let mut machine = machine();
        if let Some((slice, parent)) = machine.slice(device)? {
            let profile = slice.profile.iter().map(|profile| format!(" MIG {profile}"));
            return put_text(name, length, &format!("{}{}", parent.name, profile.collect::<String>()));
        }
        put_text(name, length, &machine.identify(device)?.name)
    }

    fn nvmlDeviceGetUUID(device: nvmlDevice_t, uuid: *mut c_char, length: c_uint) {
        let mut machine = machine();
        if let Some((slice, _)) = machine.slice(device)? {
            return put_text(uuid, length, &slice.uuid);
        }
        put_text(uuid, length, &machine.identify(device)?.uuid)
    }

    fn nvmlDeviceGetSerial(device: nvmlDevice_t, serial: *mut c_char, length: c_uint) {
        let mut machine = machine();
        let found = machine.identify(device)?.serial.as_deref();
        put_text(serial, length, found.ok_or(nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED)?)
    }

    fn nvmlDeviceGetBrand(device: nvmlDevice_t, brand: *mut nvmlBrandType_t) {
        let geforce = machine().identify(device)?.name.contains("GeForce");
        let known = if geforce { nvmlBrandType_enum_NVML_BRAND_GEFORCE } else { nvmlBrandType_enum_NVML_BRAND_NVIDIA };
        put(brand, known)
    }

    fn nvmlDeviceGetMinorNumber(device: nvmlDevice_t, minor: *mut c_uint) {
        put(minor, machine().identify(device)?.minor)
    }

    fn nvmlDeviceGetPciInfo_v3(device: nvmlDevice_t, info: *mut nvmlPciInfo_t) {
        let mut machine = machine();
        let Device { bus, pci, subsystem, .. } = machine.identify(device)?;
        put(info, nvmlPciInfo_t {
            busIdLegacy: characters(&bus.to_string()),
            domain: bus.domain,
            bus: bus.bus,
            device: bus.device,
            pciDeviceId: u32::from(pci.device) << 16 | u32::from(pci.vendor),
            pciSubSystemId: u32::from(subsystem.device) << 16 | u32::from(subsystem.vendor),
            busId: characters(&format!("{:08X}:{:02X}:{:02X}.0", bus.domain, bus.bus, bus.device)),
        })
    }

    fn nvmlDeviceGetMemoryInfo_v2(device: nvmlDevice_t, memory: *mut nvmlMemory_v2_t) {
        if memory.is_null() {
            return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
        }
        // SAFETY: the caller gave a struct whose first field says which one it is.
        let version = unsafe { (*memory).version };
        if version != size_of::<nvmlMemory_v2_t>() as c_uint | 2 << 24 {
            return Err(nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
        }
        let mut machine = machine();
        let (total, used) = match machine.slice(device)? {
            Some((slice, _)) => (slice.memory_mib * MIB, 0),
            None => {
                let device = machine.device(device)?;
                (device.memory_mib * MIB, device.memory_used_mib * MIB)
            }
        };
        put(memory, nvmlMemory_v2_t { version, total, reserved: 0, free: total.saturating_sub(used), used })
    }

    fn nvmlDeviceGetComputeMode(device: nvmlDevice_t, mode: *mut nvmlComputeMode_t) {
        machine().device(device)?;
        put(mode, nvmlComputeMode_enum_NVML_COMPUTEMODE_DEFAULT)
    }

    fn nvmlDeviceGetCudaComputeCapability(device: nvmlDevice_t, major: *mut c_int, minor: *mut c_int) {
        let capability = machine().device(device)?.compute_capability;
        put(major, capability.major)?;
        put(minor, capability.minor)
    }

    fn nvmlDeviceGetArchitecture(device: nvmlDevice_t, architecture: *mut nvmlDeviceArchitecture_t) {
        let capability = machine().device(device)?.compute_capability;
        put(architecture, match (capability.major, capability.minor) {
            (3, _) => NVML_DEVICE_ARCH_KEPLER,
            (5, _) => NVML_DEVICE_ARCH_MAXWELL,
            (6, _) => NVML_DEVICE_ARCH_PASCAL,
            (7, 5) => NVML_DEVICE_ARCH_TURING,
            (7, _) => NVML_DEVICE_ARCH_VOLTA,
            (8, 9) => NVML_DEVICE_ARCH_ADA,
            (8, _) => NVML_DEVICE_ARCH_AMPERE,
            (9, _) => NVML_DEVICE_ARCH_HOPPER,
            (10 | 12, _) => NVML_DEVICE_ARCH_BLACKWELL,
            _ => NVML_DEVICE_ARCH_UNKNOWN,
        })
    }

    fn nvmlDeviceGetTopologyCommonAncestor(
        one: nvmlDevice_t,
        other: nvmlDevice_t,
        level: *mut nvmlGpuTopologyLevel_t,
    ) {
        let mut machine = machine();
        let one = machine.device(one)?.clone();
        let other = machine.device(other)?;
        put(level, if one.uuid == other.uuid {
            nvmlGpuLevel_enum_NVML_TOPOLOGY_INTERNAL
        } else if one.pcie_switch.is_some() && one.pcie_switch == other.pcie_switch {
            nvmlGpuLevel_enum_NVML_TOPOLOGY_SINGLE
        } else if one.numa_node == other.numa_node {
            nvmlGpuLevel_enum_NVML_TOPOLOGY_NODE
        } else {
            nvmlGpuLevel_enum_NVML_TOPOLOGY_SYSTEM
        })
    }

    fn nvmlDeviceGetNumaNodeId(device: nvmlDevice_t, node: *mut c_uint) {
        put(node, numa_node(machine().device(device)?)?)
    }

    fn nvmlDeviceGetMemoryAffinity(
        device: nvmlDevice_t,
        length: c_uint,
        nodes: *mut c_ulong,
        _scope: nvmlAffinityScope_t,
    ) {
        let node = numa_node(machine().device(device)?)?;
        put_bit(nodes, length, node)
    }

    fn nvmlDeviceGetCpuAffinity(device: nvmlDevice_t, length: c_uint, cpus: *mut c_ulong) {
        // The machine has one processor a node.
        let node = numa_node(machine().device(device)?)?;
        put_bit(cpus, length, node)
    }

    fn nvmlDeviceGetTemperature(device: nvmlDevice_t, sensor: nvmlTemperatureSensors_t, temperature: *mut c_uint) {
        if sensor != nvmlTemperatureSensors_enum_NVML_TEMPERATURE_GPU {
            return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
        }
        put(temperature, machine().device(device)?.temperature_c)
    }

    fn nvmlDeviceGetPowerUsage(device: nvmlDevice_t, power: *mut c_uint) {
        put(power, machine().device(device)?.power_mw)
    }

    fn nvmlDeviceGetEnforcedPowerLimit(device: nvmlDevice_t, limit: *mut c_uint) {
        put(limit, machine().device(device)?.power_limit_mw)
    }

    fn nvmlDeviceGetUtilizationRates(device: nvmlDevice_t, utilization: *mut nvmlUtilization_t) {
        let mut machine = machine();
        let device = machine.device(device)?;
        let memory = device.memory_used_mib.saturating_mul(100) / device.memory_mib.max(1);
        put(utilization, nvmlUtilization_t { gpu: device.utilization_percent, memory: memory as c_uint })
    }

    fn nvmlDeviceGetEccMode(device: nvmlDevice_t, current: *mut nvmlEnableState_t, pending: *mut nvmlEnableState_t) {
        ecc(machine().device(device)?)?;
        put(current, enabled(true))?;
        put(pending, enabled(true))
    }

    fn nvmlDeviceGetTotalEccErrors(
        device: nvmlDevice_t,
        kind: nvmlMemoryErrorType_t,
        _counter: nvmlEccCounterType_t,
        count: *mut c_ulonglong,
    ) {
        let ecc = ecc(machine().device(device)?)?;
        let corrected = kind == nvmlMemoryErrorType_enum_NVML_MEMORY_ERROR_TYPE_CORRECTED;
        put(count, if corrected { ecc.corrected } else { ecc.uncorrected })
    }

    fn nvmlDeviceGetFieldValues(device: nvmlDevice_t, count: c_int, values: *mut nvmlFieldValue_t) {
        let count = usize::try_from(count).map_err(|_| nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
        if values.is_null() || count == 0 {
            return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
        }
        // SAFETY: the caller's array holds `count` values, each with its field id filled in.
        let values = unsafe { std::slice::from_raw_parts_mut(values, count) };
        let mut machine = machine();
        let device = machine.device(device)?;
        for value in values {
            value.timestamp = 0;
            value.latencyUsec = c_longlong::from(1);
            value.valueType = nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT;
            match field(device, value.fieldId) {
                Ok(number) => {
                    value.nvmlReturn = nvmlReturn_enum_NVML_SUCCESS;
                    value.value = nvmlValue_t { uiVal: number };
                }
                Err(code) => value.nvmlReturn = code,
            }
        }
        Ok(())
    }

    fn nvmlDeviceGetCurrentClocksThrottleReasons(device: nvmlDevice_t, reasons: *mut c_ulonglong) {
        put(reasons, machine().device(device)?.throttle_reasons)
    }

    fn nvmlDeviceGetComputeRunningProcesses_v3(
        device: nvmlDevice_t,
        count: *mut c_uint,
        infos: *mut nvmlProcessInfo_t,
    ) {
        if count.is_null() {
            return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
        }
        let mut machine = machine();
        let processes = &machine.device(device)?.processes;
        // SAFETY: the caller says in `count` how long its array is.
        let room = unsafe { count.read() } as usize;
        put(count, processes.len() as c_uint)?;
        if processes.len() > room {
            return Err(nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE);
        }
        for (at, process) in processes.iter().enumerate() {
            // SAFETY: the array has room for all processes, as was checked.
            put(unsafe { infos.add(at) }, nvmlProcessInfo_t {
                pid: process.pid,
                usedGpuMemory: process.memory_mib * MIB,
                gpuInstanceId: c_uint::MAX,
                computeInstanceId: c_uint::MAX,
            })?;
        }
        Ok(())
    }
}

fn numa_node(device: &Device) -> Answer<u32> {
    device.numa_node.ok_or(nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED)
}

fn ecc(device: &Device) -> Answer<Ecc> {
    device.ecc.ok_or(nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED)
}

fn field(device: &Device, id: c_uint) -> Answer<c_uint> {
    use nvml_wrapper_sys::bindings::field_id::*;
    match id {
        NVML_FI_DEV_REMAPPED_COR => Ok(ecc(device)?.remapped_corrected),
        NVML_FI_DEV_REMAPPED_UNC => Ok(ecc(device)?.remapped_uncorrected),
        NVML_FI_DEV_REMAPPED_PENDING => Ok(ecc(device)?.remap_pending.into()),
        NVML_FI_DEV_REMAPPED_FAILURE => Ok(ecc(device)?.remap_failed.into()),
        NVML_FI_DEV_NVLINK_LINK_COUNT => Ok(device.nvlinks),
        _ => Err(nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED),
    }
}

/// Writes a set of numbers with one member, as an array of `length` machine words.
fn put_bit(words: *mut c_ulong, length: c_uint, bit: u32) -> Answer {
    if words.is_null() {
        return Err(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
    }
    if bit / c_ulong::BITS >= length {
        return Err(nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE);
    }
    // SAFETY: the caller's array holds `length` words.
    let words = unsafe { std::slice::from_raw_parts_mut(words, length as usize) };
    words.fill(0);
    words[(bit / c_ulong::BITS) as usize] = 1 << (bit % c_ulong::BITS);
    Ok(())
}
