//! `berth ls`: what is there, by name; and what is on chain without a name here.

use manifests::money::Amount;
use manifests::order::Address;
use serde::Serialize;

use crate::account::Account;
use crate::cli::{Format, Ls};
use crate::output::{json, seconds, table};
use crate::sight::{Sight, from_chain};
use crate::state::Record;

#[derive(Serialize)]
struct Line {
    /// Empty for a deployment that this machine has no name for.
    name: String,
    dseq: u64,
    state: &'static str,
    providers: Vec<Address>,
    rate: manifests::money::Rate,
    balance: Amount,
    funded_for_seconds: Option<u64>,
}

pub(crate) async fn run(ls: Ls) -> anyhow::Result<()> {
    let account = Account::open(&ls.context).await?;
    let mut lines = Vec::new();
    let named = account.state.read()?;
    for (name, record) in named.iter().filter(|(_, record)| record.tenant == account.address()) {
        lines.push(line(&account, name.clone(), record).await?);
    }
    for (block, id) in account.chain.deployments_of(account.address()).await? {
        if named.values().any(|record| record.account() == id) {
            continue;
        }
        let record = from_chain(&account.chain, id, block).await?;
        if !Sight::of(&account.chain, &record).await?.is_over() {
            lines.push(line(&account, String::new(), &record).await?);
        }
    }
    if ls.output == Format::Json {
        return json(&lines);
    }
    let rows = lines.into_iter().map(|line| {
        let Line { name, dseq, state, providers, rate, balance, funded_for_seconds } = line;
        let providers: Vec<String> = providers.iter().map(ToString::to_string).collect();
        let lasts = funded_for_seconds.map_or_else(String::new, seconds);
        vec![
            if name.is_empty() { "-".to_owned() } else { name },
            dseq.to_string(),
            state.to_owned(),
            rate.to_string(),
            balance.to_string(),
            lasts,
            providers.join(","),
        ]
    });
    table(&["NAME", "NUMBER", "STATE", "RATE", "ESCROW", "LASTS", "PROVIDER"], rows);
    Ok(())
}

async fn line(account: &Account, name: String, record: &Record) -> anyhow::Result<Line> {
    let sight = Sight::of(&account.chain, record).await?;
    let running = sight.groups.iter().filter(|group| group.state.is_some_and(|state| state.runs()));
    Ok(Line {
        name,
        dseq: record.dseq,
        state: sight.summary(),
        providers: running.filter_map(|group| group.lease).map(|lease| lease.provider).collect(),
        rate: sight.account.map_or_else(Default::default, |account| account.rate_sum),
        balance: sight.account.map_or(Amount::ZERO, |account| account.balance),
        funded_for_seconds: sight.funded_for(),
    })
}
