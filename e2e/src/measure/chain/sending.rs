//! How many transactions a second the sender gets mined from one key, with everything remembered in SQLite, beside how many
//! the node takes when it is handed the very same bytes.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::StreamExt as _;
use manifests::money::Amount;
use manifests::order::Address;
use market::call::Call;
use market::sender::{Attempt, Journal, Outcome, Sender, Settings, Verdict};
use provider::store::{DatabaseUrl, IntentKind, NewIntent, Sealer, Store};
use serde_json::json;

use super::{Ground, Row};
use crate::tools::Tools;
use crate::wait;

const TRANSACTIONS: u32 = 2_000;
/// How many are on their way at once.
const AT_ONCE: usize = 64;

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

    async fn remember(&self, attempt: &Attempt) -> Result<()> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).push(attempt.clone());
        self.store.remember(attempt).await
    }

    async fn settle(&self, key: Address, nonce: u64, verdict: &Verdict) -> Result<()> {
        self.store.settle(key, nonce, verdict).await
    }
}

pub(super) async fn rows(tools: &Tools) -> Result<Vec<Row>> {
    let ground = Ground::lay(tools).await?;
    let database: DatabaseUrl =
        format!("sqlite://{}", ground.folder.path().join("sent.db").display()).parse()?;
    let store = Store::open(&database, Sealer::new(&[7; 32])).await?;
    let call = Call::MintTestToken { to: ground.key.address(), amount: Amount(1) };
    let intents: Vec<NewIntent> = (0..TRANSACTIONS)
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
    let sender = Sender::new(ground.chain.clone(), ground.key.clone(), &kept, Settings::default());
    let before = ground.anvil.call("evm_snapshot", json!([])).await?;

    let start = Instant::now();
    let sends = futures::stream::iter(&intents).map(|intent| sender.send(&intent.id, &intent.call));
    let outcomes: Vec<_> = sends.buffer_unordered(AT_ONCE).collect().await;
    let ours = start.elapsed();
    for outcome in outcomes {
        ensure!(matches!(outcome?, Outcome::Mined { .. }), "a transaction was refused");
    }
    let sent = u64::from(TRANSACTIONS);
    ensure!(ground.nonce(ground.key.address()).await? == sent, "not one transaction an intent");

    ground.anvil.call("evm_revert", json!([before])).await?;
    let mut attempts = kept.attempts.lock().unwrap_or_else(PoisonError::into_inner).clone();
    attempts.sort_by_key(|attempt| attempt.nonce);
    let start = Instant::now();
    let hand_over = async |attempt: &Attempt| {
        let raw = format!("0x{}", hex::encode(&attempt.raw));
        ground.anvil.call("eth_sendRawTransaction", json!([raw])).await
    };
    let mut handed = futures::stream::iter(&attempts).map(hand_over).buffered(AT_ONCE);
    while let Some(taken) = handed.next().await {
        taken?;
    }
    wait::until("the node to mine what it was handed", Duration::from_secs(60), async || {
        let count = ground.nonce(ground.key.address()).await?;
        ensure!(count == sent, "{count} of {sent} are mined");
        Ok(())
    })
    .await?;
    let floor = start.elapsed();

    let rate = |took: Duration| f64::from(TRANSACTIONS) / took.as_secs_f64();
    Ok(vec![Row {
        name: "sender",
        figure: format!("{:.0} tx/s", rate(ours)),
        target: "200 tx/s",
        floor: format!("{:.0} tx/s", rate(floor)),
        ratio: rate(ours) / rate(floor),
        what: "2,000 intents of one key simulated, signed, remembered in SQLite, sent and seen mined; the same bytes handed to the node",
    }])
}
