//! The bench's registry: it serves our images under the names that documents use for somebody else's.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Client, StatusCode, header};
use tokio::process::Command;

use crate::addresses::{NODE, REGISTRY_PORT};
use crate::oci::{Image, MANIFEST_TYPE};
use crate::parts::Parts;
use crate::process::Process;
use crate::wait;

/// Starts the registry and waits until it answers.
pub(crate) async fn start(parts: &Parts) -> Result<Process> {
    let storage = parts.folder("registry/storage")?;
    let config = format!(
        "version: 0.1\nlog:\n  level: warn\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
         rootdirectory: {}\nhttp:\n  addr: {NODE}:{REGISTRY_PORT}\n",
        storage.display()
    );
    let config = parts.write("registry/config.yml", config)?;
    let mut registry = Command::new("docker-registry");
    registry.env("PATH", crate::parts::search_path(&parts.tools)).arg("serve").arg(config);
    let mut registry = parts.start("registry", &mut registry)?;
    let client = Client::new();
    wait::until("the registry to answer", Duration::from_secs(30), async || {
        registry.still_runs()?;
        let answer = client.get(url("")).send().await.context("it does not answer")?;
        ensure!(answer.status().is_success(), "it answers {}", answer.status());
        Ok(())
    })
    .await?;
    Ok(registry)
}

/// Puts an image into the registry under `repository:tag`, where `repository` is the path of its name without the
/// host, `library/nginx` for `nginx`.
///
/// # Errors
/// When the registry does not take it.
pub async fn push(repository: &str, tag: &str, image: &Image) -> Result<()> {
    let client = Client::new();
    for blob in image.blobs() {
        push_blob(&client, repository, &blob.digest, &blob.bytes)
            .await
            .with_context(|| format!("failed to push a part of the image {repository}:{tag}"))?;
    }
    let answer = client
        .put(url(&format!("{repository}/manifests/{tag}")))
        .header(header::CONTENT_TYPE, MANIFEST_TYPE)
        .body(image.manifest().bytes)
        .send()
        .await
        .with_context(|| format!("failed to push the image {repository}:{tag}"))?;
    expect(StatusCode::CREATED, answer)
        .await
        .with_context(|| format!("the image {repository}:{tag} was refused"))
}

async fn push_blob(client: &Client, repository: &str, digest: &str, bytes: &[u8]) -> Result<()> {
    if client.head(url(&format!("{repository}/blobs/{digest}"))).send().await?.status().is_success() {
        return Ok(());
    }
    let started = client.post(url(&format!("{repository}/blobs/uploads/"))).send().await?;
    let place =
        started.headers().get(header::LOCATION).context("the registry names no place to upload to")?;
    let place = place.to_str().context("the registry names a place that is no address")?.to_owned();
    let separator = if place.contains('?') { '&' } else { '?' };
    let answer = client
        .put(format!("{place}{separator}digest={digest}"))
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .body(bytes.to_vec())
        .send()
        .await?;
    expect(StatusCode::CREATED, answer).await
}

async fn expect(status: StatusCode, answer: reqwest::Response) -> Result<()> {
    if answer.status() == status {
        return Ok(());
    }
    let got = answer.status();
    bail!("the registry answers {got}: {}", answer.text().await.unwrap_or_default());
}

fn url(path: &str) -> String {
    format!("http://{NODE}:{REGISTRY_PORT}/v2/{path}")
}
