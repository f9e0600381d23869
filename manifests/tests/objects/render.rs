//! Groups become the objects that stand beside them: `cases/<name>/manifest.yaml` → `cases/<name>/objects.yaml`.
//!
//! `BERTH_WRITE_GOLDENS=1 cargo test -p manifests --test objects` writes the objects anew; read the difference before it is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{EnvVar, Secret};
use manifests::decision::{GpuTake, Placement, Replica, Takes};
use manifests::manifest::{
    Expose, Group, HttpOptions, Manifest, Mount, Permissions, Proto, Service, Tee, TeeKind,
};
use manifests::objects::{
    LeaseContext, Object, Objects, PROVIDER_BINDING, ProviderAccess, RenderError, Settings, labels, render,
};
use manifests::order::Address;
use manifests::resources::Attribute;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::stage::{self, settings};

/// A case as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// Where the replicas of each resource unit run, by turns.
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
        let count = |unit: u32| {
            let services = self.manifest.0[0].services.iter();
            let of_unit = services.filter(|service| service.resources.id == unit);
            of_unit.map(|service| usize::try_from(service.count).expect("is small")).sum()
        };
        let by_turns = |(unit, nodes): (&u32, &'_ Vec<String>)| {
            let nodes: Vec<String> = nodes.iter().cycle().take(count(*unit)).cloned().collect();
            nodes.into_iter().map(|node| (*unit, node)).collect::<Vec<_>>()
        };
        let nodes = self.nodes.iter().flat_map(by_turns);
        let gpu = Some(GpuTake { pool: "h100-80Gi-sxm".to_owned(), count: 1, resource: None });
        let replica = |(unit, node): (u32, String)| Replica {
            unit,
            node,
            takes: Takes { gpu: gpu.clone(), ..Takes::default() },
        };
        let placement = Placement { replicas: nodes.map(replica).collect(), ..Placement::default() };
        LeaseContext { placement, ..stage::lease(stage::LEASE, &self.manifest.0[0]) }
    }

    fn render(&self) -> Result<Objects, RenderError> {
        render(&self.group(), &self.lease(), &settings())
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
        if std::env::var_os("BERTH_WRITE_GOLDENS").is_some() {
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

#[test]
fn rendering_again_gives_the_same_bytes() {
    for name in case_names() {
        let bytes = || {
            let objects = Case::named(&name).render().expect(&name);
            let bodies: Vec<Value> = objects.items.into_iter().map(|item| item.body).collect();
            serde_json::to_string(&bodies).expect("is JSON")
        };
        assert_eq!(bytes(), bytes(), "{name}");
    }
}

#[test]
fn everything_can_be_found_by_the_lease() {
    for name in case_names() {
        let case = Case::named(&name);
        let lease = case.lease();
        for item in case.render().expect(&name).items {
            let metadata = &item.body["metadata"];
            assert_eq!(metadata["labels"][labels::LEASE], json!(lease.short_id()), "{item:?}");
            assert_eq!(metadata["labels"]["app.kubernetes.io/managed-by"], json!("berth"), "{item:?}");
            assert_eq!(metadata["annotations"][labels::LEASE_ID], json!(lease.id.to_string()), "{item:?}");
            assert_eq!(item.body["apiVersion"], json!(item.api_version), "{item:?}");
            assert_eq!(item.body["kind"], json!(item.kind), "{item:?}");
            assert_eq!(metadata["name"], json!(item.name), "{item:?}");
            match item.kind.as_str() {
                "Namespace" => assert_eq!((item.namespace, item.name), (None, lease.namespace())),
                _ => assert_eq!(item.namespace, Some(lease.namespace())),
            }
        }
    }
}

#[test]
fn limits_are_applied_before_what_they_limit() {
    let objects = Case::named("two-services").render().expect("is supported");
    let place = |kind: &str| {
        let of_kind = |(place, item): (usize, &Object)| (item.kind == kind).then_some(place);
        let places: Vec<usize> = objects.items.iter().enumerate().filter_map(of_kind).collect();
        (places[0], places[places.len() - 1])
    };
    let order =
        ["Namespace", "ResourceQuota", "NetworkPolicy", "Secret", "Service", "Deployment", "HTTPRoute"];
    for pair in order.windows(2) {
        assert!(place(pair[0]).1 < place(pair[1]).0, "{} before {}", pair[0], pair[1]);
    }
}

#[test]
fn neither_variables_nor_passwords_are_printed() {
    let case = Case::named("two-services");
    let printed = format!("{:?} {:?}", case.group(), case.render().expect("is supported"));
    for secret in ["s3cret", "hunter2"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

#[test]
fn another_lease_has_another_namespace_and_other_names() {
    let case = Case::named("web");
    let one = case.lease();
    let mut others = [one.clone(), one.clone(), one.clone()];
    others[0].id.dseq += 1;
    others[1].id.oseq += 1;
    others[2].provider = Address([0xef; 20]);
    for other in others {
        assert_ne!(one.namespace(), other.namespace());
        let hosts =
            |lease: &LeaseContext| render(&case.group(), lease, &settings()).expect("is supported").hosts;
        assert_ne!(hosts(&one)[0], hosts(&other)[0]);
        assert_eq!(hosts(&one)[1].host, "hello.example.test");
    }
}

/// The only container of a service's pods.
fn container<'a>(objects: &'a Objects, service: &str) -> &'a Value {
    &deployment(objects, service)["spec"]["template"]["spec"]["containers"][0]
}

fn deployment<'a>(objects: &'a Objects, service: &str) -> &'a Value {
    let wanted = |item: &&Object| item.kind == "Deployment" && item.name == service;
    &objects.items.iter().find(wanted).expect("every service has one").body
}

/// The variables of a service's container, as the kubelet puts them together; fields of the pod by their path.
fn variables(objects: &Objects, service: &str) -> Vec<(String, String)> {
    let secrets: BTreeMap<&str, Secret> = objects
        .items
        .iter()
        .filter(|item| item.kind == "Secret")
        .map(|item| (item.name.as_str(), serde_json::from_value(item.body.clone()).expect("is a Secret")))
        .collect();
    let value = |variable: &EnvVar| {
        let source = variable.value_from.clone().unwrap_or_default();
        if let Some(field) = source.field_ref {
            return field.field_path;
        }
        let Some(from) = source.secret_key_ref else { return variable.value.clone().unwrap_or_default() };
        let data = secrets[from.name.as_str()].data.as_ref().expect("has data");
        String::from_utf8(data[&from.key].0.clone()).expect("is text")
    };
    let env: Vec<EnvVar> =
        serde_json::from_value(container(objects, service)["env"].clone()).expect("is a list");
    env.iter().map(|variable| (variable.name.clone(), value(variable))).collect()
}

#[test]
fn the_last_value_of_a_variable_wins_and_the_tenant_wins_over_us() {
    let objects = Case::named("web").render().expect("is supported");
    let variables = variables(&objects, "web");
    let values = |name: &str| {
        variables.iter().filter(|(have, _)| have == name).map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(values("GREETING"), ["a = b"]);
    assert_eq!(values("BERTH_SERVICE"), ["renamed"]);
    assert_eq!(values("EMPTY"), [""]);
    assert_eq!(values("BERTH_LEASE"), [Case::named("web").lease().id.to_string()]);
}

#[test]
fn a_tenant_cannot_choose_devices_by_a_variable() {
    let of = |case: &str, service: &str| {
        let variables = variables(&Case::named(case).render().expect("is supported"), service);
        variables.into_iter().find(|(name, _)| name == "NVIDIA_VISIBLE_DEVICES").map(|(_, value)| value)
    };
    assert_eq!(of("web", "web").as_deref(), Some("void"), "no GPU was bought");
    assert_eq!(of("gpu", "trainer"), None, "the device plugin tells which");
}

#[test]
fn users_are_the_pods_own_where_every_node_can_do_it_and_no_gpu_is_used() {
    let host_users = |nodes: &[&str], gpus: u64| {
        let mut case = Case::named("web");
        case.nodes = BTreeMap::from([(1, nodes.iter().map(|node| (*node).to_owned()).collect())]);
        case.manifest.0[0].services[0].resources.gpu.units.0 = gpus;
        case.manifest.0[0].services[0].count = u32::try_from(nodes.len()).expect("are few");
        let objects = case.render().expect("is supported");
        deployment(&objects, "web")["spec"]["template"]["spec"]["hostUsers"].clone()
    };
    assert_eq!(host_users(&["node-a", "node-b"], 0), json!(false));
    assert_eq!(host_users(&["node-a", "node-c"], 0), json!(true));
    assert_eq!(host_users(&["node-a"], 1), json!(true));
}

#[test]
fn the_quota_has_room_for_the_group_and_one_replica_that_is_ending() {
    let objects = Case::named("gpu").render().expect("is supported");
    let quota = objects.items.iter().find(|item| item.kind == "ResourceQuota").expect("there is one");
    let hard = &quota.body["spec"]["hard"];
    assert_eq!(hard["requests.cpu"], json!("12000m"));
    assert_eq!(hard["limits.memory"], json!((3 * (17_179_869_184_u64 + 1_073_741_824)).to_string()));
    assert_eq!(hard["requests.nvidia.com/gpu"], json!("6"));
    assert_eq!(hard["limits.nvidia.com/gpu"], Value::Null);
    assert_eq!(hard["pods"], json!("3"));
}

#[test]
fn the_quota_has_room_for_the_successors_of_pods_that_nobody_ends() {
    let case = Case::named("gpu");
    let lease = LeaseContext { left_behind: 2, ..case.lease() };
    let objects = render(&case.group(), &lease, &settings()).expect("is supported");
    let quota = objects.items.iter().find(|item| item.kind == "ResourceQuota").expect("there is one");
    let hard = &quota.body["spec"]["hard"];
    assert_eq!((&hard["pods"], &hard["requests.cpu"]), (&json!("5"), &json!("20000m")));
    assert_eq!(hard["requests.nvidia.com/gpu"], json!("10"));
}

#[test]
fn an_answer_is_limited_only_where_the_tenant_limits_it() {
    let request = |read_timeout: u32| {
        let mut case = Case::named("web");
        case.manifest.0[0].services[0].expose[0].http_options.read_timeout = read_timeout;
        let objects = case.render().expect("is supported");
        let route = objects.items.last().expect("is the route").body.clone();
        route["spec"]["rules"][0]["timeouts"]["request"].clone()
    };
    assert_eq!(request(1500), json!("1500ms"));
    assert_eq!(request(HttpOptions::default().read_timeout), json!("0s"));
}

#[test]
fn what_cannot_be_rendered_faithfully_is_refused_with_the_service_and_the_reason() {
    type Change = fn(&mut Case);
    fn service(case: &mut Case) -> &mut Service {
        &mut case.manifest.0[0].services[0]
    }
    fn mounted_at(case: &mut Case, name: &str, mount: &str) {
        let storage = Some(vec![Mount { name: name.to_owned(), mount: mount.to_owned(), read_only: false }]);
        service(case).params = Some(manifests::manifest::Params { storage, permissions: None, tee: None });
    }
    let changes: [(&str, Change); 15] = [
        ("leased IP", |case| service(case).expose[0].ip = "fixed".to_owned()),
        ("persistent volumes of class beta2 are not offered", |case| {
            service(case).resources.storage[0].attributes =
                vec![Attribute::new("class", "beta2"), Attribute::new("persistent", "true")];
        }),
        ("trusted execution", |case| {
            mounted_at(case, "default", "/data");
            let params = service(case).params.as_mut().expect("was set");
            params.tee = Some(Tee { kind: TeeKind::Cpu, attestation: true });
        }),
        ("permissions", |case| {
            mounted_at(case, "default", "/data");
            let params = service(case).params.as_mut().expect("was set");
            params.permissions = Some(Permissions { read: vec!["logs".to_owned()] });
        }),
        ("does not have", |case| mounted_at(case, "missing", "/data")),
        ("without a colon", |case| mounted_at(case, "default", "/data:ro")),
        ("mounted at \"/data\"", |case| {
            mounted_at(case, "default", "/data");
            let storage = service(case).params.as_mut().and_then(|params| params.storage.as_mut());
            let storage = storage.expect("was set");
            storage.push(storage[0].clone());
        }),
        ("absolute path", |case| mounted_at(case, "default", "data")),
        ("longer than 63", |case| service(case).name = "a".repeat(64)),
        ("there is no port 70000", |case| service(case).expose[0].external_port = 70_000),
        ("exposed as 80/TCP", |case| {
            let other = Expose { port: 9090, global: false, ..service(case).expose[0].clone() };
            service(case).expose.push(other);
        }),
        ("two sets of http_options", |case| {
            let mut other = service(case).expose[0].clone();
            other.http_options.read_timeout = 1;
            service(case).expose.push(other);
        }),
        ("belongs to the provider's domain", |case| {
            service(case).expose[0].hosts = Some(vec!["other.apps.provider.example".to_owned()]);
        }),
        ("is an address", |case| service(case).expose[0].hosts = Some(vec!["192.0.2.7".to_owned()])),
        ("no node in the placement", |case| case.nodes.clear()),
    ];
    let offers_nothing = Settings {
        storage_classes: BTreeMap::new(),
        address_pool: None,
        api_servers: Vec::new(),
        ..settings()
    };
    for (reason, change) in changes {
        let mut case = Case::named("web");
        change(&mut case);
        let error = render(&case.group(), &case.lease(), &offers_nothing).expect_err(reason);
        let sentence = error.to_string();
        assert!(sentence.contains(reason), "{reason:?} is not in {sentence:?}");
        assert!(sentence.contains(&service(&mut case).name), "{sentence}");
    }
}

#[test]
fn a_host_that_only_ends_like_the_providers_domain_is_the_tenants() {
    let mut case = Case::named("web");
    case.manifest.0[0].services[0].expose[0].hosts = Some(vec!["myapps.provider.example".to_owned()]);
    assert!(case.render().is_ok());
}

#[test]
fn a_service_named_like_an_object_of_another_is_refused() {
    let mut case = Case::named("open-ports");
    let mut other = case.manifest.0[0].services[0].clone();
    other.name = "game-ports".to_owned();
    other.expose.truncate(1);
    case.manifest.0[0].services.push(other);
    assert!(case.render().expect_err("both are called game-ports").to_string().contains("game-ports"));
}

/// Exposures of all sorts, few enough names and ports to collide.
fn expose() -> impl Strategy<Value = Expose> {
    (1u32..5, 78u32..82, any::<bool>(), any::<bool>(), prop_oneof![Just(""), Just("a"), Just("b")]).prop_map(
        |(port, external_port, tcp, global, service)| Expose {
            port,
            external_port: if external_port == 81 { 0 } else { external_port },
            proto: if tcp { Proto::Tcp } else { Proto::Udp },
            service: service.to_owned(),
            global,
            hosts: None,
            http_options: HttpOptions::default(),
            ip: String::new(),
            endpoint_sequence_number: 0,
        },
    )
}

/// No two entries of a list of the object have the same key, as server-side apply demands.
fn assert_keyed(list: &Value, keys: &[&str], item: &Object) {
    let mut seen = BTreeSet::new();
    for entry in list.as_array().into_iter().flatten() {
        let key: Vec<String> = keys.iter().map(|key| entry[key].to_string()).collect();
        assert!(seen.insert(key), "{item:?} has {entry} twice");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_exposed_the_objects_can_be_applied(
        exposes in prop::collection::vec(prop::collection::vec(expose(), 0..6), 1..3),
        env in prop::collection::vec("[A-C]=[a-z]{0,3}", 0..6),
    ) {
        let mut case = Case::named("web");
        let template = case.manifest.0[0].services[0].clone();
        case.manifest.0[0].services = exposes
            .into_iter()
            .zip(["a", "b"])
            .map(|(expose, name)| Service {
                name: name.to_owned(),
                expose,
                env: Some(env.iter().cloned().map(manifests::manifest::EnvVar).collect()),
                ..template.clone()
            })
            .collect();
        // Colliding ports are refused; everything else renders.
        let Ok(objects) = case.render() else { return Ok(()) };
        let mut names = BTreeSet::new();
        for item in &objects.items {
            prop_assert!(names.insert((item.kind.clone(), item.name.clone())), "{:?} stands there twice", item);
            let spec = &item.body["spec"];
            match item.kind.as_str() {
                "Service" => assert_keyed(&spec["ports"], &["port", "protocol"], item),
                "Deployment" => {
                    let container = &spec["template"]["spec"]["containers"][0];
                    assert_keyed(&container["ports"], &["containerPort", "protocol"], item);
                    assert_keyed(&container["env"], &["name"], item);
                    assert_keyed(&container["volumeMounts"], &["mountPath"], item);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_provider_that_may_not_work_everywhere_is_let_into_the_namespace_right_after_it_is_made() {
    let case = Case::named("web");
    let access = ProviderAccess {
        cluster_role: "leases".to_owned(),
        account: "berth".to_owned(),
        namespace: "berth-system".to_owned(),
    };
    let bound = Settings { provider_access: Some(access), ..settings() };
    let objects = render(&case.group(), &case.lease(), &bound).expect("rendered").items;
    let kinds: Vec<&str> = objects.iter().map(|object| object.kind.as_str()).collect();
    assert_eq!(kinds[..3], ["Namespace", "RoleBinding", "ResourceQuota"]);
    let binding = &objects[1];
    assert_eq!(
        (binding.name.as_str(), &binding.namespace),
        (PROVIDER_BINDING, &Some(objects[0].name.clone()))
    );
    assert_eq!(
        (&binding.body["roleRef"]["kind"], &binding.body["roleRef"]["name"], &binding.body["subjects"]),
        (
            &json!("ClusterRole"),
            &json!("leases"),
            &json!([{"kind": "ServiceAccount", "name": "berth", "namespace": "berth-system"}])
        )
    );
    let unbound = case.render().expect("rendered").items;
    assert_eq!(unbound, [&objects[..1], &objects[2..]].concat(), "nothing else differs");
}
