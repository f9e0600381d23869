//! `GET /v1/leases/{id}`: how a lease stands, as the store last heard.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use market::api::{HealthStatus, LeaseState, LeaseStatus};

use crate::gateway::Gateway;
use crate::gateway::auth::Signed;
use crate::gateway::error::Refused;
use crate::leases::status::{Shown, word};
use crate::store;

pub(in crate::gateway) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Signed { id, .. }: Signed,
) -> Result<Json<LeaseStatus>, Refused> {
    let row = gateway.lease(id).await?;
    let status = gateway.store.lease_status(id).await?;
    let shown = status.as_ref().map(|status| Shown::read(&status.body)).transpose()?.unwrap_or_default();
    let state = match row.state {
        store::LeaseState::Closed { reason, .. } => LeaseState::Closed { reason },
        _ if gateway.store.manifest(id).await?.is_none() => LeaseState::AwaitingManifest,
        _ => shown.state,
    };
    let health = HealthStatus {
        health: word(status.as_ref().map_or(store::Health::Unknown, |status| status.health)),
        since: status.as_ref().map_or(row.lease.started_at, |status| status.since),
        why: shown.why,
    };
    let (services, notes) = (shown.services, shown.notes);
    Ok(Json(LeaseStatus { lease: id, state, rate: row.lease.rate, health, services, notes }))
}
