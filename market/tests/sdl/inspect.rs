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
    x-berth: {initContainers: [{name: init, image: init, env: [TOKEN=hunter4]}]}
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
    // The site is told at which ports of the nodes it is reached, which nobody knows before they are given.
    assert_eq!(ended.out.matches("\n# Applied when ").count(), 2, "{}", ended.out);
    assert!(ended.out.contains("berth.dev/provider: \"0x2222"), "an address is no number: {}", ended.out);
    let encoded = ["hunter", "aHVudGVy", "h1bnRlc", "odW50ZX"];
    assert!(encoded.iter().all(|secret| !ended.out.contains(secret)), "{}", ended.out);
    assert!(ended.out.contains("BERTH_SERVICE"), "what a container is told is shown: {}", ended.out);
    let shown = folder.sdl(&["render", "app.yaml", "--show-secrets"]);
    assert!(encoded.iter().any(|secret| shown.out.contains(secret)), "{}", shown.out);
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
        "api: its replicas have no numbers, so BERTH_REPLICA is not set: a persistent volume would give them numbers",
        "Deployment api, web",
        "web: port 8080 of the container over HTTP, for everybody",
        "web: port 9999 of the container as UDP at a port of the provider's choice, for everybody",
        "api: port 9000 of the container as TCP 9000, for service \"web\"",
        "carried by HTTPRoute web.8080: timeouts.request 1000ms, from read_timeout",
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
fn explaining_tells_what_extensions_ask_for() {
    let text = r#"
version: "2.0"
reclamation: {min_window: 90s}
services:
  web:
    image: nginx
    expose: [{port: 80, to: [{global: true}]}]
    x-berth:
      probes: {liveness: {exec: {command: [check, --password=hunter2]}, periodSeconds: 5}}
      strategy: {type: Recreate}
      secretRef: {TOKEN: api-token}
      initContainers: [{name: migrate, image: app}]
      tmpSize: 16Mi
profiles:
  compute:
    web: {resources: {cpu: {units: 1}, memory: {size: 64Mi}, storage: {size: 64Mi}}}
  placement:
    here:
      x-berth: {award: lowest, deadline: 10m, regions: [eu-west], maxLatency: 50ms}
      pricing: {web: {denom: uact, amount: 1}}
deployment:
  web: {here: {profile: web, count: 1}}
"#;
    let ended = Folder::with(&[("app.yaml", text)]).sdl(&["explain", "app.yaml"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let squeezed: Vec<String> =
        ended.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "the lowest bid wins after 10m",
        "the provider must promise 90s of notice before it leaves",
        "regions that are wished for, best first: eu-west",
        "a round trip of 50ms at most is wished for",
        "web: liveness: a command in the container, every 5s from 0s on, fails after 3 in a row",
        "web: updates stop all replicas before new ones start",
        "web: /tmp holds 16Mi and is empty at every start",
        "web: migrate of image app runs to its end first",
        "web: it waits for secrets that the tenant gives to the provider: api-token",
        "services.web.x-berth.probes.liveness.failureThreshold 3 x-berth",
        "services.web.x-berth.probes.startup none x-berth",
        "profiles.placement.here.x-berth.minReclaim 90s reclamation.min_window",
    ] {
        assert!(squeezed.iter().any(|told| told == line), "{line:?} is not in\n{}", ended.out);
    }
    for written in
        ["liveness.periodSeconds", "x-berth.strategy", "x-berth.tmpSize", "x-berth.award", "hunter"]
    {
        assert!(!ended.out.contains(written), "{written}\n{}", ended.out);
    }
}

#[test]
fn explaining_tells_what_lasts() {
    let text = TWO_PLACEMENTS.replace("accept: [www.example.com]", "").replacen(
        "storage: {size: 64Mi}",
        "storage: [{name: data, size: 64Mi, attributes: {persistent: true, class: beta3}}]",
        1,
    );
    let text = ["image: api\n", "image: nginx\n"].iter().fold(text, |text, image| {
        text.replace(image, &format!("{image}    params: {{storage: {{data: {{mount: /data}}}}}}\n"))
    });
    let ended = Folder::with(&[("app.yaml", &text)]).sdl(&["explain", "app.yaml"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    for told in [
        "BERTH_REPLICA is the replica's number, from 0",
        "volume \"data\" lasts as long as the lease",
        "StatefulSet",
    ] {
        assert!(ended.out.contains(told), "{told:?} is not in\n{}", ended.out);
    }
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
fn every_real_document_that_is_accepted_can_be_explained_and_rendered() {
    let Some(folder) = fixtures("awesome") else { return };
    let mut explained = 0;
    for (path, expected) in expected(&folder) {
        if expected["accept"] != true {
            continue;
        }
        let name = path.display().to_string();
        let told = Folder::new().sdl(&["explain", &name]);
        assert_eq!(told.code, 0, "{name}: {}", told.err);
        assert!(told.out.contains("\nON KUBERNETES ") && told.out.contains("\nDEFAULTS: "), "{name}");
        let rendered = Folder::new().sdl(&["render", &name]);
        assert_eq!(rendered.code, 0, "{name}: {}", rendered.err);
        assert!(objects(&rendered.out).iter().any(|object| object["kind"] == "Namespace"), "{name}");
        explained += 1;
    }
    println!("{explained} documents explained and rendered");
    assert!(explained >= 210, "only {explained} documents were there");
}
