//! A cluster and a chain that somebody has already, on which the demo may be told instead of on a bench: what it needs of
//! them is found and tried before anything is changed, and nothing of the demo stays.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use manifests::objects::labels;
use serde_json::{Value, json};

use crate::access::Access;
use crate::chain::Anvil;
use crate::ingress::WayIn;
use crate::wait;

/// How long the chain may take for one block.
const PATIENCE: Duration = Duration::from_secs(15);
const GATEWAYS: &str = "gateways.gateway.networking.k8s.io";

/// What was lent, with a folder of ours for keys and settings.
pub struct Lent {
    access: Access,
    _folder: tempfile::TempDir,
}

impl fmt::Display for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Access { rpc, chain_id, way_in, .. } = &self.access;
        write!(
            f,
            "chain {chain_id} at {rpc} mines; pages go through the Gateway {}/{} at {}",
            way_in.namespace, way_in.name, way_in.address
        )
    }
}

impl Lent {
    /// Looks at the cluster of `kubeconfig` and the chain at `rpc`.
    ///
    /// # Errors
    /// When one of them does not answer, or lacks what the demo needs.
    pub async fn describe(kubeconfig: &Path, rpc: &str) -> Result<Self> {
        let kubeconfig = std::path::absolute(kubeconfig).context("the current folder cannot be told")?;
        let folder = tempfile::Builder::new().prefix("berth-demo-").tempdir();
        let folder = folder.context("failed to make a folder for keys and settings")?;
        let chain_id = chain_id(rpc).await?;
        let way_in =
            way_in(&kubectl(&kubeconfig, &["get", GATEWAYS, "--all-namespaces", "--output", "json"])?)?;
        let [gateway, metrics] = free_ports()?;
        let access = Access {
            folder: folder.path().to_owned(),
            kubeconfig,
            rpc: rpc.to_owned(),
            chain_id,
            way_in,
            gateway,
            metrics,
            gpu_script: None,
            market: None,
        };
        access.write(None)?;
        Ok(Self { access, _folder: folder })
    }

    /// A command that finds cluster and chain.
    ///
    /// # Errors
    /// When the operating system does not say where this program lies.
    pub fn command(&self, program: &Path) -> Result<Command> {
        let mut command = Command::new(program);
        command.envs(self.access.environment(None)?);
        Ok(command)
    }

    /// Deletes what the world called `name` still has in the cluster.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn give_back(self, name: &str) -> Result<()> {
        let kubectl = |arguments: &[&str]| kubectl(&self.access.kubeconfig, arguments);
        let settings = self.access.folder.join("stories").join(name).join("provider.yaml");
        let Ok(settings) = std::fs::read_to_string(settings) else { return Ok(()) };
        let settings: Value =
            serde_yaml::from_str(&settings).context("the provider's settings are unreadable")?;
        let list = ["get", "namespaces", "--selector", labels::LEASE, "--output", "json"];
        let mut ours = leases_of(&kubectl(&list)?, settings["provider"].as_str().unwrap_or_default())?;
        ours.extend(settings["cluster"]["namespace"].as_str().map(str::to_owned));
        let delete = ["delete", "namespaces", "--ignore-not-found", "--wait", "--timeout", "120s"];
        let names: Vec<&str> = delete.into_iter().chain(ours.iter().map(String::as_str)).collect();
        kubectl(&names).map(drop)
    }
}

/// The namespaces that this provider made for leases; another provider's stay.
fn leases_of(namespaces: &str, provider: &str) -> Result<Vec<String>> {
    let list: Value = serde_json::from_str(namespaces).context("kubectl writes no JSON")?;
    let items = list["items"].as_array().context("kubectl lists nothing")?;
    let ours = |item: &&Value| item["metadata"]["annotations"][labels::PROVIDER].as_str() == Some(provider);
    Ok(items
        .iter()
        .filter(ours)
        .filter_map(|item| item["metadata"]["name"].as_str())
        .map(str::to_owned)
        .collect())
}

fn kubectl(kubeconfig: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("kubectl");
    command.arg("--kubeconfig").arg(kubeconfig).args(arguments);
    let output = command.output().context("the demo needs kubectl on the PATH to look after your cluster")?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "the cluster of {} does not answer as it should: kubectl {}: {}",
        kubeconfig.display(),
        arguments.join(" "),
        words.trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The id of a chain on which the demo can give money to new keys, and whose time passes by itself.
async fn chain_id(rpc: &str) -> Result<u64> {
    let anvil = Anvil::at(rpc);
    let id = anvil.number("eth_chainId").await?;
    anvil.call("anvil_nodeInfo", json!([])).await.with_context(|| {
        format!("the demo makes its own keys and money, so it needs a development chain (anvil), which {rpc} is not")
    })?;
    let height = anvil.number("eth_blockNumber").await?;
    wait::until("a new block", PATIENCE, async || {
        ensure!(anvil.number("eth_blockNumber").await? != height, "it is still at {height}");
        Ok(())
    })
    .await
    .with_context(|| format!("the chain at {rpc} mines no blocks by itself: start it with --block-time 1"))?;
    Ok(id)
}

/// The one Gateway that speaks HTTP and has an address.
fn way_in(gateways: &str) -> Result<WayIn> {
    let list: Value = serde_json::from_str(gateways).context("kubectl writes no JSON")?;
    let items = list["items"].as_array().context("kubectl lists nothing")?;
    let mut usable = items.iter().filter_map(|item| {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let listeners = item["spec"]["listeners"].as_array()?;
        let port = listeners.iter().find(|listener| listener["protocol"] == "HTTP")?["port"].as_u64()?;
        Some(WayIn {
            namespace: text(&item["metadata"]["namespace"])?,
            name: text(&item["metadata"]["name"])?,
            address: format!("{}:{port}", item["status"]["addresses"][0]["value"].as_str()?),
            sources: Vec::new(),
        })
    });
    match (usable.next(), usable.next()) {
        (Some(one), None) => Ok(one),
        (Some(one), Some(other)) => bail!(
            "the cluster has more than one Gateway with an HTTP listener, {}/{} and {}/{}: the demo cannot choose",
            one.namespace,
            one.name,
            other.namespace,
            other.name
        ),
        _ => bail!(
            "the cluster has no Gateway with an HTTP listener and an address: install a Gateway API controller, \
             such as Contour, and make one"
        ),
    }
}

fn free_ports() -> Result<[SocketAddr; 2]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to find a free port");
    let (one, other) = (bind()?, bind()?);
    Ok([one.local_addr()?, other.local_addr()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(name: &str, protocol: &str, addresses: &Value) -> Value {
        json!({
            "metadata": {"namespace": "edge", "name": name},
            "spec": {"listeners": [{"protocol": protocol, "port": 8080}]},
            "status": {"addresses": addresses},
        })
    }

    #[test]
    fn the_only_gateway_that_answers_http_is_the_way_in() {
        let somewhere = json!([{"value": "192.0.2.7"}]);
        let list = |items: &[Value]| json!({ "items": items }).to_string();
        let plain = gateway("plain", "HTTP", &somewhere);
        let others = [gateway("tls", "HTTPS", &somewhere), gateway("nowhere", "HTTP", &json!([]))];

        let found = way_in(&list(&[others[0].clone(), plain.clone(), others[1].clone()])).unwrap();
        assert_eq!((found.name.as_str(), found.address.as_str()), ("plain", "192.0.2.7:8080"));
        assert!(way_in(&list(&others)).unwrap_err().to_string().contains("no Gateway"));
        let second = gateway("second", "HTTP", &somewhere);
        assert!(way_in(&list(&[plain, second])).unwrap_err().to_string().contains("cannot choose"));
    }

    #[test]
    fn only_the_own_providers_leases_are_taken_away() {
        let namespace = |name: &str, provider: &str| json!({"metadata": {"name": name, "annotations": {"berth.dev/provider": provider}}});
        let list = json!({"items": [namespace("l-1", "0xaa"), namespace("l-2", "0xbb")]}).to_string();
        assert_eq!(leases_of(&list, "0xaa").unwrap(), ["l-1"]);
    }
}
