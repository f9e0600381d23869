//! New heads, as an endpoint tells them over a WebSocket: a hint that it is worth looking, and nothing else.
//!
//! Subscriptions are known to fall silent without ending, to skip and to repeat. So nothing is read from one but that something
//! came, a silence ends it and it is begun again, and whoever is woken looks at the usual times all the same.

use std::fmt;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use reqwest::Url;
use serde_json::json;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::rpc::causes;

/// A subscription that tells nothing for so long is taken for dead. Chains that are paid by the second make blocks sooner.
const SILENCE: Duration = Duration::from_secs(30);
/// The first pause before a subscription is begun again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// An endpoint that is subscribed to. Its debug form is its host: the rest of the URL may hold a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Wakeup {
    url: Url,
}

impl fmt::Debug for Wakeup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wakeup({})", self.url.host_str().unwrap_or_default())
    }
}

impl Wakeup {
    /// The endpoint at this URL, `ws` or `wss`.
    ///
    /// # Errors
    /// A sentence, if the text is no such URL. It does not repeat the text, which may hold a key.
    pub fn new(url: &str) -> Result<Self, &'static str> {
        const FORM: &str = "it is not a WebSocket URL; write it as ws://host:port or wss://host/path";
        let url: Url = url.parse().map_err(|_| FORM)?;
        if !matches!(url.scheme(), "ws" | "wss") || url.host_str().is_none() {
            return Err(FORM);
        }
        Ok(Self { url })
    }

    /// Calls `woken` for every head that is told, and whenever a subscription begins, for as long as it is awaited.
    pub async fn run(&self, mut woken: impl FnMut()) {
        crate::tls::install_provider();
        let mut pause = FIRST_PAUSE;
        loop {
            let problem = self.listen(&mut woken, &mut pause).await;
            tracing::debug!(
                host = self.url.host_str(),
                pause_s = pause.as_secs(),
                problem,
                "no heads are told"
            );
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Listens until something is wrong, and says what.
    async fn listen(&self, woken: &mut impl FnMut(), pause: &mut Duration) -> String {
        let mut socket = match timeout(SILENCE, connect_async(self.url.as_str())).await {
            Ok(Ok((socket, _))) => socket,
            Ok(Err(error)) => return causes(error),
            Err(_) => return "the connection takes too long".to_owned(),
        };
        let subscribe =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"] });
        if let Err(error) = socket.send(Message::text(subscribe.to_string())).await {
            return causes(error);
        }
        loop {
            match timeout(SILENCE, socket.next()).await {
                Err(_) => return format!("nothing came for {} s", SILENCE.as_secs()),
                Ok(None) => return "the endpoint hung up".to_owned(),
                Ok(Some(Err(error))) => return causes(error),
                Ok(Some(Ok(Message::Text(_)))) => {
                    *pause = FIRST_PAUSE;
                    woken();
                }
                Ok(Some(Ok(_))) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_urls_are_refused_without_repeating_them() {
        for wrong in ["http://node/key", "node:8546/key", "ws://"] {
            let refused = Wakeup::new(wrong).expect_err(wrong);
            assert!(refused.contains("wss://") && !refused.contains("key"), "{refused}");
        }
        assert!(Wakeup::new("wss://node/key").is_ok());
    }
}
