//! Says to the chain what the store holds as intents.
//!
//! One sender for the operator key; the store is its journal, so that an intent has at most one effect whatever stops in
//! between. Several intents are on their way at once. A refusal that will not pass gives the intent up, and with a bid what
//! was reserved for it; one that may pass puts it off.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use market::call::Call;
use market::revert::Reaction;
use market::sender::{Outcome, SendError, Sender};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::store::{IntentRow, Store};
use crate::task::{Nudge, Report, Turn};

/// How many intents are on their way at once.
const AT_ONCE: usize = 32;

/// The longest that an intent is put off.
const LONGEST_PUT_OFF: u64 = 60;

/// Makes a call happen on chain, once for each intent.
pub trait Say: Clone + Send + Sync + 'static {
    /// Takes up what was on its way when the process before this one stopped, or before a reorganisation.
    fn recover(&self) -> impl Future<Output = Result<(), SendError>> + Send;
    /// Says it and waits until it is mined.
    fn say(&self, intent: &str, call: &Call) -> impl Future<Output = Result<Outcome, SendError>> + Send;
}

impl Say for Sender<Store> {
    async fn recover(&self) -> Result<(), SendError> {
        Sender::recover(self).await
    }

    async fn say(&self, intent: &str, call: &Call) -> Result<Outcome, SendError> {
        self.send(intent, call).await
    }
}

/// The loop that says intents.
#[derive(Debug)]
pub struct Outbox<S> {
    store: Store,
    sender: S,
    clock: Clock,
    metrics: Metrics,
    /// Ends this loop's own rest when something was said.
    said: Nudge,
    /// Loops that wait for what was said.
    follower: Nudge,
    on_its_way: BTreeSet<String>,
    tasks: JoinSet<()>,
    /// A result is here before `said` is nudged.
    results: (UnboundedSender<Spoken>, UnboundedReceiver<Spoken>),
    /// How many reorganisations there had been when the sender last took stock; `None` before the first time.
    recovered_at: Option<u64>,
}

/// What came of saying an intent.
#[derive(Debug)]
struct Spoken {
    row: IntentRow,
    result: Result<Outcome, SendError>,
}

impl<S: Say> Turn for Outbox<S> {
    const NAME: &'static str = "outbox";

    async fn turn(&mut self) -> anyhow::Result<Report> {
        // A reorganisation gives nonces back: what is sent next must count from what is mined now.
        let reorganisations = self.store.reorganisations().await?;
        if self.recovered_at != Some(reorganisations) {
            self.sender.recover().await?;
            self.recovered_at = Some(reorganisations);
        }
        let mut changed = 0;
        while let Some(ended) = self.tasks.try_join_next() {
            ended?;
        }
        while let Ok(spoken) = self.results.1.try_recv() {
            self.on_its_way.remove(&spoken.row.intent.id);
            self.note(spoken).await?;
            changed += 1;
        }
        let (now, chain_now) =
            (self.clock.now(), self.store.cursor().await?.map_or(0, |block| block.timestamp));
        let mut due = None;
        for row in self.store.pending_intents().await? {
            let (waits, busy) = (row.not_before > now, self.on_its_way.len() >= AT_ONCE);
            if self.on_its_way.contains(&row.intent.id) || busy {
                continue;
            }
            if waits {
                let wait = Duration::from_secs(row.not_before - now);
                due = Some(due.map_or(wait, |due: Duration| due.min(wait)));
                continue;
            }
            changed += 1;
            if !row.begun && row.intent.deadline.is_some_and(|deadline| deadline < chain_now) {
                self.store.fail_intent(&row.intent, "its time was over before it could be said", now).await?;
                continue;
            }
            self.start(row);
        }
        Ok(Report { changed, due })
    }
}

impl<S: Say> Outbox<S> {
    /// An outbox that says what `store` holds. `said` must be the nudge that this loop waits on; `follower` is nudged when
    /// something was mined.
    pub fn new(
        store: Store,
        sender: S,
        clock: Clock,
        metrics: Metrics,
        said: Nudge,
        follower: Nudge,
    ) -> Self {
        Self {
            store,
            sender,
            clock,
            metrics,
            said,
            follower,
            on_its_way: BTreeSet::new(),
            tasks: JoinSet::new(),
            results: unbounded_channel(),
            recovered_at: None,
        }
    }

    fn start(&mut self, row: IntentRow) {
        self.on_its_way.insert(row.intent.id.clone());
        let (sender, results, said) = (self.sender.clone(), self.results.0.clone(), self.said.clone());
        self.tasks.spawn(async move {
            let result = sender.say(&row.intent.id, &row.intent.call).await;
            // Nobody listens only when the outbox is gone, and this task with it.
            let _ = results.send(Spoken { row, result });
            said.nudge();
        });
    }

    async fn note(&self, spoken: Spoken) -> anyhow::Result<()> {
        let Spoken { row: IntentRow { intent, tries, .. }, result } = spoken;
        let now = self.clock.now();
        self.metrics.said(intent.kind, &result);
        match result {
            Ok(Outcome::Mined { hash, block, gas_used, .. }) => {
                info!(intent = intent.id, tx = %hash, block, gas_used, "mined");
                self.follower.nudge();
                Ok(())
            }
            Ok(Outcome::Reverted { hash, error, .. }) => {
                warn!(intent = intent.id, tx = %hash, "refused in its block: {error}");
                self.store.fail_intent(&intent, &error.to_string(), now).await
            }
            Err(SendError::Refused(error)) if error.reaction() != Reaction::Transient => {
                warn!(intent = intent.id, "refused: {error}");
                self.store.fail_intent(&intent, &error.to_string(), now).await
            }
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::new(error));
                let wait = (1u64 << tries.min(6)).min(LONGEST_PUT_OFF);
                warn!(intent = intent.id, tries, wait_s = wait, error, "not said; it will be tried again");
                self.store.put_off_intent(&intent.id, &error, now.saturating_add(wait), now).await
            }
        }
    }
}
