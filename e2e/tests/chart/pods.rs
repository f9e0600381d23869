//! All pods but the agents' keep to the profile `restricted` of Pod Security.

use e2e::product;
use serde_json::Value;

use crate::helm;

/// The objects with a pod, each with its template's or its own specification.
fn pods(objects: &[Value]) -> Vec<(String, &Value)> {
    let place = |object: &Value| match object["kind"].as_str() {
        Some("Pod") => Some("/spec"),
        Some("Deployment" | "DaemonSet" | "StatefulSet" | "Job") => Some("/spec/template/spec"),
        _ => None,
    };
    let named = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
    objects.iter().filter_map(|object| Some((named(object), object.pointer(place(object)?)?))).collect()
}

/// What of a pod the profile refuses.
fn refused(pod: &Value) -> Vec<String> {
    let mut refused = Vec::new();
    let mut want = |holds: bool, what: &str| {
        if !holds {
            refused.push(what.to_owned());
        }
    };
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        want(pod.get(key).is_none(), key);
    }
    let allowed = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        let kinds: Vec<&String> = volume.as_object().unwrap().keys().filter(|key| *key != "name").collect();
        want(kinds.iter().all(|kind| allowed.contains(&kind.as_str())), "a volume");
    }
    let of_pod = &pod["securityContext"];
    let containers = ["containers", "initContainers"].map(|key| pod[key].as_array().into_iter().flatten());
    for container in containers.into_iter().flatten() {
        let own = &container["securityContext"];
        let said = |key: &str| own.get(key).or_else(|| of_pod.get(key));
        want(said("runAsNonRoot") == Some(&Value::Bool(true)), "runAsNonRoot");
        want(said("runAsUser").is_none_or(|user| user != 0), "runAsUser");
        want(own["allowPrivilegeEscalation"] == false, "allowPrivilegeEscalation");
        want(own.get("privileged").is_none_or(|is| is == false), "privileged");
        want(own["capabilities"] == serde_json::json!({"drop": ["ALL"]}), "capabilities");
        let profile = said("seccompProfile").map(|profile| &profile["type"]);
        want(profile.is_some_and(|kind| kind == "RuntimeDefault"), "seccompProfile");
        want(own["readOnlyRootFilesystem"] == true, "readOnlyRootFilesystem, which is our own wish");
        let ports = container["ports"].as_array().into_iter().flatten();
        want(ports.clone().all(|port| port.get("hostPort").is_none()), "hostPort");
    }
    refused
}

#[test]
#[ignore = "wants the tools: cargo e2e test chart"]
fn all_pods_but_the_agents_keep_to_the_restricted_profile() {
    for values in helm::values().unwrap() {
        let objects = helm::rendered(&values).unwrap();
        let pods = pods(&objects);
        assert!(pods.len() >= 4, "{} has only {} pods", values.display(), pods.len());
        for (name, pod) in pods {
            let refused = refused(pod);
            if name.starts_with("\"DaemonSet\"") {
                assert!(refused.contains(&"a volume".to_owned()), "this test looks at nothing");
                let may_all = pod["containers"][0]["securityContext"]["privileged"] == true;
                let needs_all = pod["volumes"].to_string().contains("driver-root");
                assert_eq!(may_all, needs_all, "{}: {name}", values.display());
            } else {
                assert!(refused.is_empty(), "{}: {name}: {refused:?}", values.display());
            }
        }
    }
}

#[test]
#[ignore = "wants the tools: cargo e2e test chart"]
fn pods_run_the_image_of_this_version_as_the_user_that_it_is_made_for() {
    let values = helm::values().unwrap();
    let five = values.iter().find(|path| path.ends_with("five-values.yaml")).unwrap();
    let objects = helm::rendered(five).unwrap();
    let image = format!("{}:{}", product::NAME, env!("CARGO_PKG_VERSION"));
    for (name, pod) in pods(&objects) {
        assert_eq!(pod["containers"][0]["image"], image.as_str(), "{name}");
        if !name.starts_with("\"DaemonSet\"") {
            assert_eq!(pod["securityContext"]["runAsUser"], product::USER, "{name}");
        }
    }
}
