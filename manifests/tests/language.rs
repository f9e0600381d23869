//! The language in documents of our own: what is accepted means what it should, what is wrong is refused by its kind.

mod reading;

use manifests::digest::{canonical_json, plain_json};
use manifests::manifest::Manifest;
use manifests::parse;
use manifests::problem::ErrorKind;
use manifests::resources::EndpointKind;
use proptest::prelude::*;
use reading::{accepted, refused};

/// A document that uses every section.
const DOCUMENT: &str = r#"version: "2.0"
endpoints:
  front:
    kind: ip
services:
  web:
    image: ghcr.io/example/web:1.2
    command: [serve]
    args: ["--port", "8080"]
    env:
      - MODE=prod
      - GREETING=a < b & c
    expose:
      - port: 8080
        as: 80
        accept: [web.example.com]
        to:
          - global: true
      - port: 9000
        proto: udp
        to:
          - global: true
            ip: front
    params:
      storage:
        data:
          mount: /var/data
    credentials:
      host: ghcr.io
      username: someone
      password: pa55-canary
  store:
    image: postgres:16
    env: [PASSWORD=env-canary]
    expose:
      - port: 5432
        to:
          - service: web
profiles:
  compute:
    big:
      resources:
        cpu: {units: 1.5}
        memory: {size: 2Gi}
        gpu:
          units: 1
          attributes:
            vendor:
              nvidia:
                - model: h100
                  ram: 80Gi
                  interface: sxm
        storage:
          - size: 1Gi
          - name: data
            size: 10Gi
            attributes: {class: beta2, persistent: true}
    small:
      resources:
        cpu: {units: 250m}
        memory: {size: 256Mi}
        storage: {size: 512Mi}
  placement:
    west:
      attributes: {region: us-west}
      signedBy: {anyOf: [auditor-1]}
      pricing:
        big: {denom: uact, amount: 1000.5}
        small: {denom: uact, amount: 10}
deployment:
  web:
    west: {profile: big, count: 2}
  store:
    west: {profile: small, count: 1}
reclamation:
  min_window: 24h
"#;

/// The kinds of the problems for which a text is refused, in their order.
fn kinds(text: &str) -> Vec<ErrorKind> {
    refused(text).iter().map(|problem| problem.kind).collect()
}

/// The document with one place changed.
fn with(find: &str, replace: &str) -> String {
    assert!(DOCUMENT.contains(find), "the document has no {find:?}");
    DOCUMENT.replacen(find, replace, 1)
}

#[test]
fn a_document_becomes_a_manifest_and_a_group() {
    let deployment = accepted(DOCUMENT);
    let group = deployment.manifest.group("west").expect("the placement is a group");
    let web = group.service("web").expect("the service is there");
    assert_eq!(web.count, 2);
    assert_eq!(web.resources.cpu.units.0, 1500);
    assert_eq!(web.resources.gpu.attributes[0].key, "vendor/nvidia/model/h100/ram/80Gi/interface/sxm");
    assert_eq!(web.resources.storage[1].class(), Some("beta2"));
    assert!(web.resources.storage[1].persistent());
    assert_eq!(web.expose[0].visible_port(), 80);
    // One entry between services stands before the endpoint, which therefore has number two.
    assert_eq!(web.expose[1].endpoint_sequence_number, 2);
    let kinds: Vec<_> = web.resources.endpoints.iter().map(|endpoint| endpoint.kind).collect();
    assert_eq!(kinds, [EndpointKind::SharedHttp, EndpointKind::RandomPort, EndpointKind::LeasedIp]);
    assert_eq!(deployment.groups[0].resources.len(), 2);
    assert_eq!(deployment.groups[0].resources[0].resource.id, 1);
    assert_eq!(deployment.reclamation.map(|window| window.as_secs()), Some(86_400));
    assert_eq!(deployment.warnings, []);
}

#[test]
fn services_of_one_profile_share_a_unit_from_the_newer_level_on() {
    let shared = |version: &str| {
        let text = with("\"2.0\"", version).replace("{profile: small, count: 1}", "{profile: big, count: 3}");
        accepted(
            &text
                .replace(
                    "storage:\n        data:\n          mount: /var/data",
                    "storage: {data: {mount: /d}}",
                )
                .replacen(
                    "image: postgres:16",
                    "image: postgres:16\n    params: {storage: {data: {mount: /d}}}",
                    1,
                ),
        )
    };
    let [older, newer] =
        ["\"2.0\"", "\"2.1\""].map(shared).map(|deployment| deployment.groups[0].resources.clone());
    assert_eq!(older.iter().map(|unit| unit.count).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(newer.iter().map(|unit| unit.count).collect::<Vec<_>>(), [5]);
}

/// What is changed in the document, and the kind and path of the first problem then.
const REFUSALS: &[(&str, &str, ErrorKind, &str)] = &[
    ("version: \"2.0\"", "# none", ErrorKind::VersionMissing, ""),
    ("\"2.0\"", "beta", ErrorKind::VersionMalformed, "version"),
    ("\"2.0\"", "1.0", ErrorKind::VersionUnsupported, "version"),
    ("reclamation:", "reclaim:", ErrorKind::TopLevelUnknownKey, "reclaim"),
    ("command: [serve]", "command: serve", ErrorKind::YamlType, "services.web.command"),
    ("port: 8080", "port: \"8080\"", ErrorKind::YamlType, "services.web.expose[0].port"),
    ("port: 8080", "port: 4294967296", ErrorKind::YamlType, "services.web.expose[0].port"),
    ("global: true", "global: \"true\"", ErrorKind::YamlType, "services.web.expose[0].to[0].global"),
    ("command: [serve]", "image: other", ErrorKind::YamlDuplicateKey, "services.web"),
    ("units: 1.5", "units: 1 core", ErrorKind::QuantityMalformed, "profiles.compute.big.resources.cpu.units"),
    ("size: 2Gi", "size: -2Gi", ErrorKind::QuantityNegative, "profiles.compute.big.resources.memory.size"),
    (
        "units: 1.5",
        "attributes: {cores: 1}",
        ErrorKind::CpuUnknownAttribute,
        "profiles.compute.big.resources.cpu.attributes.cores",
    ),
    ("units: 1\n", "unit: 1\n", ErrorKind::GpuUnknownKey, "profiles.compute.big.resources.gpu.unit"),
    (
        "vendor:\n",
        "maker:\n",
        ErrorKind::GpuUnknownAttribute,
        "profiles.compute.big.resources.gpu.attributes.maker",
    ),
    (
        "interface: sxm",
        "interface: SXM",
        ErrorKind::GpuInterfaceInvalid,
        "profiles.compute.big.resources.gpu.attributes.vendor.nvidia[0].interface",
    ),
    (
        "model: h100",
        "model: h 100",
        ErrorKind::GpuAttributeKeyInvalid,
        "profiles.compute.big.resources.gpu.attributes",
    ),
    (
        "units: 1\n",
        "units: 0\n",
        ErrorKind::GpuAttributesWithoutUnits,
        "profiles.compute.big.resources.gpu.units",
    ),
    ("units: 1\n", "units: 25\n", ErrorKind::GpuOutOfRange, "profiles.compute.big.resources.gpu.units"),
    (
        "name: data",
        "name: default",
        ErrorKind::StorageDuplicateName,
        "profiles.compute.big.resources.storage",
    ),
    (
        "class: beta2",
        "kind: beta2",
        ErrorKind::StorageUnknownAttribute,
        "profiles.compute.big.resources.storage[1].attributes",
    ),
    (
        "persistent: true",
        "persistent: false",
        ErrorKind::StorageClassOnEphemeral,
        "profiles.compute.big.resources.storage[1].attributes",
    ),
    (
        "class: beta2",
        "class: ram",
        ErrorKind::StorageRamPersistent,
        "profiles.compute.big.resources.storage[1].attributes",
    ),
    (
        "class: beta2",
        "class: ssd",
        ErrorKind::StorageClassUnknown,
        "profiles.compute.big.resources.storage[1].attributes",
    ),
    (
        "persistent: true",
        "persistent: True",
        ErrorKind::StoragePersistentNotBool,
        "profiles.compute.big.resources.storage[1].attributes",
    ),
    ("amount: 10}", "amount: 1e3}", ErrorKind::PriceMalformed, "profiles.placement.west.pricing.small"),
    ("amount: 10}", "amount: 0}", ErrorKind::PriceZero, "profiles.placement.west.pricing.small"),
    ("amount: 10}", "amount: -1}", ErrorKind::PriceNegative, "profiles.placement.west.pricing.small"),
    (
        "denom: uact, amount: 10}",
        "denom: $, amount: 10}",
        ErrorKind::PriceDenomInvalid,
        "profiles.placement.west.pricing.small",
    ),
    (
        "amount: 10}",
        "amount: 10000000.1}",
        ErrorKind::PriceOverLimit,
        "profiles.placement.west.pricing.small",
    ),
    (
        "denom: uact, amount: 10}",
        "denom: uakt, amount: 10}",
        ErrorKind::DenomMixedInGroup,
        "profiles.placement.west.pricing",
    ),
    ("[web.example.com]", "[\"web example\"]", ErrorKind::AcceptMalformed, "services.web.expose[0].accept"),
    ("[web.example.com]", "[Web.example.com]", ErrorKind::HostnameInvalid, "services.web.expose[0]"),
    ("[web.example.com]", "[a.com, a.com]", ErrorKind::HostnameDuplicate, "services.web.expose[0]"),
    ("proto: udp", "proto: sctp", ErrorKind::ProtocolUnsupported, "services.web.expose[1].proto"),
    (
        "as: 80\n",
        "http_options: {read_timeout: 60001}\n",
        ErrorKind::HttpOptionOverLimit,
        "services.web.expose[0].http_options.read_timeout",
    ),
    (
        "as: 80\n",
        "http_options: {next_cases: [400]}\n",
        ErrorKind::NextCaseUnknown,
        "services.web.expose[0].http_options.next_cases",
    ),
    (
        "as: 80\n",
        "http_options: {next_cases: [off, error]}\n",
        ErrorKind::NextCaseOffMixed,
        "services.web.expose[0].http_options.next_cases",
    ),
    ("params:\n", "params:\n      tee: sgx\n", ErrorKind::TeeUnsupported, "services.web.params.tee"),
    ("min_window: 24h", "min_window: 1d", ErrorKind::ReclamationMalformed, "reclamation.min_window"),
    ("min_window: 24h", "min_window: -1h", ErrorKind::ReclamationNotPositive, "reclamation.min_window"),
    ("front:\n", "Front:\n", ErrorKind::EndpointNameInvalid, "endpoints.Front"),
    ("kind: ip", "kind: ~", ErrorKind::EndpointKindMissing, "endpoints.front"),
    ("kind: ip", "kind: dns", ErrorKind::EndpointKindUnknown, "endpoints.front"),
    ("            ip: front\n", "", ErrorKind::EndpointUnused, "endpoints.front"),
    ("ip: front", "ip: back", ErrorKind::IpEndpointUnknown, "services.web.expose[1].to"),
    (
        "global: true\n            ip",
        "global: false\n            ip",
        ErrorKind::IpNotGlobal,
        "services.web.expose[1].to",
    ),
    ("{profile: small", "{profile: tiny", ErrorKind::ComputeProfileUnknown, "deployment.store.west"),
    (
        "    west: {profile: small",
        "    east: {profile: small",
        ErrorKind::PlacementProfileUnknown,
        "deployment.store.east",
    ),
    ("        small: {denom: uact, amount: 10}\n", "", ErrorKind::PricingMissing, "deployment.store.west"),
    ("  store:\n    west", "  cache:\n    west", ErrorKind::ServiceUnknown, "deployment.cache.west"),
    ("host: ghcr.io", "host: \" \"", ErrorKind::CredentialsHostMissing, "services.web.credentials"),
    (
        "username: someone",
        "email: someone",
        ErrorKind::CredentialsUsernameMissing,
        "services.web.credentials",
    ),
    ("password: pa55-canary", "password:", ErrorKind::CredentialsPasswordMissing, "services.web.credentials"),
    (
        "        data:\n          mount",
        "        logs:\n          mount",
        ErrorKind::ParamsVolumeUnknown,
        "services.web.params.storage.logs",
    ),
    ("mount: /var/data", "mount: var/data", ErrorKind::MountNotAbsolute, "services.web.params.storage.data"),
    (
        "mount: /var/data",
        "mount: /d\n        default: {mount: /d}",
        ErrorKind::MountDuplicate,
        "services.web.params.storage.default",
    ),
    (
        "      storage:\n        data:\n          mount: /var/data\n",
        "",
        ErrorKind::PersistentUnmounted,
        "services.web",
    ),
    ("cpu: {units: 250m}\n        ", "", ErrorKind::CpuMissing, "profiles.compute.small.resources.cpu"),
    (
        "memory: {size: 256Mi}\n        ",
        "",
        ErrorKind::MemoryMissing,
        "profiles.compute.small.resources.memory",
    ),
    (
        "        storage: {size: 512Mi}\n",
        "",
        ErrorKind::StorageMissing,
        "profiles.compute.small.resources.storage",
    ),
    ("units: 250m", "units: 9m", ErrorKind::CpuOutOfRange, "profiles.compute.small.resources.cpu.units"),
    ("units: 250m", "units: 4294968", ErrorKind::CpuOutOfRange, "profiles.compute.small.resources.cpu.units"),
    (
        "units: 250m",
        "units: 1, attributes: {arch: amd64, arch: arm64}",
        ErrorKind::CpuAttributeKeyInvalid,
        "profiles.compute.small.resources.cpu.attributes",
    ),
    ("units: 250m", "units: 1\n          attributes: {arch: amd64}", ErrorKind::YamlSyntax, ""),
    ("size: 256Mi", "size: 3Ti", ErrorKind::MemoryOutOfRange, "profiles.compute.small.resources.memory.size"),
    ("size: 512Mi", "size: 4Mi", ErrorKind::StorageOutOfRange, "profiles.compute.small.resources.storage"),
    ("count: 1}", "count: 100000}", ErrorKind::TotalCpuOutOfRange, "profiles.placement.west"),
    ("count: 2}", "count: 1201}", ErrorKind::TotalGpuOutOfRange, "profiles.placement.west"),
    ("image: postgres:16", "image:", ErrorKind::ImageEmpty, "services.store.image"),
    ("MODE=prod", "1MODE=prod", ErrorKind::EnvNameInvalid, "services.web.env[0]"),
    ("port: 5432", "port: 70000", ErrorKind::PortOutOfRange, "services.store.expose[0]"),
    ("MODE=prod", "*nowhere", ErrorKind::YamlSyntax, ""),
];

#[test]
fn every_broken_rule_is_named_with_its_place() {
    for (find, replace, kind, path) in REFUSALS {
        let text = with(find, replace);
        let first = &refused(&text)[0];
        assert_eq!((first.kind, first.path.as_str()), (*kind, *path), "{find:?} -> {replace:?}: {first}");
        let lines = u32::try_from(text.lines().count()).expect("few lines");
        assert!(first.line <= lines && first.message.len() > 10, "{first}");
        for problem in refused(&text) {
            assert!(!problem.fault().is_empty() && !problem.remedy().is_empty(), "no remedy: {problem}");
        }
    }
}

#[test]
fn rules_that_need_more_than_one_change_are_kept_too() {
    let nothing_outside = DOCUMENT
        .replace("global: true\n            ip: front", "service: store")
        .replace("endpoints:\n  front:\n    kind: ip\n", "")
        .replace("global: true", "global: false");
    assert_eq!(refused(&nothing_outside)[0].kind, ErrorKind::NoGlobalService);

    let nothing_deployed = DOCUMENT
        .split("deployment:")
        .next()
        .expect("text before")
        .replace("endpoints:\n  front:\n    kind: ip\n", "");
    assert_eq!(refused(&nothing_deployed)[0].kind, ErrorKind::NoGroups);

    let no_model = with(
        "          attributes:\n            vendor:\n              nvidia:\n                - model: h100\n                  ram: 80Gi\n                  interface: sxm\n",
        "",
    );
    assert_eq!(refused(&no_model)[0].kind, ErrorKind::GpuAttributesMissing);

    let bad_name = DOCUMENT.replace("  store:\n", "  sto_re:\n");
    assert_eq!(refused(&bad_name)[0].kind, ErrorKind::ServiceNameInvalid);

    let read_only_memory = with("\"2.0\"", "\"2.1\"")
        .replace("{class: beta2, persistent: true}", "{class: ram}")
        .replace("mount: /var/data", "mount: /var/data\n          readOnly: true");
    assert_eq!(refused(&read_only_memory)[0].kind, ErrorKind::RamReadonly);

    let without_gpu = with("params:\n", "params:\n      tee: cpu-gpu\n")
        .replace("{profile: big", "{profile: small")
        .replace("      storage:\n        data:\n          mount: /var/data\n", "");
    assert_eq!(refused(&without_gpu)[0].kind, ErrorKind::TeeNeedsGpu);
}

#[test]
fn a_service_that_cannot_be_resolved_is_checked_as_far_as_it_goes() {
    let amiss = with("[web.example.com]", "[_]")
        .replace("MODE=prod", "MO DE=prod")
        .replace("port: 8080", "port: 70000");
    let own = [ErrorKind::EnvNameInvalid, ErrorKind::PortOutOfRange, ErrorKind::HostnameInvalid];
    assert_eq!(kinds(&amiss), own);
    for (found, replaced, first) in [
        ("{profile: big", "{profile: huge", ErrorKind::ComputeProfileUnknown),
        ("big: {denom", "bigger: {denom", ErrorKind::PricingMissing),
        ("  web:\n    west:", "  web:\n    east:", ErrorKind::PlacementProfileUnknown),
    ] {
        assert!(amiss.contains(found), "the document has no {found:?}");
        assert_eq!(kinds(&amiss.replace(found, replaced)), [&[first], &own[..]].concat(), "{replaced}");
    }
    // What would have been refused while building, had there been anything to build, comes behind what kept that from being.
    let unbuildable =
        with("{profile: big", "{profile: huge").replace("port: 8080", "port: 8080\n        proto: sctp");
    assert_eq!(kinds(&unbuildable), [ErrorKind::ComputeProfileUnknown, ErrorKind::ProtocolUnsupported]);
}

#[test]
fn all_problems_of_a_document_are_told_at_once() {
    let text =
        with("port: 8080", "port: eighty").replace("250m", "lots").replace("amount: 10}", "amount: free}");
    assert_eq!(kinds(&text), [ErrorKind::YamlType, ErrorKind::QuantityMalformed, ErrorKind::PriceMalformed]);

    // The checks go on behind what could not be decoded, without telling what only follows from it.
    let text = text
        .replace("[web.example.com]", "[_]")
        .replace("24h", "24")
        .replace("{profile: big", "{profile: huge")
        .replace("port: 5432", "port: 70000")
        .replace("mount: /var/data", "mount: data");
    assert_eq!(
        kinds(&text),
        [
            ErrorKind::YamlType,
            ErrorKind::QuantityMalformed,
            ErrorKind::PriceMalformed,
            ErrorKind::ReclamationMalformed,
            ErrorKind::ComputeProfileUnknown,
            ErrorKind::PortOutOfRange,
        ]
    );
    let text = with("port: 8080", "port: eighty")
        .replace("MODE=prod", "MO DE=prod")
        .replace("port: 5432", "port: 70000")
        .replace("mount: /var/data", "mount: data");
    assert_eq!(
        kinds(&text),
        [
            ErrorKind::YamlType,
            ErrorKind::MountNotAbsolute,
            ErrorKind::PortOutOfRange,
            ErrorKind::EnvNameInvalid,
        ]
    );

    let text =
        with("{profile: small", "{profile: tiny").replace("[web.example.com]", "[_]").replace("24h", "24");
    assert_eq!(
        kinds(&text),
        [ErrorKind::ReclamationMalformed, ErrorKind::ComputeProfileUnknown, ErrorKind::HostnameInvalid]
    );
}

#[test]
fn a_problem_points_at_the_text() {
    let problem = &refused(&with("units: 250m", "units: 250x"))[0];
    let line = DOCUMENT.lines().position(|line| line.contains("250m")).expect("it is there") + 1;
    assert_eq!((problem.line as usize, problem.column), (line, 22));
    assert!(problem.message.contains("\"250x\""), "{problem}");
}

#[test]
fn odd_things_are_accepted_with_a_warning_that_names_them() {
    let text = with("command: [serve]", "comand: [serve]\n    depends_on: [store]")
        .replace("- service: web", "- servcie: web")
        .replace("denom: uact, amount: 10}", "denom: uact, amount: 10, per: hour}");
    let paths: Vec<_> = accepted(&text).warnings.iter().map(|warning| warning.path.clone()).collect();
    assert_eq!(
        paths,
        [
            "services.web.comand",
            "services.web.depends_on",
            "services.store.expose[0].to[0].servcie",
            "profiles.placement.west.pricing.small.per",
        ]
    );
}

#[test]
fn order_of_keys_comments_and_style_do_not_change_the_digest() {
    let digest = accepted(DOCUMENT).manifest.digest();
    let mut sections: Vec<String> = Vec::new();
    for line in DOCUMENT.lines() {
        if !line.starts_with(' ') {
            sections.push(String::new());
        }
        let section = sections.last_mut().expect("the first line begins a section");
        section.push_str(line);
        section.push_str("   # a comment\r\n");
    }
    sections.reverse();
    assert_eq!(accepted(&sections.concat()).manifest.digest(), digest);

    let flow = with(
        "env:\n      - MODE=prod\n      - GREETING=a < b & c",
        "env: ['MODE=prod', \"GREETING=a \\x3c b & c\"]",
    );
    assert_eq!(accepted(&flow).manifest.digest(), digest);
}

#[test]
fn what_changes_the_workload_changes_the_digest_and_a_price_does_not() {
    let digest = accepted(DOCUMENT).manifest.digest();
    for (find, replace) in [
        ("MODE=prod", "MODE=test"),
        ("count: 2", "count: 3"),
        ("pa55-canary", "other"),
        ("[serve]", "[]"),
        ("/var/data", "/data"),
    ] {
        assert_ne!(accepted(&with(find, replace)).manifest.digest(), digest, "{find}");
    }
    for (find, replace) in
        [("amount: 10}", "amount: 11}"), ("us-west", "us-east"), ("24h", "48h"), ("auditor-1", "auditor-2")]
    {
        assert_eq!(accepted(&with(find, replace)).manifest.digest(), digest, "{find}");
    }
}

#[test]
fn a_manifest_survives_its_journey() {
    let manifest = accepted(DOCUMENT).manifest;
    assert_eq!(Manifest::from_json(&manifest.to_json()).as_ref(), Ok(&manifest));
    assert_eq!(Manifest::from_json(&manifest.canonical_json()).as_ref(), Ok(&manifest));
    assert_eq!(canonical_json(&manifest), manifest.canonical_json());
    let groups = accepted(DOCUMENT).groups;
    assert_eq!(
        serde_json::from_slice::<Vec<manifests::group::GroupSpec>>(&plain_json(&groups))
            .expect("our own text"),
        groups
    );
}

#[test]
fn json_that_is_no_manifest_is_refused_without_repeating_it() {
    let json = String::from_utf8(accepted(DOCUMENT).manifest.to_json()).expect("UTF-8");
    let changed = |find: &str, replace: &str| {
        assert!(json.contains(find), "{find}");
        Manifest::from_json(json.replacen(find, replace, 1).as_bytes()).expect_err("it is broken").remove(0)
    };
    for (find, replace) in [
        ("\"count\":2", "\"count\":\"pa55-canary\""),
        ("\"count\":2", "\"count\":-1"),
        ("\"command\"", "\"pa55-canary\""),
        ("{\"val\":\"1500\"}", "{\"val\":\"+1500\"}"),
        ("{\"val\":\"1500\"}", "{\"val\":1500}"),
        ("{\"val\":\"1500\"}", "{\"val\":\"18446744073709551616\"}"),
        ("\"kind\":1", "\"kind\":9"),
        ("\"TCP\"", "\"tcp\""),
    ] {
        let problem = changed(find, replace);
        assert_eq!(problem.kind, ErrorKind::ManifestMalformed);
        assert!(!problem.to_string().contains("canary"), "{problem}");
    }
    assert_eq!(changed("\"port\":8080", "\"port\":70000").kind, ErrorKind::PortOutOfRange);
    assert_eq!(changed("\"MODE=prod\"", "\"MO DE=prod\"").path, "[0].services[1].env[0]");
    assert_eq!(changed("\"name\":\"store\"", "\"name\":\"\"").kind, ErrorKind::ServiceNameEmpty);
    for end in 0..json.len() {
        assert!(Manifest::from_json(&json.as_bytes()[..end]).is_err());
    }
    assert!(Manifest::from_json("[".repeat(100_000).as_bytes()).is_err());
}

#[test]
fn secrets_show_in_no_message_and_no_debug_text() {
    let deployment = accepted(DOCUMENT);
    assert!(!format!("{deployment:?}").contains("canary"));
    for (find, replace) in [
        ("- MODE=prod", "- [SECRET-canary]"),
        ("- MODE=prod", "- se cret-canary"),
        ("password: pa55-canary", "password: [pa55-canary]"),
        ("username: someone", "pass word: pa55-canary\n      username:"),
        ("MODE=prod", "!!binary canary"),
        ("    env: [PASSWORD=env-canary]", "    env: {PASSWORD: env-canary}"),
        ("    env: [PASSWORD=env-canary]", "    env: PASSWORD=env-canary"),
    ] {
        for problem in refused(&with(find, replace)) {
            assert!(!format!("{problem} {problem:?}").contains("canary"), "{problem}");
        }
    }
}

#[test]
fn no_part_of_a_document_makes_the_reader_panic() {
    for end in (0..DOCUMENT.len()).filter(|end| DOCUMENT.is_char_boundary(*end)) {
        drop(parse(&DOCUMENT[..end]));
        drop(parse(&DOCUMENT[end..]));
    }
    // One byte after the other becomes something that YAML cares about.
    for (at, byte) in (0..DOCUMENT.len()).zip(b"\0\t\n -:?[]{},&*!|>'\"%@`\\#~\xff\xc3\xe2".iter().cycle()) {
        let mut text = DOCUMENT.as_bytes().to_vec();
        text[at] = *byte;
        drop(parse(&text));
    }
}

#[test]
fn texts_that_stop_in_the_middle_are_ordinary_errors() {
    for text in
        ["{!,", "a: \"\\", "a: |", "a: >-\n  b", "\"", "- [", "%TAG", "&", "*", "\u{feff}", "? ", "!<"]
    {
        refused(text);
    }
    // The last line of a block needs no line end.
    let text = with("command: [serve]", "command:\n    - |\n      serve");
    let cut = DOCUMENT.replace("reclamation:\n  min_window: 24h\n", "").replace(
        "west: {profile: small, count: 1}",
        "west:\n      profile: |-\n        small\n      count: 1",
    );
    accepted(&text);
    accepted(cut.trim_end());
}

#[test]
fn wrong_encodings_are_named_with_their_place() {
    let mut text = DOCUMENT.as_bytes().to_vec();
    let at = DOCUMENT.find("MODE").expect("it is there");
    text[at] = 0xff;
    let problem = parse(&text).expect_err("it is broken").remove(0);
    let line = DOCUMENT[..at].lines().count();
    assert_eq!((problem.kind, problem.line as usize), (ErrorKind::YamlSyntax, line));

    for (mark, bytes) in [
        ([0xff, 0xfe], DOCUMENT.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()),
        ([0xfe, 0xff], DOCUMENT.encode_utf16().flat_map(u16::to_be_bytes).collect()),
    ] {
        let text = [&mark[..], &bytes].concat();
        assert_eq!(parse(text).expect("it is the same document").manifest, accepted(DOCUMENT).manifest);
    }
    assert!(parse([0xff, 0xfe, b'a']).is_err());
}

#[test]
fn documents_that_would_cost_too_much_are_refused() {
    let huge = format!("{DOCUMENT}# {}", "x".repeat(manifests::MAX_DOCUMENT_BYTES));
    assert_eq!(refused(&huge)[0].kind, ErrorKind::DocumentTooLarge);

    assert_eq!(refused(&"[".repeat(100_000))[0].kind, ErrorKind::YamlSyntax);
    assert_eq!(refused(&"- ".repeat(100_000))[0].kind, ErrorKind::YamlSyntax);

    // Each list of entries stands in each of the services.
    let mut bomb = String::from("version: '2.0'\nservices:\n  s0:\n    image: x\n    expose: &e\n");
    for port in 1..=1000 {
        bomb += &format!(
            "    - {{port: {port}, accept: &a{port} [{}], to: [{{global: true}}]}}\n",
            "a.b,".repeat(10)
        );
    }
    for service in 1..=2000 {
        bomb += &format!("  s{service}: {{image: x, expose: *e}}\n");
    }
    assert_eq!(refused(&bomb)[0].kind, ErrorKind::DocumentTooLarge);

    // Mappings that merge one another double at every step.
    let mut merges = String::from("version: '2.0'\nservices:\n  m0: &m0 {image: x}\n");
    for step in 1..=40 {
        merges += &format!("  m{step}: &m{step} {{<<: [*m{0}, *m{0}]}}\n", step - 1);
    }
    assert_eq!(refused(&merges)[0].kind, ErrorKind::DocumentTooLarge);

    // One long text in many places.
    let long = with("MODE=prod", &format!("MODE={}", "x".repeat(100_000)));
    let placements: String = (0..200).map(|n| format!("    p{n}: {{profile: big, count: 1}}\n")).collect();
    let prices: String =
        (0..200).map(|n| format!("    p{n}: {{pricing: {{big: {{denom: uact, amount: 1}}}}}}\n")).collect();
    let repeated = long
        .replace("    west: {profile: big, count: 2}\n", &placements)
        .replace("  placement:\n", &format!("  placement:\n{prices}"));
    assert_eq!(refused(&repeated)[0].kind, ErrorKind::ManifestTooLarge);
}

#[test]
fn a_hundred_megabytes_are_refused_without_being_read() {
    let text = vec![b'a'; 100_000_000];
    let begun = std::time::Instant::now();
    let reading = manifests::read(&text, manifests::Mode::Exact);
    assert!(begun.elapsed() < std::time::Duration::from_secs(1));
    assert_eq!(reading.steps, 0);
    assert_eq!(reading.outcome.expect_err("it is too long")[0].kind, ErrorKind::DocumentTooLarge);
    let problems = Manifest::from_json(&text).expect_err("it is too long");
    assert_eq!(problems[0].kind, ErrorKind::ManifestTooLarge);
}

#[test]
fn base64_of_text_is_the_text() {
    let mode = |text: &str| accepted(&with("MODE=prod", text)).manifest.digest();
    assert_eq!(mode("!!binary TU9ERT1wcm9k"), mode("MODE=prod"));
    assert_eq!(mode("!!binary |\n        TU9ERT\n        1wcm9k"), mode("MODE=prod"));
    for broken in ["TU9", "no base64", "/w=="] {
        let problem = &refused(&with("MODE=prod", &format!("!!binary {broken}")))[0];
        assert_eq!(
            (problem.kind, problem.path.as_str()),
            (ErrorKind::YamlType, "services.web.env[0]"),
            "{broken}"
        );
    }
    assert_eq!(refused(&with("port: 8080", "port: !!binary ODA4MA=="))[0].kind, ErrorKind::YamlType);
}

#[test]
fn an_alias_may_not_contain_itself() {
    assert_eq!(refused("a: &a [*a]")[0].kind, ErrorKind::YamlSyntax);
    assert_eq!(refused("&a {b: &a [x], c: *a}")[0].kind, ErrorKind::VersionMissing);
}

#[test]
fn only_the_first_document_counts() {
    let text = format!("{DOCUMENT}---\n]] not yaml at all [[ \"\n");
    assert_eq!(accepted(&text).manifest, accepted(DOCUMENT).manifest);
    for text in ["", "# nothing\n", "---\n", "~", "null"] {
        assert_eq!(refused(text)[0].kind, ErrorKind::DocumentEmpty, "{text:?}");
    }
}

#[test]
fn a_manifest_that_no_document_becomes_is_refused() {
    let broken = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = accepted(DOCUMENT).manifest;
        change(&mut manifest);
        let problem = Manifest::from_json(&manifest.to_json()).expect_err("it is broken").remove(0);
        (problem.kind, problem.path)
    };
    let web = 1;
    for (change, kind, path) in [
        (
            &(|m: &mut Manifest| m.0.push(m.0[0].clone())) as &dyn Fn(&mut Manifest),
            ErrorKind::HostnameDuplicate,
            "[1].services[1].expose[0]",
        ),
        (
            &|m| m.0[0].services[0].name = "web".to_owned(),
            ErrorKind::ManifestMalformed,
            "[0].services[1].name",
        ),
        (
            &|m| m.0[0].services[web].resources.storage[1].name = "default".to_owned(),
            ErrorKind::StorageDuplicateName,
            "[0].services[1].resources.storage",
        ),
        (
            &|m| m.0[0].services[web].resources.storage.truncate(1),
            ErrorKind::ParamsVolumeUnknown,
            "[0].services[1].params.storage[0]",
        ),
        (
            &|m| {
                let params = m.0[0].services[web].params.as_mut().expect("it has params");
                params.storage.as_mut().expect("it has mounts")[0].mount = "../data".to_owned();
            },
            ErrorKind::MountNotAbsolute,
            "[0].services[1].params.storage[0]",
        ),
        (
            &|m| m.0[0].services[web].expose[0].http_options.read_timeout = 60_001,
            ErrorKind::HttpOptionOverLimit,
            "[0].services[1].expose[0].httpOptions.read_timeout",
        ),
        (
            &|m| m.0[0].services[web].expose[0].http_options.next_cases[0] = "never".to_owned(),
            ErrorKind::NextCaseUnknown,
            "[0].services[1].expose[0].httpOptions.next_cases",
        ),
    ] {
        assert_eq!(broken(change), (kind, path.to_owned()));
    }
}

/// Text that YAML can carry between double quotes as JSON writes it.
fn any_text() -> impl Strategy<Value = String> {
    let printable = |c: &char| matches!(*c, '\u{0}'..='\u{7e}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{10000}'..);
    proptest::collection::vec(any::<char>().prop_filter("a character of YAML", printable), 0..40)
        .prop_map(|characters| characters.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_reaches_the_container_and_the_wire_as_it_was_written(texts in proptest::collection::vec(any_text(), 1..4)) {
        let quoted: Vec<_> = texts.iter().map(|text| serde_json::to_string(text).expect("a text is JSON")).collect();
        let deployment = accepted(&with("[serve]", &format!("[{}]", quoted.join(", "))));
        let manifest = deployment.manifest;
        prop_assert_eq!(manifest.0[0].services[1].command.as_ref(), Some(&texts));
        let arrived = Manifest::from_json(&manifest.to_json());
        prop_assert_eq!(arrived.as_ref(), Ok(&manifest));

        // The sorted encoding says the same as the plain one, and writing it again changes nothing.
        let plain: serde_json::Value = serde_json::from_slice(&manifest.to_json()).expect("it is JSON");
        let sorted: serde_json::Value = serde_json::from_slice(&manifest.canonical_json()).expect("it is JSON");
        prop_assert_eq!(plain, sorted);
        let again = Manifest::from_json(&manifest.canonical_json()).expect("it is the same manifest");
        prop_assert_eq!(again.canonical_json(), manifest.canonical_json());
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), at in 0..DOCUMENT.len()) {
        drop(parse(&bytes));
        drop(Manifest::from_json(&bytes));
        let mut text = DOCUMENT.as_bytes().to_vec();
        text.splice(at..at, bytes);
        drop(parse(&text));
    }
}
