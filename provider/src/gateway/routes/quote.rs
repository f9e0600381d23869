//! `POST /v1/quote`: what this provider would answer to an order, over its signature. For anyone.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use market::api::ErrorKind;
use market::quote::{QuoteRequest, SignedQuote};

use crate::gateway::Gateway;
use crate::gateway::auth::read;
use crate::gateway::error::Refused;
use crate::quote::NoQuote;

pub(in crate::gateway) async fn give(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
) -> Result<Json<SignedQuote>, Refused> {
    let body = read(request).await?;
    let asked: QuoteRequest = serde_json::from_slice(&body).map_err(|error| {
        Refused::new(
            ErrorKind::BadRequest,
            format!("the body asks for no quote: {error}; it needs at least tenant and spec"),
        )
    })?;
    let quote = gateway.quoter.quote(&asked).await?;
    Ok(Json(gateway.key.sign(&quote)?))
}

impl From<NoQuote> for Refused {
    fn from(none: NoQuote) -> Self {
        match none {
            NoQuote::Busy => Self::new(ErrorKind::Busy, "other quotes are being made: try again in a moment"),
            NoQuote::Blind(why) => {
                Self::new(ErrorKind::Unavailable, format!("nothing can be quoted: {why}; try again"))
            }
            NoQuote::Failed(error) => error.into(),
        }
    }
}
