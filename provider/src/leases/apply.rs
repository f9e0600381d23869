//! Makes the cluster hold the objects of a lease, and takes away what it should not hold any more.
//!
//! Objects are applied by server-side apply under one field manager, in the order in which they are given. Only what carries
//! the lease's label is ever deleted, each object by the UID it was seen with, and only after a complete and successful look.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions,
    PropagationPolicy,
};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt};
use manifests::objects::{Object, PROVIDER_BINDING};

use super::volumes::{InTheWay, Obstacles, There, key};

/// The one field manager under which everything of ours is applied.
pub const FIELD_MANAGER: &str = "berth-provider";

/// How long one call to the API server may take.
const CALL: Duration = Duration::from_secs(15);

/// How long something that was taken away may take to be gone; after that the next turn goes on.
const GOING: Duration = Duration::from_secs(3);

/// How long a quota that has just grown may take to let claims grow: the API server notes its new limits by and by.
const QUOTA_NOTED: Duration = Duration::from_secs(3);

/// How long a binding that was just made may take to count: the API server notes it by and by.
const RIGHTS_NOTED: Duration = Duration::from_secs(5);

/// Between two looks at what is awaited.
const GLANCE: Duration = Duration::from_millis(100);

/// The kinds in which an older manifest may have left something, in the order in which it is taken away: first the ways in.
const KINDS: [(&str, &str, &str); 10] = [
    ("gateway.networking.k8s.io", "v1", "HTTPRoute"),
    ("", "v1", "Service"),
    ("apps", "v1", "Deployment"),
    ("apps", "v1", "StatefulSet"),
    ("", "v1", "PersistentVolumeClaim"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding"),
    ("rbac.authorization.k8s.io", "v1", "Role"),
    ("", "v1", "ServiceAccount"),
    ("", "v1", "Secret"),
    ("networking.k8s.io", "v1", "NetworkPolicy"),
];

/// Talks to the API server about the objects of leases.
#[derive(Clone)]
pub struct Applier {
    client: Client,
}

impl Applier {
    /// An applier that acts through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Applies the objects in order, without those that wait for what the cluster gives to the others. What is in the way of
    /// one is taken away right before it.
    ///
    /// # Errors
    /// The first refusal, naming the object. Nothing after it was applied; what came before stays. The API server's own
    /// words are in it, and they may repeat parts of the object.
    pub async fn apply(&self, objects: &[Object], obstacles: &Obstacles) -> anyhow::Result<()> {
        let binds = objects.iter().any(|object| object.name == PROVIDER_BINDING);
        for object in objects.iter().filter(|object| !object.waits) {
            if let Some(obstacle) = obstacles.get(&key(object)) {
                self.take_away(object, obstacle).await?;
            }
            let start = Instant::now();
            let mut applied = self.apply_one(object).await;
            while let Err(error) = &applied
                && start.elapsed() < patience_with(error, object, binds)
            {
                tokio::time::sleep(GLANCE).await;
                applied = self.apply_one(object).await;
            }
            applied.with_context(|| format!("failed to apply {object:?}"))?;
        }
        Ok(())
    }

    async fn apply_one(&self, object: &Object) -> kube::Result<()> {
        let params = PatchParams::apply(FIELD_MANAGER).force();
        // Only whether it was taken is of interest, so nothing of the answer is read that may hold a secret.
        let (api, patch) = (api_of(&self.client, object), Patch::Apply(&object.body));
        timely(api.patch_metadata(&object.name, &params, &patch)).await.map(|_| ())
    }

    /// Deletes what has the object's kind and name, and waits until it is gone.
    async fn take_away(&self, object: &Object, obstacle: &InTheWay) -> anyhow::Result<()> {
        let InTheWay { uid, resource_version, keep_pods } = obstacle;
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: uid.clone(),
                resource_version: resource_version.clone(),
            }),
            propagation_policy: Some(match keep_pods {
                true => PropagationPolicy::Orphan,
                false => PropagationPolicy::Background,
            }),
            ..DeleteParams::default()
        };
        let api = api_of(&self.client, object);
        let deleted = timely(api.delete(&object.name, &params)).await;
        forgive_absence(deleted).with_context(|| format!("failed to make way for {object:?}"))?;
        let deadline = Instant::now() + GOING;
        loop {
            let there = timely(api.get_metadata_opt(&object.name)).await;
            let there =
                there.with_context(|| format!("failed to look whether way is made for {object:?}"))?;
            if there.is_none_or(|there| there.metadata.uid != *uid) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{object:?} is replaced, and the one before is not gone yet");
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// What of a lease's persistent volumes the namespace holds under `selector`.
    ///
    /// # Errors
    /// When a list fails.
    pub async fn volumes(&self, namespace: &str, selector: &str) -> anyhow::Result<There> {
        let params = ListParams::default().labels(selector);
        let sets: Api<StatefulSet> = Api::namespaced(self.client.clone(), namespace);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let sets = timely(sets.list(&params)).await;
        let sets = sets.with_context(|| format!("failed to list StatefulSets in {namespace}"))?.items;
        let claims = timely(claims.list(&params)).await;
        let claims = claims.with_context(|| format!("failed to list claims in {namespace}"))?.items;
        Ok(There { sets, claims })
    }

    /// Deletes what the namespace still holds under `selector` besides the objects given, and calls `deleted` with the kind of
    /// each. Nothing is deleted unless every kind could be listed.
    ///
    /// # Errors
    /// When a list or a deletion fails.
    pub async fn prune(
        &self,
        namespace: &str,
        selector: &str,
        keep: &[Object],
        deleted: impl Fn(&str),
    ) -> anyhow::Result<()> {
        let keep: BTreeSet<(&str, &str)> =
            keep.iter().map(|object| (object.kind.as_str(), object.name.as_str())).collect();
        let mut leftovers = Vec::new();
        for (group, version, kind) in KINDS {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
            let list = match timely(api.list_metadata(&ListParams::default().labels(selector))).await {
                Ok(list) => list,
                // A cluster without this kind holds none of it.
                Err(kube::Error::Api(status)) if status.code == 404 => continue,
                Err(error) => {
                    return Err(error).with_context(|| format!("failed to list {kind} in {namespace}"));
                }
            };
            for object in list.items {
                let gone = object.metadata.deletion_timestamp.is_some();
                if !gone && !keep.contains(&(kind, object.name_any().as_str())) {
                    leftovers.push((api.clone(), kind, object.name_any(), object.uid()));
                }
            }
        }
        for (api, kind, name, uid) in leftovers {
            let result = timely(api.delete(&name, &only(uid))).await;
            let was_there = forgive_absence(result)
                .with_context(|| format!("failed to delete {kind} {namespace}/{name}"))?;
            if was_there {
                deleted(kind);
            }
        }
        Ok(())
    }

    /// Deletes a namespace of a lease, if it still is the one that was seen.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete_namespace(&self, namespace: &Namespace) -> anyhow::Result<bool> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let name = namespace.name_any();
        let result = timely(api.delete(&name, &only(namespace.uid()))).await;
        forgive_absence(result).with_context(|| format!("failed to delete namespace {name}"))
    }

    /// The namespace as it is now, asked for directly.
    ///
    /// # Errors
    /// When the API server does not answer; that it is not there is an answer.
    pub async fn namespace(&self, name: &str) -> anyhow::Result<Option<Namespace>> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        timely(api.get_opt(name)).await.with_context(|| format!("failed to read namespace {name}"))
    }
}

/// Where objects of this one's kind and namespace are.
pub fn api_of(client: &Client, object: &Object) -> Api<DynamicObject> {
    let (group, version) = object.api_version.split_once('/').unwrap_or(("", &object.api_version));
    let resource = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: object.api_version.clone(),
        kind: object.kind.clone(),
        plural: object.plural.clone(),
    };
    match &object.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

async fn timely<T>(call: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    match tokio::time::timeout(CALL, call).await {
        Ok(result) => result,
        Err(_) => Err(kube::Error::Service(
            format!("the API server did not answer within {} s", CALL.as_secs()).into(),
        )),
    }
}

/// How long something is tried again that the API server refused this way. `binds` says that we have just given ourselves the
/// right to it.
fn patience_with(error: &kube::Error, object: &Object, binds: bool) -> Duration {
    let is_forbidden = matches!(error, kube::Error::Api(status) if status.code == 403);
    match is_above_quota(error) {
        true if object.kind == "PersistentVolumeClaim" => QUOTA_NOTED,
        false if is_forbidden && binds => RIGHTS_NOTED,
        _ => Duration::ZERO,
    }
}

/// Whether the API server refused something because the namespace's quota has no room for it.
pub fn is_above_quota(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403 && status.message.contains("exceeded quota"))
}

/// Whether something was deleted; that it was gone or was replaced meanwhile is fine.
fn forgive_absence<T>(result: kube::Result<T>) -> kube::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
        Err(error) => Err(error),
    }
}

fn only(uid: Option<String>) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions { uid, resource_version: None }),
        ..DeleteParams::background()
    }
}
