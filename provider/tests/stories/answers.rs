//! Orders as operators list them: what was decided, and what became of it.

use crate::support::*;
use manifests::decision::{Decision, Placement, Reason};
use manifests::order::Address;
use provider::follower::Follower;
use provider::metrics::Metrics;
use provider::store::{NewDecision, NewInputs, Outcome, Part, Store};
use provider::task::Turn as _;
use serde_json::json;

async fn decide(store: &Store, dseq: u64, decision: Decision) {
    let spec_hash = store.order(id(dseq)).await.expect("read").expect("followed").order.spec_hash;
    let nothing = Part::new(&json!({})).expect("written");
    let row = NewDecision {
        order: id(dseq),
        spec_hash,
        decided_at: GENESIS + dseq,
        decision,
        inputs: NewInputs::new(nothing.clone(), nothing, &json!({})).expect("written"),
        intent: None,
    };
    let last = store.promised().await.expect("read").last;
    store.put_decisions(&[row], last).await.expect("stored");
}

async fn catch_up(follower: &mut Follower<FakeChain>) {
    for _ in 0..100 {
        let report = follower.turn().await.expect("a turn");
        if report.changed == 0 && report.due.is_none() {
            return;
        }
    }
    panic!("the follower does not come to rest");
}

fn bid() -> Decision {
    Decision::Bid {
        rate: rate(5),
        floor: rate(5),
        expires_at: 0,
        items: vec![],
        placement: Placement::default(),
        warnings: vec![],
    }
}

#[tokio::test]
async fn orders_are_listed_newest_first_with_what_became_of_them() {
    let (store, chain) = (Store::fresh().await.expect("opens"), FakeChain::new());
    let metrics = Metrics::new().expect("distinct names");
    let mut follower = Follower::new(chain.clone(), store.clone(), follower_settings(), metrics);
    chain.mine((1..=6).map(posted).collect());
    catch_up(&mut follower).await;
    assert_eq!(store.count_undecided().await.expect("read"), 6);

    decide(&store, 1, Decision::Decline { reason: Reason::Maintenance }).await;
    for dseq in 2..=5 {
        decide(&store, dseq, bid()).await;
    }
    chain.mine(vec![won_by(US, 3), won_by(Address([0xee; 20]), 4)]);
    catch_up(&mut follower).await;
    store.release_reservation(id(5), "the bid expired", false, GENESIS + 9).await.expect("released");

    let told = store.answers(US, 0, 10).await.expect("read");
    let outcomes: Vec<_> = told.iter().map(|row| (row.order, row.outcome.clone())).collect();
    assert_eq!(
        outcomes,
        [
            (id(5), Outcome::Released("the bid expired".to_owned())),
            (id(4), Outcome::Lost),
            (id(3), Outcome::Won("active".to_owned())),
            (id(2), Outcome::Standing),
            (id(1), Outcome::Declined),
        ]
    );
    assert_eq!(store.count_undecided().await.expect("read"), 1);
    let since = store.answers(US, GENESIS + 4, 10).await.expect("read");
    assert_eq!(since.len(), 2, "from the second that was asked for on");
    assert_eq!(store.answers(US, 0, 2).await.expect("read").len(), 2);
}
