//! Tells the outside what requests came and how they were answered. Paths are counted by route, never as they were sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use market::api::ErrorKind;

use super::Gateway;
use super::error::Refused;

/// The reason for which a manifest is refused that claims a host name of another lease.
pub const HOSTNAME_TAKEN: &str = "hostname_taken";

/// Counts what happens at the gateway.
pub trait Observe: Send + Sync {
    /// A request was answered; for a stream, its answer was begun.
    fn answered(&self, route: &str, method: &str, status: u16, took: Duration);
    /// A signature was not believed, for this reason.
    fn not_believed(&self, reason: &str);
    /// A manifest was taken, or refused for this reason.
    fn manifest(&self, refused: Option<&str>);
    /// The first manifest of a lease came so long after the lease began.
    fn manifest_waited(&self, waited: Duration);
    /// A stream of this kind ended, for this reason.
    fn stream_ended(&self, kind: &str, reason: &str);
    /// So many bytes of bodies came in, or went out.
    fn carried(&self, direction: Direction, bytes: u64);
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To us.
    In,
    /// To whoever asked.
    Out,
}

impl Direction {
    /// The word in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// A body whose bytes are counted as they pass.
struct Counted {
    body: Body,
    direction: Direction,
    observe: Arc<dyn Observe>,
}

impl Counted {
    fn wrap(body: Body, direction: Direction, observe: &Arc<dyn Observe>) -> Body {
        Body::new(Self { body, direction, observe: Arc::clone(observe) })
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.observe.carried(self.direction, u64::try_from(data.len()).unwrap_or(u64::MAX));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The methods that are told by their name: a stranger may make others up.
const METHODS: [&str; 7] = ["GET", "PUT", "POST", "DELETE", "HEAD", "PATCH", "OPTIONS"];

pub(super) async fn observed(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = METHODS.into_iter().find(|known| *known == request.method().as_str()).unwrap_or("other");
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let observe = &gateway.observe;
    let request = request.map(|body| Counted::wrap(body, Direction::In, observe));
    let response = next.run(request).await;
    observe.answered(&route, method, response.status().as_u16(), began.elapsed());
    if let Some(refused) = response.extensions().get::<Refused>()
        && refused.kind() == ErrorKind::Unauthorized
    {
        observe.not_believed(refused.reason().unwrap_or_default());
    }
    response.map(|body| Counted::wrap(body, Direction::Out, observe))
}
