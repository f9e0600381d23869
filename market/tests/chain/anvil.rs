//! A chain of our own for one test: an anvil on a free port of loopback, gone with the test.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use manifests::money::{Amount, Rate};
use manifests::order::{AccountId, Address, Hash, OrderId};
use market::call::{Call, OrderTerms, class_hash};
use market::deploy::{Plan, deploy};
use market::sender::{MemoryJournal, Outcome, Sender, Settings};
use market::wallet::Wallet;
use market::{Chain, Contracts};
use serde_json::{Value, json};

pub(crate) const CHAIN_ID: u64 = 31337;
pub(crate) const SPEC: &str = r#"{"name":"web"}"#;

/// The first accounts of every anvil; the keys are public.
pub(crate) const KEYS: [&str; 4] = [
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
];

pub(crate) struct Anvil {
    process: Child,
    url: String,
    http: reqwest::Client,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where the node is: `BERTH_ANVIL`, or what `cargo e2e tools` put into the cache.
fn binary() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("BERTH_ANVIL") {
        return Some(PathBuf::from(path));
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    let parts = std::fs::read_dir(cache.join("berth/tools")).ok()?;
    parts.filter_map(|part| Some(part.ok()?.path().join("bin/anvil"))).find(|path| path.is_file())
}

impl Anvil {
    /// Starts a node; `None`, after saying so loudly, where there is none.
    pub(crate) fn start() -> Option<Self> {
        let Some(path) = binary() else {
            eprintln!(
                "LEFT OUT: this test needs anvil; run `cargo e2e tools`, or name the binary in BERTH_ANVIL"
            );
            return None;
        };
        market::tls::install_provider();
        let mut process = Command::new(&path)
            .args(["--port", "0", "--host", "127.0.0.1", "--slots-in-an-epoch", "1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", path.display()));
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("Listening on ").map(str::to_owned))
            .expect("anvil says where it listens");
        // Its pipe must stay empty, or it stops.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { process, url: format!("http://{address}"), http: reqwest::Client::new() })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A method that only a test node has.
    pub(crate) async fn ask(&self, method: &str, params: Value) -> Value {
        let question = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer: Value =
            self.http.post(&self.url).json(&question).send().await.expect("sent").json().await.expect("json");
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Several questions in one, answered in their order.
    pub(crate) async fn ask_all(&self, questions: impl Iterator<Item = (&str, Value)>) -> Vec<Value> {
        let numbered = questions.enumerate().map(|(id, (method, params))| {
            json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
        });
        let questions = Value::Array(numbered.collect());
        let asked = questions.clone();
        let answers = self.http.post(&self.url).json(&questions).send().await.expect("sent");
        let mut answers: Vec<Value> = answers.json().await.expect("a list");
        answers.sort_by_key(|answer| answer["id"].as_u64());
        let result = |mut answer: Value| {
            let id = answer["id"].as_u64().and_then(|id| usize::try_from(id).ok()).unwrap_or_default();
            assert!(answer.get("error").is_none(), "{}: {answer}", asked[id]);
            answer["result"].take()
        };
        answers.into_iter().map(result).collect()
    }

    pub(crate) async fn mine_by_hand(&self) {
        self.ask("evm_setAutomine", json!([false])).await;
    }

    /// Waits until this many transactions are known and not mined.
    pub(crate) async fn until_pending(&self, count: u64) {
        let wanted = json!(format!("{count:#x}"));
        let all_there = async {
            while self.ask("txpool_status", json!([])).await["pending"] != wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all_there).await.expect("sent in time");
    }

    pub(crate) async fn mine(&self) {
        self.ask("evm_mine", json!([])).await;
    }

    /// Mines one block at this second.
    pub(crate) async fn mine_at(&self, second: u64) {
        self.ask("evm_mine", json!([second])).await;
    }

    /// The next block is mined at this second.
    pub(crate) async fn next_block_at(&self, second: u64) {
        self.ask("evm_setNextBlockTimestamp", json!([second])).await;
    }
}

pub(crate) fn wallet(index: usize) -> Wallet {
    Wallet::from_private_key(KEYS[index]).expect("a key")
}

pub(crate) fn quick() -> Settings {
    Settings {
        fastest_poll: Duration::from_millis(5),
        slowest_poll: Duration::from_millis(50),
        rebroadcast_after: Duration::from_millis(500),
        stuck_after: Duration::from_secs(1),
        ..Settings::default()
    }
}

/// A chain with a market, a provider that is registered, and a tenant with tokens.
pub(crate) struct Market {
    pub(crate) anvil: Anvil,
    pub(crate) chain: Chain,
    pub(crate) contracts: Contracts,
    pub(crate) tenant: Sender<MemoryJournal>,
    pub(crate) provider: Sender<MemoryJournal>,
}

pub(crate) const TENANT_TOKENS: Amount = Amount(50_000_000);
pub(crate) const PAYOUT: Address = Address([0x77; 20]);
pub(crate) const SPKI: Hash = Hash([0x5a; 32]);

impl Market {
    pub(crate) async fn open() -> Option<Self> {
        let anvil = Anvil::start()?;
        let plan = Plan::for_tests(wallet(0).address());
        let book = deploy(anvil.url(), CHAIN_ID, &wallet(0), plan).await.expect("deployed");
        let contracts = book.contracts();
        let chain = Chain::connect(anvil.url(), CHAIN_ID, contracts.market).await.expect("connected");
        assert_eq!(chain.contracts(), contracts);
        let sender = |index| Sender::new(chain.clone(), wallet(index), MemoryJournal::default(), quick());
        let (tenant, provider) = (sender(1), sender(2));
        let stake = Amount(200_000_000);
        for (to, amount) in [(tenant.address(), TENANT_TOKENS), (provider.address(), stake)] {
            mined(&tenant, &Call::MintTestToken { to, amount }).await;
        }
        mined(&provider, &Call::ApproveRegistry { amount: stake }).await;
        let register = Call::Register {
            operator: provider.address(),
            payout: PAYOUT,
            uri: "https://127.0.0.1:8443".to_owned(),
            spki_hash: SPKI,
            stake,
        };
        mined(&provider, &register).await;
        Some(Self { anvil, chain, contracts, tenant, provider })
    }

    pub(crate) fn account(&self, dseq: u64) -> AccountId {
        AccountId { tenant: self.tenant.address(), dseq }
    }

    pub(crate) async fn now(&self) -> u64 {
        self.chain.head().await.expect("a head").timestamp
    }

    /// A deployment with money and one order on the book.
    pub(crate) async fn order(&self, dseq: u64, deposit: Amount, max_rate: Rate) -> OrderId {
        let account = self.account(dseq);
        let order = account.order(1, 1);
        mined(&self.tenant, &Call::CreateDeployment { dseq, manifest_hash: Hash([dseq as u8; 32]) }).await;
        mined(&self.tenant, &Call::ApproveMarket { amount: deposit }).await;
        mined(&self.tenant, &Call::Deposit { account, amount: deposit }).await;
        let terms = OrderTerms {
            class: class_hash("cpu"),
            max_rate,
            expires_at: self.now().await + 3600,
            min_reclaim: 0,
            award: None,
        };
        mined(&self.tenant, &Call::CreateOrder { order, terms, spec: SPEC.to_owned() }).await;
        order
    }

    pub(crate) async fn bid(&self, order: OrderId, rate: Rate) -> Call {
        self.bid_of(self.provider.address(), order, rate).await
    }

    pub(crate) async fn bid_of(&self, provider: Address, order: OrderId, rate: Rate) -> Call {
        Call::PlaceBid {
            order,
            provider,
            spec_hash: market::call::keccak256(SPEC.as_bytes()),
            rate,
            expires_at: self.now().await + 1800,
            reclaim: 0,
            min_bill: 0,
        }
    }
}

/// Sends a call under a name of its own and wants it mined.
pub(crate) async fn mined(sender: &Sender<MemoryJournal>, call: &Call) -> Outcome {
    let intent = format!("{call:?}");
    let outcome = sender.send(&intent, call).await.unwrap_or_else(|error| panic!("{call:?}: {error:#}"));
    assert!(matches!(outcome, Outcome::Mined { .. }), "{call:?}: {outcome:?}");
    outcome
}

pub(crate) fn rate(scaled: u128) -> Rate {
    Rate::new(scaled).expect("small")
}

/// Puts a second provider into the market.
pub(crate) async fn rival(market: &Market) -> Sender<MemoryJournal> {
    let rival = Sender::new(market.chain.clone(), wallet(3), MemoryJournal::default(), quick());
    let stake = Amount(200_000_000);
    mined(&market.tenant, &Call::MintTestToken { to: rival.address(), amount: stake }).await;
    mined(&rival, &Call::ApproveRegistry { amount: stake }).await;
    let register = Call::Register {
        operator: rival.address(),
        payout: rival.address(),
        uri: "https://127.0.0.1:1".to_owned(),
        spki_hash: Hash::default(),
        stake,
    };
    mined(&rival, &register).await;
    rival
}
