//! What an owner's verb comes to, from what the chain shows: nothing, some transactions, or a refusal that says what to do.
//! That is why every verb can be stopped at any line and repeated.

use anyhow::{bail, ensure};
use manifests::money::Amount;
use manifests::order::{Address, Hash};
use market::call::Call;
use market::reader::{Provider, ProviderState};
use market::sentence::seconds;

/// What the owner wants to be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// To be a provider with this record.
    Registered(Registration),
    /// To have at least this stake.
    StakeOf(Amount),
    /// To have at most this stake.
    StakeDownTo(Amount),
    /// To be paid there.
    PaidTo(Address),
    /// To have this key bid and close.
    OperatedBy(Address),
    /// To be described so; what is `None` stays.
    Described(Description),
    /// To take no new leases; `sure` says that the owner knows what that means.
    Retired {
        /// It was said twice.
        sure: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Registration {
    pub(super) operator: Address,
    pub(super) payout: Address,
    /// `None` publishes no attributes.
    pub(super) attrs_hash: Option<Hash>,
    pub(super) uri: String,
    pub(super) spki_hash: Hash,
    pub(super) stake: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Description {
    pub(super) attrs_hash: Option<Hash>,
    pub(super) uri: Option<String>,
    pub(super) spki_hash: Option<Hash>,
    /// Seconds for which the key before counts beside a new one.
    pub(super) overlap: u64,
}

/// What the chain shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) owner: Address,
    /// Unix seconds of chain time.
    pub(super) now: u64,
    pub(super) record: Option<Provider>,
    /// Where the provider said that its gateway is, as far as the endpoint's logs reach back.
    pub(super) uri: Option<String>,
    /// What the owner has of the settlement token.
    pub(super) tokens: Amount,
    /// What the registry may take of it.
    pub(super) allowance: Amount,
    pub(super) min_stake: Amount,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing: it is so already, or time has to pass.
    Rest(String),
    /// These transactions, in this order; and what is left to know afterwards.
    Act(Vec<Deed>, Option<String>),
}

/// One transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Deed {
    /// What it does, as an order: `raise the stake by …`.
    pub(super) what: String,
    pub(super) call: Call,
}

impl Decision {
    fn one(what: impl Into<String>, call: Call, note: Option<String>) -> Self {
        Self::Act(vec![Deed { what: what.into(), call }], note)
    }
}

/// Decides it.
///
/// # Errors
/// Why it cannot be, and what to do about it.
pub(super) fn decide(wanted: &Wanted, sight: &Sight) -> anyhow::Result<Decision> {
    let owner = sight.owner;
    if let Wanted::Registered(registration) = wanted {
        return register(registration, sight);
    }
    let Some(record) = &sight.record else {
        bail!(
            "{owner} is no provider: register it first with `berth-provider register`, or name the owner's key with --keystore"
        )
    };
    match wanted {
        Wanted::Registered(_) => unreachable!("decided above"),
        Wanted::StakeOf(total) => stake(*total, record, sight),
        Wanted::StakeDownTo(total) => unstake(*total, record, sight),
        Wanted::PaidTo(payout) => Ok(pay_to(*payout, record, sight)),
        Wanted::OperatedBy(operator) => Ok(operate_by(*operator, record)),
        Wanted::Described(description) => describe(description, record, sight),
        Wanted::Retired { sure } => retire(*sure, record),
    }
}

fn register(wanted: &Registration, sight: &Sight) -> anyhow::Result<Decision> {
    let owner = sight.owner;
    let Registration { operator, payout, attrs_hash, uri, spki_hash, stake } = wanted;
    if let Some(record) = &sight.record {
        ensure!(
            record.state == ProviderState::Active,
            "provider {owner} is retired, which is final: register under another owner key"
        );
        let paid_to = record.next_payout.map_or(record.payout, |(next, _)| next);
        let differs = [
            (record.operator != *operator, format!("operator {}", record.operator), "set-operator"),
            (paid_to != *payout, format!("payout {paid_to}"), "set-payout"),
            (sight.uri.as_ref() != Some(uri), format!("gateway {}", told(sight)), "update --uri"),
            (record.spki_hash != *spki_hash, format!("gateway key {}", record.spki_hash), "update --spki"),
            (
                record.attrs_hash != attrs_hash.unwrap_or_default(),
                format!("attributes {}", record.attrs_hash),
                "update --attributes",
            ),
            (record.stake < *stake, format!("a stake of {}", record.stake), "stake --to"),
        ];
        let differs: Vec<String> = differs
            .into_iter()
            .filter(|(differs, ..)| *differs)
            .map(|(_, have, verb)| format!("{have} (change it with `berth-provider {verb}`)"))
            .collect();
        ensure!(differs.is_empty(), "provider {owner} is registered already, with {}", differs.join(", "));
        return Ok(Decision::Rest(format!("provider {owner} is registered already, just so")));
    }
    ensure!(
        *stake >= sight.min_stake,
        "a stake of {stake} is too little: the market wants at least {}, name it with --stake",
        sight.min_stake
    );
    affordable(*stake, sight)?;
    let mut deeds = approval(*stake, sight);
    deeds.push(Deed {
        what: format!(
            "register provider {owner} with operator {operator}, payout {payout}, gateway {uri} (key {spki_hash}) and a stake of {stake}"
        ),
        call: Call::Register {
            operator: *operator,
            payout: *payout,
            uri: uri.clone(),
            spki_hash: *spki_hash,
            stake: *stake,
        },
    });
    deeds.extend(attrs_hash.map(publish));
    let note = (*operator == owner).then(|| {
        "the operator key is the owner's key: whoever breaks into the daemon's machine has both; better name another with set-operator"
            .to_owned()
    });
    Ok(Decision::Act(deeds, note))
}

fn stake(total: Amount, record: &Provider, sight: &Sight) -> anyhow::Result<Decision> {
    ensure!(
        record.state == ProviderState::Active,
        "provider {} is retired, and takes no stake any more",
        sight.owner
    );
    let Some(missing) = total.checked_sub(record.stake).filter(|missing| *missing > Amount::ZERO) else {
        return Ok(Decision::Rest(format!("the stake is {} already", record.stake)));
    };
    affordable(missing, sight)?;
    let mut deeds = approval(missing, sight);
    let what = format!("raise the stake by {missing} to {total}");
    deeds.push(Deed { what, call: Call::AddStake { provider: sight.owner, amount: missing } });
    Ok(Decision::Act(deeds, None))
}

fn unstake(total: Amount, record: &Provider, sight: &Sight) -> anyhow::Result<Decision> {
    let active = record.state == ProviderState::Active;
    ensure!(
        !active || total >= sight.min_stake,
        "a provider keeps at least {} while it takes leases: name that with --to, or retire first to take all out",
        sight.min_stake
    );
    let Some(surplus) = record.stake.checked_sub(total).filter(|surplus| *surplus > Amount::ZERO) else {
        return Ok(Decision::Rest(format!("the stake is {} already", record.stake)));
    };
    match record.unbond_at {
        None => {
            let note = "run this again in seven days: then it takes the money out".to_owned();
            let what = format!("ask for {surplus} of stake back");
            return Ok(Decision::one(what, Call::RequestUnstake, Some(note)));
        }
        Some(at) if at > sight.now => {
            return Ok(Decision::Rest(format!(
                "the stake is bonded for {} more (until unix second {at}): run this again then",
                seconds(at - sight.now)
            )));
        }
        Some(_) => {}
    }
    let free = record.stake.checked_sub(record.locked).unwrap_or(Amount::ZERO);
    ensure!(
        free > Amount::ZERO,
        "all of the stake is locked by {} leases and bids: run this again when they have ended",
        record.active_leases
    );
    let amount = surplus.min(free);
    let rest = surplus.checked_sub(amount).filter(|rest| *rest > Amount::ZERO);
    let note = rest.map(|rest| {
        let again = if active { "ask for it again when they have ended" } else { "run this again then" };
        format!("{rest} more is locked by {} leases and bids until they end: {again}", record.active_leases)
    });
    let what = format!("take {amount} of stake out, to {}", paid_now(record, sight.now));
    Ok(Decision::one(what, Call::Unstake { amount }, note))
}

fn pay_to(payout: Address, record: &Provider, sight: &Sight) -> Decision {
    let note =
        "it counts 24 hours later; until then the same verb with the old address takes it back".to_owned();
    match record.next_payout {
        Some((next, at)) if next == payout && next != record.payout => Decision::Rest(format!(
            "money goes to {payout} in {} (from unix second {at} on), as was announced",
            seconds(at.saturating_sub(sight.now))
        )),
        Some((next, _)) if next != payout && record.payout == payout => Decision::one(
            format!("take back the change of payout to {next}, and stay with {payout}"),
            Call::SetPayout { payout },
            None,
        ),
        _ if record.payout == payout => Decision::Rest(format!("money goes to {payout} already")),
        _ => Decision::one(
            format!("send money to {payout} instead of {}", record.payout),
            Call::SetPayout { payout },
            Some(note),
        ),
    }
}

fn operate_by(operator: Address, record: &Provider) -> Decision {
    if record.operator == operator {
        return Decision::Rest(format!("{operator} bids and closes already"));
    }
    let note = "the daemon stops working with the old key at once: give it the new one in wallet.keystore"
        .to_owned();
    let what = format!("let {operator} bid and close instead of {}", record.operator);
    Decision::one(what, Call::SetOperator { operator }, Some(note))
}

fn describe(wanted: &Description, record: &Provider, sight: &Sight) -> anyhow::Result<Decision> {
    let Description { attrs_hash, uri, spki_hash, overlap } = wanted;
    let spki_hash = spki_hash.unwrap_or(record.spki_hash);
    let mut deeds = Vec::new();
    let rotates = *overlap > 0 && spki_hash != record.spki_hash;
    if rotates {
        let old_until = sight.now.saturating_add(*overlap);
        let what =
            format!("announce the gateway key {spki_hash}; the one before counts {} more", seconds(*overlap));
        deeds.push(Deed { what, call: Call::RotateCert { spki_hash, old_until } });
    }
    let moves = uri.is_some() && *uri != sight.uri;
    if moves || (spki_hash != record.spki_hash && !rotates) {
        let Some(uri) = uri.clone().or_else(|| sight.uri.clone()) else {
            bail!("the endpoint's logs do not say any more where the gateway is: name it with --uri")
        };
        let what = format!("tell tenants that the gateway is at {uri}, with the key {spki_hash}");
        deeds.push(Deed { what, call: Call::SetGateway { uri, spki_hash } });
    }
    let published = attrs_hash.filter(|attrs_hash| *attrs_hash != record.attrs_hash);
    deeds.extend(published.map(publish));
    if deeds.is_empty() {
        return Ok(Decision::Rest("the provider is described so already".to_owned()));
    }
    let note = published.filter(|_| record.attrs_hash != Hash::default()).map(|_| {
        "what auditors said of the attributes before counts no more: ask them to look again".to_owned()
    });
    Ok(Decision::Act(deeds, note))
}

fn publish(attrs_hash: Hash) -> Deed {
    Deed { what: format!("publish the attributes {attrs_hash}"), call: Call::SetAttributes { attrs_hash } }
}

/// Where the gateway is, to be said.
fn told(sight: &Sight) -> &str {
    sight.uri.as_deref().unwrap_or("(which the endpoint's logs do not say any more)")
}

fn retire(sure: bool, record: &Provider) -> anyhow::Result<Decision> {
    let owner = record.address;
    if record.state == ProviderState::Retired {
        return Ok(Decision::Rest(format!("provider {owner} is retired already")));
    }
    ensure!(
        sure,
        "retiring is final: provider {owner} takes no new leases, for ever (its {} leases run on), and comes back only under \
         another owner key; repeat with --yes if that is meant",
        record.active_leases
    );
    let note = "in seven days `berth-provider unstake --to 0` takes out what no lease locks".to_owned();
    Ok(Decision::one(format!("retire provider {owner} for good"), Call::Retire, Some(note)))
}

fn paid_now(record: &Provider, now: u64) -> Address {
    match record.next_payout {
        Some((next, at)) if at <= now => next,
        _ => record.payout,
    }
}

fn affordable(amount: Amount, sight: &Sight) -> anyhow::Result<()> {
    let Sight { owner, tokens, .. } = sight;
    let missing = amount.checked_sub(*tokens).filter(|missing| *missing > Amount::ZERO);
    if let Some(missing) = missing {
        bail!("{owner} has {tokens} where {amount} are needed: send it {missing} of the settlement token");
    }
    Ok(())
}

fn approval(amount: Amount, sight: &Sight) -> Vec<Deed> {
    if sight.allowance >= amount {
        return Vec::new();
    }
    let what = format!("let the registry take {amount}");
    vec![Deed { what, call: Call::ApproveRegistry { amount } }]
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Address = Address([1; 20]);
    const OPERATOR: Address = Address([2; 20]);
    const PAYOUT: Address = Address([3; 20]);
    const OTHER: Address = Address([4; 20]);
    const NOW: u64 = 1_000_000;

    fn registration() -> Registration {
        Registration {
            operator: OPERATOR,
            payout: PAYOUT,
            attrs_hash: Some(Hash([5; 32])),
            uri: "https://here:8443".to_owned(),
            spki_hash: Hash([6; 32]),
            stake: Amount(200),
        }
    }

    fn record() -> Provider {
        Provider {
            address: OWNER,
            state: ProviderState::Active,
            operator: OPERATOR,
            payout: PAYOUT,
            next_payout: None,
            attrs_hash: Hash([5; 32]),
            gateway_at: NOW,
            spki_hash: Hash([6; 32]),
            old_spki: None,
            stake: Amount(200),
            locked: Amount::ZERO,
            unbond_at: None,
            active_leases: 0,
        }
    }

    fn stranger() -> Sight {
        Sight {
            owner: OWNER,
            now: NOW,
            record: None,
            uri: None,
            tokens: Amount(1_000),
            allowance: Amount::ZERO,
            min_stake: Amount(100),
        }
    }

    fn registered(change: impl FnOnce(&mut Provider)) -> Sight {
        let mut record = record();
        change(&mut record);
        Sight { record: Some(record), uri: Some("https://here:8443".to_owned()), ..stranger() }
    }

    fn calls(wanted: &Wanted, sight: &Sight) -> Vec<Call> {
        match decide(wanted, sight).expect("decided") {
            Decision::Act(deeds, _) => deeds.into_iter().map(|deed| deed.call).collect(),
            Decision::Rest(sentence) => panic!("nothing to do: {sentence}"),
        }
    }

    fn rest(wanted: &Wanted, sight: &Sight) -> String {
        match decide(wanted, sight).expect("decided") {
            Decision::Rest(sentence) => sentence,
            Decision::Act(deeds, _) => panic!("{deeds:?}"),
        }
    }

    fn refusal(wanted: &Wanted, sight: &Sight) -> String {
        decide(wanted, sight).expect_err("refused").to_string()
    }

    #[test]
    fn registering_approves_what_is_missing_and_says_what_is_wrong() {
        let wanted = Wanted::Registered(registration());
        assert!(matches!(
            calls(&wanted, &stranger()).as_slice(),
            [
                Call::ApproveRegistry { amount: Amount(200) },
                Call::Register { .. },
                Call::SetAttributes { attrs_hash: Hash([5, ..]) }
            ]
        ));
        let allowed = Sight { allowance: Amount(200), ..stranger() };
        let plain = Wanted::Registered(Registration { attrs_hash: None, ..registration() });
        assert!(matches!(calls(&plain, &allowed).as_slice(), [Call::Register { .. }]));
        assert!(refusal(&wanted, &Sight { tokens: Amount(50), ..stranger() }).contains("send it $0.000150"));
        assert!(refusal(&wanted, &Sight { min_stake: Amount(201), ..stranger() }).contains("--stake"));
    }

    #[test]
    fn registering_again_rests_or_names_the_verb_for_each_difference() {
        let wanted = Wanted::Registered(registration());
        assert!(rest(&wanted, &registered(|_| ())).contains("already, just so"));
        assert!(rest(&wanted, &registered(|r| r.stake = Amount(300))).contains("already"));
        let announced = registered(|r| (r.payout, r.next_payout) = (OTHER, Some((PAYOUT, NOW + 5))));
        assert!(rest(&wanted, &announced).contains("already"));
        let told = refusal(&wanted, &registered(|r| (r.operator, r.stake) = (OTHER, Amount(100))));
        assert!(
            told.contains("set-operator") && told.contains("stake --to") && !told.contains("set-payout"),
            "{told}"
        );
        assert!(refusal(&wanted, &registered(|r| r.state = ProviderState::Retired)).contains("final"));
    }

    #[test]
    fn stake_is_raised_by_what_is_missing_and_once() {
        let sight = registered(|_| ());
        let raised = calls(&Wanted::StakeOf(Amount(250)), &sight);
        assert!(matches!(raised.last(), Some(Call::AddStake { amount: Amount(50), .. })), "{raised:?}");
        assert!(rest(&Wanted::StakeOf(Amount(200)), &sight).contains("already"));
        let told = refusal(&Wanted::StakeOf(Amount(250)), &stranger());
        assert!(told.contains("berth-provider register"), "{told}");
        let retired = registered(|r| r.state = ProviderState::Retired);
        assert!(refusal(&Wanted::StakeOf(Amount(250)), &retired).contains("retired"));
    }

    #[test]
    fn stake_comes_out_in_two_steps_seven_days_apart() {
        let wanted = Wanted::StakeDownTo(Amount(120));
        assert_eq!(calls(&wanted, &registered(|_| ())), [Call::RequestUnstake]);
        let waits = rest(&wanted, &registered(|r| r.unbond_at = Some(NOW + 3600)));
        assert!(waits.contains("1h 0m") && waits.contains("again"), "{waits}");
        let due = registered(|r| r.unbond_at = Some(NOW));
        assert_eq!(calls(&wanted, &due), [Call::Unstake { amount: Amount(80) }]);
        assert!(rest(&Wanted::StakeDownTo(Amount(200)), &due).contains("already"));
        assert!(refusal(&Wanted::StakeDownTo(Amount(99)), &due).contains("retire first"));
    }

    #[test]
    fn what_leases_lock_stays_until_they_end() {
        let retired = |locked| {
            registered(|r| {
                (r.state, r.unbond_at) = (ProviderState::Retired, Some(NOW));
                (r.locked, r.active_leases) = (Amount(locked), 2);
            })
        };
        let all = Wanted::StakeDownTo(Amount::ZERO);
        let Decision::Act(deeds, note) = decide(&all, &retired(150)).expect("decided") else {
            panic!("rests")
        };
        assert_eq!(deeds[0].call, Call::Unstake { amount: Amount(50) });
        assert!(note.expect("a note").contains("$0.000150 more is locked by 2 leases"));
        assert!(refusal(&all, &retired(200)).contains("when they have ended"));
        assert_eq!(calls(&all, &retired(0)), [Call::Unstake { amount: Amount(200) }]);
    }

    #[test]
    fn a_payout_is_announced_once_and_can_be_taken_back() {
        let change = Wanted::PaidTo(OTHER);
        assert_eq!(calls(&change, &registered(|_| ())), [Call::SetPayout { payout: OTHER }]);
        let announced = registered(|r| r.next_payout = Some((OTHER, NOW + 7200)));
        assert!(rest(&change, &announced).contains("2h 0m"), "the 24 hours do not start again");
        assert_eq!(calls(&Wanted::PaidTo(PAYOUT), &announced), [Call::SetPayout { payout: PAYOUT }]);
        let taken_back = registered(|r| r.next_payout = Some((PAYOUT, NOW + 7200)));
        assert!(rest(&Wanted::PaidTo(PAYOUT), &taken_back).contains("already"));
        assert!(rest(&Wanted::PaidTo(PAYOUT), &registered(|_| ())).contains("already"));
    }

    #[test]
    fn another_operator_is_named_once() {
        let sight = registered(|_| ());
        assert_eq!(calls(&Wanted::OperatedBy(OTHER), &sight), [Call::SetOperator { operator: OTHER }]);
        assert!(rest(&Wanted::OperatedBy(OPERATOR), &sight).contains("already"));
    }

    #[test]
    fn a_description_changes_what_is_named_and_nothing_else() {
        let sight = registered(|_| ());
        let uri = Description { uri: Some("https://there".to_owned()), ..Description::default() };
        let there = [Call::SetGateway { uri: "https://there".to_owned(), spki_hash: Hash([6; 32]) }];
        assert_eq!(calls(&Wanted::Described(uri), &sight), there);
        let attributes = Description { attrs_hash: Some(Hash([7; 32])), ..Description::default() };
        let published = [Call::SetAttributes { attrs_hash: Hash([7; 32]) }];
        assert_eq!(calls(&Wanted::Described(attributes), &sight), published);
        assert!(rest(&Wanted::Described(Description::default()), &sight).contains("already"));
        let key = Description { spki_hash: Some(Hash([9; 32])), overlap: 3600, ..Description::default() };
        let rotated = [Call::RotateCert { spki_hash: Hash([9; 32]), old_until: NOW + 3600 }];
        assert_eq!(calls(&Wanted::Described(key.clone()), &sight), rotated);
        let revoked = calls(&Wanted::Described(Description { overlap: 0, ..key }), &sight);
        assert!(matches!(revoked.as_slice(), [Call::SetGateway { .. }]), "{revoked:?}");
    }

    #[test]
    fn a_gateway_that_the_logs_have_forgotten_is_said_again() {
        let sight = Sight { uri: None, ..registered(|_| ()) };
        let here = Description { uri: Some("https://here:8443".to_owned()), ..Description::default() };
        let said = [Call::SetGateway { uri: "https://here:8443".to_owned(), spki_hash: Hash([6; 32]) }];
        assert_eq!(calls(&Wanted::Described(here), &sight), said);
        let key = Description { spki_hash: Some(Hash([9; 32])), ..Description::default() };
        assert!(refusal(&Wanted::Described(key), &sight).contains("--uri"));
        let told = refusal(&Wanted::Registered(registration()), &sight);
        assert!(told.contains("do not say any more") && told.contains("update --uri"), "{told}");
    }

    #[test]
    fn nobody_retires_by_mistake_or_twice() {
        let sight = registered(|_| ());
        assert!(refusal(&Wanted::Retired { sure: false }, &sight).contains("--yes"));
        assert_eq!(calls(&Wanted::Retired { sure: true }, &sight), [Call::Retire]);
        let retired = registered(|r| r.state = ProviderState::Retired);
        assert!(rest(&Wanted::Retired { sure: true }, &retired).contains("already"));
    }
}
