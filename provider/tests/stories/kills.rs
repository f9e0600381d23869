//! `kill -9` anywhere on the way of an intent: what was wanted happens once, and all of it.
//!
//! A child of this program opens the store and lets the real outbox and sender speak to a real node, through a relay that at times
//! swallows replies; it is killed after a random time, or dies at a named place, again and again, each time over what the
//! one before it left. `BERTH_KILL_CYCLES` says how often, `BERTH_KILL_SEED` repeats a run.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fault_proxy::{Fault, FaultProxy};
use manifests::money::Amount;
use manifests::order::{AccountId, Address, Fact, Hash, OrderId};
use market::At;
use market::Chain;
use market::call::{Call, OrderTerms, class_hash};
use market::sender::{Journal as _, Outcome, Sender};
use provider::clock::Clock;
use provider::metrics::Metrics;
use provider::outbox::Outbox;
use provider::store::{DatabaseUrl, IntentKind, IntentState, NewIntent, Sealer, Store};
use provider::task::{Nudge, Turn as _};
use serde_json::json;

use crate::anvil::{CHAIN_ID, Market, SPEC, mined, quick, rate, wallet};
use crate::support::GAS;

const CHILD: &str = "BERTH_KILL_CHILD";
const READY: &str = "the child speaks";
/// Intents of a cycle: three bids and a mint.
const A_CYCLE: u64 = 4;
/// How long a child speaks at most before it is killed.
const LONGEST: u64 = 120;

/// Numbers that look random and are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }
}

/// What a child is told.
#[derive(serde::Serialize, serde::Deserialize)]
struct Task {
    database: String,
    rpc: String,
    market: Address,
    account_dseq: u64,
    /// The numbers of the intents that it stores before it speaks.
    intents: std::ops::Range<u64>,
    expires_at: u64,
    /// It ends when nothing waits any more.
    finishes: bool,
}

impl Task {
    fn order(&self, number: u64) -> OrderId {
        let account = AccountId { tenant: wallet(1).address(), dseq: self.account_dseq };
        account.order(u16::try_from(number + 1).expect("few"), 1)
    }

    fn intent(&self, number: u64) -> NewIntent {
        if number % A_CYCLE == A_CYCLE - 1 {
            let call = Call::MintTestToken { to: purse(number), amount: Amount(5) };
            return NewIntent {
                id: format!("mint {number}"),
                kind: IntentKind::Withdraw,
                order: None,
                call,
                deadline: None,
            };
        }
        let order = self.order(number);
        let call = Call::PlaceBid {
            order,
            provider: wallet(2).address(),
            spec_hash: market::call::keccak256(SPEC.as_bytes()),
            rate: rate(900),
            expires_at: self.expires_at,
            reclaim: 0,
            min_bill: 0,
        };
        NewIntent {
            id: format!("bid {number}"),
            kind: IntentKind::Bid,
            order: Some(order),
            call,
            deadline: None,
        }
    }
}

/// Whom a mint is for: nobody else gets tokens there.
fn purse(number: u64) -> Address {
    let mut address = [0xee; 20];
    address[..8].copy_from_slice(&number.to_be_bytes());
    Address(address)
}

async fn open(database: &str) -> Store {
    let database: DatabaseUrl = database.parse().expect("a database URL");
    Store::open(&database, Sealer::new(&[7; 32])).await.expect("opens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of the story below"]
async fn child() {
    let Ok(task) = env::var(CHILD) else { return };
    let task: Task = serde_json::from_str(&task).expect("a task");
    provider::failpoint::check().expect("a place to die at");
    let store = open(&task.database).await;
    let chain = Chain::connect(&task.rpc, CHAIN_ID, task.market).await.expect("connected");
    let sender = Sender::new(chain, wallet(2), store.clone(), quick());
    let (metrics, said) = (Metrics::new().expect("distinct names"), Nudge::default());
    let mut outbox =
        Outbox::new(store.clone(), sender, GAS, Clock::default(), metrics, said.clone(), Nudge::default());
    println!("\n{READY}");
    for number in task.intents.clone() {
        store.put_intent(&task.intent(number), number).await.expect("stored");
        // The first goes alone, those that come while it is on its way go together.
        if number == task.intents.start {
            outbox.turn().await.expect("a turn");
        }
    }
    loop {
        // A relay that is ill makes turns fail, and the next one try again.
        let _ = outbox.turn().await;
        if task.finishes && store.pending_intents().await.expect("read").is_empty() {
            return;
        }
        let _ = tokio::time::timeout(Duration::from_millis(50), said.wait()).await;
    }
}

fn start(task: &Task, dies_at: Option<String>) -> Child {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(["--exact", "kills::child", "--ignored", "--nocapture"]);
    command.env(CHILD, serde_json::to_string(task).expect("JSON"));
    if let Some(place) = dies_at {
        command.env("BERTH_FAIL_POINT", place);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("started")
}

fn wait_until_it_speaks(child: &mut Child) {
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let spoke = lines.by_ref().map_while(Result::ok).any(|line| line == READY);
    assert!(spoke, "the child died before it spoke: {:?}", child.wait());
    std::thread::spawn(move || lines.for_each(drop));
}

/// Posts the orders of these intents.
async fn post(market: &Market, task: &Task) {
    let terms = OrderTerms {
        class: class_hash("cpu"),
        max_rate: rate(1_000),
        expires_at: task.expires_at,
        min_reclaim: 0,
        award: None,
    };
    let numbers = task.intents.clone().filter(|number| number % A_CYCLE != A_CYCLE - 1);
    let posted = numbers.map(|number| {
        let order = task.order(number);
        (format!("post {order}"), Call::CreateOrder { order, terms, spec: SPEC.to_owned() })
    });
    for end in market.tenant.send_all(&posted.collect::<Vec<_>>()).await {
        assert!(matches!(end, Ok(Outcome::Mined { .. })), "{end:?}");
    }
}

fn number_from(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_on_its_way_happens_once_and_nothing_is_missing() {
    let Some(market) = Market::open().await else { return };
    let cycles = number_from("BERTH_KILL_CYCLES").unwrap_or(100);
    let seed = number_from("BERTH_KILL_SEED").unwrap_or_else(rand::random);
    println!("BERTH_KILL_CYCLES={cycles} BERTH_KILL_SEED={seed}");
    let mut dice = Dice(seed);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let database = DatabaseUrl::fresh(folder.path()).await.expect("a database").for_a_child();
    let relay = FaultProxy::start(market.anvil.url()).await;
    mined(&market.tenant, &Call::CreateDeployment { dseq: 1, manifest_hash: Hash([1; 32]) }).await;
    let (account, amount) = (market.account(1), Amount(20_000_000));
    mined(&market.tenant, &Call::ApproveMarket { amount }).await;
    mined(&market.tenant, &Call::Deposit { account, amount }).await;
    let mut task = Task {
        database,
        rpc: relay.url(),
        market: market.contracts.market,
        account_dseq: 1,
        intents: 0..0,
        expires_at: market.now().await + 86_400,
        finishes: false,
    };
    let mut deaths: BTreeMap<&str, u64> = BTreeMap::new();
    for cycle in 0..cycles {
        task.intents = cycle * A_CYCLE..(cycle + 1) * A_CYCLE;
        post(&market, &task).await;
        let mines = dice.below(3) > 0;
        market.anvil.ask("evm_setAutomine", json!([mines])).await;
        match dice.below(6) {
            0 => relay.next(1 + dice.below(3), "eth_sendRawTransaction", Fault::ReplySwallowed),
            1 => relay.next(1 + dice.below(3), "eth_sendRawTransaction", Fault::Dropped),
            2 => relay.next(1 + dice.below(3), "eth_getTransactionReceipt", Fault::Truncated),
            _ => {}
        }
        let places = ["bid_signed", "bid_mined", "withdraw_signed", "withdraw_mined"];
        let place = places[usize::try_from(dice.below(4)).expect("few")];
        let dies_at = (cfg!(feature = "fail-points") && dice.below(3) == 0).then_some(place);
        let mut child = start(&task, dies_at.map(|place| format!("{place}:{}", 1 + dice.below(2))));
        wait_until_it_speaks(&mut child);
        // One that is to die at a place has time to get there, if its dice allow it to get there at all.
        let patience =
            Duration::from_millis(if dies_at.is_some() { LONGEST * 4 } else { dice.below(LONGEST) });
        let start = Instant::now();
        while start.elapsed() < patience && child.try_wait().expect("looked after").is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let died_there = child.try_wait().expect("looked after").is_some();
        child.kill().expect("killed");
        child.wait().expect("buried");
        *deaths.entry(if died_there { place } else { "killed by the clock" }).or_default() += 1;
        relay.heal();
        market.anvil.ask("evm_setAutomine", json!([true])).await;
        if dice.below(2) == 0 {
            market.anvil.mine().await;
        }
    }
    println!("{deaths:?}");

    // What some child died too early to store is stored now.
    (task.intents, task.finishes) = (0..cycles * A_CYCLE, true);
    let mut last = start(&task, None);
    wait_until_it_speaks(&mut last);
    let deadline = Instant::now() + Duration::from_secs(60 + cycles / 4);
    while last.try_wait().expect("looked after").is_none() {
        assert!(Instant::now() < deadline, "the last child does not finish");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let head = market.chain.head().await.expect("a head").number;
    let facts = market.chain.facts_between(0, head).await.expect("read");
    let mut placed: BTreeMap<OrderId, u64> = BTreeMap::new();
    for logged in &facts {
        if let Fact::BidPlaced(bid) = &logged.fact {
            *placed.entry(bid.order).or_default() += 1;
        }
    }
    let store = open(&task.database).await;
    for number in task.intents.clone() {
        let intent = task.intent(number);
        let effects = match intent.order {
            Some(order) => placed.get(&order).copied().unwrap_or(0),
            None => {
                let tokens = market.chain.token_balance(purse(number), At::Latest).await.expect("read");
                u64::try_from(tokens.0 / 5).expect("few")
            }
        };
        assert_eq!(effects, 1, "{} happened {effects} times", intent.id);
        let outcome = store.outcome(&intent.id).await.expect("read");
        assert!(matches!(outcome, Some(Outcome::Mined { .. })), "{}: {outcome:?}", intent.id);
        if intent.order.is_some() {
            let history = store.intents_of(intent.order, IntentKind::Bid).await.expect("read");
            let state = history.latest.map(|row| row.state);
            assert!(matches!(state, Some(IntentState::Done { .. })), "{}: {state:?}", intent.id);
        }
    }
    assert_eq!(store.live(wallet(2).address()).await.expect("read"), [], "nothing is left on its way");
}
