//! Of daemons with one operator key, one sends.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use futures::future::join_all;
use provider::leader::{Candidate, Claim, Leader};
use serde_json::json;

use crate::apiserver::Apiserver;

const KEY: &str = "0x4242424242424242424242424242424242424242";
const LEASE: &str = "berth-sender-0x4242424242424242424242424242424242424242";

/// How often each looks; they are told the time.
const PACE: Duration = Duration::from_secs(4);
/// So many turns of a daemon that is silent, and it is taken for dead.
const TURNS_UNTIL_DEAD: u32 = 4;

struct Daemon {
    candidate: Candidate,
    leader: Leader,
    claim: Claim,
}

impl Daemon {
    fn new(server: &Apiserver, key: &str, namespace: &str, me: &str) -> Self {
        let claim = Claim::new(server.client(), namespace, key.parse().expect("an address"), me.to_owned());
        let (candidate, leader) = Candidate::new(claim.clone());
        Self { candidate, leader, claim }
    }

    /// One that leads since `now`.
    async fn leading(server: &Apiserver, now: Instant) -> Self {
        let mut daemon = Self::new(server, KEY, "berth", "one:8443");
        assert!(daemon.leads_at(now).await);
        daemon
    }

    async fn leads_at(&mut self, now: Instant) -> bool {
        self.candidate.turn(now).await.expect("nobody took its Lease");
        self.leader.waits(now).is_none()
    }

    fn why(&self, now: Instant) -> String {
        self.leader.waits(now).expect("it does not lead")
    }
}

/// What tells that a daemon without rivals may send.
pub(crate) async fn alone() -> Leader {
    Daemon::leading(&Apiserver::default(), Instant::now()).await.leader
}

#[tokio::test]
async fn a_second_daemon_with_the_key_waits_and_says_who_sends() {
    let (server, start) = (Apiserver::default(), Instant::now());
    let mut first = Daemon::leading(&server, start).await;
    let mut others = ["berth", "elsewhere"].map(|namespace| Daemon::new(&server, KEY, namespace, "two:8443"));
    for turn in 0..100 {
        let now = start + PACE * turn;
        assert!(first.leads_at(now).await);
        for other in &mut others {
            assert!(!other.leads_at(now).await);
            for word in ["one:8443", LEASE, "namespace berth", "a key of its own"] {
                assert!(other.why(now).contains(word), "{} says nothing of {word}", other.why(now));
            }
        }
    }
}

#[tokio::test]
async fn a_daemon_with_another_key_does_not_wait() {
    let (server, now) = (Apiserver::default(), Instant::now());
    Daemon::leading(&server, now).await;
    assert!(Daemon::new(&server, &KEY.replace("42", "43"), "berth", "two:8443").leads_at(now).await);
}

#[tokio::test]
async fn a_lease_that_was_given_up_is_taken_at_once_and_an_abandoned_one_when_its_time_is_over() {
    let (server, start) = (Apiserver::default(), Instant::now());
    let first = Daemon::leading(&server, start).await;
    let mut second = Daemon::new(&server, KEY, "elsewhere", "two:8443");
    assert!(!second.leads_at(start).await);
    first.claim.release().await;
    assert!(second.leads_at(start).await, "it was given up");
    let mut third = Daemon::new(&server, KEY, "berth", "three:8443");
    for turn in 0..TURNS_UNTIL_DEAD {
        assert!(!third.leads_at(start + PACE * turn).await, "nobody knows yet that the second is dead");
    }
    assert!(third.leads_at(start + PACE * TURNS_UNTIL_DEAD).await, "the second is dead");
}

#[tokio::test]
async fn a_daemon_gives_up_no_lease_but_its_own() {
    let (server, start) = (Apiserver::default(), Instant::now());
    let mut first = Daemon::leading(&server, start).await;
    let mut second = Daemon::new(&server, KEY, "berth", "two:8443");
    second.claim.release().await;
    assert!(!second.leads_at(start).await);
    assert!(first.leads_at(start + PACE).await);
}

#[tokio::test]
async fn a_daemon_that_starts_again_has_its_own_lease_at_once() {
    let (server, now) = (Apiserver::default(), Instant::now());
    drop(Daemon::leading(&server, now).await);
    Daemon::leading(&server, now).await;
}

#[tokio::test]
async fn without_an_api_server_nothing_is_sent_and_nothing_stops() {
    let (server, start) = (Apiserver::default(), Instant::now());
    let mut daemon = Daemon::leading(&server, start).await;
    server.refuse("leases", StatusCode::SERVICE_UNAVAILABLE, "the server is away");
    assert!(daemon.leads_at(start + PACE).await, "the last renewal is fresh enough");
    let late = start + PACE * 3;
    assert!(!daemon.leads_at(late).await);
    assert!(daemon.why(late).contains("could not be renewed in time"), "{}", daemon.why(late));
    server.refuse_nothing();
    assert!(daemon.leads_at(start + PACE * 1000).await, "the server is back");
}

#[tokio::test]
async fn a_holder_stops_sending_before_another_can_have_its_lease() {
    let (server, start) = (Apiserver::default(), Instant::now());
    let first = Daemon::leading(&server, start).await;
    let mut second = Daemon::new(&server, KEY, "berth", "two:8443");
    let mut after = Duration::ZERO;
    while !second.leads_at(start + after).await {
        after += Duration::from_millis(100);
    }
    let silent = (0..)
        .map(|step| Duration::from_millis(100 * step))
        .find(|at| first.leader.waits(start + *at).is_some());
    assert!(
        silent.is_some_and(|silent| silent + PACE <= after),
        "silent after {silent:?}, taken after {after:?}"
    );
}

#[tokio::test]
async fn a_daemon_whose_lease_was_taken_stops() {
    let (server, start) = (Apiserver::default(), Instant::now());
    let mut daemon = Daemon::leading(&server, start).await;
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/berth/leases/{LEASE}");
    server.change(&path, json!({"spec": {"holderIdentity": "two:8443"}}));
    let error = daemon.candidate.turn(start).await.unwrap_err().to_string();
    assert!(error.contains("two:8443") && error.contains("no two send"), "{error}");
    assert!(daemon.leader.waits(start).is_some());
}

#[tokio::test]
async fn of_daemons_that_start_at_the_same_moment_in_three_namespaces_never_two_lead() {
    for _ in 0..20 {
        let (server, now) = (Apiserver::default(), Instant::now());
        let mut daemons = ["here", "there", "yonder"].map(|place| Daemon::new(&server, KEY, place, place));
        let leads = join_all(daemons.iter_mut().map(|daemon| daemon.leads_at(now))).await;
        let leaders = leads.into_iter().filter(|leads| *leads).count();
        assert!(leaders <= 1, "{leaders} lead");
        // Those that gave way look at times of their own.
        let mut leaders = 0;
        for daemon in &mut daemons {
            leaders += u32::from(daemon.leads_at(now).await);
        }
        assert_eq!(leaders, 1);
    }
}
