//! Which pools the units of a group could take their GPUs from, and in what order the choices are tried.

use manifests::decision::Reason;

use super::room::Room;
use crate::demand::Demand;
use crate::tariff::{Tariff, Usage};

/// A pool that a unit could take its GPUs from, and what all of them would cost there; no pool for a unit without GPUs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    /// By its place in [`Room::pools`].
    pub(super) pool: Option<usize>,
    pub(super) cost: u128,
}

/// The pools for a unit, cheapest first. What has no price is not offered.
pub(super) fn offers(
    demand: &Demand,
    room: &Room<'_>,
    usage: &Usage<'_>,
    tariff: &Tariff,
) -> Result<Vec<Offer>, Reason> {
    let Some(request) = &demand.gpu else { return Ok(vec![Offer { pool: None, cost: 0 }]) };
    let matching = || room.pools.iter().enumerate().filter(|(_, pool)| request.matches(pool.gpu));
    let Some(first) = matching().map(|(_, pool)| pool.gpu).min() else {
        return Err(Reason::ResourcesGpuModel { need: request.to_string(), have: names(room, |_| true) });
    };
    let devices = u128::from(demand.gpus) * u128::from(demand.count);
    let priced = matching().filter_map(|(at, pool)| {
        let rate = tariff.gpu_rate(pool.gpu, devices, usage)?;
        Some(Offer { pool: Some(at), cost: rate.scaled() })
    });
    let mut offers: Vec<Offer> = priced.collect();
    if offers.is_empty() {
        return Err(Reason::PriceGpuMissing { pool: first.to_string() });
    }
    let name = |offer: &Offer| offer.pool.map(|at| (room.pools[at].gpu, room.pools[at].resource));
    offers.sort_by(|a, b| (a.cost, name(a)).cmp(&(b.cost, name(b))));
    Ok(offers)
}

/// The models of the pools that are meant, as a person reads them.
pub(super) fn names(room: &Room<'_>, meant: impl Fn(usize) -> bool) -> String {
    let pools = room.pools.iter().enumerate().filter(|(at, _)| meant(*at));
    let mut names: Vec<String> = pools.map(|(_, pool)| pool.gpu.to_string()).collect();
    names.sort();
    names.dedup();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Every choice of one pool a unit, from the cheapest to the dearest. Where there would be more than `most`, the dearest
/// pools of the last units are left out.
pub(super) fn cheapest_first(offers: &[&[Offer]], most: usize) -> Vec<Vec<Option<usize>>> {
    // By the ranks of the offers, so that equal costs are tried in the offers' order.
    let mut choices: Vec<(u128, Vec<usize>)> = vec![(0, Vec::new())];
    for unit in offers {
        let affordable = (most / choices.len()).max(1);
        let more = choices.iter().flat_map(|(cost, ranks)| {
            unit.iter().take(affordable).enumerate().map(|(rank, offer)| {
                let mut ranks = ranks.clone();
                ranks.push(rank);
                (cost.saturating_add(offer.cost), ranks)
            })
        });
        choices = more.collect();
    }
    choices.sort();
    let pools = |ranks: Vec<usize>| ranks.iter().zip(offers).map(|(rank, unit)| unit[*rank].pool).collect();
    choices.into_iter().map(|(_, ranks)| pools(ranks)).collect()
}
