//! A provider as operators run it: a release of the chart, inside the cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use manifests::order::OrderId;
use serde_json::{Value, json};
use tokio::process::Command;

use super::provider::PRICES;
use super::world::World;
use crate::access::Access;
use crate::addresses::{NODE, NODE_NAME};
use crate::volumes::STORAGE_CLASS;
use crate::wait::until;
use crate::{chart, cluster, kubectl, product, registry, workspace};

/// Under which port of the node tenants reach the daemon's gateway.
pub const GATEWAY_PORT: u16 = 30443;
/// What the chart calls the daemon's Deployment in a release of this name.
pub const NAME: &str = "berth-provider";

const RELEASE: &str = "berth";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The fake NVML, where the chart is told to look for the driver's.
const LIBRARY: &str = "libfake_nvml.so";
const WALLET: &str = "berth-wallet";
const TLS: &str = "berth-tls";
/// Folders of the node that claims of releases are bound to; inside a bench they are the bench's own.
const VOLUMES: &str = "/var/lib/berth-operators";
/// The label of namespaces that stories install releases into.
const MARK: &str = "story";
const PATIENCE: Duration = Duration::from_secs(90);

/// A release of the chart, with the values that it is installed with.
pub struct Release {
    /// Its namespace.
    pub namespace: String,
    /// All that is told to Helm.
    pub values: Value,
    folder: PathBuf,
    kubeconfig: PathBuf,
}

/// Puts the product's image, made from the programs beside this one, where the bench's nodes pull images from; `tag` is the
/// version that it claims. Answers its digest.
///
/// # Errors
/// When it cannot be made, or the registry does not take it.
pub async fn push_image(tag: &str) -> Result<String> {
    let image = product::assemble_unoptimised(&workspace::binaries()?)?;
    registry::push(product::NAME, tag, &image).await?;
    Ok(image.manifest().digest)
}

/// Takes away every release that a story left behind.
pub(super) async fn clear() -> Result<()> {
    let marked = format!("{MARK}=release");
    kubectl::run(&["delete", "namespaces,persistentvolumes", "--selector", &marked, "--wait"]).await?;
    let kinds = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings,\
                 priorityclasses";
    let selector = format!("app.kubernetes.io/instance={RELEASE}");
    kubectl::run(&["delete", kinds, "--selector", &selector]).await?;
    match fs::remove_dir_all(VOLUMES) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {VOLUMES}"))
        }
        _ => Ok(()),
    }
}

/// Where tenants reach the gateway of a release: what a world has to tell the registry.
///
/// # Errors
/// When the node has no address.
pub fn way_to_gateway(access: &mut Access) -> Result<()> {
    access.gateway = format!("{NODE}:{GATEWAY_PORT}").parse().context("the node has no address")?;
    Ok(())
}

impl Release {
    /// Makes everything that an operator has before installing: a namespace, secrets with the keys, a volume, a driver. The image
    /// is pushed.
    ///
    /// # Errors
    /// When the cluster does not take an object, or the image cannot be made.
    pub async fn prepare(world: &World, namespace: &str) -> Result<Self> {
        let digest = push_image(VERSION).await?;
        let folder = world.folder.join(namespace);
        fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        let metadata = json!({"name": namespace, "labels": {MARK: "release"}});
        kubectl::apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}).to_string())
            .await?;
        kubectl::apply(&volume(namespace)?.to_string()).await?;
        let release = Self {
            namespace: namespace.to_owned(),
            values: values(world, namespace, &digest)?,
            folder,
            kubeconfig: world.access.kubeconfig.clone(),
        };
        release.give_secrets(world).await?;
        Ok(release)
    }

    /// The folder of the node that the daemon's claim is bound to.
    #[must_use]
    pub fn volume(&self) -> PathBuf {
        volume_folder(&self.namespace)
    }

    async fn give_secrets(&self, world: &World) -> Result<()> {
        let text = |path: &PathBuf| {
            fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
        };
        let operator = &world.accounts.operator;
        let secrets = [
            (
                WALLET,
                json!({
                    "operator.json": text(&operator.keystore)?,
                    "operator.password": text(&operator.password_file)?,
                    "provider": world.accounts.owner.address.to_string(),
                }),
            ),
            (TLS, json!({"tls.key": text(&world.folder.join("tls/tls.key"))?})),
        ];
        for (name, data) in secrets {
            let metadata = json!({"name": name, "namespace": self.namespace});
            let secret =
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data});
            kubectl::apply(&secret.to_string()).await?;
        }
        Ok(())
    }

    /// Installs the chart, preflight and all, and answers how long it took until the daemon was Ready.
    ///
    /// # Errors
    /// With Helm's words and what the pods say, when it does not come up.
    pub async fn install(&self) -> Result<Duration> {
        let start = Instant::now();
        let installed = self.helm_with_values("install", &["--wait", "--timeout", "120s"]);
        let ready = async {
            self.ready().await?;
            Ok(start.elapsed())
        };
        let outcome = tokio::try_join!(installed, ready).map(|(_, ready)| ready);
        self.explained(outcome).await
    }

    /// Installs the chart and does not wait.
    ///
    /// # Errors
    /// When Helm or the cluster does not take it.
    pub async fn install_without_waiting(&self) -> Result<()> {
        self.helm_with_values("install", &["--no-hooks"]).await.map(drop)
    }

    /// Gives the release its present values, and waits until they are in force.
    ///
    /// # Errors
    /// As [`Release::install`].
    pub async fn upgrade(&self) -> Result<()> {
        let outcome = self.helm_with_values("upgrade", &["--wait", "--timeout", "120s"]).await;
        self.explained(outcome).await.map(drop)
    }

    /// Gives the release its present values and does not wait.
    ///
    /// # Errors
    /// When Helm or the cluster does not take them.
    pub async fn upgrade_without_waiting(&self) -> Result<()> {
        self.helm_with_values("upgrade", &["--no-hooks"]).await.map(drop)
    }

    /// Runs the chart's own tests and answers what they said.
    ///
    /// # Errors
    /// When one fails.
    pub async fn test(&self) -> Result<String> {
        let outcome = self.helm(&["test", RELEASE, "--logs", "--timeout", "120s"]).await;
        self.explained(outcome).await
    }

    /// Takes the release away.
    ///
    /// # Errors
    /// When Helm fails.
    pub async fn uninstall(&self) -> Result<()> {
        self.helm(&["uninstall", RELEASE, "--wait", "--timeout", "120s"]).await.map(drop)
    }

    /// What Helm says when it is asked to install the release and is expected to fail.
    ///
    /// # Errors
    /// When it succeeds.
    pub async fn refusal(&self) -> Result<String> {
        match self.helm_with_values("install", &["--wait", "--timeout", "60s"]).await {
            Ok(_) => bail!("the chart was installed"),
            Err(error) => Ok(format!("{error:#}")),
        }
    }

    /// Waits until the daemon is Ready, and no pod of an earlier one is left.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn ready(&self) -> Result<()> {
        until("the daemon to be Ready", PATIENCE, async || self.is_ready().await).await
    }

    /// An error while the daemon is not Ready.
    ///
    /// # Errors
    /// With what Kubernetes says of it.
    pub async fn is_ready(&self) -> Result<()> {
        let pod = self.daemon().await?;
        let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
        let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
        let ready = ready.context("it has no conditions yet")?;
        ensure!(ready.status == "True", "{}", ready.message.unwrap_or_default());
        Ok(())
    }

    /// The daemon's pod.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub async fn daemon(&self) -> Result<Pod> {
        let mut pods = self.pods("daemon").await?;
        ensure!(pods.len() == 1, "there are {} pods of the daemon", pods.len());
        pods.pop().context("it was counted")
    }

    /// The pods of one component of the release, `daemon` or `agent`.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn pods(&self, component: &str) -> Result<Vec<Pod>> {
        let client = cluster::client(&self.kubeconfig).await?;
        let selector =
            format!("app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component={component}");
        let pods: Api<Pod> = Api::namespaced(client, &self.namespace);
        Ok(pods.list(&ListParams::default().labels(&selector)).await?.items)
    }

    /// What a verb of the operator's says, asked inside the daemon's pod.
    ///
    /// # Errors
    /// When it ends with an error.
    pub async fn ask(&self, arguments: &[&str]) -> Result<String> {
        let deployment = format!("deployment/{NAME}");
        let mut all = vec![
            "exec",
            "--namespace",
            &self.namespace,
            "--container",
            "daemon",
            &deployment,
            "--",
            "berth-provider",
        ];
        all.extend(arguments);
        kubectl::run(&all).await
    }

    /// What `explain` says about an order.
    ///
    /// # Errors
    /// As [`Release::ask`].
    pub async fn explain(&self, order: OrderId) -> Result<String> {
        self.ask(&["explain", &order.to_string()]).await
    }

    /// All metrics of the daemon, as Prometheus would read them.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<String> {
        let address = self.daemon().await?.status.and_then(|status| status.pod_ip);
        let url = format!("http://{}:9090/metrics", address.context("the daemon's pod has no address")?);
        let answer = reqwest::get(url).await.context("no metrics")?;
        Ok(answer.text().await?)
    }

    /// What the daemon has logged since it was started.
    ///
    /// # Errors
    /// When there is no pod.
    pub async fn log(&self) -> Result<String> {
        kubectl::run(&["logs", "--namespace", &self.namespace, &format!("deployment/{NAME}")]).await
    }

    async fn helm_with_values(&self, verb: &str, more: &[&str]) -> Result<String> {
        let values = self.folder.join("values.json");
        fs::write(&values, self.values.to_string())
            .with_context(|| format!("failed to write {}", values.display()))?;
        let (chart, values) = (chart::folder(), values.to_string_lossy().into_owned());
        let chart = chart.to_str().context("the checkout's path is no text")?;
        let mut arguments = vec![verb, RELEASE, chart, "--values", &values];
        arguments.extend(more);
        self.helm(&arguments).await
    }

    async fn helm(&self, arguments: &[&str]) -> Result<String> {
        let mut helm = Command::new("helm");
        helm.args(arguments).arg("--namespace").arg(&self.namespace).env("KUBECONFIG", &self.kubeconfig);
        let output = helm.kill_on_drop(true).output().await.context("failed to start helm")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "helm {} failed: {}\n{said}", arguments.join(" "), words.trim());
        Ok(said)
    }

    /// A failure with what the pods of the release say.
    async fn explained<T>(&self, outcome: Result<T>) -> Result<T> {
        let Err(error) = outcome else { return outcome };
        let mut told = Vec::new();
        for (what, arguments) in [
            ("pods", ["get", "pods", "--output", "wide"].as_slice()),
            ("events", &["get", "events", "--sort-by", ".lastTimestamp"]),
            ("daemon", &["logs", "--tail", "40", "--selector", "app.kubernetes.io/component=daemon"]),
            ("agent", &["logs", "--tail", "20", "--selector", "app.kubernetes.io/component=agent"]),
            ("preflight", &["logs", "--tail", "40", "--selector", "app.kubernetes.io/component=preflight"]),
        ] {
            let all = [&["--namespace", &self.namespace], arguments].concat();
            let said = kubectl::run(&all).await.unwrap_or_else(|error| format!("{error:#}"));
            told.push(format!("{what}:\n{}", said.trim_end()));
        }
        Err(error.context(told.join("\n")))
    }
}

/// The fake driver's folder on the node: the script is there, the library comes beside it.
fn driver(access: &Access) -> Result<PathBuf> {
    let script = access.gpu_script.as_ref().context("the node is not the bench's own")?;
    let folder = script.parent().context("the script lies in no folder")?.to_owned();
    let (from, to) = (workspace::binaries()?.join(LIBRARY), folder.join(LIBRARY));
    fs::copy(&from, &to).with_context(|| format!("failed to copy {}", from.display()))?;
    Ok(folder)
}

/// A folder of the node that the daemon's claim is bound to. It is not one of those that tenants' claims find.
fn volume(namespace: &str) -> Result<Value> {
    let path = volume_folder(namespace);
    fs::create_dir_all(&path).with_context(|| format!("failed to make {}", path.display()))?;
    let here = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE_NAME]});
    Ok(json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": namespace, "labels": {MARK: "release"}},
        "spec": {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": namespace,
            "local": {"path": path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }))
}

fn volume_folder(namespace: &str) -> PathBuf {
    Path::new(VOLUMES).join(namespace)
}

fn values(world: &World, namespace: &str, digest: &str) -> Result<Value> {
    let access = &world.access;
    let prices: Value = serde_yaml::from_str(PRICES).context("the prices are no YAML")?;
    let driver = driver(access)?;
    Ok(json!({
        "chain": {
            "rpc": access.rpc,
            "market": format!("eip155:{}:{}", access.chain_id, world.chain.contracts().market),
            "pollInterval": "50ms",
        },
        "wallet": {"existingSecret": WALLET},
        "ingress": {
            "domain": format!("{}.berth.test", world.name()),
            "gateway": {"name": access.way_in.name, "namespace": access.way_in.namespace},
            "sources": access.way_in.sources,
        },
        "pricing": prices["pricing"],
        "cluster": {"storageClasses": {"default": {"name": STORAGE_CLASS, "limit": "1Gi"}}},
        "escrow": {"withdrawEvery": "5s", "checkInterval": "1s"},
        "manifestTimeout": "60s",
        "gateway": {
            "publicUri": access.gateway_uri(),
            "expose": "NodePort",
            "service": {"nodePort": access.gateway.port()},
            "tls": {"existingSecret": TLS},
        },
        "persistence": {"storageClassName": namespace},
        // A node has the image of this name already, perhaps of other programs.
        "image": {"digest": digest},
        "agent": {
            "period": 1,
            "driverRoot": {"path": driver, "library": LIBRARY},
            "extraEnv": [{"name": "FAKE_NVML_SCRIPT", "value": "/driver-root/gpus.json"}],
        },
    }))
}
