//! The rights that the chart gives are those that the daemon says it needs, and no others.

use std::collections::BTreeSet;

use provider::inventory::rights::{API_SERVERS, AT_HOME, BINDINGS, EVERYWHERE, IN_LEASES, Right};
use serde_json::Value;

use crate::helm;

/// Verb, API group and resource, and the one object that it is about, if it is about one.
type Grant = (String, String, String, Option<String>);

fn rendered() -> Vec<Value> {
    let values = helm::values().unwrap();
    helm::rendered(values.iter().find(|path| path.ends_with("five-values.yaml")).unwrap()).unwrap()
}

/// What a role of this kind and name in the namespace grants.
fn grants(objects: &[Value], kind: &str, namespace: Option<&str>, name: &str) -> BTreeSet<Grant> {
    let role = objects.iter().find(|object| {
        let metadata = &object["metadata"];
        object["kind"] == kind && metadata["name"] == name && metadata["namespace"].as_str() == namespace
    });
    let role = role.unwrap_or_else(|| panic!("there is no {kind} {name}"));
    let mut grants = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        let texts = |key: &str| -> Vec<String> {
            let list = rule[key].as_array().into_iter().flatten();
            list.map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let names: Vec<Option<String>> = match texts("resourceNames") {
            names if names.is_empty() => vec![None],
            names => names.into_iter().map(Some).collect(),
        };
        for group in texts("apiGroups") {
            for resource in texts("resources") {
                for verb in texts("verbs") {
                    for name in &names {
                        let fresh =
                            grants.insert((verb.clone(), group.clone(), resource.clone(), name.clone()));
                        assert!(fresh, "{verb} {resource} is granted twice");
                    }
                }
            }
        }
    }
    grants
}

fn needed(rights: &[Right]) -> BTreeSet<Grant> {
    let one = |right: &Right, verb: &str| {
        (verb.to_owned(), right.group.to_owned(), right.resource.to_owned(), None)
    };
    rights.iter().flat_map(|right| right.verbs.iter().map(move |verb| one(right, verb))).collect()
}

#[test]
#[ignore = "wants the tools: cargo e2e test chart"]
fn the_daemon_may_do_what_it_does_and_nothing_else() {
    let objects = rendered();
    let (namespace, whole) = (helm::RELEASE.0, "berth-provider.berth-system");
    let leases = format!("{whole}.leases");
    let mut everywhere = needed(&[&EVERYWHERE[..], &[BINDINGS]].concat());
    for verb in ["get", "bind"] {
        let group = BINDINGS.group.to_owned();
        everywhere.insert((verb.to_owned(), group, "clusterroles".to_owned(), Some(leases.clone())));
    }
    assert_eq!(grants(&objects, "ClusterRole", None, whole), everywhere);
    assert_eq!(grants(&objects, "ClusterRole", None, &leases), needed(&IN_LEASES));
    assert_eq!(grants(&objects, "Role", Some(namespace), "berth-provider"), needed(&AT_HOME));
    assert_eq!(grants(&objects, "Role", Some("default"), whole), needed(&[API_SERVERS]));
    let agent = grants(&objects, "Role", Some(namespace), "berth-provider-agent");
    let verbs: Vec<&str> = agent
        .iter()
        .map(|(verb, _, resource, _)| {
            assert_eq!(resource, "configmaps");
            verb.as_str()
        })
        .collect();
    assert_eq!(verbs, ["create", "patch"]);
    let roles =
        objects.iter().filter(|object| matches!(object["kind"].as_str(), Some("Role" | "ClusterRole")));
    assert_eq!(roles.count(), 5, "there is a role that nobody compared");
}

#[test]
#[ignore = "wants the tools: cargo e2e test chart"]
fn nobody_is_bound_to_the_role_for_leases_but_by_the_daemon_and_no_role_has_a_wildcard() {
    let objects = rendered();
    let bindings: Vec<&Value> = objects
        .iter()
        .filter(|object| matches!(object["kind"].as_str(), Some("RoleBinding" | "ClusterRoleBinding")))
        .collect();
    assert!(bindings.len() >= 4);
    for binding in bindings {
        let role = binding["roleRef"]["name"].as_str().unwrap();
        assert!(!role.ends_with(".leases") && role != "cluster-admin", "{role} is bound");
    }
    for object in objects.iter().filter(|object| object.get("rules").is_some()) {
        let rules = object["rules"].to_string();
        assert!(!rules.contains('*'), "{}: {rules}", object["metadata"]["name"]);
    }
}
