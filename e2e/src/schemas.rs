//! The schemas that the API server publishes, as kubeconform reads them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use kube::Client;
use kube::api::GetParams;
use serde_json::{Value, json};
use tokio::process::Command;

/// Writes a schema for each kind of the API server into the folder, and answers how many.
///
/// # Errors
/// When the API server does not publish them, or the folder cannot be written.
pub async fn write(client: &Client, folder: &Path) -> Result<usize> {
    let index: Value = serde_json::from_str(&get(client, "openapi/v3").await?)?;
    let paths = index["paths"].as_object().context("the API server publishes no schemas")?;
    let mut kinds = BTreeMap::new();
    for path in paths.keys().filter(|path| path.starts_with("api/") || path.starts_with("apis/")) {
        let mut document: Value = serde_json::from_str(&get(client, &format!("openapi/v3/{path}")).await?)?;
        let Some(schemas) = document["components"]["schemas"].as_object_mut() else { continue };
        schemas.values_mut().for_each(refuse_unknown_fields);
        for (name, schema) in schemas.iter() {
            for kind in schema["x-kubernetes-group-version-kind"].as_array().into_iter().flatten() {
                let text = |key: &str| kind[key].as_str().unwrap_or_default().to_lowercase();
                let group = text("group").split('.').next().unwrap_or_default().to_owned();
                let version =
                    if group.is_empty() { text("version") } else { format!("{group}-{}", text("version")) };
                let whole = json!({
                    "$ref": format!("#/components/schemas/{name}"),
                    "components": {"schemas": schemas},
                });
                kinds.insert(format!("{}-{version}.json", text("kind")), whole);
            }
        }
    }
    for (name, schema) in &kinds {
        fs::write(folder.join(name), schema.to_string())?;
    }
    Ok(kinds.len())
}

async fn get(client: &Client, path: &str) -> Result<String> {
    let request = kube::core::Request::new("").get(path, &GetParams::default())?;
    client.request_text(request).await.with_context(|| format!("the API server does not give {path}"))
}

/// Where a schema lists its fields, there are no others.
fn refuse_unknown_fields(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let open = map.contains_key("additionalProperties")
                || map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
            if map.get("properties").is_some_and(Value::is_object) && !open {
                map.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            map.values_mut().for_each(refuse_unknown_fields);
        }
        Value::Array(list) => list.iter_mut().for_each(refuse_unknown_fields),
        _ => {}
    }
}

/// What kubeconform says of these objects: how many are valid, and a sentence for each that is not.
///
/// # Errors
/// When it cannot be started, or does not answer.
pub async fn judge<'o>(
    schemas: &Path,
    objects: impl IntoIterator<Item = &'o Value>,
) -> Result<(usize, Vec<String>)> {
    let folder = tempfile::tempdir()?;
    for (number, object) in objects.into_iter().enumerate() {
        fs::write(folder.path().join(format!("{number:05}.json")), object.to_string())?;
    }
    let output = Command::new("kubeconform")
        .args(["-strict", "-verbose", "-output", "json", "-n", "2", "-schema-location"])
        .arg(schemas.join("{{.ResourceKind}}{{.KindSuffix}}.json"))
        .arg(folder.path())
        .output()
        .await
        .context("failed to start kubeconform")?;
    let words = String::from_utf8_lossy(&output.stderr);
    let report: Value =
        serde_json::from_slice(&output.stdout).with_context(|| format!("kubeconform says {words}"))?;
    let resources = report["resources"].as_array().context("kubeconform names no objects")?;
    let valid = resources.iter().filter(|resource| resource["status"] == "statusValid").count();
    let wrong = resources.iter().filter(|resource| resource["status"] != "statusValid");
    Ok((valid, wrong.map(ToString::to_string).collect()))
}
