//! `berth status`: one deployment as the chain and its providers tell it.

use anyhow::Context as _;
use manifests::money::{Amount, Rate};
use manifests::order::Address;
use market::api::{LeaseStatus, PodStatus, ServiceStatus};
use serde::Serialize;

use crate::account::Account;
use crate::cli::{Format, Status};
use crate::exit::Ending;
use crate::output::{json, result, seconds};
use crate::serve::gateway;
use crate::sight::{GroupSight, Sight, find};
use crate::story::Story;

#[derive(Serialize)]
struct Report {
    name: String,
    dseq: u64,
    tenant: Address,
    state: &'static str,
    balance: Amount,
    funded_for_seconds: Option<u64>,
    money: Story,
    groups: Vec<GroupReport>,
}

#[derive(Serialize)]
struct GroupReport {
    name: String,
    /// The lease's (and order's) name on chain.
    lease: String,
    provider: Option<Address>,
    rate: Option<Rate>,
    /// What the provider tells, while the lease runs and the provider can be reached.
    status: Option<LeaseStatus>,
    /// Why it is not there.
    problem: Option<String>,
}

pub(crate) async fn run(status: Status) -> anyhow::Result<()> {
    let account = Account::open(&status.context).await?;
    let name = match status.name {
        Some(name) => name,
        None => the_only_one(&account)?,
    };
    let record = find(&account, &name).await?;
    let sight = Sight::of(&account.chain, &record).await?;
    let mut groups = Vec::new();
    let mut unreachable = None;
    for group in &sight.groups {
        let (report, error) = group_report(&account, group).await;
        groups.push(report);
        unreachable = unreachable.or(error);
    }
    let report = Report {
        name: name.clone(),
        dseq: record.dseq,
        tenant: record.tenant,
        state: sight.summary(),
        balance: sight.account.map_or(Amount::ZERO, |account| account.balance),
        funded_for_seconds: sight.funded_for(),
        money: Story::of(&account.chain, &record, sight.account.as_ref()).await?,
        groups,
    };
    match status.output {
        Format::Json => json(&report)?,
        Format::Table => print(&report),
    }
    if let Some(error) = unreachable {
        return Err(error);
    }
    match sight.summary() {
        summary @ ("closed" | "out of money") => {
            Err(Ending::error(Ending::CLOSED, format!("{name} is {summary}")))
        }
        _ => Ok(()),
    }
}

fn the_only_one(account: &Account) -> anyhow::Result<String> {
    let names: Vec<String> = account.state.read()?.into_keys().collect();
    match &names[..] {
        [name] => Ok(name.clone()),
        [] => Err(Ending::error(Ending::NOT_FOUND, "there is no deployment in this context")),
        _ => Err(Ending::error(Ending::USAGE, format!("say which: {}", names.join(", ")))),
    }
}

async fn group_report(account: &Account, group: &GroupSight) -> (GroupReport, Option<anyhow::Error>) {
    let told = match group.lease {
        Some(lease) if group.state.is_some_and(|state| state.runs()) => {
            let ask = async {
                let gateway = gateway(account, &lease).await?;
                let asked = gateway.lease(&account.wallet, group.order).await;
                asked.with_context(|| format!("failed to ask the provider of {}", group.name))
            };
            Some(ask.await)
        }
        _ => None,
    };
    let (status, error) = match told {
        Some(Ok(status)) => (Some(status), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    let report = GroupReport {
        name: group.name.clone(),
        lease: group.order.to_string(),
        provider: group.lease.map(|lease| lease.provider),
        rate: group.lease.map(|lease| lease.rate),
        status,
        problem: error.as_ref().map(|error| format!("{error:#}")),
    };
    (report, error)
}

fn print(report: &Report) {
    let Report { name, dseq, state, funded_for_seconds, money, groups, .. } = report;
    result(format_args!("{name} (deployment {dseq}): {state}"));
    result(format_args!("  money: {money}"));
    if let Some(left) = funded_for_seconds {
        result(format_args!("  lasts: {}", seconds(*left)));
    }
    for GroupReport { name, lease, provider, rate, status, problem } in groups {
        result(format_args!("  {name}: {lease}"));
        if let (Some(provider), Some(rate)) = (provider, rate) {
            result(format_args!("    provider {provider} at {rate}"));
        }
        if let Some(problem) = problem {
            result(format_args!("    {problem}"));
        }
        let Some(status) = status else { continue };
        let why = status.health.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        result(format_args!("    {}, {}{why}", status.state, status.health.health));
        for note in &status.notes {
            result(format_args!("    note: {note}"));
        }
        status.services.iter().for_each(print_service);
    }
}

fn print_service(service: &ServiceStatus) {
    let ServiceStatus { name, ready, wanted, pods, urls, ports } = service;
    result(format_args!("    {name}: {ready} of {wanted} ready"));
    for url in urls {
        result(format_args!("      {url}"));
    }
    for port in ports {
        let protocol = port.protocol.to_ascii_lowercase();
        result(format_args!("      {}:{}/{protocol} → {}", port.host, port.external_port, port.port));
    }
    for PodStatus { name, ready: _, state, restarts, last_exit, gpus } in pods {
        let mut line = format!("      {name}: {state}");
        if *restarts > 0 {
            line = format!("{line}, {restarts} restarts");
        }
        if let Some(exit) = last_exit {
            line = format!("{line}, last ended with code {} ({})", exit.code, exit.reason);
        }
        if !gpus.is_empty() {
            line = format!("{line}, GPUs {}", gpus.join(", "));
        }
        result(line);
    }
}
