//! From the award to containers that are ready.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use manifests::money::Amount;
use manifests::order::CloseReason;
use market::api::LeaseState;
use market::call::Call;

use super::stage::Stage;
use super::{PATIENCE, ROUNDS};
use crate::kubectl;
use crate::wait::until;

const MONEY: Amount = Amount(20_000_000);

/// One lease after the other, each closed and cleared away before the next.
pub(super) async fn award_to_ready() -> Result<Vec<Duration>> {
    let stage = Stage::set("award-to-ready").await?;
    let tenant = &stage.tenant;
    let mut took = Vec::with_capacity(ROUNDS);
    for dseq in (1..).take(ROUNDS) {
        let lease = tenant.deploy(dseq, stage.wanted.manifest.digest(), MONEY).await?.order(1, 1);
        tenant.order(lease, &stage.wanted).await?;
        let bid = tenant.bid(lease).await?;
        tenant.accept(lease, &bid).await?;
        let start = Instant::now();
        tenant.send(lease, &stage.wanted.manifest).await?;
        tenant.state(lease, LeaseState::Ready).await?;
        took.push(start.elapsed());
        tenant.call(&Call::CloseLease { lease, reason: CloseReason::TENANT }).await?;
        until("the lease's namespace to be gone", PATIENCE, async || {
            let left = ["get", "namespaces", "--selector", "berth.dev/lease", "--output", "name"];
            let left = kubectl::run(&left).await?;
            ensure!(left.is_empty(), "there is {left}");
            Ok(())
        })
        .await?;
    }
    stage.end().await?;
    Ok(took)
}
