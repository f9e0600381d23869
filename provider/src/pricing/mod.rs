//! What bids are priced by now: the table and the policy as the configuration file has them, what the table's currency is
//! worth, and what the operator's own program says.
//!
//! Everybody who decides takes the terms once, decides by them, and stores them with the decision: a file that changes in
//! between changes the next decision. Nothing here is ever guessed: what is not known, or could not be asked, is said so and
//! declines the order.

pub mod fx;
pub mod hook;
pub mod means;
pub mod reload;

pub use self::means::Means;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use bidengine::{Circumstances, Fx, Policy, Quoted, Tariff};
use manifests::order::Order;
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::config::{self, Config};
use crate::metrics::Metrics;
use crate::task::Turn;

/// What bids are priced by; clones share it.
#[derive(Debug, Clone)]
pub struct Pricing {
    now: Arc<Mutex<Now>>,
    http: Arc<Mutex<Option<reqwest::Client>>>,
    metrics: Metrics,
}

/// What bids are priced by at one moment; decide by one of these from beginning to end.
#[derive(Debug, Clone)]
pub struct Now {
    /// What the configuration file says.
    pub terms: Arc<Terms>,
    /// What the tariff's currency is worth, as it was told last.
    pub fx: Option<Fx>,
    /// What the provider has, as far as its policy asks for a least of it.
    pub means: Means,
}

/// What the configuration file says of prices and of whom the provider serves, read at one time.
#[derive(Debug)]
pub struct Terms {
    /// What things cost.
    pub tariff: Tariff,
    /// Whom the provider serves.
    pub policy: Policy,
    /// Who tells what the tariff's currency is worth.
    pub(crate) fx: Option<config::FxSources>,
    hook: Option<hook::Hook>,
}

impl Terms {
    /// A table and a policy, and nobody is asked besides.
    #[must_use]
    pub fn new(tariff: Tariff, policy: Policy) -> Self {
        Self { tariff, policy, fx: None, hook: None }
    }

    /// The currency of the table, when it is not the dollar.
    #[must_use]
    pub fn currency(&self) -> Option<&str> {
        self.tariff.currency()
    }

    /// What a configuration says.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let config::Pricing { tariff, fx, hook } = config.pricing.clone();
        let hook = hook.map(|settings| {
            let places = Semaphore::new(settings.parallel);
            hook::Hook { settings, places }
        });
        Self { tariff, policy: config.policy.clone(), fx, hook }
    }
}

impl Pricing {
    /// Prices by these terms until they change.
    #[must_use]
    pub fn new(terms: Terms, metrics: Metrics) -> Self {
        let now = Now { terms: Arc::new(terms), fx: None, means: Means::default() };
        Self { now: Arc::new(Mutex::new(now)), http: Arc::default(), metrics }
    }

    /// Prices by a configuration as it is, with the worth of its currency asked for once: for verbs that do not run on.
    ///
    /// # Errors
    /// When the chain is to be asked and cannot be reached.
    pub async fn look(config: &Config) -> anyhow::Result<Self> {
        let pricing = Self::new(Terms::of(config), Metrics::new()?);
        let sources = config.pricing.fx.iter().flat_map(|fx| &fx.sources);
        let chain = match sources.into_iter().any(|source| matches!(source, config::FxSource::ChainOracle(_)))
        {
            true => Some(crate::run::reach_chain(config).await?),
            false => None,
        };
        fx::Feed::new(pricing.clone(), chain, Clock::default()).turn().await?;
        Ok(pricing)
    }

    /// What counts now.
    #[must_use]
    pub fn now(&self) -> Now {
        self.held().clone()
    }

    /// What the configuration file says now.
    #[must_use]
    pub fn terms(&self) -> Arc<Terms> {
        self.now().terms
    }

    /// Prices by other terms from now on, and by this worth of their currency where it is another than before.
    pub fn change(&self, terms: Terms, fx: Option<Fx>) {
        let mut now = self.held();
        if terms.currency() != now.terms.currency() {
            now.fx = fx;
        }
        now.terms = Arc::new(terms);
    }

    /// Keeps a worth that was told for a currency, unless prices are in another by now.
    fn keep(&self, currency: &str, told: &Fx) {
        let mut now = self.held();
        if now.terms.currency() == Some(currency) {
            now.fx = Some(told.clone());
        }
    }

    /// Keeps what the provider has; says whether that is news.
    fn has(&self, means: Means) -> bool {
        std::mem::replace(&mut self.held().means, means) != means
    }

    fn held(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the operator's program asks for an order, if there is one and the order is not declined whatever its price.
    pub async fn quoted(
        &self,
        terms: &Terms,
        order: &Order,
        circumstances: &Circumstances<'_>,
    ) -> Option<Quoted> {
        let hook = terms.hook.as_ref()?;
        let question = bidengine::question(order, circumstances, hook.settings.unit).ok()?;
        let asked = hook.ask(order, &question, || self.http()).await;
        Some(hook::told(asked, hook.settings.unit, &self.metrics))
    }

    /// The client that everybody is asked with. It is made when it is first needed.
    fn http(&self) -> anyhow::Result<reqwest::Client> {
        let mut kept = self.http.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(http) = &*kept {
            return Ok(http.clone());
        }
        market::tls::install_provider();
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(reqwest::Error::without_url)
            .context("no HTTP client could be made")?;
        *kept = Some(http.clone());
        Ok(http)
    }
}

/// The body of an answer up to so many bytes; `None` if it is longer or ends in an error.
async fn body_up_to(mut answer: reqwest::Response, most: usize) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.ok()? {
        body.extend_from_slice(&part);
        if body.len() > most {
            return None;
        }
    }
    Some(body)
}
