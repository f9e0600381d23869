//! `x-berth`: what no other parser reads. Unlike elsewhere an unknown key is an error, for nobody else's document has one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::document::{ServiceExtension, TermWishes};
use super::duration;
use super::quantity::bytes;
use super::reader::{Entry, Reader};
use super::yaml::NodeId;
use crate::digest::canonical_json;
use crate::extension::{
    Action, DEFAULT_PATH, Exec, Extension, HttpGet, InitContainer, Probe, Probes, Scheme, SecretRef,
    Strategy, TcpSocket, Within,
};
use crate::manifest::EnvVar;
use crate::problem::{ErrorKind, Mark, shown};
use crate::resources::Quantity;
use crate::terms::Award;

/// The extension of a service; `None` for one that asks for nothing.
pub(super) fn service<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> Option<ServiceExtension> {
    let mut read = Extension::default();
    let mut marks = Marks { all: BTreeMap::new() };
    let known = [
        "probes",
        "restartPolicy",
        "strategy",
        "terminationGracePeriodSeconds",
        "secretRef",
        "initContainers",
        "tmpSize",
        "allowGpuSharing",
    ];
    strict(reader, entry.value, &known, |reader, field| {
        let node = field.value;
        marks.note(reader, field.value, field.key_mark);
        match field.key {
            "probes" => read.probes = probes(reader, node, &mut marks),
            "restartPolicy" => restart_policy(reader, node),
            "strategy" => read.strategy = strategy(reader, node),
            "terminationGracePeriodSeconds" if !reader.is_null(node) => {
                read.termination_grace_period_seconds = within(reader, node);
            }
            "secretRef" => read.secret_ref = secret_refs(reader, node, &mut marks),
            "initContainers" => {
                let mut containers = Vec::new();
                reader.list(node, |reader, element| {
                    containers.push(init_container(reader, element, &mut marks));
                });
                read.init_containers = containers;
            }
            "tmpSize" if !reader.is_null(node) => {
                read.tmp_size = Some(Quantity(*reader.quantity(node, bytes, SIZE_WANTED)));
            }
            "allowGpuSharing" => read.allow_gpu_sharing = reader.boolean(node),
            _ => {}
        }
    });
    if read == Extension::default() {
        return None;
    }
    let json_bytes = canonical_json(&read).len();
    Some(ServiceExtension { mark: entry.key_mark, read, json_bytes, marks: marks.all })
}

const SIZE_WANTED: &str = "an amount of bytes: write a number with Ki, Mi or Gi, as 512Mi";

/// About how much a place takes beside its path, and the part that stands there beside its texts.
const MARK_BYTES: usize = 200;

/// Where the parts stand that are checked when the manifest is built, by their paths.
struct Marks {
    all: BTreeMap<String, Mark>,
}

impl Marks {
    fn note(&mut self, reader: &mut Reader<'_>, node: NodeId, mark: Mark) {
        let path = reader.path();
        if reader.take_memory(node, path.len() + MARK_BYTES) {
            self.all.insert(path, mark);
        }
    }
}

/// A mapping in which every key must be known.
fn strict<'t>(
    reader: &mut Reader<'t>,
    node: NodeId,
    known: &[&str],
    mut each: impl FnMut(&mut Reader<'t>, Entry<'t>),
) {
    reader.named(node, |reader, entry| {
        if known.contains(&entry.key) {
            return each(reader, entry);
        }
        let message = format!(
            "the key {} is unknown in this part of x-berth: {} {} known",
            reader.quoted(entry.key),
            known.join(", "),
            if known.len() == 1 { "is" } else { "are" }
        );
        reader.problem(ErrorKind::ExtensionUnknownKey, entry.key_mark, message);
    });
}

fn invalid(reader: &mut Reader<'_>, mark: Mark, message: impl Into<String>) {
    reader.problem(ErrorKind::ExtensionInvalid, mark, message);
}

/// A number in the range of its type; the least one, with a problem, if it is not.
fn within<const LEAST: u32, const MOST: u32>(
    reader: &mut Reader<'_>,
    node: NodeId,
) -> Option<Within<LEAST, MOST>> {
    let before = reader.problems.len();
    let number = reader.number(node);
    let within = Within::try_from(*number);
    if let (Err(message), true) = (&within, reader.problems.len() == before) {
        invalid(reader, number.mark, message.as_str());
    }
    within.ok()
}

/// One word out of several.
fn word<T: Copy>(reader: &mut Reader<'_>, node: NodeId, words: &[(&str, T)]) -> Option<T> {
    let text = reader.text(node);
    let found = words.iter().find(|(word, _)| *word == *text).map(|(_, value)| *value);
    if found.is_none() {
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let message = format!("{} is not known here: write {}", shown(&text), known.join(" or "));
        invalid(reader, text.mark, message);
    }
    found
}

/// A service runs until its lease ends, so only one policy makes sense; the others are told why.
fn restart_policy(reader: &mut Reader<'_>, node: NodeId) {
    let text = reader.text(node);
    if !matches!(*text, "" | "Always") {
        let message = format!(
            "restartPolicy is {}: a service is started again however it ended; write Always, or leave it out",
            shown(&text)
        );
        invalid(reader, text.mark, message);
    }
}

fn probes<'t>(reader: &mut Reader<'t>, node: NodeId, marks: &mut Marks) -> Probes {
    let mut probes = Probes::default();
    strict(reader, node, &["startup", "readiness", "liveness"], |reader, field| {
        let read = if reader.is_null(field.value) { None } else { probe(reader, field, marks) };
        match field.key {
            "startup" => probes.startup = read,
            "readiness" => probes.readiness = read,
            _ => probes.liveness = read,
        }
    });
    probes
}

fn probe<'t>(reader: &mut Reader<'t>, entry: Entry<'t>, marks: &mut Marks) -> Option<Probe> {
    const ONE: &str = "a probe asks one thing: write one of httpGet, tcpSocket and exec";
    let mut actions = Vec::new();
    let mut initial_delay_seconds = Within::try_from(0).ok();
    let mut period_seconds = Within::try_from(10).ok();
    let mut timeout_seconds = Within::try_from(1).ok();
    let mut success_threshold = Within::try_from(1).ok();
    let mut failure_threshold = Within::try_from(3).ok();
    let known = [
        "httpGet",
        "tcpSocket",
        "exec",
        "initialDelaySeconds",
        "periodSeconds",
        "timeoutSeconds",
        "successThreshold",
        "failureThreshold",
    ];
    let before = reader.problems.len();
    strict(reader, entry.value, &known, |reader, field| {
        let node = field.value;
        marks.note(reader, field.value, field.key_mark);
        if reader.is_null(node) {
            return;
        }
        match field.key {
            "httpGet" => actions.extend(http_get(reader, node, marks).map(Action::HttpGet)),
            "tcpSocket" => actions.extend(tcp_socket(reader, node).map(Action::TcpSocket)),
            "exec" => actions.push(Action::Exec(exec(reader, node, marks))),
            "initialDelaySeconds" => initial_delay_seconds = within(reader, node),
            "periodSeconds" => period_seconds = within(reader, node),
            "timeoutSeconds" => timeout_seconds = within(reader, node),
            "successThreshold" => success_threshold = within(reader, node),
            _ => failure_threshold = within(reader, node),
        }
    });
    if actions.len() != 1 && reader.problems.len() == before {
        invalid(reader, entry.key_mark, ONE);
    }
    Some(Probe {
        action: actions.pop()?,
        initial_delay_seconds: initial_delay_seconds?,
        period_seconds: period_seconds?,
        timeout_seconds: timeout_seconds?,
        success_threshold: success_threshold?,
        failure_threshold: failure_threshold?,
    })
}

fn http_get<'t>(reader: &mut Reader<'t>, node: NodeId, marks: &mut Marks) -> Option<HttpGet> {
    let mark = reader.mark(node);
    let mut path = DEFAULT_PATH;
    let mut port = None;
    let mut scheme = Scheme::default();
    strict(reader, node, &["path", "port", "scheme"], |reader, field| {
        marks.note(reader, field.value, field.key_mark);
        match field.key {
            "path" if !reader.is_null(field.value) => path = reader.text(field.value).value,
            "port" => port = Some(within(reader, field.value)),
            "scheme" if !reader.is_null(field.value) => {
                let words = [("HTTP", Scheme::Http), ("HTTPS", Scheme::Https)];
                scheme = word(reader, field.value, &words).unwrap_or_default();
            }
            _ => {}
        }
    });
    let port = known_port(reader, mark, port)?;
    Some(HttpGet { path: reader.owned(node, path), port, scheme })
}

fn tcp_socket(reader: &mut Reader<'_>, node: NodeId) -> Option<TcpSocket> {
    let mark = reader.mark(node);
    let mut port = None;
    strict(reader, node, &["port"], |reader, field| port = Some(within(reader, field.value)));
    Some(TcpSocket { port: known_port(reader, mark, port)? })
}

/// The port, unless it is missing or was found wrong.
fn known_port<T>(reader: &mut Reader<'_>, mark: Mark, port: Option<Option<T>>) -> Option<T> {
    if port.is_none() {
        invalid(reader, mark, "there is no port to ask at: write port with the container's");
    }
    port.flatten()
}

fn exec<'t>(reader: &mut Reader<'t>, node: NodeId, marks: &mut Marks) -> Exec {
    let mut command = None;
    reader.in_secret(|reader| {
        strict(reader, node, &["command"], |reader, field| {
            marks.note(reader, field.value, field.key_mark);
            command = owned_texts(reader, field.value);
        });
    });
    Exec { command: command.unwrap_or_default() }
}

fn strategy(reader: &mut Reader<'_>, node: NodeId) -> Option<Strategy> {
    if reader.is_null(node) {
        return None;
    }
    let mark = reader.mark(node);
    let mut recreate = None;
    let mut max_surge = Within::try_from(0).ok();
    let mut max_unavailable = None;
    let mut numbers = None;
    let before = reader.problems.len();
    strict(reader, node, &["type", "maxSurge", "maxUnavailable"], |reader, field| match field.key {
        "type" => recreate = word(reader, field.value, &[("RollingUpdate", false), ("Recreate", true)]),
        "maxSurge" => {
            max_surge = within(reader, field.value);
            numbers = Some(field.key_mark);
        }
        _ => {
            max_unavailable = within::<0, 100>(reader, field.value);
            numbers = Some(field.key_mark);
        }
    });
    if reader.problems.len() > before {
        return None;
    }
    match (recreate, numbers) {
        (None, _) => {
            invalid(reader, mark, "the strategy has no type: write type: RollingUpdate or type: Recreate");
            None
        }
        (Some(true), Some(mark)) => {
            invalid(reader, mark, "maxSurge and maxUnavailable belong to type RollingUpdate: leave them out");
            None
        }
        (Some(true), None) => Some(Strategy::Recreate),
        (Some(false), _) => {
            // What is not said keeps the update going.
            let max_surge = max_surge?;
            let missing = if max_surge.get() == 0 { 1 } else { 0 };
            let max_unavailable = max_unavailable.or(Within::try_from(missing).ok())?;
            Some(Strategy::RollingUpdate { max_surge, max_unavailable })
        }
    }
}

/// Variable → secret. Neither side is shown in a message: a value may stand where a name belongs.
fn secret_refs(reader: &mut Reader<'_>, node: NodeId, marks: &mut Marks) -> Vec<SecretRef> {
    let mut references = BTreeMap::new();
    reader.in_secret(|reader| {
        reader.named(node, |reader, entry| {
            let secret = reader.text(entry.value);
            marks.note(reader, entry.value, secret.mark);
            let name = reader.owned(entry.value, entry.key);
            references.insert(name, reader.owned(entry.value, &secret));
        });
    });
    references.into_iter().map(|(name, secret)| SecretRef { name, secret }).collect()
}

fn init_container<'t>(reader: &mut Reader<'t>, node: NodeId, marks: &mut Marks) -> InitContainer {
    let mut container = InitContainer {
        name: String::new(),
        image: String::new(),
        command: None,
        args: None,
        env: None,
        secret_ref: Vec::new(),
    };
    marks.note(reader, node, reader.mark(node));
    let known = ["name", "image", "command", "args", "env", "secretRef"];
    strict(reader, node, &known, |reader, field| {
        let node = field.value;
        marks.note(reader, node, reader.mark(node));
        match field.key {
            "name" => container.name = owned_text(reader, node),
            "image" => container.image = owned_text(reader, node),
            "command" => container.command = owned_texts(reader, node),
            "args" => container.args = owned_texts(reader, node),
            "env" => {
                let texts = reader.in_secret(|reader| owned_texts(reader, node));
                container.env = texts.map(|texts| texts.into_iter().map(EnvVar).collect());
            }
            _ => container.secret_ref = secret_refs(reader, node, marks),
        }
    });
    container
}

fn owned_text(reader: &mut Reader<'_>, node: NodeId) -> String {
    let text = reader.text(node);
    reader.owned(node, &text)
}

fn owned_texts(reader: &mut Reader<'_>, node: NodeId) -> Option<Vec<String>> {
    let texts = reader.texts(node)?;
    Some(texts.into_iter().map(|text| reader.owned(node, text)).collect())
}

/// The extension of a placement.
pub(super) fn placement<'t>(reader: &mut Reader<'t>, entry: Entry<'t>) -> TermWishes<'t> {
    let mut wishes = TermWishes::default();
    let known = ["award", "deadline", "minReclaim", "regions", "maxLatency"];
    let mut award_mark = entry.key_mark;
    strict(reader, entry.value, &known, |reader, field| {
        let node = field.value;
        if reader.is_null(node) {
            return;
        }
        match field.key {
            "award" => {
                award_mark = reader.mark(node);
                let words = [("manual", Award::Manual), ("lowest", Award::Lowest)];
                wishes.award = word(reader, node, &words).unwrap_or_default();
            }
            "deadline" => wishes.deadline = span(reader, node, Span::Seconds),
            "minReclaim" => wishes.min_reclaim = span(reader, node, Span::Seconds),
            "maxLatency" => wishes.max_latency = span(reader, node, Span::Milliseconds),
            _ => wishes.regions = regions(reader, node),
        }
    });
    if wishes.award == Award::Lowest && wishes.deadline.is_none() {
        let message = "nobody awards an order to the lowest bid before it is known when the last may come: write deadline, as 10m";
        reader.within("award", |reader| invalid(reader, award_mark, message));
    }
    wishes
}

/// The unit in which a span of time must be whole.
#[derive(Clone, Copy)]
enum Span {
    Seconds,
    Milliseconds,
}

/// A span of time above zero that fits 32 bits of its unit.
fn span(reader: &mut Reader<'_>, node: NodeId, unit: Span) -> Option<Duration> {
    let text = reader.text(node);
    let (nanoseconds, name, example) = match unit {
        Span::Seconds => (1_000_000_000, "seconds", "10m"),
        Span::Milliseconds => (1_000_000, "milliseconds", "50ms"),
    };
    let read = duration::nanoseconds(&text).and_then(|total| u64::try_from(total).ok());
    let fits = |total: &u64| {
        *total > 0 && total.is_multiple_of(nanoseconds) && total / nanoseconds <= u64::from(u32::MAX)
    };
    let span = read.filter(fits).map(Duration::from_nanos);
    if span.is_none() {
        let message = format!(
            "{} is no time in whole {name}: write a number with its unit, as {example}",
            shown(&text)
        );
        invalid(reader, text.mark, message);
    }
    span
}

fn regions<'t>(reader: &mut Reader<'t>, node: NodeId) -> Vec<&'t str> {
    let mut regions: Vec<&str> = Vec::new();
    let mut seen = BTreeSet::new();
    reader.list(node, |reader, element| {
        let text = reader.text(element);
        if !crate::rules::is_label(&text) || text.len() > crate::rules::MAX_NAME {
            let message = format!(
                "{} is no name of a region: use lower-case letters, digits and -, as eu-west",
                shown(&text)
            );
            invalid(reader, text.mark, message);
        } else if !seen.insert(text.value) {
            let message = format!("region {} stands here twice: keep one of them", shown(&text));
            invalid(reader, text.mark, message);
        }
        regions.push(text.value);
    });
    regions
}
