//! Connections: accepted up to a limit, secured within a deadline, served as HTTP/1.1, and ended gently.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::lifecycle::Stop;

/// What a listener allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; more wait in the listener's queue.
    pub connections: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the head of a request, and for the rest between two requests.
    pub head: Duration,
    /// Bytes of a request's head.
    pub head_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(20),
            head_bytes: 32 << 10,
        }
    }
}

/// Binds a listener.
///
/// # Errors
/// When the address cannot be had: one sentence that names it.
pub async fn bind(address: SocketAddr, what: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| match address.port() {
        0 => format!("failed to listen on {address} for the {what}"),
        _ => format!("failed to listen on {address} for the {what}: choose a free address of this machine, or stop what uses it"),
    })
}

/// Serves until asked to stop; requests in hand are finished, streams are told to end by their own handlers.
///
/// # Errors
/// When the listener breaks for good.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
    stop: Stop,
) -> anyhow::Result<()> {
    let places = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
            accept(&listener).await.map(|stream| (place, stream))
        };
        let (place, (stream, peer)) = tokio::select! {
            accepted = accepted => accepted?,
            () = stop.taking() => break,
        };
        let (tls, router, stop) = (tls.clone(), router.clone(), stop.clone());
        connections.spawn(async move {
            // Strangers end connections in every way there is; that is their affair and no news.
            let result = connection(stream, peer, tls, router, limits, stop).await;
            tracing::trace!(%peer, error = result.err().map(|error| format!("{error:#}")), "a connection ended");
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    tokio::select! {
        () = connections.wait() => {}
        () = stop.now() => {}
    }
    Ok(())
}

/// The next connection. Faults of one peer and a lack of file descriptors pass; the rest is the listener's end.
async fn accept(listener: &TcpListener) -> anyhow::Result<(TcpStream, SocketAddr)> {
    loop {
        match listener.accept().await {
            Ok(accepted) => return Ok(accepted),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) => {}
            // EMFILE and ENFILE have no kind of their own.
            Err(error) if matches!(error.raw_os_error(), Some(23 | 24)) => {
                tracing::warn!(%error, "no file descriptor is left for another connection");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(error) => return Err(error).context("failed to accept connections"),
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
    stop: Stop,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    match tls {
        None => http(stream, peer, router, limits, stop).await,
        Some(tls) => {
            let secured = tokio::time::timeout(limits.handshake, tls.accept(stream)).await??;
            http(secured, peer, router, limits, stop).await
        }
    }
}

async fn http<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    stop: Stop,
) -> anyhow::Result<()> {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        answer(router.clone(), request)
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(limits.head_bytes);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        result = serving.as_mut() => return Ok(result?),
        () = stop.taking() => serving.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        result = serving => Ok(result?),
        () = stop.now() => Ok(()),
    }
}

fn answer(router: Router, request: Request<Incoming>) -> impl Future<Output = Result<Response, Infallible>> {
    router.oneshot(request.map(Body::new))
}
