//! Looks at the certificate that visitors of tenants' hosts are shown, so that operators hear of its end before visitors do.
//!
//! It is looked at as a visitor would, and whoever issued it: a certificate that has ended already is told too. Where the names
//! below the domain cannot be reached from here, or are served without TLS, nothing is told.

mod validity;

use std::time::Duration;

use anyhow::Context;
use reqwest::Client;
use reqwest::tls::TlsInfo;
use url::Url;

use self::validity::not_after;
use crate::metrics::Metrics;
use crate::task::{Report, Turn};

/// How long a visit may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The loop that looks.
#[derive(Debug)]
pub struct Wildcard {
    http: Client,
    visited: Url,
    metrics: Metrics,
}

impl Wildcard {
    /// Looks at who answers at this URL.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(visited: Url, metrics: Metrics) -> anyhow::Result<Self> {
        market::tls::install_provider();
        let http = Client::builder()
            .timeout(PATIENCE)
            .tls_info(true)
            .tls_danger_accept_invalid_certs(true)
            .redirect(reqwest::redirect::Policy::none())
            .build();
        let http = http.context("failed to make an HTTP client for a look at the wildcard's certificate")?;
        Ok(Self { http, visited, metrics })
    }

    /// Until when the certificate holds that is shown there, in unix seconds.
    async fn look(&self) -> Option<u64> {
        let answer = match self.http.get(self.visited.clone()).send().await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(visited = %self.visited, %error, "the wildcard's certificate cannot be looked at from here");
                return None;
            }
        };
        answer.extensions().get::<TlsInfo>()?.peer_certificate().and_then(not_after)
    }
}

impl Turn for Wildcard {
    const NAME: &'static str = "wildcard";

    async fn turn(&mut self) -> anyhow::Result<Report> {
        self.metrics.wildcard_ends(self.look().await);
        Ok(Report::default())
    }
}
