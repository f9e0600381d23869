//! A signing service for one test: web3signer's JSON-RPC, as strict about requests as it is, with a key that the test knows,
//! and answers that are wrong in the ways that a test asks for.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ethers_core::types::transaction::eip712::{Eip712 as _, TypedData};
use ethers_core::types::transaction::eip2718::TypedTransaction;
use ethers_core::types::{Bytes, Eip1559TransactionRequest, H160, H256, Signature, U256};
use ethers_signers::{LocalWallet, Signer as _};
use futures::StreamExt as _;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use manifests::order::Address;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// How the service answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Honest,
    /// This many answers are HTTP 500, what follows is honest.
    FailsFirst(u32),
    OtherNonce,
    HigherFee,
    HigherTip,
    MoreGas,
    OtherAddress,
    SomeValue,
    OtherData,
    OtherChain,
    OtherKey,
    HighS,
    MoreBytes,
    OldType,
    Truncated,
    NoHex,
    Silent,
    Denies,
}

pub(crate) struct Web3Signer {
    pub(crate) url: String,
    pub(crate) state: Arc<Mutex<State>>,
}

pub(crate) struct State {
    key: LocalWallet,
    chain_id: u64,
    pub(crate) mood: Mood,
    /// Methods that were asked, and the credentials that came with them.
    pub(crate) asked: Vec<(String, Option<String>)>,
}

impl Web3Signer {
    /// Serves the key until the test ends, over TLS if an acceptor is given.
    pub(crate) async fn start(key: &str, chain_id: u64, tls: Option<TlsAcceptor>) -> Self {
        market::tls::install_provider();
        let key: LocalWallet = key.parse().expect("a key");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(Mutex::new(State { key, chain_id, mood: Mood::Honest, asked: Vec::new() }));
        let (shared, scheme) = (Arc::clone(&state), if tls.is_some() { "https" } else { "http" });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, state) = (tls.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, state).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, state).await;
                            }
                        }
                    }
                });
            }
        });
        Self { url: format!("{scheme}://{address}"), state }
    }

    pub(crate) fn address(&self) -> Address {
        Address(self.state.lock().expect("no panic").key.address().0)
    }

    pub(crate) fn is(&self, mood: Mood) {
        self.state.lock().expect("no panic").mood = mood;
    }

    pub(crate) fn asked(&self, method: &str) -> usize {
        self.state.lock().expect("no panic").asked.iter().filter(|(asked, _)| asked == method).count()
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, state: Arc<Mutex<State>>) {
    let service = hyper::service::service_fn(|request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(answer(request, &state).await) }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<hyper::body::Incoming>, state: &Mutex<State>) -> Response<String> {
    assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/"));
    assert_eq!(request.headers()["content-type"], "application/json");
    let credentials =
        request.headers().get("authorization").map(|value| value.to_str().expect("text").to_owned());
    let mut chunks = crate::gateway::http_body_chunks(request.into_body());
    let mut body = Vec::new();
    while let Some(chunk) = chunks.next().await {
        body.extend(chunk);
    }
    let question: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(question["jsonrpc"], "2.0");
    let method = question["method"].as_str().expect("a method").to_owned();
    let (mood, result) = {
        let mut state = state.lock().expect("no panic");
        state.asked.push((method.clone(), credentials));
        let result = match method.as_str() {
            "eth_accounts" => Ok(json!([Address(state.key.address().0)])),
            "eth_signTransaction" => state.sign_transaction(&question["params"]),
            "eth_signTypedData" => state.sign_typed_data(&question["params"]),
            other => panic!("web3signer has no {other}"),
        };
        let mood = state.mood;
        if let Mood::FailsFirst(times) = mood {
            state.mood = if times > 1 { Mood::FailsFirst(times - 1) } else { Mood::Honest };
        }
        (mood, result)
    };
    let text = match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": question["id"], "result": result}).to_string(),
        Err(message) => {
            json!({"jsonrpc": "2.0", "id": question["id"], "error": {"code": -32000, "message": message}})
                .to_string()
        }
    };
    match mood {
        Mood::FailsFirst(_) => Response::builder().status(500).body(String::new()).expect("an answer"),
        Mood::Truncated => Response::new(text[..text.len() / 2].to_owned()),
        Mood::Silent => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Response::new(text)
        }
        _ => Response::new(text),
    }
}

/// A number as the protocol writes it: hex without leading zeros.
fn quantity(params: &Value, name: &str) -> U256 {
    let text = params[name].as_str().unwrap_or_else(|| panic!("{name} is missing in {params}"));
    let digits = text.strip_prefix("0x").unwrap_or_else(|| panic!("{name} has no 0x"));
    assert!(digits == "0" || !digits.starts_with('0'), "{name} has leading zeros: {text}");
    U256::from_str_radix(digits, 16).expect("hex")
}

impl State {
    fn sign_transaction(&self, params: &Value) -> Result<Value, String> {
        let [params] = params.as_array().expect("a list").as_slice() else {
            panic!("not one parameter: {params}")
        };
        let from: Address = params["from"].as_str().expect("from").parse().expect("an address");
        if from.0 != self.key.address().0 || self.mood == Mood::Denies {
            return Err("Signing from is not an unlocked account".to_owned());
        }
        assert!(params.get("gasPrice").is_none(), "a price and a highest fee");
        let data: Bytes = params["data"].as_str().expect("data").parse().expect("hex");
        let mut asked = Eip1559TransactionRequest::new()
            .nonce(quantity(params, "nonce"))
            .gas(quantity(params, "gas"))
            .value(quantity(params, "value"))
            .max_fee_per_gas(quantity(params, "maxFeePerGas"))
            .max_priority_fee_per_gas(quantity(params, "maxPriorityFeePerGas"))
            .data(data)
            // As web3signer does, its own, whatever was asked.
            .chain_id(self.chain_id);
        if let Some(to) = params.get("to") {
            asked = asked.to(to.as_str().expect("to").parse::<H160>().expect("an address"));
        }
        let one = U256::one();
        match self.mood {
            Mood::OtherNonce => asked.nonce = asked.nonce.map(|nonce| nonce + one),
            Mood::HigherFee => asked.max_fee_per_gas = asked.max_fee_per_gas.map(|fee| fee + one),
            Mood::HigherTip => {
                asked.max_priority_fee_per_gas = asked.max_priority_fee_per_gas.map(|tip| tip + one);
            }
            Mood::MoreGas => asked.gas = asked.gas.map(|gas| gas + one),
            Mood::OtherAddress => asked = asked.to(H160([0xee; 20])),
            Mood::SomeValue => asked = asked.value(1),
            Mood::OtherData => asked = asked.data(vec![1, 2, 3, 4]),
            Mood::OtherChain => asked = asked.chain_id(1),
            _ => {}
        }
        if self.mood == Mood::OldType {
            let old = TypedTransaction::Legacy(ethers_core::types::TransactionRequest {
                to: asked.to.clone(),
                gas: asked.gas,
                gas_price: asked.max_fee_per_gas,
                value: asked.value,
                data: asked.data.clone(),
                nonce: asked.nonce,
                chain_id: asked.chain_id,
                ..Default::default()
            });
            let signature = self.key.sign_transaction_sync(&old).expect("signed");
            return Ok(json!(old.rlp_signed(&signature)));
        }
        let asked = TypedTransaction::Eip1559(asked);
        let mut signature = self.sign(asked.sighash());
        signature.v -= 27;
        let mut raw = asked.rlp_signed(&signature).to_vec();
        match self.mood {
            Mood::MoreBytes => raw.push(0),
            Mood::NoHex => return Ok(json!("signed")),
            _ => {}
        }
        Ok(json!(Bytes::from(raw)))
    }

    fn sign_typed_data(&self, params: &Value) -> Result<Value, String> {
        let [account, document] = params.as_array().expect("a list").as_slice() else {
            panic!("not two parameters: {params}")
        };
        let account: Address = account.as_str().expect("text").parse().expect("an address");
        if account.0 != self.key.address().0 || self.mood == Mood::Denies {
            return Err("Signing from is not an unlocked account".to_owned());
        }
        let document = document.as_str().expect("the document is a text");
        let document: TypedData = serde_json::from_str(document).expect("typed data");
        let mut digest = document.encode_eip712().expect("a digest");
        if self.mood == Mood::OtherData {
            digest[0] ^= 1;
        }
        Ok(json!(format!("0x{}", self.sign(H256(digest)))))
    }

    fn sign(&self, digest: H256) -> Signature {
        let other: LocalWallet = "1".repeat(64).parse().expect("a key");
        let key = if self.mood == Mood::OtherKey { &other } else { &self.key };
        let mut signature = key.sign_hash(digest).expect("signed");
        if self.mood == Mood::HighS {
            let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
            signature.s = U256::from_str_radix(order, 16).expect("a number") - signature.s;
            signature.v = 55 - signature.v;
        }
        signature
    }
}
