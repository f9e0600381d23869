//! Metrics between those who tell them and those who ask: nobody asks for what nobody tells, nor tells what nobody asks for.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use e2e::{chart, dashboards, workspace};
use serde_json::json;

use crate::rules::{alerts, promtool};

/// The sources of what daemon and agent tell.
fn sources() -> Vec<PathBuf> {
    let source = workspace::root().join("provider/src");
    let files = fs::read_dir(source.join("metrics")).unwrap().map(|entry| entry.unwrap().path());
    files.chain([source.join("inventory/agent/metrics.rs")]).collect()
}

/// The names that daemon and agent register.
fn told() -> BTreeSet<String> {
    let code = sources().into_iter().map(|path| {
        let text = fs::read_to_string(path).unwrap();
        text.split("#[cfg(test)]").next().unwrap().to_owned()
    });
    let code: String = code.collect();
    let names = code.split('"').filter(|text| text.starts_with("berth_") && text.bytes().all(is_letter));
    names.map(str::to_owned).collect()
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'
}

/// Who asks for what: the alerts' and panels' names with the metrics of their expressions.
fn asked() -> Vec<(String, BTreeSet<String>)> {
    let expression = |alert: &serde_json::Value| alert["expr"].as_str().unwrap().to_owned();
    let alerts = alerts().into_iter().map(|(name, alert)| (name, expression(&alert)));
    let queries = dashboards::queries(&chart::folder()).unwrap();
    let told = told();
    let metrics = |expression: &str| {
        let words = expression.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        let ours = words.filter(|word| word.starts_with("berth_")).map(|word| {
            let parts = ["_bucket", "_count", "_sum"];
            let whole =
                parts.iter().find_map(|part| word.strip_suffix(part)).filter(|whole| told.contains(*whole));
            whole.unwrap_or(word).to_owned()
        });
        ours.collect()
    };
    alerts.chain(queries).map(|(name, expression)| (name, metrics(&expression))).collect()
}

#[test]
#[ignore = "wants the tools: cargo e2e test chart"]
fn every_metric_that_an_alert_or_a_panel_asks_for_is_one_of_ours() {
    let told = told();
    assert!(told.len() > 50, "{told:?}");
    for (who, metrics) in asked() {
        let unknown: Vec<&String> = metrics.difference(&told).collect();
        assert!(unknown.is_empty(), "{who} asks for {unknown:?}, which nobody tells");
    }
}

#[test]
#[ignore = "wants the tools: cargo e2e test chart"]
fn every_metric_of_ours_is_asked_for_by_an_alert_or_a_panel() {
    let asked: BTreeSet<String> = asked().into_iter().flat_map(|(_, metrics)| metrics).collect();
    let told = told();
    let idle: Vec<&String> = told.difference(&asked).collect();
    assert!(idle.is_empty(), "nobody asks for {idle:?}: show them, or do not tell them");
}

#[test]
#[ignore = "wants the tools: cargo e2e test chart"]
fn prometheus_can_read_the_query_of_every_panel() {
    let queries = dashboards::queries(&chart::folder()).unwrap();
    assert!(queries.len() > 50, "{} queries", queries.len());
    // What a rule may record is what a panel may ask. A label says which panel it is, for whoever reads promtool's complaint.
    let rules: Vec<_> = (0..)
        .zip(&queries)
        .map(|(number, (panel, expr))| {
            json!({"record": format!("query:{number}"), "expr": expr, "labels": {"panel": panel}})
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queries.yaml");
    let groups = json!({"groups": [{"name": "queries", "rules": rules}]});
    fs::write(&file, serde_yaml::to_string(&groups).unwrap()).unwrap();
    promtool(&["check", "rules"], &file);
}

/// The texts of tests, those in the agent's own file too.
fn tests(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: PathBuf| match path.is_dir() {
        true => tests(&path),
        false => fs::read_to_string(path).unwrap_or_default(),
    };
    entries.map(text).collect()
}

#[test]
#[ignore = "wants the tools: cargo e2e test chart"]
fn every_metric_of_ours_is_read_by_a_test() {
    let agent =
        fs::read_to_string(workspace::root().join("provider/src/inventory/agent/metrics.rs")).unwrap();
    let texts =
        tests(&workspace::root().join("provider/tests")) + agent.split("#[cfg(test)]").nth(1).unwrap();
    let words: BTreeSet<&str> =
        texts.split(|letter: char| !letter.is_ascii() || !is_letter(letter as u8)).collect();
    let is_read = |name: &String| {
        let parts = ["", "_count", "_sum", "_bucket"];
        parts.iter().any(|part| words.contains(format!("{name}{part}").as_str()))
    };
    let untried: Vec<String> = told().into_iter().filter(|name| !is_read(name)).collect();
    assert!(untried.is_empty(), "no test reads {untried:?} after doing what moves them");
}
