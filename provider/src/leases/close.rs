//! The wish that a lease ends, said once for as long as it may come true.

use manifests::order::LeaseId;
use market::call::Call;
use tracing::warn;

use crate::store::{IntentKind, IntentState, NewIntent, Store};

/// Blocks after which the mined end of a lease must be among the facts; if it is not, a reorg took it away.
const MUST_SHOW: u64 = 3;

/// Seconds that a wish which was refused rests before it is wished again.
pub(super) const REST: u64 = 60;

/// Stores the wish to end a lease by this call, with the chain followed up to `height` at `now` (unix seconds). Returns whether
/// that is news: not while one before it is on its way, may still show, or was refused a moment ago.
pub(crate) async fn close(
    store: &Store,
    lease: LeaseId,
    call: Call,
    height: u64,
    now: u64,
) -> anyhow::Result<bool> {
    let history = store.intents_of(Some(lease), IntentKind::Close).await?;
    let is_said = history.latest.is_some_and(|row| match row.state {
        IntentState::Pending => true,
        IntentState::Done { block } => height < block.saturating_add(MUST_SHOW),
        IntentState::Failed { .. } => now < row.created_at.saturating_add(REST),
    });
    if is_said {
        return Ok(false);
    }
    warn!(%lease, ?call, "closing a lease");
    let id = format!("close {lease} {}", history.count);
    let intent = NewIntent { id, kind: IntentKind::Close, order: Some(lease), call, deadline: None };
    store.put_intent(&intent, now).await
}
