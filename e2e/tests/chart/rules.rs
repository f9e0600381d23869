//! The alerts: what Prometheus' own tool says of them, and that each can be understood and acted on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::chart;
use serde_json::Value;

fn yaml(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rules_file() -> PathBuf {
    chart::folder().join("files/alerts.yaml")
}

fn tests_files() -> [PathBuf; 2] {
    ["alerts.yaml", "alerts_of_hours.yaml"].map(|name| chart::folder().join("tests").join(name))
}

/// The alerts by name.
pub(crate) fn alerts() -> BTreeMap<String, Value> {
    let rules = yaml(&rules_file());
    let groups = rules["groups"].as_array().unwrap();
    let all = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    let alerts: Vec<&Value> = all.collect();
    let by_name: BTreeMap<String, Value> =
        alerts.iter().map(|alert| (alert["alert"].as_str().unwrap().to_owned(), (*alert).clone())).collect();
    assert_eq!(by_name.len(), alerts.len(), "two alerts have one name");
    by_name
}

/// Has Prometheus' own tool look at a file, which must find nothing wrong with it.
pub(crate) fn promtool(arguments: &[&str], file: &Path) {
    let output = Command::new("promtool").args(arguments).arg(file).output().expect("promtool is there");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
#[ignore = "wants the tools: cargo e2e test chart"]
fn promtool_takes_the_rules_and_every_alert_fires_and_keeps_silent_as_its_tests_say() {
    promtool(&["check", "rules"], &rules_file());
    let (mut fired, mut silent) = (BTreeSet::new(), BTreeSet::new());
    let files = tests_files().map(|file| {
        promtool(&["test", "rules"], &file);
        yaml(&file)
    });
    for test in files.iter().flat_map(|file| file["tests"].as_array().unwrap()) {
        for case in test["alert_rule_test"].as_array().unwrap() {
            let name = case["alertname"].as_str().unwrap().to_owned();
            let fires = case["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty());
            if fires {
                fired.insert(name)
            } else {
                silent.insert(name)
            };
        }
    }
    let names: BTreeSet<String> = alerts().into_keys().collect();
    assert_eq!(fired, names, "some alert is never seen firing");
    assert_eq!(silent, names, "some alert is never seen silent");
    println!("promtool: {} alerts, each seen firing and silent", names.len());
}

#[test]
#[ignore = "wants the tools: cargo e2e test chart"]
fn every_alert_says_how_bad_it_is_and_has_a_page_that_says_what_to_do() {
    let pages = chart::folder().join("runbooks");
    for (name, alert) in alerts() {
        let severity = alert["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("page" | "ticket")), "{name} has severity {severity:?}");
        for key in ["summary", "description"] {
            assert!(
                alert["annotations"][key].as_str().is_some_and(|text| text.len() > 10),
                "{name} has no {key}"
            );
        }
        let page = fs::read_to_string(pages.join(format!("{name}.md"))).unwrap_or_default();
        assert!(page.starts_with(&format!("# {name}\n")), "runbooks/{name}.md is not about it");
        for heading in ["## What it means", "## What to look at", "## What to do"] {
            assert!(page.contains(heading), "runbooks/{name}.md has no \"{heading}\"");
        }
    }
    let known: BTreeSet<String> = alerts().into_keys().map(|name| format!("{name}.md")).collect();
    for entry in fs::read_dir(pages).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(known.contains(&name), "runbooks/{name} is about no alert");
    }
}
