//! Who is not the tenant of a lease gets nothing from the gateway but the reason why.

use std::fs;

use anyhow::{Context, Result, ensure};
use e2e::story::direct::{Direct, Wanted};
use e2e::story::world::World;
use e2e::{kubectl, workspace};
use manifests::order::{Address, LeaseId};
use market::api::{self, ErrorBody, ErrorKind, NonceAnswer};
use market::auth::{Domain, GatewayRequest, SignedRequest, Target};
use market::wallet::Wallet;
use reqwest::Method;

/// A client that signs one thing and sends another.
struct Stranger {
    http: reqwest::Client,
    base: String,
    domain: Domain,
}

impl Stranger {
    async fn nonce(&self) -> Result<NonceAnswer> {
        let answer = self.http.post(format!("{}{}", self.base, api::NONCE_PATH)).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// A request as its sender says it signed it, within its time.
    async fn sign(&self, target: &Target<'_>, wallet: &Wallet) -> Result<SignedRequest> {
        let nonce = self.nonce().await?;
        Ok(GatewayRequest::new(target, nonce.nonce, nonce.now + 30).sign(self.domain, wallet))
    }

    async fn send(&self, method: Method, path: &str, header: &str, body: &[u8]) -> Result<reqwest::Response> {
        let request = self.http.request(method, format!("{}{path}", self.base));
        Ok(request.header("authorization", header).body(body.to_vec()).send().await?)
    }

    /// Sends, and wants to be turned away for this reason.
    async fn refused(
        &self,
        (method, path, body): (Method, &str, &[u8]),
        signed: &SignedRequest,
        reason: &str,
    ) -> Result<()> {
        let answer = self.send(method, path, &signed.to_header(), body).await?;
        let status = answer.status().as_u16();
        let said: ErrorBody =
            answer.json().await.with_context(|| format!("no reason instead of {reason}"))?;
        ensure!(
            status == 401 && said.kind == ErrorKind::Unauthorized && said.reason.as_deref() == Some(reason),
            "{status} {said:?} instead of {reason}"
        );
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs on the bench: cargo e2e test stranger"]
async fn stranger_at_the_gateway() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Box::pin(each_is_turned_away_for_its_own_reason()).await.unwrap();
}

async fn each_is_turned_away_for_its_own_reason() -> Result<()> {
    let world = World::open("stranger").await?;
    let provider = world.provider().await?;
    let mut agent = provider.agent()?;
    let mut daemon = provider.run().await?;
    let tenant = Direct::of(&world, &world.accounts.tenants[0]).await?;
    let document = fs::read_to_string(workspace::root().join("e2e/documents/web.yaml"))?;
    let wanted = Wanted::of(&document.replace("hello.example.test", "stranger.example.test"))?;
    let lease = tenant.lease(1, &wanted, wanted.manifest.digest()).await?;

    let record = world.chain.provider(tenant.provider, market::At::Latest).await?.context("no record")?;
    // What is judged here is the gateway; that clients hold it to its key is told where they are.
    let http = reqwest::Client::builder().danger_accept_invalid_certs(true).build()?;
    let base = world.chain.gateway_uri(&record).await?.context("it said nowhere where its gateway is")?;
    let stranger = Stranger { http, base, domain: world.chain.gateway_domain() };
    let path = api::lease_path(lease);
    let here = Target { provider: tenant.provider, lease, method: "GET", path_and_query: &path, body: b"" };
    let get = || (Method::GET, path.as_str(), b"".as_slice());

    let good = stranger.sign(&here, &tenant.wallet).await?;
    let answer = stranger.send(Method::GET, &path, &good.to_header(), b"").await?;
    ensure!(answer.status().is_success(), "the tenant itself is turned away: {}", answer.text().await?);
    stranger.refused(get(), &good, "unknown_nonce").await.context("replayed")?;

    let target = Target { provider: Address([7; 20]), ..here };
    let signed = stranger.sign(&target, &tenant.wallet).await?;
    stranger.refused(get(), &signed, "other_provider").await?;

    let target = Target { lease: LeaseId { oseq: 2, ..lease }, ..here };
    let signed = stranger.sign(&target, &tenant.wallet).await?;
    stranger.refused(get(), &signed, "other_lease").await?;

    let logs = api::logs_path(lease, &api::LogsQuery::default());
    let signed = stranger.sign(&here, &tenant.wallet).await?;
    stranger.refused((Method::GET, &logs, b""), &signed, "other_request").await?;

    let manifest = api::manifest_path(lease);
    let body = wanted.manifest.canonical_json();
    let target = Target { method: "PUT", path_and_query: &manifest, body: b"[]", ..here };
    let signed = stranger.sign(&target, &tenant.wallet).await?;
    stranger.refused((Method::PUT, &manifest, &body), &signed, "other_body").await?;

    let nonce = stranger.nonce().await?;
    let signed = GatewayRequest::new(&here, nonce.nonce, nonce.now - 1).sign(stranger.domain, &tenant.wallet);
    stranger.refused(get(), &signed, "too_late").await?;

    let other = world.accounts.tenants[1].wallet()?;
    let signed = stranger.sign(&here, &other).await?;
    stranger.refused(get(), &signed, "not_the_tenant").await?;

    // None of it counted: the lease still waits, and nothing was made for it.
    tenant.state(lease, api::LeaseState::AwaitingManifest).await?;
    let selector = ["get", "deployments", "--all-namespaces", "--selector", "berth.dev/lease"];
    let made = kubectl::run(&[selector.as_slice(), &["--output", "name"]].concat()).await?;
    ensure!(made.is_empty(), "{made} was made");
    daemon.kill().await?;
    agent.kill().await
}
