//! What leases become, judged by programs that are not ours: a schema checker, the API server itself, and an evaluator of
//! network policies.

#![expect(clippy::print_stdout, reason = "the counts are what a reader of the test run looks for")]

mod dry_run;
mod schemas;
#[path = "../../../manifests/tests/objects/stage.rs"]
mod stage;
mod traffic;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::workspace;
use manifests::manifest::Manifest;
use manifests::objects::{LeaseContext, Object, RenderError, render};
use manifests::order::LeaseId;

/// A group of a document with the lease and the objects that it becomes.
struct Rendered {
    /// Document and group, for sentences.
    name: String,
    lease: LeaseContext,
    objects: Vec<Object>,
}

/// Our own documents, each group with a lease of its own.
fn ours() -> Result<Vec<Rendered>> {
    let folder = workspace::root().join("manifests/tests/golden");
    let mut paths = files(&folder)?;
    paths.retain(|path| path.to_string_lossy().ends_with(".sdl.yaml"));
    ensure!(paths.len() >= 30, "only {} documents are in {}", paths.len(), folder.display());
    let mut all = Vec::new();
    for (path, dseq) in paths.iter().zip(1..) {
        let rendered = rendered(path, dseq)?.with_context(|| format!("{} is refused", path.display()))?;
        all.extend(rendered);
    }
    Ok(all)
}

/// Documents that people wrote, as far as they are accepted and offered; `None` where they are not at hand.
fn of_others() -> Result<Option<Vec<Rendered>>> {
    let folder = workspace::root().join("../shared/fixtures/awesome");
    if !folder.is_dir() {
        println!("LEFT OUT: {} is not there, so only our own documents were judged", folder.display());
        return Ok(None);
    }
    let mut all = Vec::new();
    for (path, dseq) in files(&folder)?.iter().zip(1000..) {
        all.extend(rendered(path, dseq)?.into_iter().flatten());
    }
    Ok(Some(all))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|path| path.is_file());
    files.sort();
    Ok(files)
}

/// What a document becomes; `None` if it is not accepted or wants what is not offered.
fn rendered(path: &Path, dseq: u64) -> Result<Option<Vec<Rendered>>> {
    let text = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    let Ok(deployment) = manifests::parse(&text) else { return Ok(None) };
    let Manifest(groups) = deployment.manifest;
    let mut all = Vec::new();
    for (group, gseq) in groups.iter().zip(1..) {
        let lease = stage::lease(LeaseId { dseq, gseq, ..stage::LEASE }, group);
        let objects = match render(group, &lease, &stage::settings()) {
            Ok(objects) => objects.items,
            Err(RenderError::Unsupported { .. }) => return Ok(None),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        all.push(Rendered { name: format!("{file}, group {}", group.name), lease, objects });
    }
    Ok(Some(all))
}
