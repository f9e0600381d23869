//! A hall of a thousand machines, and a stream of orders that are bid on, won, lost and left while machines fail and come back.
//!
//! The suite plays ten thousand orders; `BERTH_SIMULATED_ORDERS=100000` plays as many as it says (in a release build that is a
//! minute).

#[path = "support/hall.rs"]
mod hall;
#[path = "support/order.rs"]
mod order;
#[path = "support/unit.rs"]
mod unit;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use bidengine::{Capacity, Circumstances, Policy, Tariff, decide, move_off};
use hall::{Chance, Ledger, gpus, hall, tariff, wish};
use manifests::decision::{Decision, Placement};
use manifests::group::{OrderSpec, Requirements};
use unit::spec;

const MACHINES: u64 = 1000;

/// What happens next to an order that was bid on, or to a machine.
#[derive(Debug, Clone)]
enum Event {
    /// Another provider won it.
    Lost(u64),
    /// It became our lease.
    Won(u64),
    /// The lease ends.
    Ended(u64),
    /// The machine takes pods again.
    Back(String),
}

/// Everything that is counted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Tally {
    bids: u64,
    declines: BTreeMap<&'static str, u64>,
    won: u64,
    lost: u64,
    failures: u64,
    moved: u64,
    ended_by_failure: u64,
    /// The most GPUs that were promised at once, as far as it was looked at.
    most_gpus: u64,
}

struct Play {
    chance: Chance,
    ledger: Ledger,
    specs: BTreeMap<u64, OrderSpec>,
    events: BTreeMap<u64, Vec<Event>>,
    tariff: Tariff,
    tally: Tally,
    digest: DefaultHasher,
}

impl Play {
    fn new(seed: u64) -> Self {
        Self {
            chance: Chance(seed),
            ledger: Ledger::new(hall(MACHINES)),
            specs: BTreeMap::new(),
            events: BTreeMap::new(),
            tariff: tariff(),
            tally: Tally::default(),
            digest: DefaultHasher::new(),
        }
    }

    fn at(&mut self, moment: u64, event: Event) {
        self.events.entry(moment).or_default().push(event);
    }

    fn arrives(&mut self, number: u64) {
        let spec = spec(Requirements::default(), &wish(&mut self.chance));
        let order = order::order(spec.to_bytes().expect("is short"));
        let policy = Policy::default();
        let decision = decide(&order, &Circumstances::new(&self.ledger.free, &self.tariff, &policy, 0));
        serde_json::to_string(&decision).expect("is JSON").hash(&mut self.digest);
        let answer = number + 1 + self.chance.below(20);
        let wins = self.chance.below(3) > 0;
        match decision {
            Decision::Decline { reason } => *self.tally.declines.entry(reason.code()).or_default() += 1,
            Decision::Bid { placement, .. } => {
                self.tally.bids += 1;
                self.ledger.hold(number, placement);
                self.specs.insert(number, spec);
                self.at(answer, if wins { Event::Won(number) } else { Event::Lost(number) });
            }
        }
    }

    fn happens(&mut self, now: u64, event: Event) {
        match event {
            Event::Lost(order) => {
                self.tally.lost += u64::from(self.leaves(order));
            }
            Event::Won(order) => {
                let stays = 100 + self.chance.below(8000);
                if self.ledger.held.contains_key(&order) {
                    self.tally.won += 1;
                    self.at(now + stays, Event::Ended(order));
                }
            }
            Event::Ended(order) => {
                self.leaves(order);
            }
            Event::Back(machine) => self.ledger.takes_pods(&machine, true),
        }
    }

    /// Whether the order still had anything.
    fn leaves(&mut self, order: u64) -> bool {
        self.specs.remove(&order);
        self.ledger.release(order).is_some()
    }

    /// A machine fails: what is promised there moves, or ends.
    fn fails(&mut self, now: u64) {
        let machine = format!("machine-{:04}", self.chance.below(MACHINES));
        if !self.ledger.free.nodes[&machine].schedulable {
            return;
        }
        self.tally.failures += 1;
        self.ledger.takes_pods(&machine, false);
        let back = now + 50 + self.chance.below(500);
        self.at(back, Event::Back(machine.clone()));
        let lost = BTreeSet::from([machine.clone()]);
        for order in self.ledger.orders_on(&machine) {
            let before = self.ledger.release(order).expect("it has something there");
            let keeps = keeps(&before, &lost);
            self.ledger.hold(order, keeps.clone());
            let moved = move_off(&self.specs[&order], &before, &lost, &self.ledger.free, &self.tariff);
            serde_json::to_string(&moved.as_ref().ok()).expect("is JSON").hash(&mut self.digest);
            self.ledger.release(order).expect("was held again");
            let Ok(after) = moved else {
                self.specs.remove(&order);
                self.tally.ended_by_failure += 1;
                continue;
            };
            self.tally.moved += 1;
            assert_eq!(after.replicas.len(), before.replicas.len(), "nothing is lost on the way");
            for stayed in before.replicas.iter().filter(|replica| replica.node != machine) {
                assert!(after.replicas.contains(stayed), "what runs elsewhere stays: {stayed:?}");
            }
            assert!(after.replicas.iter().all(|replica| replica.node != machine));
            self.ledger.hold(order, after);
        }
    }
}

impl Ledger {
    /// The orders that have something on a node.
    fn orders_on(&self, node: &str) -> Vec<u64> {
        self.on.get(node).into_iter().flatten().copied().collect()
    }

    fn takes_pods(&mut self, node: &str, takes: bool) {
        self.free.nodes.get_mut(node).expect("is there").schedulable = takes;
    }

    /// Panics unless what is free and what is promised add up to what there is, everywhere.
    fn adds_up(&self) {
        let mut left = self.empty.clone();
        for placement in self.held.values() {
            left.take(placement).expect("no more is promised than there is");
        }
        for (name, node) in &mut left.nodes {
            let free = &self.free.nodes[name];
            // Which islands are left depends on the order of taking; how many GPUs are left does not.
            (node.schedulable, node.islands) = (free.schedulable, free.islands.clone());
            let in_islands: u64 = free.islands.values().flatten().sum();
            assert_eq!(in_islands, free.gpus.values().sum::<u64>(), "the islands of {name}");
        }
        assert!(left == self.free, "what is free and what is promised do not add up");
    }
}

/// What an order keeps while some of its nodes are lost: replicas elsewhere, and all that belongs to no node. Volumes stay
/// where they were made.
fn keeps(before: &Placement, lost: &BTreeSet<String>) -> Placement {
    let mut keeps = before.clone();
    for replica in keeps.replicas.iter_mut().filter(|replica| lost.contains(&replica.node)) {
        let takes = &mut replica.takes;
        (takes.cpu_milli, takes.memory_bytes, takes.ephemeral_bytes, takes.gpu) = (0, 0, 0, None);
    }
    keeps
}

/// Plays a stream to its end, when everybody has left, and says what is free then.
fn play(seed: u64, orders: u64) -> (Tally, u64, Capacity) {
    let mut play = Play::new(seed);
    let all = gpus(&play.ledger.empty);
    let mut now = 0;
    while now < orders || !play.events.is_empty() {
        for event in play.events.remove(&now).into_iter().flatten() {
            play.happens(now, event);
        }
        if now < orders {
            play.arrives(now);
            if play.chance.below(50) == 0 {
                play.fails(now);
            }
        }
        if now % 1000 == 0 {
            let promised = all - gpus(&play.ledger.free);
            play.tally.most_gpus = play.tally.most_gpus.max(promised);
            play.ledger.adds_up();
        }
        now += 1;
    }
    play.ledger.adds_up();
    (play.tally, play.digest.finish(), play.ledger.free)
}

fn orders() -> u64 {
    let wanted = std::env::var("BERTH_SIMULATED_ORDERS").ok();
    wanted.map_or(10_000, |wanted| wanted.parse().expect("BERTH_SIMULATED_ORDERS is a number"))
}

#[test]
fn when_everybody_has_left_everything_is_free_again() {
    let (tally, digest, free) = play(11, orders());
    println!("{} orders: {tally:?}, digest {digest:016x}", orders());
    assert_eq!(free, hall(MACHINES), "nothing that was promised is left over");
    assert!(tally.bids > 0 && tally.won > 0 && tally.lost > 0, "{tally:?}");
    assert!(tally.failures > 0 && tally.moved > 0, "{tally:?}");
    assert!(tally.most_gpus > MACHINES * 8 / 2, "the hall was never half full: {tally:?}");
}

#[test]
fn the_same_seed_gives_the_same_play() {
    let (once, again, other) = (play(12, 1500), play(12, 1500), play(13, 1500));
    assert_eq!((once.0, once.1), (again.0, again.1));
    assert_ne!(once.1, other.1, "chance decides");
}
