//! `cargo e2e`: builds the bench's parts, starts and ends benches, tells the demo, and runs every check.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use e2e::bench::{Bench, Holds, Life};
use e2e::cache::Cache;
use e2e::lent::Lent;
use e2e::progress::say;
use e2e::report::Timeline;
use e2e::story::seller::Place;
use e2e::tools::{Purpose, Tools};
use e2e::{
    bench, chart, device_plugin, interrupt, measure, namespaces, product, story, suite, supervisor, workspace,
};

/// The bench that the demo starts.
const DEMO: &str = "demo";

#[derive(Parser)]
#[command(name = "cargo e2e", about = "The bench of real parts, the demo, and every check", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build or install every part of the bench once
    Tools,
    /// Start a bench with a provider that bids and a tenant who has money, and leave it up
    Up {
        #[command(flatten)]
        bench: Named,
    },
    /// End a bench and remove everything of it
    Down {
        #[command(flatten)]
        bench: Named,
    },
    /// A shell, or one command, inside a bench that is up
    Shell {
        #[command(flatten)]
        bench: Named,
        /// The command; none is a shell
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Tell one whole lease, from a tenant's document to the last unit of money, on a bench of its own
    Demo {
        /// Leave the bench up afterwards
        #[arg(long, conflicts_with_all = ["kubeconfig", "rpc"])]
        keep: bool,
        /// Install the provider with its chart, in pods of the cluster, instead of running it beside
        #[arg(long, conflicts_with_all = ["kubeconfig", "rpc"])]
        in_cluster: bool,
        /// Use this cluster instead of one of our own: it has one Gateway of Gateway API, and its nodes can pull
        /// berthdemo/hello:1.0
        #[arg(long, value_name = "FILE", requires = "rpc")]
        kubeconfig: Option<PathBuf>,
        /// Use this development chain instead of one of our own: an anvil that mines by the clock (--block-time 1)
        #[arg(long, value_name = "URL", requires = "kubeconfig")]
        rpc: Option<String>,
    },
    /// Run every check and every story, or those whose part is called like a filter
    Test {
        /// Words of which one must be in a part's name
        filters: Vec<String>,
        /// Let chance try ten times as much where it tests
        #[arg(long)]
        long: bool,
    },
    #[command(name = "tell", hide = true)]
    Tell {
        #[arg(long)]
        in_cluster: bool,
    },
    #[command(name = "keep-market", hide = true)]
    KeepMarket,
    /// Make the chart's schema and README anew from its commented values
    Chart,
    /// Measure how long things take, on a bench of its own
    Bench {
        /// What to measure; everything if it is left out
        name: Option<String>,
    },
    /// Make the provider's container image from release builds, without a container runtime
    Image {
        /// Build the programs twice, the second time from nothing, and demand the same image
        #[arg(long)]
        verify: bool,
    },
    #[command(name = "measure", hide = true)]
    Measure { name: Option<String> },
    #[command(name = "device-plugin", hide = true)]
    DevicePlugin { script: PathBuf },
    #[command(name = "launch", hide = true)]
    Launch(Inside),
    #[command(name = "init", hide = true)]
    Init(Inside),
    #[command(name = "supervise", hide = true)]
    Supervise(Inside),
}

#[derive(clap::Args)]
struct Inside {
    folder: PathBuf,
    #[arg(long)]
    market: bool,
}

#[derive(clap::Args)]
struct Named {
    /// Which bench; several may be up at once
    #[arg(long, default_value = "default")]
    name: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    rustls::crypto::ring::default_provider().install_default().expect("nobody has installed one before");
    match run(arguments.verb) {
        Ok(code) => code,
        Err(error) => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Tools => {
            let cache = Cache::open()?;
            let were_there = Tools::installed(&cache, Purpose::Everything)?.is_some();
            Tools::ensure(&cache, Purpose::Everything)?;
            if were_there {
                Tools::tell(&cache)?;
            }
        }
        Verb::Up { bench } => up(&bench.name)?,
        Verb::Down { bench } => down(&bench.name)?,
        Verb::Shell { bench, command } => return shell(&bench.name, &command),
        Verb::Test { filters, long } => {
            interrupt::listen()?;
            return suite::run(&Cache::open()?, &filters, long);
        }
        Verb::Chart => make_chart_files()?,
        Verb::Demo { kubeconfig: Some(kubeconfig), rpc: Some(rpc), .. } => {
            return demo_on_lent(&kubeconfig, &rpc);
        }
        Verb::Demo { keep, in_cluster, .. } => return demo(keep, in_cluster),
        Verb::Tell { in_cluster } => {
            let tools = Tools::installed(&Cache::open()?, Purpose::Bench)?;
            let place = if in_cluster { Place::InCluster } else { Place::Beside };
            block_on(story::demo::tell(tools.as_ref(), DEMO, place))?;
        }
        Verb::KeepMarket => block_on(story::market::keep(&tools_of_the_bench()?))?,
        Verb::Bench { name } => return bench_all(name.as_deref()),
        Verb::Image { verify } => product::make(verify)?,
        Verb::Measure { name } => block_on(measure::run(name.as_deref()))?,
        Verb::DevicePlugin { script } => announce_gpus(&script)?,
        Verb::Launch(Inside { folder, market }) => namespaces::launch(&folder, market)?,
        Verb::Init(Inside { folder, market }) => return namespaces::init(&folder, market),
        Verb::Supervise(Inside { folder, market }) => supervisor::run(&folder, market)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("failed to start the runtime")?.block_on(work)
}

fn make_chart_files() -> Result<()> {
    let tools = Tools::ensure(&Cache::open()?, Purpose::Everything)?;
    for (path, text) in chart::made(&tools)? {
        std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        say(format_args!("{}", path.display()));
    }
    Ok(())
}

fn tools_of_the_bench() -> Result<Tools> {
    Tools::installed(&Cache::open()?, Purpose::Bench)?.context("a part of the bench is missing")
}

fn up(name: &str) -> Result<()> {
    bench::ensure_root()?;
    let cache = Cache::open()?;
    let tools = Tools::ensure(&cache, Purpose::Bench)?;
    workspace::build(false)?;
    let bench = Bench::named(&cache, name)?;
    interrupt::listen()?;
    let mut timeline = Timeline::start();
    let running = bench.start(&cache, Life::UntilDown, Holds::Market, &mut timeline)?;
    timeline.end("the bench is up");
    let access = bench.access()?;
    running.leave_up();
    for (name, value) in access.environment(Some(&tools))?.into_iter().filter(|(name, _)| *name != "PATH") {
        say(format_args!("{name}={value}"));
    }
    say(format_args!("the same as shell lines: {}", access.environment_file().display()));
    say("inside it: cargo e2e shell -- kubectl get pods --all-namespaces");
    say("rent there: cargo e2e shell -- berth up e2e/documents/web.yaml; its end: cargo e2e down");
    Ok(())
}

fn down(name: &str) -> Result<()> {
    let cache = Cache::open()?;
    let _lock = cache.lock("benches", || say("another bench is just starting or ending; waiting for it"))?;
    let bench = Bench::named(&cache, name)?;
    let was_there = bench.exists();
    bench.end()?;
    say(if was_there { "the bench is down; nothing of it remains" } else { "no such bench was up" });
    Ok(())
}

fn demo(keep: bool, in_cluster: bool) -> Result<ExitCode> {
    bench::ensure_root()?;
    let cache = Cache::open()?;
    let mut timeline = Timeline::start();
    let purpose = if in_cluster { Purpose::Chart } else { Purpose::Bench };
    let tools = Tools::ensure(&cache, purpose)?;
    timeline.step("parts ready");
    workspace::build(false)?;
    timeline.step("berth and berth-provider built");
    let bench = Bench::named(&cache, DEMO)?;
    interrupt::listen()?;
    let life = if keep { Life::UntilDown } else { Life::WithThisProcess };
    let running = bench.start(&cache, life, Holds::Parts, &mut timeline)?;
    // Inside the bench, where the cluster and the chain can be reached.
    let mut tell = bench.command(&tools, workspace::program()?)?;
    tell.arg("tell").args(in_cluster.then_some("--in-cluster"));
    let told = tell.status().context("failed to start the telling")?;
    timeline.resume();
    if keep {
        running.leave_up();
        say(format_args!(
            "the bench stays up: cargo e2e shell --name {DEMO}; its end: cargo e2e down --name {DEMO}"
        ));
    } else {
        running.end()?;
        timeline.step("bench down; nothing of it remains");
    }
    timeline.end("the demo");
    Ok(namespaces::exit_code(told))
}

/// On a cluster and a chain that a person has already: no root, no parts, nothing of ours left there.
fn demo_on_lent(kubeconfig: &Path, rpc: &str) -> Result<ExitCode> {
    let mut timeline = Timeline::start();
    workspace::build(false)?;
    timeline.step("berth and berth-provider built");
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    let lent = runtime.block_on(Lent::describe(kubeconfig, rpc))?;
    timeline.step(&lent);
    // Ctrl-C at the terminal ends the telling; then it is our turn to clear away.
    let mut interrupts = {
        let _inside = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?
    };
    runtime.spawn(async move { while interrupts.recv().await.is_some() {} });
    let told = lent.command(&workspace::program()?)?.arg("tell").status();
    let told = told.context("failed to start the telling")?;
    timeline.resume();
    lent.give_back(DEMO)?;
    timeline.step("the cluster holds nothing of the demo any more");
    timeline.end("the demo");
    Ok(namespaces::exit_code(told))
}

fn shell(name: &str, command: &[String]) -> Result<ExitCode> {
    let cache = Cache::open()?;
    let tools = Tools::ensure(&cache, Purpose::Bench)?;
    let shell = || std::env::var("SHELL").unwrap_or_else(|_| "/bin/bash".to_owned());
    let (program, arguments) = match command.split_first() {
        Some((program, arguments)) => (program.clone(), arguments),
        None => (shell(), [].as_slice()),
    };
    let mut command = Bench::named(&cache, name)?.command(&tools, &program)?;
    let status = command.args(arguments).status().with_context(|| format!("failed to run {program}"))?;
    Ok(namespaces::exit_code(status))
}

/// Most measuring is done by a program inside the bench, where the cluster and the chain can be reached.
fn bench_all(name: Option<&str>) -> Result<ExitCode> {
    measure::ensure_known(name)?;
    if name.is_none_or(|name| name == measure::MANIFESTS) {
        measure::manifests()?;
    }
    if name.is_none_or(|name| name == measure::BIDENGINE) {
        measure::bidengine()?;
    }
    if name == Some(measure::MANIFESTS) {
        return Ok(ExitCode::SUCCESS);
    }
    let within =
        if name.is_none_or(|name| name == measure::CONTRACTS) { measure::gas::contracts()? } else { true };
    if name == Some(measure::CONTRACTS) {
        return Ok(if within { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let cache = Cache::open()?;
    if name.is_none_or(|name| name == measure::CHAIN) {
        block_on(measure::chain(&Tools::ensure(&cache, Purpose::Bench)?))?;
    }
    if name == Some(measure::CHAIN) {
        return Ok(ExitCode::SUCCESS);
    }
    bench::ensure_root()?;
    let tools = Tools::ensure(&cache, Purpose::Bench)?;
    workspace::build(false)?;
    workspace::build_optimised()?;
    interrupt::listen()?;
    let mut timeline = Timeline::start();
    let bench = Bench::named(&cache, "measures")?;
    let running = bench.start(&cache, Life::WithThisProcess, Holds::Parts, &mut timeline)?;
    let mut command = running.bench().command(&tools, workspace::program()?)?;
    let status = command.arg("measure").args(name).status().context("failed to start the measuring")?;
    running.end()?;
    Ok(if within { namespaces::exit_code(status) } else { ExitCode::FAILURE })
}

fn announce_gpus(script: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let sockets = Path::new(device_plugin::SOCKETS);
    let plugin = device_plugin::run(script, sockets, device_plugin::RESOURCE, std::future::pending());
    runtime.context("failed to start the runtime")?.block_on(plugin)
}
