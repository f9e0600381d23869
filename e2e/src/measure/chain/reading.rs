//! How fast the daemon reads a chain: a long past from a source that tells of it in a real node's bytes, and the newest block
//! from a real node. The reader is a program of its own, optimised as the daemon is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use manifests::group::spec_hash;
use manifests::money::Amount;
use manifests::order::{Address, CloseReason};
use market::At;
use market::call::Call;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{Ground, Row, program};
use crate::access::Access;
use crate::chain::{Anvil, CHAIN_ID};
use crate::database::Postgres;
use crate::deployment;
use crate::ingress::WayIn;
use crate::measure::quantile;
use crate::progress::human;
use crate::story::direct::{Direct, Wanted};
use crate::story::world::World;
use crate::tools::Tools;
use crate::workspace;

/// What one million events are read from, and what is read into Postgres beside it.
const EVENTS: u64 = 1_000_000;
const EVENTS_FOR_POSTGRES: u64 = 200_000;
const LEASES_A_BLOCK: u64 = 10;
/// The newest blocks that are waited for, and what happens in each.
const BLOCKS: usize = 100;
const EVENTS_A_BLOCK: u64 = 300;
const MONEY: Amount = Amount(50_000_000);

pub(super) async fn rows(tools: &Tools) -> Result<Vec<Row>> {
    let program = program("backfill")?;
    let ground = Ground::lay(tools).await?;
    let world = World::on(access(&ground), "reading").await?;
    world.anvil.mine_on_demand().await?;
    let told = record(&world).await?;
    let mut rows = backfill(&program, &ground, &world, &told).await?;
    rows.push(newest(&program, &ground, &world, &told).await?);
    Ok(rows)
}

/// A ground as stories want it, although nothing but its chain is there.
fn access(ground: &Ground) -> Access {
    let nowhere = ([127, 0, 0, 1], 9).into();
    Access {
        folder: ground.folder.path().to_owned(),
        kubeconfig: PathBuf::new(),
        rpc: ground.anvil.url().to_owned(),
        chain_id: CHAIN_ID,
        way_in: WayIn::of_the_bench(),
        gateway: nowhere,
        metrics: nowhere,
        gpu_script: Some(PathBuf::new()),
        market: None,
    }
}

/// What a node told of one lease from its deployment to its end.
struct Told {
    template: PathBuf,
    logs: u64,
    /// The transaction that opened the deployment: who sent it and what it called.
    from: String,
    input: String,
}

async fn record(world: &World) -> Result<Told> {
    let account = world.accounts.tenants.first().context("there is no tenant")?;
    let tenant = Direct::of(world, account).await?;
    let operator = deployment::sender(world.chain.clone(), world.accounts.operator.wallet()?);
    let wanted = Wanted::of(&fs::read_to_string(workspace::root().join("e2e/documents/web.yaml"))?)?;
    let first = world.anvil.number("eth_blockNumber").await? + 1;
    let lease = tenant.deploy(1, wanted.manifest.digest(), MONEY).await?.order(1, 1);
    tenant.order(lease, &wanted).await?;
    let now = world.chain.head().await?.timestamp;
    let provider = world.accounts.owner.address;
    let bid = Call::PlaceBid {
        order: lease,
        provider,
        spec_hash: spec_hash(&wanted.spec.to_bytes()?),
        rate: wanted.max_rate,
        expires_at: now + 600,
        reclaim: 0,
        min_bill: 0,
    };
    deployment::send(&operator, "bid", &bid).await?;
    let bid = world.chain.bid(lease, provider, At::Latest).await?.context("there is no bid")?;
    tenant.accept(lease, &bid).await?;
    for round in 0..3 {
        world.anvil.call("evm_increaseTime", json!([600])).await?;
        let withdraw = Call::Withdraw { leases: vec![lease] };
        deployment::send(&operator, &format!("withdraw {round}"), &withdraw).await?;
    }
    tenant.call(&Call::CloseLease { lease, reason: CloseReason::TENANT }).await?;

    let contracts = world.chain.contracts();
    let filter = json!([{"fromBlock": format!("{first:#x}"), "address": contracts.market}]);
    let logs = world.anvil.call("eth_getLogs", filter).await?;
    let block = world.anvil.call("eth_getBlockByNumber", json!([format!("{first:#x}"), true])).await?;
    let opened = &block["transactions"][0];
    let word = |key: &str| Ok::<_, anyhow::Error>(opened[key].as_str().context("no transaction")?.to_owned());
    let tenant = account.address.to_string().trim_start_matches("0x").to_lowercase();
    let template = world.folder.join("lease.json");
    let count = logs.as_array().map_or(0, Vec::len);
    let text = json!({"registry": contracts.registry, "lease": format!("{tenant}{:016x}", 1), "logs": logs});
    fs::write(&template, text.to_string()).context("failed to write what was told")?;
    Ok(Told { template, logs: u64::try_from(count)?, from: word("from")?, input: word("input")? })
}

/// A measuring program that runs.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(program: &Path, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("failed to start the measuring program")?;
        let output = child.stdout.take().context("it has no output")?;
        Ok(Self { child, lines: BufReader::new(output).lines() })
    }

    /// The next line it tells.
    async fn line(&mut self) -> Result<Value> {
        let line = self
            .lines
            .next_line()
            .await?
            .context("the measuring program ended early: see its words above")?;
        serde_json::from_str(&line).with_context(|| format!("it tells {line}"))
    }

    async fn end(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait().await?;
        ensure!(status.success(), "the measuring program ended with {status}");
        Ok(())
    }
}

fn rate(line: &Value) -> Result<f64> {
    let (events, seconds) = (line["events"].as_f64(), line["seconds"].as_f64());
    Ok(events.context("no events")? / seconds.context("no time")?)
}

/// Reads so many leases into a database, and then their bare events into another.
async fn one_backfill(
    program: &Path,
    world: (&Path, Address, Address),
    leases: u64,
    databases: [&str; 2],
    copied: &str,
) -> Result<(Value, Value)> {
    let (template, market, provider) = world;
    let [database, floor] = databases;
    let (leases_text, a_block) = (leases.to_string(), LEASES_A_BLOCK.to_string());
    let template = template.to_str().context("a path is no text")?;
    let mut source = Running::start(program, &["source", template, &leases_text, &a_block])?;
    let url = source.line().await?["url"].as_str().context("the source tells no URL")?.to_owned();
    let arguments = ["read", &url, &market.to_string(), &provider.to_string(), database];
    let mut reader = Running::start(program, &arguments)?;
    let read = reader.line().await?;
    reader.end().await?;
    source.end().await?;
    ensure!(read["leases"] == leases, "of {leases} leases it stored {}", read["leases"]);
    let mut inserting = Running::start(program, &["insert", copied, floor])?;
    let inserted = inserting.line().await?;
    inserting.end().await?;
    Ok((read, inserted))
}

async fn backfill(program: &Path, ground: &Ground, world: &World, told: &Told) -> Result<Vec<Row>> {
    let folder = ground.folder.path();
    let sqlite = |name: &str| format!("sqlite://{}?mode=rwc", folder.join(name).display());
    let (market, provider) = (world.chain.contracts().market, world.accounts.owner.address);
    let of = (told.template.as_path(), market, provider);
    let leases = EVENTS.div_ceil(told.logs);
    let (one, two) = (sqlite("read.db"), sqlite("inserted.db"));
    let (read, inserted) = one_backfill(program, of, leases, [&one, &two], &one).await?;
    let peak = read["peak_kib"].as_u64().context("no peak")?;

    let postgres = Postgres::start().await?;
    let (three, four) = (postgres.create("read").await?, postgres.create("inserted").await?);
    let leases = EVENTS_FOR_POSTGRES.div_ceil(told.logs);
    let (read_there, inserted_there) = one_backfill(program, of, leases, [&three, &four], &one).await?;

    let row = |name, read: &Value, inserted: &Value, what| {
        let (ours, floor) = (rate(read)?, rate(inserted)?);
        let (figure, floor_figure) = (format!("{ours:.0} events/s"), format!("{floor:.0} events/s"));
        anyhow::Ok(Row {
            name,
            figure,
            target: "20,000 events/s",
            floor: floor_figure,
            ratio: ours / floor,
            what,
        })
    };
    let payload = fs::metadata(folder.join("inserted.db")).map_or(0, |file| file.len()) >> 20;
    Ok(vec![
        row(
            "backfill",
            &read,
            &inserted,
            "a million events of whole leases fetched, decoded, folded and stored in SQLite; their bare rows inserted",
        )?,
        row(
            "backfill_postgres",
            &read_there,
            &inserted_there,
            "200,000 of them in Postgres; a million bare rows inserted",
        )?,
        Row {
            name: "backfill_memory",
            figure: format!("{} MB", peak >> 10),
            target: "100 MB",
            floor: format!("{payload} MB"),
            #[expect(clippy::cast_precision_loss, reason = "megabytes are few")]
            ratio: (peak >> 10) as f64 / payload.max(1) as f64,
            what: "the most memory that the process ever held while it read that million; the bare rows on disk",
        },
    ])
}

/// From the moment a block is there until its facts are stored.
async fn newest(program: &Path, ground: &Ground, world: &World, told: &Told) -> Result<Row> {
    let contracts = world.chain.contracts();
    let database = format!("sqlite://{}?mode=rwc", ground.folder.path().join("newest.db").display());
    let provider = world.accounts.owner.address.to_string();
    let market = contracts.market.to_string();
    let arguments = ["follow", world.anvil.url(), &market, &provider, &database];
    let mut reader = Running::start(program, &arguments)?;
    while reader.line().await?["block"] != world.anvil.number("eth_blockNumber").await? {}
    let anvil = &world.anvil;
    anvil.call("anvil_impersonateAccount", json!([told.from])).await?;
    anvil.call("evm_setAutomine", json!([false])).await?;
    let (mut took, mut asked) = (Vec::with_capacity(BLOCKS), Vec::with_capacity(BLOCKS));
    for round in 0..u64::try_from(BLOCKS)? {
        open_deployments(anvil, told, &market, round).await?;
        anvil.call("evm_mine", json!([])).await?;
        let there = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let block = anvil.number("eth_blockNumber").await?;
        let stored = loop {
            let line = reader.line().await?;
            if line["block"] == block {
                break Duration::from_micros(line["stored_at_us"].as_u64().context("no time")?);
            }
        };
        took.push(stored.saturating_sub(there));
        let start = Instant::now();
        let facts = world.chain.facts_between(block, block).await?;
        asked.push(start.elapsed());
        ensure!(u64::try_from(facts.len())? == EVENTS_A_BLOCK, "block {block} holds {} events", facts.len());
    }
    reader.end().await?;
    took.sort();
    asked.sort();
    let (ours, floor) = (quantile(&took, 99), quantile(&asked, 99));
    Ok(Row {
        name: "block_to_facts",
        figure: format!("{} (p50 {})", human(ours), human(quantile(&took, 50))),
        target: "50 ms",
        floor: human(floor),
        ratio: ours.as_secs_f64() / floor.as_secs_f64(),
        what: "p99 from a block of 300 events at the node to its facts in SQLite, looked for every 5 ms; the node asked for them once",
    })
}

/// Hands the node as many transactions as a block is to hold, each of which opens a deployment of its own.
async fn open_deployments(anvil: &Anvil, told: &Told, market: &str, round: u64) -> Result<()> {
    // The selector and then the number of the deployment as a word.
    let (selector, rest) = (&told.input[..10], &told.input[74..]);
    for number in 0..EVENTS_A_BLOCK {
        let dseq = 1_000 + round * EVENTS_A_BLOCK + number;
        let data = format!("{selector}{dseq:064x}{rest}");
        let transaction = json!([{"from": told.from, "to": market, "data": data, "gas": "0x186a0"}]);
        anvil.call("eth_sendTransaction", transaction).await?;
    }
    Ok(())
}
