//! Prices in another currency than the token's: what the currency is worth, and how old that may be.

use manifests::decision::Reason;
use serde::{Deserialize, Serialize};

use super::factor::Factor;
use crate::fx::Fx;

/// In which currency the table is written, and on which worth of it prices may rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FxTerms {
    /// The currency's code of three capital letters, such as `EUR`.
    currency: String,
    /// Seconds after which a worth is too old.
    max_staleness_secs: u64,
    #[serde(default)]
    on_stale: OnStale,
}

/// What a worth that is too old leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum OnStale {
    /// No bid.
    #[default]
    Decline,
    /// A bid all the same, with a warning.
    UseLast,
}

/// The factor that turns prices of the table into tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Exchange {
    /// The factor with its name; nothing while the table is written in dollars.
    pub(super) factor: Option<(String, Factor)>,
    /// What the tenant is to be told of it.
    pub(super) warning: Option<String>,
}

impl FxTerms {
    /// What makes the terms useless, if anything does.
    pub(super) fn problem(&self) -> Option<String> {
        let Self { currency, max_staleness_secs, .. } = self;
        let is_code = currency.len() == 3 && currency.bytes().all(|letter| letter.is_ascii_uppercase());
        if !is_code {
            return Some(format!(
                "the currency \"{currency}\" is no code of three capital letters, such as EUR"
            ));
        }
        if currency == "USD" {
            return Some(
                "the currency USD needs no worth, since a token is a dollar: leave fx out".to_owned(),
            );
        }
        (*max_staleness_secs == 0)
            .then(|| "a worth of the currency must be allowed to be a second old".to_owned())
    }

    pub(super) fn currency(&self) -> &str {
        &self.currency
    }

    /// The exchange at `now`, or that nobody knows it well enough.
    pub(super) fn at(&self, now: u64, fx: Option<&Fx>) -> Result<Exchange, Reason> {
        let Self { currency, max_staleness_secs: most, on_stale } = self;
        let Some(fx) = fx else {
            return Err(Reason::FxStale { currency: currency.clone(), source: None, age: None, most: *most });
        };
        let age = now.saturating_sub(fx.at);
        let mut warning = None;
        if age > *most {
            let source = &fx.source;
            match on_stale {
                OnStale::Decline => {
                    let source = Some(source.clone());
                    return Err(Reason::FxStale {
                        currency: currency.clone(),
                        source,
                        age: Some(age),
                        most: *most,
                    });
                }
                OnStale::UseLast => {
                    warning =
                        Some(format!("the price rests on a worth of {currency} that is {age} seconds old"));
                }
            }
        }
        let factor = Some((format!("1 {currency} in dollars ({})", fx.source), Factor::from(fx.rate)));
        Ok(Exchange { factor, warning })
    }
}
