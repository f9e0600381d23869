//! Why an order was bid on or declined, and whether deciding again from the stored inputs gives the same.

use std::fmt::Write;

use anyhow::{Context, bail};
use bidengine::{Books, Fx, Inputs, Policy, Quoted};
use manifests::decision::{Decision, Passing};
use manifests::order::{Hash, OrderId};
use serde::{Serialize, Serializer};

use crate::config::Config;
use crate::store::{DecisionRow, ReservationState, Sealer, Store};

/// What is known of the decision on an order.
#[derive(Debug, Serialize)]
pub struct Explanation {
    order: String,
    /// The same as the contract's word.
    word: Hash,
    terms: Hash,
    /// Unix seconds at which this answer was given first.
    decided_at: u64,
    /// How often the order was decided again, and when last.
    again: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    again_at: Option<u64>,
    /// Unix seconds of chain time that the last answer counts from.
    now: u64,
    #[serde(flatten)]
    decision: Decision,
    /// In a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// What may lead to another answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    passing: Option<&'static str>,
    /// What the provider knew of itself and of the tenant, beside what its policy allows.
    books: Vec<Line>,
    /// What the currency of the tariff was worth.
    #[serde(skip_serializing_if = "Option::is_none")]
    fx: Option<Worth>,
    /// What the operator's own program answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    quoted: Option<Quoted>,
    #[serde(rename = "capacity", serialize_with = "capacity_of")]
    inputs: Inputs,
    /// What became of what was promised.
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation: Option<String>,
    /// Whether deciding again from the stored inputs gives the same.
    replay_agrees: bool,
}

/// What was free.
fn capacity_of<S: Serializer>(inputs: &Inputs, serializer: S) -> Result<S::Ok, S::Error> {
    inputs.capacity.serialize(serializer)
}

/// A line of the books.
#[derive(Debug, Serialize)]
struct Line {
    what: &'static str,
    /// How much there was; nothing if it was not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    was: Option<String>,
    /// What the policy wants of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<String>,
}

/// What a currency was worth at the decision.
#[derive(Debug, Serialize)]
struct Worth {
    currency: String,
    /// What was told last; nothing if nobody ever told.
    #[serde(flatten)]
    told: Option<Fx>,
    /// How many seconds old that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    age: Option<u64>,
}

/// The stored decision on an order, with what it was made from.
///
/// # Errors
/// When the database cannot be read or knows no decision on the order.
pub async fn explain(config: &Config, order: OrderId) -> anyhow::Result<Explanation> {
    of(&Store::open(&config.database, Sealer::from_key_file(&config.data_key_file)?).await?, order).await
}

/// The same from an open store.
///
/// # Errors
/// When the database cannot be read or knows no decision on the order.
pub async fn of(store: &Store, order: OrderId) -> anyhow::Result<Explanation> {
    let Some(row) = store.decision(order).await? else {
        match store.order(order).await? {
            Some(_) => bail!(
                "order {order} was seen but not decided yet: the cluster's inventory is not known, or the daemon does not run"
            ),
            None => {
                bail!("order {order} was never seen: check its id, and whether the daemon follows the chain")
            }
        }
    };
    let DecisionRow { order, spec_hash, decided_at, decision, inputs, again, again_at } = row;
    let inputs: Inputs = serde_json::from_str(&inputs)
        .context("what the order was decided from cannot be read; it was stored by another version")?;
    let reservation = store.reservation(order).await?.map(|row| match (row.state, row.released_because) {
        (ReservationState::Held, _) => "held for the bid".to_owned(),
        (ReservationState::Leased, _) => "taken by the lease".to_owned(),
        (ReservationState::Released, because) => format!("released: {}", because.unwrap_or_default()),
    });
    let reason = match &decision {
        Decision::Bid { .. } => None,
        Decision::Decline { reason } => Some(reason),
    };
    let worth = |currency: &str| Worth {
        currency: currency.to_owned(),
        age: inputs.fx.as_ref().map(|fx| inputs.now.saturating_sub(fx.at)),
        told: inputs.fx.clone(),
    };
    Ok(Explanation {
        order: order.to_string(),
        word: order.to_word(),
        terms: spec_hash,
        decided_at,
        again,
        again_at,
        now: inputs.now,
        why: reason.map(ToString::to_string),
        passing: reason.map(|reason| match reason.passing() {
            Passing::Never => "this answer stays: it lies in the order",
            Passing::WithConfiguration => {
                "the order is decided again when the tariff or the policy changes, while it is open"
            }
            Passing::ByItself => "the order is decided again every few seconds while it is open",
        }),
        books: lines(&inputs.books, &inputs.policy),
        fx: inputs.tariff.currency().map(worth),
        quoted: inputs.quoted.clone(),
        replay_agrees: inputs.decide() == decision,
        decision,
        inputs,
        reservation,
    })
}

/// What the books said, each beside what the policy wants of it.
fn lines(books: &Books, policy: &Policy) -> Vec<Line> {
    let Books { open_bids, tenant_leases, tenant_rate, maintenance, gas_wei, free_bond } = books;
    let line = |what, was: Option<String>, limit: Option<String>| Line { what, was, limit };
    let most = |limit: Option<String>| limit.map(|limit| format!("at most {limit}"));
    let least = |limit: Option<String>| limit.map(|limit| format!("at least {limit}"));
    let (caps, floors) = (&policy.caps, &policy.floors);
    let is_closed = *maintenance || policy.maintenance;
    vec![
        line(
            "open bids",
            Some(open_bids.to_string()),
            most(policy.max_open_bids.map(|most| most.to_string())),
        ),
        line(
            "this tenant's leases and open bids",
            Some(tenant_leases.to_string()),
            most(caps.leases.map(|most| most.to_string())),
        ),
        line(
            "what they pay",
            Some(format!("{tenant_rate}, {} a month", tenant_rate.monthly_up())),
            most(caps.monthly.as_ref().map(|most| format!("${most} a month"))),
        ),
        line(
            "gas money",
            gas_wei.map(|wei| format!("{wei} wei")),
            least(floors.gas.map(|least| format!("{least} coins of 10^18 wei"))),
        ),
        line(
            "bond that nothing is held against",
            free_bond.map(|bond| bond.to_string()),
            least(floors.bond.map(|least| format!("${least}"))),
        ),
        line("maintenance", Some(if is_closed { "yes" } else { "no" }.to_owned()), None),
    ]
}

/// An explanation in lines for the operator.
///
/// # Errors
/// None: writing to a text does not fail.
pub fn tell(told: &Explanation) -> Result<String, std::fmt::Error> {
    let Explanation { order, terms, decided_at, again, again_at, now: _, decision, passing, .. } = told;
    let mut text = String::new();
    writeln!(text, "order        {order}")?;
    writeln!(text, "terms        {terms}")?;
    writeln!(text, "decided      at unix second {decided_at}")?;
    if let Some(at) = again_at {
        let times = if *again == 1 { "once".to_owned() } else { format!("{again} times") };
        writeln!(text, "again        {times}, last at unix second {at}")?;
    }
    tell_decision(&mut text, decision)?;
    if let Some(passing) = passing {
        writeln!(text, "again        {passing}")?;
    }
    for Line { what, was, limit } in &told.books {
        let was = was.as_deref().unwrap_or("not known, as nothing in the policy asks for it");
        let limit = limit.as_ref().map_or_else(String::new, |limit| format!(" (allowed: {limit})"));
        writeln!(text, "books        {what}: {was}{limit}")?;
    }
    match &told.fx {
        Some(Worth { currency, told: Some(Fx { rate, source, at }), age }) => {
            let age = age.unwrap_or(0);
            writeln!(
                text,
                "fx           one {currency} is {rate} dollars, told by {source} at unix second {at}, {age} seconds before"
            )?;
        }
        Some(Worth { currency, .. }) => {
            writeln!(text, "fx           nobody had told what one {currency} is worth")?;
        }
        None => writeln!(text, "fx           none: prices are in dollars")?,
    }
    match &told.quoted {
        None => writeln!(text, "quoted       by the table: no pricing program was asked")?,
        Some(Quoted::Priced { rate, answer }) => {
            writeln!(text, "quoted       by the pricing program: {answer}, {rate}")?;
        }
        Some(Quoted::Failed { problem }) => {
            writeln!(text, "quoted       the pricing program named no price: {problem}")?;
        }
    }
    tell_capacity(&mut text, &told.inputs)?;
    let agrees =
        if told.replay_agrees { "gives the same" } else { "gives ANOTHER decision with this version" };
    writeln!(text, "replay       deciding again from these {agrees}")?;
    if let Some(reservation) = &told.reservation {
        writeln!(text, "reservation  {reservation}")?;
    }
    Ok(text.trim_end().to_owned())
}

/// What was free.
fn tell_capacity(text: &mut String, inputs: &Inputs) -> std::fmt::Result {
    writeln!(text, "there was")?;
    for (name, node) in &inputs.capacity.nodes {
        let gpus: Vec<String> = node.gpus.iter().map(|(gpu, count)| format!("{count} × {gpu}")).collect();
        writeln!(
            text,
            "  {name}: {} milli-cpu, {} bytes of memory, {} bytes of storage, GPUs: {}{}",
            node.cpu_milli,
            node.memory_bytes,
            node.ephemeral_bytes,
            if gpus.is_empty() { "none".to_owned() } else { gpus.join(", ") },
            if node.schedulable { "" } else { " (takes no pods)" }
        )?;
    }
    for (class, bytes) in &inputs.capacity.storage {
        writeln!(text, "  persistent volumes of class {class}: {bytes} bytes")?;
    }
    if inputs.capacity.leased_ips > 0 {
        writeln!(text, "  addresses to lease: {}", inputs.capacity.leased_ips)?;
    }
    Ok(())
}

/// A decision in lines: the price with each of its parts and where replicas go, or the reason.
///
/// # Errors
/// None: writing to a text does not fail.
pub(crate) fn tell_decision(text: &mut String, decision: &Decision) -> std::fmt::Result {
    match decision {
        Decision::Bid { rate, items, placement, warnings, floor: _, expires_at: _ } => {
            writeln!(text, "decision     bid {rate} ({} per second × 10^9 units)", rate.scaled())?;
            for item in items {
                write!(text, "  {:<28} {:<28} {}", item.what, item.quantity, item.rate)?;
                if !item.factors.is_empty() {
                    write!(text, "  ({})", item.factors.join(", "))?;
                }
                writeln!(text)?;
            }
            for replica in &placement.replicas {
                let takes = &replica.takes;
                write!(
                    text,
                    "placement    unit {} on {}: {} milli-cpu, {} bytes of memory, {} bytes of storage",
                    replica.unit, replica.node, takes.cpu_milli, takes.memory_bytes, takes.ephemeral_bytes
                )?;
                if let Some(gpu) = &takes.gpu {
                    write!(text, ", {} × {}", gpu.count, gpu.pool)?;
                }
                for (class, bytes) in &takes.volumes {
                    write!(text, ", {bytes} bytes of class {class}")?;
                }
                writeln!(text)?;
            }
            for warning in warnings {
                writeln!(text, "warning      {warning}")?;
            }
        }
        Decision::Decline { reason } => {
            writeln!(text, "decision     declined: {} ({reason})", reason.code())?;
        }
    }
    Ok(())
}
