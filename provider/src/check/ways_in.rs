//! How tenants' users come in: the cluster's Gateway, the names below the domain, and their certificate.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::net::lookup_host;

use super::report::Report;
use crate::config::Config;
use crate::inventory::client;
use crate::inventory::way_in::way_in;

/// How long a name server or a proxy may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn gateway(config: &Config, client: &client::Client, report: &mut Report) {
    let (ingress, wanted) = (&config.ingress, &config.ingress.gateway);
    let found = way_in(client, &wanted.namespace, &wanted.name).await.and_then(|found| {
        let listeners = found.listeners(&ingress.domain, wanted.section.as_deref())?;
        let names: Vec<_> =
            listeners.iter().map(|listener| format!("{} ({})", listener.name, listener.protocol)).collect();
        let at = found.addresses().join(", ");
        let at = if at.is_empty() { String::new() } else { format!(", at {at}") };
        Ok((
            format!("tenants' hosts go to {}{at}", names.join(", ")),
            listeners.iter().any(|one| one.is_https()),
        ))
    });
    match found {
        Err(error) => {
            let named = format!("Gateway {}/{}", wanted.namespace, wanted.name);
            report.tell("Gateway API", Err(error).context(named));
        }
        Ok((told, is_https)) => {
            report.tell("Gateway API", Ok(told));
            if !is_https {
                let why = "no listener for tenants' hosts speaks HTTPS, so their pages are served without TLS: add one with a \
                           certificate for the wildcard";
                report.warn("Gateway API", why.to_owned());
            }
        }
    }
}

/// Tries a name below the domain as a visitor would.
pub(super) async fn names(config: &Config, report: &mut Report) {
    let domain = &config.ingress.domain;
    // Nobody has it, so only a wildcard answers for it.
    let host = format!("berth-check.{domain}");
    report.tell_lesser("wildcard DNS", resolves(&host, domain).await);
    report.tell_lesser("wildcard TLS", has_certificate(&host, domain).await);
}

async fn resolves(host: &str, domain: &str) -> anyhow::Result<String> {
    let wanted = format!("a wildcard record *.{domain} that leads to the Gateway is needed");
    let found = tokio::time::timeout(PATIENCE, lookup_host((host, 443))).await;
    let found = found
        .context("the name server did not answer in time")?
        .with_context(|| format!("{host} has no address; {wanted}"))?;
    let found: BTreeSet<String> = found.map(|address| address.ip().to_string()).collect();
    ensure!(!found.is_empty(), "{host} has no address; {wanted}");
    Ok(format!("*.{domain} leads to {}", found.into_iter().collect::<Vec<_>>().join(", ")))
}

async fn has_certificate(host: &str, domain: &str) -> anyhow::Result<String> {
    let client =
        reqwest::Client::builder().timeout(PATIENCE).build().context("failed to make an HTTP client")?;
    match client.get(format!("https://{host}/")).send().await {
        Ok(_) => Ok(format!("*.{domain} has a certificate that visitors accept")),
        Err(error) if error.is_connect() || error.is_timeout() => {
            let cause = market::sentence::of(&anyhow::Error::new(error.without_url()));
            bail!(
                "visitors of https://{host} would see an error: {cause}; the Gateway's listener needs a certificate for *.{domain}"
            )
        }
        Err(error) => bail!("https://{host} does not answer as HTTP does: {}", error.without_url()),
    }
}
