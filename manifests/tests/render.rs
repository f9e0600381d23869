//! Groups become the objects that stand beside them: `cases/<name>/manifest.yaml` → `cases/<name>/objects.yaml`.
//!
//! `UPDATE_GOLDEN=1 cargo test -p manifests --test render` writes the objects anew; read the difference before it is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use manifests::decision::{Placement, Replica, Takes};
use manifests::manifest::{Group, Manifest};
use manifests::objects::{GatewayRef, LeaseContext, Objects, RenderError, Settings, render};
use manifests::order::{Address, LeaseId};
use serde::Deserialize;

/// A case as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// Where the replicas of each resource unit run.
    nodes: BTreeMap<u32, Vec<String>>,
    /// The manifest; its first group is rendered.
    manifest: Manifest,
}

impl Case {
    fn named(name: &str) -> Self {
        let path = folder().join(name).join("manifest.yaml");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn group(&self) -> Group {
        self.manifest.0[0].clone()
    }

    fn lease(&self) -> LeaseContext {
        let replica =
            |unit: u32, node: &String| Replica { unit, node: node.clone(), takes: Takes::default() };
        let replicas =
            self.nodes.iter().flat_map(|(unit, nodes)| nodes.iter().map(|node| replica(*unit, node)));
        LeaseContext {
            id: LeaseId { tenant: Address([0xab; 20]), dseq: 1201, gseq: 1, oseq: 1 },
            provider: Address([0xcd; 20]),
            placement: Placement { replicas: replicas.collect() },
        }
    }

    fn render(&self) -> Result<Objects, RenderError> {
        render(&self.group(), &self.lease(), &settings())
    }
}

fn settings() -> Settings {
    Settings {
        ingress_domain: "apps.provider.example".to_owned(),
        gateway: GatewayRef {
            name: "berth".to_owned(),
            namespace: "berth-gateway".to_owned(),
            section: Some("http".to_owned()),
        },
        gateway_sources: vec!["192.0.2.1/32".parse().expect("a network")],
        dns_servers: vec!["192.0.2.1/32".parse().expect("a network")],
        closed_networks: vec![
            "198.51.100.0/24".parse().expect("a network"),
            "2001:db8::/32".parse().expect("a network"),
        ],
        user_namespace_nodes: BTreeSet::from(["node-a".to_owned(), "node-b".to_owned()]),
        gpu_runtime_class: Some("nvidia".to_owned()),
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

fn case_names() -> Vec<String> {
    let entries = fs::read_dir(folder()).expect("the cases are there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("is readable").file_name().into_string().expect("is text"))
        .collect();
    names.sort();
    names
}

#[test]
fn groups_become_the_objects_beside_them() {
    let names = case_names();
    assert!(names.len() >= 5, "cases are missing: {names:?}");
    for name in names {
        let objects = Case::named(&name).render().unwrap_or_else(|error| panic!("{name}: {error}"));
        let bodies: Vec<String> =
            objects.items.iter().map(|item| serde_yaml::to_string(&item.body).expect("is YAML")).collect();
        let text = bodies.join("---\n");
        let path = folder().join(&name).join("objects.yaml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, text).expect("is writable");
            continue;
        }
        let golden = fs::read_to_string(&path).unwrap_or_default();
        let at = text.lines().zip(golden.lines()).position(|(have, want)| have != want);
        assert!(
            text == golden,
            "{} differs, first in line {:?}:\n{text}",
            path.display(),
            at.map(|line| line + 1)
        );
    }
}
