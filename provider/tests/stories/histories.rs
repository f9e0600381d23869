//! Whatever happens, in whatever order: what is promised never exceeds what is there, each promise is as its order stands, and
//! at the end nothing is left of any.

use std::collections::{BTreeMap, BTreeSet};

use crate::bidder::{Bench, wants_gpus};
use crate::support::*;
use bidengine::Capacity;
use manifests::order::{CloseReason, Fact};
use provider::store::{Health, IntentKind, IntentState, LeaseStatus, ReservationState};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

const STEPS: u32 = 60;
const NODES: [&str; 3] = ["n1", "n2", "n3"];

fn cluster() -> Capacity {
    let node = one_node(4).nodes.remove("n1").expect("one node");
    let nodes = NODES.iter().map(|&name| (name.to_owned(), node.clone())).collect();
    Capacity { nodes, ..Capacity::default() }
}

/// What a block said, for when it is taken back.
type Said = Vec<(u64, Life)>;

/// How far an order is on the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Posted,
    OurBid,
    Ours,
    Theirs,
    Closed,
    Ended,
}

struct History {
    bench: Bench,
    chance: StdRng,
    blocks: Vec<Said>,
    next: u64,
    nonce: u64,
    lost: BTreeSet<&'static str>,
}

impl History {
    async fn new(seed: u64) -> Self {
        let bench = Bench::new(0).await;
        bench.cluster.has(Some(cluster()));
        let chance = StdRng::seed_from_u64(seed);
        Self { bench, chance, blocks: vec![], next: 1, nonce: 0, lost: BTreeSet::new() }
    }

    fn lives(&self) -> BTreeMap<u64, Life> {
        self.blocks.iter().flatten().copied().collect()
    }

    /// One of the orders that are so.
    fn one(&mut self, is_so: impl Fn(Life) -> bool) -> Option<u64> {
        let found: Vec<u64> =
            self.lives().into_iter().filter(|(_, life)| is_so(*life)).map(|(dseq, _)| dseq).collect();
        (!found.is_empty()).then(|| found[self.chance.random_range(0..found.len())])
    }

    async fn mine(&mut self, said: Said) {
        let fact = |(dseq, life): &(u64, Life)| match life {
            Life::Posted => wants_gpus(*dseq, 1 + dseq % 4),
            Life::OurBid => bid_of(US, *dseq),
            Life::Ours => won_by(US, *dseq),
            Life::Theirs => won_by(RIVAL, *dseq),
            Life::Closed => Fact::OrderClosed { order: id(*dseq), reason: CloseReason::TENANT },
            Life::Ended => ended(*dseq, GENESIS + 20),
        };
        self.bench.chain.mine(said.iter().map(fact).collect());
        self.blocks.push(said);
        self.bench.settle().await;
    }

    /// The outbox says the bid for an order, and a block has it.
    async fn bid_is_mined(&mut self) {
        let pending: Vec<_> = self.bench.bids().await;
        let lives = self.lives();
        let open = |life: Option<&Life>| life == Some(&Life::Posted);
        let Some((intent, order)) = pending
            .into_iter()
            .filter_map(|intent| Some((intent.id, intent.order?)))
            .find(|(_, order)| open(lives.get(&order.dseq)))
        else {
            return;
        };
        self.nonce += 1;
        let head = self.bench.store.cursor().await.expect("read").expect("followed").number;
        self.bench.mined(&intent, self.nonce, head + 1).await;
        self.mine(vec![(order.dseq, Life::OurBid)]).await;
    }

    async fn tear_down(&self, dseq: u64) {
        let now = self.bench.clock.now();
        let status = LeaseStatus {
            lease: id(dseq),
            health: Health::Unknown,
            since: now,
            applied_revision: Some(1),
            torn_down_at: Some(now),
            body: "{}".to_owned(),
            updated_at: now,
        };
        self.bench.store.put_lease_status(&status).await.expect("stored");
    }

    async fn step(&mut self) {
        match self.chance.random_range(0..16) {
            0..=2 => {
                let count = self.chance.random_range(1..=3);
                let said = (self.next..self.next + count).map(|dseq| (dseq, Life::Posted)).collect();
                self.next += count;
                self.mine(said).await;
            }
            3..=5 => self.bid_is_mined().await,
            6 | 7 => {
                // A bid that stands again when its room is gone may win too; then there is more than fits, and nobody can help it.
                let reserved = self.bench.store.reservations().await.expect("read");
                let won = self.one(|life| life == Life::OurBid);
                if let Some(dseq) = won.filter(|dseq| reserved.iter().any(|row| row.order == id(*dseq))) {
                    self.mine(vec![(dseq, Life::Ours)]).await;
                }
            }
            8 => {
                if let Some(dseq) = self.one(|life| matches!(life, Life::Posted | Life::OurBid)) {
                    let end = if self.chance.random() { Life::Theirs } else { Life::Closed };
                    self.mine(vec![(dseq, end)]).await;
                }
            }
            9 => {
                if let Some(dseq) = self.one(|life| life == Life::Ours) {
                    self.mine(vec![(dseq, Life::Ended)]).await;
                }
            }
            10 => {
                // Deep enough that no reorganisation of these takes the end back.
                let deep = self.blocks.len().saturating_sub(3);
                let is_deep =
                    |dseq| self.blocks[..deep].iter().flatten().any(|said| *said == (dseq, Life::Ended));
                let ended: Vec<u64> = self.lives().into_keys().filter(|dseq| is_deep(*dseq)).collect();
                if let Some(dseq) = ended.first() {
                    self.tear_down(*dseq).await;
                }
            }
            11 => {
                let count = self.chance.random_range(1..=3).min(self.blocks.len());
                self.bench.chain.drop_last(count);
                self.blocks.truncate(self.blocks.len() - count);
                self.mine(vec![]).await;
            }
            12 => {
                let node = NODES[self.chance.random_range(0..NODES.len())];
                if !self.lost.remove(node) {
                    self.lost.insert(node);
                }
                self.bench.cluster.loses(&self.lost.iter().copied().collect::<Vec<_>>());
            }
            13 => self.bench.clock.set(self.bench.clock.now() + self.chance.random_range(10..200)),
            14 => self.bench.restart(),
            _ => {
                if let Some(intent) = self.bench.bids().await.first() {
                    let now = self.bench.clock.now();
                    self.bench.store.fail_intent(intent, "the chain refuses it", now).await.expect("stored");
                }
            }
        }
        self.bench.settle().await;
    }

    /// What must be so at any time.
    async fn holds(&self) {
        let reservations = self.bench.store.reservations().await.expect("read");
        let mut left = cluster();
        for row in &reservations {
            left.take(&row.placement).expect("never more is promised than there is");
        }
        let lives = self.lives();
        for row in &reservations {
            let life = lives.get(&row.order.dseq);
            let is_right = match row.state {
                ReservationState::Held => matches!(life, Some(Life::Posted | Life::OurBid)),
                ReservationState::Leased => matches!(life, Some(Life::Ours | Life::Ended)),
                ReservationState::Released => false,
            };
            assert!(is_right, "{:?} is {:?} while its order is {life:?}", row.order, row.state);
        }
        for (dseq, life) in &lives {
            let count = reservations.iter().filter(|row| row.order == id(*dseq)).count();
            assert!(count <= 1);
            assert!(*life != Life::Ours || count == 1, "lease {dseq} has nothing reserved");
        }
        let pending = self.bench.bids().await;
        let orders: BTreeSet<_> = pending.iter().map(|intent| intent.order).collect();
        assert_eq!(orders.len(), pending.len(), "two bids for one order are on their way");
    }

    /// Everything comes to its end.
    async fn end(&mut self) {
        self.lost.clear();
        self.bench.cluster.loses(&[]);
        let lives = self.lives();
        let said = lives.iter().filter_map(|(dseq, life)| match life {
            Life::Posted | Life::OurBid => Some((*dseq, Life::Closed)),
            Life::Ours => Some((*dseq, Life::Ended)),
            Life::Theirs | Life::Closed | Life::Ended => None,
        });
        self.mine(said.collect()).await;
        for (dseq, life) in self.lives() {
            if life == Life::Ended {
                self.tear_down(dseq).await;
            }
        }
        self.bench.settle().await;
        assert_eq!(self.bench.store.reservations().await.expect("read"), [], "something leaked");
        assert_eq!(self.bench.bids().await, [], "a bid for an order that is gone waits to be said");
        let last = self.bench.store.intents_of(Some(id(1)), IntentKind::Bid).await.expect("read").latest;
        assert!(last.is_none_or(|row| row.state != IntentState::Pending));
    }
}

#[tokio::test]
async fn no_history_promises_twice_or_leaks() {
    let seed: u64 = std::env::var("BERTH_HISTORY_SEED")
        .map_or_else(|_| rand::random::<u32>().into(), |seed| seed.parse().expect("a number"));
    for seed in seed..seed + 6 {
        println!("BERTH_HISTORY_SEED={seed}");
        let mut history = History::new(seed).await;
        for _ in 0..STEPS {
            history.step().await;
            history.holds().await;
        }
        history.end().await;
    }
}
