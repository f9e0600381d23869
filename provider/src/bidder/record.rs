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

    fn rules(&mut self, tariff: &Tariff, policy: &Policy) -> anyhow::Result<Part> {
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
