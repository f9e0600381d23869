//! The API server takes every object, and the pods that come of them, with Pod Security, quotas and limit ranges at work.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::access::Access;
use e2e::{cluster, kubectl, wait};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::api::{Patch, PatchParams, PostParams, ValidationDirective};
use kube::{Api, Client};
use manifests::objects::Object;
use provider::leases::apply::api_of;
use serde_json::{Value, json};

use crate::{Rendered, ours};

const MANAGER: &str = "berth-objects-story";
/// How many leases are looked at at once.
const AT_ONCE: usize = 8;
/// What has to be there before a pod is looked at; everything else is only tried.
const REALLY: [&str; 4] = ["Namespace", "ResourceQuota", "LimitRange", "ServiceAccount"];

/// Applies an object, or only tries to.
async fn apply(client: &Client, object: &Object, really: bool) -> Result<()> {
    let api = api_of(client, object);
    let params = PatchParams {
        dry_run: !really,
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply(MANAGER).force()
    };
    let applied = api.patch(&object.name, &params, &Patch::Apply(&object.body)).await;
    applied.map(drop).with_context(|| format!("{object:?} is not taken"))
}

/// A pod as the workload's controller makes it.
fn pod(workload: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": workload["spec"]["template"]["metadata"],
        "spec": workload["spec"]["template"]["spec"],
    });
    pod["metadata"]["name"] = json!("tried");
    let claims = workload["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten();
    let claimed = claims.map(|claim| {
        let name = &claim["metadata"]["name"];
        json!({"name": name, "persistentVolumeClaim": {"claimName": name}})
    });
    let mut volumes: Vec<Value> = pod["spec"]["volumes"].as_array().into_iter().flatten().cloned().collect();
    volumes.extend(claimed);
    pod["spec"]["volumes"] = json!(volumes);
    pod
}

async fn try_pod(client: &Client, namespace: &str, pod: &Value) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pod: Pod = serde_json::from_value(pod.clone()).context("is no pod")?;
    let params = PostParams { dry_run: true, ..PostParams::default() };
    api.create(&params, &pod).await.map(drop).context("the pod is not taken")
}

/// Tries everything of a lease; answers how many objects and pods were taken.
async fn try_lease(client: &Client, lease: &Rendered) -> Result<(usize, usize)> {
    let namespace = lease.lease.namespace();
    let is_first = |object: &&Object| REALLY.contains(&object.kind.as_str());
    for object in lease.objects.iter().filter(is_first) {
        apply(client, object, true).await?;
    }
    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), &namespace);
    wait::until("the quota to be counted", Duration::from_secs(60), async || {
        let quota = quotas.get("lease").await?;
        ensure!(quota.status.and_then(|status| status.hard).is_some(), "it is not counted yet");
        Ok(())
    })
    .await?;
    let mut pods = 0;
    for object in &lease.objects {
        if !is_first(&object) {
            apply(client, object, false).await?;
        }
        if matches!(object.kind.as_str(), "Deployment" | "StatefulSet") {
            try_pod(client, &namespace, &pod(&object.body)).await.with_context(|| format!("{object:?}"))?;
            pods += 1;
        }
    }
    Ok((lease.objects.len(), pods))
}

/// What has to be refused inside a lease's namespace, and the words that say by whom.
async fn hostile_pods_are_refused(client: &Client, lease: &Rendered) -> Result<usize> {
    let workload =
        lease.objects.iter().find(|object| object.kind == "Deployment").context("no Deployment")?;
    let hostile: [(&str, &str, Value); 7] = [
        ("PodSecurity", "/spec/hostNetwork", json!(true)),
        ("PodSecurity", "/spec/hostPID", json!(true)),
        ("PodSecurity", "/spec/containers/0/securityContext/privileged", json!(true)),
        ("PodSecurity", "/spec/containers/0/securityContext/capabilities/add", json!(["SYS_ADMIN"])),
        ("PodSecurity", "/spec/securityContext/seccompProfile/type", json!("Unconfined")),
        ("maximum memory usage per Container", "/spec/containers/0/resources/limits/memory", json!("1Ti")),
        (
            "exceeded quota",
            "/spec/containers/0/resources/limits",
            json!({
                "cpu": "100m", "memory": "128Mi", "ephemeral-storage": "100Mi", "nvidia.com/gpu": "1",
            }),
        ),
    ];
    for (words, place, value) in &hostile {
        let mut pod = pod(&workload.body);
        // The API server itself keeps such pods from the node's networks; here somebody else has to.
        pod["spec"]["hostUsers"] = json!(true);
        if *words == "PodSecurity" && place.ends_with("privileged") {
            pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
        }
        if *words == "exceeded quota" {
            pod["spec"]["containers"][0]["resources"]["requests"] = value.clone();
        }
        *pod.pointer_mut(place).with_context(|| format!("there is no {place}"))? = value.clone();
        match try_pod(client, &lease.lease.namespace(), &pod).await {
            Ok(()) => bail!("a pod with {place} = {value} is taken"),
            Err(error) => ensure!(format!("{error:#}").contains(words), "{place}: {error:#}"),
        }
    }
    Ok(hostile.len())
}

#[tokio::test]
#[ignore = "runs on the bench: cargo e2e test objects"]
async fn the_api_server_takes_every_object_and_every_pod() {
    rustls::crypto::ring::default_provider().install_default().ok();
    takes().await.unwrap();
}

async fn takes() -> Result<()> {
    let access = Access::here()?;
    let client = cluster::client(&access.kubeconfig).await?;
    kubectl::apply(
        "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: nvidia}\nhandler: nvidia\n",
    )
    .await?;
    let ours = ours()?;
    let tried: Vec<(usize, usize)> = futures::stream::iter(&ours)
        .map(|lease| {
            let client = &client;
            async move { try_lease(client, lease).await.with_context(|| lease.name.clone()) }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let web =
        ours.iter().find(|lease| lease.name.starts_with("web.sdl")).context("the document web is gone")?;
    let refused = hostile_pods_are_refused(&client, web).await?;
    let (objects, pods) = tried.iter().fold((0, 0), |sum, tried| (sum.0 + tried.0, sum.1 + tried.1));
    kubectl::run(&["delete", "namespaces", "--selector", "berth.dev/lease", "--wait=false"]).await?;
    kubectl::run(&["delete", "runtimeclass", "nvidia"]).await?;
    println!(
        "server-side dry run: {objects} objects of {} leases and {pods} pods are taken under Pod Security, quota and limits; \
         {refused} hostile pods are refused",
        tried.len()
    );
    Ok(())
}
