//! An endpoint of the chain that can be made ill on purpose: a relay of JSON-RPC in front of a node that is well.
//!
//! A test injects [`Fault`]s by the method they befall and how often, and reads back which calls came by. Everything is on
//! loopback and ends with the runtime of the test.

mod answer;
mod silence;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub use silence::Relay;

/// What befalls a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends without an answer; the node never hears of the call.
    Dropped,
    /// The connection stays open and nothing comes.
    HalfOpen,
    /// The node does what it is told, and the connection ends without an answer.
    ReplySwallowed,
    /// HTTP 429.
    TooManyRequests,
    /// The error of JSON-RPC by which hosts of nodes limit callers.
    LimitExceeded,
    /// Ranges of logs of more blocks than this are refused.
    RangeLimit(u64),
    /// Logs: none, whatever there is.
    EmptyLogs,
    /// Neither logs nor receipts, whatever there is, and blocks whose filters say so too.
    NothingHappens,
    /// The head that is told lies this many blocks below the node's, and what is above it is not known.
    StaleHead(u64),
    /// The chain is told to be another.
    OtherChain(u64),
    /// The answer breaks off.
    Truncated,
    /// The answer carries the number of another question, as in a batch whose answers are in another order.
    AnswersAnother,
    /// The answer takes so long.
    Slow(Duration),
    /// A transaction whose nonce was seen before is refused unless it offers a tenth more. Nonces are counted as one sender's.
    ReplacementRule,
}

/// A fault with whom it befalls.
#[derive(Debug, Clone)]
struct Injected {
    fault: Fault,
    /// The method; all if none.
    method: Option<String>,
    /// How many calls more.
    left: Option<u64>,
}

/// A relay that runs. Clones are the same relay.
#[derive(Debug, Clone)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    node: String,
    http: reqwest::Client,
    state: Mutex<Script>,
}

#[derive(Debug, Default)]
struct Script {
    injected: Vec<Injected>,
    calls: Vec<String>,
    /// What was last offered for each nonce, for [`Fault::ReplacementRule`].
    offers: answer::Offers,
}

impl FaultProxy {
    /// Starts a relay in front of the node at this URL.
    ///
    /// # Panics
    /// When loopback has no port left.
    pub async fn start(node: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of loopback");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Shared { node: node.to_owned(), http: reqwest::Client::new(), state: Mutex::default() };
        let proxy = Self { address, shared: Arc::new(shared) };
        let router = Router::new().route("/", post(relay)).with_state(proxy.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        proxy
    }

    /// Where it answers.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on this befalls every call, until [`FaultProxy::heal`].
    pub fn always(&self, fault: Fault) {
        self.inject(Injected { fault, method: None, left: None });
    }

    /// From now on this befalls every call of a method.
    pub fn on(&self, method: &str, fault: Fault) {
        self.inject(Injected { fault, method: Some(method.to_owned()), left: None });
    }

    /// This befalls the next `times` calls of a method.
    pub fn next(&self, times: u64, method: &str, fault: Fault) {
        self.inject(Injected { fault, method: Some(method.to_owned()), left: Some(times) });
    }

    /// Nothing befalls anybody any more.
    pub fn heal(&self) {
        self.state().injected.clear();
    }

    /// How many calls of a method came so far, answered or not.
    #[must_use]
    pub fn calls(&self, method: &str) -> usize {
        self.state().calls.iter().filter(|call| *call == method).count()
    }

    fn inject(&self, injected: Injected) {
        self.state().injected.push(injected);
    }

    /// Notes a call and takes what befalls it.
    fn befalls(&self, method: &str) -> Vec<Fault> {
        let mut state = self.state();
        state.calls.push(method.to_owned());
        let mut faults = Vec::new();
        for injected in &mut state.injected {
            let hits = injected.method.as_deref().is_none_or(|wanted| wanted == method);
            if hits && injected.left != Some(0) {
                injected.left = injected.left.map(|left| left - 1);
                faults.push(injected.fault.clone());
            }
        }
        faults
    }

    async fn ask(&self, question: &Value) -> Value {
        let answer = async {
            self.shared.http.post(&self.shared.node).json(question).send().await?.json::<Value>().await
        };
        match answer.await {
            Ok(answer) => answer,
            Err(error) => answer::refusal(question, -32603, &format!("the node is gone: {error}")),
        }
    }

    fn state(&self) -> MutexGuard<'_, Script> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn relay(State(proxy): State<FaultProxy>, body: Bytes) -> Response {
    let Ok(question) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let faults = proxy.befalls(question["method"].as_str().unwrap_or_default());
    for fault in &faults {
        match fault {
            Fault::Slow(time) => tokio::time::sleep(*time).await,
            Fault::Dropped => return hang_up(),
            Fault::HalfOpen => std::future::pending().await,
            Fault::TooManyRequests => return StatusCode::TOO_MANY_REQUESTS.into_response(),
            Fault::ReplySwallowed => {
                proxy.ask(&question).await;
                return hang_up();
            }
            _ => {}
        }
    }
    let instead = faults.iter().find_map(|fault| answer::instead(&proxy, fault, &question));
    let mut answer = match instead {
        Some(answer) => answer,
        None => proxy.ask(&question).await,
    };
    for fault in &faults {
        answer::change(&proxy, fault, &question, &mut answer).await;
    }
    let mut text = answer.to_string();
    if faults.contains(&Fault::Truncated) {
        text.truncate(text.len() / 2);
    }
    text.into_response()
}

/// Ends the connection in the middle of an answer.
fn hang_up() -> Response {
    let broken = axum::body::Body::from_stream(answer::Broken);
    Response::new(broken)
}

/// The head as the node has it.
async fn head(proxy: &FaultProxy) -> u64 {
    let question = json!({"jsonrpc": "2.0", "id": 0, "method": "eth_blockNumber", "params": []});
    answer::number(&proxy.ask(&question).await["result"]).unwrap_or(0)
}
