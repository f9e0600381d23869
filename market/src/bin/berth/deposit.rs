//! Paying into a deployment's escrow account: at the start, and to make it last longer.

use manifests::money::Amount;
use manifests::order::AccountId;
use market::At;
use market::call::Call;
use market::reader::AccountState;

use crate::account::Account;
use crate::cli::Deposit;
use crate::exit::Ending;
use crate::output::{result, seconds};
use crate::sight::{Sight, find};

pub(crate) async fn run(deposit: Deposit) -> anyhow::Result<()> {
    let Deposit { name, amount, context } = deposit;
    let account = Account::open(&context).await?;
    let record = find(&account, &name).await?;
    account.settle().await?;
    match Sight::of(&account.chain, &record).await?.account {
        Some(escrow) if escrow.state == AccountState::Open => {}
        Some(_) => {
            let sentence =
                format!("{name} ran out of money, and that is final; take it down and start it again");
            return Err(Ending::error(Ending::CLOSED, sentence));
        }
        None => {
            let sentence = format!("{name} is not on chain yet; `berth up` deposits when it starts");
            return Err(Ending::error(Ending::NOT_FOUND, sentence));
        }
    }
    is_affordable(&account, amount).await?;
    pay(&account, record.account(), amount).await?;
    let sight = Sight::of(&account.chain, &record).await?;
    let balance = sight.account.map_or(Amount::ZERO, |escrow| escrow.balance);
    let lasts =
        sight.funded_for().map_or_else(String::new, |left| format!(", which lasts {}", seconds(left)));
    result(format_args!("{name}: {balance} in escrow{lasts}"));
    Ok(())
}

/// Fails with a sentence if the key's wallet holds less.
pub(crate) async fn is_affordable(account: &Account, amount: Amount) -> anyhow::Result<()> {
    let tokens = account.chain.token_balance(account.address(), At::Latest).await?;
    if tokens < amount {
        let sentence = format!("the deposit is {amount}, but {} has {tokens}", account.address());
        return Err(Ending::error(Ending::FUNDS, sentence));
    }
    Ok(())
}

/// Pays, allowing the market to take exactly that much where it may not yet.
pub(crate) async fn pay(account: &Account, id: AccountId, amount: Amount) -> anyhow::Result<()> {
    let market = account.chain.contracts().market;
    if account.chain.token_allowance(account.address(), market, At::Latest).await? < amount {
        account.send("allow the deposit", &Call::ApproveMarket { amount }).await?;
    }
    account.send("deposit", &Call::Deposit { account: id, amount }).await
}
