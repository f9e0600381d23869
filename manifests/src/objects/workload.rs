//! What runs a service: a Deployment for each [share](super::placement) of its replicas, or a StatefulSet where they have
//! persistent volumes.

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment,
    RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy,
    StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::extension::Strategy;
use crate::manifest::Service;
use crate::objects::environment::Environments;
use crate::objects::placement::Share;
use crate::objects::{Frame, Object, Part, RenderError, labels, pod, unsupported};

/// How many earlier revisions are kept: one, to compare with.
const REVISIONS: i32 = 1;

/// The objects that run a service, claims first.
pub(super) fn objects(
    frame: &Frame<'_>,
    part: &Part<'_>,
    environments: &Environments,
) -> Result<Vec<Object>, RenderError> {
    let shares = part.nodes.shares();
    if !part.is_stateful() {
        let mut names = Some(part.service.name.clone()).into_iter();
        let deployment = |(share, strategy): (&Share<'_>, DeploymentStrategy)| {
            let name = names.next().unwrap_or_else(|| share_name(part.service, share));
            let template = pod::template(frame, part, share, environments)?;
            let replicas = count(part.service, share.replicas())?;
            let deployment = deployment(frame, part.service, name, replicas, strategy, template);
            Ok(Object { waits: environments.waits, ..Object::new(&deployment) })
        };
        return shares.iter().zip(giving_way(part.service, shares.len())).map(deployment).collect();
    }
    // Its volumes go by its name and by its replicas' numbers.
    let [share] = &shares[..] else {
        let what = "its replicas have persistent volumes, and its nodes have different numbers of them";
        return Err(unsupported(part.service, what));
    };
    stateful(frame, part, share, environments)
}

fn count(service: &Service, replicas: u32) -> Result<i32, RenderError> {
    i32::try_from(replicas).map_err(|_| unsupported(service, format!("{replicas} replicas are too many")))
}

/// The name of what runs a share that is not the largest.
fn share_name(service: &Service, share: &Share<'_>) -> String {
    labels::second_name(&service.name, &format!("by-{}", share.each))
}

fn stateful(
    frame: &Frame<'_>,
    part: &Part<'_>,
    share: &Share<'_>,
    environments: &Environments,
) -> Result<Vec<Object>, RenderError> {
    let service = part.service;
    let set = set_name(service);
    let claims = &part.volumes.claims;
    let mut objects: Vec<Object> = claims
        .iter()
        .flat_map(|claim| claim.of_replicas(frame, service, &set))
        .map(|claim| Object::new(&claim))
        .collect();
    let set = StatefulSet {
        metadata: frame.metadata_of(service, set),
        spec: Some(StatefulSetSpec {
            replicas: Some(count(service, share.replicas())?),
            revision_history_limit: Some(REVISIONS),
            selector: selector(frame, service),
            // No replica waits for another one.
            pod_management_policy: Some("Parallel".to_owned()),
            // Claims are objects of the lease and go with it.
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some("Retain".to_owned()),
                when_scaled: Some("Retain".to_owned()),
            }),
            update_strategy: Some(one_by_one(service)?),
            volume_claim_templates: Some(claims.iter().map(super::storage::Claim::template).collect()),
            template: pod::template(frame, part, share, environments)?,
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    };
    objects.push(Object { waits: environments.waits, ..Object::new(&set) });
    Ok(objects)
}

/// A StatefulSet's name is in its pods' names and in a label with eleven more characters.
fn set_name(service: &Service) -> String {
    const LONGEST: usize = 52;
    labels::cut(&service.name, LONGEST)
}

fn deployment(
    frame: &Frame<'_>,
    service: &Service,
    name: String,
    replicas: i32,
    strategy: DeploymentStrategy,
    template: PodTemplateSpec,
) -> Deployment {
    Deployment {
        metadata: frame.metadata_of(service, name),
        spec: Some(DeploymentSpec {
            replicas: Some(replicas),
            revision_history_limit: Some(REVISIONS),
            selector: selector(frame, service),
            strategy: Some(strategy),
            template,
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn strategy(service: &Service) -> Option<Strategy> {
    service.x_berth.as_ref().and_then(|extension| extension.strategy)
}

/// How the replicas of each of so many Deployments of a service give way to newer ones. None is ever added above the count: the
/// nodes have room for those that were bought, and what looks free there may be promised to others. The number that may be
/// missing is divided among the Deployments, at least one each, or nothing would ever be replaced.
fn giving_way(service: &Service, deployments: usize) -> impl Iterator<Item = DeploymentStrategy> {
    let strategy = strategy(service);
    let deployments = u32::try_from(deployments).unwrap_or(u32::MAX);
    (0..deployments).map(move |place| {
        let missing = match strategy {
            Some(Strategy::Recreate) => {
                return DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None };
            }
            Some(Strategy::RollingUpdate { max_surge: _, max_unavailable }) => max_unavailable.get(),
            None => 1,
        };
        let of_this = missing / deployments + u32::from(place < missing % deployments);
        let number = |number: u32| Some(IntOrString::Int(i32::try_from(number).unwrap_or(i32::MAX)));
        DeploymentStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(RollingUpdateDeployment {
                max_surge: number(0),
                max_unavailable: number(of_this.max(1)),
            }),
        }
    })
}

/// What its tenant should know of how a service is updated, where that is not what the manifest says.
pub(super) fn notes(part: &Part<'_>) -> Vec<String> {
    let name = &part.service.name;
    let shares = if part.is_stateful() { 1 } else { part.nodes.shares().len() };
    let mut notes = Vec::new();
    match strategy(part.service) {
        Some(Strategy::Recreate) if shares > 1 => notes.push(format!(
            "{name}: its nodes have {shares} different numbers of its replicas, and an update stops those of each number before \
             it starts newer ones there, not all of them before the first"
        )),
        Some(Strategy::RollingUpdate { max_surge, max_unavailable }) => {
            let missing = max_unavailable.get().max(u32::try_from(shares).unwrap_or(u32::MAX));
            if max_surge.get() > 0 || missing > max_unavailable.get() {
                notes.push(format!(
                    "{name}: an update adds no replica, since its nodes have room for those that were bought; up to {missing} may be \
                     missing while it goes on"
                ));
            }
        }
        Some(Strategy::Recreate) | None => {}
    }
    notes
}

/// The same for replicas that have volumes: one stops before its successor starts, because both cannot have them.
fn one_by_one(service: &Service) -> Result<StatefulSetUpdateStrategy, RenderError> {
    if strategy(service) == Some(Strategy::Recreate) && service.count > 1 {
        let what = "several replicas with persistent volumes cannot all be stopped before one is started: use strategy \
                    RollingUpdate";
        return Err(unsupported(service, what));
    }
    let missing = match strategy(service) {
        Some(Strategy::RollingUpdate { max_unavailable, .. }) => max_unavailable.get(),
        Some(Strategy::Recreate) | None => 1,
    };
    Ok(StatefulSetUpdateStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateStatefulSetStrategy {
            partition: Some(0),
            max_unavailable: (missing > 1)
                .then(|| IntOrString::Int(i32::try_from(missing).unwrap_or(i32::MAX))),
        }),
    })
}

fn selector(frame: &Frame<'_>, service: &Service) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels::selector(&frame.short_id, &service.name)),
        ..LabelSelector::default()
    }
}
