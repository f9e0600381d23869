//! How the free GPUs of a pool lie in islands: groups that NVLink ties together.
//!
//! Which devices are held is the kubelet's word. What is promised or just bound and not in it yet is taken from the smallest
//! island that holds it, as placement would.

use std::collections::BTreeSet;

use super::offers::Pool;
use super::record::NodeRecord;

/// The islands of a pool with how many of its devices are free in each, largest first.
///
/// `is_over` says of a pod, by namespace and name, that it has ended: some kubelets still tell what it held. `unseen` are the
/// GPUs that are taken and that the kubelet does not tell of yet, a replica at a time. `None` when the kubelet was not asked, or
/// nothing is known of links: then it is one island.
pub(super) fn islands(
    pool: &Pool,
    record: &NodeRecord,
    is_over: impl Fn(&str, &str) -> bool,
    unseen: &[u64],
) -> Option<Vec<u64>> {
    let allocations = record.allocations.as_ref()?;
    let ties = &record.topology.islands;
    if ties.is_empty() {
        return None;
    }
    let held: BTreeSet<&String> = allocations
        .iter()
        .filter(|held| !is_over(&held.namespace, &held.pod))
        .flat_map(|held| &held.uuids)
        .collect();
    let free = |uuids: &mut dyn Iterator<Item = &String>| {
        let free = uuids.filter(|uuid| pool.uuids.contains(*uuid) && !held.contains(uuid)).count();
        u64::try_from(free).unwrap_or(u64::MAX)
    };
    let mut islands: Vec<u64> = ties
        .iter()
        .filter(|island| island.iter().any(|uuid| pool.uuids.contains(uuid)))
        .map(|island| free(&mut island.iter()))
        .collect();
    let tied: BTreeSet<&String> = ties.iter().flatten().collect();
    let alone = pool.uuids.iter().filter(|uuid| !tied.contains(uuid));
    islands.extend(alone.map(|uuid| free(&mut std::iter::once(uuid))));

    let mut unseen = unseen.to_vec();
    unseen.sort_unstable_by(|one, other| other.cmp(one));
    for count in unseen {
        take(&mut islands, count);
    }
    islands.sort_unstable_by(|one, other| other.cmp(one));
    Some(islands)
}

/// Takes some devices: from the smallest island that holds them all, otherwise from the largest ones.
pub(super) fn take(islands: &mut [u64], count: u64) {
    let mut left = count;
    while left > 0 {
        let fitting = islands.iter().copied().filter(|free| *free >= left).min();
        let Some(free) = fitting.or(islands.iter().copied().max()).filter(|free| *free > 0) else { return };
        let taken = free.min(left);
        if let Some(island) = islands.iter_mut().find(|island| **island == free) {
            *island -= taken;
        }
        left -= taken;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Two islands of four and one GPU by itself.
    fn record(held: &[(&str, &[&str])]) -> NodeRecord {
        let allocations: Vec<_> = held
            .iter()
            .map(|(pod, uuids)| {
                json!({"namespace": "ns", "pod": pod, "container": "c", "resource": "nvidia.com/gpu", "uuids": uuids})
            })
            .collect();
        serde_json::from_value(json!({
            "version": 1, "node": "n1", "observed_at": 0, "period_s": 10, "devices": [], "allocations": allocations,
            "driver": {"state": "absent", "reason": ""}, "problems": [],
            "topology": {"islands": [["a", "b", "c", "d"], ["e", "f", "g", "h"]], "pcie": []},
        }))
        .expect("a record")
    }

    fn pool() -> Pool {
        Pool {
            gpu: "h100-80Gi-sxm".parse().expect("a pool"),
            resource: "nvidia.com/gpu".to_owned(),
            uuids: "a b c d e f g h i".split(' ').map(str::to_owned).collect(),
        }
    }

    #[test]
    fn islands_are_what_no_container_holds() {
        let of =
            |held: &[(&str, &[&str])], unseen: &[u64]| islands(&pool(), &record(held), |_, _| false, unseen);
        assert_eq!(of(&[], &[]), Some(vec![4, 4, 1]));
        assert_eq!(of(&[("p", &["a", "e"]), ("q", &["f"])], &[]), Some(vec![3, 2, 1]));
        assert_eq!(
            of(&[("p", &["a", "e"]), ("q", &["f"])], &[2]),
            Some(vec![3, 1, 0]),
            "the smallest that holds it"
        );
        assert_eq!(of(&[], &[1, 4, 3]), Some(vec![1, 0, 0]));
        assert_eq!(of(&[], &[6]), Some(vec![2, 1, 0]), "over several when none is large enough");
        assert_eq!(of(&[], &[100]), Some(vec![0, 0, 0]));
        let sick = Pool { uuids: ["a", "e", "f"].map(str::to_owned).into(), ..pool() };
        assert_eq!(islands(&sick, &record(&[]), |_, _| false, &[]), Some(vec![2, 1]));
    }

    #[test]
    fn a_pod_that_has_ended_holds_nothing_whatever_the_kubelet_says() {
        let held = record(&[("done", &["a", "b"]), ("busy", &["c"])]);
        let left = islands(&pool(), &held, |namespace, name| (namespace, name) == ("ns", "done"), &[]);
        assert_eq!(left, Some(vec![4, 3, 1]));
    }

    #[test]
    fn without_the_kubelet_or_links_nothing_is_said() {
        let mut silent = record(&[]);
        silent.allocations = None;
        assert_eq!(islands(&pool(), &silent, |_, _| false, &[]), None);
        let mut untied = record(&[]);
        untied.topology.islands.clear();
        assert_eq!(islands(&pool(), &untied, |_, _| false, &[]), None);
    }
}
