//! The manifest: what a tenant sends to the provider that won its order, and what runs there.
//!
//! The types mirror the canonical JSON field by field, so a value of `null`, an empty list and an absent key stay three
//! different things: the digest bound on chain covers exactly these bytes. A manifest made by [`crate::parse`] or
//! [`Manifest::from_json`] keeps the language's rules; one put together by hand can be held to them with
//! [`Manifest::validate`].

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::extension::Extension;
use crate::resources::Resources;

/// All groups of a deployment, in ascending byte order of their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Manifest(pub Vec<Group>);

impl Manifest {
    /// The group of that name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.0.iter().find(|group| group.name == name)
    }
}

/// The services that one order buys: everything deployed into one placement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Name of the placement.
    pub name: String,
    /// Services in ascending byte order of their names.
    pub services: Vec<Service>,
}

impl Group {
    /// The service of that name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }
}

/// One container image, run `count` times with the same resources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Name, a DNS label of any length: `[a-z]([-a-z0-9]*[a-z0-9])?`.
    pub name: String,
    /// Image reference as written, never empty.
    pub image: String,
    /// Entry point that replaces the image's; `None` keeps the image's.
    pub command: Option<Vec<String>>,
    /// Arguments that replace the image's; `None` keeps the image's.
    pub args: Option<Vec<String>>,
    /// Environment in the document's order, repetitions kept.
    pub env: Option<Vec<EnvVar>>,
    /// What every replica gets.
    pub resources: Resources,
    /// Number of replicas; zero is legal.
    pub count: u32,
    /// Ports, one entry for each `to` of the document, sorted by (service, port, protocol, global).
    pub expose: Vec<Expose>,
    /// Volume mounts, permissions and confidential computing, when the document has `params`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Params>,
    /// Login of a private registry.
    pub credentials: Option<Credentials>,
    /// What the common language has no words for, when the document asks for any of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x_berth: Option<Extension>,
}

/// One item of the environment, `NAME=value` or only `NAME`. Debug shows the name, never the value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EnvVar(pub String);

impl EnvVar {
    /// The text before the first `=`, all of it if there is none.
    pub fn name(&self) -> &str {
        self.0.split_once('=').map_or(self.0.as_str(), |(name, _)| name)
    }

    /// The text after the first `=`.
    pub fn value(&self) -> Option<&str> {
        self.0.split_once('=').map(|(_, value)| value)
    }
}

impl fmt::Debug for EnvVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_once('=') {
            Some((name, _)) => write!(f, "{name}=***"),
            // Without `=` the whole item is a name by the rules, but it may be a value put in the wrong place.
            None => f.write_str("***"),
        }
    }
}

/// One way into a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expose {
    /// Port of the container, 1 to 65535.
    pub port: u32,
    /// Port that others see; 0 means "the same as `port`". The language sets no upper bound.
    pub external_port: u32,
    /// Transport protocol.
    pub proto: Proto,
    /// Name of the service of the same deployment that may connect; empty for everyone inside the group.
    pub service: String,
    /// Whether it is reachable from outside the cluster.
    pub global: bool,
    /// Host names to serve under (`accept` in the document).
    pub hosts: Option<Vec<String>>,
    /// Limits and retry rules of the HTTP proxy.
    pub http_options: HttpOptions,
    /// Name of the leased-IP endpoint; empty for none.
    pub ip: String,
    /// Number of that endpoint within the deployment; 0 without `ip`.
    pub endpoint_sequence_number: u32,
}

impl Expose {
    /// The port that others see, with the default applied.
    pub fn visible_port(&self) -> u32 {
        if self.external_port == 0 { self.port } else { self.external_port }
    }

    /// The number and the name of the leased-IP endpoint that it is reached at, if there is one.
    pub fn endpoint(&self) -> Option<(u32, &str)> {
        (!self.ip.is_empty()).then_some((self.endpoint_sequence_number, self.ip.as_str()))
    }

    /// Whether it is served through the provider's shared HTTP entrance: global, TCP and visible at port 80.
    pub fn is_shared_http(&self) -> bool {
        self.global && self.proto == Proto::Tcp && self.visible_port() == 80
    }
}

/// Transport protocol of an exposed port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Proto {
    /// TCP, the default.
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Proto::Tcp => "TCP",
            Proto::Udp => "UDP",
        })
    }
}

/// Limits and retry rules of the HTTP proxy in front of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpOptions {
    /// Largest request body in bytes.
    pub max_body_size: u32,
    /// Milliseconds to wait for the service to answer.
    pub read_timeout: u32,
    /// Milliseconds to wait for the service to take the request.
    pub send_timeout: u32,
    /// How many replicas to try.
    pub next_tries: u32,
    /// Milliseconds after which no further replica is tried; 0 for no limit.
    pub next_timeout: u32,
    /// When to try the next replica: `error`, `timeout`, `500`, `502`, `503`, `504`, `403`, `404`, `429` or only `off`.
    pub next_cases: Vec<String>,
    /// Size of the proxy's buffer in bytes; 0 leaves it to the provider.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub proxy_buffer_size: u32,
}

impl Default for HttpOptions {
    fn default() -> Self {
        HttpOptions {
            max_body_size: 1_048_576,
            read_timeout: 60_000,
            send_timeout: 60_000,
            next_tries: 3,
            next_timeout: 0,
            next_cases: vec!["error".to_owned(), "timeout".to_owned()],
            proxy_buffer_size: 0,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands the field over by reference")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// What a service wants beside its container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Mounts of the service's volumes, sorted by volume name.
    pub storage: Option<Vec<Mount>>,
    /// What the workload may read about itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
    /// Trusted execution environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tee: Option<Tee>,
}

/// Where a volume is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mount {
    /// Name of the volume in the service's resources.
    pub name: String,
    /// Absolute path in the container.
    pub mount: String,
    /// Whether the container may not write.
    pub read_only: bool,
}

/// What the workload may read about itself; unchecked words such as `deployment`, `logs`, `events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permissions {
    /// Kinds of things it may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<String>,
}

/// Request for a trusted execution environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tee {
    /// Which devices take part.
    #[serde(rename = "type")]
    pub kind: TeeKind,
    /// Whether the workload wants to prove where it runs; always true.
    pub attestation: bool,
}

/// Devices that take part in a trusted execution environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TeeKind {
    /// Only the processor.
    #[serde(rename = "cpu")]
    Cpu,
    /// Processor and GPUs.
    #[serde(rename = "cpu-gpu")]
    CpuGpu,
}

impl TeeKind {
    /// The word of the document and of the requirement attribute `tee/type`.
    pub fn as_str(self) -> &'static str {
        match self {
            TeeKind::Cpu => "cpu",
            TeeKind::CpuGpu => "cpu-gpu",
        }
    }
}

/// Login of a private registry. Debug shows nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// Registry host.
    pub host: String,
    /// E-mail, empty at language level 2.0.
    pub email: String,
    /// Account.
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(***)")
    }
}
