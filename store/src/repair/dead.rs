//! Rows of a dataset that are not live.

use crate::manifest::{DatasetPart, TombstoneEntry};
use gstore_core::RowSet;

/// The dead rows of a dataset.
#[derive(Debug, Clone, Default)]
pub(super) struct DeadRows {
    pub deleted: RowSet,
    /// Those of them whose id a newer row has, or had.
    pub superseded: RowSet,
    pub purged: RowSet,
    /// The bitmaps must be written again.
    pub changed: bool,
    /// A bitmap is lost: which rows are deleted is not known.
    pub unknown: bool,
    /// A lost bitmap was given up: rows that were deleted are live.
    pub forgotten: bool,
}

impl DeadRows {
    pub(super) fn add(&mut self, entry: &TombstoneEntry, rows: &RowSet) {
        let set = if entry.purged { &mut self.purged } else { &mut self.deleted };
        *set = set.union(rows);
        if entry.superseded {
            self.superseded = self.superseded.union(rows);
        }
    }

    pub(super) fn live(&self, part: &DatasetPart) -> RowSet {
        part.stored_rows().difference(&self.deleted).difference(&self.purged)
    }
}
