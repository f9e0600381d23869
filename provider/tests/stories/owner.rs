//! The owner's verbs as operators run them: the binary, a keystore, a real chain.

use std::path::{Path, PathBuf};

use manifests::money::Amount;
use manifests::order::{Address, CloseReason, Hash, OrderId};
use market::At;
use market::call::Call;
use market::deploy::{Plan, deploy};
use market::reader::{Provider, ProviderState};
use market::sender::{MemoryJournal, Sender};
use market::wallet::Wallet;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::anvil::{CHAIN_ID, Market, PAYOUT, mined, quick, rate, wallet};

const DOLLAR: u128 = 1_000_000;
/// The fourth account of every anvil; the key is public.
const OWNER_KEY: &str = "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6";
const OPERATOR_KEY: &str = "47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a";
const OTHER: Address = Address([0x99; 20]);
const SPKI: Hash = Hash([0x5b; 32]);

/// An operator's cold machine beside a market: the owner's key, the addresses file, and no configuration.
struct Desk {
    market: Market,
    owner: Address,
    operator: Wallet,
    folder: tempfile::TempDir,
}

/// What a verb said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Desk {
    async fn open() -> Option<Self> {
        let market = Market::open().await?;
        let folder = tempfile::tempdir().expect("a folder");
        let plan = Plan::for_tests(wallet(0).address());
        let book = deploy(market.anvil.url(), CHAIN_ID, &wallet(0), plan).await.expect("found");
        book.save(&folder.path().join("addresses.json")).expect("saved");
        let password = folder.path().join("password");
        std::fs::write(&password, "hush\n").expect("written");
        let keep = |key: &str, name: &str| {
            Wallet::import(key, &folder.path().join(name), &password).expect("stored")
        };
        let (owner, operator) = (keep(OWNER_KEY, "owner.json"), keep(OPERATOR_KEY, "operator.json"));
        Some(Self { market, owner: owner.address(), operator, folder })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A verb with the owner's key.
    async fn verb(&self, arguments: &[&str]) -> Said {
        self.verb_with(&self.file("owner.json"), arguments).await
    }

    async fn verb_with(&self, keystore: &Path, arguments: &[&str]) -> Said {
        let mut command = self.command(arguments);
        command.arg("--rpc").arg(self.market.anvil.url()).arg("--addresses").arg(self.file("addresses.json"));
        command.arg("--keystore").arg(keystore).arg("--password-file").arg(self.file("password"));
        said(command).await
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth-provider"));
        command.args(arguments).env_clear().env("HOME", self.folder.path());
        command
    }

    async fn register(&self, stake: &str) -> Said {
        let operator = self.operator.address().to_string();
        let (payout, spki) = (PAYOUT.to_string(), SPKI.to_string());
        self.verb(&[
            "register",
            "--operator",
            &operator,
            "--payout",
            &payout,
            "--uri",
            "https://127.0.0.1:8443",
            "--spki",
            &spki,
            "--stake",
            stake,
        ])
        .await
    }

    async fn registered(stake: u128) -> Option<Self> {
        let desk = Self::open().await?;
        desk.mint(stake).await;
        desk.register(&stake.to_string()).await.well();
        Some(desk)
    }

    async fn mint(&self, dollars: u128) {
        let call = Call::MintTestToken { to: self.owner, amount: Amount(dollars * DOLLAR) };
        mined(&self.market.tenant, &call).await;
    }

    async fn record(&self) -> Provider {
        self.market.chain.provider(self.owner, At::Latest).await.expect("read").expect("registered")
    }

    async fn nonce(&self) -> Value {
        self.market.anvil.ask("eth_getTransactionCount", json!([self.owner, "latest"])).await
    }

    async fn pass(&self, seconds: u64) {
        self.market.anvil.mine_at(self.market.now().await + seconds).await;
    }

    /// A lease that the operator won.
    async fn lease(&self) -> (OrderId, Sender<MemoryJournal>) {
        let Self { market, operator, .. } = self;
        let coins = json!([operator.address(), "0x56bc75e2d63100000"]);
        market.anvil.ask("anvil_setBalance", coins).await;
        let sender = Sender::new(market.chain.clone(), operator.clone(), MemoryJournal::default(), quick());
        let price = rate(1_000 * 1_000_000_000);
        let order = market.order(1, Amount(20 * DOLLAR), price).await;
        mined(&sender, &market.bid_of(self.owner, order, price).await).await;
        let bid = market.chain.bid(order, self.owner, At::Latest).await.expect("read").expect("a bid");
        let accept = Call::AcceptBid { order, provider: self.owner, terms_hash: bid.terms_hash() };
        mined(&market.tenant, &accept).await;
        (order, sender)
    }
}

async fn said(mut command: Command) -> Said {
    let output = command.output().await.expect("started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) };
    for secret in [OWNER_KEY, OPERATOR_KEY, "hush"] {
        assert!(!said.out.contains(secret) && !said.err.contains(secret), "a secret was said");
    }
    said
}

impl Said {
    /// It went well; what it said.
    fn well(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out + &self.err
    }

    /// It was refused; why.
    fn refused(self) -> String {
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.err);
        self.err
    }
}

#[tokio::test]
async fn an_owner_registers_stakes_retires_and_leaves_with_all_that_no_lease_locks() {
    let Some(desk) = Desk::open().await else { return };
    let told = desk.register("99").await.refused();
    assert!(told.contains("at least $100.000000"), "{told}");
    let told = desk.register("500").await.refused();
    assert!(told.contains("send it $500.000000"), "{told}");
    assert_eq!(desk.nonce().await, json!("0x0"), "what is refused sends nothing");

    desk.mint(700).await;
    let told = desk.register("500").await.well();
    assert!(told.contains("will let the registry take $500") && told.contains("is active"), "{told}");
    let sent = desk.nonce().await;
    let told = desk.register("500").await.well();
    assert!(told.contains("registered already, just so"), "{told}");
    assert_eq!(desk.nonce().await, sent, "nothing was sent again");

    desk.verb(&["stake", "--to", "600"]).await.well();
    let told = desk.verb(&["stake", "--to", "600"]).await.well();
    assert!(told.contains("$600.000000 already"), "{told}");
    assert_eq!(desk.record().await.stake, Amount(600 * DOLLAR));

    let (order, operator) = desk.lease().await;
    let locked = desk.record().await.locked;
    assert!(locked > Amount::ZERO);

    let told = desk.verb(&["unstake", "--to", "0"]).await.refused();
    assert!(told.contains("retire first"), "{told}");
    let told = desk.verb(&["retire"]).await.refused();
    assert!(told.contains("--yes"), "{told}");
    desk.verb(&["retire", "--yes"]).await.well();
    let told = desk.verb(&["retire", "--yes"]).await.well();
    assert!(told.contains("retired already"), "{told}");

    desk.pass(60).await;
    let told = desk.verb(&["unstake", "--to", "0"]).await.well();
    assert!(told.contains("bonded for 6d 23h more"), "{told}");
    desk.pass(7 * 86_400).await;
    let told = desk.verb(&["unstake", "--to", "0"]).await.well();
    assert!(told.contains("is locked by 1 leases"), "{told}");
    assert_eq!(desk.record().await.stake, locked, "the bond stays");
    let told = desk.verb(&["unstake", "--to", "0"]).await.refused();
    assert!(told.contains("when they have ended"), "{told}");

    mined(&operator, &Call::CloseLease { lease: order, reason: CloseReason(102) }).await;
    desk.verb(&["unstake", "--to", "0"]).await.well();
    let record = desk.record().await;
    assert_eq!((record.state, record.stake), (ProviderState::Retired, Amount::ZERO));
    let paid = desk.market.chain.token_balance(PAYOUT, At::Latest).await.expect("read");
    assert_eq!(paid, Amount(600 * DOLLAR), "to the payout address");
}

#[tokio::test]
async fn only_the_owners_key_signs_for_the_owner() {
    let Some(desk) = Desk::registered(200).await else { return };
    let told = desk.verb_with(&desk.file("operator.json"), &["stake", "--to", "300"]).await.refused();
    assert!(
        told.contains("is the operator key of provider") && told.contains(&desk.owner.to_string()),
        "{told}"
    );

    let mut without = desk.command(&["retire", "--yes"]);
    without.arg("--rpc").arg(desk.market.anvil.url()).arg("--addresses").arg(desk.file("addresses.json"));
    let told = said(without).await.refused();
    assert!(told.contains("has only the operator's") && told.contains("--keystore"), "{told}");

    let stranger = desk.file("stranger.json");
    Wallet::create(&stranger, &desk.file("password")).expect("made");
    let told = desk.verb_with(&stranger, &["retire", "--yes"]).await.refused();
    assert!(told.contains("is no provider") && told.contains("register"), "{told}");

    let mut nowhere = desk.command(&["retire", "--yes", "--keystore", "a", "--password-file", "b"]);
    nowhere.args(["--config", "none.yaml"]);
    let told = said(nowhere).await.refused();
    assert!(told.contains("--rpc and --addresses") && told.contains("none.yaml"), "{told}");
    assert_eq!(desk.record().await.state, ProviderState::Active);
}

#[tokio::test]
async fn keys_and_gateway_change_as_announced() {
    let Some(desk) = Desk::registered(200).await else { return };
    let other = OTHER.to_string();
    let told = desk.verb(&["set-payout", &other, "--dry-run"]).await.well();
    assert!(told.contains("would send money to 0x9999"), "{told}");
    assert_eq!(desk.record().await.next_payout, None, "a dry run changes nothing");
    desk.verb(&["set-payout", &other]).await.well();
    let told = desk.verb(&["set-payout", &other]).await.well();
    assert!(told.contains("23h 59m") || told.contains("1d 0h"), "{told}");
    assert_eq!(desk.record().await.payout, PAYOUT, "not yet");
    desk.pass(86_400).await;
    assert_eq!(desk.record().await.payout, OTHER);

    desk.verb(&["set-operator", &other]).await.well();
    assert_eq!(desk.record().await.operator, OTHER);

    let next = Hash([0x5c; 32]);
    let told = desk.verb(&["update", "--spki", &next.to_string(), "--overlap", "1h"]).await.well();
    assert!(told.contains("the one before counts 1h 0m more"), "{told}");
    let record = desk.record().await;
    assert_eq!((record.spki_hash, record.old_spki.map(|(old, _)| old)), (next, Some(SPKI)));
    let attributes = desk.file("attributes.json");
    std::fs::write(&attributes, r#"{"region":"eu-west"}"#).expect("written");
    let update =
        ["update", "--uri", "https://127.0.0.1:9443", "--attributes", attributes.to_str().expect("text")];
    desk.verb(&update).await.well();
    let told = desk.verb(&update).await.well();
    assert!(told.contains("described so already"), "{told}");
    let record = desk.record().await;
    let uri = desk.market.chain.gateway_uri(&record).await.expect("read");
    assert_eq!(uri.as_deref(), Some("https://127.0.0.1:9443"));
    assert_eq!(record.attrs_hash, market::call::keccak256(br#"{"region":"eu-west"}"#));
    assert_eq!(record.spki_hash, next, "what was not named stays");
    let told = desk.verb(&["update"]).await.refused();
    assert!(told.contains("nothing to update"), "{told}");
}

#[tokio::test]
async fn programs_read_what_was_done() {
    let Some(desk) = Desk::registered(200).await else { return };
    desk.mint(100).await;
    let said = desk.verb(&["stake", "--to", "300", "--output", "json"]).await;
    let report: Value = serde_json::from_str(&said.out).expect("json alone on standard output");
    assert_eq!(report["provider"], json!(desk.owner));
    assert_eq!(report["steps"].as_array().map(Vec::len), Some(2), "{report}");
    assert!(report["steps"][1]["transaction"].is_string(), "{report}");
    assert_eq!(report["record"]["stake"], json!("300000000"));
    assert_eq!(report["record"]["state"], json!("active"));
}

#[tokio::test]
async fn a_verb_waits_for_what_the_key_sent_before() {
    let Some(desk) = Desk::registered(200).await else { return };
    desk.mint(100).await;
    desk.market.anvil.mine_by_hand().await;
    // The same verb was begun before and stopped: its approval waits to be mined.
    let registry = desk.market.contracts.registry;
    let data = format!("0x095ea7b3{:0>64}{:0>64x}", &registry.to_string()[2..], 100 * DOLLAR);
    let approval = json!([{"from": desk.owner, "to": desk.market.contracts.token, "data": data}]);
    desk.market.anvil.ask("eth_sendTransaction", approval).await;
    let begun = desk.verb(&["stake", "--to", "300"]);
    let miner = async {
        desk.market.anvil.until_pending(1).await;
        desk.market.anvil.ask("evm_setAutomine", json!([true])).await;
        desk.market.anvil.mine().await;
    };
    let (said, ()) = tokio::join!(begun, miner);
    let told = said.well();
    assert!(!told.contains("let the registry take"), "the approval is found, not sent again: {told}");
    assert_eq!(desk.record().await.stake, Amount(300 * DOLLAR));
}
