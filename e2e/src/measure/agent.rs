//! What the agent of a node takes from it: the node is the tenants', and there is an agent on every one.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use fake_nvml::{Health, Script};

use crate::addresses::NODE_NAME;
use crate::kubectl;
use crate::process::Process;
use crate::report::table;
use crate::story::world::World;
use crate::wait::until;

use super::PATIENCE;

const GPUS: usize = 8;
const PERIOD: &str = "10";
/// How long it is watched: the driver is opened anew three times meanwhile.
const WATCHED: Duration = Duration::from_secs(200);
/// The kernel's unit of processor time.
const TICKS_A_SECOND: f64 = 100.0;

/// What the kernel says of a process.
struct Weight {
    resident_kb: u64,
    anonymous_kb: u64,
    /// Processor time since its start.
    ticks: u64,
}

/// Watches an agent of a node with eight GPUs and tells what it takes, beside what it may take.
pub(super) async fn weigh() -> Result<()> {
    let world = World::open("agent").await?;
    let provider = world.provider().await?.optimised();
    let script = world.access.gpu_script.clone().context("the machine is not the bench's own")?;
    let mut machine = Script::shipped("sixteen");
    machine.devices.truncate(GPUS);
    machine.devices.iter_mut().for_each(|device| device.health = Health::Healthy);
    machine.write(&script).context("failed to write the machine's script")?;
    let mut agent = provider.agent_with(&["--period", PERIOD, "--metrics", "127.0.0.1:0"])?;
    let namespace = provider.namespace.clone();
    until("the agent to tell of its node", PATIENCE, async || {
        agent.still_runs()?;
        let name = format!("configmap/berth-node-{NODE_NAME}");
        kubectl::run(&["get", &name, "--namespace", &namespace, "--output", "name"]).await
    })
    .await?;
    let start = Weight::of(&agent)?;
    tokio::time::sleep(WATCHED).await;
    let end = Weight::of(&agent)?;
    agent.kill().await?;
    Script::four_h100().write(&script).context("failed to put the machine right again")?;

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (mb, ticks) = (|kb: u64| format!("{:.1} MB", kb as f64 / 1e3), (end.ticks - start.ticks) as f64);
    let core = ticks / TICKS_A_SECOND / WATCHED.as_secs_f64() * 100.0;
    let row = |what: &str, figure: String, target: &str| [what.to_owned(), figure, target.to_owned()];
    let rows = [
        row("memory in RAM", mb(end.resident_kb), "15 MB"),
        row("of which its own", mb(end.anonymous_kb), ""),
        row("of which pages of files: the program and libraries", mb(end.resident_kb - end.anonymous_kb), ""),
        row(
            "of a core, with a look every 10 s and the fake library's own work",
            format!("{core:.2} %"),
            "0.5 %",
        ),
    ];
    table(["the agent of a node with eight GPUs", "figure", "target"], &rows);
    Ok(())
}

impl Weight {
    fn of(process: &Process) -> Result<Self> {
        let id = process.id().context("the agent has ended")?;
        let read = |name: &str| {
            let path = format!("/proc/{id}/{name}");
            fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))
        };
        let (memory, stat) = (read("smaps_rollup")?, read("stat")?);
        let kilobytes = |name: &str| {
            let line = memory.lines().find_map(|line| line.strip_prefix(name)?.strip_suffix("kB"));
            let number = line.and_then(|line| line.trim().parse::<u64>().ok());
            // The kernel's kB are of 1,024 bytes.
            Ok::<_, anyhow::Error>(number.with_context(|| format!("no {name} in {memory}"))? * 1024 / 1000)
        };
        // The program's name may hold blanks and brackets; the fields after it do not.
        let (_, fields) = stat.rsplit_once(") ").context("no name of a program")?;
        let ticks = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Self { resident_kb: kilobytes("Rss:")?, anonymous_kb: kilobytes("Anonymous:")?, ticks })
    }
}
