//! What binds us without a place: a bid that stands, or a lease that runs, although what was promised for it is another's by now.
//! A reorganisation brings such back. That is no fault of the tenant's, and is not to cost it anything.
//!
//! Each is placed anew in what is free, never in what is promised. Where nothing fits, the bid is taken back; and if it was
//! accepted before that, the lease is closed at once. The contract cannot give back what accrued in the seconds between; it pays
//! the tenant the notice that the bid promised (`bids.reclaim`) from our stake, which is more, as long as some was promised.

use std::collections::BTreeSet;

use bidengine::Tariff;
use manifests::decision::Placement;
use manifests::order::{Bid, BlockRef, CloseReason, Order};
use market::call::Call;
use tracing::{debug, info, warn};

use super::replace::anywhere;
use super::{Bidder, CapacitySource, fate};
use crate::leases::close::close;
use crate::store::{IntentHistory, IntentKind, IntentState, NewIntent, OrderRow, Promised, ReservationRow};

/// Seconds after which a bid whose end was refused is taken back again; twice as many after each refusal, so that a bid of a
/// day is tried a dozen times.
const TAKE_BACK_AGAIN: u64 = 15;

/// What came of placing leases that had no place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Homeless {
    pub(super) changed: u64,
    /// How many have none still.
    pub(super) left: usize,
}

impl<S: CapacitySource> Bidder<S> {
    /// Gives leases a place whose reservation was released, or closes them where there is none. Nothing is closed on what the
    /// chain said long ago, nor while the cluster is not known.
    pub(super) async fn place_leases(&self, cursor: &BlockRef, is_fresh: bool) -> anyhow::Result<Homeless> {
        let (provider, now) = (self.settings.provider, self.clock.now());
        let mut homeless = Homeless::default();
        for (reservation, OrderRow { order, .. }, runs) in self.store.released_but_leased(provider).await? {
            let lease = order.id;
            let Promised { rows, last } = self.store.promised().await?;
            // What its pods take is nobody else's, and looks as if it were.
            let placement = if runs {
                Ok(reservation.placement)
            } else {
                let Some(placement) = self.place_again(reservation, &order, &rows) else {
                    homeless.left += 1;
                    continue;
                };
                placement
            };
            match placement {
                Ok(placement) => {
                    // If another made a promise meanwhile, the next turn decides by it.
                    if self.store.lease_again(lease, &placement, last, now).await? {
                        warn!(%lease, "a lease was won on a bid that was given up; it has a place again");
                        self.wakes.leases.nudge();
                        homeless.changed += 1;
                    }
                }
                Err(why) => {
                    homeless.left += 1;
                    let because = format!(
                        "the lease was won on a bid whose capacity is another's by now, and nothing else fits ({why}): it is \
                         closed, so that the tenant is not charged for it"
                    );
                    homeless.changed += u64::from(self.store.tell_released(lease, &because, now).await?);
                    if !is_fresh {
                        continue;
                    }
                    let call = Call::CloseLease { lease, reason: CloseReason::DECOMMISSION };
                    if close(&self.store, lease, call, cursor.number, now).await? {
                        self.wakes.outbox.nudge();
                        homeless.changed += 1;
                    }
                }
            }
        }
        Ok(homeless)
    }

    /// Promises again what was released for a bid that stands again after a reorganisation: whatever of it is accepted binds us.
    /// Where there is no room any more the bid is taken back.
    pub(super) async fn hold_again(&mut self, cursor: &BlockRef) -> anyhow::Result<u64> {
        let (provider, now) = (self.settings.provider, self.clock.now());
        let standing = self.store.released_but_standing(provider, cursor.timestamp).await?;
        let (mut changed, mut crowded) = (0, BTreeSet::new());
        for (reservation, OrderRow { order, .. }, bid) in standing {
            let id = order.id;
            let lowest = self.store.lowest_of_others(id, provider).await?;
            if order.award.is_some() && lowest.is_some_and(|other| other.bid.rate < bid.bid.rate) {
                continue;
            }
            let Promised { rows, last } = self.store.promised().await?;
            let Some(placement) = self.place_again(reservation, &order, &rows) else { return Ok(changed) };
            match placement {
                Ok(placement) if self.store.hold_again(id, &placement, last, now).await? => {
                    info!(order = %id, "our bid stands again after a reorganisation; its capacity is held again");
                    changed += 1;
                }
                // Another made a promise meanwhile; the next turn decides by it.
                Ok(_) => {}
                Err(why) => {
                    debug!(order = %id, why, "there is no room for a bid that stands again");
                    crowded.insert(id);
                    changed += self.take_back(&bid.bid, &why, cursor).await?;
                }
            }
        }
        for order in self.watch.crowded(crowded) {
            warn!(%order, "our bid stands again after a reorganisation, and there is no room for it any more: it is taken back; if it wins before, its lease is closed");
        }
        Ok(changed)
    }

    /// Where an order goes whose reservation was released: where it was to go, or anywhere; or why nowhere. `None` while the
    /// cluster is not known.
    fn place_again(
        &self,
        released: ReservationRow,
        order: &Order,
        promised: &[ReservationRow],
    ) -> Option<Result<Placement, String>> {
        let mut free = self.source.free(promised)?;
        let tariff: &Tariff = &self.settings.pricing.terms().tariff;
        Some(match free.take(&released.placement) {
            Ok(()) => Ok(released.placement),
            Err(_) => anywhere(order, &free, tariff),
        })
    }

    /// Stores the wish to take a bid back that cannot be kept, once; again where a reorganisation took the end of the bid away;
    /// and again and again, ever more rarely, where it was refused. The chain refuses it for the best bid of an order that goes to
    /// its lowest one.
    async fn take_back(&self, bid: &Bid, why: &str, cursor: &BlockRef) -> anyhow::Result<u64> {
        let (order, now) = (bid.order, self.clock.now());
        let IntentHistory { latest, count } =
            self.store.intents_of(Some(order), IntentKind::TakeBack).await?;
        let (is_due, refused) = match latest.map(|row| (row.state, row.updated_at)) {
            Some((IntentState::Pending, _)) => return Ok(0),
            None => (true, None),
            Some((IntentState::Done { block }, _)) => (cursor.number >= block + fate::MUST_SHOW, None),
            Some((IntentState::Failed { problem }, since)) => {
                (now >= since.saturating_add(rest(count)), Some(problem))
            }
        };
        let refused = refused.map_or_else(String::new, |problem| {
            format!(" again, which is refused so far (wish {count}: {problem}); if it wins before, its lease is closed")
        });
        let because = format!(
            "the bid stands again after a reorganisation, and there is no room for it ({why}): it is taken back{refused}"
        );
        let mut changed = u64::from(self.store.tell_released(order, &because, now).await?);
        if !is_due {
            return Ok(changed);
        }
        let intent = NewIntent {
            id: format!("take back {order} {count}"),
            kind: IntentKind::TakeBack,
            order: Some(order),
            call: Call::WithdrawBid { order, provider: bid.provider },
            deadline: Some(bid.expires_at),
        };
        changed += u64::from(self.store.put_intent(&intent, now).await?);
        self.wakes.outbox.nudge();
        Ok(changed)
    }
}

/// Seconds to rest after this many wishes, of which the last was refused.
fn rest(wishes: u64) -> u64 {
    let doublings = u32::try_from(wishes.saturating_sub(1)).unwrap_or(u32::MAX);
    1u64.checked_shl(doublings).unwrap_or(u64::MAX).saturating_mul(TAKE_BACK_AGAIN)
}
