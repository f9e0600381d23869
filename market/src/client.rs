//! The tenant's end of a gateway: pinned TLS, signed requests, status and logs.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use manifests::order::{Address, Hash, OrderId};
use reqwest::{Method, Response, StatusCode, Url};
use serde::de::DeserializeOwned;

use crate::api::{
    self, ErrorBody, ErrorKind, GatewayStatus, LeaseStatus, LogsQuery, NonceAnswer, OrderAnswer, Secrets,
};
use crate::auth::{Domain, GatewayRequest, Target};
use crate::quote::{QuoteRequest, SignedQuote};
use crate::reader::Provider;
use crate::rpc::{causes, clean};
use crate::signer::{SignError, Signer};

/// How long a request other than a log stream may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How far ahead the deadline of a signed request lies.
const LIFETIME_SECS: u64 = 30;

/// Why a gateway gave no answer that could be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The URI in the registry is none that can be connected to.
    #[error("provider {provider} registered \"{uri}\" as its gateway, which is not an https URL")]
    BadUri {
        /// Who.
        provider: Address,
        /// What it registered.
        uri: String,
    },
    /// No connection, or none to the key that the provider registered.
    #[error("the gateway of provider {provider} at {uri} cannot be reached: {problem}")]
    Unreachable {
        /// Who.
        provider: Address,
        /// Where.
        uri: String,
        /// What happened.
        problem: String,
    },
    /// The gateway answered and said no.
    #[error("the gateway of provider {provider} refused: {}", .body.message)]
    Refused {
        /// Who.
        provider: Address,
        /// The HTTP status.
        status: u16,
        /// What it said.
        body: ErrorBody,
    },
    /// The gateway answered something that is not in the protocol.
    #[error("the gateway of provider {provider} answered what cannot be read: {problem}")]
    Garbled {
        /// Who.
        provider: Address,
        /// What is wrong.
        problem: String,
    },
    /// The request was not signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl ClientError {
    /// The kind of refusal, if the gateway refused.
    #[must_use]
    pub fn refusal(&self) -> Option<ErrorKind> {
        match self {
            Self::Refused { body, .. } => Some(body.kind),
            _ => None,
        }
    }

    /// Whether the same request may succeed in a moment: not reached, overloaded, or the gateway has yet to see the lease.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { body, .. } => {
                matches!(body.kind, ErrorKind::LeaseUnknown | ErrorKind::Busy | ErrorKind::Unavailable)
            }
            Self::Sign(error) => error.is_transient(),
            Self::BadUri { .. } | Self::Garbled { .. } => false,
        }
    }
}

/// A gateway, pinned to the key that its provider registered.
#[derive(Debug, Clone)]
pub struct GatewayClient {
    http: reqwest::Client,
    base: Url,
    provider: Address,
    domain: Domain,
}

impl GatewayClient {
    /// The gateway of `provider` at `uri`, whose certificate must carry the key with SHA-256 `spki`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::BadUri`] if `uri` is not an https URL.
    pub fn new(provider: Address, uri: &str, spki: Hash, domain: Domain) -> Result<Self, ClientError> {
        Self::pinned(provider, uri, vec![spki], domain)
    }

    /// The gateway of a provider at the address that it told ([`crate::Chain::gateway_uri`]), with the key that the registry
    /// has: while one key replaces another, it may hold either. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::BadUri`] if `uri` is no https URL.
    pub fn of(record: &Provider, uri: &str, domain: Domain) -> Result<Self, ClientError> {
        let old = record.old_spki.map(|(old, _)| old);
        let keys = [record.spki_hash].into_iter().chain(old).collect();
        Self::pinned(record.address, uri, keys, domain)
    }

    fn pinned(provider: Address, uri: &str, keys: Vec<Hash>, domain: Domain) -> Result<Self, ClientError> {
        let bad = || ClientError::BadUri { provider, uri: clean(uri) };
        let base: Url = uri.parse().map_err(|_| bad())?;
        if base.scheme() != "https" || base.host_str().is_none() {
            return Err(bad());
        }
        let unusable = |problem: String| ClientError::Unreachable { provider, uri: clean(uri), problem };
        let tls = crate::tls::pinned(keys).map_err(|error| unusable(error.to_string()))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .build()
            .map_err(|error| unusable(causes(error)))?;
        Ok(Self { http, base, provider, domain })
    }

    /// The provider whose gateway it is.
    #[must_use]
    pub fn provider(&self) -> Address {
        self.provider
    }

    /// What the gateway says of itself.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<GatewayStatus, ClientError> {
        let request = self.http.get(self.url(api::STATUS_PATH)).timeout(REQUEST_LIMIT);
        self.read(self.answer(request).await?).await
    }

    /// What the provider would answer to an order, as it says; [`SignedQuote::verify`] says whether to believe it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn quote(&self, asked: &QuoteRequest) -> Result<SignedQuote, ClientError> {
        let request = self.http.post(self.url(api::QUOTE_PATH)).json(asked).timeout(REQUEST_LIMIT);
        self.read(self.answer(request).await?).await
    }

    /// Sends the manifest of a lease: canonical JSON, whose digest is on chain.
    ///
    /// # Errors
    /// [`ClientError`]; transient while the gateway has not seen the lease.
    pub async fn send_manifest(
        &self,
        signer: impl Into<Signer>,
        lease: OrderId,
        manifest: &[u8],
    ) -> Result<(), ClientError> {
        let path = api::manifest_path(lease);
        self.signed(signer.into(), lease, Method::PUT, &path, manifest.to_vec(), Some(REQUEST_LIMIT))
            .await
            .map(|_| ())
    }

    /// Gives values of secrets to the provider of a lease, in place of older ones of these names.
    ///
    /// # Errors
    /// [`ClientError`]; transient while the gateway has not seen the lease.
    pub async fn send_secrets(
        &self,
        signer: impl Into<Signer>,
        lease: OrderId,
        secrets: &Secrets,
    ) -> Result<(), ClientError> {
        let body = serde_json::to_vec(secrets).expect("texts are JSON");
        let path = api::secrets_path(lease);
        self.signed(signer.into(), lease, Method::PUT, &path, body, Some(REQUEST_LIMIT)).await.map(|_| ())
    }

    /// How a lease stands.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn lease(&self, signer: impl Into<Signer>, lease: OrderId) -> Result<LeaseStatus, ClientError> {
        let path = api::lease_path(lease);
        self.read(
            self.signed(signer.into(), lease, Method::GET, &path, Vec::new(), Some(REQUEST_LIMIT)).await?,
        )
        .await
    }

    /// What the provider made of an order.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn decision(
        &self,
        signer: impl Into<Signer>,
        order: OrderId,
    ) -> Result<OrderAnswer, ClientError> {
        let path = api::decision_path(order);
        self.read(
            self.signed(signer.into(), order, Method::GET, &path, Vec::new(), Some(REQUEST_LIMIT)).await?,
        )
        .await
    }

    /// The log of a lease, in chunks as they come; with `follow` the stream lasts as long as the lease.
    ///
    /// # Errors
    /// [`ClientError`], at once or within the stream.
    pub async fn logs(
        &self,
        signer: impl Into<Signer>,
        lease: OrderId,
        query: &LogsQuery,
    ) -> Result<BoxStream<'static, Result<Vec<u8>, ClientError>>, ClientError> {
        let path = api::logs_path(lease, query);
        let answer = self.signed(signer.into(), lease, Method::GET, &path, Vec::new(), None).await?;
        let this = self.clone();
        Ok(answer
            .bytes_stream()
            .map(move |chunk| chunk.map(|bytes| bytes.to_vec()).map_err(|error| this.unreachable(error)))
            .boxed())
    }

    async fn signed(
        &self,
        signer: Signer,
        lease: OrderId,
        method: Method,
        path: &str,
        body: Vec<u8>,
        limit: Option<Duration>,
    ) -> Result<Response, ClientError> {
        let asked = self.http.post(self.url(api::NONCE_PATH)).timeout(REQUEST_LIMIT);
        let nonce: NonceAnswer = self.read(self.answer(asked).await?).await?;
        let url = self.url(path);
        // The server checks path and query as they travel, so they are signed as the URL has them.
        let path_and_query = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let target = Target {
            provider: self.provider,
            lease,
            method: method.as_str(),
            path_and_query: &path_and_query,
            body: &body,
        };
        let deadline = nonce.now.saturating_add(LIFETIME_SECS);
        let request = GatewayRequest::new(&target, nonce.nonce, deadline);
        let header = request.sign_by(self.domain, &signer).await?.to_header();
        let mut request = self.http.request(method, url).header("authorization", header);
        if !body.is_empty() {
            request = request.header("content-type", "application/json").body(body);
        }
        if let Some(limit) = limit {
            request = request.timeout(limit);
        }
        self.answer(request).await
    }

    fn url(&self, path: &str) -> Url {
        let base = self.base.as_str().trim_end_matches('/');
        format!("{base}{path}").parse().expect("a path of ours behind a URL is a URL")
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = response.bytes().await.map_err(|error| self.unreachable(error))?;
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| foreign(status));
        Err(ClientError::Refused { provider: self.provider, status: status.as_u16(), body })
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        let bytes = response.bytes().await.map_err(|error| self.unreachable(error))?;
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Garbled {
            provider: self.provider,
            problem: clean(&error.to_string()),
        })
    }

    fn unreachable(&self, error: reqwest::Error) -> ClientError {
        let uri = self.base.as_str().trim_end_matches('/').to_owned();
        let problem = causes(error.without_url());
        let problem = if problem.contains("ApplicationVerificationFailure") {
            "it presents another TLS key than the provider registered on chain; it was not trusted".to_owned()
        } else {
            problem
        };
        ClientError::Unreachable { provider: self.provider, uri, problem }
    }
}

/// What a status means when its body is not ours: something between us and the gateway answered.
fn foreign(status: StatusCode) -> ErrorBody {
    let kind = match status.as_u16() {
        401 => ErrorKind::Unauthorized,
        404 => ErrorKind::NotFound,
        413 => ErrorKind::TooLarge,
        429 => ErrorKind::Busy,
        500 => ErrorKind::Internal,
        502..=504 => ErrorKind::Unavailable,
        _ => ErrorKind::BadRequest,
    };
    ErrorBody { kind, reason: None, message: format!("HTTP {status} without a reason") }
}
