//! The outbox and the collector of money, with a chain that answers as the test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use manifests::money::Amount;
use manifests::order::{Address, CloseReason, Fact, Hash, LeaseId};
use market::call::Call;
use market::revert::MarketError;
use market::sender::{Attempt, Journal as _, Outcome, SendError, Verdict};
use market::signer::SignError;
use provider::clock::Clock;
use provider::config;
use provider::freshness::Freshness;
use provider::leases::escrow::{Escrow, EscrowView, Seen};
use provider::metrics::Metrics;
use provider::outbox::{Outbox, Say};
use provider::store::{Advance, IntentKind, IntentState, NewIntent, Store};
use provider::task::{Nudge, Turn as _};

use crate::support::*;

/// What the contract says of each lease; unknown ones are well funded. The chain's words about gas are set as well.
#[derive(Debug, Clone, Default)]
struct Contract(Arc<Mutex<BTreeMap<LeaseId, Seen>>>, Arc<Mutex<Ill>>);

/// What the endpoint does not answer, and what it says of gas.
#[derive(Debug, Default)]
struct Ill {
    lease: Option<LeaseId>,
    everything: bool,
    asked: usize,
    gas_price: Option<u128>,
}

impl EscrowView for Contract {
    async fn lease(&self, id: LeaseId) -> anyhow::Result<Option<Seen>> {
        {
            let mut ill = self.1.lock().expect("not poisoned");
            ill.asked += 1;
            anyhow::ensure!(!ill.everything && ill.lease != Some(id), "the endpoint gives no answer");
        }
        let seen = self.0.lock().expect("not poisoned").get(&id).copied();
        Ok(Some(seen.unwrap_or(Seen { depleted: false, funded_until: u64::MAX })))
    }

    async fn gas_price(&self) -> anyhow::Result<u128> {
        self.1.lock().expect("not poisoned").gas_price.context("the endpoint gives no answer")
    }

    async fn gas_balance(&self, _: Address) -> anyhow::Result<u128> {
        Ok(GAS_MONEY)
    }
}

/// What the operator key has for gas, in wei.
const GAS_MONEY: u128 = 14_000_000_000_000;

/// A provider that withdraws every minute or every dollar.
fn settings() -> config::Escrow {
    config::Escrow {
        withdraw_every: Duration::from_secs(60),
        withdraw_above: Amount(1_000_000),
        native_price: None,
        margin: Duration::from_secs(30),
        check_interval: Duration::from_secs(1),
    }
}

/// The collector of our leases, who waits ten minutes for manifests.
fn collector(store: &Store, view: &Contract, settings: config::Escrow, clock: &Clock) -> Escrow<Contract> {
    Escrow {
        store: store.clone(),
        view: view.clone(),
        provider: US,
        operator: US,
        settings,
        manifest_timeout: 600,
        clock: clock.clone(),
        freshness: Freshness::default(),
        metrics: Metrics::new().expect("distinct names"),
        outbox: Nudge::default(),
        up_since: clock.now(),
    }
}

struct Till {
    chain: FakeChain,
    store: Store,
    contract: Contract,
    clock: Clock,
    escrow: Escrow<Contract>,
}

impl Till {
    /// A provider that withdraws every minute or every dollar, and waits ten minutes for manifests.
    async fn new() -> Self {
        let (store, clock, contract) =
            (Store::fresh().await.expect("opens"), Clock::manual(GENESIS), Contract::default());
        let escrow = collector(&store, &contract, settings(), &clock);
        Self { chain: FakeChain::new(), store, contract, clock, escrow }
    }

    /// Stores a block at this many seconds after the first that says this.
    async fn at(&mut self, seconds: u64, facts: Vec<Fact>) -> u64 {
        let mut block = self.chain.mine(facts.clone());
        block.timestamp = GENESIS + seconds;
        self.clock.set(block.timestamp);
        let at =
            |log_index| manifests::order::LogRef { block: block.number, block_hash: block.hash, log_index };
        let events = facts.into_iter().zip(0..).map(|(fact, index)| (at(index), fact)).collect();
        let step = Advance { ancestor: None, blocks: vec![block], events };
        self.store.advance(&step).await.expect("stored");
        block.number
    }

    async fn wishes(&mut self) -> Vec<Call> {
        self.escrow.turn().await.expect("a turn");
        let pending = self.store.pending_intents().await.expect("read");
        pending.into_iter().map(|row| row.intent.call).collect()
    }

    async fn manifest_came(&self, dseq: u64) {
        self.store.put_manifest(id(dseq), Hash([1; 32]), b"{}", GENESIS).await.expect("stored");
    }

    async fn mined(&self, intent: &str, nonce: u64, block: u64) {
        let hash = Hash([u8::try_from(nonce).expect("few"); 32]);
        let outcome =
            Outcome::Mined { hash, block, block_hash: hash, gas_used: 1, fee_wei: 1, created: None };
        self.store
            .settle(US, nonce, &Verdict::Settled(vec![(intent.to_owned(), outcome)]))
            .await
            .expect("settled");
    }
}

#[tokio::test]
async fn earnings_are_withdrawn_when_due_and_once_at_a_time() {
    let mut till = Till::new().await;
    till.at(10, vec![posted(1), bid_of(US, 1), won_by(US, 1)]).await;
    till.manifest_came(1).await;
    assert_eq!(till.wishes().await, [], "nothing is due yet");
    till.at(70, vec![]).await;
    assert_eq!(till.wishes().await, [Call::Withdraw { leases: vec![id(1)] }]);
    assert_eq!(till.wishes().await.len(), 1, "a second turn wants nothing more");
    till.mined("withdraw 0", 0, 3).await;
    assert_eq!(till.wishes().await, [], "what the withdrawal brought is not followed yet");
    till.at(72, vec![paid(1, 300, GENESIS + 71)]).await;
    assert_eq!(till.wishes().await, []);
    till.at(140, vec![]).await;
    assert_eq!(till.wishes().await, [Call::Withdraw { leases: vec![id(1)] }]);
}

#[tokio::test]
async fn money_is_withdrawn_once_it_is_worth_fifty_fees_where_a_coin_has_a_price() {
    let mut till = Till::new().await;
    // One lease costs 65,000 gas: at 1,000 wei and a million dollars a coin, 65 units.
    let settings = config::Escrow {
        withdraw_every: Duration::from_secs(86_400),
        withdraw_above: Amount(1),
        native_price: Some(Amount(1_000_000_000_000)),
        ..settings()
    };
    till.escrow = collector(&till.store, &till.contract, settings, &till.clock);
    till.contract.1.lock().expect("not poisoned").gas_price = Some(1_000);
    till.at(10, vec![posted(1), won_by(US, 1)]).await;
    till.manifest_came(1).await;
    // 5 units a second, of which the market keeps a hundredth.
    till.at(10 + 656, vec![]).await;
    assert_eq!(till.wishes().await, [], "3,248 units are worth less than 50 fees");
    till.contract.1.lock().expect("not poisoned").gas_price = Some(900);
    assert_eq!(till.wishes().await, [Call::Withdraw { leases: vec![id(1)] }], "gas got cheaper");
}

#[tokio::test]
async fn without_a_price_of_gas_the_sum_that_was_configured_decides() {
    let mut till = Till::new().await;
    let settings = config::Escrow {
        withdraw_every: Duration::from_secs(86_400),
        withdraw_above: Amount(200),
        native_price: Some(Amount(1_000_000_000_000)),
        ..settings()
    };
    till.escrow = collector(&till.store, &till.contract, settings, &till.clock);
    till.at(10, vec![posted(1), won_by(US, 1)]).await;
    till.manifest_came(1).await;
    till.at(50, vec![]).await;
    assert_eq!(till.wishes().await, []);
    till.at(51, vec![]).await;
    assert_eq!(till.wishes().await, [Call::Withdraw { leases: vec![id(1)] }]);
}

#[tokio::test]
async fn a_lease_that_cannot_be_looked_at_leaves_the_others_withdrawn() {
    let mut till = Till::new().await;
    let won = [1, 2, 3].into_iter().flat_map(|dseq| [posted(dseq), won_by(US, dseq)]).collect();
    till.at(10, won).await;
    for dseq in [1, 2, 3] {
        till.manifest_came(dseq).await;
    }
    // The first two are about to run dry; how the second stands nobody says.
    let soon = Seen { depleted: false, funded_until: GENESIS + 60 };
    let contract = till.contract.clone();
    contract.0.lock().expect("not poisoned").extend([(id(1), soon), (id(2), soon)]);
    contract.1.lock().expect("not poisoned").lease = Some(id(2));
    till.at(45, vec![]).await;
    let error = till.escrow.turn().await.expect_err("it is told");
    assert!(format!("{error:#}").contains(&format!("failed to see how lease {} stands", id(2))), "{error:#}");
    let wishes = |rows: Vec<provider::store::IntentRow>| {
        rows.into_iter().map(|row| row.intent.call).collect::<Vec<_>>()
    };
    let pending = wishes(till.store.pending_intents().await.expect("read"));
    assert_eq!(pending, [Call::Withdraw { leases: vec![id(1)] }]);

    // A dead endpoint costs a few questions, not one a lease, and closes none of those that have no manifest.
    let won = (4..20).flat_map(|dseq| [posted(dseq), won_by(US, dseq)]).collect();
    till.at(46, won).await;
    till.at(1000, vec![]).await;
    {
        let mut ill = contract.1.lock().expect("not poisoned");
        (ill.everything, ill.asked) = (true, 0);
    }
    till.escrow.turn().await.expect_err("nothing can be seen");
    assert_eq!(contract.1.lock().expect("not poisoned").asked, 3);
    let pending = wishes(till.store.pending_intents().await.expect("read"));
    assert!(!pending.iter().any(|call| matches!(call, Call::CloseLease { .. })), "{pending:?}");
    contract.1.lock().expect("not poisoned").everything = false;
    let seen = till.escrow.turn().await;
    let pending = wishes(till.store.pending_intents().await.expect("read"));
    assert!(pending.iter().any(|call| matches!(call, Call::CloseLease { .. })), "{seen:?} {pending:?}");
}

#[tokio::test]
async fn operators_see_what_is_earned_at_risk_and_left_for_gas() {
    let mut till = Till::new().await;
    till.at(10, vec![posted(1), won_by(US, 1), posted(2), won_by(US, 2)]).await;
    till.manifest_came(1).await;
    till.manifest_came(2).await;
    let ended = Seen { depleted: false, funded_until: GENESIS + 90 };
    till.contract.0.lock().expect("not poisoned").insert(id(2), ended);
    till.at(110, vec![paid(1, 98, GENESIS + 30)]).await;
    till.wishes().await;
    let outcome = Outcome::Mined {
        hash: Hash([1; 32]),
        block: 3,
        block_hash: Hash([1; 32]),
        gas_used: 1,
        fee_wei: 1_000_000_000_000,
        created: None,
    };
    till.store
        .settle(US, 0, &Verdict::Settled(vec![("withdraw 0".to_owned(), outcome)]))
        .await
        .expect("settled");
    let told = till.escrow.metrics.render(&till.store, US).await.expect("rendered");
    for line in [
        // 5 units a second: lease 1 was paid 99 and earned 80 seconds since, lease 2 80 seconds in all.
        "berth_lease_revenue_nanounits_per_second 10000000000",
        "berth_earnings_accrued_units 899",
        "berth_earnings_withdrawn_units 98",
        "berth_earnings_to_collect_units 792",
        "berth_escrow_at_risk_units 100",
        "berth_lease_funds_remaining_seconds 0",
        &format!("berth_withdraw_last_success_timestamp_seconds {}", GENESIS + 30),
        "berth_wallet_balance_gwei 14000",
    ] {
        assert!(told.lines().any(|told| told == line), "{line} is not in\n{told}");
    }
    let runway = told.lines().find(|line| line.starts_with("berth_wallet_runway_seconds")).expect("shown");
    assert!(runway.contains(" 922337203685477"), "the intent is of long ago: {runway}");
}

#[tokio::test]
async fn what_a_lease_earned_until_its_end_is_withdrawn_and_then_it_is_left_alone() {
    let mut till = Till::new().await;
    till.at(10, vec![posted(1), won_by(US, 1)]).await;
    till.manifest_came(1).await;
    till.at(20, vec![ended(1, GENESIS + 20)]).await;
    assert_eq!(till.wishes().await, [Call::Withdraw { leases: vec![id(1)] }]);
    till.mined("withdraw 0", 0, 3).await;
    till.at(21, vec![paid(1, 50, GENESIS + 20)]).await;
    till.at(9000, vec![]).await;
    assert_eq!(till.wishes().await, []);
}

#[tokio::test]
async fn what_a_minimum_bill_brought_is_withdrawn_as_well() {
    let mut till = Till::new().await;
    till.at(10, vec![posted(1), won_by(US, 1)]).await;
    till.manifest_came(1).await;
    // 5 units a second: 20 seconds were missing, and nothing else was earned.
    let closed = Fact::LeaseClosed {
        lease: id(1),
        provider: US,
        reason: CloseReason::TENANT,
        ended_at: GENESIS + 10,
        penalty: Amount(100),
    };
    till.at(10, vec![closed]).await;
    assert_eq!(till.store.lease(id(1)).await.expect("read").expect("won").paid_until, GENESIS - 10);
    assert_eq!(till.wishes().await, [Call::Withdraw { leases: vec![id(1)] }]);
}

#[tokio::test]
async fn a_lease_without_a_manifest_is_closed_in_time_and_not_before() {
    let mut till = Till::new().await;
    till.at(10, vec![posted(1), won_by(US, 1)]).await;
    till.at(600, vec![]).await;
    let closes =
        |calls: Vec<Call>| calls.into_iter().filter(|call| matches!(call, Call::CloseLease { .. })).count();
    assert_eq!(closes(till.wishes().await), 0);
    till.at(620, vec![]).await;
    let wishes = till.wishes().await;
    let close = Call::CloseLease { lease: id(1), reason: CloseReason::MANIFEST_TIMEOUT };
    assert!(wishes.contains(&close), "{wishes:?}");
    assert_eq!(closes(till.wishes().await), 1, "it is said once");
}

#[tokio::test]
async fn time_in_which_we_were_down_is_not_held_against_a_tenant() {
    let mut till = Till::new().await;
    till.at(10, vec![posted(1), won_by(US, 1)]).await;
    till.at(5000, vec![]).await;
    let day = Duration::from_secs(86_400);
    let settings = config::Escrow { withdraw_every: day, withdraw_above: Amount(u128::MAX), ..settings() };
    till.escrow = collector(&till.store, &till.contract, settings, &till.clock);
    assert_eq!(till.wishes().await, []);
}

#[tokio::test]
async fn a_lease_whose_account_ran_dry_is_finalized() {
    let mut till = Till::new().await;
    till.at(10, vec![posted(1), won_by(US, 1)]).await;
    till.manifest_came(1).await;
    let dry = Seen { depleted: true, funded_until: GENESIS + 15 };
    till.contract.0.lock().expect("not poisoned").insert(id(1), dry);
    assert_eq!(till.wishes().await, [Call::Finalize { lease: id(1) }]);
}

/// A sender whose answers are set before.
#[derive(Clone)]
struct Answers(Store, Arc<Mutex<Vec<Result<Outcome, SendError>>>>);

impl Say for Answers {
    async fn recover(&self) -> Result<(), SendError> {
        Ok(())
    }

    async fn say(&self, intents: &[(String, Call)]) -> Vec<Result<Outcome, SendError>> {
        let mut answers = Vec::new();
        for (intent, _) in intents {
            let answer = self.1.lock().expect("not poisoned").remove(0);
            if let Ok(outcome) = &answer {
                let verdict = Verdict::Settled(vec![(intent.clone(), outcome.clone())]);
                self.0.settle(US, 0, &verdict).await.expect("settled");
            }
            answers.push(answer);
        }
        answers
    }
}

/// An outbox, and the nudge it gives when something was said.
type Speaker = (Outbox<Answers>, Nudge);

async fn speaks(answers: Vec<Result<Outcome, SendError>>) -> (Store, Clock, Speaker) {
    let (store, clock) = (Store::fresh().await.expect("opens"), Clock::manual(GENESIS));
    let sender = Answers(store.clone(), Arc::new(Mutex::new(answers)));
    let metrics = Metrics::new().expect("distinct names");
    let said = Nudge::default();
    let outbox =
        Outbox::new(store.clone(), sender, GAS, clock.clone(), metrics, said.clone(), Nudge::default());
    let call = Call::CloseLease { lease: id(1), reason: CloseReason::PROVIDER };
    let intent = NewIntent {
        id: "close 0".to_owned(),
        kind: IntentKind::Close,
        order: Some(id(1)),
        call,
        deadline: Some(GENESIS + 100),
    };
    store.put_intent(&intent, GENESIS).await.expect("stored");
    (store, clock, (outbox, said))
}

/// Begins what waits, and notes what came of it.
async fn spoken((outbox, said): &mut Speaker) {
    assert_eq!(outbox.turn().await.expect("a turn").changed, 1, "one intent is begun");
    tokio::time::timeout(Duration::from_secs(30), said.wait()).await.expect("it was said");
    assert_eq!(outbox.turn().await.expect("a turn").changed, 1, "what came of it is noted");
}

async fn state(store: &Store) -> (IntentState, u32) {
    let history = store.intents_of(Some(id(1)), IntentKind::Close).await.expect("read");
    let row = history.latest.expect("one");
    (row.state, row.tries)
}

fn mined() -> Outcome {
    let hash = Hash([9; 32]);
    Outcome::Mined { hash, block: 7, block_hash: hash, gas_used: 1, fee_wei: 1, created: None }
}

#[tokio::test]
async fn a_refusal_that_may_pass_puts_the_intent_off_and_one_that_will_not_gives_it_up() {
    let passing = SendError::Refused(MarketError::StakeTooLow { free: 1, need: 2 });
    let (store, clock, mut outbox) = speaks(vec![Err(passing), Ok(mined())]).await;
    spoken(&mut outbox).await;
    assert_eq!(state(&store).await, (IntentState::Pending, 1));
    clock.set(GENESIS + 60);
    spoken(&mut outbox).await;
    assert_eq!(state(&store).await.0, IntentState::Done { block: 7 });

    let mistrusted = SignError::NotWhatWasAsked {
        endpoint: "https://signer".to_owned(),
        account: US,
        problem: "the nonce differs".to_owned(),
    };
    for lasting in [SendError::Refused(MarketError::NotOperator), SendError::Sign(mistrusted)] {
        let (store, _, mut outbox) = speaks(vec![Err(lasting)]).await;
        spoken(&mut outbox).await;
        assert!(matches!(state(&store).await.0, IntentState::Failed { .. }));
    }
}

#[tokio::test]
async fn an_intent_whose_time_is_over_is_not_said() {
    let (store, _, mut outbox) = speaks(vec![]).await;
    let chain = FakeChain::new();
    let mut late = chain.mine(vec![]);
    late.timestamp = GENESIS + 101;
    store.advance(&Advance { ancestor: None, blocks: vec![late], events: vec![] }).await.expect("stored");
    assert_eq!(outbox.0.turn().await.expect("a turn").changed, 1);
    assert!(matches!(state(&store).await.0, IntentState::Failed { .. }));
}

#[tokio::test]
async fn what_was_begun_before_a_stop_is_seen_through_although_its_time_is_over() {
    let (store, _, mut outbox) = speaks(vec![Ok(mined())]).await;
    let attempt = Attempt {
        intents: vec!["close 0".to_owned()],
        key: US,
        nonce: 0,
        hash: Hash([9; 32]),
        raw: vec![1, 2],
        max_fee: 3,
        max_tip: 2,
        signed_at: 1_700_000_000,
    };
    store.remember(&attempt).await.expect("remembered");
    assert_eq!(store.live(US).await.expect("read"), [attempt]);
    let chain = FakeChain::new();
    let mut late = chain.mine(vec![]);
    late.timestamp = GENESIS + 101;
    store.advance(&Advance { ancestor: None, blocks: vec![late], events: vec![] }).await.expect("stored");
    spoken(&mut outbox).await;
    assert_eq!(state(&store).await.0, IntentState::Done { block: 7 });
    assert!(store.live(US).await.expect("read").is_empty());
    assert_eq!(store.outcome("close 0").await.expect("read"), Some(mined()));
}
