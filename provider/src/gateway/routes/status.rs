//! `GET /v1/status`: whom one talks to. For anyone.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bidengine::ImagePattern;
use market::api::{GatewayStatus, ImagePolicy};

use crate::gateway::Gateway;

pub(in crate::gateway) async fn show(State(gateway): State<Arc<Gateway>>) -> Json<GatewayStatus> {
    let images = &gateway.pricing.terms().policy.images;
    Json(GatewayStatus {
        provider: gateway.identity.provider,
        market: gateway.identity.market,
        chain_id: gateway.identity.chain_id,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        images: ImagePolicy { allow: words(&images.allow), deny: words(&images.deny) },
    })
}

fn words(patterns: &[ImagePattern]) -> Vec<String> {
    patterns.iter().map(ToString::to_string).collect()
}
