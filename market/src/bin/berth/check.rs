//! `berth check`: who would bid on a document, at what price, and what keeps the others from it. Pays and posts nothing.

use std::time::Duration;

use futures::future::join_all;
use manifests::money::{Amount, Rate};
use manifests::order::Address;
use market::quote::{Quote, QuoteAnswer, QuoteRequest};
use market::reader::{Provider, ProviderState};
use serde::Serialize;
use tokio::time::timeout;

use crate::account::Account;
use crate::cli::{Check, Format};
use crate::document::{self, WantedGroup};
use crate::exit::Ending;
use crate::output::{json, progress, result, seconds, table};

/// How long a provider may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct Report {
    placements: Vec<Placement>,
}

/// What was answered for one placement of the document.
#[derive(Serialize)]
struct Placement {
    name: String,
    max_rate: Rate,
    answers: Vec<Told>,
}

/// What came of asking one provider.
#[derive(Serialize)]
struct Told {
    provider: Address,
    /// Its own signed words; without, why there are none.
    #[serde(flatten)]
    words: Words,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Words {
    Quote(QuoteAnswer),
    NoAnswer(String),
}

impl Told {
    /// The price, if it would bid.
    fn rate(&self) -> Option<Rate> {
        match &self.words {
            Words::Quote(QuoteAnswer::Bid { rate, .. }) => Some(*rate),
            _ => None,
        }
    }
}

impl Placement {
    fn cheapest(&self) -> Option<&Told> {
        let bids = self.answers.iter().filter_map(|told| Some((told.rate()?, told)));
        bids.min_by_key(|(rate, told)| (*rate, told.provider)).map(|(_, told)| told)
    }
}

pub(crate) async fn run(check: Check) -> anyhow::Result<()> {
    let account = Account::open(&check.context).await?;
    let Check { document, faithfulness, max_price, strict, output, context: _ } = check;
    let wanted = document::read(&document, faithfulness, &account.mapping, max_price, strict)?;
    for warning in &wanted.warnings {
        progress(format_args!("note: {warning}"));
    }
    let unserved = wanted.unserved;
    let mut providers = account.chain.providers().await?;
    providers.retain(|provider| provider.state == ProviderState::Active);
    let mut placements = Vec::new();
    for group in wanted.groups {
        let asked = question(&account, &group);
        let answers = join_all(providers.iter().map(|provider| ask(&account, provider, &asked))).await;
        placements.push(Placement { name: group.name, max_rate: group.max_rate, answers });
    }
    let report = Report { placements };
    match output {
        Format::Json => json(&report)?,
        Format::Table => tell(&report),
    }
    if !unserved.is_empty() {
        let sentence = format!("{} cannot be ordered: {}", document.display(), unserved.join("; "));
        return Err(Ending::error(Ending::USAGE, sentence));
    }
    let without: Vec<&str> = report
        .placements
        .iter()
        .filter(|placement| placement.cheapest().is_none())
        .map(|placement| placement.name.as_str())
        .collect();
    match without.as_slice() {
        [] => Ok(()),
        _ if providers.is_empty() => {
            Err(Ending::error(Ending::NO_BIDS, "no provider is registered in this market"))
        }
        names => Err(Ending::error(Ending::NO_BIDS, format!("nobody would bid on {}", names.join(", ")))),
    }
}

fn question(account: &Account, group: &WantedGroup) -> QuoteRequest {
    QuoteRequest {
        tenant: account.address(),
        spec: group.spec.clone(),
        max_rate: Some(group.max_rate),
        min_reclaim: group.min_reclaim,
        req_bits: 0,
    }
}

/// Asks one provider and believes it only over its registered key.
async fn ask(account: &Account, provider: &Provider, asked: &QuoteRequest) -> Told {
    let answer = async {
        let gateway = account.gateway(provider).await?;
        let signed = gateway.quote(asked).await?;
        anyhow::Ok(signed.verify(provider, account.chain.gateway_domain(), asked)?)
    };
    let words = match timeout(PATIENCE, answer).await {
        Ok(Ok(Quote { answer, .. })) => Words::Quote(answer),
        Ok(Err(error)) => Words::NoAnswer(market::sentence::of(&error)),
        Err(_) => Words::NoAnswer(format!("its gateway is silent for {}", seconds(PATIENCE.as_secs()))),
    };
    Told { provider: provider.address, words }
}

fn tell(report: &Report) {
    let rows = report.placements.iter().flat_map(|placement| {
        placement.answers.iter().map(|told| {
            let (rate, month, why) = columns(&told.words);
            vec![placement.name.clone(), told.provider.to_string(), rate, month, why]
        })
    });
    table(&["PLACEMENT", "PROVIDER", "WOULD BID", "PER MONTH", "WHY"], rows);
    for placement in &report.placements {
        let Some(told) = placement.cheapest() else { continue };
        if let Words::Quote(QuoteAnswer::Bid { rate, items, warnings, reclaim, min_bill, .. }) = &told.words {
            result(format_args!(
                "\n{} at {}: {rate}, of at most {}",
                placement.name, told.provider, placement.max_rate
            ));
            let rows = items
                .iter()
                .map(|item| vec![format!("  {}", item.what), item.quantity.clone(), item.rate.to_string()]);
            table(&["  FOR", "QUANTITY", "RATE"], rows);
            let billed = match min_bill {
                0 => String::new(),
                secs => format!(", at least {} are billed", seconds(u64::from(*secs))),
            };
            result(format_args!("  notice before it leaves: {}{billed}", seconds(u64::from(*reclaim))));
            for warning in warnings {
                result(format_args!("  note: {warning}"));
            }
        }
    }
}

/// Rate, dollars a month, and what else there is to say.
fn columns(words: &Words) -> (String, String, String) {
    let nothing = || "-".to_owned();
    match words {
        Words::Quote(QuoteAnswer::Bid { rate, gpus, .. }) => {
            let month: Amount = rate.monthly_up();
            (rate.to_string(), month.to_string(), gpus.join(", "))
        }
        Words::Quote(QuoteAnswer::Declined { code, why }) => {
            (nothing(), nothing(), format!("{why} ({code})"))
        }
        Words::NoAnswer(problem) => (nothing(), nothing(), format!("no answer: {problem}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bid(provider: u8, scaled: u128) -> Told {
        let words = Words::Quote(QuoteAnswer::Bid {
            rate: Rate::new(scaled).expect("small"),
            items: vec![],
            gpus: vec!["1 × h100-80Gi-sxm".to_owned()],
            warnings: vec![],
            expires_at: 1,
            reclaim: 0,
            min_bill: 0,
        });
        Told { provider: Address([provider; 20]), words }
    }

    #[test]
    fn the_cheapest_of_those_who_would_bid_is_shown_line_by_line() {
        let declined =
            Words::Quote(QuoteAnswer::Declined { code: "maintenance".to_owned(), why: "x".to_owned() });
        let declined = Told { provider: Address([0; 20]), words: declined };
        let mut placement = Placement {
            name: "here".to_owned(),
            max_rate: Rate::MAX,
            answers: vec![declined, bid(3, 9), bid(2, 7), bid(1, 7)],
        };
        assert_eq!(placement.cheapest().map(|told| told.provider), Some(Address([1; 20])));
        placement.answers.truncate(1);
        assert!(placement.cheapest().is_none());
    }

    #[test]
    fn answers_are_told_apart_in_json() {
        let told = serde_json::to_value(bid(1, 7)).expect("json");
        assert_eq!(told["quote"]["answer"], "bid");
        let silent = Told { provider: Address([1; 20]), words: Words::NoAnswer("it is away".to_owned()) };
        assert_eq!(serde_json::to_value(silent).expect("json")["no_answer"], "it is away");
    }
}
