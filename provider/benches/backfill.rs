//! Programs that `cargo e2e bench chain` starts, optimised as the daemon is: a source that speaks JSON-RPC and tells of as many
//! leases as it is asked for, in the very bytes in which a node told of one; a reader, which is the daemon's follower over the
//! daemon's store; and the least that could be done in its place. Each writes one line of JSON.

use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use manifests::order::Address;
use market::Chain;
use provider::follower::{Follower, Settings};
use provider::freshness::Freshness;
use provider::metrics::Metrics;
use provider::store::{Sealer, Store};
use provider::task::Turn as _;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _};

const CHAIN_ID: u64 = 31337;

fn main() -> Result<()> {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments[..] {
        ["source", template, leases, a_block] => {
            runtime.block_on(source(template, leases.parse()?, a_block.parse()?))
        }
        ["read", rpc, market, provider, database] => runtime.block_on(read(rpc, market, provider, database)),
        ["insert", from, to] => runtime.block_on(insert(from, to)),
        ["follow", rpc, market, provider, database] => {
            runtime.block_on(follow(rpc, market, provider, database))
        }
        _ => tell(&json!("`cargo e2e bench chain` starts these programs with what they need")),
    }
}

#[expect(clippy::print_stdout, reason = "the line is what the program is for")]
fn tell(line: &Value) -> Result<()> {
    println!("{line}");
    Ok(())
}

/// A lease's life as a node told it, and how much of it is told.
struct Source {
    /// What every call of the market answers.
    word: String,
    /// The logs, cut where a number goes.
    logs: Vec<Vec<Piece>>,
    leases: u64,
    a_block: u64,
}

enum Piece {
    Text(String),
    Dseq,
    Block,
    Hash,
    Index,
}

impl Source {
    fn of(template: &str, leases: u64, a_block: u64) -> Result<Self> {
        let template: Value = serde_json::from_str(&std::fs::read_to_string(template)?)?;
        let text = |key: &str| template[key].as_str().with_context(|| format!("the template has no {key}"));
        let (registry, lease) = (text("registry")?, text("lease")?);
        let word = format!("0x{:0>64}", registry.trim_start_matches("0x"));
        let logs = template["logs"].as_array().context("the template has no logs")?;
        let logs = logs.iter().map(|log| {
            let mut log = log.clone();
            log["blockNumber"] = json!("@B@");
            log["blockHash"] = json!("@H@");
            log["logIndex"] = json!("@I@");
            let cut = log.to_string().replace(lease, &format!("{}@D@", &lease[..40]));
            cut.split('@')
                .map(|piece| match piece {
                    "D" => Piece::Dseq,
                    "B" => Piece::Block,
                    "H" => Piece::Hash,
                    "I" => Piece::Index,
                    text => Piece::Text(text.to_owned()),
                })
                .collect()
        });
        Ok(Self { word, logs: logs.collect(), leases, a_block })
    }

    fn head(&self) -> u64 {
        self.leases.div_ceil(self.a_block)
    }

    fn block(&self, number: u64) -> Value {
        if number > self.head() {
            return Value::Null;
        }
        json!({
            "number": format!("{number:#x}"), "hash": hash(number), "parentHash": hash(number.wrapping_sub(1)),
            "timestamp": format!("{:#x}", 1_700_000_000 + number), "logsBloom": format!("0x{}", "f".repeat(512)),
        })
    }

    /// What happened in these blocks, as text.
    fn logs(&self, first: u64, last: u64) -> String {
        use std::fmt::Write as _;
        let mut text = String::from("[");
        for block in first.max(1)..=last.min(self.head()) {
            let of_block = (block - 1) * self.a_block..(block * self.a_block).min(self.leases);
            for (index, (dseq, log)) in
                of_block.flat_map(|dseq| self.logs.iter().map(move |log| (dseq, log))).enumerate()
            {
                if text.len() > 1 {
                    text.push(',');
                }
                for piece in log {
                    match piece {
                        Piece::Text(piece) => text.push_str(piece),
                        Piece::Dseq => write!(text, "{:016x}", dseq + 1).expect("a text takes all"),
                        Piece::Block => write!(text, "{block:#x}").expect("a text takes all"),
                        Piece::Hash => text.push_str(&hash(block)),
                        Piece::Index => write!(text, "{index:#x}").expect("a text takes all"),
                    }
                }
            }
        }
        text.push(']');
        text
    }
}

fn hash(block: u64) -> String {
    format!("0x{block:064x}")
}

fn number(value: &Value) -> u64 {
    let digits = value.as_str().and_then(|text| text.get(text.len().saturating_sub(16)..));
    digits
        .and_then(|digits| u64::from_str_radix(digits.trim_start_matches("0x"), 16).ok())
        .unwrap_or(u64::MAX)
}

async fn answer(State(source): State<Arc<Source>>, question: String) -> String {
    let question: Value = serde_json::from_str(&question).unwrap_or_default();
    let first = &question["params"][0];
    let result = match question["method"].as_str().unwrap_or_default() {
        "eth_chainId" => json!(format!("{CHAIN_ID:#x}")).to_string(),
        "eth_getCode" => json!("0x60").to_string(),
        "eth_call" => json!(source.word).to_string(),
        "eth_getBlockByNumber" if first == "latest" => source.block(source.head()).to_string(),
        "eth_getBlockByNumber" | "eth_getBlockByHash" => source.block(number(first)).to_string(),
        "eth_getLogs" if first["blockHash"].is_string() => {
            let block = number(&first["blockHash"]);
            source.logs(block, block)
        }
        "eth_getLogs" => source.logs(number(&first["fromBlock"]), number(&first["toBlock"])),
        _ => "null".to_owned(),
    };
    format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, question["id"])
}

/// Tells of so many leases until its input ends.
async fn source(template: &str, leases: u64, a_block: u64) -> Result<()> {
    let source = Arc::new(Source::of(template, leases, a_block)?);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    tell(&json!({ "url": format!("http://{}", listener.local_addr()?), "logs": source.logs.len() }))?;
    let router = Router::new().route("/", post(answer)).with_state(source);
    tokio::spawn(async move { axum::serve(listener, router).await });
    input_ends().await
}

async fn input_ends() -> Result<()> {
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}

async fn follower(rpc: &str, market: &str, provider: &str, database: &str) -> Result<Follower<Chain>> {
    let market: Address = market.parse()?;
    let chain = Chain::connect(rpc, CHAIN_ID, market).await?;
    let store = Store::open(&database.parse()?, Sealer::new(&[7; 32])).await?;
    let settings = Settings {
        provider: provider.parse()?,
        start_block: 0,
        deepest_wait: 2,
        freshness: Freshness::default(),
        nudges: Vec::new(),
    };
    Ok(Follower::new(chain, store, settings, Metrics::new()?))
}

/// Follows a chain to its head and tells how long that took and how much memory at most.
async fn read(rpc: &str, market: &str, provider: &str, database: &str) -> Result<()> {
    let mut follower = follower(rpc, market, provider, database).await?;
    let start = Instant::now();
    loop {
        let report = follower.turn().await?;
        if report.changed == 0 && report.due.is_none() {
            break;
        }
    }
    let took = start.elapsed();
    let status = std::fs::read_to_string("/proc/self/status").context("this is no Linux")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    let peak: u64 = peak.context("the kernel does not tell the peak of memory")?.parse()?;
    let pool = pool(database).await?;
    let count = |table: &'static str| {
        let (pool, text) = (pool.clone(), format!("select count(*) as n from {table}"));
        async move { anyhow::Ok(sqlx::query(AssertSqlSafe(text)).fetch_one(&pool).await?.try_get::<i64, _>("n")?) }
    };
    let (events, leases) = (count("events").await?, count("leases").await?);
    tell(&json!({ "events": events, "leases": leases, "seconds": took.as_secs_f64(), "peak_kib": peak }))
}

async fn pool(database: &str) -> Result<sqlx::AnyPool> {
    sqlx::any::install_default_drivers();
    Ok(sqlx::any::AnyPoolOptions::new().max_connections(1).connect(database).await?)
}

const ROWS_A_STATEMENT: usize = 500;
const STATEMENTS_A_TRANSACTION: usize = 8;

/// Copies the bare events of one database into a new one, in statements and transactions of the same size, and tells how long
/// the writing took.
async fn insert(from: &str, to: &str) -> Result<()> {
    drop(Store::open(&to.parse()?, Sealer::new(&[7; 32])).await?);
    let (from, to) = (pool(from).await?, pool(to).await?);
    let (mut took, mut total, mut after) = (Duration::ZERO, 0, -1_i64);
    loop {
        let page = i64::try_from(ROWS_A_STATEMENT * STATEMENTS_A_TRANSACTION)?;
        let rows = sqlx::query("select * from events where rowid > $1 order by rowid limit $2")
            .bind(after)
            .bind(page)
            .fetch_all(&from)
            .await?;
        if rows.is_empty() {
            break;
        }
        after = after.max(0) + i64::try_from(rows.len())?;
        total += rows.len();
        let start = Instant::now();
        let mut transaction = to.begin().await?;
        for rows in rows.chunks(ROWS_A_STATEMENT) {
            let values: Vec<String> = (0..rows.len())
                .map(|row| {
                    let places: Vec<String> = (1..=5).map(|place| format!("${}", row * 5 + place)).collect();
                    format!("({})", places.join(", "))
                })
                .collect();
            let into = "events (block_hash, log_index, block, subject, payload)";
            let text = format!("insert into {into} values {}", values.join(", "));
            let mut query = sqlx::query(AssertSqlSafe(text));
            for row in rows {
                query = query.bind(row.try_get::<String, _>("block_hash")?);
                query = query.bind(row.try_get::<i64, _>("log_index")?).bind(row.try_get::<i64, _>("block")?);
                query = query.bind(row.try_get::<String, _>("subject")?);
                query = query.bind(row.try_get::<String, _>("payload")?);
            }
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        took += start.elapsed();
    }
    tell(&json!({ "events": total, "seconds": took.as_secs_f64() }))
}

/// Follows a chain until its input ends and tells when the facts of each block were stored.
async fn follow(rpc: &str, market: &str, provider: &str, database: &str) -> Result<()> {
    let mut follower = follower(rpc, market, provider, database).await?;
    let store = Store::open(&database.parse()?, Sealer::new(&[7; 32])).await?;
    let following = async {
        loop {
            let report = follower.turn().await?;
            if report.changed > 0 {
                let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
                let cursor = store.cursor().await?.context("it follows no chain")?;
                tell(&json!({ "block": cursor.number, "stored_at_us": u64::try_from(now)? }))?;
            } else if report.due.is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    tokio::select! {
        ended = following => { let ended: Result<()> = ended; ended }
        ended = input_ends() => ended,
    }
}
