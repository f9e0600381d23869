//! How the persistent volumes of a lease get from what the cluster holds to what the manifest wants, decided from both.
//!
//! A claim that is bound grows in place. The StatefulSet beside it carries the size too and cannot be changed: it is taken away
//! without its pods and made anew, and finds them again by their labels. A claim that no volume was found for yet holds nothing
//! and is made anew. Whatever was done already is not in the way any more, so this can be asked again after every step.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec};
use kube::ResourceExt;
use manifests::objects::Object;
use serde::de::DeserializeOwned;

use crate::inventory::quantity::{Rounding, units};

/// What of this kind the cluster holds for a lease.
#[derive(Debug, Clone, Default)]
pub struct There {
    /// Its StatefulSets.
    pub sets: Vec<StatefulSet>,
    /// Its claims.
    pub claims: Vec<PersistentVolumeClaim>,
}

/// What is to be taken away before the wanted object of its kind and name can be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InTheWay {
    /// Only this one object is meant.
    pub uid: Option<String>,
    /// Only as it was seen, where what happened since would count.
    pub resource_version: Option<String>,
    /// Its pods stay.
    pub keep_pods: bool,
}

/// What is in the way of the wanted objects, by kind and name.
pub type Obstacles = BTreeMap<(String, String), InTheWay>;

/// Compares what is wanted with what is there.
///
/// # Errors
/// A sentence about the first volume that cannot become what is wanted. Then nothing should be changed.
pub fn obstacles(wanted: &[Object], there: &There) -> Result<Obstacles, String> {
    let mut obstacles = Obstacles::new();
    for (object, claim) in of_kind::<PersistentVolumeClaim>(wanted, "PersistentVolumeClaim") {
        let Some(has) = there.claims.iter().find(|has| has.name_any() == object.name) else { continue };
        if let Some(obstacle) = claim_in_the_way(has, &claim)? {
            obstacles.insert(key(object), obstacle);
        }
    }
    for (object, set) in of_kind::<StatefulSet>(wanted, "StatefulSet") {
        let Some(has) = there.sets.iter().find(|has| has.name_any() == object.name) else { continue };
        if has.metadata.deletion_timestamp.is_some() || templates(has) != templates(&set) {
            let obstacle = InTheWay { uid: has.uid(), resource_version: None, keep_pods: true };
            obstacles.insert(key(object), obstacle);
        }
    }
    Ok(obstacles)
}

/// By what an object is found among [`Obstacles`].
#[must_use]
pub fn key(object: &Object) -> (String, String) {
    (object.kind.clone(), object.name.clone())
}

fn of_kind<'a, K: DeserializeOwned>(
    wanted: &'a [Object],
    kind: &'a str,
) -> impl Iterator<Item = (&'a Object, K)> {
    wanted.iter().filter(move |object| object.kind == kind).map(|object| {
        let body = serde_json::from_value(object.body.clone());
        (object, body.expect("a rendered object is of the kind that it says"))
    })
}

fn claim_in_the_way(
    has: &PersistentVolumeClaim,
    wanted: &PersistentVolumeClaim,
) -> Result<Option<InTheWay>, String> {
    let (name, has_size, wanted_size) = (has.name_any(), size(has.spec.as_ref()), size(wanted.spec.as_ref()));
    let is_pending = has.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Pending");
    let (has_class, wanted_class) = (class(has.spec.as_ref()), class(wanted.spec.as_ref()));
    if has.metadata.deletion_timestamp.is_some() {
        // It was of a service that is back: it ends by itself once no pod uses it.
        return Ok(Some(InTheWay { uid: has.uid(), resource_version: None, keep_pods: false }));
    }
    if (&has_size, has_class) == (&wanted_size, wanted_class) {
        return Ok(None);
    }
    if is_pending {
        let (uid, resource_version) = (has.uid(), has.resource_version());
        return Ok(Some(InTheWay { uid, resource_version, keep_pods: false }));
    }
    if has_class != wanted_class {
        return Err(format!(
            "the volume of claim {name} is of StorageClass {} and cannot become one of {}: offer the class under its old name \
             again, or let the tenant use a volume of another name",
            has_class.unwrap_or("(none)"),
            wanted_class.unwrap_or("(none)")
        ));
    }
    match (has_size, wanted_size) {
        (Some(has), Some(wanted)) if wanted < has => Err(format!(
            "the volume of claim {name} has {has} bytes and cannot become smaller, as {wanted} bytes would be: keep its size, or \
             use a volume of another name"
        )),
        _ => Ok(None),
    }
}

/// What a StatefulSet makes claims from: by name, the class and the bytes.
fn templates(set: &StatefulSet) -> BTreeMap<String, (Option<&str>, Option<u64>)> {
    let templates = set.spec.as_ref().and_then(|spec| spec.volume_claim_templates.as_ref());
    let of = |template| -> (Option<&str>, Option<u64>) { (class(template), size(template)) };
    templates
        .into_iter()
        .flatten()
        .map(|template| (template.name_any(), of(template.spec.as_ref())))
        .collect()
}

fn class(spec: Option<&PersistentVolumeClaimSpec>) -> Option<&str> {
    spec?.storage_class_name.as_deref()
}

fn size(spec: Option<&PersistentVolumeClaimSpec>) -> Option<u64> {
    let requests = spec?.resources.as_ref()?.requests.as_ref()?;
    units(&requests.get("storage")?.0, 1, Rounding::Up)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const OLD: (&str, u64) = ("fast", 1 << 30);

    fn claim_spec((class, bytes): (&str, u64)) -> Value {
        json!({"storageClassName": class, "resources": {"requests": {"storage": bytes.to_string()}}})
    }

    fn set(size: (&str, u64), metadata: &Value) -> Value {
        let mut metadata = metadata.clone();
        metadata["name"] = json!("db");
        json!({"metadata": metadata, "spec": {
            "selector": {}, "template": {}, "volumeClaimTemplates": [{
                "metadata": {"name": "volume-data"}, "spec": claim_spec(size), "status": {"phase": "Pending"},
            }],
        }})
    }

    fn claim(size: (&str, u64), phase: &str) -> Value {
        json!({
            "metadata": {"name": "volume-data-db-0", "uid": "c1", "resourceVersion": "7"},
            "spec": claim_spec(size), "status": {"phase": phase},
        })
    }

    fn object(kind: &str, body: Value) -> Object {
        Object {
            api_version: "v1".to_owned(),
            kind: kind.to_owned(),
            plural: String::new(),
            namespace: None,
            name: body["metadata"]["name"].as_str().expect("named").to_owned(),
            body,
            waits: false,
        }
    }

    fn wanted(size: (&str, u64)) -> [Object; 2] {
        [
            object("PersistentVolumeClaim", claim(size, "Pending")),
            object("StatefulSet", set(size, &json!({}))),
        ]
    }

    /// What is there, as the API writes it: sizes in its own words.
    fn there(claims: &[Value], sets: &[Value]) -> There {
        let text = |value: &Value| value.to_string().replace("\"1073741824\"", "\"1Gi\"");
        There {
            sets: sets.iter().map(|set| serde_json::from_str(&text(set)).expect("a set")).collect(),
            claims: claims.iter().map(|claim| serde_json::from_str(&text(claim)).expect("a claim")).collect(),
        }
    }

    /// Each step of a growth, as a daemon finds it that was killed after the one before.
    #[test]
    fn a_growth_goes_on_from_wherever_it_stopped() {
        let new = ("fast", 2 << 30);
        let (uid, ending) =
            (json!({"uid": "s1"}), json!({"uid": "s1", "deletionTimestamp": "2026-01-02T03:04:05Z"}));
        let set_in_the_way = Obstacles::from([(
            ("StatefulSet".to_owned(), "db".to_owned()),
            InTheWay { uid: Some("s1".to_owned()), resource_version: None, keep_pods: true },
        )]);
        let none = Obstacles::new();
        let table = [
            ("nothing is there", there(&[], &[]), &none),
            ("nothing has grown", there(&[claim(OLD, "Bound")], &[set(OLD, &uid)]), &set_in_the_way),
            ("the claim has grown", there(&[claim(new, "Bound")], &[set(OLD, &uid)]), &set_in_the_way),
            ("the set is going", there(&[claim(new, "Bound")], &[set(OLD, &ending)]), &set_in_the_way),
            ("the set is gone", there(&[claim(new, "Bound")], &[]), &none),
            ("the set is back", there(&[claim(new, "Bound")], &[set(new, &uid)]), &none),
        ];
        for (case, there, expected) in table {
            assert_eq!(obstacles(&wanted(new), &there).as_ref(), Ok(expected), "{case}");
        }
        let same = there(&[claim(OLD, "Bound")], &[set(OLD, &uid)]);
        assert_eq!(obstacles(&wanted(OLD), &same), Ok(none), "one size in two words is the same");
    }

    #[test]
    fn what_cannot_become_smaller_or_of_another_class_is_refused_as_a_whole() {
        let there = there(&[claim(OLD, "Bound")], &[set(OLD, &json!({"uid": "s1"}))]);
        for (wanted_size, told) in [
            (("fast", 1 << 29), ["volume-data-db-0 has 1073741824 bytes", "cannot become smaller"]),
            (("slow", 1 << 30), ["StorageClass fast", "cannot become one of slow"]),
        ] {
            let refused = obstacles(&wanted(wanted_size), &there).expect_err("it cannot be");
            assert!(told.iter().all(|part| refused.contains(part)), "{refused}");
        }
    }

    #[test]
    fn a_claim_without_a_volume_is_made_anew_unless_it_found_one_meanwhile() {
        let there = there(&[claim(OLD, "Pending")], &[]);
        for size in [("fast", 1 << 29), ("fast", 2 << 30), ("slow", 1 << 30)] {
            let in_the_way = InTheWay {
                uid: Some("c1".to_owned()),
                resource_version: Some("7".to_owned()),
                keep_pods: false,
            };
            let key = ("PersistentVolumeClaim".to_owned(), "volume-data-db-0".to_owned());
            assert_eq!(obstacles(&wanted(size), &there), Ok([(key, in_the_way)].into()), "{size:?}");
        }
    }
}
