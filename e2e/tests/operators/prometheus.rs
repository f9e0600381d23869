//! A real Prometheus that scrapes what the chart's PodMonitors select and evaluates the chart's rules, as its operator would
//! configure it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::kubectl;
use e2e::process::Process;
use e2e::wait::until;
use serde_json::{Value, json};
use tokio::process::Command;

const LISTEN: &str = "127.0.0.1:9095";
const PATIENCE: Duration = Duration::from_secs(120);

/// The kinds that Prometheus's operator brings, as far as storing their objects goes.
const KINDS: [(&str, &str); 2] = [("podmonitors", "PodMonitor"), ("prometheusrules", "PrometheusRule")];

/// Defines the kinds in which the chart tells Prometheus what to scrape and when to raise an alarm.
pub(crate) async fn define_kinds() -> Result<()> {
    for (plural, kind) in KINDS {
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.monitoring.coreos.com")},
            "spec": {
                "group": "monitoring.coreos.com",
                "scope": "Namespaced",
                "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
                "versions": [{
                    "name": "v1",
                    "served": true,
                    "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                }],
            },
        });
        kubectl::apply(&definition.to_string()).await?;
        let name = format!("customresourcedefinitions/{plural}.monitoring.coreos.com");
        kubectl::run(&["wait", "--for=condition=Established", "--timeout=30s", &name]).await?;
    }
    Ok(())
}

/// Takes the kinds away again.
pub(crate) async fn forget_kinds() -> Result<()> {
    for (plural, _) in KINDS {
        let name = format!("{plural}.monitoring.coreos.com");
        kubectl::run(&["delete", "customresourcedefinition", &name, "--ignore-not-found"]).await?;
    }
    Ok(())
}

/// A Prometheus that runs.
pub(crate) struct Prometheus {
    process: Process,
    client: reqwest::Client,
    monitors: Vec<Value>,
    namespace: String,
    folder: PathBuf,
}

impl Prometheus {
    /// Starts one for what is installed in `namespace`, and waits until it has scraped every pod that the monitors select.
    pub(crate) async fn start(namespace: &str, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
        let monitors = installed(namespace, "podmonitors.monitoring.coreos.com").await?;
        let rules = write(folder, "rules.yaml", &rules(namespace).await?)?;
        let config = json!({
            // Quicker than in the world, so that nobody waits: rules see the same series.
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [rules],
            "scrape_configs": scrape_configs(&monitors, folder),
        });
        let config = write(folder, "prometheus.yaml", &config)?;
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("series").display()))
            .args([&format!("--web.listen-address={LISTEN}"), "--log.level=warn"]);
        let process = Process::start("prometheus", &mut command, folder)?;
        let (namespace, folder) = (namespace.to_owned(), folder.to_owned());
        let mut prometheus = Self { process, client: reqwest::Client::new(), monitors, namespace, folder };
        until("Prometheus to scrape daemon and agent", PATIENCE, async || {
            prometheus.process.still_runs()?;
            prometheus.aim().await?;
            let up = prometheus.ask("sum(up)").await?;
            let up =
                up.first().and_then(|series| series["value"][1].as_str()).context("nothing is scraped")?;
            ensure!(up == "2", "{up} are scraped");
            Ok(())
        })
        .await?;
        Ok(prometheus)
    }

    /// Writes down which pods there are at this moment.
    async fn aim(&self) -> Result<()> {
        for monitor in &self.monitors {
            let targets = targets(monitor, &self.namespace).await?;
            // A reader sees the old list or the new one, never half of it.
            let new = write(&self.folder, "targets.new", &targets)?;
            fs::rename(new, self.folder.join(format!("{}.json", name_of(monitor))))?;
        }
        Ok(())
    }

    /// The series that a query gives at this moment.
    pub(crate) async fn ask(&self, query: &str) -> Result<Vec<Value>> {
        let url =
            reqwest::Url::parse_with_params(&format!("http://{LISTEN}/api/v1/query"), [("query", query)])?;
        let answer = self.client.get(url).send().await?;
        let answer: Value = answer.json().await.context("Prometheus answers no JSON")?;
        ensure!(answer["status"] == "success", "Prometheus refuses {query}: {}", answer["error"]);
        serde_json::from_value(answer["data"]["result"].clone()).context("Prometheus answers no series")
    }

    /// The names of the alerts that fire, each once.
    pub(crate) async fn firing(&self) -> Result<Vec<String>> {
        let series = self.ask(r#"count by (alertname) (ALERTS{alertstate="firing"})"#).await?;
        Ok(series.iter().filter_map(|one| one["metric"]["alertname"].as_str().map(str::to_owned)).collect())
    }

    /// Waits until all of these alerts fire.
    pub(crate) async fn fires(&self, alerts: &[&str]) -> Result<()> {
        until(&format!("the alerts {}", alerts.join(", ")), PATIENCE, async || {
            self.aim().await?;
            let firing = self.firing().await?;
            let silent: Vec<&&str> =
                alerts.iter().filter(|alert| !firing.iter().any(|one| one == **alert)).collect();
            ensure!(silent.is_empty(), "{silent:?} do not fire, only {firing:?}");
            Ok(())
        })
        .await
    }

    /// Waits until none of these alerts fires any more.
    pub(crate) async fn is_silent(&self, alerts: &[&str]) -> Result<()> {
        until(&format!("the alerts {} to end", alerts.join(", ")), PATIENCE, async || {
            self.aim().await?;
            let firing = self.firing().await?;
            ensure!(!firing.iter().any(|one| alerts.contains(&one.as_str())), "{firing:?} fire");
            Ok(())
        })
        .await
    }

    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }
}

fn write(folder: &Path, name: &str, value: &Value) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, value.to_string()).with_context(|| format!("failed to write {}", path.display()))?;
    Ok(path)
}

async fn installed(namespace: &str, kind: &str) -> Result<Vec<Value>> {
    let all = kubectl::run(&["get", kind, "--namespace", namespace, "--output", "json"]).await?;
    let all: Value = serde_json::from_str(&all).context("kubectl writes no JSON")?;
    let items = all["items"].as_array().cloned().unwrap_or_default();
    ensure!(!items.is_empty(), "the chart installed no {kind}");
    Ok(items)
}

/// A job for each PodMonitor: what it selects stands in a file that follows the cluster.
fn scrape_configs(monitors: &[Value], folder: &Path) -> Vec<Value> {
    let config = |monitor: &Value| {
        let (name, endpoint) = (name_of(monitor), &monitor["spec"]["podMetricsEndpoints"][0]);
        json!({
            "job_name": name,
            "metrics_path": endpoint["path"],
            "honor_labels": endpoint["honorLabels"],
            "file_sd_configs": [{"files": [folder.join(format!("{name}.json"))]}],
        })
    };
    monitors.iter().map(config).collect()
}

fn name_of(monitor: &Value) -> &str {
    monitor["metadata"]["name"].as_str().unwrap_or_default()
}

/// The pods that a PodMonitor selects, at the port that it names, as Prometheus reads them from a file.
async fn targets(monitor: &Value, namespace: &str) -> Result<Value> {
    let labels =
        monitor["spec"]["selector"]["matchLabels"].as_object().context("a monitor selects nothing")?;
    let labels: Vec<String> = labels
        .iter()
        .map(|(label, value)| format!("{label}={}", value.as_str().unwrap_or_default()))
        .collect();
    let pods = ["get", "pods", "--namespace", namespace, "--selector", &labels.join(","), "--output", "json"];
    let pods: Value = serde_json::from_str(&kubectl::run(&pods).await?).context("kubectl writes no JSON")?;
    let port = &monitor["spec"]["podMetricsEndpoints"][0]["port"];
    let mut found = Vec::new();
    for pod in pods["items"].as_array().into_iter().flatten() {
        let ports = pod["spec"]["containers"].as_array().into_iter().flatten();
        let mut ports = ports.filter_map(|container| container["ports"].as_array()).flatten();
        let port = ports.find(|one| one["name"] == *port).and_then(|one| one["containerPort"].as_u64());
        if let (Some(address), Some(port)) = (pod["status"]["podIP"].as_str(), port) {
            let labels = json!({"namespace": namespace, "pod": pod["metadata"]["name"]});
            found.push(json!({"targets": [format!("{address}:{port}")], "labels": labels}));
        }
    }
    Ok(json!(found))
}

/// The rules as they were installed, in a hurry: what must last for minutes here lasts for as many seconds, and what may be
/// minutes old may be a sixth of it.
async fn rules(namespace: &str) -> Result<Value> {
    let mut groups = Vec::new();
    for rule in installed(namespace, "prometheusrules.monitoring.coreos.com").await? {
        groups.extend(rule["spec"]["groups"].as_array().cloned().unwrap_or_default());
    }
    for rule in groups.iter_mut().flat_map(|group| group["rules"].as_array_mut()).flatten() {
        let lasts = rule["for"].as_str().unwrap_or("0m");
        let lasts = lasts.strip_suffix('m').map_or_else(|| "60s".to_owned(), |minutes| format!("{minutes}s"));
        rule["for"] = json!(lasts);
        let expression = rule["expr"].as_str().context("a rule without an expression")?;
        rule["expr"] = json!(hurried(expression));
    }
    Ok(json!({"groups": groups}))
}

fn hurried(expression: &str) -> String {
    let mut words: Vec<String> = expression.split_whitespace().map(str::to_owned).collect();
    for at in 0..words.len().saturating_sub(4) {
        // `time() - SERIES > SECONDS`
        let is_age = words[at] == "time()" && words[at + 1] == "-" && words[at + 3] == ">";
        if let (true, Ok(seconds @ 60..)) = (is_age, words[at + 4].parse::<u64>()) {
            words[at + 4] = (seconds / 6).to_string();
        }
    }
    words.join(" ")
}
