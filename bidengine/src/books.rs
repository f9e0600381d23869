//! What the provider knows of itself and of the tenant when it decides: its bids, its leases, its money.

use manifests::money::{Amount, Rate};
use serde::{Deserialize, Serialize};

/// The provider's own books at the moment of a decision. The default is a provider that has nothing out and does not know
/// what it has in hand; what is not known is not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Books {
    /// Bids that stand and hold capacity, of all orders.
    pub open_bids: u64,
    /// Leases that this tenant has here, and bids that it could still accept.
    pub tenant_leases: u64,
    /// What these pay together.
    pub tenant_rate: Rate,
    /// Whether the operator takes no new orders for a while.
    pub maintenance: bool,
    /// What the operator key has to pay for gas, in wei.
    pub gas_wei: Option<u128>,
    /// The part of the provider's bond that nothing is held against.
    pub free_bond: Option<Amount>,
}
