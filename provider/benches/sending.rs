//! A program that `cargo e2e bench chain` starts, optimised as the daemon is: the sender over the daemon's store gets as many
//! intents mined as it is asked for, and then the node, set back, is handed the very same bytes. Writes one line of JSON with
//! the seconds of both.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt as _;
use manifests::money::Amount;
use manifests::order::Address;
use market::Chain;
use market::call::Call;
use market::sender::{Attempt, Journal, Outcome, Sender, Settings, Verdict};
use market::wallet::Wallet;
use provider::store::{DatabaseUrl, IntentKind, NewIntent, Sealer, Store};
use serde_json::{Value, json};

const CHAIN_ID: u64 = 31337;
/// How many are on their way at once.
const AT_ONCE: usize = 64;
/// How long the node may take to mine what it was handed.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [rpc, market, folder, count] = arguments[..] else {
        bail!("`cargo e2e bench chain` starts this program with what it needs");
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(rpc, market, Path::new(folder), count.parse()?))
}

/// The daemon's journal, and every attempt that went through it.
struct Kept {
    store: Store,
    attempts: Mutex<Vec<Attempt>>,
}

impl Journal for &Kept {
    async fn outcome(&self, intent: &str) -> Result<Option<Outcome>> {
        self.store.outcome(intent).await
    }

    async fn live(&self, key: Address) -> Result<Vec<Attempt>> {
        self.store.live(key).await
    }

    async fn serving(&self, key: Address, intent: &str) -> Result<Vec<Attempt>> {
        self.store.serving(key, intent).await
    }

    async fn held(&self, key: Address) -> Result<Vec<u64>> {
        self.store.held(key).await
    }

    async fn remember(&self, attempt: &Attempt) -> Result<()> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).push(attempt.clone());
        self.store.remember(attempt).await
    }

    async fn settle(&self, key: Address, nonce: u64, verdict: &Verdict) -> Result<()> {
        self.store.settle(key, nonce, verdict).await
    }
}

/// A node in its own dialect.
struct Node<'a> {
    http: reqwest::Client,
    rpc: &'a str,
}

impl Node<'_> {
    async fn call(&self, method: &str, params: Value) -> Result<Value> {
        let question = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut answer: Value = self.http.post(self.rpc).json(&question).send().await?.json().await?;
        ensure!(answer.get("error").is_none(), "{method}: {answer}");
        Ok(answer["result"].take())
    }

    async fn mined(&self, key: Address) -> Result<u64> {
        let count = self.call("eth_getTransactionCount", json!([key, "latest"])).await?;
        let digits = count.as_str().and_then(|text| text.strip_prefix("0x"));
        digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).context("a count that is no number")
    }
}

async fn measure(rpc: &str, market: &str, folder: &Path, count: u64) -> Result<()> {
    market::tls::install_provider();
    let market: Address = market.parse().map_err(|_| anyhow::anyhow!("{market} is no address"))?;
    let wallet = Wallet::open(&folder.join("key.json"), &folder.join("key.password"))?;
    let (key, node) = (wallet.address(), Node { http: reqwest::Client::new(), rpc });
    let database: DatabaseUrl = format!("sqlite://{}", folder.join("sent.db").display()).parse()?;
    let store = Store::open(&database, Sealer::new(&[7; 32])).await?;
    let call = Call::MintTestToken { to: key, amount: Amount(1) };
    let intents: Vec<NewIntent> = (0..count)
        .map(|number| NewIntent {
            id: format!("mint {number}"),
            kind: IntentKind::Withdraw,
            order: None,
            call: call.clone(),
            deadline: None,
        })
        .collect();
    for intent in &intents {
        store.put_intent(intent, 0).await?;
    }
    let kept = Kept { store, attempts: Mutex::default() };
    let chain = Chain::connect(rpc, CHAIN_ID, market).await?;
    let sender = Sender::new(chain, wallet, &kept, Settings::default());
    let before = node.call("evm_snapshot", json!([])).await?;

    let start = Instant::now();
    let sends = futures::stream::iter(&intents).map(|intent| sender.send(&intent.id, &intent.call));
    let outcomes: Vec<_> = sends.buffer_unordered(AT_ONCE).collect().await;
    let sender_took = start.elapsed();
    for outcome in outcomes {
        ensure!(matches!(outcome?, Outcome::Mined { .. }), "a transaction was refused");
    }
    ensure!(node.mined(key).await? == count, "not one transaction an intent");

    node.call("evm_revert", json!([before])).await?;
    let mut attempts = kept.attempts.lock().unwrap_or_else(PoisonError::into_inner).clone();
    attempts.sort_by_key(|attempt| attempt.nonce);
    let raws: Vec<String> =
        attempts.iter().map(|attempt| format!("0x{}", hex::encode(&attempt.raw))).collect();
    let start = Instant::now();
    let handed: Vec<_> = raws.iter().map(|raw| node.call("eth_sendRawTransaction", json!([raw]))).collect();
    let mut handed = futures::stream::iter(handed).buffered(AT_ONCE);
    while let Some(taken) = handed.next().await {
        taken?;
    }
    while node.mined(key).await? < count {
        ensure!(start.elapsed() < PATIENCE, "the node does not mine what it was handed");
    }
    let node_took = start.elapsed();
    tell(&json!({"sender": sender_took.as_secs_f64(), "node": node_took.as_secs_f64()}))
}

#[expect(clippy::print_stdout, reason = "the line is what the program is for")]
fn tell(line: &Value) -> Result<()> {
    println!("{line}");
    Ok(())
}
