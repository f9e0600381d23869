//! The gateway, over real TLS with the tenant's own client, and request by request with everything that a stranger may try.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use crate::apiserver::Apiserver;
use crate::metrics::{scrape_of, tells};
use crate::stage::{
    API_SERVERS, IDENTITY, NODE, PROVIDER, Stage, answers_at, cluster, document, named, parsed, sold,
    storage_class, storage_class_path,
};
use crate::support::bidder_settings;
use crate::wait::until;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use bidengine::Policy;
use futures::StreamExt;
use manifests::manifest::Manifest;
use manifests::order::{Address, LeaseId};
use market::api::{self, Answer, ErrorBody, ErrorKind, LogsQuery, Secrets};
use market::auth::{Domain, GatewayRequest, Target};
use market::client::{ClientError, GatewayClient};
use market::wallet::Wallet;
use provider::clock::Clock;
use provider::gateway::nonces::Nonces;
use provider::gateway::observe::{Direction, Observe};
use provider::gateway::server::{Limits, bind, serve};
use provider::gateway::streams::Streams;
use provider::gateway::tls::GatewayKey;
use provider::gateway::{Gateway, router};
use provider::inventory::Inventory;
use provider::leases::cluster::Cluster;
use provider::leases::pods::LeaseLogs;
use provider::leases::workloads::Workloads;
use provider::lifecycle::Lifecycle;
use provider::metrics::Metrics;
use provider::pricing::{Pricing, Terms};
use provider::task::Nudge;
use serde_json::json;
use tokio::sync::Mutex;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const DOMAIN: Domain = Domain { chain_id: IDENTITY.chain_id, market: IDENTITY.market };

fn wallet(digit: &str) -> Wallet {
    Wallet::from_private_key(&digit.repeat(64)).expect("a key")
}

/// Hears of everything, and passes it on to the metrics.
struct Heard(StdMutex<Vec<String>>, Metrics);

impl Observe for Heard {
    fn answered(&self, route: &str, method: &str, status: u16, took: Duration) {
        self.0.lock().expect("whole").push(format!("{method} {route} {status}"));
        self.1.answered(route, method, status, took);
    }

    fn not_believed(&self, reason: &str) {
        self.0.lock().expect("whole").push(reason.to_owned());
        self.1.not_believed(reason);
    }

    fn manifest(&self, refused: Option<&str>) {
        self.1.manifest(refused);
    }

    fn manifest_waited(&self, waited: Duration) {
        self.1.manifest_waited(waited);
    }

    fn stream_ended(&self, kind: &str, reason: &str) {
        self.1.stream_ended(kind, reason);
    }

    fn carried(&self, direction: Direction, bytes: u64) {
        self.1.carried(direction, bytes);
    }
}

pub(crate) struct House {
    pub(crate) stage: Stage,
    api: Apiserver,
    cluster: Cluster,
    nudge: Nudge,
    pub(crate) clock: Clock,
    pub(crate) key: GatewayKey,
    heard: Arc<Heard>,
    lifecycle: Lifecycle,
    pub(crate) pricing: Pricing,
    inventory: Inventory,
    streams: Streams,
    router: Router,
}

impl House {
    pub(crate) async fn new() -> Self {
        let (stage, api) = (Stage::new().await, Apiserver::default());
        let client = api.client();
        api.put(API_SERVERS, answers_at(&["203.0.113.1"]));
        api.put(&storage_class_path("fast"), storage_class(true));
        let (inventory, keep) = Inventory::start(&client, &sold(), || {});
        tokio::spawn(keep);
        until("the cluster has been read", async || inventory.view(0).is_ok()).await;
        let (nudge, clock, lifecycle) = (Nudge::default(), Clock::manual(NOW), Lifecycle::new());
        let heard = Arc::new(Heard(StdMutex::default(), Metrics::new().expect("distinct names")));
        let cluster = Cluster::new(cluster(), inventory.clone());
        let folder = tempfile::tempdir().expect("a temporary folder");
        let key = GatewayKey::load_or_create(folder.path()).expect("made");
        let pricing = bidder_settings().pricing;
        let streams = Streams::default();
        let gateway = Gateway {
            store: stage.store.clone(),
            clock: clock.clone(),
            identity: IDENTITY,
            cluster: cluster.clone(),
            pricing: pricing.clone(),
            quoter: crate::quote::quoter(&stage.store, &clock),
            key: key.clone(),
            reconcile: nudge.clone(),
            logs: LeaseLogs::new(client, inventory.clone(), PROVIDER),
            observe: heard.clone(),
            stop: lifecycle.stop(),
            nonces: Nonces::default(),
            streams: streams.clone(),
            claims: Mutex::default(),
        };
        let router = router(Arc::new(gateway));
        Self { stage, api, cluster, nudge, clock, key, heard, lifecycle, pricing, inventory, streams, router }
    }

    /// What operators are told.
    async fn scrape(&self) -> String {
        let (store, clock) = (self.stage.store.clone(), self.clock.clone());
        let workloads = Workloads::start(&self.api.client(), || {}).0;
        scrape_of(store, clock, &self.inventory, &workloads, &self.streams, &self.heard.1).await
    }

    /// All of these lines are told to operators.
    async fn tells(&self, lines: &[&str]) {
        let told = self.heard.1.render(&self.stage.store, PROVIDER).await.expect("rendered");
        tells(&told, lines);
    }

    /// Serves over TLS on loopback, and gives the tenants' client for it.
    pub(crate) async fn serve(&self) -> (GatewayClient, SocketAddr) {
        let listener = bind("127.0.0.1:0".parse().expect("an address"), "test").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let tls = TlsAcceptor::from(self.key.server_config());
        tokio::spawn(serve(
            listener,
            Some(tls),
            self.router.clone(),
            Limits::default(),
            self.lifecycle.stop(),
        ));
        let uri = format!("https://{address}");
        (GatewayClient::new(PROVIDER, &uri, self.key.spki_hash(), DOMAIN).expect("an https URL"), address)
    }

    async fn ask(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.expect("infallible")
    }

    async fn nonce(&self) -> api::NonceAnswer {
        let request = Request::post(api::NONCE_PATH).body(Body::empty()).expect("a request");
        let answer = self.ask(request).await;
        serde_json::from_slice(&to_bytes(answer.into_body(), 1 << 20).await.expect("whole")).expect("a nonce")
    }

    /// The tenant's own status request, with what differs from an honest one.
    async fn try_status(
        &self,
        honest: &Wallet,
        id: LeaseId,
        change: impl FnOnce(&mut Attempt),
    ) -> (u16, String) {
        let nonce = self.nonce().await;
        let mut attempt = Attempt {
            signed_for: id,
            sent_for: id,
            provider: PROVIDER,
            domain: DOMAIN,
            signed_body: b"",
            sent_body: b"",
            nonce: nonce.nonce,
            deadline: nonce.now + 30,
            key: honest.clone(),
            header: None,
        };
        change(&mut attempt);
        refusal(self.ask(attempt.request()).await).await
    }
}

struct Attempt {
    signed_for: LeaseId,
    sent_for: LeaseId,
    provider: Address,
    domain: Domain,
    signed_body: &'static [u8],
    sent_body: &'static [u8],
    nonce: manifests::order::Hash,
    deadline: u64,
    key: Wallet,
    header: Option<Option<&'static str>>,
}

impl Attempt {
    fn request(&self) -> Request<Body> {
        let path = api::lease_path(self.sent_for);
        let target = Target {
            provider: self.provider,
            lease: self.signed_for,
            method: "GET",
            path_and_query: &path,
            body: self.signed_body,
        };
        let honest =
            GatewayRequest::new(&target, self.nonce, self.deadline).sign(self.domain, &self.key).to_header();
        let mut request = Request::get(&path);
        match self.header {
            None => request = request.header("authorization", honest),
            Some(None) => {}
            Some(Some(header)) => request = request.header("authorization", header),
        }
        request.body(Body::from(self.sent_body)).expect("a request")
    }
}

/// Status and reason (or kind) of an answer.
async fn refusal(response: Response) -> (u16, String) {
    let status = response.status();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("whole");
    if status.is_success() {
        return (status.as_u16(), String::new());
    }
    let body: ErrorBody = serde_json::from_slice(&bytes).expect("every refusal has a body");
    (status.as_u16(), body.reason.unwrap_or_else(|| format!("{:?}", body.kind)))
}

async fn lease(house: &House, tenant: &Wallet, dseq: u64, document: &str) -> (LeaseId, Manifest) {
    let (manifest, spec) = parsed(document);
    (house.stage.lease(tenant.address(), dseq, &manifest, &spec).await, manifest)
}

#[tokio::test]
async fn a_stranger_at_the_gateway_is_refused_each_with_its_own_reason() {
    let house = House::new().await;
    let tenant = wallet("1");
    let (id, _) = lease(&house, &tenant, 1, &document(1, 0, "")).await;
    let (other, _) = lease(&house, &tenant, 2, &document(1, 0, "")).await;
    assert_eq!(house.try_status(&tenant, id, |_| {}).await, (200, String::new()));

    let refused = |reason: &str| (401, reason.to_owned());
    type Change = Box<dyn FnOnce(&mut Attempt)>;
    let attempts: Vec<(&str, Change)> = vec![
        ("missing", Box::new(|attempt| attempt.header = Some(None))),
        ("malformed", Box::new(|attempt| attempt.header = Some(Some("Berth nonsense")))),
        ("other_provider", Box::new(|attempt| attempt.provider = Address([9; 20]))),
        ("other_lease", Box::new(move |attempt| attempt.signed_for = other)),
        ("other_body", Box::new(|attempt| attempt.sent_body = b"{}")),
        ("too_late", Box::new(|attempt| attempt.deadline = NOW - 1)),
        ("too_early", Box::new(|attempt| attempt.deadline = NOW + 61)),
        ("not_the_tenant", Box::new(|attempt| attempt.key = wallet("2"))),
        ("not_the_tenant", Box::new(|attempt| attempt.domain.market = Address([9; 20]))),
        ("not_the_tenant", Box::new(|attempt| attempt.domain.chain_id = 1)),
        ("unknown_nonce", Box::new(|attempt| attempt.nonce = manifests::order::Hash([9; 32]))),
    ];
    for (reason, change) in attempts {
        assert_eq!(house.try_status(&tenant, id, change).await, refused(reason));
    }
    let heard = house.heard.0.lock().expect("whole").clone();
    assert!(heard.contains(&"other_body".to_owned()), "{heard:?}");
    assert!(heard.contains(&"GET /v1/leases/{id} 401".to_owned()), "paths are counted by route: {heard:?}");
    let made_up = Request::builder().method("BREW").uri("/v1/status").body(Body::empty()).expect("a request");
    house.ask(made_up).await;
    house
        .tells(&[
            r#"berth_gateway_auth_failures_total{reason="other_body"} 1"#,
            r#"berth_gateway_requests_total{code="404",method="other",route="/v1/status"} 1"#,
            r#"berth_gateway_request_duration_seconds_count{route="/v1/status"} 1"#,
        ])
        .await;
}

#[tokio::test]
async fn a_request_is_good_once_and_within_a_minute() {
    let house = House::new().await;
    let tenant = wallet("1");
    let (id, _) = lease(&house, &tenant, 1, &document(1, 0, "")).await;
    let nonce = house.nonce().await.nonce;
    let repeat = move |attempt: &mut Attempt| attempt.nonce = nonce;
    assert_eq!(house.try_status(&tenant, id, repeat).await.0, 200);
    assert_eq!(house.try_status(&tenant, id, repeat).await, (401, "unknown_nonce".to_owned()), "replayed");

    let nonce = house.nonce().await.nonce;
    house.clock.set(NOW + 61);
    let late = move |attempt: &mut Attempt| attempt.nonce = nonce;
    assert_eq!(house.try_status(&tenant, id, late).await, (401, "unknown_nonce".to_owned()), "kept too long");
}

#[tokio::test]
async fn a_refused_request_does_not_use_the_nonce_up() {
    let house = House::new().await;
    let tenant = wallet("1");
    let (id, _) = lease(&house, &tenant, 1, &document(1, 0, "")).await;
    let nonce = house.nonce().await.nonce;
    let strange = move |attempt: &mut Attempt| (attempt.nonce, attempt.key) = (nonce, wallet("2"));
    assert_eq!(house.try_status(&tenant, id, strange).await.0, 401);
    let honest = move |attempt: &mut Attempt| attempt.nonce = nonce;
    assert_eq!(house.try_status(&tenant, id, honest).await.0, 200);
}

#[tokio::test]
async fn a_lease_that_is_not_ours_is_unknown_and_every_refusal_has_a_body() {
    let house = House::new().await;
    let tenant = wallet("1");
    let (manifest, spec) = parsed(&document(1, 0, ""));
    let elsewhere = house.stage.lease_of(Address([7; 20]), tenant.address(), 1, &manifest, &spec).await;
    let nowhere = LeaseId { dseq: 99, ..elsewhere };
    for id in [elsewhere, nowhere] {
        assert_eq!(house.try_status(&tenant, id, |_| {}).await, (404, "LeaseUnknown".to_owned()));
    }
    let get = |path: &str| Request::get(path).body(Body::empty()).expect("a request");
    assert_eq!(refusal(house.ask(get("/v1/nothing")).await).await, (404, "NotFound".to_owned()));
    assert_eq!(refusal(house.ask(get("/v1/leases/12")).await).await, (400, "BadRequest".to_owned()));
    assert_eq!(refusal(house.ask(get(api::NONCE_PATH)).await).await, (404, "NotFound".to_owned()));
}

#[tokio::test]
async fn a_tenant_sends_its_manifest_and_reads_its_lease_over_pinned_tls() {
    let house = House::new().await;
    let tenant = wallet("1");
    let (id, manifest) = lease(&house, &tenant, 1, &document(1, 0, "")).await;
    let (client, address) = house.serve().await;
    let status = client.status().await.expect("answered");
    assert_eq!(
        (status.provider, status.market, status.chain_id),
        (PROVIDER, IDENTITY.market, IDENTITY.chain_id)
    );
    assert_eq!(client.lease(&tenant, id).await.expect("told").state, api::LeaseState::AwaitingManifest);

    client.send_manifest(&tenant, id, &manifest.canonical_json()).await.expect("taken");
    tokio::time::timeout(Duration::from_secs(5), house.nudge.wait()).await.expect("the reconciler is woken");
    let stored = house.stage.store.manifest(id).await.expect("read").expect("stored");
    assert_eq!((stored.digest, stored.revision), (manifest.digest(), 1));
    client.send_manifest(&tenant, id, &manifest.to_json()).await.expect("the same again");
    assert_eq!(house.stage.store.manifest(id).await.expect("read").expect("stored").revision, 1);
    assert_eq!(client.lease(&tenant, id).await.expect("told").state, api::LeaseState::Starting);

    let impostor = GatewayClient::new(PROVIDER, &format!("https://{address}"), manifest.digest(), DOMAIN)
        .expect("a URL");
    let refused = impostor.status().await.expect_err("another key is registered");
    assert!(
        matches!(&refused, ClientError::Unreachable { problem, .. } if problem.contains("another TLS key")),
        "{refused}"
    );

    house.stage.close(id, 0).await;
    let refused = client.send_manifest(&tenant, id, &manifest.to_json()).await.expect_err("it is over");
    assert_eq!(refused.refusal(), Some(ErrorKind::LeaseClosed));
    let state = client.lease(&tenant, id).await.expect("told").state;
    assert!(matches!(state, api::LeaseState::Closed { .. }), "{state}");
}

/// Sends a manifest that must be refused; gives status, kind and sentence, and makes sure that nothing was stored for it.
async fn send_refused(
    house: &House,
    client: &GatewayClient,
    tenant: &Wallet,
    id: LeaseId,
    body: &[u8],
) -> (u16, ErrorBody) {
    let revision = async || {
        house.stage.store.manifest(id).await.expect("read").map(|stored| (stored.revision, stored.digest))
    };
    let before = revision().await;
    let refused = client.send_manifest(tenant, id, body).await.expect_err("refused");
    assert_eq!(revision().await, before, "nothing is stored");
    match refused {
        ClientError::Refused { status, body, .. } => (status, body),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_wrong_manifest_is_refused_with_both_digests() {
    let house = House::new().await;
    let tenant = wallet("1");
    let (id, manifest) = lease(&house, &tenant, 1, &document(1, 0, "")).await;
    let (client, _) = house.serve().await;
    let (other, _) = parsed(&document(1, 0, "    args: [\"x\"]\n"));
    let (status, body) = send_refused(&house, &client, &tenant, id, &other.to_json()).await;
    assert_eq!((status, body.kind), (409, ErrorKind::ManifestMismatch));
    for digest in [manifest.digest(), other.digest()] {
        assert!(body.message.contains(&digest.to_string()), "{}", body.message);
    }
    let (status, body) = send_refused(&house, &client, &tenant, id, b"{\"canary-hunter2\"").await;
    assert_eq!((status, body.kind), (400, ErrorKind::BadRequest));
    assert!(!body.message.contains("hunter2"), "{}", body.message);
    let (status, body) = send_refused(&house, &client, &tenant, id, &vec![b' '; (1 << 20) + 1]).await;
    assert_eq!((status, body.kind), (413, ErrorKind::TooLarge));
}

#[tokio::test]
async fn a_greedy_manifest_is_refused_by_its_unit_at_first_and_in_mid_lease() {
    let house = House::new().await;
    let tenant = wallet("1");
    let (modest, spec) = parsed(&document(1, 1, ""));
    let (client, _) = house.serve().await;
    let plain = document(1, 1, "");
    let greedy = [
        ("cpu", plain.replace("500m", "4")),
        ("gpu", plain.replace("units: 1,", "units: 2,")),
        ("memory", plain.replace("512Mi", "8Gi")),
        ("storage", plain.replace("size: 1Gi", "size: 9Gi")),
        ("replicas", plain.replace("count: 1", "count: 3")),
        ("port", plain.replace("expose: [", "expose: [{port: 9000, to: [{global: true}]}, ")),
    ];
    for (dseq, (what, document)) in (1..).zip(&greedy) {
        // The chain holds the greedy manifest's digest, and the modest spec was bid on.
        let (wanted, _) = parsed(document);
        let id = house.stage.lease(tenant.address(), dseq, &wanted, &spec).await;
        let (status, body) = send_refused(&house, &client, &tenant, id, &wanted.to_json()).await;
        assert_eq!((status, body.kind), (422, ErrorKind::ManifestRefused), "{what}");
        assert!(body.message.contains("unit 1") && body.message.contains(what), "{what}: {}", body.message);
    }
    let id = house.stage.lease(tenant.address(), 50, &modest, &spec).await;
    client.send_manifest(&tenant, id, &modest.to_json()).await.expect("what was ordered");
    for (what, document) in &greedy {
        let (wanted, _) = parsed(document);
        house.stage.commit(id, &wanted).await;
        let (status, _) = send_refused(&house, &client, &tenant, id, &wanted.to_json()).await;
        assert_eq!(status, 422, "{what} in mid-lease");
    }
}

#[tokio::test]
async fn an_image_that_the_policy_does_not_run_is_refused_and_announced_before() {
    let house = House::new().await;
    let tenant = wallet("1");
    let (client, _) = house.serve().await;
    let plain = document(1, 0, "");
    let (id, manifest) = lease(&house, &tenant, 1, &plain).await;
    let image = manifest.0[0].services[0].image.clone();
    let status = async || -> api::GatewayStatus {
        let request = Request::get(api::STATUS_PATH).body(Body::empty()).expect("a request");
        let answer = house.ask(request).await;
        serde_json::from_slice(&to_bytes(answer.into_body(), 1 << 20).await.expect("whole"))
            .expect("a status")
    };
    assert!(status().await.images.is_any());

    let terms = house.pricing.terms();
    let images: bidengine::Images =
        serde_json::from_value(json!({"deny": [image], "allow": ["ghcr.io/example/*"]})).expect("patterns");
    let policy = Policy { images, ..terms.policy.clone() };
    house.pricing.change(Terms::new(terms.tariff.clone(), policy), None);
    let said = status().await.images;
    assert_eq!((said.deny, said.allow), (vec![image.clone()], vec!["ghcr.io/example/*".to_owned()]));

    let (status, body) = send_refused(&house, &client, &tenant, id, &manifest.to_json()).await;
    assert_eq!((status, body.kind), (422, ErrorKind::ManifestRefused));
    assert_eq!(body.reason.as_deref(), Some("image_refused"));
    assert!(body.message.contains(&image) && body.message.contains("service web"), "{}", body.message);

    house.pricing.change(Terms::new(terms.tariff.clone(), Policy::default()), None);
    client.send_manifest(&tenant, id, &manifest.to_json()).await.expect("every image is run again");
}

/// Two services that keep a volume each, by name and size. What is ordered for the group is the sizes in this order.
fn two_volumes([(first, small), (second, large)]: [(&str, &str); 2]) -> String {
    let service = |name: &str| {
        format!(
            "  {name}: {{image: i, params: {{storage: {{data: {{mount: /data}}}}}}, expose: [{{port: 8080, to: [{{service: \
             {second}}}]}}]}}\n"
        )
    };
    let profile = |name: &str, size: &str| {
        format!(
            "    {name}: {{resources: {{cpu: {{units: 1}}, memory: {{size: 1Gi}}, storage: [{{name: data, size: {size}, \
             attributes: {{persistent: true}}}}]}}}}\n"
        )
    };
    format!(
        "version: \"2.0\"\nservices:\n{}{}profiles:\n  compute:\n{}{}  placement:\n    here: {{pricing: {{{first}: {{denom: \
         uact, amount: 1}}, {second}: {{denom: uact, amount: 1}}}}}}\ndeployment:\n  {first}: {{here: {{profile: {first}, \
         count: 1}}}}\n  {second}: {{here: {{profile: {second}, count: 1}}}}\n",
        service(first).replace("[{port: 8080", "[{port: 80, to: [{global: true}]}, {port: 8080"),
        service(second),
        profile(first, small),
        profile(second, large),
    )
}

#[tokio::test]
async fn a_volume_grows_into_what_another_gave_up_and_never_shrinks() {
    let house = House::new().await;
    let tenant = wallet("1");
    let (before, spec) = parsed(&two_volumes([("db", "1Gi"), ("spare", "2Gi")]));
    // The same was ordered, and the larger of both volumes is another service's now.
    let (grown, same) = parsed(&two_volumes([("cache", "1Gi"), ("db", "2Gi")]));
    assert_eq!(spec.to_bytes(), same.to_bytes());
    let id = house.stage.lease(tenant.address(), 1, &before, &spec).await;
    let (client, _) = house.serve().await;
    client.send_manifest(&tenant, id, &before.to_json()).await.expect("what was ordered");

    house.api.put(&storage_class_path("fast"), storage_class(false));
    let sees = |grows: bool| {
        let classes = house.cluster.settings().map(|settings| settings.storage_classes);
        classes.is_ok_and(|classes| classes["default"].expandable == grows)
    };
    until("the class is seen to be stiff", async || sees(false)).await;
    house.stage.commit(id, &grown).await;
    let (status, body) = send_refused(&house, &client, &tenant, id, &grown.to_json()).await;
    assert_eq!((status, body.reason.as_deref()), (422, Some("volume_kept")));
    assert!(
        body.message.starts_with("service db: its persistent volume \"data\" has 1073741824"),
        "{}",
        body.message
    );

    house.api.put(&storage_class_path("fast"), storage_class(true));
    until("the class is seen to grow", async || sees(true)).await;
    client.send_manifest(&tenant, id, &grown.to_json()).await.expect("it may grow");

    house.stage.commit(id, &before).await;
    let (status, body) = send_refused(&house, &client, &tenant, id, &before.to_json()).await;
    assert_eq!((status, body.reason.as_deref()), (422, Some("volume_kept")));
    assert!(body.message.contains("cannot become smaller"), "{}", body.message);
    let stored = house.stage.store.manifest(id).await.expect("read").expect("kept");
    assert_eq!(*stored.body, grown.to_json(), "a refused manifest changes nothing");
}

#[tokio::test]
async fn a_host_name_belongs_to_the_lease_that_claimed_it_first() {
    let house = House::new().await;
    let (first, second) = (wallet("1"), wallet("2"));
    let with_host = |host: &str| document(1, 0, "").replace("accept: []", &format!("accept: [{host}]"));
    let (mine, manifest) = lease(&house, &first, 1, &with_host("shop.example")).await;
    let (theirs, _) = lease(&house, &second, 1, &with_host("shop.example")).await;
    let (client, _) = house.serve().await;
    client.send_manifest(&first, mine, &manifest.to_json()).await.expect("free");
    client.send_manifest(&first, mine, &manifest.to_json()).await.expect("still its own");
    let (status, body) = send_refused(&house, &client, &second, theirs, &manifest.to_json()).await;
    assert_eq!((status, body.reason.as_deref()), (422, Some("hostname_taken")));
    assert!(body.message.contains("shop.example"), "{}", body.message);
    house.clock.set(NOW + 90);
    house.tells(&["berth_leases_awaiting_manifest 1"]).await;
    house.stage.close(mine, 0).await;
    client.send_manifest(&second, theirs, &manifest.to_json()).await.expect("free again");
    house
        .tells(&[
            r#"berth_manifest_total{reason="",result="accepted"} 3"#,
            r#"berth_manifest_total{reason="hostname_taken",result="refused"} 1"#,
            "berth_hostname_conflicts_total 1",
            "berth_leases_awaiting_manifest 0",
            "berth_manifest_wait_seconds_count 2",
            "berth_manifest_wait_seconds_sum 90",
        ])
        .await;

    let (below, manifest) = lease(&house, &first, 2, &with_host("evil.apps.provider.test")).await;
    let (status, body) = send_refused(&house, &client, &first, below, &manifest.to_json()).await;
    assert_eq!(status, 422, "{}", body.message);
}

#[tokio::test]
async fn a_tenant_is_told_what_became_of_its_order() {
    let house = House::new().await;
    let tenant = wallet("1");
    let (manifest, spec) = parsed(&document(1, 0, ""));
    let (client, _) = house.serve().await;
    let open = house.stage.order(tenant.address(), 1, &manifest, &spec).await;
    assert_eq!(client.decision(&tenant, open).await.expect("told").answer, Answer::Undecided);
    let won = house.stage.lease(tenant.address(), 2, &manifest, &spec).await;
    assert!(matches!(client.decision(&tenant, won).await.expect("told").answer, Answer::Bid { .. }));
    let unknown = client.decision(&tenant, LeaseId { dseq: 3, ..open }).await.expect_err("not seen");
    assert!(unknown.is_transient() && unknown.refusal() == Some(ErrorKind::LeaseUnknown), "{unknown}");
}

#[tokio::test]
async fn secrets_are_taken_from_the_tenant_of_a_live_lease_and_no_answer_repeats_them() {
    let house = House::new().await;
    let (tenant, stranger) = (wallet("1"), wallet("2"));
    let (id, _) = lease(&house, &tenant, 1, &document(1, 0, "")).await;
    let (client, _) = house.serve().await;
    let secrets = |name: &str, value: String| Secrets([(name.to_owned(), value)].into());
    let give = async |wallet: &Wallet, secrets: &Secrets| {
        client.send_secrets(wallet, id, secrets).await.map_err(|error| (error.refusal(), error.to_string()))
    };
    give(&tenant, &secrets("db", "canary-hunter2".to_owned())).await.expect("taken");
    give(&tenant, &secrets("api", "canary-hunter3".to_owned())).await.expect("taken");
    let kept = house.stage.store.secrets(id).await.expect("read");
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["api", "db"]);

    let refused = give(&stranger, &secrets("db", "canary-other".to_owned())).await.expect_err("not theirs");
    assert_eq!(refused.0, Some(ErrorKind::Unauthorized));
    let long = "canary-".repeat(100_000);
    for (wrong, problem) in [
        (secrets("Canary Hunter2", "x".to_owned()), "a name of a secret"),
        (secrets("db", long), "bytes together"),
    ] {
        let (kind, message) = give(&tenant, &wrong).await.expect_err("refused");
        assert_eq!(kind, Some(ErrorKind::BadRequest), "{message}");
        assert!(message.contains(problem) && !message.to_lowercase().contains("canary"), "{message}");
    }
    assert_eq!(house.stage.store.secrets(id).await.expect("read"), kept);

    house.stage.close(id, 0).await;
    let refused = give(&tenant, &secrets("db", "canary".to_owned())).await.expect_err("over");
    assert_eq!(refused.0, Some(ErrorKind::LeaseClosed));
}

#[tokio::test]
async fn logs_of_all_pods_come_as_one_stream_and_end_with_the_lease() {
    let house = House::new().await;
    let tenant = wallet("1");
    let (id, _) = lease(&house, &tenant, 1, &document(1, 0, "")).await;
    let (client, _) = house.serve().await;
    let run = |name: &str| {
        let (short, namespace) = (named(id).short_id(), named(id).namespace());
        let pod = json!({
            "metadata": {"namespace": namespace, "labels": {"berth.dev/lease": short, "berth.dev/service": "web"}},
            "spec": {"nodeName": NODE, "containers": [{"name": "web"}]},
            "status": {"containerStatuses": [{
                "name": "web", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}},
            }]},
        });
        house.api.put(&format!("/api/v1/namespaces/{namespace}/pods/{name}"), pod);
    };
    house.api.write_log("web-1", "2026-01-01T00:00:00.5Z hello\n2026-01-01T00:00:01.5Z world\n");
    house.api.write_log("web-2", "2026-01-01T00:00:00.5Z second\n");
    run("web-1");
    let once = LogsQuery::default();
    until("the log is there", async || read(&client, &tenant, id, &once).await.len() == 2).await;
    assert_eq!(read(&client, &tenant, id, &once).await, ["web/web-1 hello", "web/web-1 world"]);
    let other = LogsQuery { service: Some("db".to_owned()), ..LogsQuery::default() };
    assert_eq!(read(&client, &tenant, id, &other).await, [""; 0]);

    let follow = LogsQuery { follow: true, ..LogsQuery::default() };
    let heard = Arc::new(StdMutex::new(String::new()));
    let following = tokio::spawn({
        let (client, tenant, heard) = (client.clone(), tenant.clone(), heard.clone());
        async move {
            let mut stream = client.logs(&tenant, id, &follow).await.expect("followed");
            while let Some(chunk) = stream.next().await {
                let text = String::from_utf8(chunk.expect("whole")).expect("text");
                heard.lock().expect("whole").push_str(&text);
            }
        }
    });
    let lines = || -> Vec<String> { heard.lock().expect("whole").lines().map(ToOwned::to_owned).collect() };
    run("web-2");
    house.api.write_log(
        "web-1",
        "2026-01-01T00:00:00.5Z hello\n2026-01-01T00:00:01.5Z world\n2026-01-01T00:00:02Z again\n",
    );
    // The small API server ends each log at once, so the follower comes back for what is new.
    until("all four lines came", async || lines().len() == 4).await;
    house.stage.close(id, 0).await;
    tokio::time::timeout(Duration::from_secs(10), following).await.expect("it ends").expect("whole");
    let mut lines = lines();
    assert_eq!(lines.pop().as_deref(), Some("# the lease has ended: closed by the tenant"));
    lines.sort();
    assert_eq!(lines, ["web/web-1 again", "web/web-1 hello", "web/web-1 world", "web/web-2 second"]);
    let refused = client.logs(&tenant, id, &once).await.err().and_then(|refused| refused.refusal());
    assert_eq!(refused, Some(ErrorKind::LeaseClosed));
    house.tells(&[r#"berth_gateway_stream_closed_total{kind="logs",reason="lease_ended"} 1"#]).await;
    let told = house.heard.1.render(&house.stage.store, PROVIDER).await.expect("rendered");
    assert!(told.contains(r#"berth_gateway_stream_closed_total{kind="logs",reason="done"} "#), "{told}");
    let out =
        told.lines().find_map(|line| line.strip_prefix(r#"berth_gateway_bytes_total{direction="out"} "#));
    let out: u64 = out.expect("bytes went out").parse().expect("a number");
    let written: usize = lines.iter().map(|line| line.len() + 1).sum();
    assert!(out > u64::try_from(written).expect("few"), "{out} bytes");
}

#[tokio::test]
async fn a_reader_who_goes_before_the_end_left_if_he_followed_and_was_cut_off_if_he_did_not() {
    let house = House::new().await;
    let tenant = wallet("1");
    let (id, _) = lease(&house, &tenant, 1, &document(1, 0, "")).await;
    let (client, _) = house.serve().await;
    let follow = LogsQuery { follow: true, ..LogsQuery::default() };
    let stream = client.logs(&tenant, id, &follow).await.unwrap_or_else(|refused| panic!("{refused}"));
    let told = house.scrape().await;
    assert!(told.contains("berth_gateway_streams{kind=\"logs\"} 1\n"), "{told}");
    drop(stream);
    until("the stream is closed", async || house.streams.count() == 0).await;
    house.tells(&[r#"berth_gateway_stream_closed_total{kind="logs",reason="left"} 1"#]).await;
}

async fn read(client: &GatewayClient, tenant: &Wallet, id: LeaseId, query: &LogsQuery) -> Vec<String> {
    let stream = client.logs(tenant, id, query).await.unwrap_or_else(|refused| panic!("{refused}"));
    let bytes: Vec<u8> = stream.map(|chunk| chunk.expect("whole")).concat().await;
    String::from_utf8(bytes).expect("text").lines().map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn a_stop_ends_streams_with_a_word_and_takes_no_new_connections() {
    let house = House::new().await;
    let tenant = wallet("1");
    let (id, _) = lease(&house, &tenant, 1, &document(1, 0, "")).await;
    let (client, address) = house.serve().await;
    let follow = LogsQuery { follow: true, ..LogsQuery::default() };
    let stream = client.logs(&tenant, id, &follow).await.unwrap_or_else(|refused| panic!("{refused}"));
    house.lifecycle.begin_stop();
    let read = stream.map(|chunk| chunk.expect("whole")).concat();
    let bytes: Vec<u8> = tokio::time::timeout(Duration::from_secs(10), read).await.expect("it ends");
    assert_eq!(String::from_utf8(bytes).expect("text"), "# the provider stops for a while: ask again\n");
    house.tells(&[r#"berth_gateway_stream_closed_total{kind="logs",reason="stopped"} 1"#]).await;
    until("nobody listens any more", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
}

#[tokio::test]
async fn a_peer_that_speaks_no_tls_or_never_speaks_does_not_keep_others_out() {
    let house = House::new().await;
    let (client, address) = house.serve().await;
    let _silent = tokio::net::TcpStream::connect(address).await.expect("connected");
    let plain = tokio::net::TcpStream::connect(address).await.expect("connected");
    plain.writable().await.expect("open");
    plain.try_write(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    client.status().await.expect("others are served");
}

#[tokio::test]
async fn a_port_in_use_is_told_with_the_remedy() {
    let taken = bind("127.0.0.1:0".parse().expect("an address"), "gateway").await.expect("bound");
    let address = taken.local_addr().expect("bound");
    let refused = bind(address, "gateway").await.expect_err("taken");
    assert!(
        refused.to_string().contains(&address.to_string()) && refused.to_string().contains("free address"),
        "{refused}"
    );
}

#[tokio::test]
async fn statuses_of_refusals_are_in_one_table() {
    use provider::gateway::error::status;
    assert_eq!(status(ErrorKind::Unauthorized), StatusCode::UNAUTHORIZED);
    assert_eq!(status(ErrorKind::LeaseUnknown), StatusCode::NOT_FOUND);
    assert_eq!(status(ErrorKind::ManifestMismatch), StatusCode::CONFLICT);
    assert_eq!(status(ErrorKind::ManifestRefused), StatusCode::UNPROCESSABLE_ENTITY);
}
