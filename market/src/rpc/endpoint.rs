//! JSON-RPC over HTTP to one endpoint of the chain.
//!
//! Every call has a time limit, every answer is matched to its question, and every failure has a class, so that nobody above
//! mistakes an ill endpoint for a statement of the chain. Texts of the endpoint are cleaned before they go anywhere: some
//! nodes put raw bytes of a revert into them.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::{StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::RpcError;

/// How much of a foreign text is worth repeating.
const TEXT_LIMIT: usize = 300;

/// One endpoint. Debug shows what may be shown.
pub(crate) struct Endpoint {
    http: reqwest::Client,
    url: Url,
    /// Scheme, host and port: what may be shown, because paths of public endpoints hold keys.
    shown: String,
    next_id: AtomicU64,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.shown).finish()
    }
}

#[derive(Serialize)]
struct Question<'a> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: &'a RawValue,
}

#[derive(Deserialize)]
struct Answer<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<ErrorObject>,
}

#[derive(Deserialize)]
struct ErrorObject {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: serde_json::Value,
}

impl Endpoint {
    /// An endpoint at `url`, `http` or `https`. Nothing is sent yet.
    pub(super) fn new(url: &str) -> Result<Self, RpcError> {
        Self::trusting(url, None)
    }

    /// As [`Endpoint::new`], judged by these certificate authorities alone, if any are given.
    pub(crate) fn trusting(
        url: &str,
        authorities: Option<Vec<reqwest::Certificate>>,
    ) -> Result<Self, RpcError> {
        let fatal = |problem: &str| RpcError::Fatal {
            endpoint: "the RPC URL".to_owned(),
            problem: problem.to_owned(),
        };
        let url: Url = url
            .parse()
            .map_err(|_| fatal("it is not a URL; write it as http://host:port or https://host/path"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(fatal("only http:// and https:// endpoints are spoken to"));
        }
        let shown = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{}://{host}:{port}", url.scheme()),
            (host, _) => format!("{}://{}", url.scheme(), host.unwrap_or_default()),
        };
        crate::tls::install_provider();
        let mut http = reqwest::Client::builder().connect_timeout(Duration::from_secs(5)).tcp_nodelay(true);
        if let Some(authorities) = authorities {
            http = http.tls_certs_only(authorities);
        }
        let http =
            http.build().map_err(|error| fatal(&format!("no HTTP client could be made for it: {error}")))?;
        Ok(Self { http, url, shown, next_id: AtomicU64::new(1) })
    }

    /// Scheme, host and port of the endpoint.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Puts one question, and waits no longer than `limit` for the whole answer.
    pub(crate) async fn call<R: DeserializeOwned>(
        &self,
        method: &'static str,
        params: &RawValue,
        limit: Duration,
    ) -> Result<R, RpcError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let question = Question { jsonrpc: "2.0", id, method, params };
        let silent = |error: reqwest::Error| self.transient(method, causes(error.without_url()));
        let reply =
            self.http.post(self.url.clone()).timeout(limit).json(&question).send().await.map_err(silent)?;
        let status = reply.status();
        let body = reply.bytes().await.map_err(silent)?;
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) {
            return Err(RpcError::Fatal {
                endpoint: self.shown.clone(),
                problem: format!("it answers {status}; check the URL and its access key"),
            });
        }
        self.read(method, id, status, &body)
    }

    fn read<R: DeserializeOwned>(
        &self,
        method: &'static str,
        id: u64,
        status: StatusCode,
        body: &[u8],
    ) -> Result<R, RpcError> {
        // A JSON-RPC error may come under any HTTP status; only when there is none does the status speak.
        let answer: Answer<'_> = match serde_json::from_slice(body) {
            Ok(answer) => answer,
            Err(_) if !status.is_success() => return Err(self.transient(method, format!("HTTP {status}"))),
            Err(error) => return Err(self.transient(method, format!("it is not JSON-RPC: {error}"))),
        };
        if let Some(error) = answer.error {
            return Err(self.refusal(method, &error));
        }
        if !status.is_success() {
            return Err(self.transient(method, format!("HTTP {status}")));
        }
        if answer.id != Some(id) {
            return Err(self.transient(method, "it belongs to another question".to_owned()));
        }
        let result = answer.result.map_or("null", RawValue::get);
        serde_json::from_str(result)
            .map_err(|error| self.transient(method, format!("unexpected form: {error}")))
    }

    fn refusal(&self, method: &'static str, error: &ErrorObject) -> RpcError {
        let message = clean(&error.message);
        if let Some(data) = revert_data(error) {
            return RpcError::Reverted { data };
        }
        // Limits of the endpoint (-32005, -32016, 429 in words) and its own faults (-32603) are not about the call.
        let limited = matches!(error.code, -32005 | -32016 | 429) || error.message.contains("rate limit");
        if limited || error.code == -32603 {
            return self.transient(method, message);
        }
        RpcError::Refused { method, endpoint: self.shown.clone(), code: error.code, message }
    }

    fn transient(&self, method: &'static str, problem: String) -> RpcError {
        RpcError::Transient { method, endpoint: self.shown.clone(), problem }
    }
}

/// What the contract returned, if the error tells of a revert: as hex in `data`, or within an object there.
fn revert_data(error: &ErrorObject) -> Option<Vec<u8>> {
    let text = match &error.data {
        serde_json::Value::String(text) => Some(text.as_str()),
        serde_json::Value::Object(object) => object.get("data").and_then(serde_json::Value::as_str),
        _ => None,
    };
    let data = text.and_then(|text| text.strip_prefix("0x")).and_then(|digits| hex::decode(digits).ok());
    match data {
        Some(data) if error.code == 3 || !data.is_empty() => Some(data),
        _ if error.code == 3 || error.message.contains("execution reverted") => Some(Vec::new()),
        _ => None,
    }
}

/// A foreign text made fit for a log line: printable ASCII, one line, not endless.
pub(crate) fn clean(text: &str) -> String {
    let mut kept: String = text
        .chars()
        .take(TEXT_LIMIT)
        .map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' })
        .collect();
    if text.chars().nth(TEXT_LIMIT).is_some() {
        kept.push('…');
    }
    kept
}

/// An error and its causes in one line, since the outermost of an HTTP client says little.
pub(crate) fn causes(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let _ = write!(text, ": {cause}");
        next = cause.source();
    }
    clean(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint::new("http://user:pass@127.0.0.1:1/key-in-the-path").expect("a URL")
    }

    fn read(body: &str) -> Result<String, RpcError> {
        endpoint().read("eth_call", 7, StatusCode::OK, body.as_bytes())
    }

    #[test]
    fn an_answer_to_another_question_is_not_taken() {
        assert_eq!(read(r#"{"jsonrpc":"2.0","id":7,"result":"0x1"}"#).as_deref(), Ok("0x1"));
        let error = read(r#"{"jsonrpc":"2.0","id":8,"result":"0x1"}"#).expect_err("another id");
        assert!(error.is_transient(), "{error}");
    }

    #[test]
    fn garbled_answers_and_limits_are_transient_and_reverts_are_not() {
        for body in [
            r#"{"jsonrpc":"2.0","id":7,"res"#,
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32005,"message":"slow down"}}"#,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"oops"}}"#,
        ] {
            assert!(read(body).expect_err("no result").is_transient(), "{body}");
        }
        let reverted =
            read(r#"{"id":7,"error":{"code":3,"message":"execution reverted","data":"0x8baa579f"}}"#);
        assert_eq!(reverted, Err(RpcError::Reverted { data: vec![0x8b, 0xaa, 0x57, 0x9f] }));
        let bare = read(r#"{"id":7,"error":{"code":-32000,"message":"execution reverted"}}"#);
        assert_eq!(bare, Err(RpcError::Reverted { data: Vec::new() }));
    }

    #[test]
    fn foreign_texts_lose_their_binary_and_endpoints_their_keys() {
        let error = read(
            "{\"id\":7,\"error\":{\"code\":-32003,\"message\":\"custom error \\u0000\\u001b[31mé\\n\"}}",
        )
        .expect_err("an error");
        let text = error.to_string();
        assert!(text.contains("custom error ??[31m??"), "{text}");
        let shown = format!("{text} {:?}", endpoint());
        assert!(!shown.contains("key-in-the-path") && !shown.contains("pass"), "{shown}");
    }

    #[test]
    fn an_url_that_is_none_is_refused_with_the_form_that_is_wanted() {
        for wrong in ["", "localhost:8545", "ws://localhost:8545", "ipc:///tmp/a"] {
            let error = Endpoint::new(wrong).expect_err(wrong);
            assert!(error.to_string().contains("http://"), "{error}");
        }
    }
}
