//! `berth down`: end a deployment from whatever step it is in, and bring the money home.

use manifests::money::Amount;
use manifests::order::CloseReason;
use market::call::Call;
use market::reader::OrderState;

use crate::account::Account;
use crate::cli::Down;
use crate::output::{progress, result};
use crate::sight::{Sight, find};
use crate::state::Record;
use crate::story::Story;

pub(crate) async fn run(down: Down) -> anyhow::Result<()> {
    let account = Account::open(&down.context).await?;
    let record = find(&account, &down.name).await?;
    let story = wind_up(&account, &record).await?;
    account.state.change(|all| {
        all.retain(|_, known| known != &record);
        Ok(())
    })?;
    result(format_args!("{}: {story}", down.name));
    Ok(())
}

/// Closes leases, takes orders off the book, takes back what can be taken back, and tells where the money went. Whatever is
/// done already is left alone.
pub(crate) async fn wind_up(account: &Account, record: &Record) -> anyhow::Result<Story> {
    account.settle().await?;
    let sight = Sight::of(&account.chain, record).await?;
    for group in &sight.groups {
        let (name, order) = (&group.name, group.order);
        match group.state {
            Some(OrderState::Active | OrderState::Reclaiming) => {
                let call = Call::CloseLease { lease: order, reason: CloseReason::TENANT };
                account.send(&format!("close the lease of {name}"), &call).await?;
                progress(format_args!("{name}: lease closed"));
            }
            Some(OrderState::Depleted) => {
                account.send(&format!("close the lease of {name}"), &Call::Finalize { lease: order }).await?;
                progress(format_args!("{name}: lease closed, its account had run dry"));
            }
            Some(OrderState::Open) => {
                account.send(&format!("cancel the order of {name}"), &Call::CancelOrder { order }).await?;
                progress(format_args!("{name}: order cancelled"));
            }
            Some(OrderState::Expired) => {
                account.send(&format!("close the order of {name}"), &Call::ExpireOrder { order }).await?;
                progress(format_args!("{name}: order closed"));
            }
            Some(OrderState::Closed) | None => {}
        }
    }
    let sight = Sight::of(&account.chain, record).await?;
    let Some(escrow) = sight.account else { return Ok(Story::default()) };
    if escrow.refundable > Amount::ZERO {
        account
            .send("take the money back", &Call::Refund { account: record.account(), amount: None })
            .await?;
    }
    let sight = Sight::of(&account.chain, record).await?;
    Story::of(&account.chain, record, sight.account.as_ref()).await
}
