//! `GET /v1/leases/{id}/logs`: what the lease's containers write, as a stream of lines.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
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
use crate::gateway::observe::Observe;
use crate::gateway::streams::Open;
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
    let ending = Arc::new(OnceLock::new());
    let end = ended(Arc::clone(&gateway), id, Arc::clone(&ending));
    let lines = gateway.logs.of_lease(id, service, wanted, end).map_err(|blind| {
        Refused::new(ErrorKind::Unavailable, format!("the logs cannot be read at the moment: {blind}"))
    })?;
    // The stream counts as open for as long as its lines can be asked for.
    let told = Told { _open: open, observe: Arc::clone(&gateway.observe), follow, ending };
    let lines = futures::stream::unfold((Box::pin(lines), told), |(mut lines, told)| async move {
        match lines.next().await {
            Some(line) => Some((Ok::<_, Infallible>(line), (lines, told))),
            None => {
                // Unless somebody ended it, there is no more to say.
                told.ending.get_or_init(|| "done");
                None
            }
        }
    });
    let body = Body::from_stream(lines);
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
}

/// A stream that is open. When it is dropped it has ended, and why is told.
struct Told {
    _open: Open,
    observe: Arc<dyn Observe>,
    follow: bool,
    /// Why it ended, once it is known. A reader who goes says nothing.
    ending: Arc<OnceLock<&'static str>>,
}

impl Drop for Told {
    fn drop(&mut self) {
        // Who follows goes when he has seen enough; who wanted what there is was cut off.
        let gone = if self.follow { "left" } else { "cut" };
        self.observe.stream_ended("logs", self.ending.get().unwrap_or(&gone));
    }
}

/// Waits until the lease is over or the daemon stops, and says which.
async fn ended(gateway: Arc<Gateway>, id: LeaseId, ending: Arc<OnceLock<&'static str>>) -> String {
    loop {
        tokio::select! {
            () = gateway.stop.taking() => {
                ending.get_or_init(|| "stopped");
                return "the provider stops for a while: ask again".to_owned();
            }
            () = tokio::time::sleep(LOOK) => {}
        }
        // A store that cannot be read is no end of a lease.
        if let Ok(Some(row)) = gateway.store.lease(id).await
            && let LeaseState::Closed { reason, .. } = row.state
        {
            ending.get_or_init(|| "lease_ended");
            return format!("the lease has ended: {reason}");
        }
    }
}
