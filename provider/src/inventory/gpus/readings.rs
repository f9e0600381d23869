//! What changes from look to look: for metrics, never in a node's record.

use nvml_wrapper::Device;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::struct_wrappers::device::MemoryInfo;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id::{NVML_FI_DEV_REMAPPED_COR, NVML_FI_DEV_REMAPPED_UNC};

/// What was measured of a GPU; what it does not tell is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    /// Of the core, in degrees Celsius.
    pub temperature_c: Option<u32>,
    /// Power drawn, in milliwatts.
    pub power_mw: Option<u32>,
    /// The limit in force, in milliwatts.
    pub power_limit_mw: Option<u32>,
    /// Share of the last period in which something ran, in percent.
    pub utilization_percent: Option<u32>,
    /// Memory in use, in bytes.
    pub memory_used_bytes: Option<u64>,
    /// Memory in all, in bytes.
    pub memory_bytes: Option<u64>,
    /// Whether its clocks are held back by heat, by power or by the board; not by idleness or settings.
    pub is_throttled: Option<bool>,
    /// Memory errors since the driver was loaded that were corrected.
    pub ecc_corrected: Option<u64>,
    /// Those that were not.
    pub ecc_uncorrected: Option<u64>,
    /// Memory rows remapped in the board's life.
    pub remapped_rows: Option<u64>,
    /// The last Xid that was heard of, also of programs.
    pub last_xid: Option<u64>,
}

/// Measures.
pub(super) fn readings(device: &Device<'_>, memory: Option<&MemoryInfo>) -> Readings {
    let ecc = |kind| device.total_ecc_errors(kind, EccCounter::Volatile).ok();
    let held_back = ThrottleReasons::SW_POWER_CAP
        | ThrottleReasons::HW_SLOWDOWN
        | ThrottleReasons::SW_THERMAL_SLOWDOWN
        | ThrottleReasons::HW_THERMAL_SLOWDOWN
        | ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN;
    let [corrected, uncorrected] =
        numbers(device, [NVML_FI_DEV_REMAPPED_COR, NVML_FI_DEV_REMAPPED_UNC].map(FieldId));
    Readings {
        temperature_c: device.temperature(TemperatureSensor::Gpu).ok(),
        power_mw: device.power_usage().ok(),
        power_limit_mw: device.enforced_power_limit().ok(),
        utilization_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
        memory_used_bytes: memory.map(|memory| memory.used),
        memory_bytes: memory.map(|memory| memory.total),
        is_throttled: device.current_throttle_reasons().ok().map(|reasons| reasons.intersects(held_back)),
        ecc_corrected: ecc(MemoryError::Corrected),
        ecc_uncorrected: ecc(MemoryError::Uncorrected),
        remapped_rows: corrected.zip(uncorrected).map(|(one, other)| one.saturating_add(other)),
        last_xid: None,
    }
}

/// Fields that are whole numbers; a board without one answers with an error, which says nothing against it.
pub(super) fn numbers<const N: usize>(device: &Device<'_>, fields: [FieldId; N]) -> [Option<u64>; N] {
    let mut samples = device.field_values_for(&fields).unwrap_or_default().into_iter();
    fields.map(|_| match samples.next()?.ok()?.value.ok()? {
        SampleValue::U32(number) => Some(u64::from(number)),
        SampleValue::U64(number) => Some(number),
        _ => None,
    })
}
