//! Tells the outside what requests came and how they were answered. Paths are counted by route, never as they were sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use market::api::ErrorKind;

use super::Gateway;
use super::error::Refused;

/// Counts what happens at the gateway.
pub trait Observe: Send + Sync {
    /// A request was answered; for a stream, its answer was begun.
    fn answered(&self, route: &str, method: &str, status: u16, took: Duration);
    /// A signature was not believed, for this reason.
    fn not_believed(&self, reason: &str);
}

pub(super) async fn observed(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    gateway.observe.answered(&route, method.as_str(), response.status().as_u16(), began.elapsed());
    if let Some(refused) = response.extensions().get::<Refused>()
        && refused.kind() == ErrorKind::Unauthorized
    {
        gateway.observe.not_believed(refused.reason().unwrap_or_default());
    }
    response
}
