//! A gateway for one test: TLS with a key of its own, the checks of the protocol, and answers that the test sets.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use manifests::order::{Address, Hash, OrderId};
use market::api::{
    Answer, ErrorBody, ErrorKind, Health, HealthStatus, LeaseState, LeaseStatus, NonceAnswer, OrderAnswer,
    PodStatus, ServiceStatus,
};
use market::auth::{Domain, Refusal, SignedRequest, Target, check};
use market::tls::spki_hash;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

type Answered = Response<String>;

/// What the gateway knows; the test reads and writes it.
#[derive(Default)]
pub(crate) struct Known {
    /// Nonces that were given out and not used.
    nonces: BTreeSet<Hash>,
    given: u8,
    /// The manifest that was sent, once it was.
    pub(crate) manifest: Option<Vec<u8>>,
    /// Requests that passed all checks.
    pub(crate) believed: Vec<String>,
    /// What it says of orders.
    pub(crate) decision: Option<Answer>,
    /// Refusals that were given.
    pub(crate) refused: Vec<&'static str>,
}

pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) spki: Hash,
    pub(crate) known: Arc<Mutex<Known>>,
}

pub(crate) const NOW: u64 = 1_800_000_000;

impl Gateway {
    /// Serves for the provider until the test ends.
    pub(crate) async fn start(provider: Address, domain: Domain) -> Self {
        market::tls::install_provider();
        let own = rcgen::generate_simple_self_signed(vec!["gateway".to_owned()]).expect("a certificate");
        let certificate: CertificateDer<'static> = own.cert.der().clone();
        let spki = spki_hash(&certificate).expect("a certificate");
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).expect("a key");
        let tls = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a key of this certificate");
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let known = Arc::new(Mutex::new(Known::default()));
        let shared = Arc::clone(&known);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, known) = (acceptor.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = hyper::service::service_fn(|request| {
                        let known = Arc::clone(&known);
                        async move { Ok::<_, Infallible>(answer(request, provider, domain, &known).await) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, spki, known }
    }

    pub(crate) fn uri(&self) -> String {
        format!("https://{}", self.address)
    }
}

async fn answer(
    request: Request<Incoming>,
    provider: Address,
    domain: Domain,
    known: &Mutex<Known>,
) -> Answered {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let mut chunks = http_body_chunks(body);
    let mut body = Vec::new();
    while let Some(chunk) = chunks.next().await {
        body.extend(chunk);
    }
    let mut known = known.lock().expect("no test panics here");
    if path == "/v1/nonce" {
        known.given += 1;
        let nonce = Hash([known.given; 32]);
        known.nonces.insert(nonce);
        return ok(&NonceAnswer { nonce, expires_at: NOW + 60, now: NOW });
    }
    let Some(lease) = path.split('/').nth(3).and_then(|word| word.parse::<OrderId>().ok()) else {
        return refuse(StatusCode::NOT_FOUND, ErrorKind::NotFound, None);
    };
    let path_and_query = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let target = Target { provider, lease, method: parts.method.as_str(), path_and_query, body: &body };
    let header = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
    let believed = header.ok_or(Refusal::Missing).and_then(SignedRequest::from_header).and_then(|signed| {
        check(&signed, domain, &target, NOW)?;
        if known.nonces.remove(&signed.request.nonce) { Ok(()) } else { Err(Refusal::UnknownNonce) }
    });
    if let Err(refusal) = believed {
        known.refused.push(refusal.code());
        return refuse(StatusCode::UNAUTHORIZED, ErrorKind::Unauthorized, Some(refusal));
    }
    known.believed.push(format!("{} {}", parts.method, path.rsplit('/').next().unwrap_or("")));
    match (parts.method.as_str(), path.rsplit('/').next()) {
        ("PUT", Some("manifest")) => {
            known.manifest = Some(body);
            Response::builder().status(204).body(String::new()).expect("an answer")
        }
        ("GET", Some("logs")) => Response::new("web/web-1 hello\nweb/web-1 \u{1b}[31mworld\n".to_owned()),
        ("GET", Some("decision")) => match &known.decision {
            Some(answer) => ok(&OrderAnswer { order: lease, answer: answer.clone() }),
            None => refuse(StatusCode::NOT_FOUND, ErrorKind::LeaseUnknown, None),
        },
        _ => ok(&status(lease, known.manifest.is_some())),
    }
}

fn status(lease: OrderId, up: bool) -> LeaseStatus {
    let pod = PodStatus {
        name: "web-1".to_owned(),
        ready: up,
        state: "running".to_owned(),
        restarts: 0,
        last_exit: None,
        gpus: vec!["GPU-1234".to_owned()],
    };
    let service = ServiceStatus {
        name: "web".to_owned(),
        ready: u32::from(up),
        wanted: 1,
        pods: vec![pod],
        urls: vec!["http://hello.example.test".to_owned()],
        ports: Vec::new(),
    };
    LeaseStatus {
        lease,
        state: if up { LeaseState::Ready } else { LeaseState::AwaitingManifest },
        rate: manifests::money::Rate::ZERO,
        health: HealthStatus { health: Health::Healthy, since: NOW, why: None },
        services: vec![service],
        notes: Vec::new(),
    }
}

fn ok(value: &impl serde::Serialize) -> Answered {
    Response::new(serde_json::to_string(value).expect("json"))
}

fn refuse(status: StatusCode, kind: ErrorKind, refusal: Option<Refusal>) -> Answered {
    let reason = refusal.map(|refusal| refusal.code().to_owned());
    let message = refusal.map_or_else(|| json!(kind).to_string(), |refusal| refusal.to_string());
    let body = serde_json::to_string(&ErrorBody { kind, reason, message }).expect("json");
    Response::builder().status(status).body(body).expect("an answer")
}

/// The data frames of a body.
pub(crate) fn http_body_chunks(body: Incoming) -> impl futures::Stream<Item = Bytes> + Unpin {
    Box::pin(futures::stream::unfold(body, |mut body| async move {
        use hyper::body::Body as _;
        let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await?;
        let data = frame.ok()?.into_data().unwrap_or_default();
        Some((data, body))
    }))
}
