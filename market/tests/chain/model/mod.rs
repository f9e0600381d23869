//! The contracts against a model of them: the same calls, drawn by chance, done by the rules in Rust and on a node, and
//! after each of them everything that can be seen is compared, to the unit, and every refusal by its error. What the
//! log told of a run, done again by the rules, gives the same market too.
//!
//! `BERTH_MODEL_RUNS` says how many runs of a hundred calls there are.

mod contracts;
mod moves;
mod replay;
mod rules;

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use contracts::{Contracts, Sight, expected};
use moves::{Deed, Move, moves};

const RUNS: u32 = 3;
const CALLS: usize = 100;

/// How often each call was made, and how often it was done.
type Counts = BTreeMap<String, (u32, u32)>;

#[test]
fn the_contracts_do_what_the_rules_say() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let Some(contracts) = runtime.block_on(Contracts::deploy()) else { return };
    let runs = std::env::var("BERTH_MODEL_RUNS").map_or(RUNS, |runs| runs.parse().expect("a number"));
    let config =
        Config { cases: runs, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let counts = RefCell::new(Counts::new());
    let outcome = TestRunner::new(config).run(&vec(moves(), CALLS), |moves| {
        runtime.block_on(play(&contracts, &moves, &counts)).map_err(TestCaseError::fail)
    });
    let counts = counts.into_inner();
    let made: u32 = counts.values().map(|(made, _)| made).sum();
    let done: u32 = counts.values().map(|(_, done)| done).sum();
    let each: Vec<String> =
        counts.iter().map(|(name, (made, done))| format!("{name} {done} of {made}")).collect();
    println!("COUNTED: {made} calls of the model, {done} done and the rest refused: {}", each.join(", "));
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

enum Step<'a> {
    Set(Deed),
    Drawn(&'a Move),
}

async fn play(contracts: &Contracts, moves: &[Move], counts: &RefCell<Counts>) -> Result<(), String> {
    let snapshot = contracts.snapshot().await;
    let outcome = replayed(contracts, moves, counts).await;
    contracts.revert_to(snapshot).await;
    outcome
}

async fn replayed(contracts: &Contracts, moves: &[Move], counts: &RefCell<Counts>) -> Result<(), String> {
    let mut model = contracts.start.clone();
    let mut steps: Vec<(u64, Step)> = Deed::prelude().into_iter().map(|deed| (1, Step::Set(deed))).collect();
    steps.extend(moves.iter().map(|a_move| (a_move.seconds, Step::Drawn(a_move))));
    for (seconds, step) in steps {
        model.pass_to(model.now + seconds);
        let deed = match step {
            Step::Set(deed) => deed,
            Step::Drawn(a_move) => a_move.now(&model),
        };
        let before = model.clone();
        let by_rules = deed.apply(&mut model);
        let on_chain = contracts.perform(&deed, model.now).await;
        {
            let mut counts = counts.borrow_mut();
            let (made, done) = counts.entry(deed.name()).or_default();
            *made += 1;
            *done += u32::from(on_chain.is_ok());
        }
        match (&by_rules, &on_chain) {
            (Ok(()), Ok(())) => {}
            (Err(broken), Err(told)) if broken.contains(told) => model = before,
            _ => {
                return Err(format!(
                    "{deed:?} at {}: the rules say {by_rules:?}, the chain {on_chain:?}",
                    model.now
                ));
            }
        }
        same(&expected(&model), &contracts.sight(&model).await)
            .map_err(|what| format!("after {deed:?}: {what}"))?;
    }
    let told = replay::replay(contracts.start.clone(), &contracts.log().await, model.now)?;
    same(&expected(&told), &contracts.sight(&model).await).map_err(|what| format!("told by the log: {what}"))
}

/// Names what differs.
fn same(by_rules: &Sight, seen: &Sight) -> Result<(), String> {
    let names: std::collections::BTreeSet<&String> = by_rules.keys().chain(seen.keys()).collect();
    let differ: Vec<String> = names
        .into_iter()
        .filter(|name| by_rules.get(*name) != seen.get(*name))
        .map(|name| format!("{name}: the rules say {:?}, the chain {:?}", by_rules.get(name), seen.get(name)))
        .collect();
    if differ.is_empty() { Ok(()) } else { Err(differ.join("; ")) }
}
