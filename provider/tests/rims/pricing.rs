//! Who is asked for prices: programs, addresses and feeds of this machine, and a configuration file that changes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Router, body};
use bidengine::{Books, Circumstances, FxRate, Quoted};
use manifests::decision::{Decision, Reason};
use manifests::money::Amount;
use manifests::order::{Address, Order};
use provider::clock::Clock;
use provider::config::Config;
use provider::metrics::Metrics;
use provider::pricing::fx::Feed;
use provider::pricing::means::{Purse, Stake, Watch};
use provider::pricing::reload::Reload;
use provider::pricing::{Now, Pricing, Terms};
use provider::task::{Nudge, Turn};

use crate::stage::{PROVIDER, Stage};
use crate::support::{US, one_node, order, spec};
use crate::wait::until;

const EXAMPLE: &str = include_str!("../../berth-provider.example.yaml");

/// The shipped configuration with more under `pricing`.
fn written(pricing: &str) -> String {
    EXAMPLE.replacen("\npricing:\n", &format!("\npricing:\n{pricing}\n"), 1)
}

fn configured(pricing: &str) -> Config {
    Config::parse(&written(pricing), |_| None).expect("is good")
}

fn pricing(more: &str) -> (Pricing, Metrics) {
    let metrics = Metrics::new().expect("metrics");
    (Pricing::new(Terms::of(&configured(more)), metrics.clone()), metrics)
}

fn some_order() -> Order {
    order(1, spec(1000, 0))
}

/// What the program that is configured asks for an order of one core.
async fn quoted(pricing: &Pricing) -> Option<Quoted> {
    let (now, capacity, books) = (pricing.now(), one_node(0), Books::default());
    let Terms { tariff, policy, .. } = &*now.terms;
    let circumstances = Circumstances { books: &books, ..Circumstances::new(&capacity, tariff, policy, 0) };
    pricing.quoted(&now.terms, &some_order(), &circumstances).await
}

async fn problem(pricing: &Pricing) -> String {
    match quoted(pricing).await {
        Some(Quoted::Failed { problem }) => problem,
        other => panic!("{other:?}"),
    }
}

fn hook(script: &str, more: &str) -> String {
    format!("  hook: {{exec: [/bin/sh, -c, {}], {more}}}", serde_json::to_string(script).expect("a text"))
}

/// A server on loopback with one route for everything.
async fn serve(routes: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

#[tokio::test]
async fn a_program_gets_the_order_and_a_clean_environment_and_names_the_price() {
    let tenant = some_order().id.tenant;
    let script = format!(
        r#"[ -z "$HOME$CARGO_MANIFEST_DIR" ] && [ "$TARGET" = 5 ] && [ "$AKASH_DENOM$BERTH_DENOM" = uactuact ] &&
           [ "$AKASH_OWNER" = {tenant} ] && [ "$BERTH_TENANT" = {tenant} ] && grep -q '"cpu":1000,' && echo noise >&2 && echo 5.745"#
    );
    let (pricing, _) = pricing(&hook(&script, "env: {TARGET: '5'}"));
    let Some(Quoted::Priced { rate, answer }) = quoted(&pricing).await else {
        panic!("{:?}", quoted(&pricing).await)
    };
    assert_eq!(rate.scaled(), 5_745_000_000_000u128.div_ceil(6117));
    assert_eq!(answer, "5.745 uact a block of 6.117 s");
}

#[tokio::test]
async fn a_program_that_fails_is_told_without_what_it_said() {
    for (script, more, expected) in [
        ("echo secret; echo secret >&2; exit 3", "", "it ended with code 3, which means no bid"),
        ("kill -9 $$", "", "it ended with a signal"),
        ("echo secret 5", "", "not one decimal number"),
        ("echo 0", "", "no bid"),
        ("true", "", "not one decimal number"),
        ("head -c 100000 /dev/zero", "", "longer than 4096 bytes"),
        ("echo 2.628", "unit: usdPerMonth", ""),
    ] {
        let (pricing, _) = pricing(&hook(script, more));
        if expected.is_empty() {
            assert!(matches!(quoted(&pricing).await, Some(Quoted::Priced { .. })), "{script}");
            continue;
        }
        let problem = problem(&pricing).await;
        assert!(problem.contains(expected) && !problem.contains("secret"), "{script}: {problem}");
    }
    let (pricing, _) = pricing("  hook: {exec: [/nowhere/price]}");
    assert!(problem(&pricing).await.contains("could not be started"));
}

#[tokio::test]
async fn a_slow_program_is_killed_with_what_it_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pid");
    let script = format!("sleep 600 & echo $! > {}; wait", file.display());
    let (pricing, metrics) = pricing(&hook(&script, "timeout: 500ms"));
    assert_eq!(problem(&pricing).await, "it answered nothing within 500ms");
    let id = std::fs::read_to_string(&file).expect("it began");
    let stat = Path::new("/proc").join(id.trim()).join("stat");
    until("the program's own child is gone", async || {
        // Where nobody waits for orphans a dead one stays as a zombie.
        std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
    })
    .await;
    let shown = shown(&metrics).await;
    assert!(shown.contains("berth_pricing_errors_total{reason=\"timeout\"} 1"), "{shown}");
    assert!(shown.contains("berth_pricing_duration_seconds_count{strategy=\"exec\"} 1"), "{shown}");
}

#[tokio::test]
async fn no_more_programs_run_at_once_than_are_allowed() {
    let (pricing, _) = pricing(&hook("sleep 600", "timeout: 500ms, parallel: 3"));
    let told = futures::future::join_all((0..4).map(|_| problem(&pricing))).await;
    let count = |words: &str| told.iter().filter(|told| told.contains(words)).count();
    assert_eq!(count("it answered nothing within 500ms"), 3, "{told:?}");
    assert_eq!(count("being asked 3 times at once"), 1, "{told:?}");
}

#[tokio::test]
async fn an_address_is_asked_with_its_credentials_and_never_shown_with_them() {
    let heard = Arc::new(Mutex::new(String::new()));
    let hears = Arc::clone(&heard);
    let answer = move |request: Request| {
        let hears = Arc::clone(&hears);
        async move {
            let (tenant, credentials) = {
                let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
                let owned = |name: &str| header(name).unwrap_or_default().to_owned();
                (owned("berth-tenant"), owned("authorization"))
            };
            let body = body::to_bytes(request.into_body(), 1 << 20).await.expect("whole");
            *hears.lock().expect("whole") =
                format!("{tenant} {credentials} {}", String::from_utf8_lossy(&body));
            "\"5.745\"\n"
        }
    };
    let routes = Router::new()
        .route("/price/hunter2", post(answer))
        .route("/broken", post(async || (StatusCode::BAD_GATEWAY, "hunter2")))
        .route("/slow", post(async || tokio::time::sleep(Duration::from_secs(600)).await));
    let address = serve(routes).await;
    let at = |path: &str| {
        pricing(&format!("  hook: {{url: 'http://user:hunter2@{address}{path}', timeout: 500ms}}"))
    };
    let (good, _) = at("/price/hunter2");
    assert!(matches!(quoted(&good).await, Some(Quoted::Priced { .. })), "{:?}", quoted(&good).await);
    let told = heard.lock().expect("whole").clone();
    assert!(told.contains(&some_order().id.tenant.to_string()), "{told}");
    assert!(told.contains("Basic ") && told.contains("\"price_precision\":6"), "{told}");
    assert!(!format!("{good:?}").contains("hunter2"));
    for (path, expected) in [("/broken", "HTTP 502"), ("/slow", "within 500ms"), ("/nowhere", "HTTP 404")] {
        let problem = problem(&at(path).0).await;
        assert!(problem.contains(expected) && !problem.contains("hunter2"), "{path}: {problem}");
    }
    let (closed, _) = pricing("  hook: {url: 'http://user:hunter2@127.0.0.1:1/'}");
    let problem = problem(&closed).await;
    assert!(problem.contains("could not be reached") && !problem.contains("hunter2"), "{problem}");
}

#[tokio::test]
async fn a_failed_program_declines_the_order_and_an_order_that_does_not_fit_is_not_asked_about() {
    let (pricing, _) = pricing(&hook("exit 1", ""));
    let (now, capacity) = (pricing.now(), one_node(0));
    let Terms { tariff, policy, .. } = &*now.terms;
    let circumstances = Circumstances::new(&capacity, tariff, policy, 0);
    let quoted = pricing.quoted(&now.terms, &some_order(), &circumstances).await;
    let circumstances = Circumstances { quoted: quoted.as_ref(), ..circumstances };
    let Decision::Decline { reason } = bidengine::decide(&some_order(), &circumstances) else {
        panic!("it is bid on")
    };
    assert!(matches!(reason, Reason::PriceHook { .. }), "{reason}");
    let large = order(2, spec(384_000, 0));
    assert_eq!(
        pricing.quoted(&now.terms, &large, &Circumstances::new(&capacity, tariff, policy, 0)).await,
        None
    );
}

/// What metrics show.
async fn shown(metrics: &Metrics) -> String {
    let stage = Stage::new().await;
    let told = metrics.render(&stage.store, PROVIDER).await.expect("text");
    crate::lint::lint(&told);
    told
}

fn rate(pricing: &Pricing) -> Option<String> {
    pricing.now().fx.map(|fx| fx.rate.to_string())
}

#[tokio::test]
async fn the_first_source_that_answers_counts_and_a_leap_needs_another_to_confirm_it() {
    let told = Arc::new(Mutex::new([String::from("1.08"), String::from("1.09")]));
    let tells = |index: usize| {
        let told = Arc::clone(&told);
        get(async move || {
            let worth = told.lock().expect("whole")[index].clone();
            match worth.as_str() {
                "" => Err(StatusCode::SERVICE_UNAVAILABLE),
                worth => Ok(format!("{{\"rates\": {{\"USD\": {worth}}}}}")),
            }
        })
    };
    let address = serve(Router::new().route("/0", tells(0)).route("/1", tells(1))).await;
    let source = |index: usize| format!("{{http: {{url: 'http://{address}/{index}', pointer: /rates/USD}}}}");
    let (pricing, metrics) = pricing(&format!(
        "  fx: {{currency: EUR, sources: [{}, {}], maxStaleness: 15m}}",
        source(0),
        source(1)
    ));
    let clock = Clock::manual(1000);
    let mut feed = Feed::new(pricing.clone(), None, clock.clone());
    let mut turn = async |zero: &str, one: &str| {
        *told.lock().expect("whole") = [zero.to_owned(), one.to_owned()];
        feed.turn().await.expect("a turn");
        rate(&pricing)
    };
    assert_eq!(turn("", "").await, None, "nobody told anything yet");
    assert_eq!(turn("1.08", "1.09").await.as_deref(), Some("1.08"));
    assert_eq!(turn("", "1.10").await.as_deref(), Some("1.1"), "the first is silent");
    assert_eq!(turn("1.5", "1.10").await.as_deref(), Some("1.1"), "the second does not confirm the leap");
    assert_eq!(turn("1.5", "").await.as_deref(), Some("1.1"), "nobody confirms it");
    assert_eq!(turn("1.5", "1.6").await.as_deref(), Some("1.6"), "another tells about the same");
    clock.set(1900);
    assert_eq!(turn("3", "").await.as_deref(), Some("1.6"), "the last one still counts");
    clock.set(1901);
    assert_eq!(turn("3", "").await.as_deref(), Some("3"), "the last one is too old to doubt by");
    let shown = shown(&metrics).await;
    assert!(shown.contains("berth_price_fx_rate{pair=\"EUR/USD\"} 3\n"), "{shown}");
    assert!(shown.contains(&format!("berth_price_fx_age_seconds{{source=\"{address}\"}}")), "{shown}");
    assert!(shown.contains(&format!("berth_price_fx_failures_total{{source=\"{address}\"}}")), "{shown}");
}

#[tokio::test]
async fn a_source_that_tells_an_old_worth_tells_nothing() {
    let routes = Router::new().route("/", get(async || r#"{"worth": "1.08", "at": 1000}"#));
    let address = serve(routes).await;
    let (pricing, _) = pricing(&format!(
        "  fx: {{currency: EUR, sources: [{{http: {{url: 'http://{address}/', pointer: /worth, timePointer: /at}}}}, {{static: '1.2'}}]}}"
    ));
    let clock = Clock::manual(1900);
    Feed::new(pricing.clone(), None, clock.clone()).turn().await.expect("a turn");
    let fx = pricing.now().fx.expect("told");
    assert_eq!((fx.rate, fx.at), ("1.08".parse::<FxRate>().expect("a rate"), 1000));
    clock.set(1901);
    Feed::new(pricing.clone(), None, clock).turn().await.expect("a turn");
    assert_eq!(pricing.now().fx.expect("told").source, "static");
}

#[tokio::test]
async fn a_changed_file_changes_prices_and_a_bad_one_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("provider.yaml");
    let good = written("");
    std::fs::write(&file, &good).expect("written");
    let (config, metrics, clock) = (configured(""), Metrics::new().expect("metrics"), Clock::manual(1000));
    let pricing = Pricing::new(Terms::of(&config), metrics.clone());
    let feed = Feed::new(pricing.clone(), None, clock.clone());
    let woken = Nudge::default();
    let mut reload = Reload::new(
        file.clone(),
        |_| None,
        config.bids,
        pricing.clone(),
        feed,
        vec![woken.clone()],
        clock.clone(),
    )
    .expect("is there");
    let is_kept = |before: &Now| Arc::ptr_eq(&before.terms, &pricing.terms());

    let before = pricing.now();
    assert_eq!(reload.turn().await.expect("a turn").changed, 0);
    assert!(is_kept(&before));

    clock.set(2000);
    std::fs::write(&file, good.replace("cpuThread: \"1.60\"", "cpuThread: cheap")).expect("written");
    reload.turn().await.expect("a turn");
    assert!(is_kept(&before), "a bad file keeps the last good one");
    assert_eq!(reload.turn().await.expect("a turn").changed, 0, "it is told once");
    let seen = shown(&metrics).await;
    let hash = |seen: &str| {
        let told = seen.lines().filter(|line| line.starts_with("berth_config_info{"));
        told.map(str::to_owned).collect::<Vec<_>>()
    };
    let first = hash(&seen);
    assert!(first.len() == 1 && first[0].ends_with("\"} 1"), "{first:?}");
    assert!(seen.contains("berth_config_reload_failed 1"), "{seen}");
    assert!(seen.contains("berth_config_reload_success_timestamp_seconds 1000"), "{seen}");

    // Another currency comes with its worth, before anything is priced by it.
    let other = written("  fx: {currency: EUR, sources: [{static: '1.08'}]}")
        .replace("cpuThread: \"1.60\"", "cpuThread: \"3.20\"")
        .replace("  # maintenance: false", "  maintenance: true")
        .replace("  # validFor: 5m", "  validFor: 50m");
    assert_ne!(other, good);
    std::fs::write(&file, other).expect("written");
    reload.turn().await.expect("a turn");
    let Now { terms, fx, .. } = pricing.now();
    assert_ne!(terms.tariff, before.terms.tariff);
    assert!(terms.policy.maintenance);
    assert_eq!(terms.policy.bid_secs, 300, "what needs a restart stays as it was");
    assert_eq!(fx.map(|fx| fx.rate.to_string()).as_deref(), Some("1.08"));
    tokio::time::timeout(Duration::from_secs(5), woken.wait()).await.expect("the bidder is woken");
    let seen = shown(&metrics).await;
    assert!(seen.contains("berth_config_reload_failed 0"), "{seen}");
    assert!(seen.contains("berth_config_reload_success_timestamp_seconds 2000"), "{seen}");
    assert!(hash(&seen).len() == 1 && hash(&seen) != first, "another configuration is in use");

    // A mounted file is swapped by a link: for a moment it may not be there.
    std::fs::remove_file(&file).expect("removed");
    assert!(reload.turn().await.is_err());
    assert!(Arc::ptr_eq(&terms, &pricing.terms()));
}

/// A purse with so much, or one that cannot be read.
struct Held(Option<(u128, u128)>);

impl Purse for Held {
    async fn gas(&self, _account: Address) -> anyhow::Result<u128> {
        self.0.map(|(gas, _)| gas).ok_or_else(|| anyhow::anyhow!("no answer"))
    }

    async fn stake(&self, _provider: Address) -> anyhow::Result<Option<Stake>> {
        let stake = |(_, bond)| Some(Stake { all: Amount(bond + 5), locked: Amount(5) });
        self.0.map(stake).ok_or_else(|| anyhow::anyhow!("no answer"))
    }
}

#[tokio::test]
async fn what_the_provider_has_is_known_while_the_policy_wants_a_least_of_it_and_it_can_be_read() {
    let metrics = Metrics::new().expect("metrics");
    let config = |floors: &str| {
        let text = EXAMPLE.replace("\npolicy:\n", &format!("\npolicy:\n  floors: {floors}\n"));
        Config::parse(&text, |_| None).expect("is good")
    };
    let pricing = Pricing::new(Terms::of(&config("{gas: '0.05'}")), metrics.clone());
    let has = |held: Held| Watch::new(held, US, PROVIDER, pricing.clone());
    has(Held(Some((7, 9)))).turn().await.expect("read");
    assert_eq!((pricing.now().means.gas_wei, pricing.now().means.free_bond), (Some(7), None));
    let seen = shown(&metrics).await;
    for (state, units) in [("free", 9), ("locked", 5)] {
        assert!(seen.contains(&format!("berth_stake_units{{state=\"{state}\"}} {units}\n")), "{seen}");
    }
    pricing.change(Terms::of(&config("{gas: '0.05', bond: '100'}")), None);
    has(Held(Some((7, 9)))).turn().await.expect("read");
    assert_eq!(pricing.now().means.free_bond, Some(Amount(9)));
    assert!(has(Held(None)).turn().await.is_err());
    assert_eq!((pricing.now().means.gas_wei, pricing.now().means.free_bond), (None, None));
}
