//! One effect for each intent, whatever stops in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use manifests::money::Amount;
use manifests::order::{Address, Hash};
use market::At;
use market::call::Call;
use market::observe::Resync;
use market::revert::MarketError;
use market::sender::{Attempt, Journal, MemoryJournal, Outcome, SendError, Sender, Settings, Verdict};
use serde_json::json;
use tokio::time::timeout;

use crate::anvil::{Market, mined, quick, rate, wallet};
use crate::faults::Heard;

const LIMIT: Duration = Duration::from_secs(20);

/// A journal that outlives its senders, as a store does, and can stop a send right after it remembered.
#[derive(Default)]
pub(crate) struct Lasting {
    memory: MemoryJournal,
    remembered: AtomicUsize,
    /// After so many attempts the next one is remembered and then reported as a failure, as if the process had died there.
    dies_after: Option<usize>,
}

impl Lasting {
    /// One that dies with the first attempt.
    pub(crate) fn dying() -> Self {
        Self { dies_after: Some(0), ..Self::default() }
    }

    pub(crate) fn remembered(&self) -> usize {
        self.remembered.load(Ordering::SeqCst)
    }
}

impl Journal for &Lasting {
    async fn outcome(&self, intent: &str) -> anyhow::Result<Option<Outcome>> {
        self.memory.outcome(intent).await
    }

    async fn live(&self, key: Address) -> anyhow::Result<Vec<Attempt>> {
        self.memory.live(key).await
    }

    async fn remember(&self, attempt: &Attempt) -> anyhow::Result<()> {
        self.memory.remember(attempt).await?;
        let before = self.remembered.fetch_add(1, Ordering::SeqCst);
        anyhow::ensure!(self.dies_after != Some(before), "died after remembering");
        Ok(())
    }

    async fn settle(&self, key: Address, nonce: u64, verdict: &Verdict) -> anyhow::Result<()> {
        self.memory.settle(key, nonce, verdict).await
    }
}

fn mint(to: Address) -> Call {
    Call::MintTestToken { to, amount: Amount(5) }
}

async fn tokens(market: &Market, of: Address) -> Amount {
    market.chain.token_balance(of, At::Latest).await.expect("read")
}

async fn nonce(market: &Market, of: Address) -> u64 {
    let count = market.anvil.ask("eth_getTransactionCount", json!([of, "latest"])).await;
    u64::from_str_radix(count.as_str().expect("hex").trim_start_matches("0x"), 16).expect("a number")
}

#[tokio::test]
async fn a_send_that_died_before_its_broadcast_happens_once_after_the_restart() {
    let Some(market) = Market::open().await else { return };
    let journal = Lasting::dying();
    let to = Address([1; 20]);
    let sender = Sender::new(market.chain.clone(), wallet(3), &journal, quick());
    assert!(matches!(sender.send("mint", &mint(to)).await, Err(SendError::Journal(_))));
    assert_eq!(tokens(&market, to).await, Amount::ZERO);

    let sender = Sender::new(market.chain.clone(), wallet(3), &journal, quick());
    sender.recover().await.expect("recovered");
    let outcome = timeout(LIMIT, sender.send("mint", &mint(to))).await.expect("in time").expect("sent");
    assert!(matches!(outcome, Outcome::Mined { .. }), "{outcome:?}");
    assert_eq!(sender.send("mint", &mint(to)).await.expect("known"), outcome);
    assert_eq!(tokens(&market, to).await, Amount(5));
    assert_eq!(nonce(&market, wallet(3).address()).await, 1);
}

#[tokio::test]
async fn a_send_that_died_after_its_broadcast_is_not_sent_a_second_time() {
    let Some(market) = Market::open().await else { return };
    let journal = Lasting::default();
    let to = Address([2; 20]);
    market.anvil.mine_by_hand().await;
    let sender = Sender::new(market.chain.clone(), wallet(3), &journal, quick());
    // It waits for a block that does not come, and is dropped while it waits.
    timeout(Duration::from_millis(400), sender.send("mint", &mint(to))).await.expect_err("no block");
    market.anvil.mine().await;

    let sender = Sender::new(market.chain.clone(), wallet(3), &journal, quick());
    sender.recover().await.expect("recovered");
    let outcome = timeout(LIMIT, sender.send("mint", &mint(to))).await.expect("in time").expect("sent");
    assert!(matches!(outcome, Outcome::Mined { .. }), "{outcome:?}");
    assert_eq!(tokens(&market, to).await, Amount(5));
    assert_eq!(journal.remembered(), 1);
}

#[tokio::test]
async fn a_gap_in_the_sequence_is_filled_so_that_what_waits_behind_it_is_mined() {
    let Some(market) = Market::open().await else { return };
    let heard = Arc::new(Heard::default());
    market.chain.tell(heard.clone());
    let (first, second) = (Address([3; 20]), Address([4; 20]));
    // The first attempt is remembered and lost; the second one, at the next nonce, travels and has to wait.
    let journal = Lasting::dying();
    let sender = Sender::new(market.chain.clone(), wallet(3), &journal, quick());
    sender.send("lost", &mint(first)).await.expect_err("died");
    let waiting = timeout(Duration::from_millis(300), sender.send("waits", &mint(second))).await;
    waiting.expect_err("it cannot be mined before the first");
    let lost = journal.memory.live(wallet(3).address()).await.expect("live");
    assert_eq!(lost.iter().map(|attempt| attempt.nonce).collect::<Vec<_>>(), [0, 1]);

    // A journal that lost the first one altogether: nothing of ours can ever take nonce 0.
    let forgetful = Lasting::default();
    (&forgetful).remember(&lost[1]).await.expect("remembered");
    let sender = Sender::new(market.chain.clone(), wallet(3), &forgetful, quick());
    sender.recover().await.expect("recovered");
    assert_eq!(*heard.resyncs.lock().expect("whole"), [Resync::Gap]);
    timeout(LIMIT, sender.send("waits", &mint(second))).await.expect("in time").expect("mined");
    assert_eq!(tokens(&market, second).await, Amount(5));
    assert_eq!(tokens(&market, first).await, Amount::ZERO);
    assert_eq!(nonce(&market, wallet(3).address()).await, 2);
}

#[tokio::test]
async fn a_nonce_that_somebody_else_took_gives_the_intent_another_one() {
    let Some(market) = Market::open().await else { return };
    let heard = Arc::new(Heard::default());
    market.chain.tell(heard.clone());
    let (ours, theirs) = (Address([5; 20]), Address([6; 20]));
    let journal = Lasting::dying();
    let sender = Sender::new(market.chain.clone(), wallet(3), &journal, quick());
    sender.send("ours", &mint(ours)).await.expect_err("died");
    // The same key in other hands, which know nothing of our journal.
    let stranger = Sender::new(market.chain.clone(), wallet(3), MemoryJournal::default(), quick());
    mined(&stranger, &mint(theirs)).await;

    let outcome = timeout(LIMIT, sender.send("ours", &mint(ours))).await.expect("in time").expect("sent");
    assert!(matches!(outcome, Outcome::Mined { .. }), "{outcome:?}");
    assert_eq!(tokens(&market, ours).await, Amount(5));
    assert_eq!(nonce(&market, wallet(3).address()).await, 2);
    assert_eq!(*heard.resyncs.lock().expect("whole"), [Resync::Lost]);
}

#[tokio::test]
async fn a_stuck_transaction_is_replaced_by_a_dearer_one_with_one_effect() {
    let Some(market) = Market::open().await else { return };
    let journal = Lasting::default();
    let to = Address([7; 20]);
    market.anvil.mine_by_hand().await;
    let sender = Sender::new(market.chain.clone(), wallet(3), &journal, quick());
    let call = mint(to);
    let send = sender.send("mint", &call);
    let mine_later = async {
        timeout(LIMIT, async {
            while journal.remembered() < 2 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .expect("a replacement in time");
        market.anvil.mine().await;
    };
    let (outcome, ()) = timeout(LIMIT, async { tokio::join!(send, mine_later) }).await.expect("in time");
    let Outcome::Mined { hash, .. } = outcome.expect("sent") else { panic!("reverted") };
    assert_ne!(hash, Hash::default());
    assert_eq!(tokens(&market, to).await, Amount(5));
    assert_eq!(nonce(&market, wallet(3).address()).await, 1);
}

#[tokio::test]
async fn many_intents_at_once_share_one_lane() {
    let Some(market) = Market::open().await else { return };
    let journal = Lasting::default();
    let sender = Sender::new(market.chain.clone(), wallet(3), &journal, quick());
    let to = Address([8; 20]);
    let call = mint(to);
    let intents: Vec<String> = (0..40).map(|n| format!("mint-{n}")).collect();
    let sends = intents.iter().map(|intent| sender.send(intent, &call));
    let outcomes = timeout(LIMIT, futures::future::join_all(sends)).await.expect("in time");
    for outcome in outcomes {
        assert!(matches!(outcome, Ok(Outcome::Mined { .. })), "{outcome:?}");
    }
    assert_eq!(tokens(&market, to).await, Amount(200));
    assert_eq!(nonce(&market, wallet(3).address()).await, 40);
}

#[tokio::test]
async fn a_refusal_of_the_contract_is_typed_and_costs_no_nonce() {
    let Some(market) = Market::open().await else { return };
    let order = market.order(1, Amount(10_000_000), rate(1_000)).await;
    let before = nonce(&market, market.provider.address()).await;
    let refused =
        market.provider.send("dear", &market.bid(order, rate(1_001)).await).await.expect_err("dear");
    assert!(
        matches!(refused, SendError::Refused(MarketError::RateTooHigh { max }) if max == rate(1_000)),
        "{refused:?}"
    );
    assert!(!refused.is_transient());
    assert_eq!(nonce(&market, market.provider.address()).await, before);
}

#[tokio::test]
async fn a_call_that_was_overtaken_ends_as_reverted_with_its_reason() {
    let Some(market) = Market::open().await else { return };
    let order = market.order(1, Amount(10_000_000), rate(1_000)).await;
    market.anvil.mine_by_hand().await;
    // Both pass their simulation on the newest block; the cancellation pays more and comes first.
    let hasty = Settings { min_tip: 50_000_000_000, ..quick() };
    let tenant = Sender::new(market.chain.clone(), wallet(1), MemoryJournal::default(), hasty);
    let (cancel, again) = (Call::CancelOrder { order }, market.bid(order, rate(900)).await);
    let bid = market.provider.send("bid", &again);
    let stop = async {
        market.anvil.until_pending(1).await;
        let cancel = tenant.send("cancel", &cancel);
        let mine = async {
            market.anvil.until_pending(2).await;
            market.anvil.mine().await;
        };
        tokio::join!(cancel, mine).0
    };
    let (bid, cancel) = timeout(LIMIT, Box::pin(async { tokio::join!(bid, stop) })).await.expect("in time");
    assert!(matches!(cancel, Ok(Outcome::Mined { .. })), "{cancel:?}");
    let Outcome::Reverted { error, .. } = bid.expect("an outcome") else { panic!("the bid came first") };
    assert_eq!(error, MarketError::WrongState { have: 4 });
}

#[tokio::test]
async fn a_key_without_gas_money_is_told_and_its_nonce_stays_free() {
    let Some(market) = Market::open().await else { return };
    let journal = Lasting::default();
    let poor = market::wallet::Wallet::from_private_key(&"2".repeat(64)).expect("a key");
    let key = poor.address();
    let sender = Sender::new(market.chain.clone(), poor, &journal, quick());
    let to = Address([9; 20]);
    let error =
        timeout(LIMIT, sender.send("mint", &mint(to))).await.expect("in time").expect_err("no gas money");
    assert!(error.is_transient(), "{error:?}");
    assert_eq!(journal.memory.live(key).await.expect("live"), []);
    market.anvil.ask("anvil_setBalance", json!([key, "0xde0b6b3a7640000"])).await;
    timeout(LIMIT, sender.send("mint", &mint(to))).await.expect("in time").expect("sent");
    assert_eq!(tokens(&market, to).await, Amount(5));
}
