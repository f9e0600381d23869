//! Writes down what decisions are made from, so that each costs little: the capacity of a whole cluster is written once in a
//! while, and in between only what differs.

use std::collections::BTreeMap;

use anyhow::Context;
use bidengine::{Books, Capacity, Circumstances, Fx, Node, Policy, Quoted, Tariff};
use manifests::order::Order;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::store::{NewInputs, Part, patch};

/// Nodes that may differ from the base whatever the cluster's size, and one part in how many of a large cluster's.
const FEW: usize = 16;
const SHARE: usize = 8;

/// What was last written down in full.
#[derive(Debug, Default)]
pub(super) struct Record {
    rules: Option<(Tariff, Policy, Part)>,
    base: Option<Base>,
}

#[derive(Debug)]
struct Base {
    capacity: Capacity,
    part: Part,
}

/// What hardly ever changes.
#[derive(Serialize)]
struct Rules<'a> {
    tariff: &'a Tariff,
    policy: &'a Policy,
}

/// What is each decision's own.
#[derive(Serialize)]
struct Rest<'a> {
    order: &'a Order,
    now: u64,
    books: &'a Books,
    #[serde(skip_serializing_if = "Option::is_none")]
    fx: Option<&'a Fx>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quoted: Option<&'a Quoted>,
    /// How the capacity differs from the base.
    capacity: Value,
}

impl Record {
    /// What a decision on the order is made from.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub(super) fn write(
        &mut self,
        order: &Order,
        circumstances: &Circumstances<'_>,
    ) -> anyhow::Result<NewInputs> {
        let Circumstances { capacity, tariff, policy, now, books, fx, quoted } = *circumstances;
        let rules = self.rules(tariff, policy)?;
        let (base, capacity) = self.capacity(capacity)?;
        NewInputs::new(rules, base, &Rest { order, now, books, fx, quoted, capacity })
    }

    /// What is written of these rules, which names them.
    pub(super) fn rules(&mut self, tariff: &Tariff, policy: &Policy) -> anyhow::Result<Part> {
        if let Some((before, by, part)) = &self.rules
            && (before, by) == (tariff, policy)
        {
            return Ok(part.clone());
        }
        let part = Part::new(&Rules { tariff, policy })?;
        self.rules = Some((tariff.clone(), policy.clone(), part.clone()));
        Ok(part)
    }

    /// A base, and how the capacity differs from it.
    fn capacity(&mut self, capacity: &Capacity) -> anyhow::Result<(Part, Value)> {
        if let Some(base) = &self.base
            && let Some(change) = change(&base.capacity, capacity)?
        {
            return Ok((base.part.clone(), change));
        }
        let part = Part::new(capacity)?;
        self.base = Some(Base { capacity: capacity.clone(), part: part.clone() });
        Ok((part, Value::Object(Map::new())))
    }
}

/// The merge patch from one capacity to another; `None` if they have too little in common.
fn change(base: &Capacity, capacity: &Capacity) -> anyhow::Result<Option<Value>> {
    let most = FEW.max(capacity.nodes.len() / SHARE);
    let known = capacity.nodes.iter().filter(|(name, node)| base.nodes.get(*name) != Some(*node));
    let gone = base.nodes.keys().filter(|name| !capacity.nodes.contains_key(*name));
    let names: Vec<&String> = known.map(|(name, _)| name).chain(gone).take(most + 1).collect();
    if names.len() > most {
        return Ok(None);
    }
    let value = |of: &Capacity| written(of, &names);
    Ok(Some(patch(&value(base)?, &value(capacity)?).unwrap_or_else(|| Value::Object(Map::new()))))
}

/// A capacity with no other nodes than these.
fn written(capacity: &Capacity, names: &[&String]) -> anyhow::Result<Value> {
    let Capacity { nodes, total, storage, segments, leased_ips, node_ports, overcommit, problem } = capacity;
    let nodes: BTreeMap<String, Node> =
        names.iter().filter_map(|name| Some(((*name).clone(), nodes.get(*name)?.clone()))).collect();
    let few = Capacity {
        nodes,
        total: total.clone(),
        storage: storage.clone(),
        segments: segments.clone(),
        leased_ips: *leased_ips,
        node_ports: *node_ports,
        overcommit: *overcommit,
        problem: problem.clone(),
    };
    serde_json::to_value(few).context("failed to write a capacity as JSON")
}

#[cfg(test)]
mod tests {
    use bidengine::Inputs;
    use manifests::decision::{Decision, Placement, Replica, Takes};
    use manifests::money::Rate;
    use manifests::order::{Address, Hash, OrderId, OrderKind};

    use super::*;
    use crate::store::{NewDecision, Store};

    const DECISIONS: u64 = 200;

    fn cluster() -> Capacity {
        let gpus: BTreeMap<_, _> = [("h100-80Gi-sxm".parse().expect("a pool"), 8)].into();
        let node = |number: u64| Node {
            schedulable: true,
            cpu_milli: 64_000 + number,
            memory_bytes: 1 << 40,
            ephemeral_bytes: 1 << 42,
            gpus: gpus.clone(),
            ..Node::default()
        };
        let nodes = (0..1000).map(|number| (format!("node-{number}"), node(number))).collect();
        Capacity { nodes, ..Capacity::default() }
    }

    fn order(dseq: u64) -> Order {
        Order {
            id: OrderId { tenant: Address([1; 20]), dseq, gseq: 1, oseq: 1 },
            class: Hash([1; 32]),
            spec_hash: Hash([2; 32]),
            max_rate: Rate::MAX,
            expires_at: 9,
            min_reclaim: 0,
            req_bits: u128::MAX >> 32,
            kind: OrderKind::Service,
            award: None,
            spec: b"{}".to_vec(),
        }
    }

    #[tokio::test]
    async fn a_thousand_nodes_are_written_once_and_every_decision_is_read_as_it_was_made() {
        let store = Store::fresh().await.expect("opens");
        let (mut capacity, mut record) = (cluster(), Record::default());
        let tariff: Tariff = serde_yaml::from_str(
            r#"{cpuThread: "1.60", memoryGiB: "0.80", ephemeralGiB: "0.02", endpoint: "0.05"}"#,
        )
        .expect("a tariff");
        let policy = Policy { capability_bits: u128::MAX, ..Policy::default() };
        let mut decided: Vec<Inputs> = Vec::new();
        for dseq in 0..DECISIONS {
            let order = order(dseq);
            let circumstances = Circumstances::new(&capacity, &tariff, &policy, dseq);
            let inputs = record.write(&order, &circumstances).expect("written");
            let decision = NewDecision {
                order: order.id,
                spec_hash: order.spec_hash,
                decided_at: dseq,
                decision: Decision::Decline { reason: manifests::decision::Reason::Maintenance },
                inputs,
                intent: None,
            };
            store.put_decisions(&[decision], 0).await.expect("stored");
            let Circumstances { books, .. } = circumstances;
            decided.push(Inputs {
                order,
                capacity: capacity.clone(),
                tariff: tariff.clone(),
                policy: policy.clone(),
                now: dseq,
                books: *books,
                fx: None,
                quoted: None,
            });
            // Each takes something; at times a node comes or goes.
            let takes = Takes { cpu_milli: 500, ..Takes::default() };
            let replica = Replica { unit: 1, node: format!("node-{}", dseq % 700 + 1), takes };
            let placement = Placement { replicas: vec![replica], ..Placement::default() };
            capacity.take(&placement).expect("there");
            match dseq {
                50 => capacity.problem = Some("a look at it failed".to_owned()),
                51 => capacity.problem = None,
                100 => drop(capacity.nodes.remove("node-999")),
                _ => {}
            }
        }
        for inputs in &decided {
            let row = store.decision(inputs.order.id).await.expect("read").expect("stored");
            let read: Inputs = serde_json::from_str(&row.inputs).expect("inputs");
            assert_eq!(read, *inputs);
        }
        let whole = serde_json::to_string(&decided[0]).expect("json").len() as u64;
        let stored = store.decision_bytes().await.expect("read");
        let each = stored / DECISIONS;
        println!("{each} bytes a decision of {whole} as JSON");
        assert!(each * 50 < whole, "{each} bytes a decision of {whole} as JSON");
    }
}
