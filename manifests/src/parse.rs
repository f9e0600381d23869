//! Text → [`Deployment`]. Here every section is decoded where it stands, used or not, and every problem is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::document::{
    At, Coin, Compute, Cpu, Credentials, Deploy, Document, EndpointDeclaration, Expose, Gpu, HttpOptions,
    Level, Mount, Params, Placement, Service, To, Volume, VolumeAttributes,
};
use crate::group::GroupSpec;
use crate::manifest::Manifest;
use crate::problem::{ErrorKind, Problem, Warning};
use crate::quantity::{bytes, cpu_millis, digits, ram_bytes};
use crate::reader::{Entry, Reader, shown};
use crate::resources::Attribute;
use crate::validate::validate;
use crate::version::{self, VersionError};
use crate::yaml::{Kind, Mark, NodeId, Tree};

/// The longest document that is read, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 2 << 20;

/// What a document stands for: three views of one value, and what its author should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// What the provider runs; its digest is bound on chain.
    pub manifest: Manifest,
    /// What is ordered: one for each group of the manifest, in the same order.
    pub groups: Vec<GroupSpec>,
    /// The least notice that a provider must give before leaving.
    pub reclamation: Option<Duration>,
    /// What is accepted but probably not meant.
    pub warnings: Vec<Warning>,
}

/// Reads a tenant's document.
///
/// # Errors
/// Every problem of the document; the first is the one that the language's order of checks demands.
pub fn parse(text: impl AsRef<[u8]>) -> Result<Deployment, Vec<Problem>> {
    let text = text.as_ref();
    if text.len() > MAX_DOCUMENT_BYTES {
        let message =
            format!("the document is {} bytes long, at most {MAX_DOCUMENT_BYTES} are read", text.len());
        return Err(vec![Problem::at(ErrorKind::DocumentTooLarge, String::new(), Mark::default(), message)]);
    }
    let tree = Tree::read(text).map_err(|problem| vec![problem])?;
    let (document, warnings) = decode(&tree)?;
    validate(&document, warnings)
}

/// Decodes a document. The first problem is the one that the language's order of checks demands.
fn decode(tree: &Tree) -> Result<(Document<'_>, Vec<Warning>), Vec<Problem>> {
    let mut reader = Reader::new(tree);
    let document = root(&mut reader, tree.root());
    match document {
        Some(document) if reader.problems.is_empty() => Ok((document, reader.warnings)),
        _ => Err(reader.problems),
    }
}

fn root<'t>(reader: &mut Reader<'t>, node: NodeId) -> Option<Document<'t>> {
    let mark = reader.mark(node);
    if reader.is_null(node) {
        let message = "the document has no content: write version, services, profiles and deployment";
        reader.problem(ErrorKind::DocumentEmpty, mark, message);
        return None;
    }
    match reader.kind(node) {
        Kind::Mapping => {}
        Kind::Sequence => {
            reader.wrong_type(node, "a mapping with version, services, profiles and deployment");
            return None;
        }
        Kind::Plain | Kind::Quoted => {
            let message = "the document is a single text: write a mapping with version, services, profiles and deployment";
            reader.problem(ErrorKind::VersionMissing, mark, message);
            return None;
        }
    }
    let entries = reader.literal_entries(node);
    let level = language_level(reader, &entries, mark);
    let mut document = Document {
        level: level.unwrap_or(Level::V2_1),
        services: BTreeMap::new(),
        compute: BTreeMap::new(),
        placement: BTreeMap::new(),
        deployment: BTreeMap::new(),
        endpoints: BTreeMap::new(),
        reclamation: None,
    };
    let mut seen = BTreeSet::new();
    for entry in entries {
        reader.within(entry.key, |reader| {
            section(reader, entry, &mut document);
            if !seen.insert(entry.key) {
                let message =
                    "this section stands here a second time: it is merged over the first, write it once";
                reader.warn(entry.key_mark, message);
            }
        });
    }
    level.map(|_| document)
}

fn language_level<'t>(reader: &mut Reader<'t>, entries: &[Entry<'t>], root: Mark) -> Option<Level> {
    let Some(entry) = entries.iter().find(|entry| entry.key == "version") else {
        reader.problem(
            ErrorKind::VersionMissing,
            root,
            "the document has no version: write version: \"2.0\"",
        );
        return None;
    };
    let text = reader.raw_or_empty(entry.value);
    reader.within("version", |reader| match version::level(&text) {
        Ok(level) => Some(level),
        Err(error) => {
            let (kind, says) = match error {
                VersionError::Malformed => (ErrorKind::VersionMalformed, "is no version"),
                VersionError::Unsupported => {
                    (ErrorKind::VersionUnsupported, "is a version of the language that is not read here")
                }
            };
            reader.problem(kind, text.mark, format!("{} {says}: write \"2.0\" or \"2.1\"", shown(&text)));
            None
        }
    })
}

fn section<'t>(reader: &mut Reader<'t>, entry: Entry<'t>, document: &mut Document<'t>) {
    let node = entry.value;
    match entry.key {
        "version" => {}
        "include" => drop(reader.texts(node)),
        "services" => reader.named(node, |reader, entry| {
            let service = service(reader, entry);
            document.services.insert(entry.key, service);
        }),
        "profiles" => reader.record(node, |reader, part| {
            match part.key {
                "compute" => reader.named(part.value, |reader, entry| {
                    let compute = compute(reader, entry);
                    document.compute.insert(entry.key, compute);
                }),
                "placement" => reader.named(part.value, |reader, entry| {
                    let placement = placement(reader, entry);
                    document.placement.insert(entry.key, placement);
                }),
                _ => return false,
            }
            true
        }),
        "deployment" => reader.named(node, |reader, service| {
            let mut placements = BTreeMap::new();
            reader.named(service.value, |reader, placement| {
                let deploy = deploy(reader, placement);
                placements.insert(placement.key, deploy);
            });
            document.deployment.insert(service.key, placements);
        }),
        "endpoints" => reader.named(node, |reader, entry| {
            let mut endpoint = EndpointDeclaration { mark: entry.key_mark, kind: "" };
            reader.record(entry.value, |reader, field| {
                match field.key {
                    "kind" => endpoint.kind = reader.text(field.value).value,
                    _ => return false,
                }
                true
            });
            document.endpoints.insert(entry.key, endpoint);
        }),
        "reclamation" => {
            let mut window = At { value: "", mark: entry.key_mark };
            reader.record(node, |reader, field| {
                match field.key {
                    "min_window" => window = reader.text(field.value),
                    _ => return false,
                }
                true
            });
            document.reclamation = Some(window);
        }
        _ => {
            let message = format!(
                "the key {} is unknown at the top of a document: \
                 version, include, services, profiles, deployment, endpoints and reclamation are known",
                shown(entry.key)
            );
            reader.problem(ErrorKind::TopLevelUnknownKey, entry.key_mark, message);
        }
    }
}

fn service<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> Service<'t> {
    let mark = entry.key_mark;
    let mut service = Service { mark, image: At { value: "", mark }, ..Service::default() };
    reader.record(entry.value, |reader, field| {
        let node = field.value;
        match field.key {
            "image" => service.image = reader.text(node),
            "command" => service.command = reader.texts(node),
            "args" => service.args = reader.texts(node),
            "env" => service.env = reader.in_secret(|reader| reader.texts_at(node)),
            "expose" => {
                let mut entries = Vec::new();
                reader.list(node, |reader, element| entries.push(expose(reader, element)));
                service.expose = entries;
            }
            "params" => service.params = (!reader.is_null(node)).then(|| params(reader, node)),
            "credentials" => {
                service.credentials =
                    (!reader.is_null(node)).then(|| reader.in_secret(|reader| credentials(reader, field)));
            }
            "dependencies" => reader.list(node, |reader, element| {
                reader.record(element, |reader, field| {
                    if field.key == "service" {
                        reader.text(field.value);
                    }
                    field.key == "service"
                });
            }),
            "x-berth" => extension(reader, field),
            _ => return false,
        }
        true
    });
    service
}

/// The place where extensions of the language go. None is read yet, and half of one would be worse than a refusal.
fn extension(reader: &mut Reader<'_>, field: Entry<'_>) {
    let message = "extensions under x-berth are not read by this version: remove the key";
    reader.problem(ErrorKind::Unsupported, field.key_mark, message);
}

fn expose<'t>(reader: &mut Reader<'t>, node: NodeId) -> Expose<'t> {
    let mark = reader.mark(node);
    let mut expose =
        Expose { mark, port: At { value: 0, mark }, proto: At { value: "", mark }, ..Expose::default() };
    reader.record(node, |reader, field| {
        let node = field.value;
        match field.key {
            "port" => expose.port = reader.number(node),
            "as" => {
                expose.external = reader.number(node);
                if *expose.external > 65535 {
                    let mark = reader.mark(node);
                    reader.warn(mark, "a port above 65535 cannot be reached: write one from 1 to 65535");
                }
            }
            "proto" => expose.proto = reader.text(node),
            "to" => {
                let mut entries = Vec::new();
                reader.list(node, |reader, element| entries.push(to(reader, element)));
                expose.to = entries;
            }
            "accept" => expose.accept = accept(reader, node),
            "http_options" => expose.http_options = http_options(reader, node),
            _ => return false,
        }
        true
    });
    expose
}

fn to<'t>(reader: &mut Reader<'t>, node: NodeId) -> To<'t> {
    let mut to = To { mark: reader.mark(node), ..To::default() };
    reader.record(node, |reader, field| {
        match field.key {
            "global" => to.global = reader.boolean(field.value),
            "service" => to.service = reader.text(field.value).value,
            "ip" => to.ip = reader.text(field.value).value,
            "http_options" => {
                http_options(reader, field.value);
                reader.warn(field.key_mark, "http_options count only beside port: these are ignored");
            }
            _ => return false,
        }
        true
    });
    to
}

fn accept<'t>(reader: &mut Reader<'t>, node: NodeId) -> Option<Vec<At<&'t str>>> {
    let hosts = reader.texts_at(node)?;
    for host in &hosts {
        if !can_stand_in_a_url(host) {
            let message =
                format!("{} cannot stand in a URL: write a host name such as app.example.com", shown(host));
            reader.problem(ErrorKind::AcceptMalformed, host.mark, message);
        }
    }
    Some(hosts)
}

/// Whether `http://` with the text behind it reads as a request's address.
fn can_stand_in_a_url(text: &str) -> bool {
    if text.bytes().any(|b| b < b' ' || b == 0x7f) {
        return false;
    }
    let authority_end = text.find(['/', '?']).unwrap_or(text.len());
    let (authority, rest) = text.split_at(authority_end);
    let path = rest.split('?').next().unwrap_or_default();
    let port = match (authority.rfind('['), authority.rfind(']')) {
        (None, _) => authority.rsplit_once(':').map(|(_, port)| port),
        (Some(open), Some(close)) if open < close => authority[close..].split_once(':').map(|(_, port)| port),
        (Some(_), _) => return false,
    };
    !authority.contains([' ', '#', '^', '|', '{', '}', '\\', '`', '%'])
        && port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()))
        && path.split('%').skip(1).all(|escape| {
            matches!(escape.as_bytes(), [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
        })
}

fn http_options<'t>(reader: &mut Reader<'t>, node: NodeId) -> HttpOptions<'t> {
    let mut options = HttpOptions::default();
    reader.record(node, |reader, field| {
        let node = field.value;
        match field.key {
            "max_body_size" => options.max_body_size = reader.number(node),
            "read_timeout" => options.read_timeout = reader.number(node),
            "send_timeout" => options.send_timeout = reader.number(node),
            "next_tries" => options.next_tries = reader.number(node),
            "next_timeout" => options.next_timeout = reader.number(node),
            "next_cases" => options.next_cases = reader.texts_at(node).unwrap_or_default(),
            "proxy_buffer_size" => options.proxy_buffer_size = reader.number(node),
            _ => return false,
        }
        true
    });
    options
}

fn params<'t>(reader: &mut Reader<'t>, node: NodeId) -> Params<'t> {
    let mut params = Params::default();
    reader.record(node, |reader, field| {
        let node = field.value;
        match field.key {
            "storage" => {
                let mut mounts = BTreeMap::new();
                reader.named(node, |reader, entry| {
                    mounts.insert(entry.key, mount(reader, entry));
                });
                params.storage = mounts;
            }
            "permissions" if reader.is_null(node) => params.permissions = None,
            "permissions" => {
                let mut read = Vec::new();
                reader.record(node, |reader, field| {
                    if field.key == "read" {
                        read = reader.texts(field.value).unwrap_or_default();
                    }
                    field.key == "read"
                });
                params.permissions = Some(read);
            }
            "tee" => params.tee = reader.text(node),
            _ => return false,
        }
        true
    });
    params
}

fn mount<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> Mount<'t> {
    let mark = entry.key_mark;
    let mut mount = Mount { mark, mount: At { value: "", mark }, read_only: false };
    reader.record(entry.value, |reader, field| {
        match field.key {
            "mount" => mount.mount = reader.text(field.value),
            "readOnly" => mount.read_only = reader.boolean(field.value),
            _ => return false,
        }
        true
    });
    mount
}

fn credentials<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> Credentials<'t> {
    let mut credentials = Credentials { mark: entry.key_mark, ..Credentials::default() };
    reader.record(entry.value, |reader, field| {
        let target = match field.key {
            "host" => &mut credentials.host,
            "email" => &mut credentials.email,
            "username" => &mut credentials.username,
            "password" => &mut credentials.password,
            _ => return false,
        };
        *target = reader.text(field.value).value;
        true
    });
    credentials
}

fn compute<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> Compute<'t> {
    let mut compute = Compute { mark: entry.key_mark, ..Compute::default() };
    reader.record(entry.value, |reader, field| {
        if field.key != "resources" {
            return false;
        }
        reader.record(field.value, |reader, field| {
            let node = field.value;
            match field.key {
                "cpu" => compute.cpu = (!reader.is_null(node)).then(|| cpu(reader, field)),
                "memory" => compute.memory = (!reader.is_null(node)).then(|| memory(reader, field)),
                "storage" => compute.storage = storage(reader, node),
                "gpu" => compute.gpu = (!reader.is_null(node)).then(|| gpu(reader, field)),
                _ => return false,
            }
            true
        });
        true
    });
    compute
}

const CPU_WANTED: &str = "an amount of processor: write cores as 0.5 or thousandths as 500m";
const BYTES_WANTED: &str =
    "an amount of bytes: write a number with k, M, G, T, P, E or Ki, Mi, Gi, Ti, Pi, Ei, as 512Mi";
const RAM_WANTED: &str = "an amount of GPU memory: write a number with Ki, Mi, Gi or Ti, as 80Gi";
const COUNT_WANTED: &str = "a whole number of GPUs: write digits only";

fn cpu<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> Cpu<'t> {
    let mut cpu = Cpu { units: At { value: 0, mark: entry.key_mark }, arch: Vec::new() };
    reader.record(entry.value, |reader, field| {
        match field.key {
            "units" => cpu.units = reader.quantity(field.value, cpu_millis, CPU_WANTED),
            "attributes" => {
                cpu.arch.clear();
                for attribute in reader.literal_entries(field.value) {
                    reader.within(attribute.key, |reader| match attribute.key {
                        "arch" => cpu.arch.push(reader.text(attribute.value).value),
                        key => {
                            let message = format!(
                                "the processor attribute {} is unknown: only arch is known",
                                shown(key)
                            );
                            reader.problem(ErrorKind::CpuUnknownAttribute, attribute.key_mark, message);
                        }
                    });
                }
            }
            _ => return false,
        }
        true
    });
    cpu
}

fn memory<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> At<u64> {
    let mut size = At { value: 0, mark: entry.key_mark };
    reader.record(entry.value, |reader, field| {
        if field.key == "size" {
            size = reader.quantity(field.value, bytes, BYTES_WANTED);
        }
        field.key == "size"
    });
    size
}

fn storage<'t>(reader: &mut Reader<'t>, node: NodeId) -> Vec<Volume<'t>> {
    match reader.kind(node) {
        Kind::Plain | Kind::Quoted => Vec::new(),
        Kind::Mapping => {
            let mut volume = volume(reader, node);
            if volume.name != DEFAULT_VOLUME {
                let mark = reader.mark(node);
                reader.warn(
                    mark,
                    "a volume written without a list is always named default: write - before it to name it",
                );
                volume.name = DEFAULT_VOLUME;
            }
            vec![volume]
        }
        Kind::Sequence => volumes(reader, node),
    }
}

const DEFAULT_VOLUME: &str = "default";

fn volumes<'t>(reader: &mut Reader<'t>, node: NodeId) -> Vec<Volume<'t>> {
    let mut volumes = Vec::new();
    // Unlike everywhere else a null element counts: it is a volume of no size.
    reader.list_with_nulls(node, |reader, element| volumes.push(volume(reader, element)));
    let mut names = BTreeSet::new();
    for volume in &volumes {
        if !names.insert(volume.name) {
            let message = format!("two volumes are named {}: give each its own name", shown(volume.name));
            reader.problem(ErrorKind::StorageDuplicateName, volume.size.mark, message);
        }
    }
    volumes
}

fn volume<'t>(reader: &mut Reader<'t>, node: NodeId) -> Volume<'t> {
    let mark = reader.mark(node);
    let mut volume = Volume { size: At { value: 0, mark }, ..Volume::default() };
    reader.record(node, |reader, field| {
        match field.key {
            "name" => volume.name = reader.text(field.value).value,
            "size" => volume.size = reader.quantity(field.value, bytes, BYTES_WANTED),
            "attributes" if reader.is_null(field.value) => volume.attributes = VolumeAttributes::default(),
            "attributes" => volume.attributes = volume_attributes(reader, field),
            _ => return false,
        }
        true
    });
    if volume.name.is_empty() {
        volume.name = DEFAULT_VOLUME;
    }
    volume
}

fn volume_attributes<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> VolumeAttributes {
    let mut class = None;
    let mut persistent = At { value: "false", mark: entry.key_mark };
    let mut unknown = Vec::new();
    reader.named(entry.value, |reader, field| {
        let text = reader.text(field.value);
        match field.key {
            "class" => class = Some(text),
            "persistent" => persistent = text,
            _ => unknown.push(field),
        }
    });
    let class_text = class.map_or("", |class| class.value);
    let class_mark = class.map_or(entry.key_mark, |class| class.mark);
    let stored_class = match (class_text, *persistent) {
        ("", "true") => Some(DEFAULT_CLASS),
        ("", _) | ("ram", "false") => class.map(|class| class.value),
        ("ram", _) => {
            let message = "a volume of class ram is gone with its pod: write persistent: false";
            reader.problem(ErrorKind::StorageRamPersistent, persistent.mark, message);
            return VolumeAttributes::default();
        }
        (class, "false") => {
            let message = format!("class {} needs persistent: true", shown(class));
            reader.problem(ErrorKind::StorageClassOnEphemeral, class_mark, message);
            return VolumeAttributes::default();
        }
        (class, _) => Some(class),
    };
    let known = |text| ["default", "beta1", "beta2", "beta3", "ram"].into_iter().find(|class| *class == text);
    let class = stored_class.and_then(known);
    if let (Some(text), None) = (stored_class, class) {
        let message = format!(
            "storage class {} is unknown: default, beta1, beta2, beta3 and ram are known",
            shown(text)
        );
        reader.problem(ErrorKind::StorageClassUnknown, class_mark, message);
    }
    let persistent = match *persistent {
        "true" | "on" | "yes" => Some(true),
        "false" | "off" | "no" => Some(false),
        text => {
            let message = format!("persistent is {}: write true or false", shown(text));
            reader.problem(ErrorKind::StoragePersistentNotBool, persistent.mark, message);
            None
        }
    };
    for field in unknown {
        let message =
            format!("the storage attribute {} is unknown: class and persistent are known", shown(field.key));
        reader.problem(ErrorKind::StorageUnknownAttribute, field.key_mark, message);
    }
    VolumeAttributes { class, persistent }
}

const DEFAULT_CLASS: &str = "default";

fn gpu<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> Gpu {
    let mut gpu = Gpu { units: At { value: 0, mark: entry.key_mark }, attributes: Vec::new() };
    let mut attributes_broken = false;
    for field in reader.literal_entries(entry.value) {
        reader.within(field.key, |reader| match field.key {
            "units" => gpu.units = reader.quantity(field.value, digits, COUNT_WANTED),
            "attributes" if reader.is_null(field.value) => gpu.attributes.clear(),
            "attributes" => {
                let before = reader.problems.len();
                gpu.attributes = gpu_attributes(reader, field);
                attributes_broken = reader.problems.len() > before;
            }
            key => {
                let message =
                    format!("the key {} is unknown for GPUs: units and attributes are known", shown(key));
                reader.problem(ErrorKind::GpuUnknownKey, field.key_mark, message);
            }
        });
    }
    if *gpu.units > 0 && gpu.attributes.is_empty() && !attributes_broken {
        let message =
            "GPUs are asked for without a model: write attributes with vendor, nvidia and a list of models";
        reader.problem(ErrorKind::GpuAttributesMissing, gpu.units.mark, message);
    }
    gpu
}

fn gpu_attributes<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> Vec<Attribute> {
    let mut keys = None;
    for field in reader.literal_entries(entry.value) {
        reader.within(field.key, |reader| match field.key {
            "vendor" if reader.is_null(field.value) => keys = None,
            "vendor" => keys = Some(gpu_model_keys(reader, field.value)),
            key => {
                let message = format!("the GPU attribute {} is unknown: only vendor is known", shown(key));
                reader.problem(ErrorKind::GpuUnknownAttribute, field.key_mark, message);
            }
        });
    }
    let Some(mut keys) = keys else {
        let message = "GPU attributes name no vendor: write vendor with nvidia and a list of models";
        reader.problem(ErrorKind::GpuVendorMissing, entry.key_mark, message);
        return Vec::new();
    };
    keys.sort_by(|a, b| a.value.cmp(&b.value));
    for (at, key) in keys.iter().enumerate() {
        let repeated = at > 0 && keys[at - 1].value == key.value;
        if repeated || !is_attribute_key(&key.value) {
            let what = if repeated {
                "names a GPU model a second time"
            } else {
                "is not made of letters, digits and . _ - /"
            };
            let message = format!("{} {what}: name each model once, as a100 or h100", shown(&key.value));
            reader.problem(ErrorKind::GpuAttributeKeyInvalid, key.mark, message);
        }
    }
    keys.into_iter().map(|key| Attribute::new(key.value, "true")).collect()
}

const ANY_MODEL: &str = "vendor/nvidia/model/*";

fn gpu_model_keys(reader: &mut Reader<'_>, node: NodeId) -> Vec<At<String>> {
    let mut keys = Vec::new();
    reader.named(node, |reader, vendor| {
        if vendor.key == "nvidia" {
            reader.list(vendor.value, |reader, model| keys.push(gpu_model_key(reader, model)));
        } else {
            let message =
                "GPUs of this vendor are not known and ignored: without nvidia models any NVIDIA GPU will do";
            reader.warn(vendor.key_mark, message);
        }
    });
    if keys.is_empty() {
        keys.push(At { value: ANY_MODEL.to_owned(), mark: reader.mark(node) });
    }
    keys
}

fn gpu_model_key(reader: &mut Reader<'_>, node: NodeId) -> At<String> {
    let mut model = "";
    let mut gibibytes = None;
    let mut interface = None;
    reader.record(node, |reader, field| {
        match field.key {
            "model" => model = reader.text(field.value).value,
            "ram" if reader.is_null(field.value) => gibibytes = None,
            "ram" => gibibytes = Some(*reader.quantity(field.value, ram_bytes, RAM_WANTED) >> 30),
            "interface" if reader.is_null(field.value) => interface = None,
            "interface" => {
                let text = reader.text(field.value);
                if !matches!(*text, "pcie" | "sxm") {
                    let message = format!("{} is no GPU interface: write pcie or sxm", shown(&text));
                    reader.problem(ErrorKind::GpuInterfaceInvalid, text.mark, message);
                }
                interface = Some(text.value);
            }
            _ => return false,
        }
        true
    });
    let mut key = format!("vendor/nvidia/model/{model}");
    if let Some(gibibytes) = gibibytes {
        key += &format!("/ram/{gibibytes}Gi");
    }
    if let Some(interface) = interface {
        key += &format!("/interface/{interface}");
    }
    At { value: key, mark: reader.mark(node) }
}

/// Whether the text may be the key of an attribute: 2 to 128 characters, a letter first, `*` only at the end.
fn is_attribute_key(key: &str) -> bool {
    let [first, middle @ .., last] = key.as_bytes() else { return false };
    let inner = |b: &u8| b.is_ascii_alphanumeric() || b"_/.-".contains(b);
    let length_fits = (2..=128).contains(&key.len());
    // The last character may be `*`, but then there must be one between it and the first.
    let ends = if *last == b'*' { !middle.is_empty() } else { inner(last) };
    // At full length the last character has to be one of the narrower set.
    let full = key.len() < 128 || last.is_ascii_alphanumeric() || matches!(last, b'_' | b'*');
    length_fits && first.is_ascii_alphabetic() && middle.iter().all(inner) && ends && full
}

fn placement<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> Placement<'t> {
    let mut placement = Placement { mark: entry.key_mark, ..Placement::default() };
    reader.record(entry.value, |reader, field| {
        let node = field.value;
        match field.key {
            "attributes" => {
                let mut attributes = BTreeMap::new();
                reader.named(node, |reader, attribute| {
                    attributes.insert(attribute.key, reader.text(attribute.value).value);
                });
                placement.attributes = attributes;
            }
            "signedBy" => reader.record(node, |reader, field| {
                match field.key {
                    "allOf" => placement.all_of = reader.texts(field.value),
                    "anyOf" => placement.any_of = reader.texts(field.value),
                    _ => return false,
                }
                true
            }),
            "pricing" => {
                let mut pricing = BTreeMap::new();
                reader.named(node, |reader, price| {
                    let coin = (!reader.is_null(price.value)).then(|| coin(reader, price));
                    pricing.insert(price.key, coin.flatten());
                });
                placement.pricing = pricing;
            }
            "x-berth" => extension(reader, field),
            _ => return false,
        }
        true
    });
    placement
}

/// A price; `None` with a problem if it is none.
fn coin<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> Option<Coin<'t>> {
    let mark = entry.key_mark;
    let before = reader.problems.len();
    let mut amount = At { value: "", mark };
    let mut denom = At { value: "", mark };
    reader.record(entry.value, |reader, field| {
        match field.key {
            "amount" => amount = reader.text(field.value),
            "denom" => denom = reader.text(field.value),
            _ => return false,
        }
        true
    });
    if reader.problems.len() > before {
        return None;
    }
    let units = match decimal(&amount) {
        Some((false, units)) if units > 0 => units,
        parsed => {
            let (kind, says) = match parsed {
                None => (ErrorKind::PriceMalformed, "is no amount of money"),
                Some((_, 0)) => (ErrorKind::PriceZero, "is nothing"),
                Some(_) => (ErrorKind::PriceNegative, "is less than nothing"),
            };
            let message =
                format!("{} {says}: write a decimal number above zero, as 1000 or 12.5", shown(&amount));
            reader.problem(kind, amount.mark, message);
            return None;
        }
    };
    if !is_denom(&denom) {
        let message = format!("{} is no currency: write uact", shown(&denom));
        reader.problem(ErrorKind::PriceDenomInvalid, denom.mark, message);
        return None;
    }
    Some(Coin { mark: amount.mark, amount: units, denom: denom.value })
}

/// Sign and units of 10^-18 of a decimal number with at most 18 digits after the point; amounts beyond 128 bits count as
/// the largest. `None` if it does not read as one, or is beyond 2^256.
fn decimal(text: &str) -> Option<(bool, u128)> {
    const TWO_TO_THE_256: &str =
        "115792089237316195423570985008687907853269984665640564039457584007913129639936";
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (unsigned, ""),
    };
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || fraction.len() > 18 {
        return None;
    }
    let significant = whole.trim_start_matches('0');
    let beyond = match significant.len().cmp(&TWO_TO_THE_256.len()) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => {
            significant > TWO_TO_THE_256
                || significant == TWO_TO_THE_256 && fraction.bytes().any(|b| b != b'0')
        }
        std::cmp::Ordering::Greater => true,
    };
    if beyond {
        return None;
    }
    let units: u128 = format!("0{significant}{fraction:0<18}").parse().unwrap_or(u128::MAX);
    Some((text.starts_with('-'), units))
}

/// `[a-zA-Z][a-zA-Z0-9/:._-]{2,127}` in full.
fn is_denom(text: &str) -> bool {
    let [first, rest @ ..] = text.as_bytes() else { return false };
    first.is_ascii_alphabetic()
        && (2..=127).contains(&rest.len())
        && rest.iter().all(|b| b.is_ascii_alphanumeric() || b"/:._-".contains(b))
}

fn deploy<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> Deploy<'t> {
    let mut deploy = Deploy { mark: entry.key_mark, ..Deploy::default() };
    reader.record(entry.value, |reader, field| {
        match field.key {
            "profile" => deploy.profile = reader.text(field.value).value,
            "count" => deploy.count = *reader.number(field.value),
            _ => return false,
        }
        true
    });
    deploy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_read_as_exact_decimals() {
        assert_eq!(decimal("12.5"), Some((false, 12_500_000_000_000_000_000)));
        assert_eq!(decimal("0.000000000000000001"), Some((false, 1)));
        assert_eq!(decimal("+007"), Some((false, 7 * 10u128.pow(18))));
        assert_eq!(decimal("-5"), Some((true, 5 * 10u128.pow(18))));
        assert_eq!(decimal(&"9".repeat(77)), Some((false, u128::MAX)));
        for text in [
            "",
            "1e3",
            ".5",
            "5.",
            "0.0000000000000000001",
            "0x10",
            "1,000",
            "--5",
            "1_0",
            " 1",
            &"9".repeat(78),
        ] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }

    #[test]
    fn attribute_keys_follow_the_chain_s_rule() {
        for key in ["vendor/nvidia/model/*", "ab", "vendor/nvidia/model/", &format!("a{}", "b".repeat(127))] {
            assert!(is_attribute_key(key), "{key}");
        }
        for key in [
            "a",
            "1a",
            "a*",
            "a b",
            "vendor/nvidia/model/*/ram/80Gi",
            &format!("a{}", "b".repeat(128)),
            &format!("a{}/", "b".repeat(126)),
        ] {
            assert!(!is_attribute_key(key), "{key}");
        }
    }

    #[test]
    fn host_names_must_fit_into_a_url() {
        for text in ["", "a.com", "a.com:80", "[::1]:80", "a.com/%41?%", "é.com"] {
            assert!(can_stand_in_a_url(text), "{text}");
        }
        for text in ["a b", "a#b", "a:b", "a%41", "[::1", "a.com/%4", "a\u{7f}", "a\tb", "a`"] {
            assert!(!can_stand_in_a_url(text), "{text}");
        }
    }
}
