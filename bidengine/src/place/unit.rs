//! Which nodes the replicas of one unit go to.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::room::{Need, Places, Room, Seat};

/// A unit that is to be placed.
pub(super) struct Ask<'d> {
    pub(super) need: Need<'d>,
    /// All of its replicas, those that stand included.
    pub(super) count: u32,
    /// Replicas that stay where they are, by node.
    pub(super) standing: BTreeMap<&'d str, u32>,
    /// Each replica on a node of its own.
    pub(super) apart: bool,
    /// Each replica on a node of its own, or all on one.
    pub(super) whole: bool,
}

impl Ask<'_> {
    /// How many replicas have no node yet.
    fn wanted(&self) -> u32 {
        self.count.saturating_sub(self.standing.values().sum())
    }

    fn stands_on(&self, room: &Room<'_>, seat: Seat) -> bool {
        !self.standing.is_empty() && self.standing.contains_key(room.slots[seat.slot].name)
    }
}

/// So many more replicas on a node.
pub(super) type Chosen = Vec<(Seat, u32)>;

/// Places the replicas on few nodes that are well filled, if there are such; otherwise, if it may be, one by one. On failure
/// says how many replicas have a node, with those that stand.
pub(super) fn tidily_if_possible(ask: &Ask<'_>, room: &mut Room<'_>) -> Result<Chosen, u32> {
    let wanted = ask.wanted();
    if wanted == 0 {
        return Ok(Vec::new());
    }
    let seats = room.seats(&ask.need, wanted);
    if let Some(chosen) = tidily(ask, &seats, room) {
        for (seat, times) in &chosen {
            room.take(&ask.need, *seat, *times);
        }
        return Ok(chosen);
    }
    if ask.apart || ask.whole {
        let empty = seats.iter().filter(|seat| !ask.stands_on(room, **seat)).count();
        let taken = ask.standing.len();
        return Err(u32::try_from(empty + taken).unwrap_or(u32::MAX).min(ask.count - 1));
    }
    one_by_one(ask, room)
}

/// Places each replica where it costs least, however many that makes on each node.
pub(super) fn one_by_one(ask: &Ask<'_>, room: &mut Room<'_>) -> Result<Chosen, u32> {
    let mut chosen: Chosen = Vec::new();
    for placed in ask.count - ask.wanted()..ask.count {
        let seats = room.seats(&ask.need, 1);
        let best = seats.into_iter().min_by_key(|seat| room.loss(&ask.need, *seat, 1)).ok_or(placed)?;
        room.take(&ask.need, best, 1);
        chosen.push((best, 1));
    }
    Ok(chosen)
}

/// What a choice of nodes costs: what is lost on them, then how many there are.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    torn: u64,
    beside: u64,
    nodes: u32,
}

/// The cheapest choice of nodes that get the same number of replicas each, or all that each can hold.
fn tidily(ask: &Ask<'_>, seats: &[Seat], room: &Room<'_>) -> Option<Chosen> {
    const NOTHING_LOST: Cost = Cost { torn: 0, beside: 0, nodes: 1 };
    let mut best: Option<(Cost, Chosen)> = None;
    let cheaper = |choice: Option<(Cost, Chosen)>, best: Option<(Cost, Chosen)>| match (choice, best) {
        (Some(choice), Some(best)) => Some(if choice.0 < best.0 { choice } else { best }),
        (choice, best) => best.or(choice),
    };
    let most = seats.iter().map(|seat| seat.fit).max().unwrap_or(0);
    for nodes in (1..=ask.count).filter(|nodes| ask.count.is_multiple_of(*nodes)) {
        let each = ask.count / nodes;
        let is_refused = (ask.apart && each > 1) || (ask.whole && each > 1 && nodes > 1);
        if is_refused || (each > most && ask.standing.is_empty()) {
            continue;
        }
        best = cheaper(same_on_each(ask, seats, room, nodes, each), best);
    }
    let could_be_better = best.as_ref().is_none_or(|(cost, _)| *cost > NOTHING_LOST);
    if could_be_better && !ask.apart && !ask.whole && ask.wanted() > 1 {
        best = cheaper(all_that_each_holds(ask, seats, room), best);
    }
    best.map(|(_, chosen)| chosen)
}

/// So many replicas on each of so many nodes, those that stand included, where they cost least.
fn same_on_each(
    ask: &Ask<'_>,
    seats: &[Seat],
    room: &Room<'_>,
    nodes: u32,
    each: u32,
) -> Option<(Cost, Chosen)> {
    let mut choice = Choice::new(ask, room);
    for (node, stand) in &ask.standing {
        let more = each.checked_sub(*stand)?;
        if more > 0 {
            let seat = seats.iter().find(|seat| room.slots[seat.slot].name == *node && seat.fit >= more)?;
            choice.add(*seat, more).then_some(())?;
        }
    }
    let mut missing = nodes.checked_sub(u32::try_from(ask.standing.len()).unwrap_or(u32::MAX))?;
    let fresh = seats.iter().enumerate().filter(|(_, seat)| seat.fit >= each && !ask.stands_on(room, **seat));
    let mut cheapest: BinaryHeap<_> =
        fresh.map(|(at, seat)| Reverse((room.loss(&ask.need, *seat, each), at))).collect();
    while missing > 0 {
        let Reverse((_, at)) = cheapest.pop()?;
        missing -= u32::from(choice.add(seats[at], each));
    }
    choice.cost.nodes = nodes;
    Some(choice.end())
}

/// Nodes that are full then, the cheapest ones for one replica first.
fn all_that_each_holds(ask: &Ask<'_>, seats: &[Seat], room: &Room<'_>) -> Option<(Cost, Chosen)> {
    let mut choice = Choice::new(ask, room);
    let mut missing = ask.wanted();
    for seat in seats.iter().filter(|seat| ask.stands_on(room, **seat)) {
        missing = missing.checked_sub(seat.fit)?;
        choice.add(*seat, seat.fit).then_some(())?;
    }
    let fresh =
        seats.iter().enumerate().filter(|(_, seat)| seat.fit <= missing && !ask.stands_on(room, **seat));
    let mut cheapest: BinaryHeap<_> =
        fresh.map(|(at, seat)| Reverse((room.loss(&ask.need, *seat, 1), at))).collect();
    while missing > 0 {
        let Reverse((_, at)) = cheapest.pop()?;
        let seat = seats[at];
        if seat.fit <= missing && choice.add(seat, seat.fit) {
            missing -= seat.fit;
            choice.cost.nodes += 1;
        }
    }
    Some(choice.end())
}

/// Nodes that are chosen one after the other, with what that costs.
struct Choice<'r, 'a> {
    need: &'r Need<'r>,
    room: &'r Room<'a>,
    /// What is left where volumes are made, which nodes may share.
    places: Places<'a>,
    cost: Cost,
    chosen: Chosen,
}

impl<'r, 'a> Choice<'r, 'a> {
    fn new(ask: &'r Ask<'_>, room: &'r Room<'a>) -> Self {
        let nodes = u32::try_from(ask.standing.len()).unwrap_or(u32::MAX);
        let cost = Cost { torn: 0, beside: 0, nodes };
        Self { need: &ask.need, room, places: room.places(), cost, chosen: Vec::new() }
    }

    /// Whether so many replicas can go to the node beside those chosen before; then they do.
    fn add(&mut self, seat: Seat, times: u32) -> bool {
        let (node, volumes) = (self.room.slots[seat.slot].node, &self.need.takes.volumes);
        if !volumes.is_empty() {
            if self.places.fit(node, volumes) < u64::from(times) {
                return false;
            }
            self.places.take(node, volumes, times);
        }
        let loss = self.room.loss(self.need, seat, times);
        self.cost.torn = self.cost.torn.saturating_add(loss.torn);
        self.cost.beside = self.cost.beside.saturating_add(loss.beside);
        self.chosen.push((seat, times));
        true
    }

    fn end(self) -> (Cost, Chosen) {
        (self.cost, self.chosen)
    }
}
