//! `pricing`: the price table, and who is asked besides it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use bidengine::{Fx, FxRate, PriceUnit, Tariff};
use manifests::order::Address;
use serde::Deserialize;
use serde_yaml::{Mapping, Value};
use url::Url;

use super::read::{Problems, Section, parse_duration};

/// `pricing`
#[derive(Debug, Clone, PartialEq)]
pub struct Pricing {
    /// The table: what things cost in money a month, curves, rules, costs and what is kept for GPU jobs. `pricing.fx.currency`,
    /// `maxStaleness` (default 15m) and `onStale` (`decline`, the default, or `useLast`) are a part of it.
    pub tariff: Tariff,
    /// `pricing.fx`: who tells what the table's currency is worth. Default: the table is in dollars, and a token is a dollar.
    pub fx: Option<FxSources>,
    /// `pricing.hook`: a program of the operator's that names the price in place of the table. Default: none.
    pub hook: Option<Hook>,
}

/// `pricing.fx`
#[derive(Debug, Clone, PartialEq)]
pub struct FxSources {
    /// `pricing.fx.currency`: the currency of the table, as a code of three capital letters. Required.
    pub currency: String,
    /// `pricing.fx.sources`: who is asked, in this order: the first that answers counts. At least one.
    pub sources: Vec<FxSource>,
    /// `pricing.fx.refresh`: how often they are asked. Default 1m.
    pub refresh: Duration,
    /// `pricing.fx.maxStaleness`: how old a worth may be. Default 15m.
    pub max_staleness: Duration,
    /// `pricing.fx.maxChange`: by how many percent a worth may differ from the last one before another source has to confirm
    /// it. Default 20. Unconfirmed it is taken once the last one is too old.
    pub max_change_percent: u32,
}

/// One of `pricing.fx.sources`: dollars for one unit of the currency.
#[derive(Debug, Clone, PartialEq)]
pub enum FxSource {
    /// `static`: a worth that never grows old.
    Static(FxRate),
    /// `http`: a JSON document.
    Http {
        /// `http.url`: where it is. Credentials in it are sent to it alone and shown nowhere.
        url: PrivateUrl,
        /// `http.pointer`: where the worth stands in it, as a JSON pointer such as `/rates/USD`.
        pointer: String,
        /// `http.timePointer`: where the unix seconds stand for which it holds. Default: the moment of the answer.
        time_pointer: Option<String>,
        /// `http.timeout`: how long an answer may take. Default 3s.
        timeout: Duration,
    },
    /// `chainOracle.address`: a price feed on the market's chain (`latestRoundData` and `decimals`) of the pair currency / USD.
    ChainOracle(Address),
}

/// `pricing.hook`
#[derive(Debug, Clone, PartialEq)]
pub struct Hook {
    /// Which program.
    pub program: HookProgram,
    /// `pricing.hook.unit`: what its answers are: `uactPerBlock` (default), millionths of a dollar for a block of 6.117 s, as
    /// scripts written for Akash answer, or `usdPerMonth`, dollars for 730 hours.
    pub unit: PriceUnit,
    /// `pricing.hook.timeout`: how long an answer may take. Default 2s. It is killed then, with what it started, and there is no
    /// bid.
    pub timeout: Duration,
    /// `pricing.hook.parallel`: how many are asked at once, from 3 on, because two may be for quotes: bids always have a
    /// place. Default 8.
    pub parallel: usize,
}

/// A program that names prices: one decimal number for a JSON document.
#[derive(Debug, Clone, PartialEq)]
pub enum HookProgram {
    /// `pricing.hook.exec`: a program's absolute path and its arguments, without a shell. The document is its standard input.
    Exec {
        /// The program.
        path: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
        /// `pricing.hook.env`: its environment, besides `PATH` (`/usr/local/bin:/usr/bin:/bin`), `BERTH_TENANT`, `BERTH_ORDER`
        /// and `BERTH_DENOM`, and the same as `AKASH_OWNER` and `AKASH_DENOM`. Default empty; nothing of ours is handed on.
        env: BTreeMap<String, String>,
    },
    /// `pricing.hook.url`: an address to which the document is posted. Credentials in it are sent to it alone and shown nowhere.
    Url(PrivateUrl),
}

/// A URL whose credentials, path and query nobody is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateUrl(Url);

impl PrivateUrl {
    /// The whole of it, for whoever calls it.
    pub(crate) fn reveal(&self) -> &Url {
        &self.0
    }

    /// Host and port: what may be shown.
    #[must_use]
    pub fn host(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

impl fmt::Debug for PrivateUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateUrl({}://{}/…)", self.0.scheme(), self.host())
    }
}

impl FromStr for PrivateUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url: Option<Url> = text.trim().parse().ok();
        url.filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some())
            .map(Self)
            .ok_or("not a URL with http or https and a host")
    }
}

/// Longer than this nobody waits for a price.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);

/// A currency is asked for no more often, and no less.
const REFRESH_BETWEEN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3600)];

impl Pricing {
    /// Reads a price table, or a configuration that has one under `pricing`; the environment is not looked at.
    ///
    /// # Errors
    /// One that lists everything that is wrong.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let written: Value = serde_yaml::from_str(text).context("it is not YAML")?;
        let table = written.get("pricing").cloned().unwrap_or(written);
        let text = serde_yaml::to_string(&Mapping::from_iter([("pricing".into(), table)]))?;
        let (problems, env) = (Problems::default(), |_: &str| None);
        let pricing = Self::read(&mut Section::root(&text, &env, &problems)?);
        match (problems.into_sentences(), pricing) {
            (sentences, Some(pricing)) if sentences.is_empty() => Ok(pricing),
            (sentences, _) => bail!("{}", sentences.join("; ")),
        }
    }

    /// What the table's currency is worth as far as the file itself says.
    #[must_use]
    pub fn written_fx(&self, now: u64) -> Option<Fx> {
        let sources = &self.fx.as_ref()?.sources;
        sources.iter().find_map(|source| match source {
            FxSource::Static(rate) => Some(Fx { rate: *rate, source: "static".to_owned(), at: now }),
            FxSource::Http { .. } | FxSource::ChainOracle(_) => None,
        })
    }

    pub(super) fn read(root: &mut Section<'_>) -> Option<Self> {
        let Some(mut pricing) = root.section_if_there("pricing") else {
            root.problem("pricing", "is missing: write a price table as in the example");
            return None;
        };
        let fx = match pricing.section_if_there("fx") {
            None => Some(None),
            Some(fx) => FxSources::read(fx).map(Some),
        };
        let hook = match pricing.section_if_there("hook") {
            None => Some(None),
            Some(hook) => Hook::read(hook).map(Some),
        };
        if let Some(Some((_, terms))) = &fx {
            pricing.put("fx", terms.clone());
        }
        // Read before anything is given up, so that all problems are found.
        let tariff = pricing.rest();
        Some(Self { tariff: tariff?, fx: fx?.map(|(sources, _)| sources), hook: hook? })
    }
}

impl FxSources {
    /// The sources, and what the table has to know of the currency.
    fn read(mut fx: Section<'_>) -> Option<(Self, Value)> {
        let currency = fx.text("currency", "the code of the table's currency, such as EUR");
        let refresh = fx.duration("refresh", Duration::from_secs(60));
        if refresh.is_some_and(|time| time < REFRESH_BETWEEN[0] || time > REFRESH_BETWEEN[1]) {
            fx.problem("refresh", "is not between 1s and 1h");
        }
        let max_staleness = fx.duration("maxStaleness", Duration::from_secs(900));
        if let (Some(refresh), Some(most)) = (refresh, max_staleness)
            && (most < refresh || most.as_secs() == 0)
        {
            fx.problem(
                "maxStaleness",
                "is shorter than refresh: every worth would be too old before the next",
            );
        }
        let max_change_percent = fx.or("maxChange", "a number of percent", 20);
        let on_stale = fx.or("onStale", "decline or useLast", "decline".to_owned());
        let written: Option<Vec<WrittenSource>> =
            fx.table("sources", "who tells the worth, as in the example");
        let sources: Option<Vec<FxSource>> =
            written.and_then(|written| written.into_iter().map(|source| source.read(&fx)).collect());
        if sources.as_ref().is_some_and(Vec::is_empty) {
            fx.problem("sources", "is empty: name at least one");
        }
        fx.finish();
        let (currency, max_staleness) = (currency?, max_staleness?);
        let mut terms = Mapping::new();
        terms.insert("currency".into(), currency.clone().into());
        terms.insert("maxStalenessSecs".into(), max_staleness.as_secs().into());
        terms.insert("onStale".into(), on_stale?.into());
        let max_change_percent = max_change_percent?;
        let sources =
            Self { currency, sources: sources?, refresh: refresh?, max_staleness, max_change_percent };
        Some((sources, Value::Mapping(terms)))
    }
}

/// A source as it is written: exactly one of these.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenSource {
    #[serde(rename = "static")]
    fixed: Option<FxRate>,
    http: Option<WrittenHttp>,
    chain_oracle: Option<WrittenOracle>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenHttp {
    url: String,
    pointer: String,
    time_pointer: Option<String>,
    timeout: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenOracle {
    address: Address,
}

impl WrittenSource {
    fn read(self, fx: &Section<'_>) -> Option<FxSource> {
        let wrong = |what: &str| {
            fx.problem("sources", what);
            None
        };
        match self {
            Self { fixed: Some(rate), http: None, chain_oracle: None } => Some(FxSource::Static(rate)),
            Self { fixed: None, http: None, chain_oracle: Some(WrittenOracle { address }) } => {
                Some(FxSource::ChainOracle(address))
            }
            Self { fixed: None, http: Some(http), chain_oracle: None } => {
                let WrittenHttp { url, pointer, time_pointer, timeout } = http;
                let timeout = timeout.map_or(Some(Duration::from_secs(3)), |text| parse_duration(&text));
                let timeout = timeout.filter(|timeout| !timeout.is_zero() && *timeout <= LONGEST_ANSWER);
                let pointers = [Some(&pointer), time_pointer.as_ref()];
                // The URL is not shown back: it may hold credentials.
                match (url.parse(), timeout) {
                    (Err(_), _) => wrong("has an http.url that is no URL with http or https and a host"),
                    (_, None) => wrong("has an http.timeout that is not between 1ms and 10s"),
                    _ if pointers.into_iter().flatten().any(|pointer| !pointer.starts_with('/')) => {
                        wrong("has a pointer that does not begin with a slash: write one such as /rates/USD")
                    }
                    (Ok(url), Some(timeout)) => Some(FxSource::Http { url, pointer, time_pointer, timeout }),
                }
            }
            _ => wrong("has an entry that is not one of static, http or chainOracle"),
        }
    }
}

impl Hook {
    fn read(mut hook: Section<'_>) -> Option<Self> {
        // The URL is not shown back: it may hold credentials.
        let url = hook.optional("url", "a URL such as http://127.0.0.1:8080/price").and_then(
            |url: Option<String>| {
                let url = url.map(|url| url.parse::<PrivateUrl>()).transpose();
                url.map_err(|problem| hook.problem("url", &format!("is {problem}"))).ok()
            },
        );
        let exec = hook.list::<String>("exec", "a program's absolute path and its arguments");
        let env: Option<BTreeMap<String, String>> = hook.table_or_default("env");
        let unit = hook.or("unit", "uactPerBlock or usdPerMonth", "uactPerBlock".to_owned());
        let unit = unit.and_then(|word| match word.as_str() {
            "uactPerBlock" => Some(PriceUnit::UactPerBlock),
            "usdPerMonth" => Some(PriceUnit::UsdPerMonth),
            _ => {
                hook.problem("unit", "is neither uactPerBlock nor usdPerMonth");
                None
            }
        });
        let timeout = hook.duration("timeout", Duration::from_secs(2));
        if timeout.is_some_and(|timeout| timeout.is_zero() || timeout > LONGEST_ANSWER) {
            hook.problem("timeout", "is not between 1ms and 10s");
        }
        let parallel = hook.or("parallel", "how many are asked at once", 8);
        if parallel.is_some_and(|parallel| !(3..=64).contains(&parallel)) {
            hook.problem(
                "parallel",
                "is not between 3 and 64: two may be for quotes, and bids need a place of their own",
            );
        }
        let program = Self::program(&hook, url?, exec?, env?);
        hook.finish();
        Some(Self { program: program?, unit: unit?, timeout: timeout?, parallel: parallel? })
    }

    fn program(
        hook: &Section<'_>,
        url: Option<PrivateUrl>,
        exec: Vec<String>,
        env: BTreeMap<String, String>,
    ) -> Option<HookProgram> {
        let mut exec = exec.into_iter();
        match (url, exec.next().map(PathBuf::from)) {
            (Some(url), None) if env.is_empty() => Some(HookProgram::Url(url)),
            (None, Some(path)) if path.is_absolute() => {
                Some(HookProgram::Exec { path, arguments: exec.collect(), env })
            }
            (None, Some(_)) => {
                hook.problem("exec", "begins with a path that is not absolute");
                None
            }
            (Some(_), None) => {
                hook.problem("env", "is for exec alone: leave it out beside url");
                None
            }
            (Some(_), Some(_)) => {
                hook.problem("exec", "stands beside pricing.hook.url: leave one of the two out");
                None
            }
            (None, None) => {
                hook.problem("exec", "is missing: write a program's absolute path, or pricing.hook.url");
                None
            }
        }
    }
}
