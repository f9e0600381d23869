//! Settings: a YAML file and the environment → [`Config`], with every problem told at once.
//!
//! Each key of the file can be overridden by an environment variable named after its path: `chain.rpc` by `BERTH_CHAIN_RPC`,
//! `escrow.withdrawEvery` by `BERTH_ESCROW_WITHDRAW_EVERY`. Secrets are never in here: keys and passwords are files, named by
//! path. The shipped `berth-provider.example.yaml` shows every key.

mod pricing;
mod read;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use bidengine::Policy;
use manifests::money::Amount;
use manifests::objects::{Cidr, Overcommit};
use manifests::order::Address;
use market::deploy::AddressBook;
use market::signer::{DailyGas, ServiceUrl};
use market::wakeup::Wakeup;

use crate::inventory::naming::Naming;
use crate::inventory::ports::PortRange;
use crate::inventory::quantity::{Rounding, units};
use crate::store::DatabaseUrl;
pub use pricing::{FxSource, FxSources, Hook, HookProgram, Pricing, PrivateUrl};
use read::{Problems, Section};
pub(crate) use read::{parse_dollars, parse_duration};

/// Everything the daemon is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The chain and the market on it.
    pub chain: Chain,
    /// The operator key, which bids, closes and withdraws.
    pub wallet: Wallet,
    /// `provider`: the owner address under which the provider is registered. Required. Another one than the registered
    /// one means that no bid is accepted.
    pub provider: Address,
    /// `database`: URL of the database: `sqlite:///var/lib/berth/provider.db`, created if missing, or
    /// `postgres://user:password@host:5432/database`; give the latter by `BERTH_DATABASE` from a secret. Required. Losing the
    /// database loses manifests and the memory of what was sent, not money.
    pub database: DatabaseUrl,
    /// `dataKeyFile`: file of the key under which env values and registry credentials are encrypted. Required. Created with
    /// mode 0600 if missing; without it stored manifests cannot be read again.
    pub data_key_file: PathBuf,
    /// The Kubernetes cluster.
    pub cluster: Cluster,
    /// How tenants' services are reached.
    pub ingress: Ingress,
    /// Where tenants reach us.
    pub gateway: Gateway,
    /// Where Prometheus reaches us.
    pub metrics: Metrics,
    /// When money is collected.
    pub escrow: Escrow,
    /// `pricing`: what things cost. Required. What has no price is not sold. Read again while the daemon runs.
    pub pricing: Pricing,
    /// `policy`: whom the provider serves and what it says of itself. Default: everybody. `policy.reclaim` is set by
    /// `bids.reclaim`. Read again while the daemon runs.
    pub policy: Policy,
    /// What a bid promises besides its price.
    pub bids: Bids,
    /// `decisions.keep`: how long the decision on an order can be explained after nothing rests on it any more, neither an open
    /// order nor a lease. Default 720h.
    pub keep_decisions: Duration,
    /// `manifestTimeout`: how long a won lease may wait for its manifest. Default 10m. After it the lease is closed with
    /// reason 103 and its capacity is free again.
    pub manifest_timeout: Duration,
}

/// `chain`
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    /// `chain.rpc`: URL of a JSON-RPC endpoint, or several with commas or spaces between them, of hosts that do not fail
    /// together. Required. A wrong chain behind any of them keeps the daemon from starting. With credentials in one, give it by
    /// `BERTH_CHAIN_RPC` from a secret.
    pub rpc: RpcUrls,
    /// `chain.addresses`: the addresses file that `berth market deploy` wrote. It says chain, market and first block, in place
    /// of the three keys below, and the code of every contract, which is checked at the start. Default: none.
    pub addresses: Option<AddressBook>,
    /// `chain.chainId`: the chain's id. Required without `chain.addresses`. An endpoint on another chain is refused.
    pub chain_id: u64,
    /// `chain.market`: address of the Market contract. Required without `chain.addresses`.
    pub market: Address,
    /// `chain.startBlock`: where following begins in a new database. Default 0. The block in which the Market was deployed
    /// saves reading what came before.
    pub start_block: u64,
    /// `chain.pollInterval`: how often the head is asked for. Default 250ms. Longer saves requests and delays every bid.
    pub poll_interval: Duration,
    /// `chain.ws`: WebSocket URL of an endpoint that tells new heads. Default: none. It only wakes the daemon before the poll
    /// interval is over, so that the interval may be long; what it says is not believed.
    pub ws: Option<Wakeup>,
    /// `chain.confirmations`
    pub confirmations: Confirmations,
    /// `chain.staleAfter`: how old the last followed block may be before nothing is bid and no lease is given up. Default 60s. A
    /// chain with slow blocks is given time for four of them. Shorter stops bidding at every hiccup; longer bids on orders that
    /// may be gone.
    pub stale_after: Duration,
    /// `chain.sweep`
    pub sweep: Sweep,
    /// `chain.gas`
    pub gas: Gas,
}

/// URLs of JSON-RPC endpoints, in which there may be credentials: its debug form is stars.
#[derive(Clone, PartialEq, Eq)]
pub struct RpcUrls(String);

impl RpcUrls {
    /// The URLs of this text.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The URLs, for whoever calls them.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RpcUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RpcUrls(***)")
    }
}

/// `chain.gas`: what bids may cost the operator key. Closes and payouts are sent whatever is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gas {
    /// `chain.gas.dailyBudget`: wei that all transactions of a day may cost before bids stop. Default: none, no bid is stopped. What
    /// is under way when it is reached is still paid.
    pub daily_budget: Option<u128>,
    /// `chain.gas.reserveCloses`: for how many closes there must be gas money left after a bid, at the fees of the moment. Default
    /// 20. With 0 bids may spend the last of it, and leases can then not be closed.
    pub reserve_closes: u32,
}

/// `chain.sweep`: reading again, in the background, what was followed before, in case an endpoint left something out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sweep {
    /// `chain.sweep.every`: the time between two sweeps. Default 24h. What an endpoint left out is missed for as long.
    pub every: Duration,
    /// `chain.sweep.reach`: how far back a sweep reads, in chain time. Default 72h. Longer than `every`, or something is never
    /// read again.
    pub reach: Duration,
}

/// `chain.confirmations`: how deep a fact must lie before it is acted on. Bids and reservations need no depth: a bid names the
/// order's terms. Neither does what is shown of money: it is added up from the facts, and a reorganisation takes its part back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmations {
    /// `chain.confirmations.start`: blocks above a lease before its workload starts. Default 1.
    pub start: u64,
    /// `chain.confirmations.teardown`: blocks above a lease's end before its workload is deleted and its capacity is sold again.
    /// Default 2. More on a chain whose reorganisations go deeper: a lease whose end is taken back later runs again only after
    /// its tenant has sent the manifest again.
    pub teardown: u64,
    /// `chain.confirmations.orphan`: blocks that a workload is kept after a reorganisation took its lease away; transactions are
    /// mostly mined again within a few. Default 20.
    pub orphan: u64,
}

/// `wallet`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wallet {
    /// Where the operator key is.
    pub key: Key,
    /// `wallet.address`: the account of the operator key. Default: whatever the keystore holds; required with `wallet.remote`.
    /// The daemon does not start with a key of another account.
    pub address: Option<Address>,
    /// `wallet.dailyGas` and `wallet.gasReserve`: how much gas money, in coins of the chain such as 0.25, the key may promise in
    /// a UTC day (gas limit × highest fee, each nonce once), and how much of it is kept for closing and withdrawing (default: a
    /// fifth). Default: no limit. What goes beyond waits for the next day, also after a restart. It is the last wall before the key: bids that are
    /// to stop earlier stop by the budget of the sender.
    pub daily_gas: Option<DailyGas>,
}

/// Where a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// In a file, opened at the start.
    Keystore {
        /// `wallet.keystore`: the operator key as an encrypted keystore file (version 3). Required without `wallet.remote`.
        keystore: PathBuf,
        /// `wallet.passwordFile`: file with the keystore's password. Required without `wallet.remote`.
        password_file: PathBuf,
    },
    /// At a signing service.
    Remote {
        /// `wallet.remote`: URL of a web3signer that holds the operator key, in place of the two keys above. Everything that it
        /// returns is checked. Credentials in it are sent to it alone and shown nowhere; give it by `BERTH_WALLET_REMOTE` then.
        url: ServiceUrl,
        /// `wallet.remoteAuthorities`: PEM file of the certificate authorities that its certificate is judged by, alone. Default:
        /// the system's.
        authorities: Option<PathBuf>,
        /// `wallet.remoteTimeout`: how long it may take to sign. Default 3s. It is asked three times; nothing else is sent
        /// meanwhile.
        timeout: Duration,
    },
}

/// `cluster`
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// `cluster.kubeconfig`: how to reach the API server. Default: the pod's own service account, or `KUBECONFIG`.
    pub kubeconfig: Option<PathBuf>,
    /// `cluster.namespace`: where the agents publish their nodes. Default `berth`.
    pub namespace: String,
    /// `cluster.leaseRole` and `cluster.serviceAccount`: the ClusterRole that the daemon binds its own service account (of
    /// `cluster.namespace`) to in each lease's namespace. Default: none; the account must then be allowed everything everywhere.
    pub lease_role: Option<LeaseRole>,
    /// `cluster.nodeSelector`: label selector of the nodes whose capacity is sold. Default empty: every ready node that
    /// takes ordinary pods.
    pub node_selector: String,
    /// `cluster.dnsServers`: networks (CIDR) of DNS servers that tenants may ask besides the pods of `kube-system`. Default
    /// empty.
    pub dns_servers: Vec<Cidr>,
    /// `cluster.closedNetworks`: networks (CIDR) that tenants must not reach, besides the private ones that nobody may: public
    /// addresses of nodes and of the API server. Default empty.
    pub closed_networks: Vec<Cidr>,
    /// `cluster.gpuRuntimeClass`: the runtime class of pods with GPUs. Default: none, for nodes whose default runtime brings
    /// the GPU in.
    pub gpu_runtime_class: Option<String>,
    /// `cluster.runtimeClass`: the runtime class of pods without GPUs, such as one of a sandbox. Default: the nodes' own.
    pub runtime_class: Option<String>,
    /// `cluster.storageClasses`: which persistent volumes are sold, by the document's word for their class: `default`,
    /// `beta1`, `beta2`, `beta3`. Default: none, so orders with persistent volumes are declined.
    pub storage_classes: BTreeMap<String, StorageClass>,
    /// `cluster.addressPool`: addresses that tenants may lease. Default: none, so orders that lease one are declined.
    pub address_pool: Option<AddressPool>,
    /// `cluster.nodePorts`: the ports that the API server gives to Services, as in its `--service-node-port-range`. Default
    /// 30000-32767. A wider range than the cluster's sells ports that it does not have.
    pub node_ports: PortRange,
    /// `cluster.gpus`: names for cards, in place of those by which they are known: `pci` (and `subsystem` where it is about one
    /// board), `model`, `ram` and `interface`. Default: none. A card that nobody knows is called `unknown-<vendor and device>`,
    /// and sold when that has a price.
    pub gpus: Naming,
    /// `cluster.overcommit`: how much more processor time, memory and node-local storage is sold than is kept free, in percent:
    /// `cpu`, `memory`, `ephemeral`. Default 0. Tenants who all use what they bought then find less than that.
    pub overcommit: Overcommit,
    /// `cluster.replaceAfter`: how long a node may be lost, or have no room for a pod, before what was promised on it is promised
    /// on another. Default 2m. Shorter moves workloads for a node that restarts; Kubernetes itself gives up pods after 5m.
    pub replace_after: Duration,
}

/// `cluster.leaseRole` and `cluster.serviceAccount`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRole {
    /// The ClusterRole.
    pub name: String,
    /// The daemon's service account.
    pub service_account: String,
}

/// `cluster.storageClasses.<class>`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageClass {
    /// `….name`: the StorageClass of the cluster. Required. While the cluster has none of this name it is not offered; whether
    /// volumes can grow is what it says itself.
    pub name: String,
    /// `….limit`: how much of it is sold in all, such as `2Ti`. Required: nothing else tells how much there is.
    pub limit: Bytes,
    /// `….idMapped`: whether its file systems take id-mapped mounts. Default false: pods with such a volume do without a user
    /// namespace of their own.
    pub id_mapped: bool,
}

/// `cluster.addressPool`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressPool {
    /// `cluster.addressPool.addresses`: how many addresses are leased in all. Required.
    pub addresses: u64,
    /// `cluster.addressPool.loadBalancerClass`: who gives the address. Default: the cluster's own choice.
    pub load_balancer_class: Option<String>,
    /// `cluster.addressPool.annotations`: what each Service of a leased address carries, such as the pool's name. Default
    /// empty.
    pub annotations: BTreeMap<String, String>,
    /// `cluster.addressPool.sharingAnnotation`: the annotation by which Services share an address, such as
    /// `metallb.io/allow-shared-ip`. Default: none, so services that want one address together are refused.
    pub sharing_annotation: Option<String>,
}

/// An amount of storage, written as Kubernetes writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = units(text.trim(), 1, Rounding::Down).filter(|bytes| *bytes > 0);
        bytes.map(Self).ok_or("not an amount above zero")
    }
}

/// `ingress`
#[derive(Debug, Clone, PartialEq)]
pub struct Ingress {
    /// `ingress.domain`: services without a host of their own are reached under a name below it. Required. Its wildcard
    /// must lead to the cluster's Gateway.
    pub domain: String,
    /// `ingress.gateway`
    pub gateway: GatewayRef,
    /// `ingress.sources`: networks (CIDR) from which the Gateway's proxies reach pods. Default empty: pods in the Gateway's
    /// namespace.
    pub sources: Vec<Cidr>,
    /// `ingress.portHost`: the name under which ports on the nodes are reached. Default: the host of `gateway.publicUri`.
    pub port_host: Option<String>,
}

/// `ingress.gateway`: the Gateway (Gateway API) that routes are attached to.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayRef {
    /// `ingress.gateway.name`: Required.
    pub name: String,
    /// `ingress.gateway.namespace`: Required.
    pub namespace: String,
    /// `ingress.gateway.section`: the listener. Default: every listener that admits the route.
    pub section: Option<String>,
}

/// `gateway`
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    /// `gateway.listen`: address and port for tenants. Default 0.0.0.0:8443.
    pub listen: SocketAddr,
    /// `gateway.publicUri`: how tenants reach it, as in the registry, such as `https://provider.example:8443`. Required.
    pub public_uri: String,
    /// `gateway.tlsDir`: folder with `tls.key` and `tls.crt`. Required. A key is made if there is none; its hash belongs in
    /// the registry, so keep the folder.
    pub tls_dir: PathBuf,
}

/// `metrics`
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// `metrics.listen`: address and port of `/metrics`. Default 0.0.0.0:9090.
    pub listen: SocketAddr,
}

/// `escrow`
#[derive(Debug, Clone, PartialEq)]
pub struct Escrow {
    /// `escrow.withdrawEvery`: the longest time between two withdrawals of a lease. Default 24h.
    pub withdraw_every: Duration,
    /// `escrow.withdrawAbove`: dollars earned by a lease at which it is withdrawn earlier, where `escrow.nativePrice` is not set.
    /// Default 10.
    pub withdraw_above: Amount,
    /// `escrow.nativePrice`: dollars that a coin of the chain is worth, for weighing what a withdrawal brings against its fee.
    /// With it money is withdrawn as soon as it is worth 50 fees, never at a loss, and `escrow.withdrawAbove` does not count.
    /// Default: none; nobody is asked for prices, so keep it about right.
    pub native_price: Option<Amount>,
    /// `escrow.margin`: how long before an account runs dry its leases are withdrawn. Default 10m.
    pub margin: Duration,
    /// `escrow.checkInterval`: how often leases are looked at. Default 10s.
    pub check_interval: Duration,
}

/// `bids`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bids {
    /// `bids.validFor`: how long a bid can be accepted and its capacity is held. Default 5m. Never beyond the order's own
    /// expiry.
    pub valid_for: Duration,
    /// `bids.reclaim`: the notice promised before leaving a lease. Default 1h. Orders that want more are declined.
    pub reclaim: Duration,
    /// `bids.minBill`: time that is paid even if the tenant leaves earlier. Default 0s, at most 1h.
    pub min_bill: Duration,
    /// `bids.undercut`: by which share of another's price we go below it, on orders that go to their lowest bid. Default
    /// 0.01, which is the least that the market lets count. Never below what the tariff and the margin allow.
    pub undercut: Share,
}

/// A share of a whole, exact to the ten-thousandth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Share(u16);

impl Share {
    /// That share of an amount, rounded down.
    #[must_use]
    pub fn of(self, amount: u128) -> u128 {
        amount / 10_000 * u128::from(self.0) + amount % 10_000 * u128::from(self.0) / 10_000
    }
}

impl FromStr for Share {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = read::parse_decimal(text.trim(), 4).and_then(|parts| u16::try_from(parts).ok());
        parts
            .filter(|parts| *parts <= 10_000)
            .map(Self)
            .ok_or("not a share from 0 to 1 with at most four decimals")
    }
}

impl Config {
    /// Reads the file at `path` and the process's environment.
    ///
    /// # Errors
    /// When the file cannot be read or is not YAML, or with a list of everything that is wrong in it.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("failed to read the configuration {}: name another with --config", path.display())
        })?;
        Self::parse(&text, |name| std::env::var(name).ok())
            .with_context(|| format!("the configuration {} cannot be used", path.display()))
    }

    /// Reads settings from YAML text, with `env` looked up for overrides.
    ///
    /// # Errors
    /// One that lists everything that is wrong, each with its key's path.
    pub fn parse(text: &str, env: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let problems = Problems::default();
        let mut root = Section::root(text, &env, &problems)?;
        let config = Self::read(&mut root);
        root.finish();
        match (problems.into_sentences(), config) {
            (sentences, Some(config)) if sentences.is_empty() => Ok(config),
            (sentences, _) => bail!("{}", sentences.join("; ")),
        }
    }

    /// Reads every key before it gives up on any, so that all problems are found.
    fn read(root: &mut Section<'_>) -> Option<Self> {
        let (chain, wallet) = (Chain::read(root), Wallet::read(root));
        let provider = root.required("provider", "an address such as 0x… with 40 hex digits");
        // The URL is not shown back: it may hold a password.
        let database =
            root.text("database", "a URL such as sqlite:///var/lib/berth/provider.db").and_then(|url| {
                url.parse()
                    .map_err(|error| root.problem("database", &format!("cannot be used: {error}")))
                    .ok()
            });
        let data_key_file = root.path("dataKeyFile", "the path of a file");
        let (cluster, ingress) = (Cluster::read(root), Ingress::read(root));
        let (gateway, metrics) = (Gateway::read(root), Metrics::read(root));
        let (escrow, bids) = (Escrow::read(root), Bids::read(root));
        let mut decisions = root.section("decisions");
        let keep_decisions = decisions.duration("keep", Duration::from_secs(30 * 86_400));
        decisions.finish();
        let manifest_timeout = root.duration("manifestTimeout", Duration::from_secs(600));
        let pricing = Pricing::read(root);
        let policy = root.table_or_default("policy").map(|policy: Policy| {
            if policy.reclaim != 0 {
                root.problem("policy.reclaim", "is not a key: set bids.reclaim");
            }
            if policy.bid_secs != 0 {
                root.problem("policy.bidSecs", "is not a key: set bids.validFor");
            }
            bids.as_ref().map_or_else(|| policy.clone(), |bids| bids.promised_by(policy.clone()))
        });
        Some(Self {
            chain: chain?,
            wallet: wallet?,
            provider: provider?,
            database: database?,
            data_key_file: data_key_file?,
            cluster: cluster?,
            ingress: ingress?,
            gateway: gateway?,
            metrics: metrics?,
            escrow: escrow?,
            pricing: pricing?,
            policy: policy?,
            bids: bids?,
            keep_decisions: keep_decisions?,
            manifest_timeout: manifest_timeout?,
        })
    }
}

impl Chain {
    fn read(root: &mut Section<'_>) -> Option<Self> {
        let mut chain = root.section("chain");
        let rpc = chain.text("rpc", "a URL such as http://127.0.0.1:8545");
        let addresses = Self::addresses(&mut chain);
        let (chain_id, market, start_block) = match &addresses {
            Some(Some(book)) => {
                for key in ["chainId", "market", "startBlock"] {
                    if chain.optional::<String>(key, "").is_none_or(|said| said.is_some()) {
                        chain.problem(key, "is said by chain.addresses: leave one of the two out");
                    }
                }
                (Some(book.chain_id), Some(book.contracts().market), Some(book.block))
            }
            Some(None) => (
                chain.required("chainId", "the chain's number"),
                chain.required("market", "the Market contract's address"),
                chain.or("startBlock", "a block height", 0),
            ),
            // One problem is enough: the keys need not be there.
            None => {
                let _ = ["chainId", "market", "startBlock"].map(|key| chain.optional::<String>(key, ""));
                (None, None, None)
            }
        };
        let poll_interval = chain.duration("pollInterval", Duration::from_millis(250));
        // The URL is not shown back: it may hold a key.
        let ws = chain.optional("ws", "a URL such as ws://127.0.0.1:8545").and_then(|url: Option<String>| {
            let ws = url.map(|url| Wakeup::new(&url)).transpose();
            ws.map_err(|problem| chain.problem("ws", &format!("cannot be used: {problem}"))).ok()
        });
        let mut depth = chain.section("confirmations");
        let start = depth.or("start", "a number of blocks", 1);
        let teardown = depth.or("teardown", "a number of blocks", 2);
        let orphan = depth.or("orphan", "a number of blocks", 20);
        depth.finish();
        let stale_after = chain.duration("staleAfter", Duration::from_secs(60));
        let mut sweep = chain.section("sweep");
        let every = sweep.duration("every", Duration::from_secs(24 * 3600));
        let reach = sweep.duration("reach", Duration::from_secs(72 * 3600));
        if let (Some(every), Some(reach)) = (every, reach)
            && (every.is_zero() || reach < every)
        {
            sweep.problem("reach", "must not be shorter than every, which must not be zero");
        }
        sweep.finish();
        if stale_after.is_some_and(|time| time < Duration::from_secs(1)) {
            chain.problem("staleAfter", "is too short: write 1s or more");
        }
        let gas = Gas::read(&mut chain);
        chain.finish();
        Some(Self {
            rpc: RpcUrls::new(rpc?),
            addresses: addresses?,
            chain_id: chain_id?,
            market: market?,
            start_block: start_block?,
            poll_interval: poll_interval?,
            ws: ws?,
            confirmations: Confirmations { start: start?, teardown: teardown?, orphan: orphan? },
            stale_after: stale_after?,
            sweep: Sweep { every: every?, reach: reach? },
            gas: gas?,
        })
    }

    /// The addresses file, if one is named; `None` if it cannot be used.
    fn addresses(chain: &mut Section<'_>) -> Option<Option<AddressBook>> {
        let named: Option<PathBuf> = chain.optional("addresses", "the path of an addresses file")?;
        let Some(path) = named else { return Some(None) };
        match AddressBook::load(&path) {
            Ok(book) => Some(Some(book)),
            Err(error) => {
                chain.problem("addresses", &format!("cannot be used: {error}"));
                None
            }
        }
    }
}

impl Gas {
    fn read(chain: &mut Section<'_>) -> Option<Self> {
        let mut gas = chain.section("gas");
        let daily_budget = gas.optional("dailyBudget", "a whole number of wei");
        let reserve_closes = gas.or("reserveCloses", "a number of closes", 20);
        gas.finish();
        Some(Self { daily_budget: daily_budget?, reserve_closes: reserve_closes? })
    }
}

impl Wallet {
    fn read(root: &mut Section<'_>) -> Option<Self> {
        let mut wallet = root.section("wallet");
        let address = wallet.optional("address", "the operator's address such as 0x… with 40 hex digits");
        // The URL is not shown back: it may hold credentials.
        let remote = wallet.optional("remote", "a URL such as https://signer:9000");
        let remote = remote.and_then(|url: Option<String>| {
            let url = url.map(|url| url.parse::<ServiceUrl>()).transpose();
            url.map_err(|problem| wallet.problem("remote", &format!("cannot be used: {problem}"))).ok()
        });
        let authorities = wallet.optional("remoteAuthorities", "the path of a file of certificates (PEM)");
        let timeout = wallet.duration("remoteTimeout", Duration::from_secs(3));
        if timeout.is_some_and(|timeout| timeout.is_zero() || timeout > LONGEST_SIGNING) {
            wallet.problem("remoteTimeout", "is not between 1ms and 60s");
        }
        let key = match remote {
            Some(None) => {
                let keystore =
                    wallet.path("keystore", "the path of an encrypted keystore file, or wallet.remote");
                let password_file =
                    wallet.path("passwordFile", "the path of the file with the keystore's password");
                keystore
                    .zip(password_file)
                    .map(|(keystore, password_file)| Key::Keystore { keystore, password_file })
            }
            Some(Some(url)) => {
                for key in ["keystore", "passwordFile"] {
                    if wallet.optional::<String>(key, "").is_none_or(|said| said.is_some()) {
                        wallet.problem(key, "stands beside wallet.remote: leave one of the two out");
                    }
                }
                if address == Some(None) {
                    wallet.problem(
                        "address",
                        "is missing: with wallet.remote, write the account that it signs for",
                    );
                }
                authorities.zip(timeout).map(|(authorities, timeout)| Key::Remote {
                    url,
                    authorities,
                    timeout,
                })
            }
            // One problem is enough.
            None => {
                let _ = ["keystore", "passwordFile"].map(|key| wallet.optional::<String>(key, ""));
                None
            }
        };
        let daily_gas = read_daily_gas(&mut wallet);
        wallet.finish();
        Some(Self { key: key?, address: address?, daily_gas: daily_gas? })
    }
}

/// Longer than this nobody waits for a signature.
const LONGEST_SIGNING: Duration = Duration::from_secs(60);

fn read_daily_gas(wallet: &mut Section<'_>) -> Option<Option<DailyGas>> {
    let (limit, reserve) = (wallet.coins("dailyGas")?, wallet.coins("gasReserve")?);
    match (limit, reserve) {
        (None, None) => Some(None),
        (None, Some(_)) => {
            wallet.problem("gasReserve", "is a part of wallet.dailyGas, which is missing");
            None
        }
        (Some(limit_wei), reserve) => {
            let reserve_wei = reserve.unwrap_or(limit_wei / 5);
            if reserve_wei > limit_wei || limit_wei == 0 {
                wallet.problem("dailyGas", "must be above zero and not below wallet.gasReserve");
                return None;
            }
            Some(Some(DailyGas { limit_wei, reserve_wei }))
        }
    }
}

const NETWORKS: &str = "networks such as [10.0.0.0/8]";

impl Cluster {
    fn read(root: &mut Section<'_>) -> Option<Self> {
        let mut cluster = root.section("cluster");
        let kubeconfig = cluster.optional("kubeconfig", "the path of a kubeconfig file");
        let namespace = cluster.or("namespace", "a namespace's name", "berth".to_owned());
        let lease_role = LeaseRole::read(&mut cluster);
        let node_selector =
            cluster.or("nodeSelector", "a label selector such as berth.dev/sell=true", String::new());
        let dns_servers = cluster.list("dnsServers", NETWORKS);
        let closed_networks = cluster.list("closedNetworks", NETWORKS);
        let gpu_runtime_class = cluster.optional("gpuRuntimeClass", "the name of a RuntimeClass");
        let runtime_class = cluster.optional("runtimeClass", "the name of a RuntimeClass");
        let mut classes = cluster.section("storageClasses");
        // Every class is read before the table is given up, so that all problems are found.
        let offered: Vec<_> =
            STORAGE_WORDS.into_iter().filter_map(|word| StorageClass::read(&mut classes, word)).collect();
        classes.finish();
        let address_pool = match cluster.section_if_there("addressPool") {
            None => Some(None),
            Some(pool) => AddressPool::read(pool).map(Some),
        };
        let overcommit = read_overcommit(cluster.section("overcommit"));
        let replace_after = cluster.duration("replaceAfter", Duration::from_secs(120));
        let node_ports = cluster.or("nodePorts", "a range such as 30000-32767", PortRange::default());
        let gpus = cluster.table_or_default("gpus");
        cluster.finish();
        Some(Self {
            kubeconfig: kubeconfig?,
            namespace: namespace?,
            lease_role: lease_role?,
            node_selector: node_selector?,
            dns_servers: dns_servers?,
            closed_networks: closed_networks?,
            gpu_runtime_class: gpu_runtime_class?,
            runtime_class: runtime_class?,
            storage_classes: offered.into_iter().collect::<Option<_>>()?,
            address_pool: address_pool?,
            overcommit: overcommit?,
            replace_after: replace_after?,
            node_ports: node_ports?,
            gpus: gpus?,
        })
    }
}

impl LeaseRole {
    fn read(cluster: &mut Section<'_>) -> Option<Option<Self>> {
        let role = cluster.optional("leaseRole", "the name of a ClusterRole")?;
        let account = cluster.optional("serviceAccount", "the name of the daemon's service account")?;
        match (role, account) {
            (Some(name), Some(service_account)) => Some(Some(Self { name, service_account })),
            (None, None) => Some(None),
            (role, _) => {
                let lacking = if role.is_some() { "serviceAccount" } else { "leaseRole" };
                cluster
                    .problem(lacking, "is missing: cluster.leaseRole and cluster.serviceAccount go together");
                None
            }
        }
    }
}

/// The words of the language for classes of persistent volumes.
const STORAGE_WORDS: [&str; 4] = ["default", "beta1", "beta2", "beta3"];

impl StorageClass {
    /// The class under its word; the outer `None` says that it is not there.
    fn read(classes: &mut Section<'_>, word: &'static str) -> Option<Option<(String, Self)>> {
        let mut class = classes.section_if_there(word)?;
        let name = class.text("name", "the name of a StorageClass of the cluster");
        let limit = class.required("limit", "how much of it is sold in all, such as 2Ti");
        let id_mapped = class.or("idMapped", "true or false", false);
        class.finish();
        let read = || Some((word.to_owned(), Self { name: name?, limit: limit?, id_mapped: id_mapped? }));
        Some(read())
    }
}

impl AddressPool {
    fn read(mut pool: Section<'_>) -> Option<Self> {
        let addresses = pool.required("addresses", "how many addresses may be leased");
        let load_balancer_class = pool.optional("loadBalancerClass", "the name of a load balancer class");
        let annotations = pool.table_or_default("annotations");
        let sharing_annotation = pool.optional("sharingAnnotation", "the name of an annotation");
        pool.finish();
        Some(Self {
            addresses: addresses?,
            load_balancer_class: load_balancer_class?,
            annotations: annotations?,
            sharing_annotation: sharing_annotation?,
        })
    }
}

fn read_overcommit(mut overcommit: Section<'_>) -> Option<Overcommit> {
    const FORM: &str = "a percentage such as 50";
    let cpu_percent = overcommit.or("cpu", FORM, 0);
    let memory_percent = overcommit.or("memory", FORM, 0);
    let ephemeral_percent = overcommit.or("ephemeral", FORM, 0);
    overcommit.finish();
    Some(Overcommit {
        cpu_percent: cpu_percent?,
        memory_percent: memory_percent?,
        ephemeral_percent: ephemeral_percent?,
    })
}

impl Ingress {
    fn read(root: &mut Section<'_>) -> Option<Self> {
        let mut ingress = root.section("ingress");
        let domain = ingress.text("domain", "a DNS name such as apps.provider.example");
        let mut gateway = ingress.section("gateway");
        let name = gateway.text("name", "the name of a Gateway");
        let namespace = gateway.text("namespace", "the namespace of that Gateway");
        let section = gateway.optional("section", "the name of one of its listeners");
        gateway.finish();
        let sources = ingress.list("sources", NETWORKS);
        let port_host = ingress.optional("portHost", "a DNS name or an address");
        ingress.finish();
        Some(Self {
            domain: domain?,
            gateway: GatewayRef { name: name?, namespace: namespace?, section: section? },
            sources: sources?,
            port_host: port_host?,
        })
    }
}

impl Gateway {
    fn read(root: &mut Section<'_>) -> Option<Self> {
        let mut gateway = root.section("gateway");
        let listen =
            gateway.or("listen", "an address and port such as 0.0.0.0:8443", ([0, 0, 0, 0], 8443).into());
        let public_uri = gateway.text("publicUri", "a URL such as https://provider.example:8443");
        let tls_dir = gateway.path("tlsDir", "the path of a folder");
        gateway.finish();
        Some(Self { listen: listen?, public_uri: public_uri?, tls_dir: tls_dir? })
    }
}

impl Metrics {
    fn read(root: &mut Section<'_>) -> Option<Self> {
        let mut metrics = root.section("metrics");
        let listen =
            metrics.or("listen", "an address and port such as 0.0.0.0:9090", ([0, 0, 0, 0], 9090).into());
        metrics.finish();
        Some(Self { listen: listen? })
    }
}

impl Escrow {
    fn read(root: &mut Section<'_>) -> Option<Self> {
        let mut escrow = root.section("escrow");
        let withdraw_every = escrow.duration("withdrawEvery", Duration::from_secs(24 * 3600));
        let withdraw_above = escrow.dollars("withdrawAbove", Amount(10_000_000));
        // No coin is worth nothing: zero says that there is no price.
        let native_price = escrow.dollars("nativePrice", Amount::ZERO);
        let margin = escrow.duration("margin", Duration::from_secs(600));
        let check_interval = escrow.duration("checkInterval", Duration::from_secs(10));
        escrow.finish();
        Some(Self {
            withdraw_every: withdraw_every?,
            withdraw_above: withdraw_above?,
            native_price: native_price.map(|price| Some(price).filter(|price| *price > Amount::ZERO))?,
            margin: margin?,
            check_interval: check_interval?,
        })
    }
}

impl Bids {
    /// The policy, promising what bids promise.
    pub(crate) fn promised_by(&self, policy: Policy) -> Policy {
        let reclaim = u32::try_from(self.reclaim.as_secs()).unwrap_or(u32::MAX);
        Policy { reclaim, bid_secs: self.valid_for.as_secs(), ..policy }
    }

    fn read(root: &mut Section<'_>) -> Option<Self> {
        let mut bids = root.section("bids");
        let valid_for = bids.duration("validFor", Duration::from_secs(300));
        let reclaim = bids.duration("reclaim", Duration::from_secs(3600));
        let min_bill = bids.duration("minBill", Duration::ZERO);
        if min_bill.is_some_and(|time| time > Duration::from_secs(3600)) {
            bids.problem("minBill", "is above 1h, the most that the market allows");
        }
        let undercut = bids.or("undercut", "a share such as 0.01", Share(100));
        bids.finish();
        Some(Self { valid_for: valid_for?, reclaim: reclaim?, min_bill: min_bill?, undercut: undercut? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../berth-provider.example.yaml");

    fn none(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn the_shipped_example_is_read() {
        let config = Config::parse(EXAMPLE, none).expect("good");
        assert_eq!(config.chain.poll_interval, Duration::from_millis(250));
        assert_eq!(config.cluster.namespace, "berth");
        assert_eq!(config.policy.reclaim, 3600);
        assert_eq!(config.escrow.withdraw_above, Amount(10_000_000));
    }

    /// Keys that are commented out, without a default.
    const CHOICES: [&str; 8] =
        ["reserve", "costShare", "cost", "minimumMargin", "caps", "maxOpenBids", "floors", "images"];

    #[test]
    fn what_the_example_offers_besides_the_defaults_is_read_too() {
        let mut text = EXAMPLE.replacen("# costShare", "# no share", 1);
        for key in ["curves", "rules", "fx", "hook"].iter().chain(&CHOICES) {
            let Some(at) = text.find(&format!("  # {key}:")) else { continue };
            let (before, after) = text.split_at(at);
            let mut lines = after.lines();
            let first = lines.next().expect("there").replacen("# ", "", 1);
            let within: Vec<&str> = lines.clone().take_while(|line| line.starts_with("  #   ")).collect();
            let rest: Vec<&str> = lines.skip(within.len()).collect();
            let within: String =
                within.iter().map(|line| format!("{}\n", line.replacen("# ", "", 1))).collect();
            text = format!("{before}{first}\n{within}{}\n", rest.join("\n"));
        }
        let config = Config::parse(&text, none).expect("every choice is read");
        assert_ne!(config.pricing.tariff, Config::parse(EXAMPLE, none).expect("good").pricing.tariff);
        let fx = config.pricing.fx.expect("sources");
        assert_eq!((fx.currency.as_str(), fx.sources.len(), fx.max_change_percent), ("EUR", 3, 20));
        assert_eq!((fx.refresh, fx.max_staleness), (Duration::from_secs(60), Duration::from_secs(900)));
        assert!(matches!(&fx.sources[0], FxSource::Http { time_pointer: Some(_), .. }));
        let hook = config.pricing.hook.expect("a program");
        assert_eq!((hook.timeout, hook.parallel), (Duration::from_secs(2), 8));
        let HookProgram::Exec { arguments, env, .. } = hook.program else { panic!("{hook:?}") };
        assert_eq!((arguments.len(), env["PRICE_TARGET_CPU"].as_str()), (1, "1.60"));
        let policy = config.policy;
        assert_eq!((policy.caps.leases, policy.max_open_bids), (Some(20), Some(200)));
        assert!(policy.floors.gas.is_some() && policy.floors.bond.is_some() && policy.caps.monthly.is_some());
        assert!(policy.images.admit("quay.io/x/y").is_err() && policy.images.admit("nginx").is_ok());
    }

    #[test]
    fn who_is_asked_for_prices_is_told_exactly_or_refused_and_credentials_are_never_shown() {
        let with = |more: &str| {
            Config::parse(&EXAMPLE.replacen("\npricing:\n", &format!("\npricing:\n  {more}\n"), 1), none)
        };
        let secret =
            "hook: {url: 'https://user:hunter2@prices.example/path-hunter2?key=hunter2', timeout: 1s}";
        let config = with(secret).expect("good");
        assert!(!format!("{config:?}").contains("hunter2"), "credentials are not shown");
        let sources = "fx: {currency: EUR, sources";
        for (more, problem) in [
            ("hook: {}".to_owned(), "pricing.hook.exec is missing"),
            ("hook: {exec: [price.sh]}".to_owned(), "a path that is not absolute"),
            ("hook: {exec: [/p], url: 'http://h/hunter2'}".to_owned(), "leave one of the two out"),
            ("hook: {url: 'ftp://hunter2@h'}".to_owned(), "pricing.hook.url is not a URL"),
            ("hook: {url: 'http://h', env: {A: b}}".to_owned(), "env is for exec alone"),
            ("hook: {exec: [/p], timeout: 1h}".to_owned(), "pricing.hook.timeout is not between"),
            ("hook: {exec: [/p], parallel: 0}".to_owned(), "pricing.hook.parallel is not between"),
            ("hook: {exec: [/p], unit: uakt}".to_owned(), "neither uactPerBlock nor usdPerMonth"),
            (format!("{sources}: []}}"), "sources is empty"),
            (
                format!("{sources}: [{{static: '1', chainOracle: {{}}}}]}}"),
                "pricing.fx.sources cannot be used",
            ),
            (format!("{sources}: [{{}}]}}"), "not one of static, http or chainOracle"),
            (format!("{sources}: [{{http: {{url: 'hunter2', pointer: /a}}}}]}}"), "no URL with http"),
            (format!("{sources}: [{{http: {{url: 'http://h', pointer: a}}}}]}}"), "begin with a slash"),
            (format!("{sources}: [{{static: '0'}}]}}"), "above zero"),
            (format!("{sources}: [{{static: '1'}}], refresh: 30m}}"), "shorter than refresh"),
            (format!("{sources}: [{{static: '1'}}], onStale: guess}}"), "guess"),
            ("fx: {currency: euro, sources: [{static: '1'}]}".to_owned(), "three capital letters"),
            ("minimumMargin: '0.1'".to_owned(), "write cost or costShare"),
        ] {
            let told = format!("{:#}", with(&more).expect_err(&more));
            assert!(told.contains(problem) && !told.contains("hunter2"), "{problem} is not in: {told}");
        }
    }

    /// Every key that is commented out in the example is a key, with its default.
    #[test]
    fn what_the_example_comments_out_is_the_default() {
        let is_key = |line: &str| {
            let text = line.trim_start().strip_prefix("# ").unwrap_or_default();
            text.split_once(':').is_some_and(|(key, _)| {
                !key.is_empty()
                    && key.bytes().all(|byte| byte.is_ascii_alphabetic())
                    && !key.starts_with(char::is_uppercase)
            })
        };
        let uncommented: Vec<String> = EXAMPLE
            .lines()
            .filter(|line| {
                !line.contains("addresses: /")
                    && !line.contains("kubeconfig:")
                    && !line.contains("leaseRole:")
                    && !line.contains("serviceAccount:")
                    && !line.contains("section:")
                    && !line.contains("sources:")
                    && !["address: ", "remote", "dailyGas:", "gasReserve:"]
                        .iter()
                        .any(|key| line.contains(key))
            })
            .filter(|line| !CHOICES.iter().any(|key| line.trim_start().starts_with(&format!("# {key}:"))))
            .filter(|line| !line.contains("untimeClass:") && !line.contains("portHost:"))
            .filter(|line| {
                !line.contains("addressPool:") && !line.contains("ws: ") && !line.contains("dailyBudget:")
            })
            .map(|line| if is_key(line) { line.replacen("# ", "", 1) } else { line.to_owned() })
            .collect();
        let uncommented = uncommented.join("\n");
        assert_ne!(uncommented, EXAMPLE);
        assert_eq!(
            Config::parse(&uncommented, none).expect("good"),
            Config::parse(EXAMPLE, none).expect("good")
        );
    }

    #[test]
    fn what_the_cluster_offers_is_read_and_what_is_amiss_there_is_named() {
        let config = Config::parse(EXAMPLE, none).expect("good");
        let class = &config.cluster.storage_classes["beta3"];
        assert_eq!((class.name.as_str(), class.limit, class.id_mapped), ("fast-nvme", Bytes(2 << 40), true));
        assert_eq!(config.cluster.overcommit, Overcommit::default());
        let text = EXAMPLE
            .replace("# addressPool", "addressPool")
            .replace("# cpu: 0", "cpu: 50")
            .replace("# runtimeClass", "runtimeClass");
        let cluster = Config::parse(&text, none).expect("good").cluster;
        let pool = cluster.address_pool.expect("there");
        assert_eq!((pool.addresses, pool.annotations.len()), (8, 1));
        assert_eq!((cluster.overcommit.cpu_percent, cluster.runtime_class.as_deref()), (50, Some("gvisor")));

        let text = EXAMPLE
            .replace("# memory: 0", "memory: -1")
            .replace("beta3: {name: fast-nvme, limit: 2Ti", "nvme: {}\n    beta3: {limit: none")
            .replace("# addressPool: {addresses: 8,", "addressPool: {");
        let told = format!("{:#}", Config::parse(&text, none).expect_err("wrong"));
        for part in [
            "cluster.overcommit.memory is \"-1\"",
            "cluster.storageClasses.nvme is not a key: known cluster.storageClasses are beta1, beta2, beta3, default",
            "cluster.storageClasses.beta3.name is missing",
            "cluster.storageClasses.beta3.limit is \"none\" (not an amount above zero): write how much",
            "cluster.addressPool.addresses is missing",
        ] {
            assert!(told.contains(part), "{part} is not in: {told}");
        }
    }

    #[test]
    fn a_role_for_leases_is_named_together_with_the_account_that_gets_it() {
        let with = |keys: &str| {
            Config::parse(&EXAMPLE.replacen("\ncluster:\n", &format!("\ncluster:\n{keys}"), 1), none)
        };
        let both = with("  leaseRole: leases\n  serviceAccount: berth\n").expect("good").cluster.lease_role;
        assert_eq!(both, Some(LeaseRole { name: "leases".to_owned(), service_account: "berth".to_owned() }));
        for (keys, said) in [
            ("  leaseRole: leases\n", "cluster.serviceAccount is missing"),
            ("  serviceAccount: berth\n", "cluster.leaseRole is missing"),
        ] {
            let told = format!("{:#}", with(keys).expect_err("wrong"));
            assert!(told.contains(said), "{told}");
        }
    }

    #[test]
    fn every_problem_is_told_at_once_with_its_path() {
        let text = EXAMPLE
            .replace("chainId: 31337", "chainId: many\n  chainID: 5")
            .replace("  domain: apps.provider.example", "  domian: x")
            .replace("# withdrawEvery: 24h", "withdrawEvery: often")
            .replace("# sources: [10.0.0.0/8]", "sources: [10.0.0.0/99]")
            .replace("cpuThread: \"1.60\"", "cpuThread: cheap")
            .replace("provider: \"0x00000000000000000000000000000000000000aa\"", "");
        let told = format!("{:#}", Config::parse(&text, none).expect_err("wrong"));
        for part in [
            "chain.chainId is \"many\"",
            "chain.chainID is not a key",
            "ingress.domain is missing",
            "ingress.domian is not a key",
            "escrow.withdrawEvery is \"often\"",
            "ingress.sources is \"10.0.0.0/99\"",
            "pricing",
            "provider is missing",
        ] {
            assert!(told.contains(part), "{part} is not in: {told}");
        }
    }

    #[test]
    fn the_operator_key_is_in_a_file_or_at_a_signing_service_and_never_in_both() {
        let config = Config::parse(EXAMPLE, none).expect("good");
        let Key::Keystore { keystore, .. } = &config.wallet.key else { panic!("{:?}", config.wallet) };
        assert_eq!((keystore, config.wallet.address), (&PathBuf::from("/etc/berth/operator.json"), None));
        let files = "  keystore: /etc/berth/operator.json\n  passwordFile: /etc/berth/operator.password\n";
        assert!(EXAMPLE.contains(files));
        let remote = "  remote: https://user:hunter2@signer:9000/key\n  address: \"0x00000000000000000000000000000000000000cc\"\n  \
                      dailyGas: 0.25\n  gasReserve: \"0.000000000000000001\"\n";
        let config = Config::parse(&EXAMPLE.replace(files, remote), none).expect("good");
        assert!(
            matches!(config.wallet.key, Key::Remote { timeout, .. } if timeout == Duration::from_secs(3))
        );
        let daily = DailyGas { limit_wei: 250_000_000_000_000_000, reserve_wei: 1 };
        assert_eq!(
            (config.wallet.address, config.wallet.daily_gas),
            ("0x00000000000000000000000000000000000000cc".parse().ok(), Some(daily))
        );
        assert!(!format!("{config:?}").contains("hunter2"), "credentials are not shown");

        let refused = |wallet: &str| {
            format!("{:#}", Config::parse(&EXAMPLE.replace(files, wallet), none).expect_err("wrong"))
        };
        for (wallet, said) in [
            (format!("{files}{remote}"), "wallet.keystore stands beside wallet.remote"),
            ("  remote: https://signer:9000\n".to_owned(), "wallet.address is missing: with wallet.remote"),
            (remote.replace("https:", "ftp:"), "wallet.remote cannot be used"),
            (
                remote.replace("gasReserve: \"0", "gasReserve: \"1"),
                "wallet.dailyGas must be above zero and not below",
            ),
            (remote.replace("dailyGas: 0.25", "remoteTimeout: 0s"), "wallet.remoteTimeout is not between"),
            (remote.replace("dailyGas: 0.25", ""), "wallet.gasReserve is a part of wallet.dailyGas"),
            (
                format!("{remote}  dailyGas: much\n").replace("dailyGas: 0.25", ""),
                "wallet.dailyGas is \"much\"",
            ),
            (String::new(), "wallet.keystore is missing"),
        ] {
            let told = refused(&wallet);
            assert!(told.contains(said) && !told.contains("hunter2"), "{said} is not in: {told}");
        }
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let env = |name: &str| match name {
            "BERTH_CHAIN_POLL_INTERVAL" => Some("20ms".to_owned()),
            "BERTH_INGRESS_SOURCES" => Some("10.0.0.0/8, fd00::/8".to_owned()),
            _ => None,
        };
        let config = Config::parse(EXAMPLE, env).expect("good");
        assert_eq!(config.chain.poll_interval, Duration::from_millis(20));
        let sources: Vec<_> = config.ingress.sources.iter().map(ToString::to_string).collect();
        assert_eq!(sources, ["10.0.0.0/8", "fd00::/8"]);
    }

    #[test]
    fn an_addresses_file_says_chain_market_and_first_block() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("addresses.json");
        let placed = |digit: char| {
            let address = digit.to_string().repeat(40);
            serde_json::json!({"address": format!("0x{address}"), "codeHash": format!("0x{}", "0".repeat(64))})
        };
        let nobody = format!("0x{}", "0".repeat(40));
        let book = serde_json::json!({
            "version": 1, "chainId": 7, "block": 9, "deployer": nobody,
            "contracts": {
                "token": placed('1'), "timelock": placed('2'), "params": placed('3'), "registry": placed('4'),
                "auditors": placed('5'), "market": placed('6'), "lens": placed('7'),
            },
            "plan": {
                "token": null, "delay": 0, "proposers": [], "executors": [], "guardian": nobody, "treasury": nobody,
                "salt": format!("0x{}", "0".repeat(64)),
            },
        });
        std::fs::write(&file, book.to_string()).expect("written");
        let named = format!("chain:\n  addresses: {}", file.display());
        let both = EXAMPLE.replace("chain:", &named);
        let told = format!("{:#}", Config::parse(&both, none).expect_err("said twice"));
        assert!(
            told.contains("chain.market is said by chain.addresses") && told.contains("chain.chainId"),
            "{told}"
        );
        let alone: Vec<&str> =
            both.lines().filter(|line| !line.contains("chainId:") && !line.contains("  market:")).collect();
        let config = Config::parse(&alone.join("\n"), none).expect("good");
        assert_eq!((config.chain.chain_id, config.chain.start_block), (7, 9));
        assert_eq!(config.chain.market, config.chain.addresses.expect("kept").contracts().market);
        std::fs::write(&file, "{}").expect("written");
        let told = format!("{:#}", Config::parse(&alone.join("\n"), none).expect_err("no file"));
        assert!(
            told.contains("chain.addresses cannot be used") && !told.contains("missing: write"),
            "{told}"
        );
    }

    #[test]
    fn text_that_is_not_a_mapping_is_refused() {
        assert!(Config::parse("- a", none).expect_err("a list").to_string().contains("mapping"));
        assert!(Config::parse("a: b: c", none).expect_err("broken").to_string().contains("YAML"));
    }
}
