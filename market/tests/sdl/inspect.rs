//! `berth sdl render` and `berth sdl explain`.

use serde::Deserialize as _;
use serde_json::Value;

use crate::berth::{Folder, expected, fixtures};

const TWO_PLACEMENTS: &str = r#"
version: "2.1"
services:
  api:
    image: api
    env: [TOKEN=hunter2]
    credentials: {host: registry.example.com, username: me, password: hunter3}
    expose: [{port: 9000, to: [{service: web}]}]
  web:
    image: nginx
    command: [nginx]
    expose:
      - port: 8080
        as: 80
        accept: [www.example.com]
        to: [{global: true}]
        http_options: {read_timeout: 1000}
      - port: 9999
        proto: UDP
        to: [{global: true}]
profiles:
  compute:
    small: {resources: {cpu: {units: 0.1}, memory: {size: 64Mi}, storage: {size: 64Mi}}}
  placement:
    east: {attributes: {region: east}, signedBy: {anyOf: [akash1x]}, pricing: {small: {denom: uact, amount: 1000}}}
    west: {pricing: {small: {denom: uact, amount: 1000}}}
deployment:
  api: {west: {profile: small, count: 3}}
  web: {east: {profile: small, count: 1}, west: {profile: small, count: 2}}
"#;

fn objects(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).expect("an object"))
        .filter(|object| !object.is_null())
        .collect()
}

#[test]
fn rendering_prints_the_objects_of_every_placement_without_secrets() {
    // One host name cannot be served in two placements.
    let text = TWO_PLACEMENTS.replace("accept: [www.example.com]", "");
    let folder = Folder::with(&[("app.yaml", &text)]);
    let ended = folder.sdl(&["render", "app.yaml"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.out.starts_with("# An example: "), "{}", ended.out);
    let all = objects(&ended.out);
    let named = |kind: &str| -> Vec<&str> {
        all.iter().filter(|o| o["kind"] == kind).filter_map(|o| o["metadata"]["name"].as_str()).collect()
    };
    assert_eq!(named("Namespace").len(), 2);
    assert_eq!(named("Deployment"), ["web", "api", "web"]);
    assert!(!ended.out.contains("hunter"), "{}", ended.out);
    let shown = folder.sdl(&["render", "app.yaml", "--show-secrets"]);
    assert!(shown.out.contains("hunter2") || shown.out.contains("aHVudGVyMg"), "{}", shown.out);
    let one = folder.sdl(&["render", "app.yaml", "--placement", "west", "--kind", "deployment"]);
    assert_eq!(objects(&one.out).len(), 2);
    assert_eq!(folder.sdl(&["render", "app.yaml", "--placement", "north"]).code, 2);
}

#[test]
fn explaining_tells_orders_objects_ways_in_and_defaults() {
    let text = TWO_PLACEMENTS.replace("accept: [www.example.com]", "");
    let ended = Folder::with(&[("app.yaml", &text)]).sdl(&["explain", "app.yaml"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let squeezed: Vec<String> =
        ended.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "PLACEMENT east",
        "the provider must have region = east",
        "one of these must vouch for it: akash1x",
        "api api 3 0.1 64Mi 64Mi – 3 × 1000 uact",
        "together 0.5 cores, 320Mi memory, 320Mi storage, 0 GPUs",
        "Deployment api, web",
        "web: port 8080 of the container over HTTP, for everybody",
        "web: port 9999 of the container as UDP at a port of the provider's choice, for everybody",
        "api: port 9000 of the container as TCP 9000, for service \"web\"",
        "carried by its route: read_timeout, as a limit of 1000 ms on the whole answer",
        "services.api.expose[0].as 9000, the same as port the language",
        "services.web.expose[0].proto TCP the language",
        "services.web.expose[0].http_options.max_body_size 1048576 bytes the language",
        "profiles.compute.small.resources.gpu.units 0 the language",
        "profiles.placement.west.signedBy nobody need vouch the language",
    ] {
        assert!(squeezed.iter().any(|told| told == line), "{line:?} is not in\n{}", ended.out);
    }
    for written in
        ["services.web.command ", "services.web.expose[0].as ", "expose[0].http_options.read_timeout "]
    {
        assert!(!squeezed.iter().any(|told| told.contains(written)), "{written} was written\n{}", ended.out);
    }
    assert!(squeezed.iter().any(|told| told.starts_with("not carried: max_body_size 1048576:")));
    assert!(!ended.out.contains("hunter"), "{}", ended.out);
}

#[test]
fn a_refused_document_is_neither_explained_nor_rendered() {
    let folder = Folder::with(&[("bad.yaml", "version: \"2.0\"\n")]);
    for verb in ["explain", "render"] {
        let ended = folder.sdl(&[verb, "bad.yaml"]);
        assert_eq!((ended.code, ended.out.as_str()), (1, ""));
        assert!(ended.err.contains("error[no-groups]"), "{}", ended.err);
    }
}

#[test]
fn every_real_document_that_is_accepted_can_be_explained() {
    let Some(folder) = fixtures("awesome") else { return };
    let mut explained = 0;
    for (path, expected) in expected(&folder) {
        if expected["accept"] != true {
            continue;
        }
        let ended = Folder::new().sdl(&["explain", &path.display().to_string()]);
        assert_eq!(ended.code, 0, "{}: {}", path.display(), ended.err);
        assert!(ended.out.contains("\nDEFAULTS: "), "{}", path.display());
        explained += 1;
    }
    println!("{explained} documents explained");
    assert!(explained >= 210, "only {explained} documents were there");
}
