//! Named places at which the daemon can be made to die, to prove that the next start goes on from there.
//!
//! They act only in a build with the feature `fail-points` and only when `BERTH_FAIL_POINT=name` or `name:nth` is set; the
//! process then aborts at the nth time it gets there, without unwinding, as if it had been killed.

use anyhow::bail;

const VARIABLE: &str = "BERTH_FAIL_POINT";

/// The places, in the order in which a lease meets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// An order was written to the store, nobody was nudged yet.
    OrderStored,
    /// A decision was made and nothing of it is stored yet.
    DecisionMade,
    /// Decision, reservation and intent are stored.
    DecisionStored,
    /// A signed bid is stored and not sent.
    BidSigned,
    /// A bid is mined and the store does not know.
    BidMined,
    /// The chain's word that our bid stands was written to the store.
    BidStored,
    /// A won lease was written to the store.
    LeaseStored,
    /// A manifest was accepted and stored.
    ManifestStored,
    /// The cluster has the objects of a lease and the store does not know.
    WorkloadApplied,
    /// The store knows what the cluster runs for a lease.
    StatusStored,
    /// The wish to withdraw is stored.
    WithdrawIntended,
    /// A signed withdrawal is stored and not sent.
    WithdrawSigned,
    /// A withdrawal is mined and the store does not know.
    WithdrawMined,
    /// The wish to close a lease is stored.
    CloseIntended,
    /// The end of a lease was written to the store.
    LeaseClosedStored,
    /// The cluster has nothing of a closed lease any more and the store does not know.
    WorkloadPruned,
    /// The reservation of a closed lease was released.
    ReservationReleased,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::OrderStored,
        Self::DecisionMade,
        Self::DecisionStored,
        Self::BidSigned,
        Self::BidMined,
        Self::BidStored,
        Self::LeaseStored,
        Self::ManifestStored,
        Self::WorkloadApplied,
        Self::StatusStored,
        Self::WithdrawIntended,
        Self::WithdrawSigned,
        Self::WithdrawMined,
        Self::CloseIntended,
        Self::LeaseClosedStored,
        Self::WorkloadPruned,
        Self::ReservationReleased,
    ];

    /// The name by which `BERTH_FAIL_POINT` chooses it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OrderStored => "order_stored",
            Self::DecisionMade => "decision_made",
            Self::DecisionStored => "decision_stored",
            Self::BidSigned => "bid_signed",
            Self::BidMined => "bid_mined",
            Self::BidStored => "bid_stored",
            Self::LeaseStored => "lease_stored",
            Self::ManifestStored => "manifest_stored",
            Self::WorkloadApplied => "workload_applied",
            Self::StatusStored => "status_stored",
            Self::WithdrawIntended => "withdraw_intended",
            Self::WithdrawSigned => "withdraw_signed",
            Self::WithdrawMined => "withdraw_mined",
            Self::CloseIntended => "close_intended",
            Self::LeaseClosedStored => "lease_closed_stored",
            Self::WorkloadPruned => "workload_pruned",
            Self::ReservationReleased => "reservation_released",
        }
    }
}

/// Says that the daemon got to a place. Does nothing in a build without fail points.
#[cfg(not(feature = "fail-points"))]
#[inline]
pub fn reach(_point: Point) {}

/// Says that the daemon got to a place, and dies there if that was asked for.
#[cfg(feature = "fail-points")]
pub fn reach(point: Point) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: OnceLock<Option<(Point, u64)>> = OnceLock::new();
    static TIMES: AtomicU64 = AtomicU64::new(0);

    let wanted = WANTED.get_or_init(|| std::env::var(VARIABLE).ok().and_then(|text| read(&text).ok()));
    if let Some((place, nth)) = wanted
        && *place == point
        && TIMES.fetch_add(1, Ordering::SeqCst) + 1 == *nth
    {
        tracing::error!(point = point.name(), "dying here, as {VARIABLE} asks");
        std::process::abort();
    }
}

/// Refuses a wish that this build would not fulfil.
///
/// # Errors
/// When `BERTH_FAIL_POINT` names no place, or this build has none.
pub fn check() -> anyhow::Result<()> {
    let Ok(text) = std::env::var(VARIABLE) else { return Ok(()) };
    read(&text)?;
    if cfg!(not(feature = "fail-points")) {
        bail!("{VARIABLE}=\"{text}\" is set, but this build does not die on demand: unset it");
    }
    Ok(())
}

/// Understands `name` and `name:nth`.
fn read(text: &str) -> anyhow::Result<(Point, u64)> {
    let (name, nth) = text.split_once(':').unwrap_or((text, "1"));
    let Some(point) = Point::ALL.into_iter().find(|point| point.name() == name) else {
        let names = Point::ALL.map(Point::name).join(", ");
        bail!("{VARIABLE}=\"{text}\" names no place to die at: the places are {names}");
    };
    match nth.parse() {
        Ok(nth) if nth > 0 => Ok((point, nth)),
        _ => bail!("{VARIABLE}=\"{text}\" does not say which time: write for example {name}:2"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_point_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Point::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), Point::ALL.len());
    }

    #[test]
    fn a_misspelt_wish_is_refused_with_the_names_there_are() {
        assert_eq!(read("bid_signed").unwrap(), (Point::BidSigned, 1));
        assert_eq!(read("bid_signed:3").unwrap(), (Point::BidSigned, 3));
        assert!(read("bid_singed").unwrap_err().to_string().contains("bid_signed"));
        for nth in ["bid_signed:0", "bid_signed:often"] {
            assert!(read(nth).unwrap_err().to_string().contains("bid_signed:2"));
        }
    }
}
