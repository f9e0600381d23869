//! JSON-RPC to the chain, through one endpoint or several.
//!
//! With several, each question goes to the best of them and, when that one gives no usable answer, to the next. What a contract
//! says, and what every endpoint refuses, is an answer; what only one endpoint does not know is not. A decision that compares
//! two answers must take both from one endpoint (`Rpc::each`): two of them need not have seen the same blocks.

mod endpoint;
mod health;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(crate) use self::endpoint::{Endpoint, causes, clean};

use self::health::{Health, order};
use crate::observe::{Ended, Observe, Resync};

/// How long one call may take where nobody else can be asked, connection included.
const CALL_LIMIT: Duration = Duration::from_secs(20);

/// How long one call may take while others can be asked.
const LIMIT_WITH_OTHERS: Duration = Duration::from_secs(5);

/// To how many endpoints a transaction is given.
const TAKERS: usize = 2;

/// After so long without a higher head the other endpoints are asked for theirs.
const STALE: Duration = Duration::from_secs(5);

/// Why a call to the chain's endpoint brought no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    /// The endpoint gave no usable answer: unreachable, overloaded, too slow or garbled. Says nothing about the chain; the
    /// same call may work in a moment or elsewhere.
    #[error("{method} at {endpoint} got no answer: {problem}")]
    Transient {
        /// The JSON-RPC method.
        method: &'static str,
        /// Scheme, host and port of the endpoint, without path or credentials.
        endpoint: String,
        /// What happened.
        problem: String,
    },
    /// A contract refused the call.
    #[error("the contract refused the call")]
    Reverted {
        /// What it returned; empty if it gave no reason.
        data: Vec<u8>,
    },
    /// The endpoint understood the call and refused it.
    #[error("{method} was refused by {endpoint}: {message} (code {code})")]
    Refused {
        /// The JSON-RPC method.
        method: &'static str,
        /// Scheme, host and port of the endpoint.
        endpoint: String,
        /// The error code of JSON-RPC.
        code: i64,
        /// The endpoint's words, cleaned.
        message: String,
    },
    /// The endpoint can never answer us: a wrong address, or access denied.
    #[error("{endpoint} cannot be used: {problem}")]
    Fatal {
        /// Scheme, host and port of the endpoint, or what was given instead.
        endpoint: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl RpcError {
    /// Whether the same call may succeed later or elsewhere.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transient { .. })
    }

    /// Of two endpoints' failures the one that weighs more; the earlier of equals.
    fn or_weightier(self, earlier: Option<Self>, weight: fn(&Self) -> u8) -> Self {
        match earlier {
            Some(earlier) if weight(&earlier) >= weight(&self) => earlier,
            _ => self,
        }
    }

    /// Of a question: a judgement says more than silence, and silence, which passes, more than a door that is shut.
    fn weight_of_answer(&self) -> u8 {
        match self {
            Self::Fatal { .. } => 0,
            Self::Transient { .. } => 1,
            Self::Reverted { .. } | Self::Refused { .. } => 2,
        }
    }

    /// Of a transaction: who gave no answer may have taken it, whatever others judged.
    fn weight_of_doubt(&self) -> u8 {
        match self {
            Self::Fatal { .. } => 0,
            Self::Reverted { .. } | Self::Refused { .. } => 1,
            Self::Transient { .. } => 2,
        }
    }
}

/// The endpoints of one chain. Cheap to clone; clones share connections and what is known of the endpoints.
#[derive(Debug, Clone)]
pub struct Rpc {
    pool: Arc<Pool>,
    /// Which of the pool this handle asks; empty for all.
    only: Option<usize>,
}

#[derive(Debug)]
struct Pool {
    endpoints: Vec<Endpoint>,
    state: Mutex<State>,
    /// Who hears of every question; nobody at first.
    observer: OnceLock<Arc<dyn Observe>>,
}

#[derive(Debug, Clone, Default)]
struct State {
    /// In the order of the endpoints.
    health: Vec<Health>,
    /// Which endpoints were seen to serve the chain that is wanted; asked again after every failure.
    checked: Vec<bool>,
    /// The chain that is wanted, once it is known.
    chain_id: Option<u64>,
    /// The highest head that any endpoint told, and since when it is known.
    highest: Option<(u64, Instant)>,
}

impl Rpc {
    /// Endpoints at these URLs, `http` or `https`, with commas or spaces between them. Nothing is sent yet.
    ///
    /// # Errors
    /// [`RpcError::Fatal`] if a text is no such URL, or there is none.
    pub fn new(urls: &str) -> Result<Self, RpcError> {
        let mut texts: Vec<&str> = urls.split([',', ' ']).filter(|text| !text.is_empty()).collect();
        if texts.is_empty() {
            // Says what is wanted.
            texts.push(urls);
        }
        let endpoints = texts.into_iter().map(Endpoint::new).collect::<Result<Vec<_>, _>>()?;
        let count = endpoints.len();
        let health = vec![Health::default(); count];
        let state = State { health, checked: vec![false; count], ..State::default() };
        let pool = Pool { endpoints, state: Mutex::new(state), observer: OnceLock::new() };
        Ok(Self { pool: Arc::new(pool), only: None })
    }

    /// Scheme, host and port of the endpoints.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let shown: Vec<&str> =
            self.places().into_iter().map(|place| self.pool.endpoints[place].shown()).collect();
        shown.join(", ")
    }

    /// Every endpoint as it may be shown, and whether it gave the last answer it was asked for.
    pub(crate) fn endpoints(&self) -> Vec<(String, bool)> {
        let state = self.state();
        let shown = self.pool.endpoints.iter().map(|endpoint| endpoint.shown().to_owned());
        shown.zip(state.health.iter().map(|health| health.is_well())).collect()
    }

    /// From now on every question is told to the observer; the first one stays.
    pub(crate) fn tell(&self, observer: Arc<dyn Observe>) {
        // Whoever listens already goes on.
        let _ = self.pool.observer.set(observer);
    }

    pub(crate) fn resynced(&self, how: Resync) {
        if let Some(observer) = self.pool.observer.get() {
            observer.resynced(how);
        }
    }

    /// A handle for each endpoint by itself, the best first.
    pub(crate) fn each(&self) -> Vec<Self> {
        let places = self.places();
        places.into_iter().map(|place| Self { pool: Arc::clone(&self.pool), only: Some(place) }).collect()
    }

    /// From now on no endpoint is asked anything before it said that it serves this chain.
    pub(crate) fn want_chain(&self, chain_id: u64) {
        self.state().chain_id = Some(chain_id);
    }

    /// Notes the head that this handle's endpoint tells, and answers whether any endpoint told of one as high within the last
    /// seconds. If not, others may know better.
    pub(crate) fn note_head(&self, number: u64) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(place) = self.only {
            state.health[place].told_head(number);
        }
        match state.highest {
            Some((highest, since)) if number <= highest => number == highest && now - since < STALE,
            _ => {
                state.highest = Some((number, now));
                true
            }
        }
    }

    /// Asks the best endpoint and, as long as there is no usable answer, the next.
    pub(crate) async fn call<P: Serialize, R: DeserializeOwned>(
        &self,
        method: &'static str,
        params: P,
    ) -> Result<R, RpcError> {
        let params = raw(&params);
        let mut failure: Option<RpcError> = None;
        let mut places = self.places().into_iter().peekable();
        while let Some(place) = places.next() {
            let others = places.peek().is_some() || (self.only.is_some() && self.pool.endpoints.len() > 1);
            let limit = if others { LIMIT_WITH_OTHERS } else { CALL_LIMIT };
            match self.ask(place, method, &params, limit).await {
                Ok(answer) => return Ok(answer),
                Err(error @ RpcError::Reverted { .. }) => return Err(error),
                Err(error) => failure = Some(error.or_weightier(failure, RpcError::weight_of_answer)),
            }
        }
        Err(failure.unwrap_or_else(|| unreachable!("there is at least one endpoint")))
    }

    /// Gives a transaction to the two best endpoints at once. It is taken when one takes it; and unless every endpoint that was
    /// asked judged it, nobody knows whether it travels.
    pub(crate) async fn give<P, R>(&self, method: &'static str, params: P) -> Result<R, RpcError>
    where
        P: Serialize,
        R: DeserializeOwned + Send + 'static,
    {
        let params: Arc<RawValue> = raw(&params).into();
        let mut takers: JoinSet<Result<R, RpcError>> = JoinSet::new();
        for place in self.takers() {
            let (rpc, params) = (self.clone(), Arc::clone(&params));
            takers.spawn(async move { rpc.ask(place, method, &params, CALL_LIMIT).await });
        }
        let mut failure: Option<RpcError> = None;
        while let Some(outcome) = takers.join_next().await {
            match outcome {
                Ok(Ok(taken)) => {
                    // The other endpoint is told all the same.
                    takers.detach_all();
                    return Ok(taken);
                }
                Ok(Err(error)) => failure = Some(error.or_weightier(failure, RpcError::weight_of_doubt)),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        Err(failure.unwrap_or_else(|| unreachable!("there is at least one endpoint")))
    }

    /// Puts one question to one endpoint, which must serve the right chain, and remembers how it answered.
    async fn ask<R: DeserializeOwned>(
        &self,
        place: usize,
        method: &'static str,
        params: &RawValue,
        limit: Duration,
    ) -> Result<R, RpcError> {
        self.check_chain(place, limit).await?;
        let start = Instant::now();
        let answer = self.pool.endpoints[place].call(method, params, limit).await;
        self.note(place, start, answer.as_ref().err());
        if let Some(observer) = self.pool.observer.get() {
            let took = start.elapsed();
            observer.asked(method, Ended::of(answer.as_ref().err(), took, limit), took);
        }
        answer
    }

    async fn check_chain(&self, place: usize, limit: Duration) -> Result<(), RpcError> {
        let (want, checked) = {
            let mut state = self.state();
            if state.health[place].comes_back(Instant::now()) {
                // Behind one name there may be another node now.
                state.checked[place] = false;
            }
            (state.chain_id, state.checked[place])
        };
        let Some(want) = want.filter(|_| !checked) else { return Ok(()) };
        let (endpoint, start) = (&self.pool.endpoints[place], Instant::now());
        let have = endpoint.call::<ethers_core::types::U256>("eth_chainId", &raw(&json!([])), limit).await;
        let outcome = have.and_then(|have| {
            if have == want.into() {
                return Ok(());
            }
            Err(RpcError::Fatal {
                endpoint: endpoint.shown().to_owned(),
                problem: format!("it is on chain {have}, but chain {want} is wanted; check its URL"),
            })
        });
        self.note(place, start, outcome.as_ref().err());
        self.state().checked[place] = outcome.is_ok();
        outcome
    }

    fn note(&self, place: usize, start: Instant, error: Option<&RpcError>) {
        let now = Instant::now();
        let health = &mut self.state().health[place];
        match error {
            Some(RpcError::Transient { .. } | RpcError::Fatal { .. }) => health.failed(now),
            _ => health.answered(now - start),
        }
    }

    /// The endpoints that this handle asks, the best first.
    fn places(&self) -> Vec<usize> {
        match self.only {
            Some(place) => vec![place],
            None => order(&self.state().health, Instant::now()),
        }
    }

    /// The endpoints that a transaction is given to: those that rest are left out while another is well.
    fn takers(&self) -> Vec<usize> {
        let (mut places, now) = (self.places(), Instant::now());
        let state = self.state();
        let best = places[0];
        places.retain(|place| *place == best || !state.health[*place].rests(now));
        places.truncate(TAKERS);
        places
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.pool.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn raw(params: &impl Serialize) -> Box<RawValue> {
    to_raw_value(params).expect("parameters are made of texts, numbers and lists")
}
