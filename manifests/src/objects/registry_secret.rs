//! The login of a service's private registry, where the kubelet looks for it.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use crate::manifest::Service;
use crate::objects::Frame;

/// The Secret of a service that has credentials.
pub(super) fn secret(frame: &Frame<'_>, service: &Service) -> Option<Secret> {
    let login = service.credentials.as_ref()?;
    let mut entry = json!({ "username": login.username, "password": login.password });
    if !login.email.is_empty() {
        entry["email"] = json!(login.email);
    }
    let config = json!({ "auths": { login.host.trim(): entry } });
    Some(Secret {
        metadata: frame.metadata_of(service, name(service)),
        type_: Some("kubernetes.io/dockerconfigjson".to_owned()),
        data: Some(BTreeMap::from([(
            ".dockerconfigjson".to_owned(),
            ByteString(config.to_string().into_bytes()),
        )])),
        ..Secret::default()
    })
}

/// What the Secret is called.
pub(super) fn name(service: &Service) -> String {
    format!("{}.registry", service.name)
}
