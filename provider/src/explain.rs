//! Why an order was bid on or declined, and whether deciding again from the stored inputs gives the same.

use std::fmt::Write;

use anyhow::{Context, bail};
use bidengine::Inputs;
use manifests::decision::Decision;
use manifests::order::OrderId;

use crate::config::Config;
use crate::store::{DecisionRow, ReservationState, Sealer, Store};

/// The stored decision on an order, in lines for the operator.
///
/// # Errors
/// When the database cannot be read or knows no decision on the order.
pub async fn explain(config: &Config, order: OrderId) -> anyhow::Result<String> {
    let store = Store::open(&config.database, Sealer::from_key_file(&config.data_key_file)?).await?;
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
    let mut text = tell(&row)?;
    if let Some(reservation) = store.reservation(order).await? {
        let words = match (reservation.state, reservation.released_because) {
            (ReservationState::Held, _) => "held for the bid".to_owned(),
            (ReservationState::Leased, _) => "taken by the lease".to_owned(),
            (ReservationState::Released, because) => format!("released: {}", because.unwrap_or_default()),
        };
        writeln!(text, "reservation  {words}")?;
    }
    Ok(text.trim_end().to_owned())
}

fn tell(row: &DecisionRow) -> anyhow::Result<String> {
    let DecisionRow { order, spec_hash, decided_at, decision, inputs } = row;
    let mut text = String::new();
    writeln!(text, "order        {order}")?;
    writeln!(text, "terms        {spec_hash}")?;
    writeln!(text, "decided      at unix second {decided_at}")?;
    tell_decision(&mut text, decision)?;
    let inputs: Inputs = serde_json::from_str(inputs)
        .context("what the order was decided from cannot be read; it was stored by another version")?;
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
    let again = inputs.decide();
    let agrees =
        if again == *decision { "gives the same" } else { "gives ANOTHER decision with this version" };
    writeln!(text, "replay       deciding again from these {agrees}")?;
    Ok(text)
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
