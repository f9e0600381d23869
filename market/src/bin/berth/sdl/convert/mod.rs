//! `berth sdl convert`: a compose file as a document.
//!
//! Whatever the compose file says is either carried over or named with the reason why it is not; what a document needs and no
//! compose file says is assumed and named as well. What comes out has been read by the language before anybody sees it.

mod amounts;
mod health;
mod interpolate;
mod notes;
mod ports;
mod resources;
mod service;
mod volumes;
mod words;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_yaml::{Mapping, Value};

use crate::exit::Ending;
use crate::output;
use crate::sdl::{layout, report, source};
use interpolate::Variables;
use notes::{Notes, Place};

/// Make a document from a compose file.
///
/// Carried over: images, entry points and commands, environment, published and exposed ports, volumes, limits and
/// reservations of resources with GPUs, replicas, health checks, and how updates and stops are done. What cannot be is listed
/// on standard error with its place and the reason; so is what had to be assumed, such as prices and sizes. Variables as ${NAME}
/// are taken from --env-file only. The result is a document that providers accept; read it before you pay for it.
///
/// Exit codes: 0 done, 1 no document can be made of it, 2 wrong usage or a file that cannot be read.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Convert {
    /// The compose file; - is standard input.
    compose: PathBuf,
    /// Where to write the document; - is standard output.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Overwrite the file if it is there.
    #[arg(long)]
    force: bool,
    /// File with a line NAME=value for each variable of the compose file.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Size of volumes, of which compose files say none.
    #[arg(long, value_name = "SIZE", default_value = "10Gi")]
    volume_size: String,
}

const EXAMPLES: &str = "Examples:
  berth sdl convert docker-compose.yaml
  berth sdl convert compose.yaml --env-file .env --file deploy.yaml";

/// The placement that everything goes to: compose files know no places.
const PLACEMENT: &str = "anywhere";

pub(super) fn run(convert: &Convert) -> anyhow::Result<()> {
    let name = source::name(&convert.compose);
    let refused = |why: &str| Ending::error(Ending::REFUSED, format!("{name} cannot be converted: {why}"));
    let text = source::read(&convert.compose)?;
    let variables = match &convert.env_file {
        Some(path) => Variables::read(&String::from_utf8_lossy(&source::read(path)?)),
        None => Variables::default(),
    };
    let mut compose: Value = serde_yaml::from_slice(&text).map_err(|error| refused(&unread(&error)))?;
    compose.apply_merge().map_err(|error| refused(&unread(&error)))?;
    let mut notes = Notes::default();
    interpolate::resolve(&mut compose, &variables, &mut notes);
    let converted = document(&compose, &convert.volume_size, &mut notes);
    for note in notes.all() {
        output::progress(note);
    }
    let text = written(&converted.map_err(|why| refused(&why))?)?;
    if let Err(problems) = manifests::parse(&text) {
        output::progress(report::problems("the converted document", text.as_bytes(), &problems).trim_end());
        return Err(refused("what comes out is no document that a provider accepts"));
    }
    source::write_new(&convert.file, &text, convert.force)
}

/// Why a file is not read, without any of its content.
fn unread(error: &serde_yaml::Error) -> String {
    match error.location() {
        Some(place) => format!("it is not read as YAML (line {}, column {})", place.line(), place.column()),
        None => "it is not read as YAML".to_owned(),
    }
}

/// A document as it is written.
#[derive(Serialize)]
struct Document {
    version: &'static str,
    services: Mapping,
    profiles: Profiles,
    deployment: Mapping,
}

#[derive(Serialize)]
struct Profiles {
    compute: Mapping,
    placement: Mapping,
}

/// The document that a compose file stands for, or the sentence that says why there is none.
fn document(compose: &Value, volume_size: &str, notes: &mut Notes) -> Result<Document, String> {
    let root = Place::root(compose);
    let wanted = root.get("services").filter(|services| !services.entries().is_empty());
    let wanted = wanted.ok_or("it has no services: is it a compose file?")?;
    for (key, place) in root.entries() {
        match key.as_str() {
            "services" => {}
            "volumes" => volumes::declared(&place, notes),
            "version" => notes.left(&place, "it is the version of the compose format"),
            "name" => notes.left(&place, "a deployment is named when it is started: berth up --name"),
            "networks" => {
                notes.left(&place, "all services of a placement share one network, closed to others");
            }
            "secrets" => notes.left(&place, "secrets are told to the provider's gateway, by name"),
            "configs" => notes.left(&place, "files of your machine do not travel: put them into an image"),
            "include" => {
                notes.left(&place, "other files are not read: merge them with docker compose config");
            }
            _ if key.starts_with("x-") => notes.left(&place, "only the tool that it is for reads it"),
            _ => notes.left(&place, "it is unknown in compose files"),
        }
    }
    let mut document = Document {
        version: "2.0",
        services: Mapping::new(),
        profiles: Profiles { compute: Mapping::new(), placement: Mapping::new() },
        deployment: Mapping::new(),
    };
    let alone = wanted.entries().len() == 1;
    let mut pricing = Mapping::new();
    for (compose_name, place) in wanted.entries() {
        let name = service::name(&compose_name, &place, notes)?;
        let read = service::read(&place, alone, volume_size, notes)?;
        if document.services.insert(Value::from(name.as_str()), read.service).is_some() {
            return Err(format!("two services would be named {name}: rename one of them"));
        }
        document
            .profiles
            .compute
            .insert(Value::from(name.as_str()), mapping([("resources", read.resources)]));
        let amount = if read.gpus > 0 { 5_000 * read.gpus } else { 100 };
        let price = format!("{amount} uact a block for each replica; berth price tells what that is");
        notes.assumed(&place, "price", &price);
        pricing.insert(
            Value::from(name.as_str()),
            mapping([("denom", Value::from("uact")), ("amount", Value::from(amount))]),
        );
        let deployed = mapping([("profile", Value::from(name.as_str())), ("count", Value::from(read.count))]);
        document.deployment.insert(Value::from(name.as_str()), mapping([(PLACEMENT, deployed)]));
    }
    document
        .profiles
        .placement
        .insert(Value::from(PLACEMENT), mapping([("pricing", Value::Mapping(pricing))]));
    if !is_reachable(&document.services) {
        return Err(
            "no service publishes a port, so nobody could reach anything: write ports for one".to_owned()
        );
    }
    Ok(document)
}

fn is_reachable(services: &Mapping) -> bool {
    let exposes = services.values().filter_map(|service| service.get("expose")?.as_sequence()).flatten();
    exposes
        .filter_map(|expose| expose.get("to")?.as_sequence())
        .flatten()
        .any(|to| to.get("global").is_some())
}

/// The document's text in the one layout.
fn written(document: &Document) -> anyhow::Result<String> {
    let text = serde_yaml::to_string(document)?;
    let text = layout::format(&text)
        .map_err(|why| Ending::error(Ending::REFUSED, format!("the document cannot be written: {why}")))?;
    Ok(format!(
        "# Made from a compose file by `berth sdl convert`. Prices and sizes are assumptions: make them yours.\n{text}"
    ))
}

/// A mapping with these entries, those that are null left out.
fn mapping<const N: usize>(entries: [(&str, Value); N]) -> Value {
    let entries = entries.into_iter().filter(|(_, value)| !value.is_null());
    Value::Mapping(entries.map(|(key, value)| (Value::from(key), value)).collect())
}

/// A list, null if it is empty.
fn list(values: Vec<Value>) -> Value {
    if values.is_empty() { Value::Null } else { Value::Sequence(values) }
}

#[cfg(test)]
mod tests;
