//! What every manifest must keep, whether it was made from a document here or came over the wire.

use std::collections::HashSet;

use crate::extension;
use crate::manifest::{Expose, HttpOptions, Manifest, Service};
use crate::problem::{ErrorKind, Mark, Problem, shown};

/// The largest manifest, in bytes of its JSON, that is made or taken.
pub const MAX_MANIFEST_BYTES: usize = 8 << 20;

/// The longest name of a container or a secret: a DNS label.
pub(crate) const MAX_NAME: usize = 63;

/// Part of a service that a problem points at.
pub(crate) enum Part {
    Name,
    Image,
    Env(usize),
    /// An entry of the sorted `expose` list.
    Expose(usize),
    /// A part of the extension, in the words of the document.
    Extension(String),
}

/// Where the parts of a manifest stand in what its author wrote.
pub(crate) trait Places {
    /// Path and mark of a part, by the indices of group and service.
    fn place(&self, group: usize, service: usize, part: Part) -> (String, Mark);
}

/// A manifest that came as JSON: its own tree is the only place there is.
struct Json;

impl Places for Json {
    fn place(&self, group: usize, service: usize, part: Part) -> (String, Mark) {
        let path = match part {
            Part::Name => format!("[{group}].services[{service}].name"),
            Part::Image => format!("[{group}].services[{service}].image"),
            Part::Env(index) => format!("[{group}].services[{service}].env[{index}]"),
            Part::Expose(index) => format!("[{group}].services[{service}].expose[{index}]"),
            Part::Extension(place) => format!("[{group}].services[{service}].x_berth.{place}"),
        };
        (path, Mark::default())
    }
}

impl Manifest {
    /// Reads a manifest that a tenant sent, and holds it to the language's rules.
    ///
    /// # Errors
    /// Every rule that is broken; for text that is not a manifest, where reading stopped.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Vec<Problem>> {
        let whole = |kind, message| vec![Problem::at(kind, String::new(), Mark::default(), message)];
        if bytes.len() > MAX_MANIFEST_BYTES {
            let message =
                format!("the manifest is {} bytes long, at most {MAX_MANIFEST_BYTES} are taken", bytes.len());
            return Err(whole(ErrorKind::ManifestTooLarge, message));
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(|error| {
            // The parser's own words may repeat a value, and the value may be a secret.
            let what = match error.classify() {
                serde_json::error::Category::Data => "has a part of the wrong shape",
                _ => "is not well-formed JSON",
            };
            let (line, column) = (error.line(), error.column());
            let message = format!(
                "the manifest {what} at line {line}, column {column}: send the one that the document became"
            );
            whole(ErrorKind::ManifestMalformed, message)
        })?;
        manifest.validate()?;
        Ok(manifest)
    }

    /// Holds the manifest to the language's rules: names, environment, ports, host names, HTTP options and mounts.
    ///
    /// # Errors
    /// Every rule that is broken, in the order of groups and services.
    pub fn validate(&self) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        check(self, &Json, true, &mut problems);
        check_shape(self, &mut problems);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

/// Checks a manifest; `complete` says whether nothing was left out that might have been reachable from outside.
pub(crate) fn check(manifest: &Manifest, places: &dyn Places, complete: bool, problems: &mut Vec<Problem>) {
    let mut hosts = HashSet::new();
    for (group_index, group) in manifest.0.iter().enumerate() {
        for (service_index, service) in group.services.iter().enumerate() {
            let mut wrong = |kind, part, message: String| {
                let (path, mark) = places.place(group_index, service_index, part);
                problems.push(Problem::at(kind, path, mark, message));
            };
            check_service(service, &mut wrong);
            if let Some(extension) = &service.x_berth {
                extension::check(extension, service, &mut |kind, place, message| {
                    wrong(kind, Part::Extension(place), message);
                });
            }
            for (index, entry) in service.expose.iter().enumerate() {
                check_expose(entry, &mut hosts, &mut |kind, message| {
                    wrong(kind, Part::Expose(index), message);
                });
            }
        }
    }
    let mut entries = manifest.0.iter().flat_map(|group| &group.services).flat_map(|service| &service.expose);
    if complete && !entries.any(|entry| entry.global) {
        let message = "nothing is reachable from outside: write to with global: true under one expose entry";
        let path = String::new();
        problems.push(Problem::at(ErrorKind::NoGlobalService, path, Mark::default(), message.to_owned()));
    }
}

fn check_service(service: &Service, wrong: &mut impl FnMut(ErrorKind, Part, String)) {
    if service.name.is_empty() {
        wrong(ErrorKind::ServiceNameEmpty, Part::Name, "a service has no name: give it one".to_owned());
    } else if !is_label(&service.name) || !service.name.starts_with(|c: char| c.is_ascii_lowercase()) {
        let message = format!(
            "{} cannot name a service: use lower-case letters, digits and -, a letter first, no - at the end",
            shown(&service.name)
        );
        wrong(ErrorKind::ServiceNameInvalid, Part::Name, message);
    }
    if service.image.is_empty() {
        wrong(
            ErrorKind::ImageEmpty,
            Part::Image,
            "the service has no image: write image with its name".to_owned(),
        );
    }
    for (index, item) in service.env.iter().flatten().enumerate() {
        if !is_env_name(item.name()) {
            // The text is not shown: a value may stand where the name belongs.
            let message = "the name before = begins with a digit or two dots, or has something else than letters, digits and _ . -: write NAME=value";
            wrong(ErrorKind::EnvNameInvalid, Part::Env(index), message.to_owned());
        }
    }
}

fn check_expose<'m>(
    entry: &'m Expose,
    hosts: &mut HashSet<&'m str>,
    wrong: &mut impl FnMut(ErrorKind, String),
) {
    if !(1..=65535).contains(&entry.port) {
        wrong(
            ErrorKind::PortOutOfRange,
            format!("port {} does not exist: write one from 1 to 65535", entry.port),
        );
    }
    for host in entry.hosts.iter().flatten() {
        if host.len() > 253 || !host.split('.').all(is_label) {
            let message = format!(
                "{} is no host name: use lower-case letters, digits, - and dots, at most 253 characters",
                shown(host)
            );
            wrong(ErrorKind::HostnameInvalid, message);
        } else if !hosts.insert(host) {
            let message = format!(
                "host name {} is taken by another entry: name it once, and only where there is one entry under to",
                shown(host)
            );
            wrong(ErrorKind::HostnameDuplicate, message);
        }
    }
}

/// What a manifest from a document has by construction and one from elsewhere must prove: distinct names, options within
/// their limits, mounts of volumes that are there.
fn check_shape(manifest: &Manifest, problems: &mut Vec<Problem>) {
    let mut groups = HashSet::new();
    for (group_index, group) in manifest.0.iter().enumerate() {
        let mut wrong = |kind, path: String, message: String| {
            let path = format!("[{group_index}]{path}");
            problems.push(Problem::at(kind, path, Mark::default(), message));
        };
        if !groups.insert(&group.name) {
            let message = format!("group {} stands here twice: every group is one order", shown(&group.name));
            wrong(ErrorKind::ManifestMalformed, ".name".to_owned(), message);
        }
        let mut services = HashSet::new();
        for (index, service) in group.services.iter().enumerate() {
            let path = format!(".services[{index}]");
            if !services.insert(&service.name) {
                let message = format!("service {} stands in this group twice", shown(&service.name));
                wrong(ErrorKind::ManifestMalformed, format!("{path}.name"), message);
            }
            let mut volumes = HashSet::new();
            for volume in &service.resources.storage {
                if !volumes.insert(volume.name.as_str()) {
                    let message = format!("two volumes are named {}", shown(&volume.name));
                    wrong(ErrorKind::StorageDuplicateName, format!("{path}.resources.storage"), message);
                }
            }
            let mounts = service.params.iter().flat_map(|params| &params.storage).flatten();
            let texts = mounts.map(|mount| (mount.name.as_str(), mount.mount.as_str()));
            check_mounts(texts, |name| volumes.contains(name), &mut |kind, mount, message| {
                wrong(kind, format!("{path}.params.storage[{mount}]"), message);
            });
            for (entry, expose) in service.expose.iter().enumerate() {
                check_http_options(&expose.http_options, &mut |kind, key, message| {
                    wrong(kind, format!("{path}.expose[{entry}].httpOptions.{}", key.name()), message);
                });
            }
        }
    }
}

/// One of the limited HTTP options.
#[derive(Clone, Copy)]
pub(crate) enum HttpOption {
    MaxBodySize,
    ReadTimeout,
    SendTimeout,
    ProxyBufferSize,
    /// An element of the list of cases.
    NextCase(usize),
}

impl HttpOption {
    /// The key of a document.
    pub(crate) fn name(self) -> &'static str {
        match self {
            HttpOption::MaxBodySize => "max_body_size",
            HttpOption::ReadTimeout => "read_timeout",
            HttpOption::SendTimeout => "send_timeout",
            HttpOption::ProxyBufferSize => "proxy_buffer_size",
            HttpOption::NextCase(_) => "next_cases",
        }
    }
}

pub(crate) const NEXT_CASES: [&str; 10] =
    ["error", "timeout", "500", "502", "503", "504", "403", "404", "429", "off"];

/// Holds HTTP options to their limits.
pub(crate) fn check_http_options(
    options: &HttpOptions,
    wrong: &mut dyn FnMut(ErrorKind, HttpOption, String),
) {
    for (key, value, most) in [
        (HttpOption::MaxBodySize, options.max_body_size, 104_857_600),
        (HttpOption::ReadTimeout, options.read_timeout, 60_000),
        (HttpOption::SendTimeout, options.send_timeout, 60_000),
        (HttpOption::ProxyBufferSize, options.proxy_buffer_size, 1_048_576),
    ] {
        if value > most {
            let message = format!("{value} is above the most that a provider grants: write at most {most}");
            wrong(ErrorKind::HttpOptionOverLimit, key, message);
        }
    }
    for (index, case) in options.next_cases.iter().enumerate() {
        if !NEXT_CASES.contains(&case.as_str()) {
            let known = NEXT_CASES.join(", ");
            let message = format!("{} is no case for trying the next replica: {known} are", shown(case));
            wrong(ErrorKind::NextCaseUnknown, HttpOption::NextCase(index), message);
        }
    }
    let off = options.next_cases.iter().position(|case| case == "off");
    if let (Some(index), true) = (off, options.next_cases.len() > 1) {
        let message = "off stands beside other cases: write it alone, or leave it out".to_owned();
        wrong(ErrorKind::NextCaseOffMixed, HttpOption::NextCase(index), message);
    }
}

/// Holds mounts, given as volume name and path, to the volumes that are there and to distinct absolute paths.
pub(crate) fn check_mounts<'m>(
    mounts: impl Iterator<Item = (&'m str, &'m str)>,
    is_volume: impl Fn(&str) -> bool,
    wrong: &mut dyn FnMut(ErrorKind, usize, String),
) {
    let mut paths = HashSet::new();
    for (index, (volume, path)) in mounts.enumerate() {
        if !is_volume(volume) {
            let message =
                format!("the compute profile has no volume {}: add it to its storage", shown(volume));
            wrong(ErrorKind::ParamsVolumeUnknown, index, message);
        }
        if !path.starts_with('/') {
            let message =
                format!("{} is no absolute path: write mount with a path that begins with /", shown(path));
            wrong(ErrorKind::MountNotAbsolute, index, message);
        } else if !paths.insert(path) {
            let message = format!("another volume is mounted at {}: choose another path", shown(path));
            wrong(ErrorKind::MountDuplicate, index, message);
        }
    }
}

/// `[a-z0-9]([-a-z0-9]*[a-z0-9])?` in full.
pub(crate) fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && !text.starts_with('-') && !text.ends_with('-') && text.bytes().all(inner)
}

/// `[-._a-zA-Z][-._a-zA-Z0-9]*` in full, but neither `.` nor anything that begins with two dots.
pub(crate) fn is_env_name(name: &str) -> bool {
    let symbol = |b: u8| b"-._".contains(&b);
    name != "."
        && !name.starts_with("..")
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || symbol(b))
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || symbol(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_names_are_those_of_containers() {
        for name in ["A", "_a", ".a", "-a", "a.b-c_1"] {
            assert!(is_env_name(name), "{name}");
        }
        for name in ["", ".", "..", "..a", "1a", "a b", "ä"] {
            assert!(!is_env_name(name), "{name}");
        }
    }
}
