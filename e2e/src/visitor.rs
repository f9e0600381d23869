//! Somebody on the LAN who opens a tenant's page.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::wait;

/// What the gateway answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

/// Asks the gateway at this address for a page of this host.
///
/// # Errors
/// When nothing answers.
pub async fn get(gateway: &str, host: &str, path: &str) -> Result<Answer> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build();
    let request = client.context("failed to make a web client")?.get(format!("http://{gateway}{path}"));
    let answer = request.header("host", host).send().await;
    let answer = answer.with_context(|| format!("the gateway at {gateway} does not answer for {host}"))?;
    let status = answer.status().as_u16();
    let body = answer.text().await.with_context(|| format!("the page of {host} breaks off"))?;
    Ok(Answer { status, body })
}

/// Asks again and again until the page of this host is there, and answers its text.
///
/// # Errors
/// When it is not there in time.
pub async fn page(gateway: &str, host: &str, path: &str, at_most: Duration) -> Result<String> {
    wait::until(&format!("http://{host}{path}"), at_most, async || {
        let answer = get(gateway, host, path).await?;
        ensure!(answer.status == 200, "the gateway answers {}: {}", answer.status, answer.body.trim());
        Ok(answer.body)
    })
    .await
}
