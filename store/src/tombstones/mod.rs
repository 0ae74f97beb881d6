//! Tombstones: the deleted rows of a dataset, as immutable bitmaps.
//!
//! Invariants
//! - the bitmaps of a dataset are disjoint, and every row in one is a row of a sample file; so
//!   live = stored - deleted, also in numbers
//! - a row that was deleted comes back only where the store goes back to a snapshot that had it, and its
//!   number is never given out again
//! - of a purged row nothing is left but its number
//! - the id of a deleted row is remembered: by the row while a file has it, then by the
//!   [list](ids) of the dataset

mod change;
mod file;
pub(crate) mod ids;

pub(crate) use change::{bury, new_files, set_dead, supersede};
pub(crate) use file::{lost_with, parse as parse_bitmap, read as read_bitmap};
pub use ids::DeletedIdLookup;
pub(crate) use ids::DeletedIds;

use crate::error::StorageError;
use crate::layout::Env;
use crate::manifest::{DatasetPart, TombstoneEntry};

use gstore_core::RowSet;
use std::sync::Arc;

/// Which rows of a dataset are there, and which no longer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LiveRows {
    /// Stored and not deleted.
    pub live: Arc<RowSet>,
    /// Deleted; their samples are still in the files.
    pub deleted: RowSet,
    /// Those of them whose id a newer row has, or had: replaced ones, and those whose id was added again.
    pub superseded: RowSet,
    /// Deleted, and gone from the files.
    pub purged: RowSet,
}

impl LiveRows {
    /// Reads the bitmaps of a dataset.
    pub(crate) fn read(env: &Env, part: &DatasetPart) -> Result<LiveRows, StorageError> {
        let mut all = LiveRows::none(part);
        for entry in &part.tombstones {
            all.bury(entry, &file::read(env, part, entry)?);
        }
        Ok(all)
    }

    /// All rows of a dataset's files, before its bitmaps are taken into account.
    pub(crate) fn none(part: &DatasetPart) -> LiveRows {
        let (live, none) = (Arc::new(part.stored_rows()), RowSet::new());
        LiveRows { live, deleted: none.clone(), superseded: none.clone(), purged: none }
    }

    /// Takes the rows of a bitmap into account.
    pub(crate) fn bury(&mut self, entry: &TombstoneEntry, rows: &RowSet) {
        let set = if entry.purged { &mut self.purged } else { &mut self.deleted };
        *set = set.union(rows);
        if entry.superseded {
            self.superseded = self.superseded.union(rows);
        }
        self.live = Arc::new(self.live.difference(rows));
    }

    /// Deleted rows whose ids are deleted with them.
    pub(crate) fn without_successor(&self) -> RowSet {
        self.deleted.difference(&self.superseded)
    }
}

#[cfg(test)]
mod tests;
