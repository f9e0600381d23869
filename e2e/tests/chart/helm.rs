//! What Helm makes of the chart.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use e2e::cache::Cache;
use e2e::chart;
use e2e::tools::{Purpose, Tools};
use serde_json::Value;

/// The namespace of the rendered release, and its name.
pub(crate) const RELEASE: (&str, &str) = ("berth-system", "berth");

/// Kinds that the chart uses and a bare API server does not have.
const OF_OTHERS: [&str; 4] = [
    "monitoring.coreos.com/v1/PodMonitor",
    "monitoring.coreos.com/v1/ServiceMonitor",
    "monitoring.coreos.com/v1/PrometheusRule",
    "gateway.networking.k8s.io/v1alpha2/TLSRoute",
];

pub(crate) fn tools() -> &'static Tools {
    static TOOLS: OnceLock<Tools> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let tools = Cache::open().and_then(|cache| Tools::installed(&cache, Purpose::Everything));
        tools.unwrap().expect("the parts are there: run this by `cargo e2e test chart`")
    })
}

/// The files of values that the chart is rendered with.
pub(crate) fn values() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(chart::folder().join("ci")).context("the chart has no folder ci")? {
        files.push(entry?.path());
    }
    files.sort();
    ensure!(files.len() >= 2, "only {} files of values", files.len());
    Ok(files)
}

/// Renders with the files and further arguments.
pub(crate) fn template(arguments: &[&str]) -> Result<Output> {
    let (namespace, release) = RELEASE;
    let mut helm = Command::new(tools().program("helm", "helm"));
    helm.args(["template", release, "--namespace", namespace]).arg(chart::folder());
    for kind in OF_OTHERS {
        helm.args(["--api-versions", kind]);
    }
    helm.args(arguments).output().context("failed to start helm")
}

/// The objects that these values make.
pub(crate) fn rendered(values: &std::path::Path) -> Result<Vec<Value>> {
    let output = template(&["--values", &values.to_string_lossy()])?;
    ensure!(output.status.success(), "helm says {}", String::from_utf8_lossy(&output.stderr));
    objects(&output.stdout)
}

/// The objects of a stream of YAML documents.
pub(crate) fn objects(text: &[u8]) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_slice(text) {
        let object: Value = serde::Deserialize::deserialize(document)?;
        if !object.is_null() {
            objects.push(object);
        }
    }
    ensure!(objects.len() > 10, "only {} objects", objects.len());
    Ok(objects)
}

#[test]
#[ignore = "wants the tools: cargo e2e test chart"]
fn helm_finds_nothing_to_say_about_the_chart() {
    for values in values().unwrap() {
        let mut helm = Command::new(tools().program("helm", "helm"));
        let output = helm
            .args(["lint", "--strict", "--quiet", "--values"])
            .arg(&values)
            .arg(chart::folder())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}: {said}", values.display());
    }
}

#[test]
#[ignore = "wants the tools: cargo e2e test chart"]
fn every_switch_of_the_chart_does_what_it_says() {
    let mut unittest = Command::new(tools().program("helm-unittest", "helm-unittest"));
    let output = unittest.args(["--strict", "--color=false"]).arg(chart::folder()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let total = said.lines().find(|line| line.starts_with("Tests:")).expect("a line with the count of tests");
    let passed: u32 = total.split_whitespace().nth(1).and_then(|count| count.parse().ok()).expect("a count");
    assert!(passed >= 40, "{total}");
    println!("helm-unittest: {passed} tests pass");
}

#[test]
#[ignore = "wants the tools: cargo e2e test chart"]
fn a_misspelt_value_is_refused_wherever_it_stands() {
    let values = values().unwrap();
    let five = values.iter().find(|path| path.ends_with("five-values.yaml")).unwrap();
    for wrong in [
        "agnet.enabled=true",
        "chain.rcp=x",
        "daemon.resource.limits.memory=1Gi",
        "pricing.gpus=x",
        "monitoring.rules.enable=true",
    ] {
        let output = template(&["--values", &five.to_string_lossy(), "--set", wrong]).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{wrong} is taken");
        let key = wrong.split('=').next().unwrap().split('.').find(|key| said.contains(*key));
        assert!(key.is_some() && said.contains("additional properties"), "{wrong}: {said}");
    }
}
