//! What the provider has in hand, which its policy may want a least of: gas money, and bond that nothing is held against.

use std::future::Future;

use manifests::money::Amount;
use manifests::order::Address;
use market::{At, Chain};

use super::Pricing;
use crate::task::{Report, Turn};

/// What the provider has; what could not be read is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Means {
    /// What the operator key has for gas, in wei.
    pub gas_wei: Option<u128>,
    /// Stake that no lease locks.
    pub free_bond: Option<Amount>,
}

/// Where it is read.
pub trait Purse: Send + Sync {
    /// What an account has for gas, in wei.
    ///
    /// # Errors
    /// When the chain cannot be read.
    fn gas(&self, account: Address) -> impl Future<Output = anyhow::Result<u128>> + Send;
    /// What a provider has staked; `None` for one that is not registered.
    ///
    /// # Errors
    /// When the chain cannot be read.
    fn stake(&self, provider: Address) -> impl Future<Output = anyhow::Result<Option<Stake>>> + Send;
}

/// What a provider has staked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stake {
    /// All of it.
    pub all: Amount,
    /// What of it is bond, of leases and of best bids.
    pub locked: Amount,
}

impl Stake {
    fn free(self) -> Amount {
        self.all.checked_sub(self.locked).unwrap_or(Amount::ZERO)
    }
}

impl Purse for Chain {
    async fn gas(&self, account: Address) -> anyhow::Result<u128> {
        Ok(self.gas_balance(account).await?)
    }

    async fn stake(&self, provider: Address) -> anyhow::Result<Option<Stake>> {
        let provider = self.provider(provider, At::Latest).await?;
        Ok(provider.map(|provider| Stake { all: provider.stake, locked: provider.locked }))
    }
}

/// The loop that reads it. What the policy asks for no least of is shown to people and weighs nothing.
#[derive(Debug)]
pub struct Watch<P> {
    purse: P,
    operator: Address,
    provider: Address,
    pricing: Pricing,
}

impl<P> Watch<P> {
    /// Reads what this operator and this provider have.
    #[must_use]
    pub fn new(purse: P, operator: Address, provider: Address, pricing: Pricing) -> Self {
        Self { purse, operator, provider, pricing }
    }
}

impl<P: Purse> Turn for Watch<P> {
    const NAME: &'static str = "means";

    async fn turn(&mut self) -> anyhow::Result<Report> {
        let floors = &self.pricing.terms().policy.floors;
        let (gas, bond) = (floors.gas.is_some(), floors.bond.is_some());
        // What could not be read this time is not known any more.
        let read_gas = async { if gas { self.purse.gas(self.operator).await.map(Some) } else { Ok(None) } };
        let (gas_wei, stake) = tokio::join!(read_gas, self.purse.stake(self.provider));
        if let Ok(Some(Stake { all, locked })) = stake {
            self.pricing.metrics.stake(all, locked);
        }
        let free_bond = if bond { stake.map(|stake| stake.map(Stake::free)) } else { Ok(None) };
        let problem = gas_wei.as_ref().err().or(free_bond.as_ref().err()).map(|error| format!("{error:#}"));
        let means = Means { gas_wei: gas_wei.unwrap_or(None), free_bond: free_bond.unwrap_or(None) };
        let changed = u64::from(self.pricing.has(means));
        match problem {
            Some(problem) => Err(anyhow::anyhow!("failed to read what the provider has: {problem}")),
            None => Ok(Report::changed(changed)),
        }
    }
}
