//! `PUT /v1/leases/{id}/manifest`: what the tenant wants to run.
//!
//! It is kept only if its digest is the one on chain and it asks for exactly what was ordered; otherwise nothing is stored and
//! nothing in the cluster changes. The same holds for every later manifest of the lease.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::extract::State;
use axum::http::StatusCode;
use manifests::check;
use manifests::group::OrderSpec;
use manifests::manifest::{Group, Manifest};
use manifests::objects::{LeaseContext, Settings, render, volumes_may_become};
use manifests::order::LeaseId;
use market::api::ErrorKind;

use crate::gateway::auth::Signed;
use crate::gateway::error::Refused;
use crate::gateway::observe::HOSTNAME_TAKEN;
use crate::gateway::{Gateway, hosts};

pub(in crate::gateway) async fn put(
    State(gateway): State<Arc<Gateway>>,
    signed: Signed,
) -> Result<StatusCode, Refused> {
    let taken = take(&gateway, signed).await;
    let refused = taken.as_ref().err().map(|refused| refused.reason().unwrap_or(word(refused.kind())));
    gateway.observe.manifest(refused);
    taken
}

/// What metrics call a refusal that has no finer code.
fn word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::BadRequest | ErrorKind::TooLarge | ErrorKind::NotFound | ErrorKind::Unauthorized => {
            "bad_request"
        }
        ErrorKind::LeaseUnknown => "lease_unknown",
        ErrorKind::LeaseClosed => "lease_closed",
        ErrorKind::ManifestMismatch => "mismatch",
        ErrorKind::ManifestRefused => "refused",
        ErrorKind::Busy | ErrorKind::Unavailable => "unavailable",
        ErrorKind::Internal => "internal",
    }
}

async fn take(gateway: &Gateway, Signed { id, body }: Signed) -> Result<StatusCode, Refused> {
    let row = gateway.live_lease(id).await?;
    let manifest = Manifest::from_json(&body).map_err(|problems| {
        let sentences: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Refused::new(ErrorKind::BadRequest, sentences.join("; "))
    })?;
    is_the_one_on_chain(gateway, id, &manifest).await?;
    let group = is_what_was_ordered(gateway, id, &manifest).await?;
    images_are_run(gateway, group)?;

    let cluster = gateway.cluster.settings().map_err(|problem| {
        let message = format!(
            "this provider does not see its cluster well enough at the moment: {problem:#}; try again"
        );
        Refused::new(ErrorKind::Unavailable, message)
    })?;
    can_be_run(gateway, id, group, &cluster).await?;
    let _alone = gateway.claims.lock().await;
    hosts_are_free(gateway, id, group).await?;
    volumes_can_follow(gateway, id, group, &cluster).await?;
    let digest = manifest.digest();
    let (now, known) = (gateway.clock.now(), gateway.store.has_manifest(id).await?);
    let revision = gateway.store.put_manifest(id, digest, &manifest.to_json(), now).await?;
    if !known {
        gateway.observe.manifest_waited(Duration::from_secs(now.saturating_sub(row.lease.started_at)));
    }
    gateway.reconcile.nudge();
    tracing::info!(lease = %id, %digest, revision, "a manifest was accepted");
    Ok(StatusCode::NO_CONTENT)
}

async fn is_the_one_on_chain(gateway: &Gateway, id: LeaseId, manifest: &Manifest) -> Result<(), Refused> {
    let account = gateway.store.account(id.account()).await?;
    let wanted = account.with_context(|| format!("lease {id} has no account in the store"))?.manifest_hash;
    let digest = manifest.digest();
    if digest == wanted {
        return Ok(());
    }
    let message = format!(
        "the manifest's digest is {digest}, on chain it is {wanted}, as far as this provider has followed it: send the \
         manifest that was committed to, or commit to this one first"
    );
    Err(Refused::new(ErrorKind::ManifestMismatch, message))
}

async fn is_what_was_ordered<'m>(
    gateway: &Gateway,
    id: LeaseId,
    manifest: &'m Manifest,
) -> Result<&'m Group, Refused> {
    let order =
        gateway.store.order(id).await?.with_context(|| format!("lease {id} has no order in the store"))?;
    let spec = OrderSpec::from_bytes(&order.order.spec)
        .with_context(|| format!("the spec of order {id}, which was bid on, cannot be read"))?;
    let group = manifest.group(&spec.name).ok_or_else(|| {
        let message =
            format!("the manifest has no group \"{}\", which is the one that was ordered", spec.name);
        Refused::new(ErrorKind::ManifestRefused, message)
    })?;
    check::check(group, &spec)
        .map_err(|mismatch| Refused::new(ErrorKind::ManifestRefused, mismatch.to_string()))?;
    Ok(group)
}

/// Whether the provider's policy runs every image of the group, those of init containers too.
fn images_are_run(gateway: &Gateway, group: &Group) -> Result<(), Refused> {
    let images = &gateway.pricing.terms().policy.images;
    for service in &group.services {
        let init = service.x_berth.iter().flat_map(|extension| &extension.init_containers);
        for image in init.map(|init| &init.image).chain([&service.image]) {
            images.admit(image).map_err(|refused| {
                let message = format!("service {}: {refused}", service.name);
                Refused::new(ErrorKind::ManifestRefused, message).because("image_refused")
            })?;
        }
    }
    Ok(())
}

/// What this provider cannot run faithfully is refused now, not found out later.
async fn can_be_run(
    gateway: &Gateway,
    id: LeaseId,
    group: &Group,
    cluster: &Settings,
) -> Result<(), Refused> {
    let reservation = gateway.store.reservation(id).await?.ok_or_else(|| {
        Refused::new(
            ErrorKind::Unavailable,
            format!("this provider has no capacity noted for lease {id}: ask its operator"),
        )
    })?;
    let context = LeaseContext {
        placement: reservation.placement,
        ..LeaseContext::unplaced(id, gateway.identity.provider)
    };
    render(group, &context, cluster)
        .map_err(|error| Refused::new(ErrorKind::ManifestRefused, error.to_string()))?;
    Ok(())
}

/// Persistent volumes of what runs already become those of the manifest, or the manifest is refused as a whole.
async fn volumes_can_follow(
    gateway: &Gateway,
    id: LeaseId,
    group: &Group,
    cluster: &Settings,
) -> Result<(), Refused> {
    let Some(running) = stored_group(gateway, id).await? else { return Ok(()) };
    volumes_may_become(&running, group, &cluster.storage_classes)
        .map_err(|error| Refused::new(ErrorKind::ManifestRefused, error.to_string()).because("volume_kept"))
}

async fn hosts_are_free(gateway: &Gateway, id: LeaseId, group: &Group) -> Result<(), Refused> {
    let wanted = hosts::claims(group);
    if wanted.is_empty() {
        return Ok(());
    }
    let mut held = Vec::new();
    for row in gateway.store.leases_in_hand(gateway.identity.provider).await? {
        let other = row.lease.id;
        if other != id
            && row.is_live()
            && let Some(group) = stored_group(gateway, other).await?
        {
            held.push((other, hosts::claims(&group)));
        }
    }
    match hosts::taken(id, &wanted, &held) {
        None => Ok(()),
        Some(host) => {
            let message = format!(
                "the host name {host} is in use by another lease at this provider: use another name, or end that lease first"
            );
            Err(Refused::new(ErrorKind::ManifestRefused, message).because(HOSTNAME_TAKEN))
        }
    }
}

/// The group that runs for a lease.
async fn stored_group(gateway: &Gateway, id: LeaseId) -> anyhow::Result<Option<Group>> {
    let Some(stored) = gateway.store.manifest(id).await? else { return Ok(None) };
    let Some(order) = gateway.store.order(id).await? else { return Ok(None) };
    let name = OrderSpec::from_bytes(&order.order.spec)?.name;
    let Ok(manifest) = Manifest::from_json(&stored.body) else {
        anyhow::bail!("the stored manifest of lease {id} cannot be read");
    };
    Ok(manifest.0.into_iter().find(|group| group.name == name))
}
