//! Preflight: tries everything that `run` needs, says a line about each, and changes nothing on chain or in the cluster. Files
//! that `run` would create when they are missing (database, data key, gateway key) are created.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use manifests::money::Amount;
use manifests::order::Address;
use market::reader::ProviderState;
use market::{At, Chain};

use crate::cli::say;
use crate::clock::Clock;
use crate::config::Config;
use crate::gateway::server::bind;
use crate::gateway::tls::GatewayKey;
use crate::inventory::{Inventory, client};
use crate::operator::sight::seen;
use crate::run::{open_signer, open_store, reach_chain};

/// Gas money, in wei, below which a line warns: some hundred transactions at a few gwei.
const LITTLE_GAS: u128 = 100_000_000_000_000_000;

/// Tries everything and prints a line each; the exit code is a failure if one failed.
///
/// # Errors
/// None: what fails is a line.
pub async fn check(config: &Config) -> anyhow::Result<ExitCode> {
    let mut lines = Lines::default();
    lines.tell("database", database(config).await);
    let key = lines.keep("gateway key", GatewayKey::load_or_create(&config.gateway.tls_dir), |key| {
        format!("SPKI hash {}", key.spki_hash())
    });
    let signer = lines.keep("wallet", open_signer(config).await, |signer| {
        format!("{}, held by {}", signer.address(), signer.place())
    });
    let chain = lines.keep("chain", reach_chain(config).await, |chain| {
        format!("chain {} through {}, market {}", chain.chain_id(), chain.endpoint(), config.chain.market)
    });
    if let Some(chain) = &chain {
        if let Some(signer) = &signer {
            lines.tell("operator", operator(chain, config, signer.address()).await);
            lines.tell("gas money", gas(chain, signer.address()).await);
        }
        lines.tell("registry", registry(chain, config, key.as_ref()).await);
    }
    cluster(config, &mut lines).await;
    lines.tell("gateway port", free_port(config.gateway.listen, "gateway").await);
    lines.tell("metrics port", free_port(config.metrics.listen, "metrics").await);
    let failed = lines.failed;
    say(lines.text.trim_end());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The lines so far.
#[derive(Debug, Default)]
struct Lines {
    text: String,
    failed: u32,
}

impl Lines {
    fn tell(&mut self, what: &str, result: anyhow::Result<String>) {
        let (word, sentence) = match result {
            Ok(sentence) => ("ok  ", sentence),
            Err(error) => {
                self.failed += 1;
                ("FAIL", market::sentence::of(&error))
            }
        };
        writeln!(self.text, "{word}  {what:<14} {sentence}").expect("writing to a string does not fail");
    }

    /// Tells of a thing and keeps it for later lines.
    fn keep<T>(
        &mut self,
        what: &str,
        result: anyhow::Result<T>,
        sentence: impl Fn(&T) -> String,
    ) -> Option<T> {
        match result {
            Ok(thing) => {
                self.tell(what, Ok(sentence(&thing)));
                Some(thing)
            }
            Err(error) => {
                self.tell(what, Err(error));
                None
            }
        }
    }
}

async fn database(config: &Config) -> anyhow::Result<String> {
    let store = open_store(config).await?;
    Ok(match store.cursor().await? {
        Some(cursor) => {
            format!("{}, followed to block {}, the data key fits", config.database, cursor.number)
        }
        None => format!("{}, new, the data key fits", config.database),
    })
}

async fn operator(chain: &Chain, config: &Config, operator: Address) -> anyhow::Result<String> {
    let provider = config.provider;
    let record = chain.provider(provider, At::Latest).await?;
    let record = record.with_context(|| {
        format!("{provider} is no provider: register it with {operator} as operator, or correct provider")
    })?;
    ensure!(
        record.operator == operator,
        "{} bids for provider {provider}, not {operator}: correct the wallet, or name this key with \
         `berth-provider set-operator`",
        record.operator
    );
    ensure!(
        record.state == ProviderState::Active,
        "provider {provider} is retired and takes no new leases: register it again under another owner key"
    );
    Ok(format!("{operator} bids for provider {provider}, which is active"))
}

async fn gas(chain: &Chain, operator: Address) -> anyhow::Result<String> {
    let balance = chain.gas_balance(operator).await?;
    let gwei = balance / 1_000_000_000;
    ensure!(balance >= LITTLE_GAS, "{operator} has {gwei} gwei left to pay for transactions: send it some");
    Ok(format!("{operator} has {gwei} gwei to pay for transactions"))
}

async fn registry(chain: &Chain, config: &Config, key: Option<&GatewayKey>) -> anyhow::Result<String> {
    let record = chain.provider(config.provider, At::Latest).await?;
    let record = record.with_context(|| format!("provider {} is not registered", config.provider))?;
    let told = chain.gateway_uri(&record).await?.with_context(|| {
        format!(
            "the endpoint keeps no log of unix second {}, in which tenants were told where the gateway is: tell them again with \
             `berth-provider update --uri {}`",
            record.gateway_at, config.gateway.public_uri
        )
    })?;
    ensure!(
        told == config.gateway.public_uri,
        "tenants are told {told}, but gateway.publicUri is {}: update the registry or correct the configuration",
        config.gateway.public_uri
    );
    if let Some(key) = key {
        ensure!(
            record.has_gateway_key(key.spki_hash()),
            "the registry has gateway key {}, but gateway.tlsDir holds {}: update the registry or restore the key",
            record.spki_hash,
            key.spki_hash()
        );
    }
    let free = record.stake.checked_sub(record.locked).unwrap_or(Amount::ZERO);
    Ok(format!("{told} is registered with {free} of free stake"))
}

async fn cluster(config: &Config, lines: &mut Lines) {
    let connected = client::connect(config.cluster.kubeconfig.as_deref()).await;
    let Some(client) = lines.keep("cluster", connected, |(_, version)| format!("version {version}")) else {
        return;
    };
    let client = client.0;
    lines.tell("permissions", permissions(&client).await);
    let clock = Clock::default();
    let inventory = match seen(config, &client).await {
        Ok(inventory) => inventory,
        Err(error) => return lines.tell("inventory", Err(error)),
    };
    lines.tell("inventory", nodes(&inventory, &clock));
    lines.tell("prices", prices(config, &inventory, &clock));
    lines.tell("volumes", volumes(config, &inventory));
    lines.tell("addresses", addresses(config));
    lines.tell("runtime class", runtime_classes(config, &client).await);
}

async fn permissions(client: &client::Client) -> anyhow::Result<String> {
    client::ensure_allowed(client).await?;
    Ok("our account may do what leases need".to_owned())
}

fn nodes(inventory: &Inventory, clock: &Clock) -> anyhow::Result<String> {
    let capacity = inventory.capacity(&[], clock.now());
    if let Some(problem) = capacity.problem {
        bail!("{problem}: check that our account may list nodes, pods and config maps");
    }
    let usable = capacity.nodes.values().filter(|node| node.schedulable).count();
    ensure!(
        usable > 0,
        "no node takes pods: check cluster.nodeSelector, and that nodes are ready and not cordoned"
    );
    let gpus: u64 = capacity.nodes.values().flat_map(|node| node.gpus.values()).sum();
    Ok(format!("{usable} nodes take pods, {gpus} GPUs are free"))
}

fn prices(config: &Config, inventory: &Inventory, clock: &Clock) -> anyhow::Result<String> {
    let offers = inventory.offers(clock.now())?;
    let currency = config.pricing.tariff.currency().unwrap_or("USD");
    let mut told = Vec::new();
    for (node, pool) in
        offers.pools.iter().flat_map(|(node, pools)| pools.iter().map(move |pool| (node, pool)))
    {
        match config.pricing.tariff.gpu_price(&pool.gpu) {
            Some(price) => told.push(format!("{} on {node} at {price} {currency} a month", pool.gpu)),
            None => bail!(
                "{} on node {node} has no price, so it is never sold: add a line for it under pricing.gpu",
                pool.gpu
            ),
        }
    }
    if let Some(finding) = offers.findings.iter().next() {
        bail!("{finding}");
    }
    Ok(if told.is_empty() { "no GPUs are offered".to_owned() } else { told.join(", ") })
}

fn volumes(config: &Config, inventory: &Inventory) -> anyhow::Result<String> {
    let classes = inventory.storage_classes()?;
    if let Some(finding) = classes.findings.first() {
        bail!("{finding}");
    }
    let mut told = Vec::new();
    for (word, class) in &classes.offered {
        ensure!(
            config.pricing.tariff.sells_storage(word),
            "volumes of class {word} have no price, so they are never sold: add {word} under pricing.storageGiB"
        );
        let grows = if class.expandable { "can grow" } else { "cannot grow" };
        told.push(format!("{word} from StorageClass {}, which {grows}", class.name));
    }
    Ok(if told.is_empty() { "no persistent volumes are offered".to_owned() } else { told.join(", ") })
}

fn addresses(config: &Config) -> anyhow::Result<String> {
    let Some(pool) = &config.cluster.address_pool else { return Ok("no addresses are leased".to_owned()) };
    ensure!(
        config.pricing.tariff.leases_addresses(),
        "leased addresses have no price, so none is ever leased: add ip under pricing"
    );
    Ok(format!("{} addresses are leased", pool.addresses))
}

async fn runtime_classes(config: &Config, client: &client::Client) -> anyhow::Result<String> {
    let cluster = &config.cluster;
    let named = [("gpuRuntimeClass", &cluster.gpu_runtime_class), ("runtimeClass", &cluster.runtime_class)];
    let mut told = Vec::new();
    for (key, name) in named.iter().filter_map(|(key, name)| Some((key, name.as_ref()?))) {
        ensure!(
            client::has_runtime_class(client, name).await?,
            "the cluster has no RuntimeClass {name}: create it, or correct cluster.{key}"
        );
        told.push(name.as_str());
    }
    Ok(if told.is_empty() { "pods run in the nodes' default".to_owned() } else { told.join(", ") })
}

async fn free_port(address: std::net::SocketAddr, what: &str) -> anyhow::Result<String> {
    bind(address, what).await.map(|_| format!("{address} is free"))
}
