//! Volumes: named ones outlive their container, others begin empty, and folders of the own machine do not travel.

use serde_yaml::Value;

use super::notes::{Notes, Place};
use super::{amounts, list, mapping};

/// Size of what lies in memory and has none of its own.
const RAM_BYTES: u64 = 64 << 20;

/// What the volumes of a service become.
pub(super) struct Volumes {
    /// Elements of the profile's storage, behind the container's own file system.
    pub(super) storage: Vec<Value>,
    /// `params.storage`, null if there is none.
    pub(super) mounts: Value,
}

/// Where a volume lies.
#[derive(PartialEq, Eq)]
enum Sort {
    /// Under this name, for longer than its container.
    Named(String),
    /// On the node, as long as its container.
    Empty,
    /// In memory, with so many bytes.
    Memory(u64),
}

struct Wanted {
    sort: Sort,
    target: String,
    read_only: bool,
}

/// Declarations at the top: that they are there says nothing more than their use.
pub(super) fn declared(volumes: &Place<'_>, notes: &mut Notes) {
    for (_, volume) in notes.entries(volumes) {
        for (key, place) in notes.entries(&volume) {
            let why = match key.as_str() {
                "external" => "volumes of your machine stay there: copy what is in it when the service runs",
                "driver" | "driver_opts" => {
                    "where volumes lie is the provider's matter; their class says on what"
                }
                "name" | "labels" => "volumes belong to the lease",
                _ => "the language has no word for it",
            };
            notes.left(&place, why);
        }
    }
}

/// The volumes of a service.
pub(super) fn of(service: &Place<'_>, size: &str, notes: &mut Notes) -> Volumes {
    let mut wanted = Vec::new();
    for place in elements(service, "volumes") {
        wanted.extend(volume(&place, notes));
    }
    for place in elements(service, "tmpfs") {
        match place.text().as_deref().and_then(tmpfs) {
            Some(volume) => wanted.push(volume),
            None => notes.left(&place, "it is not read as a folder in memory"),
        }
    }
    if let Some(place) = service.get("shm_size") {
        match place.text().as_deref().and_then(amounts::bytes) {
            Some(bytes) => {
                wanted.push(Wanted {
                    sort: Sort::Memory(bytes),
                    target: "/dev/shm".to_owned(),
                    read_only: false,
                });
            }
            None => notes.left(&place, "it is not read as a size"),
        }
    }
    written(service, wanted, size, notes)
}

fn elements<'a>(service: &Place<'a>, key: &str) -> Vec<Place<'a>> {
    service.get(key).map(|place| place.elements()).unwrap_or_default()
}

fn written(service: &Place<'_>, wanted: Vec<Wanted>, size: &str, notes: &mut Notes) -> Volumes {
    let (mut storage, mut mounts) = (Vec::new(), serde_yaml::Mapping::new());
    let attributes = |persistent: bool, class: &str| {
        mapping([("persistent", Value::from(persistent)), ("class", Value::from(class))])
    };
    for Wanted { sort, target, read_only } in wanted {
        let (base, bytes, attributes) = match sort {
            Sort::Named(name) => (name, Value::from(size), attributes(true, "default")),
            Sort::Empty => ("empty".to_owned(), Value::from(size), Value::Null),
            Sort::Memory(bytes) => ("memory".to_owned(), amounts::size(bytes), attributes(false, "ram")),
        };
        if attributes.is_null() || base != "memory" {
            notes.assumed(service, &format!("size of the volume at {target}"), size);
        }
        let mut name = base.clone();
        let mut number = 2;
        while mounts.contains_key(name.as_str()) {
            name = format!("{base}-{number}");
            number += 1;
        }
        let read_only = if read_only { Value::from(true) } else { Value::Null };
        mounts.insert(
            Value::from(name.as_str()),
            mapping([("mount", Value::from(target)), ("readOnly", read_only)]),
        );
        storage.push(mapping([("name", Value::from(name)), ("size", bytes), ("attributes", attributes)]));
    }
    let mounts = if mounts.is_empty() { Value::Null } else { Value::Mapping(mounts) };
    Volumes { storage, mounts }
}

const OF_YOUR_MACHINE: &str = "a folder or file of your machine does not travel: put what is in it into the image, or copy it into a volume";

fn volume(place: &Place<'_>, notes: &mut Notes) -> Option<Wanted> {
    if place.value.is_mapping() {
        return long(place, notes);
    }
    let text = place.text()?;
    let mut parts = text.split(':');
    let (first, second, options) = (parts.next()?, parts.next(), parts.next().unwrap_or_default());
    let Some(target) = second else {
        return Some(Wanted { sort: Sort::Empty, target: first.to_owned(), read_only: false });
    };
    if is_path(first) {
        notes.left(place, OF_YOUR_MACHINE);
        return None;
    }
    let mut read_only = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" => {}
            other => notes.left(place, &format!("the option {other}: the language has no word for it")),
        }
    }
    Some(Wanted { sort: Sort::Named(plain(first)), target: target.to_owned(), read_only })
}

fn long(place: &Place<'_>, notes: &mut Notes) -> Option<Wanted> {
    let text = |key: &str| place.get(key).and_then(|value| value.text());
    let Some(target) = text("target") else {
        notes.left(place, "it has no target");
        return None;
    };
    let source = text("source").filter(|source| !source.is_empty());
    let sort = match (text("type").as_deref(), source) {
        (Some("tmpfs"), _) => {
            let bytes = place.get("tmpfs").and_then(|tmpfs| tmpfs.get("size")?.text());
            Sort::Memory(bytes.as_deref().and_then(amounts::bytes).unwrap_or(RAM_BYTES))
        }
        (Some("volume") | None, Some(source)) if !is_path(&source) => Sort::Named(plain(&source)),
        (Some("volume") | None, None) => Sort::Empty,
        (Some("bind"), _) | (_, Some(_)) => {
            notes.left(place, OF_YOUR_MACHINE);
            return None;
        }
        _ => {
            notes.left(place, "the language has no such volumes");
            return None;
        }
    };
    for (key, value) in place.entries() {
        if !matches!(key.as_str(), "type" | "source" | "target" | "read_only" | "tmpfs") {
            notes.left(&value, "the language has no word for it");
        }
    }
    let read_only = place.get("read_only").is_some_and(|value| value.value.as_bool() == Some(true));
    Some(Wanted { sort, target, read_only })
}

/// `/folder[:size=64m,…]`.
fn tmpfs(text: &str) -> Option<Wanted> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let size = options.split(',').find_map(|option| option.strip_prefix("size="));
    let bytes = match size {
        Some(size) => amounts::bytes(size)?,
        None => RAM_BYTES,
    };
    Some(Wanted { sort: Sort::Memory(bytes), target: target.to_owned(), read_only: false })
}

fn is_path(source: &str) -> bool {
    source.starts_with(['.', '/', '~', '\\']) || source.contains(['/', '\\'])
}

/// A name of small letters, digits and `-`.
fn plain(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let plain: String = lower.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let plain = plain.trim_matches('-');
    if plain.is_empty() { "data".to_owned() } else { plain.to_owned() }
}

/// The container's own file system, then the other volumes.
pub(super) fn storage(volumes: Vec<Value>) -> Value {
    let own = mapping([("size", Value::from("1Gi"))]);
    if volumes.is_empty() { own } else { list(std::iter::once(own).chain(volumes).collect()) }
}
