//! Every object follows the schemas that the API server publishes, as kubeconform reads them.

use anyhow::{Context, Result, ensure};
use e2e::access::Access;
use e2e::cluster;
use e2e::schemas::{judge, write};
use serde_json::{Map, Value, json};

use crate::{Rendered, of_others, ours};

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
