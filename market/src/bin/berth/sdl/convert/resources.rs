//! Resources: limits and reservations, in the two places where compose files have them, and GPUs in all of theirs.

use serde_yaml::Value;

use super::notes::{Notes, Place};
use super::{amounts, list, mapping};

/// Resources of a replica, without its storage.
pub(super) struct Resources {
    pub(super) cpu: Value,
    pub(super) memory: Value,
    pub(super) gpu: Value,
    pub(super) gpus: u64,
}

pub(super) fn of(service: &Place<'_>, notes: &mut Notes) -> Resources {
    let resources = service.get("deploy").and_then(|deploy| deploy.get("resources"));
    let part = |name: &str| resources.as_ref().and_then(|resources| resources.get(name));
    let (limits, reservations) = (part("limits"), part("reservations"));
    let limit = |key: &str| limits.as_ref().and_then(|limits| limits.get(key));
    let reserved = |key: &str| reservations.as_ref().and_then(|reservations| reservations.get(key));
    let cpu = first([limit("cpus"), service.get("cpus"), reserved("cpus"), None], notes);
    let memory_places =
        [limit("memory"), service.get("mem_limit"), reserved("memory"), service.get("mem_reservation")];
    let memory = first(memory_places, notes);
    let cpu = cpu.and_then(|place| cores(&place, notes)).unwrap_or_else(|| {
        notes.assumed(service, "processor of a replica", "0.5 cores");
        Value::from(0.5)
    });
    let memory = memory.and_then(|place| bytes(&place, notes)).unwrap_or_else(|| {
        notes.assumed(service, "memory of a replica", "512Mi");
        Value::from("512Mi")
    });
    if let Some(resources) = &resources {
        for (key, place) in notes.entries(resources) {
            if !matches!(key.as_str(), "limits" | "reservations") {
                notes.left(&place, "the language has no word for it");
            }
        }
    }
    for (place, known) in
        [(&limits, &["cpus", "memory"][..]), (&reservations, &["cpus", "memory", "devices"][..])]
    {
        for (key, place) in place.as_ref().map(|place| notes.entries(place)).unwrap_or_default() {
            if !known.contains(&key.as_str()) {
                notes.left(&place, "the language has no word for it");
            }
        }
    }
    let gpus = gpus(service, reservations.as_ref(), notes);
    Resources { cpu: mapping([("units", cpu)]), memory: mapping([("size", memory)]), gpu: gpu(gpus), gpus }
}

/// The first that is there; the others are told of.
fn first<'a>(places: [Option<Place<'a>>; 4], notes: &mut Notes) -> Option<Place<'a>> {
    let mut found = places.into_iter().flatten();
    let first = found.next();
    for other in found {
        notes.left(&other, "a replica has one amount, which is kept free for it and is its limit");
    }
    first
}

fn cores(place: &Place<'_>, notes: &mut Notes) -> Option<Value> {
    let cores = place.text().and_then(|text| text.trim().parse::<f64>().ok());
    match cores.filter(|cores| *cores > 0.0 && cores.is_finite()) {
        Some(cores) if cores.fract() == 0.0 && cores < 1e6 => Some(Value::from(cores as u64)),
        Some(cores) => Some(Value::from(cores)),
        None => {
            notes.left(place, "it is not read as a number of cores");
            None
        }
    }
}

fn bytes(place: &Place<'_>, notes: &mut Notes) -> Option<Value> {
    let bytes = place.text().as_deref().and_then(amounts::bytes).filter(|bytes| *bytes > 0);
    if bytes.is_none() {
        notes.left(place, "it is not read as a size");
    }
    bytes.map(amounts::size)
}

/// How many GPUs a replica has.
fn gpus(service: &Place<'_>, reservations: Option<&Place<'_>>, notes: &mut Notes) -> u64 {
    let mut devices =
        reservations.and_then(|place| place.get("devices")).map(|p| p.elements()).unwrap_or_default();
    if let Some(gpus) = service.get("gpus") {
        devices.extend(gpus.elements());
    }
    let mut count = 0;
    for device in devices {
        count += device_count(&device, notes);
    }
    let Some(runtime) = service.get("runtime") else { return count };
    if runtime.text().as_deref() != Some("nvidia") {
        notes.left(&runtime, "what containers run in is the provider's choice");
    } else if count == 0 {
        notes.assumed(&runtime, "GPUs of a replica", "1, for it says not how many");
        return 1;
    }
    count
}

/// GPUs of one entry of `devices`, or of `gpus`, where `all` is a text.
fn device_count(device: &Place<'_>, notes: &mut Notes) -> u64 {
    let text = |key: &str| device.get(key).and_then(|place| place.text());
    let capabilities: Vec<String> = device
        .get("capabilities")
        .map(|p| p.elements())
        .unwrap_or_default()
        .iter()
        .filter_map(Place::text)
        .collect();
    let is_gpu =
        capabilities.is_empty() || capabilities.iter().any(|word| matches!(word.as_str(), "gpu" | "nvidia"));
    if !is_gpu || text("driver").is_some_and(|driver| !matches!(driver.as_str(), "nvidia" | "")) {
        notes.left(device, "of devices the language knows GPUs of NVIDIA only");
        return 0;
    }
    let entries = if device.text().is_some() { Vec::new() } else { notes.entries(device) };
    for (key, place) in entries {
        match key.as_str() {
            "driver" | "count" | "capabilities" => {}
            "device_ids" => {
                notes.left(&place, "which GPUs it are is the provider's choice; as many are asked for");
            }
            _ => notes.left(&place, "the language has no word for it"),
        }
    }
    let ids = device.get("device_ids").map(|ids| ids.elements().len() as u64);
    let said = text("count").or_else(|| device.text());
    match (said.as_deref(), ids) {
        (Some("all"), _) | (None, None) => {
            notes.assumed(device, "GPUs of a replica", "1, for all of a machine is no number");
            1
        }
        (Some(number), _) => number.parse().unwrap_or_else(|_| {
            notes.left(device, "it is not read as a number of GPUs");
            0
        }),
        (None, Some(ids)) => ids,
    }
}

/// GPUs of any model: compose files name none.
fn gpu(count: u64) -> Value {
    if count == 0 {
        return Value::Null;
    }
    let any = list(vec![mapping([("model", Value::from("*"))])]);
    let vendor = mapping([("nvidia", any)]);
    mapping([("units", Value::from(count)), ("attributes", mapping([("vendor", vendor)]))])
}
