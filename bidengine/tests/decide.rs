//! Orders and the decisions on them: `cases/*.yaml`, each the situation, a line of `---`, and what is decided.
//!
//! A situation changes what `defaults.yaml` says of the cluster, the tariff and the policy. With
//! `UPDATE_GOLDEN=1 cargo test -p bidengine --test decide` the decisions are written anew; read the difference before it is
//! kept.

#[path = "support/order.rs"]
mod order;
#[path = "support/unit.rs"]
mod unit;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bidengine::{Books, Capacity, Fx, Inputs, Policy, Quoted, Tariff};
use manifests::decision::Decision;
use manifests::group::Requirements;
use manifests::money::Rate;
use manifests::order::Hash;
use order::order;
use serde::Deserialize;
use serde_yaml::Value;
use unit::{Unit, spec};

/// A situation as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    capacity: Capacity,
    tariff: Tariff,
    policy: Policy,
    units: Vec<Unit>,
    #[serde(default)]
    requirements: Requirements,
    max_rate: Option<Rate>,
    #[serde(default)]
    min_reclaim: u32,
    #[serde(default)]
    req_bits: u128,
    /// The order expires at 1000.
    #[serde(default)]
    now: u64,
    #[serde(default)]
    books: Books,
    fx: Option<Fx>,
    quoted: Option<Quoted>,
    /// Other bytes than the spec of the units.
    spec: Option<String>,
    /// Another hash than that of the bytes.
    spec_hash: Option<Hash>,
}

impl Case {
    fn inputs(&self) -> Inputs {
        let bytes = match &self.spec {
            Some(text) => text.clone().into_bytes(),
            None => spec(self.requirements.clone(), &self.units).to_bytes().expect("is short"),
        };
        let mut order = order(bytes);
        order.max_rate = self.max_rate.unwrap_or(order.max_rate);
        order.min_reclaim = self.min_reclaim;
        order.req_bits = self.req_bits;
        order.spec_hash = self.spec_hash.unwrap_or(order.spec_hash);
        Inputs {
            order,
            capacity: self.capacity.clone(),
            tariff: self.tariff.clone(),
            policy: self.policy.clone(),
            now: self.now,
            books: self.books,
            fx: self.fx.clone(),
            quoted: self.quoted.clone(),
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn yaml(text: &str, place: &Path) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{}: {error}", place.display()))
}

/// All situations with the texts of their files.
fn cases() -> Vec<(PathBuf, String, Case)> {
    let path = folder().join("defaults.yaml");
    let defaults = yaml(&fs::read_to_string(&path).expect("is there"), &path);
    let entries = fs::read_dir(folder().join("cases")).expect("is there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("is readable").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("is readable");
        let situation = text.split("\n---\n").next().expect("has a first part").to_owned();
        let mut case = defaults.clone();
        change(&mut case, yaml(&situation, &path));
        let case = serde_yaml::from_value(case).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, text, case)
    };
    paths.into_iter().map(read).collect()
}

/// Puts the entries of `by` over those of `value`, mapping by mapping.
fn change(value: &mut Value, by: Value) {
    match (value, by) {
        (Value::Mapping(mapping), Value::Mapping(by)) => {
            for (key, by) in by {
                match mapping.get_mut(&key) {
                    Some(value) => change(value, by),
                    None => {
                        mapping.insert(key, by);
                    }
                }
            }
        }
        (value, by) => *value = by,
    }
}

#[test]
fn situations_lead_to_the_decisions_beside_them() {
    for (path, text, case) in cases() {
        let decision = case.inputs().decide();
        let printed = serde_yaml::to_string(&decision).expect("is YAML");
        let situation = text.split("\n---\n").next().expect("has a first part");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, format!("{}\n---\n{printed}", situation.trim_end())).expect("is writable");
            continue;
        }
        let golden = text.split("\n---\n").nth(1).unwrap_or_default();
        assert_eq!(printed, golden, "{}", path.display());
        if let Decision::Decline { reason } = decision {
            let name = path.file_stem().and_then(|stem| stem.to_str()).expect("is text");
            assert!(name.starts_with(reason.code()), "{name} is declined for {}", reason.code());
        }
    }
}

#[test]
fn every_reason_that_can_be_given_has_a_case() {
    let declined = |case: &Case| match case.inputs().decide() {
        Decision::Decline { reason } => Some(reason.code()),
        Decision::Bid { .. } => None,
    };
    let seen: BTreeSet<&str> = cases().iter().filter_map(|(_, _, case)| declined(case)).collect();
    let known = BTreeSet::from([
        "spec_invalid",
        "unsupported",
        "attributes",
        "signature",
        "resources_gpu_model",
        "resources_gpu_count",
        "resources_cpu",
        "resources_memory",
        "resources_storage",
        "resources_pods",
        "resources_storage_class",
        "resources_volume",
        "node_fragmentation",
        "node_spread",
        "node_volumes",
        "ip_unavailable",
        "ports",
        "price_above_max",
        "price_class_missing",
        "price_gpu_missing",
        "reclaim_too_long",
        "tenant_denied",
        "inventory_unknown",
        "expired",
        "maintenance",
        "policy",
        "fx_stale",
        "price_hook",
        "below_margin",
        "tenant_cap",
        "bid_cap",
        "balance",
        "reserved_for_gpus",
    ]);
    assert_eq!(seen, known);
}

#[test]
fn a_stored_decision_can_be_told_again() {
    for (path, _, case) in cases() {
        let inputs = case.inputs();
        let stored = serde_json::to_string(&inputs).expect("is JSON");
        let read: Inputs = serde_json::from_str(&stored).expect("reads back");
        assert_eq!(read, inputs, "{}", path.display());
        assert_eq!(read.decide(), inputs.decide(), "{}", path.display());
    }
}

#[test]
fn a_bid_is_exactly_what_its_lines_add_up_to() {
    for (path, _, case) in cases() {
        let Decision::Bid { rate, items, .. } = case.inputs().decide() else { continue };
        let sum: u128 = items.iter().map(|item| item.rate.scaled()).sum();
        assert_eq!(rate.scaled(), sum, "{}", path.display());
    }
}
