//! An endpoint whose connections can die loudly or silently: a relay of bytes in front of a node, for WebSockets and for
//! whatever else must not be understood on the way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// A relay that runs. Clones are the same relay.
#[derive(Debug, Clone)]
pub struct Relay {
    address: SocketAddr,
    mode: Arc<AtomicU8>,
}

const PASSES: u8 = 0;
const HANGS_UP: u8 = 1;
const FREEZES: u8 = 2;

impl Relay {
    /// Relays to the node at this URL until the runtime of the test ends.
    ///
    /// # Panics
    /// When the URL names no address, or loopback has no port left.
    pub async fn start(url: &str) -> Self {
        let node: SocketAddr = url.trim_start_matches("http://").parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of loopback");
        let address = listener.local_addr().expect("a listener has an address");
        let relay = Self { address, mode: Arc::default() };
        let shared = relay.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(shared.clone().pass(client, node));
            }
        });
        relay
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection, and each that comes, until told otherwise.
    pub fn be_silent(&self, silent: bool) {
        self.mode.store(if silent { HANGS_UP } else { PASSES }, Ordering::SeqCst);
    }

    /// Keeps every connection open, and each that comes, and lets nothing through any more: as a router does that drops
    /// packets.
    pub fn freeze(&self) {
        self.mode.store(FREEZES, Ordering::SeqCst);
    }

    async fn pass(self, mut client: TcpStream, node: SocketAddr) {
        let Ok(mut node) = TcpStream::connect(node).await else { return };
        let froze = tokio::select! {
            biased;
            froze = self.stops() => froze,
            _ = copy_bidirectional(&mut client, &mut node) => false,
        };
        if froze {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until nothing passes any more; answers whether connections stay open.
    async fn stops(&self) -> bool {
        loop {
            match self.mode.load(Ordering::SeqCst) {
                PASSES => sleep(Duration::from_millis(5)).await,
                mode => return mode == FREEZES,
            }
        }
    }
}
