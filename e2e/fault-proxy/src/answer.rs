//! What an ill endpoint says in place of, or on top of, what the node says.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Bytes;
use futures::Stream;
use rlp::Rlp;
use serde_json::{Value, json};

use crate::{Fault, FaultProxy, head};

/// The most a gas and the most of a tip that was last offered for each nonce.
pub(crate) type Offers = BTreeMap<u64, (u128, u128)>;

/// A body that fails before its first byte.
pub(crate) struct Broken;

impl Stream for Broken {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(Some(Err(io::Error::other("the endpoint hangs up"))))
    }
}

/// An error of JSON-RPC as the answer to a question.
pub(crate) fn refusal(question: &Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": question["id"], "error": {"code": code, "message": message}})
}

pub(crate) fn number(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// The nonce of a signed transaction with fees of their own for block and tip, and what it offers at most for either.
fn offer(raw: &str) -> Option<(u64, (u128, u128))> {
    let bytes = hex::decode(raw.strip_prefix("0x02")?).ok()?;
    let fields = Rlp::new(&bytes);
    let (nonce, tip, fee) = (fields.val_at(1).ok()?, fields.val_at(2).ok()?, fields.val_at(3).ok()?);
    Some((nonce, (fee, tip)))
}

/// The answer that is given without asking the node, if the fault has one.
pub(crate) fn instead(proxy: &FaultProxy, fault: &Fault, question: &Value) -> Option<Value> {
    let (method, first) = (question["method"].as_str()?, &question["params"][0]);
    match fault {
        Fault::LimitExceeded => Some(refusal(question, -32005, "limit exceeded")),
        Fault::RangeLimit(most) if method == "eth_getLogs" => {
            let blocks = number(&first["toBlock"])?.checked_sub(number(&first["fromBlock"])?)? + 1;
            let words = format!("query exceeds max block range {most}");
            (blocks > *most).then(|| refusal(question, -32602, &words))
        }
        Fault::OtherChain(id) if method == "eth_chainId" => {
            Some(json!({"jsonrpc": "2.0", "id": question["id"], "result": format!("{id:#x}")}))
        }
        Fault::ReplacementRule if method == "eth_sendRawTransaction" => {
            let (nonce, offer) = offer(first.as_str()?)?;
            let mut state = proxy.state();
            let before = state.offers.get(&nonce).copied().filter(|before| *before != offer);
            let enough = |new: u128, old: u128| new >= old + old.div_ceil(10);
            if before.is_some_and(|(fee, tip)| !enough(offer.0, fee) || !enough(offer.1, tip)) {
                return Some(refusal(question, -32000, "replacement transaction underpriced"));
            }
            state.offers.insert(nonce, offer);
            None
        }
        _ => None,
    }
}

/// Changes what the node said.
pub(crate) async fn change(proxy: &FaultProxy, fault: &Fault, question: &Value, answer: &mut Value) {
    let method = question["method"].as_str().unwrap_or_default();
    match fault {
        Fault::EmptyLogs if method == "eth_getLogs" && answer["result"].is_array() => {
            answer["result"] = json!([]);
        }
        Fault::NothingHappens => match method {
            "eth_getLogs" | "eth_getBlockReceipts" if answer["result"].is_array() => {
                answer["result"] = json!([]);
            }
            "eth_getBlockByNumber" | "eth_getBlockByHash" if answer["result"].is_object() => {
                answer["result"]["logsBloom"] = json!(format!("0x{}", "0".repeat(512)));
            }
            _ => {}
        },
        Fault::AnswersAnother => answer["id"] = json!(question["id"].as_u64().unwrap_or(0) + 1),
        Fault::StaleHead(behind) => {
            let known = head(proxy).await.saturating_sub(*behind);
            let (first, full) = (&question["params"][0], &question["params"][1]);
            match method {
                "eth_blockNumber" => answer["result"] = json!(format!("{known:#x}")),
                "eth_getBlockByNumber" if first == "latest" => {
                    let params = json!([format!("{known:#x}"), full]);
                    *answer = proxy
                        .ask(&json!({"jsonrpc": "2.0", "id": question["id"], "method": method, "params": params}))
                        .await;
                }
                "eth_getBlockByNumber" | "eth_getBlockByHash" | "eth_getTransactionReceipt" => {
                    let of = &answer["result"];
                    let block = number(&of["number"]).or_else(|| number(&of["blockNumber"]));
                    if block.is_some_and(|block| block > known) {
                        answer["result"] = Value::Null;
                    }
                }
                _ => {}
            }
        }
        _ => {}
    }
}
