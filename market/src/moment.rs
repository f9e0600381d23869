//! The blocks of a second: contracts remember when something was said, and logs are asked for by block.

use std::ops::RangeInclusive;

use crate::chain::Chain;
use crate::reader::ReadError;

/// The most blocks of one second that are told apart; chains have a few.
const MOST: u64 = 64;

/// The blocks with exactly this timestamp; `None` if there are none.
///
/// # Errors
/// [`ReadError`].
pub(crate) async fn blocks_of(chain: &Chain, second: u64) -> Result<Option<RangeInclusive<u64>>, ReadError> {
    let head = chain.head().await?;
    let mut search = Search::new(second, (head.number, head.timestamp));
    let first = loop {
        match search.next() {
            Next::Ask(number) => {
                // A block that this endpoint does not have yet is not before one that was mined.
                let time = chain.block(number).await?.map_or(u64::MAX, |block| block.timestamp);
                search.told(number, time);
            }
            Next::Found(first) => break first,
            Next::Nothing => return Ok(None),
        }
    };
    let mut last = first;
    while last < head.number && last - first < MOST {
        match chain.block(last + 1).await? {
            Some(block) if block.timestamp == second => last += 1,
            _ => break,
        }
    }
    Ok(Some(first..=last))
}

/// What a search wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The timestamp of this block.
    Ask(u64),
    /// Nothing: this is the first block of the second.
    Found(u64),
    /// Nothing: there is no such block.
    Nothing,
}

/// Looks for the first block of a second, between what is known. Every other guess is where the block would be if blocks came
/// evenly, which they nearly do; the guesses between halve what is left, so that a chain that stood still for a year costs no
/// more than twice the halvings.
#[derive(Debug)]
struct Search {
    second: u64,
    /// A block before the second, once one is known.
    before: Option<(u64, u64)>,
    /// A block that is not before it.
    after: (u64, u64),
    even: bool,
}

impl Search {
    fn new(second: u64, head: (u64, u64)) -> Self {
        Self { second, before: None, after: head, even: true }
    }

    fn next(&self) -> Next {
        let (after, until) = self.after;
        if until < self.second {
            return Next::Nothing;
        }
        let (before, since) = match self.before {
            Some(known) => known,
            None if after > 0 => return Next::Ask(0),
            None => (0, 0),
        };
        let left = after - before;
        if left <= 1 {
            return if until == self.second { Next::Found(after) } else { Next::Nothing };
        }
        let way = if self.even {
            let (gone, whole) = (u128::from(self.second - since), u128::from(until - since));
            u64::try_from(u128::from(left) * gone / whole).unwrap_or(left)
        } else {
            left / 2
        };
        Next::Ask(before + way.clamp(1, left - 1))
    }

    fn told(&mut self, number: u64, time: u64) {
        self.even = self.before.is_none() || !self.even;
        if time < self.second {
            self.before = Some((number, time));
        } else {
            self.after = (number, time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer, and how many blocks were asked for.
    fn search(times: &[u64], second: u64) -> (Next, usize) {
        let last = times.len() - 1;
        let mut search = Search::new(second, (last as u64, times[last]));
        let mut asked = 0;
        loop {
            match search.next() {
                Next::Ask(number) => search.told(number, times[usize::try_from(number).expect("few")]),
                found => return (found, asked),
            }
            asked += 1;
            assert!(asked <= 64, "it goes on for ever");
        }
    }

    #[test]
    fn a_block_is_found_by_its_second_wherever_it_lies() {
        for times in [vec![5], vec![5, 7], vec![5, 7, 9, 9, 9, 12], vec![0, 1000, 1001, 1002, 1003, 9000]] {
            for (number, time) in times.iter().enumerate() {
                let first = times.iter().position(|other| other == time).expect("it is there");
                assert_eq!(search(&times, *time).0, Next::Found(first as u64), "{number} of {times:?}");
            }
            for absent in [3, 6, 8, 11, 999, 10_000] {
                assert_eq!(search(&times, absent).0, Next::Nothing, "{absent} in {times:?}");
            }
        }
    }

    #[test]
    fn even_blocks_are_found_at_once_and_uneven_ones_by_halving() {
        let even: Vec<u64> = (0..100_000).map(|number| 1_700_000_000 + 2 * number).collect();
        let (found, asked) = search(&even, even[77_777]);
        assert_eq!(found, Next::Found(77_777));
        assert!(asked <= 6, "{asked} blocks were asked for");
        // A genesis at zero, and a chain that stood still for years.
        let mut uneven = even;
        uneven[0] = 0;
        for time in &mut uneven[60_000..] {
            *time += 100_000_000;
        }
        let (found, asked) = search(&uneven, uneven[50_123]);
        assert_eq!(found, Next::Found(50_123));
        assert!(asked <= 40, "{asked} blocks were asked for");
    }
}
