//! What the API server makes of the chart: it takes every object, and it refuses what daemon and agents must not do, whatever
//! rights they come to have. Proved by attempts.

#![expect(clippy::print_stdout, reason = "the counts are what a reader of the test run looks for")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::access::Access;
use e2e::addresses::NODE_NAME;
use e2e::schemas::{judge, write};
use e2e::{chart, cluster, kubectl, wait};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Secret};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use provider::inventory::rights;
use serde_json::{Value, json};
use tokio::process::Command;

/// The release that is tried, in a namespace of its own.
const NAMESPACE: &str = "berth-admission";
const ACCOUNT: &str = "berth-provider";
const AGENT: &str = "berth-provider-agent";
const LEASE_ROLE: &str = "berth-provider.berth-admission.leases";
/// A namespace of a lease.
const LEASED: &str = "berth-of-the-story";

/// What of a release is there before its pods: whom it is for and what they may do.
const RIGHTS: [&str; 7] = [
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

#[tokio::test]
#[ignore = "runs on the bench: cargo e2e test admission"]
async fn the_api_server_takes_the_chart_and_refuses_what_its_accounts_must_not_do() {
    rustls::crypto::ring::default_provider().install_default().ok();
    story().await.unwrap();
}

async fn story() -> Result<()> {
    let access = Access::here()?;
    let master = cluster::client(&access.kubeconfig).await?;
    kubectl::apply(&namespace(NAMESPACE, &json!({}))).await?;
    let objects = rendered().await?;
    // Accounts are looked for when pods are judged.
    for object in objects.iter().filter(|object| RIGHTS.iter().any(|kind| object["kind"] == *kind)) {
        kubectl::apply(&object.to_string()).await?;
    }
    takes_every_object(&master, &objects).await?;
    let daemon = as_account(&access, ACCOUNT, &[]).await?;
    rights::ensure_allowed(&daemon, NAMESPACE, Some(LEASE_ROLE))
        .await
        .context("the chart gives too little")?;
    let attempts = daemon_attempts(&daemon).await? + agent_attempts(&access).await?;
    println!("admission: {attempts} attempts of daemon and agents, each taken or refused as it must be");
    leave().await
}

/// Takes away what is not the namespace's own.
async fn leave() -> Result<()> {
    let kinds =
        "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings";
    kubectl::run(&["delete", kinds, "--selector", "app.kubernetes.io/instance=berth", "--wait=false"])
        .await?;
    kubectl::run(&["delete", "clusterrolebinding", "berth-admission-too-much", "--ignore-not-found"]).await?;
    kubectl::run(&["delete", "namespace", NAMESPACE, LEASED, "--ignore-not-found", "--wait=false"]).await?;
    kubectl::run(&["uncordon", NODE_NAME]).await.map(drop)
}

fn namespace(name: &str, labels: &Value) -> String {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}).to_string()
}

/// The chart with the five values.
async fn rendered() -> Result<Vec<Value>> {
    let folder = chart::folder();
    let output = Command::new("helm")
        .args(["template", "berth", "--namespace", NAMESPACE, "--values"])
        .arg(folder.join("ci/five-values.yaml"))
        .arg(&folder)
        .output()
        .await
        .context("failed to start helm")?;
    ensure!(output.status.success(), "helm says {}", String::from_utf8_lossy(&output.stderr));
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_slice(&output.stdout) {
        let object: Value = serde::Deserialize::deserialize(document)?;
        if !object.is_null() {
            objects.push(object);
        }
    }
    Ok(objects)
}

/// By its schemas, and by itself: expressions of policies are compiled, too.
async fn takes_every_object(master: &Client, objects: &[Value]) -> Result<()> {
    let schemas = tempfile::tempdir()?;
    let kinds = write(master, schemas.path()).await?;
    let (valid, wrong) = judge(schemas.path(), objects).await?;
    ensure!(wrong.is_empty() && valid == objects.len(), "{} objects are wrong: {wrong:#?}", wrong.len());
    let mut broken =
        objects.iter().find(|object| object["kind"] == "DaemonSet").context("no agents")?.clone();
    broken["spec"]["template"]["spec"]["hostNetwrk"] = json!(true);
    let (valid, _) = judge(schemas.path(), [&broken]).await?;
    ensure!(valid == 0, "kubeconform takes a field that there is not");

    let folder = tempfile::tempdir()?;
    let all = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let file = folder.path().join("all.json");
    fs::write(&file, all.to_string())?;
    let file = file.to_string_lossy();
    kubectl::run(&["apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename", &file])
        .await?;
    println!(
        "admission: the {} objects of the chart follow {kinds} schemas, and the API server takes them",
        objects.len()
    );
    Ok(())
}

/// A client with a fresh token of a service account.
async fn as_account(access: &Access, account: &str, bound: &[&str]) -> Result<Client> {
    let token =
        kubectl::run(&[&["--namespace", NAMESPACE, "create", "token", account], bound].concat()).await?;
    let mut config: Value = serde_yaml::from_str(&fs::read_to_string(&access.kubeconfig)?)?;
    config["users"][0]["user"] = json!({"token": token.trim()});
    let folder = tempfile::tempdir()?;
    let path: PathBuf = folder.path().join("kubeconfig");
    fs::write(&path, serde_yaml::to_string(&config)?)?;
    cluster::client(Path::new(&path)).await
}

/// What must be refused, and by which words.
fn refused<T>(what: &str, result: kube::Result<T>, words: &str) -> Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.message.contains(words) => Ok(()),
        Err(error) => bail!("{what} is refused otherwise: {error}"),
        Ok(_) => bail!("{what} is taken"),
    }
}

async fn put<K>(api: &Api<K>, name: &str, object: Value) -> kube::Result<K>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    api.patch(name, &PatchParams::apply("berth-provider").force(), &Patch::Apply(object)).await
}

async fn merge<K>(api: &Api<K>, name: &str, change: Value) -> kube::Result<K>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await
}

fn secret(namespace: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tried", "namespace": namespace}})
}

fn binding(namespace: &str, role: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "lease.provider", "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}],
    })
}

/// Answers how many things were tried.
async fn daemon_attempts(daemon: &Client) -> Result<u32> {
    let namespaces: Api<Namespace> = Api::all(daemon.clone());
    let named = |name: &str, labels: Value| -> Value {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    };
    let lease = json!({"berth.dev/lease": "aaaaaaaaaaaaaaaa"});
    // Until the policies count: they are read by and by.
    wait::until("the policies to count", Duration::from_secs(60), async || {
        let tried = PatchParams { dry_run: true, ..PatchParams::apply("berth-provider").force() };
        let plain = named("berth-plain", json!({}));
        let answer = namespaces.patch("berth-plain", &tried, &Patch::Apply(plain)).await;
        refused("a namespace that is nobody's", answer, "makes no namespace without the label")
    })
    .await?;
    put(&namespaces, LEASED, named(LEASED, lease.clone())).await.context("a lease's namespace is refused")?;
    let change = |labels: Value| json!({"metadata": {"labels": labels}});
    refused(
        "making a stranger's namespace ours",
        merge(&namespaces, "default", change(lease.clone())).await,
        "no namespace that does not carry the label",
    )?;
    refused(
        "deleting a stranger's namespace",
        namespaces.delete(NAMESPACE, &kube::api::DeleteParams { dry_run: true, ..Default::default() }).await,
        "no namespace that does not carry the label",
    )?;
    refused(
        "giving a lease's namespace to another",
        merge(&namespaces, LEASED, change(json!({"berth.dev/lease": "bbbbbbbbbbbbbbbb"}))).await,
        "gives no namespace to another lease",
    )?;

    let bindings = |namespace: &str| -> Api<k8s_openapi::api::rbac::v1::RoleBinding> {
        Api::namespaced(daemon.clone(), namespace)
    };
    let secrets = |namespace: &str| -> Api<Secret> { Api::namespaced(daemon.clone(), namespace) };
    refused(
        "a secret before it is bound",
        put(&secrets(LEASED), "tried", secret(LEASED)).await,
        "is forbidden: User",
    )?;
    refused(
        "binding a role that is not for leases",
        put(&bindings(LEASED), "lease.provider", binding(LEASED, "cluster-admin")).await,
        "attempting to grant RBAC permissions not currently held",
    )?;
    refused(
        "binding itself in a stranger's namespace",
        put(&bindings("default"), "lease.provider", binding("default", LEASE_ROLE)).await,
        "writes in namespaces of leases alone",
    )?;
    put(&bindings(LEASED), "lease.provider", binding(LEASED, LEASE_ROLE))
        .await
        .context("the binding is refused")?;
    wait::until("the binding to count", Duration::from_secs(10), async || {
        put(&secrets(LEASED), "tried", secret(LEASED)).await.map(drop).context("not yet")
    })
    .await?;

    // Whatever its roles come to allow, the policy holds.
    let too_much = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "berth-admission-too-much"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}],
    });
    kubectl::apply(&too_much.to_string()).await?;
    wait::until("the role to count", Duration::from_secs(10), async || {
        secrets("default").list(&kube::api::ListParams::default()).await.map(drop).context("not yet")
    })
    .await?;
    let words = "writes in namespaces of leases alone";
    refused("a secret elsewhere", put(&secrets("default"), "tried", secret("default")).await, words)?;
    let maps: Api<ConfigMap> = Api::namespaced(daemon.clone(), NAMESPACE);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "tried", "namespace": NAMESPACE}});
    refused("a record at home", put(&maps, "tried", map).await, words)?;
    let roles: Api<k8s_openapi::api::rbac::v1::ClusterRole> = Api::all(daemon.clone());
    refused("more rights for itself", merge(&roles, LEASE_ROLE, json!({"rules": []})).await, words)?;
    let nodes: Api<Node> = Api::all(daemon.clone());
    let node_words = "changes nothing of a node but its label";
    refused(
        "another label of a node",
        merge(&nodes, NODE_NAME, json!({"metadata": {"labels": {"kubernetes.io/role": "x"}}})).await,
        node_words,
    )?;
    refused(
        "a taint of a node",
        merge(&nodes, NODE_NAME, json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}})).await,
        node_words,
    )?;
    refused(
        "an annotation of a node",
        merge(&nodes, NODE_NAME, json!({"metadata": {"annotations": {"a": "b"}}})).await,
        node_words,
    )?;
    merge(&nodes, NODE_NAME, json!({"metadata": {"labels": {"berth.dev/gpu": "tried"}}})).await?;
    merge(&nodes, NODE_NAME, json!({"metadata": {"labels": {"berth.dev/gpu": null}}})).await?;
    nodes.cordon(NODE_NAME).await.context("cordoning is refused")?;
    nodes.uncordon(NODE_NAME).await.context("uncordoning is refused")?;
    Ok(18)
}

/// Answers how many things were tried.
async fn agent_attempts(access: &Access) -> Result<u32> {
    let record = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": NAMESPACE}});
    let (own, other) = (format!("berth-node-{NODE_NAME}"), "berth-node-other");
    let node = ["--bound-object-kind", "Node", "--bound-object-name", NODE_NAME];
    let agent = as_account(access, AGENT, &node).await?;
    let records: Api<ConfigMap> = Api::namespaced(agent, NAMESPACE);
    wait::until("the agents' policy to count", Duration::from_secs(60), async || {
        refused(
            "another node's record",
            put(&records, other, record(other)).await,
            "record of its own node alone",
        )
    })
    .await?;
    put(&records, &own, record(&own)).await.context("its own record is refused")?;
    put(&records, &own, record(&own)).await.context("its own record is refused again")?;
    refused("any other map", put(&records, "tried", record("tried")).await, "record of its own node alone")?;
    let nowhere = as_account(access, AGENT, &[]).await?;
    let records: Api<ConfigMap> = Api::namespaced(nowhere, NAMESPACE);
    refused("a record without a node", put(&records, &own, record(&own)).await, "not in its token")?;
    refused("deleting a record", records.delete(&own, &Default::default()).await, "is forbidden: User")?;
    Ok(6)
}
