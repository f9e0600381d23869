//! Loop: active leases × manifests → objects → cluster → status; closed leases → nothing left of them.
//!
//! It starts from the store and the cluster each time and needs no memory: what it remembers only saves calls. A cluster that
//! cannot be seen is left as it is, and so is one lease's part when only that part fails. Stopping deletes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use manifests::decision::Placement;
use manifests::group::OrderSpec;
use manifests::manifest::{Group, Manifest};
use manifests::objects::{self, Given, LeaseContext, Object, Objects, SecretValue, labels, render};
use manifests::order::{Address, LeaseId};
use market::api::LeaseState as State;

use super::apply::{Applier, is_above_quota};
use super::cluster::Cluster;
use super::health::{Verdict, node};
use super::names::{lease_of, selector, short_name};
use super::plan::{Depths, Step, is_given_up, namespaces, step};
use super::pods::Source;
use super::redact::redact;
use super::restarts::{Cause, Restarts};
use super::sight::Sight;
use super::status::Shown;
use super::volumes::{Obstacles, obstacles};
use super::workloads::Workloads;
use crate::clock::Clock;
use crate::inventory::watch::Blind;
use crate::inventory::{Incident, Inventory};
use crate::store::{Health, LeaseRow, LeaseState, LeaseStatus, ReservationState, Store, StoredManifest};
use crate::task::{Nudge, Report, Turn};

/// How many leases are worked on at once.
const AT_ONCE: usize = 8;

/// After this the objects of a lease are applied again although nothing changed here: somebody may have changed them there.
const REAPPLY: Duration = Duration::from_secs(300);

/// How long after an application what is not seen yet is not missed.
const SETTLED: Duration = Duration::from_secs(2);

/// How soon a lease that could not be applied is tried again, and one that waits for the chain is looked at again.
const SOON: Duration = Duration::from_secs(1);

/// How long to wait for the first look at the cluster; its watches wake the loop too.
const FIRST_LOOK: Duration = Duration::from_millis(200);

/// A status is written again after so many seconds although nothing of it changed, so that its age tells that we look.
const STATUS_SECS: u64 = 60;

/// Counts what operators should hear of.
pub trait Observe: Send + Sync {
    /// Something that must not be was seen for the first time.
    fn incident(&self, code: &str);
    /// How many namespaces carry our label and belong to no lease that we know.
    fn held_namespaces(&self, count: usize);
    /// A lease's objects could not be applied.
    fn apply_failed(&self);
    /// How many live leases with a manifest have something missing that should run for them.
    fn missing_workloads(&self, count: usize);
    /// An object of this kind was deleted because nothing wants it any more.
    fn deleted(&self, kind: &str);
    /// Nothing of a lease is left, so long after its end.
    fn torn_down(&self, took: Duration);
    /// Something of leases ended and was begun again, so many times.
    fn began_again(&self, cause: Cause, times: u64);
    /// How many host names of leases are served, and how many wait for their objects to be applied.
    fn hosts(&self, served: usize, waiting: usize);
}

/// The loop's work.
pub struct Reconcile {
    /// Leases, manifests, reservations and status.
    pub store: Store,
    /// Wall-clock time.
    pub clock: Clock,
    /// The provider whose leases these are.
    pub provider: Address,
    /// Nodes, pods and GPUs.
    pub inventory: Inventory,
    /// What runs for leases.
    pub workloads: Workloads,
    /// Changes the cluster.
    pub applier: Applier,
    /// What the cluster is like.
    pub cluster: Cluster,
    /// Where ports on the nodes are reached from outside.
    pub port_host: String,
    /// How sure the chain must be.
    pub depths: Depths,
    /// Wakes whoever frees the reservations of leases that are gone.
    pub freed: Nudge,
    /// Hears of what operators should know.
    pub observe: Arc<dyn Observe>,
    /// What was done before; only saves calls.
    pub memory: Memory,
}

/// What the loop remembers between turns.
#[derive(Debug, Default)]
pub struct Memory {
    hasher: RandomState,
    applied: HashMap<LeaseId, Applied>,
    incidents: BTreeSet<Incident>,
    held: BTreeSet<String>,
    restarts: Restarts,
}

/// The last complete application of a lease's objects.
#[derive(Debug, Clone, Copy)]
struct Applied {
    objects: u64,
    at: Instant,
}

/// A lease with everything that its objects are made of.
struct Job {
    id: LeaseId,
    short_name: String,
    revision: u64,
    group: Group,
    secrets: BTreeMap<String, SecretValue>,
    objects: Objects,
    fingerprint: u64,
}

impl Turn for Reconcile {
    const NAME: &'static str = "leases";

    async fn turn(&mut self) -> anyhow::Result<Report> {
        if self.is_starting() {
            return Ok(Report { changed: 0, due: Some(FIRST_LOOK) });
        }
        let Some(head) = self.store.cursor().await?.map(|block| block.number) else {
            return Ok(Report { changed: 0, due: Some(SOON) });
        };
        let before: HashMap<LeaseId, LeaseStatus> =
            self.store.lease_statuses().await?.into_iter().map(|status| (status.lease, status)).collect();

        let mut changed = 0;
        let mut waits = false;
        let mut jobs = Vec::new();
        let mut ended = Vec::new();
        let mut unrendered = 0;
        let cluster = self.cluster.settings();
        let left_behind = self.left_behind().unwrap_or_default();
        for row in self.store.leases_in_hand(self.provider).await? {
            match step(&row, head, self.depths) {
                Step::Wait => waits = true,
                Step::Remove => ended.push(row),
                Step::Run => match self.job(&row, &cluster, &left_behind).await {
                    Ok(Some(job)) => jobs.push(job),
                    Ok(None) => {}
                    Err(error) => {
                        unrendered += 1;
                        changed += self.tell_problem(row.lease.id, &error, before.get(&row.lease.id)).await?;
                    }
                },
            }
        }

        let failed = self.apply_all(&jobs, &before).await;
        let sight = self.look();
        for job in &jobs {
            let verdict = failed
                .get(&job.id)
                .map(|problem| Verdict { health: Health::Unknown, why: Some(problem.clone()) });
            changed += self.tell(job, verdict, &sight, before.get(&job.id)).await?;
        }
        self.count(&jobs, unrendered, &sight);
        changed += self.remove(&ended, head, &before).await?;
        changed += self.note_devices().await?;
        self.memory.applied.retain(|id, _| jobs.iter().any(|job| job.id == *id));
        let due = (waits || !failed.is_empty() || !ended.is_empty()).then_some(SOON);
        Ok(Report { changed, due })
    }
}

impl Reconcile {
    /// Whether the first look at the cluster is still under way.
    fn is_starting(&self) -> bool {
        let looks = [
            self.inventory.view(self.clock.now()).err(),
            self.workloads.namespaces().err(),
            self.workloads.seen().err(),
        ];
        looks.iter().flatten().any(Blind::is_starting)
    }

    /// What is to run for a lease; `None` while its tenant has sent no manifest.
    async fn job(
        &self,
        row: &LeaseRow,
        cluster: &anyhow::Result<objects::Settings>,
        left_behind: &BTreeMap<String, u32>,
    ) -> anyhow::Result<Option<Job>> {
        let id = row.lease.id;
        let Some(stored) = self.store.manifest(id).await? else { return Ok(None) };
        let StoredManifest { revision, body, .. } = stored;
        let order = self.store.order(id).await?.context("its order is not in the store")?;
        let spec =
            OrderSpec::from_bytes(&order.order.spec).context("the spec that was bid on cannot be read")?;
        let manifest = Manifest::from_json(&body)
            .map_err(|_| anyhow!("its stored manifest is not one of this program's"))?;
        let group = manifest.0.into_iter().find(|group| group.name == spec.name);
        let group = group.context("its manifest has no group of the order's name")?;
        let placement = self.placement(id).await?;

        let cluster = cluster.as_ref().map_err(|problem| anyhow!("{problem:#}"))?;
        let name = short_name(id, self.provider);
        let given = self.given(&name)?;
        let left_behind = left_behind.get(&name).copied().unwrap_or(0);
        let secrets = self.store.secrets(id).await?;
        let context = LeaseContext {
            placement,
            given,
            left_behind,
            secrets,
            ..LeaseContext::unplaced(id, self.provider)
        };
        let objects = render(&group, &context, cluster)?;
        let bodies: Vec<String> = objects.items.iter().map(|object| object.body.to_string()).collect();
        let fingerprint = self.memory.hasher.hash_one(&bodies);
        let (short_name, secrets) = (context.short_id(), context.secrets);
        Ok(Some(Job { id, short_name, revision, group, secrets, objects, fingerprint }))
    }

    /// The ports of nodes and the addresses that the cluster gave to a lease's Services.
    fn given(&self, short_name: &str) -> anyhow::Result<Given> {
        Ok(self.workloads.seen()?.remove(short_name).map(|seen| seen.given()).unwrap_or_default())
    }

    /// How many pods of each lease are to end on nodes that do not answer, by short name.
    fn left_behind(&self) -> Result<BTreeMap<String, u32>, Blind> {
        let answers = self.inventory.answering()?;
        let is_left = |source: &Source| {
            let node = node(&source.pod);
            let answers = answers.get(node).copied().unwrap_or(false);
            source.pod.metadata.deletion_timestamp.is_some() && !node.is_empty() && !answers
        };
        let count = |pods: Vec<Source>| pods.iter().filter(|source| is_left(source)).map(|_| 1).sum();
        Ok(self.inventory.pods_by_lease()?.into_iter().map(|(lease, pods)| (lease, count(pods))).collect())
    }

    async fn placement(&self, id: LeaseId) -> anyhow::Result<Placement> {
        let reservation = self.store.reservation(id).await?.context("nothing was reserved for it")?;
        // What was released may be another's by now.
        ensure!(reservation.state != ReservationState::Released, "nothing is reserved for it at the moment");
        Ok(reservation.placement)
    }

    /// Applies what is new, changed or due; gives the problems by lease, without secrets.
    async fn apply_all(
        &mut self,
        jobs: &[Job],
        before: &HashMap<LeaseId, LeaseStatus>,
    ) -> BTreeMap<LeaseId, String> {
        // Made one by one: a closure inside the stream would have to be general over the lifetime of its job.
        let mut applications = Vec::new();
        let sight = self.look();
        for job in jobs.iter().filter(|job| self.is_due(job, &sight)) {
            let known = before.get(&job.id).and_then(|status| status.applied_revision);
            applications.push(apply(
                &self.applier,
                &*self.observe,
                job,
                known.is_some_and(|known| known != job.revision),
            ));
        }
        let results: Vec<_> = futures::stream::iter(applications).buffer_unordered(AT_ONCE).collect().await;

        let mut failed = BTreeMap::new();
        for (job, result) in results {
            match result {
                Ok(()) => {
                    let applied = Applied { objects: job.fingerprint, at: Instant::now() };
                    self.memory.applied.insert(job.id, applied);
                }
                Err(error) => {
                    let problem = redact(&format!("{error:#}"), &job.group, &job.secrets);
                    self.observe.apply_failed();
                    failed.insert(job.id, problem);
                }
            }
        }
        failed
    }

    fn is_due(&self, job: &Job, sight: &Result<Sight, Blind>) -> bool {
        let Some(applied) = self.memory.applied.get(&job.id) else { return true };
        let age = applied.at.elapsed();
        let waits = !job.objects.missing_secrets.is_empty();
        let is_gone = || !waits && sight.as_ref().is_ok_and(|sight| sight.lacks(&job.short_name, &job.group));
        applied.objects != job.fingerprint || age >= REAPPLY || (age >= SETTLED && is_gone())
    }

    /// Tells operators what of all leases is missing, under which names they are reached, and what was begun again.
    fn count(&mut self, jobs: &[Job], unrendered: usize, sight: &Result<Sight, Blind>) {
        let (mut served, mut waiting) = (0, 0);
        for job in jobs {
            match self.memory.applied.contains_key(&job.id) {
                true => served += job.objects.hosts.len(),
                false => waiting += job.objects.hosts.len(),
            }
        }
        self.observe.hosts(served, waiting);
        // Of a cluster that cannot be seen it is not known what it lacks.
        let Ok(sight) = sight else { return };
        let lacks =
            |job: &&Job| job.objects.missing_secrets.is_empty() && sight.lacks(&job.short_name, &job.group);
        self.observe.missing_workloads(unrendered + jobs.iter().filter(lacks).count());
        for (cause, times) in self.memory.restarts.note(sight.all_pods()) {
            self.observe.began_again(cause, times);
        }
    }

    fn look(&self) -> Result<Sight, Blind> {
        Sight::take(&self.inventory, &self.workloads, self.clock.now())
    }

    /// Looks how a lease does and stores it. A verdict that is given already is taken instead.
    async fn tell(
        &self,
        job: &Job,
        verdict: Option<Verdict>,
        sight: &Result<Sight, Blind>,
        before: Option<&LeaseStatus>,
    ) -> anyhow::Result<u64> {
        let shown_before = before.and_then(|before| Shown::read(&before.body).ok());
        let failed = verdict.is_some();
        let (verdict, services) = match sight {
            Ok(sight) => {
                let (seen, services) =
                    sight.services(&job.short_name, &job.group, &job.objects.hosts, &self.port_host);
                (verdict.unwrap_or(seen), services)
            }
            Err(blind) => {
                let why = Some(format!("the cluster cannot be seen: {blind}"));
                let services = shown_before.as_ref().map(|shown| shown.services.clone()).unwrap_or_default();
                (verdict.unwrap_or(Verdict { health: Health::Unknown, why }), services)
            }
        };
        let known = before.and_then(|before| before.applied_revision);
        let applied_revision = if failed { known } else { Some(job.revision) };
        let was_ready = known == Some(job.revision)
            && shown_before.is_some_and(|shown| matches!(shown.state, State::Ready | State::Degraded));
        let state = match verdict.health {
            Health::Healthy => State::Ready,
            Health::Unhealthy | Health::Unknown if was_ready => State::Degraded,
            Health::Unhealthy | Health::Unknown => State::Starting,
        };
        let why = waiting(&job.objects).filter(|_| verdict.health != Health::Healthy).or(verdict.why);
        let shown = Shown { state, why, services, notes: notes(&job.objects) };
        self.put(job.id, verdict.health, applied_revision, None, &shown, before).await
    }

    /// Stores why a lease cannot even be rendered.
    async fn tell_problem(
        &self,
        id: LeaseId,
        problem: &anyhow::Error,
        before: Option<&LeaseStatus>,
    ) -> anyhow::Result<u64> {
        let shown = before.and_then(|before| Shown::read(&before.body).ok()).unwrap_or_default();
        let shown = Shown { why: Some(format!("it cannot be run: {problem:#}")), ..shown };
        let applied_revision = before.and_then(|before| before.applied_revision);
        self.put(id, Health::Unknown, applied_revision, None, &shown, before).await
    }

    async fn put(
        &self,
        lease: LeaseId,
        health: Health,
        applied_revision: Option<u64>,
        torn_down_at: Option<u64>,
        shown: &Shown,
        before: Option<&LeaseStatus>,
    ) -> anyhow::Result<u64> {
        let now = self.clock.now();
        let body = shown.write();
        let same = before.is_some_and(|before| {
            (before.health, before.applied_revision, before.torn_down_at, &before.body)
                == (health, applied_revision, torn_down_at, &body)
        });
        if same && before.is_some_and(|before| now.saturating_sub(before.updated_at) < STATUS_SECS) {
            return Ok(0);
        }
        if before.is_none_or(|before| before.health != health) {
            let why = shown.why.as_deref().unwrap_or("everything that should be up is up");
            tracing::info!(%lease, health = health.word(), why, "a lease's health changed");
        }
        let status =
            LeaseStatus { lease, health, since: now, applied_revision, torn_down_at, body, updated_at: now };
        self.store.put_lease_status(&status).await.map(u64::from)
    }

    /// Deletes the namespaces of leases that the chain closed or took back, and notes which are gone.
    async fn remove(
        &mut self,
        ended: &[LeaseRow],
        head: u64,
        before: &HashMap<LeaseId, LeaseStatus>,
    ) -> anyhow::Result<u64> {
        let seen = self.workloads.namespaces()?;
        let mine = |namespace: &Namespace| {
            namespace.annotations().get(labels::PROVIDER) == Some(&self.provider.to_string())
        };
        let mine: BTreeMap<&str, &Arc<Namespace>> = seen
            .iter()
            .filter(|(_, namespace)| mine(namespace))
            .map(|(name, namespace)| (name.as_str(), namespace))
            .collect();
        let leases: BTreeMap<String, LeaseRow> = self
            .store
            .leases_of(self.provider)
            .await?
            .into_iter()
            .map(|row| (short_name(row.lease.id, self.provider), row))
            .collect();
        let orphans: BTreeMap<String, (LeaseId, u64)> = self
            .store
            .orphaned_leases()
            .await?
            .into_iter()
            .map(|(id, since)| (short_name(id, self.provider), (id, since)))
            .collect();
        let since = orphans.iter().map(|(name, (_, since))| (name.clone(), *since)).collect();
        let plan = namespaces(mine.keys().copied(), &leases, &since, head, self.depths);

        for name in plan.held.difference(&self.memory.held) {
            tracing::warn!(
                namespace = mine[name.as_str()].name_any(),
                "a namespace carries our label and belongs to no lease that the chain tells of; it is left alone: look \
                 whether the database is the right one"
            );
        }
        self.observe.held_namespaces(plan.held.len());
        self.memory.held = plan.held;

        let mut changed = 0;
        let mut problem = None;
        for name in &plan.delete {
            let namespace = mine[name.as_str()];
            if namespace.metadata.deletion_timestamp.is_some() {
                continue;
            }
            match self.applier.delete_namespace(namespace).await {
                Ok(deleted) => {
                    changed += u64::from(deleted);
                    if deleted {
                        self.observe.deleted("Namespace");
                    }
                    let lease = leases.get(name).map_or_else(|| orphans[name].0, |row| row.lease.id);
                    let why = if leases.contains_key(name) {
                        "the lease ended"
                    } else {
                        "a reorg took the lease away"
                    };
                    tracing::info!(%lease, namespace = namespace.name_any(), why, "a workload is deleted");
                }
                // The others are not kept for the one that fails.
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        for row in ended {
            match self.note_gone(row.lease.id, &mine, before.get(&row.lease.id)).await {
                Ok(noted) => {
                    if noted > 0
                        && let LeaseState::Closed { ended_at, .. } = row.state
                    {
                        let took = self.clock.now().saturating_sub(ended_at);
                        self.observe.torn_down(Duration::from_secs(took));
                    }
                    changed += noted;
                }
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        for (id, since) in orphans.into_values() {
            if is_given_up(since, head, self.depths) {
                match self.note_gone(id, &mine, before.get(&id)).await {
                    Ok(0) => {}
                    Ok(noted) => {
                        self.store.forget_orphan(id).await?;
                        changed += noted;
                    }
                    Err(error) => problem = problem.or(Some(error)),
                }
            }
        }
        problem.map_or(Ok(changed), Err)
    }

    /// Notes that nothing of a closed lease is left, once the API server itself says so.
    async fn note_gone(
        &self,
        id: LeaseId,
        seen: &BTreeMap<&str, &Arc<Namespace>>,
        before: Option<&LeaseStatus>,
    ) -> anyhow::Result<u64> {
        let name = short_name(id, self.provider);
        if seen.contains_key(name.as_str()) {
            return Ok(0);
        }
        let namespace = LeaseContext::unplaced(id, self.provider).namespace();
        if let Some(there) = self.applier.namespace(&namespace).await?
            && lease_of(&there) == Some(name.as_str())
        {
            return Ok(0);
        }
        let now = self.clock.now();
        self.store.adopt_gpus(id, &[], now).await?;
        let shown = Shown { why: Some("the lease has ended".to_owned()), ..Shown::default() };
        let applied_revision = before.and_then(|before| before.applied_revision);
        let changed = self.put(id, Health::Unknown, applied_revision, Some(now), &shown, before).await?;
        self.store.forget_entrusted(id).await?;
        self.freed.nudge();
        tracing::info!(lease = %id, "nothing of an ended lease is left in the cluster");
        Ok(changed)
    }

    /// Takes note of the devices that leases hold, and of what must not be.
    async fn note_devices(&mut self) -> anyhow::Result<u64> {
        let now = self.clock.now();
        let holdings = self.inventory.holdings(now)?;
        let mut reserved: HashMap<(String, String), BTreeSet<String>> = HashMap::new();
        let mut changed = 0;
        for row in self.store.leases_in_hand(self.provider).await? {
            let id = row.lease.id;
            let name = short_name(id, self.provider);
            if let Some(reservation) = self.store.reservation(id).await? {
                for replica in reservation.placement.replicas {
                    if let Some(gpu) = replica.takes.gpu {
                        reserved.entry((name.clone(), replica.node)).or_default().insert(gpu.pool);
                    }
                }
            }
            if holdings.unknown.contains(&name) {
                continue;
            }
            let held = holdings.known.get(&name).into_iter().flatten().cloned();
            let held: Vec<_> = held.map(|held| (held.node, held.pod, held.container, held.uuid)).collect();
            changed += self.store.adopt_gpus(id, &held, now).await?;
        }
        let incidents = holdings.incidents(|lease, node| {
            reserved.get(&(lease.to_owned(), node.to_owned())).cloned().unwrap_or_default()
        });
        for incident in incidents.difference(&self.memory.incidents) {
            tracing::error!(code = incident.code(), "{incident}");
            self.observe.incident(incident.code());
        }
        self.memory.incidents = incidents;
        Ok(changed)
    }
}

/// Applies a lease's objects in order, and takes away what an older manifest left. The namespace must be ours or not there.
async fn apply<'j>(
    applier: &Applier,
    observe: &dyn Observe,
    job: &'j Job,
    replaces: bool,
) -> (&'j Job, anyhow::Result<()>) {
    (job, try_to_apply(applier, observe, job, replaces).await)
}

async fn try_to_apply(
    applier: &Applier,
    observe: &dyn Observe,
    job: &Job,
    replaces: bool,
) -> anyhow::Result<()> {
    let namespace = job.objects.items.iter().find(|object| object.kind == "Namespace");
    let namespace = &namespace.context("the rendered objects have no namespace")?.name;
    let mut is_new = true;
    if let Some(there) = applier.namespace(namespace).await? {
        if lease_of(&there) != Some(job.short_name.as_str()) {
            bail!(
                "the namespace {namespace} is there and does not carry the lease's label: remove or rename it"
            );
        }
        is_new = false;
    }
    let (items, selector) = (&job.objects.items, selector(&job.short_name));
    let has_volumes = items.iter().any(|object| object.kind == "PersistentVolumeClaim");
    let obstacles = match has_volumes && !is_new {
        true => obstacles(items, &applier.volumes(namespace, &selector).await?)
            .map_err(|refusal| anyhow!(refusal))?,
        false => Obstacles::new(),
    };
    let applied = applier.apply(items, &obstacles).await;
    // What an older manifest left may be what takes the room: without it the next turn gets on.
    let needs_room =
        applied.as_ref().is_err_and(|error| error.downcast_ref::<kube::Error>().is_some_and(is_above_quota));
    if needs_room || applied.is_ok() && (replaces || !is_new) {
        applier.prune(namespace, &selector, items, |kind| observe.deleted(kind)).await?;
    }
    applied?;
    tracing::info!(lease = %job.id, revision = job.revision, "the objects of a lease are applied");
    Ok(())
}

/// What a workload that was not applied yet waits for from its tenant.
fn waiting(objects: &Objects) -> Option<String> {
    let missing: Vec<&str> = objects.missing_secrets.iter().map(String::as_str).collect();
    (!missing.is_empty()).then(|| {
        let names = missing.join(", ");
        format!("waits for the values of secrets that the manifest names: {names}")
    })
}

/// What the tenant should know of how its services are run.
fn notes(objects: &Objects) -> Vec<String> {
    let mut services: BTreeMap<&str, bool> = BTreeMap::new();
    for Object { body, name, .. } in &objects.items {
        if let Some(host_users) = body.pointer("/spec/template/spec/hostUsers") {
            let service = body["metadata"]["labels"][labels::SERVICE].as_str().unwrap_or(name);
            services.insert(service, *host_users == serde_json::Value::Bool(false));
        }
    }
    let note = |(service, own): (&str, bool)| match own {
        true => format!("{service}: runs in a user namespace of its own"),
        false => format!("{service}: runs in the user namespace of its node"),
    };
    services.into_iter().map(note).chain(objects.notes.iter().cloned()).collect()
}
