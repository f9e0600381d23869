//! Volumes of what runs become larger ones where their class allows it, and nothing else.

use std::collections::BTreeMap;

use manifests::manifest::Group;
use manifests::objects::{StorageClass, volumes_may_become};

/// A volume: its name, size and attributes.
type Volume<'a> = (&'a str, &'a str, &'a str);

/// A group of the services given, each with its volumes.
fn group(services: &[(&str, &[Volume<'_>])]) -> Group {
    let mut text = "version: \"2.0\"\nservices:\n".to_owned();
    let (mut compute, mut prices, mut deployed) = (String::new(), String::new(), String::new());
    for (service, volumes) in services {
        let mounts: Vec<String> =
            volumes.iter().map(|(name, ..)| format!("{name}: {{mount: /{name}}}")).collect();
        text += &format!(
            "  {service}: {{image: i, params: {{storage: {{{}}}}}, expose: [{{port: 80, to: [{{global: true}}]}}]}}\n",
            mounts.join(", ")
        );
        let volumes: Vec<String> = volumes
            .iter()
            .map(|(name, size, attributes)| {
                format!("{{name: {name}, size: {size}, attributes: {{{attributes}}}}}")
            })
            .collect();
        compute += &format!(
            "    {service}: {{resources: {{cpu: {{units: 1}}, memory: {{size: 1Gi}}, storage: [{}]}}}}\n",
            volumes.join(", ")
        );
        prices += &format!("{service}: {{denom: uact, amount: 1}}, ");
        deployed += &format!("  {service}: {{p: {{profile: {service}, count: 1}}}}\n");
    }
    text += &format!(
        "profiles:\n  compute:\n{compute}  placement: {{p: {{pricing: {{{prices}}}}}}}\ndeployment:\n{deployed}"
    );
    let deployment = manifests::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
    deployment.manifest.0.into_iter().next().expect("has a group")
}

const GROWS: &str = "persistent: true, class: beta2";
const GROWS_TOO: &str = "persistent: true, class: beta3";
const STAYS: &str = "persistent: true, class: beta1";
const GONE: &str = "persistent: true, class: default";
const NODE_LOCAL: &str = "persistent: false";

fn classes() -> BTreeMap<String, StorageClass> {
    let class = |word: &str, name: &str, expandable| {
        (word.to_owned(), StorageClass { name: name.to_owned(), id_mapped: false, expandable })
    };
    [class("beta1", "stiff", false), class("beta2", "fast", true), class("beta3", "fast", true)].into()
}

#[test]
fn a_volume_keeps_its_class_and_grows_only_where_that_allows_it() {
    let table: &[(&str, &str, &str, &str, &[&str])] = &[
        ("1Gi", GROWS, "1Gi", GROWS, &[]),
        ("1Gi", GROWS, "2Gi", GROWS, &[]),
        ("1Gi", GROWS, "2Gi", GROWS_TOO, &[]),
        ("1Gi", STAYS, "1Gi", STAYS, &[]),
        // A class that is not offered any more keeps what it has.
        ("1Gi", GONE, "1Gi", GONE, &[]),
        ("2Gi", NODE_LOCAL, "1Gi", NODE_LOCAL, &[]),
        ("1Gi", GROWS, "1Gi", NODE_LOCAL, &[]),
        ("2Gi", GROWS, "1Gi", GROWS, &["2147483648 bytes", "cannot become smaller", "keep its size"]),
        ("1Gi", STAYS, "2Gi", STAYS, &["class beta1 cannot grow", "2147483648", "another name"]),
        ("1Gi", GONE, "2Gi", GONE, &["class default cannot grow"]),
        ("1Gi", STAYS, "1Gi", GROWS, &["is of class beta1", "one of class beta2", "keep its class"]),
        ("1Gi", GONE, "1Gi", STAYS, &["is of class default"]),
    ];
    for (size, of, next_size, next_of, told) in table {
        let group = |size, of| group(&[("db", &[("data", size, of)])]);
        let result = volumes_may_become(&group(size, of), &group(next_size, next_of), &classes());
        let case = format!("{size} {of} to {next_size} {next_of}: {result:?}");
        assert_eq!(result.is_ok(), told.is_empty(), "{case}");
        let Err(error) = result else { continue };
        let sentence = error.to_string();
        assert!(sentence.starts_with("service db: its persistent volume \"data\" "), "{sentence}");
        assert!(told.iter().all(|part| sentence.contains(part)), "{case}: {sentence}");
    }
}

#[test]
fn volumes_and_services_come_and_go() {
    let running = group(&[("db", &[("data", "2Gi", STAYS)]), ("web", &[("data", "2Gi", STAYS)])]);
    let next = group(&[("cache", &[("data", "1Gi", STAYS)]), ("db", &[("other", "1Gi", STAYS)])]);
    assert_eq!(volumes_may_become(&running, &next, &classes()), Ok(()));
}
