//! The decision: every check in its order, from the cheapest to the price.

use manifests::decision::{Decision, LineItem, Placement, Reason};
use manifests::group::{OrderSpec, Requirements, spec_hash};
use manifests::money::Rate;
use manifests::order::{Order, OrderKind};
use manifests::resources::Attribute;
use serde::{Deserialize, Serialize};

use crate::books::Books;
use crate::capacity::Capacity;
use crate::demand::{Demand, demands};
use crate::fx::Fx;
use crate::place::{Room, is_spread, place_all};
use crate::policy::Policy;
use crate::quoted::Quoted;
use crate::tariff::{Situation, Tariff, Usage};

/// Everything a decision depends on, to be stored with it and replayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inputs {
    /// The order.
    pub order: Order,
    /// What was free, reservations taken off.
    pub capacity: Capacity,
    /// What things cost.
    pub tariff: Tariff,
    /// The operator's rules.
    pub policy: Policy,
    /// Unix seconds of chain time.
    pub now: u64,
    /// What the provider knew of itself.
    #[serde(default)]
    pub books: Books,
    /// What the tariff's currency was worth, if that was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fx: Option<Fx>,
    /// What the operator's own pricing program answered, if it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quoted: Option<Quoted>,
}

impl Inputs {
    /// The same answer that [`decide`] gave for these inputs.
    #[must_use]
    pub fn decide(&self) -> Decision {
        decide(&self.order, &self.circumstances())
    }

    /// All of it but the order.
    #[must_use]
    pub fn circumstances(&self) -> Circumstances<'_> {
        let Self { order: _, capacity, tariff, policy, now, books, fx, quoted } = self;
        let (fx, quoted) = (fx.as_ref(), quoted.as_ref());
        Circumstances { capacity, tariff, policy, now: *now, books, fx, quoted }
    }
}

/// What a decision depends on beside the order.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// What is free, reservations taken off.
    pub capacity: &'a Capacity,
    /// What things cost.
    pub tariff: &'a Tariff,
    /// The operator's rules.
    pub policy: &'a Policy,
    /// Unix seconds of chain time.
    pub now: u64,
    /// What the provider knows of itself.
    pub books: &'a Books,
    /// What the tariff's currency is worth, if that is known.
    pub fx: Option<&'a Fx>,
    /// What the operator's own pricing program answered; the table's price counts without it.
    pub quoted: Option<&'a Quoted>,
}

/// The books of one who knows nothing of itself.
static NO_BOOKS: Books = Books {
    open_bids: 0,
    tenant_leases: 0,
    tenant_rate: Rate::ZERO,
    maintenance: false,
    gas_wei: None,
    free_bond: None,
};

impl<'a> Circumstances<'a> {
    /// Circumstances in which nothing is known beside these: no books, no worth of a currency, no program's price.
    #[must_use]
    pub fn new(capacity: &'a Capacity, tariff: &'a Tariff, policy: &'a Policy, now: u64) -> Self {
        Self { capacity, tariff, policy, now, books: &NO_BOOKS, fx: None, quoted: None }
    }
}

/// Whether to bid on an order, at what price and on which nodes.
#[must_use]
pub fn decide(order: &Order, circumstances: &Circumstances<'_>) -> Decision {
    match bid(order, circumstances) {
        Ok(Offer { rate, floor, items, placement, warnings }) => Decision::Bid {
            rate,
            floor,
            expires_at: circumstances.policy.bid_expires_at(order, circumstances.now),
            items,
            placement,
            warnings,
        },
        Err(reason) => Decision::Decline { reason },
    }
}

struct Offer {
    rate: Rate,
    floor: Rate,
    items: Vec<LineItem>,
    placement: Placement,
    warnings: Vec<String>,
}

fn bid(order: &Order, circumstances: &Circumstances<'_>) -> Result<Offer, Reason> {
    let Circumstances { tariff, policy, books, quoted, .. } = *circumstances;
    let Placed { demands, placement, mut warnings, attributes, usage } = place_order(order, circumstances)?;
    let situation = situation(order, &demands, &attributes, &usage, circumstances);
    let price = tariff.price_all(&demands, &placement, &situation, quoted)?;
    let rate = price.rate;
    if rate > order.max_rate || rate == Rate::MAX {
        return Err(Reason::PriceAboveMax { need: rate, have: order.max_rate });
    }
    policy.affords(rate, books)?;
    warnings.extend(price.warnings);
    Ok(Offer { rate, floor: price.floor, items: price.items, placement, warnings })
}

/// An order that may be served, and where.
pub(crate) struct Placed<'a> {
    pub(crate) demands: Vec<Demand>,
    pub(crate) placement: Placement,
    warnings: Vec<String>,
    /// What is asked of the provider: attribute and value.
    attributes: Vec<Attribute>,
    /// How much was used before.
    usage: Usage<'a>,
}

/// Every check that comes before the price.
pub(crate) fn place_order<'a>(
    order: &Order,
    circumstances: &Circumstances<'a>,
) -> Result<Placed<'a>, Reason> {
    let Circumstances { capacity, tariff, policy, now, books, .. } = *circumstances;
    match order.kind {
        OrderKind::Service => {}
    }
    // One that goes to its lowest bid takes bids in its award's last second, too.
    if order.expires_at <= now || order.award.is_some_and(|end| end < now) {
        return Err(Reason::Expired);
    }
    policy.admit(order, books)?;
    if spec_hash(&order.spec) != order.spec_hash {
        return Err(Reason::SpecInvalid {
            problem: "its hash is not the one that the order names".to_owned(),
        });
    }
    let spec = OrderSpec::from_bytes(&order.spec)
        .map_err(|error| Reason::SpecInvalid { problem: error.to_string() })?;
    let demands = demands(&spec).map_err(|problem| Reason::SpecInvalid { problem })?;
    refuse_unsupported(&spec.requirements)?;
    let warnings = policy.compare(&spec.requirements)?;
    if let Some(problem) = &capacity.problem {
        return Err(Reason::InventoryUnknown { problem: problem.clone() });
    }
    let apart = is_spread(&spec.requirements);
    let attributes = spec.requirements.attributes.unwrap_or_default();
    let room = Room::whole(capacity, tariff.reserve());
    let usage = room.usage();
    tariff.admit(&situation(order, &demands, &attributes, &usage, circumstances))?;
    let placement = place_all(&demands, apart, room, &usage, tariff)?;
    Ok(Placed { demands, placement, warnings, attributes, usage })
}

fn situation<'a>(
    order: &Order,
    demands: &[Demand],
    attributes: &'a [Attribute],
    usage: &'a Usage<'a>,
    circumstances: &Circumstances<'a>,
) -> Situation<'a> {
    let Circumstances { now, fx, .. } = *circumstances;
    let wants_gpus = demands.iter().any(|demand| demand.gpus > 0);
    Situation { tenant: order.id.tenant, wants_gpus, attributes, usage, now, fx }
}

/// What no lease can have yet.
fn refuse_unsupported(requirements: &Requirements) -> Result<(), Reason> {
    let tee = requirements.attributes.iter().flatten().find(|attribute| attribute.key == "tee/type");
    if let Some(tee) = tee {
        return Err(Reason::Unsupported { what: format!("a trusted execution environment ({})", tee.value) });
    }
    Ok(())
}
