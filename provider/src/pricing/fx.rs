//! Asks what the tariff's currency is worth, source after source: the first that answers counts, unless it tells something
//! so far from the last worth that another has to confirm it.

use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use bidengine::{Fx, FxRate};
use market::Chain;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use tracing::{debug, warn};

use super::{Now, Pricing, Terms, body_up_to};
use crate::clock::Clock;
use crate::config::{FxSource, FxSources};
use crate::task::{Report, Turn};

/// The loop that asks. It does nothing while the tariff is in dollars.
#[derive(Debug, Clone)]
pub struct Feed {
    pricing: Pricing,
    chain: Option<Chain>,
    clock: Clock,
}

impl Feed {
    /// A feed of these prices; price feeds on the chain are read there.
    #[must_use]
    pub fn new(pricing: Pricing, chain: Option<Chain>, clock: Clock) -> Self {
        Self { pricing, chain, clock }
    }

    async fn ask(&self, source: &FxSource) -> anyhow::Result<Fx> {
        let now = self.clock.now();
        let (rate, at) = match source {
            FxSource::Static(rate) => (*rate, now),
            FxSource::ChainOracle(address) => {
                let chain = self.chain.as_ref().context("there is no chain to ask")?;
                let told = tokio::time::timeout(LONGEST_READ, chain.feed(*address)).await;
                let told = told.context("it did not answer in time")??;
                let rate = FxRate::of_scaled_up(told.answer, told.decimals);
                (rate.context("it tells a number beyond counting")?, told.at)
            }
            FxSource::Http { url, pointer, time_pointer, timeout } => {
                let request = self.pricing.http()?.get(url.reveal().clone()).timeout(*timeout);
                // Only what kind of failure it is: texts may hold the URL.
                let answer = request.send().await.map_err(|error| match error.is_timeout() {
                    true => anyhow!("it did not answer in time"),
                    false => anyhow!("it could not be reached"),
                })?;
                ensure!(answer.status().is_success(), "it answers HTTP {}", answer.status().as_u16());
                let body =
                    body_up_to(answer, MOST_DOCUMENT).await.context("its answer is too long or broken")?;
                read_document(&body, pointer, time_pointer.as_deref(), now)?
            }
        };
        // A source whose clock is ahead tells no worth of the future.
        Ok(Fx { rate, source: name(source), at: at.min(now) })
    }

    /// What the currency of other terms is worth, before anything is priced by them.
    pub(super) async fn first(&self, terms: &Terms) -> Option<Fx> {
        self.told(terms.fx.as_ref()?, None).await
    }

    /// What counts from now on; `None` when nobody told anything that can be believed.
    async fn told(&self, fx: &FxSources, last: Option<&Fx>) -> Option<Fx> {
        let most = fx.max_staleness.as_secs();
        let is_fresh = |told: &Fx| self.clock.now().saturating_sub(told.at) <= most;
        let last = last.filter(|last| is_fresh(last));
        let mut doubtful: Vec<Fx> = Vec::new();
        for source in &fx.sources {
            let told = match self.ask(source).await {
                Ok(told) if is_fresh(&told) => told,
                Ok(told) => {
                    warn!(
                        source = told.source,
                        at = told.at,
                        "a source of {}/USD tells a worth that is too old",
                        fx.currency
                    );
                    continue;
                }
                Err(error) => {
                    warn!(
                        source = name(source),
                        error = format!("{error:#}"),
                        "a source of {}/USD tells nothing",
                        fx.currency
                    );
                    self.pricing.metrics.fx_failed(&name(source));
                    continue;
                }
            };
            let is_near = |other: &Fx| !told.rate.differs_by_more_than(fx.max_change_percent, other.rate);
            if last.is_none_or(is_near) || doubtful.iter().any(is_near) {
                debug!(rate = %told.rate, source = told.source, "{}/USD", fx.currency);
                return Some(told);
            }
            doubtful.push(told);
        }
        if let (Some(told), Some(last)) = (doubtful.first(), last) {
            warn!(
                told = %told.rate, by = told.source, last = %last.rate,
                "a worth of {} is more than {} % from the last one and no other source confirms it; the last one counts until it is too old",
                fx.currency, fx.max_change_percent
            );
        }
        None
    }
}

impl Turn for Feed {
    const NAME: &'static str = "fx";

    async fn turn(&mut self) -> anyhow::Result<Report> {
        let Now { terms, fx: last, .. } = self.pricing.now();
        let Some(fx) = &terms.fx else { return Ok(Report::default()) };
        let due = Some(fx.refresh);
        let Some(told) = self.told(fx, last.as_ref()).await else { return Ok(Report { changed: 0, due }) };
        self.pricing.metrics.fx(&fx.currency, &told);
        let changed = u64::from(last.as_ref().map(|last| last.rate) != Some(told.rate));
        self.pricing.keep(&fx.currency, &told);
        Ok(Report { changed, due })
    }
}

const MOST_DOCUMENT: usize = 1 << 20;

/// A contract's answer is not waited for longer.
const LONGEST_READ: Duration = Duration::from_secs(10);

/// What a source is called in metrics, reasons and logs.
fn name(source: &FxSource) -> String {
    match source {
        FxSource::Static(_) => "static".to_owned(),
        FxSource::Http { url, .. } => url.host(),
        FxSource::ChainOracle(address) => format!("oracle {address}"),
    }
}

/// The worth in a document and the second for which it holds. Numbers are read as they are written, not as floats.
fn read_document(body: &[u8], pointer: &str, time: Option<&str>, now: u64) -> anyhow::Result<(FxRate, u64)> {
    let document: &RawValue = serde_json::from_slice(body).context("its answer is not JSON")?;
    let plain = |pointer: &str| -> anyhow::Result<String> {
        let value = at(document, pointer).with_context(|| format!("its answer has nothing at {pointer}"))?;
        let text = value.get();
        Ok(text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text).to_owned())
    };
    let rate = FxRate::read_up(&plain(pointer)?);
    let rate = rate.with_context(|| format!("what its answer has at {pointer} is no number above zero"))?;
    let at = match time {
        None => now,
        Some(pointer) => plain(pointer)?
            .parse()
            .map_err(|_| anyhow!("what its answer has at {pointer} are no unix seconds"))?,
    };
    Ok((rate, at))
}

/// The value at a JSON pointer, as it is written.
fn at<'a>(mut value: &'a RawValue, pointer: &str) -> Option<&'a RawValue> {
    for key in pointer.split('/').skip(1) {
        let key = key.replace("~1", "/").replace("~0", "~");
        value = if value.get().trim_start().starts_with('[') {
            let list: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
            list.get(key.parse::<usize>().ok()?).copied()?
        } else {
            let table: BTreeMap<String, &RawValue> = serde_json::from_str(value.get()).ok()?;
            table.get(&key).copied()?
        };
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worth_is_read_where_the_pointer_says_and_as_it_is_written() {
        let body = br#"{"rates": [{"USD": 1.0823456789}, {"a/b": "0.00004", "e": 4e-5}], "at": 960}"#;
        let read = |pointer: &str, time| read_document(body, pointer, time, 1000);
        let rate = |text: &str| text.parse::<FxRate>().expect(text);
        assert_eq!(read("/rates/0/USD", None).expect("there"), (rate("1.082345679"), 1000));
        assert_eq!(read("/rates/1/a~1b", Some("/at")).expect("there"), (rate("0.00004"), 960));
        for (pointer, time, problem) in [
            ("/rates/2/USD", None, "nothing at /rates/2/USD"),
            ("/rates/1/e", None, "no number above zero"),
            ("/rates", None, "no number above zero"),
            ("/at", Some("/rates"), "no unix seconds"),
        ] {
            let error = read(pointer, time).expect_err(pointer).to_string();
            assert!(error.contains(problem), "{error}");
        }
        assert!(read_document(b"<html>", "/a", None, 0).is_err());
    }
}
