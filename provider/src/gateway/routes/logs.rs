//! `GET /v1/leases/{id}/logs`: what the lease's containers write, as a stream of lines.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use manifests::order::LeaseId;
use market::api::{ErrorKind, LogsQuery};

use crate::gateway::Gateway;
use crate::gateway::auth::Signed;
use crate::gateway::error::Refused;
use crate::leases::pods::Wanted;
use crate::store::LeaseState;

/// How often a stream that follows looks whether its lease has ended.
const LOOK: Duration = Duration::from_secs(1);

pub(in crate::gateway) async fn stream(
    State(gateway): State<Arc<Gateway>>,
    query: Result<Query<LogsQuery>, QueryRejection>,
    Signed { id, .. }: Signed,
) -> Result<Response, Refused> {
    let Query(query) = query.map_err(|_| {
        Refused::new(
            ErrorKind::BadRequest,
            "the query can hold follow=true, service=NAME and tail=LINES, and nothing else",
        )
    })?;
    gateway.live_lease(id).await?;
    let open = gateway.streams.open(id).ok_or_else(|| {
        Refused::new(ErrorKind::Busy, "too many log streams are open: close one, or try again later")
    })?;
    let LogsQuery { follow, service, tail } = query;
    let wanted = Wanted { follow, tail };
    let end = ended(Arc::clone(&gateway), id);
    let lines = gateway.logs.of_lease(id, service, wanted, end).map_err(|blind| {
        Refused::new(ErrorKind::Unavailable, format!("the logs cannot be read at the moment: {blind}"))
    })?;
    let lines = lines.map(move |line| {
        // The stream counts as open for as long as its lines can be asked for.
        let _open = &open;
        Ok::<_, Infallible>(line)
    });
    let body = Body::from_stream(lines);
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
}

/// Waits until the lease is over or the daemon stops, and says which.
async fn ended(gateway: Arc<Gateway>, id: LeaseId) -> String {
    loop {
        tokio::select! {
            () = gateway.stop.taking() => return "the provider stops for a while: ask again".to_owned(),
            () = tokio::time::sleep(LOOK) => {}
        }
        // A store that cannot be read is no end of a lease.
        if let Ok(Some(row)) = gateway.store.lease(id).await
            && let LeaseState::Closed { reason, .. } = row.state
        {
            return format!("the lease has ended: {reason}");
        }
    }
}
