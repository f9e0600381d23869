//! Whom the operator serves, and what it says of itself.
//!
//! Documents often carry requirements of another network: auditors and attributes that mean nothing here. By default such
//! a requirement is a warning that goes with the bid; the operator's tables translate it, or make it binding.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use manifests::decision::Reason;
use manifests::group::Requirements;
use manifests::money::{Rate, UNITS_PER_TOKEN};
use manifests::order::{Address, Order};
use manifests::resources::Attribute;
use serde::{Deserialize, Serialize};

use crate::books::Books;
use crate::decimal::{Decimal, NANO};
use crate::images::Images;
use crate::place::asks_to_spread;
use crate::tariff::PerMonth;

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
    /// How much one tenant may have here.
    #[serde(skip_serializing_if = "Caps::is_none")]
    pub caps: Caps,
    /// How many bids may stand at once; any number when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_open_bids: Option<u64>,
    /// What the provider must have before it promises anything.
    #[serde(skip_serializing_if = "Floors::is_none")]
    pub floors: Floors,
    /// Which container images are run. They are known only when the tenant sends its manifest, which is refused then; the
    /// gateway's status says them before.
    #[serde(skip_serializing_if = "Images::is_any")]
    pub images: Images,
}

/// How much one tenant may have; what is absent has no cap.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Caps {
    /// Leases, and bids that it could still accept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leases: Option<u64>,
    /// Dollars a month for all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly: Option<PerMonth>,
}

/// What the provider must have; what is absent, and what is not known, is not checked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Floors {
    /// Coins of the chain that the operator key has for gas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gas: Option<Decimal>,
    /// Dollars of the bond that nothing is held against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bond: Option<Decimal>,
}

impl Caps {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Floors {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Seconds that the contract wants a bid to last beyond the deadline of an order that goes to its lowest bid.
const AWARD_WINDOW_SECS: u64 = 300;

/// Wei in a billionth of a coin, and billionths of a dollar in a token unit.
const WEI_PER_NANO: u128 = 1_000_000_000;
const NANO_PER_UNIT: u128 = NANO as u128 / UNITS_PER_TOKEN;

fn tenant_cap(what: &str, need: impl Display, have: impl Display) -> Reason {
    Reason::TenantCap { what: what.to_owned(), need: need.to_string(), have: have.to_string() }
}

fn balance(what: &str, need: &str, have: &str) -> Reason {
    Reason::Balance { what: what.to_owned(), need: need.to_owned(), have: have.to_owned() }
}

impl Policy {
    /// Whether the order may be served at all, before anything of its spec is read.
    pub(crate) fn admit(&self, order: &Order, books: &Books) -> Result<(), Reason> {
        if self.maintenance || books.maintenance {
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
        self.admit_by_books(books)
    }

    /// Whether the provider's own books let it promise one thing more.
    fn admit_by_books(&self, books: &Books) -> Result<(), Reason> {
        let leases = books.tenant_leases.saturating_add(1);
        if let Some(cap) = self.caps.leases.filter(|cap| leases > *cap) {
            return Err(tenant_cap("leases", leases, cap));
        }
        let bids = books.open_bids.saturating_add(1);
        if let Some(have) = self.max_open_bids.filter(|most| bids > *most) {
            return Err(Reason::BidCap { need: bids, have });
        }
        if let (Some(floor), Some(wei)) = (self.floors.gas, books.gas_wei)
            && wei < u128::from(floor.nano) * WEI_PER_NANO
        {
            // Shown rounded down to the billionth of a coin.
            let nano = u64::try_from(wei / WEI_PER_NANO).unwrap_or(u64::MAX);
            return Err(balance("gas", &format!("{floor} coins"), &format!("{} coins", Decimal { nano })));
        }
        if let (Some(floor), Some(bond)) = (self.floors.bond, books.free_bond)
            && bond.0 < u128::from(floor.nano).div_ceil(NANO_PER_UNIT)
        {
            return Err(balance("bond", &format!("${floor}"), &bond.to_string()));
        }
        Ok(())
    }

    /// Whether the tenant may have a lease of this rate beside what it has.
    pub(crate) fn affords(&self, rate: Rate, books: &Books) -> Result<(), Reason> {
        let Some(cap) = self.caps.monthly else { return Ok(()) };
        let most = cap.rate_up(1, 1).unwrap_or(Rate::MAX);
        match books.tenant_rate.checked_add(rate) {
            Some(sum) if sum <= most => Ok(()),
            sum => Err(tenant_cap("monthly", sum.unwrap_or(Rate::MAX).monthly_up(), format!("${cap}"))),
        }
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
