//! The lease's namespace.

use k8s_openapi::api::core::v1::Namespace;

use crate::objects::Frame;

/// The namespace. Pods that need more than the `baseline` profile of Pod Security are refused there.
pub(super) fn namespace(frame: &Frame<'_>) -> Namespace {
    let mut metadata = frame.metadata(frame.namespace.as_str());
    metadata.namespace = None;
    let labels = metadata.labels.get_or_insert_default();
    for (mode, profile) in [("enforce", "baseline"), ("warn", "restricted")] {
        labels.insert(format!("pod-security.kubernetes.io/{mode}"), profile.to_owned());
        labels.insert(format!("pod-security.kubernetes.io/{mode}-version"), "latest".to_owned());
    }
    Namespace { metadata, ..Namespace::default() }
}
