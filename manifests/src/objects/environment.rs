//! What a container finds in its environment: what it is told about its lease, then its tenant's own variables.
//!
//! The tenant's values stand in a Secret and nowhere else.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Secret, SecretKeySelector};

use crate::objects::expand::expand;
use crate::objects::{Frame, Part, service, short_hash};

/// Variables by which a container would choose devices for itself where the vendor's runtime is the default. They are the
/// device plugin's to set; images carry them too.
const VISIBLE_DEVICES: &str = "NVIDIA_VISIBLE_DEVICES";
const DEVICE_VARIABLES: [&str; 4] =
    [VISIBLE_DEVICES, "NVIDIA_MIG_CONFIG_DEVICES", "NVIDIA_MIG_MONITOR_DEVICES", "NVIDIA_IMEX_CHANNELS"];

/// The variables of a service's container.
#[derive(Debug)]
pub(super) struct Environment {
    /// As the container has them.
    pub(super) variables: Vec<EnvVar>,
    /// What they are read from; `None` when the tenant sets none.
    pub(super) secret: Option<Secret>,
    /// Changes when a value in the Secret does.
    pub(super) fingerprint: String,
    /// Whether the cluster has still to give what one of them tells.
    pub(super) waits: bool,
}

/// Where the value of a variable comes from.
enum Value {
    Plain(String),
    Field(&'static str),
    Tenants(String),
}

/// The environment of a service.
pub(super) fn environment(frame: &Frame<'_>, part: &Part<'_>) -> Environment {
    let service = part.service;
    let (mut variables, waits) = told(frame, part);
    for item in service.env.iter().flatten() {
        variables.push((item.name().to_owned(), Value::Tenants(item.value().unwrap_or_default().to_owned())));
    }
    variables.retain(|(name, _)| !DEVICE_VARIABLES.contains(&name.as_str()));
    if service.resources.gpu.units.0 == 0 {
        variables.push((VISIBLE_DEVICES.to_owned(), Value::Plain("void".to_owned())));
    }
    resolve(&mut variables);
    keep_last(&mut variables);

    let name = format!("{}.env", service.name);
    let mut values: BTreeMap<String, ByteString> = BTreeMap::new();
    let mut hashed: Vec<u8> = Vec::new();
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
                for text in [&variable, &value] {
                    hashed.extend(text.len().to_be_bytes());
                    hashed.extend(text.as_bytes());
                }
                values.insert(key.clone(), ByteString(value.into_bytes()));
                let key = SecretKeySelector { name: name.clone(), key, optional: Some(false) };
                from(variable, EnvVarSource { secret_key_ref: Some(key), ..EnvVarSource::default() })
            }
        })
        .collect();
    let secret = (!values.is_empty()).then(|| Secret {
        metadata: frame.metadata_of(service, name),
        type_: Some("Opaque".to_owned()),
        data: Some(values),
        ..Secret::default()
    });
    // With the lease in it, the same values look different elsewhere.
    let fingerprint = short_hash(&[frame.short_id.as_bytes(), &hashed]);
    Environment { variables, secret, fingerprint, waits }
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
fn told(frame: &Frame<'_>, part: &Part<'_>) -> (Vec<(String, Value)>, bool) {
    let (lease, service) = (frame.lease, part.service);
    let (tenant, provider) = (lease.id.tenant.to_string(), lease.provider.to_string());
    let mut told: Vec<(String, Value)> = Vec::new();
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
fn resolve(variables: &mut [(String, Value)]) {
    let mut known: HashMap<&str, &str> = HashMap::new();
    for (name, value) in variables {
        match value {
            Value::Plain(value) => {
                known.insert(name, value);
            }
            Value::Field(_) => {}
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
fn keep_last(variables: &mut Vec<(String, Value)>) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    variables.reverse();
    variables.retain(|(name, _)| seen.insert(name.clone()));
    variables.reverse();
}
