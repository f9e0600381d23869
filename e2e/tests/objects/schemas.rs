//! Every object follows the schemas that the API server publishes, as kubeconform reads them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::access::Access;
use e2e::cluster;
use kube::Client;
use kube::api::GetParams;
use serde_json::{Map, Value, json};
use tokio::process::Command;

use crate::{Rendered, of_others, ours};

/// Writes a schema for each kind of the API server into the folder, and answers how many.
async fn write(client: &Client, folder: &Path) -> Result<usize> {
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
async fn judge<'o>(
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

#[tokio::test]
#[ignore = "runs on the bench: cargo e2e test objects"]
async fn every_object_follows_the_schemas_of_the_api_server() {
    rustls::crypto::ring::default_provider().install_default().ok();
    follow().await.unwrap();
}

async fn follow() -> Result<()> {
    let access = Access::here()?;
    let client = cluster::client(&access.kubeconfig).await?;
    let schemas = tempfile::tempdir()?;
    let kinds = write(&client, schemas.path()).await?;
    let (ours, others) = (ours()?, of_others()?.unwrap_or_default());
    let bodies: Vec<&Value> = ours
        .iter()
        .chain(&others)
        .flat_map(|Rendered { objects, .. }| objects)
        .map(|object| &object.body)
        .collect();
    let (valid, wrong) = judge(schemas.path(), bodies.iter().copied()).await?;
    ensure!(wrong.is_empty(), "{} of {} objects are wrong: {:#?}", wrong.len(), bodies.len(), wrong);
    ensure!(valid == bodies.len(), "kubeconform looked at {valid} of {} objects", bodies.len());

    // It does look: the same objects with one thing wrong are refused.
    let workload =
        bodies.iter().find(|body| body["kind"] == "Deployment").context("there is no Deployment")?;
    let mut broken = Vec::new();
    for (place, value) in [
        ("/spec/replicas", json!("two")),
        ("/spec/template/spec/hostNetwrk", json!(false)),
        ("/spec/template/spec/containers", Value::Null),
        ("/spec/template/spec/containers/0/resources/limts", json!({})),
    ] {
        let mut body = (*workload).clone();
        let (parent, field) = place.rsplit_once('/').context("is a place")?;
        let parent: &mut Map<String, Value> =
            body.pointer_mut(parent).and_then(Value::as_object_mut).context("is there")?;
        parent.insert(field.to_owned(), value);
        broken.push(body);
    }
    let (valid, wrong) = judge(schemas.path(), &broken).await?;
    ensure!((valid, wrong.len()) == (0, broken.len()), "of the broken ones {valid} pass: {wrong:?}");
    println!(
        "kubeconform: {} objects of {} groups follow {kinds} schemas of the API server; {} broken ones are refused",
        bodies.len(),
        ours.len() + others.len(),
        broken.len()
    );
    Ok(())
}
