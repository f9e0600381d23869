//! A database that is carried into another engine and back.

use std::collections::BTreeMap;

use crate::support::*;
use manifests::objects::SecretValue;
use provider::follower::Follower;
use provider::metrics::Metrics;
use provider::store::{
    Compared, DatabaseUrl, Health, IntentKind, LeaseStatus, NewIntent, Sealer, Store, move_database,
};
use provider::task::Turn as _;

const KEY: [u8; 32] = [3; 32];

async fn open(database: &DatabaseUrl) -> Store {
    Store::open(database, Sealer::new(&KEY)).await.expect("opens")
}

/// A database with rows in tables of every kind: what the chain says, what we keep, and what is sealed.
async fn filled(database: &DatabaseUrl) -> Store {
    let (chain, store) = (FakeChain::new(), open(database).await);
    for dseq in 1..=300 {
        chain.mine(vec![deployed(dseq, 7), moved(dseq, 50), posted(dseq), bid_of(US, dseq)]);
    }
    chain.mine(vec![won_by(US, 1), won_by(RIVAL, 2), paid(1, 40, GENESIS + 12), ended(1, GENESIS + 14)]);
    let settings = follower_settings();
    let mut follower = Follower::new(chain, store.clone(), settings, Metrics::new().expect("distinct names"));
    while follower.turn().await.expect("a turn").changed > 0 {}
    let call = market::call::Call::Withdraw { leases: vec![id(1)] };
    let intent = NewIntent {
        id: "withdraw 1".to_owned(),
        kind: IntentKind::Withdraw,
        order: None,
        call,
        deadline: None,
    };
    assert!(store.put_intent(&intent, 5).await.expect("stored"));
    let secrets = BTreeMap::from([("db".to_owned(), SecretValue(b"s3cret".to_vec()))]);
    store.put_secrets(id(1), &secrets, 6).await.expect("stored");
    let status = LeaseStatus {
        lease: id(1),
        health: Health::Healthy,
        since: 1,
        applied_revision: None,
        torn_down_at: Some(9),
        body: "{}".to_owned(),
        updated_at: 9,
    };
    store.put_lease_status(&status).await.expect("stored");
    store
}

#[tokio::test]
async fn a_moved_database_is_the_same_to_the_row_and_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| -> DatabaseUrl {
        format!("sqlite://{}", folder.path().join(name).display()).parse().expect("a database URL")
    };
    let (first, last) = (file("first.db"), file("last.db"));
    let between = DatabaseUrl::fresh(folder.path()).await.expect("a database");
    drop(filled(&first).await);

    let there = move_database(&first, &between).await.expect("moved");
    let back = move_database(&between, &last).await.expect("moved back");
    assert_eq!(there, back, "what went over came back");
    assert!(there.iter().all(Compared::is_equal), "{there:?}");
    let rows =
        |table: &str| there.iter().find(|row| row.table == table).expect("a table of ours").after.count;
    assert_eq!((rows("orders"), rows("leases"), rows("lease_secrets"), rows("intents")), (300, 2, 1, 1));

    for database in [&between, &last] {
        let store = open(database).await;
        assert_eq!(store.lease(id(1)).await.expect("read").expect("stored").paid_until, GENESIS + 12);
        assert_eq!(store.secrets(id(1)).await.expect("decrypted")["db"].0, b"s3cret");
        assert_eq!(store.pending_intents().await.expect("read").len(), 1);
    }
    let refused = move_database(&first, &between).await.expect_err("it is not empty");
    assert!(refused.to_string().contains("give a new database"), "{refused}");
    let refused = move_database(&first, &first).await.expect_err("the same");
    assert!(refused.to_string().contains("the same database"), "{refused}");
}

#[tokio::test]
async fn a_database_of_another_version_is_not_moved() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let empty: DatabaseUrl =
        format!("sqlite://{}", folder.path().join("empty.db").display()).parse().expect("a database URL");
    let to = DatabaseUrl::fresh(folder.path()).await.expect("a database");
    let refused = move_database(&empty, &to).await.expect_err("it has no tables");
    assert!(refused.to_string().contains("berth-provider migrate"), "{refused}");
}
