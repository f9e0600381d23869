//! What may happen next, drawn by chance, and as the concrete call that it is on a given day.

use proptest::prelude::*;

use super::rules::{AccountKey, Answer, Bid, BidStage, Model, Numbers, OrderKey, Terms};

pub(super) const TENANTS: usize = 2;
/// Funds others' accounts, relays and meddles; holds tokens like a tenant.
pub(super) const STRANGER: usize = TENANTS;
pub(super) const PROVIDERS: usize = 3;
pub(super) const PURSES: usize = 2 * PROVIDERS;

/// A move before it is known what there is to move: numbers that are folded into what there is.
#[derive(Clone, Debug)]
pub(super) struct Move {
    pub seconds: u64,
    kind: u8,
    which: u8,
    who: u8,
    amount: u64,
    share: u8,
    secs: u32,
    flag: bool,
}

pub(super) fn moves() -> impl Strategy<Value = Move> {
    // Mostly moments, so that things happen in each other's midst; sometimes long enough for money and time to end.
    let seconds =
        prop_oneof![80 => 1_u64..40, 14 => 60_u64..900, 2 => 3600_u64..20_000, 1 => 604_000_u64..605_000];
    let amount = prop_oneof![1 => 0_u64..10, 3 => 1_u64..5_000_000, 6 => 5_000_000_u64..200_000_000];
    (seconds, 0_u8..100, any::<u8>(), any::<u8>(), amount, 0_u8..104, any::<u32>(), any::<bool>()).prop_map(
        |(seconds, kind, which, who, amount, share, secs, flag)| Move {
            seconds,
            kind,
            which,
            who,
            amount,
            share,
            secs,
            flag,
        },
    )
}

/// Whose key a call is sent with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hand {
    Owner(usize),
    Operator(usize),
    Stranger,
}

impl Hand {
    fn key_of(self) -> Option<usize> {
        match self {
            Self::Owner(provider) | Self::Operator(provider) => Some(provider),
            Self::Stranger => None,
        }
    }
}

/// One call.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    Open { key: AccountKey },
    Deposit { from: usize, key: AccountKey, amount: u128 },
    Refund { by: usize, key: AccountKey, amount: Option<u128> },
    Post { key: OrderKey, terms: Terms },
    Reorder { prev: OrderKey, terms: Terms },
    Cancel { by: usize, key: OrderKey },
    Bid { provider: usize, key: OrderKey, bid: Bid },
    WithdrawBid { provider: usize, key: OrderKey },
    Accept { by: usize, key: OrderKey, provider: usize, stale: bool },
    Award { key: OrderKey },
    Notice { by: Hand, key: OrderKey },
    CloseByTenant { by: usize, key: OrderKey, reason: u8 },
    CloseByProvider { by: Hand, key: OrderKey, reason: u8 },
    Expire { key: OrderKey },
    Finalize { key: OrderKey },
    Withdraw { keys: Vec<OrderKey> },
    Collect,
    Turn { numbers: Numbers },
    AddStake { from: usize, provider: usize, amount: u128 },
    AskForStake { provider: usize },
    TakeStake { provider: usize, amount: u128 },
    Retire { provider: usize },
    ChangePurse { provider: usize, purse: usize },
    Claim { provider: usize, bits: u128 },
    Pause,
    Unpause,
    Rearm,
}

impl Move {
    /// What the move is now. Most are meant to succeed, and some not.
    pub(super) fn now(&self, model: &Model) -> Deed {
        let deed = self.as_drawn(model);
        // A call on something that is not there is made now and then; else something is done to get there.
        let there = match &deed {
            Deed::Accept { key, .. } => !self.acceptable(model).is_empty() || model.state(*key) != 1,
            Deed::Award { key } => model.orders.get(key).is_some_and(|order| order.best.is_some()),
            Deed::Notice { key, .. } => model.state(*key) == 2,
            Deed::CloseByTenant { key, .. } | Deed::CloseByProvider { key, .. } => {
                matches!(model.state(*key), 2 | 3 | 6)
            }
            Deed::Finalize { key } => model.state(*key) == 6,
            Deed::Expire { key } => model.state(*key) == 5,
            Deed::Withdraw { keys } => keys.len() > 1 || matches!(model.state(keys[0]), 2 | 3 | 4 | 6),
            Deed::Bid { key, .. } | Deed::WithdrawBid { key, .. } => model.state(*key) == 1,
            _ => true,
        };
        if there || self.share < 8 {
            return deed;
        }
        let open = model.orders.keys().copied().filter(|key| model.state(*key) == 1).collect::<Vec<_>>();
        match (self.acceptable(model).first(), open.get(usize::from(self.which) % open.len().max(1))) {
            (Some((key, provider)), _) => {
                Deed::Accept { by: key.account.tenant, key: *key, provider: *provider, stale: false }
            }
            (None, Some(key)) => self.bid(model, usize::from(self.who) % PROVIDERS, *key),
            (None, None) => Deed::Post { key: self.first(), terms: self.terms(model) },
        }
    }

    /// Orders whose tenant may accept a bid now, and whose.
    fn acceptable(&self, model: &Model) -> Vec<(OrderKey, usize)> {
        let orders = model.orders.iter().filter(|(_, order)| order.terms.lowest_by.is_none());
        let bids = orders.flat_map(|(key, order)| order.bids.keys().map(|provider| (*key, *provider)));
        bids.filter(|(key, provider)| model.bid_state(*key, *provider) == 1).collect()
    }

    fn account(&self) -> AccountKey {
        AccountKey { tenant: usize::from(self.which) % TENANTS, dseq: 1 + u64::from(self.which / 2) % 2 }
    }

    fn first(&self) -> OrderKey {
        OrderKey { account: self.account(), gseq: 1 + u16::from(self.who % 12), oseq: 1 }
    }

    fn as_drawn(&self, model: &Model) -> Deed {
        let which = usize::from(self.which);
        let provider = usize::from(self.who) % PROVIDERS;
        let account = self.account();
        let orders: Vec<OrderKey> = model.orders.keys().copied().collect();
        let first = self.first();
        let any = orders.get(which % orders.len().max(1)).copied().unwrap_or(first);
        // One that is in the state which the call wants, if there is one and chance does not want another.
        let wanting = |state: u128| {
            let fitting: Vec<OrderKey> =
                orders.iter().copied().filter(|key| model.state(*key) == state).collect();
            if self.share < 8 {
                any
            } else {
                fitting.get(which % fitting.len().max(1)).copied().unwrap_or(any)
            }
        };
        let tenant_of = |key: OrderKey| if self.share < 4 { STRANGER } else { key.account.tenant };
        let holder = |key: OrderKey| match model.orders.get(&key).map(|order| &order.stage) {
            Some(super::rules::Stage::Leased(lease)) if self.share >= 4 => {
                if self.flag {
                    Hand::Owner(lease.provider)
                } else {
                    Hand::Operator(lease.provider)
                }
            }
            _ if self.flag => Hand::Operator(provider),
            _ => Hand::Stranger,
        };
        match self.kind {
            // Nothing begins while a pause lasts, so it is seldom left alone.
            0..15 if model.now < model.paused_until => Deed::Unpause,
            0..3 => Deed::Open { key: account },
            3..12 => Deed::Deposit {
                from: if self.flag { account.tenant } else { STRANGER },
                key: account,
                amount: self.amount.into(),
            },
            12..17 => Deed::Refund {
                by: tenant_of(any),
                key: any.account,
                amount: (!self.flag).then_some(u128::from(self.amount) / 8),
            },
            17..31 => Deed::Post { key: first, terms: self.terms(model) },
            31..36 => {
                let prev = if self.flag { wanting(4) } else { wanting(5) };
                Deed::Reorder { prev, terms: self.terms(model) }
            }
            36..38 => Deed::Cancel { by: tenant_of(any), key: wanting(1) },
            38..52 => self.bid(model, provider, wanting(1)),
            52..54 => Deed::WithdrawBid { provider, key: wanting(1) },
            54..63 => {
                let fitting = self.acceptable(model);
                let (key, provider) = match fitting.get(which % fitting.len().max(1)) {
                    Some(found) if self.share >= 8 => *found,
                    _ => (wanting(1), provider),
                };
                Deed::Accept { by: tenant_of(key), key, provider, stale: self.share >= 100 }
            }
            63..68 => {
                // Of those that have a winner, and best of those that wait for it.
                let won = |key: &&OrderKey| model.state(**key) == 1 && model.orders[key].best.is_some();
                let due = |key: &&OrderKey| {
                    model.orders[key].terms.lowest_by.is_some_and(|deadline| model.now > deadline)
                };
                let found = orders.iter().filter(won).find(due).or_else(|| orders.iter().find(won));
                Deed::Award { key: found.copied().unwrap_or_else(|| wanting(1)) }
            }
            68..71 => {
                let key = wanting(2);
                Deed::Notice { by: holder(key), key }
            }
            71..75 => {
                let key = if self.flag { wanting(2) } else { wanting(3) };
                Deed::CloseByTenant { by: tenant_of(key), key, reason: self.share }
            }
            75..79 => {
                let key = if self.secs.is_multiple_of(2) { wanting(2) } else { wanting(3) };
                Deed::CloseByProvider { by: holder(key), key, reason: 99 + self.share % 6 }
            }
            79..81 => Deed::Expire { key: wanting(5) },
            81..84 => Deed::Finalize { key: wanting(6) },
            84..91 => {
                let leased = |key: &OrderKey| model.state(*key) >= 2 && model.state(*key) != 5;
                let mut keys: Vec<OrderKey> = orders
                    .iter()
                    .copied()
                    .filter(|key| {
                        leased(key) && matches!(model.orders[key].stage, super::rules::Stage::Leased(_))
                    })
                    .skip(which % 3)
                    .take(1 + usize::from(self.who) % 4)
                    .collect();
                // Named twice, or no lease at all.
                if self.share < 8 || keys.is_empty() {
                    keys.push(any);
                }
                Deed::Withdraw { keys }
            }
            91 => Deed::Collect,
            92 => {
                let mut numbers = model.numbers;
                numbers.fee_bps = u128::from(self.secs % 1001);
                numbers.min_runway = u128::from(600 + self.secs % 1800);
                numbers.bond_secs = u128::from(3600 + self.secs % 80_000);
                Deed::Turn { numbers }
            }
            93 => Deed::AddStake { from: STRANGER, provider, amount: self.amount.into() },
            94 => Deed::AskForStake { provider },
            95 => Deed::TakeStake { provider, amount: self.amount.into() },
            96 if self.share < 10 => Deed::Retire { provider },
            96 => Deed::ChangePurse { provider, purse: usize::from(self.which) % PURSES },
            97 => Deed::Claim { provider, bits: u128::from(self.who % 2) },
            98 if self.flag => Deed::Pause,
            98 => Deed::Rearm,
            _ => Deed::Unpause,
        }
    }

    fn terms(&self, model: &Model) -> Terms {
        let lowest = self.secs % 5 < 2;
        let deadline = model.now + u64::from(self.secs / 8 % 700);
        let expires = if lowest { deadline + 290 } else { model.now + 280 } + u64::from(self.secs % 9000);
        Terms {
            max_rate: u128::from(self.amount) * 40_000 + u128::from(self.secs % 1_000),
            expires,
            min_reclaim: u128::from(self.secs % 3) * 100,
            bits: u128::from(self.share.is_multiple_of(8)),
            lowest_by: lowest.then_some(deadline),
        }
    }

    fn bid(&self, model: &Model, provider: usize, key: OrderKey) -> Deed {
        let order = model.orders.get(&key);
        let max = order.map_or(1, |order| match order.best {
            Some(best) if best != provider => order.bids[&best].rate,
            _ => order.bids.get(&provider).map_or(order.terms.max_rate, |bid| bid.rate),
        });
        let deadline = order.and_then(|order| order.terms.lowest_by).unwrap_or(model.now);
        let bid = Bid {
            // Up to a little too much.
            rate: max * u128::from(self.share) / 100,
            expires: deadline + 280 + u64::from(self.secs % 3600),
            reclaim: 100 + u128::from(self.secs % 8) * 200,
            min_bill: u128::from(self.secs / 8 % 60 * u32::from(self.share)),
            bond_secs: 0,
            stage: BidStage::Open,
        };
        Deed::Bid { provider, key, bid }
    }
}

impl Deed {
    /// What every run begins with: accounts with money.
    pub(super) fn prelude() -> Vec<Self> {
        let keys = (0..TENANTS).flat_map(|tenant| (1..=2).map(move |dseq| AccountKey { tenant, dseq }));
        let money = |key| Self::Deposit { from: STRANGER, key, amount: 60_000_000 };
        keys.flat_map(|key| [Self::Open { key }, money(key)]).collect()
    }

    /// Does it by the rules.
    pub(super) fn apply(&self, model: &mut Model) -> Answer {
        match self.clone() {
            Self::Open { key } => model.open(key),
            Self::Deposit { from, key, amount } => model.deposit(from, key, amount),
            Self::Refund { by, key, amount } => model.refund(by, key, amount),
            Self::Post { key, terms } => model.post(key, terms),
            Self::Reorder { prev, terms } => model.reorder(prev, terms),
            Self::Cancel { by, key } => model.cancel(by, key),
            Self::Bid { provider, key, bid } => model.bid(provider, key, bid),
            Self::WithdrawBid { provider, key } => model.withdraw_bid(provider, key),
            Self::Accept { by, key, provider, stale } => model.accept(by, key, provider, stale),
            Self::Award { key } => model.award(key),
            Self::Notice { by, key } => model.notice(by.key_of(), key),
            Self::CloseByTenant { by, key, reason } => model.close_by_tenant(by, key, reason),
            Self::CloseByProvider { by, key, reason } => model.close_by_provider(by.key_of(), key, reason),
            Self::Expire { key } => model.expire(key),
            Self::Finalize { key } => model.finalize(key),
            Self::Withdraw { keys } => model.withdraw(&keys),
            Self::Collect => model.collect(),
            Self::Turn { numbers } => model.turn(numbers),
            Self::AddStake { from, provider, amount } => model.add_stake(from, provider, amount),
            Self::AskForStake { provider } => model.ask_for_stake(provider),
            Self::TakeStake { provider, amount } => model.take_stake(provider, amount),
            Self::Retire { provider } => model.retire(provider),
            Self::ChangePurse { provider, purse } => model.change_purse(provider, purse),
            Self::Claim { provider, bits } => model.claim(provider, bits),
            Self::Pause => model.pause(),
            Self::Unpause => model.unpause(),
            Self::Rearm => model.rearm(),
        }
    }

    /// The call's name, for counting.
    pub(super) fn name(&self) -> String {
        let debug = format!("{self:?}");
        debug.split([' ', '{']).next().unwrap_or_default().to_owned()
    }
}
