//! What holds for every lease, whatever its document says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use manifests::manifest::{Group, Manifest};
use manifests::objects::{
    Given, LeaseContext, Object, Objects, Overcommit, RenderError, Settings, labels, render,
};
use manifests::order::{Address, LeaseId};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::golden;
use crate::stage::{self, settings};

/// The manifests of the golden documents, by name.
fn manifests_of_ours() -> Vec<(String, Manifest)> {
    let documents = golden::documents(&golden::folder(), ".sdl.yaml");
    documents.into_iter().map(|(name, path)| (name, golden::manifest(&path))).collect()
}

fn group(name: &str) -> Group {
    golden::manifest(&golden::folder().join(format!("{name}.sdl.yaml"))).0.remove(0)
}

fn rendered(group: &Group, id: LeaseId) -> Objects {
    render(group, &stage::lease(id, group), &settings()).expect("is offered")
}

fn bytes(objects: &Objects) -> String {
    let bodies: Vec<&Value> = objects.items.iter().map(|item| &item.body).collect();
    serde_json::to_string(&bodies).expect("is JSON")
}

fn find<'a>(objects: &'a Objects, kind: &str, name: &str) -> &'a Object {
    let found = objects.items.iter().find(|item| item.kind == kind && item.name == name);
    found.unwrap_or_else(|| panic!("no {kind} {name} among {:?}", objects.items))
}

fn pod_spec(workload: &Object) -> &Value {
    &workload.body["spec"]["template"]["spec"]
}

fn workloads(objects: &Objects) -> impl Iterator<Item = &Object> {
    objects.items.iter().filter(|item| matches!(item.kind.as_str(), "Deployment" | "StatefulSet"))
}

/// Every value under the key, however deep.
fn every<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                if name == key {
                    found.push(inner);
                }
                every(inner, key, found);
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| every(inner, key, found)),
        _ => {}
    }
}

#[test]
fn two_leases_share_no_name_no_selector_and_no_address() {
    let base = stage::LEASE;
    let others = [
        LeaseId { dseq: base.dseq + 1, ..base },
        LeaseId { oseq: base.oseq + 1, ..base },
        LeaseId { gseq: 7, ..base },
        LeaseId { tenant: Address([0xac; 20]), ..base },
    ];
    for (name, manifest) in manifests_of_ours() {
        for group in &manifest.0 {
            let one = rendered(group, base);
            for other in others.map(|id| rendered(group, id)) {
                let names = |objects: &Objects| -> BTreeSet<(String, Option<String>, String)> {
                    let whole =
                        |item: &Object| (item.kind.clone(), item.namespace.clone(), item.name.clone());
                    objects.items.iter().map(whole).collect()
                };
                assert!(names(&one).is_disjoint(&names(&other)), "{name}");

                // A selector that says anything names the lease, and lives in the lease's namespace.
                let pods: Vec<&Value> = workloads(&other)
                    .map(|item| &item.body["spec"]["template"]["metadata"]["labels"])
                    .collect();
                let mut selectors = Vec::new();
                for item in &one.items {
                    for key in ["matchLabels", "selector"] {
                        every(&item.body, key, &mut selectors);
                    }
                }
                assert!(!selectors.is_empty(), "{name}");
                for selector in selectors {
                    let matches = |labels: &&&Value| {
                        let wanted = selector.as_object().expect("is a map");
                        !wanted.is_empty() && wanted.iter().all(|(key, value)| labels[key] == *value)
                    };
                    assert!(!pods.iter().any(|labels| matches(&labels)), "{name}: {selector}");
                }

                let generated = |objects: &Objects| -> BTreeSet<String> {
                    let ours = |host: &str| host.ends_with(".apps.provider.example");
                    objects.hosts.iter().map(|served| served.host.clone()).filter(|host| ours(host)).collect()
                };
                assert!(generated(&one).is_disjoint(&generated(&other)), "{name}");
                let shared = |objects: &Objects| -> BTreeSet<String> {
                    let annotation = |item: &Object| {
                        item.body["metadata"]["annotations"]["metallb.io/allow-shared-ip"].clone()
                    };
                    let texts = objects.items.iter().map(annotation);
                    texts.filter_map(|text| text.as_str().map(str::to_owned)).collect()
                };
                assert!(shared(&one).is_disjoint(&shared(&other)), "{name}");
            }
        }
    }
}

#[test]
fn what_a_tenant_keeps_to_itself_stands_in_secrets_only() {
    for (document, secrets) in [
        ("database", &["correct-horse"][..]),
        ("private-image", &["battery-staple", "robot"]),
        ("secrets", &["the value of db-password", "the value of api-token"]),
        ("prepared", &["the value of db-password"]),
    ] {
        let objects = rendered(&group(document), stage::LEASE);
        assert!(objects.items.iter().any(|item| item.kind == "Secret"), "{document}");
        for item in objects.items.iter().filter(|item| item.kind != "Secret") {
            for secret in secrets {
                assert!(!item.body.to_string().contains(secret), "{document}: {item:?}");
            }
        }
        let printed = format!("{objects:?} {:?}", stage::lease(stage::LEASE, &group(document)));
        assert!(!secrets.iter().any(|secret| printed.contains(secret)), "{printed}");
    }
}

#[test]
fn pods_are_replaced_when_a_variable_changes_and_not_otherwise() {
    let annotation = |group: &Group, lease: &LeaseContext| {
        let objects = render(group, lease, &settings()).expect("is offered");
        let workload = workloads(&objects).next().expect("there is one");
        workload.body["spec"]["template"]["metadata"]["annotations"][labels::VARIABLES].clone()
    };
    let group = group("secrets");
    let lease = stage::lease(stage::LEASE, &group);
    let before = annotation(&group, &lease);
    assert_eq!(annotation(&group, &lease), before);

    let mut other_value = group.clone();
    other_value.services[0].env.as_mut().expect("has variables")[0].0.push('x');
    assert_ne!(annotation(&other_value, &lease), before);
    let mut other_secret = lease.clone();
    other_secret.secrets.get_mut("api-token").expect("is used").0.push(b'x');
    assert_ne!(annotation(&group, &other_secret), before);
    let mut other_image = group.clone();
    other_image.services[0].image.push_str("-alpine");
    assert_eq!(annotation(&other_image, &lease), before);
}

#[test]
fn a_workload_waits_for_what_it_is_told_and_nothing_else_does() {
    for (document, waits) in
        [("web", false), ("game", true), ("leased-address", true), ("secrets", true), ("database", false)]
    {
        let group = group(document);
        let placed = stage::lease(stage::LEASE, &group);
        let bare = LeaseContext { given: Given::default(), secrets: BTreeMap::new(), ..placed.clone() };
        let objects = render(&group, &bare, &settings()).expect("is offered");
        for item in &objects.items {
            let is_workload = matches!(item.kind.as_str(), "Deployment" | "StatefulSet");
            assert_eq!(item.waits, waits && is_workload, "{document}: {item:?}");
        }
        let objects = render(&group, &placed, &settings()).expect("is offered");
        assert!(!objects.items.iter().any(|item| item.waits), "{document}");
    }
    let group = group("secrets");
    let lease = LeaseContext { secrets: BTreeMap::new(), ..stage::lease(stage::LEASE, &group) };
    let objects = render(&group, &lease, &settings()).expect("is offered");
    assert_eq!(objects.missing_secrets, ["api-token", "db-password"].map(str::to_owned).into());
}

#[test]
fn overcommitment_divides_requests_of_what_can_be_shared_and_of_nothing_else() {
    let overcommit = Overcommit { cpu_percent: 50, memory_percent: 50, ephemeral_percent: 50 };
    let settings = Settings { overcommit, ..settings() };
    let resources = |document: &str| {
        let group = group(document);
        let objects = render(&group, &stage::lease(stage::LEASE, &group), &settings).expect("is offered");
        let workload = workloads(&objects).next().expect("there is one");
        let quota = find(&objects, "ResourceQuota", "lease").body["spec"]["hard"].clone();
        (pod_spec(workload)["containers"][0]["resources"].clone(), quota)
    };
    let (gpu, quota) = resources("gpu");
    assert_eq!(
        gpu["limits"],
        json!({"cpu": "8000m", "memory": "68719476736", "ephemeral-storage": "107374182400", "nvidia.com/gpu": "1"})
    );
    assert_eq!(
        gpu["requests"],
        json!({"cpu": "5334m", "memory": "45812984491", "ephemeral-storage": "71582788267", "nvidia.com/gpu": "1"})
    );
    assert_eq!((&quota["requests.cpu"], &quota["limits.cpu"]), (&json!("10668m"), &json!("16000m")));
    assert_eq!(quota["requests.nvidia.com/gpu"], json!("2"));
    let (memory, _) = resources("memory-volume");
    let ram_volume = 4_u64 << 30;
    assert_eq!(
        memory["requests"]["memory"],
        json!(((2_u64 << 30) * 2).div_ceil(3).saturating_add(ram_volume).to_string())
    );
    let (_, quota) = resources("database");
    assert_eq!(quota["requests.storage"], json!((2 * (50_u64 << 30)).to_string()));
}

#[test]
fn gpus_come_from_the_promised_pool_and_slices_by_their_own_resource() {
    for (document, pool, resource, count) in [
        ("gpu", "h100-80Gi-pcie", "nvidia.com/gpu", "1"),
        ("gpu-exact", "a100-80Gi-sxm", "nvidia.com/gpu", "1"),
        ("gpu-slice", "h100.mig-1g.10gb-80Gi-pcie", "nvidia.com/mig-1g.10gb", "1"),
        ("gpu-eight", "h200-141Gi-sxm", "nvidia.com/gpu", "8"),
    ] {
        let objects = rendered(&group(document), stage::LEASE);
        let spec = pod_spec(workloads(&objects).next().expect("there is one"));
        let affinity = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        let terms = affinity["nodeSelectorTerms"].as_array().expect("there are nodes");
        for term in terms {
            assert_eq!(
                term["matchExpressions"],
                json!([{"key": "berth.dev/gpu", "operator": "In", "values": [pool]}]),
                "{document}"
            );
            assert_eq!(term["matchFields"][0]["key"], json!("metadata.name"), "{document}");
        }
        let resources = &spec["containers"][0]["resources"];
        assert_eq!(resources["limits"][resource], json!(count), "{document}: {resources}");
        assert_eq!(resources["requests"][resource], json!(count), "{document}: {resources}");
        assert_eq!(spec["runtimeClassName"], json!("nvidia"), "{document}");
        assert_eq!(spec["hostUsers"], json!(true), "{document}");
    }
    let group = group("gpu");
    let mut lease = stage::lease(stage::LEASE, &group);
    for replica in &mut lease.placement.replicas {
        let take = replica.takes.gpu.as_mut().expect("GPUs were promised");
        take.resource = Some("nvidia.com/h100".to_owned());
    }
    let objects = render(&group, &lease, &settings()).expect("a name of its own");
    let text = bytes(&objects);
    assert!(
        text.contains(r#""nvidia.com/h100":"1""#) && text.contains(r#""requests.nvidia.com/h100""#),
        "{text}"
    );
    assert!(
        !text.contains(r#""nvidia.com/gpu":"1""#) && !text.contains("berth.dev/gpu"),
        "the name is exact"
    );
    for replica in &mut lease.placement.replicas {
        replica.takes.gpu = None;
    }
    let error = render(&group, &lease, &settings()).expect_err("no GPU was promised");
    assert!(matches!(error, RenderError::NoGpu { .. }), "{error}");
}

#[test]
fn safety_is_written_out_in_every_pod() {
    for (name, manifest) in manifests_of_ours() {
        for group in &manifest.0 {
            let objects = rendered(group, stage::LEASE);
            for workload in workloads(&objects) {
                let spec = pod_spec(workload);
                for (field, value) in [
                    ("hostNetwork", false),
                    ("hostPID", false),
                    ("hostIPC", false),
                    ("shareProcessNamespace", false),
                    ("enableServiceLinks", false),
                ] {
                    assert_eq!(spec[field], json!(value), "{name}: {field}");
                }
                assert!(spec["hostUsers"].is_boolean(), "{name}");
                let asks = spec["automountServiceAccountToken"].as_bool().expect("is written out");
                assert_eq!(asks, spec["serviceAccountName"] != json!("lease.nobody"), "{name}");
                assert_eq!(asks, name.starts_with("reads-") && workload.name != "web", "{name}");
                assert_eq!(
                    spec["securityContext"]["seccompProfile"]["type"],
                    json!("RuntimeDefault"),
                    "{name}"
                );
                let containers = ["containers", "initContainers"].map(|kind| spec[kind].as_array());
                for container in containers.into_iter().flatten().flatten() {
                    let context = &container["securityContext"];
                    assert_eq!(context["privileged"], json!(false), "{name}");
                    assert_eq!(context["allowPrivilegeEscalation"], json!(false), "{name}");
                    assert_eq!(context["capabilities"]["drop"], json!(["ALL"]), "{name}");
                    assert_eq!(context["seccompProfile"]["type"], json!("RuntimeDefault"), "{name}");
                    let limits = container["resources"]["limits"].as_object().expect("has limits");
                    for resource in ["cpu", "memory", "ephemeral-storage"] {
                        assert!(limits.contains_key(resource), "{name} has no limit of {resource}");
                    }
                }
            }
        }
    }
}

/// Renders every group of a document twice; the number of objects, or why it is not offered.
fn render_document(text: &[u8]) -> Option<Result<usize, RenderError>> {
    let deployment = manifests::parse(text).ok()?;
    let mut objects = 0;
    for (group, gseq) in deployment.manifest.0.iter().zip(1..) {
        let lease = stage::lease(LeaseId { gseq, ..stage::LEASE }, group);
        match (render(group, &lease, &settings()), render(group, &lease, &settings())) {
            (Ok(first), Ok(second)) => {
                assert_eq!(bytes(&first), bytes(&second));
                assert_keyed(&first);
                objects += first.items.len();
            }
            (first, second) => {
                assert_eq!(first.as_ref().err(), second.as_ref().err());
                return first.err().map(Err);
            }
        }
    }
    Some(Ok(objects))
}

#[test]
fn our_own_documents_render() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../e2e/documents");
    for entry in fs::read_dir(folder).expect("is there") {
        let path = entry.expect("is readable").path();
        let rendered = render_document(&fs::read(&path).expect("is readable"));
        assert!(matches!(rendered, Some(Ok(objects)) if objects >= 5), "{}: {rendered:?}", path.display());
    }
}

#[test]
fn documents_that_people_wrote_render_or_want_what_cannot_be_had() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures");
    if !fixtures.is_dir() {
        println!("LEFT OUT: {} is not there, so nothing of it was tested", fixtures.display());
        return;
    }
    let (mut rendered, mut not_accepted) = (0, 0);
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    let mut folders = vec![fixtures];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).expect("is readable").map(|entry| entry.expect("is readable").path())
        {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if !path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
                continue;
            }
            match render_document(&fs::read(&path).expect("is readable")) {
                None => not_accepted += 1,
                Some(Ok(_)) => rendered += 1,
                Some(Err(RenderError::Unsupported { what, .. })) => *refused.entry(what).or_default() += 1,
                Some(Err(error)) => panic!("{}: {error}", path.display()),
            }
        }
    }
    println!("{rendered} documents render, {not_accepted} are not accepted; refused are {refused:#?}");
    assert!(rendered >= 250, "only {rendered} documents render");
}

/// No two entries of a list have the same key, as server-side apply demands, and no two objects the same name.
fn assert_keyed(objects: &Objects) {
    let mut names = BTreeSet::new();
    for item in &objects.items {
        assert!(names.insert((&item.kind, &item.name)), "{item:?} is there twice");
        for (list, keys) in [
            ("ports", &["port", "containerPort", "protocol"][..]),
            ("env", &["name"]),
            ("volumeMounts", &["mountPath"]),
            ("volumes", &["name"]),
            ("containers", &["name"]),
        ] {
            let mut found = Vec::new();
            every(&item.body, list, &mut found);
            for list in found.into_iter().filter(|_| item.kind != "NetworkPolicy") {
                let mut seen = BTreeSet::new();
                for entry in list.as_array().into_iter().flatten() {
                    let key: Vec<String> = keys.iter().map(|key| entry[key].to_string()).collect();
                    assert!(seen.insert(key), "{item:?} has {entry} twice");
                }
            }
        }
    }
}

/// The values of a tree that are no containers, by pointer.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, inner)| leaves(inner, &format!("{at}/{key}"), found));
        }
        Value::Array(list) => {
            for (index, inner) in list.iter().enumerate() {
                leaves(inner, &format!("{at}/{index}"), found);
            }
        }
        _ => found.push(at.to_owned()),
    }
}

fn odd_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][-a-z0-9]{0,70}",
        "[A-Z_]{1,4}=\\PC{0,12}",
        "/[a-z/]{0,10}",
        "[0-9]{1,20}",
        "\\PC{0,20}",
        Just(String::new()),
        Just("x".repeat(300)),
        Just("$($(A)$$(B".to_owned()),
        Just(u64::MAX.to_string()),
    ]
}

fn odd_number() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(80),
        Just(65_535),
        Just(65_536),
        Just(u32::MAX),
        any::<u32>(),
        0_u32..5
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    /// Also of manifests that no document can become: rules may change, and rendering must not depend on them to be sound.
    #[test]
    fn no_manifest_makes_rendering_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), odd_text(), odd_number(), any::<bool>()), 1..6),
    ) {
        thread_local! {
            static OURS: Vec<Value> = manifests_of_ours()
                .into_iter()
                .map(|(_, manifest)| serde_json::to_value(&manifest).expect("is JSON"))
                .collect();
        }
        let mut manifest = OURS.with(|ours| which.get(ours).clone());
        for (place, text, number, flag) in changes {
            let mut places = Vec::new();
            leaves(&manifest, "", &mut places);
            let place = manifest.pointer_mut(place.get(places.as_slice()).as_str()).expect("is there");
            *place = match &*place {
                Value::String(_) => json!(text),
                Value::Number(_) => json!(number),
                Value::Bool(_) => json!(flag),
                other => other.clone(),
            };
        }
        let Ok(manifest) = serde_json::from_value::<Manifest>(manifest) else { return Ok(()) };
        for group in &manifest.0 {
            let lease = stage::lease(stage::LEASE, group);
            let (first, second) = (render(group, &lease, &settings()), render(group, &lease, &settings()));
            match (first, second) {
                (Ok(first), Ok(second)) => {
                    prop_assert_eq!(bytes(&first), bytes(&second));
                    assert_keyed(&first);
                }
                (first, second) => prop_assert_eq!(first.err(), second.err()),
            }
        }
    }
}
