//! The order of equal elements, which the language leaves to one particular sorting algorithm.
//!
//! Expose entries and unit endpoints are sorted by keys that may tie, and the digest covers the outcome. Up to twelve
//! elements ties keep their order; above that they land where a pattern-defeating quicksort of one well-known shape puts
//! them. Every comparison and swap below is therefore part of the language.

/// Sorts by `less`, ties as described above.
pub(crate) fn sort<T>(list: &mut [T], less: impl Fn(&T, &T) -> bool) {
    let limit = usize::BITS - list.len().leading_zeros();
    let end = list.len();
    Sorter { list, less }.range(0, end, limit);
}

struct Sorter<'l, T, F> {
    list: &'l mut [T],
    less: F,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hint {
    Unknown,
    Ascending,
    Descending,
}

impl<T, F: Fn(&T, &T) -> bool> Sorter<'_, T, F> {
    fn less(&self, a: usize, b: usize) -> bool {
        (self.less)(&self.list[a], &self.list[b])
    }

    fn range(&mut self, mut lo: usize, mut hi: usize, mut limit: u32) {
        let mut balanced = true;
        let mut partitioned = true;
        loop {
            let length = hi - lo;
            if length <= 12 {
                return self.insertion_sort(lo, hi);
            }
            if limit == 0 {
                return self.heap_sort(lo, hi);
            }
            if !balanced {
                self.break_patterns(lo, hi);
                limit -= 1;
            }
            let (mut pivot, mut hint) = self.choose_pivot(lo, hi);
            if hint == Hint::Descending {
                self.list[lo..hi].reverse();
                pivot = (hi - 1) - (pivot - lo);
                hint = Hint::Ascending;
            }
            if balanced && partitioned && hint == Hint::Ascending && self.nearly_sorted(lo, hi) {
                return;
            }
            if lo > 0 && !self.less(lo - 1, pivot) {
                lo = self.partition_equal(lo, hi, pivot);
                continue;
            }
            let (middle, was_partitioned) = self.partition(lo, hi, pivot);
            partitioned = was_partitioned;
            let (left, right) = (middle - lo, hi - middle);
            if left < right {
                balanced = left >= length / 8;
                self.range(lo, middle, limit);
                lo = middle + 1;
            } else {
                balanced = right >= length / 8;
                self.range(middle + 1, hi, limit);
                hi = middle;
            }
        }
    }

    fn insertion_sort(&mut self, lo: usize, hi: usize) {
        for start in lo + 1..hi {
            let mut at = start;
            while at > lo && self.less(at, at - 1) {
                self.list.swap(at, at - 1);
                at -= 1;
            }
        }
    }

    fn heap_sort(&mut self, lo: usize, hi: usize) {
        let length = hi - lo;
        for root in (0..=(length - 1) / 2).rev() {
            self.sift_down(lo, root, length);
        }
        for end in (0..length).rev() {
            self.list.swap(lo, lo + end);
            self.sift_down(lo, 0, end);
        }
    }

    fn sift_down(&mut self, first: usize, mut root: usize, end: usize) {
        loop {
            let mut child = 2 * root + 1;
            if child >= end {
                return;
            }
            if child + 1 < end && self.less(first + child, first + child + 1) {
                child += 1;
            }
            if !self.less(first + root, first + child) {
                return;
            }
            self.list.swap(first + root, first + child);
            root = child;
        }
    }

    /// Swaps three elements of the middle with places that a fixed generator names.
    fn break_patterns(&mut self, lo: usize, hi: usize) {
        let length = hi - lo;
        let mut random = length as u64;
        let modulus = 1usize << (usize::BITS - length.leading_zeros());
        let centre = lo + (length / 4) * 2 - 1;
        for offset in 0..3 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let mut other = random as usize & (modulus - 1);
            if other >= length {
                other -= length;
            }
            self.list.swap(centre + offset, lo + other);
        }
    }

    fn choose_pivot(&self, lo: usize, hi: usize) -> (usize, Hint) {
        let length = hi - lo;
        let quarter = length / 4;
        let mut swaps = 0;
        let [mut a, mut b, mut c] = [lo + quarter, lo + 2 * quarter, lo + 3 * quarter];
        if length >= 50 {
            a = self.median(a - 1, a, a + 1, &mut swaps);
            b = self.median(b - 1, b, b + 1, &mut swaps);
            c = self.median(c - 1, c, c + 1, &mut swaps);
        }
        let pivot = self.median(a, b, c, &mut swaps);
        let hint = match swaps {
            0 => Hint::Ascending,
            12 => Hint::Descending,
            _ => Hint::Unknown,
        };
        (pivot, hint)
    }

    fn median(&self, mut a: usize, mut b: usize, mut c: usize, swaps: &mut usize) -> usize {
        let mut order = |x: &mut usize, y: &mut usize| {
            if self.less(*y, *x) {
                std::mem::swap(x, y);
                *swaps += 1;
            }
        };
        order(&mut a, &mut b);
        order(&mut b, &mut c);
        order(&mut a, &mut b);
        b
    }

    /// Tries to finish a range that looks sorted with a few swaps.
    fn nearly_sorted(&mut self, lo: usize, hi: usize) -> bool {
        let mut at = lo + 1;
        for _ in 0..5 {
            while at < hi && !self.less(at, at - 1) {
                at += 1;
            }
            if at == hi {
                return true;
            }
            if hi - lo < 50 {
                return false;
            }
            self.list.swap(at, at - 1);
            if at - lo >= 2 {
                let mut left = at - 1;
                while left >= 1 && self.less(left, left - 1) {
                    self.list.swap(left, left - 1);
                    left -= 1;
                }
            }
            if hi - at >= 2 {
                let mut right = at + 1;
                while right < hi && self.less(right, right - 1) {
                    self.list.swap(right, right - 1);
                    right += 1;
                }
            }
        }
        false
    }

    /// Moves what equals the pivot to the front; answers where the rest begins.
    fn partition_equal(&mut self, lo: usize, hi: usize, pivot: usize) -> usize {
        self.list.swap(lo, pivot);
        let (mut i, mut j) = (lo + 1, hi - 1);
        loop {
            while i <= j && !self.less(lo, i) {
                i += 1;
            }
            while i <= j && self.less(lo, j) {
                j -= 1;
            }
            if i > j {
                return i;
            }
            self.list.swap(i, j);
            i += 1;
            j -= 1;
        }
    }

    /// Splits around the pivot; answers its place and whether nothing had to be swapped.
    fn partition(&mut self, lo: usize, hi: usize, pivot: usize) -> (usize, bool) {
        self.list.swap(lo, pivot);
        let (mut i, mut j) = (lo + 1, hi - 1);
        let mut untouched = true;
        loop {
            while i <= j && self.less(i, lo) {
                i += 1;
            }
            while i <= j && !self.less(j, lo) {
                j -= 1;
            }
            if i > j {
                break;
            }
            self.list.swap(i, j);
            i += 1;
            j -= 1;
            untouched = false;
        }
        self.list.swap(j, lo);
        (j, untouched)
    }
}

#[cfg(test)]
mod tests {
    use super::sort;

    /// Pairs with few distinct keys, from a fixed generator.
    fn sample(length: usize, keys: u32) -> Vec<(u32, usize)> {
        let mut state = 12345u32;
        let mut next = || {
            state = state.wrapping_mul(1_103_515_245).wrapping_add(12345);
            state >> 16
        };
        (0..length).map(|at| (next() % keys, at)).collect()
    }

    #[test]
    fn short_lists_keep_the_order_of_ties() {
        for length in 0..=12 {
            let mut list = sample(length, 3);
            let mut stable = list.clone();
            sort(&mut list, |a, b| a.0 < b.0);
            stable.sort_by_key(|pair| pair.0);
            assert_eq!(list, stable);
        }
    }

    #[test]
    fn long_lists_are_sorted_and_lose_nothing() {
        for length in [13, 49, 50, 51, 100, 333, 2000] {
            for keys in [1, 2, 5, 10_000] {
                for turn in 0..3 {
                    let mut list = sample(length, keys);
                    match turn {
                        1 => list.sort_unstable(),
                        2 => list.sort_unstable_by(|a, b| b.cmp(a)),
                        _ => {}
                    }
                    sort(&mut list, |a, b| a.0 < b.0);
                    assert!(list.is_sorted_by_key(|pair| pair.0));
                    let mut places: Vec<usize> = list.iter().map(|pair| pair.1).collect();
                    places.sort_unstable();
                    assert!(places.into_iter().eq(0..length));
                }
            }
        }
    }
}
