//! `berth-provider price`: what this provider would ask for a document at the moment, line by line.

use std::path::PathBuf;
use std::process::ExitCode;

use bidengine::{Capacity, Circumstances};
use clap::Args;
use manifests::decision::Decision;
use manifests::money::Rate;
use manifests::order::Address;

use super::asked::{self, Asked};
use super::decide::{Decided, decide, part, print};
use super::sight::Sight;
use crate::cli::{Format, say};
use crate::clock::Clock;
use crate::config::Config;
use crate::pricing::{Now, Pricing};

/// `price`
#[derive(Debug, Args)]
pub struct Price {
    /// A tenant's document in SDL, or one order's spec as JSON
    document: PathBuf,
    /// Look at this inventory instead of the cluster, as `berth-provider inventory --output json` prints it
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,
    /// For whom: rules may give some tenants another price
    #[arg(long, value_name = "ADDRESS", default_value = "0x0000000000000000000000000000000000000001")]
    tenant: Address,
    /// How to print
    #[arg(long, short, value_enum, default_value = "text")]
    output: Format,
}

/// Prices and prints; ends with 1 if a group has no price here, with the reason.
///
/// # Errors
/// A file cannot be read, or the cluster cannot be seen.
pub async fn verb(config: &Config, asked: &Price) -> anyhow::Result<ExitCode> {
    let now = Clock::default().now();
    let groups = asked::read(&asked.document, asked.tenant, now)?;
    let capacity: Capacity = match &asked.inventory {
        Some(path) => part(path, None)?,
        None => Sight::open(config).await?.free().await?,
    };
    let pricing = Pricing::look(config).await?;
    let limits: Vec<Rate> = groups.iter().map(|group| group.order.max_rate).collect();
    let decided = at_any_price(&pricing, &capacity, groups, now).await;
    print(&decided, asked.output)?;
    if asked.output == Format::Text {
        for (group, limit) in decided.iter().zip(limits) {
            if let Some(line) = beside_the_limit(group, limit) {
                say(&line);
            }
        }
    }
    let declined = decided.iter().any(|group| matches!(group.decision, Decision::Decline { .. }));
    Ok(if declined { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What would be decided on these orders if their tenants paid whatever it costs.
pub(crate) async fn at_any_price(
    pricing: &Pricing,
    capacity: &Capacity,
    groups: Vec<Asked>,
    now: u64,
) -> Vec<Decided> {
    let Now { terms, fx, means: _ } = pricing.now();
    let circumstances =
        Circumstances { fx: fx.as_ref(), ..Circumstances::new(capacity, &terms.tariff, &terms.policy, now) };
    let mut decided = Vec::new();
    for mut group in groups {
        // A program that prices sees the order as it is.
        let quoted = pricing.quoted(&terms, &group.order, &circumstances).await;
        group.order.max_rate = Rate::MAX;
        decided.push(decide(group, &Circumstances { quoted: quoted.as_ref(), ..circumstances }));
    }
    decided
}

/// What a price comes to in a month, and whether the document pays it.
fn beside_the_limit(group: &Decided, limit: Rate) -> Option<String> {
    let Decision::Bid { rate, .. } = &group.decision else { return None };
    let name = &group.group;
    let month = rate.monthly_up();
    Some(match limit {
        Rate::MAX => format!("{name}: {month} a month of 730 hours"),
        limit if *rate <= limit => {
            format!("{name}: {month} a month of 730 hours; the document pays at most {limit}")
        }
        limit => format!(
            "{name}: {month} a month of 730 hours, more than the {limit} that the document pays: it would be declined"
        ),
    })
}
