//! `berth sdl schema`: what the schema says of documents against what the language says.

use std::collections::BTreeMap;
use std::path::Path;

use boon::{Compiler, Draft, SchemaIndex, Schemas};
use serde_json::Value;

use crate::berth::{Folder, expected, fixtures};

/// The schema that the binary prints, compiled by a validator that is not ours.
struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Schema {
    fn printed() -> Self {
        let ended = Folder::new().sdl(&["schema"]);
        assert_eq!(ended.code, 0, "{}", ended.err);
        let schema: Value = serde_json::from_str(&ended.out).expect("JSON");
        assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.set_default_draft(Draft::V7);
        compiler.add_resource("sdl.schema.json", schema).expect("added");
        let index = compiler.compile("sdl.schema.json", &mut schemas).expect("a schema of draft 7");
        Self { schemas, index }
    }

    /// What the schema says of a document as editors see it: typed, aliases and merge keys resolved.
    fn judge(&self, document: &Value) -> Result<(), String> {
        self.schemas.validate(document, self.index).map_err(|error| format!("{error:#}"))
    }
}

/// A document as a typed value; `None` if a typed reader does not take it.
fn typed(text: &str) -> Option<Value> {
    let mut document = serde_yaml::Deserializer::from_str(text);
    let mut value: serde_yaml::Value = serde::Deserialize::deserialize(document.next()?).ok()?;
    value.apply_merge().ok()?;
    serde_json::to_value(value).ok()
}

#[test]
fn the_schema_accepts_every_template() {
    let schema = Schema::printed();
    let listed = Folder::new().sdl(&["init"]);
    let names: Vec<&str> = listed.out.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        let text = Folder::new().sdl(&["init", name, "--file", "-"]).out;
        assert_eq!(schema.judge(&typed(&text).expect("YAML")), Ok(()), "{name}");
    }
}

#[test]
fn the_schema_accepts_every_real_document_that_is_accepted() {
    let Some(folder) = fixtures("awesome") else { return };
    let schema = Schema::printed();
    let (mut accepted, mut refused) = (0, 0);
    for (path, expected) in expected(&folder) {
        let text = std::fs::read_to_string(&path).expect("text");
        if expected["accept"] == true {
            let verdict = schema.judge(&typed(&text).expect("YAML"));
            assert_eq!(verdict, Ok(()), "{}", path.display());
            accepted += 1;
        } else if typed(&text).is_none_or(|document| schema.judge(&document).is_err()) {
            refused += 1;
        }
    }
    println!("{accepted} real documents accepted, {refused} of 21 refused ones refused by the schema too");
    assert!(accepted >= 210 && refused >= 15, "{accepted} accepted, {refused} refused");
}

/// Kinds that a schema can see: what one place of a document says, without looking at another.
const LOCAL: [&str; 30] = [
    "top-level-unknown-key",
    "version-missing",
    "version-unsupported",
    "yaml-type",
    "quantity-malformed",
    "quantity-negative",
    "gpu-unknown-key",
    "gpu-unknown-attribute",
    "gpu-vendor-missing",
    "gpu-interface-invalid",
    "gpu-attributes-missing",
    "storage-class-on-ephemeral",
    "storage-ram-persistent",
    "storage-class-unknown",
    "storage-persistent-not-bool",
    "price-malformed",
    "price-zero",
    "price-denom-invalid",
    "protocol-unsupported",
    "http-option-over-limit",
    "next-case-unknown",
    "tee-unsupported",
    "reclamation-malformed",
    "endpoint-name-invalid",
    "endpoint-kind-missing",
    "endpoint-kind-unknown",
    "mount-not-absolute",
    "image-empty",
    "port-out-of-range",
    "service-name-invalid",
];

/// Accepted cases that the schema refuses all the same, and why that is right for an editor.
const STRICTER: [(&str, &str); 8] = [
    ("2.1 undeployed svc bad proto", "what is not deployed may be wrong, but hardly on purpose"),
    ("E port 010", "octal to the language, text to newer YAML"),
    ("E port 080", "the same"),
    ("E port 8_0", "80 to the language, text to newer YAML"),
    ("count 010", "the same"),
    ("count 080", "the same"),
    ("count 1_0", "the same"),
    ("amount \\\"--5\\\"", "an accident of the reference that our parser does not follow either"),
];

#[test]
fn the_schema_agrees_with_the_language_on_small_cases() {
    let Some(folder) = fixtures("sdl/edge") else { return };
    let schema = Schema::printed();
    let (mut accepted, mut too_strict) = (0, Vec::new());
    let mut local: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for (area, case) in cases(&folder) {
        let text = case["sdl"].as_str().expect("a text");
        let Some(document) = typed(text) else { continue };
        let verdict = schema.judge(&document);
        if case["accept"] == true {
            accepted += 1;
            if let Err(why) = verdict {
                too_strict.push(format!("{area} {}: {} {why}", case["id"], case["note"]));
            }
        } else if let Some(kind) = case["error"].as_str().filter(|kind| LOCAL.contains(kind)) {
            let (seen, all) = local.entry(kind.to_owned()).or_default();
            *all += 1;
            *seen += u32::from(verdict.is_err());
        }
    }
    for line in &too_strict {
        println!("stricter than the language: {line}");
    }
    let (seen, all) = local.values().fold((0, 0), |(seen, all), (s, a)| (seen + s, all + a));
    println!("{accepted} accepted cases, {} of them refused by the schema", too_strict.len());
    println!("{seen} of {all} refusals of {} local kinds are seen by the schema: {local:?}", local.len());
    let unseen: Vec<&str> =
        LOCAL.into_iter().filter(|kind| local.get(*kind).is_none_or(|(seen, _)| *seen == 0)).collect();
    assert_eq!(unseen, Vec::<&str>::new(), "kinds of which no case is seen");
    let surprising: Vec<&String> =
        too_strict.iter().filter(|line| !STRICTER.iter().any(|(note, _)| line.contains(note))).collect();
    assert!(surprising.is_empty(), "{surprising:#?}");
}

fn cases(folder: &Path) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("readable").path();
        let text = std::fs::read_to_string(&path).expect("text");
        let area = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let cases: Vec<Value> = serde_json::from_str(&text).expect("cases");
        found.extend(cases.into_iter().map(|case| (area.clone(), case)));
    }
    found
}

/// A document whose service and placement have these extensions.
fn extended(service: &str, placement: &str) -> String {
    format!(
        r#"
version: "2.0"
services:
  web:
    image: nginx
    expose: [{{port: 80, to: [{{global: true}}]}}]
    x-berth: {service}
profiles:
  compute:
    web: {{resources: {{cpu: {{units: 1}}, memory: {{size: 64Mi}}, storage: {{size: 64Mi}}}}}}
  placement:
    here: {{pricing: {{web: {{denom: uact, amount: 1}}}}, x-berth: {placement}}}
deployment:
  web: {{here: {{profile: web, count: 1}}}}
"#
    )
}

#[test]
fn the_schema_and_the_language_agree_on_extensions() {
    let schema = Schema::printed();
    let services = [
        "{}",
        "{probes: {liveness: {httpGet: {port: 80}}}}",
        "{probes: {readiness: {tcpSocket: {port: 80}, periodSeconds: 5, successThreshold: 2}}}",
        "{probes: {startup: {exec: {command: [check, now]}, failureThreshold: 100}}}",
        "{restartPolicy: Always, terminationGracePeriodSeconds: 60, tmpSize: 16Mi, allowGpuSharing: false}",
        "{strategy: {type: Recreate}}",
        "{strategy: {type: RollingUpdate, maxSurge: 1}}",
        "{secretRef: {TOKEN: api-token}}",
        "{initContainers: [{name: migrate, image: app, command: [migrate], env: [A=b]}]}",
        // From here on refused.
        "{probe: {}}",
        "{probes: {liveness: {httpGet: {port: 80}, exec: {command: [a]}}}}",
        "{probes: {liveness: {}}}",
        "{probes: {liveness: {httpGet: {port: 0}}}}",
        "{probes: {liveness: {httpGet: {port: 80, path: index}}}}",
        "{probes: {liveness: {tcpSocket: {port: 80}, periodSeconds: 0}}}",
        "{restartPolicy: Never}",
        "{strategy: {maxSurge: 1}}",
        "{strategy: {type: Recreate, maxSurge: 1}}",
        "{terminationGracePeriodSeconds: 0}",
        "{secretRef: {TOKEN: API_TOKEN}}",
        "{initContainers: [{name: migrate}]}",
        "{tmpSize: 16MB}",
    ];
    let placements = [
        "{}",
        "{award: lowest, deadline: 10m, minReclaim: 24h, regions: [eu-west, eu-north], maxLatency: 50ms}",
        "{award: manual}",
        // From here on refused.
        "{award: lowest}",
        "{award: highest}",
        "{deadline: 10}",
        "{regions: [EU]}",
        "{regions: [eu, eu]}",
        "{latency: 50ms}",
    ];
    let documents = services
        .iter()
        .map(|service| extended(service, "{}"))
        .chain(placements.iter().map(|placement| extended("{}", placement)));
    let (mut accepted, mut refused) = (0, 0);
    for text in documents {
        let verdict = schema.judge(&typed(&text).expect("YAML"));
        let validated = Folder::new().sdl_reading(&["validate", "-"], &text);
        assert_eq!(verdict.is_ok(), validated.code == 0, "{text}\n{verdict:?}\n{}", validated.out);
        if verdict.is_ok() { accepted += 1 } else { refused += 1 }
    }
    assert_eq!((accepted, refused), (12, 19));
}
