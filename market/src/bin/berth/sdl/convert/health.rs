//! Health checks, stops and updates: what `x-berth` has words for.

use serde_yaml::Value;

use super::notes::{Notes, Place};
use super::{amounts, list, mapping};

/// The service's extension; null if it says nothing.
pub(super) fn extension(service: &Place<'_>, notes: &mut Notes) -> Value {
    let readiness = service.get("healthcheck").map_or(Value::Null, |check| probe(&check, notes));
    let probes = if readiness.is_null() { Value::Null } else { mapping([("readiness", readiness)]) };
    let grace = service.get("stop_grace_period").map_or(Value::Null, |place| {
        let seconds = place.text().as_deref().and_then(amounts::seconds);
        seconds.filter(|seconds| (1..=3600).contains(seconds)).map_or_else(
            || {
                notes.left(&place, "it is no time from 1s to 1h");
                Value::Null
            },
            Value::from,
        )
    });
    let strategy = service
        .get("deploy")
        .and_then(|deploy| deploy.get("update_config"))
        .map_or(Value::Null, |update| strategy(&update, notes));
    let extension =
        mapping([("probes", probes), ("strategy", strategy), ("terminationGracePeriodSeconds", grace)]);
    if extension.as_mapping().is_some_and(serde_yaml::Mapping::is_empty) { Value::Null } else { extension }
}

/// A check says whether a replica can be asked, so it becomes the readiness probe: the engine does not restart what is
/// unhealthy either.
fn probe(check: &Place<'_>, notes: &mut Notes) -> Value {
    for (key, place) in notes.entries(check) {
        if !matches!(key.as_str(), "test" | "interval" | "timeout" | "retries" | "start_period" | "disable") {
            notes.left(&place, "the language has no word for it");
        }
    }
    let disabled = check.get("disable").is_some_and(|place| place.value.as_bool() == Some(true));
    let Some(test) = check.get("test").filter(|_| !disabled) else {
        notes.left(check, "it checks nothing");
        return Value::Null;
    };
    let Some(command) = command(&test) else {
        notes.left(check, "it checks nothing");
        return Value::Null;
    };
    let mut seconds = |key: &str, default: u64, least: u64| {
        let Some(place) = check.get(key) else { return default };
        let read = place.text().as_deref().and_then(amounts::seconds);
        read.unwrap_or_else(|| {
            notes.left(&place, "it is not read as a time");
            default
        })
        .clamp(least, 3600)
    };
    let (period, timeout) = (seconds("interval", 30, 1), seconds("timeout", 30, 1));
    let delay = seconds("start_period", 0, 0);
    let retries = check.get("retries").map_or(3, |place| {
        let number = place.text().and_then(|text| text.parse::<u64>().ok());
        number.unwrap_or_else(|| {
            notes.left(&place, "it is not read as a number");
            3
        })
    });
    let retries = retries.clamp(1, 1000);
    let delay = if delay == 0 { Value::Null } else { Value::from(delay) };
    mapping([
        ("exec", mapping([("command", list(command))])),
        ("initialDelaySeconds", delay),
        ("periodSeconds", Value::from(period)),
        ("timeoutSeconds", Value::from(timeout)),
        ("failureThreshold", Value::from(retries)),
    ])
}

/// The command of a check; `None` for `NONE`. A text is for the shell, a list says by its first word whether it is.
fn command(test: &Place<'_>) -> Option<Vec<Value>> {
    let shell = |line: &str| ["/bin/sh", "-c", line].map(Value::from).to_vec();
    if !test.value.is_sequence() {
        return test.text().map(|line| shell(&line));
    }
    let words: Vec<String> = test.elements().iter().filter_map(Place::text).collect();
    match words.split_first() {
        Some((first, rest)) if first == "CMD" && !rest.is_empty() => {
            Some(rest.iter().map(|word| Value::from(word.as_str())).collect())
        }
        Some((first, [line])) if first == "CMD-SHELL" => Some(shell(line)),
        _ => None,
    }
}

fn strategy(update: &Place<'_>, notes: &mut Notes) -> Value {
    let mut surges = false;
    for (key, place) in notes.entries(update) {
        match (key.as_str(), place.text().as_deref()) {
            ("order", Some("start-first")) => surges = true,
            ("order", Some("stop-first")) | ("parallelism", Some("1")) => {}
            _ => notes.left(&place, "replicas give way one after the other"),
        }
    }
    if surges {
        mapping([("type", Value::from("RollingUpdate")), ("maxSurge", Value::from(1))])
    } else {
        Value::Null
    }
}
