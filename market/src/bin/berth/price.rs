//! `berth price`: what a document pays at most, in its own words and in dollars.

use manifests::money::{Amount, Rate};
use serde::Serialize;

use crate::cli::{Format, Price};
use crate::contexts;
use crate::document::{self, WantedGroup};
use crate::output::{json, progress, result, seconds, table};

#[derive(Serialize)]
struct Report {
    groups: Vec<GroupPrice>,
    total: Rate,
    per_hour: Amount,
    per_month: Amount,
    /// How long the deposit lasts at the highest price.
    lasts_seconds: Option<u64>,
}

#[derive(Serialize)]
struct GroupPrice {
    name: String,
    document: String,
    max_rate: Rate,
    per_hour: Option<Amount>,
    per_month: Amount,
}

pub(crate) fn run(price: &Price) -> anyhow::Result<()> {
    let mapping = contexts::mapping(&price.context)?;
    let wanted = document::read(&price.document, price.faithfulness, &mapping, price.max_price, false)?;
    for warning in &wanted.warnings {
        progress(format_args!("note: {warning}"));
    }
    let total = wanted.max_rate()?;
    let groups = wanted.groups.into_iter().map(|WantedGroup { name, said, max_rate, .. }| GroupPrice {
        name,
        document: said,
        max_rate,
        per_hour: max_rate.cost_up(3600),
        per_month: max_rate.monthly_up(),
    });
    let report = Report {
        groups: groups.collect(),
        total,
        per_hour: total.cost_up(3600).unwrap_or(Amount(u128::MAX)),
        per_month: total.monthly_up(),
        lasts_seconds: price.deposit.and_then(|deposit| lasts(deposit, total)),
    };
    if price.output == Format::Json {
        return json(&report);
    }
    let rows = report.groups.iter().map(|group| {
        let GroupPrice { name, document, max_rate, per_month, .. } = group;
        vec![name.clone(), document.clone(), max_rate.to_string(), per_month.to_string()]
    });
    table(&["PLACEMENT", "DOCUMENT", "AT MOST", "PER MONTH"], rows);
    result(format_args!("together at most {total}, {} per month of 730 hours", report.per_month));
    if let (Some(deposit), Some(left)) = (price.deposit, report.lasts_seconds) {
        result(format_args!("{deposit} lasts {} or longer", seconds(left)));
    }
    Ok(())
}

/// Whole seconds that a deposit pays for.
fn lasts(deposit: Amount, rate: Rate) -> Option<u64> {
    let scaled = deposit.0.checked_mul(manifests::money::RATE_SCALE)?;
    u64::try_from(scaled.checked_div(rate.scaled())?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deposit_lasts_as_many_whole_seconds_as_it_pays() {
        let rate = Rate::new(3_000_000_000).expect("small");
        assert_eq!(lasts(Amount(10), rate), Some(3));
        assert_eq!(lasts(Amount(10), Rate::ZERO), None);
    }
}
