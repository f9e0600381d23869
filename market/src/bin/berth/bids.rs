//! Waiting for bids, judging their terms, and accepting one for each open order; or, where the lowest wins, having it awarded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::join_all;
use manifests::money::Rate;
use manifests::order::{Address, Fact, OrderId};
use market::At;
use market::api::Answer;
use market::call::Call;
use market::reader::{BidRecord, BidState, OrderState, Provider, ProviderState};
use market::revert::MarketError;
use market::sender::SendError;
use tokio::time::{Instant, sleep, timeout};

use crate::account::Account;
use crate::cli::Pick;
use crate::exit::Ending;
use crate::output::progress;
use crate::sight::{GroupSight, Sight};
use crate::state::Record;

/// How long others may still bid after the first good bid.
const GRACE: Duration = Duration::from_secs(2);
/// Pause between two looks at the chain.
const LOOK: Duration = Duration::from_millis(200);
/// How long a provider may take to answer; bids are not looked for meanwhile.
const ANSWER: Duration = Duration::from_secs(3);
/// Pause between two rounds of asking providers what they decided.
const ASK: Duration = Duration::from_secs(2);

/// What was wanted of bids.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) pick: Pick,
    pub(crate) wait: Duration,
    /// Seconds of notice for each group.
    pub(crate) min_reclaim: Vec<u32>,
}

/// A bid with its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offer {
    provider: Address,
    bid: BidRecord,
}

/// Accepts one bid for each open order, or none: nothing is accepted before every order has a bid that will do. Orders that
/// go to their lowest bid are awarded with them, unless somebody else awards them first, which anybody may.
pub(crate) async fn award(account: &Account, record: &Record, wish: &Wish) -> anyhow::Result<()> {
    let providers = bidders(account, wish.pick).await?;
    let started = Instant::now();
    let mut first_offer: Option<Instant> = None;
    let mut asked_at = started;
    let mut refused = BTreeSet::new();
    loop {
        let sight = Sight::of(&account.chain, record).await?;
        let groups = || (0..).zip(&sight.groups);
        let is_open = |g: &GroupSight| g.state == Some(OrderState::Open);
        let open: Vec<usize> =
            groups().filter(|(_, g)| is_open(g) && g.award.is_none()).map(|(n, _)| n).collect();
        let auctions: Vec<Auction> =
            groups().filter_map(|(_, g)| Auction::of(g, sight.head.timestamp)).collect();
        if let Some(auction) = auctions.iter().find(|auction| auction.stage == Stage::Unanswered) {
            let orders = [auction.order];
            let answers = answers(account, &providers, &orders).await;
            return Err(nobody(record, &orders, &providers, &answers));
        }
        let all_due = auctions.iter().all(|auction| auction.stage == Stage::Due);
        let mut offers = offers(account, record, &sight, &open, &wish.min_reclaim).await?;
        for offers in offers.values_mut() {
            offers.retain(|offer| !refused.contains(&(offer.provider, offer.bid.terms_hash())));
        }
        let chosen: Vec<Offer> = open.iter().filter_map(|n| choose(&offers[n], wish.pick)).collect();
        let now = Instant::now();
        if chosen.len() == open.len() && all_due {
            let since = *first_offer.get_or_insert(now);
            let all_bid = open.iter().all(|n| offers[n].len() >= providers.len());
            if all_bid || now - since >= GRACE {
                let orders: Vec<OrderId> = open.iter().map(|n| sight.groups[*n].order).collect();
                match accept(account, &orders, &chosen, &sight).await? {
                    None => {
                        if award_all(account, &auctions).await? {
                            return Ok(());
                        }
                    }
                    Some(offer) => {
                        refused.insert((offer.provider, offer.bid.terms_hash()));
                        continue;
                    }
                }
            }
        }
        let unanswered: Vec<OrderId> = open
            .iter()
            .filter(|n| choose(&offers[*n], wish.pick).is_none())
            .map(|n| sight.groups[*n].order)
            .collect();
        let over = now - started >= wish.wait;
        if !unanswered.is_empty() && (over || now - asked_at >= ASK) {
            asked_at = now;
            let answers = answers(account, &providers, &unanswered).await;
            if over || hopeless(&answers, &unanswered, providers.len()) {
                return Err(nobody(record, &unanswered, &providers, &answers));
            }
        }
        sleep(LOOK).await;
    }
}

/// An order that goes to its lowest bid and was not awarded yet.
struct Auction {
    name: String,
    order: OrderId,
    stage: Stage,
}

/// Where such an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Bids are taken.
    Bidding,
    /// It has a best bid and can be awarded.
    Due,
    /// The deadline passed and nobody bid, or the best bid expired.
    Unanswered,
}

impl Auction {
    fn of(group: &GroupSight, head: u64) -> Option<Self> {
        let award = group.award?;
        // A chain that mines only when there is something to mine lags behind the clock, which the next block will show.
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let stage = match group.state? {
            OrderState::Open if head.max(clock) <= award.deadline => Stage::Bidding,
            OrderState::Open if award.best.is_some() => Stage::Due,
            OrderState::Open | OrderState::Expired => Stage::Unanswered,
            _ => return None,
        };
        Some(Self { name: group.name.clone(), order: group.order, stage })
    }
}

/// Awards all of them; answers whether all are leased, by us or by somebody else. What came too early is tried again later.
async fn award_all(account: &Account, auctions: &[Auction]) -> anyhow::Result<bool> {
    for Auction { name, order, .. } in auctions {
        let call = Call::Award { order: *order };
        let sent = match refused(account.simulate(&call).await)? {
            None => refused(account.send(&format!("award the order of {name}"), &call).await)?,
            refusal => refusal,
        };
        match sent {
            None => progress(format_args!("{name}: awarded to the lowest bid")),
            Some(MarketError::AwardNotDue { .. }) => return Ok(false),
            // Somebody else was faster; the next look shows what came of it.
            Some(MarketError::WrongState { .. }) => {}
            Some(refusal) => {
                let sentence = format!("the order of {name} cannot be awarded: {refusal}");
                return Err(Ending::error(Ending::NO_BIDS, sentence));
            }
        }
    }
    Ok(true)
}

/// The active providers whose bids count.
async fn bidders(account: &Account, pick: Pick) -> anyhow::Result<Vec<Provider>> {
    let mut providers = account.chain.providers().await?;
    providers.retain(|provider| provider.state == ProviderState::Active);
    if let Pick::Provider(wanted) = pick {
        providers.retain(|provider| provider.address == wanted);
        if providers.is_empty() {
            let sentence =
                format!("no active provider {wanted} is registered in this market, so it cannot bid");
            return Err(Ending::error(Ending::NO_BIDS, sentence));
        }
    }
    Ok(providers)
}

/// Open bids whose terms are those of the order, for each open group.
async fn offers(
    account: &Account,
    record: &Record,
    sight: &Sight,
    open: &[usize],
    min_reclaim: &[u32],
) -> anyhow::Result<BTreeMap<usize, Vec<Offer>>> {
    let facts = account.chain.facts_of_account(record.account(), record.first_block).await?;
    let mut offers = BTreeMap::new();
    for n in open {
        let order = sight.groups[*n].order;
        let bidders: BTreeSet<Address> = facts
            .iter()
            .filter_map(|logged| match &logged.fact {
                Fact::BidPlaced(bid) if bid.order == order => Some(bid.provider),
                _ => None,
            })
            .collect();
        let mut good = Vec::new();
        for provider in bidders {
            if let Some(bid) = account.chain.bid(order, provider, At::Latest).await?
                && is_good(&bid, record.groups[*n].max_rate, min_reclaim[*n], sight.head.timestamp)
            {
                good.push(Offer { provider, bid });
            }
        }
        offers.insert(*n, good);
    }
    Ok(offers)
}

/// Whether a bid is what was ordered: the contract checked it against the order when it was placed, and this is checked
/// again because it is our money.
fn is_good(bid: &BidRecord, max_rate: Rate, min_reclaim: u32, now: u64) -> bool {
    bid.state == BidState::Open && bid.rate <= max_rate && bid.reclaim >= min_reclaim && bid.expires_at > now
}

/// The bid to take: the one of the wanted provider, or the cheapest; of equals the one with the lower address.
fn choose(offers: &[Offer], pick: Pick) -> Option<Offer> {
    let wanted = |offer: &&Offer| match pick {
        Pick::Cheapest => true,
        Pick::Provider(provider) => offer.provider == provider,
    };
    offers.iter().filter(wanted).min_by_key(|offer| (offer.bid.rate, offer.provider)).copied()
}

/// Accepts all of them, after trying each one without sending. Answers with the offer that the contract would not take, if
/// there is one and nothing was accepted.
///
/// # Errors
/// [`Ending::NO_BIDS`] if a later offer was gone when earlier ones were accepted: all or none, so all must go.
async fn accept(
    account: &Account,
    orders: &[OrderId],
    chosen: &[Offer],
    sight: &Sight,
) -> anyhow::Result<Option<Offer>> {
    let name = |order| sight.groups.iter().find(|group| group.order == order).map_or("", |group| &group.name);
    let calls: Vec<(&str, Offer, Call)> = orders
        .iter()
        .zip(chosen)
        .map(|(order, offer)| {
            let Offer { provider, bid } = *offer;
            let call = Call::AcceptBid { order: *order, provider, terms_hash: bid.terms_hash() };
            (name(*order), *offer, call)
        })
        .collect();
    for (_, offer, call) in &calls {
        if let Some(refusal) = refused(account.simulate(call).await)? {
            progress(format_args!("the bid of {} cannot be accepted: {refusal}", offer.provider));
            return Ok(Some(*offer));
        }
    }
    for (n, (name, offer, call)) in calls.iter().enumerate() {
        let sent = account.send(&format!("accept the bid for {name}"), call).await;
        match refused(sent)? {
            None => progress(format_args!("{name}: accepted {} from {}", offer.bid.rate, offer.provider)),
            Some(_) if n == 0 => return Ok(Some(*offer)),
            Some(refusal) => {
                let sentence = format!(
                    "the bid for {name} was gone when it was to be accepted ({refusal}), and without it nothing is kept"
                );
                return Err(Ending::error(Ending::NO_BIDS, sentence));
            }
        }
    }
    Ok(None)
}

/// Tells a refusal of the contract from a failure to ask it.
fn refused(result: anyhow::Result<()>) -> anyhow::Result<Option<MarketError>> {
    match result {
        Ok(()) => Ok(None),
        Err(error) => match error.chain().find_map(|cause| cause.downcast_ref()) {
            Some(SendError::Refused(refusal)) => Ok(Some(refusal.clone())),
            _ => Err(error),
        },
    }
}

type Answers = BTreeMap<(OrderId, Address), Result<Answer, String>>;

/// What each provider says it made of each order.
async fn answers(account: &Account, providers: &[Provider], orders: &[OrderId]) -> Answers {
    let found = join_all(providers.iter().map(|provider| account.gateway(provider))).await;
    let gateways = || providers.iter().zip(&found);
    let pairs =
        orders.iter().flat_map(|order| gateways().map(move |(provider, found)| (*order, provider, found)));
    let asked = pairs.map(async |(order, provider, found)| {
        let answer = match found {
            Ok(gateway) => match timeout(ANSWER, gateway.decision(&account.wallet, order)).await {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(_) => Err(format!("its gateway is silent for {} s", ANSWER.as_secs())),
            },
            Err(error) => Err(error.to_string()),
        };
        ((order, provider.address), answer.map(|answer| answer.answer))
    });
    join_all(asked).await.into_iter().collect()
}

/// Whether every provider has declined one of the orders, so that waiting on is pointless.
fn hopeless(answers: &Answers, orders: &[OrderId], providers: usize) -> bool {
    let declined = |order: &OrderId| {
        let of_order = answers.iter().filter(|((asked, _), _)| asked == order);
        of_order.filter(|(_, answer)| matches!(answer, Ok(Answer::Declined { .. }))).count()
    };
    providers > 0 && orders.iter().any(|order| declined(order) == providers)
}

fn nobody(record: &Record, orders: &[OrderId], providers: &[Provider], answers: &Answers) -> anyhow::Error {
    let mut lines = vec!["nobody bid on terms that will do".to_owned()];
    if providers.is_empty() {
        lines.push("  no provider is registered in this market".to_owned());
    }
    for order in orders {
        let name =
            record.groups.get(usize::from(order.gseq).saturating_sub(1)).map_or("?", |group| &group.name);
        for provider in providers {
            let answer = match answers.get(&(*order, provider.address)) {
                Some(Ok(Answer::Declined { code, why })) => format!("declined: {why} ({code})"),
                Some(Ok(Answer::Bid { rate })) => {
                    format!("decided to bid {rate}, but no such bid can be accepted")
                }
                Some(Ok(Answer::Undecided)) => "has not decided yet".to_owned(),
                Some(Err(problem)) => format!("gives no answer: {problem}"),
                None => "was not asked".to_owned(),
            };
            lines.push(format!("  {name}: {} {answer}", provider.address));
        }
    }
    Ending::error(Ending::NO_BIDS, lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use manifests::order::AccountId;

    use super::*;

    fn bid(rate: u128) -> BidRecord {
        let rate = Rate::new(rate).expect("small");
        BidRecord { state: BidState::Open, rate, expires_at: 100, reclaim: 10, min_bill: 0, eligible: true }
    }

    #[test]
    fn the_cheapest_bid_or_the_wanted_provider_is_chosen() {
        let [a, b, c] = [1, 2, 3].map(|n| Address([n; 20]));
        let offers = [(b, 7), (a, 7), (c, 9)].map(|(provider, rate)| Offer { provider, bid: bid(rate) });
        assert_eq!(choose(&offers, Pick::Cheapest).map(|offer| offer.provider), Some(a));
        assert_eq!(choose(&offers, Pick::Provider(c)).map(|offer| offer.provider), Some(c));
        assert_eq!(choose(&offers, Pick::Provider(Address([4; 20]))), None);
    }

    #[test]
    fn bids_with_other_terms_than_ordered_are_passed_over() {
        let max = Rate::new(7).expect("small");
        assert!(is_good(&bid(7), max, 10, 99));
        assert!(!is_good(&bid(8), max, 10, 99), "too dear");
        assert!(!is_good(&bid(7), max, 11, 99), "too short a notice");
        assert!(!is_good(&bid(7), max, 10, 100), "expired");
        assert!(!is_good(&BidRecord { state: BidState::Withdrawn, ..bid(7) }, max, 10, 99), "taken back");
    }

    #[test]
    fn a_refusal_is_told_from_silence() {
        let refusal =
            anyhow::Error::new(SendError::Refused(MarketError::BidNotOpen)).context("failed to accept");
        assert_eq!(refused(Err(refusal)).expect("a refusal"), Some(MarketError::BidNotOpen));
        assert_eq!(refused(Ok(())).expect("taken"), None);
        refused(Err(anyhow::anyhow!("no answer"))).expect_err("silence is no refusal");
    }

    #[test]
    fn waiting_ends_early_only_when_everybody_declined() {
        let order = AccountId { tenant: Address::default(), dseq: 1 }.order(1, 1);
        let [a, b] = [1, 2].map(|n| Address([n; 20]));
        let no = || Ok(Answer::Declined { code: "resources_cpu".to_owned(), why: "full".to_owned() });
        let mut answers = Answers::from([((order, a), no()), ((order, b), Ok(Answer::Undecided))]);
        assert!(!hopeless(&answers, &[order], 2));
        answers.insert((order, b), Err("unreachable".to_owned()));
        assert!(!hopeless(&answers, &[order], 2));
        answers.insert((order, b), no());
        assert!(hopeless(&answers, &[order], 2));
        assert!(!hopeless(&Answers::new(), &[order], 0));
    }
}
