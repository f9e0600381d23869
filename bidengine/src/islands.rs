//! How the free GPUs of a pool lie on a node: in islands, groups that NVLink ties together.
//!
//! A replica's GPUs come from the smallest island that holds all of them, and from several islands only where none does. Where
//! a source speaks of more devices in islands than are free, the largest islands shrink; devices of which it says nothing lie
//! alone.

use std::borrow::Cow;

use manifests::gpu::Gpu;

use crate::capacity::Node;

/// The numbers of GPUs that are usually asked for: what a hole is worth is counted in them.
pub(crate) const ASKS: [u64; 4] = [1, 2, 4, 8];

/// The free GPUs of each island; they add up to `free`, which is what the node has of the pool.
pub(crate) fn of<'a>(node: &'a Node, pool: &Gpu, free: &'a u64) -> Cow<'a, [u64]> {
    let told = if node.islands.is_empty() { None } else { node.islands.get(pool) };
    let Some(told) = told else { return Cow::Borrowed(std::slice::from_ref(free)) };
    let sum = told.iter().fold(0u64, |sum, island| sum.saturating_add(*island));
    if sum == *free {
        return Cow::Borrowed(told);
    }
    let mut islands: Vec<u64> = told.iter().map(|island| *island.min(free)).collect();
    let mut beyond = islands.iter().sum::<u64>().saturating_sub(*free);
    while beyond > 0 {
        let Some(largest) = islands.iter_mut().max() else { break };
        *largest -= 1;
        beyond -= 1;
    }
    let untold = usize::try_from(free.saturating_sub(sum)).unwrap_or(usize::MAX).min(MOST_ALONE);
    islands.extend(std::iter::repeat_n(1, untold));
    Cow::Owned(islands)
}

/// No node has more devices, slices of cards counted.
const MOST_ALONE: usize = 1024;

/// What taking GPUs for one replica did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// They come from several islands.
    pub(crate) torn: bool,
    /// How many are left in the last island that they come from.
    pub(crate) beside: u64,
}

/// Takes GPUs for one replica, as far as there are any.
pub(crate) fn take(islands: &mut [u64], count: u64) -> Taken {
    if let Some(island) = islands.iter_mut().filter(|island| **island >= count).min() {
        *island -= count;
        return Taken { torn: false, beside: *island };
    }
    let mut missing = count;
    let mut beside = 0;
    while missing > 0 {
        let Some(largest) = islands.iter_mut().max().filter(|largest| **largest > 0) else { break };
        let taken = missing.min(*largest);
        *largest -= taken;
        missing -= taken;
        beside = *largest;
    }
    Taken { torn: true, beside }
}

/// What free GPUs are worth as they lie: how many of them each of the usual asks could have, added up. An island of eight is
/// worth more than eight islands of one.
pub(crate) fn worth(islands: &[u64]) -> u64 {
    islands.iter().map(|island| ASKS.iter().map(|ask| island - island % ask).sum::<u64>()).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn gpus_come_from_the_smallest_island_that_holds_them_and_from_several_only_where_none_does() {
        for (mut islands, count, left, torn, beside) in [
            (vec![8, 3, 4], 3, vec![8, 0, 4], false, 0),
            (vec![8, 3, 6], 4, vec![8, 3, 2], false, 2),
            (vec![4, 4], 6, vec![2, 0], true, 2),
            (vec![1, 1], 3, vec![0, 0], true, 0),
        ] {
            assert_eq!(take(&mut islands, count), Taken { torn, beside });
            assert_eq!(islands, left);
        }
    }

    #[test]
    fn islands_add_up_to_what_is_free_whatever_a_source_says() {
        let pool: Gpu = "h100-80Gi-sxm".parse().expect("a label");
        for (told, free, islands) in [
            (None, 5, vec![5]),
            (Some(vec![4, 2]), 6, vec![4, 2]),
            (Some(vec![8, 8]), 10, vec![5, 5]),
            (Some(vec![2]), 4, vec![2, 1, 1]),
            (Some(vec![]), 0, vec![]),
        ] {
            let islands_told = told.map(|told| (pool.clone(), told)).into_iter().collect();
            let node = Node { islands: islands_told, gpus: BTreeMap::new(), ..Node::default() };
            let mut there = of(&node, &pool, &free).into_owned();
            there.sort_by_key(|island| std::cmp::Reverse(*island));
            assert_eq!(there, islands);
        }
    }

    #[test]
    fn a_hole_is_worth_the_asks_that_it_can_serve() {
        let worths: Vec<u64> = (0..=8).map(|free| worth(&[free])).collect();
        assert_eq!(worths, [0, 1, 4, 5, 12, 13, 16, 17, 32]);
        assert!(worth(&[8]) > worth(&[4, 4]) && worth(&[4, 4]) > worth(&[1; 8]));
    }
}
