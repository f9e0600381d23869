//! Which of several installs with one operator key may send: the one that holds a Kubernetes Lease named after the key.
//!
//! Two daemons on one key would spoil each other's transactions and answer each other's orders. So a daemon follows the chain and
//! watches the cluster as soon as it starts, but bids, deploys, sends and serves tenants only while it holds the Lease. While
//! the API server is away it keeps what runs and sends nothing. Once another daemon has taken the Lease it stops.
//!
//! Whose clock is right does not matter: a Lease is abandoned when it was seen unchanged for its whole duration.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, ensure};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::{Api, Client};
use manifests::objects::labels;
use manifests::order::Address;
use market::call::Call;
use market::sender::{Outcome, SendError};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::inventory::client::words;
use crate::lifecycle::Stop;
use crate::outbox::Say;

/// How long a Lease must stay unchanged before another daemon takes it.
const DURATION: Duration = Duration::from_secs(15);
/// How often it is renewed or looked at.
const RENEW: Duration = Duration::from_secs(4);
/// How long after a renewal began its holder may still send: others wait longer.
const TRUST: Duration = Duration::from_secs(10);
/// How long the API server may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a daemon knows of its own right to send.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// It has none, and this sentence says why.
    Waits(String),
    /// It has it until then.
    Leads(Instant),
}

/// Tells whether this daemon may send; clones tell the same.
#[derive(Debug, Clone)]
pub struct Leader {
    key: Address,
    standing: watch::Receiver<Standing>,
}

impl Leader {
    /// The key that it may send with.
    #[must_use]
    pub fn key(&self) -> Address {
        self.key
    }

    /// Why it may not send at this moment; nothing while it may.
    #[must_use]
    pub fn waits(&self, now: Instant) -> Option<String> {
        match &*self.standing.borrow() {
            Standing::Waits(why) => Some(why.clone()),
            Standing::Leads(until) if now < *until => None,
            Standing::Leads(_) => {
                Some("the Lease could not be renewed in time, so nothing is sent".to_owned())
            }
        }
    }

    /// Resolves when this daemon may send.
    pub async fn leads(&self) {
        let mut standing = self.standing.clone();
        loop {
            standing.mark_unchanged();
            if self.waits(Instant::now()).is_none() {
                return;
            }
            if standing.changed().await.is_err() {
                // The candidate is gone, and with it the right to send.
                std::future::pending::<Infallible>().await;
            }
        }
    }

    /// A sender that says nothing while this daemon may not.
    #[must_use]
    pub fn guard<S: Say>(&self, sender: S) -> Guarded<S> {
        Guarded { leader: self.clone(), sender }
    }
}

/// A sender that waits for the right to send.
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    leader: Leader,
    sender: S,
}

impl<S: Say> Say for Guarded<S> {
    async fn recover(&self) -> Result<(), SendError> {
        self.leader.leads().await;
        self.sender.recover().await
    }

    async fn say(&self, intents: &[(String, Call)]) -> Vec<Result<Outcome, SendError>> {
        self.leader.leads().await;
        self.sender.say(intents).await
    }
}

/// A Lease as it was last seen, and since when it has been so.
#[derive(Debug)]
struct Seen {
    version: Option<String>,
    since: Instant,
}

/// The Lease that a daemon wants, and who wants it.
#[derive(Clone)]
pub struct Claim {
    client: Client,
    namespace: String,
    name: String,
    operator: Address,
    me: String,
}

impl Claim {
    /// The Lease of the key `operator` in `namespace`, wanted by `me`: a name that no other daemon has at the same time, and that
    /// this one has again after a restart.
    #[must_use]
    pub fn new(client: Client, namespace: &str, operator: Address, me: String) -> Self {
        let name = format!("berth-sender-{}", label(operator));
        Self { client, namespace: namespace.to_owned(), name, operator, me }
    }

    /// Leaves the Lease to others, if this daemon holds it. To be called when nothing more is sent.
    pub async fn release(&self) {
        let released = tokio::time::timeout(PATIENCE, async {
            let held = self.leases().get(&self.name).await?;
            if holder(&held) == Some(self.me.as_str()) { self.free(&held).await } else { Ok(()) }
        });
        match released.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(
                    lease = self.name,
                    error = words(&error),
                    "the Lease could not be given up; it runs out by itself"
                );
            }
            Err(_) => warn!(
                lease = self.name,
                "the API server did not answer in time; the Lease runs out by itself"
            ),
        }
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn free(&self, held: &Lease) -> Result<(), kube::Error> {
        let mut free = self.renewed(Some(held));
        if let Some(spec) = &mut free.spec {
            spec.holder_identity = None;
        }
        self.leases().replace(&self.name, &PostParams::default(), &free).await.map(drop)
    }

    fn renewed(&self, before: Option<&Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let spec = before.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let changes_hands = spec.holder_identity.as_deref() != Some(self.me.as_str());
        let transitions = spec.lease_transitions.unwrap_or(0) + i32::from(changes_hands && before.is_some());
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                resource_version: before.and_then(|lease| lease.metadata.resource_version.clone()),
                labels: Some([(labels::OPERATOR.to_owned(), label(self.operator))].into()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.me.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                acquire_time: if changes_hands { Some(now.clone()) } else { spec.acquire_time },
                renew_time: Some(now),
                lease_transitions: Some(transitions),
                ..LeaseSpec::default()
            }),
        }
    }

    fn held_by(&self, holder: &str, namespace: &str) -> String {
        let Self { operator, name, .. } = self;
        format!(
            "another daemon, {holder}, sends with the key {operator}: it holds the Lease {name} in namespace {namespace}. Stop it, or \
             give this one a key of its own"
        )
    }
}

/// Strives for a Lease and keeps it.
pub struct Candidate {
    claim: Claim,
    /// The Leases of this key by namespace.
    seen: BTreeMap<String, Seen>,
    /// Whether it held the Lease before.
    led: bool,
    standing: watch::Sender<Standing>,
}

impl Candidate {
    /// A candidate, and what tells whether it leads.
    #[must_use]
    pub fn new(claim: Claim) -> (Self, Leader) {
        let (standing, told) = watch::channel(Standing::Waits("the Lease was not asked for yet".to_owned()));
        let leader = Leader { key: claim.operator, standing: told };
        (Self { claim, seen: BTreeMap::new(), led: false, standing }, leader)
    }

    /// Strives for the Lease and renews it until stopping begins.
    ///
    /// # Errors
    /// As [`Candidate::turn`].
    pub async fn run(mut self, stop: Stop) -> anyhow::Result<()> {
        // Two that gave way to each other do not meet again at the same moment.
        let pace = RENEW + Duration::from_millis(hash(&self.claim.me) % 1000);
        loop {
            self.turn(Instant::now()).await?;
            tokio::select! {
                () = tokio::time::sleep(pace) => {}
                () = stop.taking() => return Ok(()),
            }
        }
    }

    /// Takes the Lease or renews it, where it is free or its own, and tells the [`Leader`] what came of it.
    ///
    /// # Errors
    /// When another daemon took the Lease from this one, which must then send nothing more.
    pub async fn turn(&mut self, now: Instant) -> anyhow::Result<()> {
        let turn = tokio::time::timeout(PATIENCE, self.strive(now)).await;
        match turn.unwrap_or_else(|_| Err(anyhow!("the API server did not answer in time"))) {
            Ok(None) => {
                if !self.led {
                    info!(
                        lease = self.claim.name,
                        holder = self.claim.me,
                        "holds the Lease, so this daemon sends"
                    );
                }
                self.led = true;
                self.standing.send_replace(Standing::Leads(now + TRUST));
            }
            Ok(Some(why)) => {
                self.wait(why.clone());
                ensure!(
                    !self.led,
                    "{why}. This one could not renew it in time and stops, so that no two send with one key"
                );
            }
            Err(error) => {
                let why = format!("the Lease {} cannot be written: {error:#}", self.claim.name);
                if self.led { warn!("{why}; it will be tried again") } else { self.wait(why) }
            }
        }
        Ok(())
    }

    fn wait(&self, why: String) {
        let standing = Standing::Waits(why);
        if *self.standing.borrow() != standing
            && let Standing::Waits(why) = &standing
        {
            warn!("nothing is sent: {why}");
        }
        self.standing.send_replace(standing);
    }

    /// Takes or renews the Lease; otherwise says who has it. A daemon that does not have it yet takes it only where nobody holds one
    /// in any namespace, and gives it back if somebody took one elsewhere at the same moment: of two that write before they look,
    /// one sees the other.
    async fn strive(&mut self, now: Instant) -> anyhow::Result<Option<String>> {
        let leases = self.claim.leases();
        let found = leases.get_opt(&self.claim.name).await.map_err(|error| anyhow!(words(&error)))?;
        if let Some(found) = &found
            && let Some(holder) = holder(found)
            && holder != self.claim.me
            && self.is_alive(found, now)
        {
            return Ok(Some(self.claim.held_by(holder, &self.claim.namespace)));
        }
        if !self.led
            && let Some(why) = self.elsewhere(now).await?
        {
            return Ok(Some(why));
        }
        let wanted = self.claim.renewed(found.as_ref());
        let written = match found {
            Some(_) => leases.replace(&self.claim.name, &PostParams::default(), &wanted).await,
            None => leases.create(&PostParams::default(), &wanted).await,
        };
        let taken = match written {
            Ok(taken) => taken,
            // Whoever it was is seen at the next turn.
            Err(kube::Error::Api(status)) if status.code == 409 => bail!("somebody else just wrote it"),
            Err(error) => bail!(words(&error)),
        };
        if !self.led
            && let Some(why) = self.elsewhere(now).await?
        {
            self.claim.free(&taken).await.map_err(|error| anyhow!(words(&error)))?;
            return Ok(Some(why));
        }
        Ok(None)
    }

    /// Who holds a Lease of this key in another namespace.
    async fn elsewhere(&mut self, now: Instant) -> anyhow::Result<Option<String>> {
        let of_the_key =
            ListParams::default().labels(&format!("{}={}", labels::OPERATOR, label(self.claim.operator)));
        let leases = Api::<Lease>::all(self.claim.client.clone()).list(&of_the_key).await;
        for lease in leases.map_err(|error| anyhow!(words(&error)))? {
            let namespace = lease.metadata.namespace.as_deref().unwrap_or_default();
            if namespace != self.claim.namespace
                && let Some(holder) = holder(&lease)
                && self.is_alive(&lease, now)
            {
                return Ok(Some(self.claim.held_by(holder, namespace)));
            }
        }
        Ok(None)
    }

    /// Whether a Lease changed lately, as far as this daemon has looked.
    fn is_alive(&mut self, lease: &Lease, now: Instant) -> bool {
        let namespace = lease.metadata.namespace.clone().unwrap_or_default();
        let version = lease.metadata.resource_version.clone();
        let seen =
            self.seen.entry(namespace).or_insert_with(|| Seen { version: version.clone(), since: now });
        if seen.version != version {
            *seen = Seen { version, since: now };
        }
        let told = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        let duration =
            told.and_then(|seconds| u64::try_from(seconds).ok()).map_or(DURATION, Duration::from_secs);
        now.duration_since(seen.since) < duration
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// An account as a label and part of a name.
fn label(operator: Address) -> String {
    operator.to_string().to_lowercase()
}
