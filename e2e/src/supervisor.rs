//! The bench from inside: starts every part, says what is up, and watches that it stays so.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::access::Access;
use crate::bench::{FAILED, READY, STEP};
use crate::cache::Cache;
use crate::certificates::Authority;
use crate::chain::Anvil;
use crate::deployment::{Accounts, Addresses};
use crate::parts::Parts;
use crate::process::Process;
use crate::progress::say;
use crate::tools::{Purpose, Tools};
use crate::{chain, cluster, deployment, dns, images, ingress, mounts, network, node, registry, workspace};

/// The script, in the folder of the bench, that the fake NVML and the device plugin read.
pub const GPU_SCRIPT: &str = "gpus.json";

const FOUR_GPUS: &str = include_str!("../fake-nvml/scripts/four-h100.json");

/// Starts the bench in `folder` and keeps it up until its lifeline closes or a part of it ends.
///
/// # Errors
/// When a part cannot be started, or ends by itself.
pub fn run(folder: &Path) -> Result<()> {
    // Before there is a second thread: these change the process itself.
    let prepared = prepare(folder);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("failed to start the runtime")?;
    let lived = runtime.block_on(async {
        let mut processes = match prepared {
            Ok(parts) => start(&parts).await?,
            Err(error) => return Err(error),
        };
        say(READY);
        watch(&mut processes).await
    });
    if let Err(error) = &lived {
        say(format_args!("{FAILED} {}", format!("{error:#}").replace('\n', "\u{1f}")));
    }
    lived
}

fn prepare(folder: &Path) -> Result<Parts> {
    let tools =
        Tools::installed(&Cache::open()?, Purpose::Bench)?.context("a part of the bench is missing")?;
    network_then_mounts(folder)?;
    step("own namespaces, a cable to the LAN and no route to anywhere");
    Ok(Parts { folder: folder.to_owned(), tools })
}

fn network_then_mounts(folder: &Path) -> Result<()> {
    // The name of the LAN's namespace is a mount below /run, so the folders come first.
    mounts::lay_out(folder)?;
    network::lay_out()
}

fn step(text: impl std::fmt::Display) {
    say(format_args!("{STEP} {text}"));
}

async fn start(parts: &Parts) -> Result<Vec<Process>> {
    let authority = Authority::new(&parts.folder("certificates")?)?;
    let (mut control_plane, (anvil_process, market), registry, runtime) = tokio::try_join!(
        cluster::start(parts, &authority),
        start_chain(parts),
        start_registry(parts),
        node::start_runtime(parts),
    )?;
    step("API server, container runtime and registry answer");

    let mut kubelet = node::start_kubelet(parts, &authority)?;
    let proxy = cluster::start_proxy(parts, &authority)?;
    apply_definitions(parts, &control_plane.kubeconfig).await?;
    apply(parts, &control_plane.kubeconfig, "objects", [dns::objects(), ingress::objects()].concat()).await?;
    let gpus = start_device_plugin(parts)?;
    let dns = dns::start(parts, &control_plane.kubeconfig)?;
    let mut gateway = ingress::start(parts, &control_plane.kubeconfig).await?;
    node::wait_until_ready(&control_plane.client, &mut kubelet).await?;
    step("node Ready");
    ingress::wait_until_steered(&mut gateway).await?;
    step("gateway steered by Contour");

    let access = Access {
        folder: parts.folder.clone(),
        kubeconfig: control_plane.kubeconfig.clone(),
        rpc: market.anvil.url().to_owned(),
        chain_id: deployment::CHAIN_ID,
        contracts: market.contracts,
        accounts: market.accounts,
        gateway_key: market.gateway_key,
        gpu_script: parts.folder.join(GPU_SCRIPT),
    };
    market.anvil.mine_by_the_clock().await?;
    access.write(&parts.tools)?;

    let mut processes = std::mem::take(&mut control_plane.processes);
    processes.extend([anvil_process, registry, runtime, kubelet, proxy, gpus, dns]);
    processes.extend(gateway);
    Ok(processes)
}

/// Announces the GPUs of the bench's own copy of the script, which stories may change.
fn start_device_plugin(parts: &Parts) -> Result<Process> {
    let script = parts.write(GPU_SCRIPT, FOUR_GPUS)?;
    let mut plugin = tokio::process::Command::new(workspace::program()?);
    plugin.arg("device-plugin").arg(script);
    parts.start("device-plugin", &mut plugin)
}

/// A chain with a market on it.
struct Marketplace {
    anvil: Anvil,
    contracts: Addresses,
    accounts: Accounts,
    gateway_key: PathBuf,
}

async fn start_chain(parts: &Parts) -> Result<(Process, Marketplace)> {
    let keys = parts.folder("keys")?;
    let making = tokio::task::spawn_blocking(move || Accounts::create(&keys));
    let (process, anvil) = chain::start(parts).await?;
    let accounts = making.await.context("the keys were not made")??;
    step(format_args!("chain {} mines, keys made", deployment::CHAIN_ID));
    let contracts = deployment::deploy(&anvil, &accounts).await?;
    step(format_args!("contracts deployed, market at {}", contracts.market));
    let gateway_key = parts.folder.join("gateway-key");
    deployment::register_provider(&anvil, contracts.market, &accounts, &gateway_key).await?;
    step(format_args!("provider {} registered", accounts.owner.address));
    Ok((process, Marketplace { anvil, contracts, accounts, gateway_key }))
}

async fn start_registry(parts: &Parts) -> Result<Process> {
    let process = registry::start(parts).await?;
    images::push_own(&parts.tools).await?;
    Ok(process)
}

async fn apply_definitions(parts: &Parts, kubeconfig: &Path) -> Result<()> {
    let mut kubectl = parts.command("kubernetes", "kubectl");
    kubectl.arg("--kubeconfig").arg(kubeconfig).args(["apply", "--server-side"]);
    for file in ingress::definitions(parts) {
        kubectl.arg("--filename").arg(file);
    }
    run_to_end(kubectl, "define the objects of the gateway").await?;
    let mut kubectl = parts.command("kubernetes", "kubectl");
    kubectl.arg("--kubeconfig").arg(kubeconfig);
    kubectl.args([
        "wait",
        "--for=condition=Established",
        "--timeout=30s",
        "customresourcedefinitions",
        "--all",
    ]);
    run_to_end(kubectl, "wait for the definitions").await
}

async fn apply(parts: &Parts, kubeconfig: &Path, name: &str, objects: Vec<Value>) -> Result<()> {
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let file = parts.write(&format!("{name}.json"), list.to_string())?;
    let mut kubectl = parts.command("kubernetes", "kubectl");
    kubectl.arg("--kubeconfig").arg(kubeconfig).args(["apply", "--server-side", "--filename"]).arg(file);
    run_to_end(kubectl, "make the bench's own objects").await
}

async fn run_to_end(mut command: tokio::process::Command, what: &str) -> Result<()> {
    let output = command.output().await.with_context(|| format!("failed to start kubectl to {what}"))?;
    if !output.status.success() {
        bail!("failed to {what}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Ends when the lifeline closes, and with an error when a part ends.
async fn watch(processes: &mut [Process]) -> Result<()> {
    let ended = futures::future::select_all(processes.iter_mut().map(|process| Box::pin(process.ended())));
    tokio::select! {
        (obituary, ..) = ended => bail!("{obituary}"),
        () = lifeline_closed() => Ok(()),
    }
}

/// A bench whose input is a pipe ends with the process at the other end; any other input says nothing.
async fn lifeline_closed() {
    use std::os::unix::fs::FileTypeExt;
    let is_pipe = std::fs::metadata("/proc/self/fd/0").is_ok_and(|file| file.file_type().is_fifo());
    if !is_pipe {
        return std::future::pending().await;
    }
    let (closed, told) = tokio::sync::oneshot::channel();
    // A thread of its own, because the runtime would wait for one of its own when it ends.
    std::thread::spawn(move || {
        let mut byte = [0];
        while std::io::stdin().read(&mut byte).is_ok_and(|count| count > 0) {}
        let _ = closed.send(());
    });
    let _ = told.await;
}
