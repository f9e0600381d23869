use super::*;

const COMPOSE: &str = r#"
version: "3.9"
name: shop
x-logging: &logging {driver: json-file}
services:
  web_app:
    build: ./web
    image: shop/web:${TAG:-1.0}
    command: serve --title "my shop"
    environment:
      API_URL: http://api:9000
      DEBUG: true
      RATIO: 1.5
      TOKEN:
    ports: ["8080:80", "127.0.0.1:9229:9229"]
    depends_on: {api: {condition: service_healthy}}
    logging: *logging
    networks: [front]
    restart: unless-stopped
  api:
    image: shop/api
    entrypoint: [/bin/api]
    environment:
      - DB=${DB_PASSWORD}
      - MODE=prod
      - HOSTNAME
    expose: [9000]
    volumes:
      - data:/var/lib/api
      - ./conf:/etc/api:ro
      - /cache
      - {type: tmpfs, target: /run, tmpfs: {size: 16m}}
    deploy:
      replicas: 2
      resources:
        limits: {cpus: "1.5", memory: 1G, pids: 100}
        reservations:
          memory: 512M
          devices:
            - {driver: nvidia, count: 2, capabilities: [gpu]}
      restart_policy: {condition: on-failure}
    healthcheck:
      test: [CMD-SHELL, curl -f localhost:9000]
      interval: 1m30s
      timeout: 500ms
      retries: 5
      start_period: 10s
    stop_grace_period: 1m
    cap_add: [NET_ADMIN]
volumes:
  data: {driver: local}
networks: {front: {}}
"#;

fn convert(text: &str, variables: &str) -> (Result<String, String>, Vec<String>) {
    let mut compose: Value = serde_yaml::from_str(text).expect("YAML");
    compose.apply_merge().expect("merged");
    let mut notes = Notes::default();
    interpolate::resolve(&mut compose, &Variables::read(variables), &mut notes);
    let document = document(&compose, "10Gi", &mut notes);
    (document.map(|document| written(&document).expect("written")), notes.all().to_vec())
}

#[test]
fn a_compose_file_becomes_the_document_that_means_the_same() {
    let (text, _) = convert(COMPOSE, "");
    let text = text.expect("converted");
    let expected = include_str!("expected.yaml");
    assert_eq!(text, expected, "\n{text}");
    let deployment = manifests::parse(&text).unwrap_or_else(|problems| panic!("{}", problems[0]));
    assert_eq!(deployment.warnings, []);
}

#[test]
fn everything_that_is_not_carried_over_is_named_with_its_reason() {
    let (_, notes) = convert(COMPOSE, "");
    for path in [
        "version",
        "name",
        "x-logging",
        "networks",
        "volumes.data.driver",
        "services.web_app.build",
        "services.web_app.environment.TOKEN",
        "services.web_app.ports[1]",
        "services.web_app.depends_on",
        "services.web_app.logging",
        "services.web_app.networks",
        "services.api.environment[0]",
        "services.api.environment[2]",
        "services.api.volumes[1]",
        "services.api.deploy.resources.limits.pids",
        "services.api.deploy.resources.reservations.memory",
        "services.api.deploy.restart_policy",
        "services.api.cap_add",
    ] {
        let found = notes.iter().any(|note| note.starts_with(&format!("left out: {path}: ")));
        assert!(found, "{path} is not told of in {notes:#?}");
    }
    let carried =
        ["image", "command", "entrypoint", "expose", "healthcheck", "stop_grace_period", "replicas"];
    for note in notes.iter().filter(|note| note.starts_with("left out: ")) {
        assert!(!carried.iter().any(|key| note.contains(&format!(".{key}: "))), "{note}");
    }
    for assumed in [
        "services.web_app: price",
        "services.web_app: name",
        "services.web_app: memory",
        "services.api: size",
    ] {
        assert!(notes.iter().any(|note| note.starts_with(&format!("assumed: {assumed}"))), "{notes:#?}");
    }
}

#[test]
fn every_key_of_a_service_is_carried_or_told_of() {
    // The keys that the compose specification gives a service.
    let keys = "annotations attach build blkio_config cpu_count cpu_percent cpu_shares cpu_period cpu_quota \
        cpu_rt_runtime cpu_rt_period cpus cpuset cap_add cap_drop cgroup cgroup_parent command configs container_name \
        credential_spec depends_on deploy develop device_cgroup_rules devices dns dns_opt dns_search domainname \
        entrypoint env_file environment expose extends external_links extra_hosts group_add healthcheck \
        hostname image init ipc isolation labels label_file links logging mac_address mem_limit mem_reservation \
        mem_swappiness memswap_limit models network_mode networks oom_kill_disable oom_score_adj pid pids_limit platform \
        ports post_start pre_stop privileged profiles pull_policy read_only restart runtime scale secrets \
        security_opt shm_size stdin_open stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits user \
        userns_mode volumes volumes_from working_dir";
    let carried = [
        "command",
        "cpus",
        "deploy",
        "entrypoint",
        "environment",
        "expose",
        "healthcheck",
        "image",
        "mem_limit",
        "ports",
        "scale",
        "shm_size",
        "stop_grace_period",
        "tmpfs",
        "volumes",
    ];
    for key in keys.split_whitespace() {
        let value = match key {
            "cpus" => "2",
            "mem_limit" => "1g",
            "shm_size" => "64m",
            "scale" => "2",
            "stop_grace_period" => "5s",
            "healthcheck" => "{test: check}",
            "environment" => "{A: b}",
            "ports" => "[80, 81]",
            "expose" => "[81]",
            "volumes" => "[\"data:/data\"]",
            "tmpfs" => "/run",
            "deploy" => "{replicas: 2}",
            "build" => "./here",
            "depends_on" | "env_file" => "[other]",
            "mem_reservation" => "1m",
            _ => "thing",
        };
        let other = if key == "image" { "" } else { "image: app\n    " };
        let ports = if key == "ports" { "" } else { "ports: [80]\n    mem_limit: 2g\n    " };
        let ports = if key == "mem_limit" { "ports: [80]\n    " } else { ports };
        let (text, notes) = convert(&format!("services:\n  app:\n    {other}{ports}{key}: {value}\n"), "");
        let (plain, _) =
            convert("services:\n  app:\n    image: app\n    ports: [80]\n    mem_limit: 2g\n", "");
        let told = notes.iter().any(|note| note.starts_with(&format!("left out: services.app.{key}: ")));
        let changed = text != plain;
        assert!(told || changed, "{key} is dropped silently");
        assert_eq!(carried.contains(&key), changed && !told, "{key}: {notes:#?}");
    }
}

#[test]
fn what_is_of_the_wrong_shape_is_told_of_too() {
    for (service, path) in [
        ("environment: thing", "services.a.environment"),
        ("deploy: thing", "services.a.deploy"),
        ("deploy: {resources: {limits: thing}}", "services.a.deploy.resources.limits"),
        ("deploy: {resources: {limits: {cpus: many}}}", "services.a.deploy.resources.limits.cpus"),
        ("healthcheck: thing", "services.a.healthcheck"),
        ("healthcheck: {test: [CMD]}", "services.a.healthcheck"),
        ("healthcheck: {test: x, retries: few}", "services.a.healthcheck.retries"),
        ("command: [a, {b: c}]", "services.a.command[1]"),
        ("command: \"'open\"", "services.a.command"),
        ("expose: [{a: b}]", "services.a.expose[0]"),
        ("volumes: [{a: b}]", "services.a.volumes[0]"),
        ("tmpfs: \"/run:size=big\"", "services.a.tmpfs"),
        ("shm_size: big", "services.a.shm_size"),
        ("mem_limit: big", "services.a.mem_limit"),
        ("scale: many", "services.a.scale"),
        ("scale: 2, deploy: {replicas: 3}", "services.a.scale"),
        ("stop_grace_period: 2h", "services.a.stop_grace_period"),
        ("gpus: [{count: some}]", "services.a.gpus[0]"),
    ] {
        let (text, notes) = convert(&format!("services:\n  a: {{image: a, ports: [80], {service}}}\n"), "");
        assert!(text.is_ok(), "{service}");
        let told = notes.iter().any(|note| note.starts_with(&format!("left out: {path}: ")));
        assert!(told, "{service}: {notes:#?}");
    }
}

#[test]
fn a_service_that_others_could_not_reach_any_more_is_told_of() {
    let (_, notes) = convert("services: {web: {image: a, ports: [80]}, db: {image: b}}", "");
    assert!(
        notes.iter().any(|note| note.starts_with("left out: services.db: in compose others reach")),
        "{notes:#?}"
    );
    let (_, notes) = convert("services: {web: {image: a, ports: [80]}, db: {image: b, expose: [5432]}}", "");
    assert!(!notes.iter().any(|note| note.starts_with("left out: ")), "{notes:#?}");
}

#[test]
fn what_makes_no_document_is_said_in_a_sentence() {
    for (text, wanted) in [
        ("services: {}", "has no services"),
        ("services: {web: {build: .}}", "services.web names no image but is built from source"),
        ("services: {web: {image: a}}", "no service publishes a port"),
        ("services: {a_b: {image: a, ports: [80]}, a.b: {image: a}}", "two services would be named a-b"),
        ("services: {\"9\": {image: a}}", "begins with no letter"),
    ] {
        let (converted, _) = convert(text, "");
        let why = converted.expect_err("is refused");
        assert!(why.contains(wanted), "{why:?}");
    }
}

#[test]
fn gpus_are_counted_in_all_the_ways_compose_asks_for_them() {
    let units = |service: &str| {
        let (text, notes) = convert(&format!("services:\n  a: {{image: a, ports: [80], {service}}}\n"), "");
        let deployment = manifests::parse(text.expect("converted")).expect("accepted");
        (deployment.groups[0].resources[0].resource.gpu.units.0, notes)
    };
    let devices = |device: &str| format!("deploy: {{resources: {{reservations: {{devices: [{device}]}}}}}}");
    assert_eq!(units(&devices("{driver: nvidia, count: 4, capabilities: [gpu]}")).0, 4);
    assert_eq!(units(&devices("{capabilities: [gpu], device_ids: ['0', '3']}")).0, 2);
    let (all, notes) = units(&devices("{driver: nvidia, count: all, capabilities: [gpu]}"));
    assert!(
        all == 1 && notes.iter().any(|note| note.contains("GPUs of a replica: 1, for all")),
        "{notes:#?}"
    );
    assert_eq!(units("gpus: all").0, 1);
    assert_eq!(units("gpus: [{count: 2}]").0, 2);
    assert_eq!(units("runtime: nvidia").0, 1);
    let (none, notes) = units(&devices("{driver: other, count: 1, capabilities: [tpu]}"));
    assert!(none == 0 && notes.iter().any(|note| note.contains("GPUs of NVIDIA only")), "{notes:#?}");
}
