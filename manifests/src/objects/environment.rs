//! What a container finds in its environment: what it is told about its lease, then its tenant's own variables.
//!
//! The tenant's values stand in a Secret and nowhere else.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Secret, SecretKeySelector};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::extension::{Extension, SecretRef};
use crate::manifest::{self, Group};
use crate::objects::expand::expand;
use crate::objects::{Frame, Part, SecretValue, service, short_hash};

/// Variables by which a container would choose devices for itself where the vendor's runtime is the default. They are the
/// device plugin's to set; images carry them too.
const VISIBLE_DEVICES: &str = "NVIDIA_VISIBLE_DEVICES";
const DEVICE_VARIABLES: [&str; 4] =
    [VISIBLE_DEVICES, "NVIDIA_MIG_CONFIG_DEVICES", "NVIDIA_MIG_MONITOR_DEVICES", "NVIDIA_IMEX_CHANNELS"];

/// The Secret with the values that the tenant gave apart from its manifest, by the names that the manifest has for them. No
/// service can have a name with a dot.
const SECRETS: &str = "lease.secrets";

/// The variables of one container.
#[derive(Debug)]
pub(super) struct Environment {
    /// As the container has them.
    pub(super) variables: Vec<EnvVar>,
    /// What the tenant's own values are read from; `None` when it sets none.
    pub(super) secret: Option<Secret>,
}

/// The variables of all containers of a pod.
#[derive(Debug)]
pub(super) struct Environments {
    /// Of the service's container.
    pub(super) service: Environment,
    /// Of its init containers, in their order.
    pub(super) init: Vec<Environment>,
    /// Changes when a value in a Secret does.
    pub(super) fingerprint: String,
    /// Whether something that one of them tells is still to be given.
    pub(super) waits: bool,
}

impl Environments {
    /// The Secrets that they read from, besides the one of the whole lease.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.service).chain(&self.init).filter_map(|environment| environment.secret.as_ref())
    }
}

/// Where the value of a variable comes from.
enum Value {
    Plain(String),
    Field(&'static str),
    /// What the manifest says.
    Tenants(String),
    /// The name of a secret that the manifest only names.
    Secret(String),
}

type Variables = Vec<(String, Value)>;

/// The variables of a service's pods.
pub(super) fn environments(frame: &Frame<'_>, part: &Part<'_>) -> Environments {
    let service = part.service;
    let mut waits = false;
    let mut hashed: Vec<u8> = Vec::new();
    let mut compose = |name: String, env: Option<&[manifest::EnvVar]>, secret_refs: &[SecretRef]| {
        let (mut variables, still_waits) = told(frame, part);
        waits |= still_waits;
        for reference in secret_refs {
            waits |= !frame.lease.secrets.contains_key(&reference.secret);
            variables.push((reference.name.clone(), Value::Secret(reference.secret.clone())));
        }
        for item in env.unwrap_or_default() {
            let value = item.value().unwrap_or_default().to_owned();
            variables.push((item.name().to_owned(), Value::Tenants(value)));
        }
        compose(frame, part, &name, variables, &mut hashed)
    };
    let extension = service.x_berth.as_ref();
    let secret_refs = extension.map_or(&[][..], |extension| &extension.secret_ref);
    let own = compose(format!("{}.env", service.name), service.env.as_deref(), secret_refs);
    let init = extension.map_or(&[][..], |extension| &extension.init_containers).iter();
    let init = init
        .map(|init| {
            compose(format!("{}.{}.env", service.name, init.name), init.env.as_deref(), &init.secret_ref)
        })
        .collect();
    // With the lease in it, the same values look different elsewhere.
    let fingerprint = short_hash(&[frame.short_id.as_bytes(), &hashed]);
    Environments { service: own, init, fingerprint, waits }
}

/// The Secret of what the tenant gave apart from the manifest, as far as the group uses it.
pub(super) fn secrets(frame: &Frame<'_>, group: &Group) -> Option<Secret> {
    let used = secret_names(group);
    let values: BTreeMap<String, ByteString> = used
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), ByteString(frame.lease.secrets.get(name)?.0.clone()))))
        .collect();
    (!values.is_empty()).then(|| secret_of(frame.metadata(SECRETS), values))
}

/// The secrets that the group names, each once.
pub(super) fn secret_names(group: &Group) -> BTreeSet<&str> {
    let extensions = group.services.iter().filter_map(|service| service.x_berth.as_ref());
    extensions.flat_map(Extension::secret_names).collect()
}

fn secret_of(metadata: ObjectMeta, values: BTreeMap<String, ByteString>) -> Secret {
    Secret { metadata, type_: Some("Opaque".to_owned()), data: Some(values), ..Secret::default() }
}

fn compose(
    frame: &Frame<'_>,
    part: &Part<'_>,
    name: &str,
    mut variables: Variables,
    hashed: &mut Vec<u8>,
) -> Environment {
    variables.retain(|(name, _)| !DEVICE_VARIABLES.contains(&name.as_str()));
    if part.service.resources.gpu.units.0 == 0 {
        variables.push((VISIBLE_DEVICES.to_owned(), Value::Plain("void".to_owned())));
    }
    resolve(&mut variables, &frame.lease.secrets);
    keep_last(&mut variables);

    let mut values: BTreeMap<String, ByteString> = BTreeMap::new();
    let mut note = |variable: &str, value: &[u8]| {
        for text in [variable.as_bytes(), value] {
            hashed.extend(text.len().to_be_bytes());
            hashed.extend(text);
        }
    };
    let variables = variables
        .into_iter()
        .map(|(variable, value)| match value {
            Value::Plain(value) => EnvVar { name: variable, value: Some(value), value_from: None },
            Value::Field(path) => {
                let field =
                    ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: path.to_owned() };
                from(variable, EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() })
            }
            Value::Tenants(value) => {
                let key = key(&variable);
                note(&variable, value.as_bytes());
                values.insert(key.clone(), ByteString(value.into_bytes()));
                from_secret(variable, name, key)
            }
            Value::Secret(secret) => {
                note(&variable, frame.lease.secrets.get(&secret).map_or(&[], |value| &value.0));
                from_secret(variable, SECRETS, secret)
            }
        })
        .collect();
    let metadata = frame.metadata_of(part.service, name);
    let secret = (!values.is_empty()).then(|| secret_of(metadata, values));
    Environment { variables, secret }
}

fn from_secret(variable: String, secret: &str, key: String) -> EnvVar {
    let key = SecretKeySelector { name: secret.to_owned(), key, optional: Some(false) };
    from(variable, EnvVarSource { secret_key_ref: Some(key), ..EnvVarSource::default() })
}

fn from(name: String, source: EnvVarSource) -> EnvVar {
    EnvVar { name, value: None, value_from: Some(source) }
}

/// The language's names of variables are all keys of a Secret, except that it sets no bound to their length.
fn key(variable: &str) -> String {
    const LONGEST: usize = 253;
    if variable.len() <= LONGEST { variable.to_owned() } else { short_hash(&[variable.as_bytes()]) }
}

/// What every container is told about its lease, and whether something of it is not known yet.
fn told(frame: &Frame<'_>, part: &Part<'_>) -> (Variables, bool) {
    let (lease, service) = (frame.lease, part.service);
    let (tenant, provider) = (lease.id.tenant.to_string(), lease.provider.to_string());
    let mut told = Variables::new();
    let mut say = |name: String, value: String| told.push((name, Value::Plain(value)));
    for (name, value) in [
        ("AKASH_GROUP_SEQUENCE", lease.id.gseq.to_string()),
        ("AKASH_DEPLOYMENT_SEQUENCE", lease.id.dseq.to_string()),
        ("AKASH_ORDER_SEQUENCE", lease.id.oseq.to_string()),
        ("AKASH_OWNER", tenant),
        ("AKASH_PROVIDER", provider.clone()),
        ("AKASH_CLUSTER_PUBLIC_HOSTNAME", frame.settings.port_host.clone()),
        ("BERTH_LEASE", lease.id.to_string()),
        ("BERTH_PROVIDER", provider),
        ("BERTH_SERVICE", service.name.clone()),
        ("BERTH_REPLICAS", service.count.to_string()),
    ] {
        say(name.to_owned(), value);
    }
    if let Some(route) = part.routes.first() {
        say("BERTH_HOST".to_owned(), route.generated.clone());
        let hosts: Vec<&str> = part.routes.iter().flat_map(super::http_route::Route::hosts).collect();
        say("BERTH_HOSTS".to_owned(), hosts.join(" "));
    }
    let mut waits = false;
    let node_ports = service::node_ports(service);
    if !node_ports.is_empty() {
        say("BERTH_PORT_HOST".to_owned(), frame.settings.port_host.clone());
    }
    for expose in node_ports {
        let visible = u16::try_from(expose.visible_port()).unwrap_or_default();
        let given = lease.given.node_ports.get(&(service.name.clone(), visible, expose.proto));
        waits |= given.is_none();
        if let Some(port) = given {
            say(format!("BERTH_NODE_PORT_{visible}_{}", expose.proto), port.to_string());
        }
    }
    for (index, (number, endpoint)) in service::endpoints(service).into_iter().enumerate() {
        let given = lease.given.addresses.get(&number);
        waits |= given.is_none();
        if let Some(address) = given {
            if index == 0 {
                say("BERTH_IP".to_owned(), address.to_string());
            }
            let name = endpoint.to_ascii_uppercase().replace('-', "_");
            say(format!("BERTH_IP_{name}"), address.to_string());
        }
    }
    if let Some(pool) = part.nodes.pool() {
        say("BERTH_GPU_MODEL".to_owned(), pool.to_owned());
    }
    if part.is_stateful() {
        let index = "metadata.labels['apps.kubernetes.io/pod-index']";
        told.push(("BERTH_REPLICA".to_owned(), Value::Field(index)));
    } else if service.count == 1 {
        told.push(("BERTH_REPLICA".to_owned(), Value::Plain("0".to_owned())));
    }
    told.push(("BERTH_POD".to_owned(), Value::Field("metadata.name")));
    (told, waits)
}

/// Resolves the references of the tenant's variables to those before them.
fn resolve(variables: &mut [(String, Value)], secrets: &BTreeMap<String, SecretValue>) {
    let mut known: HashMap<&str, &str> = HashMap::new();
    for (name, value) in variables {
        match value {
            Value::Plain(value) => {
                known.insert(name, value);
            }
            Value::Field(_) => {}
            Value::Secret(secret) => {
                let value = secrets.get(secret.as_str()).and_then(|value| str::from_utf8(&value.0).ok());
                known.extend(value.map(|value| (name.as_str(), value)));
            }
            Value::Tenants(value) => {
                if value.contains('$') {
                    *value = expand(value, |name| known.get(name).copied());
                }
                known.insert(name, value);
            }
        }
    }
}

/// Server-side apply takes a name once. The last value of a name is the one that a container gets.
fn keep_last(variables: &mut Variables) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    variables.reverse();
    variables.retain(|(name, _)| seen.insert(name.clone()));
    variables.reverse();
}
