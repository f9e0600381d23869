//! Whom the operator serves, and what it says of itself.
//!
//! Documents often carry requirements of another network: auditors and attributes that mean nothing here. By default such
//! a requirement is a warning that goes with the bid; the operator's tables translate it, or make it binding.

use std::collections::{BTreeMap, BTreeSet};

use manifests::decision::Reason;
use manifests::group::Requirements;
use manifests::order::{Address, Order};
use manifests::resources::Attribute;
use serde::{Deserialize, Serialize};

use crate::place::asks_to_spread;

/// The operator's rules. The default serves everybody, promises no notice and says nothing of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    /// Takes no new orders.
    pub maintenance: bool,
    /// Serves only these tenants; everybody when empty.
    pub allow: BTreeSet<Address>,
    /// Never serves these, whatever `allow` says.
    pub deny: BTreeSet<Address>,
    /// What this provider says of itself: attribute and value.
    pub attributes: BTreeMap<String, String>,
    /// Auditors who have vouched for this provider.
    pub auditors: BTreeSet<String>,
    /// What a requirement of another network means here: `host=akash` to one of ours, `region=eu-west`, or to nothing (an
    /// empty text) when it is met by being here. An auditor's name is translated to another's in the same way.
    pub translate: BTreeMap<String, String>,
    /// Attribute keys and auditors that are binding: without them there is no bid.
    pub binding: BTreeSet<String>,
    /// Makes every requirement binding.
    pub strict: bool,
    /// The notice, in seconds, that this provider promises before leaving.
    pub reclaim: u32,
    /// For how many seconds a bid can be accepted, unless its order expires earlier.
    pub bid_secs: u64,
    /// Capability bits that the registry has for this provider.
    pub capability_bits: u128,
}

/// Seconds that the contract wants a bid to last beyond the deadline of an order that goes to its lowest bid.
const AWARD_WINDOW_SECS: u64 = 300;

impl Policy {
    /// Whether the order may be served at all, before anything of its spec is read.
    pub(crate) fn admit(&self, order: &Order) -> Result<(), Reason> {
        if self.maintenance {
            return Err(Reason::Maintenance);
        }
        let tenant = &order.id.tenant;
        if self.deny.contains(tenant) || !(self.allow.is_empty() || self.allow.contains(tenant)) {
            return Err(Reason::TenantDenied);
        }
        if order.min_reclaim > self.reclaim {
            return Err(Reason::ReclaimTooLong { need: order.min_reclaim, have: self.reclaim });
        }
        let missing = order.req_bits & !self.capability_bits;
        if missing != 0 {
            let have = format!("{:#x}", self.capability_bits);
            return Err(Reason::Attributes { need: format!("capability bits {:#x}", order.req_bits), have });
        }
        Ok(())
    }

    /// Until when a bid made at `now` can be accepted. One for an order that goes to its lowest bid outlasts the award.
    #[must_use]
    pub fn bid_expires_at(&self, order: &Order, now: u64) -> u64 {
        let least = order.award.map_or(0, |deadline| deadline.saturating_add(AWARD_WINDOW_SECS));
        order.expires_at.min(now.saturating_add(self.bid_secs).max(least))
    }

    /// Compares what is required of the provider with what it is: warnings for what is not checked here.
    pub(crate) fn compare(&self, requirements: &Requirements) -> Result<Vec<String>, Reason> {
        let mut warnings = Vec::new();
        let asked = requirements.attributes.iter().flatten();
        for Attribute { key, value } in asked.filter(|attribute| !asks_to_spread(attribute)) {
            let need = format!("{key}={value}");
            if self.meets(&need) {
                continue;
            }
            if self.is_binding(key) {
                let have = self.attributes.get(key).cloned().unwrap_or_else(|| "not set".to_owned());
                return Err(Reason::Attributes { need, have });
            }
            warnings.push(format!("attribute {need} is not checked by this provider"));
        }
        let signed_by = &requirements.signed_by;
        for auditor in signed_by.all_of.iter().flatten() {
            if self.is_vouched_for_by(auditor) {
                continue;
            }
            if self.is_binding(auditor) {
                return Err(Reason::Signature { need: auditor.clone() });
            }
            warnings.push(format!("the audit by {auditor} is not checked by this provider"));
        }
        let any_of = signed_by.any_of.as_deref().unwrap_or_default();
        if !any_of.is_empty() && !any_of.iter().any(|auditor| self.is_vouched_for_by(auditor)) {
            let names = any_of.join(" or ");
            if any_of.iter().any(|auditor| self.is_binding(auditor)) {
                return Err(Reason::Signature { need: names });
            }
            warnings.push(format!("the audit by {names} is not checked by this provider"));
        }
        Ok(warnings)
    }

    fn is_binding(&self, name: &str) -> bool {
        self.strict || self.binding.contains(name)
    }

    fn meets(&self, need: &str) -> bool {
        let need = match self.translate.get(need) {
            Some(ours) if ours.is_empty() => return true,
            Some(ours) => ours,
            None => need,
        };
        need.split_once('=')
            .is_some_and(|(key, value)| self.attributes.get(key).is_some_and(|own| own == value))
    }

    fn is_vouched_for_by(&self, auditor: &str) -> bool {
        match self.translate.get(auditor) {
            Some(ours) => ours.is_empty() || self.auditors.contains(ours),
            None => self.auditors.contains(auditor),
        }
    }
}
