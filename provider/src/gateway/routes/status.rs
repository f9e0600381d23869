//! `GET /v1/status`: whom one talks to. For anyone.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use market::api::GatewayStatus;

use crate::gateway::Gateway;

pub(in crate::gateway) async fn show(State(gateway): State<Arc<Gateway>>) -> Json<GatewayStatus> {
    Json(GatewayStatus {
        provider: gateway.identity.provider,
        market: gateway.identity.market,
        chain_id: gateway.identity.chain_id,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}
