//! Documents become the objects that stand beside them: `golden/<name>.sdl.yaml` → `golden/<name>.objects.yaml`.
//!
//! `BERTH_WRITE_GOLDENS=1 cargo test -p manifests --test objects` writes the objects anew; read the difference before it is
//! kept.

use std::fs;
use std::path::{Path, PathBuf};

use manifests::manifest::Manifest;
use manifests::objects::render;
use manifests::order::LeaseId;

use crate::stage;

/// The documents of a folder, by name.
pub(crate) fn documents(folder: &Path, ending: &str) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("is readable").path());
    let mut documents: Vec<(String, PathBuf)> = paths
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(ending)?.to_owned();
            Some((name, path))
        })
        .collect();
    documents.sort();
    documents
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

pub(crate) fn manifest(path: &Path) -> Manifest {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let read = manifests::parse(&text);
    read.unwrap_or_else(|problems| panic!("{}: {problems:#?}", path.display())).manifest
}

/// The objects of all groups, as YAML documents in the order in which they are applied.
fn rendered(name: &str, manifest: &Manifest) -> String {
    let mut texts = Vec::new();
    for (group, gseq) in manifest.0.iter().zip(1..) {
        let lease = stage::lease(LeaseId { gseq, ..stage::LEASE }, group);
        let objects = render(group, &lease, &stage::settings());
        let objects = objects.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!objects.items.iter().any(|item| item.waits), "{name} waits for what it was given");
        texts.extend(objects.items.iter().map(|item| serde_yaml::to_string(&item.body).expect("is YAML")));
    }
    texts.join("---\n")
}

#[test]
fn documents_become_the_objects_beside_them() {
    let documents = documents(&folder(), ".sdl.yaml");
    assert!(documents.len() >= 30, "documents are missing: there are {}", documents.len());
    let mut differ = Vec::new();
    for (name, path) in &documents {
        let text = rendered(name, &manifest(path));
        let golden_path = folder().join(format!("{name}.objects.yaml"));
        if std::env::var_os("BERTH_WRITE_GOLDENS").is_some() {
            fs::write(&golden_path, text).expect("is writable");
            continue;
        }
        let golden = fs::read_to_string(&golden_path).unwrap_or_default();
        if text != golden {
            let line = text.lines().zip(golden.lines()).position(|(have, want)| have != want);
            let line = line.unwrap_or_else(|| text.lines().count().min(golden.lines().count()));
            differ.push(format!(
                "{}:{}: rendered is {:?}",
                golden_path.display(),
                line + 1,
                text.lines().nth(line)
            ));
        }
    }
    assert!(differ.is_empty(), "objects have changed:\n{}", differ.join("\n"));
    println!("{} golden documents render as they should", documents.len());
}

#[test]
fn every_golden_file_belongs_to_a_document() {
    let names =
        |ending: &str| documents(&folder(), ending).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(".objects.yaml"), names(".sdl.yaml"));
}
