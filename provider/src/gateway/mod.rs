//! What tenants reach over HTTPS: the provider's status, what it would bid, and of their own leases the manifest, the secrets, the status and the logs.
//!
//! Every answer comes from the store; nothing here waits for the cluster, except for log lines. What belongs to a tenant is
//! behind [`auth::Signed`]. Streams end by themselves when their lease ends or the daemon stops.

pub mod auth;
pub mod error;
mod hosts;
pub mod nonces;
pub mod observe;
pub mod ops;
mod routes;
pub mod server;
pub mod streams;
pub mod tls;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post, put};
use manifests::order::LeaseId;
use market::api::ErrorKind;
use market::auth::Domain;
use tokio::sync::Mutex;

use self::auth::MOST_BODY;
use self::error::Refused;
use self::nonces::Nonces;
use self::observe::Observe;
use self::streams::Streams;
use self::tls::GatewayKey;
use crate::clock::Clock;
use crate::leases::cluster::Cluster;
use crate::leases::pods::LeaseLogs;
use crate::lifecycle::Stop;
use crate::pricing::Pricing;
use crate::quote::Quoter;
use crate::store::{Identity, LeaseRow, LeaseState, Store};
use crate::task::Nudge;

/// What the gateway works with.
pub struct Gateway {
    /// Where its answers come from.
    pub store: Store,
    /// The time by which nonces and deadlines are judged.
    pub clock: Clock,
    /// The chain, the market and the provider that it serves.
    pub identity: Identity,
    /// What the cluster is like: a manifest that cannot be rendered for it is refused.
    pub cluster: Cluster,
    /// Says which images are run.
    pub pricing: Pricing,
    /// Says what would be bid.
    pub quoter: Quoter,
    /// Signs quotes; the key of its certificate.
    pub key: GatewayKey,
    /// Wakes the loop that makes the cluster follow manifests.
    pub reconcile: Nudge,
    /// Reads what containers write.
    pub logs: LeaseLogs,
    /// Counts requests.
    pub observe: Arc<dyn Observe>,
    /// Ends streams when the daemon stops.
    pub stop: Stop,
    /// Nonces that requests are signed with.
    pub nonces: Nonces,
    /// Streams that are open.
    pub streams: Streams,
    /// Held while a manifest or secrets are checked and stored, so that two requests do not both find room for themselves.
    pub claims: Mutex<()>,
}

impl Gateway {
    fn domain(&self) -> Domain {
        Domain { chain_id: self.identity.chain_id, market: self.identity.market }
    }

    /// A lease that this provider holds, live or ended.
    async fn lease(&self, id: LeaseId) -> Result<LeaseRow, Refused> {
        let row = self.store.lease(id).await?.filter(|row| row.lease.provider == self.identity.provider);
        row.ok_or_else(|| {
            Refused::new(
                ErrorKind::LeaseUnknown,
                format!("lease {id} is not one of this provider's, as far as it has followed the chain"),
            )
        })
    }

    /// A lease that runs.
    async fn live_lease(&self, id: LeaseId) -> Result<LeaseRow, Refused> {
        let row = self.lease(id).await?;
        match row.state {
            LeaseState::Active | LeaseState::Reclaiming { .. } => Ok(row),
            LeaseState::Closed { reason, .. } => {
                Err(Refused::new(ErrorKind::LeaseClosed, format!("lease {id} is over: {reason}")))
            }
        }
    }
}

/// The gateway's routes.
pub fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/v1/status", get(routes::status::show))
        .route("/v1/nonce", post(routes::nonce::give))
        .route("/v1/quote", post(routes::quote::give))
        .route("/v1/leases/{id}", get(routes::lease::show))
        .route("/v1/leases/{id}/manifest", put(routes::manifest::put))
        .route("/v1/leases/{id}/secrets", put(routes::secrets::put))
        .route("/v1/leases/{id}/logs", get(routes::logs::stream))
        .route("/v1/orders/{id}/decision", get(routes::decision::show))
        .fallback(async || Refused::new(ErrorKind::NotFound, "there is no such path"))
        .method_not_allowed_fallback(async || {
            Refused::new(ErrorKind::NotFound, "there is no such method on this path")
        })
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .layer(from_fn_with_state(Arc::clone(&gateway), observe::observed))
        .with_state(gateway)
}
