//! `x-berth`: what is asked for arrives in the manifest and its digest or in the order's terms, and nothing is half read.

mod reading;

use std::time::Duration;

use manifests::Deployment;
use manifests::extension::{Action, Scheme, Strategy};
use manifests::manifest::{Manifest, Service};
use manifests::problem::ErrorKind;
use manifests::terms::Award;
use reading::{accepted, refused};

/// A document whose service and placement have room for an extension.
const DOCUMENT: &str = r#"version: "2.0"
services:
  web:
    image: nginx
    env: [MODE=prod]
    expose:
      - port: 80
        to: [{global: true}]
    #service
profiles:
  compute:
    small:
      resources:
        cpu: {units: 1}
        memory: {size: 512Mi}
        storage: {size: 1Gi}
  placement:
    west:
      pricing:
        small: {denom: uact, amount: 100}
      #placement
deployment:
  web:
    west: {profile: small, count: 1}
"#;

/// Everything that a service can ask for, nothing at its default.
const EVERYTHING: &str = r#"
      probes:
        startup:
          httpGet: {path: /healthz?full=1, port: 8443, scheme: HTTPS}
          failureThreshold: 30
        readiness:
          tcpSocket: {port: 80}
          initialDelaySeconds: 5
          periodSeconds: 2
          timeoutSeconds: 3
          successThreshold: 2
        liveness:
          exec: {command: [check, --deep]}
      restartPolicy: Always
      strategy: {type: RollingUpdate, maxSurge: 1, maxUnavailable: 0}
      terminationGracePeriodSeconds: 60
      secretRef:
        PASSWORD: db-password
        API_KEY: api-key
      initContainers:
        - name: migrate
          image: migrate:1
          command: [migrate]
          args: [up]
          env: [STEP=1]
          secretRef: {PASSWORD: db-password}
      tmpSize: 256Mi
"#;

/// The document with this under the service's `x-berth`.
fn service(extension: &str) -> String {
    DOCUMENT.replace("#service", &format!("x-berth: {extension}"))
}

/// The document with this under the placement's `x-berth`.
fn placement(extension: &str) -> String {
    DOCUMENT.replace("#placement", &format!("x-berth: {extension}"))
}

fn only_service(deployment: &Deployment) -> &Service {
    &deployment.manifest.0[0].services[0]
}

#[test]
fn all_that_a_service_asks_for_stands_in_its_manifest() {
    let deployment = accepted(&service(EVERYTHING));
    let extension = only_service(&deployment).x_berth.as_ref().expect("it asks for a lot");
    let startup = extension.probes.startup.as_ref().expect("it has one");
    let Action::HttpGet(get) = &startup.action else { panic!("{startup:?}") };
    assert_eq!((get.path.as_str(), get.port.get(), get.scheme), ("/healthz?full=1", 8443, Scheme::Https));
    // Nobody has to know our defaults: they are written out.
    assert_eq!((startup.period_seconds.get(), startup.timeout_seconds.get()), (10, 1));
    assert_eq!((startup.success_threshold.get(), startup.failure_threshold.get()), (1, 30));
    let readiness = extension.probes.readiness.as_ref().expect("it has one");
    assert!(matches!(&readiness.action, Action::TcpSocket(socket) if socket.port.get() == 80));
    let liveness = extension.probes.liveness.as_ref().expect("it has one");
    assert!(matches!(&liveness.action, Action::Exec(exec) if exec.command == ["check", "--deep"]));
    let Some(Strategy::RollingUpdate { max_surge, max_unavailable }) = extension.strategy else {
        panic!("{:?}", extension.strategy)
    };
    assert_eq!((max_surge.get(), max_unavailable.get()), (1, 0));
    assert_eq!(extension.termination_grace_period_seconds.map(|seconds| seconds.get()), Some(60));
    let names: Vec<_> = extension.secret_ref.iter().map(|reference| reference.name.as_str()).collect();
    assert_eq!(names, ["API_KEY", "PASSWORD"]);
    assert_eq!(extension.secret_names(), ["api-key", "db-password"]);
    assert_eq!(extension.init_containers[0].args.as_deref(), Some(&["up".to_owned()][..]));
    assert_eq!(extension.tmp_size.map(|size| size.0), Some(256 << 20));
    assert!(!extension.allow_gpu_sharing);
    assert_eq!(deployment.warnings, []);
}

#[test]
fn the_manifest_with_an_extension_is_told_in_these_bytes() {
    let json = String::from_utf8(accepted(&service(EVERYTHING)).manifest.to_json()).expect("UTF-8");
    let (_, extension) = json.split_once(r#""x_berth":"#).expect("it is there");
    let timings = |period, timeout, success, failure| {
        format!(
            r#""periodSeconds":{period},"timeoutSeconds":{timeout},"successThreshold":{success},"failureThreshold":{failure}"#
        )
    };
    let expected = [
        r#"{"probes":{"startup":{"httpGet":{"path":"/healthz?full=1","port":8443,"scheme":"HTTPS"},"initialDelaySeconds":0,"#,
        &timings(10, 1, 1, 30),
        r#"},"readiness":{"tcpSocket":{"port":80},"initialDelaySeconds":5,"#,
        &timings(2, 3, 2, 3),
        r#"},"liveness":{"exec":{"command":["check","--deep"]},"initialDelaySeconds":0,"#,
        &timings(10, 1, 1, 3),
        r#"}},"strategy":{"type":"RollingUpdate","maxSurge":1,"maxUnavailable":0},"terminationGracePeriodSeconds":60,"#,
        r#""secretRef":[{"name":"API_KEY","secret":"api-key"},{"name":"PASSWORD","secret":"db-password"}],"#,
        r#""initContainers":[{"name":"migrate","image":"migrate:1","command":["migrate"],"args":["up"],"env":["STEP=1"],"#,
        r#""secretRef":[{"name":"PASSWORD","secret":"db-password"}]}],"tmpSize":{"val":"268435456"}}}]}]"#,
    ];
    assert_eq!(extension, expected.concat());
}

#[test]
fn a_manifest_with_an_extension_survives_its_journey() {
    for extension in
        [EVERYTHING, "{strategy: {type: Recreate}}", "{probes: {liveness: {tcpSocket: {port: 1}}}}"]
    {
        let manifest = accepted(&service(extension)).manifest;
        assert_eq!(Manifest::from_json(&manifest.to_json()).as_ref(), Ok(&manifest));
        assert_eq!(Manifest::from_json(&manifest.canonical_json()).as_ref(), Ok(&manifest));
    }
}

#[test]
fn an_extension_that_asks_for_nothing_changes_no_byte() {
    let plain = accepted(DOCUMENT).manifest.to_json();
    for extension in [
        "",
        "{}",
        "{probes: {}}",
        "{restartPolicy: Always, secretRef: {}, initContainers: [], tmpSize: ~, allowGpuSharing: false}",
    ] {
        assert_eq!(accepted(&service(extension)).manifest.to_json(), plain, "{extension}");
    }
    // Terms are no part of the manifest, whatever they say.
    let terms = "{award: lowest, deadline: 10m, minReclaim: 24h, regions: [eu-west], maxLatency: 50ms}";
    assert_eq!(accepted(&placement(terms)).manifest.to_json(), plain);
}

#[test]
fn every_part_of_an_extension_changes_the_digest() {
    let digest = |extension: &str| accepted(&service(extension)).manifest.digest();
    let everything = digest(EVERYTHING);
    for (find, replace) in [
        ("full=1", "full=2"),
        ("port: 8443", "port: 8444"),
        (", scheme: HTTPS", ""),
        ("failureThreshold: 30", "failureThreshold: 31"),
        ("port: 80}", "port: 81}"),
        ("initialDelaySeconds: 5", "initialDelaySeconds: 6"),
        ("periodSeconds: 2", "periodSeconds: 3"),
        ("timeoutSeconds: 3", "timeoutSeconds: 4"),
        ("successThreshold: 2", "successThreshold: 3"),
        ("--deep", "--flat"),
        ("maxUnavailable: 0", "maxUnavailable: 1"),
        ("PeriodSeconds: 60", "PeriodSeconds: 61"),
        ("PASSWORD: db-password\n", "PASSWORD: other\n"),
        ("name: migrate", "name: change"),
        ("migrate:1", "migrate:2"),
        ("command: [migrate]", "command: [move]"),
        ("[up]", "[down]"),
        ("STEP=1", "STEP=2"),
        ("{PASSWORD: db-password}", "{PASSWORD: other}"),
        ("tmpSize: 256Mi", "tmpSize: 257Mi"),
    ] {
        assert!(EVERYTHING.contains(find), "{find}");
        assert_ne!(digest(&EVERYTHING.replacen(find, replace, 1)), everything, "{find}");
    }
    // What is written out and equals the default says nothing new.
    let explicit =
        EVERYTHING.replace("failureThreshold: 30", "failureThreshold: 30\n          periodSeconds: 10");
    assert_eq!(digest(&explicit), everything);
}

#[test]
fn sharing_a_gpu_is_forbidden_unless_it_is_asked_for() {
    let with_gpu = |extension: &str| {
        service(extension).replace(
            "cpu: {units: 1}",
            "cpu: {units: 1}\n        gpu: {units: 1, attributes: {vendor: {nvidia: [{model: a100}]}}}",
        )
    };
    let shares =
        |text: &str| only_service(&accepted(text)).x_berth.as_ref().is_some_and(|x| x.allow_gpu_sharing);
    assert!(!shares(&with_gpu("{}")));
    assert!(shares(&with_gpu("{allowGpuSharing: true}")));
}

/// What stands under a service's `x-berth`, and the kind and path of the first problem then.
const SERVICE_REFUSALS: &[(&str, ErrorKind, &str)] = &[
    ("[]", ErrorKind::YamlType, ""),
    ("{probe: {}}", ErrorKind::ExtensionUnknownKey, ".probe"),
    ("{probes: {ready: {}}}", ErrorKind::ExtensionUnknownKey, ".probes.ready"),
    ("{probes: {liveness: {}}}", ErrorKind::ExtensionInvalid, ".probes.liveness"),
    (
        "{probes: {liveness: {tcpSocket: {port: 80}, exec: {command: [x]}}}}",
        ErrorKind::ExtensionInvalid,
        ".probes.liveness",
    ),
    ("{probes: {liveness: {tcpSocket: {}}}}", ErrorKind::ExtensionInvalid, ".probes.liveness.tcpSocket"),
    (
        "{probes: {liveness: {tcpSocket: {port: 0}}}}",
        ErrorKind::ExtensionInvalid,
        ".probes.liveness.tcpSocket.port",
    ),
    (
        "{probes: {liveness: {httpGet: {port: 65536}}}}",
        ErrorKind::ExtensionInvalid,
        ".probes.liveness.httpGet.port",
    ),
    ("{probes: {liveness: {httpGet: {port: http}}}}", ErrorKind::YamlType, ".probes.liveness.httpGet.port"),
    (
        "{probes: {liveness: {httpGet: {port: 80, path: health}}}}",
        ErrorKind::ExtensionInvalid,
        ".probes.liveness.httpGet.path",
    ),
    (
        "{probes: {liveness: {httpGet: {port: 80, scheme: http}}}}",
        ErrorKind::ExtensionInvalid,
        ".probes.liveness.httpGet.scheme",
    ),
    (
        "{probes: {liveness: {httpGet: {port: 80, host: a.com}}}}",
        ErrorKind::ExtensionUnknownKey,
        ".probes.liveness.httpGet.host",
    ),
    (
        "{probes: {readiness: {exec: {command: []}}}}",
        ErrorKind::ExtensionInvalid,
        ".probes.readiness.exec.command",
    ),
    ("{probes: {readiness: {exec: {command: ls}}}}", ErrorKind::YamlType, ".probes.readiness.exec.command"),
    (
        "{probes: {liveness: {tcpSocket: {port: 80}, periodSeconds: 0}}}",
        ErrorKind::ExtensionInvalid,
        ".probes.liveness.periodSeconds",
    ),
    (
        "{probes: {liveness: {tcpSocket: {port: 80}, successThreshold: 2}}}",
        ErrorKind::ExtensionInvalid,
        ".probes.liveness.successThreshold",
    ),
    ("{restartPolicy: Never}", ErrorKind::ExtensionInvalid, ".restartPolicy"),
    ("{strategy: {}}", ErrorKind::ExtensionInvalid, ".strategy"),
    ("{strategy: Recreate}", ErrorKind::YamlType, ".strategy"),
    ("{strategy: {type: OnDelete}}", ErrorKind::ExtensionInvalid, ".strategy.type"),
    ("{strategy: {type: Recreate, maxSurge: 1}}", ErrorKind::ExtensionInvalid, ".strategy"),
    ("{strategy: {type: RollingUpdate, maxSurge: 25%}}", ErrorKind::YamlType, ".strategy.maxSurge"),
    ("{strategy: {type: RollingUpdate, maxSurge: 2}}", ErrorKind::ExtensionInvalid, ".strategy.maxSurge"),
    (
        "{strategy: {type: RollingUpdate, maxSurge: 0, maxUnavailable: 0}}",
        ErrorKind::ExtensionInvalid,
        ".strategy",
    ),
    ("{terminationGracePeriodSeconds: 3601}", ErrorKind::ExtensionInvalid, ".terminationGracePeriodSeconds"),
    ("{secretRef: [A]}", ErrorKind::YamlType, ".secretRef"),
    ("{secretRef: {A B: x}}", ErrorKind::EnvNameInvalid, ".secretRef"),
    ("{secretRef: {A: Hunter2!}}", ErrorKind::ExtensionInvalid, ".secretRef.A"),
    ("{secretRef: {MODE: mode}}", ErrorKind::ExtensionInvalid, ".secretRef.MODE"),
    ("{initContainers: {name: a}}", ErrorKind::YamlType, ".initContainers"),
    (
        "{initContainers: [{name: a, image: x, ports: []}]}",
        ErrorKind::ExtensionUnknownKey,
        ".initContainers[0].ports",
    ),
    ("{initContainers: [{image: x}]}", ErrorKind::ExtensionInvalid, ".initContainers[0].name"),
    ("{initContainers: [{name: web, image: x}]}", ErrorKind::ExtensionInvalid, ".initContainers[0].name"),
    ("{initContainers: [{name: a}]}", ErrorKind::ImageEmpty, ".initContainers[0].image"),
    (
        "{initContainers: [{name: a, image: x, env: [=]}]}",
        ErrorKind::EnvNameInvalid,
        ".initContainers[0].env[0]",
    ),
    ("{tmpSize: 1GB}", ErrorKind::QuantityMalformed, ".tmpSize"),
    ("{tmpSize: 0}", ErrorKind::ExtensionInvalid, ".tmpSize"),
    ("{tmpSize: 2Gi}", ErrorKind::ExtensionInvalid, ".tmpSize"),
    ("{allowGpuSharing: true}", ErrorKind::ExtensionInvalid, ".allowGpuSharing"),
];

#[test]
fn what_a_service_cannot_ask_for_is_refused_at_its_place() {
    let line = DOCUMENT.lines().position(|line| line.contains("#service")).expect("it is there") + 1;
    for (extension, kind, path) in SERVICE_REFUSALS {
        let problem = &refused(&service(extension))[0];
        assert_eq!(
            (problem.kind, problem.path.as_str()),
            (*kind, &*format!("services.web.x-berth{path}")),
            "{extension}"
        );
        assert_eq!(problem.line as usize, line, "{extension}: {problem}");
        assert!(!problem.remedy().is_empty(), "{extension}: {problem}");
        // The column is that of the key or the value that is wrong, not of the extension as a whole.
        assert!(problem.column > 6, "{extension}: {problem}");
    }
}

#[test]
fn the_terms_of_an_order_stand_beside_its_group() {
    let text = placement(
        "{award: lowest, deadline: 10m, minReclaim: 24h, regions: [eu-west, eu-central], maxLatency: 50ms}",
    );
    let deployment = accepted(&text);
    let [terms] = &deployment.terms[..] else { panic!("{:?}", deployment.terms) };
    assert_eq!(terms.award, Award::Lowest);
    assert_eq!(terms.deadline, Some(Duration::from_secs(600)));
    assert_eq!(terms.min_reclaim, Some(Duration::from_secs(86_400)));
    assert_eq!(terms.regions, ["eu-west", "eu-central"]);
    assert_eq!(terms.max_latency, Some(Duration::from_millis(50)));
    // The order's spec is the same with and without.
    assert_eq!(deployment.groups, accepted(DOCUMENT).groups);
}

#[test]
fn a_placement_s_notice_stands_before_the_document_s() {
    let reclaim = |text: String| accepted(&text).terms[0].min_reclaim.map(|notice| notice.as_secs());
    let window = "reclamation: {min_window: 1h}\n";
    assert_eq!(reclaim(DOCUMENT.to_owned()), None);
    assert_eq!(reclaim(format!("{DOCUMENT}{window}")), Some(3600));
    assert_eq!(reclaim(format!("{}{window}", placement("{minReclaim: 30m}"))), Some(1800));
}

#[test]
fn terms_that_make_no_sense_are_refused_at_their_place() {
    for (extension, kind, path) in [
        ("[]", ErrorKind::YamlType, ""),
        ("{notice: 1h}", ErrorKind::ExtensionUnknownKey, ".notice"),
        ("{award: cheapest}", ErrorKind::ExtensionInvalid, ".award"),
        ("{award: lowest}", ErrorKind::ExtensionInvalid, ".award"),
        ("{deadline: 10}", ErrorKind::ExtensionInvalid, ".deadline"),
        ("{deadline: -10m}", ErrorKind::ExtensionInvalid, ".deadline"),
        ("{minReclaim: 0}", ErrorKind::ExtensionInvalid, ".minReclaim"),
        ("{minReclaim: 1500ms}", ErrorKind::ExtensionInvalid, ".minReclaim"),
        ("{minReclaim: 2000000h}", ErrorKind::ExtensionInvalid, ".minReclaim"),
        ("{maxLatency: 1us}", ErrorKind::ExtensionInvalid, ".maxLatency"),
        ("{regions: eu-west}", ErrorKind::YamlType, ".regions"),
        ("{regions: [EU]}", ErrorKind::ExtensionInvalid, ".regions[0]"),
        ("{regions: [eu, eu]}", ErrorKind::ExtensionInvalid, ".regions[1]"),
    ] {
        let problem = &refused(&placement(extension))[0];
        let path = format!("profiles.placement.west.x-berth{path}");
        assert_eq!((problem.kind, problem.path.as_str()), (kind, &*path), "{extension}");
        assert!(problem.line > 0 && problem.column > 8, "{extension}: {problem}");
    }
}

#[test]
fn no_secret_of_an_extension_shows_in_a_message() {
    for extension in [
        "{secretRef: {PASSWORD: 'canary!'}}",
        "{secretRef: {'canary pass': x}}",
        "{secretRef: {A: [canary]}}",
        "{secretRef: [A=canary]}",
        "{secretRef: canary}",
        "{initContainers: [{name: a, image: x, env: ['canary !']}]}",
        "{initContainers: [{name: a, image: x, env: {A: canary}}]}",
        "{initContainers: [{name: a, image: x, env: canary}]}",
        "{initContainers: [{name: a, image: x, secretRef: {A: canary!}}]}",
        "{probes: {liveness: {exec: {comand: [x, canary]}}}}",
        "{probes: {liveness: {exec: [canary]}}}",
    ] {
        for problem in refused(&service(extension)) {
            assert!(!format!("{problem} {problem:?}").contains("canary"), "{extension}: {problem}");
        }
    }
    let manifest = accepted(&service("{initContainers: [{name: a, image: x, env: [A=canary]}]}"));
    assert!(!format!("{manifest:?}").contains("canary"));
}

#[test]
fn an_extension_in_the_wrong_place_is_warned_of() {
    let text = DOCUMENT.replace("    small:\n", "    small:\n      x-berth: {tmpSize: 1Mi}\n");
    let deployment = accepted(&text);
    assert_eq!(only_service(&deployment).x_berth, None);
    let [warning] = &deployment.warnings[..] else { panic!("{:?}", deployment.warnings) };
    assert_eq!(warning.path, "profiles.compute.small.x-berth");
    assert!(warning.message.contains("under a service or a placement"), "{warning}");
}

#[test]
fn aliases_and_merge_keys_work_inside_extensions() {
    let text = service(
        "{probes: {readiness: &probe {tcpSocket: {port: 80}, periodSeconds: 7}, liveness: {<<: *probe, failureThreshold: 9}}}",
    );
    let deployment = accepted(&text);
    let probes = &only_service(&deployment).x_berth.as_ref().expect("it is there").probes;
    let liveness = probes.liveness.as_ref().expect("it has one");
    assert_eq!((liveness.period_seconds.get(), liveness.failure_threshold.get()), (7, 9));
}

#[test]
fn an_extension_over_the_wire_is_held_to_the_same_rules() {
    let json = String::from_utf8(accepted(&service(EVERYTHING)).manifest.to_json()).expect("UTF-8");
    for (find, replace, kind) in [
        (r#""periodSeconds":2"#, r#""periodSeconds":0"#, ErrorKind::ManifestMalformed),
        (
            r#""tcpSocket":{"port":80}"#,
            r#""tcpSocket":{"port":80},"exec":{"command":["x"]}"#,
            ErrorKind::ManifestMalformed,
        ),
        (r#""tcpSocket":{"port":80},"#, "", ErrorKind::ManifestMalformed),
        (r#""maxSurge":1"#, r#""maxSurge":0"#, ErrorKind::ExtensionInvalid),
        (r#""maxSurge":1"#, r#""maxSurge":1,"x":1"#, ErrorKind::ManifestMalformed),
        (r#""tmpSize""#, r#""tmp""#, ErrorKind::ManifestMalformed),
        (r#""secret":"db-password""#, r#""secret":"hunter2!""#, ErrorKind::ExtensionInvalid),
        (r#""name":"migrate""#, r#""name":"web""#, ErrorKind::ExtensionInvalid),
        (r#""268435456""#, r#""1073741825""#, ErrorKind::ExtensionInvalid),
    ] {
        assert!(json.contains(find), "{find}");
        let problems = Manifest::from_json(json.replacen(find, replace, 1).as_bytes()).expect_err(find);
        assert_eq!(problems[0].kind, kind, "{find}: {}", problems[0]);
    }
}
