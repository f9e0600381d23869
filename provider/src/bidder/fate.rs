//! What becomes of a reservation, decided from how its order, bid and lease stand.

use manifests::order::{Address, BlockRef};

use crate::store::{BidState, IntentState, LeaseState, OrderState, ReservationState, Standing};

/// Blocks after which what was mined must be among the facts; if it is not, a reorg took it away.
pub(super) const MUST_SHOW: u64 = 3;

/// Seconds in which the bid that made the chain refuse ours must be among the facts.
const RIVAL_MUST_SHOW: u64 = 15;

/// What becomes of a reservation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays what it is.
    Keep,
    /// The lease has it.
    Lease,
    /// The lease is gone after a reorg, the order is open again.
    Hold,
    /// The bid was mined and is not on chain: it is said again.
    SayAgain,
    /// It is free.
    Release(Release),
}

/// Why a reservation is free.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Release {
    /// In words.
    pub(super) because: String,
    /// How the bid ended, for the metric; `None` if it had won.
    pub(super) outcome: Option<&'static str>,
    /// Whether the order is decided again should it come back.
    pub(super) forget: bool,
}

fn release(outcome: &'static str, because: impl Into<String>) -> Fate {
    Fate::Release(Release { because: because.into(), outcome: Some(outcome), forget: false })
}

/// What becomes of a reservation, as the chain and the cluster stand at `cursor`, at `now` of the wall clock.
pub(super) fn fate(standing: &Standing, provider: Address, cursor: &BlockRef, now: u64) -> Fate {
    let Standing { reservation, order, bid, lease, torn_down, said } = standing;
    if let Some(lease) = lease {
        if lease.lease.provider != provider {
            return release("lost", "another provider won the order");
        }
        let ended = matches!(lease.state, LeaseState::Closed { .. });
        return match reservation.state {
            _ if ended && *torn_down => {
                let because = "the lease ended".to_owned();
                Fate::Release(Release { because, outcome: None, forget: false })
            }
            ReservationState::Leased => Fate::Keep,
            ReservationState::Held | ReservationState::Released => Fate::Lease,
        };
    }
    let Some(order) = order else {
        let because = "a reorganisation took the order away".to_owned();
        return Fate::Release(Release { because, outcome: Some("reorganised"), forget: true });
    };
    if order.order.spec_hash != reservation.spec_hash {
        return release("reorganised", "a reorganisation changed the order's terms");
    }
    match order.state {
        OrderState::Closed(reason) => return release("order_closed", reason.to_string()),
        OrderState::Open | OrderState::Matched => {}
    }
    if order.order.expires_at < cursor.timestamp {
        return release("expired", "the order expired");
    }
    if reservation.state == ReservationState::Leased {
        return Fate::Hold;
    }
    match bid {
        Some(bid) if bid.state == BidState::Withdrawn => release("expired", "the bid was taken back"),
        Some(bid) if bid.bid.expires_at < cursor.timestamp => release("expired", "the bid expired"),
        Some(_) => Fate::Keep,
        None => match said.as_ref().map(|said| (&said.state, said.updated_at)) {
            Some((IntentState::Pending, _)) => Fate::Keep,
            Some((IntentState::Done { block }, _)) if cursor.number < block + MUST_SHOW => Fate::Keep,
            Some((IntentState::Done { .. }, _)) | None => Fate::SayAgain,
            // Another may have bid lower in the same block, and there may be room below.
            Some((IntentState::Failed { .. }, since))
                if order.order.award.is_some() && now.saturating_sub(since) < RIVAL_MUST_SHOW =>
            {
                Fate::Keep
            }
            Some((IntentState::Failed { problem }, _)) => {
                release("refused", format!("the bid was given up: {problem}"))
            }
        },
    }
}
