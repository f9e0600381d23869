//! Escrow accounts and providers, as the chain tells them.

use anyhow::Context;
use manifests::money::Amount;
use manifests::order::{AccountId, Address, Hash};

use super::Store;
use super::rows::{amount, number, string, text};

/// A tenant's deployment and its escrow account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// Whose.
    pub id: AccountId,
    /// The digest that a running manifest must have.
    pub manifest_hash: Hash,
    /// All that was ever paid in.
    pub deposited: Amount,
    /// All that was ever paid back.
    pub refunded: Amount,
    /// Unix seconds of chain time until which the account could pay when money last moved. Leases that began or ended
    /// since then moved it; the chain's view has the present value.
    pub funded_until: u64,
}

/// What a provider says of itself in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderRow {
    /// Who.
    pub address: Address,
    /// The key that bids for it.
    pub operator: Address,
    /// Where its gateway is.
    pub uri: String,
    /// SHA-256 of the public key that its gateway's certificate carries.
    pub spki_hash: Hash,
}

impl Store {
    /// The account, if its deployment is on chain.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn account(&self, id: AccountId) -> anyhow::Result<Option<AccountRow>> {
        let (tenant, dseq) = (id.tenant, id.dseq);
        sqlx::query("select * from accounts where id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await
            .with_context(|| format!("failed to read account {tenant}/{dseq}"))?
            .map(|row| {
                Ok(AccountRow {
                    id,
                    manifest_hash: text(&row, "manifest_hash")?,
                    deposited: amount(&row, "deposited")?,
                    refunded: amount(&row, "refunded")?,
                    funded_until: number(&row, "funded_until")?,
                })
            })
            .transpose()
    }

    /// The provider's last word about itself.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn provider(&self, address: Address) -> anyhow::Result<Option<ProviderRow>> {
        sqlx::query("select * from providers where address = $1")
            .bind(address.to_string())
            .fetch_optional(&self.reader)
            .await
            .with_context(|| format!("failed to read provider {address}"))?
            .map(|row| {
                Ok(ProviderRow {
                    address,
                    operator: text(&row, "operator")?,
                    uri: string(&row, "uri")?,
                    spki_hash: text(&row, "spki_hash")?,
                })
            })
            .transpose()
    }
}
