//! What Prometheus sees. Gauges are computed from the store when they are asked for; counters count events of this process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use bidengine::Fx;
use manifests::decision::Decision;
use manifests::order::{LeaseId, OrderId};
use market::sender::{Outcome, SendError};
use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::clock::Clock;
use crate::freshness::Lag;
use crate::gateway;
use crate::leases::ledger::{Burn, Ledger};
use crate::leases::reconcile;
use crate::store::{IntentKind, LeaseState, NewIntent, Store};
use crate::task;

/// Orders whose first bid is timed at once: more of them than are answered in time need no timing.
const MOST_WAITING: usize = 20_000;

/// The registry and everything in it; clones share it.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    head: AtomicU64,
    chain_head: IntGauge,
    chain_lag: IntGauge,
    lag_seconds: IntGauge,
    last_event: IntGauge,
    hold: IntGauge,
    is_stale: AtomicBool,
    endpoints: IntGaugeVec,
    ready: IntGaugeVec,
    leader: IntGaugeVec,
    block_time: IntGauge,
    reorgs: IntCounter,
    differences: IntCounterVec,
    orders_seen: IntCounter,
    declined: IntCounterVec,
    bids: IntCounterVec,
    outcomes: IntCounterVec,
    bid_seconds: Histogram,
    /// When orders were seen that have no bid on the chain yet.
    waiting: Mutex<BTreeMap<OrderId, Instant>>,
    revisions: IntCounter,
    expired: IntCounter,
    moved: IntCounter,
    without_place: IntGauge,
    decision_bytes: IntGauge,
    transactions: IntCounterVec,
    held_back: IntCounterVec,
    fees: IntCounter,
    turns: IntCounterVec,
    turn_seconds: HistogramVec,
    last_success: IntGaugeVec,
    reservations: IntGaugeVec,
    leases: IntGaugeVec,
    revenue: IntGauge,
    withdrawn: IntGauge,
    accrued: IntGauge,
    to_collect: IntGauge,
    at_risk: IntGauge,
    funds_remaining: IntGauge,
    last_withdrawal: IntGauge,
    gas_money: IntGauge,
    gas_runway: IntGauge,
    /// What the contract last said of accounts' money, by lease, and of the operator key's gas money.
    seen: Mutex<SeenMoney>,
    health: IntGaugeVec,
    intents: IntGaugeVec,
    bids_open: IntGauge,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    refused_signatures: IntCounterVec,
    incidents: IntCounterVec,
    orphaned: IntGauge,
    apply_failures: IntCounter,
    pricing_seconds: HistogramVec,
    pricing_errors: IntCounterVec,
    fx_rate: GaugeVec,
    fx_age: IntGaugeVec,
    fx_failures: IntCounterVec,
    config_read: IntGauge,
    config_bad: IntGauge,
}

#[derive(Debug, Default)]
struct SeenMoney {
    funded_until: BTreeMap<LeaseId, u64>,
    gas_wei: Option<u128>,
    fx: Option<Fx>,
}

impl Metrics {
    /// A registry with every metric at zero.
    ///
    /// # Errors
    /// When two metrics have one name, which a test rules out.
    pub fn new() -> anyhow::Result<Self> {
        let registry = Registry::new();
        let make = Make(&registry);
        let info = make.gauges("berth_build_info", "What runs here; always 1.", &["version"])?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let inner = Inner {
            head: AtomicU64::new(0),
            chain_head: make.gauge("berth_chain_head_height", "Height of the chain's newest block.")?,
            chain_lag: make.gauge("berth_chain_lag_blocks", "Blocks between the head and what is stored.")?,
            lag_seconds: make.gauge(
                "berth_chain_lag_seconds",
                "Seconds since what is stored of the chain was last the whole truth.",
            )?,
            last_event: make.gauge(
                "berth_chain_last_event_timestamp_seconds",
                "Unix time up to which what is stored of the chain is the whole truth.",
            )?,
            hold: make.gauge(
                "berth_hold_mode",
                "1 while something is held instead of decided: the chain is not followed, or a namespace's lease is unknown.",
            )?,
            is_stale: AtomicBool::new(false),
            endpoints: make.gauges(
                "berth_chain_endpoint_up",
                "Whether an endpoint of the chain gave the last answer it was asked for.",
                &["endpoint"],
            )?,
            ready: make.gauges(
                "berth_component_ready",
                "Whether a part of the daemon works: the chain is followed.",
                &["component"],
            )?,
            leader: make.gauges(
                "berth_leader",
                "1 where a part of the daemon is the one that may act: the sender, which holds the Kubernetes Lease of its key.",
                &["component"],
            )?,
            block_time: make
                .gauge("berth_chain_block_timestamp_seconds", "Unix time of the last stored block.")?,
            reorgs: make
                .counter("berth_chain_reorgs_total", "Reorganisations of the chain that were followed.")?,
            differences: make.counters(
                "berth_chain_differences_total",
                "What was different when the chain was asked again: events that were missing (and were added), events that were \
                 not_told this time (and were kept), orders whose state the contract sees differently.",
                &["kind"],
            )?,
            orders_seen: make.counter("berth_orders_seen_total", "Orders that appeared on the book.")?,
            declined: make.counters(
                "berth_orders_declined_total",
                "Orders that were declined, by the reason's code.",
                &["reason"],
            )?,
            outcomes: make.counters(
                "berth_bid_outcomes_total",
                "Bids, by how they ended: won, lost, expired, order_closed, refused or reorganised.",
                &["outcome"],
            )?,
            bids: make.counters(
                "berth_bids_total",
                "Bids that were said to the chain, by result: ok, reverted, refused or error (which is tried again).",
                &["result"],
            )?,
            bid_seconds: make.histogram(
                "berth_bid_latency_seconds",
                "How long it took from an order's appearance to our bid on the chain.",
            )?,
            waiting: Mutex::default(),
            revisions: make.counter(
                "berth_bid_revisions_total",
                "Bids that were lowered because another was lower, on orders that go to the lowest.",
            )?,
            expired: make.counter(
                "berth_reservation_expired_total",
                "Reservations that were released because their order or bid expired.",
            )?,
            moved: make.counter(
                "berth_reservations_moved_total",
                "Reservations that got new nodes because one was lost or had no room.",
            )?,
            without_place: make.gauge(
                "berth_reservations_without_place",
                "Reservations of which a node is lost or has no room, and that fit nowhere else.",
            )?,
            decision_bytes: make.gauge(
                "berth_decision_inputs_bytes",
                "What is stored for explaining and repeating decisions, compressed.",
            )?,
            transactions: make.counters(
                "berth_tx_total",
                "Intents that were said to the chain, by kind and result.",
                &["msg", "result"],
            )?,
            held_back: make.counters(
                "berth_bids_held_back_total",
                "Bids that were put off to save gas money, by why: the reserve for closes, or the day's budget.",
                &["reason"],
            )?,
            fees: make
                .counter("berth_tx_fees_gwei_total", "Gas money that mined transactions paid, in gwei.")?,
            turns: make.counters(
                "berth_reconcile_runs_total",
                "Turns of each loop, by result.",
                &["controller", "result"],
            )?,
            turn_seconds: make.histograms(
                "berth_reconcile_duration_seconds",
                "How long a turn of each loop took.",
                &["controller"],
            )?,
            last_success: make.gauges(
                "berth_reconcile_last_success_timestamp_seconds",
                "Unix time of each loop's last good turn.",
                &["controller"],
            )?,
            reservations: make.gauges("berth_reservations", "Promised capacity, by state.", &["state"])?,
            leases: make.gauges("berth_leases", "Our leases, by state.", &["state"])?,
            revenue: make.gauge(
                "berth_lease_revenue_nanounits_per_second",
                "What live leases earn: token units × 10^9 per second.",
            )?,
            withdrawn: make.gauge(
                "berth_earnings_withdrawn_units",
                "What withdrawals of all leases brought, in token units.",
            )?,
            accrued: make.gauge(
                "berth_earnings_accrued_units",
                "What all leases earned so far, withdrawn or not, in token units before the market's fee.",
            )?,
            to_collect: make.gauge(
                "berth_earnings_to_collect_units",
                "What a withdrawal of all leases would bring now, in token units after the market's fee.",
            )?,
            at_risk: make.gauge(
                "berth_escrow_at_risk_units",
                "What live leases served after their accounts' money had ended, in token units: nobody pays it.",
            )?,
            funds_remaining: make.gauge(
                "berth_lease_funds_remaining_seconds",
                "Seconds until the first account of a live lease ends; 0 if one has ended or none is live.",
            )?,
            last_withdrawal: make.gauge(
                "berth_withdraw_last_success_timestamp_seconds",
                "Unix time up to which a lease was last withdrawn.",
            )?,
            gas_money: make
                .gauge("berth_wallet_balance_gwei", "What the operator key has to pay for gas, in gwei.")?,
            gas_runway: make.gauge(
                "berth_wallet_runway_seconds",
                "How long that lasts at the spending of the last seven days; the largest number if nothing was spent.",
            )?,
            seen: Mutex::default(),
            health: make.gauges(
                "berth_workload_health",
                "Live leases, by their workload's health.",
                &["state"],
            )?,
            intents: make.gauges("berth_intents", "Intents, by kind and state.", &["kind", "state"])?,
            bids_open: make.gauge("berth_bids_open", "Bids that hold capacity.")?,
            requests: make.counters(
                "berth_gateway_requests_total",
                "Answered requests, by route, method and status.",
                &["route", "method", "code"],
            )?,
            request_seconds: make.histograms(
                "berth_gateway_request_duration_seconds",
                "How long it took until an answer was begun.",
                &["route"],
            )?,
            refused_signatures: make.counters(
                "berth_gateway_auth_failures_total",
                "Requests whose signature was not believed, by reason.",
                &["reason"],
            )?,
            incidents: make.counters(
                "berth_inventory_invariant_violations_total",
                "Things that must not be, such as one GPU in two leases, by kind.",
                &["kind"],
            )?,
            orphaned: make.gauge(
                "berth_orphaned_namespaces",
                "Namespaces with our label whose lease is not known; they are left alone.",
            )?,
            apply_failures: make
                .counter("berth_apply_failures_total", "Leases whose objects could not be applied.")?,
            pricing_seconds: make.histograms(
                "berth_pricing_duration_seconds",
                "How long the operator's pricing program took, by how it is asked.",
                &["strategy"],
            )?,
            pricing_errors: make.counters(
                "berth_pricing_errors_total",
                "Times that the operator's pricing program named no price, by why: busy, timeout, start, exit, unreachable, \
                 status or answer.",
                &["reason"],
            )?,
            fx_rate: make.decimals(
                "berth_price_fx_rate",
                "What one unit of the tariff's currency is worth in dollars.",
                &["pair"],
            )?,
            fx_age: make.gauges(
                "berth_price_fx_age_seconds",
                "How long ago that was told, by who told it.",
                &["source"],
            )?,
            fx_failures: make.counters(
                "berth_price_fx_failures_total",
                "Times that a source did not tell what the tariff's currency is worth.",
                &["source"],
            )?,
            config_read: make.gauge(
                "berth_config_reload_success_timestamp_seconds",
                "Unix time at which the configuration in use was read.",
            )?,
            config_bad: make.gauge(
                "berth_config_reload_failed",
                "1 while the configuration file cannot be used, and the last good one counts.",
            )?,
            registry,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Everything in Prometheus's text form, with gauges as the store has them now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn render(&self, store: &Store, provider: manifests::order::Address) -> anyhow::Result<String> {
        self.read(store, provider).await.context("failed to compute the gauges")?;
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.registry.gather(), &mut text).context("failed to write metrics")?;
        String::from_utf8(text).context("metrics are text")
    }

    async fn read(&self, store: &Store, provider: manifests::order::Address) -> anyhow::Result<()> {
        let inner = &*self.0;
        if let Some(cursor) = store.cursor().await? {
            inner.block_time.set(gauge(cursor.timestamp));
            inner.chain_lag.set(gauge(inner.head.load(Ordering::Relaxed).saturating_sub(cursor.number)));
        }
        let reservations = store.reservations().await?;
        inner.reservations.reset();
        for state in ["held", "leased"] {
            let count = reservations.iter().filter(|row| row.state.word() == state).count();
            inner.reservations.with_label_values(&[state]).set(gauge(count));
            if state == "held" {
                inner.bids_open.set(gauge(count));
            }
        }
        let (leases, statuses) = (store.leases_of(provider).await?, store.lease_statuses().await?);
        let mut states = [("active", 0usize), ("reclaiming", 0), ("closed", 0)];
        let (mut revenue, mut withdrawn, mut paid_until) = (0u128, 0u128, None);
        let now = store.cursor().await?.map_or(0, |cursor| cursor.timestamp);
        let mut ledger = Ledger::default();
        let (funded, gas_wei, fx) = {
            let seen = self.seen();
            (seen.funded_until.clone(), seen.gas_wei, seen.fx.clone())
        };
        inner.fx_age.reset();
        if let Some(Fx { source, at, .. }) = fx {
            let age = Clock::default().now().saturating_sub(at);
            inner.fx_age.with_label_values(&[&source]).set(gauge(age));
        }
        let mut remaining: Option<u64> = None;
        for row in &leases {
            let index = match row.state {
                LeaseState::Active => 0,
                LeaseState::Reclaiming { .. } => 1,
                LeaseState::Closed { .. } => 2,
            };
            states[index].1 += 1;
            withdrawn = withdrawn.saturating_add(row.paid_net.0);
            let funded_until = funded.get(&row.lease.id).copied().unwrap_or(row.lease.funded_until);
            ledger = ledger.plus(Ledger::of(row, funded_until, now));
            if row.paid_until > row.lease.started_at {
                paid_until = paid_until.max(Some(row.paid_until));
            }
            if row.is_live() {
                revenue = revenue.saturating_add(row.lease.rate.scaled());
                let left = funded_until.saturating_sub(now);
                remaining = Some(remaining.map_or(left, |least| least.min(left)));
            }
        }
        for (state, count) in states {
            inner.leases.with_label_values(&[state]).set(gauge(count));
        }
        inner.revenue.set(gauge(revenue));
        inner.withdrawn.set(gauge(withdrawn));
        let Ledger { accrued, withdrawn: _, to_collect, at_risk } = ledger;
        inner.accrued.set(gauge(accrued.0));
        inner.to_collect.set(gauge(to_collect.0));
        inner.at_risk.set(gauge(at_risk.0));
        inner.funds_remaining.set(gauge(remaining.unwrap_or(0)));
        inner.last_withdrawal.set(gauge(paid_until.unwrap_or(0)));
        if let Some(balance_wei) = gas_wei {
            let burn = Burn::read(store, Clock::default().now()).await?;
            inner.gas_money.set(gauge(balance_wei / 1_000_000_000));
            inner.gas_runway.set(gauge(burn.lasts(balance_wei).unwrap_or(u128::MAX)));
        }
        for health in ["healthy", "unhealthy", "unknown"] {
            let count = statuses
                .iter()
                .filter(|status| status.health.word() == health && status.torn_down_at.is_none())
                .count();
            inner.health.with_label_values(&[health]).set(gauge(count));
        }
        inner.decision_bytes.set(gauge(store.decision_bytes().await?));
        inner.intents.reset();
        for (kind, state, count) in store.count_intents().await? {
            inner.intents.with_label_values(&[&kind, &state]).set(gauge(count));
        }
        Ok(())
    }

    /// Counts what came of asking the operator's pricing program.
    pub(crate) fn priced(&self, how: &str, took: Duration, trouble: Option<&str>) {
        self.0.pricing_seconds.with_label_values(&[how]).observe(took.as_secs_f64());
        if let Some(trouble) = trouble {
            self.0.pricing_errors.with_label_values(&[trouble]).inc();
        }
    }

    /// Shows what a currency is worth, which only people look at.
    pub(crate) fn fx(&self, currency: &str, told: &Fx) {
        let shown = told.rate.to_string().parse().unwrap_or(f64::NAN);
        self.0.fx_rate.reset();
        self.0.fx_rate.with_label_values(&[&format!("{currency}/USD")]).set(shown);
        self.seen().fx = Some(told.clone());
    }

    pub(crate) fn fx_failed(&self, source: &str) {
        self.0.fx_failures.with_label_values(&[source]).inc();
    }

    /// The configuration was read at this unix time; `None` says that it cannot be used.
    pub(crate) fn config_read(&self, at: Option<u64>) {
        self.0.config_bad.set(i64::from(at.is_none()));
        if let Some(at) = at {
            self.0.config_read.set(gauge(at));
        }
    }

    /// What the contract says of the accounts of live leases: unix seconds of chain time in which each ends.
    pub(crate) fn funded(&self, until: BTreeMap<LeaseId, u64>) {
        self.seen().funded_until = until;
    }

    /// What the operator key has to pay for gas.
    pub(crate) fn gas_money(&self, balance_wei: u128) {
        self.seen().gas_wei = Some(balance_wei);
    }

    fn seen(&self) -> MutexGuard<'_, SeenMoney> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn chain_head(&self, height: u64) {
        self.0.head.store(height, Ordering::Relaxed);
        self.0.chain_head.set(gauge(height));
    }

    /// Shows how far behind the chain is followed.
    pub(crate) fn lag(&self, lag: Lag, now: u64) {
        let inner = &*self.0;
        inner.lag_seconds.set(gauge(lag.seconds));
        inner.last_event.set(gauge(now.saturating_sub(lag.seconds)));
        inner.is_stale.store(lag.is_stale(), Ordering::Relaxed);
        inner.ready.with_label_values(&["chain"]).set(i64::from(!lag.is_stale()));
        self.hold();
    }

    fn hold(&self) {
        let inner = &*self.0;
        let holds = inner.is_stale.load(Ordering::Relaxed) || inner.orphaned.get() > 0;
        inner.hold.set(i64::from(holds));
    }

    pub(crate) fn endpoint(&self, endpoint: &str, is_up: bool) {
        self.0.endpoints.with_label_values(&[endpoint]).set(i64::from(is_up));
    }

    pub(crate) fn leader(&self, leads: bool) {
        self.0.leader.with_label_values(&["sender"]).set(i64::from(leads));
    }

    pub(crate) fn reorg(&self) {
        self.0.reorgs.inc();
    }

    /// Counts differences between the store and a chain that was asked again: `missing`, `not_told` or `state`.
    pub(crate) fn differs(&self, kind: &str, count: u64) {
        self.0.differences.with_label_values(&[kind]).inc_by(count);
    }

    pub(crate) fn order_seen(&self, order: OrderId) {
        self.0.orders_seen.inc();
        let mut waiting = self.waiting();
        if waiting.len() < MOST_WAITING {
            waiting.insert(order, Instant::now());
        }
    }

    /// Counts an answer; `before` is the code of the reason for which the order was declined last.
    pub(crate) fn decided(&self, order: OrderId, decision: &Decision, before: Option<&str>) {
        if let Decision::Decline { reason } = decision
            && before != Some(reason.code())
        {
            self.0.declined.with_label_values(&[reason.code()]).inc();
            self.waiting().remove(&order);
        }
    }

    /// Counts a bid's end.
    pub(crate) fn bid_ended(&self, order: OrderId, outcome: &str) {
        self.0.outcomes.with_label_values(&[outcome]).inc();
        if outcome == "expired" {
            self.0.expired.inc();
        }
        self.waiting().remove(&order);
    }

    pub(crate) fn bid_revised(&self) {
        self.0.revisions.inc();
    }

    pub(crate) fn reservation_moved(&self) {
        self.0.moved.inc();
    }

    pub(crate) fn without_place(&self, reservations: usize) {
        self.0.without_place.set(gauge(reservations));
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<OrderId, Instant>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn bid_held_back(&self, reason: &str) {
        self.0.held_back.with_label_values(&[reason]).inc();
    }

    pub(crate) fn said(&self, intent: &NewIntent, result: &Result<Outcome, SendError>) {
        let word = match result {
            Ok(Outcome::Mined { fee_wei, .. }) => {
                self.0.fees.inc_by(u64::try_from(fee_wei / 1_000_000_000).unwrap_or(u64::MAX));
                "ok"
            }
            Ok(Outcome::Reverted { .. }) => "reverted",
            Err(SendError::Refused(_)) => "refused",
            Err(_) => "error",
        };
        self.0.transactions.with_label_values(&[intent.kind.word(), word]).inc();
        if intent.kind == IntentKind::Bid {
            self.0.bids.with_label_values(&[word]).inc();
            let seen = intent.order.filter(|_| word == "ok").and_then(|order| self.waiting().remove(&order));
            if let Some(seen) = seen {
                self.0.bid_seconds.observe(seen.elapsed().as_secs_f64());
            }
        }
    }

    /// Counts a turn of a loop.
    pub fn turn(&self, outcome: task::Outcome) {
        let task::Outcome { name, ok, took } = outcome;
        self.0.turns.with_label_values(&[name, if ok { "ok" } else { "error" }]).inc();
        self.0.turn_seconds.with_label_values(&[name]).observe(took.as_secs_f64());
        if ok && let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) {
            self.0.last_success.with_label_values(&[name]).set(gauge(now.as_secs()));
        }
    }
}

impl gateway::observe::Observe for Metrics {
    fn answered(&self, route: &str, method: &str, status: u16, took: Duration) {
        self.0.requests.with_label_values(&[route, method, &status.to_string()]).inc();
        self.0.request_seconds.with_label_values(&[route]).observe(took.as_secs_f64());
    }

    fn not_believed(&self, reason: &str) {
        self.0.refused_signatures.with_label_values(&[reason]).inc();
    }
}

impl reconcile::Observe for Metrics {
    fn incident(&self, code: &str) {
        self.0.incidents.with_label_values(&[code]).inc();
    }

    fn held_namespaces(&self, count: usize) {
        self.0.orphaned.set(gauge(count));
        self.hold();
    }

    fn apply_failed(&self) {
        self.0.apply_failures.inc();
    }
}

/// A gauge holds 63 bits; what is larger shows as the largest.
fn gauge<T: TryInto<i64>>(value: T) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// Makes metrics and registers them.
struct Make<'a>(&'a Registry);

impl Make<'_> {
    fn register<M: prometheus::core::Collector + Clone + 'static>(
        &self,
        metric: prometheus::Result<M>,
    ) -> anyhow::Result<M> {
        let metric = metric.context("a metric cannot be made")?;
        self.0.register(Box::new(metric.clone())).context("a metric cannot be registered")?;
        Ok(metric)
    }

    fn gauge(&self, name: &str, help: &str) -> anyhow::Result<IntGauge> {
        self.register(IntGauge::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> anyhow::Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn decimals(&self, name: &str, help: &str, labels: &[&str]) -> anyhow::Result<GaugeVec> {
        self.register(GaugeVec::new(Opts::new(name, help), labels))
    }

    fn counter(&self, name: &str, help: &str) -> anyhow::Result<IntCounter> {
        self.register(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> anyhow::Result<IntCounterVec> {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str) -> anyhow::Result<Histogram> {
        self.register(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets())))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> anyhow::Result<HistogramVec> {
        self.register(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets()), labels))
    }
}

fn buckets() -> Vec<f64> {
    vec![0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]
}
