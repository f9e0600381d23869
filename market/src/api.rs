//! The words of the gateway, for both ends of HTTP.
//!
//! | request | who | answer |
//! |---|---|---|
//! | `GET /v1/status` | anyone | [`GatewayStatus`] |
//! | `POST /v1/nonce` | anyone | [`NonceAnswer`] |
//! | `POST /v1/quote` | anyone | [`SignedQuote`](crate::quote::SignedQuote); the body is a [`QuoteRequest`](crate::quote::QuoteRequest) |
//! | `PUT /v1/leases/{id}/manifest` | the tenant | 204; the body is the manifest as canonical JSON |
//! | `PUT /v1/leases/{id}/secrets` | the tenant | 204; the body is [`Secrets`] |
//! | `GET /v1/leases/{id}` | the tenant | [`LeaseStatus`] |
//! | `GET /v1/leases/{id}/logs?follow&service&tail` | the tenant | text lines, `service/pod line`, chunked while following |
//! | `GET /v1/orders/{id}/decision` | the tenant | [`OrderAnswer`] |
//!
//! `{id}` is the contract's word: 0x and 64 hex digits. What is "the tenant's" carries the signature of [`crate::auth`]. Every
//! other status than 2xx has an [`ErrorBody`].

use std::collections::BTreeMap;
use std::fmt;

use manifests::money::Rate;
use manifests::order::{Address, CloseReason, Hash, OrderId};
use serde::{Deserialize, Serialize};

/// The path of the gateway's own status.
pub const STATUS_PATH: &str = "/v1/status";
/// The path that answers what would be bid.
pub const QUOTE_PATH: &str = "/v1/quote";
/// The path that gives out nonces.
pub const NONCE_PATH: &str = "/v1/nonce";

/// The path of a lease's status.
#[must_use]
pub fn lease_path(lease: OrderId) -> String {
    format!("/v1/leases/{}", lease.to_word())
}

/// The path that takes a lease's manifest.
#[must_use]
pub fn manifest_path(lease: OrderId) -> String {
    format!("/v1/leases/{}/manifest", lease.to_word())
}

/// The path that takes the values of a lease's secrets.
#[must_use]
pub fn secrets_path(lease: OrderId) -> String {
    format!("/v1/leases/{}/secrets", lease.to_word())
}

/// Path and query of a lease's logs.
#[must_use]
pub fn logs_path(lease: OrderId, query: &LogsQuery) -> String {
    let mut parts = Vec::new();
    if query.follow {
        parts.push("follow=true".to_owned());
    }
    // A service's name is a DNS label: nothing in it needs escaping.
    parts.extend(query.service.iter().map(|service| format!("service={service}")));
    parts.extend(query.tail.iter().map(|tail| format!("tail={tail}")));
    let separator = if parts.is_empty() { "" } else { "?" };
    format!("/v1/leases/{}/logs{separator}{}", lease.to_word(), parts.join("&"))
}

/// The path of the answer that a provider gave to an order.
#[must_use]
pub fn decision_path(order: OrderId) -> String {
    format!("/v1/orders/{}/decision", order.to_word())
}

/// Which log lines are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogsQuery {
    /// Keep the answer open and send lines as they are written.
    pub follow: bool,
    /// Only this service.
    pub service: Option<String>,
    /// Only so many of the last lines of each pod.
    pub tail: Option<u32>,
}

/// Values of secrets by the names that a manifest has for them. Debug shows the names only.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secrets(pub BTreeMap<String, String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What a gateway says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// The provider it serves.
    pub provider: Address,
    /// The Market contract it works with.
    pub market: Address,
    /// The chain it works on.
    pub chain_id: u64,
    /// The version of the provider's software.
    pub version: String,
    /// Which images it runs, so that a tenant knows before it orders.
    #[serde(default, skip_serializing_if = "ImagePolicy::is_any")]
    pub images: ImagePolicy,
}

/// Which container images a provider runs, by patterns of registry and repository such as `ghcr.io/example/*`. A manifest with
/// another image is refused with the reason `image_refused`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ImagePolicy {
    /// Only these; every image when empty.
    pub allow: Vec<String>,
    /// Never these.
    pub deny: Vec<String>,
}

impl ImagePolicy {
    /// Whether every image is run.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self == Self::default()
    }
}

/// A nonce to sign one request with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NonceAnswer {
    /// 32 random bytes.
    pub nonce: Hash,
    /// Unix seconds by the gateway's clock after which it is void.
    pub expires_at: u64,
    /// Unix seconds by the gateway's clock now; deadlines are counted from here.
    pub now: u64,
}

/// How a lease stands at its provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// Which.
    pub lease: OrderId,
    /// Where it is on its way.
    pub state: LeaseState,
    /// What it earns.
    pub rate: Rate,
    /// Whether it does what it should.
    pub health: HealthStatus,
    /// Its services, by name.
    pub services: Vec<ServiceStatus>,
    /// What the tenant asked for and this provider handles in its own way, in sentences.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Where a lease is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum LeaseState {
    /// The provider waits for the manifest.
    AwaitingManifest,
    /// Objects are being made, images pulled, containers started.
    Starting,
    /// Every replica of every service is ready.
    Ready,
    /// Some replicas are not ready any more.
    Degraded,
    /// It has ended; what ran is being removed or is gone.
    Closed {
        /// Why.
        reason: CloseReason,
    },
}

impl fmt::Display for LeaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AwaitingManifest => f.write_str("awaiting manifest"),
            Self::Starting => f.write_str("starting"),
            Self::Ready => f.write_str("ready"),
            Self::Degraded => f.write_str("degraded"),
            Self::Closed { reason } => write!(f, "closed ({reason})"),
        }
    }
}

/// Three-valued, because not knowing is neither well nor ill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Everything that should be up is up.
    Healthy,
    /// Something of the tenant's is down.
    Unhealthy,
    /// The provider cannot tell at the moment.
    Unknown,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
        })
    }
}

/// Health, since when, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthStatus {
    /// The verdict.
    pub health: Health,
    /// Unix seconds since when it stands.
    pub since: u64,
    /// A sentence, when there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// One service of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name in the document.
    pub name: String,
    /// Replicas that are ready.
    pub ready: u32,
    /// Replicas that should be.
    pub wanted: u32,
    /// Its pods.
    pub pods: Vec<PodStatus>,
    /// Where it answers over HTTP: one URL for each host.
    pub urls: Vec<String>,
    /// Where it answers otherwise.
    pub ports: Vec<PortStatus>,
}

/// One pod of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodStatus {
    /// Its name.
    pub name: String,
    /// Whether it is ready.
    pub ready: bool,
    /// What its container does: `running`, or why it does not: `ImagePullBackOff`.
    pub state: String,
    /// How often its container was started again.
    pub restarts: u32,
    /// How its container ended the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<LastExit>,
    /// UUIDs of the GPUs it holds.
    #[serde(default)]
    pub gpus: Vec<String>,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastExit {
    /// Its exit code.
    pub code: i32,
    /// The cluster's word for it: `Error`, `OOMKilled`, `Completed`.
    pub reason: String,
    /// Unix seconds when.
    pub at: u64,
}

/// A port that is reached from outside, other than over HTTP by host name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStatus {
    /// The container's port.
    pub port: u16,
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// The host to connect to.
    pub host: String,
    /// The port to connect to.
    pub external_port: u16,
}

/// What a provider made of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderAnswer {
    /// Which.
    pub order: OrderId,
    /// The answer.
    #[serde(flatten)]
    pub answer: Answer,
}

/// A provider's answer to an order, without what is only the provider's business.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// It decided to bid.
    Bid {
        /// The price.
        rate: Rate,
    },
    /// It declined.
    Declined {
        /// The reason's stable code, [`manifests::decision::Reason::code`].
        code: String,
        /// The reason as a sentence.
        why: String,
    },
    /// It knows the order and has not decided yet.
    Undecided,
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What kind of refusal it is.
    pub kind: ErrorKind,
    /// A finer code where there is one: [`crate::auth::Refusal::code`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A sentence for people.
    pub message: String,
}

/// Kinds of refusals that a caller treats differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request cannot be read. 400.
    BadRequest,
    /// The signature was not believed. 401; the reason is a [`crate::auth::Refusal`].
    Unauthorized,
    /// There is no such path. 404.
    NotFound,
    /// The gateway has not seen this lease or order on chain (yet). 404; worth trying again for a while.
    LeaseUnknown,
    /// The lease is over. 410.
    LeaseClosed,
    /// The manifest's digest is not the one on chain. 409.
    ManifestMismatch,
    /// The manifest asks for more than the order, or for what is not offered. 422.
    ManifestRefused,
    /// The body is too large. 413.
    TooLarge,
    /// Too many requests. 429.
    Busy,
    /// The gateway cannot answer at the moment. 503.
    Unavailable,
    /// A fault of the gateway. 500.
    Internal,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_carry_the_contracts_word() {
        let lease = OrderId { tenant: Address([0xab; 20]), dseq: 1, gseq: 2, oseq: 3 };
        let word = format!("0x{}{:016x}{:04x}{:04x}", "ab".repeat(20), 1, 2, 3);
        assert_eq!(manifest_path(lease), format!("/v1/leases/{word}/manifest"));
        assert_eq!(logs_path(lease, &LogsQuery::default()), format!("/v1/leases/{word}/logs"));
        let query = LogsQuery { follow: true, service: Some("web".to_owned()), tail: Some(5) };
        assert_eq!(
            logs_path(lease, &query),
            format!("/v1/leases/{word}/logs?follow=true&service=web&tail=5")
        );
    }

    #[test]
    fn the_answers_have_the_shape_that_is_documented() {
        let state = serde_json::to_value(LeaseState::Closed { reason: CloseReason::TENANT }).expect("json");
        assert_eq!(state, serde_json::json!({"state": "closed", "reason": 1}));
        let answer = Answer::Declined { code: "resources_cpu".to_owned(), why: "too much".to_owned() };
        let id = OrderId { tenant: Address([0; 20]), dseq: 1, gseq: 1, oseq: 1 };
        let json = serde_json::to_value(OrderAnswer { order: id, answer }).expect("json");
        assert_eq!(json["answer"], "declined");
        assert_eq!(json["code"], "resources_cpu");
    }
}
