//! The chart's dashboards, made for Grafana from one short source.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

/// What stands for the labels of a cluster, and of one provider's daemon. They are filled in this order: `$instance`, which the
/// second brings in, begins like the first.
const PLACES: [(&str, &str); 2] =
    [("$in", r#"cluster=~"$cluster""#), ("$of", r#"cluster=~"$cluster", instance=~"$instance""#)];

/// The columns of a dashboard, and how many of them and of its lines a panel takes.
const COLUMNS: usize = 24;
const WIDTH: usize = 8;
const HEIGHT: usize = 8;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dashboard {
    name: String,
    title: String,
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    title: String,
    panels: Vec<Panel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Panel {
    title: String,
    #[serde(default)]
    about: String,
    kind: Kind,
    /// A unit's name in Grafana.
    #[serde(default = "plain")]
    unit: String,
    queries: Vec<Query>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Stat,
    Graph,
    Bars,
    Table,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    expr: String,
    legend: String,
}

fn plain() -> String {
    "short".to_owned()
}

/// The files that are made from the source, each with what it is to hold.
///
/// # Errors
/// When the source cannot be read.
pub fn made(chart: &Path) -> Result<Vec<(PathBuf, String)>> {
    let file = |dashboard: &Dashboard| {
        let path = chart.join(format!("dashboards/{}.json", dashboard.name));
        Ok((path, serde_json::to_string_pretty(&for_grafana(dashboard))? + "\n"))
    };
    read(chart)?.iter().map(file).collect()
}

/// Every query of the dashboards, as Prometheus is asked for it, with the panel that asks: of all clusters and instances.
///
/// # Errors
/// When the source cannot be read.
pub fn queries(chart: &Path) -> Result<Vec<(String, String)>> {
    let mut queries = Vec::new();
    for dashboard in &read(chart)? {
        for panel in dashboard.rows.iter().flat_map(|row| &row.panels) {
            let place = format!("{}: {}", dashboard.title, panel.title);
            let anywhere =
                |query: &Query| expand(&query.expr).replace("$cluster", ".*").replace("$instance", ".*");
            queries.extend(panel.queries.iter().map(|query| (place.clone(), anywhere(query))));
        }
    }
    Ok(queries)
}

fn read(chart: &Path) -> Result<Vec<Dashboard>> {
    let source = chart.join("files/dashboards.yaml");
    let wrong = || format!("{} makes no dashboards", source.display());
    let text = std::fs::read_to_string(&source).with_context(wrong)?;
    serde_yaml::from_str(&text).with_context(wrong)
}

fn expand(expr: &str) -> String {
    PLACES.iter().fold(expr.to_owned(), |expr, (place, labels)| expr.replace(place, labels))
}

fn for_grafana(dashboard: &Dashboard) -> Value {
    let (mut panels, mut line) = (Vec::new(), 0);
    for row in &dashboard.rows {
        panels.push(json!({
            "type": "row", "title": row.title, "id": panels.len() + 1, "collapsed": false, "panels": [],
            "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": line},
        }));
        line += 1;
        for (index, panel) in row.panels.iter().enumerate() {
            let (x, y) = (index * WIDTH % COLUMNS, line + index * WIDTH / COLUMNS * HEIGHT);
            panels.push(panel_for_grafana(panel, panels.len() + 1, x, y));
        }
        line += (row.panels.len() * WIDTH).div_ceil(COLUMNS) * HEIGHT;
    }
    json!({
        "uid": format!("berth-{}", dashboard.name),
        "title": format!("Berth / {}", dashboard.title),
        "tags": ["berth"],
        "schemaVersion": 39,
        "editable": true,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
            variable("cluster", "Cluster", "label_values(berth_build_info, cluster)"),
            variable("instance", "Provider", r#"label_values(berth_build_info{cluster=~"$cluster"}, instance)"#),
        ]},
        "panels": panels,
    })
}

/// A choice of several; all of them also means those without the label.
fn variable(name: &str, label: &str, query: &str) -> Value {
    json!({
        "name": name, "label": label, "type": "query", "query": query, "refresh": 2, "sort": 1,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "multi": true, "includeAll": true, "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    })
}

fn panel_for_grafana(panel: &Panel, id: usize, x: usize, y: usize) -> Value {
    let (kind, is_instant) = match panel.kind {
        Kind::Stat => ("stat", true),
        Kind::Graph => ("timeseries", false),
        Kind::Bars => ("bargauge", true),
        Kind::Table => ("table", true),
    };
    let is_table = matches!(panel.kind, Kind::Table);
    let names = ('A'..='Z').map(String::from);
    let targets: Vec<Value> = panel
        .queries
        .iter()
        .zip(names)
        .map(|(query, name)| {
            json!({
                "refId": name, "expr": expand(&query.expr), "legendFormat": query.legend, "instant": is_instant,
                "range": !is_instant, "format": if is_table { "table" } else { "time_series" },
                "datasource": {"type": "prometheus", "uid": "${datasource}"},
            })
        })
        .collect();
    json!({
        "id": id, "type": kind, "title": panel.title, "description": panel.about,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"h": HEIGHT, "w": WIDTH, "x": x, "y": y},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": targets,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_stand_side_by_side_and_ask_for_what_is_chosen() {
        let source = r"
            name: one
            title: One
            rows:
              - title: First
                panels:
                  - {title: A, kind: stat, queries: [{expr: 'up{$of}', legend: up}]}
                  - {title: B, kind: graph, unit: s, queries: [{expr: 'a{$in}', legend: a}, {expr: b, legend: b}]}
                  - {title: C, kind: table, queries: [{expr: c, legend: c}]}
                  - {title: D, kind: bars, queries: [{expr: d, legend: d}]}
              - {title: Second, panels: [{title: E, kind: stat, queries: [{expr: e, legend: e}]}]}
        ";
        let dashboard: Dashboard = serde_yaml::from_str(source).unwrap();
        let made = for_grafana(&dashboard);
        let panels = made["panels"].as_array().unwrap();
        let places: Vec<(&str, u64, u64)> = panels
            .iter()
            .map(|panel| {
                let at = &panel["gridPos"];
                (panel["title"].as_str().unwrap(), at["x"].as_u64().unwrap(), at["y"].as_u64().unwrap())
            })
            .collect();
        let wanted = [
            ("First", 0, 0),
            ("A", 0, 1),
            ("B", 8, 1),
            ("C", 16, 1),
            ("D", 0, 9),
            ("Second", 0, 17),
            ("E", 0, 18),
        ];
        assert_eq!(places, wanted);
        let ids: std::collections::BTreeSet<u64> =
            panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len());
        assert_eq!(panels[1]["targets"][0]["expr"], r#"up{cluster=~"$cluster", instance=~"$instance"}"#);
        assert_eq!(panels[2]["targets"][0]["expr"], r#"a{cluster=~"$cluster"}"#);
        assert_eq!(panels[2]["targets"][1]["refId"], "B");
    }
}
