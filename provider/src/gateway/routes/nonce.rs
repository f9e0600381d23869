//! `POST /v1/nonce`: something fresh to sign. For anyone.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use market::api::NonceAnswer;

use crate::gateway::Gateway;

pub(in crate::gateway) async fn give(State(gateway): State<Arc<Gateway>>) -> Json<NonceAnswer> {
    let now = gateway.clock.now();
    let (nonce, expires_at) = gateway.nonces.give(now);
    Json(NonceAnswer { nonce, expires_at, now })
}
