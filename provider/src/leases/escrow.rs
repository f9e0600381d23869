//! Collects the money: withdraws what leases earned when it is due, closes what ran dry or never got a manifest.
//!
//! Everything it wants is an intent. Chain time is the followed blocks' time; whether an account ran dry is what the contract
//! says of it now, never what we worked out.

use std::collections::BTreeSet;
use std::future::Future;

use manifests::money::Amount;
use manifests::order::{Address, CloseReason, LeaseId};
use market::At;
use market::call::Call;
use market::reader::OrderState;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::config::Escrow as Settings;
use crate::freshness::Freshness;
use crate::store::{IntentKind, IntentState, LeaseRow, LeaseState, NewIntent, Store};
use crate::task::{Nudge, Report, Turn};

/// The most leases in one withdrawal, as the contract has it.
const BATCH: usize = 100;

/// Blocks after which the mined end of a lease must be among the facts; if it is not, a reorg took it away.
const CLOSE_MUST_SHOW: u64 = 3;

/// Seconds that a wish which was refused rests before it is wished again.
const REST: u64 = 60;

/// How the contract sees a lease now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its account's money ended and the lease with it.
    pub depleted: bool,
    /// Unix seconds of chain time in which the account's money ends.
    pub funded_until: u64,
}

/// Asks the contract how a lease stands.
pub trait EscrowView: Send + Sync {
    /// `None` if the contract knows no such lease.
    fn lease(&self, id: LeaseId) -> impl Future<Output = anyhow::Result<Option<Seen>>> + Send;
}

impl EscrowView for market::Chain {
    async fn lease(&self, id: LeaseId) -> anyhow::Result<Option<Seen>> {
        let record = self.lease(id, At::Latest).await?;
        Ok(record.map(|record| Seen {
            depleted: record.state == OrderState::Depleted,
            funded_until: record.funded_until,
        }))
    }
}

/// The loop that collects the money.
#[derive(Debug)]
pub struct Escrow<V> {
    store: Store,
    view: V,
    provider: Address,
    settings: Settings,
    /// Seconds that a lease may wait for its manifest.
    manifest_timeout: u64,
    clock: Clock,
    outbox: Nudge,
    freshness: Freshness,
    /// Unix seconds since when this process could have taken a manifest; time before that is not held against tenants.
    up_since: u64,
}

/// What is to be done about a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    Withdraw,
    /// Say to the contract that the money ended: it frees our bond.
    Finalize,
    /// No manifest came in time.
    GiveUp,
}

impl<V: EscrowView> Turn for Escrow<V> {
    const NAME: &'static str = "escrow";

    async fn turn(&mut self) -> anyhow::Result<Report> {
        let Some(cursor) = self.store.cursor().await? else { return Ok(Report::default()) };
        let is_behind = self.freshness.lag(&cursor, self.clock.now()).is_stale();
        let (mut changed, mut earned) = (0, BTreeSet::new());
        for row in self.store.leases_to_bill(self.provider).await? {
            let id = row.lease.id;
            let seen = if row.is_live() { self.view.lease(id).await? } else { None };
            let waits = row.is_live() && !self.store.has_manifest(id).await?;
            match self.due(&row, seen, waits, cursor.timestamp) {
                Due::Nothing => {}
                Due::Finalize | Due::GiveUp if is_behind => {}
                Due::Withdraw => {
                    earned.insert(id);
                }
                Due::Finalize => {
                    changed += self.close(id, Call::Finalize { lease: id }, cursor.number).await?;
                }
                Due::GiveUp => {
                    let reason = CloseReason::MANIFEST_TIMEOUT;
                    changed += self.close(id, Call::CloseLease { lease: id, reason }, cursor.number).await?;
                }
            }
        }
        changed += self.withdraw(earned, cursor.number).await?;
        Ok(Report::changed(changed))
    }
}

impl<V: EscrowView> Escrow<V> {
    /// A collector for this provider's leases.
    pub fn new(
        store: Store,
        view: V,
        provider: Address,
        settings: Settings,
        manifest_timeout: u64,
        clock: Clock,
        outbox: Nudge,
    ) -> Self {
        let up_since = clock.now();
        let freshness = Freshness::default();
        Self { store, view, provider, settings, manifest_timeout, clock, outbox, freshness, up_since }
    }

    /// Closes nothing while the chain is not followed: what happened meanwhile may speak against it.
    #[must_use]
    pub fn doubting(self, freshness: Freshness) -> Self {
        Self { freshness, ..self }
    }

    fn due(&self, row: &LeaseRow, seen: Option<Seen>, waits_for_manifest: bool, now: u64) -> Due {
        let LeaseRow { lease, state, paid_until, .. } = row;
        let Settings { withdraw_every, withdraw_above, margin, check_interval: _ } = &self.settings;
        if let LeaseState::Closed { ended_at, .. } = state {
            let left = lease.rate.cost_down(ended_at.saturating_sub(*paid_until)).unwrap_or(Amount::ZERO);
            return if left > Amount::ZERO { Due::Withdraw } else { Due::Nothing };
        }
        if seen.is_some_and(|seen| seen.depleted) {
            return Due::Finalize;
        }
        let waited = self.clock.now().saturating_sub(self.up_since).min(now.saturating_sub(lease.started_at));
        if waits_for_manifest && waited > self.manifest_timeout {
            return Due::GiveUp;
        }
        let since = now.saturating_sub(*paid_until);
        let earned = lease.rate.cost_down(since).unwrap_or(Amount::ZERO);
        let runs_dry = seen.is_some_and(|seen| seen.funded_until <= now.saturating_add(margin.as_secs()));
        let is_due = since >= withdraw_every.as_secs()
            || earned >= *withdraw_above
            || (runs_dry && since >= margin.as_secs());
        if is_due && earned > Amount::ZERO { Due::Withdraw } else { Due::Nothing }
    }

    async fn close(&self, lease: LeaseId, call: Call, height: u64) -> anyhow::Result<u64> {
        let history = self.store.intents_of(Some(lease), IntentKind::Close).await?;
        let is_said = history.latest.is_some_and(|row| match row.state {
            IntentState::Pending => true,
            IntentState::Done { block } => height < block.saturating_add(CLOSE_MUST_SHOW),
            IntentState::Failed { .. } => self.rests(row.created_at),
        });
        if is_said {
            return Ok(0);
        }
        warn!(%lease, ?call, "closing a lease");
        let id = format!("close {lease} {}", history.count);
        self.put(NewIntent { id, kind: IntentKind::Close, order: Some(lease), call, deadline: None }).await
    }

    /// One withdrawal at a time, and none before the follower has seen what the last one brought.
    async fn withdraw(&self, leases: BTreeSet<LeaseId>, height: u64) -> anyhow::Result<u64> {
        if leases.is_empty() {
            return Ok(0);
        }
        let history = self.store.intents_of(None, IntentKind::Withdraw).await?;
        let is_under_way = history.latest.is_some_and(|row| match row.state {
            IntentState::Pending => true,
            IntentState::Done { block } => height < block,
            IntentState::Failed { .. } => self.rests(row.created_at),
        });
        if is_under_way {
            return Ok(0);
        }
        let leases: Vec<LeaseId> = leases.into_iter().take(BATCH).collect();
        info!(leases = leases.len(), "withdrawing what was earned");
        let id = format!("withdraw {}", history.count);
        let call = Call::Withdraw { leases };
        self.put(NewIntent { id, kind: IntentKind::Withdraw, order: None, call, deadline: None }).await
    }

    fn rests(&self, since: u64) -> bool {
        self.clock.now() < since.saturating_add(REST)
    }

    async fn put(&self, intent: NewIntent) -> anyhow::Result<u64> {
        let stored = self.store.put_intent(&intent, self.clock.now()).await?;
        self.outbox.nudge();
        Ok(u64::from(stored))
    }
}
