//! What a service may ask for beyond the common language, under `services.<name>.x-berth`.
//!
//! All of it changes the workload, so all of it stands in the manifest, as `x_berth`, and in the digest. Defaults are
//! filled in where the document is read, so a provider never needs one of its own; what equals the default as a whole is
//! left out, and a service without the extension has the same bytes as ever. Secrets are named here and never told: their
//! values reach the provider by its gateway only.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::manifest::{EnvVar, Service};
use crate::problem::{ErrorKind, shown};
use crate::resources::Quantity;
use crate::rules::{MAX_NAME, is_env_name, is_label};

/// The extension of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Extension {
    /// How it is found out whether a replica works.
    #[serde(default, skip_serializing_if = "Probes::is_empty")]
    pub probes: Probes,
    /// How replicas of an older manifest give way; `None` leaves it to the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Seconds that a replica has between being asked to stop and being killed; `None` for 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination_grace_period_seconds: Option<Within<1, 3600>>,
    /// Environment whose values are secrets, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_ref: Vec<SecretRef>,
    /// Containers that run to their end before the service starts, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<InitContainer>,
    /// Bytes of a writable `/tmp` that is empty at every start, taken from the ephemeral storage that was bought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tmp_size: Option<Quantity>,
    /// Whether the provider may give a GPU that others use too. Without it a GPU is the replica's alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_gpu_sharing: bool,
}

/// A whole number from `LEAST` to `MOST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Within<const LEAST: u32, const MOST: u32>(u32);

impl<const LEAST: u32, const MOST: u32> Within<LEAST, MOST> {
    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl<const LEAST: u32, const MOST: u32> TryFrom<u32> for Within<LEAST, MOST> {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        if (LEAST..=MOST).contains(&number) {
            Ok(Within(number))
        } else {
            Err(format!("{number} is out of range: write a number from {LEAST} to {MOST}"))
        }
    }
}

impl<const LEAST: u32, const MOST: u32> From<Within<LEAST, MOST>> for u32 {
    fn from(number: Within<LEAST, MOST>) -> u32 {
        number.0
    }
}

/// The probes of a service, in the words of Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probes {
    /// The others wait until this one has succeeded once; a replica that never gets there is started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup: Option<Probe>,
    /// A replica gets requests only while this one succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Probe>,
    /// A replica for which this one fails is started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<Probe>,
}

impl Probes {
    fn is_empty(&self) -> bool {
        *self == Probes::default()
    }

    /// The probes that there are, with the words of the document.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &Probe)> {
        let Probes { startup, readiness, liveness } = self;
        [("startup", startup), ("readiness", readiness), ("liveness", liveness)]
            .into_iter()
            .filter_map(|(name, probe)| Some((name, probe.as_ref()?)))
    }
}

/// One probe: what is asked, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WireProbe", into = "WireProbe")]
pub struct Probe {
    /// What is asked of the replica.
    pub action: Action,
    /// Seconds from the container's start to the first question.
    pub initial_delay_seconds: Within<0, 3600>,
    /// Seconds between questions.
    pub period_seconds: Within<1, 3600>,
    /// Seconds to wait for the answer.
    pub timeout_seconds: Within<1, 3600>,
    /// Successes in a row that count as one after a failure. Always 1 for startup and liveness.
    pub success_threshold: Within<1, 100>,
    /// Failures in a row that count as one.
    pub failure_threshold: Within<1, 1000>,
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// An HTTP GET; an answer from 200 to 399 is a success.
    HttpGet(HttpGet),
    /// A TCP connection; that it can be made is the success.
    TcpSocket(TcpSocket),
    /// A command in the container; an exit code of 0 is the success.
    Exec(Exec),
}

/// An HTTP request to the replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpGet {
    /// Path with query, beginning with `/`.
    pub path: String,
    /// Port of the container.
    pub port: Within<1, 65535>,
    /// Whether the replica speaks TLS there; its certificate is not checked.
    pub scheme: Scheme,
}

/// How HTTP is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Scheme {
    /// In the clear.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

/// A connection to the replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpSocket {
    /// Port of the container.
    pub port: Within<1, 65535>,
}

/// A command in the container.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// Program and arguments; no shell reads them.
    pub command: Vec<String>,
}

impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments of a check may hold a password.
        f.write_str("Exec(***)")
    }
}

/// A probe as JSON has it: one of the three actions, beside the numbers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireProbe {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    http_get: Option<HttpGet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tcp_socket: Option<TcpSocket>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exec: Option<Exec>,
    initial_delay_seconds: Within<0, 3600>,
    period_seconds: Within<1, 3600>,
    timeout_seconds: Within<1, 3600>,
    success_threshold: Within<1, 100>,
    failure_threshold: Within<1, 1000>,
}

impl From<Probe> for WireProbe {
    fn from(probe: Probe) -> Self {
        let (http_get, tcp_socket, exec) = match probe.action {
            Action::HttpGet(get) => (Some(get), None, None),
            Action::TcpSocket(socket) => (None, Some(socket), None),
            Action::Exec(exec) => (None, None, Some(exec)),
        };
        WireProbe {
            http_get,
            tcp_socket,
            exec,
            initial_delay_seconds: probe.initial_delay_seconds,
            period_seconds: probe.period_seconds,
            timeout_seconds: probe.timeout_seconds,
            success_threshold: probe.success_threshold,
            failure_threshold: probe.failure_threshold,
        }
    }
}

impl TryFrom<WireProbe> for Probe {
    type Error = &'static str;

    fn try_from(wire: WireProbe) -> Result<Self, &'static str> {
        let action = match (wire.http_get, wire.tcp_socket, wire.exec) {
            (Some(get), None, None) => Action::HttpGet(get),
            (None, Some(socket), None) => Action::TcpSocket(socket),
            (None, None, Some(exec)) => Action::Exec(exec),
            _ => return Err("a probe has exactly one of httpGet, tcpSocket and exec"),
        };
        Ok(Probe {
            action,
            initial_delay_seconds: wire.initial_delay_seconds,
            period_seconds: wire.period_seconds,
            timeout_seconds: wire.timeout_seconds,
            success_threshold: wire.success_threshold,
            failure_threshold: wire.failure_threshold,
        })
    }
}

/// How replicas of an older manifest give way to those of a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Strategy {
    /// One after the other. One of the two numbers is not zero.
    RollingUpdate {
        /// How many replicas there may be above the count. Nobody sells room beside it, so that it counts as none, and one may
        /// be missing instead.
        max_surge: Within<0, 1>,
        /// How many replicas of the count may be missing.
        max_unavailable: Within<0, 100>,
    },
    /// All older ones stop before the first newer one starts.
    Recreate,
}

/// An environment variable whose value is a secret: named here, told to the provider's gateway only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretRef {
    /// Name of the variable in the container.
    pub name: String,
    /// Name of the secret: a DNS label.
    pub secret: String,
}

/// A container that runs to its end before the service starts. It has the resources and the mounts of the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InitContainer {
    /// Name, a DNS label unlike those of the service and of the others.
    pub name: String,
    /// Image reference.
    pub image: String,
    /// Entry point that replaces the image's; `None` keeps the image's.
    pub command: Option<Vec<String>>,
    /// Arguments that replace the image's; `None` keeps the image's.
    pub args: Option<Vec<String>>,
    /// Its own environment; that of the service is not handed down.
    pub env: Option<Vec<EnvVar>>,
    /// Its own environment from secrets, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_ref: Vec<SecretRef>,
}

impl Extension {
    /// Names of all secrets that the service needs, each once, in ascending order.
    pub fn secret_names(&self) -> Vec<&str> {
        let of_init = self.init_containers.iter().flat_map(|init| &init.secret_ref);
        let mut names: Vec<_> =
            self.secret_ref.iter().chain(of_init).map(|reference| reference.secret.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// Whether a secret can be called so: a DNS label of at most 63 characters.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    is_label(name) && name.len() <= MAX_NAME
}

/// The path of HTTP probes that name none.
pub(crate) const DEFAULT_PATH: &str = "/";

/// Holds the extension of a service to what its types do not say. `wrong` is told the place inside the extension, in the
/// words of the document.
pub(crate) fn check(
    extension: &Extension,
    service: &Service,
    wrong: &mut dyn FnMut(ErrorKind, String, String),
) {
    let mut invalid =
        |place: String, message: &str| wrong(ErrorKind::ExtensionInvalid, place, message.to_owned());
    for (name, probe) in extension.probes.all() {
        let place = format!("probes.{name}");
        match &probe.action {
            Action::HttpGet(get) if !is_path(&get.path) => {
                invalid(
                    format!("{place}.httpGet.path"),
                    "the path is no path of a URL: write one that begins with / and has no blanks",
                );
            }
            Action::Exec(exec) if exec.command.first().is_none_or(String::is_empty) => {
                invalid(
                    format!("{place}.exec.command"),
                    "the command names no program: write a list that begins with it",
                );
            }
            _ => {}
        }
        if name != "readiness" && probe.success_threshold.get() != 1 {
            invalid(
                format!("{place}.successThreshold"),
                "only a readiness probe can ask for more than one success: write 1, or leave it out",
            );
        }
    }
    match extension.strategy {
        Some(Strategy::RollingUpdate { max_surge, max_unavailable })
            if max_surge.get() == 0 && max_unavailable.get() == 0 =>
        {
            invalid(
                "strategy".to_owned(),
                "no replica may be added and none may be missing, so none can be replaced: write 1 for maxSurge or maxUnavailable",
            );
        }
        Some(Strategy::RollingUpdate { max_surge, .. }) if max_surge.get() > 0 && keeps_volumes(service) => {
            invalid(
                "strategy.maxSurge".to_owned(),
                "a replica with a persistent volume is stopped before its successor starts, for both cannot have the volume: write 0",
            );
        }
        _ => {}
    }
    if let Some(size) = extension.tmp_size {
        let ephemeral = service.resources.storage.iter().filter(|volume| !volume.persistent());
        let on_disk = ephemeral.filter(|volume| volume.class() != Some("ram"));
        let bought = on_disk.fold(0u64, |sum, volume| sum.saturating_add(volume.size.0));
        if size.0 == 0 || size.0 > bought {
            let message = format!(
                "{} bytes are not between 1 and the {bought} bytes of ephemeral storage that the profile has: change one of them",
                size.0
            );
            invalid("tmpSize".to_owned(), &message);
        }
        let mounts = service.params.iter().flat_map(|params| &params.storage).flatten();
        if mounts.map(|mount| mount.mount.trim_end_matches('/')).any(|mount| mount == "/tmp") {
            invalid("tmpSize".to_owned(), "a volume is mounted at /tmp already: leave out one of them");
        }
    }
    if extension.allow_gpu_sharing && service.resources.gpu.units.0 == 0 {
        invalid("allowGpuSharing".to_owned(), "the profile has no GPU that could be shared: leave it out");
    }
    check_environment("", service.env.as_deref(), &extension.secret_ref, wrong);
    check_init_containers(extension, service, wrong);
}

fn keeps_volumes(service: &Service) -> bool {
    service.resources.storage.iter().any(crate::resources::Volume::persistent)
}

fn check_init_containers(
    extension: &Extension,
    service: &Service,
    wrong: &mut dyn FnMut(ErrorKind, String, String),
) {
    let mut names = HashSet::from([service.name.as_str()]);
    for (index, init) in extension.init_containers.iter().enumerate() {
        let place = format!("initContainers[{index}]");
        if !is_label(&init.name) || init.name.len() > MAX_NAME {
            let message = format!(
                "{} cannot name a container: use at most {MAX_NAME} lower-case letters, digits and -, no - at the ends",
                shown(&init.name)
            );
            wrong(ErrorKind::ExtensionInvalid, format!("{place}.name"), message);
        } else if !names.insert(&init.name) {
            let message = format!(
                "{} names the service or another init container: choose another name",
                shown(&init.name)
            );
            wrong(ErrorKind::ExtensionInvalid, format!("{place}.name"), message);
        }
        if init.image.is_empty() {
            let message = "the init container has no image: write image with its name".to_owned();
            wrong(ErrorKind::ImageEmpty, format!("{place}.image"), message);
        }
        for (item, variable) in init.env.iter().flatten().enumerate() {
            if !is_env_name(variable.name()) {
                let message = "the name before = begins with a digit or two dots, or has something else than letters, digits and _ . -: write NAME=value";
                wrong(ErrorKind::EnvNameInvalid, format!("{place}.env[{item}]"), message.to_owned());
            }
        }
        check_environment(&format!("{place}."), init.env.as_deref(), &init.secret_ref, wrong);
    }
}

/// Whether references to secrets have names that a container can have, each once and beside no open value.
fn check_environment(
    place: &str,
    env: Option<&[EnvVar]>,
    references: &[SecretRef],
    wrong: &mut dyn FnMut(ErrorKind, String, String),
) {
    let mut names: HashSet<&str> = env.into_iter().flatten().map(EnvVar::name).collect();
    for reference in references {
        // Neither name is shown: a value may stand where one belongs.
        if !is_env_name(&reference.name) {
            let message = "the name of a variable begins with a digit or two dots, or has something else than letters, digits and _ . -: write NAME with the name of a secret";
            wrong(ErrorKind::EnvNameInvalid, format!("{place}secretRef"), message.to_owned());
            continue;
        }
        let place = format!("{place}secretRef.{}", reference.name);
        if !names.insert(&reference.name) {
            let message = "the variable has another value in env: leave out one of them".to_owned();
            wrong(ErrorKind::ExtensionInvalid, place.clone(), message);
        }
        if !is_secret_name(&reference.secret) {
            let message = format!(
                "this is no name of a secret: write its name, not its value, in at most {MAX_NAME} lower-case letters, digits and -"
            );
            wrong(ErrorKind::ExtensionInvalid, place, message);
        }
    }
}

/// Whether the text is the path, with query, of a URL.
fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.len() <= 1024 && text.bytes().all(|b| b.is_ascii_graphic())
}
