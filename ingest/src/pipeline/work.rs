//! Missing work: windows, and in each the rows that a feature lacks.

use std::ops::Range;

use gstore_store::{CELL_ROWS, RowSet};

use super::column::EnsembleColumn;

#[derive(Debug, Clone)]
pub(crate) struct CheckpointWork {
    /// Name of the checkpoint.
    pub checkpoint: String,
    /// Numbers of the checkpoint's features in the job, in the order of the vectors.
    pub features: Vec<usize>,
    /// Windows with missing rows, ascending.
    pub windows: Vec<WindowWork>,
    /// What losses are relative to, where they become a column of an ensemble.
    pub column: Option<EnsembleColumn>,
}

/// One window: a cell, and the rows of it that each feature lacks.
#[derive(Debug, Clone)]
pub(crate) struct WindowWork {
    cell: u64,
    missing: Vec<RowSet>,
}

impl CheckpointWork {
    /// The windows of the rows `asked` that are not in `present` (one set for each feature).
    pub fn new(checkpoint: &str, features: Vec<usize>, asked: &RowSet, present: &[RowSet]) -> Self {
        let missing: Vec<RowSet> = present.iter().map(|rows| asked.difference(rows)).collect();
        let windows = RowSet::from_ranges(missing.iter().flat_map(RowSet::ranges).cloned())
            .cells()
            .into_iter()
            .map(|cell| {
                let here = |rows: &RowSet| RowSet::from_ranges(rows.within(cell_rows(cell)));
                WindowWork { cell, missing: missing.iter().map(here).collect() }
            })
            .collect();
        Self { checkpoint: checkpoint.to_owned(), features, windows, column: None }
    }

    /// Rows to compute: those that at least one feature lacks.
    pub fn rows(&self) -> RowSet {
        RowSet::from_ranges(self.windows.iter().flat_map(|w| &w.missing).flat_map(RowSet::ranges).cloned())
    }
}

impl WindowWork {
    /// All rows of the cell, stored or not.
    pub(crate) fn cell_rows(&self) -> Range<u64> {
        cell_rows(self.cell)
    }

    pub(crate) fn missing_of(&self, feature: usize) -> &RowSet {
        &self.missing[feature]
    }

    /// Whether some feature lacks the row.
    pub fn is_missing(&self, row: u64) -> bool {
        self.missing.iter().any(|rows| rows.contains(row))
    }
}

/// Rows to compute at one checkpoint at least.
pub(crate) fn rows_of(works: &[CheckpointWork]) -> RowSet {
    works.iter().fold(RowSet::new(), |rows, work| rows.union(&work.rows()))
}

fn cell_rows(cell: u64) -> Range<u64> {
    cell * CELL_ROWS..(cell + 1) * CELL_ROWS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(range: Range<u64>) -> RowSet {
        RowSet::from_ranges([range])
    }

    #[test]
    fn only_cells_with_missing_rows_are_windows() {
        let work = CheckpointWork::new("c", vec![4, 7], &rows(0..10_000), &[rows(0..4096), rows(0..9000)]);
        assert_eq!(work.windows.iter().map(|w| w.cell).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(work.windows[0].missing_of(0), &rows(4096..8192));
        assert!(work.windows[0].missing_of(1).is_empty());
        assert_eq!(work.windows[1].missing_of(1), &rows(9000..10_000));
        assert!(work.windows[1].is_missing(8192) && !work.windows[1].is_missing(10_000));
        assert_eq!(work.rows(), rows(4096..10_000));
    }

    #[test]
    fn nothing_missing_is_no_window() {
        assert!(CheckpointWork::new("c", vec![0], &rows(0..10), &[rows(0..10)]).windows.is_empty());
    }
}
