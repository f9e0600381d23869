//! Promises of capacity when many want some at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::*;
use bidengine::{Capacity, Node};
use manifests::decision::{Decision, GpuTake, Placement, Replica, Takes};
use manifests::order::Hash;
use provider::store::{
    DatabaseUrl, NewDecision, NewInputs, Part, Promised, Put, ReservationRow, ReservationState, Sealer, Store,
};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

const SEQUENCES: u64 = 64;
const NODES: u64 = 3;
const GPUS: u64 = 8;
const POOL: &str = "h100-80Gi-sxm";

/// Three nodes of eight GPUs: far less than 64 orders of up to four want together.
fn cluster() -> Capacity {
    let of_one = one_node(GPUS);
    let node: &Node = &of_one.nodes["n1"];
    Capacity { nodes: (1..=NODES).map(|n| (format!("n{n}"), node.clone())).collect(), ..Capacity::default() }
}

fn left(promised: &[ReservationRow]) -> Capacity {
    let mut capacity = cluster();
    for row in promised {
        capacity.take(&row.placement).expect("never more is promised than there is");
    }
    capacity
}

fn placement(node: u64, count: u64) -> Placement {
    let gpu = Some(GpuTake { pool: POOL.to_owned(), count, resource: None });
    let takes = Takes { cpu_milli: 1, gpu, ..Takes::default() };
    let replicas = vec![Replica { unit: 1, node: format!("n{node}"), takes }];
    Placement { replicas, ..Placement::default() }
}

/// What the sequence of one order did last, and so what must be stored of it.
#[derive(Debug, Clone, PartialEq)]
struct Stands {
    state: ReservationState,
    placement: Placement,
}

/// One order's life, again and again; nobody else touches its reservation.
struct Sequence {
    store: Store,
    dseq: u64,
    chance: StdRng,
    stands: Option<Stands>,
    /// Whether it was promised something before.
    was_promised: bool,
    /// How often another promise came first.
    outdated: u64,
}

impl Sequence {
    async fn promised(&self) -> Promised {
        self.store.promised().await.expect("read")
    }

    /// A node and a number of GPUs that fit beside what is promised, or nothing this time.
    fn choose(&mut self, promised: &[ReservationRow]) -> Option<Placement> {
        let wish = placement(self.chance.random_range(1..=NODES), self.chance.random_range(1..=4));
        left(promised).take(&wish).ok().map(|()| wish)
    }

    async fn reserve(&mut self) {
        loop {
            let Promised { rows, last } = self.promised().await;
            let Some(placement) = self.choose(&rows) else { return };
            tokio::task::yield_now().await;
            let decision = bid_on(self.dseq, placement.clone());
            match self.store.put_decisions(&[decision], last).await.expect("stored")[0] {
                Put::Stored => {
                    self.was_promised = true;
                    self.stands = Some(Stands { state: ReservationState::Held, placement });
                    return;
                }
                Put::Outdated => self.outdated += 1,
                Put::Known => panic!("the decision before was forgotten with its reservation"),
            }
        }
    }

    async fn r#move(&mut self) {
        loop {
            let Promised { mut rows, last } = self.promised().await;
            let order = id(self.dseq);
            rows.retain(|row| row.order != order);
            let Some(placement) = self.choose(&rows) else { return };
            tokio::task::yield_now().await;
            if self.store.move_reservation(order, &placement, last, 2).await.expect("moved") {
                self.stands.as_mut().expect("one stands").placement = placement;
                return;
            }
            self.outdated += 1;
        }
    }

    /// Takes up again what was released, for a bid or a lease that stands again.
    async fn again(&mut self, state: ReservationState) {
        loop {
            let Promised { rows, last } = self.promised().await;
            let Some(placement) = self.choose(&rows) else { return };
            tokio::task::yield_now().await;
            let order = id(self.dseq);
            let done = match state {
                ReservationState::Leased => self.store.lease_again(order, &placement, last, 6).await,
                _ => self.store.hold_again(order, &placement, last, 6).await,
            };
            if done.expect("stored") {
                self.stands = Some(Stands { state, placement });
                return;
            }
            self.outdated += 1;
        }
    }

    /// What is released is only taken up by who has looked for room.
    async fn is_left_alone(&self) {
        let (order, Promised { last, .. }) = (id(self.dseq), self.promised().await);
        assert!(!self.store.lease_reservation(order, 7).await.expect("read"), "a lease takes what is held");
        assert!(!self.store.hold_reservation(order, 7).await.expect("read"), "only a lease is held again");
        let moved = self.store.move_reservation(order, &placement(1, 1), last, 7).await;
        assert!(!moved.expect("read"), "nothing is there to be moved");
    }

    async fn step(&mut self) {
        let Some(stands) = &mut self.stands else {
            return match self.chance.random_range(0..3) {
                1 if self.was_promised => self.again(ReservationState::Held).await,
                2 if self.was_promised => self.again(ReservationState::Leased).await,
                _ => self.reserve().await,
            };
        };
        let order = id(self.dseq);
        match self.chance.random_range(0..4) {
            0 => {
                let changed = self.store.lease_reservation(order, 3).await.expect("leased");
                assert_eq!(changed, stands.state == ReservationState::Held, "a lease is taken once");
                stands.state = ReservationState::Leased;
            }
            1 => {
                let changed = self.store.hold_reservation(order, 4).await.expect("held");
                assert_eq!(changed, stands.state == ReservationState::Leased, "only a lease is held again");
                stands.state = ReservationState::Held;
            }
            2 => self.r#move().await,
            _ => {
                let Promised { last, .. } = self.store.promised().await.expect("read");
                let taken = stands.placement.clone();
                assert!(!self.store.hold_again(order, &taken, last, 5).await.expect("read"), "it stands");
                assert!(!self.store.lease_again(order, &taken, last, 5).await.expect("read"), "it stands");
                assert!(self.store.release_reservation(order, "over", true, 5).await.expect("freed"));
                assert!(!self.store.release_reservation(order, "over", true, 5).await.expect("freed once"));
                self.stands = None;
                self.is_left_alone().await;
            }
        }
    }

    async fn is_stored(&self) {
        let stored = self.store.reservation(id(self.dseq)).await.expect("read");
        let stored = stored
            .filter(|row| row.state != ReservationState::Released)
            .map(|row| Stands { state: row.state, placement: row.placement });
        assert_eq!(stored, self.stands, "order {}", self.dseq);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn interleaved_promises_never_exceed_what_is_there_and_each_step_shows() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = DatabaseUrl::fresh(folder.path()).await.expect("a database");
    let store = Store::open(&database, Sealer::new(&[1; 32])).await.expect("opens");
    // A second process on the same database: on an engine that takes writers side by side, they are.
    let beside = Store::open(&database, Sealer::new(&[1; 32])).await.expect("opens");

    let seed: u64 = rand::random::<u32>().into();
    let sequences = (1..=SEQUENCES).map(|dseq| {
        let store = if dseq % 2 == 0 { store.clone() } else { beside.clone() };
        let chance = StdRng::seed_from_u64(seed + dseq);
        tokio::spawn(async move {
            let mut sequence =
                Sequence { store, dseq, chance, stands: None, was_promised: false, outdated: 0 };
            for _ in 0..12 {
                sequence.step().await;
                sequence.is_stored().await;
            }
            sequence
        })
    });
    let sequences: Vec<_> = sequences.collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let (watched, until) = (store.clone(), Arc::clone(&is_over));
    let watch = tokio::spawn(async move {
        while !until.load(Ordering::Relaxed) {
            left(&watched.reservations().await.expect("read"));
        }
    });
    let mut outdated = 0;
    for sequence in sequences {
        let sequence = sequence.await.unwrap_or_else(|error| panic!("with seed {seed}: {error}"));
        sequence.is_stored().await;
        outdated += sequence.outdated;
    }
    is_over.store(true, Ordering::Relaxed);
    watch.await.expect("never more was promised than there is");
    left(&store.reservations().await.expect("read"));
    assert!(outdated > 0, "some decided at the same time");
}

/// A bid's worth of decision with this placement.
fn bid_on(dseq: u64, placement: Placement) -> NewDecision {
    let nothing = Part::new(&json!({})).expect("written");
    NewDecision {
        order: id(dseq),
        spec_hash: Hash([1; 32]),
        decided_at: 1,
        decision: Decision::Bid {
            rate: rate(1),
            floor: rate(1),
            expires_at: 0,
            items: vec![],
            placement,
            warnings: vec![],
        },
        inputs: NewInputs::new(nothing.clone(), nothing, &json!({})).expect("written"),
        intent: None,
    }
}

#[tokio::test]
async fn a_place_that_was_chosen_before_others_promised_is_refused_however_old_the_choice() {
    let store = Store::fresh().await.expect("opens");
    let (first, second, place) = (id(1), id(2), placement(1, 4));
    store.put_decisions(&[bid_on(1, place.clone())], 0).await.expect("stored");
    store.release_reservation(first, "over", false, 2).await.expect("freed");
    let chosen_by = store.promised().await.expect("read").last;
    // Another is promised something and moves on, so that the number after the one that was seen is nobody's.
    let put = store.put_decisions(&[bid_on(2, place.clone())], chosen_by).await.expect("stored");
    assert_eq!(put, [Put::Stored]);
    let last = store.promised().await.expect("read").last;
    assert!(store.move_reservation(second, &placement(2, 4), last, 3).await.expect("moved"));
    let states = async || store.reservation(first).await.expect("read").expect("reserved").state;
    assert!(!store.lease_again(first, &place, chosen_by, 4).await.expect("read"));
    assert!(!store.hold_again(first, &place, chosen_by, 4).await.expect("read"));
    assert_eq!(states().await, ReservationState::Released);
    let put = store.put_decisions(&[bid_on(3, place.clone())], chosen_by).await.expect("stored");
    assert_eq!(put, [Put::Outdated]);
    assert!(!store.move_reservation(second, &place, chosen_by, 5).await.expect("read"));
    let last = store.promised().await.expect("read").last;
    assert!(store.lease_again(first, &place, last, 6).await.expect("leased"));
    assert_eq!(states().await, ReservationState::Leased);
    // Each promise has a number of its own, above all before it.
    let last = store.promised().await.expect("read").last;
    store.release_reservation(first, "over", true, 7).await.expect("freed");
    let put = store.put_decisions(&[bid_on(1, place.clone())], last).await.expect("stored");
    assert_eq!((put, store.promised().await.expect("read").last), (vec![Put::Stored], last + 1));
}
