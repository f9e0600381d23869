//! What gas costs now, for those who weigh a transaction against what it brings.

use super::fees::{HISTORY, PERCENTILE, next_base_fee, offer};
use crate::chain::Chain;
use crate::rpc::RpcError;

impl Chain {
    /// What a transaction that is sent now will likely pay, in wei per gas: the next base fee and the median tip of recent
    /// blocks.
    ///
    /// # Errors
    /// When no endpoint answers.
    pub async fn gas_price(&self) -> Result<u128, RpcError> {
        let history = self.rpc.fee_history(HISTORY, PERCENTILE).await?;
        let tip = offer(&history, 0, u128::MAX).max_tip;
        Ok(next_base_fee(&history).saturating_add(tip))
    }
}
