//! One service of a compose file.

use serde_yaml::Value;

use super::notes::{Notes, Place};
use super::{health, list, mapping, ports, resources, volumes, words};

/// What a service becomes.
pub(super) struct Read {
    pub(super) service: Value,
    pub(super) resources: Value,
    pub(super) gpus: u64,
    pub(super) count: u32,
}

/// Keys that are carried over, wholly or as far as it is told where they are.
const CARRIED: [&str; 22] = [
    "image",
    "entrypoint",
    "command",
    "environment",
    "ports",
    "expose",
    "volumes",
    "tmpfs",
    "shm_size",
    "depends_on",
    "deploy",
    "cpus",
    "mem_limit",
    "mem_reservation",
    "gpus",
    "runtime",
    "scale",
    "healthcheck",
    "stop_grace_period",
    "restart",
    "build",
    "env_file",
];

/// Why other keys are not.
const REASONS: [(&[&str], &str); 10] = [
    (
        &[
            "privileged",
            "cap_add",
            "security_opt",
            "devices",
            "device_cgroup_rules",
            "userns_mode",
            "sysctls",
            "ulimits",
        ],
        "containers have the same few rights everywhere, and no more can be had",
    ),
    (&["cap_drop", "read_only", "user", "group_add"], "the language has no word for it: set it in the image"),
    (
        &["working_dir", "init", "tty", "stdin_open", "stop_signal"],
        "the language has no word for it: set it in the image",
    ),
    (
        &[
            "networks",
            "network_mode",
            "links",
            "external_links",
            "dns",
            "dns_search",
            "dns_opt",
            "extra_hosts",
            "hostname",
            "domainname",
            "mac_address",
        ],
        "all services of a placement share one network and find each other by their names",
    ),
    (&["container_name", "labels", "label_file", "annotations"], "names and labels are the provider's"),
    (&["secrets"], "secrets come as variables: name them under x-berth.secretRef"),
    (&["configs", "volumes_from"], "files of elsewhere do not travel: put them into the image"),
    (&["logging"], "logs are kept by the provider: read them with berth logs"),
    (&["profiles"], "every service is deployed: remove what you do not want"),
    (&["extends"], "other services are not merged: convert what docker compose config prints"),
];

/// The name that the language takes; told if it is another one.
pub(super) fn name(compose: &str, place: &Place<'_>, notes: &mut Notes) -> Result<String, String> {
    let lower = compose.to_ascii_lowercase();
    let plain: String = lower.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = plain.trim_matches('-').to_owned();
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err(format!("the service {compose:?} has a name that begins with no letter: rename it"));
    }
    if name != compose {
        let how = format!("{name}, by which other services have to find it");
        notes.assumed(place, "name", &how);
    }
    Ok(name)
}

pub(super) fn read(
    place: &Place<'_>,
    alone: bool,
    volume_size: &str,
    notes: &mut Notes,
) -> Result<Read, String> {
    for (key, value) in place.entries() {
        if !CARRIED.contains(&key.as_str()) {
            let reason = REASONS.iter().find(|(keys, _)| keys.contains(&key.as_str()));
            notes.left(&value, reason.map_or("the language has no word for it", |(_, why)| why));
        }
    }
    let Some(image) = place.get("image").and_then(|image| image.text()).filter(|image| !image.is_empty())
    else {
        let built = if place.get("build").is_some() { " but is built from source" } else { "" };
        return Err(format!(
            "{} names no image{built}: push one to a registry and name it under image",
            place.path
        ));
    };
    if let Some(build) = place.get("build") {
        notes.left(&build, "providers run images and build none: push the image before you deploy");
    }
    if let Some(files) = place.get("env_file") {
        notes.left(
            &files,
            "values in files stay there: write them under env, or as secrets under x-berth.secretRef",
        );
    }
    restarts(place, notes);
    let volumes = volumes::of(place, volume_size, notes);
    let params = if volumes.mounts.is_null() { Value::Null } else { mapping([("storage", volumes.mounts)]) };
    let service = mapping([
        ("image", Value::from(image)),
        ("command", command(place, "entrypoint", notes)),
        ("args", command(place, "command", notes)),
        ("env", environment(place, notes)),
        ("expose", ports::expose(place, alone, notes)),
        ("params", params),
        ("dependencies", dependencies(place, notes)),
        ("x-berth", health::extension(place, notes)),
    ]);
    if service.get("expose").is_none() && !alone {
        let why = "in compose others reach all its ports by its name; here only those under expose: name what it listens at";
        notes.left(place, why);
    }
    let bought = resources::of(place, notes);
    let resources = mapping([
        ("cpu", bought.cpu),
        ("memory", bought.memory),
        ("storage", volumes::storage(volumes.storage)),
        ("gpu", bought.gpu),
    ]);
    notes.assumed(place, "storage of a replica's own", "1Gi");
    Ok(Read { service, resources, gpus: bought.gpus, count: count(place, notes) })
}

/// A list, or a text that a shell would split.
fn command(service: &Place<'_>, key: &str, notes: &mut Notes) -> Value {
    let Some(place) = service.get(key) else { return Value::Null };
    if place.value.is_sequence() {
        return Value::Sequence(notes.texts(&place).into_iter().map(Value::from).collect());
    }
    match place.text().as_deref().and_then(words::split) {
        Some(words) => Value::Sequence(words.into_iter().map(Value::from).collect()),
        None => {
            notes.left(&place, "it is not read as a command: a quote is not closed");
            Value::Null
        }
    }
}

/// `NAME=value` for each variable. One without a value has it from the shell that runs compose, which is not here.
fn environment(service: &Place<'_>, notes: &mut Notes) -> Value {
    const FROM_SHELL: &str = "its value comes from the shell that runs compose: write it";
    let Some(place) = service.get("environment") else { return Value::Null };
    let mut variables = Vec::new();
    let named = if place.value.is_sequence() { Vec::new() } else { notes.entries(&place) };
    for (name, value) in named {
        match value.text() {
            Some(text) => variables.push(Value::from(format!("{name}={text}"))),
            None => notes.left(&value, FROM_SHELL),
        }
    }
    if place.value.is_sequence() {
        for element in place.elements() {
            match element.text().filter(|text| text.contains('=')) {
                Some(text) => variables.push(Value::from(text)),
                None => notes.left(&element, FROM_SHELL),
            }
        }
    }
    list(variables)
}

fn dependencies(service: &Place<'_>, notes: &mut Notes) -> Value {
    let Some(place) = service.get("depends_on") else { return Value::Null };
    notes.left(
        &place,
        "services start at once, in no order: they are named as dependencies, and must wait themselves",
    );
    let names: Vec<String> = if place.value.is_mapping() {
        place.entries().into_iter().map(|(name, _)| name).collect()
    } else {
        notes.texts(&place)
    };
    let plain = |name: String| name.to_ascii_lowercase().replace(['_', '.'], "-");
    list(names.into_iter().map(|name| mapping([("service", Value::from(plain(name)))])).collect())
}

/// A service is started again however it ended.
fn restarts(service: &Place<'_>, notes: &mut Notes) {
    const WHY: &str = "a service is started again however it ended";
    let policy = service.get("restart");
    if let Some(place) = policy.filter(|p| !matches!(p.text().as_deref(), Some("always" | "unless-stopped")))
    {
        notes.left(&place, WHY);
    }
    let deploy = service.get("deploy");
    for (key, place) in deploy.map(|deploy| notes.entries(&deploy)).unwrap_or_default() {
        match key.as_str() {
            "replicas" | "resources" | "update_config" => {}
            "restart_policy" => notes.left(&place, WHY),
            "placement" => notes.left(&place, "where it may run say attributes of the placement"),
            "mode" if place.text().as_deref() == Some("replicated") => {}
            "mode" => {
                notes.left(&place, "a provider's nodes are not yours to fill: write a number of replicas");
            }
            "labels" => notes.left(&place, "names and labels are the provider's"),
            _ => notes.left(&place, "the language has no word for it"),
        }
    }
}

fn count(service: &Place<'_>, notes: &mut Notes) -> u32 {
    let replicas = service.get("deploy").and_then(|deploy| deploy.get("replicas"));
    let scale = service.get("scale");
    if let (Some(_), Some(scale)) = (&replicas, &scale) {
        notes.left(scale, "deploy.replicas says how many");
    }
    let Some(place) = replicas.or(scale) else { return 1 };
    place.text().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        notes.left(&place, "it is not read as a number of replicas");
        1
    })
}
