//! `cargo e2e bench`: how long things take, measured on a bench of its own and told as figures. Nothing here passes or
//! fails but what has a target (the costs of the contracts); a duration is only worth something beside another one of the
//! same run.

mod agent;
mod bidengine;
mod chain;
pub mod gas;
mod hall;
mod lease;
mod orders;
mod stage;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::future::LocalBoxFuture;
use serde_json::json;

use crate::addresses::NODE;
use crate::progress::{human, say};
use crate::report::table;
use crate::{kubectl, visitor, wait, workspace};

pub use self::bidengine::bidengine;
pub use self::chain::chain;

const PATIENCE: Duration = Duration::from_secs(60);
const ROUNDS: usize = 10;

/// One thing that can be measured.
struct Measure {
    name: &'static str,
    /// What p50 and p99 may be; empty where nothing is promised.
    target: &'static str,
    /// What passes between the two moments.
    what: &'static str,
    /// Answers how long each round took.
    run: fn() -> LocalBoxFuture<'static, Result<Vec<Duration>>>,
}

/// What a lease's way to Ready is measured against, in the same run.
const FLOOR: &str = "pod_to_ready";
const LEASE: &str = "award_to_ready";

/// What a bid's way to its block is measured against, in the same run.
const TRANSACTION: &str = "bare_transaction";
const BID: &str = "order_to_bid";
const CROWD: &str = "crowd_to_bids";

/// What has its floor among the measures: a ratio says more than either figure, which changes from machine to machine.
const FLOORS: [(&str, &str); 2] = [(LEASE, FLOOR), (BID, TRANSACTION)];

const MEASURES: [Measure; 6] = [
    Measure {
        name: FLOOR,
        target: "",
        what: "kubectl apply of a pod → Ready: the floor of every lease",
        run: || Box::pin(rounds(pod_to_ready)),
    },
    Measure {
        name: LEASE,
        target: "",
        what: "a lease is on chain → its status is ready, manifest and all; a block a second",
        run: || Box::pin(lease::award_to_ready()),
    },
    Measure {
        name: TRANSACTION,
        target: "",
        what: "a call is simulated, signed and sent → its block, where a transaction is mined at once: the floor of every bid",
        run: || Box::pin(orders::bare_transaction()),
    },
    Measure {
        name: BID,
        target: "50 ms, 250 ms",
        what: "an order's block → the bid's block, where a transaction is mined at once",
        run: || Box::pin(orders::order_to_bid()),
    },
    Measure {
        name: CROWD,
        target: "2.0 s, 2.0 s",
        what: "a block with 300 orders → the block with the last of their bids, where a transaction is mined at once",
        run: || Box::pin(orders::crowd_to_bids()),
    },
    Measure {
        name: "route_to_page",
        target: "",
        what: "kubectl apply of a route → first 200 through Envoy",
        run: || Box::pin(rounds(route_to_page)),
    },
];

/// What the agent of a node takes, measured inside the bench and told in a table of its own.
const AGENT: &str = "agent";

/// What [`BIDENGINE`] names inside the bench.
const OF_THE_BID_ENGINE: [&str; 4] = [TRANSACTION, BID, CROWD, AGENT];

/// What is measured without a bench: the pure crate of documents, by its own measuring program.
pub const MANIFESTS: &str = "manifests";

/// What is measured of bids: decisions and capacity without a bench, by their own measuring programs, and then on the bench from
/// orders to bids, and what the agent of a node takes.
pub const BIDENGINE: &str = "bidengine";

/// What is counted without a bench: the gas of the contracts' calls.
pub const CONTRACTS: &str = "contracts";

/// What is measured on a chain alone: how fast it is sent to and read.
pub const CHAIN: &str = "chain";

/// What is no measure by itself.
const OTHERS: [&str; 5] = [MANIFESTS, BIDENGINE, CONTRACTS, CHAIN, AGENT];

/// Refuses a name that nothing is called.
///
/// # Errors
/// With the names that there are.
pub fn ensure_known(name: Option<&str>) -> Result<()> {
    match name {
        Some(name) if !OTHERS.contains(&name) && MEASURES.iter().all(|measure| measure.name != name) => {
            let names = MEASURES.map(|measure| measure.name).join(", ");
            bail!("nothing that is measured is called {name}: there is {names}, {}", OTHERS.join(", "))
        }
        _ => Ok(()),
    }
}

/// Measures from document to manifest and from manifest to objects; the figures go to standard output as they come.
///
/// # Errors
/// When the measuring program cannot be built, or fails.
pub fn manifests() -> Result<()> {
    let mut cargo = workspace::cargo()?;
    cargo.args(["bench", "--quiet", "--package", "manifests", "--bench", "language"]);
    cargo.args(["--", "--discard-baseline", "--quiet"]);
    let status = cargo.status().context("failed to start cargo")?;
    ensure!(status.success(), "measuring the manifests broke off ({status}): see the words above");
    Ok(())
}

/// Measures what is called `name`, or everything, and tells the figures. Runs inside a bench.
///
/// # Errors
/// When a round does not come to its end.
pub async fn run(name: Option<&str>) -> Result<()> {
    let is_wanted = |measure: &str| match name {
        None => true,
        Some(BIDENGINE) => OF_THE_BID_ENGINE.contains(&measure),
        // What has a floor says little without it.
        Some(name) => name == measure || FLOORS.contains(&(name, measure)),
    };
    let mut rows = Vec::new();
    let mut middle = BTreeMap::new();
    for measure in MEASURES.iter().filter(|measure| is_wanted(measure.name)) {
        let took = (measure.run)().await;
        let mut took = took.with_context(|| format!("measuring {} broke off", measure.name))?;
        took.sort();
        middle.insert(measure.name, quantile(&took, 50));
        rows.push([
            measure.name.to_owned(),
            took.len().to_string(),
            human(quantile(&took, 50)),
            human(quantile(&took, 99)),
            measure.target.to_owned(),
            measure.what.to_owned(),
        ]);
    }
    if !rows.is_empty() {
        table(["measure", "rounds", "p50", "p99", "target", "from → to"], &rows);
    }
    for (name, floor_name) in FLOORS {
        if let (Some(took), Some(floor)) = (middle.get(name), middle.get(floor_name)) {
            let more = human(took.saturating_sub(*floor));
            let ratio = took.as_secs_f64() / floor.as_secs_f64();
            say(format_args!(
                "{name} is {more} above its floor {floor_name}, {ratio:.2} times as long (p50)"
            ));
        }
    }
    if is_wanted(AGENT) {
        agent::weigh().await.context("weighing the agent broke off")?;
    }
    Ok(())
}

async fn rounds(one: impl AsyncFn(usize) -> Result<Duration>) -> Result<Vec<Duration>> {
    let mut took = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        took.push(one(round).await.with_context(|| format!("round {} of {ROUNDS} broke off", round + 1))?);
    }
    Ok(took)
}

/// The smallest value that at least so many of a hundred values do not exceed.
fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

async fn pod_to_ready(round: usize) -> Result<Duration> {
    let name = format!("measured-{round}");
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "measured"}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "web", "image": "berthdemo/hello:1.0"}],
        },
    });
    wait_for_service_account().await?;
    let start = Instant::now();
    kubectl::apply(&pod.to_string()).await?;
    kubectl::run(&["wait", "--for=condition=Ready", "--timeout=60s", "pod", &name]).await?;
    let took = start.elapsed();
    kubectl::run(&["delete", "pod", &name]).await?;
    Ok(took)
}

async fn route_to_page(round: usize) -> Result<Duration> {
    let host = format!("measured-{round}.example.test");
    let served = json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "served", "labels": {"app": "served"}},
            "spec": {"containers": [{"name": "web", "image": "berthdemo/hello:1.0"}]},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "served"},
            "spec": {"selector": {"app": "served"}, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    ]});
    wait_for_service_account().await?;
    kubectl::apply(&served.to_string()).await?;
    kubectl::run(&["wait", "--for=condition=Ready", "--timeout=60s", "pod", "served"]).await?;
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": format!("measured-{round}")},
        "spec": {
            "parentRefs": [{"name": crate::ingress::GATEWAY, "namespace": crate::ingress::GATEWAY_NAMESPACE}],
            "hostnames": [host],
            "rules": [{"backendRefs": [{"name": "served", "port": 80}]}],
        },
    });
    let start = Instant::now();
    kubectl::apply(&route.to_string()).await?;
    visitor::page(NODE, &host, "/", PATIENCE).await?;
    Ok(start.elapsed())
}

/// A fresh cluster takes a moment until pods may be made in a namespace.
async fn wait_for_service_account() -> Result<()> {
    wait::until("the default service account", PATIENCE, async || {
        let found = kubectl::run(&["get", "serviceaccount", "default", "--output", "name"]).await?;
        ensure!(found.contains("default"), "it is not there yet");
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let took: Vec<Duration> = (1..=10).map(Duration::from_millis).collect();
        assert_eq!(quantile(&took, 50), Duration::from_millis(5));
        assert_eq!(quantile(&took, 99), Duration::from_millis(10));
        assert_eq!(quantile(&took[..1], 50), Duration::from_millis(1));
    }

    #[test]
    fn a_name_that_nothing_has_is_refused_with_those_that_there_are() {
        let error = ensure_known(Some("speed")).unwrap_err().to_string();
        assert!(error.contains("pod_to_ready"), "{error}");
        assert!(ensure_known(None).is_ok());
        assert!(ensure_known(Some(MANIFESTS)).is_ok());
        assert!(ensure_known(Some(BIDENGINE)).is_ok());
        assert!(ensure_known(Some(CONTRACTS)).is_ok());
    }
}
