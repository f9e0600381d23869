//! One table from the kind of a refusal to its HTTP status; every answer that is no success is made here.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use market::api::{ErrorBody, ErrorKind};
use market::auth::Refusal;

/// A request that is not served, in words for its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(ErrorBody);

impl Refused {
    /// A refusal of this kind with a sentence that may hold nothing secret.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(ErrorBody { kind, reason: None, message: message.into() })
    }

    /// The same with a finer code.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.0.reason = Some(reason.into());
        self
    }

    /// What kind of refusal it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The finer code, if there is one.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }
}

/// The status of a kind.
#[must_use]
pub fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::BadRequest => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::NotFound | ErrorKind::LeaseUnknown => StatusCode::NOT_FOUND,
        ErrorKind::ManifestMismatch => StatusCode::CONFLICT,
        ErrorKind::LeaseClosed => StatusCode::GONE,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::ManifestRefused => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Busy => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (status(self.0.kind), Json(&self.0)).into_response();
        if self.0.kind == ErrorKind::Unauthorized {
            let scheme = header::HeaderValue::from_static(market::auth::SCHEME);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        if matches!(self.0.kind, ErrorKind::TooLarge) {
            // The rest of the body was not read, so the connection cannot be used again.
            response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::new(ErrorKind::Unauthorized, refusal.to_string()).because(refusal.code())
    }
}

/// A fault of ours: the cause goes to the operator's log, not to the sender.
impl From<anyhow::Error> for Refused {
    fn from(error: anyhow::Error) -> Self {
        tracing::error!(error = format!("{error:#}"), "a request of a tenant could not be served");
        Self::new(ErrorKind::Internal, "the gateway failed; the provider's log says why: try again")
    }
}
