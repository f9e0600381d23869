//! `GET /v1/orders/{id}/decision`: what this provider made of a tenant's order, without its own business.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use manifests::decision::Decision;
use market::api::{Answer, ErrorKind, OrderAnswer};

use crate::gateway::Gateway;
use crate::gateway::auth::Signed;
use crate::gateway::error::Refused;

pub(in crate::gateway) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Signed { id, .. }: Signed,
) -> Result<Json<OrderAnswer>, Refused> {
    let order = gateway.store.order(id).await?.ok_or_else(|| {
        Refused::new(
            ErrorKind::LeaseUnknown,
            format!("order {id} has not been seen on the chain, as far as it was followed"),
        )
    })?;
    let decision = gateway.store.decided(id).await?.filter(|(terms, _)| *terms == order.order.spec_hash);
    let answer = match decision.map(|(_, decision)| decision) {
        None => Answer::Undecided,
        Some(Decision::Bid { rate, .. }) => Answer::Bid { rate },
        Some(Decision::Decline { reason }) => {
            Answer::Declined { code: reason.code().to_owned(), why: reason.to_string() }
        }
    };
    Ok(Json(OrderAnswer { order: id, answer }))
}
