//! The tenants' language: text → [`Deployment`].
//!
//! A tree of YAML nodes (`yaml`) is read with the language's own rules (`reader`) into the document as written
//! (`document`; sections in `service`, `compute`, `placement`, `extension`). What is deployed is then built (`build`, `expose`) and checked
//! (`validate`). Every section is decoded where it stands, used or not, and every problem is kept.

mod advice;
mod build;
mod compute;
mod document;
mod duration;
mod expose;
mod extension;
mod placement;
mod quantity;
mod reader;
mod service;
mod source;
mod ties;
mod validate;
mod version;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use document::{At, Deploy, Document, EndpointDeclaration, Level};
use reader::{Entry, MAX_TOLD, Reader};
use version::VersionError;
use yaml::{Kind, NodeId, Tree};

pub use advice::advise;
pub use source::{Excerpt, Source};

use crate::group::GroupSpec;
use crate::manifest::Manifest;
use crate::problem::{ErrorKind, Mark, Problem, Warning, shown};
use crate::terms::Terms;

/// The longest document that is read, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 2 << 20;

/// What a document stands for: three views of one value, and what its author should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// What the provider runs; its digest is bound on chain.
    pub manifest: Manifest,
    /// What is ordered: one for each group of the manifest, in the same order.
    pub groups: Vec<GroupSpec>,
    /// What is wanted of each order beside its spec: one for each group, in the same order.
    pub terms: Vec<Terms>,
    /// The least notice that a provider must give before leaving.
    pub reclamation: Option<Duration>,
    /// What is accepted but probably not meant.
    pub warnings: Vec<Warning>,
}

/// How faithfully a document is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// As the language says, and as every provider can check.
    #[default]
    Exact,
    /// With what the web console of the other network accepts beyond that, each time with a warning: suffixes of bytes in
    /// any case and with letters behind them (`4GB`, `1gi`), and a `name` for a volume that is written without a list.
    Lenient,
}

/// What came of reading a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What the document stands for, or every problem of it, the first being the one that the language's order of checks
    /// demands.
    pub outcome: Result<Deployment, Vec<Problem>>,
    /// How much work it was: parser events, nodes visited, and pieces of the manifest written. At most
    /// [`MAX_STEPS_PER_BYTE`] for each byte of the document.
    pub steps: usize,
}

/// The bound of [`Reading::steps`].
pub const MAX_STEPS_PER_BYTE: usize = 64;

/// Reads a tenant's document.
///
/// # Errors
/// Every problem of the document; the first is the one that the language's order of checks demands.
pub fn parse(text: impl AsRef<[u8]>) -> Result<Deployment, Vec<Problem>> {
    read(text, Mode::Exact).outcome
}

/// Reads a tenant's document as faithfully as wanted, and counts the work.
pub fn read(text: impl AsRef<[u8]>, mode: Mode) -> Reading {
    let mut steps = 0;
    let outcome = read_counted(text.as_ref(), mode, &mut steps);
    Reading { outcome, steps }
}

fn read_counted(text: &[u8], mode: Mode, steps: &mut usize) -> Result<Deployment, Vec<Problem>> {
    if text.len() > MAX_DOCUMENT_BYTES {
        let message = format!(
            "the document is longer than the {MAX_DOCUMENT_BYTES} bytes that are read: write less of it"
        );
        return Err(vec![Problem::at(ErrorKind::DocumentTooLarge, String::new(), Mark::default(), message)]);
    }
    let tree = Tree::read(text).map_err(|problem| vec![problem])?;
    *steps = tree.event_count();
    let mut reader = Reader::new(&tree, text.len(), mode);
    let document = root(&mut reader, tree.root());
    *steps += reader.steps();
    let Reader { mut problems, warnings, .. } = reader;
    let Some(document) = document else { return Err(problems) };
    if problems.is_empty() {
        return validate::validate(&document, warnings, steps);
    }
    // What could not be decoded comes first. The checks still find what does not depend on it.
    if problems.iter().all(|problem| problem.kind != ErrorKind::DocumentTooLarge)
        && let Err(found) = validate::validate(&document, warnings, steps)
    {
        let known = problems.len();
        problems.extend(
            found.into_iter().filter(|found| independent(found, &problems[..known])).collect::<Vec<_>>(),
        );
        problems.truncate(MAX_TOLD);
    }
    Err(problems)
}

/// Whether a problem that a check found would be there without those of decoding.
fn independent(found: &Problem, decoding: &[Problem]) -> bool {
    use ErrorKind as Kind;
    let names_something = matches!(
        found.kind,
        Kind::ComputeProfileUnknown
            | Kind::PlacementProfileUnknown
            | Kind::ServiceUnknown
            | Kind::ParamsVolumeUnknown
            | Kind::IpEndpointUnknown
    );
    // These look at several places, any of which may be the one that could not be decoded.
    let looks_around = matches!(
        found.kind,
        Kind::PricingMissing
            | Kind::NoGlobalService
            | Kind::NoGroups
            | Kind::EndpointUnused
            | Kind::PersistentUnmounted
            | Kind::DenomMixedInGroup
            | Kind::DenomMixedAcrossGroups
            | Kind::TotalCpuOutOfRange
            | Kind::TotalGpuOutOfRange
            | Kind::TotalMemoryOutOfRange
            | Kind::TeeNeedsGpu
            | Kind::ExtensionInvalid
            | Kind::ManifestTooLarge
    );
    let touches = |problem: &Problem| {
        problem.path.starts_with(&found.path) || found.path.starts_with(&problem.path)
            // A section, or a named thing in it, that another place may name.
            || names_something && problem.path.split('.').count() <= 3
            // The profile may be the one in which volumes were to be found.
            || found.kind == Kind::ParamsVolumeUnknown && problem.path.starts_with("profiles.compute")
    };
    !looks_around && !decoding.iter().any(touches)
}

/// Decodes a document; `None` if there is nothing in it to go on with. The first problem is the one that the language's order
/// of checks demands.
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
            let service = service::service(reader, entry);
            document.services.insert(entry.key, service);
        }),
        "profiles" => reader.record(node, |reader, part| {
            match part.key {
                "compute" => reader.named(part.value, |reader, entry| {
                    let compute = compute::compute(reader, entry);
                    document.compute.insert(entry.key, compute);
                }),
                "placement" => reader.named(part.value, |reader, entry| {
                    let placement = placement::placement(reader, entry);
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
