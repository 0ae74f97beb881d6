//! Which rows belong to which shard.

use crate::ident::{CELL_ROWS, RowSet};
use std::ops::Range;

/// Splits the rows of a dataset into `count` ranges of whole cells, one after the other, as even as whole cells allow.
///
/// A range may be empty, if there are fewer cells than shards. The ranges follow from the rows and the count alone.
pub fn split_rows(rows: &RowSet, count: u32) -> Vec<Range<u64>> {
    let windows = windows(rows);
    let mut left: u64 = windows.iter().map(|w| w.1).sum();
    let mut next = 0usize;
    let mut ranges = Vec::new();
    let mut end = windows.first().map_or(0, |w| w.0 * CELL_ROWS);
    for shard in 0..u64::from(count) {
        let shards_left = u64::from(count) - shard;
        let start = end;
        let mut taken = 0u64;
        while let Some((cell, size)) = windows.get(next).copied() {
            let windows_left = (windows.len() - next) as u64;
            let last = shards_left == 1;
            // The window is taken if that brings the shard nearer to an even share of what is left, and leaves one for each other.
            let twice = 2 * u128::from(taken) + u128::from(size);
            let nearer = twice * u128::from(shards_left) <= 2 * u128::from(left);
            if !(last || taken == 0 || (nearer && windows_left >= shards_left)) {
                break;
            }
            taken += size;
            end = (cell + 1).saturating_mul(CELL_ROWS);
            next += 1;
        }
        left -= taken;
        ranges.push(start..end);
    }
    ranges
}

/// The cells that have rows, and how many.
fn windows(rows: &RowSet) -> Vec<(u64, u64)> {
    let mut windows: Vec<(u64, u64)> = Vec::new();
    for range in rows.ranges() {
        let mut start = range.start;
        while start < range.end {
            let cell = start / CELL_ROWS;
            let end = (cell + 1).saturating_mul(CELL_ROWS).min(range.end);
            match windows.last_mut() {
                Some((last, size)) if *last == cell => *size += end - start,
                _ => windows.push((cell, end - start)),
            }
            start = end;
        }
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whole_cells_evenly() {
        let split = |rows, n| split_rows(&RowSet::from_range(0..rows), n);
        assert_eq!(split(3 * 4096, 3), [0..4096, 4096..8192, 8192..12288]);
        assert_eq!(split(2 * 4096 + 100, 3), [0..4096, 4096..8192, 8192..12288]);
        assert_eq!(split(10 * 4096, 3), [0..12288, 12288..28672, 28672..40960]);
        assert_eq!(split(100, 3), [0..4096, 4096..4096, 4096..4096]);
        assert_eq!(split(0, 2), [0..0, 0..0]);
        let holes = RowSet::from_ranges([0..10, 4096..4106, 8192..12288]);
        assert_eq!(split_rows(&holes, 2), [0..8192, 8192..12288]);
    }

    proptest! {
        #[test]
        fn every_row_is_in_one_shard(
            ranges in proptest::collection::vec((0u64..200_000, 1u64..20_000), 0..12),
            count in 1u32..20,
        ) {
            let rows = RowSet::from_ranges(ranges.into_iter().map(|(s, n)| s..s + n));
            let split = split_rows(&rows, count);
            prop_assert_eq!(split.len(), count as usize);
            let mut end = split.first().map_or(0, |r| r.start);
            for r in &split {
                prop_assert!(r.start == end && r.start <= r.end && r.start % CELL_ROWS == 0 && r.end % CELL_ROWS == 0);
                end = r.end;
            }
            let sizes: Vec<u64> =
                split.iter().map(|r| rows.intersection(&RowSet::from_range(r.clone())).len()).collect();
            prop_assert_eq!(sizes.iter().sum::<u64>(), rows.len());
            let cells = windows(&rows).len();
            let empty = sizes.iter().filter(|s| **s == 0).count();
            prop_assert_eq!(empty, (count as usize).saturating_sub(cells));
            let most = sizes.iter().max().copied().unwrap_or(0);
            prop_assert!(most <= rows.len() / u64::from(count) + 2 * CELL_ROWS, "{:?}", sizes);
        }
    }
}
