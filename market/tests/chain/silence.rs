//! An endpoint that can fall silent: a relay in front of the node that drops everything while it is told to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

#[derive(Clone)]
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    silent: Arc<AtomicBool>,
}

impl Relay {
    /// Relays to the node at this URL until the test ends.
    pub(crate) async fn start(url: &str) -> Self {
        let node: SocketAddr = url.trim_start_matches("http://").parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let relay = Self { address: listener.local_addr().expect("its address"), silent: Arc::default() };
        let shared = relay.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let relay = shared.clone();
                tokio::spawn(async move {
                    let Ok(mut node) = TcpStream::connect(node).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut node) => {}
                        () = relay.falls_silent() => {}
                    }
                });
            }
        });
        relay
    }

    pub(crate) fn be_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }

    async fn falls_silent(&self) {
        while !self.silent.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(5)).await;
        }
    }
}
