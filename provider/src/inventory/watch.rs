//! One kind of object, kept in memory by a watch, with what is known about its freshness.
//!
//! A cache that never had a complete list, or has heard nothing from the API server for longer than its patience, says so
//! instead of answering: nobody may take an old or empty list for the state of the cluster. The API server is asked to end
//! each watch after a while, so that even a quiet kind gives a sign of life, and a dead connection gives none.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

/// For how long a silent watch's objects are still good enough to sell capacity from.
pub const PATIENCE: Duration = Duration::from_secs(45);

/// Seconds after which the API server ends a watch and is asked for the next.
const WATCH_SECONDS: u32 = 20;

/// A watch that says nothing for this long beyond its end is on a dead connection.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 5);

/// Objects a page of a list.
const PAGE: u32 = 500;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Why a cache has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Blind {
    /// The first complete list has not come in.
    #[error("the list of {kind} has not been read from the cluster yet: {}", .problem.as_deref().unwrap_or("it was just asked for"))]
    NotSynced {
        /// Plural of the kind.
        kind: String,
        /// The last failure; `None` while the first answer is awaited.
        problem: Option<String>,
    },
    /// Nothing was heard for too long.
    #[error("the cluster has said nothing about {kind} for {seconds} s: {problem}")]
    Silent {
        /// Plural of the kind.
        kind: String,
        /// For how many seconds.
        seconds: u64,
        /// The last failure, or that there was none.
        problem: String,
    },
}

impl Blind {
    /// Whether this is only because the first answer is still awaited.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        matches!(self, Self::NotSynced { problem: None, .. })
    }
}

/// The members of a group.
pub type Together<K> = Arc<[Arc<K>]>;

#[derive(Debug)]
struct Cache<K> {
    objects: Objects<K>,
    alive: Option<Instant>,
    problem: Option<String>,
    /// When this began.
    began: Instant,
    /// How often it was begun again after a failure.
    restarts: u64,
}

/// How a watch does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulse {
    /// Plural of the kind.
    pub kind: String,
    /// For how long nothing was heard; since the start, if nothing ever was.
    pub silent: Duration,
    /// How often it failed and was begun again.
    pub restarts: u64,
}

/// Objects by UID, in groups, so that who reads thousands of them for every change need look at one group only.
#[derive(Debug)]
struct Objects<K> {
    groups: BTreeMap<String, Group<K>>,
    /// The group of each.
    places: HashMap<String, String>,
}

#[derive(Debug)]
struct Group<K> {
    members: BTreeMap<String, Arc<K>>,
    /// The members as they are handed out; `None` after a change.
    told: Option<Together<K>>,
}

impl<K> Objects<K> {
    fn new() -> Self {
        Self { groups: BTreeMap::new(), places: HashMap::new() }
    }

    fn put(&mut self, group: String, uid: String, object: Arc<K>) {
        self.remove(&uid);
        let empty = || Group { members: BTreeMap::new(), told: None };
        let of = self.groups.entry(group.clone()).or_insert_with(empty);
        of.members.insert(uid.clone(), object);
        of.told = None;
        self.places.insert(uid, group);
    }

    fn remove(&mut self, uid: &str) {
        let Some(group) = self.places.remove(uid) else { return };
        let Some(of) = self.groups.get_mut(&group) else { return };
        of.members.remove(uid);
        of.told = None;
        if of.members.is_empty() {
            self.groups.remove(&group);
        }
    }
}

/// A cache of all objects of a kind that its watch selects, keyed by UID. Clones share it.
#[derive(Debug)]
pub struct Watched<K> {
    cache: Arc<Mutex<Cache<K>>>,
    group: fn(&K) -> String,
    kind: String,
    patience: Duration,
}

impl<K> Clone for Watched<K> {
    fn clone(&self) -> Self {
        let Self { cache, group, kind, patience } = self;
        Self { cache: Arc::clone(cache), group: *group, kind: kind.clone(), patience: *patience }
    }
}

impl<K> Watched<K> {
    /// All objects, if the cache can vouch for them.
    ///
    /// # Errors
    /// [`Blind`] while the first list is not complete, or when nothing was heard for longer than the patience.
    pub fn all(&self) -> Result<Vec<Arc<K>>, Blind> {
        let cache = self.lock();
        self.vouch(&cache)?;
        Ok(cache.objects.groups.values().flat_map(|group| group.members.values().cloned()).collect())
    }

    /// All objects by their group, if the cache can vouch for them. A group of which nothing has changed since is the very one
    /// that was told before.
    ///
    /// # Errors
    /// As [`Watched::all`].
    pub fn groups(&self) -> Result<Vec<(String, Together<K>)>, Blind> {
        let mut cache = self.lock();
        self.vouch(&cache)?;
        let told = cache.objects.groups.iter_mut().map(|(name, Group { members, told })| {
            let told = told.get_or_insert_with(|| members.values().cloned().collect());
            (name.clone(), Arc::clone(told))
        });
        Ok(told.collect())
    }

    /// How the watch does.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        let cache = self.lock();
        let heard = cache.alive.unwrap_or(cache.began);
        Pulse { kind: self.kind.clone(), silent: heard.elapsed(), restarts: cache.restarts }
    }

    fn vouch(&self, cache: &Cache<K>) -> Result<(), Blind> {
        let Some(alive) = cache.alive else {
            return Err(Blind::NotSynced { kind: self.kind.clone(), problem: cache.problem.clone() });
        };
        let silent = alive.elapsed();
        if silent > self.patience {
            let problem = cache.problem.clone().unwrap_or_else(|| "no failure was told".to_owned());
            return Err(Blind::Silent { kind: self.kind.clone(), seconds: silent.as_secs(), problem });
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Cache<K>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sign_of_life(&self) {
        let mut cache = self.lock();
        cache.alive = Some(Instant::now());
        cache.problem = None;
    }

    fn failed(&self, problem: String) {
        let mut cache = self.lock();
        cache.problem = Some(problem);
        cache.restarts += 1;
    }
}

/// What to watch and what to keep of it.
pub struct Watch<K> {
    /// Which objects can be seen.
    pub api: Api<K>,
    /// Label selector; `None` for all.
    pub labels: Option<String>,
    /// Drops the parts of an object that nobody reads, before it is kept.
    pub trim: fn(&mut K),
    /// For how long a silent watch is believed.
    pub patience: Duration,
}

/// The last thing a watch said: the version to go on from, or that it is too old to go on from.
enum Ended {
    Resume(String),
    Relist,
}

impl<K> Watch<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    /// The cache, and the task that keeps it; the task calls `changed` after every change and never ends by itself.
    pub fn start(
        self,
        changed: impl Fn() + Send + Sync + 'static,
    ) -> (Watched<K>, impl Future<Output = ()> + Send + 'static) {
        self.start_in_groups(|_| String::new(), changed)
    }

    /// The same, with the name of the group that each object is in.
    pub fn start_in_groups(
        self,
        group: fn(&K) -> String,
        changed: impl Fn() + Send + Sync + 'static,
    ) -> (Watched<K>, impl Future<Output = ()> + Send + 'static) {
        let cache =
            Cache { objects: Objects::new(), alive: None, problem: None, began: Instant::now(), restarts: 0 };
        let watched = Watched {
            cache: Arc::new(Mutex::new(cache)),
            group,
            kind: K::plural(&()).into_owned(),
            patience: self.patience,
        };
        (watched.clone(), self.keep(watched, changed))
    }

    async fn keep(self, watched: Watched<K>, changed: impl Fn()) {
        let mut version = None;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.turn(&watched, version.take(), &changed).await {
                (next, Ok(())) => {
                    version = next;
                    pause = FIRST_PAUSE;
                }
                (next, Err(error)) => {
                    version = next;
                    let problem = format!("{error:#}");
                    tracing::debug!(kind = watched.kind, problem, "the watch failed and is started again");
                    watched.failed(problem);
                    tokio::time::sleep(pause).await;
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
            }
        }
    }

    /// Lists if there is no version to go on from, then watches once. Gives the version to go on from next.
    async fn turn(
        &self,
        watched: &Watched<K>,
        version: Option<String>,
        changed: &impl Fn(),
    ) -> (Option<String>, anyhow::Result<()>) {
        let version = match version {
            Some(version) => version,
            None => match self.list(watched).await {
                Ok(version) => {
                    changed();
                    version
                }
                Err(error) => return (None, Err(error)),
            },
        };
        match self.follow(watched, &version, changed).await {
            Ok(Ended::Resume(version)) => (Some(version), Ok(())),
            Ok(Ended::Relist) => (None, Ok(())),
            Err(error) => (Some(version), Err(error)),
        }
    }

    async fn list(&self, watched: &Watched<K>) -> anyhow::Result<String> {
        let mut objects = Objects::new();
        let mut page =
            ListParams { label_selector: self.labels.clone(), limit: Some(PAGE), ..ListParams::default() };
        loop {
            let list = tokio::time::timeout(SILENCE, self.api.list(&page)).await??;
            for (uid, object) in list.items.into_iter().filter_map(|object| self.kept(object)) {
                objects.put((watched.group)(&object), uid, object);
            }
            page.continue_token = list.metadata.continue_.filter(|token| !token.is_empty());
            if page.continue_token.is_none() {
                watched.lock().objects = objects;
                watched.sign_of_life();
                return list
                    .metadata
                    .resource_version
                    .ok_or_else(|| anyhow::anyhow!("a list without a version"));
            }
        }
    }

    async fn follow(&self, watched: &Watched<K>, from: &str, changed: &impl Fn()) -> anyhow::Result<Ended> {
        let params = WatchParams {
            label_selector: self.labels.clone(),
            timeout: Some(WATCH_SECONDS),
            ..WatchParams::default()
        };
        let mut version = from.to_owned();
        let events = tokio::time::timeout(SILENCE, self.api.watch(&params, from)).await??;
        let mut events = std::pin::pin!(events);
        watched.sign_of_life();
        while let Some(event) = tokio::time::timeout(SILENCE, events.try_next()).await?? {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    version = object.resource_version().unwrap_or(version);
                    if let Some((uid, object)) = self.kept(object) {
                        watched.lock().objects.put((watched.group)(&object), uid, object);
                    }
                    changed();
                }
                WatchEvent::Deleted(object) => {
                    version = object.resource_version().unwrap_or(version);
                    watched.lock().objects.remove(object.uid().as_deref().unwrap_or_default());
                    changed();
                }
                WatchEvent::Bookmark(bookmark) => version = bookmark.metadata.resource_version,
                WatchEvent::Error(status) if status.code == 410 => return Ok(Ended::Relist),
                WatchEvent::Error(status) => anyhow::bail!("the API server broke the watch off: {status}"),
            }
            watched.sign_of_life();
        }
        Ok(Ended::Resume(version))
    }

    fn kept(&self, mut object: K) -> Option<(String, Arc<K>)> {
        object.managed_fields_mut().clear();
        (self.trim)(&mut object);
        Some((object.uid()?, Arc::new(object)))
    }
}
