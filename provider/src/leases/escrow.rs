//! Collects the money: withdraws what leases earned when it is due, closes what ran dry or never got a manifest.
//!
//! Everything it wants is an intent. Chain time is the followed blocks' time; whether an account ran dry is what the contract
//! says of it now, never what we worked out.

use std::collections::BTreeMap;
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
use crate::leases::close::{REST, close};
use crate::leases::ledger::after_fee;
use crate::leases::payout::{Claim, Fee, Worth, collect};
use crate::metrics::Metrics;
use crate::store::{IntentKind, IntentState, LeaseRow, LeaseState, NewIntent, Store};
use crate::task::{Nudge, Report, Turn};

/// After so many leases in a row that could not be looked at, the others are not asked for in this turn.
const BLIND: usize = 3;

/// How the contract sees a lease now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its account's money ended and the lease with it.
    pub depleted: bool,
    /// Unix seconds of chain time in which the account's money ends.
    pub funded_until: u64,
}

/// Asks the chain what decides about money.
pub trait EscrowView: Send + Sync {
    /// How a lease stands; `None` if the contract knows no such lease.
    fn lease(&self, id: LeaseId) -> impl Future<Output = anyhow::Result<Option<Seen>>> + Send;
    /// What gas costs now, in wei.
    fn gas_price(&self) -> impl Future<Output = anyhow::Result<u128>> + Send;
    /// What an account has to pay for gas, in wei.
    fn gas_balance(&self, account: Address) -> impl Future<Output = anyhow::Result<u128>> + Send;
}

impl EscrowView for market::Chain {
    async fn lease(&self, id: LeaseId) -> anyhow::Result<Option<Seen>> {
        let record = self.lease(id, At::Latest).await?;
        Ok(record.map(|record| Seen {
            depleted: record.state == OrderState::Depleted,
            funded_until: record.funded_until,
        }))
    }

    async fn gas_price(&self) -> anyhow::Result<u128> {
        Ok(self.gas_price().await?)
    }

    async fn gas_balance(&self, account: Address) -> anyhow::Result<u128> {
        Ok(self.gas_balance(account).await?)
    }
}

/// The loop that collects the money.
#[derive(Debug)]
pub struct Escrow<V> {
    /// The daemon's memory.
    pub store: Store,
    /// Who tells of leases and gas.
    pub view: V,
    /// Whose leases.
    pub provider: Address,
    /// The account that pays for gas.
    pub operator: Address,
    /// When money is collected.
    pub settings: Settings,
    /// Seconds that a lease may wait for its manifest.
    pub manifest_timeout: u64,
    /// The wall clock.
    pub clock: Clock,
    /// Whether the chain is followed: nothing is closed while it is not, since what happened meanwhile may speak against it.
    pub freshness: Freshness,
    /// Where what was seen of accounts and gas is shown.
    pub metrics: Metrics,
    /// The loop that says what this one wishes.
    pub outbox: Nudge,
    /// Unix seconds since when this process could have taken a manifest; time before that is not held against tenants.
    pub up_since: u64,
}

/// What is to be done about a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Collect, if it is worth it.
    Claim(Claim),
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
        let (mut changed, mut claims) = (0, Vec::new());
        let (mut funded, mut blind, mut problem) = (BTreeMap::new(), 0, None);
        for row in self.store.leases_to_bill(self.provider).await? {
            let id = row.lease.id;
            // What cannot be seen of one lease keeps nobody from the money of the others, and closes nothing.
            let (mut seen, mut is_unseen) = (None, row.is_live() && blind >= BLIND);
            if row.is_live() && !is_unseen {
                match self.view.lease(id).await {
                    Ok(answer) => (seen, blind) = (answer, 0),
                    Err(error) => {
                        (is_unseen, blind) = (true, blind + 1);
                        problem = Some(error.context(format!("failed to see how lease {id} stands")));
                    }
                }
            }
            if let Some(seen) = seen {
                funded.insert(id, seen.funded_until);
            }
            let waits = row.is_live() && !self.store.has_manifest(id).await?;
            match self.due(&row, seen, waits, cursor.timestamp) {
                Due::Finalize | Due::GiveUp if is_behind || is_unseen => {}
                Due::Claim(claim) => claims.push(claim),
                Due::Finalize => {
                    changed += self.close(id, Call::Finalize { lease: id }, cursor.number).await?;
                }
                Due::GiveUp => {
                    let reason = CloseReason::MANIFEST_TIMEOUT;
                    changed += self.close(id, Call::CloseLease { lease: id, reason }, cursor.number).await?;
                }
            }
        }
        self.metrics.funded(funded);
        let leases = collect(&claims, self.worth().await);
        changed += self.withdraw(leases, cursor.number).await?;
        match self.view.gas_balance(self.operator).await {
            Ok(balance_wei) => self.metrics.gas_money(balance_wei),
            Err(error) => problem = Some(error.context("failed to read what the operator key has for gas")),
        }
        problem.map_or(Ok(Report::changed(changed)), Err)
    }
}

impl<V: EscrowView> Escrow<V> {
    fn due(&self, row: &LeaseRow, seen: Option<Seen>, waits_for_manifest: bool, now: u64) -> Due {
        let LeaseRow { lease, state, paid_until, .. } = row;
        let Settings { withdraw_every, margin, .. } = &self.settings;
        let since = now.saturating_sub(*paid_until);
        let is_old = since >= withdraw_every.as_secs();
        let claim = |until: u64, is_time: bool| {
            let gross = lease.rate.cost_down(until.saturating_sub(*paid_until)).unwrap_or(Amount::ZERO);
            let (net, has_ended) = (after_fee(gross, lease.fee_bps), !row.is_live());
            Due::Claim(Claim { lease: lease.id, net, is_time, has_ended })
        };
        if let LeaseState::Closed { ended_at, .. } = state {
            return claim(*ended_at, is_old);
        }
        if seen.is_some_and(|seen| seen.depleted) {
            return Due::Finalize;
        }
        let waited = self.clock.now().saturating_sub(self.up_since).min(now.saturating_sub(lease.started_at));
        if waits_for_manifest && waited > self.manifest_timeout {
            return Due::GiveUp;
        }
        let runs_dry = seen.is_some_and(|seen| seen.funded_until <= now.saturating_add(margin.as_secs()));
        let is_time = is_old || (runs_dry && since >= margin.as_secs());
        claim(seen.map_or(now, |seen| seen.funded_until.min(now)), is_time)
    }

    /// What a withdrawal must bring: fifty fees where a coin has a price, and the sum that was configured where it has none or
    /// gas has none to tell.
    async fn worth(&self) -> Worth {
        let above = Worth::Above(self.settings.withdraw_above);
        let Some(native_price) = self.settings.native_price else { return above };
        match self.view.gas_price().await {
            Ok(gas_price) => Worth::Fee(Fee::at(gas_price, native_price)),
            Err(error) => {
                warn!(
                    error = format!("{error:#}"),
                    "the price of gas is unknown: escrow.withdrawAbove decides"
                );
                above
            }
        }
    }

    async fn close(&self, lease: LeaseId, call: Call, height: u64) -> anyhow::Result<u64> {
        let stored = close(&self.store, lease, call, height, self.clock.now()).await?;
        if stored {
            self.outbox.nudge();
        }
        Ok(u64::from(stored))
    }

    /// One withdrawal at a time, and none before the follower has seen what the last one brought.
    async fn withdraw(&self, leases: Vec<LeaseId>, height: u64) -> anyhow::Result<u64> {
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
