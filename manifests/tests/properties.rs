//! What holds for every document: how it is written does not matter, what it says does, and nothing is lost on the way.

use std::fs;
use std::path::Path;

use manifests::check::check_all;
use manifests::group::GroupSpec;
use manifests::manifest::Manifest;
use manifests::{Deployment, Mode, parse, read};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

fn accepted(text: &str) -> Deployment {
    parse(text).unwrap_or_else(|problems| panic!("refused: {}\n{text}", problems[0]))
}

/// Texts that are wanted as texts, whatever else they look like.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,20}",
        select(vec![
            "true",
            "null",
            "~",
            "1.50",
            "0x10",
            "yes",
            "",
            "- a",
            "a: b",
            "# c",
            "é<&>\u{2028}",
            "\t",
            "\u{1f680}",
            "<<",
            "*a"
        ])
        .prop_map(str::to_owned),
    ]
}

fn texts() -> impl Strategy<Value = Value> {
    prop_oneof![Just(Value::Null), proptest::collection::vec(text(), 0..3).prop_map(|texts| json!(texts))]
}

fn env() -> impl Strategy<Value = Value> {
    let item = ("[A-Z_][A-Z0-9_]{0,5}", proptest::option::of(text()))
        .prop_map(|(name, value)| value.map_or(name.clone(), |value| format!("{name}={value}")));
    prop_oneof![Just(Value::Null), proptest::collection::vec(item, 0..4).prop_map(|items| json!(items))]
}

fn probe() -> impl Strategy<Value = Value> {
    let action = prop_oneof![
        (1u16.., "/[a-z0-9?=&]{0,8}")
            .prop_map(|(port, path)| json!({"httpGet": {"port": port, "path": path}})),
        (1u16..).prop_map(|port| json!({"tcpSocket": {"port": port}})),
        proptest::collection::vec("[ -~]{1,8}", 1..3)
            .prop_map(|command| json!({"exec": {"command": command}})),
    ];
    (action, 0u32..100, 1u32..100).prop_map(|(mut probe, delay, period)| {
        probe["initialDelaySeconds"] = json!(delay);
        probe["periodSeconds"] = json!(period);
        probe
    })
}

fn extension() -> impl Strategy<Value = Value> {
    let secrets = proptest::collection::btree_map("S[A-Z]{1,3}x", "[a-z]{1,8}", 0..3);
    let init = proptest::collection::btree_map("[a-z]{6}", (text(), env()), 0..3).prop_map(|containers| {
        let container =
            |(name, (image, env))| json!({"name": name, "image": format!("i{image}"), "env": env});
        json!(containers.into_iter().map(container).collect::<Vec<_>>())
    });
    let strategy = select(vec![
        Value::Null,
        json!({"type": "Recreate"}),
        json!({"type": "RollingUpdate", "maxSurge": 1, "maxUnavailable": 0}),
    ]);
    let full = (probe(), proptest::option::of(probe()), secrets, init, strategy, 1u32..=64, 1u32..3600)
        .prop_map(|(liveness, readiness, secrets, init, strategy, tmp, grace)| {
            json!({
                "probes": {"liveness": liveness, "readiness": readiness},
                "secretRef": secrets,
                "initContainers": init,
                "strategy": strategy,
                "tmpSize": format!("{tmp}Mi"),
                "terminationGracePeriodSeconds": grace,
            })
        });
    prop_oneof![Just(Value::Null), full]
}

fn service() -> impl Strategy<Value = Value> {
    let expose =
        (1u16.., any::<bool>(), any::<bool>(), 0u32..60_000).prop_map(|(port, global, udp, timeout)| {
            json!({
                "port": port,
                "proto": if udp { "udp" } else { "tcp" },
                "to": [{"global": global}],
                "http_options": {"read_timeout": timeout},
            })
        });
    ("[ -~]{0,12}", texts(), texts(), env(), proptest::collection::vec(expose, 0..4), extension()).prop_map(
        |(image, command, args, env, expose, extension)| {
            json!({
                "image": format!("image{image}"),
                "command": command,
                "args": args,
                "env": env,
                "expose": expose,
                "x-berth": extension,
            })
        },
    )
}

/// Documents that the language accepts, as values.
fn document() -> impl Strategy<Value = Value> {
    let services = proptest::collection::btree_map("[a-d]", service(), 0..4);
    let profile = (10u32..1000, 1u32..64, 64u32..128);
    (select(vec!["2.0", "2.1"]), services, service(), profile, 1u32..5).prop_map(
        |(version, mut services, mut entrance, (cpu, memory, storage), count)| {
            entrance["expose"] = json!([{"port": 80, "to": [{"global": true}]}]);
            services.insert("web".to_owned(), entrance);
            let deploy =
                |name: &String| (name.clone(), json!({"west": {"profile": "small", "count": count}}));
            let deployment: serde_json::Map<_, _> = services.keys().map(deploy).collect();
            json!({
                "version": version,
                "services": services,
                "profiles": {
                    "compute": {"small": {"resources": {
                        "cpu": {"units": format!("{cpu}m")},
                        "memory": {"size": format!("{memory}Mi")},
                        "storage": {"size": format!("{storage}Mi")},
                    }}},
                    "placement": {"west": {
                        "attributes": {"region": "west"},
                        "pricing": {"small": {"denom": "uact", "amount": 100}},
                    }},
                },
                "deployment": deployment,
            })
        },
    )
}

/// Choices of how to write something that has several ways.
struct Hand {
    choices: Vec<u8>,
    at: usize,
}

impl Hand {
    fn choose(&mut self, from: usize) -> usize {
        self.at += 1;
        usize::from(self.choices[self.at % self.choices.len()].wrapping_add(self.at as u8)) % from.max(1)
    }

    /// The value as YAML: keys in any order, blocks or flow, with blanks and comments.
    fn write(&mut self, value: &Value, indent: usize, out: &mut String) {
        let blanks = " ".repeat(indent);
        match value {
            Value::Object(object) if !object.is_empty() && self.choose(5) > 0 => {
                let mut entries: Vec<_> = object.iter().collect();
                for last in (1..entries.len()).rev() {
                    entries.swap(last, self.choose(last + 1));
                }
                for (key, value) in entries {
                    self.comment(&blanks, out);
                    *out += &format!("\n{blanks}{key}:");
                    let deeper = indent + 1 + self.choose(4);
                    self.write(value, deeper, out);
                }
            }
            Value::Array(elements) if !elements.is_empty() && self.choose(5) > 0 => {
                for element in elements {
                    self.comment(&blanks, out);
                    *out += &format!("\n{blanks}-");
                    let deeper = indent + 1 + self.choose(4);
                    self.write(element, deeper, out);
                }
            }
            Value::Null => *out += [" ~", "", " null"][self.choose(3)],
            value => *out += &format!(" {}{}", self.flow(value), ["", "  # a remark"][self.choose(2)]),
        }
    }

    fn comment(&mut self, blanks: &str, out: &mut String) {
        if self.choose(4) == 0 {
            *out += &format!("\n\n{blanks}  # - a: [remark");
        }
    }

    fn flow(&mut self, value: &Value) -> String {
        let comma = [",", ", "][self.choose(2)];
        match value {
            Value::Object(object) => {
                let entry = |(key, value): (&String, &Value)| format!("{key}: {}", self.flow(value));
                format!("{{{}}}", object.iter().map(entry).collect::<Vec<_>>().join(comma))
            }
            Value::Array(elements) => {
                format!(
                    "[{}]",
                    elements.iter().map(|element| self.flow(element)).collect::<Vec<_>>().join(comma)
                )
            }
            Value::String(text)
                if !text.contains(|c: char| c.is_control() || c == '\u{2028}') && self.choose(2) == 0 =>
            {
                format!("'{}'", text.replace('\'', "''"))
            }
            other => other.to_string(),
        }
    }
}

fn hand() -> impl Strategy<Value = Hand> {
    proptest::collection::vec(any::<u8>(), 8..40).prop_map(|choices| Hand { choices, at: 0 })
}

impl std::fmt::Debug for Hand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hand({:?})", self.choices)
    }
}

fn written(document: &Value, hand: &mut Hand) -> String {
    let mut text = String::new();
    hand.write(document, 0, &mut text);
    text + "\n"
}

/// Everything in a document that its workload depends on: pointers to scalars and lists.
fn workload_parts(document: &Value) -> Vec<String> {
    fn walk(value: &Value, path: &str, parts: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    walk(value, &format!("{path}/{key}"), parts);
                }
            }
            Value::Array(elements) if path.ends_with("/expose") || path.ends_with("/initContainers") => {
                for (index, value) in elements.iter().enumerate() {
                    walk(value, &format!("{path}/{index}"), parts);
                }
            }
            _ => parts.push(path.to_owned()),
        }
    }
    let mut parts = Vec::new();
    for section in ["services", "deployment"] {
        walk(&document[section], &format!("/{section}"), &mut parts);
    }
    walk(&document["profiles"]["compute"], "/profiles/compute", &mut parts);
    // Names that point at something, and what has a single legal value here.
    parts.retain(|path| {
        !["/profile", "/type", "/maxSurge", "/maxUnavailable"].iter().any(|end| path.ends_with(end))
    });
    parts
}

/// Another value of the same sort, legal at the same place.
fn changed(path: &str, value: &Value) -> Value {
    let key = path.rsplit('/').next().unwrap_or_default();
    match (key, value) {
        ("to", Value::Array(to)) => json!([&to[..], &[json!({"service": "web"})]].concat()),
        ("proto", proto) => json!(if *proto == json!("udp") { "tcp" } else { "udp" }),
        // Zero stands for the default.
        ("read_timeout", value) => json!(if value.as_u64() == Some(4711) { 4712 } else { 4711 }),
        ("env", Value::Array(items)) => json!([&items[..], &[json!("ADDED=1")]].concat()),
        ("env", _) => json!(["ADDED=1"]),
        ("command" | "args", Value::Array(items)) => json!([&items[..], &[json!("added")]].concat()),
        ("command" | "args", _) => json!([]),
        ("strategy", _) => json!({"type": "RollingUpdate", "maxSurge": 0, "maxUnavailable": 3}),
        ("readiness", _) => json!({"tcpSocket": {"port": 1}}),
        ("x-berth", _) => json!({"tmpSize": "1Mi"}),
        ("units", _) => json!("1001m"),
        ("size", _) => json!("129Mi"),
        ("tmpSize", text) => json!(if *text == json!("1Mi") { "2Mi" } else { "1Mi" }),
        ("name", Value::String(name)) => json!(format!("{name}x")),
        ("port", number) => json!(if number.as_u64() == Some(80) { 81 } else { 80 }),
        (_, Value::Number(number)) => json!(number.as_u64().expect("whole") % 90 + 91),
        (_, Value::String(text)) => json!(format!("{text}x")),
        (_, other) => panic!("{path} is {other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn how_a_document_is_written_changes_nothing(document in document(), mut one in hand(), mut other in hand()) {
        let (one, other) = (written(&document, &mut one), written(&document, &mut other));
        let first = accepted(&one);
        let Deployment { manifest, groups, terms, reclamation, warnings: _ } = accepted(&other);
        prop_assert_eq!(&first.manifest, &manifest, "{}\n---\n{}", one, other);
        prop_assert_eq!(first.manifest.digest(), manifest.digest());
        prop_assert_eq!((first.groups, first.terms, first.reclamation), (groups, terms, reclamation));
        // JSON is a way of writing as well, and so are line ends and a second document behind.
        prop_assert_eq!(accepted(&document.to_string()).manifest.digest(), manifest.digest());
        prop_assert_eq!(accepted(&format!("\u{feff}---{}\n--- ]", one.replace('\n', "\r\n"))).manifest.digest(), manifest.digest());
        prop_assert_eq!(read(&one, Mode::Lenient).outcome.expect("it is accepted").manifest, manifest);
    }

    #[test]
    fn printing_and_reading_again_gives_the_same(document in document(), mut hand in hand()) {
        let Deployment { manifest, groups, .. } = accepted(&written(&document, &mut hand));
        for json in [manifest.to_json(), manifest.canonical_json()] {
            let arrived = Manifest::from_json(&json).expect("it is a manifest");
            prop_assert_eq!(&arrived, &manifest);
            prop_assert_eq!(arrived.to_json(), manifest.to_json());
        }
        // White space and the order of keys on the wire do not matter either.
        let value: Value = serde_json::from_slice(&manifest.to_json()).expect("it is JSON");
        let loose = serde_json::to_vec_pretty(&value).expect("it is JSON");
        prop_assert_eq!(Manifest::from_json(&loose).expect("it is a manifest").digest(), manifest.digest());
        // What was ordered is what runs.
        let specs: Vec<_> = groups.iter().map(GroupSpec::to_order_spec).collect();
        prop_assert_eq!(check_all(&manifest, &specs), Ok(()));
    }

    #[test]
    fn whatever_the_workload_depends_on_changes_the_digest(document in document(), which in any::<Index>(), mut hand in hand()) {
        let before = accepted(&written(&document, &mut hand)).manifest;
        let parts = workload_parts(&document);
        let path = which.get(&parts);
        let mut other = document.clone();
        let part = other.pointer_mut(path).expect("it was found there");
        *part = changed(path, part);
        let after = accepted(&written(&other, &mut hand)).manifest;
        prop_assert_ne!(before.digest(), after.digest(), "{} is now {}", path, other.pointer(path).expect("it is there"));
    }

    #[test]
    fn what_only_the_order_depends_on_does_not(document in document(), amount in 1u32..10_000, region in "[a-z]{1,8}", mut hand in hand()) {
        let before = accepted(&written(&document, &mut hand));
        let mut other = document.clone();
        let placement = &mut other["profiles"]["placement"]["west"];
        placement["pricing"]["small"]["amount"] = json!(amount);
        placement["attributes"]["region"] = json!(format!("{region}2"));
        placement["signedBy"] = json!({"anyOf": [region]});
        placement["x-berth"] = json!({"award": "lowest", "deadline": "10m", "regions": [region]});
        other["reclamation"] = json!({"min_window": "1h"});
        let after = accepted(&written(&other, &mut hand));
        prop_assert_eq!(before.manifest.digest(), after.manifest.digest());
        prop_assert_ne!(before.groups, after.groups);
        prop_assert_ne!(before.terms, after.terms);
    }
}

#[test]
fn remarks_and_line_ends_change_no_real_document() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures/awesome");
    let Ok(entries) = fs::read_dir(&folder) else {
        eprintln!("LEFT OUT: {} is not there, so no real document was tried", folder.display());
        return;
    };
    let mut tried = 0;
    for path in entries.map(|entry| entry.expect("the entry can be read").path()) {
        if path.extension().is_none_or(|extension| extension != "yaml" && extension != "yml") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("the file can be read");
        let Ok(deployment) = parse(&text) else { continue };
        let remarked = format!("# A remark: [with {{everything\n\n{text}\n# And one more.\n");
        let unix = text.replace("\r\n", "\n");
        for other in [remarked, unix.clone(), unix.replace('\n', "\r\n")] {
            let same = parse(&other).map(|other| (other.manifest.digest(), other.groups));
            assert_eq!(
                same,
                Ok((deployment.manifest.digest(), deployment.groups.clone())),
                "{}",
                path.display()
            );
        }
        tried += 1;
    }
    assert!(tried >= 210, "only {tried}");
}
