//! Handing the manifest over and waiting until everything runs.

use std::time::Duration;

use anyhow::Context as _;
use futures::future::try_join_all;
use manifests::manifest::Manifest;
use manifests::order::OrderId;
use market::At;
use market::api::{ErrorKind, LeaseState, LeaseStatus, Secrets};
use market::client::{ClientError, GatewayClient};
use market::reader::LeaseRecord;
use tokio::time::{Instant, sleep};

use crate::account::Account;
use crate::exit::Ending;
use crate::output::{progress, result};
use crate::secrets;
use crate::sight::Sight;
use crate::state::Record;

/// Pause between two looks at a lease.
const LOOK: Duration = Duration::from_millis(150);

/// Sends the manifest to the providers of all groups, waits until all are ready, and prints where they answer.
pub(crate) async fn serve(
    account: &Account,
    record: &Record,
    manifest: &Manifest,
    secrets: &Secrets,
    limit: Duration,
) -> anyhow::Result<()> {
    let sight = Sight::of(&account.chain, record).await?;
    let json = manifest.to_json();
    let deadline = Instant::now() + limit;
    let leases = sight.groups.iter().filter_map(|group| Some((&group.name, group.order, group.lease?)));
    let waits = leases.map(async |(name, order, lease)| {
        let group = manifest.group(name).context("the document has no such group any more")?;
        let parcel = Parcel { lease: order, manifest: &json, secrets: secrets::of_group(secrets, group) };
        let gateway = gateway(account, &lease).await?;
        let status = bring_up(account, &gateway, name, parcel, deadline).await?;
        anyhow::Ok((name, status))
    });
    for (name, status) in try_join_all(waits).await? {
        for note in &status.notes {
            progress(format_args!("{name}: note: {note}"));
        }
        for service in &status.services {
            for url in &service.urls {
                result(url);
            }
            for port in &service.ports {
                result(format_args!(
                    "{}:{}/{}",
                    port.host,
                    port.external_port,
                    port.protocol.to_ascii_lowercase()
                ));
            }
        }
    }
    Ok(())
}

/// The gateway of a lease's provider.
pub(crate) async fn gateway(account: &Account, lease: &LeaseRecord) -> anyhow::Result<GatewayClient> {
    let provider = account.chain.provider(lease.provider, At::Latest).await?;
    let provider = provider.with_context(|| format!("provider {} is not in the registry", lease.provider))?;
    account.gateway(&provider).await
}

/// What a provider is to be given.
struct Parcel<'a> {
    lease: OrderId,
    manifest: &'a [u8],
    /// Those that it was not given yet.
    secrets: Secrets,
}

async fn bring_up(
    account: &Account,
    gateway: &GatewayClient,
    name: &str,
    mut parcel: Parcel<'_>,
    deadline: Instant,
) -> anyhow::Result<LeaseStatus> {
    let mut seen = None;
    loop {
        let problem = match look(account, gateway, &mut parcel).await {
            Ok(status) => {
                if seen != Some(status.state) {
                    seen = Some(status.state);
                    progress(format_args!("{name}: {}", status.state));
                }
                match status.state {
                    LeaseState::Ready => return Ok(status),
                    LeaseState::Closed { reason } => {
                        let sentence = format!("the lease of {name} has ended: {reason}");
                        return Err(Ending::error(Ending::CLOSED, sentence));
                    }
                    LeaseState::AwaitingManifest | LeaseState::Starting | LeaseState::Degraded => None,
                }
            }
            // The gateway may not have followed the chain to the lease, or to the manifest's digest, yet.
            Err(error) if error.is_transient() || error.refusal() == Some(ErrorKind::ManifestMismatch) => {
                Some(error)
            }
            Err(error) => return Err(error).with_context(|| format!("failed to bring up {name}")),
        };
        if Instant::now() >= deadline {
            return match problem {
                Some(error) => Err(error).with_context(|| format!("{name} is not ready in time")),
                None => {
                    let sentence = format!("{name} is not ready in time; `berth status` tells more");
                    Err(Ending::error(Ending::TIMEOUT, sentence))
                }
            };
        }
        sleep(LOOK).await;
    }
}

/// How the lease stands. Secrets are sent first, so that nothing starts with older ones; the manifest when it is waited for.
async fn look(
    account: &Account,
    gateway: &GatewayClient,
    parcel: &mut Parcel<'_>,
) -> Result<LeaseStatus, ClientError> {
    if !parcel.secrets.0.is_empty() {
        gateway.send_secrets(&account.wallet, parcel.lease, &parcel.secrets).await?;
        parcel.secrets.0.clear();
    }
    let status = gateway.lease(&account.wallet, parcel.lease).await?;
    if status.state == LeaseState::AwaitingManifest {
        gateway.send_manifest(&account.wallet, parcel.lease, parcel.manifest).await?;
    }
    Ok(status)
}
