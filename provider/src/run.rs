//! The wiring, top to bottom: what can be refused is tried first, then loops start in the order in which an order meets them.
//!
//! What decides, deploys, sends or serves tenants waits until this daemon leads; what only looks does not.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use manifests::objects;
use manifests::order::Hash;
use market::sender::Sender;
use market::signer::{Policy, Service, Signer};
use market::wallet::Wallet;
use market::{At, Chain};
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::bidder::cluster::ClusterCapacity;
use crate::bidder::{self, Bidder, Wakes};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::failpoint;
use crate::follower::{self, Follower};
use crate::freshness::Freshness;
use crate::gateway::nonces::Nonces;
use crate::gateway::ops::{self, Ops};
use crate::gateway::server::{Limits, bind, serve};
use crate::gateway::streams::Streams;
use crate::gateway::tls::GatewayKey;
use crate::gateway::{self, Gateway};
use crate::inventory::node_labels::NodeLabels;
use crate::inventory::storage::Sold;
use crate::inventory::{self, Inventory, client, rights};
use crate::leader::{Candidate, Claim, Leader};
use crate::leases::apply::Applier;
use crate::leases::cluster::Cluster;
use crate::leases::escrow::Escrow;
use crate::leases::plan::Depths;
use crate::leases::pods::LeaseLogs;
use crate::leases::reconcile::{Memory, Reconcile};
use crate::leases::workloads::Workloads;
use crate::lifecycle::{Lifecycle, Stop};
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::pricing::fx::Feed;
use crate::pricing::reload::Reload;
use crate::pricing::{Pricing, Terms, means};
use crate::quote::Quoter;
use crate::store::{Identity, Sealer, Store};
use crate::sweep::{self, Sweep};
use crate::task::{Nudge, Turn, repeat};
use crate::wildcard::Wildcard;

/// How often the wildcard's certificate is looked at.
const VISIT: Duration = Duration::from_secs(600);

/// How often loops look although nobody nudges them.
const PERIOD: Duration = Duration::from_secs(5);

/// How often the sweep looks whether it is due.
const SELDOM: Duration = Duration::from_secs(30);

/// How seldom the worth of a currency is asked for at most; the configuration says how often.
const LONGEST_REFRESH: Duration = Duration::from_secs(3600);

/// Runs the daemon until it is told to stop. Prices and policy are read again from `file` when it changes.
///
/// # Errors
/// When something it needs cannot be had at the start: one sentence that names it and the remedy.
pub async fn run(config: Config, file: PathBuf) -> anyhow::Result<ExitCode> {
    failpoint::check()?;
    let (lifecycle, clock, metrics) = (Lifecycle::new(), Clock::default(), Metrics::new()?);
    let key = GatewayKey::load_or_create(&config.gateway.tls_dir)?;
    let tenants = bind(config.gateway.listen, "gateway").await?;
    let operators = bind(config.metrics.listen, "metrics").await?;
    let store = open_store(&config).await?;
    let (chain, signer) = connect_chain(&config, &store, key.spki_hash()).await?;
    // Only now is it known that such a chain, market and provider exist.
    store.bind(identity(&config)).await?;
    chain.tell(Arc::new(metrics.clone()));
    let (cluster, version) =
        client::connect_heard(config.cluster.kubeconfig.as_deref(), Arc::new(metrics.clone())).await?;
    ensure_allowed(&config, &cluster).await?;
    info!(provider = %config.provider, operator = %signer.address(), key = signer.place(), chain = config.chain.chain_id, cluster = version, "starting");

    let me = format!("{}:{}", hostname(), config.gateway.listen.port());
    let claim = Claim::new(cluster.clone(), &config.cluster.namespace, signer.address(), me);
    let (candidate, leader) = Candidate::new(claim.clone());
    lifecycle.spawn("leader", candidate.run(lifecycle.stop()));

    let [follower, bidder, outbox, reconcile, escrow] = [(); 5].map(|()| Nudge::default());
    let loops = Loops { lifecycle: &lifecycle, metrics: &metrics, leader: &leader };

    let (to_bidder, to_reconcile) = (bidder.clone(), reconcile.clone());
    let (inventory, keep) = Inventory::start(&cluster, &inventory_settings(&config), move || {
        to_bidder.nudge();
        to_reconcile.nudge();
    });
    loops.keep("inventory", keep);
    let pricing = Pricing::new(Terms::of(&config), metrics.clone());
    let mut feed = Feed::new(pricing.clone(), Some(chain.clone()), clock.clone());
    let mut means = means::Watch::new(chain.clone(), signer.address(), config.provider, pricing.clone());
    // Before the first order is answered: what is decided without a worth stays declined.
    feed.turn().await?;
    means.turn().await?;
    loops.start(means, SELDOM, Nudge::default());
    let asks = Nudge::default();
    let nudges = vec![asks.clone(), bidder.clone()];
    loops.start(
        Reload::new(
            file,
            |name| std::env::var(name).ok(),
            config.bids,
            pricing.clone(),
            feed.clone(),
            nudges,
            clock.clone(),
        )?,
        PERIOD,
        Nudge::default(),
    );
    loops.start(feed, LONGEST_REFRESH, asks);
    let leased_from = Cluster::new(cluster_settings(&config), inventory.clone());
    let to_reconcile = reconcile.clone();
    let (workloads, keep) = Workloads::start(&cluster, move || to_reconcile.nudge());
    loops.keep("workloads", keep);
    loops.lead(
        NodeLabels { client: cluster.clone(), inventory: inventory.clone(), clock: clock.clone() },
        PERIOD,
        Nudge::default(),
    );

    if let Some(ws) = config.chain.ws.clone() {
        let to_follower = follower.clone();
        loops.keep("heads", async move { ws.run(move || to_follower.nudge()).await });
    }
    let nudges = vec![bidder.clone(), reconcile.clone(), escrow.clone()];
    // Nobody has this name, so the wildcard answers for it.
    let visited = format!("https://berth-check.{}/", config.ingress.domain).parse();
    let visited = visited.context("ingress.domain makes no name of a host")?;
    loops.start(Wildcard::new(visited, metrics.clone())?, VISIT, Nudge::default());
    let freshness = freshness(&config);
    loops.start(
        Sweep::new(
            chain.clone(),
            store.clone(),
            sweep_settings(&config, nudges.clone()),
            clock.clone(),
            metrics.clone(),
        ),
        SELDOM,
        Nudge::default(),
    );
    loops.start(
        Follower::new(
            chain.clone(),
            store.clone(),
            follower::Settings { freshness: freshness.clone(), ..follower_settings(&config, nudges) },
            metrics.clone(),
        ),
        config.chain.poll_interval,
        follower.clone(),
    );
    let capacity =
        ClusterCapacity { provider: config.provider, inventory: inventory.clone(), clock: clock.clone() };
    loops.lead(
        Bidder::new(
            store.clone(),
            capacity.clone(),
            bidder_settings(&config, pricing.clone(), freshness.clone()),
            clock.clone(),
            Wakes { outbox: outbox.clone(), leases: reconcile.clone() },
            metrics.clone(),
        ),
        PERIOD,
        bidder.clone(),
    );
    let operator = signer.address();
    let gas = config.chain.gas;
    let sender = Sender::new(chain.clone(), signer, store.clone(), sender_settings(gas));
    loops.lead(
        Outbox::new(
            store.clone(),
            leader.guard(sender),
            gas,
            clock.clone(),
            metrics.clone(),
            outbox.clone(),
            follower,
        ),
        PERIOD,
        outbox.clone(),
    );
    loops.lead(
        Reconcile {
            store: store.clone(),
            clock: clock.clone(),
            provider: config.provider,
            inventory: inventory.clone(),
            workloads: workloads.clone(),
            applier: Applier::new(cluster.clone()),
            cluster: leased_from.clone(),
            port_host: port_host(&config),
            depths: depths(&config),
            freed: bidder,
            observe: Arc::new(metrics.clone()),
            memory: Memory::default(),
        },
        PERIOD,
        reconcile.clone(),
    );
    loops.lead(
        Escrow {
            store: store.clone(),
            view: chain.clone(),
            provider: config.provider,
            operator,
            settings: config.escrow.clone(),
            manifest_timeout: config.manifest_timeout.as_secs(),
            up_since: clock.now(),
            clock: clock.clone(),
            freshness: freshness.clone(),
            metrics: metrics.clone(),
            outbox,
        },
        config.escrow.check_interval,
        escrow,
    );

    let streams = Streams::default();
    let gateway = Gateway {
        store: store.clone(),
        pricing: pricing.clone(),
        clock: clock.clone(),
        identity: identity(&config),
        cluster: leased_from,
        quoter: Quoter::new(
            store.clone(),
            capacity.clone(),
            bidder_settings(&config, pricing.clone(), freshness.clone()),
            identity(&config),
            clock.clone(),
        ),
        key: key.clone(),
        reconcile,
        logs: LeaseLogs::new(cluster, inventory.clone(), config.provider),
        observe: Arc::new(metrics.clone()),
        stop: lifecycle.stop(),
        nonces: Nonces::default(),
        streams: streams.clone(),
        claims: Mutex::default(),
    };
    let tls = Some(key.server_config().into());
    let router = gateway::router(Arc::new(gateway));
    loops.led("gateway", serve(tenants, tls, router, Limits::default(), lifecycle.stop()));
    let ops = Ops {
        store,
        metrics: metrics.clone(),
        cluster: capacity,
        workloads,
        streams,
        clock,
        freshness,
        leader: leader.clone(),
        endpoints: Box::new(move || chain.endpoints()),
    };
    let router = ops::router(Arc::new(ops));
    lifecycle.spawn("metrics", serve(operators, None, router, Limits::default(), lifecycle.stop()));
    info!(gateway = %config.gateway.listen, metrics = %config.metrics.listen, "running");
    let code = lifecycle.run().await;
    claim.release().await;
    code
}

/// What this host, or this pod, is called.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// Starts loops under their names.
struct Loops<'a> {
    lifecycle: &'a Lifecycle,
    metrics: &'a Metrics,
    leader: &'a Leader,
}

impl Loops<'_> {
    fn start<T: Turn + 'static>(&self, work: T, period: Duration, nudge: Nudge) {
        let (metrics, stop) = (self.metrics.clone(), self.lifecycle.stop());
        let turns = repeat(work, period, nudge, stop, move |outcome| metrics.turn(outcome));
        self.lifecycle.spawn(T::NAME, turns);
    }

    /// Starts what must not turn in two daemons at once, as soon as this one leads.
    fn lead<T: Turn + 'static>(&self, work: T, period: Duration, nudge: Nudge) {
        let (metrics, stop) = (self.metrics.clone(), self.lifecycle.stop());
        self.led(T::NAME, repeat(work, period, nudge, stop, move |outcome| metrics.turn(outcome)));
    }

    /// Runs a task as soon as this daemon leads.
    fn led(&self, name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let (leader, stop) = (self.leader.clone(), self.lifecycle.stop());
        self.lifecycle.spawn(name, async move {
            tokio::select! {
                () = leader.leads() => {}
                () = stop.taking() => return Ok(()),
            }
            task.await
        });
    }

    /// Runs what does not end by itself, until stopping begins.
    fn keep(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let stop: Stop = self.lifecycle.stop();
        self.lifecycle.spawn(name, async move {
            tokio::select! {
                () = task => {}
                () = stop.taking() => {}
            }
            Ok(())
        });
    }
}

/// Opens the database and makes sure that it is no other market's or provider's.
///
/// # Errors
/// As [`Store::open`] and [`Store::belongs_to`].
pub async fn open_store(config: &Config) -> anyhow::Result<Store> {
    let store = Store::open(&config.database, Sealer::from_key_file(&config.data_key_file)?).await?;
    store.belongs_to(identity(config)).await?;
    Ok(store)
}

/// The operator key, which must be that of `wallet.address` if the configuration says one.
pub(crate) async fn open_signer(config: &Config) -> anyhow::Result<Signer> {
    let config::Wallet { key, address, daily_gas: _ } = &config.wallet;
    let signer =
        match key {
            config::Key::Keystore { keystore, password_file } => {
                let wallet = Wallet::open(keystore, password_file);
                Signer::from(wallet.context(
                    "the operator key cannot be used: check wallet.keystore and wallet.passwordFile",
                )?)
            }
            config::Key::Remote { url, authorities, timeout } => {
                let account =
                    address.context("wallet.address is missing: write the account of the operator key")?;
                let service = Service::connect(url, account, authorities.as_deref(), *timeout).await;
                Signer::from(service.context("the operator key cannot be used: check wallet.remote")?)
            }
        };
    if let Some(pinned) = address.filter(|pinned| *pinned != signer.address()) {
        bail!(
            "wallet.keystore holds the key of {}, but wallet.address is {pinned}: name the right file, or correct the address",
            signer.address()
        );
    }
    Ok(signer)
}

pub(crate) async fn reach_chain(config: &Config) -> anyhow::Result<Chain> {
    let settings = &config.chain;
    if let Some(book) = &settings.addresses {
        let chain = book.connect(settings.rpc.reveal()).await;
        return chain.context("the market cannot be used: check chain.rpc and chain.addresses");
    }
    let chain = Chain::connect(settings.rpc.reveal(), settings.chain_id, settings.market).await;
    chain.context("the market cannot be used: check chain.rpc, chain.chainId and chain.market")
}

/// Connects to the market and opens the operator key, which must be the one that bids for this provider, and which signs from
/// now on what an operator key is for and no more.
async fn connect_chain(config: &Config, store: &Store, spki_hash: Hash) -> anyhow::Result<(Chain, Signer)> {
    let signer = open_signer(config).await?;
    let chain = reach_chain(config).await?;
    let (operator, provider) = (signer.address(), config.provider);
    let today = Policy::day_began(Clock::default().now());
    let signed = store.signed_since(operator, today).await?;
    let policy = Policy::operator(chain.contracts(), config.wallet.daily_gas);
    let signer = signer.guarded(policy, &signed);
    let registered = chain.provider(provider, At::Latest).await.context("failed to read the registry")?;
    let registered = registered.with_context(|| {
        format!("{provider} is no provider: register it with {operator} as operator, or correct provider in the configuration")
    })?;
    ensure!(
        registered.operator == operator,
        "the key {} bids for provider {provider}, not {operator}: use that key in wallet, name this one with \
         `berth-provider set-operator`, or correct provider",
        registered.operator
    );
    if !registered.has_gateway_key(spki_hash) {
        warn!(
            ours = %spki_hash,
            registered = %registered.spki_hash,
            "the registry has another gateway key than gateway.tlsDir: tenants will refuse to connect until it is updated"
        );
    }
    Ok((chain, signer))
}

fn identity(config: &Config) -> Identity {
    Identity { chain_id: config.chain.chain_id, market: config.chain.market, provider: config.provider }
}

/// Makes sure that our account may do in the cluster what the daemon does there.
///
/// # Errors
/// As [`rights::ensure_allowed`].
pub(crate) async fn ensure_allowed(config: &Config, client: &client::Client) -> anyhow::Result<()> {
    let config::Cluster { namespace, lease_role, .. } = &config.cluster;
    rights::ensure_allowed(client, namespace, lease_role.as_ref().map(|role| role.name.as_str())).await
}

/// Which part of the cluster is sold.
pub(crate) fn inventory_settings(config: &Config) -> inventory::Settings {
    let cluster = &config.cluster;
    let sold = |class: &config::StorageClass| Sold {
        name: class.name.clone(),
        limit_bytes: class.limit.0,
        id_mapped: class.id_mapped,
    };
    inventory::Settings {
        namespace: cluster.namespace.clone(),
        node_selector: cluster.node_selector.clone(),
        storage: cluster.storage_classes.iter().map(|(word, class)| (word.clone(), sold(class))).collect(),
        leased_ips: cluster.address_pool.as_ref().map_or(0, |pool| pool.addresses),
        node_ports: cluster.node_ports.clone(),
        gpus: cluster.gpus.clone(),
        overcommit: cluster.overcommit,
    }
}

pub(crate) fn follower_settings(config: &Config, nudges: Vec<Nudge>) -> follower::Settings {
    let depth = config.chain.confirmations;
    follower::Settings {
        provider: config.provider,
        start_block: config.chain.start_block,
        deepest_wait: depth.start.max(depth.teardown),
        freshness: freshness(config),
        nudges,
    }
}

fn sweep_settings(config: &Config, nudges: Vec<Nudge>) -> sweep::Settings {
    let config::Sweep { every, reach } = config.chain.sweep;
    sweep::Settings { provider: config.provider, start_block: config.chain.start_block, every, reach, nudges }
}

fn freshness(config: &Config) -> Freshness {
    Freshness::new(config.chain.stale_after)
}

fn sender_settings(gas: config::Gas) -> market::sender::Settings {
    market::sender::Settings { reserve_closes: gas.reserve_closes, ..Default::default() }
}

fn bidder_settings(config: &Config, pricing: Pricing, freshness: Freshness) -> bidder::Settings {
    bidder::Settings {
        provider: config.provider,
        pricing,
        bids: config.bids,
        freshness,
        replace_after: config.cluster.replace_after,
        keep_decisions: config.keep_decisions,
    }
}

fn cluster_settings(config: &Config) -> objects::Settings {
    let (cluster, ingress) = (&config.cluster, &config.ingress);
    let gateway = objects::GatewayRef {
        name: ingress.gateway.name.clone(),
        namespace: ingress.gateway.namespace.clone(),
        section: ingress.gateway.section.clone(),
    };
    objects::Settings {
        gateway_sources: ingress.sources.clone(),
        dns_servers: cluster.dns_servers.clone(),
        closed_networks: cluster.closed_networks.clone(),
        gpu_runtime_class: cluster.gpu_runtime_class.clone(),
        runtime_class: cluster.runtime_class.clone(),
        address_pool: cluster.address_pool.clone().map(address_pool),
        overcommit: cluster.overcommit,
        provider_access: cluster.lease_role.as_ref().map(|role| objects::ProviderAccess {
            cluster_role: role.name.clone(),
            account: role.service_account.clone(),
            namespace: cluster.namespace.clone(),
        }),
        // The rest is for the cluster to tell.
        ..objects::Settings::of(ingress.domain.as_str(), gateway, port_host(config))
    }
}

fn address_pool(pool: config::AddressPool) -> objects::AddressPool {
    let config::AddressPool { addresses: _, load_balancer_class, annotations, sharing_annotation } = pool;
    objects::AddressPool { load_balancer_class, annotations, sharing_annotation }
}

fn depths(config: &Config) -> Depths {
    let depth = config.chain.confirmations;
    Depths { start: depth.start, teardown: depth.teardown, orphan: depth.orphan }
}

/// The name under which ports on the nodes are reached: as configured, or the host of the gateway's URI.
fn port_host(config: &Config) -> String {
    config.ingress.port_host.clone().unwrap_or_else(|| {
        let uri = &config.gateway.public_uri;
        let authority = uri.split_once("://").map_or(uri.as_str(), |(_, rest)| rest);
        let authority = authority.split('/').next().unwrap_or(authority);
        match authority.rsplit_once(':') {
            // The colons of an IPv6 address stand in brackets.
            Some((host, port)) if !port.contains(']') => host.to_owned(),
            _ => authority.to_owned(),
        }
    })
}
