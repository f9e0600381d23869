//! A market by its rules, reckoned forward second by second and written from the design, without a look at the contracts:
//! where they settle lazily and keep sums, this keeps every lease's earnings up to date with every second that passes.
//! A call is refused for every rule that it breaks, all of them named; which one is told first is the contracts' matter.

use std::collections::BTreeMap;

/// Parts of a token unit in which rates and balances count.
pub(super) const S: u128 = 1_000_000_000;
const BPS: u128 = 10_000;
const FOREVER: u64 = (1 << 40) - 1;
const AWARD_WINDOW: u64 = 300;
const PAUSE: u64 = 7 * 86_400;
const UNBONDING: u64 = 7 * 86_400;
const PAYOUT_DELAY: u64 = 86_400;
const MAX_MIN_BILL: u128 = 3600;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AccountKey {
    pub tenant: usize,
    pub dseq: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OrderKey {
    pub account: AccountKey,
    pub gseq: u16,
    pub oseq: u16,
}

/// The name of a custom error and its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub error: &'static str,
    pub numbers: Vec<u128>,
}

pub(super) type Answer = Result<(), Vec<Refusal>>;

#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub fee_bps: u128,
    pub min_runway: u128,
    pub bond_secs: u128,
    pub least_order: u64,
    pub most_order: u64,
    pub min_stake: u128,
}

#[derive(Clone, Debug)]
pub(super) struct Account {
    pub scaled: u128,
    pub ended: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub max_rate: u128,
    pub expires: u64,
    pub min_reclaim: u128,
    pub bits: u128,
    /// Awarded to the lowest bid after this second.
    pub lowest_by: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) enum Stage {
    Book,
    Leased(Lease),
    Closed,
}

#[derive(Clone, Debug)]
pub(super) struct Order {
    pub terms: Terms,
    pub stage: Stage,
    pub best: Option<usize>,
    pub bids: BTreeMap<usize, Bid>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BidStage {
    Open,
    Withdrawn,
    Won,
}

#[derive(Clone, Debug)]
pub(super) struct Bid {
    pub rate: u128,
    pub expires: u64,
    pub reclaim: u128,
    pub min_bill: u128,
    /// For how many seconds of the rate a best bid has locked stake.
    pub bond_secs: u128,
    pub stage: BidStage,
}

#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub provider: usize,
    pub rate: u128,
    pub fee_bps: u128,
    pub reclaim: u128,
    pub min_bill: u128,
    pub bond: u128,
    pub started: u64,
    pub notice: Option<u64>,
    pub end: Option<(u64, u8)>,
    /// Earned and not paid out, scaled.
    pub earned: u128,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Provider {
    pub retired: bool,
    pub stake: u128,
    pub locked: u128,
    pub unbond_at: u64,
    pub active: u128,
    pub bits: u128,
    pub purse: usize,
    pub next_purse: Option<(usize, u64)>,
    pub served: u128,
    pub fees: u128,
    pub completed: u128,
    pub early: u128,
    pub slashes: u128,
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    pub now: u64,
    pub numbers: Numbers,
    pub accounts: BTreeMap<AccountKey, Account>,
    pub orders: BTreeMap<OrderKey, Order>,
    pub providers: Vec<Provider>,
    /// Token units of tenants, of purses, of the treasury, of the two contracts.
    pub tenants: Vec<u128>,
    pub purses: Vec<u128>,
    pub treasury: u128,
    pub market: u128,
    pub registry: u128,
    pub fees: u128,
    pub dust: u128,
    pub paused_until: u64,
    pub pause_spent: bool,
}

fn refused(broken: Vec<(bool, &'static str, Vec<u128>)>) -> Answer {
    let broken: Vec<Refusal> = broken
        .into_iter()
        .filter(|(is_broken, _, _)| *is_broken)
        .map(|(_, error, numbers)| Refusal { error, numbers })
        .collect();
    if broken.is_empty() { Ok(()) } else { Err(broken) }
}

impl Lease {
    fn is_live(&self) -> bool {
        self.end.is_none()
    }
}

impl Model {
    // --- time ---

    /// Lets time pass: every live lease earns its rate each second, out of its account, until that cannot pay another
    /// whole second of all of them; then all of them stop earning, for good.
    pub(super) fn pass_to(&mut self, now: u64) {
        for key in self.accounts.keys().copied().collect::<Vec<_>>() {
            self.account_to(key, self.now, now);
        }
        self.now = now;
        for provider in &mut self.providers {
            if let Some((purse, _)) = provider.next_purse.filter(|(_, at)| *at <= now) {
                (provider.purse, provider.next_purse) = (purse, None);
            }
        }
    }

    fn account_to(&mut self, key: AccountKey, from: u64, to: u64) {
        let rate = self.rate_sum(key);
        let account = self.accounts.get_mut(&key).expect("one of them");
        if account.ended.is_some() || rate == 0 {
            return;
        }
        let affordable = u64::try_from(account.scaled / rate).unwrap_or(u64::MAX);
        let seconds = affordable.min(to - from);
        account.scaled -= rate * u128::from(seconds);
        if affordable <= to - from {
            account.ended = Some(from + affordable);
        }
        for lease in self.live_leases_of(key) {
            lease.earned += lease.rate * u128::from(seconds);
        }
    }

    /// An account that a call left without another second has ended in the second of that call.
    fn mark_end(&mut self, key: AccountKey) {
        let rate = self.rate_sum(key);
        let account = self.accounts.get_mut(&key).expect("one of them");
        if account.ended.is_none() && account.scaled < rate {
            account.ended = Some(self.now);
        }
    }

    fn live_leases_of(&mut self, key: AccountKey) -> impl Iterator<Item = &mut Lease> {
        let orders = self.orders.iter_mut().filter(move |(order, _)| order.account == key);
        orders.filter_map(|(_, order)| match &mut order.stage {
            Stage::Leased(lease) if lease.is_live() => Some(lease),
            _ => None,
        })
    }

    // --- what is seen ---

    pub(super) fn rate_sum(&self, key: AccountKey) -> u128 {
        let orders = self.orders.iter().filter(|(order, _)| order.account == key);
        let leases = orders.filter_map(|(_, order)| match &order.stage {
            Stage::Leased(lease) if lease.is_live() => Some(lease.rate),
            _ => None,
        });
        leases.sum()
    }

    pub(super) fn funded_until(&self, key: AccountKey) -> u64 {
        let (account, rate) = (&self.accounts[&key], self.rate_sum(key));
        match account.ended {
            Some(end) => end,
            None if rate == 0 => FOREVER,
            None => {
                u64::try_from(account.scaled / rate).map_or(FOREVER, |left| (self.now + left).min(FOREVER))
            }
        }
    }

    pub(super) fn refundable(&self, key: AccountKey) -> u128 {
        let account = &self.accounts[&key];
        let floor = if account.ended.is_some() { 0 } else { self.rate_sum(key) * self.numbers.min_runway };
        account.scaled.saturating_sub(floor) / S
    }

    /// The number of the state: 0 none, 1 open, 2 active, 3 reclaiming, 4 closed, 5 expired, 6 depleted.
    pub(super) fn state(&self, key: OrderKey) -> u128 {
        let Some(order) = self.orders.get(&key) else { return 0 };
        match &order.stage {
            Stage::Book if self.is_expired(order) => 5,
            Stage::Leased(lease) if lease.is_live() && self.accounts[&key.account].ended.is_some() => 6,
            _ => self.written_state(key),
        }
    }

    /// The state without what time alone has done to it.
    fn written_state(&self, key: OrderKey) -> u128 {
        match self.orders.get(&key).map(|order| &order.stage) {
            None => 0,
            Some(Stage::Book) => 1,
            Some(Stage::Closed) => 4,
            Some(Stage::Leased(lease)) if !lease.is_live() => 4,
            Some(Stage::Leased(lease)) if lease.notice.is_some() => 3,
            Some(Stage::Leased(_)) => 2,
        }
    }

    fn is_expired(&self, order: &Order) -> bool {
        let best_until = order.best.map_or(0, |best| order.bids[&best].expires);
        self.now > order.terms.expires
            || order.terms.lowest_by.is_some_and(|deadline| self.now > deadline && self.now > best_until)
    }

    /// The number of the bid's state: 0 none, 1 open, 2 won, 3 withdrawn, 4 lost, 5 expired.
    pub(super) fn bid_state(&self, key: OrderKey, provider: usize) -> u128 {
        let order = &self.orders[&key];
        let Some(bid) = order.bids.get(&provider) else { return 0 };
        match bid.stage {
            BidStage::Won => 2,
            BidStage::Withdrawn => 3,
            BidStage::Open => match &order.stage {
                Stage::Book if self.is_expired(order) => 5,
                Stage::Book if order.terms.lowest_by.is_some() && order.best != Some(provider) => 4,
                Stage::Book if self.now > bid.expires => 5,
                Stage::Book => 1,
                _ => 4,
            },
        }
    }

    fn bond(rate: u128, secs: u128) -> u128 {
        (rate * secs).div_ceil(S)
    }

    fn fee(gross: u128, bps: u128) -> u128 {
        gross * bps / BPS
    }

    // --- rules that several calls share ---

    fn stopped(&self) -> (bool, &'static str, Vec<u128>) {
        (self.now < self.paused_until, "Paused", vec![self.paused_until.into()])
    }

    /// Refusals of an account that must be alive and hold `rate` more for the runway.
    fn runway(&self, key: AccountKey, rate: u128) -> Vec<(bool, &'static str, Vec<u128>)> {
        let Some(account) = self.accounts.get(&key) else { return vec![(true, "UnknownId", vec![])] };
        let need = (self.rate_sum(key) + rate) * self.numbers.min_runway;
        vec![
            (account.ended.is_some(), "AccountDepleted", vec![account.ended.unwrap_or_default().into()]),
            (account.scaled < need, "RunwayTooShort", vec![account.scaled / S, need.div_ceil(S)]),
        ]
    }

    /// Both numbers a wrong state can be told by: what is written, and what time has made of it.
    fn unless(&self, key: OrderKey, fits: bool) -> Vec<(bool, &'static str, Vec<u128>)> {
        vec![
            (!fits, "WrongState", vec![self.written_state(key)]),
            (!fits, "WrongState", vec![self.state(key)]),
        ]
    }

    fn stake(&self, provider: usize, need: u128) -> Vec<(bool, &'static str, Vec<u128>)> {
        let provider = &self.providers[provider];
        let free = provider.stake - provider.locked;
        vec![(provider.retired, "ProviderInactive", vec![]), (free < need, "StakeTooLow", vec![free, need])]
    }

    // --- calls ---

    pub(super) fn open(&mut self, key: AccountKey) -> Answer {
        refused(vec![self.stopped(), (self.accounts.contains_key(&key), "IdTaken", vec![])])?;
        self.accounts.insert(key, Account { scaled: 0, ended: None });
        Ok(())
    }

    pub(super) fn deposit(&mut self, from: usize, key: AccountKey, amount: u128) -> Answer {
        let account = self.accounts.get(&key);
        let ended = account.and_then(|account| account.ended);
        refused(vec![
            (amount == 0, "AmountMismatch", vec![]),
            (account.is_none(), "UnknownId", vec![]),
            (ended.is_some(), "AccountDepleted", vec![ended.unwrap_or_default().into()]),
        ])?;
        self.tenants[from] -= amount;
        self.market += amount;
        self.accounts.get_mut(&key).expect("it is there").scaled += amount * S;
        Ok(())
    }

    /// `None` asks for all there is.
    pub(super) fn refund(&mut self, by: usize, key: AccountKey, amount: Option<u128>) -> Answer {
        let there = self.accounts.contains_key(&key);
        let most = if there { self.refundable(key) } else { 0 };
        let amount = amount.unwrap_or(most);
        let have = self.accounts.get(&key).map_or(0, |account| account.scaled / S);
        let live = there && self.accounts[&key].ended.is_none();
        let floor = if live { self.rate_sum(key) * self.numbers.min_runway } else { 0 };
        let short = vec![have.saturating_sub(amount), floor.div_ceil(S)];
        refused(vec![
            (!there, "UnknownId", vec![]),
            (by != key.tenant, "NotTenant", vec![]),
            (there && amount > most, "RunwayTooShort", short),
        ])?;
        self.accounts.get_mut(&key).expect("it is there").scaled -= amount * S;
        self.market -= amount;
        self.tenants[by] += amount;
        Ok(())
    }

    pub(super) fn post(&mut self, key: OrderKey, terms: Terms) -> Answer {
        let mut broken = vec![self.stopped(), (self.orders.contains_key(&key), "IdTaken", vec![])];
        broken.extend(self.bad_terms(key.account, &terms));
        refused(broken)?;
        self.put(key, terms);
        Ok(())
    }

    pub(super) fn reorder(&mut self, prev: OrderKey, terms: Terms) -> Answer {
        let next = OrderKey { oseq: prev.oseq + 1, ..prev };
        let state = self.state(prev);
        let mut broken = vec![self.stopped(), (self.orders.contains_key(&next), "IdTaken", vec![])];
        broken.extend(self.unless(prev, state == 4 || state == 5));
        // Of an order that never was, the spec is another one too.
        broken.push((state == 0, "SpecMismatch", vec![0]));
        broken.extend(self.bad_terms(prev.account, &terms));
        refused(broken)?;
        if state == 5 {
            self.take_off(prev);
        }
        self.put(next, terms);
        Ok(())
    }

    fn bad_terms(&self, account: AccountKey, terms: &Terms) -> Vec<(bool, &'static str, Vec<u128>)> {
        let (least, most) = (self.now + self.numbers.least_order, self.now + self.numbers.most_order);
        let late = terms
            .lowest_by
            .is_some_and(|deadline| deadline <= self.now || terms.expires < deadline + AWARD_WINDOW);
        let mut broken = vec![
            (terms.max_rate == 0, "RateZero", vec![]),
            (terms.expires < least || terms.expires > most || late, "DurationOutOfBounds", vec![]),
        ];
        broken.extend(self.runway(account, terms.max_rate));
        broken
    }

    fn put(&mut self, key: OrderKey, terms: Terms) {
        self.orders.insert(key, Order { terms, stage: Stage::Book, best: None, bids: BTreeMap::new() });
    }

    pub(super) fn cancel(&mut self, by: usize, key: OrderKey) -> Answer {
        let mut broken = vec![(by != key.account.tenant, "NotTenant", vec![])];
        broken.extend(self.unless(key, self.written_state(key) == 1));
        refused(broken)?;
        self.take_off(key);
        Ok(())
    }

    pub(super) fn expire(&mut self, key: OrderKey) -> Answer {
        refused(self.unless(key, self.state(key) == 5))?;
        self.take_off(key);
        Ok(())
    }

    fn take_off(&mut self, key: OrderKey) {
        self.free_best(key);
        self.orders.get_mut(&key).expect("it is there").stage = Stage::Closed;
    }

    /// Unlocks the bond of the best bid, if there is one.
    fn free_best(&mut self, key: OrderKey) {
        let order = &self.orders[&key];
        if let Some(best) = order.best {
            let bid = &order.bids[&best];
            self.providers[best].locked -= Self::bond(bid.rate, bid.bond_secs);
        }
    }

    pub(super) fn bid(&mut self, provider: usize, key: OrderKey, mut bid: Bid) -> Answer {
        let mut broken = vec![self.stopped(), (self.providers[provider].retired, "ProviderInactive", vec![])];
        broken.extend(self.unless(key, self.written_state(key) == 1));
        let Some(order) = self.orders.get(&key) else { return refused(broken) };
        let terms = order.terms;
        let missing = terms.bits & !self.providers[provider].bits;
        let deadline = terms.lowest_by.unwrap_or(u64::MAX);
        let (rate, reclaim, min_bill) = match order.bids.get(&provider) {
            Some(had) => (had.rate, had.reclaim, had.min_bill),
            None => (terms.max_rate, terms.min_reclaim, MAX_MIN_BILL),
        };
        broken.extend([
            (self.now > terms.expires || self.now > bid.expires || self.now > deadline, "Expired", vec![]),
            (missing != 0, "MissingCapabilities", vec![missing]),
            (bid.rate == 0, "RateZero", vec![]),
            (bid.rate > rate, "RateTooHigh", vec![rate]),
            (bid.reclaim < reclaim, "ReclaimTooShort", vec![]),
            (bid.min_bill > min_bill, "MinBillTooLong", vec![min_bill]),
        ]);
        let stays = order.best == Some(provider);
        bid.bond_secs = match order.bids.get(&provider) {
            Some(had) if stays => had.bond_secs,
            _ => self.numbers.bond_secs,
        };
        if terms.lowest_by.is_some() {
            let early = bid.expires < deadline + AWARD_WINDOW;
            broken.push((early, "DurationOutOfBounds", vec![]));
            if let Some(best) = order.best.filter(|_| !stays) {
                let most = order.bids[&best].rate * 99 / 100;
                broken.push((bid.rate > most, "RateTooHigh", vec![most]));
            }
            if !stays {
                broken.extend(self.stake(provider, Self::bond(bid.rate, bid.bond_secs)));
            }
        }
        refused(broken)?;
        if terms.lowest_by.is_some() {
            self.free_best(key);
            self.providers[provider].locked += Self::bond(bid.rate, bid.bond_secs);
            self.orders.get_mut(&key).expect("it is there").best = Some(provider);
        }
        self.orders.get_mut(&key).expect("it is there").bids.insert(provider, bid);
        Ok(())
    }

    pub(super) fn withdraw_bid(&mut self, provider: usize, key: OrderKey) -> Answer {
        let on_book = self.written_state(key) == 1;
        let order = self.orders.get_mut(&key);
        let best = order.as_ref().is_some_and(|order| on_book && order.best == Some(provider));
        let bid = order.and_then(|order| order.bids.get_mut(&provider));
        let open = bid.as_ref().is_some_and(|bid| bid.stage == BidStage::Open);
        refused(vec![(!open, "BidNotOpen", vec![]), (best, "BidIsBest", vec![])])?;
        bid.expect("it is open").stage = BidStage::Withdrawn;
        Ok(())
    }

    /// `stale`: the tenant saw other terms.
    pub(super) fn accept(&mut self, by: usize, key: OrderKey, provider: usize, stale: bool) -> Answer {
        let mut broken = vec![self.stopped(), (by != key.account.tenant, "NotTenant", vec![])];
        broken.extend(self.unless(key, self.written_state(key) == 1));
        let Some(order) = self.orders.get(&key) else { return refused(broken) };
        broken.push((order.terms.lowest_by.is_some(), "WrongMode", vec![1]));
        broken.push((self.now > order.terms.expires, "Expired", vec![]));
        let Some(bid) = order.bids.get(&provider) else {
            broken.push((true, "BidNotOpen", vec![]));
            return refused(broken);
        };
        let bond_secs = self.numbers.bond_secs;
        broken.push((bid.stage != BidStage::Open || self.now > bid.expires, "BidNotOpen", vec![]));
        broken.push((stale, "RateChanged", vec![bid.rate]));
        broken.extend(self.runway(key.account, bid.rate));
        broken.extend(self.stake(provider, Self::bond(bid.rate, bond_secs)));
        refused(broken)?;
        let bond = Self::bond(bid.rate, bond_secs);
        self.providers[provider].locked += bond;
        self.begin(key, provider, bond);
        Ok(())
    }

    pub(super) fn award(&mut self, key: OrderKey) -> Answer {
        let mut broken = vec![self.stopped()];
        broken.extend(self.unless(key, self.written_state(key) == 1));
        let Some(order) = self.orders.get(&key) else { return refused(broken) };
        let Some(deadline) = order.terms.lowest_by else {
            broken.push((true, "WrongMode", vec![0]));
            return refused(broken);
        };
        broken.push((self.now <= deadline, "AwardNotDue", vec![deadline.into()]));
        let Some(best) = order.best else {
            broken.push((true, "BidNotOpen", vec![]));
            return refused(broken);
        };
        let bid = &order.bids[&best];
        // A best bid that won is open no more.
        broken.push((bid.stage != BidStage::Open, "BidNotOpen", vec![]));
        broken.push((self.is_expired(order), "Expired", vec![]));
        broken.extend(self.runway(key.account, bid.rate));
        refused(broken)?;
        let bond = Self::bond(bid.rate, bid.bond_secs);
        self.begin(key, best, bond);
        Ok(())
    }

    fn begin(&mut self, key: OrderKey, provider: usize, bond: u128) {
        let order = self.orders.get_mut(&key).expect("it is there");
        let bid = order.bids.get_mut(&provider).expect("it was bid");
        bid.stage = BidStage::Won;
        order.stage = Stage::Leased(Lease {
            provider,
            rate: bid.rate,
            fee_bps: self.numbers.fee_bps,
            reclaim: bid.reclaim,
            min_bill: bid.min_bill,
            bond,
            started: self.now,
            notice: None,
            end: None,
            earned: 0,
        });
        self.providers[provider].active += 1;
    }

    /// `key_of`: of which provider the caller has a key.
    pub(super) fn notice(&mut self, key_of: Option<usize>, key: OrderKey) -> Answer {
        let mut broken = self.unless(key, self.state(key) == 2);
        let now = self.now;
        let lease = self.lease_mut(key);
        let theirs = lease.as_ref().is_some_and(|lease| key_of == Some(lease.provider));
        broken.push((!theirs, "NotOperator", vec![]));
        refused(broken)?;
        let lease = lease.expect("it is active");
        lease.notice = Some(now + u64::try_from(lease.reclaim).expect("32 bits"));
        Ok(())
    }

    fn lease_mut(&mut self, key: OrderKey) -> Option<&mut Lease> {
        match self.orders.get_mut(&key).map(|order| &mut order.stage) {
            Some(Stage::Leased(lease)) => Some(lease),
            _ => None,
        }
    }

    pub(super) fn close_by_tenant(&mut self, by: usize, key: OrderKey, reason: u8) -> Answer {
        let live = matches!(self.written_state(key), 2 | 3);
        let mut broken = self.unless(key, live);
        broken.push((by != key.account.tenant, "NotOperator", vec![]));
        // Whoever is not the tenant can only be the provider, whose reasons are others.
        let reasons = if by == key.account.tenant { 1..=99 } else { 100..=149 };
        broken.push((!reasons.contains(&reason), "ReasonOutOfRange", vec![reason.into()]));
        refused(broken)?;
        if self.accounts[&key.account].ended.is_some() {
            self.end(key, 200, 0);
            return Ok(());
        }
        // Who leaves before the minimum bill pays the seconds that are missing, as far as the money goes.
        let now = self.now;
        let scaled = self.accounts[&key.account].scaled;
        let lease = self.lease_mut(key).expect("it is live");
        let owed_until = lease.started + u64::try_from(lease.min_bill).expect("16 bits");
        let owed = if lease.notice.is_some() { 0 } else { owed_until.saturating_sub(now) };
        let missing = u128::from(owed).min(scaled / lease.rate);
        let moved = missing * lease.rate;
        lease.earned += moved;
        self.accounts.get_mut(&key.account).expect("it is there").scaled -= moved;
        self.end(key, reason, missing);
        self.mark_end(key.account);
        Ok(())
    }

    pub(super) fn close_by_provider(&mut self, key_of: Option<usize>, key: OrderKey, reason: u8) -> Answer {
        let live = matches!(self.written_state(key), 2 | 3);
        let mut broken = self.unless(key, live);
        let now = self.now;
        let ended = self.accounts.get(&key.account).is_some_and(|account| account.ended.is_some());
        let lease = self.lease_mut(key);
        let theirs = lease.as_ref().is_some_and(|lease| key_of == Some(lease.provider));
        let noticed = lease.as_ref().is_some_and(|lease| lease.notice.is_some_and(|at| now >= at));
        let deadline = lease.as_ref().and_then(|lease| lease.notice).unwrap_or_default();
        broken.push((!theirs, "NotOperator", vec![]));
        broken.push((!(100..=149).contains(&reason), "ReasonOutOfRange", vec![reason.into()]));
        broken.push((
            live && !ended && reason == 104 && !noticed,
            "ReclaimNotElapsed",
            vec![deadline.into()],
        ));
        refused(broken)?;
        if ended {
            self.end(key, 200, 0);
            return Ok(());
        }
        let lease = lease.expect("it is live");
        let penalty = if noticed { 0 } else { (lease.rate * lease.reclaim / S).min(lease.bond) };
        let provider = lease.provider;
        self.end(key, reason, 0);
        self.accounts.get_mut(&key.account).expect("it is there").scaled += penalty * S;
        let provider = &mut self.providers[provider];
        provider.stake -= penalty;
        provider.slashes += u128::from(penalty > 0);
        if noticed {
            provider.completed += 1;
            provider.early -= 1;
        }
        self.registry -= penalty;
        self.market += penalty;
        Ok(())
    }

    pub(super) fn finalize(&mut self, key: OrderKey) -> Answer {
        refused(self.unless(key, self.state(key) == 6))?;
        self.end(key, 200, 0);
        Ok(())
    }

    /// Ends a live lease in this second, or in that in which its account ended; `billed` seconds are paid on top.
    fn end(&mut self, key: OrderKey, reason: u8, billed: u128) {
        let at = self.accounts[&key.account].ended.unwrap_or(self.now);
        let lease = self.lease_mut(key).expect("it is live");
        lease.end = Some((at, reason));
        let served = u128::from(at - lease.started);
        let fee = Self::fee((served + billed) * lease.rate / S, lease.fee_bps);
        let (provider, bond) = (lease.provider, lease.bond);
        let provider = &mut self.providers[provider];
        provider.locked -= bond;
        provider.active -= 1;
        provider.served += served;
        provider.fees += fee;
        if (100..=149).contains(&reason) {
            provider.early += 1;
        } else {
            provider.completed += 1;
        }
    }

    pub(super) fn withdraw(&mut self, keys: &[OrderKey]) -> Answer {
        let wrong = keys
            .iter()
            .filter(|key| !matches!(self.orders.get(key).map(|order| &order.stage), Some(Stage::Leased(_))));
        refused(wrong.flat_map(|key| self.unless(*key, false)).collect())?;
        for key in keys {
            let lease = self.lease_mut(*key).expect("it is a lease");
            if lease.earned < S {
                continue;
            }
            let (gross, dust) = (lease.earned / S, lease.earned % S);
            let fee = Self::fee(gross, lease.fee_bps);
            lease.earned = 0;
            let purse = lease.provider;
            let purse = self.providers[purse].purse;
            self.purses[purse] += gross - fee;
            self.market -= gross - fee;
            self.fees += fee;
            self.dust += dust;
        }
        Ok(())
    }

    pub(super) fn collect(&mut self) -> Answer {
        self.market -= self.fees;
        self.treasury += self.fees;
        self.fees = 0;
        Ok(())
    }

    pub(super) fn turn(&mut self, numbers: Numbers) -> Answer {
        self.numbers = numbers;
        Ok(())
    }

    pub(super) fn add_stake(&mut self, from: usize, provider: usize, amount: u128) -> Answer {
        refused(vec![(self.providers[provider].retired, "ProviderInactive", vec![])])?;
        self.tenants[from] -= amount;
        self.registry += amount;
        self.providers[provider].stake += amount;
        Ok(())
    }

    pub(super) fn ask_for_stake(&mut self, provider: usize) -> Answer {
        self.providers[provider].unbond_at = self.now + UNBONDING;
        Ok(())
    }

    pub(super) fn take_stake(&mut self, provider: usize, amount: u128) -> Answer {
        let least = self.numbers.min_stake;
        let p = &mut self.providers[provider];
        let kept = if p.retired { p.locked } else { least.max(p.locked) };
        let free = p.stake.saturating_sub(kept);
        refused(vec![
            (p.unbond_at == 0 || self.now < p.unbond_at, "StillBonded", vec![p.unbond_at.into()]),
            (amount > free, "StakeTooLow", vec![free, amount]),
        ])?;
        p.stake -= amount;
        if !p.retired {
            p.unbond_at = 0;
        }
        self.registry -= amount;
        self.purses[p.purse] += amount;
        Ok(())
    }

    pub(super) fn retire(&mut self, provider: usize) -> Answer {
        let p = &mut self.providers[provider];
        refused(vec![(p.retired, "ProviderInactive", vec![])])?;
        p.retired = true;
        p.unbond_at = self.now + UNBONDING;
        Ok(())
    }

    pub(super) fn change_purse(&mut self, provider: usize, purse: usize) -> Answer {
        self.providers[provider].next_purse = Some((purse, self.now + PAYOUT_DELAY));
        Ok(())
    }

    pub(super) fn claim(&mut self, provider: usize, bits: u128) -> Answer {
        self.providers[provider].bits = bits;
        Ok(())
    }

    /// By the guardian.
    pub(super) fn pause(&mut self) -> Answer {
        refused(vec![(self.pause_spent, "PauseSpent", vec![])])?;
        (self.paused_until, self.pause_spent) = (self.now + PAUSE, true);
        Ok(())
    }

    pub(super) fn unpause(&mut self) -> Answer {
        self.paused_until = self.now;
        Ok(())
    }

    pub(super) fn rearm(&mut self) -> Answer {
        self.pause_spent = false;
        Ok(())
    }
}
