//! As whom pods speak to the cluster: as nobody, unless the document asks to read about itself. And what lets the provider work
//! in the namespace, where it may not work in all.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::manifest::Service;
use crate::objects::{Frame, Object, RenderError, unsupported};

/// The account of pods that asked for nothing. No service can have a name with a dot.
const NOBODY: &str = "lease.nobody";

/// The name of the binding that lets the provider work in the namespace of a lease, where there is one. It comes right after the
/// namespace; until the API server has taken note of it, what comes next is refused.
pub const PROVIDER_BINDING: &str = "lease.provider";

/// What a service may read of its own namespace, by the document's word for it.
const READABLE: [(&str, &[Rule]); 3] = [
    (
        "deployment",
        &[
            Rule {
                group: "apps",
                resources: &["deployments", "statefulsets"],
                verbs: &["get", "list", "watch"],
            },
            Rule { group: "", resources: &["pods"], verbs: &["get", "list", "watch"] },
        ],
    ),
    (
        "logs",
        &[
            Rule { group: "", resources: &["pods"], verbs: &["get", "list", "watch"] },
            Rule { group: "", resources: &["pods/log"], verbs: &["get"] },
        ],
    ),
    ("events", &[Rule { group: "", resources: &["events"], verbs: &["get", "list", "watch"] }]),
];

#[derive(PartialEq, Eq)]
struct Rule {
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
}

/// Whether the service asks to read about itself.
pub(super) fn asks(service: &Service) -> bool {
    readable(service).next().is_some()
}

fn readable(service: &Service) -> impl Iterator<Item = &str> {
    let permissions = service.params.as_ref().and_then(|params| params.permissions.as_ref());
    permissions.into_iter().flat_map(|permissions| &permissions.read).map(String::as_str)
}

/// The account's name.
pub(super) fn name(service: &Service) -> &str {
    if asks(service) { &service.name } else { NOBODY }
}

/// Lets the provider work in the namespace.
pub(super) fn provider(frame: &Frame<'_>) -> Option<RoleBinding> {
    let access = frame.settings.provider_access.as_ref()?;
    let role = ("ClusterRole", access.cluster_role.as_str());
    Some(binding(frame.metadata(PROVIDER_BINDING), role, &access.account, &access.namespace))
}

/// Gives a role, by its kind and name, to the account of a namespace.
fn binding(metadata: ObjectMeta, (kind, role): (&str, &str), account: &str, namespace: &str) -> RoleBinding {
    RoleBinding {
        metadata,
        role_ref: RoleRef {
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: kind.to_owned(),
            name: role.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: account.to_owned(),
            namespace: Some(namespace.to_owned()),
            ..Subject::default()
        }]),
    }
}

/// The account that carries no token.
pub(super) fn nobody(frame: &Frame<'_>) -> ServiceAccount {
    ServiceAccount {
        metadata: frame.metadata(NOBODY),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// The account, role and binding of a service that asks.
pub(super) fn of(frame: &Frame<'_>, service: &Service) -> Result<Vec<Object>, RenderError> {
    if !asks(service) {
        return Ok(Vec::new());
    }
    if frame.settings.api_servers.is_empty() {
        return Err(unsupported(service, "permissions on the cluster are not offered"));
    }
    let mut rules: Vec<&Rule> = Vec::new();
    for word in readable(service) {
        let known = READABLE.iter().find(|(known, _)| *known == word);
        let Some((_, granted)) = known else {
            let what = format!("permission to read {word:?} is not known: use deployment, logs or events");
            return Err(unsupported(service, what));
        };
        for rule in *granted {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let role = Role {
        metadata: frame.metadata_of(service, service.name.as_str()),
        rules: Some(
            rules
                .into_iter()
                .map(|rule| PolicyRule {
                    api_groups: Some(texts(&[rule.group])),
                    resources: Some(texts(rule.resources)),
                    verbs: texts(rule.verbs),
                    ..PolicyRule::default()
                })
                .collect(),
        ),
    };
    let account = ServiceAccount {
        metadata: frame.metadata_of(service, service.name.as_str()),
        automount_service_account_token: Some(true),
        ..ServiceAccount::default()
    };
    let name = service.name.as_str();
    let binding = binding(frame.metadata_of(service, name), ("Role", name), name, &frame.namespace);
    Ok(vec![Object::new(&account), Object::new(&role), Object::new(&binding)])
}
