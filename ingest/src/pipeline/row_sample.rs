//! Sample of rows whose tokens are counted to guess those of all.

use gstore_store::RowSet;

/// Rows of a sample.
const ROWS: u64 = 256;

/// Runs of neighbours that they are in: few, as the rows around each are read with it.
const RUNS: u64 = 16;

/// Some rows of a set, the same ones each time: all if they are few, else runs in the middle of equal parts.
/// Datasets are often sorted by length or by source, so that rows of one place say little of the others.
pub(super) fn sample_rows(rows: &RowSet) -> RowSet {
    let all = rows.len();
    if all <= ROWS {
        return rows.clone();
    }
    let run = ROWS / RUNS;
    let mut sample = RowSet::new();
    let mut before = 0;
    for range in rows.ranges() {
        let end = before + (range.end - range.start);
        for part in 0..RUNS {
            let start = ((2 * part + 1) * all / RUNS - run) / 2;
            let (from, to) = (start.max(before), (start + run).min(end));
            if from < to {
                sample.insert(range.start + (from - before)..range.start + (to - before));
            }
        }
        before = end;
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rows_are_all_taken() {
        for rows in [RowSet::new(), RowSet::from_range(7..8), RowSet::from_ranges([3..10, 50..299])] {
            assert_eq!(sample_rows(&rows), rows);
        }
    }

    #[test]
    fn many_rows_are_taken_evenly() {
        let sample = sample_rows(&RowSet::from_range(100..1700));
        let due = (0..RUNS).map(|part| 142 + 100 * part..158 + 100 * part);
        assert_eq!(sample, RowSet::from_ranges(due));
        for all in [257, 258, 271, 272, 273, 300, 511, 4097, 1_000_003] {
            assert_eq!(sample_rows(&RowSet::from_range(0..all)).len(), ROWS, "{all}");
        }
        // Among every third row, those in the same places.
        let third = |row: u64| 5 + 3 * row;
        let scattered = sample_rows(&RowSet::from_rows((0..1600).map(third)));
        let whole = sample_rows(&RowSet::from_range(0..1600));
        assert_eq!(scattered, RowSet::from_rows(whole.iter().map(third)));
    }
}
