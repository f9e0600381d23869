//! Who sends a request: the tenant of the lease in its path, or nobody we know.
//!
//! A route that is a tenant's takes [`Signed`] and so cannot forget to ask. The signature covers the whole request, so the
//! body is read first, within a limit and a deadline; a nonce is used up only by a request that passed everything else.

use std::sync::Arc;
use std::time::Duration;

use axum::RequestExt;
use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Request};
use axum::http::{HeaderMap, StatusCode, header};
use manifests::order::OrderId;
use market::api::ErrorKind;
use market::auth::{Refusal, SignedRequest, Target, check};

use super::Gateway;
use super::error::Refused;
use super::nonces::Use;

/// The most bytes of a request's body: a manifest is far smaller.
pub const MOST_BODY: usize = 1 << 20;

const BODY_DEADLINE: Duration = Duration::from_secs(20);

/// A request that the tenant of `id` signed for this gateway, just now and only once.
#[derive(Debug)]
pub struct Signed {
    /// The lease or order in the path; its tenant signed.
    pub id: OrderId,
    /// The body as it was signed.
    pub body: Bytes,
}

impl FromRequest<Arc<Gateway>> for Signed {
    type Rejection = Refused;

    async fn from_request(mut request: Request, gateway: &Arc<Gateway>) -> Result<Self, Refused> {
        let Path(id) = request.extract_parts::<Path<String>>().await.map_err(|_| malformed_id())?;
        let id: OrderId = id.parse().map_err(|_| malformed_id())?;
        // A stranger without a header is turned away before the body is read.
        let signed = signed(request.headers())?;

        let (method, uri) = (request.method().clone(), request.uri().clone());
        let body = read(request).await?;
        let target = Target {
            provider: gateway.identity.provider,
            lease: id,
            method: method.as_str(),
            path_and_query: uri.path_and_query().map_or("/", |path| path.as_str()),
            body: &body,
        };
        let now = gateway.clock.now();
        check(&signed, gateway.domain(), &target, now)?;
        match gateway.nonces.use_up(signed.request.nonce, now) {
            Use::Fresh => Ok(Self { id, body }),
            Use::Void => Err(Refusal::UnknownNonce.into()),
            Use::Crowded => {
                Err(Refused::new(ErrorKind::Busy, "too many requests came within the last minute: try again"))
            }
        }
    }
}

fn signed(headers: &HeaderMap) -> Result<SignedRequest, Refusal> {
    let header = headers.get(header::AUTHORIZATION).ok_or(Refusal::Missing)?;
    SignedRequest::from_header(header.to_str().map_err(|_| Refusal::Malformed)?)
}

/// The whole body; the router limits it to [`MOST_BODY`].
pub(super) async fn read(request: Request) -> Result<Bytes, Refused> {
    match tokio::time::timeout(BODY_DEADLINE, Bytes::from_request(request, &())).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(Refused::new(
            ErrorKind::TooLarge,
            format!("the body is longer than the {MOST_BODY} bytes that are read"),
        )),
        Ok(Err(_)) => Err(Refused::new(ErrorKind::BadRequest, "the body ended early")),
        Err(_) => Err(Refused::new(
            ErrorKind::BadRequest,
            format!("the body did not come within {} s", BODY_DEADLINE.as_secs()),
        )),
    }
}

fn malformed_id() -> Refused {
    Refused::new(
        ErrorKind::BadRequest,
        "the path names no lease: write its 32-byte id as 0x and 64 hex digits",
    )
}
