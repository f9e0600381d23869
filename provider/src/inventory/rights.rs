//! What the daemon does in the cluster, and whether its account may.
//!
//! With a role for leases it does the most of it in their namespaces alone, in each of which it binds itself to that role.
//! Without one it must have been allowed to do everything everywhere.

use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::PostParams;
use kube::{Api, Client};

use super::api_servers;
use super::client::words;

/// How long the API server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

const CORE: &str = "";
const APPS: &str = "apps";
const RBAC: &str = "rbac.authorization.k8s.io";
const NETWORKING: &str = "networking.k8s.io";
const GATEWAY: &str = "gateway.networking.k8s.io";
const STORAGE: &str = "storage.k8s.io";
const COORDINATION: &str = "coordination.k8s.io";

/// Verbs on a resource of an API group; a slash stands before a part of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    /// The API group; empty for the first one.
    pub group: &'static str,
    /// The resource, such as `pods` or `pods/log`.
    pub resource: &'static str,
    /// What is done with it.
    pub verbs: &'static [&'static str],
}

const fn right(group: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Right {
    Right { group, resource, verbs }
}

/// Applying makes what is not there.
const APPLY: &[&str] = &["create", "patch"];
const WATCH: &[&str] = &["list", "watch"];
const KEEP: &[&str] = &["list", "create", "patch", "delete"];
/// What may have to make way is looked for until it is gone.
const REPLACE: &[&str] = &["get", "list", "create", "patch", "delete"];
const READ: &[&str] = &["get", "list", "watch"];
/// What the daemon does with workloads, and what a service may be allowed to read of its own: nobody can grant what he does not
/// have.
const WORKLOADS: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

/// In the whole cluster.
pub const EVERYWHERE: [Right; 11] = [
    right(CORE, "nodes", &["list", "watch", "patch"]),
    right(CORE, "pods", WATCH),
    right(CORE, "services", WATCH),
    right(CORE, "namespaces", &["get", "list", "watch", "create", "patch", "delete"]),
    right(APPS, "deployments", WATCH),
    right(APPS, "statefulsets", WATCH),
    right(STORAGE, "storageclasses", WATCH),
    right(STORAGE, "csistoragecapacities", WATCH),
    right("node.k8s.io", "runtimeclasses", &["get"]),
    right(GATEWAY, "gateways", &["get"]),
    // Another install with the same key may be anywhere.
    right(COORDINATION, "leases", &["list"]),
];

/// In our own namespace: the nodes' records, which agents publish there, and the Lease of the operator key.
pub const AT_HOME: [Right; 2] =
    [right(CORE, "configmaps", WATCH), right(COORDINATION, "leases", &["get", "create", "update"])];

/// Where the API server says where it answers.
pub const API_SERVERS: Right = right("discovery.k8s.io", "endpointslices", WATCH);

/// To bind itself to the role for leases, besides `bind` and `get` on that role.
pub const BINDINGS: Right = right(RBAC, "rolebindings", APPLY);

/// In the namespaces of leases.
pub const IN_LEASES: [Right; 15] = [
    right(CORE, "resourcequotas", APPLY),
    right(CORE, "limitranges", APPLY),
    right(CORE, "services", KEEP),
    right(CORE, "secrets", KEEP),
    right(CORE, "serviceaccounts", KEEP),
    right(CORE, "persistentvolumeclaims", REPLACE),
    right(APPS, "deployments", WORKLOADS),
    right(APPS, "statefulsets", WORKLOADS),
    right(NETWORKING, "networkpolicies", KEEP),
    right(GATEWAY, "httproutes", KEEP),
    right(RBAC, "roles", KEEP),
    right(RBAC, "rolebindings", KEEP),
    right(CORE, "pods/log", &["get"]),
    // For services that may read them of their own namespace, too.
    right(CORE, "pods", READ),
    right(CORE, "events", READ),
];

/// Makes sure that our account may do what the daemon does: `namespace` is its own, and in the namespaces of leases it
/// has `role`, if there is one.
///
/// # Errors
/// When it may not, with everything that it lacks, or when the API server does not answer.
pub async fn ensure_allowed(client: &Client, namespace: &str, role: Option<&str>) -> anyhow::Result<()> {
    let mut lacking = Vec::new();
    for right in EVERYWHERE {
        lacking.extend(lacking_of(client, right, None, None).await?);
    }
    for right in AT_HOME {
        lacking.extend(lacking_of(client, right, Some(namespace), None).await?);
    }
    lacking.extend(lacking_of(client, API_SERVERS, Some(api_servers::NAMESPACE), None).await?);
    match role {
        None => {
            for right in IN_LEASES {
                lacking.extend(lacking_of(client, right, None, None).await?);
            }
        }
        Some(role) => {
            lacking.extend(lacking_of(client, BINDINGS, None, None).await?);
            let of_it =
                lacking_of(client, right(RBAC, "clusterroles", &["get", "bind"]), None, Some(role)).await?;
            if of_it.is_empty() {
                let rules = rules_of(client, role).await?;
                let outside = lacking_of_role(&rules);
                ensure!(
                    outside.is_empty(),
                    "the role {role} does not let us {}, which leases need: add it, or correct cluster.leaseRole",
                    outside.join(", ")
                );
            }
            lacking.extend(of_it);
        }
    }
    ensure!(
        lacking.is_empty(),
        "our account in the cluster may not: {}; bind it to a role that lets it",
        lacking.join(", ")
    );
    Ok(())
}

/// The verbs of a right that our account does not have: in a namespace, or everywhere; on the object of a name, or on any.
async fn lacking_of(
    client: &Client,
    right: Right,
    namespace: Option<&str>,
    name: Option<&str>,
) -> anyhow::Result<Vec<String>> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let (resource, part) = right.resource.split_once('/').unwrap_or((right.resource, ""));
    let mut lacking = Vec::new();
    for verb in right.verbs {
        let attributes = ResourceAttributes {
            verb: Some((*verb).to_owned()),
            group: Some(right.group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource: Some(part.to_owned()).filter(|part| !part.is_empty()),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let params = PostParams::default();
        let answer = tokio::time::timeout(PATIENCE, reviews.create(&params, &review))
            .await
            .context("the API server did not answer in time")?;
        let answer = answer.map_err(|error| {
            anyhow!("the API server does not say what our account may do: {}", words(&error))
        })?;
        if !answer.status.is_some_and(|status| status.allowed) {
            let place = namespace.map_or(String::new(), |namespace| format!(" in namespace {namespace}"));
            let name = name.map_or(String::new(), |name| format!(" {name}"));
            lacking.push(format!("{verb} {}{name}{place}", right.resource));
        }
    }
    Ok(lacking)
}

async fn rules_of(client: &Client, role: &str) -> anyhow::Result<Vec<PolicyRule>> {
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let found = tokio::time::timeout(PATIENCE, roles.get_opt(role))
        .await
        .context("the API server did not answer in time")?
        .map_err(|error| anyhow!("the ClusterRole {role} cannot be read: {}", words(&error)))?;
    let found = found.with_context(|| {
        format!("the cluster has no ClusterRole {role}: create it, or correct cluster.leaseRole")
    })?;
    Ok(found.rules.unwrap_or_default())
}

/// What leases need and these rules do not allow.
fn lacking_of_role(rules: &[PolicyRule]) -> Vec<String> {
    let has = |list: Option<&Vec<String>>, word: &str| {
        list.is_some_and(|list| list.iter().any(|one| one == word || one == "*"))
    };
    let mut lacking = Vec::new();
    for right in IN_LEASES {
        for verb in right.verbs {
            let allows = |rule: &PolicyRule| {
                has(Some(&rule.verbs), verb)
                    && has(rule.api_groups.as_ref(), right.group)
                    && has(rule.resources.as_ref(), right.resource)
                    && rule.resource_names.as_ref().is_none_or(Vec::is_empty)
            };
            let told = format!("{verb} {}", right.resource);
            if !rules.iter().any(allows) && !lacking.contains(&told) {
                lacking.push(told);
            }
        }
    }
    lacking
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(right: Right) -> PolicyRule {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        PolicyRule {
            api_groups: Some(texts(&[right.group])),
            resources: Some(texts(&[right.resource])),
            verbs: texts(right.verbs),
            ..PolicyRule::default()
        }
    }

    #[test]
    fn what_a_role_for_leases_lacks_is_told_once_by_verb_and_resource() {
        let whole: Vec<PolicyRule> = IN_LEASES.into_iter().map(rule).collect();
        assert_eq!(lacking_of_role(&whole), Vec::<String>::new());
        let without: Vec<PolicyRule> = whole
            .iter()
            .filter(|rule| rule.resources.as_deref() != Some(&["secrets".to_owned()]))
            .cloned()
            .collect();
        assert_eq!(
            lacking_of_role(&without),
            ["list secrets", "create secrets", "patch secrets", "delete secrets"]
        );
        let mut one_secret = whole.clone();
        one_secret[3].resource_names = Some(vec!["one".to_owned()]);
        assert_eq!(lacking_of_role(&one_secret).len(), 4, "a right to one object is no right to the others");
        let any = |text: &str| Some(vec![text.to_owned()]);
        let all = PolicyRule {
            api_groups: any("*"),
            resources: any("*"),
            verbs: vec!["*".to_owned()],
            ..PolicyRule::default()
        };
        assert_eq!(lacking_of_role(&[all]), Vec::<String>::new());
        assert!(lacking_of_role(&[]).len() > 40);
    }
}
