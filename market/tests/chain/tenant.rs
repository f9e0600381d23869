//! `berth` as a tenant runs it: the binary, a real chain, a provider that bids, and a gateway.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use fault_proxy::Relay;
use manifests::money::Amount;
use manifests::order::{Address, Fact, Hash, Order, OrderId};
use market::At;
use market::api::Answer;
use market::call::Call;
use market::client::{ClientError, GatewayClient};
use market::reader::OrderState;
use market::revert::MarketError;
use market::sender::{MemoryJournal, SendError, Sender};
use market::wallet::Wallet;
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::anvil::{CHAIN_ID, Market, TENANT_TOKENS, mined, quick, rate, rival, wallet};
use crate::gateway::Gateway;

const LIMIT: Duration = Duration::from_secs(60);
const TENANT_KEY: &str = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const DOCUMENT: &str = r#"
version: "2.0"
services:
  web:
    image: berthdemo/hello:1.0
    env: [SECRET=do-not-tell]
    expose: [{port: 80, to: [{global: true}]}]
profiles:
  compute:
    web: {resources: {cpu: {units: 0.1}, memory: {size: 64Mi}, storage: {size: 64Mi}}}
  placement:
    here: {pricing: {web: {denom: uact, amount: 1000}}}
    there: {pricing: {web: {denom: uact, amount: 1000}}}
deployment:
  web:
    here: {profile: web, count: 1}
"#;

/// A tenant's machine: home folder, key, context.
struct Machine {
    home: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        std::fs::write(home.path().join("password"), "hush\n").expect("written");
        let (keystore, password) = (home.path().join("key.json"), home.path().join("password"));
        #[cfg(unix)]
        std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .expect("set");
        Wallet::import(TENANT_KEY, &keystore, &password).expect("stored");
        Self { home }
    }

    async fn ready(market: &Market) -> Self {
        let machine = Self::new();
        let added = machine.berth(&machine.context_of(market)).await;
        assert!(added.status.success(), "{}", text(&added.stderr));
        machine
    }

    fn context_of(&self, market: &Market) -> Vec<String> {
        let Self { home } = self;
        [
            "context",
            "add",
            "test",
            "--rpc",
            market.anvil.url(),
            "--chain-id",
            &CHAIN_ID.to_string(),
            "--market",
        ]
        .into_iter()
        .map(str::to_owned)
        .chain([market.contracts.market.to_string()])
        .chain(["--keystore".to_owned(), home.path().join("key.json").display().to_string()])
        .chain(["--password-file".to_owned(), home.path().join("password").display().to_string()])
        .collect()
    }

    fn document(&self, text: &str) -> String {
        let path = self.home.path().join("web.yaml");
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }

    fn command<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(PathBuf::from(env!("CARGO_BIN_EXE_berth")));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    fn start<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Child {
        self.command(arguments).spawn().expect("started")
    }

    async fn berth<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Output {
        timeout(LIMIT, self.command(arguments).output()).await.expect("in time").expect("ran")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

/// One sentence of our own, and nothing that only a programmer reads.
fn is_plain(output: &Output) -> bool {
    let error = text(&output.stderr);
    error.starts_with("berth: ")
        && !error.contains("panicked")
        && !error.contains("Error {")
        && error.lines().count() <= 2
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not happen in time");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn tokens(market: &Market) -> Amount {
    market.chain.token_balance(market.tenant.address(), At::Latest).await.expect("read")
}

/// The orders that were posted so far.
async fn orders(market: &Market) -> Vec<OrderId> {
    let head = market.chain.head().await.expect("head").number;
    let facts = market.chain.facts_between(0, head).await.expect("read");
    facts
        .into_iter()
        .filter_map(|logged| match logged.fact {
            Fact::OrderCreated(order) => Some(order.id),
            _ => None,
        })
        .collect()
}

/// Puts a gateway behind the provider's record.
async fn gateway(market: &Market) -> Gateway {
    let gateway = Gateway::start(market.provider.address(), market.chain.gateway_domain()).await;
    let update = Call::SetGateway { uri: gateway.uri(), spki_hash: gateway.spki };
    mined(&market.provider, &update).await;
    gateway
}

/// Bids on the first orders that come, as a provider's daemon would.
async fn bid_on(market: &Market, count: usize) -> Vec<OrderId> {
    let posted = until("the orders", async || {
        let posted = orders(market).await;
        (posted.len() >= count).then_some(posted)
    })
    .await;
    for order in &posted[..count] {
        let facts = market.chain.facts_of_account(order.account(), 0).await.expect("read");
        let terms = facts.into_iter().find_map(|logged| match logged.fact {
            Fact::OrderCreated(created) if created.id == *order => Some(created),
            _ => None,
        });
        let terms = terms.expect("it was posted");
        let bid = Call::PlaceBid {
            order: *order,
            provider: market.provider.address(),
            spec_hash: terms.spec_hash,
            rate: rate(100_000_000_001),
            expires_at: terms.expires_at,
            reclaim: 0,
            min_bill: 0,
        };
        mined(&market.provider, &bid).await;
    }
    posted
}

async fn bid_on_first(market: &Market) -> OrderId {
    bid_on(market, 1).await[0]
}

fn with_two_groups() -> String {
    DOCUMENT.replace(
        "    here: {profile: web, count: 1}",
        "    here: {profile: web, count: 1}\n    there: {profile: web, count: 1}",
    )
}

#[tokio::test]
async fn a_document_comes_up_is_seen_and_goes_down_with_every_unit_told() {
    let Some(market) = Market::open().await else { return };
    let gateway = gateway(&market).await;
    let machine = Machine::ready(&market).await;
    let document = machine.document(DOCUMENT);
    let up_arguments = ["up", &document, "--deposit", "5", "--yes"];
    let (up, order) = tokio::join!(machine.berth(&up_arguments), bid_on_first(&market));
    assert_eq!(code(&up), Some(0), "{}", text(&up.stderr));
    assert_eq!(text(&up.stdout), "http://hello.example.test\n");
    let manifest = gateway.known.lock().expect("fine").manifest.clone().expect("it was sent");
    let digest = manifests::manifest::Manifest::from_json(&manifest).expect("a manifest").digest();
    let account = market.chain.account(order.account(), At::Latest).await.expect("read").expect("there");
    assert_eq!(account.manifest_hash, digest, "what was sent is what stands on chain");
    assert!(!text(&up.stderr).contains("do-not-tell"));

    let again = machine.berth(&up_arguments).await;
    assert_eq!(code(&again), Some(0), "{}", text(&again.stderr));
    assert_eq!(orders(&market).await, [order], "running it again begins nothing new");
    let other = machine.document(&DOCUMENT.replace("hello:1.0", "hello:2.0"));
    let refused = machine.berth(&["up", &other, "--yes"]).await;
    assert_eq!(code(&refused), Some(2), "{}", text(&refused.stderr));

    let list = machine.berth(&["ls"]).await;
    assert!(
        text(&list.stdout).contains("web") && text(&list.stdout).contains("leased"),
        "{}",
        text(&list.stdout)
    );
    let status = machine.berth(&["status", "web", "--output", "json"]).await;
    let json: Value = serde_json::from_slice(&status.stdout).expect("json");
    assert_eq!(json["groups"][0]["status"]["services"][0]["pods"][0]["gpus"][0], "GPU-1234");
    assert_eq!(json["groups"][0]["rate"], "100000000001");
    let status = machine.berth(&["status"]).await;
    assert!(text(&status.stdout).contains("GPU-1234"), "{}", text(&status.stdout));
    let logs = machine.berth(&["logs", "web", "--tail", "5"]).await;
    assert_eq!(text(&logs.stdout), "web/web-1 hello\nweb/web-1 [31mworld\n", "without control characters");

    let deposit = machine.berth(&["deposit", "web", "1.5"]).await;
    assert!(text(&deposit.stdout).contains("in escrow, which lasts"), "{}", text(&deposit.stderr));
    let lease = market.chain.lease(order, At::Latest).await.expect("read").expect("there");
    market.anvil.next_block_at(lease.started_at + 7777).await;
    let down = machine.berth(&["down", "web"]).await;
    assert_eq!(code(&down), Some(0), "{}", text(&down.stderr));
    // 7777 seconds at 100.000000001 units are 777700 units and a part of one.
    let story = text(&down.stdout);
    for part in
        ["deposited $6.500000", "refunded $5.722299", "earned by providers and not yet taken $0.777700"]
    {
        assert!(story.contains(part), "{story}");
    }
    assert_eq!(tokens(&market).await, Amount(TENANT_TOKENS.0 - 777_701));
    assert!(!text(&machine.berth(&["ls"]).await.stdout).contains("web"));
    assert_eq!(code(&machine.berth(&["status", "web"]).await), Some(3));
}

fn that_goes_to_the_lowest() -> String {
    DOCUMENT.replace(
        "    here: {pricing: {web: {denom: uact, amount: 1000}}}",
        "    here: {x-berth: {award: lowest, deadline: 10m}, pricing: {web: {denom: uact, amount: 1000}}}",
    )
}

/// The order on the book, and until when it takes bids.
async fn auction(market: &Market) -> (Order, u64) {
    until("the order", async || {
        let head = market.chain.head().await.expect("head").number;
        let facts = market.chain.facts_between(0, head).await.expect("read");
        facts.into_iter().find_map(|logged| match logged.fact {
            Fact::OrderCreated(order) => order.award.map(|deadline| (order, deadline)),
            _ => None,
        })
    })
    .await
}

fn bid_at(order: &Order, provider: Address, deadline: u64, asked: u128) -> Call {
    Call::PlaceBid {
        order: order.id,
        provider,
        spec_hash: order.spec_hash,
        rate: rate(asked),
        expires_at: deadline + 300,
        reclaim: 0,
        min_bill: 0,
    }
}

#[tokio::test]
async fn an_order_that_goes_to_the_lowest_bid_is_awarded_by_a_stranger_and_comes_up() {
    let Some(market) = Market::open().await else { return };
    let rival = rival(&market).await;
    let _gateway = gateway(&market).await;
    let machine = Machine::ready(&market).await;
    let document = machine.document(&that_goes_to_the_lowest());
    let arguments = ["up", &document, "--deposit", "5", "--yes"];
    let contest = async {
        let (order, deadline) = auction(&market).await;
        mined(&rival, &bid_at(&order, rival.address(), deadline, 150_000_000_000)).await;
        let dearer = rival.send("dearer", &bid_at(&order, rival.address(), deadline, 149_999_999_999)).await;
        assert!(dearer.is_ok(), "the best bidder lowers its own bid by any step: {dearer:?}");
        let early = rival.simulate(&Call::Award { order: order.id }).await;
        assert!(
            matches!(early, Err(SendError::Refused(MarketError::AwardNotDue { .. }))),
            "not before the deadline: {early:?}"
        );
        mined(&market.provider, &bid_at(&order, market.provider.address(), deadline, 100_000_000_000)).await;
        let posted = market.chain.order(order.id, At::Latest).await.expect("read").expect("there");
        let best = posted.award.and_then(|award| award.best);
        assert_eq!(best, Some((market.provider.address(), rate(100_000_000_000))));
        let freed = market.chain.provider(rival.address(), At::Latest).await.expect("read").expect("there");
        assert_eq!(freed.locked, Amount::ZERO, "its bond is free again");
        // The award is in the first block after the deadline, so that the tenant has no block to see it due in.
        market.anvil.next_block_at(deadline + 1).await;
        let stranger = Sender::new(market.chain.clone(), wallet(0), MemoryJournal::default(), quick());
        mined(&stranger, &Call::Award { order: order.id }).await;
        order.id
    };
    let (up, order) = tokio::join!(machine.berth(&arguments), contest);
    assert_eq!(code(&up), Some(0), "{}", text(&up.stderr));
    assert_eq!(text(&up.stdout), "http://hello.example.test\n");
    assert!(!text(&up.stderr).contains("awarded to"), "somebody else did it: {}", text(&up.stderr));
    let lease = market.chain.lease(order, At::Latest).await.expect("read").expect("there");
    assert_eq!((lease.state, lease.provider), (OrderState::Active, market.provider.address()));
    assert_eq!(lease.rate, rate(100_000_000_000), "the cheaper of the two");
}

#[tokio::test]
async fn a_tenant_awards_its_order_itself_when_nobody_else_does() {
    let Some(market) = Market::open().await else { return };
    let _gateway = gateway(&market).await;
    let machine = Machine::ready(&market).await;
    let document = machine.document(&that_goes_to_the_lowest());
    let arguments = ["up", &document, "--deposit", "5", "--yes"];
    let contest = async {
        let (order, deadline) = auction(&market).await;
        mined(&market.provider, &bid_at(&order, market.provider.address(), deadline, 100_000_000_000)).await;
        market.anvil.mine_at(deadline + 1).await;
        order.id
    };
    let (up, order) = tokio::join!(machine.berth(&arguments), contest);
    assert_eq!(code(&up), Some(0), "{}", text(&up.stderr));
    assert!(text(&up.stderr).contains("awarded to the lowest bid"), "{}", text(&up.stderr));
    let lease = market.chain.lease(order, At::Latest).await.expect("read").expect("there");
    assert_eq!(lease.state, OrderState::Active);
}

#[tokio::test]
async fn an_order_that_nobody_bid_on_by_its_deadline_gives_everything_back() {
    let Some(market) = Market::open().await else { return };
    let _gateway = gateway(&market).await;
    let machine = Machine::ready(&market).await;
    let document = machine.document(&that_goes_to_the_lowest());
    let arguments = ["up", &document, "--deposit", "5", "--yes"];
    let silence = async {
        let (order, deadline) = auction(&market).await;
        market.anvil.mine_at(deadline + 1).await;
        order.id
    };
    let (up, order) = tokio::join!(machine.berth(&arguments), silence);
    assert_eq!(code(&up), Some(4), "{}", text(&up.stderr));
    assert_eq!(tokens(&market).await, TENANT_TOKENS);
    let record = market.chain.order(order, At::Latest).await.expect("read").expect("there");
    assert_eq!(record.state, OrderState::Closed);
}

#[tokio::test]
async fn without_bids_the_reasons_are_told_and_everything_comes_back() {
    let Some(market) = Market::open().await else { return };
    let gateway = gateway(&market).await;
    let machine = Machine::ready(&market).await;
    let document = machine.document(DOCUMENT);
    let why = "no node has 100 thousandths of a core".to_owned();
    let declined = Answer::Declined { code: "resources_cpu".to_owned(), why: why.clone() };
    gateway.known.lock().expect("fine").decision = Some(declined);
    let up = machine.berth(&["up", &document, "--deposit", "5", "--wait", "30s", "--yes"]).await;
    assert_eq!(code(&up), Some(4), "{}", text(&up.stderr));
    assert!(text(&up.stderr).contains(&why), "{}", text(&up.stderr));
    assert_eq!(tokens(&market).await, TENANT_TOKENS);
    let [order] = orders(&market).await[..] else { panic!("one order") };
    let record = market.chain.order(order, At::Latest).await.expect("read").expect("there");
    assert_eq!(record.state, OrderState::Closed);
    assert_eq!(text(&machine.berth(&["ls", "-o", "json"]).await.stdout).trim(), "[]");
}

#[tokio::test]
async fn several_groups_are_all_accepted_or_none() {
    let Some(market) = Market::open().await else { return };
    let _gateway = gateway(&market).await;
    let machine = Machine::ready(&market).await;
    let document = machine.document(&with_two_groups());
    // A bid comes for the first order only.
    let up_arguments = ["up", &document, "--deposit", "5", "--wait", "4s", "--yes"];
    let (up, first) = tokio::join!(machine.berth(&up_arguments), bid_on_first(&market));
    assert_eq!(code(&up), Some(4), "{}", text(&up.stderr));
    assert_eq!(orders(&market).await.len(), 2);
    assert_eq!(market.chain.lease(first, At::Latest).await.expect("read"), None, "nothing was accepted");
    assert_eq!(tokens(&market).await, TENANT_TOKENS);
}

#[tokio::test]
async fn several_groups_run_together_and_end_together() {
    let Some(market) = Market::open().await else { return };
    let _gateway = gateway(&market).await;
    let machine = Machine::ready(&market).await;
    let document = machine.document(&with_two_groups());
    let up_arguments = ["up", &document, "--deposit", "5", "--yes"];
    let (up, posted) = tokio::join!(machine.berth(&up_arguments), bid_on(&market, 2));
    assert_eq!(code(&up), Some(0), "{}", text(&up.stderr));
    for order in &posted {
        let lease = market.chain.lease(*order, At::Latest).await.expect("read").expect("there");
        assert_eq!(lease.state, OrderState::Active);
    }
    // Found by its number as well, from any machine with the key.
    let number = posted[0].dseq.to_string();
    let elsewhere = Machine::ready(&market).await;
    assert!(text(&elsewhere.berth(&["ls"]).await.stdout).contains(&number));
    let down = elsewhere.berth(&["down", &number]).await;
    assert_eq!(code(&down), Some(0), "{}", text(&down.stderr));
    let account = market.chain.account(posted[0].account(), At::Latest).await.expect("read").expect("there");
    assert_eq!((account.rate_sum, account.refundable), (rate(0), Amount::ZERO));
    assert_eq!(code(&machine.berth(&["status", "web"]).await), Some(8), "its lease is over");
}

#[tokio::test]
async fn a_killed_up_goes_on_where_it_was() {
    let Some(market) = Market::open().await else { return };
    let gateway = gateway(&market).await;
    let machine = Machine::ready(&market).await;
    let document = machine.document(DOCUMENT);
    let arguments = ["up", &document, "--deposit", "5", "--yes"];
    // Nothing is mined by itself, so each transaction waits in the pool when the process is killed.
    market.anvil.mine_by_hand().await;
    let pending = async |wanted: u64| {
        let status = market.anvil.ask("txpool_status", serde_json::json!([])).await;
        (status["pending"] == format!("{wanted:#x}")).then_some(())
    };
    let mut kills = 0;
    while orders(&market).await.is_empty() {
        let mut up = machine.start(&arguments);
        until("a transaction under way", async || pending(1).await).await;
        up.kill().await.expect("killed");
        market.anvil.mine().await;
        kills += 1;
    }
    // Open the deployment, allow the deposit, deposit, post the order.
    assert_eq!(kills, 4);
    market.anvil.ask("evm_setAutomine", serde_json::json!([true])).await;
    let (up, _) = tokio::join!(machine.berth(&arguments), bid_on_first(&market));
    assert_eq!(code(&up), Some(0), "{}", text(&up.stderr));
    let deployments = market.chain.deployments_of(market.tenant.address()).await.expect("read");
    assert_eq!(deployments.len(), 1, "one deployment, however often it was begun");
    assert_eq!(tokens(&market).await, Amount(TENANT_TOKENS.0 - 5_000_000), "one deposit");
    assert!(gateway.known.lock().expect("fine").manifest.is_some());
}

#[tokio::test]
async fn an_endpoint_that_is_silent_for_a_while_ends_nothing() {
    let Some(market) = Market::open().await else { return };
    let _gateway = gateway(&market).await;
    let relay = Relay::start(market.anvil.url()).await;
    let machine = Machine::new();
    let mut context = machine.context_of(&market);
    let at = context.iter().position(|argument| argument == "--rpc").expect("it is there");
    context[at + 1] = format!("http://{}", relay.address());
    assert!(machine.berth(&context).await.status.success());
    let document = machine.document(DOCUMENT);
    let up = machine.start(&["up", &document, "--deposit", "5", "--yes"]);
    until("an order", async || orders(&market).await.first().copied()).await;
    relay.be_silent(true);
    sleep(Duration::from_secs(2)).await;
    relay.be_silent(false);
    bid_on_first(&market).await;
    let up = timeout(LIMIT, up.wait_with_output()).await.expect("in time").expect("ended");
    assert_eq!(code(&up), Some(0), "{}", text(&up.stderr));
    assert!(text(&up.stderr).contains("trying again"), "{}", text(&up.stderr));
    assert_eq!(orders(&market).await.len(), 1);
}

#[tokio::test]
async fn down_brings_the_money_home_from_every_step() {
    let Some(market) = Market::open().await else { return };
    let machine = Machine::ready(&market).await;
    let document = machine.document(DOCUMENT);
    market.anvil.mine_by_hand().await;
    for blocks in 0..5 {
        let mut up = machine.start(&["up", &document, "--deposit", "5", "--yes"]);
        for _ in 0..blocks {
            until("a transaction under way", async || {
                let status = market.anvil.ask("txpool_status", serde_json::json!([])).await;
                (status["pending"] != "0x0").then_some(())
            })
            .await;
            market.anvil.mine().await;
        }
        if blocks < 4 {
            until("a transaction under way", async || {
                let status = market.anvil.ask("txpool_status", serde_json::json!([])).await;
                (status["pending"] != "0x0").then_some(())
            })
            .await;
        }
        // Asked to stop, it says what is on chain and what can be done.
        let id = i32::try_from(up.id().expect("it runs")).expect("a process id");
        let interrupted = Command::new("kill").args(["-INT", &id.to_string()]).status().await.expect("sent");
        assert!(interrupted.success());
        let ended = timeout(LIMIT, up.wait()).await.expect("in time").expect("ended");
        assert_eq!(ended.code(), Some(130));
        let mut told = String::new();
        let mut stderr = up.stderr.take().expect("piped");
        tokio::io::AsyncReadExt::read_to_string(&mut stderr, &mut told).await.expect("read");
        assert!(told.contains("on chain of web") && told.contains("berth down web"), "{told}");
        market.anvil.ask("evm_setAutomine", serde_json::json!([true])).await;
        market.anvil.mine().await;
        let down = machine.berth(&["down", "web"]).await;
        assert_eq!(code(&down), Some(0), "after {blocks} blocks: {}", text(&down.stderr));
        assert_eq!(tokens(&market).await, TENANT_TOKENS, "after {blocks} blocks: {}", text(&down.stdout));
        market.anvil.mine_by_hand().await;
    }
}

#[tokio::test]
async fn wrong_chain_contract_key_and_document_end_in_one_sentence() {
    let Some(market) = Market::open().await else { return };
    let machine = Machine::ready(&market).await;
    let document = machine.document(DOCUMENT);
    let context = |change: &dyn Fn(&mut Vec<String>)| {
        let mut arguments = machine.context_of(&market);
        change(&mut arguments);
        arguments
    };
    let set = |arguments: &mut Vec<String>, option: &str, value: &str| {
        let at = arguments.iter().position(|argument| argument == option).expect("it is there");
        value.clone_into(&mut arguments[at + 1]);
    };
    let up = ["up", &document, "--yes"];

    assert!(machine.berth(&context(&|a| set(a, "--chain-id", "1"))).await.status.success());
    let output = machine.berth(&up).await;
    assert!(code(&output) == Some(2) && is_plain(&output), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("is on chain 31337"), "{}", text(&output.stderr));

    let nobody = wallet(3).address().to_string();
    assert!(machine.berth(&context(&|a| set(a, "--market", &nobody))).await.status.success());
    let output = machine.berth(&up).await;
    assert!(code(&output) == Some(2) && is_plain(&output), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("no contract at"), "{}", text(&output.stderr));

    assert!(machine.berth(&context(&|_| {})).await.status.success());
    std::fs::write(machine.home.path().join("password"), "wrong").expect("written");
    let output = machine.berth(&up).await;
    assert!(
        code(&output) == Some(5) && text(&output.stderr).contains("does not open"),
        "{}",
        text(&output.stderr)
    );
    std::fs::write(machine.home.path().join("password"), "hush").expect("written");

    let broken = machine.document("version: [");
    let output = machine.berth(&["up", &broken]).await;
    assert!(
        code(&output) == Some(2) && text(&output.stderr).contains("web.yaml"),
        "{}",
        text(&output.stderr)
    );
    machine.document(DOCUMENT);
    let output = machine.berth(&["up", &document, "--deposit", "1000000", "--yes"]).await;
    assert_eq!(code(&output), Some(6), "{}", text(&output.stderr));
    let output = machine.berth(&["up", &document, "--deposit", "0.000001", "--yes"]).await;
    assert_eq!(code(&output), Some(6), "{}", text(&output.stderr));
    assert_eq!(tokens(&market).await, TENANT_TOKENS);
    assert_eq!(orders(&market).await, []);
}

#[tokio::test]
async fn a_gateway_with_another_key_than_registered_is_not_talked_to() {
    market::tls::install_provider();
    let provider = wallet(2).address();
    let domain = market::auth::Domain { chain_id: CHAIN_ID, market: Default::default() };
    let gateway = Gateway::start(provider, domain).await;
    let lease = OrderId { tenant: wallet(1).address(), dseq: 1, gseq: 1, oseq: 1 };
    let client = GatewayClient::new(provider, &gateway.uri(), gateway.spki, domain).expect("a client");
    client.lease(&wallet(1), lease).await.expect("the registered key");

    let stranger = GatewayClient::new(provider, &gateway.uri(), Hash([1; 32]), domain).expect("a client");
    let error = stranger.lease(&wallet(1), lease).await.expect_err("another key");
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("another TLS key"), "{error}");
    assert!(GatewayClient::new(provider, "http://127.0.0.1:1", gateway.spki, domain).is_err());

    // Over the right key, but signed by somebody else, or for another provider.
    let error = client.lease(&wallet(3), lease).await.expect_err("another signer");
    assert_eq!(error.refusal(), Some(market::api::ErrorKind::Unauthorized));
    let elsewhere =
        GatewayClient::new(wallet(3).address(), &gateway.uri(), gateway.spki, domain).expect("a client");
    elsewhere.lease(&wallet(1), lease).await.expect_err("another provider");
    assert_eq!(gateway.known.lock().expect("fine").refused, ["not_the_tenant", "other_provider"]);
}
