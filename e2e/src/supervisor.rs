//! The bench from inside: starts every part, says what is up, and watches that it stays so.

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::access::Access;
use crate::addresses::{GATEWAY_PORT, METRICS_PORT, NODE};
use crate::bench::{FAILED, READY, STEP};
use crate::cache::Cache;
use crate::certificates::Authority;
use crate::ingress::WayIn;
use crate::parts::Parts;
use crate::process::Process;
use crate::progress::say;
use crate::tools::{Purpose, Tools};
use crate::{
    chain, cluster, dns, images, ingress, mounts, network, node, registry, story, volumes, wait, workspace,
};

/// The script, in the folder of the bench, that the fake NVML and the device plugin read. It lies in a folder of its own, which
/// an agent inside the cluster sees as the driver's.
pub const GPU_SCRIPT: &str = "driver/gpus.json";

const MARKET_PATIENCE: Duration = Duration::from_secs(120);

const FOUR_GPUS: &str = include_str!("../fake-nvml/scripts/four-h100.json");

/// Starts the bench in `folder`, with a market where somebody trades if that is wanted, and keeps it up until its lifeline
/// closes or a part of it ends.
///
/// # Errors
/// When a part cannot be started, or ends by itself.
pub fn run(folder: &Path, with_market: bool) -> Result<()> {
    // Before there is a second thread: these change the process itself.
    let prepared = prepare(folder);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("failed to start the runtime")?;
    let lived = runtime.block_on(async {
        let mut processes = match prepared {
            Ok(parts) => start(&parts, with_market).await?,
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

async fn start(parts: &Parts, with_market: bool) -> Result<Vec<Process>> {
    let authority = Authority::new(&parts.folder("certificates")?)?;
    let (mut control_plane, (chain_process, anvil), registry, runtime) = tokio::try_join!(
        cluster::start(parts, &authority),
        chain::start(parts),
        start_registry(parts),
        node::start_runtime(parts),
    )?;
    step("API server, container runtime and registry answer");

    let mut kubelet = node::start_kubelet(parts, &authority)?;
    let proxy = cluster::start_proxy(parts, &authority)?;
    apply_definitions(parts, &control_plane.kubeconfig).await?;
    apply(
        parts,
        &control_plane.kubeconfig,
        "objects",
        [dns::objects(), ingress::objects(), volumes::objects()].concat(),
    )
    .await?;
    let gpus = start_device_plugin(parts)?;
    let dns = dns::start(parts, &control_plane.kubeconfig)?;
    let mut gateway = ingress::start(parts, &control_plane.kubeconfig).await?;
    node::wait_until_ready(&control_plane.client, &mut kubelet).await?;
    step("node Ready");
    ingress::wait_until_steered(&mut gateway).await?;
    step("gateway steered by Contour");

    let node: IpAddr = NODE.parse().context("the node has no address")?;
    let access = Access {
        folder: parts.folder.clone(),
        kubeconfig: control_plane.kubeconfig.clone(),
        rpc: anvil.url().to_owned(),
        chain_id: chain::CHAIN_ID,
        way_in: WayIn::of_the_bench(),
        gateway: SocketAddr::new(node, GATEWAY_PORT),
        metrics: SocketAddr::new(node, METRICS_PORT),
        gpu_script: Some(parts.folder.join(GPU_SCRIPT)),
        market: None,
    };
    anvil.mine_by_the_clock().await?;
    access.write(Some(&parts.tools))?;

    let mut processes = std::mem::take(&mut control_plane.processes);
    processes.extend([chain_process, registry, runtime, kubelet, proxy, gpus, dns]);
    processes.extend(gateway);
    if with_market {
        processes.push(open_market(parts, &access).await?);
    }
    Ok(processes)
}

/// Announces the GPUs of the bench's own copy of the script, which stories may change.
fn start_device_plugin(parts: &Parts) -> Result<Process> {
    let script = parts.write(GPU_SCRIPT, FOUR_GPUS)?;
    let mut plugin = tokio::process::Command::new(workspace::program()?);
    plugin.arg("device-plugin").arg(script);
    parts.start("device-plugin", &mut plugin)
}

/// Starts the program that opens a market and trades on it, and waits until it says where.
async fn open_market(parts: &Parts, access: &Access) -> Result<Process> {
    let mut market = tokio::process::Command::new(workspace::program()?);
    market.arg(story::market::KEEP_MARKET).envs(access.environment(Some(&parts.tools))?);
    let mut market = parts.start("market", &mut market)?;
    let opened = wait::until("a market with a provider and a tenant", MARKET_PATIENCE, async || {
        market.still_runs()?;
        Access::of(&parts.folder)?.market.context("it is not open yet")
    });
    opened.await?;
    step("a provider runs and a tenant has money");
    Ok(market)
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
