//! What serving an order costs the operator, and so the least that a bid may ask.

use manifests::decision::{Placement, Reason};
use manifests::money::Rate;

use super::exchange::Exchange;
use super::{Tariff, TariffError};
use crate::demand::Demand;

impl Tariff {
    /// Whether what is said of costs can be followed.
    pub(super) fn check_costs(&self) -> Result<(), TariffError> {
        let table = &self.table;
        let wrong = |problem: &str| Err(TariffError::Cost(problem.to_owned()));
        match (&table.cost, table.cost_share) {
            (Some(_), Some(_)) => return wrong("there are both cost and costShare: leave one out"),
            (None, None) if table.minimum_margin.is_some() => {
                return wrong("minimumMargin is a part of a cost that nobody told: write cost or costShare");
            }
            _ => {}
        }
        let Some(cost) = &table.cost else { return Ok(()) };
        let cost = &cost.table;
        let is_plain = cost.curves.is_empty()
            && cost.rules.is_empty()
            && cost.reserve.is_nothing()
            && cost.fx.is_none()
            && cost.minimum_monthly == super::PerMonth::default()
            && (&cost.cost, cost.cost_share, cost.minimum_margin) == (&None, None, None);
        if is_plain {
            Ok(())
        } else {
            wrong("cost holds more than prices: leave the rest to the tariff around it")
        }
    }

    /// The least for which a group is worth serving: its cost and the margin on it, rounded up. `None` when the operator
    /// told no cost. What has a price and no cost is taken to cost its price.
    pub(super) fn least(
        &self,
        demands: &[Demand],
        placement: &Placement,
        exchange: &Exchange,
    ) -> Result<Option<Rate>, Reason> {
        let table = &self.table;
        let plain = |tariffs: &[&Self]| {
            Self::lines(tariffs, demands, placement, &|_| exchange.factor.clone().into_iter().collect())
        };
        let cost = match (&table.cost, table.cost_share) {
            (Some(cost), _) => plain(&[cost, self])?.rate(),
            (None, Some(share)) => share.of_up(plain(&[self])?.rate()),
            (None, None) => return Ok(None),
        };
        let margin = table.minimum_margin.map_or(Some(cost), |margin| margin.beyond_one().times_up(cost));
        Ok(Some(margin.unwrap_or(Rate::MAX)))
    }
}
