//! `berth balance`: the key's money.

use manifests::money::Amount;
use manifests::order::Address;
use market::At;
use serde::Serialize;

use crate::account::Account;
use crate::cli::{Balance, Format};
use crate::output::{json, result};

#[derive(Serialize)]
struct Report {
    address: Address,
    tokens: Amount,
    /// What leases have not earned, in all accounts together.
    in_escrow: Amount,
    /// For transactions: wei, as decimal text because it is a large number.
    gas_wei: String,
}

pub(crate) async fn run(balance: Balance) -> anyhow::Result<()> {
    let account = Account::open(&balance.context).await?;
    let (chain, address) = (&account.chain, account.address());
    let mut in_escrow = 0u128;
    for (_, id) in chain.deployments_of(address).await? {
        let escrow = chain.account(id, At::Latest).await?;
        in_escrow = in_escrow.saturating_add(escrow.map_or(0, |escrow| escrow.balance.0));
    }
    let report = Report {
        address,
        tokens: chain.token_balance(address, At::Latest).await?,
        in_escrow: Amount(in_escrow),
        gas_wei: chain.gas_balance(address).await?.to_string(),
    };
    if balance.output == Format::Json {
        return json(&report);
    }
    let Report { address, tokens, in_escrow, gas_wei } = report;
    result(format_args!(
        "{address}: {tokens} in the wallet, {in_escrow} in escrow, {gas_wei} wei for transactions"
    ));
    Ok(())
}
