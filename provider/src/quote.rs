//! What would be answered to an order that was not posted: the same decision as the bidder's, on the same facts, and nothing
//! comes of it.

use bidengine::{Circumstances, decide};
use manifests::decision::{Decision, LineItem};
use manifests::group::spec_hash;
use manifests::money::Rate;
use manifests::order::{Hash, Order, OrderId, OrderKind};
use market::quote::{Quote, QuoteAnswer, QuoteRequest};
use tokio::sync::Semaphore;

use crate::bidder::{CapacitySource, Settings, Tally, seconds};
use crate::clock::Clock;
use crate::config::Bids;
use crate::pricing::Now;
use crate::store::{Identity, Store};

/// How many quotes are made at once: strangers may ask, the cluster is looked at anew for each, and the pricing program has
/// more places than these.
const AT_ONCE: usize = 2;

/// For how many seconds an order that is only asked about would stand.
const STANDS: u64 = 3600;

/// Makes quotes from what the bidder bids from.
pub struct Quoter {
    store: Store,
    source: Box<dyn CapacitySource>,
    settings: Settings,
    identity: Identity,
    clock: Clock,
    places: Semaphore,
}

/// Why there is no quote.
#[derive(Debug)]
pub enum NoQuote {
    /// Others are being made.
    Busy,
    /// What an order would be answered from is not known at the moment; the sentence says what.
    Blind(String),
    /// A fault of ours.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for NoQuote {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl Quoter {
    /// A quoter over this store and capacity, with the settings of the bidder.
    pub fn new(
        store: Store,
        source: impl CapacitySource + 'static,
        settings: Settings,
        identity: Identity,
        clock: Clock,
    ) -> Self {
        Self { store, source: Box::new(source), settings, identity, clock, places: Semaphore::new(AT_ONCE) }
    }

    /// What would be answered now.
    ///
    /// # Errors
    /// [`NoQuote`]. That an order would be declined is no error.
    pub async fn quote(&self, asked: &QuoteRequest) -> Result<Quote, NoQuote> {
        let _place = self.places.try_acquire().map_err(|_| NoQuote::Busy)?;
        let now = self.clock.now();
        let cursor = self.store.cursor().await?;
        let cursor =
            cursor.ok_or_else(|| NoQuote::Blind("no block of the chain was followed yet".to_owned()))?;
        if self.settings.freshness.lag(&cursor, now).is_stale() {
            return Err(NoQuote::Blind("the chain is not followed at the moment".to_owned()));
        }
        let promised = self.store.promised().await?;
        let capacity = self.source.free(&promised.rows);
        let capacity = capacity.ok_or_else(|| NoQuote::Blind("the cluster is not seen".to_owned()))?;
        // As the bidder counts: chain time, which may be ahead of our clock.
        let now = now.max(cursor.timestamp);
        let order = unposted(asked, now);
        let Settings { pricing, bids, .. } = &self.settings;
        let Now { terms, fx, means } = pricing.now();
        let maintenance = self.store.maintenance().await?.is_some();
        let tally = Tally::of(&promised.rows, &self.store.promised_rates().await?, maintenance);
        let books = tally.books(asked.tenant, means);
        let circumstances = Circumstances {
            books: &books,
            fx: fx.as_ref(),
            ..Circumstances::new(&capacity, &terms.tariff, &terms.policy, now)
        };
        let quoted = pricing.quoted(&terms, &order, &circumstances).await;
        let decision = decide(&order, &Circumstances { quoted: quoted.as_ref(), ..circumstances });
        let Identity { chain_id, market, provider } = self.identity;
        Ok(Quote {
            provider,
            market,
            chain_id,
            tenant: asked.tenant,
            spec_hash: order.spec_hash,
            made_at: now,
            answer: answer(decision, *bids),
        })
    }
}

/// The order that is asked about. It has no place on chain, so its number is nobody's.
pub(crate) fn unposted(asked: &QuoteRequest, now: u64) -> Order {
    let spec = asked.spec.clone().into_bytes();
    Order {
        id: OrderId { tenant: asked.tenant, dseq: 0, gseq: 0, oseq: 0 },
        class: Hash::default(),
        spec_hash: spec_hash(&spec),
        max_rate: asked.max_rate.unwrap_or(Rate::MAX),
        expires_at: now.saturating_add(STANDS),
        min_reclaim: asked.min_reclaim,
        req_bits: asked.req_bits,
        kind: OrderKind::Service,
        award: None,
        spec,
    }
}

/// The decision without what is only the provider's business: its nodes, its rules, its floor.
fn answer(decision: Decision, bids: Bids) -> QuoteAnswer {
    match decision {
        Decision::Bid { rate, floor: _, expires_at, items, placement, warnings } => QuoteAnswer::Bid {
            rate,
            items: items.into_iter().map(|item| LineItem { factors: Vec::new(), ..item }).collect(),
            gpus: placement.gpus().iter().map(|(pool, count)| format!("{count} × {pool}")).collect(),
            warnings,
            expires_at,
            reclaim: seconds(bids.reclaim),
            min_bill: seconds(bids.min_bill),
        },
        Decision::Decline { reason } => {
            QuoteAnswer::Declined { code: reason.code().to_owned(), why: reason.to_string() }
        }
    }
}
