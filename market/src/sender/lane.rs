//! The order in which what one key sends gets its nonces: one after the other, and what is most urgent first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// How soon something wants its place in the sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// The end of a lease, or the notice before it: each second of delay is served and perhaps not paid.
    Close,
    /// A payout: what is not collected is at risk.
    Money,
    /// Everything else, bids above all.
    Ordinary,
}

/// One at a time. Clones are the same lane.
#[derive(Debug, Clone, Default)]
pub(super) struct Lane(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    is_taken: bool,
    /// Those who wait, the most urgent first and among equals whoever came first.
    waiting: BTreeMap<(Urgency, u64), oneshot::Sender<Turn>>,
    arrived: u64,
}

/// The right to take a nonce. It passes on when it is dropped.
#[derive(Debug)]
pub(super) struct Turn(Lane);

impl Lane {
    /// Waits until nobody has the lane and nobody more urgent wants it.
    pub(super) async fn turn(&self, urgency: Urgency) -> Turn {
        let turn = {
            let mut state = self.state();
            if !state.is_taken {
                state.is_taken = true;
                return Turn(self.clone());
            }
            let (passed_on, turn) = oneshot::channel();
            state.arrived += 1;
            let place = (urgency, state.arrived);
            state.waiting.insert(place, passed_on);
            turn
        };
        turn.await.expect("the lane keeps the other end until it sends the turn")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.state();
            let next = state.waiting.pop_first();
            state.is_taken = next.is_some();
            next
        };
        if let Some((_, passed_on)) = next {
            // One that no longer waits drops the turn unused, and it passes on to the next.
            let _ = passed_on.send(Self(self.0.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[tokio::test]
    async fn a_close_that_came_last_goes_first_and_who_gave_up_waiting_holds_nobody_up() {
        let lane = Lane::default();
        let first = lane.turn(Urgency::Ordinary).await;
        let mut bid = Box::pin(lane.turn(Urgency::Ordinary));
        let mut gave_up = Box::pin(lane.turn(Urgency::Close));
        let mut money = Box::pin(lane.turn(Urgency::Money));
        let mut close = Box::pin(lane.turn(Urgency::Close));
        for waiting in [&mut bid, &mut gave_up, &mut money, &mut close] {
            assert!(waiting.now_or_never().is_none(), "one at a time");
        }
        drop(gave_up);
        drop(first);
        for waiting in [&mut bid, &mut money] {
            assert!(waiting.now_or_never().is_none(), "the close goes first");
        }
        drop(close.now_or_never().expect("its turn"));
        assert!((&mut bid).now_or_never().is_none(), "money goes before bids");
        drop(money.now_or_never().expect("its turn"));
        // A turn that was given and never looked at passes on as well.
        let mut last = Box::pin(lane.turn(Urgency::Close));
        assert!((&mut last).now_or_never().is_none());
        drop(bid);
        last.now_or_never().expect("its turn");
        lane.turn(Urgency::Ordinary).now_or_never().expect("free again");
    }
}
