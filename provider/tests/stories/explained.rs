//! What `explain` tells of the books, of a currency's worth and of the pricing program, in lines and as JSON.

use bidengine::{Inputs, Policy, Tariff};
use manifests::decision::{Decision, Reason};
use provider::explain;
use provider::store::{NewDecision, NewInputs, Part, Store};
use serde_json::{Value, json};

use crate::support::*;

/// What an order of one core was decided from, with these changes.
fn inputs(changes: &Value) -> Value {
    let terms = bidder_settings().pricing.terms();
    let mut inputs = json!({
        "order": order(1, spec(1000, 0)), "capacity": one_node(0), "tariff": &terms.tariff, "policy": &terms.policy,
        "now": GENESIS, "books": {},
    });
    merge(&mut inputs, changes);
    inputs
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// The answer to that order as `explain` tells it: in lines, and as JSON. `stored` takes the place of the true answer.
async fn told(changes: &Value, stored: Option<Decision>) -> (Vec<String>, Value) {
    let store = Store::fresh().await.expect("opens");
    let inputs = inputs(changes);
    let decided: Inputs = serde_json::from_value(inputs.clone()).expect("inputs");
    let (tariff, policy): (&Tariff, &Policy) = (&decided.tariff, &decided.policy);
    let mut rest = inputs.clone();
    for part in ["tariff", "policy", "capacity"] {
        rest.as_object_mut().expect("an object").remove(part);
    }
    let row = NewDecision {
        order: id(1),
        spec_hash: decided.order.spec_hash,
        decided_at: GENESIS + 5,
        decision: stored.unwrap_or_else(|| decided.decide()),
        inputs: NewInputs::new(
            Part::new(&json!({"tariff": tariff, "policy": policy})).expect("written"),
            Part::new(&decided.capacity).expect("written"),
            &rest,
        )
        .expect("written"),
        intent: None,
    };
    store.put_decisions(&[row], 0).await.expect("stored");
    let explanation = explain::of(&store, id(1)).await.expect("explained");
    let lines = explain::tell(&explanation).expect("told").lines().map(str::to_owned).collect();
    (lines, serde_json::to_value(&explanation).expect("JSON"))
}

fn starting_with<'a>(lines: &'a [String], word: &str) -> Vec<&'a str> {
    let padded = format!("{word:<13}");
    lines.iter().filter_map(|line| line.strip_prefix(&padded)).collect()
}

#[tokio::test]
async fn each_line_of_the_books_stands_beside_what_the_policy_allows() {
    let changes = json!({
        "books": {
            "openBids": 3, "tenantLeases": 2, "tenantRate": "2000000000", "gasWei": 5_000_000_000_000_000_000u64,
            "freeBond": "7000000",
        },
        "policy": {"caps": {"leases": 4, "monthly": "9000000"}, "maxOpenBids": 8, "floors": {"gas": "0.5", "bond": "5"}},
    });
    let (lines, told) = told(&changes, None).await;
    assert_eq!(
        starting_with(&lines, "books"),
        [
            "open bids: 3 (allowed: at most 8)",
            "this tenant's leases and open bids: 2 (allowed: at most 4)",
            "what they pay: $0.007200/h, $5.256000 a month (allowed: at most $9000000 a month)",
            "gas money: 5000000000000000000 wei (allowed: at least 0.5 coins of 10^18 wei)",
            "bond that nothing is held against: $7.000000 (allowed: at least $5)",
            "maintenance: no",
        ]
    );
    let of = |what: &str| told["books"].as_array().expect("lines").iter().find(|line| line["what"] == what);
    assert_eq!(of("open bids"), Some(&json!({"what": "open bids", "was": "3", "limit": "at most 8"})));
    assert_eq!(of("maintenance"), Some(&json!({"what": "maintenance", "was": "no"})));
}

#[tokio::test]
async fn what_was_not_known_is_told_as_not_known_and_maintenance_of_either_kind_as_such() {
    let (lines, told) = told(&json!({}), None).await;
    let unknown = "not known, as nothing in the policy asks for it";
    let books = starting_with(&lines, "books");
    assert_eq!(books[3], format!("gas money: {unknown}"));
    assert_eq!(books[4], format!("bond that nothing is held against: {unknown}"));
    assert_eq!(told["books"][3], json!({"what": "gas money"}));
    assert_eq!(starting_with(&lines, "fx"), ["none: prices are in dollars"]);
    assert_eq!(starting_with(&lines, "quoted"), ["by the table: no pricing program was asked"]);
    assert!(told.get("fx").is_none() && told.get("quoted").is_none(), "{told}");

    for changes in [json!({"books": {"maintenance": true}}), json!({"policy": {"maintenance": true}})] {
        let (lines, told) = self::told(&changes, None).await;
        assert_eq!(starting_with(&lines, "books")[5], "maintenance: yes", "{changes}");
        assert_eq!(told["reason"]["reason"], "maintenance", "{told}");
    }
}

#[tokio::test]
async fn the_worth_of_a_currency_is_told_with_its_source_and_its_age() {
    let euros = json!({"tariff": {"fx": {"currency": "EUR", "maxStalenessSecs": 900}}});
    let (lines, json) = told(&euros, None).await;
    assert_eq!(starting_with(&lines, "fx"), ["nobody had told what one EUR is worth"]);
    assert_eq!(json["fx"], json!({"currency": "EUR"}));
    assert_eq!(json["reason"]["reason"], "fx_stale");

    let mut known = euros.clone();
    known["fx"] = json!({"rate": "1.08", "source": "bank", "at": GENESIS - 17});
    let (lines, json) = told(&known, None).await;
    assert_eq!(
        starting_with(&lines, "fx"),
        [format!("one EUR is 1.08 dollars, told by bank at unix second {}, 17 seconds before", GENESIS - 17)]
    );
    let worth = json!({"currency": "EUR", "rate": "1.08", "source": "bank", "at": GENESIS - 17, "age": 17});
    assert_eq!(json["fx"], worth);
}

#[tokio::test]
async fn the_pricing_program_is_told_with_its_answer_or_with_what_kept_it_from_one() {
    let priced = json!({"quoted": {"hook": "priced", "rate": "7000000000", "answer": "5 uact"}});
    let (lines, json) = told(&priced, None).await;
    let quoted = starting_with(&lines, "quoted");
    assert!(quoted[0].starts_with("by the pricing program: 5 uact, "), "{quoted:?}");
    assert_eq!(json["quoted"], priced["quoted"]);
    assert_eq!(json["rate"], json!("7000000000"), "it is what was bid");

    let failed = json!({"quoted": {"hook": "failed", "problem": "it was too slow"}});
    let (lines, json) = told(&failed, None).await;
    assert_eq!(starting_with(&lines, "quoted"), ["the pricing program named no price: it was too slow"]);
    assert_eq!((&json["quoted"], &json["reason"]["reason"]), (&failed["quoted"], &json!("price_hook")));
}

#[tokio::test]
async fn as_json_an_explanation_has_the_answer_with_all_that_it_was_made_from() {
    let (lines, bid) = told(&json!({}), None).await;
    assert_eq!((&bid["order"], &bid["decided_at"]), (&json!(id(1).to_string()), &json!(GENESIS + 5)));
    assert_eq!((&bid["word"], &bid["now"]), (&json!(id(1).to_word()), &json!(GENESIS)));
    assert_eq!((&bid["decision"], &bid["again"]), (&json!("bid"), &json!(0)));
    assert_eq!(bid["capacity"]["nodes"]["n1"]["cpuMilli"], json!(4000), "{bid}");
    assert_eq!((&bid["reservation"], &bid["replay_agrees"]), (&json!("held for the bid"), &json!(true)));
    assert!(bid["items"].as_array().is_some_and(|items| !items.is_empty()), "{bid}");
    assert!(bid.get("why").is_none() && bid.get("passing").is_none(), "{bid}");
    assert!(starting_with(&lines, "replay")[0].ends_with("gives the same"), "{lines:?}");
    assert_eq!(starting_with(&lines, "reservation"), ["held for the bid"]);

    let other = Decision::Decline { reason: Reason::TenantDenied };
    let (lines, declined) = told(&json!({}), Some(other)).await;
    assert_eq!((&declined["decision"], &declined["replay_agrees"]), (&json!("decline"), &json!(false)));
    assert!(declined["passing"].as_str().is_some_and(|told| told.contains("tariff or the policy")));
    assert_eq!(declined["why"], json!(Reason::TenantDenied.to_string()));
    assert!(starting_with(&lines, "replay")[0].contains("gives ANOTHER decision"), "{lines:?}");
}
