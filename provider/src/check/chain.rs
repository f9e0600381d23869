//! The chain, the market on it, and the accounts.

use anyhow::{Context, bail, ensure};
use manifests::money::Amount;
use manifests::order::Address;
use market::deploy::verify_code;
use market::reader::ProviderState;
use market::{At, Chain};

use super::report::Report;
use crate::config::Config;
use crate::gateway::tls::GatewayKey;
use crate::run::{open_signer, reach_chain};

/// Gas money, in wei, below which a line warns: some hundred transactions at a few gwei.
const LITTLE_GAS: u128 = 100_000_000_000_000_000;

pub(super) async fn check(config: &Config, key: Option<&GatewayKey>, report: &mut Report) {
    let signer = report.keep("wallet", open_signer(config).await, |signer| {
        format!("{}, held by {}", signer.address(), signer.place())
    });
    let chain = report.keep("chain", reach_chain(config).await, |chain| {
        format!("chain {} through {}, market {}", chain.chain_id(), chain.endpoint(), config.chain.market)
    });
    let Some(chain) = chain else { return };
    report.tell("contracts", contracts(&chain).await);
    if let Some(signer) = &signer {
        report.tell("operator", operator(&chain, config, signer.address()).await);
        report.tell("gas money", gas(&chain, signer.address()).await);
    }
    report.tell("registry", registry(&chain, config, key).await);
    report.tell("stake", stake(&chain, config).await);
}

async fn contracts(chain: &Chain) -> anyhow::Result<String> {
    let mut told = Vec::new();
    for finding in verify_code(chain).await? {
        match finding.verdict {
            Ok(sentence) => told.push(format!("the {} at {sentence}", finding.what)),
            Err(sentence) => bail!("{sentence}"),
        }
    }
    Ok(told.join("; "))
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
    Ok(format!("tenants are told {told} and the key that this gateway has"))
}

async fn stake(chain: &Chain, config: &Config) -> anyhow::Result<String> {
    let record = chain.provider(config.provider, At::Latest).await?;
    let record = record.with_context(|| format!("provider {} is not registered", config.provider))?;
    let free = record.stake.checked_sub(record.locked).unwrap_or(Amount::ZERO);
    ensure!(
        record.stake > Amount::ZERO,
        "provider {} has staked nothing, and every bid binds some: `berth-provider stake` adds to it",
        config.provider
    );
    Ok(format!("{} is staked, of which {free} is free for bids", record.stake))
}
