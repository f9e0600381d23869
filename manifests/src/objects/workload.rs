//! What runs a service: a Deployment, or a StatefulSet where its replicas have persistent volumes.

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment,
    RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy,
    StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::manifest::Service;
use crate::objects::{Frame, Object, Part, RenderError, labels, unsupported};

/// How many earlier revisions are kept: one, to compare with.
const REVISIONS: i32 = 1;

/// The objects that run a service with these pods, claims first.
pub(super) fn objects(
    frame: &Frame<'_>,
    part: &Part<'_>,
    template: PodTemplateSpec,
) -> Result<Vec<Object>, RenderError> {
    let service = part.service;
    let replicas = i32::try_from(service.count)
        .map_err(|_| unsupported(service, format!("{} replicas are too many", service.count)))?;
    if !part.is_stateful() {
        return Ok(vec![Object::new(&deployment(frame, service, replicas, template))]);
    }
    let set = set_name(service);
    let claims = &part.volumes.claims;
    let mut objects: Vec<Object> = claims
        .iter()
        .flat_map(|claim| claim.of_replicas(frame, service, &set))
        .map(|claim| Object::new(&claim))
        .collect();
    objects.push(Object::new(&StatefulSet {
        metadata: frame.metadata_of(service, set),
        spec: Some(StatefulSetSpec {
            replicas: Some(replicas),
            revision_history_limit: Some(REVISIONS),
            selector: selector(frame, service),
            // No replica waits for another one.
            pod_management_policy: Some("Parallel".to_owned()),
            // Claims are objects of the lease and go with it.
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some("Retain".to_owned()),
                when_scaled: Some("Retain".to_owned()),
            }),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateStatefulSetStrategy {
                    partition: Some(0),
                    ..RollingUpdateStatefulSetStrategy::default()
                }),
            }),
            volume_claim_templates: Some(claims.iter().map(super::storage::Claim::template).collect()),
            template,
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }));
    Ok(objects)
}

/// A StatefulSet's name is in its pods' names and in a label with eleven more characters.
fn set_name(service: &Service) -> String {
    const LONGEST: usize = 52;
    labels::cut(&service.name, LONGEST)
}

fn deployment(frame: &Frame<'_>, service: &Service, replicas: i32, template: PodTemplateSpec) -> Deployment {
    Deployment {
        metadata: frame.metadata_of(service, service.name.as_str()),
        spec: Some(DeploymentSpec {
            replicas: Some(replicas),
            revision_history_limit: Some(REVISIONS),
            selector: selector(frame, service),
            // The nodes have room for the replicas that were bought and for no other.
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(0)),
                    max_unavailable: Some(IntOrString::Int(1)),
                }),
            }),
            template,
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn selector(frame: &Frame<'_>, service: &Service) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels::selector(&frame.short_id, &service.name)),
        ..LabelSelector::default()
    }
}
