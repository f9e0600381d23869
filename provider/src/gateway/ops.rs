//! What operators reach over plain HTTP on a listener of its own: `/metrics` for Prometheus, and three answers for the kubelet and
//! for people. `/livez` says that the process works, and nothing of chain, database or cluster, which no restart mends;
//! `/healthz` that the chain and the cluster are seen; `/readyz` whether orders are answered. Tenants are served although they are
//! not.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::bidder::cluster::ClusterCapacity;
use crate::clock::Clock;
use crate::freshness::{Freshness, Lag};
use crate::gateway::streams::Streams;
use crate::leader::Leader;
use crate::leases::workloads::Workloads;
use crate::metrics::Metrics;
use crate::store::Store;

/// What the answers are made from.
pub struct Ops {
    /// Gauges are computed from it.
    pub store: Store,
    /// Counters.
    pub metrics: Metrics,
    /// What the cluster has for this provider's orders, and whether it can be seen.
    pub cluster: ClusterCapacity,
    /// What runs for leases.
    pub workloads: Workloads,
    /// The time by which the chain is followed.
    pub clock: Clock,
    /// Whether the chain is followed.
    pub freshness: Freshness,
    /// Streams that the gateway serves.
    pub streams: Streams,
    /// Whether this daemon may send.
    pub leader: Leader,
    /// The endpoints of the chain, by what may be shown of their URLs, and whether each answers.
    pub endpoints: Box<dyn Fn() -> Vec<(String, bool)> + Send + Sync>,
}

/// The routes for operators.
pub fn router(ops: Arc<Ops>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(async || "ok\n"))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(ops)
}

async fn metrics(State(ops): State<Arc<Ops>>) -> Response {
    for (endpoint, is_up) in (ops.endpoints)() {
        ops.metrics.endpoint(&endpoint, is_up);
    }
    ops.metrics.leader(ops.leader.key(), ops.leader.waits(Instant::now()).is_none());
    ops.metrics.streams(&ops.streams);
    let (now, mut pulses) = (ops.clock.now(), ops.cluster.inventory.pulses());
    let silent = pulses.iter().map(|pulse| pulse.silent.as_secs()).max().unwrap_or(0);
    // A database that does not answer is told below.
    if let Ok(Some(cursor)) = ops.store.cursor().await {
        ops.metrics.lag(ops.freshness.lag(&cursor, now), now);
    }
    if let Ok(promised) = ops.store.reservations().await {
        let seen = ops.cluster.snapshot(&promised).ok();
        ops.metrics.inventory(seen.as_ref(), silent);
    }
    pulses.extend(ops.workloads.pulses());
    ops.metrics.watches(&pulses);
    exposition(ops.metrics.render(&ops.store, ops.cluster.provider).await)
}

fn exposition(text: anyhow::Result<String>) -> Response {
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "metrics cannot be computed");
            (StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be computed; the log says why\n")
                .into_response()
        }
    }
}

/// The only route of a node's agent: `/metrics`.
pub fn agent_router(render: impl Fn() -> anyhow::Result<String> + Clone + Send + Sync + 'static) -> Router {
    let route = get(move || {
        let answer = exposition(render());
        async { answer }
    });
    Router::new().route("/metrics", route)
}

/// Ready when the chain is followed and the cluster is seen; otherwise a sentence says which is not.
async fn healthz(State(ops): State<Arc<Ops>>) -> Response {
    let unready = |why: String| (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response();
    match ops.store.cursor().await {
        Ok(Some(_)) => {}
        Ok(None) => return unready("no block of the chain was followed yet".to_owned()),
        Err(error) => return unready(format!("the database does not answer: {error:#}")),
    }
    match ops.cluster.inventory.view(ops.clock.now()) {
        Ok(_) => "ok\n".into_response(),
        Err(blind) => unready(blind.to_string()),
    }
}

/// Ready when an order that comes now is answered; otherwise a sentence says what it would wait for. Everything that runs goes
/// on running either way.
async fn readyz(State(ops): State<Arc<Ops>>) -> Response {
    if let Some(why) = ops.leader.waits(Instant::now()) {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response();
    }
    let now = ops.clock.now();
    if let Ok(Some(cursor)) = ops.store.cursor().await {
        let lag = ops.freshness.lag(&cursor, now);
        if lag.is_stale() {
            let Lag { blocks, seconds, allowed } = lag;
            let why = format!(
                "holding: the last block that was followed, {}, is {seconds} s old and {blocks} blocks below the head, where \
                 {allowed} s are allowed; leases go on, and nothing is bid until the chain is followed again\n",
                cursor.number
            );
            return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
        }
    }
    healthz(State(ops)).await
}
