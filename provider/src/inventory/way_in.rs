//! The Gateway that tenants' routes are attached to, as the cluster tells of it.

use anyhow::{anyhow, bail};
use kube::Api;
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use serde::Deserialize;

use super::client::{Client, PATIENCE, words};

const GROUP: &str = "gateway.networking.k8s.io";
const VERSION: &str = "v1";

/// A Gateway of Gateway API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WayIn {
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Spec {
    #[serde(default)]
    listeners: Vec<Listener>,
}

/// One of its ports.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// By which routes name it.
    pub name: String,
    /// `HTTP`, `HTTPS` and the like.
    pub protocol: String,
    /// The hosts that it admits, such as `*.example.org`; all of them if it names none.
    pub hostname: Option<String>,
    #[serde(default)]
    allowed_routes: AllowedRoutes,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
struct AllowedRoutes {
    #[serde(default)]
    namespaces: RouteNamespaces,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
struct RouteNamespaces {
    /// `Same` where it says nothing.
    from: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
struct Status {
    #[serde(default)]
    addresses: Vec<Address>,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Address {
    value: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    what: String,
    status: String,
    #[serde(default)]
    message: String,
}

impl Listener {
    /// Whether it admits routes for hosts below `domain` from namespaces of their own.
    #[must_use]
    pub fn admits(&self, domain: &str) -> bool {
        let host = self.hostname.as_deref().is_none_or(|hostname| {
            // A wildcard covers every name below it.
            hostname.strip_prefix("*.").is_some_and(|above| {
                domain == above || domain.strip_suffix(above).is_some_and(|rest| rest.ends_with('.'))
            })
        });
        let from = self.allowed_routes.namespaces.from.as_deref();
        host && matches!(from, Some("All" | "Selector"))
    }

    /// Whether it speaks TLS with browsers.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.protocol == "HTTPS"
    }
}

impl WayIn {
    /// The listeners that routes for hosts below `domain` are attached to; `section` is the one that is named by
    /// configuration.
    ///
    /// # Errors
    /// When there is none, or the Gateway is not up, in a sentence.
    pub fn listeners(&self, domain: &str, section: Option<&str>) -> anyhow::Result<Vec<&Listener>> {
        if let Some(down) =
            self.status.conditions.iter().find(|one| one.what == "Programmed" && one.status != "True")
        {
            bail!("it is not up: {}; look at its controller", down.message);
        }
        let named = |listener: &&Listener| section.is_none_or(|name| listener.name == name);
        let found: Vec<&Listener> =
            self.spec.listeners.iter().filter(named).filter(|listener| listener.admits(domain)).collect();
        if found.is_empty() {
            let which = section.map_or("none of its listeners admits".to_owned(), |name| {
                format!("its listener {name} does not admit")
            });
            bail!(
                "{which} routes for *.{domain} from tenants' namespaces: give a listener that hostname, or none, and \
                 allowedRoutes.namespaces.from: All"
            );
        }
        Ok(found)
    }

    /// Where it is reached, as its controller says; empty where that is left to others.
    #[must_use]
    pub fn addresses(&self) -> Vec<&str> {
        self.status.addresses.iter().map(|address| address.value.as_str()).collect()
    }
}

/// Reads the Gateway `name`.
///
/// # Errors
/// When the cluster has no Gateway API or no such Gateway, or does not tell.
pub async fn way_in(client: &Client, namespace: &str, name: &str) -> anyhow::Result<WayIn> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, "Gateway"));
    let gateways: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let asked = tokio::time::timeout(PATIENCE, gateways.get_opt(name));
    let Ok(found) = asked.await else { bail!("the API server did not answer in time") };
    let found = found.map_err(|error| {
        anyhow!("the API server does not tell of the Gateway {namespace}/{name}: {}", words(&error))
    })?;
    let Some(found) = found else {
        let kinds =
            tokio::time::timeout(PATIENCE, client.list_api_group_resources(&format!("{GROUP}/{VERSION}")))
                .await;
        if !matches!(kinds, Ok(Ok(_))) {
            bail!("the cluster has no Gateway API ({GROUP}/{VERSION}): install its CRDs and a controller");
        }
        bail!("there is no Gateway {name} in namespace {namespace}: create it, or correct ingress.gateway");
    };
    Ok(serde_json::from_value(found.data)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn gateway(listener: &Value, programmed: &str) -> WayIn {
        let conditions = json!([{"type": "Programmed", "status": programmed, "message": "no address yet"}]);
        serde_json::from_value(json!({
            "spec": {"gatewayClassName": "any", "listeners": [listener]},
            "status": {"conditions": conditions, "addresses": [{"type": "IPAddress", "value": "192.0.2.1"}]},
        }))
        .expect("a Gateway")
    }

    fn admits(hostname: Option<&str>, from: &str) -> bool {
        let listener = json!({
            "name": "web", "protocol": "HTTP", "port": 80, "hostname": hostname, "allowedRoutes": {"namespaces": {"from": from}},
        });
        gateway(&listener, "True").listeners("apps.example.org", None).is_ok()
    }

    #[test]
    fn a_listener_admits_tenants_hosts_or_the_remedy_is_told() {
        assert!(admits(None, "All"));
        assert!(admits(Some("*.apps.example.org"), "All"));
        assert!(admits(Some("*.example.org"), "Selector"));
        assert!(!admits(Some("apps.example.org"), "All"));
        assert!(!admits(Some("*.maps.example.org"), "All"));
        assert!(!admits(Some("*.ple.org"), "All"));
        assert!(!admits(None, "Same"));
        let same = gateway(&json!({"name": "web", "protocol": "HTTP", "port": 80}), "True");
        let error = same
            .listeners("apps.example.org", None)
            .expect_err("routes of its own namespace only")
            .to_string();
        assert!(error.contains("allowedRoutes.namespaces.from: All"), "{error}");
    }

    #[test]
    fn a_gateway_that_is_not_up_and_a_listener_that_is_not_there_are_told() {
        let listener = json!({"name": "web", "protocol": "HTTPS", "port": 443, "allowedRoutes": {"namespaces": {"from": "All"}}});
        let down =
            gateway(&listener, "False").listeners("a.example", None).expect_err("it is down").to_string();
        assert!(down.contains("no address yet"), "{down}");
        let up = gateway(&listener, "True");
        assert!(up.listeners("a.example", Some("web")).expect("it is there")[0].is_https());
        let error = up.listeners("a.example", Some("other")).expect_err("it is not there").to_string();
        assert!(error.starts_with("its listener other does not admit"), "{error}");
        assert_eq!(up.addresses(), ["192.0.2.1"]);
    }
}
