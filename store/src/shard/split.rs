//! Partition of rows among shards.

use gstore_core::RowSet;
use std::ops::Range;

/// Splits the rows of a dataset into `count` ranges, one after the other, with equal numbers of rows: they
/// differ by one at most.
///
/// A range is empty if there are fewer rows than shards; those are the last ones. The ranges follow from the
/// rows and the count alone, and each begins where the one before it ends.
pub(super) fn split_rows(rows: &RowSet, count: u32) -> Vec<Range<u64>> {
    let (count, total) = (u64::from(count.max(1)), rows.len());
    let last = rows.ranges().last().map_or(0, |r| r.end);
    let mut left = rows.ranges().iter().cloned().peekable();
    let mut start = left.peek().map_or(0, |r| r.start);
    let mut ranges = Vec::with_capacity(count as usize);
    for shard in 0..count {
        // The first shards get what does not go into equal parts.
        let mut wanted = total / count + u64::from(shard < total % count);
        while let Some(range) = left.peek_mut() {
            let taken = wanted.min(range.end - range.start);
            (range.start, wanted) = (range.start + taken, wanted - taken);
            if range.start < range.end {
                break;
            }
            left.next();
        }
        // Rows between two shards are not live: they are of the first one.
        let end = left.peek().map_or(last, |r| r.start);
        ranges.push(start..end);
        start = end;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_numbers_of_rows() {
        let split = |rows, n| split_rows(&RowSet::from_range(0..rows), n);
        assert_eq!(split(4480, 4), [0..1120, 1120..2240, 2240..3360, 3360..4480]);
        assert_eq!(split(300, 2), [0..150, 150..300]);
        assert_eq!(split(10, 3), [0..4, 4..7, 7..10]);
        assert_eq!(split(2, 4), [0..1, 1..2, 2..2, 2..2]);
        assert_eq!(split(0, 2), [0..0, 0..0]);
        let holes = RowSet::from_ranges([7..10, 100..103, 200..206]);
        assert_eq!(split_rows(&holes, 2), [7..200, 200..206]);
        assert_eq!(split_rows(&holes, 1), [7..206]);
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
                prop_assert!(r.start == end && r.start <= r.end);
                end = r.end;
            }
            let sizes: Vec<u64> =
                split.iter().map(|r| rows.intersection(&RowSet::from_range(r.clone())).len()).collect();
            prop_assert_eq!(sizes.iter().sum::<u64>(), rows.len());
            let (least, most) = (sizes.iter().min().copied(), sizes.iter().max().copied());
            prop_assert!(most.unwrap_or(0) - least.unwrap_or(0) <= 1, "{:?}", sizes);
            prop_assert!(sizes.windows(2).all(|w| w[0] >= w[1]), "{:?}", sizes);
        }
    }
}
