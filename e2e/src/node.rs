//! The cluster's one node: the container runtime, the pods' network, and the kubelet.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use serde_json::json;

use crate::addresses::{DNS_SERVICE, NODE, NODE_NAME, PODS_OF_NODE, REGISTRY_PORT};
use crate::certificates::Authority;
use crate::parts::Parts;
use crate::process::Process;
use crate::wait;

/// Inside a bench `/run` is the bench's own; a path in the cache could be too long for a socket.
const RUNTIME_SOCKET: &str = "/run/containerd/containerd.sock";
/// The image that holds a pod's namespaces, served by the bench's registry.
pub(crate) const PAUSE_IMAGE: &str = "docker.io/berthdemo/pause:1.0";
/// Names that the registry of the bench serves as if it were theirs.
const MIRRORED: [&str; 3] = ["docker.io", "ghcr.io", "_default"];

/// Starts the container runtime and waits for its socket: the kubelet ends for good where there is none.
pub(crate) async fn start_runtime(parts: &Parts) -> Result<Process> {
    write_pod_network(parts)?;
    write_mirrors(parts)?;
    let config = parts.write("containerd/config.toml", runtime_config(parts)?)?;
    let mut containerd = parts.command("containerd", "containerd");
    containerd.arg("--config").arg(config).args(["--log-level", "warn"]);
    let mut containerd = parts.start("containerd", &mut containerd)?;
    wait::until("the container runtime to answer", Duration::from_secs(30), async || {
        containerd.still_runs()?;
        if !Path::new(RUNTIME_SOCKET).exists() {
            bail!("its socket is not there");
        }
        let mut version = parts.command("containerd", "ctr");
        let output = version.args(["--address", RUNTIME_SOCKET, "version"]).output().await?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(())
    })
    .await?;
    Ok(containerd)
}

/// Starts the kubelet.
pub(crate) fn start_kubelet(parts: &Parts, authority: &Authority) -> Result<Process> {
    let user = format!("system:node:{NODE_NAME}");
    let kubeconfig = authority.kubeconfig("kubelet", &user, &["system:nodes"])?;
    let server = authority.server("kubelet-server", &[NODE, NODE_NAME])?;
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE,
        "port": 10250,
        "readOnlyPort": 0,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": authority.certificate()},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": server.certificate,
        "tlsPrivateKeyFile": server.key,
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "resolvConf": parts.folder.join("resolv.conf"),
        "containerRuntimeEndpoint": format!("unix://{RUNTIME_SOCKET}"),
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "volumePluginDir": parts.folder("kubelet-volume-plugins")?,
        "serializeImagePulls": false,
        "registryPullQPS": 0,
        // The machine may well be fuller than a node would be let become.
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
        },
        "imageGCHighThresholdPercent": 100,
    });
    let config = parts.write("kubelet-config.json", config.to_string())?;
    let mut kubelet = parts.command("kubernetes", "kubelet");
    kubelet
        .arg("--config")
        .arg(config)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .arg("--cert-dir")
        .arg(parts.folder("kubelet-certificates")?)
        .args(["--hostname-override", NODE_NAME, "--node-ip", NODE, "--root-dir", "/var/lib/kubelet"]);
    parts.start("kubelet", &mut kubelet)
}

/// Waits until the node says that pods can run on it.
pub(crate) async fn wait_until_ready(client: &Client, kubelet: &mut Process) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    wait::until("the node to be Ready", Duration::from_secs(90), async || {
        kubelet.still_runs()?;
        let Some(node) = nodes.get_opt(NODE_NAME).await.context("failed to read the node")? else {
            bail!("it has not registered yet");
        };
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        match conditions.into_iter().find(|condition| condition.type_ == "Ready") {
            Some(ready) if ready.status == "True" => Ok(()),
            Some(ready) => bail!("{}", ready.message.unwrap_or_else(|| "it says no reason".to_owned())),
            None => bail!("it has not told its conditions yet"),
        }
    })
    .await
}

fn runtime_config(parts: &Parts) -> Result<String> {
    let table = toml::toml! {
        version = 3
        // Folders below are filled in by name, because they differ from bench to bench.
        disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]

        [plugins."io.containerd.cri.v1.images"]
        snapshotter = "overlayfs"

        [plugins."io.containerd.cri.v1.runtime"]
        restrict_oom_score_adj = true
        disable_apparmor = true

        [plugins."io.containerd.cri.v1.runtime".containerd]
        default_runtime_name = "runc"

        [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
        runtime_type = "io.containerd.runc.v2"

        [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        SystemdCgroup = false
    };
    let mut config = toml::Value::Table(table);
    let text = |path: std::path::PathBuf| toml::Value::String(path.to_string_lossy().into_owned());
    let mut set = |path: &[&str], value: toml::Value| {
        let mut place = &mut config;
        for key in path {
            let table = place.as_table_mut().expect("every step but the last is a table");
            place = table.entry(*key).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        }
        *place = value;
    };
    let images = "io.containerd.cri.v1.images";
    let runtime = "io.containerd.cri.v1.runtime";
    set(&["root"], text(parts.folder("containerd/root")?));
    set(&["state"], toml::Value::String("/run/containerd/state".to_owned()));
    set(&["grpc", "address"], toml::Value::String(RUNTIME_SOCKET.to_owned()));
    set(&["plugins", "io.containerd.internal.v1.opt", "path"], text(parts.folder("containerd/opt")?));
    set(&["plugins", images, "pinned_images", "sandbox"], toml::Value::String(PAUSE_IMAGE.to_owned()));
    set(&["plugins", images, "registry", "config_path"], text(parts.folder("containerd/mirrors")?));
    let plugins = parts.tools.folder("cni").join("bin");
    set(&["plugins", runtime, "cni", "bin_dirs"], toml::Value::Array(vec![text(plugins)]));
    set(&["plugins", runtime, "cni", "conf_dir"], text(parts.folder("containerd/network")?));
    set(
        &["plugins", runtime, "containerd", "runtimes", "runc", "options", "BinaryName"],
        text(parts.tools.program("runc", "runc")),
    );
    toml::to_string(&config).context("failed to write the container runtime's configuration")
}

fn write_pod_network(parts: &Parts) -> Result<()> {
    let network = json!({
        "cniVersion": "1.0.0",
        "name": "bench",
        "plugins": [{
            // Every packet between pods is routed by the node, where rules can see it.
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": "/var/lib/cni/networks",
                "ranges": [[{"subnet": PODS_OF_NODE}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    });
    parts.write("containerd/network/10-bench.conflist", network.to_string())?;
    Ok(())
}

fn write_mirrors(parts: &Parts) -> Result<()> {
    for name in MIRRORED {
        let server = format!("http://{NODE}:{REGISTRY_PORT}");
        // Naming the mirror as the server too keeps the runtime from asking the world when the mirror says no.
        let hosts =
            format!("server = \"{server}\"\n[host.\"{server}\"]\ncapabilities = [\"pull\", \"resolve\"]\n");
        parts.write(&format!("containerd/mirrors/{name}/hosts.toml"), hosts)?;
    }
    Ok(())
}
