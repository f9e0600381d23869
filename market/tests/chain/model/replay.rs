//! What the log tells, done again by the rules.

use std::collections::BTreeMap;

use ethers_core::abi::Token;

use super::contracts::{number, order_of};
use super::moves::STRANGER;
use super::rules::{AccountKey, Answer, Bid, BidStage, Model, Numbers, OrderKey, Terms};

type Words = BTreeMap<String, Token>;

/// The market that these events tell of, at the second `now`. It starts from what was there before the first of them.
pub(super) fn replay(
    mut model: Model,
    log: &[(u64, String, String, Words)],
    now: u64,
) -> Result<Model, String> {
    for (index, (second, transaction, event, words)) in log.iter().enumerate() {
        model.pass_to(*second);
        // The other events of the same call say what this one is about.
        let with = |name: &str| log.iter().any(|(_, of, other, _)| of == transaction && other == name);
        tell(&mut model, event, words, with, log.get(index..).unwrap_or_default()).map_err(|broken| {
            format!("the log tells {event} {words:?} and the rules refuse it: {broken:?}")
        })?;
    }
    model.pass_to(now);
    Ok(model)
}

fn tell(
    model: &mut Model,
    event: &str,
    words: &Words,
    with: impl Fn(&str) -> bool,
    rest: &[(u64, String, String, Words)],
) -> Answer {
    let word = |name: &str| number(&words[name]);
    let small = |name: &str| u64::try_from(word(name)).expect("a time");
    let provider = || usize::try_from(word("provider")).expect("few") - 1;
    let order = || key(&words["orderId"]);
    match event {
        "DeploymentCreated" => model.open(key(&words["accountId"]).account),
        "FundsChanged" => funds(model, words, &with),
        "OrderCreated" => {
            let terms = Terms {
                max_rate: word("maxRate"),
                expires: small("expiresAt"),
                min_reclaim: word("minReclaim"),
                bits: word("reqBits"),
                lowest_by: (word("mode") == 1).then(|| small("deadline")),
            };
            model.post(order(), terms)
        }
        "OrderClosed" if word("reason") == 201 => model.expire(order()),
        "OrderClosed" => model.cancel(order().account.tenant, order()),
        "BidPlaced" => {
            let bid = Bid {
                rate: word("rate"),
                expires: small("expiresAt"),
                reclaim: word("reclaim"),
                min_bill: word("minBill"),
                bond_secs: 0,
                stage: BidStage::Open,
            };
            model.bid(provider(), order(), bid)
        }
        "BidWithdrawn" => model.withdraw_bid(provider(), order()),
        "LeaseCreated" if model.orders[&order()].terms.lowest_by.is_some() => model.award(order()),
        "LeaseCreated" => model.accept(order().account.tenant, order(), provider(), false),
        "ReclaimStarted" => model.notice(Some(provider()), order()),
        "LeaseClosed" => {
            let reason = u8::try_from(word("reason")).expect("eight bits");
            match reason {
                1..=99 => model.close_by_tenant(order().account.tenant, order(), reason),
                100..=149 => model.close_by_provider(Some(provider()), order(), reason),
                _ => model.finalize(order()),
            }
        }
        "Withdrawn" => model.withdraw(&[order()]),
        "FeesCollected" => model.collect(),
        "StakeChanged" => stake(model, provider(), words, &with),
        "ProviderRetired" => model.retire(provider()),
        "PayoutChanged" => model.change_purse(provider(), usize::try_from(word("payout")).expect("few") - 1),
        "CapabilitiesChanged" => model.claim(provider(), word("bits")),
        "ParamsChanged" => {
            let Token::Tuple(values) = &words["values"] else { panic!("a struct") };
            let value = |index: usize| number(&values[index]);
            let time = |index: usize| u64::try_from(value(index)).expect("a time");
            model.turn(Numbers {
                fee_bps: value(0),
                min_runway: value(1),
                bond_secs: value(2),
                least_order: time(3),
                most_order: time(4),
                min_stake: value(5),
            })
        }
        "PauseChanged" if small("until") > model.now => model.pause(),
        "PauseChanged" => model.unpause(),
        "PauseRearmed" => model.rearm(),
        // They tell nothing that the others do not.
        "Transfer" | "Approval" | "Slashed" | "ParamsSynced" => Ok(()),
        other => panic!("{other} is unknown, with {} events after it", rest.len()),
    }
}

fn key(word: &Token) -> OrderKey {
    match word {
        Token::FixedBytes(bytes) => order_of(bytes),
        other => panic!("{other} is no id"),
    }
}

fn funds(model: &mut Model, words: &Words, with: impl Fn(&str) -> bool) -> Answer {
    // What begins and ends leases moves the end of the money, and a penalty is told by the lease's end.
    if with("LeaseClosed") || with("LeaseCreated") {
        return Ok(());
    }
    let key: AccountKey = key(&words["accountId"]).account;
    let Token::Int(delta) = &words["delta"] else { panic!("a signed number") };
    let by = usize::try_from(number(&words["by"])).expect("few") - 1;
    if delta.bit(255) {
        let amount = (!*delta).overflowing_add(1.into()).0.as_u128();
        return model.refund(by, key, Some(amount));
    }
    model.deposit(by, key, delta.as_u128())
}

fn stake(model: &mut Model, provider: usize, words: &Words, with: impl Fn(&str) -> bool) -> Answer {
    if with("Slashed") || with("ProviderRetired") {
        return Ok(());
    }
    let (had, has) = (model.providers[provider].stake, number(&words["stake"]));
    let asked = number(&words["unbondAt"]);
    if has == had && asked > u128::from(model.providers[provider].unbond_at) {
        model.ask_for_stake(provider)
    } else if has >= had && asked == u128::from(model.providers[provider].unbond_at) {
        model.add_stake(STRANGER, provider, has - had)
    } else {
        model.take_stake(provider, had - has)
    }
}
